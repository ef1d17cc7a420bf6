//! Thread pinning.

use std::io;

/// Pins the calling thread to `core`.
#[cfg(target_os = "linux")]
pub(super) fn this_thread(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: an all-zero cpu_set_t is an empty set; CPU_SET accesses only the set, since
    // core < CPU_SETSIZE.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        set
    };
    // SAFETY: pointer and length are those of `set`; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Pinning is supported on Linux only.
#[cfg(not(target_os = "linux"))]
pub(super) fn this_thread(_: usize) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
