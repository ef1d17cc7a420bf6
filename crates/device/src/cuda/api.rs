//! The CUDA driver API: its functions, loaded at run time from `libcuda.so.1`, and its result
//! codes.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr::NonNull;

use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUmodule, CUstream, CUuuid,
};

use super::CudaError;
pub(super) use crate::error::code;

/// A `CUresult` as an integer instead of an enum: newer drivers return codes that this program does
/// not know.
pub(super) type Code = u32;

/// Declares the driver functions that this crate calls, and looks up all of them at once, so that a
/// missing function is an error at start and not a panic later.
macro_rules! functions {
    ($($name:ident($($argument:ty),*);)+) => {
        /// Function pointers into the driver's library.
        #[allow(non_snake_case)]
        pub(super) struct Api {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) -> Code,)+
        }

        impl Api {
            /// Opens the driver's library and looks up all functions.
            pub(super) fn find() -> Result<Api, CudaError> {
                let library = open_library().map_err(super::driver::library_missing)?;
                let found = |name: &'static str| {
                    let text = std::ffi::CString::new(name).unwrap_or_default();
                    // SAFETY: the library is never closed, and the name ends with a NUL.
                    let address = unsafe { libc::dlsym(library.as_ptr(), text.as_ptr()) };
                    NonNull::new(address).ok_or(CudaError::DriverIncomplete { function: name })
                };
                Ok(Api {
                    $($name: {
                        let address = found(stringify!($name))?;
                        // SAFETY: the signature is that of the CUDA driver API; results are 32-bit
                        // integers.
                        unsafe { std::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn($($argument),*) -> Code>(address) }
                    },)+
                })
            }
        }
    };
}

/// Opens the driver's library for the life of the process; on failure returns the dynamic loader's
/// first message. `libcuda.so.1` is tried first: a CUDA toolkit installs a stub `libcuda.so` for
/// linking, which is not a driver.
fn open_library() -> Result<NonNull<c_void>, String> {
    let mut message = None;
    for name in super::driver::LIBRARIES {
        // SAFETY: the name ends with a NUL; opening the library runs only the driver's own
        // initializers; the text that `dlerror` returns is copied before the next call of the
        // loader.
        unsafe {
            if let Some(library) =
                NonNull::new(libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL))
            {
                return Ok(library);
            }
            let error = libc::dlerror();
            if !error.is_null() {
                message.get_or_insert_with(|| {
                    std::ffi::CStr::from_ptr(error).to_string_lossy().into_owned()
                });
            }
        }
    }
    Err(message.unwrap_or_default())
}

functions! {
    cuInit(c_uint);
    cuDriverGetVersion(*mut c_int);
    cuGetErrorName(Code, *mut *const c_char);
    cuGetErrorString(Code, *mut *const c_char);

    cuDeviceGetCount(*mut c_int);
    cuDeviceGet(*mut CUdevice, c_int);
    cuDeviceGetName(*mut c_char, c_int, CUdevice);
    cuDeviceGetUuid_v2(*mut CUuuid, CUdevice);
    cuDeviceGetPCIBusId(*mut c_char, c_int, CUdevice);
    cuDeviceTotalMem_v2(*mut usize, CUdevice);
    cuDeviceGetAttribute(*mut c_int, c_uint, CUdevice);
    cuDeviceCanAccessPeer(*mut c_int, CUdevice, CUdevice);

    cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
    cuDevicePrimaryCtxRelease_v2(CUdevice);
    cuCtxSetCurrent(CUcontext);
    cuCtxEnablePeerAccess(CUcontext, c_uint);

    cuMemGetInfo_v2(*mut usize, *mut usize);
    cuMemAlloc_v2(*mut CUdeviceptr, usize);
    cuMemFree_v2(CUdeviceptr);
    cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
    cuMemFreeHost(*mut c_void);

    cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, CUstream);
    cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, CUstream);
    cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, usize, CUstream);
    cuMemcpyPeerAsync(CUdeviceptr, CUcontext, CUdeviceptr, CUcontext, usize, CUstream);
    cuMemsetD8Async(CUdeviceptr, u8, usize, CUstream);

    cuStreamCreate(*mut CUstream, c_uint);
    cuStreamDestroy_v2(CUstream);
    cuStreamQuery(CUstream);
    cuStreamWaitEvent(CUstream, CUevent, c_uint);
    cuEventCreate(*mut CUevent, c_uint);
    cuEventDestroy_v2(CUevent);
    cuEventRecord(CUevent, CUstream);
    cuEventQuery(CUevent);

    cuModuleLoadDataEx(*mut CUmodule, *const c_void, c_uint, *mut c_uint, *mut *mut c_void);
    cuModuleUnload(CUmodule);
    cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
    cuFuncSetAttribute(CUfunction, c_uint, c_int);
    cuLaunchKernel(CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void, *mut *mut c_void);
}

impl Api {
    /// Name and description of a result code, as the driver gives them; placeholders for a code
    /// that the driver does not know.
    pub(super) fn describe(&self, code: Code) -> (String, String) {
        let text = |function: unsafe extern "C" fn(Code, *mut *const c_char) -> Code| {
            let mut text = std::ptr::null();
            // SAFETY: the output pointer refers to a local variable; the driver sets it to a
            // constant that ends with a NUL.
            unsafe {
                let known = function(code, &raw mut text) == code::SUCCESS && !text.is_null();
                known.then(|| std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
        let name = text(self.cuGetErrorName).unwrap_or_else(|| "unknown result".to_owned());
        (name, text(self.cuGetErrorString).unwrap_or_else(|| "of a newer driver".to_owned()))
    }

    /// The [`CudaError::Failed`] for a call that returned `code`.
    pub(super) fn failed(
        &self,
        ordinal: Option<usize>,
        call: &'static str,
        code: Code,
    ) -> CudaError {
        let (name, meaning) = self.describe(code);
        CudaError::Failed { ordinal, call, code, name, meaning }
    }
}
