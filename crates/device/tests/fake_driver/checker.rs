//! Tests that the fake CUDA driver itself rejects invalid copies.

use crate::on_fake_gpus;

/// Each copy runs in a separate process, since the GPU is lost after the first invalid one.
#[test]
fn copies_outside_of_live_memory_end_the_gpu() {
    const NAME: &str = "checker::copies_outside_of_live_memory_end_the_gpu";
    /// Copies to an allocation of 1000 bytes: offset, length, whether the source is pinned, and the
    /// expected result code.
    const COPIES: [(i64, usize, bool, u32); 8] = [
        (0, 1000, true, 0),
        (10, 990, true, 0),
        (0, 1001, true, 700),
        (1, 1000, true, 700),
        (-1, 10, true, 700),
        (1000, 1, true, 700),
        (1 << 40, 1, true, 700),
        (0, 1000, false, 700),
    ];
    match std::env::var("COPY") {
        Ok(at) => raw_copy(COPIES[at.parse::<usize>().expect("a number")]),
        Err(_) => {
            (0..COPIES.len()).for_each(|at| on_fake_gpus(NAME, &[("COPY", &at.to_string())], || {}))
        }
    }
}

fn raw_copy((at, len, from_pinned, expected): (i64, usize, bool, u32)) {
    use std::ffi::c_void;
    use std::ptr::null_mut;
    type Handle = *mut c_void;
    let symbol = open_library("libcuda.so.1");
    // SAFETY: the function types are those of the CUDA driver API; output pointers refer to local
    // variables; the driver validates the ranges of copies.
    unsafe {
        let init: unsafe extern "C" fn(u32) -> u32 = std::mem::transmute(symbol("cuInit"));
        let retain: unsafe extern "C" fn(*mut Handle, i32) -> u32 =
            std::mem::transmute(symbol("cuDevicePrimaryCtxRetain"));
        let enter: unsafe extern "C" fn(Handle) -> u32 =
            std::mem::transmute(symbol("cuCtxSetCurrent"));
        let allocate: unsafe extern "C" fn(*mut u64, usize) -> u32 =
            std::mem::transmute(symbol("cuMemAlloc_v2"));
        let pin: unsafe extern "C" fn(*mut Handle, usize, u32) -> u32 =
            std::mem::transmute(symbol("cuMemHostAlloc"));
        let stream: unsafe extern "C" fn(*mut Handle, u32) -> u32 =
            std::mem::transmute(symbol("cuStreamCreate"));
        let copy: unsafe extern "C" fn(u64, *const c_void, usize, Handle) -> u32 =
            std::mem::transmute(symbol("cuMemcpyHtoDAsync_v2"));
        let (mut context, mut pinned, mut queue, mut address) =
            (null_mut(), null_mut(), null_mut(), 0);
        let ready =
            [init(0), retain(&mut context, 0), enter(context), allocate(&mut address, 1000)];
        assert_eq!((ready, pin(&mut pinned, 2000, 0), stream(&mut queue, 1)), ([0; 4], 0, 0));
        let own = vec![0u8; 2000];
        let from = if from_pinned { pinned.cast_const() } else { own.as_ptr().cast() };
        assert_eq!(copy(address.wrapping_add_signed(at), from, len, queue), expected);
        assert_eq!(copy(address, pinned, 1, queue), expected, "the error persists");
    }
}

/// Opens a library and returns a function that looks up its symbols.
fn open_library(name: &str) -> impl Fn(&str) -> *mut std::ffi::c_void {
    let text = |name: &str| std::ffi::CString::new(name).expect("a name");
    // SAFETY: the name ends with a NUL; the library is the fake CUDA driver, which is safe to load.
    let library = unsafe { libc::dlopen(text(name).as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null(), "{name}");
    move |name| {
        // SAFETY: the library is never closed, and the name ends with a NUL.
        let found = unsafe { libc::dlsym(library, text(name).as_ptr()) };
        assert!(!found.is_null(), "{name}");
        found
    }
}
