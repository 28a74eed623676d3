use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use sandboxlib_config::SandboxPath;
use sandboxlib_core::ProcessLimits;

use crate::tty::Tty;

/// Where a standard stream of the command leads.
#[derive(Debug, Default)]
pub enum Stdio {
    /// To where the caller's own leads; of a command with a terminal of its own
    /// ([`Run::tty`]), there.
    #[default]
    Inherit,
    /// To /dev/null of the host.
    Null,
    /// Into a pipe whose other end is in the [`Child`](crate::Child).
    Piped,
    /// Into this file, socket or pipe.
    Fd(OwnedFd),
    /// Of standard error alone: to where standard output leads.
    Stdout,
}

impl Stdio {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Inherit => Self::Inherit,
            Self::Null => Self::Null,
            Self::Piped => Self::Piped,
            Self::Fd(fd) => Self::Fd(fd.try_clone()?),
            Self::Stdout => Self::Stdout,
        })
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        Self::Fd(file.into())
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Self {
        Self::Fd(fd)
    }
}

/// One run of one command: what differs between the runs of a prepared sandbox.
#[derive(Debug)]
pub struct Run {
    /// The command: a path, or a name without a slash that is looked up by PATH of `env` inside
    /// the root.
    pub program: OsString,
    /// Its arguments, from the first after the name.
    pub args: Vec<OsString>,
    /// Its environment, and nothing besides.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub cwd: SandboxPath,
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
    /// Further files, and the descriptor numbers, from 3 up, under which the command has them.
    pub fds: Vec<(OwnedFd, i32)>,
    /// A terminal of the command's own, for the standard streams that are [`Stdio::Inherit`].
    pub tty: Option<Tty>,
    /// Limits of each of its processes, besides those of the sandbox: of two the lower holds. A
    /// helper program takes none, nor is there a way for them where there is no init program.
    pub limits: ProcessLimits,
    /// Whether the command is to be process 1 of the sandbox itself, with no init program above it:
    /// for an init system of the caller's own, or to save what the init program takes.
    ///
    /// It needs a process id namespace, and gives up what the init program does
    /// (pid_namespaces(7)). Of signals, those without a handler do nothing to the command but
    /// SIGKILL and SIGSTOP. Whatever loses its parent becomes its child, and stays a zombie until
    /// it waits. And when the thread that has started it ends, or the caller is killed, it dies by
    /// its parent-death signal (prctl(2), `PR_SET_PDEATHSIG`), which a command can take off itself:
    /// then the sandbox outlives the caller.
    ///
    /// A caller that ignores SIGCHLD would not know how it ends, and is refused.
    ///
    /// It has no terminal of its own, is not taken from sandboxes that stand ready, and neither a
    /// session nor a helper program has it.
    pub as_pid_1: bool,
}

impl Run {
    /// A run of `program` without arguments, in `/`, with an empty environment and the caller's
    /// standard streams.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: SandboxPath::root(),
            stdin: Stdio::Inherit,
            stdout: Stdio::Inherit,
            stderr: Stdio::Inherit,
            fds: Vec::new(),
            tty: None,
            limits: ProcessLimits::default(),
            as_pid_1: false,
        }
    }

    /// The same run once more, with duplicates of its descriptors.
    ///
    /// # Errors
    /// What the operating system says to one more descriptor.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            program: self.program.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            stdin: self.stdin.try_clone()?,
            stdout: self.stdout.try_clone()?,
            stderr: self.stderr.try_clone()?,
            fds: self
                .fds
                .iter()
                .map(|(fd, number)| Ok((fd.try_clone()?, *number)))
                .collect::<io::Result<_>>()?,
            tty: self.tty.clone(),
            limits: self.limits,
            as_pid_1: self.as_pid_1,
        })
    }

    /// The directories in which a name without a slash is looked for where `env` has no PATH.
    pub const DEFAULT_PATH: &'static str =
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}
