//! The settings that a person writes down, in a configuration file or on a command line.

mod filter;
mod named;
#[cfg(test)]
mod properties;
mod read;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::{
    Capabilities, Config, ControlGroups, Feature, FeatureSet, Ids, Isolation, Limits, Mount,
    MountKind, Network, Overlay, Root, RootAccess, SandboxPath, Seccomp, UserNamespace,
};

pub use named::{Definition, ExtendsError, SandboxName};
pub use value::{
    ValueError, parse_count, parse_duration, parse_permissions, parse_size, parse_size_or_none,
};

/// What a configuration file, or a command line, says about a run. What it leaves unsaid is
/// `None` or empty, so that two of them can be laid [over](Self::over) one another.
///
/// It is read with any deserializer of serde; the format that the documentation of run-sandbox
/// describes is TOML. Unknown keys and values that mean nothing are errors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Settings {
    /// `sandbox`: the directory that becomes the root; `/` is the host's.
    pub sandbox: Option<PathBuf>,
    /// `backend`: names, of which the first that can run the rest is used.
    pub backend: Option<Vec<String>>,
    /// `read-only`: nothing below the root can be changed but what is in `writable`. `false`
    /// says that everything can.
    pub read_only: Option<bool>,
    /// `writable`: what can be changed; implies `read-only` for the rest.
    pub writable: Vec<SandboxPath>,
    /// `overlay`: what is changed of the root goes elsewhere, and away after the run. `false`
    /// says that it goes into the root.
    pub overlay: Option<bool>,
    /// `overlay-changes`: a directory to keep what was changed in; implies `overlay`.
    pub overlay_changes: Option<PathBuf>,
    /// What concerns an image as the sandbox: `image`, `platform`, `image-cache`, `[volume]`.
    pub image: ImageSettings,
    /// `host-secrets`: whether the private places of the host's root are hidden.
    pub host_secrets: Option<HostSecrets>,
    /// `readable`: what of the host's root can be read although it is in a hidden place.
    pub readable: Vec<SandboxPath>,
    /// `allow-socket`: the sockets in hidden places that can be connected to.
    pub sockets: Vec<SandboxPath>,
    /// `bare`: without the mounts at /proc, /dev and /tmp.
    pub bare: Option<bool>,
    /// `[[mount]]`, in order.
    pub mounts: Vec<MountSetting>,
    /// `network`.
    pub network: Option<Network>,
    /// `share`: the namespaces that are the caller's.
    pub share: Vec<Namespace>,
    /// `isolate`: the namespaces that are the sandbox's own, or the run fails.
    pub isolate: Vec<Namespace>,
    /// `uid`: the user id inside. `root = true` says that it is 0, and the group id too.
    pub uid: Option<u32>,
    /// `gid`: the group id inside.
    pub gid: Option<u32>,
    /// `map-subordinate`: root inside, with the subordinate ids.
    pub map_subordinate: Option<bool>,
    /// `cap-add`: the capabilities that are kept, and no others.
    pub capabilities: Option<Vec<String>>,
    /// `seccomp`: the system calls that the command can make, and `[[seccomp.rule]]`.
    pub seccomp: Option<Seccomp>,
    /// `allow-nested`: the command can make further namespaces.
    pub allow_nested: Option<bool>,
    /// `hostname`.
    pub hostname: Option<OsString>,
    /// `landlock`: whether there is a second wall behind the mounts.
    pub landlock: Option<bool>,
    /// `prefer`: the features of which less will do, besides those of which it always does.
    pub prefer: FeatureSet,
    /// `cwd`: the working directory inside.
    pub cwd: Option<SandboxPath>,
    /// `[env]`: each variable with its value; `None` for the value that the caller has.
    pub env: BTreeMap<OsString, Option<OsString>>,
    /// `inherit-env`: the whole environment of the caller.
    pub inherit_env: Option<bool>,
    /// `timeout`, `cpu-time`, `memory`, `processes`, `file-size`, `open-files`, `stack`, `core`,
    /// `output`, `kill-after`.
    pub limits: Limits,
    /// `cgroup`: where control groups may be made.
    pub control_groups: Option<ControlGroups>,
    /// `tty`: whether the command has a terminal of its own.
    pub tty: Option<bool>,
    /// `as-pid-1`: whether the command is process 1 itself, with no init program above it.
    pub as_pid_1: Option<bool>,
    /// `command`: the program and its arguments.
    pub command: Option<Vec<OsString>>,
}

/// What is said about an image. All of it is for whoever makes a root of one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImageSettings {
    /// `image`: the name of the image in a layout or archive of several.
    pub reference: Option<String>,
    /// `platform`: the system and processor, as `linux/arm64`.
    pub platform: Option<String>,
    /// `image-cache`: where images stay unpacked.
    pub cache: Option<PathBuf>,
    /// `[volume]`: the volumes that the image names, each with a path of the host.
    pub volumes: BTreeMap<String, PathBuf>,
}

impl ImageSettings {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn over(self, lower: Self) -> Self {
        let mut volumes = lower.volumes;
        volumes.extend(self.volumes);
        Self {
            reference: self.reference.or(lower.reference),
            platform: self.platform.or(lower.platform),
            cache: self.cache.or(lower.cache),
            volumes,
        }
    }
}

/// A mount as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSetting {
    /// The mount. Where `content` is set, its data is empty as yet.
    pub mount: Mount,
    /// The file of the host that holds the content of a [`MountKind::File`].
    pub content: Option<PathBuf>,
}

impl From<Mount> for MountSetting {
    fn from(mount: Mount) -> Self {
        Self {
            mount,
            content: None,
        }
    }
}

/// What becomes of the private places of the host's root ([`Config::hidden`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostSecrets {
    /// They are hidden, as is the default.
    Hidden,
    /// They are shown.
    Shown,
}

/// A kind of namespace that [`Settings`] can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Namespace {
    /// `user`
    User,
    /// `pid`
    Pid,
    /// `ipc`
    Ipc,
    /// `uts`
    Uts,
    /// `cgroup`
    Cgroup,
    /// `time`
    Time,
}

impl Namespace {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::User,
        Self::Pid,
        Self::Ipc,
        Self::Uts,
        Self::Cgroup,
        Self::Time,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.feature().name()
    }

    /// The feature that isolating it is.
    #[must_use]
    pub fn feature(self) -> Feature {
        match self {
            Self::User => Feature::User,
            Self::Pid => Feature::Pid,
            Self::Ipc => Feature::Ipc,
            Self::Uts => Feature::Uts,
            Self::Cgroup => Feature::Cgroup,
            Self::Time => Feature::Time,
        }
    }
}

/// Why [`Settings`] do not make a [`Config`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// No root was named.
    #[error("no sandbox is named")]
    NoSandbox,
    /// Something was said about the host's root, and another one is the root.
    #[error("`{key}` is about the host's root, and {sandbox:?} is the root")]
    NotTheHost {
        /// The key.
        key: &'static str,
        /// The root.
        sandbox: PathBuf,
    },
    /// The root cannot be read-only as a whole and have an overlay that takes what is changed.
    #[error("`read-only` and `overlay` exclude each other")]
    ReadOnlyOverlay,
    /// One id was given and the other one is needed with it.
    #[error("a uid and a gid are needed, or neither")]
    HalfOfIds,
    /// The content of a file could not be read.
    #[error("cannot read {path:?}, the content of the file at {target:?}")]
    Content {
        /// The file on the host.
        path: PathBuf,
        /// Where its content was to appear.
        target: SandboxPath,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Settings {
    /// These settings where they say something, and `lower` where they do not. Of lists, the
    /// entries of `lower` come first.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        // An id above replaces whatever was said about ids below, except for its partner. Who says
        // anything about subordinate ids has said all about ids.
        let (uid, gid, map_subordinate) = match self.map_subordinate {
            Some(_) => (self.uid, self.gid, self.map_subordinate),
            None => {
                let said = self.uid.or(self.gid).is_some();
                let map = lower.map_subordinate.map(|map| map && !said);
                (self.uid.or(lower.uid), self.gid.or(lower.gid), map)
            }
        };
        // What is said above about a namespace replaces what is said below, so each is named once,
        // however many settings lie over one another.
        let (share, isolate) = (&self.share, &self.isolate);
        let chain = |lower: Vec<Namespace>, upper: &[Namespace]| -> Vec<Namespace> {
            lower
                .into_iter()
                .filter(|ns| !share.contains(ns) && !isolate.contains(ns))
                .chain(upper.iter().copied())
                .collect()
        };
        // Whoever says above whether there is an overlay has said all about it.
        let (overlay, overlay_changes) = match (self.overlay, self.overlay_changes) {
            (None, None) => (lower.overlay, lower.overlay_changes),
            said => said,
        };
        let mut env = lower.env;
        env.extend(self.env);
        Self {
            sandbox: self.sandbox.or(lower.sandbox),
            backend: self.backend.or(lower.backend),
            read_only: self.read_only.or(lower.read_only),
            writable: lower.writable.into_iter().chain(self.writable).collect(),
            overlay,
            overlay_changes,
            image: self.image.over(lower.image),
            host_secrets: self.host_secrets.or(lower.host_secrets),
            readable: lower.readable.into_iter().chain(self.readable).collect(),
            sockets: lower.sockets.into_iter().chain(self.sockets).collect(),
            bare: self.bare.or(lower.bare),
            mounts: lower.mounts.into_iter().chain(self.mounts).collect(),
            network: self.network.or(lower.network),
            share: chain(lower.share, share),
            isolate: chain(lower.isolate, isolate),
            uid,
            gid,
            map_subordinate,
            capabilities: self.capabilities.or(lower.capabilities),
            seccomp: self.seccomp.or(lower.seccomp),
            allow_nested: self.allow_nested.or(lower.allow_nested),
            hostname: self.hostname.or(lower.hostname),
            landlock: self.landlock.or(lower.landlock),
            prefer: lower.prefer.union(self.prefer),
            cwd: self.cwd.or(lower.cwd),
            env,
            inherit_env: self.inherit_env.or(lower.inherit_env),
            limits: self.limits.over(lower.limits),
            control_groups: self.control_groups.or(lower.control_groups),
            tty: self.tty.or(lower.tty),
            as_pid_1: self.as_pid_1.or(lower.as_pid_1),
            command: self.command.or(lower.command),
        }
    }

    /// Makes every path of the host that is relative start at `base`, as the paths in a file do
    /// at the directory that holds it.
    pub fn rebase(&mut self, base: &Path) {
        if let Some(path) = &mut self.sandbox {
            *path = base.join(&*path);
        }
        if let Some(ControlGroups::Below(path)) = &mut self.control_groups {
            *path = base.join(&*path);
        }
        let image = &mut self.image;
        let paths = image.volumes.values_mut().chain(&mut image.cache);
        for path in paths.chain(&mut self.overlay_changes) {
            *path = base.join(&*path);
        }
        for path in self.mounts.iter_mut().filter_map(MountSetting::host_path) {
            *path = base.join(&*path);
        }
    }

    /// The configuration that is meant. What says how to run a command in it (backend, working
    /// directory, environment, time, command) is left for the caller to use.
    ///
    /// Unless `bare` is set, procfs at /proc, a minimal /dev and a tmpfs at /tmp come before the
    /// mounts that were written down. One of them is left out where a mount, or a path that is to
    /// be writable or shown, wants its place.
    ///
    /// # Errors
    /// [`SettingsError`] says what is missing, or which content `read` could not read.
    pub fn config(
        &self,
        mut read: impl FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Config, SettingsError> {
        let sandbox = self.sandbox.as_deref().ok_or(SettingsError::NoSandbox)?;
        let is_host = SandboxPath::new(sandbox).is_ok_and(|path| path.is_root());
        let root = if is_host {
            Root::Host
        } else {
            for (key, said) in [
                ("host-secrets", self.host_secrets.is_some()),
                ("readable", !self.readable.is_empty()),
            ] {
                if said {
                    let sandbox = sandbox.to_owned();
                    return Err(SettingsError::NotTheHost { key, sandbox });
                }
            }
            Root::Dir(sandbox.to_owned())
        };
        let mut config = Config::new(root);
        if self.host_secrets == Some(HostSecrets::Shown) {
            config.hidden = Some(Vec::new());
        }
        config.readable.clone_from(&self.readable);
        config.sockets.clone_from(&self.sockets);

        config.mounts = self.default_mounts(is_host, config.hides_secrets());
        for setting in &self.mounts {
            let mut mount = setting.mount.clone();
            if let (Some(path), MountKind::File { data, .. }) = (&setting.content, &mut mount.kind)
            {
                *data = read(path)
                    .map_err(|source| SettingsError::Content {
                        path: path.clone(),
                        target: mount.target.clone(),
                        source,
                    })?
                    .into();
            }
            config.mounts.push(mount);
        }

        config.overlay = match (&self.overlay_changes, self.overlay) {
            (Some(_), Some(false)) | (None, Some(false) | None) => None,
            (Some(dir), _) => Some(Overlay::Keep(dir.clone())),
            (None, Some(true)) => Some(Overlay::Discard),
        };
        if config.overlay.is_some() && self.read_only == Some(true) && self.writable.is_empty() {
            return Err(SettingsError::ReadOnlyOverlay);
        }
        config.root_access =
            self.root_access(is_host && !self.is_bare() && !config.hides_secrets());
        config.network = self.network.unwrap_or_default();
        let ns = &mut config.namespaces;
        for (list, to) in [
            (&self.share, Isolation::Shared),
            (&self.isolate, Isolation::Isolated),
        ] {
            for namespace in list {
                match (namespace, to) {
                    (Namespace::User, Isolation::Shared) => ns.user = UserNamespace::Shared,
                    (Namespace::User, Isolation::Isolated) => ns.user = UserNamespace::Isolated,
                    (Namespace::Pid, _) => ns.pid = to,
                    (Namespace::Ipc, _) => ns.ipc = to,
                    (Namespace::Uts, _) => ns.uts = to,
                    (Namespace::Cgroup, _) => ns.cgroup = to,
                    (Namespace::Time, _) => ns.time = to,
                }
            }
        }
        config.ids = match (self.map_subordinate, self.uid, self.gid) {
            (Some(true), uid, gid) => Ids::Subordinate {
                uid: uid.unwrap_or(0),
                gid: gid.unwrap_or(0),
            },
            (_, Some(uid), Some(gid)) => Ids::Pair { uid, gid },
            (_, None, None) => Ids::Caller,
            _ => return Err(SettingsError::HalfOfIds),
        };
        config.hostname.clone_from(&self.hostname);
        config.landlock = self.landlock.unwrap_or(true);
        if let Some(names) = &self.capabilities {
            config.capabilities = Capabilities::Only(names.clone());
        }
        config.allow_nested = self.allow_nested == Some(true);
        config.limits = self.limits;
        config.control_groups = self.control_groups.clone().unwrap_or_default();
        // What was asked for by name is no longer one of those that are had if they can be.
        for namespace in &self.isolate {
            config.prefer.remove(namespace.feature());
        }
        if let Some(seccomp) = &self.seccomp {
            config.seccomp.clone_from(seccomp);
            config.prefer.remove(Feature::Seccomp);
        }
        if self.allow_nested == Some(false) {
            config.prefer.remove(Feature::Nested);
        }
        if self.hostname.is_some() {
            config.prefer.remove(Feature::Uts);
        }
        config.prefer = config.prefer.union(self.prefer);
        Ok(config)
    }

    fn is_bare(&self) -> bool {
        self.bare == Some(true)
    }

    fn root_access(&self, private_tmp: bool) -> Option<RootAccess> {
        if !self.writable.is_empty() && self.writable.iter().all(SandboxPath::is_root) {
            Some(RootAccess::ReadWrite)
        } else if !self.writable.is_empty() {
            let tmp = private_tmp.then(|| at("/tmp"));
            let rest = self
                .writable
                .iter()
                .filter(|p| !is_below(p, tmp.as_ref()))
                .cloned();
            Some(RootAccess::ReadOnlyExcept(rest.collect()))
        } else {
            self.read_only.map(|yes| {
                if yes {
                    RootAccess::ReadOnly
                } else {
                    RootAccess::ReadWrite
                }
            })
        }
    }

    /// The mounts that nobody wrote down. Below the host's /tmp, a writable path is shown in the
    /// private one rather than doing without the latter. Where secrets are hidden, so is /tmp, and
    /// what is shown there is dealt with.
    fn default_mounts(&self, is_host: bool, hides: bool) -> Vec<Mount> {
        let mut mounts = Vec::new();
        if self.is_bare() {
            return mounts;
        }
        let (proc, dev, tmp) = (at("/proc"), at("/dev"), at("/tmp"));
        let is_free = |place: &SandboxPath, shows_writable: bool| {
            let mounted = self
                .mounts
                .iter()
                .any(|m| place.starts_with(&m.mount.target));
            let writable = self.writable.iter().any(|path| {
                path == place || path.starts_with(place) && !(shows_writable && is_host && !hides)
            });
            // A socket that a mount shows comes with that.
            let bare = |path: &&SandboxPath| {
                let mut targets = self.mounts.iter().map(|m| &m.mount.target);
                !targets.any(|target| path.starts_with(target))
            };
            let sockets = self.sockets.iter().filter(bare);
            let mut shown = self.readable.iter().chain(sockets);
            !mounted && !writable && !shown.any(|path| path.starts_with(place))
        };
        if is_free(&proc, false) {
            mounts.push(if self.share.contains(&Namespace::Pid) && is_host {
                // procfs of the caller's pid namespace is there already, and its settings are
                // the host's.
                Mount::bind_read_only("/proc", proc)
            } else {
                Mount::new(proc, MountKind::Proc)
            });
        }
        if is_free(&dev, false) {
            mounts.push(Mount::new(dev, MountKind::Dev));
        }
        if is_free(&tmp, true) {
            mounts.push(Mount::tmpfs(tmp.clone()));
        }
        if is_host && !hides {
            let below = self
                .writable
                .iter()
                .filter(|path| is_below(path, Some(&tmp)));
            mounts.extend(below.map(|path| Mount::bind(path.as_path(), path.clone())));
        }
        mounts
    }
}

fn is_below(path: &SandboxPath, above: Option<&SandboxPath>) -> bool {
    above.is_some_and(|above| path != above && path.starts_with(above))
}

/// One of the paths of the default mounts.
fn at(path: &'static str) -> SandboxPath {
    // All of them are absolute and clean; the root would be refused by every planner.
    SandboxPath::new(path).unwrap_or_else(|_| SandboxPath::root())
}

impl MountSetting {
    /// The path of the host that the mount names, if it names one.
    pub fn host_path(&mut self) -> Option<&mut PathBuf> {
        match (&mut self.content, &mut self.mount.kind) {
            (Some(path), _) => Some(path),
            (None, MountKind::Bind { source, .. }) => Some(source),
            (None, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn host() -> Settings {
        Settings {
            sandbox: Some("/".into()),
            ..Settings::default()
        }
    }

    fn targets(settings: &Settings) -> Vec<String> {
        let config = settings.config(none).unwrap();
        config
            .mounts
            .iter()
            .map(|m| format!("{} {}", m.kind.name(), m.target))
            .collect()
    }

    #[test]
    fn without_a_word_it_is_read_only_with_private_proc_dev_and_tmp() {
        let config = host().config(none).unwrap();
        assert_eq!(config.root, Root::Host);
        assert_eq!(config.effective_root_access(), RootAccess::ReadOnly);
        assert_eq!(targets(&host()), ["proc /proc", "dev /dev", "tmpfs /tmp"]);
        assert!(
            targets(&Settings {
                bare: Some(true),
                ..host()
            })
            .is_empty()
        );
    }

    #[test]
    fn a_default_makes_way_for_a_mount_at_its_place_or_above() {
        let mut s = host();
        s.mounts.push(Mount::bind("/x", at("/tmp")).into());
        s.mounts.push(Mount::tmpfs(at("/dev/shm")).into());
        assert_eq!(
            targets(&s),
            ["proc /proc", "dev /dev", "bind /tmp", "tmpfs /dev/shm"]
        );
        s.mounts = vec![Mount::bind("/x", SandboxPath::root()).into()];
        assert_eq!(targets(&s), ["bind /"]);
    }

    #[test]
    fn a_writable_path_below_tmp_is_shown_in_the_private_one_of_the_host_alone() {
        let mut s = host();
        s.host_secrets = Some(HostSecrets::Shown);
        s.writable = vec![at("/tmp/build"), at("/home")];
        assert_eq!(
            targets(&s),
            ["proc /proc", "dev /dev", "tmpfs /tmp", "bind /tmp/build"]
        );
        let access = s.config(none).unwrap().root_access;
        assert_eq!(access, Some(RootAccess::ReadOnlyExcept(vec![at("/home")])));

        s.host_secrets = None;
        s.sandbox = Some("/srv".into());
        assert_eq!(targets(&s), ["proc /proc", "dev /dev"]);
        let access = s.config(none).unwrap().root_access;
        assert_eq!(access, Some(RootAccess::ReadOnlyExcept(s.writable.clone())));

        s.writable = vec![SandboxPath::root()];
        assert_eq!(targets(&s), ["proc /proc", "dev /dev", "tmpfs /tmp"]);
        assert_eq!(
            s.config(none).unwrap().root_access,
            Some(RootAccess::ReadWrite)
        );
    }

    #[test]
    fn what_is_shown_in_a_hidden_tmp_does_without_the_usual_one() {
        let mut s = host();
        s.writable = vec![at("/tmp/build"), at("/home/me")];
        assert_eq!(targets(&s), ["proc /proc", "dev /dev"]);
        let config = s.config(none).unwrap();
        let both = RootAccess::ReadOnlyExcept(s.writable.clone());
        assert_eq!(config.root_access, Some(both));
        assert!(config.hides_secrets());

        s.writable.clear();
        s.readable = vec![at("/tmp/x"), at("/proc")];
        s.sockets = vec![at("/dev/shm/s")];
        assert!(targets(&s).is_empty());
    }

    #[test]
    fn what_is_about_the_hosts_root_means_nothing_for_another() {
        let about = |change: fn(&mut Settings)| {
            let mut s = host();
            change(&mut s);
            let of_host = s.config(none).unwrap();
            s.sandbox = Some("/srv".into());
            let said = s.config(none).unwrap_err().to_string();
            assert!(said.contains("is about the host's root"), "{said}");
            of_host
        };
        assert!(!about(|s| s.host_secrets = Some(HostSecrets::Shown)).hides_secrets());
        assert!(about(|s| s.host_secrets = Some(HostSecrets::Hidden)).hides_secrets());
        assert_eq!(about(|s| s.readable.push(at("/a"))).readable, [at("/a")]);
    }

    #[test]
    fn sockets_may_be_in_any_root_and_in_any_mount() {
        let mut s = host();
        s.sockets = vec![at("/tmp/d/s")];
        assert_eq!(targets(&s), ["proc /proc", "dev /dev"]);
        s.mounts.push(MountSetting {
            mount: Mount::bind_read_only("/srv/d", at("/tmp/d")),
            content: None,
        });
        let usual = ["proc /proc", "dev /dev", "tmpfs /tmp", "bind /tmp/d"];
        assert_eq!(targets(&s), usual);
        s.sandbox = Some("/srv".into());
        assert_eq!(s.config(none).unwrap().sockets, s.sockets);
        assert_eq!(targets(&s), usual);
    }

    #[test]
    fn what_was_asked_for_by_name_is_not_optional() {
        let mut s = host();
        s.isolate = vec![Namespace::Pid];
        s.hostname = Some("box".into());
        let prefer = s.config(none).unwrap().prefer;
        assert!(!prefer.contains(Feature::Pid) && !prefer.contains(Feature::Uts));
        assert!(prefer.contains(Feature::Ipc));
        s.prefer.insert(Feature::Pid);
        assert!(s.config(none).unwrap().prefer.contains(Feature::Pid));
    }

    #[test]
    fn the_upper_settings_win_and_lists_are_appended() {
        let mut lower = host();
        lower.limits.wall = Some(std::time::Duration::from_secs(1));
        lower.uid = Some(7);
        lower.gid = Some(8);
        lower.share = vec![Namespace::Pid, Namespace::Ipc];
        lower.env.insert("A".into(), Some("1".into()));
        lower.env.insert("B".into(), Some("1".into()));
        lower.writable.push(at("/a"));
        let mut upper = Settings {
            uid: Some(9),
            ..Settings::default()
        };
        upper.limits.wall = Some(std::time::Duration::from_secs(2));
        upper.isolate = vec![Namespace::Pid];
        upper.env.insert("B".into(), None);
        upper.writable.push(at("/b"));
        let both = upper.over(lower.clone());
        assert_eq!(both.limits.wall, Some(std::time::Duration::from_secs(2)));
        assert_eq!((both.uid, both.gid), (Some(9), Some(8)));
        assert_eq!(
            (&*both.share, &*both.isolate),
            (&[Namespace::Ipc][..], &[Namespace::Pid][..])
        );
        assert_eq!(both.env[&OsString::from("A")], Some("1".into()));
        assert_eq!(both.env[&OsString::from("B")], None);
        assert_eq!(both.writable, [at("/a"), at("/b")]);

        let upper = Settings {
            map_subordinate: Some(true),
            ..Settings::default()
        };
        let both = upper.over(lower.clone());
        assert_eq!(both.config(none).unwrap().ids, Ids::SUBORDINATE);
        let upper = Settings {
            uid: Some(1),
            gid: Some(1),
            ..Settings::default()
        };
        let both = upper.over(both);
        assert_eq!(both.config(none).unwrap().ids, Ids::Pair { uid: 1, gid: 1 });
    }
}
