//! The devices of this machine, and the libraries that they need.

use cudarc::driver::sys::CUresult::{CUDA_ERROR_NO_DEVICE, CUDA_ERROR_OUT_OF_MEMORY};
use cudarc::driver::{CudaContext, DriverError, result, sys};

use super::error::{CudaError, Library, driver};

/// A CUDA device of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number: N of `cuda:N`.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Bytes of memory.
    pub total: usize,
    /// Bytes of free memory; unknown if the device cannot be opened.
    pub free: Option<usize>,
    /// The newest CUDA version that the driver supports, major and minor.
    pub driver: (u32, u32),
}

/// Checks that the system's loader finds the library, without which later calls would panic.
pub fn require(library: Library) -> Result<(), CudaError> {
    // SAFETY: loading these libraries runs only their own initialization.
    let present = unsafe {
        match library {
            Library::Driver => sys::is_culib_present(),
            Library::Nvrtc => cudarc::nvrtc::sys::is_culib_present(),
            Library::Cudnn => cudarc::cudnn::sys::is_culib_present(),
        }
    };
    if present { Ok(()) } else { Err(CudaError::LibraryMissing(library)) }
}

/// The number of devices, at least one.
pub fn count() -> Result<usize, CudaError> {
    require(Library::Driver)?;
    match CudaContext::device_count() {
        Ok(0) | Err(DriverError(CUDA_ERROR_NO_DEVICE)) => Err(CudaError::NoDevice),
        Ok(count) => Ok(count.unsigned_abs() as usize),
        Err(e) => Err(driver("start")(e)),
    }
}

/// The CUDA devices of this machine, at least one.
///
/// # Errors
/// If there is no driver, or no device.
pub fn devices() -> Result<Vec<DeviceInfo>, CudaError> {
    (0..count()?).map(device).collect()
}

/// One of the devices.
pub fn device(index: usize) -> Result<DeviceInfo, CudaError> {
    let ask = "query a device";
    let read = || -> Result<DeviceInfo, DriverError> {
        let number = i32::try_from(index).map_err(|_| DriverError(CUDA_ERROR_NO_DEVICE))?;
        let device = result::device::get(number)?;
        // SAFETY: the device came from the driver.
        let attribute = |a| unsafe { result::device::get_attribute(device, a) };
        use sys::CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        };
        Ok(DeviceInfo {
            index,
            name: result::device::get_name(device)?,
            capability: (attribute(MAJOR)?.unsigned_abs(), attribute(MINOR)?.unsigned_abs()),
            // SAFETY: as above.
            total: unsafe { result::device::total_mem(device) }?,
            free: None,
            driver: driver_version()?,
        })
    };
    let mut info = read().map_err(driver(ask))?;
    info.free = match CudaContext::new(index).and_then(|context| context.mem_get_info()) {
        Ok((free, _)) => Some(free),
        Err(DriverError(CUDA_ERROR_OUT_OF_MEMORY)) => Some(0),
        Err(_) => None,
    };
    Ok(info)
}

fn driver_version() -> Result<(u32, u32), DriverError> {
    let mut version = 0;
    // SAFETY: the pointer is valid during the call.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    let version = version.unsigned_abs();
    Ok((version / 1000, version % 1000 / 10))
}
