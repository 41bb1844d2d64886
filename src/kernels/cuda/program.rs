//! The kernels' sources, compiled once for a device and kept in the user's cache folder.

use std::ffi::{CString, c_char};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaModule};
use cudarc::nvrtc::{Ptx, result, sys};
use sha2::{Digest, Sha256};

use crate::cache_folder;
use crate::kernels::Precision;

use super::device::{DeviceInfo, require};
use super::error::{CudaError, Library, driver};

/// The source files, concatenated in this order.
const SOURCE: &str = concat!(
    include_str!("source/element.cu"),
    include_str!("source/layout.cu"),
    include_str!("source/group_norm.cu"),
    include_str!("source/attention.cu"),
);

/// Bytes of a SHA-256.
const DIGEST: usize = 32;

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
    if let Some(cubin) = place.as_deref().and_then(read)
        && let Ok(module) = context.load_module(Ptx::from_binary(cubin))
    {
        return Ok(module);
    }
    let cubin = compile(precision, info.capability)?;
    if let Some(place) = &place {
        // If this fails, the next run compiles again.
        write(place, &cubin).ok();
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

/// NVRTC's version, major and minor.
fn version() -> Result<(u32, u32), CudaError> {
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
    let mut hash = Sha256::new();
    hash.update(SOURCE);
    hash.update(options(precision, capability).join(" "));
    hash.update(format!("{}.{}", compiler.0, compiler.1));
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digest}.cubin")
}

/// Reads what [`write`] wrote, if it is complete.
fn read(place: &Path) -> Option<Vec<u8>> {
    let mut cubin = std::fs::read(place).ok()?;
    let digest = cubin.split_off(cubin.len().checked_sub(DIGEST)?);
    (Sha256::digest(&cubin).as_slice() == digest).then_some(cubin)
}

/// Writes the program and its digest: the driver would read past the end of a truncated program.
fn write(place: &Path, cubin: &[u8]) -> std::io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(cubin)?;
    file.write_all(&Sha256::digest(cubin))?;
    file.persist(place)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_returns_complete_programs_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("new").join("a.cubin");
        assert_eq!(read(&place), None);
        write(&place, b"a program").expect("written");
        assert_eq!(read(&place).as_deref(), Some(&b"a program"[..]));
        let whole = std::fs::read(&place).expect("the file exists");
        for broken in [&whole[..whole.len() - 1], &whole[1..], &whole[..5], &[]] {
            std::fs::write(&place, broken).expect("written");
            assert_eq!(read(&place), None);
        }
    }

    #[test]
    fn each_precision_and_device_has_a_program_of_its_own() {
        let name = file_name(Precision::F16, (8, 0), (13, 0));
        assert_eq!(name, file_name(Precision::F16, (8, 0), (13, 0)));
        assert_ne!(name, file_name(Precision::Bf16, (8, 0), (13, 0)));
        assert_ne!(name, file_name(Precision::F16, (8, 6), (13, 0)));
        assert_ne!(name, file_name(Precision::F16, (8, 0), (13, 1)));
    }
}
