use std::time::Duration;

use sandboxlib_config::{FeatureSet, Limit, SandboxPath};

use crate::{Degradation, HeldLimit, Landlock, Means};

/// Whether the command was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Started {
    /// It was.
    Yes,
    /// It was not: whatever happened, happened before.
    No,
    /// The helper that was to start it does not tell.
    Unknown,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// The command exited with this status.
    Exited(i32),
    /// This signal ended the command.
    Signalled(i32),
    /// It came to this limit, and everything in the sandbox was killed.
    Limit(Limit),
    /// The caller had everything in the sandbox killed.
    Killed,
}

/// What is certain to be dead when a run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KillScope {
    /// Every process of the sandbox, whatever it did: the kernel sees to it (pid namespace).
    Everything,
    /// The command's process group. A process that left it may live on, at least where the command
    /// ended by itself.
    ProcessGroup,
}

/// What held during a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enforcement {
    /// The backend.
    pub backend: &'static str,
    /// The features asked for that were enforced.
    pub enforced: FeatureSet,
    /// The features asked for that were not, each with the reason.
    pub degradations: Vec<Degradation>,
    /// The paths, as seen inside, that were made on the host because something had to be mounted
    /// there and the caller had made the parent writable.
    pub created_on_host: Vec<SandboxPath>,
    /// The paths that were to be masked, less would do, and were not.
    pub not_masked: Vec<SandboxPath>,
    /// The directories of the host's root that were hidden, without symbolic links.
    pub hidden: Vec<SandboxPath>,
    /// The system call filter that the command ran under: the name of the preset, `rules` for a
    /// list, `none` where all calls were let through but those that make namespaces.
    pub seccomp: &'static str,
    /// What was dead when the run was over.
    pub kill_scope: KillScope,
    /// The second wall behind the mounts, if there was one.
    pub landlock: Option<Landlock>,
    /// The limits, each with what held it.
    pub limits: Vec<HeldLimit>,
}

impl Enforcement {
    /// Nothing enforced yet, by `backend`.
    #[must_use]
    pub fn none(backend: &'static str) -> Self {
        Self {
            backend,
            enforced: FeatureSet::EMPTY,
            degradations: Vec::new(),
            created_on_host: Vec::new(),
            not_masked: Vec::new(),
            hidden: Vec::new(),
            seccomp: "none",
            kill_scope: KillScope::ProcessGroup,
            landlock: None,
            limits: Vec::new(),
        }
    }
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The status with which the command exited, if it did, whatever `end` is: also after SIGTERM
    /// when its time was up.
    pub exit_code: Option<i32>,
    /// The signal that ended the command, if one did and that is known.
    pub signal: Option<i32>,
    /// Whether the command was started.
    pub started: Started,
    /// The process id, on the host, of the sandbox's first process.
    pub pid: u32,
    /// From the birth of the child to its end.
    pub wall: Duration,
    /// Time on a processor in user mode, of the processes that `cpu_by` counts.
    pub user: Duration,
    /// The same in the kernel.
    pub system: Duration,
    /// How `user` and `system` were measured.
    pub cpu_by: Means,
    /// The most memory that was used, in bytes, by what `memory_by` counts; `None` where the
    /// system does not tell.
    pub peak_memory: Option<u64>,
    /// How `peak_memory` was measured.
    pub memory_by: Means,
}

impl Outcome {
    /// An outcome with these, and no use of resources.
    #[must_use]
    pub fn new(end: End, started: Started, pid: u32) -> Self {
        Self {
            end,
            exit_code: None,
            signal: None,
            started,
            pid,
            wall: Duration::ZERO,
            user: Duration::ZERO,
            system: Duration::ZERO,
            cpu_by: Means::WaitedFor,
            peak_memory: None,
            memory_by: Means::WaitedFor,
        }
    }

    /// Whether the command exited with status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.end == End::Exited(0)
    }
}
