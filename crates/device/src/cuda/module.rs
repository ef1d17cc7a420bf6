//! The kernels loaded on one GPU.

use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cudarc::driver::sys::{CUfunction, CUfunction_attribute, CUjit_option, CUmodule};

use super::context::{Context, call};
use super::kernels::{Kernel, PTX};
use super::{CudaError, api};

/// Options of `cuModuleLoadDataEx`: a buffer for the compiler's errors, and the size of the buffer.
const ERROR_LOG: [CUjit_option; 2] =
    [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];

/// Function attribute: largest dynamic shared memory of a launch, in bytes.
const MAX_SHARED: u32 =
    CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as u32;

/// Bytes of dynamic shared memory that a launch may use without raising this attribute.
const SHARED_BYTES_FREE: u32 = 48 << 10;

/// The loaded module with its functions.
pub(super) struct KernelModule {
    context: Arc<Context>,
    handle: CUmodule,
    /// The kernels' functions, indexed by [`Kernel`].
    functions: Vec<KernelFunction>,
}

struct KernelFunction {
    handle: CUfunction,
    /// Current limit of dynamic shared memory per thread block, in bytes.
    shared_bytes: AtomicU32,
}

// SAFETY: the driver accepts module and function handles on any thread.
unsafe impl Send for KernelModule {}
// SAFETY: as for `Send`.
unsafe impl Sync for KernelModule {}

impl KernelModule {
    /// Loads the PTX, which the driver compiles for the GPU, and looks up every kernel.
    ///
    /// # Errors
    /// [`CudaError::Image`] with the compiler's log, or the driver's error.
    pub(super) fn load(context: &Arc<Context>) -> Result<KernelModule, CudaError> {
        let mut module = KernelModule {
            context: context.clone(),
            handle: compile(context, PTX)?,
            functions: Vec::new(),
        };
        for kernel in Kernel::ALL {
            let mut handle = ptr::null_mut();
            // SAFETY: the module is loaded, and the name ends with a NUL.
            let found = unsafe {
                call!(
                    context,
                    cuModuleGetFunction(&raw mut handle, module.handle, kernel.name().as_ptr())
                )
            };
            found.map_err(|error| {
                image_error(error, format!("; missing kernel {:?}", kernel.name()))
            })?;
            module
                .functions
                .push(KernelFunction { handle, shared_bytes: AtomicU32::new(SHARED_BYTES_FREE) });
        }
        Ok(module)
    }

    /// The kernel's handle, after raising its limit of dynamic shared memory to at least
    /// `shared_bytes`.
    pub(super) fn function(
        &self,
        kernel: Kernel,
        shared_bytes: u32,
    ) -> Result<CUfunction, CudaError> {
        let function = &self.functions[kernel as usize];
        if shared_bytes > function.shared_bytes.load(Ordering::Relaxed) {
            let bytes = i32::try_from(shared_bytes).unwrap_or(i32::MAX);
            // SAFETY: the function is alive.
            unsafe { call!(self.context, cuFuncSetAttribute(function.handle, MAX_SHARED, bytes)) }?;
            function.shared_bytes.fetch_max(shared_bytes, Ordering::Relaxed);
        }
        Ok(function.handle)
    }
}

impl Drop for KernelModule {
    fn drop(&mut self) {
        if self.context.may_free() && self.context.enter().is_ok() {
            // SAFETY: the module was loaded by `load` and is unloaded only here.
            unsafe { (self.context.api.cuModuleUnload)(self.handle) };
        }
    }
}

fn compile(context: &Arc<Context>, ptx: &[u8]) -> Result<CUmodule, CudaError> {
    let text = CString::new(ptx).map_err(|_| CudaError::Image {
        ordinal: context.ordinal,
        code: 0,
        name: "not text".to_owned(),
        meaning: "the PTX contains a NUL; this is a defect, please report it".to_owned(),
        log: String::new(),
    })?;
    let mut log = vec![0u8; 16 << 10];
    let mut options = ERROR_LOG.map(|option| option as u32);
    let mut values: [*mut c_void; 2] =
        [log.as_mut_ptr().cast(), ptr::without_provenance_mut(log.len())];
    let (mut handle, count) = (ptr::null_mut(), options.len() as u32);
    // SAFETY: the PTX ends with a NUL; `log`, `options` and `values` are alive during the call and
    // have the lengths passed.
    let loaded = unsafe {
        let (options, values) = (options.as_mut_ptr(), values.as_mut_ptr());
        call!(
            context,
            cuModuleLoadDataEx(&raw mut handle, text.as_ptr().cast(), count, options, values)
        )
    };
    loaded.map_err(|error| image_error(error, compiler_log(&log)))?;
    Ok(handle)
}

/// Formats the log of the driver's compiler, which ends at the first NUL, for an error message.
fn compiler_log(log: &[u8]) -> String {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    if text.trim().is_empty() { String::new() } else { format!("; compiler log: {}", text.trim()) }
}

fn image_error(error: CudaError, log: String) -> CudaError {
    match error {
        CudaError::Failed { ordinal: Some(ordinal), code, name, meaning, .. }
            if code != api::code::OUT_OF_MEMORY =>
        {
            CudaError::Image { ordinal, code, name, meaning, log }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_ends_at_its_nul() {
        assert_eq!(
            compiler_log(b"ptxas error: line 3\n\0\0"),
            "; compiler log: ptxas error: line 3"
        );
        assert_eq!((compiler_log(b"\0\0\0"), compiler_log(b"")), (String::new(), String::new()));
    }
}
