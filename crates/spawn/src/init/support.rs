//! What a program without libc has to bring itself: the entry point, the panic handler, and the
//! memory functions that the compiler may call.

use core::arch::global_asm;

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov rdi, rsp",
    "xor ebp, ebp",
    "and rsp, -16",
    "call init_main",
);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x0, sp", "mov x29, xzr", "bl init_main");

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    super::raw::exit(125)
}

/// # Safety
/// As memset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, len: usize) -> *mut u8 {
    let mut i = 0;
    while i < len {
        // Volatile, so that the compiler does not turn the loop into a call of this function.
        // SAFETY: i < len, by memset's contract.
        unsafe { to.add(i).write_volatile(value as u8) };
        i += 1;
    }
    to
}

/// # Safety
/// As memcpy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    let mut i = 0;
    while i < len {
        // SAFETY: i < len, by memcpy's contract.
        unsafe { to.add(i).write_volatile(*from.add(i)) };
        i += 1;
    }
    to
}

/// # Safety
/// As memcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    let mut i = 0;
    while i < len {
        // SAFETY: i < len, by memcmp's contract.
        let (x, y) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        i += 1;
    }
    0
}

/// The precompiled core library names this function in its unwind tables. Nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
