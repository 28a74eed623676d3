//! What a configuration means for a path, said without regions, layouts or rules.

use std::path::{Path, PathBuf};

use sandboxlib_config::{Access, Config, MountKind, Network, RootAccess};
use sandboxlib_sandbox_exec::{Policy, Reach};

/// Anything that tells what may be done with a path.
pub(crate) trait Means {
    fn reach(&self, path: &Path) -> Reach;
    /// The paths that something was said about.
    fn named(&self) -> Vec<PathBuf>;
    fn network(&self) -> Network;
    /// Whether a unix socket at `path` can be connected to without the network: it is in a place
    /// that was made writable within one that is not. Daemons listen where everything is
    /// writable, and in their own directory.
    fn is_local_socket(&self, path: &Path) -> bool {
        self.reach(path) == Reach::Write
            && path
                .ancestors()
                .any(|on_the_way| self.reach(on_the_way) != Reach::Write)
            && !path.starts_with("/private/var/run")
    }
    /// Whether name lookups can be asked for although nothing around them is visible.
    fn asks_names(&self, path: &Path) -> bool {
        path == Path::new("/private/var/run/mDNSResponder") && self.hidden_by_default(path)
    }
    /// Whether nothing was said of `path`, and so it is hidden.
    fn hidden_by_default(&self, _: &Path) -> bool {
        false
    }
}

/// The devices that take writes on a read-only file system too; the caller's own descriptors
/// as long as nobody makes differences among them.
fn is_device(means: &dyn Means, path: &Path) -> bool {
    let fds = Path::new("/dev/fd");
    let alike = |named: &PathBuf| !named.starts_with(fds) || means.reach(named) == means.reach(fds);
    (path.starts_with(fds) && means.named().iter().all(alike))
        || ["null", "zero", "tty", "dtracehelper"]
            .iter()
            .any(|name| path == Path::new("/dev").join(name))
}

pub(crate) fn reads(means: &dyn Means, path: &Path) -> bool {
    means.reach(path) != Reach::Denied
}

pub(crate) fn writes(means: &dyn Means, path: &Path) -> bool {
    match means.reach(path) {
        Reach::Write => true,
        Reach::Read => is_device(means, path),
        Reach::Denied => false,
    }
}

/// A new entry changes its directory.
pub(crate) fn creates(means: &dyn Means, path: &Path) -> bool {
    means.reach(path) == Reach::Write
        && path
            .parent()
            .is_some_and(|parent| means.reach(parent) == Reach::Write)
}

/// Taking an entry away, or moving it, changes its directory and carries along all that is
/// below it.
pub(crate) fn removes(means: &dyn Means, path: &Path) -> bool {
    let moved = |named: &PathBuf| named.starts_with(path);
    path.parent()
        .is_none_or(|parent| means.reach(parent) == Reach::Write)
        && means.reach(path) == Reach::Write
        && means
            .named()
            .iter()
            .filter(|named| moved(named))
            .all(|named| means.reach(named) == Reach::Write)
}

pub(crate) fn connects(means: &dyn Means, socket: &Path) -> bool {
    match means.network() {
        Network::Shared => reads(means, socket) || means.asks_names(socket),
        Network::Isolated => means.is_local_socket(socket),
    }
}

fn canonical(path: &Path) -> PathBuf {
    for top in ["tmp", "var", "etc"] {
        if let Ok(rest) = path.strip_prefix(Path::new("/").join(top)) {
            return Path::new("/private")
                .join(top)
                .join(rest)
                .components()
                .collect();
        }
    }
    path.to_owned()
}

impl Means for Config {
    fn reach(&self, path: &Path) -> Reach {
        let inside = |place: &Path| path.starts_with(canonical(place));
        let mut reach = match self.effective_root_access() {
            RootAccess::ReadWrite => Reach::Write,
            RootAccess::ReadOnlyExcept(list) if list.iter().any(|w| inside(w.as_path())) => {
                Reach::Write
            }
            _ => Reach::Read,
        };
        for mount in self.mounts.iter().filter(|m| inside(m.target.as_path())) {
            reach = match &mount.kind {
                MountKind::Bind {
                    access: Access::ReadOnly,
                    ..
                } => Reach::Read,
                MountKind::Bind {
                    access: Access::ReadWrite,
                    ..
                } => Reach::Write,
                MountKind::Mask => Reach::Denied,
                other => panic!("{other:?}"),
            };
        }
        reach
    }

    fn named(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = match self.effective_root_access() {
            RootAccess::ReadOnlyExcept(list) => {
                list.iter().map(|w| canonical(w.as_path())).collect()
            }
            _ => Vec::new(),
        };
        paths.extend(self.mounts.iter().map(|m| canonical(m.target.as_path())));
        paths
    }

    fn network(&self) -> Network {
        self.network
    }
}

const START: &[&str] = &[
    "/Library/Apple",
    "/System/Library",
    "/usr/lib",
    "/usr/share",
    "/private/var/db/timezone",
    "/private/var/select/sh",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/fd",
    "/dev/dtracehelper",
];

/// A policy with what it takes to start, which somebody who can read nothing can read.
impl Means for Policy {
    fn reach(&self, path: &Path) -> Reach {
        let said = self
            .regions
            .iter()
            .rev()
            .find(|region| path.starts_with(region.path.as_path()))
            .map(|region| region.reach);
        match said.unwrap_or(self.base) {
            Reach::Denied if said.is_none() && START.iter().any(|s| path.starts_with(s)) => {
                Reach::Read
            }
            reach => reach,
        }
    }

    fn named(&self) -> Vec<PathBuf> {
        self.regions
            .iter()
            .map(|region| region.path.as_path().to_owned())
            .collect()
    }

    fn network(&self) -> Network {
        self.network
    }

    fn hidden_by_default(&self, path: &Path) -> bool {
        self.base == Reach::Denied
            && !self
                .regions
                .iter()
                .any(|region| path.starts_with(region.path.as_path()))
    }
}

/// Directories can be looked at on the way to what is visible, and the links at the top.
pub(crate) fn looks_at(policy: &Policy, path: &Path) -> bool {
    let mut places = policy.named();
    if policy.base == Reach::Denied {
        places.extend(START.iter().map(PathBuf::from));
    }
    let links = ["/etc", "/tmp", "/var"].map(Path::new);
    reads(policy, path)
        || path == Path::new("/")
        || (policy.base == Reach::Denied && links.contains(&path))
        || places
            .iter()
            .any(|place| place.starts_with(path) && reads(policy, place))
}
