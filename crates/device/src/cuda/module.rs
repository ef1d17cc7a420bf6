use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cudarc::driver::sys::{CUfunction, CUfunction_attribute, CUjit_option, CUmodule};

use super::context::{Context, call};
use super::kernels::{IMAGE, Kernel};
use super::{CudaError, api};

/// Options of `cuModuleLoadDataEx`: where the compiler's errors go, and how many bytes fit there.
const ERROR_LOG: [CUjit_option; 2] =
    [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];

/// An attribute of a function: how much dynamic shared memory a launch may ask for.
const MAX_SHARED: u32 =
    CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as u32;

/// What a launch may ask for without saying so before.
const SHARED_BYTES_FREE: u32 = 48 << 10;

/// The kernels on one GPU.
pub(super) struct KernelModule {
    context: Arc<Context>,
    handle: CUmodule,
    /// By the kernel's number.
    functions: Vec<KernelFunction>,
}

struct KernelFunction {
    handle: CUfunction,
    /// Dynamic shared memory that it was allowed so far.
    shared_bytes: AtomicU32,
}

// SAFETY: the driver takes a module's and a function's handle from any thread.
unsafe impl Send for KernelModule {}
// SAFETY: as above.
unsafe impl Sync for KernelModule {}

impl KernelModule {
    /// Has the driver compile the image for the GPU, and finds every kernel in it.
    ///
    /// # Errors
    /// [`CudaError::Image`] with the compiler's log.
    pub(super) fn load(context: &Arc<Context>) -> Result<KernelModule, CudaError> {
        let mut module = KernelModule {
            context: context.clone(),
            handle: compile(context, IMAGE)?,
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
            found.map_err(|error| refused(error, format!("; it lacks {:?}", kernel.name())))?;
            module
                .functions
                .push(KernelFunction { handle, shared_bytes: AtomicU32::new(SHARED_BYTES_FREE) });
        }
        Ok(module)
    }

    /// The kernel's handle, allowed to use so much dynamic shared memory.
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
            // SAFETY: loaded by `load`, unloaded once.
            unsafe { (self.context.api.cuModuleUnload)(self.handle) };
        }
    }
}

fn compile(context: &Arc<Context>, image: &[u8]) -> Result<CUmodule, CudaError> {
    let text = CString::new(image).map_err(|_| CudaError::Image {
        ordinal: context.ordinal,
        code: 0,
        name: "no text".to_owned(),
        meaning: "the image holds a NUL; this is a defect, please report it".to_owned(),
        log: String::new(),
    })?;
    let mut log = vec![0u8; 16 << 10];
    let mut options = ERROR_LOG.map(|option| option as u32);
    let mut values: [*mut c_void; 2] =
        [log.as_mut_ptr().cast(), ptr::without_provenance_mut(log.len())];
    let (mut handle, count) = (ptr::null_mut(), options.len() as u32);
    // SAFETY: the image is text with a NUL at its end; log, options and values are alive during the
    // call, and of the sizes given.
    let loaded = unsafe {
        let (options, values) = (options.as_mut_ptr(), values.as_mut_ptr());
        call!(
            context,
            cuModuleLoadDataEx(&raw mut handle, text.as_ptr().cast(), count, options, values)
        )
    };
    loaded.map_err(|error| refused(error, said(&log)))?;
    Ok(handle)
}

/// What the driver's compiler wrote.
fn said(log: &[u8]) -> String {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    if text.trim().is_empty() {
        String::new()
    } else {
        format!("; its compiler says: {}", text.trim())
    }
}

fn refused(error: CudaError, log: String) -> CudaError {
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
        assert_eq!(said(b"ptxas error: line 3\n\0\0"), "; its compiler says: ptxas error: line 3");
        assert_eq!((said(b"\0\0\0"), said(b"")), (String::new(), String::new()));
    }
}
