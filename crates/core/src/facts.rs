use std::path::{Path, PathBuf};

use crate::{CapSet, CgroupFacts};

/// The operating system that programs run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Os {
    /// Linux.
    Linux,
    /// macOS.
    MacOs,
    /// FreeBSD.
    FreeBsd,
    /// Some other POSIX system.
    Posix,
}

/// The version of a kernel, of which only the first two numbers matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion(pub u32, pub u32);

impl std::fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// One line of a uid or gid map (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many ids.
    pub count: u32,
}

impl IdRange {
    /// Whether there is this id inside.
    #[must_use]
    pub fn contains(&self, inside: u32) -> bool {
        inside
            .checked_sub(self.inside)
            .is_some_and(|offset| offset < self.count)
    }
}

/// The ids that the host grants a user besides its own, and the programs that map them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subordinate {
    /// From /etc/subuid: first id and count.
    pub uids: Vec<(u32, u32)>,
    /// From /etc/subgid: first id and count.
    pub gids: Vec<(u32, u32)>,
    /// The program newuidmap, if it is installed.
    pub newuidmap: Option<PathBuf>,
    /// The program newgidmap, if it is installed.
    pub newgidmap: Option<PathBuf>,
}

impl Subordinate {
    /// The maps of user and group ids that these make of a caller with the ids `uid` and `gid`:
    /// the caller is 0 inside, and what is granted are 1 and up.
    #[must_use]
    pub fn maps(&self, uid: u32, gid: u32) -> (Vec<IdRange>, Vec<IdRange>) {
        (behind_own(uid, &self.uids), behind_own(gid, &self.gids))
    }
}

/// The most lines that the kernel takes in an id map (user_namespaces(7)).
const MOST_RANGES: usize = 340;

/// 0 is `own`, and the ranges follow it without gaps. An id that is granted twice is mapped once,
/// since the kernel refuses a map otherwise.
fn behind_own(own: u32, granted: &[(u32, u32)]) -> Vec<IdRange> {
    let mut map = vec![IdRange {
        inside: 0,
        outside: own,
        count: 1,
    }];
    let mut inside = 1u32;
    for (first, count) in granted {
        let mut next = u64::from(*first);
        let end = next + u64::from(*count);
        while next < end && map.len() < MOST_RANGES {
            let taken = |r: &&IdRange| {
                let outside = u64::from(r.outside);
                outside <= next && next < outside + u64::from(r.count)
            };
            if let Some(r) = map.iter().find(taken) {
                next = u64::from(r.outside) + u64::from(r.count);
                continue;
            }
            let starts = map
                .iter()
                .map(|r| u64::from(r.outside))
                .filter(|start| *start > next);
            let free = starts.min().unwrap_or(end).min(end) - next;
            // Both ends are below 2^32, and u32::MAX itself stands for no id.
            let outside = u32::try_from(next).unwrap_or(u32::MAX);
            let count = u32::try_from(free)
                .unwrap_or(0)
                .min(u32::MAX - inside.max(outside));
            if count == 0 {
                break;
            }
            map.push(IdRange {
                inside,
                outside,
                count,
            });
            inside += count;
            next += u64::from(count);
        }
    }
    map
}

/// A helper program that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperFact {
    /// The name or path by which it was looked for ([`Backend::helper`](crate::Backend::helper)).
    pub wanted: PathBuf,
    /// Where it is.
    pub path: PathBuf,
    /// What it answers to `--version`, such as `bubblewrap 0.8.0`: the first line, without the
    /// white space around it. Empty if it does not answer.
    pub version: String,
    /// Whether it runs as root, whoever starts it.
    pub setuid_root: bool,
}

impl HelperFact {
    /// The first two numbers of the version, which stands behind the first word.
    #[must_use]
    pub fn numbers(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.split_whitespace().nth(1)?.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

/// Who may write the id maps of a new user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdMapper {
    /// Only the caller's own id can be mapped.
    OwnIdOnly,
    /// The caller may map any id that it has (CAP_SETUID and CAP_SETGID).
    Any,
}

/// What is known about the host and the caller before anything is tried. Plain data, so a
/// backend can be asked about any host from anywhere.
///
/// Facts that cost more than a system call or two are gathered only where the configuration
/// needs them; an unknown fact is `None` and is taken for good news, since the attempt itself
/// will tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostFacts {
    /// The operating system.
    pub os: Os,
    /// The version of its kernel.
    pub kernel: Option<KernelVersion>,
    /// The effective user id of the caller.
    pub uid: u32,
    /// The effective group id of the caller.
    pub gid: u32,
    /// The effective capabilities of the caller; empty where there are none.
    pub capabilities: CapSet,
    /// How many user namespaces may be made here (user.max_user_namespaces).
    pub max_user_namespaces: Option<u64>,
    /// Debian's switch kernel.unprivileged_userns_clone.
    pub unprivileged_userns_clone: Option<bool>,
    /// Ubuntu's switch kernel.apparmor_restrict_unprivileged_userns.
    pub apparmor_restricts_userns: Option<bool>,
    /// Whether the caller runs without an AppArmor profile of its own, which counts where that
    /// switch is on; gathered only there.
    pub apparmor_unconfined: Option<bool>,
    /// The Landlock ABI of the kernel (landlock(7)); 0 if it has none or does not let it be used.
    pub landlock: u32,
    /// The uid map that the caller lives in.
    pub uid_map: Vec<IdRange>,
    /// The gid map that the caller lives in.
    pub gid_map: Vec<IdRange>,
    /// Whether the supplementary groups may be changed in the user namespace that the caller
    /// lives in, and so in those below it (/proc/self/setgroups).
    pub setgroups: bool,
    /// Whether the caller is in a Seatbelt sandbox of macOS, inside which no other can be made.
    pub seatbelt: Option<bool>,
    /// Whether the kernel has system call filters (seccomp(2)), and lets the caller ask.
    pub seccomp: Option<bool>,
    /// The control groups that can be made here, and why not; gathered only if there is a limit
    /// for them.
    pub cgroups: CgroupFacts,
    /// Whether /proc shows the caller's processes, so that what they use can be added up; gathered
    /// only if there is a limit for that.
    pub proc_tells: Option<bool>,
    /// Subordinate ids; gathered only if they were asked for.
    pub subordinate: Option<Subordinate>,
    /// The helper programs that are installed, of those that were looked for.
    pub helpers: Vec<HelperFact>,
}

impl HostFacts {
    /// The facts about a Linux host on which nothing stands in the way, and a caller with these
    /// ids: a start for tests, and for filling in what is known.
    #[must_use]
    pub fn linux(uid: u32, gid: u32) -> Self {
        let whole = vec![IdRange {
            inside: 0,
            outside: 0,
            count: u32::MAX,
        }];
        Self {
            os: Os::Linux,
            kernel: None,
            uid,
            gid,
            capabilities: if uid == 0 {
                CapSet::from_bits((1 << 41) - 1)
            } else {
                CapSet::EMPTY
            },
            max_user_namespaces: None,
            unprivileged_userns_clone: None,
            apparmor_restricts_userns: None,
            apparmor_unconfined: None,
            landlock: 0,
            uid_map: whole.clone(),
            gid_map: whole,
            setgroups: true,
            seatbelt: None,
            seccomp: None,
            cgroups: CgroupFacts::default(),
            proc_tells: None,
            subordinate: None,
            helpers: Vec::new(),
        }
    }

    /// The facts about a host of another system, where nothing is known but the caller.
    #[must_use]
    pub fn other(os: Os, uid: u32, gid: u32) -> Self {
        Self {
            os,
            capabilities: CapSet::EMPTY,
            ..Self::linux(uid, gid)
        }
    }

    /// The helper program that was looked for by this name or path, if it was found.
    #[must_use]
    pub fn helper(&self, wanted: &Path) -> Option<&HelperFact> {
        self.helpers.iter().find(|helper| helper.wanted == wanted)
    }

    /// What the caller may write into the id maps of a new user namespace.
    #[must_use]
    pub fn id_mapper(&self) -> IdMapper {
        let needed = CapSet::SETUID.bits() | CapSet::SETGID.bits() | CapSet::SYS_ADMIN.bits();
        if self.capabilities.contains(CapSet::from_bits(needed)) {
            IdMapper::Any
        } else {
            IdMapper::OwnIdOnly
        }
    }
}
