//! Kernel launches.

use std::ffi::c_void;
use std::ptr;

use cudarc::driver::sys;

use super::context::call;
use super::{CudaError, Gpu, Kernel};

/// Keys in the `extra` array of `cuLaunchKernel`.
const BUFFER_POINTER: usize = sys::CU_LAUNCH_PARAM_BUFFER_POINTER_AS_INT as usize;
const BUFFER_SIZE: usize = sys::CU_LAUNCH_PARAM_BUFFER_SIZE_AS_INT as usize;
const END: usize = sys::CU_LAUNCH_PARAM_END_AS_INT as usize;

/// The only argument of a kernel: a struct that is copied to the GPU byte by byte.
///
/// # Safety
/// The struct must be `#[repr(C)]` with the layout of the struct in the kernel sources, without
/// padding.
pub(crate) unsafe trait KernelArgs: Copy {}

/// Launch configuration of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Number of thread blocks along x, y and z; if one is 0, nothing is launched.
    pub blocks: [u32; 3],
    /// Threads per thread block along x, y and z.
    pub threads: [u32; 3],
    /// Dynamic shared memory per thread block, in bytes.
    pub shared_bytes: u32,
}

impl Grid {
    /// A one-dimensional grid without dynamic shared memory.
    pub(crate) fn one_dimensional(blocks: u32, threads: u32) -> Grid {
        Grid { blocks: [blocks, 1, 1], threads: [threads, 1, 1], shared_bytes: 0 }
    }

    fn is_empty(&self) -> bool {
        self.blocks.contains(&0)
    }
}

impl Gpu {
    /// Queues a kernel on the compute stream and returns before it has run; an error in the kernel
    /// is returned by a later call.
    ///
    /// # Errors
    /// The driver's error for the launch or for earlier work.
    ///
    /// # Safety
    /// `A` must be the argument struct of `kernel`. Every address in `args` must be that of live
    /// memory of this GPU, large enough for all that the kernel reads and writes with these
    /// arguments and this grid. No concurrent work may access memory that the kernel writes.
    pub(crate) unsafe fn launch<A: KernelArgs>(
        &self,
        kernel: Kernel,
        grid: Grid,
        args: &A,
    ) -> Result<(), CudaError> {
        if grid.is_empty() {
            return Ok(());
        }
        let function = self.module()?.function(kernel, grid.shared_bytes)?;
        let mut bytes = size_of::<A>();
        // The argument struct and its size, which the driver compares with the size of the kernel's
        // parameter.
        let mut extra: [*mut c_void; 5] = [
            ptr::without_provenance_mut(BUFFER_POINTER),
            ptr::from_ref(args).cast_mut().cast(),
            ptr::without_provenance_mut(BUFFER_SIZE),
            (&raw mut bytes).cast(),
            ptr::without_provenance_mut(END),
        ];
        let ([bx, by, bz], [tx, ty, tz]) = (grid.blocks, grid.threads);
        let (stream, shared) = (self.compute().handle, grid.shared_bytes);
        // SAFETY: the driver copies the arguments before it returns; the caller and the contract of
        // `KernelArgs` guarantee the rest.
        unsafe {
            let extra = extra.as_mut_ptr();
            call!(
                self.context(),
                cuLaunchKernel(
                    function,
                    bx,
                    by,
                    bz,
                    tx,
                    ty,
                    tz,
                    shared,
                    stream,
                    ptr::null_mut(),
                    extra
                )
            )
        }
    }
}
