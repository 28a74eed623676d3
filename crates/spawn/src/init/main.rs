//! The first process of a sandbox: starts the command, reaps what it leaves, passes signals on,
//! tells how it ended, and takes everything down with it when it ends.
//!
//! It is a program of its own, of a few kilobytes and without libc, because it may share no
//! memory with the caller and has to start in no time. The build script compiles it and the
//! library carries it. In a process id namespace it is process 1, so its end is the end of all
//! the others; elsewhere it is the subreaper of what the command leaves, as far as that goes.
//!
//! Arguments: `sandbox-init CONTROL COUNT CANDIDATE... ARGV...`. CONTROL is the descriptor of the
//! control socket, CANDIDATEs are COUNT paths of which the first that can be executed is the
//! command, ARGV are its arguments from the 0th.

#![no_std]
#![no_main]

mod exec;
#[path = "../linux/raw.rs"]
mod raw;
#[path = "../linux/wire.rs"]
mod wire;

mod support;

use core::ptr;

use raw::{Errno, Fd, arg, nr};
use wire::{Message, kind};

const ECHILD: Errno = 10;
const EINVAL: Errno = 22;
const SIGKILL: i32 = 9;
const SIGCHLD: usize = 17;
const WNOHANG: usize = 1;
const WALL: usize = 0x4000_0000;
const POLLIN: i16 = 1;

/// What the child that becomes the command has to know, and what it leaves if it fails. Both see
/// it until the child executes the command, and this process waits meanwhile.
struct Command {
    candidates: *const *const u8,
    count: usize,
    argv: *const *const u8,
    envp: *const *const u8,
    own_group: bool,
    failure: Option<Message>,
}

/// # Safety
/// `stack` must be the initial stack pointer that the kernel gives a new program.
#[unsafe(no_mangle)]
unsafe extern "C" fn init_main(stack: *const usize) -> ! {
    // SAFETY: at the start of a program the stack holds argc, argv, null, envp, null (execve(2)).
    let (argc, argv) = unsafe { (*stack, stack.add(1).cast::<*const u8>()) };
    if argc < 4 {
        raw::exit(125);
    }
    // SAFETY: argv has argc entries and a null, envp begins behind it.
    let (control, count, envp) = unsafe {
        (number(*argv.add(1)), number(*argv.add(2)), argv.add(argc + 1))
    };
    let (Some(control), Some(count)) = (control, count) else { raw::exit(125) };
    let Ok(control) = Fd::try_from(control) else { raw::exit(125) };
    if count >= argc - 3 {
        raw::exit(125);
    }
    let first_process = is_first_process();
    harden(control, first_process);
    // SAFETY: 3 + count < argc, so both pointers are within argv.
    let (candidates, command_argv) = unsafe { (argv.add(3), argv.add(3 + count)) };
    let mut command = Command {
        candidates,
        count,
        argv: command_argv,
        envp,
        own_group: !first_process,
        failure: None,
    };
    let Some(signals) = watch_children() else { raw::exit(125) };
    let pid = match start(&mut command) {
        Ok(pid) => pid,
        Err(failure) => {
            let _ = raw::send(control, failure.bytes());
            raw::exit(127);
        }
    };
    let mut message = Message::new(kind::STARTED);
    message.a = pid as u32;
    let _ = raw::send(control, message.bytes());
    supervise(control, signals, pid, first_process)
}

/// A decimal number.
///
/// # Safety
/// `text` must be NUL-terminated.
unsafe fn number(text: *const u8) -> Option<usize> {
    let mut value: usize = 0;
    let mut at = text;
    loop {
        // SAFETY: not past the NUL, by the contract and the return below.
        let byte = unsafe { *at };
        match byte {
            0 => return Some(value),
            b'0'..=b'9' => {
                value = value.checked_mul(10)?.checked_add(usize::from(byte - b'0'))?;
            }
            _ => return None,
        }
        // SAFETY: this byte was not the NUL.
        at = unsafe { at.add(1) };
    }
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
        if command.own_group {
            let _ = raw::call(nr::SETPGID, [0; 6]);
        }
        let args = [SIG_SETMASK, &raw const none as usize, 0, 8, 0, 0];
        let _ = raw::call(nr::RT_SIGPROCMASK, args);
    }
    // SAFETY: they come from the arguments of this program, see init_main.
    let failure = unsafe {
        exec::exec_first(command.candidates, command.count, command.argv, command.envp)
    };
    command.failure = Some(failure);
    raw::exit(127)
}

#[repr(align(16))]
struct Stack([u8; 8192]);

/// Starts the command and waits until it is executed.
fn start(command: &mut Command) -> Result<i32, Message> {
    const CLONE_VM: usize = 0x100;
    let mut shared = ptr::from_mut(command);
    // SAFETY: `command` is live for the call, which returns when the child has no use for it.
    let mut cloned = unsafe { clone_command(CLONE_VM, shared) };
    // On older kernels (6.1 among them) processes that share memory have to live in the same time
    // namespace, and the child is to live in another one. So it gets memory of its own.
    if cloned == Err(EINVAL)
        && let Some(copy) = shared_copy(command)
    {
        shared = copy;
        // SAFETY: the copy is there until this process ends, and its pointers are to memory of
        // which the child has a copy at the same place.
        cloned = unsafe { clone_command(0, shared) };
    }
    match cloned {
        Err(errno) => {
            let mut message = Message::new(kind::EXEC_FAILED);
            message.errno = errno;
            Err(message)
        }
        // Read through the pointer that the child had: it wrote behind the compiler's back.
        // SAFETY: what it points to is live, and the child that wrote to it has ended or executed.
        Ok(pid) => match unsafe { ptr::read_volatile(&raw const (*shared).failure) } {
            Some(failure) => Err(failure),
            None => Ok(pid as i32),
        },
    }
}

/// Clones the child that becomes the command, and returns when it has, or has ended. `memory` is
/// CLONE_VM, or 0 for memory of its own.
///
/// # Safety
/// `command` must be valid for reads and writes in this process, and in the child as well.
unsafe fn clone_command(memory: usize, command: *mut Command) -> Result<usize, Errno> {
    const CLONE_VFORK: usize = 0x4000;
    let mut stack = core::mem::MaybeUninit::<Stack>::uninit();
    // SAFETY: one past the end of the stack object, aligned as the object is.
    let top = unsafe { stack.as_mut_ptr().add(1) }.cast::<u8>();
    // SAFETY: the stack lives in this frame, which waits for the child because of CLONE_VFORK, and
    // so does `command`, by the contract; become_command does not return.
    unsafe {
        raw::clone(
            memory | CLONE_VFORK | SIGCHLD,
            top,
            ptr::null_mut(),
            become_command,
            command.cast(),
        )
    }
}

/// A copy of `command` that a child with memory of its own writes its failure to all the same.
fn shared_copy(command: &Command) -> Option<*mut Command> {
    const PROT_READ_WRITE: usize = 3;
    const MAP_SHARED_ANONYMOUS: usize = 0x21;
    let args = [0, size_of::<Command>(), PROT_READ_WRITE, MAP_SHARED_ANONYMOUS, usize::MAX, 0];
    // SAFETY: a new mapping at an address of the kernel's choice.
    let copy = unsafe { raw::call(nr::MMAP, args) }.ok()? as *mut Command;
    // SAFETY: the mapping is new, has room for it and begins at a page, and nothing else refers to
    // it. A Command holds numbers and pointers, and has nothing to be dropped.
    unsafe { ptr::copy_nonoverlapping(command, copy, 1) };
    Some(copy)
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
        // The parent is gone, or talks nonsense: nobody is left to answer to.
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
