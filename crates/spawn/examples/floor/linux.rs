//! The caller's part.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::{Duration, Instant};

use crate::child::Plan;
use crate::told::{Result, obey};

const LETTERS: &[u8] = b"umpitnRlvs";
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const STACK: usize = 256 * 1024;

pub(crate) fn main() -> Result<()> {
    let (plan, heap) = arguments(std::env::args_os().skip(1))?;
    let heap = Mapping::new(heap << 20)?;
    heap.fill();
    if plan.has(b's') {
        obey(|| Ok(|| spawn_plainly(&plan)))
    } else {
        obey(|| {
            let stack = Mapping::new(STACK)?;
            Ok({
                let plan = &plan;
                move || spawn(plan, &stack)
            })
        })
    }
}

/// The plan, and the MiB that are to be resident.
fn arguments(mut args: impl Iterator<Item = OsString>) -> Result<(Plan, usize)> {
    let letters = args.next().ok_or("no letters")?.into_encoded_bytes();
    if let Some(letter) = letters.iter().find(|l| !LETTERS.contains(l)) {
        return Err(format!("no letter {:?}", char::from(*letter)).into());
    }
    let (mut root, mut at) = (PathBuf::from("/"), None);
    let (mut binds, mut heap, mut program) = (vec![], 0, None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or("a value is missing");
        match arg.to_str() {
            Some("--root") => root = value()?.into(),
            Some("--at") => at = Some(PathBuf::from(value()?)),
            Some("--bind") => binds.push((value()?, value()?)),
            Some("--heap") => heap = value()?.to_string_lossy().parse()?,
            _ => program = Some(arg),
        }
    }
    let at = at.unwrap_or_else(|| root.clone());
    let below = |path: &OsStr| {
        let path = Path::new(path);
        text(at.join(path.strip_prefix("/").unwrap_or(path)).as_os_str())
    };
    // SAFETY: these take nothing and cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let program = text(&program.ok_or("no program")?)?;
    let plan = Plan {
        letters,
        root: text(root.as_os_str())?,
        at: text(at.as_os_str())?,
        binds: binds
            .iter()
            .map(|(source, target)| Ok((text(source)?, below(target)?)))
            .collect::<Result<_>>()?,
        dev: below("dev".as_ref())?,
        nodes: NODES
            .iter()
            .map(|name| {
                let path = Path::new("/dev").join(name);
                Ok((text(path.as_os_str())?, below(path.as_os_str())?))
            })
            .collect::<Result<_>>()?,
        tmp: below("tmp".as_ref())?,
        proc: below("proc".as_ref())?,
        uid_map: CString::new(format!("{uid} {uid} 1"))?,
        gid_map: CString::new(format!("{gid} {gid} 1"))?,
        // A C string stays where it is when its owner is moved.
        argv: [program.as_ptr(), ptr::null()],
        envp: [ptr::null()],
        program,
    };
    Ok((plan, heap))
}

fn text(text: &OsStr) -> Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}

// SAFETY: the pointers in it lead to its own program's name, which nothing changes, so any thread
// may read both.
unsafe impl Sync for Plan {}

fn spawn(plan: &Plan, stack: &Mapping) -> Result<Duration> {
    let flag = |letter: u8, flag: i32| if plan.has(letter) { flag } else { 0 };
    let flags = libc::SIGCHLD
        | flag(b'u', libc::CLONE_NEWUSER)
        | flag(b'm', libc::CLONE_NEWNS)
        | flag(b'p', libc::CLONE_NEWPID)
        | flag(b'i', libc::CLONE_NEWIPC)
        | flag(b't', libc::CLONE_NEWUTS)
        | flag(b'n', libc::CLONE_NEWNET)
        | flag(b'v', libc::CLONE_VM | libc::CLONE_VFORK);
    let began = Instant::now();
    let arg = ptr::from_ref(plan).cast_mut().cast();
    // SAFETY: the stack is this worker's own, and no child of it is alive: the last was waited
    // for below. With `v` this thread stands until the child has executed or ended, so the plan
    // outlives the child's use of it; without, the child has a copy of both. The end of a mapping
    // is aligned to a page.
    let pid = unsafe { libc::clone(child, stack.end(), flags, arg) };
    if pid < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    wait(pid)?;
    Ok(began.elapsed())
}

extern "C" fn child(plan: *mut libc::c_void) -> i32 {
    // SAFETY: `spawn` passes a reference to a plan, which lives as it says there.
    let plan = unsafe { &*plan.cast::<Plan>() };
    plan.carry_out()
}

fn spawn_plainly(plan: &Plan) -> Result<Duration> {
    let began = Instant::now();
    let mut pid = 0;
    // SAFETY: the strings and lists live in the plan; without file actions and attributes there
    // may be null pointers. posix_spawn(3) writes to none of the strings.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            plan.program.as_ptr(),
            ptr::null(),
            ptr::null(),
            plan.argv.as_ptr().cast(),
            plan.envp.as_ptr().cast(),
        )
    };
    if error != 0 {
        return Err(std::io::Error::from_raw_os_error(error).into());
    }
    wait(pid)?;
    Ok(began.elapsed())
}

fn wait(pid: libc::pid_t) -> Result<()> {
    let mut status = 0;
    // SAFETY: a child of this process that nobody else waits for, and a place for its status.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        return Err(std::io::Error::last_os_error().into());
    }
    match status {
        0 => Ok(()),
        status => Err(format!("the child ended with status {status:#x}").into()),
    }
}

/// Private memory of its own, outside of the heap.
struct Mapping {
    base: *mut libc::c_void,
    size: usize,
}

impl Mapping {
    /// An empty one is none.
    fn new(size: usize) -> Result<Self> {
        let base = if size == 0 {
            ptr::null_mut()
        } else {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new anonymous mapping at an address of the kernel's choice.
            unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) }
        };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok(Self { base, size })
    }

    fn end(&self) -> *mut libc::c_void {
        // SAFETY: one past the end of the mapping, whose base and size these are.
        unsafe { self.base.byte_add(self.size) }
    }

    /// Makes all of it resident, in small pages: those are what a fork has to copy one by one.
    fn fill(&self) {
        if self.size > 0 {
            // SAFETY: the mapping is of this size, writable, and nobody else knows it.
            unsafe {
                libc::madvise(self.base, self.size, libc::MADV_NOHUGEPAGE);
                ptr::write_bytes(self.base.cast::<u8>(), 1, self.size);
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.size > 0 {
            // SAFETY: the mapping made in `new`; the last child that used it was waited for.
            unsafe { libc::munmap(self.base, self.size) };
        }
    }
}
