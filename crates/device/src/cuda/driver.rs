use std::ffi::{CStr, c_int};
use std::sync::OnceLock;

use super::CudaError;
use super::api::{Api, code};

/// The CUDA version whose PTX the kernels are in: the driver must be for this one or a later one.
const NEEDED: (i32, i32) = (12, 4);

/// The CUDA driver of this machine, started. Cheap to clone.
#[derive(Clone, Copy)]
pub struct Driver {
    pub(super) api: &'static Api,
    version: (i32, i32),
}

impl Driver {
    /// Finds the driver's library and starts it. Only the first call does the work; an error is not
    /// kept.
    ///
    /// It is looked for as every program's libraries are (`LD_LIBRARY_PATH`, then the system's),
    /// and it is the driver that obeys `CUDA_VISIBLE_DEVICES`, which Slurm sets to the GPUs of
    /// a job. Starting it may take seconds, and where the kernel's module hangs, for ever: call
    /// this where something watches.
    ///
    /// # Errors
    /// All with exit code 69: [`CudaError::NoDriver`], [`CudaError::DriverIncomplete`],
    /// [`CudaError::DriverTooOld`], [`CudaError::NoDevice`], [`CudaError::DevicesHidden`], or
    /// [`CudaError::Failed`] with what the driver loader_message.
    pub fn open() -> Result<Driver, CudaError> {
        static OPEN: OnceLock<Driver> = OnceLock::new();
        if let Some(driver) = OPEN.get() {
            return Ok(*driver);
        }
        let driver = Driver::start(library()?)?;
        Ok(*OPEN.get_or_init(|| driver))
    }

    fn start(api: &'static Api) -> Result<Driver, CudaError> {
        // The version first: a driver that is too old for its GPUs may not start.
        let mut version: c_int = 0;
        // SAFETY: the pointer is to a local.
        let read = unsafe { (api.cuDriverGetVersion)(&raw mut version) };
        if read != code::SUCCESS {
            return Err(api.failed(None, "cuDriverGetVersion", read));
        }
        let found = (version / 1000, version % 1000 / 10);
        if found < NEEDED {
            return Err(CudaError::DriverTooOld { found, needed: NEEDED });
        }
        // SAFETY: no pointers; it may be called again.
        match unsafe { (api.cuInit)(0) } {
            code::SUCCESS => {}
            code::NO_DEVICE => return Err(nothing_to_see()),
            other => return Err(api.failed(None, "cuInit", other)),
        }
        let driver = Driver { api, version: found };
        if driver.count()? == 0 {
            return Err(nothing_to_see());
        }
        Ok(driver)
    }

    /// Major and minor version of CUDA that the driver is for.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// How many GPUs the driver shows.
    pub(super) fn count(&self) -> Result<usize, CudaError> {
        let mut count: c_int = 0;
        // SAFETY: the pointer is to a local.
        let counted = unsafe { (self.api.cuDeviceGetCount)(&raw mut count) };
        self.checked(None, "cuDeviceGetCount", counted)?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// The error of a call that concerns no context.
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

/// The library's functions, found once for the life of the process.
fn library() -> Result<&'static Api, CudaError> {
    static API: OnceLock<Api> = OnceLock::new();
    if let Some(api) = API.get() {
        return Ok(api);
    }
    let api = Api::find()?;
    Ok(API.get_or_init(|| api))
}

/// The names of the driver's library, in the order in which they are tried.
pub(super) const LIBRARIES: [&CStr; 2] = [c"libcuda.so.1", c"libcuda.so"];

/// The error of a machine without the driver's library, of which the loader `loader_message` something.
pub(super) fn none(loader_message: String) -> CudaError {
    let version = std::fs::read_to_string("/proc/driver/nvidia/version").ok();
    let module = version.and_then(|text| Some(text.lines().next()?.trim().to_owned()));
    // That there is no such file is what the error says anyway.
    let loader_message = Some(loader_message).filter(|loader_message| {
        !loader_message.is_empty() && !loader_message.contains("No such file")
    });
    CudaError::NoDriver { looked_for: "libcuda.so.1 (or libcuda.so)", module, loader_message }
}

fn nothing_to_see() -> CudaError {
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(value) => CudaError::DevicesHidden { why: why_hidden(&value), value },
        Err(_) => CudaError::NoDevice,
    }
}

/// What hides the GPUs where the variable is set: itself, or something else if it names some. Slurm
/// sets it for every job with GPUs.
fn why_hidden(value: &str) -> &'static str {
    match value.trim() {
        "" | "-1" | "NoDevFiles" => {
            "hides every GPU; unset it, or name GPUs that are there (0,1,...)"
        }
        _ => {
            "is set, and the driver shows none of these GPUs: they are not there, or their device files (/dev/nvidia*) may not be opened here"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::why_hidden;

    #[test]
    fn a_job_whose_gpus_cannot_be_opened_is_not_told_to_unset_its_variable() {
        assert!(why_hidden("").contains("unset it") && why_hidden("-1").contains("unset it"));
        assert!(why_hidden("0,1").contains("/dev/nvidia*"));
    }
}
