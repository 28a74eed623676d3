use std::fmt;
use std::str::FromStr;

/// Something that a configuration can ask for and a backend can, or cannot, enforce.
///
/// It is the vocabulary of negotiation: a backend's `Support` answers for each feature, a
/// refusal names one, and [`Config::prefer`](crate::Config::prefer) lists those of which less
/// will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Feature {
    /// A root directory other than the host's.
    Root,
    /// The root is read-only, wholly or except for a list of paths.
    ReadOnly,
    /// Bind mounts.
    Bind,
    /// tmpfs mounts.
    Tmpfs,
    /// A procfs mount.
    Proc,
    /// A minimal `/dev`.
    Dev,
    /// Files from data.
    File,
    /// Symbolic links and directories of the sandbox's own.
    Entries,
    /// Masked paths, which answer EACCES.
    Mask,
    /// No network but a loopback interface of the sandbox's own.
    Network,
    /// A process id namespace.
    Pid,
    /// A System V IPC and POSIX message queue namespace.
    Ipc,
    /// A host name of the sandbox's own.
    Uts,
    /// A cgroup namespace.
    Cgroup,
    /// A time namespace.
    Time,
    /// A user namespace.
    User,
    /// User and group ids inside that differ from the caller's.
    Ids,
    /// A range of subordinate ids besides the one that the command has.
    Subordinate,
    /// The private places of the host's root are hidden ([`Config::hidden`](crate::Config::hidden)).
    HostSecrets,
    /// A system call filter.
    Seccomp,
    /// No further namespaces made by the command.
    Nested,
    /// A limit of the time on processors ([`Limits::cpu_time`](crate::Limits::cpu_time)).
    CpuTime,
    /// A limit of memory ([`Limits::memory`](crate::Limits::memory)).
    Memory,
    /// A limit of processes ([`Limits::processes`](crate::Limits::processes)).
    Processes,
    /// A limit of the size of files ([`Limits::file_size`](crate::Limits::file_size)).
    FileSize,
    /// A limit of open files ([`Limits::open_files`](crate::Limits::open_files)).
    OpenFiles,
    /// A limit of the stack ([`Limits::stack`](crate::Limits::stack)).
    Stack,
    /// A limit of core dumps ([`Limits::core`](crate::Limits::core)).
    Core,
    /// What the command changes of the root goes to a layer over it
    /// ([`Config::overlay`](crate::Config::overlay)).
    Overlay,
    /// The volumes that an image needs. No backend is asked for it: whoever makes a
    /// configuration of an image gives an empty directory where less will do.
    Volumes,
}

impl Feature {
    /// Every feature, in the order in which reports list them.
    pub const ALL: &'static [Self] = &[
        Self::Root,
        Self::ReadOnly,
        Self::Bind,
        Self::Tmpfs,
        Self::Proc,
        Self::Dev,
        Self::File,
        Self::Entries,
        Self::Mask,
        Self::Network,
        Self::Pid,
        Self::Ipc,
        Self::Uts,
        Self::Cgroup,
        Self::Time,
        Self::User,
        Self::Ids,
        Self::Subordinate,
        Self::HostSecrets,
        Self::Seccomp,
        Self::Nested,
        Self::CpuTime,
        Self::Memory,
        Self::Processes,
        Self::FileSize,
        Self::OpenFiles,
        Self::Stack,
        Self::Core,
        Self::Overlay,
        Self::Volumes,
    ];

    /// The features that are limits which hold for the whole tree of processes.
    pub const TREE_LIMITS: &'static [Self] = &[Self::CpuTime, Self::Memory, Self::Processes];

    /// The features that are limits which setrlimit(2) holds for each process.
    pub const PROCESS_LIMITS: &'static [Self] =
        &[Self::FileSize, Self::OpenFiles, Self::Stack, Self::Core];

    /// The features that are mounts of one kind or another, which `mounts` stands for in
    /// [`FeatureSet::from_str`].
    pub const MOUNTS: &'static [Self] = &[
        Self::Bind,
        Self::Tmpfs,
        Self::Proc,
        Self::Dev,
        Self::File,
        Self::Entries,
        Self::Mask,
    ];

    /// The name used on the command line, in files and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::ReadOnly => "read-only",
            Self::Bind => "bind",
            Self::Tmpfs => "tmpfs",
            Self::Proc => "proc",
            Self::Dev => "dev",
            Self::File => "file",
            Self::Entries => "entries",
            Self::Mask => "mask",
            Self::Network => "network",
            Self::Pid => "pid",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
            Self::User => "user",
            Self::Ids => "ids",
            Self::Subordinate => "subordinate",
            Self::HostSecrets => "host-secrets",
            Self::Seccomp => "seccomp",
            Self::Nested => "nested",
            Self::CpuTime => "cpu-time",
            Self::Memory => "memory",
            Self::Processes => "processes",
            Self::FileSize => "file-size",
            Self::OpenFiles => "open-files",
            Self::Stack => "stack",
            Self::Core => "core",
            Self::Overlay => "overlay",
            Self::Volumes => "volumes",
        }
    }

    fn bit(self) -> u64 {
        1 << (self as u32)
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of [`Feature`]s.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FeatureSet(u64);

impl FeatureSet {
    /// No feature.
    pub const EMPTY: Self = Self(0);

    /// Every feature.
    #[must_use]
    pub fn all() -> Self {
        Feature::ALL.iter().copied().collect()
    }

    /// Whether `feature` is in the set.
    #[must_use]
    pub fn contains(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// Adds `feature`.
    pub fn insert(&mut self, feature: Feature) {
        self.0 |= feature.bit();
    }

    /// Takes `feature` out.
    pub fn remove(&mut self, feature: Feature) {
        self.0 &= !feature.bit();
    }

    /// The features of both sets.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The features in the order of [`Feature::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL
            .iter()
            .copied()
            .filter(move |f| self.contains(*f))
    }
}

impl FromIterator<Feature> for FeatureSet {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        let mut set = Self::EMPTY;
        for feature in features {
            set.insert(feature);
        }
        set
    }
}

impl fmt::Debug for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A word that names no [`Feature`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown feature {word:?}; known are: all, mounts, {}", known())]
pub struct UnknownFeature {
    /// The word as it was given.
    pub word: String,
}

fn known() -> String {
    Feature::ALL
        .iter()
        .map(|f| f.name())
        .collect::<Vec<_>>()
        .join(", ")
}

impl FromStr for FeatureSet {
    type Err = UnknownFeature;

    /// Reads a list of names separated by commas. `all` means every feature, `mounts` every kind
    /// of mount.
    fn from_str(list: &str) -> Result<Self, UnknownFeature> {
        let mut set = Self::EMPTY;
        for word in list.split(',').map(str::trim) {
            match word {
                "all" => set = Self::all(),
                "mounts" => set = set.union(Feature::MOUNTS.iter().copied().collect()),
                _ => match Feature::ALL.iter().find(|f| f.name() == word) {
                    Some(feature) => set.insert(*feature),
                    None => {
                        return Err(UnknownFeature {
                            word: word.to_owned(),
                        });
                    }
                },
            }
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_feature() {
        for feature in Feature::ALL {
            let set: FeatureSet = feature.name().parse().unwrap();
            assert_eq!(set.iter().collect::<Vec<_>>(), [*feature]);
        }
    }

    #[test]
    fn lists_and_groups() {
        let set: FeatureSet = "network, mounts".parse().unwrap();
        assert!(set.contains(Feature::Network) && set.contains(Feature::Mask));
        assert!(!set.contains(Feature::Pid));
        assert_eq!("all".parse::<FeatureSet>().unwrap(), FeatureSet::all());
        assert_eq!("net".parse::<FeatureSet>().unwrap_err().word, "net");
    }
}
