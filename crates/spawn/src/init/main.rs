//! The first process of a sandbox: starts the command, reaps what it leaves, passes signals on,
//! tells how it ended, and takes everything down with it when it ends.
//!
//! It is a program of its own, of a few kilobytes and without libc, because it may share no
//! memory with the caller and has to start in no time. The build script compiles it and the
//! library carries it. In a process id namespace it is process 1, so its end is the end of all
//! the others; elsewhere it is the subreaper of what the command leaves, as far as that goes.
//!
//! Arguments: `sandbox-init CONTROL FILTER LENGTH LIMITS NICE COUNT PROCFS TERMINAL CANDIDATE...
//! ARGV...`. CONTROL is the
//! descriptor of the control socket. FILTER is that of a file with LENGTH instructions of a system
//! call filter, which binds the command and not this program; 0 for none. LIMITS are pairs of
//! numbers, `RESOURCE=MOST,...` as setrlimit(2) has them, which bind the command too. NICE
//! is 20 less the nice value of the command (nice(2)), and 0 to leave it. TERMINAL says what
//! terminal the command gets (see the module of that name). CANDIDATEs are COUNT
//! paths of which the first that can be executed is the command, ARGV are its arguments from the
//! 0th.

#![no_std]
#![no_main]

mod exec;
mod limits;
#[path = "../linux/raw.rs"]
mod raw;
#[path = "../linux/wire.rs"]
mod wire;

mod support;
mod terminal;

use core::ptr;

use exec::Refusal;
use raw::{Errno, Fd, arg, nr};
use terminal::Terminal;
use wire::{Message, kind};

const ECHILD: Errno = 10;
const SIGKILL: i32 = 9;
const SIGCHLD: usize = 17;
const WNOHANG: usize = 1;
const WALL: usize = 0x4000_0000;
const POLLIN: i16 = 1;

/// What the child that becomes the command has to know, and what it leaves if it fails. Both see
/// it until the child executes the command, and this process waits meanwhile.
#[derive(Clone, Copy)]
struct Command {
    path: *const u8,
    argv: *const *const u8,
    envp: *const *const u8,
    own_group: bool,
    limits: *const u8,
    nice: usize,
    filter: Filter,
    terminal: Option<Terminal>,
    failure: Failure,
}

/// `struct sock_fprog` (seccomp(2)); without instructions there is no filter.
#[repr(C)]
#[derive(Clone, Copy)]
struct Filter {
    len: u16,
    instructions: *const u8,
}

/// Where the child failed.
#[derive(Clone, Copy)]
enum Failure {
    Nowhere,
    AtTerminal(Errno),
    AtLimits(Errno),
    AtFilter(Errno),
    AtExec(Errno),
}

/// # Safety
/// `stack` must be the initial stack pointer that the kernel gives a new program.
#[unsafe(no_mangle)]
unsafe extern "C" fn init_main(stack: *const usize) -> ! {
    // SAFETY: at the start of a program the stack holds argc, argv, null, envp, null (execve(2)).
    let (argc, argv) = unsafe { (*stack, stack.add(1).cast::<*const u8>()) };
    if argc < FIXED + 1 {
        raw::exit(125);
    }
    // SAFETY: argv has argc entries, at least FIXED, and a null, envp begins behind it.
    let (numbers, envp) = unsafe {
        let numbers = [1, 2, 3, 5, 6, 7].map(|i| number(*argv.add(i)));
        (numbers, argv.add(argc + 1))
    };
    // SAFETY: as above.
    let (limits, terminal) = unsafe { (*argv.add(4), *argv.add(8)) };
    let [Some(control), Some(filter), Some(len), Some(nice), Some(count), Some(directory)] =
        numbers
    else {
        raw::exit(125)
    };
    let Ok(control) = Fd::try_from(control) else { raw::exit(125) };
    if count >= argc - FIXED {
        raw::exit(125);
    }
    if directory != 0 {
        return_to(directory);
    }
    let first_process = is_first_process();
    harden(control, first_process);
    let filter = match map_filter(filter, len) {
        Ok(filter) => filter,
        Err(errno) => failed(control, kind::FILTER_FAILED, errno),
    };
    // SAFETY: an argument of this program.
    let terminal = match unsafe { terminal::make(terminal, control) } {
        Ok(terminal) => terminal,
        Err(errno) => failed(control, kind::TERMINAL_FAILED, errno),
    };
    // SAFETY: FIXED + count < argc, so both pointers are within argv.
    let (candidates, command_argv) = unsafe { (argv.add(FIXED), argv.add(FIXED + count)) };
    let mut command = Command {
        path: c"".as_ptr().cast(),
        argv: command_argv,
        envp,
        own_group: !first_process,
        limits,
        nice,
        filter,
        terminal,
        failure: Failure::Nowhere,
    };
    let Some(signals) = watch_children() else { raw::exit(125) };
    // Without a path the empty one is tried, which is nobody's: so all is done but the command.
    let nowhere = [command.path];
    let (candidates, count) = match count {
        0 => (nowhere.as_ptr(), 1),
        _ => (candidates, count),
    };
    let mut failure = Message::new(0);
    // SAFETY: the candidates are arguments of this program, or the empty string above.
    let started = unsafe {
        exec::exec_first(candidates, count, &mut failure, |path| {
            command.path = path;
            start(&mut command)
        })
    };
    let Some(pid) = started else {
        let _ = raw::send(control, failure.bytes());
        raw::exit(127);
    };
    let mut message = Message::new(kind::STARTED);
    message.a = pid as u32;
    let _ = raw::send(control, message.bytes());
    supervise(control, signals, pid, first_process)
}

/// Arguments before the candidates.
const FIXED: usize = 9;

/// Makes the directory `fd` the working directory: where the caller's set-up had to leave it, it
/// is outside of the sandbox, and nothing may begin there.
fn return_to(fd: usize) {
    // SAFETY: fchdir(2) takes a number.
    if unsafe { raw::call(nr::FCHDIR, [fd, 0, 0, 0, 0, 0]) }.is_err() {
        raw::exit(125)
    }
    raw::close(Fd::try_from(fd).unwrap_or(-1));
}

/// The instructions in the file `fd`, to be read for as long as this process lives.
fn map_filter(fd: usize, len: usize) -> Result<Filter, Errno> {
    const PROT_READ: usize = 1;
    const MAP_PRIVATE: usize = 2;
    const E2BIG: Errno = 7;
    if fd == 0 {
        return Ok(Filter { len: 0, instructions: ptr::null() });
    }
    let count = u16::try_from(len).map_err(|_| E2BIG)?;
    // SAFETY: a new mapping at an address of the kernel's choice. struct sock_filter has 8 bytes.
    let at = unsafe { raw::call(nr::MMAP, [0, len * 8, PROT_READ, MAP_PRIVATE, fd, 0]) }?;
    raw::close(Fd::try_from(fd).unwrap_or(-1));
    Ok(Filter { len: count, instructions: at as *const u8 })
}

/// Binds the calling process, and whatever it executes, to the filter.
fn load(filter: &Filter) -> Result<(), Errno> {
    const SET_MODE_FILTER: usize = 1;
    if filter.len == 0 {
        return Ok(());
    }
    let args = [SET_MODE_FILTER, 0, ptr::from_ref(filter) as usize, 0, 0, 0];
    // SAFETY: the structure is live for the call, and its instructions are those of `map_filter`,
    // which are mapped for good. The kernel copies and checks them.
    unsafe { raw::call(nr::SECCOMP, args) }.map(drop)
}

fn failed(control: Fd, kind: u32, errno: Errno) -> ! {
    let mut message = Message::new(kind);
    message.errno = errno;
    let _ = raw::send(control, message.bytes());
    raw::exit(127)
}

/// A decimal number.
///
/// # Safety
/// `text` must be NUL-terminated.
unsafe fn number(text: *const u8) -> Option<usize> {
    // SAFETY: passed on to the caller.
    let (value, end) = unsafe { limits::digits(text) }?;
    // SAFETY: `end` is in the same text, or at its NUL.
    (unsafe { *end } == 0).then_some(value)
}

fn is_first_process() -> bool {
    const GETPID: usize = if cfg!(target_arch = "x86_64") { 39 } else { 172 };
    // SAFETY: getpid(2) takes nothing.
    let pid = unsafe { raw::call(GETPID, [0; 6]) };
    pid == Ok(1)
}

/// Nothing inside may look into this process or take its descriptors, and every signal has its
/// default again, whatever the caller ignored.
fn harden(control: Fd, first_process: bool) {
    const PR_SET_DUMPABLE: usize = 4;
    const PR_SET_NAME: usize = 15;
    const PR_SET_CHILD_SUBREAPER: usize = 36;
    const F_SETFD: usize = 2;
    const FD_CLOEXEC: usize = 1;
    // SAFETY: prctl(2) and fcntl(2) with numbers and the address of a constant string.
    unsafe {
        let _ = raw::call(nr::PRCTL, [PR_SET_DUMPABLE, 0, 0, 0, 0, 0]);
        let name = c"sandbox-init".as_ptr() as usize;
        let _ = raw::call(nr::PRCTL, [PR_SET_NAME, name, 0, 0, 0, 0]);
        if !first_process {
            let _ = raw::call(nr::PRCTL, [PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0]);
        }
        let _ = raw::call(nr::FCNTL, [arg(control), F_SETFD, FD_CLOEXEC, 0, 0, 0]);
    }
    // struct kernel_sigaction: handler SIG_DFL, no flags, no restorer, empty mask.
    let default = [0usize; 4];
    for signal in 1..=64 {
        let args = [signal, default.as_ptr() as usize, 0, 8, 0, 0];
        // SAFETY: the pointer is to a live array of the structure's size. The call fails for
        // SIGKILL and SIGSTOP, which have no other disposition anyway.
        let _ = unsafe { raw::call(nr::RT_SIGACTION, args) };
    }
}

/// A descriptor that can be read when a child has ended. Signals are all blocked already.
fn watch_children() -> Option<Fd> {
    const SFD_CLOEXEC_NONBLOCK: usize = 0o2_004_000;
    let mask: u64 = 1 << (SIGCHLD - 1);
    let args = [usize::MAX, &raw const mask as usize, 8, SFD_CLOEXEC_NONBLOCK, 0, 0];
    // SAFETY: the pointer is to a live mask of 8 bytes.
    let fd = unsafe { raw::call(nr::SIGNALFD4, args) }.ok()?;
    Fd::try_from(fd).ok()
}

/// The child that becomes the command.
extern "C" fn become_command(shared: *mut u8) -> ! {
    // SAFETY: `start` passes its Command, which it does not touch until this process has executed
    // something or ended (CLONE_VFORK).
    let command = unsafe { &mut *shared.cast::<Command>() };
    let none: u64 = 0;
    const SIG_SETMASK: usize = 2;
    // SAFETY: numbers, and a pointer to a live mask of 8 bytes.
    unsafe {
        if command.own_group && command.terminal.is_none() {
            let _ = raw::call(nr::SETPGID, [0; 6]);
        }
        let args = [SIG_SETMASK, &raw const none as usize, 0, 8, 0, 0];
        let _ = raw::call(nr::RT_SIGPROCMASK, args);
    }
    if let Some(Err(errno)) = command.terminal.map(terminal::take) {
        command.failure = Failure::AtTerminal(errno);
        raw::exit(127)
    }
    if command.nice != 0 {
        limits::be_nice(command.nice);
    }
    // SAFETY: an argument of this program, see init_main.
    if let Err(errno) = unsafe { limits::set(command.limits) } {
        command.failure = Failure::AtLimits(errno);
        raw::exit(127)
    }
    // The last thing before the command: from here on only what the filter lets through can be
    // called, and that is execve and exit_group at least.
    if let Err(errno) = load(&command.filter) {
        command.failure = Failure::AtFilter(errno);
        raw::exit(127)
    }
    let args = [command.path as usize, command.argv as usize, command.envp as usize, 0, 0, 0];
    // SAFETY: they come from the arguments of this program, see init_main, and are as execve(2)
    // takes them.
    if let Err(errno) = unsafe { raw::call(nr::EXECVE, args) } {
        command.failure = Failure::AtExec(errno);
    }
    raw::exit(127)
}

#[repr(align(16))]
struct Stack([u8; 8192]);

/// Starts the command at `command.path` and waits until it is executed.
fn start(command: &mut Command) -> Result<i32, Refusal> {
    const EINVAL: Errno = 22;
    const CLONE_VM: usize = 0x100;
    command.failure = Failure::Nowhere;
    // SAFETY: `command` is live in the caller, and the child shares all memory.
    match unsafe { start_by(CLONE_VM, ptr::from_mut(command)) } {
        // On older kernels (6.1 among them) processes that share memory have to live in the same
        // time namespace, and the child is to live in another one. So it gets memory of its own.
        Err(Refusal::Other { kind: kind::EXEC_FAILED, errno: EINVAL }) => match shared_copy(command) {
            // SAFETY: the mapping is shared and stays.
            Some(copy) => unsafe { start_by(0, copy) },
            None => Err(Refusal::Other { kind: kind::EXEC_FAILED, errno: EINVAL }),
        },
        done => done,
    }
}

/// A copy of `command` in memory that a child which is given a copy of ours shares with us.
fn shared_copy(command: &Command) -> Option<*mut Command> {
    const READ_WRITE: usize = 1 | 2;
    const SHARED_ANONYMOUS: usize = 0x01 | 0x20;
    let args = [0, size_of::<Command>(), READ_WRITE, SHARED_ANONYMOUS, usize::MAX, 0];
    // SAFETY: a new mapping at an address of the kernel's choice, which nothing else uses.
    let copy = unsafe { raw::call(nr::MMAP, args) }.ok()? as *mut Command;
    // SAFETY: the mapping is as large as a Command, writable, and aligned to a page.
    unsafe { copy.write(*command) };
    Some(copy)
}

/// The same by clone(2) with `sharing` among its flags.
///
/// # Safety
/// `command` must be live, and memory that the child shares.
unsafe fn start_by(sharing: usize, command: *mut Command) -> Result<i32, Refusal> {
    const CLONE_VFORK_SIGCHLD: usize = 0x4000 | SIGCHLD;
    let mut stack = core::mem::MaybeUninit::<Stack>::uninit();
    // SAFETY: one past the end of the stack object, aligned as the object is.
    let top = unsafe { stack.as_mut_ptr().add(1) }.cast::<u8>();
    // SAFETY: the stack lives in this frame, which waits for the child because of CLONE_VFORK;
    // `command` is live by the contract; become_command does not return.
    let cloned = unsafe {
        raw::clone(
            sharing | CLONE_VFORK_SIGCHLD,
            top,
            ptr::null_mut(),
            become_command,
            command.cast(),
        )
    };
    match cloned {
        Err(errno) => Err(Refusal::Other { kind: kind::EXEC_FAILED, errno }),
        // Read through the pointer that the child had: it wrote behind the compiler's back.
        // SAFETY: `command` is live and the child that wrote to it has ended or executed.
        Ok(pid) => match unsafe { ptr::read_volatile(&raw const (*command).failure) } {
            Failure::Nowhere => Ok(pid as i32),
            Failure::AtExec(errno) => Err(Refusal::Exec(errno)),
            Failure::AtTerminal(errno) => Err(Refusal::Other { kind: kind::TERMINAL_FAILED, errno }),
            Failure::AtLimits(errno) => Err(Refusal::Other { kind: kind::LIMITS_FAILED, errno }),
            Failure::AtFilter(errno) => Err(Refusal::Other { kind: kind::FILTER_FAILED, errno }),
        },
    }
}

/// Waits for the command's end or the parent's word, whichever comes first.
fn supervise(control: Fd, signals: Fd, command: i32, first_process: bool) -> ! {
    #[repr(C)]
    struct PollFd {
        fd: Fd,
        events: i16,
        revents: i16,
    }
    loop {
        let mut fds = [
            PollFd { fd: control, events: POLLIN, revents: 0 },
            PollFd { fd: signals, events: POLLIN, revents: 0 },
        ];
        // SAFETY: a pointer to a live array of two structures, and no timeout or mask.
        let _ = unsafe { raw::call(nr::PPOLL, [fds.as_mut_ptr() as usize, 2, 0, 0, 8, 0]) };
        if fds[1].revents != 0 {
            reap(control, signals, command, first_process);
        }
        if fds[0].revents != 0 {
            obey(control, command, first_process);
        }
    }
}

fn reap(control: Fd, signals: Fd, command: i32, first_process: bool) {
    let mut info = [0u8; 128];
    let args = [arg(signals), info.as_mut_ptr() as usize, info.len(), 0, 0, 0];
    // SAFETY: the pointer and length are those of a live array.
    let _ = unsafe { raw::call(nr::READ, args) };
    loop {
        let mut status: i32 = 0;
        let args = [usize::MAX, &raw mut status as usize, WNOHANG | WALL, 0, 0, 0];
        // SAFETY: the pointer is to a live integer.
        match unsafe { raw::call(nr::WAIT4, args) } {
            Ok(pid) if pid as i32 == command => {
                let mut message = Message::new(kind::ENDED);
                message.a = status as u32;
                let _ = raw::send(control, message.bytes());
                end(command, first_process);
            }
            Ok(0) | Err(ECHILD) => return,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn obey(control: Fd, command: i32, first_process: bool) {
    let mut message = Message::new(0);
    match raw::recv(control, message.bytes_mut()) {
        Ok(n) if n == Message::SIZE && message.kind == kind::SIGNAL => {
            kill(command, message.a as i32);
        }
        // The parent wants it so (`kind::END`), is gone, or talks nonsense.
        _ => end(command, first_process),
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: kill(2) takes numbers; the command is this process's child and not yet waited for,
    // so its number is still its own.
    let _ = unsafe { raw::call(nr::KILL, [arg(pid), arg(signal), 0, 0, 0, 0]) };
}

/// Ends, and everything else with it: in a process id namespace the kernel sees to that,
/// elsewhere at least the command's process group is killed.
fn end(command: i32, first_process: bool) -> ! {
    if !first_process {
        kill(-command, SIGKILL);
    }
    raw::exit(0)
}
