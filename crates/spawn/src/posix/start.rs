//! The start of a command: everything the child needs is made before it is born.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::ptr;
use std::time::Instant;

use sandboxlib_core::{ExecProblem, FailedStep, NamespaceSet, SpawnError, Step};

use super::find;
use super::process::Child;
use crate::run::{Run, Stdio};
use crate::streams::Ends;
use crate::words::{candidates, text};

/// What the child does for a step.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Session,
    ClearGroups,
    Ids {
        uid: libc::uid_t,
        gid: libc::gid_t,
    },
    ChrootTo(CString),
    /// Resources, each with what it is limited to.
    Limits(Vec<(u32, u64)>),
}

/// Where the child failed, in the order in which it proceeds. The steps of the script come
/// first, by their numbers.
#[derive(Debug, Clone, Copy)]
struct Tail {
    streams: u32,
    cwd: u32,
    /// A path that was tried, by its number added to this.
    exec: u32,
}

impl Tail {
    fn after(steps: usize) -> Self {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX / 2);
        Self {
            streams: steps,
            cwd: steps + 1,
            exec: steps + 2,
        }
    }
}

/// What a child says that fails: where, in which part of a step, and the errno.
type Record = [u32; 3];
const RECORD_SIZE: usize = size_of::<Record>();

/// The calls of one step, as a record names them.
const CALLS: [&str; 9] = [
    "",
    "setsid",
    "setgroups",
    "setgid",
    "setuid",
    "verify ids",
    "chroot",
    "chdir",
    "setrlimit",
];

const SETSID: u32 = 1;
const SETGROUPS: u32 = 2;
const SETGID: u32 = 3;
const SETUID: u32 = 4;
const VERIFY: u32 = 5;
const CHROOT: u32 = 6;
const CHDIR: u32 = 7;
const SETRLIMIT: u32 = 8;

pub(super) fn start(actions: &[Action], steps: &[Step], run: &Run) -> Result<Child, SpawnError> {
    let tail = Tail::after(steps.len());
    if run.tty.is_some() {
        let what = "a terminal for the command".to_owned();
        let why = "there is none on this system yet";
        let source = io::Error::new(io::ErrorKind::Unsupported, why);
        return Err(SpawnError::new(FailedStep::Lower { what }, source));
    }
    let top = run.fds.iter().map(|(_, to)| *to).max().unwrap_or(2).max(2);
    let (report, said) = io::pipe().map_err(resources("a pipe"))?;
    let said = above(said.into(), top)?;
    let birth = Birth::new(actions, run, tail, said, top)?;
    let paths = birth.candidates.clone();

    // std puts the standard streams in place; the rest is Birth's, up to execve.
    let mut command = Command::new("/");
    let stdio = [(0, &run.stdin), (1, &run.stdout), (2, &run.stderr)];
    let [stdin, stdout, stderr] = stdio.map(|(number, to)| stream(number, to));
    command.stdin(stdin?).stdout(stdout?).stderr(stderr?);
    // SAFETY: the closure ends in execve or _exit, and on the way calls nothing but what POSIX
    // lists as safe after fork(2) in a threaded program (and chroot and setgroups, which are bare
    // system calls); it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || birth.go());
    }
    let began = Instant::now();
    let spawned = command.spawn();
    // With the command goes the parent's copy of the writing end of the report.
    drop(command);
    let mut process = spawned
        .map_err(|source| SpawnError::new(FailedStep::Clone(NamespaceSet::default()), source))?;
    let ends = Ends {
        stdin: process
            .stdin
            .take()
            .map(|end| File::from(OwnedFd::from(end))),
        stdout: process
            .stdout
            .take()
            .map(|end| File::from(OwnedFd::from(end))),
        stderr: process
            .stderr
            .take()
            .map(|end| File::from(OwnedFd::from(end))),
        terminal: None,
        shown: None,
    };
    let pid = libc::pid_t::try_from(process.id())
        .map_err(|e| resources("a process")(io::Error::other(e)))?;
    let mut child = Child::new(pid, began, ends);
    // From here on the child is dealt with, whatever fails: it is dropped.
    match listen(OwnedFd::from(report).into()).map_err(resources("a pipe"))? {
        None => {
            child.watch().map_err(resources("a thread"))?;
            Ok(child)
        }
        Some(record) => {
            child.bury();
            Err(failure(record, tail, steps, run, &paths))
        }
    }
}

/// What the child says; `None` if it executes the command, which closes the pipe.
fn listen(mut report: File) -> io::Result<Option<Record>> {
    let mut bytes = Vec::with_capacity(RECORD_SIZE);
    report.read_to_end(&mut bytes)?;
    let mut record = [0; 3];
    for (number, bytes) in record.iter_mut().zip(bytes.chunks_exact(4)) {
        *number = u32::from_ne_bytes(bytes.try_into().unwrap_or_default());
    }
    Ok((bytes.len() == RECORD_SIZE).then_some(record))
}

fn failure(
    [place, call, errno]: Record,
    tail: Tail,
    steps: &[Step],
    run: &Run,
    paths: &[CString],
) -> SpawnError {
    let errno = i32::try_from(errno).unwrap_or(0);
    let source = io::Error::from_raw_os_error(errno);
    let index = usize::try_from(place).unwrap_or(usize::MAX);
    let step = if let Some(step) = steps.get(index) {
        let detail = CALLS.get(call as usize).copied().unwrap_or_default();
        FailedStep::Script {
            index,
            step: Box::new(step.clone()),
            detail,
        }
    } else if place == tail.streams {
        FailedStep::Streams
    } else if place == tail.cwd {
        FailedStep::WorkingDirectory(run.cwd.clone())
    } else {
        let path = usize::try_from(place - tail.exec)
            .ok()
            .and_then(|i| paths.get(i));
        let problem = problem(errno, path, steps, run);
        FailedStep::Exec {
            program: run.program.clone().into(),
            problem,
        }
    };
    SpawnError::new(step, source)
}

fn problem(errno: i32, path: Option<&CString>, steps: &[Step], run: &Run) -> ExecProblem {
    // EBADEXEC, EBADARCH, ESHLIBVERS and EBADMACHO of macOS.
    let bad = cfg!(target_vendor = "apple") && (85..=88).contains(&errno);
    match errno {
        libc::ENOENT | libc::ENOTDIR => {
            let root = steps.iter().rev().find_map(|step| match step {
                Step::ChrootTo(root) => Some(root.as_path()),
                _ => None,
            });
            let root = root.unwrap_or(Path::new("/"));
            let tried = path.map(|p| run.cwd.as_path().join(OsStr::from_bytes(p.to_bytes())));
            tried
                .and_then(|tried| find::missing_part(root, &tried))
                .unwrap_or(ExecProblem::NotFound)
        }
        libc::EACCES | libc::EPERM => ExecProblem::NotExecutable,
        libc::ENOEXEC => ExecProblem::BadFormat,
        _ if bad => ExecProblem::BadFormat,
        libc::E2BIG => ExecProblem::TooLong,
        _ => ExecProblem::Other,
    }
}

/// What the child has. It is made before the fork, and the child only reads it.
struct Birth {
    actions: Vec<Action>,
    own_session: bool,
    tail: Tail,
    report: OwnedFd,
    cwd: CString,
    candidates: Vec<CString>,
    argv: Strings,
    envp: Strings,
    /// Which descriptors go where, sources all above the targets.
    moves: Vec<(OwnedFd, RawFd)>,
    merged: bool,
    /// One more than any descriptor that the caller can have.
    limit: RawFd,
}

/// Strings as execve(2) takes them.
struct Strings {
    pointers: Vec<*const libc::c_char>,
    /// What the pointers point into. CString keeps its bytes on the heap, so moving this moves
    /// none of them.
    _strings: Vec<CString>,
}

// SAFETY: the pointers lead to memory that this struct owns and nobody changes.
unsafe impl Send for Strings {}
// SAFETY: as above; there is no way to change anything through a shared reference.
unsafe impl Sync for Strings {}

impl Strings {
    fn new(strings: Vec<CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self {
            pointers,
            _strings: strings,
        }
    }
}

impl Birth {
    fn new(
        actions: &[Action],
        run: &Run,
        tail: Tail,
        report: OwnedFd,
        top: RawFd,
    ) -> Result<Self, SpawnError> {
        let mut argv = vec![text(&run.program)?];
        for arg in &run.args {
            argv.push(text(arg)?);
        }
        let mut env = Vec::with_capacity(run.env.len());
        for (name, value) in &run.env {
            let bytes = [name.as_bytes(), b"=", value.as_bytes()].concat();
            env.push(text(OsStr::from_bytes(&bytes))?);
        }
        let mut moves = Vec::with_capacity(run.fds.len());
        for (fd, number) in &run.fds {
            if *number < 3 {
                let what = format!("a file as descriptor {number}");
                let why = "0 to 2 are the standard streams";
                let source = io::Error::new(io::ErrorKind::InvalidInput, why);
                return Err(SpawnError::new(FailedStep::Lower { what }, source));
            }
            moves.push((duplicate(fd.as_raw_fd(), top)?, *number));
        }
        Ok(Self {
            actions: actions.to_vec(),
            own_session: actions
                .iter()
                .any(|action| matches!(action, Action::Session)),
            tail,
            report,
            cwd: text(run.cwd.as_path())?,
            candidates: candidates(run)?,
            argv: Strings::new(argv),
            envp: Strings::new(env),
            moves,
            merged: matches!(run.stderr, Stdio::Stdout),
            limit: descriptor_limit(),
        })
    }

    /// The child's part. Returns for the sake of its type alone.
    fn go(&self) -> io::Result<()> {
        let (place, call) = self.carry_out();
        // SAFETY: errno is the calling thread's, and the call that failed has just set it.
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        self.say_and_exit([place, call, u32::try_from(errno).unwrap_or(0)])
    }

    fn say_and_exit(&self, record: Record) -> ! {
        // SAFETY: the record is RECORD_SIZE bytes, and a pipe takes so few in one piece. _exit
        // takes a number.
        unsafe {
            libc::write(self.report.as_raw_fd(), record.as_ptr().cast(), RECORD_SIZE);
            libc::_exit(127)
        }
    }

    /// Ends in execve, or tells what failed, with errno set.
    fn carry_out(&self) -> (u32, u32) {
        self.start_clean();
        for (action, number) in self.actions.iter().zip(0u32..) {
            if let Err(call) = act(action) {
                return (number, call);
            }
        }
        // SAFETY: a NUL-terminated string that lives as long as `self`.
        if unsafe { libc::chdir(self.cwd.as_ptr()) } != 0 {
            return (self.tail.cwd, 0);
        }
        for (from, to) in &self.moves {
            // SAFETY: dup2 takes numbers. What `to` was before is close-on-exec or was never
            // open; the sources and the report are above all targets.
            if unsafe { libc::dup2(from.as_raw_fd(), *to) } < 0 {
                return (self.tail.streams, 0);
            }
        }
        // SAFETY: as above; std has put standard output in its place.
        if self.merged && unsafe { libc::dup2(1, 2) } < 0 {
            return (self.tail.streams, 0);
        }
        self.execute()
    }

    /// A process group of its own, no signal blocked or ignored, no descriptor left open, a umask
    /// that lets nobody else write.
    fn start_clean(&self) {
        // Whatever the caller's umask is, what the command makes can be written by its owner
        // alone.
        // SAFETY: umask takes numbers and never fails.
        unsafe { libc::umask(libc::umask(0) | 0o022) };
        if !self.own_session {
            // SAFETY: setpgid takes numbers. It cannot fail for a process that has just been
            // born.
            unsafe { libc::setpgid(0, 0) };
        }
        for signal in 1..=64 {
            // SAFETY: a default disposition is always valid. It fails for SIGKILL, SIGSTOP and
            // numbers that are no signals.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set before it is used.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        }
        for fd in 3..self.limit {
            // SAFETY: fcntl takes numbers. It fails for descriptors that are not open.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        for fd in 0..3 {
            // SAFETY: as above.
            unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
        }
    }

    /// Executes the first path that can be executed, as a shell searches PATH: what is missing is
    /// passed over, and what may not be executed is remembered.
    fn execute(&self) -> (u32, u32) {
        let mut remembered = (0, libc::ENOENT);
        for (path, number) in self.candidates.iter().zip(0u32..) {
            // SAFETY: the path is NUL-terminated, the arrays are null-terminated and of such
            // strings; all live as long as `self`.
            unsafe {
                libc::execve(
                    path.as_ptr(),
                    self.argv.pointers.as_ptr(),
                    self.envp.pointers.as_ptr(),
                );
            }
            let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            match errno {
                // The kernel says so of a missing file, and of a missing interpreter or loader.
                // SAFETY: the path is NUL-terminated and lives as long as `self`.
                libc::ENOENT if unsafe { libc::access(path.as_ptr(), libc::F_OK) } != 0 => {}
                libc::ENOTDIR => {}
                libc::ELOOP if self.candidates.len() > 1 => {}
                libc::EACCES => remembered = (number, errno),
                _ => {
                    remembered = (number, errno);
                    break;
                }
            }
        }
        let place = self.tail.exec + remembered.0;
        self.say_and_exit([place, 0, u32::try_from(remembered.1).unwrap_or(0)])
    }
}

/// One step; what failed on error, with errno set.
fn act(action: &Action) -> Result<(), u32> {
    let done = |result: libc::c_int, call: u32| if result >= 0 { Ok(()) } else { Err(call) };
    // SAFETY: all take numbers, but chroot and chdir, whose strings are NUL-terminated and live
    // as long as the action; setgroups reads none of no groups.
    unsafe {
        match action {
            Action::Session => done(libc::setsid(), SETSID),
            Action::ClearGroups => done(libc::setgroups(0, ptr::null()), SETGROUPS),
            Action::Ids { uid, gid } => {
                done(libc::setgid(*gid), SETGID)?;
                done(libc::setuid(*uid), SETUID)?;
                // Without privilege they change the effective ids alone, and call it success.
                let all = libc::getuid() == *uid
                    && libc::geteuid() == *uid
                    && libc::getgid() == *gid
                    && libc::getegid() == *gid
                    && (*uid == 0 || libc::setuid(0) != 0);
                done(if all { 0 } else { -1 }, VERIFY)
            }
            Action::ChrootTo(path) => {
                done(libc::chroot(path.as_ptr()), CHROOT)?;
                done(libc::chdir(c"/".as_ptr()), CHDIR)
            }
            Action::Limits(limits) => {
                for (resource, most) in limits {
                    done(bound(*resource, *most), SETRLIMIT)?;
                }
                Ok(())
            }
        }
    }
}

/// Bounds a resource; what is bounded more strictly already stays so.
#[allow(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::unnecessary_cast,
    reason = "the numbers are small, and have a sign with some C libraries"
)]
fn bound(resource: u32, most: u64) -> libc::c_int {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is live for the call, which writes it. POSIX does not list it as safe
    // after fork(2), but it is a bare system call on every system.
    if unsafe { libc::getrlimit(resource as _, &raw mut limit) } != 0 {
        return -1;
    }
    // It is a signed number on FreeBSD.
    let most = most.min(libc::rlim_t::MAX as u64) as libc::rlim_t;
    limit.rlim_max = limit.rlim_max.min(most);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the structure is live for the call, which reads it. As above.
    unsafe { libc::setrlimit(resource as _, &raw const limit) }
}

/// One more than any descriptor that the caller can have, or enough where there is no limit.
fn descriptor_limit() -> RawFd {
    const ENOUGH: RawFd = 1 << 20;
    // SAFETY: sysconf takes a number.
    let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    match RawFd::try_from(limit) {
        Ok(limit) if limit > 0 => limit.min(ENOUGH),
        _ => ENOUGH,
    }
}

fn stream(number: RawFd, stdio: &Stdio) -> Result<std::process::Stdio, SpawnError> {
    Ok(match stdio {
        // A stream that the caller has closed leads nowhere, so that nothing else gets its
        // number.
        // SAFETY: fcntl with numbers alone.
        Stdio::Inherit if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 => {
            std::process::Stdio::null()
        }
        Stdio::Inherit => std::process::Stdio::inherit(),
        Stdio::Null => std::process::Stdio::null(),
        Stdio::Piped => std::process::Stdio::piped(),
        Stdio::Fd(fd) => {
            let fd = fd
                .try_clone()
                .map_err(resources("a duplicate of a file descriptor"))?;
            std::process::Stdio::from(fd)
        }
        // The child does it, when standard output is in its place.
        Stdio::Stdout => std::process::Stdio::null(),
    })
}

fn resources(what: &'static str) -> impl Fn(io::Error) -> SpawnError {
    move |source| SpawnError::new(FailedStep::Resources(what), source)
}

/// `fd`, moved to a number above `top` if it is not there already.
fn above(fd: OwnedFd, top: RawFd) -> Result<OwnedFd, SpawnError> {
    if fd.as_raw_fd() > top {
        Ok(fd)
    } else {
        duplicate(fd.as_raw_fd(), top)
    }
}

/// A duplicate of the descriptor `fd` with a number above `top`.
fn duplicate(fd: RawFd, top: RawFd) -> Result<OwnedFd, SpawnError> {
    // SAFETY: fcntl with numbers alone.
    let new = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, top + 1) };
    if new < 0 {
        let error = io::Error::last_os_error();
        return Err(resources("a duplicate of a file descriptor")(error));
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}
