use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::Feature;

/// What a run may use at most. A limit that is `None` is not set.
///
/// Time, memory and processes are those of everything in the sandbox together; the others are of
/// each process, as setrlimit(2) has them, but for `output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Limits {
    /// Time from the start of the command. What waits for the command holds it, whatever the
    /// backend is.
    pub wall: Option<Duration>,
    /// Time on processors, of all processes together, those that have ended included.
    pub cpu_time: Option<Duration>,
    /// Memory in bytes, of all processes together.
    pub memory: Option<u64>,
    /// Processes and threads that live at a time. To want more ends the run.
    pub processes: Option<u64>,
    /// The size in bytes of each file that is written (`RLIMIT_FSIZE`). A process that writes
    /// beyond it gets SIGXFSZ.
    pub file_size: Option<u64>,
    /// One more than the highest descriptor that a process can open (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// The size in bytes of the stack of a process (`RLIMIT_STACK`).
    pub stack: Option<u64>,
    /// The size in bytes of a core dump (`RLIMIT_CORE`); 0 for none.
    pub core: Option<u64>,
    /// Bytes on each of standard output and error. Who reads them holds it, so it needs both
    /// to be pipes that the library reads.
    pub output: Option<u64>,
    /// For how long the command may clean up where its time is up: it gets SIGTERM then, and
    /// everything is killed after this. `None`: everything is killed at once.
    pub kill_after: Option<Duration>,
}

impl Limits {
    /// These limits where they are set, and `lower` where they are not.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            wall: self.wall.or(lower.wall),
            cpu_time: self.cpu_time.or(lower.cpu_time),
            memory: self.memory.or(lower.memory),
            processes: self.processes.or(lower.processes),
            file_size: self.file_size.or(lower.file_size),
            open_files: self.open_files.or(lower.open_files),
            stack: self.stack.or(lower.stack),
            core: self.core.or(lower.core),
            output: self.output.or(lower.output),
            kill_after: self.kill_after.or(lower.kill_after),
        }
    }

    /// The limits that are set.
    pub fn set(&self) -> impl Iterator<Item = Limit> {
        [
            (Limit::Wall, self.wall.is_some()),
            (Limit::CpuTime, self.cpu_time.is_some()),
            (Limit::Memory, self.memory.is_some()),
            (Limit::Processes, self.processes.is_some()),
            (Limit::FileSize, self.file_size.is_some()),
            (Limit::OpenFiles, self.open_files.is_some()),
            (Limit::Stack, self.stack.is_some()),
            (Limit::Core, self.core.is_some()),
            (Limit::Output, self.output.is_some()),
        ]
        .into_iter()
        .filter_map(|(limit, set)| set.then_some(limit))
    }

    /// Whether it takes something that counts for the whole tree of processes.
    #[must_use]
    pub fn counts_the_tree(&self) -> bool {
        self.cpu_time.is_some() || self.memory.is_some() || self.processes.is_some()
    }
}

/// One of the [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::wall`]
    Wall,
    /// [`Limits::cpu_time`]
    CpuTime,
    /// [`Limits::memory`]
    Memory,
    /// [`Limits::processes`]
    Processes,
    /// [`Limits::file_size`]
    FileSize,
    /// [`Limits::open_files`]
    OpenFiles,
    /// [`Limits::stack`]
    Stack,
    /// [`Limits::core`]
    Core,
    /// [`Limits::output`]
    Output,
}

impl Limit {
    /// Every limit, in the order in which reports list them.
    pub const ALL: &'static [Self] = &[
        Self::Wall,
        Self::CpuTime,
        Self::Memory,
        Self::Processes,
        Self::FileSize,
        Self::OpenFiles,
        Self::Stack,
        Self::Core,
        Self::Output,
    ];

    /// The name used in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Output => "output",
            Self::CpuTime => Feature::CpuTime.name(),
            Self::Memory => Feature::Memory.name(),
            Self::Processes => Feature::Processes.name(),
            Self::FileSize => Feature::FileSize.name(),
            Self::OpenFiles => Feature::OpenFiles.name(),
            Self::Stack => Feature::Stack.name(),
            Self::Core => Feature::Core.name(),
        }
    }

    /// The feature that enforcing it is; `None` for those that whoever waits for a command holds,
    /// whatever the backend is.
    #[must_use]
    pub fn feature(self) -> Option<Feature> {
        match self {
            Self::Wall | Self::Output => None,
            Self::CpuTime => Some(Feature::CpuTime),
            Self::Memory => Some(Feature::Memory),
            Self::Processes => Some(Feature::Processes),
            Self::FileSize => Some(Feature::FileSize),
            Self::OpenFiles => Some(Feature::OpenFiles),
            Self::Stack => Some(Feature::Stack),
            Self::Core => Some(Feature::Core),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where control groups (cgroups(7)) for the [`Limits`] may be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ControlGroups {
    /// Below the caller's own, where it may.
    #[default]
    Auto,
    /// Below this directory of cgroup v2, which is delegated to the caller and holds no process.
    Below(PathBuf),
    /// Nowhere: limits are held without any.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_listed_and_wins() {
        let mut lower = Limits::default();
        assert_eq!(lower.set().count(), 0);
        (lower.memory, lower.core) = (Some(1), Some(0));
        let upper = Limits {
            memory: Some(2),
            wall: Some(Duration::from_secs(1)),
            ..Limits::default()
        };
        let both = upper.over(lower);
        assert_eq!(
            both.set().collect::<Vec<_>>(),
            [Limit::Wall, Limit::Memory, Limit::Core]
        );
        assert_eq!(both.memory, Some(2));
        assert!(
            both.counts_the_tree()
                && !Limits {
                    memory: None,
                    ..both
                }
                .counts_the_tree()
        );
    }

    #[test]
    fn every_limit_can_be_set_and_is_listed_once() {
        let (some, time) = (Some(1), Some(Duration::from_secs(1)));
        let all = Limits {
            wall: time,
            cpu_time: time,
            memory: some,
            processes: some,
            file_size: some,
            open_files: some,
            stack: some,
            core: some,
            output: some,
            kill_after: time,
        };
        assert_eq!(all.set().collect::<Vec<_>>(), Limit::ALL);
        assert_eq!(Limits::default().over(all), all);
    }
}
