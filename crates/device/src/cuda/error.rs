use error_kind::{ErrorKind, HasKind};
use std::time::Duration;

use thiserror::Error;

use super::api::code;

/// What can go wrong with the driver and the GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CudaError {
    /// There is no driver library.
    #[error(
        "no CUDA driver: {looked_for} was found neither by LD_LIBRARY_PATH nor among the system's libraries{}; {}",
        loader_message.as_ref().map_or_else(String::new, |loader_message| format!(", or could not be opened ({loader_message})")),
        match module {
            Some(version) => format!(
                "the kernel has the driver's module ({version}), so its library is missing here: in a container, start it with the \
                 NVIDIA container toolkit (--gpus all, or --nv)"
            ),
            None => "install NVIDIA's driver 550 or newer (the CUDA toolkit is not needed)".to_owned(),
        }
    )]
    NoDriver {
        /// The library's name.
        looked_for: &'static str,
        /// The version of the kernel's module, where it is loaded.
        module: Option<String>,
        /// What the loader says where there is a file that it cannot open.
        loader_message: Option<String>,
    },

    /// The driver library lacks a function that every driver of our age has.
    #[error("the CUDA driver library lacks {function}; install NVIDIA's driver 550 or newer")]
    DriverIncomplete {
        /// The function.
        function: &'static str,
    },

    /// The driver is older than the kernels' PTX.
    #[error(
        "the CUDA driver is for CUDA {}.{}, and {}.{} is needed; install NVIDIA's driver 550 or newer",
        found.0, found.1, needed.0, needed.1
    )]
    DriverTooOld {
        /// Major and minor version of CUDA that it is for.
        found: (i32, i32),
        /// The least that is needed.
        needed: (i32, i32),
    },

    /// The driver sees no GPU.
    #[error(
        "the CUDA driver sees no GPU; nvidia-smi shows whether the machine does, and a container or a job must be given gpus"
    )]
    NoDevice,

    /// There may be GPUs, but none is to be seen.
    #[error("CUDA_VISIBLE_DEVICES={value:?} {why}")]
    DevicesHidden {
        /// The variable's value.
        value: String,
        /// Whether it is what hides them.
        why: &'static str,
    },

    /// No such GPU.
    #[error("there is no CUDA device {ordinal}: the driver shows {devices}, counted from 0")]
    NoSuchDevice {
        /// The GPU asked for.
        ordinal: usize,
        /// How many there are.
        devices: usize,
    },

    /// A GPU that cannot be used.
    #[error("CUDA device {ordinal} ({name}) cannot be used: {why}")]
    Unusable {
        /// Its number.
        ordinal: usize,
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },

    /// A call failed, and the next may succeed.
    #[error("{}{call} failed: {name} ({code}), {meaning}{}", at(*ordinal), advice(*code))]
    Failed {
        /// The GPU, where it concerns one.
        ordinal: Option<usize>,
        /// The driver's function.
        call: &'static str,
        /// Its result.
        code: u32,
        /// The result's name.
        name: String,
        /// What the driver says that it means.
        meaning: String,
    },

    /// A GPU failed for good. Nothing on it can be used any more by this process.
    #[error(
        "CUDA device {ordinal} is lost: {call} gave {name} ({code}), {meaning}{}", lost_advice(*code)
    )]
    Lost {
        /// The GPU.
        ordinal: usize,
        /// The call that found it.
        call: &'static str,
        /// Its result.
        code: u32,
        /// The result's name.
        name: String,
        /// What the driver says that it means.
        meaning: String,
    },

    /// The kernels could not be loaded.
    #[error(
        "CUDA device {ordinal}: the driver cannot load the kernels: {name} ({code}), {meaning}{log}"
    )]
    Image {
        /// The GPU.
        ordinal: usize,
        /// The driver's result.
        code: u32,
        /// The result's name.
        name: String,
        /// What the driver says that it means.
        meaning: String,
        /// What its compiler loader_message.
        log: String,
    },

    /// The GPU has too little free memory.
    #[error(
        "CUDA device {ordinal} is out of memory: {requested_bytes} bytes were asked for, {free_bytes} of {total_bytes} are free; place fewer layers on it \
         (--max-memory), or end what else runs there (nvidia-smi)"
    )]
    OutOfMemory {
        /// The GPU.
        ordinal: usize,
        /// Bytes asked for.
        requested_bytes: u64,
        /// Bytes free.
        free_bytes: u64,
        /// All of the GPU's bytes.
        total_bytes: u64,
    },

    /// More than what was planned for the GPU.
    #[error(
        "CUDA device {ordinal}: {requested_bytes} bytes were asked for beside {reserved_bytes} of the planned {quota_bytes}; raise its budget \
         (--max-memory) or place fewer layers on it"
    )]
    QuotaExceeded {
        /// The GPU.
        ordinal: usize,
        /// Bytes asked for.
        requested_bytes: u64,
        /// Bytes taken from the driver so far.
        reserved_bytes: u64,
        /// The most that may be taken.
        quota_bytes: u64,
    },

    /// An arena's hard limit would be passed.
    #[error(
        "CUDA device {ordinal}: its arena holds {used_bytes} of at most {limit_bytes} bytes and cannot take {requested_bytes} more; raise the GPU's \
         budget or place fewer layers on it"
    )]
    ArenaFull {
        /// The GPU.
        ordinal: usize,
        /// Bytes asked for.
        requested_bytes: u64,
        /// Bytes handed out so far.
        used_bytes: u64,
        /// The arena's limit.
        limit_bytes: u64,
    },

    /// The system gave no pinned host memory.
    #[error(
        "{bytes} bytes of pinned host memory were refused ({name}); free host memory, or raise the limit on locked memory (ulimit -l)"
    )]
    HostMemory {
        /// Bytes asked for.
        bytes: u64,
        /// The driver's result.
        name: String,
    },

    /// A region was finished before every part of it was filled.
    #[error(
        "CUDA device {ordinal}: {filled_bytes} of {expected_bytes} bytes were filled; fill every part before finishing the region"
    )]
    Unfilled {
        /// The GPU.
        ordinal: usize,
        /// Bytes whose copy or kernel was queued.
        filled_bytes: u64,
        /// Bytes of the region.
        expected_bytes: u64,
    },

    /// A range lies outside of what it is taken from.
    #[error(
        "{start}..{end} was asked of {what}, which has {len}; this is a defect, please report it"
    )]
    OutOfRange {
        /// What the range is taken from, and its unit.
        what: &'static str,
        /// First element.
        start: u64,
        /// One past the last.
        end: u64,
        /// Elements there are.
        len: u64,
    },

    /// Memory of one GPU was given to another.
    #[error(
        "{what} belongs to CUDA device {found}, and CUDA device {expected} was to use it; this is a defect, please report it"
    )]
    WrongGpu {
        /// Which memory.
        what: &'static str,
        /// The GPU that works.
        expected: usize,
        /// The GPU that it belongs to.
        found: usize,
    },

    /// Work on a GPU was not done by its deadline.
    #[error("CUDA device {ordinal}: {doing} was not done after {:.1} s; the GPU may hang (nvidia-smi, dmesg)", waited.as_secs_f64())]
    Timeout {
        /// The GPU.
        ordinal: usize,
        /// What was waited for.
        doing: &'static str,
        /// For how long.
        waited: Duration,
    },

    /// Every buffer of a pinned ring was with a reader until the deadline.
    #[error("all {buffers} pinned buffers were with readers for {:.1} s: the readers wait for the disk", waited.as_secs_f64())]
    RingExhausted {
        /// Buffers of the ring.
        buffers: usize,
        /// How long one was waited for.
        waited: Duration,
    },
}

impl CudaError {
    /// Whether less memory on the GPU would have helped.
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

/// What to do about a GPU that is lost.
fn lost_advice(code: u32) -> &'static str {
    match code {
        code if code::is_ours(code) => "; this is a defect, please report it",
        _ => {
            "; start again, and without it if that happens again (nvidia-smi -q and dmesg say more)"
        }
    }
}

/// What to do about results that a machine's state leads to.
fn advice(code: u32) -> &'static str {
    match code {
        code::OUT_OF_MEMORY => {
            "; end what else runs on the GPU (nvidia-smi), or leave it out (CUDA_VISIBLE_DEVICES)"
        }
        code if code::is_ours(code) => "; this is a defect, please report it",
        34 => {
            "; the toolkit's stub was found in place of the driver: take its folder (.../stubs) out of LD_LIBRARY_PATH"
        }
        46 => "; another process may hold the GPU alone (compute mode exclusive)",
        304 => "; the device files may not be open to this user or container (/dev/nvidia*)",
        802 => "; GPUs joined by NVSwitch need nvidia-fabricmanager running",
        803 => {
            "; the driver's library and the kernel's module are of different versions: restart the machine, or the container"
        }
        804 => {
            "; a compatibility library of the toolkit is in front of the driver: take it out of LD_LIBRARY_PATH"
        }
        999 => "; try nvidia-smi: the kernel's module may need to be loaded again",
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
    fn results_have_the_kinds_of_their_causes() {
        use ErrorKind::{Bug, OutOfMemory, Unavailable};
        let codes = [2, 1, 400, 34, 46, 802, 803, 999, 12_345].map(|code| failed(code).kind());
        assert_eq!(
            codes,
            [
                OutOfMemory,
                Bug,
                Bug,
                Unavailable,
                Unavailable,
                Unavailable,
                Unavailable,
                Unavailable,
                Unavailable
            ]
        );
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
    fn errors_say_what_to_do() {
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
