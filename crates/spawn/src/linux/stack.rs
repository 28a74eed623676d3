//! Stacks for children that share the caller's memory until they execute something.

use std::io;
use std::ptr;
use std::sync::Mutex;

use sandboxlib_core::SpawnError;

use super::start::resources;

/// A child's frames are small, its loops flat.
const SIZE: usize = 64 * 1024;

/// How many are kept for the next start. A start takes two, and to map, guard, touch and unmap one
/// costs as much as some seventy other system calls.
const KEPT: usize = 8;

static SPARE: Mutex<Vec<Mapping>> = Mutex::new(Vec::new());

struct Mapping {
    base: *mut libc::c_void,
    size: usize,
}

// SAFETY: it stands for memory that nothing refers to while it is kept, and can be unmapped, or
// given to a child, by any thread.
unsafe impl Send for Mapping {}

/// Memory for a child's stack, with a page below it that faults. Nothing may refer to it any more
/// when it is dropped.
pub(super) struct Stack(Option<Mapping>);

impl Stack {
    pub(super) fn new() -> Result<Self, SpawnError> {
        // Never waited for: in a child of fork(2) whoever held it is gone.
        let spare = SPARE.try_lock().ok().and_then(|mut spare| spare.pop());
        let mapping = match spare {
            Some(mapping) => mapping,
            None => Mapping::new().map_err(resources("a stack"))?,
        };
        Ok(Self(Some(mapping)))
    }

    /// One past its end; mappings and their size are multiples of 16.
    pub(super) fn top(&self) -> *mut u8 {
        self.0.as_ref().map_or(ptr::null_mut(), |mapping| {
            // SAFETY: one past the end of the mapping is still a pointer into it, for this purpose.
            unsafe { mapping.base.cast::<u8>().add(mapping.size) }
        })
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let Some(mapping) = self.0.take() else { return };
        match SPARE.try_lock() {
            Ok(mut spare) if spare.len() < KEPT => spare.push(mapping),
            _ => mapping.end(),
        }
    }
}

impl Mapping {
    fn new() -> io::Result<Self> {
        // SAFETY: sysconf with a constant.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let guard = usize::try_from(page).unwrap_or(64 * 1024);
        let size = SIZE + guard;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = Self { base, size };
        // SAFETY: the first page of the mapping that was just made and nobody uses yet.
        if unsafe { libc::mprotect(base, guard, libc::PROT_NONE) } != 0 {
            let error = io::Error::last_os_error();
            mapping.end();
            return Err(error);
        }
        Ok(mapping)
    }

    fn end(self) {
        // SAFETY: the mapping made in `new`; by the contract of `Stack` nothing refers to it.
        unsafe { libc::munmap(self.base, self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_in_use_are_apart_and_few_are_kept() {
        let stacks: Vec<Stack> = (0..20).map(|_| Stack::new().unwrap()).collect();
        let mut tops: Vec<_> = stacks.iter().map(Stack::top).collect();
        tops.sort_unstable();
        tops.dedup();
        assert_eq!(tops.len(), 20);
        for stack in &stacks {
            // SAFETY: the last byte of a mapping that is this test's own.
            unsafe { stack.top().sub(1).write(1) };
        }
        drop(stacks);
        assert!(SPARE.lock().unwrap().len() <= KEPT);
    }
}
