//! A sandbox as Python describes it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use sandboxlib::{
    Access, Config, ControlGroups, FeatureSet, Ids, Limits, Mount, MountKind, Network, Root,
    RootAccess, Sandbox, SandboxPath, Seccomp,
};

/// What `Sandbox` of Python says, in plain data. Paths are bytes.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Description {
    /// A directory of the host; `None` for the host's own root.
    root: Option<PyBackedBytes>,
    /// Whether what is private in the host's root is shown.
    show_all: bool,
    /// `default`, `read-write`, `read-only`, or `except` for `writable`.
    access: String,
    writable: Vec<PyBackedBytes>,
    readable: Vec<PyBackedBytes>,
    sockets: Vec<PyBackedBytes>,
    mounts: Vec<RawMount>,
    network: bool,
    /// The user and group; `None` for the caller's.
    ids: Option<(u32, u32)>,
    /// Root inside with a range of subordinate ids.
    subordinate: bool,
    hostname: Option<PyBackedBytes>,
    limits: RawLimits,
    /// `auto`, `none` or a directory.
    control_groups: PyBackedBytes,
    seccomp: Option<String>,
    allow_nested: bool,
    prefer: Vec<String>,
    backends: Option<Vec<String>>,
}

/// A mount: what it is of depends on the kind.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct RawMount {
    kind: String,
    target: PyBackedBytes,
    /// The source of a bind, the content of a file, what a link says.
    data: Option<PyBackedBytes>,
    size: Option<u64>,
    mode: Option<u32>,
    writable: bool,
    covers: bool,
}

/// Limits: seconds, bytes and counts.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct RawLimits {
    pub(crate) wall: Option<f64>,
    cpu_time: Option<f64>,
    memory: Option<u64>,
    processes: Option<u64>,
    file_size: Option<u64>,
    open_files: Option<u64>,
    stack: Option<u64>,
    core: Option<u64>,
    output: Option<u64>,
    kill_after: Option<f64>,
}

/// A `ValueError`.
fn invalid(what: impl ToString) -> PyErr {
    PyValueError::new_err(what.to_string())
}

pub(crate) fn os(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

fn host_path(bytes: &[u8]) -> PathBuf {
    os(bytes).into()
}

pub(crate) fn inside(bytes: &[u8]) -> PyResult<SandboxPath> {
    SandboxPath::new(OsStr::from_bytes(bytes)).map_err(invalid)
}

fn all_inside(paths: &[PyBackedBytes]) -> PyResult<Vec<SandboxPath>> {
    paths.iter().map(|path| inside(path)).collect()
}

pub(crate) fn seconds(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(invalid)
}

impl RawLimits {
    fn limits(&self) -> PyResult<Limits> {
        let mut limits = Limits::default();
        limits.wall = self.wall.map(seconds).transpose()?;
        limits.cpu_time = self.cpu_time.map(seconds).transpose()?;
        limits.memory = self.memory;
        limits.processes = self.processes;
        limits.file_size = self.file_size;
        limits.open_files = self.open_files;
        limits.stack = self.stack;
        limits.core = self.core;
        limits.output = self.output;
        limits.kill_after = self.kill_after.map(seconds).transpose()?;
        Ok(limits)
    }
}

impl RawMount {
    fn mount(&self) -> PyResult<Mount> {
        let target = inside(&self.target)?;
        let data = || {
            let missing = || invalid(format!("a mount of kind {:?} needs a source", self.kind));
            self.data.as_deref().ok_or_else(missing)
        };
        let mode = |default: u32| self.mode.unwrap_or(default);
        let kind = match self.kind.as_str() {
            "bind" => MountKind::Bind {
                source: host_path(data()?),
                access: if self.writable {
                    Access::ReadWrite
                } else {
                    Access::ReadOnly
                },
            },
            "tmpfs" => MountKind::Tmpfs {
                size: self.size,
                mode: mode(0o1777),
            },
            "proc" => MountKind::Proc,
            "dev" => MountKind::Dev,
            "file" => MountKind::File {
                data: Arc::from(data()?),
                mode: mode(0o644),
            },
            "symlink" => MountKind::Symlink { to: os(data()?) },
            "dir" => MountKind::Dir { mode: mode(0o755) },
            "mask" => MountKind::Mask,
            other => return Err(invalid(format!("there is no mount of kind {other:?}"))),
        };
        let mount = Mount::new(target, kind);
        Ok(if self.covers { mount.covering() } else { mount })
    }
}

impl Description {
    /// The sandbox that this describes.
    pub(crate) fn sandbox(&self) -> PyResult<Sandbox> {
        let root = match &self.root {
            Some(path) => Root::Dir(host_path(path)),
            None => Root::Host,
        };
        let mut config = Config::new(root);
        if self.show_all {
            config.hidden = Some(Vec::new());
        }
        config.root_access = match self.access.as_str() {
            "default" => None,
            "read-write" => Some(RootAccess::ReadWrite),
            "read-only" => Some(RootAccess::ReadOnly),
            "except" => Some(RootAccess::ReadOnlyExcept(all_inside(&self.writable)?)),
            other => return Err(invalid(format!("there is no access {other:?}"))),
        };
        config.readable = all_inside(&self.readable)?;
        config.sockets = all_inside(&self.sockets)?;
        config.network = if self.network {
            Network::Shared
        } else {
            Network::Isolated
        };
        config.ids = match self.ids {
            _ if self.subordinate => Ids::SUBORDINATE,
            Some((uid, gid)) => Ids::Pair { uid, gid },
            None => Ids::Caller,
        };
        config.hostname = self.hostname.as_deref().map(os);
        config.limits = self.limits.limits()?;
        config.control_groups = match &*self.control_groups {
            b"auto" => ControlGroups::Auto,
            b"none" => ControlGroups::None,
            path => ControlGroups::Below(host_path(path)),
        };
        config.allow_nested = self.allow_nested;
        for name in &self.prefer {
            let features: FeatureSet = name.parse().map_err(invalid)?;
            config.prefer = config.prefer.union(features);
        }
        let mut sandbox = Sandbox::from_config(config);
        for mount in &self.mounts {
            sandbox = sandbox.mount(mount.mount()?);
        }
        if let Some(name) = &self.seccomp {
            let preset = Seccomp::preset(name);
            let unknown = || {
                let known = Seccomp::PRESETS.join(", ");
                invalid(format!(
                    "no system call filter {name:?}; known are: {known}"
                ))
            };
            sandbox = sandbox.seccomp(preset.ok_or_else(unknown)?);
        }
        if let Some(names) = &self.backends {
            sandbox = sandbox.backends(names.iter().cloned());
        }
        Ok(sandbox)
    }
}
