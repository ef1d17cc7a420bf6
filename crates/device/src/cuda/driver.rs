//! Finds and initializes the CUDA driver, and explains why it cannot be used.

use std::ffi::{CStr, c_int};
use std::sync::OnceLock;

use super::CudaError;
use super::api::{Api, code};

/// CUDA version of the kernels' PTX: the driver must support this version or a later one.
const NEEDED: (i32, i32) = (12, 4);

/// The initialized CUDA driver of this machine. Cheap to clone.
#[derive(Clone, Copy)]
pub struct Driver {
    pub(super) api: &'static Api,
    version: (i32, i32),
}

impl Driver {
    /// Loads and initializes the driver. A success is cached for the life of the process, an error
    /// is not.
    ///
    /// The dynamic loader looks for the library in `LD_LIBRARY_PATH`, then in the system's folders.
    /// The driver itself applies `CUDA_VISIBLE_DEVICES`, which Slurm sets to the GPUs of a job.
    /// Initialization may take seconds, and never ends if the kernel module hangs: call this under
    /// the watchdog.
    ///
    /// # Errors
    /// [`CudaError::NoDriver`], [`CudaError::DriverIncomplete`], [`CudaError::DriverTooOld`],
    /// [`CudaError::NoDevice`], [`CudaError::DevicesHidden`], or [`CudaError::Failed`] with the
    /// driver's result; all are [`Unavailable`](error_kind::ErrorKind::Unavailable).
    pub fn open() -> Result<Driver, CudaError> {
        static OPEN: OnceLock<Driver> = OnceLock::new();
        if let Some(driver) = OPEN.get() {
            return Ok(*driver);
        }
        let driver = Driver::start(library()?)?;
        Ok(*OPEN.get_or_init(|| driver))
    }

    fn start(api: &'static Api) -> Result<Driver, CudaError> {
        // The version is checked first, since a driver that is too old for its GPUs may fail to
        // initialize.
        let mut version: c_int = 0;
        // SAFETY: the output pointer refers to a local variable.
        let read = unsafe { (api.cuDriverGetVersion)(&raw mut version) };
        if read != code::SUCCESS {
            return Err(api.failed(None, "cuDriverGetVersion", read));
        }
        let found = (version / 1000, version % 1000 / 10);
        if found < NEEDED {
            return Err(CudaError::DriverTooOld { found, needed: NEEDED });
        }
        // SAFETY: the call takes no pointers and may be repeated.
        match unsafe { (api.cuInit)(0) } {
            code::SUCCESS => {}
            code::NO_DEVICE => return Err(no_visible_device()),
            other => return Err(api.failed(None, "cuInit", other)),
        }
        let driver = Driver { api, version: found };
        if driver.count()? == 0 {
            return Err(no_visible_device());
        }
        Ok(driver)
    }

    /// The CUDA version (major, minor) that the driver supports.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// Number of GPUs that are visible to this process.
    pub(super) fn count(&self) -> Result<usize, CudaError> {
        let mut count: c_int = 0;
        // SAFETY: the output pointer refers to a local variable.
        let counted = unsafe { (self.api.cuDeviceGetCount)(&raw mut count) };
        self.checked(None, "cuDeviceGetCount", counted)?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Converts the result code of a driver call that needs no context.
    pub(super) fn checked(
        &self,
        ordinal: Option<usize>,
        call: &'static str,
        code: u32,
    ) -> Result<(), CudaError> {
        if code == code::SUCCESS { Ok(()) } else { Err(self.api.failed(ordinal, call, code)) }
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Driver(CUDA {}.{})", self.version.0, self.version.1)
    }
}

/// The driver's functions, looked up once per process.
fn library() -> Result<&'static Api, CudaError> {
    static API: OnceLock<Api> = OnceLock::new();
    if let Some(api) = API.get() {
        return Ok(api);
    }
    let api = Api::find()?;
    Ok(API.get_or_init(|| api))
}

/// Names of the driver's library, in the order of lookup.
pub(super) const LIBRARIES: [&CStr; 2] = [c"libcuda.so.1", c"libcuda.so"];

/// The error for a machine whose driver library cannot be opened; `loader_message` is the dynamic
/// loader's message, or empty.
pub(super) fn library_missing(loader_message: String) -> CudaError {
    let version = std::fs::read_to_string("/proc/driver/nvidia/version").ok();
    let module = version.and_then(|text| Some(text.lines().next()?.trim().to_owned()));
    // The message "No such file" adds nothing to the error text.
    let loader_message = Some(loader_message).filter(|loader_message| {
        !loader_message.is_empty() && !loader_message.contains("No such file")
    });
    CudaError::NoDriver { looked_for: "libcuda.so.1 (or libcuda.so)", module, loader_message }
}

fn no_visible_device() -> CudaError {
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(value) => CudaError::DevicesHidden { why: why_hidden(&value), value },
        Err(_) => CudaError::NoDevice,
    }
}

/// Reason why no GPU is visible although `CUDA_VISIBLE_DEVICES` is set: its value hides all GPUs,
/// or it names GPUs that cannot be used. Slurm sets the variable for every job with GPUs, so advice
/// to unset it is right only in the first case.
fn why_hidden(value: &str) -> &'static str {
    match value.trim() {
        "" | "-1" | "NoDevFiles" => {
            "hides every GPU; unset it, or set it to existing GPUs (0,1,...)"
        }
        _ => {
            "is set, and the driver shows none of these GPUs: they do not exist, or their device files (/dev/nvidia*) cannot be opened here"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::why_hidden;

    #[test]
    fn a_job_whose_gpus_cannot_be_opened_is_not_advised_to_unset_its_variable() {
        assert!(why_hidden("").contains("unset it") && why_hidden("-1").contains("unset it"));
        assert!(why_hidden("0,1").contains("/dev/nvidia*"));
    }
}
