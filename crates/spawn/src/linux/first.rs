//! The command as the first process of its namespace ([`Run::as_pid_1`]): what the init program
//! does for a command otherwise, done by the child that becomes it.

use core::cell::Cell;
use core::ffi::CStr;
use core::ptr;
use std::ffi::CString;
use std::sync::Arc;

use sandboxlib_core::SpawnError;

use super::exec::{self, Refusal};
use super::fresh;
use super::lower::Filter;
use super::order::Words;
use super::pass;
use super::raw::{self, Errno, Fd, nr};
use super::wire::{Message, kind};
use super::{Ready, rlimits};
use crate::prepared::no_first_process;
use crate::run::Run;

/// All that the child needs to become the command. It lives as [`Birth`](super::setup::Birth) does.
pub(super) struct First {
    candidates: Vec<*const u8>,
    argv: Vec<*const u8>,
    envp: Vec<*const u8>,
    cwd: CString,
    limits: CString,
    filter: Option<Arc<Filter>>,
    /// What the pointers lead to.
    _words: Words,
    /// What failed; kind 0 if nothing has yet.
    failure: Cell<Message>,
    /// Whether there was nothing left to do but to execute the command.
    begun: Cell<bool>,
}

impl First {
    pub(super) fn new(ready: &Ready, run: &Run, limits: &CStr) -> Result<Self, SpawnError> {
        if !ready.lowered.namespaces.pid {
            return Err(no_first_process("there is no process id namespace"));
        }
        if run.tty.is_some() {
            return Err(no_first_process("there is nobody to open its terminal"));
        }
        if ends_are_forgotten() {
            return Err(no_first_process(
                "this process ignores SIGCHLD, so nobody would know how the command ends",
            ));
        }
        let words = Words::of(run)?;
        let pointers = |list: &[CString], end: &[*const u8]| {
            let pointers = list.iter().map(|string| string.as_ptr().cast());
            pointers.chain(end.iter().copied()).collect()
        };
        Ok(Self {
            candidates: pointers(&words.candidates, &[]),
            argv: pointers(&words.args, &[ptr::null()]),
            envp: pointers(&words.env, &[ptr::null()]),
            cwd: words.cwd.clone(),
            limits: limits.to_owned(),
            filter: ready.lowered.filter.clone(),
            _words: words,
            failure: Cell::new(Message::new(0)),
            begun: Cell::new(false),
        })
    }

    /// What failed, of a child that has executed something or ended.
    pub(super) fn failure(&self) -> Option<Message> {
        Some(self.failure.get()).filter(|failure| failure.kind != 0)
    }

    /// Whether such a child has come as far as executing the command.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// The child becomes the command, or leaves why not and ends.
    ///
    /// `later` is a descriptor that takes its time to close: exec would wait for it, so the parent
    /// gets it.
    pub(super) fn become_command(&self, control: Fd, later: Fd) -> ! {
        if stays_open(later) {
            // Where the parent cannot have it, it is closed here.
            let _ = pass::send_with(control, &Message::new(kind::LATER), later);
            raw::close(later);
        }
        let failure = match self.prepare(control) {
            Ok(()) => self.execute(),
            Err((kind, errno)) => {
                let mut failure = Message::new(kind);
                failure.errno = errno;
                failure
            }
        };
        // A filter may allow nothing by which it could be sent, and the memory is the parent's.
        self.failure.set(failure);
        raw::exit(127)
    }

    fn prepare(&self, control: Fd) -> Result<(), (u32, Errno)> {
        const PR_SET_PDEATHSIG: usize = 1;
        fresh::reset_signals();
        fresh::unblock_signals();
        // SAFETY: the string is NUL-terminated.
        unsafe { raw::call(nr::CHDIR, [self.cwd.as_ptr() as usize, 0, 0, 0, 0, 0]) }
            .map_err(|errno| (kind::CWD_FAILED, errno))?;
        // SAFETY: the string is NUL-terminated.
        unsafe { rlimits::set(self.limits.as_ptr().cast()) }
            .map_err(|errno| (kind::LIMITS_FAILED, errno))?;
        // The last that a change of ids would undo.
        // SAFETY: numbers alone.
        unsafe {
            raw::call(
                nr::PRCTL,
                [PR_SET_PDEATHSIG, libc::SIGKILL as usize, 0, 0, 0, 0],
            )
        }
        .map_err(|errno| (kind::REFUSED, errno))?;
        if is_over(control) {
            // The caller is gone already, and no signal will come for it.
            raw::exit(127);
        }
        Ok(())
    }

    fn execute(&self) -> Message {
        let mut failure = Message::new(0);
        let mut bound = false;
        // Where the command is looked for needs calls that a filter may close.
        let looks = self.filter.as_ref().is_none_or(|filter| filter.leaves_init);
        let attempt = |path: *const u8| {
            if !bound {
                self.bind()?;
                bound = true;
            }
            self.begun.set(true);
            let args = [
                path as usize,
                self.argv.as_ptr() as usize,
                self.envp.as_ptr() as usize,
                0,
                0,
                0,
            ];
            // SAFETY: null-terminated arrays of NUL-terminated strings, which the parent keeps.
            let done = unsafe { raw::call(nr::EXECVE, args) };
            match done.err().unwrap_or(0) {
                errno if looks => Err::<core::convert::Infallible, _>(Refusal::Exec(errno)),
                errno => Err(Refusal::Other {
                    kind: kind::EXEC_FAILED,
                    errno,
                }),
            }
        };
        let (list, count) = (self.candidates.as_ptr(), self.candidates.len());
        // SAFETY: a list of that many strings.
        let never = unsafe { exec::exec_first(list, count, &mut failure, attempt) };
        if let Some(never) = never {
            match never {}
        }
        failure
    }

    /// Loads the filter.
    fn bind(&self) -> Result<(), Refusal> {
        let filter = self.filter.as_ref().map_or(fresh::Filter::NONE, |filter| {
            // SAFETY: so many are there, and the parent keeps them.
            unsafe { fresh::Filter::new(filter.len(), filter.instructions.as_ptr()) }
        });
        filter.load().map_err(|errno| Refusal::Other {
            kind: kind::FILTER_FAILED,
            errno,
        })
    }
}

/// Whether the kernel keeps no status of the caller's children (wait(2), NOTES).
fn ends_are_forgotten() -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the structure is live for the call, and all zero is a valid value of it.
    let action = unsafe {
        libc::sigaction(libc::SIGCHLD, ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0
}

/// Whether exec leaves the descriptor open.
fn stays_open(fd: Fd) -> bool {
    let args = [raw::arg(fd), libc::F_GETFD as usize, 0, 0, 0, 0];
    // SAFETY: numbers alone.
    let flags = unsafe { raw::call(nr::FCNTL, args) };
    flags.is_ok_and(|flags| flags & libc::FD_CLOEXEC as usize == 0)
}

/// Whether the other end of the control socket is closed.
fn is_over(control: Fd) -> bool {
    const POLLIN: i16 = 1;
    #[repr(C)]
    struct PollFd {
        fd: Fd,
        events: i16,
        revents: i16,
    }
    let mut polled = PollFd {
        fd: control,
        events: POLLIN,
        revents: 0,
    };
    // struct timespec: no time at all.
    let now = [0u64; 2];
    let args = [
        &raw mut polled as usize,
        1,
        &raw const now as usize,
        0,
        8,
        0,
    ];
    // SAFETY: pointers to live structures.
    let ready = unsafe { raw::call(nr::PPOLL, args) };
    // The parent says nothing at this time.
    ready == Ok(1)
}
