use std::ffi::c_void;
use std::ptr;

use cudarc::driver::sys;

use super::context::call;
use super::{CudaError, Gpu, Kernel};

/// Names of the driver's for what follows in the list of extras of a launch.
const BUFFER_POINTER: usize = sys::CU_LAUNCH_PARAM_BUFFER_POINTER_AS_INT as usize;
const BUFFER_SIZE: usize = sys::CU_LAUNCH_PARAM_BUFFER_SIZE_AS_INT as usize;
const END: usize = sys::CU_LAUNCH_PARAM_END_AS_INT as usize;

/// The one argument of a kernel: a struct that is copied to the GPU as it lies in memory.
///
/// # Safety
/// The struct must be `#[repr(C)]`, of the same layout as the one that the kernels' sources
/// declare, without padding.
pub(crate) unsafe trait KernelArgs: Copy {}

/// How many threads run a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Blocks along x, y and z. None: there is nothing to do.
    pub blocks: [u32; 3],
    /// Threads of a block along x, y and z.
    pub threads: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
}

impl Grid {
    /// `blocks` blocks of `threads` threads, without dynamic shared memory.
    pub(crate) fn line(blocks: u32, threads: u32) -> Grid {
        Grid { blocks: [blocks, 1, 1], threads: [threads, 1, 1], shared_bytes: 0 }
    }

    fn is_empty(&self) -> bool {
        self.blocks.contains(&0)
    }
}

impl Gpu {
    /// Queues a kernel. It returns before the kernel runs; what goes wrong in it is found by a
    /// later call.
    ///
    /// # Errors
    /// What the driver says of the launch, or found of earlier work.
    ///
    /// # Safety
    /// `args` must be the struct that the kernel takes, and every address in it memory of this GPU
    /// that is as long as the kernel reads and writes for these arguments and this grid.
    /// Nothing that runs beside it may use what it writes.
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
        // The struct as it lies, and its size: the driver checks the size against the kernel's.
        let mut extra: [*mut c_void; 5] = [
            ptr::without_provenance_mut(BUFFER_POINTER),
            ptr::from_ref(args).cast_mut().cast(),
            ptr::without_provenance_mut(BUFFER_SIZE),
            (&raw mut bytes).cast(),
            ptr::without_provenance_mut(END),
        ];
        let ([bx, by, bz], [tx, ty, tz]) = (grid.blocks, grid.threads);
        let (stream, shared) = (self.compute().handle, grid.shared_bytes);
        // SAFETY: the driver copies the arguments before it returns; the rest is the caller's
        // promise and that of KernelArgs.
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
