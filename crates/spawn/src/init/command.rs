//! Starting a command: a child that shares this program's memory until it executes something.

use core::ptr;

use super::exec::{self, Refusal};
use super::fresh::{self, Filter};
use super::limits;
use super::order::Placed;
use super::raw::{self, Errno, Fd, arg, nr};
use super::reopen;
use super::terminal::Terminal;
use super::wire::{MOST_FDS, Message, kind};

/// What the child that becomes the command has to know, and what it leaves if it fails. Both see
/// it until the child executes the command, and this process waits meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Command<'a> {
    path: *const u8,
    argv: *const *const u8,
    envp: *const *const u8,
    cwd: *const u8,
    /// The descriptors for the command, and the numbers that they are to have. Without any it has
    /// what this program has.
    fds: &'a [Fd],
    targets: &'a [Fd],
    own_session: bool,
    own_group: bool,
    terminal: Option<Terminal>,
    limits: *const u8,
    nice: usize,
    filter: Filter,
    wall: Option<Wall>,
    /// A descriptor that it closes before it executes anything; or negative.
    closed: Fd,
    failure: Failure,
}

/// Landlock's rules.
#[derive(Clone, Copy)]
pub(crate) struct Wall {
    pub(crate) ruleset: Fd,
    /// What they say of files.
    handled: u64,
}

/// Where the child failed.
#[derive(Clone, Copy)]
enum Failure {
    Nowhere,
    /// A step before the command, by the kind of message that tells.
    Before(u32, Errno),
    AtExec(Errno),
}

impl Wall {
    /// Without a descriptor there is none.
    pub(crate) fn new(ruleset: usize, handled: usize) -> Option<Self> {
        let ruleset = Fd::try_from(ruleset).ok().filter(|fd| *fd != 0)?;
        Some(Self { ruleset, handled: handled as u64 })
    }
}

/// The `len` instructions in the file `fd`, to be read for as long as this process lives.
pub(crate) fn map_filter(fd: usize, len: usize) -> Result<Filter, Errno> {
    const PROT_READ: usize = 1;
    const MAP_PRIVATE: usize = 2;
    const E2BIG: Errno = 7;
    if fd == 0 {
        return Ok(Filter::NONE);
    }
    let count = u16::try_from(len).map_err(|_| E2BIG)?;
    // SAFETY: a new mapping at an address of the kernel's choice. struct sock_filter has 8
    // bytes.
    let at = unsafe { raw::call(nr::MMAP, [0, len * 8, PROT_READ, MAP_PRIVATE, fd, 0]) }?;
    raw::close(Fd::try_from(fd).unwrap_or(-1));
    // SAFETY: the mapping has as many, and stays.
    Ok(unsafe { Filter::new(count, at as *const u8) })
}

impl<'a> Command<'a> {
    pub(crate) fn new(
        order: &'a Placed<'_>,
        fds: &'a [Fd],
        filter: Filter,
        wall: Option<Wall>,
    ) -> Self {
        Self {
            path: c"".as_ptr().cast(),
            argv: order.argv(),
            envp: order.envp(),
            cwd: order.cwd(),
            fds,
            targets: order.targets(),
            own_session: false,
            own_group: false,
            terminal: None,
            limits: order.limits(),
            nice: order.nice(),
            filter,
            wall,
            closed: -1,
            failure: Failure::Nowhere,
        }
    }

    /// Has it close `fd`, which this program goes on to have: whoever closes it last waits, and if
    /// exec closed it, that could be the command.
    pub(crate) fn closes(&mut self, fd: Fd) {
        self.closed = fd;
    }

    /// What it is to lead: a session, which it does with a terminal anyway, or a process group.
    pub(crate) fn leads(&mut self, session: bool, group: bool, terminal: Option<Terminal>) {
        self.own_session = session && terminal.is_none();
        self.own_group = group && terminal.is_none();
        self.terminal = terminal;
    }

    /// Starts the first of the candidates that can be executed, and tells its process id, or
    /// leaves in `failure` why it was none.
    pub(crate) fn start(mut self, order: &Placed<'_>, failure: &mut Message) -> Option<i32> {
        // Without a path the empty one is tried, which is nobody's: so all is done but the command.
        let nowhere = [self.path];
        let (candidates, count) = match order.candidates() {
            (_, 0) => (nowhere.as_ptr(), 1),
            some => some,
        };
        // SAFETY: the candidates are those of the order, or the empty string above.
        unsafe {
            exec::exec_first(candidates, count, failure, |path| {
                self.path = path;
                attempt(&mut self)
            })
        }
    }

    /// What is done before the command is executed, by the process that is going to be it.
    fn prepare(&self) -> Result<(), (u32, Errno)> {
        // SAFETY: numbers alone.
        unsafe {
            if self.own_session {
                let _ = raw::call(nr::SETSID, [0; 6]);
            } else if self.own_group {
                let _ = raw::call(nr::SETPGID, [0; 6]);
            }
        }
        fresh::unblock_signals();
        if self.nice != 0 {
            be_nice(self.nice);
        }
        if self.closed >= 0 {
            raw::close(self.closed);
        }
        let wall = self.place_streams().map_err(|errno| (kind::STREAMS_FAILED, errno))?;
        if let Some(terminal) = self.terminal {
            terminal.take().map_err(|errno| (kind::TERMINAL_FAILED, errno))?;
        }
        // SAFETY: a string of the order.
        unsafe { raw::call(nr::CHDIR, [self.cwd as usize, 0, 0, 0, 0, 0]) }
            .map_err(|errno| (kind::CWD_FAILED, errno))?;
        if let Some(wall) = wall {
            self.restrict(wall).map_err(|errno| (kind::WALL_FAILED, errno))?;
        }
        // SAFETY: a string of the order.
        unsafe { limits::set(self.limits) }.map_err(|errno| (kind::LIMITS_FAILED, errno))?;
        // The last thing before the command: from here on only what the filter lets through can
        // be called, and that is execve and exit_group at least.
        self.filter.load().map_err(|errno| (kind::FILTER_FAILED, errno))
    }

    /// Restricts the command by Landlock. What its descriptors lead to can be opened again.
    fn restrict(&self, wall: Wall) -> Result<(), Errno> {
        if wall.handled != 0 {
            for fd in 0..3 {
                reopen::allow(wall.ruleset, fd, wall.handled)?;
            }
            for fd in self.targets {
                if *fd > 2 {
                    reopen::allow(wall.ruleset, *fd, wall.handled)?;
                }
            }
        }
        reopen::restrict(wall.ruleset)
    }

    /// Puts the descriptors in their places. All that this program has itself is close-on-exec.
    /// Gives the rules where they are then.
    fn place_streams(&self) -> Result<Option<Wall>, Errno> {
        const F_DUPFD_CLOEXEC: usize = 1030;
        let mut top = 2;
        for target in self.targets {
            top = if *target > top { *target } else { top };
        }
        let above = |fd: Fd| {
            let args = [arg(fd), F_DUPFD_CLOEXEC, arg(top + 1), 0, 0, 0];
            // SAFETY: fcntl(2) with numbers alone.
            let new = unsafe { raw::call(nr::FCNTL, args) }?;
            Ok::<_, Errno>(Fd::try_from(new).unwrap_or(-1))
        };
        // Out of the way of the targets first, all of them.
        let mut sources = [-1; MOST_FDS];
        for (source, fd) in sources.iter_mut().zip(self.fds) {
            *source = above(*fd)?;
        }
        let wall = match self.wall {
            Some(wall) => Some(Wall { ruleset: above(wall.ruleset)?, ..wall }),
            None => None,
        };
        for (source, target) in sources.iter().zip(self.targets) {
            // SAFETY: dup3(2) takes numbers.
            unsafe { raw::call(nr::DUP3, [arg(*source), arg(*target), 0, 0, 0, 0]) }?;
        }
        Ok(wall)
    }
}

/// Takes back what this program has been preferred by (setpriority(2)): it has to get its turn to
/// end everything also where the processes of the command are without number.
fn be_nice(nice: usize) {
    const THIS_PROCESS: [usize; 2] = [0, 0];
    let nice = 20usize.wrapping_sub(nice);
    let [which, who] = THIS_PROCESS;
    // SAFETY: setpriority(2) takes numbers. It cannot fail: to be nicer is always allowed.
    let _ = unsafe { raw::call(nr::SETPRIORITY, [which, who, nice, 0, 0, 0]) };
}

/// The child that becomes the command.
extern "C" fn become_command(shared: *mut u8) -> ! {
    // SAFETY: `attempt` passes its Command, which it does not touch until this process has executed
    // something or ended (CLONE_VFORK).
    let command = unsafe { &mut *shared.cast::<Command<'_>>() };
    if let Err((kind, errno)) = command.prepare() {
        command.failure = Failure::Before(kind, errno);
        raw::exit(127)
    }
    let args = [command.path as usize, command.argv as usize, command.envp as usize, 0, 0, 0];
    // SAFETY: they are those of the order, and as execve(2) takes them.
    if let Err(errno) = unsafe { raw::call(nr::EXECVE, args) } {
        command.failure = Failure::AtExec(errno);
    }
    raw::exit(127)
}

#[repr(align(16))]
struct Stack([u8; 8192]);

/// Starts the command at `command.path` and waits until it is executed.
fn attempt(command: &mut Command<'_>) -> Result<i32, Refusal> {
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
fn shared_copy<'a>(command: &Command<'a>) -> Option<*mut Command<'a>> {
    const READ_WRITE: usize = 1 | 2;
    const SHARED_ANONYMOUS: usize = 0x01 | 0x20;
    let args = [0, size_of::<Command<'_>>(), READ_WRITE, SHARED_ANONYMOUS, usize::MAX, 0];
    // SAFETY: a new mapping at an address of the kernel's choice, which nothing else uses.
    let copy = unsafe { raw::call(nr::MMAP, args) }.ok()? as *mut Command<'a>;
    // SAFETY: the mapping is as large as a Command, writable, and aligned to a page.
    unsafe { copy.write(*command) };
    Some(copy)
}

/// The same by clone(2) with `sharing` among its flags.
///
/// # Safety
/// `command` must be live, and memory that the child shares.
unsafe fn start_by(sharing: usize, command: *mut Command<'_>) -> Result<i32, Refusal> {
    const CLONE_VFORK_SIGCHLD: usize = 0x4000 | super::SIGCHLD;
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
            Failure::AtExec(errno) => {
                bury(pid);
                Err(Refusal::Exec(errno))
            }
            Failure::Before(kind, errno) => {
                bury(pid);
                Err(Refusal::Other { kind, errno })
            }
        },
    }
}

/// Waits for a child that did not become the command. Without a process id namespace it would
/// outlive this program otherwise, if only as a number, until somebody else does.
fn bury(pid: usize) {
    // SAFETY: wait4(2) without places for status and usage.
    let _ = unsafe { raw::call(nr::WAIT4, [pid, 0, super::WALL, 0, 0, 0]) };
}
