//! Kernel sets: the instructions that kernels use.

use std::fmt;

use crate::DeviceError;

/// The instructions that kernels use. Results depend on them, so the set is part of a run's
/// provenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KernelSet {
    /// Portable code.
    Scalar,
    /// AVX2, FMA and F16C (2013 and later).
    Avx2,
    /// AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
    /// [`Self::Avx512`] and AVX-512 BF16.
    Avx512Bf16,
}

/// Revision of the kernels' arithmetic, incremented whenever the results of a set change: results
/// of different revisions, like those of different sets, must not be mixed. (Revision 2 sums
/// attention weights lane by lane. Revision 3 weights bf16 values in pairs.)
const ARITHMETIC: u32 = 3;

/// The kernel set (or the sets of a model on several devices) with the revision, such as
/// `avx512/3`. Identifies the arithmetic by which a result row was computed.
pub fn provenance(kernel_set: &str) -> String {
    format!("{kernel_set}/{ARITHMETIC}")
}

/// Environment variable that selects a kernel set.
pub const KERNELS_VARIABLE: &str = "VENDOMINI_KERNELS";

impl KernelSet {
    /// All sets, slowest first.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// The set that `VENDOMINI_KERNELS` names, else the fastest that this CPU supports.
    ///
    /// # Errors
    /// [`DeviceError::KernelSetUnknown`] or [`DeviceError::KernelSetUnavailable`] for the value of
    /// the variable.
    pub fn best() -> Result<Self, DeviceError> {
        match std::env::var(KERNELS_VARIABLE) {
            Ok(name) if !name.is_empty() => Self::named(&name)?.checked(),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(Self::fastest()),
            Err(error) => Err(DeviceError::KernelSetUnknown { found: error.to_string() }),
        }
    }

    /// The fastest set that this CPU supports.
    pub fn fastest() -> Self {
        Self::ALL.into_iter().rfind(|set| set.missing().is_none()).unwrap_or(Self::Scalar)
    }

    /// The set called `name`.
    ///
    /// # Errors
    /// [`DeviceError::KernelSetUnknown`].
    pub fn named(name: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::KernelSetUnknown { found: name.to_owned() };
        Self::ALL.into_iter().find(|set| set.name() == name).ok_or_else(unknown)
    }

    /// Name in the environment variable and in provenance.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
        }
    }

    /// The set itself if this CPU supports it.
    ///
    /// # Errors
    /// [`DeviceError::KernelSetUnavailable`].
    pub fn checked(self) -> Result<Self, DeviceError> {
        match self.missing() {
            None => Ok(self),
            Some(missing) => {
                let best = Self::fastest().name();
                Err(DeviceError::KernelSetUnavailable { set: self.name(), missing, best })
            }
        }
    }

    /// The first feature of the set that this CPU lacks.
    #[cfg(target_arch = "x86_64")]
    fn missing(self) -> Option<&'static str> {
        macro_rules! first_missing {
            ($($feature:tt),*) => { $(if !std::arch::is_x86_feature_detected!($feature) { return Some($feature); })* };
        }
        if self >= Self::Avx2 {
            first_missing!("avx2", "fma", "f16c");
        }
        if self >= Self::Avx512 {
            first_missing!("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni");
        }
        if self >= Self::Avx512Bf16 {
            first_missing!("avx512bf16");
        }
        None
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn missing(self) -> Option<&'static str> {
        (self != Self::Scalar).then_some("x86-64")
    }
}

impl fmt::Display for KernelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
