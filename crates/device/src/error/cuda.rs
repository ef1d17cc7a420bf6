//! Errors of the CUDA driver and of GPU memory, copies and kernels.

use std::time::Duration;

use error_kind::{ErrorKind, HasKind};
use thiserror::Error;

/// Result codes of the CUDA driver that are handled specially.
pub(crate) mod code {
    pub const SUCCESS: u32 = 0;
    pub const OUT_OF_MEMORY: u32 = 2;
    pub const NO_DEVICE: u32 = 100;
    pub const NOT_READY: u32 = 600;
    pub const PEER_ACCESS_ALREADY_ENABLED: u32 = 704;

    /// Codes caused by a defect of this program: an invalid call or an illegal access in a kernel.
    /// (714 and 719 may also be hardware faults.)
    pub fn is_ours(code: u32) -> bool {
        matches!(code, 1 | 201 | 400 | 500 | 700 | 701 | 710 | 715..=718)
    }

    /// Sticky errors, after which every later call in the context fails: the GPU fell off the bus,
    /// its memory or a link broke, or a kernel made an illegal access.
    pub fn is_final(code: u32) -> bool {
        matches!(
            code,
            46 | 214 | 220 | 226 | 700 | 702 | 709 | 710 | 714..=719 | 721 | 810 | 911 | 999
        )
    }
}

/// Failure of the CUDA driver or of an operation on a GPU. `ordinal` is the CUDA device ordinal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CudaError {
    /// No driver library was found.
    #[error(
        "no CUDA driver: {looked_for} was found neither in LD_LIBRARY_PATH nor among the system's libraries{}; {}",
        loader_message.as_ref().map_or_else(String::new, |loader_message| format!(", or could not be opened ({loader_message})")),
        match module {
            Some(version) => format!(
                "the kernel module is loaded ({version}), so only the library is missing: start a container with the \
                 NVIDIA container toolkit (--gpus all, or --nv)"
            ),
            None => "install NVIDIA's driver 550 or newer (the CUDA toolkit is not needed)".to_owned(),
        }
    )]
    NoDriver {
        looked_for: &'static str,
        /// Version of the loaded NVIDIA kernel module.
        module: Option<String>,
        /// Message of the dynamic loader, if a library file exists but cannot be opened.
        loader_message: Option<String>,
    },

    /// The driver library lacks a required function.
    #[error("the CUDA driver library lacks {function}; install NVIDIA's driver 550 or newer")]
    DriverIncomplete { function: &'static str },

    /// The driver is older than the kernels' PTX.
    #[error(
        "the CUDA driver supports CUDA {}.{}, and {}.{} is needed; install NVIDIA's driver 550 or newer",
        found.0, found.1, needed.0, needed.1
    )]
    DriverTooOld {
        /// CUDA version (major, minor) of the driver.
        found: (i32, i32),
        needed: (i32, i32),
    },

    /// The driver finds no GPU.
    #[error(
        "the CUDA driver finds no GPU; check with nvidia-smi, and request GPUs for the container or job"
    )]
    NoDevice,

    /// No GPU is visible because of `CUDA_VISIBLE_DEVICES`.
    #[error("CUDA_VISIBLE_DEVICES={value:?} {why}")]
    DevicesHidden { value: String, why: &'static str },

    /// The ordinal is out of range.
    #[error("there is no CUDA device {ordinal}: the driver shows {devices}, counted from 0")]
    NoSuchDevice { ordinal: usize, devices: usize },

    /// The GPU exists but cannot be used.
    #[error("CUDA device {ordinal} ({name}) cannot be used: {why}")]
    Unusable { ordinal: usize, name: String, why: String },

    /// A driver call failed; later calls may succeed.
    #[error("{}{call} failed: {name} ({code}), {meaning}{}", at(*ordinal), advice(*code))]
    Failed {
        ordinal: Option<usize>,
        call: &'static str,
        code: u32,
        name: String,
        /// The driver's description of the result.
        meaning: String,
    },

    /// Sticky error: this process can no longer use the GPU.
    #[error(
        "CUDA device {ordinal} is lost: {call} gave {name} ({code}), {meaning}{}", lost_advice(*code)
    )]
    Lost {
        ordinal: usize,
        call: &'static str,
        code: u32,
        name: String,
        /// The driver's description of the result.
        meaning: String,
    },

    /// The driver rejected the kernels' PTX.
    #[error(
        "CUDA device {ordinal}: the driver cannot load the kernels: {name} ({code}), {meaning}{log}"
    )]
    Image {
        ordinal: usize,
        code: u32,
        name: String,
        /// The driver's description of the result.
        meaning: String,
        /// Log of the driver's PTX compiler.
        log: String,
    },

    /// The GPU has too little free memory.
    #[error(
        "CUDA device {ordinal} is out of memory: {requested_bytes} bytes requested, {free_bytes} of {total_bytes} free; place fewer layers on it \
         (--max-memory), or stop other processes on it (nvidia-smi)"
    )]
    OutOfMemory { ordinal: usize, requested_bytes: u64, free_bytes: u64, total_bytes: u64 },

    /// A reservation would exceed the memory planned for the GPU.
    #[error(
        "CUDA device {ordinal}: {requested_bytes} bytes requested with {reserved_bytes} of the planned {quota_bytes} reserved; raise its budget \
         (--max-memory) or place fewer layers on it"
    )]
    QuotaExceeded {
        ordinal: usize,
        requested_bytes: u64,
        /// Bytes reserved from the driver so far.
        reserved_bytes: u64,
        quota_bytes: u64,
    },

    /// An allocation would exceed the arena's limit.
    #[error(
        "CUDA device {ordinal}: its arena holds {used_bytes} of at most {limit_bytes} bytes and cannot take {requested_bytes} more; raise the GPU's \
         budget or place fewer layers on it"
    )]
    ArenaFull {
        ordinal: usize,
        requested_bytes: u64,
        /// Bytes allocated so far.
        used_bytes: u64,
        limit_bytes: u64,
    },

    /// Pinned host memory could not be allocated.
    #[error(
        "cannot pin {bytes} bytes of host memory ({name}); free host memory, or raise the limit on locked memory (ulimit -l)"
    )]
    HostMemory { bytes: u64, name: String },

    /// A region was finished before all of it was filled.
    #[error(
        "CUDA device {ordinal}: {filled_bytes} of {expected_bytes} bytes were filled; fill every part before finishing the region"
    )]
    Unfilled {
        ordinal: usize,
        /// Bytes whose copy or kernel was queued.
        filled_bytes: u64,
        expected_bytes: u64,
    },

    /// A range exceeds its container.
    #[error(
        "range {start}..{end} exceeds {what} of length {len}; this is a defect, please report it"
    )]
    OutOfRange {
        /// The container, and the unit of the range.
        what: &'static str,
        start: u64,
        end: u64,
        len: u64,
    },

    /// Memory of one GPU was passed to an operation on another.
    #[error(
        "{what} belongs to CUDA device {found} and was passed to CUDA device {expected}; this is a defect, please report it"
    )]
    WrongGpu {
        what: &'static str,
        /// The GPU of the operation.
        expected: usize,
        /// The GPU that owns the memory.
        found: usize,
    },

    /// Work on a GPU did not complete before its deadline.
    #[error("CUDA device {ordinal}: {doing} was not done after {:.1} s; the GPU may hang (nvidia-smi, dmesg)", waited.as_secs_f64())]
    Timeout {
        ordinal: usize,
        /// The operation that did not complete.
        doing: &'static str,
        waited: Duration,
    },

    /// Readers held every buffer of a pinned ring until the deadline.
    #[error("readers held all {buffers} pinned buffers for {:.1} s: they wait for the disk", waited.as_secs_f64())]
    RingExhausted { buffers: usize, waited: Duration },
}

impl CudaError {
    /// Whether the error is a lack of memory.
    pub fn is_memory(&self) -> bool {
        self.kind() == ErrorKind::OutOfMemory
    }
}

impl HasKind for CudaError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoDriver { .. }
            | Self::DriverIncomplete { .. }
            | Self::DriverTooOld { .. }
            | Self::NoDevice
            | Self::DevicesHidden { .. }
            | Self::NoSuchDevice { .. }
            | Self::Unusable { .. }
            | Self::Image { .. } => ErrorKind::Unavailable,
            Self::Failed { code, .. } | Self::Lost { code, .. } => match *code {
                code::OUT_OF_MEMORY => ErrorKind::OutOfMemory,
                code if code::is_ours(code) => ErrorKind::Bug,
                _ => ErrorKind::Unavailable,
            },
            Self::Unfilled { .. } | Self::OutOfRange { .. } | Self::WrongGpu { .. } => {
                ErrorKind::Bug
            }
            Self::OutOfMemory { .. }
            | Self::QuotaExceeded { .. }
            | Self::ArenaFull { .. }
            | Self::HostMemory { .. } => ErrorKind::OutOfMemory,
            Self::Timeout { .. } | Self::RingExhausted { .. } => ErrorKind::Timeout,
        }
    }
}

fn at(ordinal: Option<usize>) -> String {
    ordinal.map_or_else(String::new, |ordinal| format!("CUDA device {ordinal}: "))
}

/// Advice for an error after which the GPU is lost.
fn lost_advice(code: u32) -> &'static str {
    match code {
        code if code::is_ours(code) => "; this is a defect, please report it",
        _ => "; restart, and exclude the GPU if this happens again (see nvidia-smi -q and dmesg)",
    }
}

/// Advice for a failed driver call, by its result code.
fn advice(code: u32) -> &'static str {
    match code {
        code::OUT_OF_MEMORY => {
            "; stop other processes on the GPU (nvidia-smi), or exclude it (CUDA_VISIBLE_DEVICES)"
        }
        code if code::is_ours(code) => "; this is a defect, please report it",
        34 => {
            "; a stub of the CUDA toolkit was loaded instead of the driver: remove its folder (.../stubs) from LD_LIBRARY_PATH"
        }
        46 => "; another process may hold the GPU exclusively (compute mode exclusive)",
        304 => "; this user or container may lack access to the device files (/dev/nvidia*)",
        802 => "; GPUs connected by NVSwitch need a running nvidia-fabricmanager",
        803 => {
            "; the driver library and the kernel module have different versions: restart the machine or the container"
        }
        804 => {
            "; a compatibility library of the CUDA toolkit shadows the driver: remove it from LD_LIBRARY_PATH"
        }
        999 => "; check with nvidia-smi: the kernel module may have to be reloaded",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: u32) -> CudaError {
        CudaError::Failed {
            ordinal: Some(1),
            call: "cuThing",
            code,
            name: "CUDA_ERROR_X".to_owned(),
            meaning: "x".to_owned(),
        }
    }

    #[test]
    fn driver_results_have_the_kind_of_their_cause() {
        use ErrorKind::{Bug, OutOfMemory, Unavailable};
        assert_eq!([2, 1, 400].map(|code| failed(code).kind()), [OutOfMemory, Bug, Bug]);
        for code in [34, 46, 802, 803, 999, 12_345] {
            assert_eq!(failed(code).kind(), Unavailable, "{code}");
        }
        assert!(failed(2).is_memory() && !failed(1).is_memory());
        let lost = |code| CudaError::Lost {
            ordinal: 0,
            call: "c",
            code,
            name: String::new(),
            meaning: String::new(),
        };
        assert_eq!(
            [700, 716, 214, 719, 999].map(|code| lost(code).kind()),
            [Bug, Bug, Unavailable, Unavailable, Unavailable]
        );
    }

    #[test]
    fn messages_advise_what_to_do() {
        assert_eq!(
            failed(12_345).to_string(),
            "CUDA device 1: cuThing failed: CUDA_ERROR_X (12345), x"
        );
        assert!(
            failed(34).to_string().contains("LD_LIBRARY_PATH")
                && failed(1).to_string().contains("report it")
        );
        let driver = |module: Option<&str>| CudaError::NoDriver {
            looked_for: "l",
            module: module.map(str::to_owned),
            loader_message: None,
        };
        assert!(driver(None).to_string().contains("install NVIDIA's driver 550"));
        assert!(driver(Some("580")).to_string().contains("container toolkit"));
        let loader_message = Some("libcuda.so.1: wrong ELF class".to_owned());
        let unreadable = CudaError::NoDriver { looked_for: "l", module: None, loader_message };
        assert!(unreadable.to_string().contains("(libcuda.so.1: wrong ELF class)"), "{unreadable}");
    }
}
