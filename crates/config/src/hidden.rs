use std::path::Path;

use crate::SandboxPath;

/// A directory of the host's own root that the command does not see: the sandbox has a directory
/// of its own there.
///
/// It is an empty file system in memory. What a mount, [`Config::readable`], [`Config::sockets`]
/// or a writable path names in it is shown, and nothing else of the host. A place that does not
/// exist, or is no directory, needs nothing; symbolic links on the way to it are followed. One
/// that is in another hidden place is an empty directory there.
///
/// [`Config::readable`]: crate::Config::readable
/// [`Config::sockets`]: crate::Config::sockets
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenPlace {
    /// Where it is.
    pub path: SandboxPath,
    /// What takes its place.
    pub by: HiddenBy,
}

/// What takes the place of something hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HiddenBy {
    /// An empty file system in memory (tmpfs(5)). The sandbox may write to it, as far as its
    /// permissions go, and it ends with the sandbox.
    Empty {
        /// The permissions of its root directory. It belongs to the user that the caller is
        /// inside.
        mode: u32,
    },
    /// The same, and nobody can write to it: what is hidden is none of the command's to fill.
    Nothing {
        /// The permissions of its root directory.
        mode: u32,
    },
    /// procfs of the sandbox's own process id namespace; nothing where that is the caller's,
    /// because then its processes are what was asked for.
    Proc,
}

/// Whose the thing is that a place is hidden for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Everybody,
    /// Nobody else can read it in any case (debugfs, tracefs, bpf and pstore are 0700).
    Root,
}

const EMPTY: HiddenBy = HiddenBy::Empty { mode: 0o755 };
/// In sysfs, where programs find no room of their own either.
const NOTHING: HiddenBy = HiddenBy::Nothing { mode: 0o755 };
const SCRATCH: HiddenBy = HiddenBy::Empty { mode: 0o1777 };

/// The places that hold what is somebody's own, or lead to other programs, on any Linux.
const PLACES: &[(&str, HiddenBy, For)] = &[
    // Other processes, where no procfs was asked for by name.
    ("/proc", HiddenBy::Proc, For::Everybody),
    // Keys, tokens, histories, mail.
    ("/home", EMPTY, For::Everybody),
    ("/root", EMPTY, For::Everybody),
    // Sockets of daemons (D-Bus, containers, nscd, agents), credentials, the runtime directories
    // of users. /var/run is a directory of its own on an old system.
    ("/run", EMPTY, For::Everybody),
    ("/var/run", EMPTY, For::Everybody),
    // Whatever programs left there, and the sockets of X and agents.
    ("/tmp", SCRATCH, For::Everybody),
    ("/var/tmp", SCRATCH, For::Everybody),
    // Shared memory and message queues of other programs.
    ("/dev/shm", SCRATCH, For::Everybody),
    ("/dev/mqueue", SCRATCH, For::Everybody),
    // What the kernel and every daemon say; group adm may read it.
    ("/var/log", EMPTY, For::Everybody),
    // ACPI tables, EFI variables, serial numbers. efivarfs is readable to everybody.
    ("/sys/firmware", NOTHING, For::Everybody),
    // Kernel memory in many shapes, and what tracing sees of other processes.
    ("/sys/kernel/debug", NOTHING, For::Root),
    ("/sys/kernel/tracing", NOTHING, For::Root),
    // Maps and programs of other processes.
    ("/sys/fs/bpf", NOTHING, For::Root),
    // Kernel logs of earlier crashes.
    ("/sys/fs/pstore", NOTHING, For::Root),
];

/// Directories that are no one's home, whatever /etc/passwd or HOME says: without them nothing
/// runs. They are compared as they are written, and so are the places above.
const SYSTEM: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/media",
    "/mnt",
    "/nix",
    "/opt",
    "/proc",
    "/sbin",
    "/srv",
    "/sys",
    "/usr",
    "/usr/bin",
    "/usr/games",
    "/usr/lib",
    "/usr/libexec",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/spool",
];

impl HiddenPlace {
    /// What is hidden by default where the root is the host's own: /home, /root, the caller's
    /// home directory, /run, /tmp, /var/tmp, /var/log, /dev/shm and the like, and what of /sys
    /// shows firmware or, `for_root`, the kernel's inside.
    ///
    /// `homes` are directories that may be the caller's home, in no particular order. What cannot
    /// be one (a relative path, one with `..`, a directory of the system such as `/` or
    /// /usr/sbin) is left out.
    pub fn usual<P: AsRef<Path>>(homes: impl IntoIterator<Item = P>, for_root: bool) -> Vec<Self> {
        let mut places: Vec<Self> = PLACES
            .iter()
            .filter(|(_, _, whose)| for_root || *whose == For::Everybody)
            .filter_map(|(path, by, _)| Some(Self::new(SandboxPath::new(*path).ok()?, *by)))
            .collect();
        for home in homes {
            let Ok(path) = SandboxPath::new(home.as_ref()) else {
                continue;
            };
            let is_system = SYSTEM.iter().any(|dir| path.as_path() == Path::new(dir));
            if !is_system && places.iter().all(|place| place.path != path) {
                places.push(Self::new(path, EMPTY));
            }
        }
        places
    }

    /// `path`, hidden `by` this.
    #[must_use]
    pub fn new(path: SandboxPath, by: HiddenBy) -> Self {
        Self { path, by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(homes: &[&str]) -> Vec<String> {
        let none = HiddenPlace::usual::<&str>([], false);
        HiddenPlace::usual(homes, false)
            .into_iter()
            .filter(|place| !none.contains(place))
            .map(|place| place.path.to_string())
            .collect()
    }

    #[test]
    fn every_place_in_the_table_is_a_path() {
        assert_eq!(HiddenPlace::usual::<&str>([], true).len(), PLACES.len());
        let system = SYSTEM.iter().filter(|dir| SandboxPath::new(**dir).is_ok());
        assert_eq!(system.count(), SYSTEM.len());
    }

    #[test]
    fn a_home_that_can_be_one_is_hidden() {
        assert_eq!(homes(&["/home/me", "/data/me"]), ["/home/me", "/data/me"]);
        assert_eq!(homes(&["/var/lib/jenkins/"]), ["/var/lib/jenkins"]);
        assert_eq!(homes(&["/srv/me", "/srv/me"]), ["/srv/me"]);
        assert!(homes(&["/root", "/home"]).is_empty());
    }

    #[test]
    fn a_home_that_cannot_be_one_is_not() {
        let odd = ["", "/", "//", "/.", "home", "/home/../etc", "/a\0b"];
        assert!(homes(&odd).is_empty());
        assert!(homes(&["/usr/sbin", "/bin", "/dev", "/var", "/usr//sbin/"]).is_empty());
    }

    #[test]
    fn what_root_alone_can_read_is_hidden_from_root_alone() {
        let has = |for_root, path: &str| {
            HiddenPlace::usual::<&str>([], for_root)
                .iter()
                .any(|place| place.path.as_path() == Path::new(path))
        };
        assert!(has(true, "/sys/kernel/debug") && !has(false, "/sys/kernel/debug"));
        assert!(has(true, "/sys/firmware") && has(false, "/sys/firmware"));
    }
}
