//! The kernels' sources, compiled once for a device and kept in the user's cache folder.

use std::ffi::{CString, c_char};
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaModule};
use cudarc::nvrtc::{Ptx, result, sys};

use crate::cache_folder;
use crate::kernels::Precision;

use super::cache;
use super::device::{DeviceInfo, require};
use super::error::{CudaError, Library, driver};

/// The source files, concatenated in this order.
const SOURCE: &str = concat!(
    include_str!("source/element.cu"),
    include_str!("source/layout.cu"),
    include_str!("source/group_norm.cu"),
    include_str!("source/rms_norm.cu"),
    include_str!("source/attention.cu"),
);

/// Loads the kernels into a device's memory, from the cache if they are there.
pub fn load(
    context: &Arc<CudaContext>,
    info: &DeviceInfo,
    precision: Precision,
) -> Result<Arc<CudaModule>, CudaError> {
    let compiler = version()?;
    if compiler.0 > info.driver.0 {
        return Err(CudaError::DriverTooOld { driver: info.driver, compiler });
    }
    let place =
        cache_folder::of_vae().map(|folder| folder.join(file_name(precision, info.capability, compiler)));
    if let Some(cubin) = place.as_deref().and_then(cache::read)
        && let Ok(module) = context.load_module(Ptx::from_binary(cubin))
    {
        return Ok(module);
    }
    let cubin = compile(precision, info.capability)?;
    if let Some(place) = &place {
        // If this fails, the next run compiles again.
        cache::write(place, &cubin).ok();
    }
    context.load_module(Ptx::from_binary(cubin)).map_err(driver("load the kernels"))
}

/// Compiles the kernels for a compute capability. Needs NVRTC but no device.
pub fn compile(precision: Precision, capability: (u32, u32)) -> Result<Vec<u8>, CudaError> {
    let version = version()?;
    let failed = |log: String| CudaError::Compile { architecture: architecture(capability), version, log };
    let failed_with = |e: result::NvrtcError| failed(e.to_string());
    let source = CString::new(SOURCE).map_err(|e| failed(e.to_string()))?;
    let program = Program(result::create_program(&source, Some(c"vae.cu")).map_err(failed_with)?);
    // SAFETY: the program was created above and is destroyed on drop; the source outlives it.
    unsafe {
        if let Err(e) = result::compile_program(program.0, &options(precision, capability)) {
            let log = result::get_program_log(program.0).map(text).unwrap_or_default();
            return Err(failed(format!("{e}\n{log}")));
        }
        let mut size = 0;
        sys::nvrtcGetCUBINSize(program.0, &mut size).result().map_err(failed_with)?;
        let mut cubin = vec![0u8; size];
        sys::nvrtcGetCUBIN(program.0, cubin.as_mut_ptr().cast()).result().map_err(failed_with)?;
        Ok(cubin)
    }
}

struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: `create_program` created it, and this is its last use.
        unsafe { result::destroy_program(self.0) }.ok();
    }
}

/// The digest of the kernels' sources.
pub fn source_digest() -> String {
    cache::digest(SOURCE)
}

/// NVRTC's version, major and minor.
pub fn version() -> Result<(u32, u32), CudaError> {
    require(Library::Nvrtc)?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the pointers are valid during the call.
    match unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result() {
        Ok(()) => Ok((major.unsigned_abs(), minor.unsigned_abs())),
        Err(e) => Err(CudaError::Driver { action: "load NVRTC", reason: e.to_string() }),
    }
}

fn architecture((major, minor): (u32, u32)) -> String {
    format!("sm_{major}{minor}")
}

fn options(precision: Precision, capability: (u32, u32)) -> [String; 4] {
    let number = match precision {
        Precision::F16 => 16,
        Precision::Bf16 => 17,
        Precision::F32 => 32,
    };
    [
        format!("-DELEMENT={number}"),
        "--std=c++17".into(),
        "-default-device".into(),
        format!("--gpu-architecture={}", architecture(capability)),
    ]
}

fn text(log: Vec<c_char>) -> String {
    let bytes: Vec<u8> = log.into_iter().map(|c| c.cast_unsigned()).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// A name that depends on everything that changes the compiler's output.
fn file_name(precision: Precision, capability: (u32, u32), compiler: (u32, u32)) -> String {
    let options = options(precision, capability).join(" ");
    format!("{}.cubin", cache::digest(&format!("{SOURCE}{options}{}.{}", compiler.0, compiler.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_precision_and_device_has_a_program_of_its_own() {
        let name = file_name(Precision::F16, (8, 0), (13, 0));
        assert_eq!(name, file_name(Precision::F16, (8, 0), (13, 0)));
        assert_ne!(name, file_name(Precision::Bf16, (8, 0), (13, 0)));
        assert_ne!(name, file_name(Precision::F16, (8, 6), (13, 0)));
        assert_ne!(name, file_name(Precision::F16, (8, 0), (13, 1)));
    }
}
