//! Instantiation of kernels for each kernel set.

/// Defines `$name(set, args..)`, which calls the generic `$body::<S>(args..)` with the
/// [`simd::Simd`] of `set` in a function that enables its instructions.
///
/// The CPU must support `set`. It supports the set of every [`super::Cpu`].
///
/// [`simd::Simd`]: super::simd::Simd
macro_rules! kernel {
    ($(#[$doc:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$doc])*
        $vis unsafe fn $name(set: $crate::cpu::KernelSet, $($arg: $ty),*) $(-> $ret)? {
            use $crate::cpu::{KernelSet, simd};
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the features of Avx2 are enabled here; the caller guarantees the rest.
                unsafe { $body::<simd::Avx2>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
            unsafe fn avx512($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the features of Avx512 are enabled here; the caller guarantees the rest.
                unsafe { $body::<simd::Avx512<false>>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")]
            unsafe fn avx512bf16($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the features of Avx512<true> are enabled here; the caller guarantees the
                // rest.
                unsafe { $body::<simd::Avx512<true>>($($arg),*) }
            }
            // SAFETY: `Cpu` checked that the CPU supports the set; the caller guarantees the rest.
            unsafe {
                match set {
                    KernelSet::Scalar => $body::<simd::Scalar>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    KernelSet::Avx2 => avx2($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    KernelSet::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    KernelSet::Avx512Bf16 => avx512bf16($($arg),*),
                    #[cfg(not(target_arch = "x86_64"))]
                    _ => $body::<simd::Scalar>($($arg),*),
                }
            }
        }
    };
}
pub(super) use kernel;
