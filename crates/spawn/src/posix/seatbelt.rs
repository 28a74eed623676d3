//! Whether this process is in a sandbox of macOS already.

/// Whether it is; `None` where the system does not tell, or has no such sandbox.
#[cfg(not(target_os = "macos"))]
pub(super) fn inside() -> Option<bool> {
    None
}

/// Whether it is; `None` where the system does not tell.
///
/// By sandbox_check(), which is in libSystem and in no public header. It is looked up when it is
/// needed, so that a system without it is one that does not tell, and no reason not to start.
#[cfg(target_os = "macos")]
pub(super) fn inside() -> Option<bool> {
    use std::ffi::{c_char, c_int, c_void};

    // SAFETY: for callers: the filter kind is followed by exactly what that kind takes.
    type SandboxCheck =
        unsafe extern "C" fn(libc::pid_t, operation: *const c_char, filter: c_int, ...) -> c_int;

    // SAFETY: the name is NUL-terminated, and RTLD_DEFAULT stands for what is loaded already.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"sandbox_check".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: the symbol of this name is a C function of this type wherever it exists: a process
    // id, an operation, the kind of filter, and what that kind takes. An address and a function
    // pointer have one size here.
    let check = unsafe { std::mem::transmute::<*mut c_void, SandboxCheck>(symbol) };
    // SAFETY: no operation and the filter kind 0 ask whether the process is in a sandbox at all;
    // with them no further argument is read.
    match unsafe { check(libc::getpid(), std::ptr::null(), 0) } {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
