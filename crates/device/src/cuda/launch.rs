//! Kernel launches.

use std::ffi::c_void;
use std::ptr;

use cudarc::driver::sys;

use super::context::call;
use super::{CudaError, Gpu, Kernel};

/// Keys of the `extra` list of cuLaunchKernel.
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
    /// Thread blocks along x, y and z; 0 launches nothing.
    pub blocks: [u32; 3],
    /// Threads per block along x, y and z.
    pub threads: [u32; 3],
    /// Dynamic shared memory per block, in bytes.
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
    /// Queues a kernel on the compute stream and returns before it runs; a later call reports what
    /// goes wrong in it.
    ///
    /// # Errors
    /// The driver's error for the launch or for earlier work.
    ///
    /// # Safety
    /// `args` must be the kernel's struct, and every address in it memory of this GPU as long as
    /// the kernel reads and writes for these arguments and this grid. No concurrent work may access
    /// what the kernel writes.
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
        // The bytes of the struct and their number, which the driver checks against the kernel.
        let mut extra: [*mut c_void; 5] = [
            ptr::without_provenance_mut(BUFFER_POINTER),
            ptr::from_ref(args).cast_mut().cast(),
            ptr::without_provenance_mut(BUFFER_SIZE),
            (&raw mut bytes).cast(),
            ptr::without_provenance_mut(END),
        ];
        let ([bx, by, bz], [tx, ty, tz]) = (grid.blocks, grid.threads);
        let (stream, shared) = (self.compute().handle, grid.shared_bytes);
        // SAFETY: the driver copies the arguments before it returns; the rest is required of the
        // caller and of `KernelArgs`.
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
