//! Being small while nothing is to be done.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// In milliseconds; 0 for never.
static AFTER: AtomicU64 = AtomicU64::new(0);

/// Has every wait for a command that lasts longer than `wait` give the mapped pages of the
/// program's own file back, as far as they are never written to (madvise(2), `MADV_DONTNEED`). The
/// file stays in the page cache, and a page that is needed again is mapped again; what is not, such
/// as most of what reads options and plans mounts, is no longer resident in a process that does
/// nothing but wait.
///
/// It is for programs that are there for one sandbox, and not for a library to call, which has no
/// business with the pages of the program that it is in.
pub fn shed_program_pages_after(wait: Duration) {
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    AFTER.store(millis.max(1), Ordering::Relaxed);
}

/// When a wait that begins now is to do so.
pub(super) fn due() -> Option<Instant> {
    let after = Some(AFTER.load(Ordering::Relaxed)).filter(|millis| *millis > 0)?;
    Instant::now().checked_add(Duration::from_millis(after))
}

pub(super) fn shed() {
    // SAFETY: the callback has the type that the call wants, and no data.
    unsafe { libc::dl_iterate_phdr(Some(shed_object), ptr::null_mut()) };
}

/// The first object is the program.
///
/// # Safety
/// As dl_iterate_phdr(3) calls it.
unsafe extern "C" fn shed_object(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    _: *mut libc::c_void,
) -> libc::c_int {
    const DONE: libc::c_int = 1;
    // SAFETY: dl_iterate_phdr passes a live structure, with that many headers.
    let (base, headers) = unsafe {
        let info = &*info;
        if info.dlpi_phdr.is_null() {
            return DONE;
        }
        let count = usize::from(info.dlpi_phnum);
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, count);
        (info.dlpi_addr, headers)
    };
    // SAFETY: sysconf with a constant.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        // Pages that another segment may have a part of are left alone.
        let start = (base + header.p_vaddr).next_multiple_of(page);
        let end = (base + header.p_vaddr + header.p_filesz) / page * page;
        let (Ok(at), Ok(len)) = (
            usize::try_from(start),
            usize::try_from(end.saturating_sub(start)),
        ) else {
            continue;
        };
        // SAFETY: the pages are mapped from the program's file, for reading, and were never
        // written to: whatever is read there next comes from the file again.
        unsafe {
            libc::madvise(ptr::without_provenance_mut(at), len, libc::MADV_DONTNEED);
        }
    }
    DONE
}
