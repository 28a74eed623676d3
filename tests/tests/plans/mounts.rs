//! The mount table that a plan comes to, and the one that the kernel tells of.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use sandboxlib::Access;
use sandboxlib::mount::{BindSource, MountPlan, PlanStep, ShadowEntry};

/// One mount: where, below which others, what, how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    /// The mount points of the mounts on the way to it, the root's first, its own last.
    pub(crate) chain: Vec<PathBuf>,
    pub(crate) of: Of,
    pub(crate) flags: Flags,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Of {
    /// A part of a file system of the host: its device, and the path in it.
    Host(String, PathBuf),
    /// A new file system of this type, or a directory of the one that several share: of what they
    /// have in common nothing can be seen.
    New(String),
    /// A part of a tmpfs that the executor has put out of sight. `data`, or `mask-`something.
    Scratch(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[allow(clippy::struct_excessive_bools, reason = "one flag each")]
pub(crate) struct Flags {
    pub(crate) ro: bool,
    pub(crate) nosuid: bool,
    pub(crate) nodev: bool,
    pub(crate) noexec: bool,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chain, of, flags } = self;
        write!(f, "{chain:?} {of:?} {flags:?}")
    }
}

/// A line of mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    id: u32,
    parent: u32,
    device: String,
    root: PathBuf,
    pub(crate) at: PathBuf,
    flags: Flags,
    /// Propagates to or from other mounts.
    pub(crate) propagates: bool,
    kind: String,
}

pub(crate) fn parse(mountinfo: &[u8]) -> Vec<Raw> {
    mountinfo
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
            let text = |i: usize| String::from_utf8(fields[i].to_vec()).unwrap();
            let dash = fields.iter().position(|f| *f == b"-").unwrap();
            let options = text(5);
            let has = |name: &str| options.split(',').any(|o| o == name);
            Raw {
                id: text(0).parse().unwrap(),
                parent: text(1).parse().unwrap(),
                device: text(2),
                root: unescaped(fields[3]),
                at: unescaped(fields[4]),
                flags: Flags {
                    ro: has("ro"),
                    nosuid: has("nosuid"),
                    nodev: has("nodev"),
                    noexec: has("noexec"),
                },
                propagates: dash > 6,
                kind: text(dash + 1),
            }
        })
        .collect()
}

/// A backslash and three octal digits stand for a byte.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        match (first, after.get(..3)) {
            (b'\\', Some(digits)) => {
                let digits = std::str::from_utf8(digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 8).unwrap());
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// Whether it is a directory of the tmpfs that several share.
fn is_part(mount: &Raw) -> bool {
    let number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let name = mount.root.strip_prefix("/").ok().and_then(Path::to_str);
    mount.kind == "tmpfs" && name.is_some_and(|name| !name.is_empty() && number(name))
}

/// Whether it is the tmpfs of which others are directories, out of sight below one of them.
fn is_shared(mount: &Raw, all: &[Raw]) -> bool {
    let covers = |other: &Raw| {
        is_part(other)
            && (other.parent, &other.device, &other.at) == (mount.id, &mount.device, &mount.at)
    };
    mount.kind == "tmpfs" && mount.root == Path::new("/") && all.iter().any(covers)
}

/// The mounts of a sandbox as the kernel tells, sorted. `host_devices` are those that are mounts
/// of the host's file systems.
pub(crate) fn told(raw: &[Raw], host: &Host) -> Vec<Line> {
    let by_id: BTreeMap<u32, &Raw> = raw.iter().map(|r| (r.id, r)).collect();
    let shared: Vec<u32> = raw
        .iter()
        .filter(|r| is_shared(r, raw))
        .map(|r| r.id)
        .collect();
    assert!(shared.len() < 2, "{raw:?}");
    let mut lines: Vec<Line> = raw
        .iter()
        .filter(|r| !shared.contains(&r.id))
        .map(|r| {
            let mut chain = vec![r.at.clone()];
            let mut above = r.parent;
            while let Some(parent) = by_id.get(&above) {
                if !shared.contains(&parent.id) {
                    chain.push(parent.at.clone());
                }
                above = parent.parent;
            }
            chain.reverse();
            let of = if host.devices().any(|d| *d == r.device) {
                Of::Host(r.device.clone(), r.root.clone())
            } else if is_part(r) {
                let known = |other: &Raw| shared.contains(&other.id) && other.device == r.device;
                assert!(raw.iter().any(known), "{r:?}");
                Of::New(r.kind.clone())
            } else if r.kind == "tmpfs" && r.root != Path::new("/") {
                // A file that was unlinked has "//deleted" behind its name.
                let name = r.root.iter().nth(1).unwrap().to_string_lossy();
                let name = if name.starts_with("data") {
                    "data"
                } else {
                    &name
                };
                let known = ["data", "mask-dir", "mask-file", "dead-socket"];
                assert!(known.contains(&name), "{r:?}");
                Of::Scratch(name.to_owned())
            } else {
                Of::New(r.kind.clone())
            };
            let flags = r.flags;
            Line { chain, of, flags }
        })
        .collect();
    lines.sort();
    lines
}

/// The host's own mount table.
pub(crate) struct Host(Vec<Raw>);

impl Host {
    pub(crate) fn new() -> Self {
        Self(parse(&std::fs::read("/proc/self/mountinfo").unwrap()))
    }

    fn devices(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|r| &r.device)
    }

    /// Whether `mount` shows the host's `dir` or something in it.
    pub(crate) fn is_below(&self, mount: &Raw, dir: &Path) -> bool {
        matches!(self.of(dir).0, Of::Host(device, root)
            if device == mount.device && mount.root.starts_with(&root))
    }

    /// The mount that a path without links is on, as what it is and how.
    fn of(&self, path: &Path) -> (Of, Flags) {
        let on = self.0.iter().filter(|r| path.starts_with(&r.at));
        // Of those at the same place the last is on top.
        let on = on.max_by_key(|r| r.at.components().count()).unwrap();
        let mut root = on.root.clone();
        root.extend(path.strip_prefix(&on.at).unwrap());
        (Of::Host(on.device.clone(), root), on.flags)
    }
}

/// A mount of a table in the making.
#[derive(Debug, Clone)]
struct Made {
    at: PathBuf,
    parent: Option<usize>,
    of: Of,
    /// Of a part of the host its path there.
    source: Option<PathBuf>,
    flags: Flags,
}

/// The mounts that `plan` comes to, sorted, with those that others cover.
pub(crate) fn planned(plan: &MountPlan, host: &Host) -> Vec<Line> {
    let mut table = Table {
        host,
        root: PathBuf::new(),
        mounts: Vec::new(),
    };
    for step in &plan.steps {
        table.step(step);
    }
    let mut lines: Vec<Line> = (0..table.mounts.len())
        .map(|i| {
            let mut chain = Vec::new();
            let mut at = Some(i);
            while let Some(m) = at.map(|i| &table.mounts[i]) {
                chain.push(m.at.clone());
                at = m.parent;
            }
            chain.reverse();
            let Made { of, flags, .. } = table.mounts[i].clone();
            Line { chain, of, flags }
        })
        .collect();
    lines.sort();
    lines
}

struct Table<'a> {
    host: &'a Host,
    root: PathBuf,
    mounts: Vec<Made>,
}

const IN_MEMORY: Flags = Flags {
    ro: false,
    nosuid: true,
    nodev: true,
    noexec: false,
};

impl Table<'_> {
    /// The mount that a path is on.
    fn governing(&self, path: &Path) -> Option<usize> {
        let on = |parent: Option<usize>, at: &Path| {
            let found = self
                .mounts
                .iter()
                .rposition(|m| m.parent == parent && m.at == at);
            found.filter(|_| parent.is_some() || at == Path::new("/"))
        };
        let mut current = on(None, Path::new("/"))?;
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        ancestors.reverse();
        for at in ancestors {
            while let Some(next) = on(Some(current), at) {
                current = next;
            }
        }
        Some(current)
    }

    fn mount(&mut self, at: &Path, of: Of, source: Option<PathBuf>, flags: Flags) {
        let parent = self.governing(at);
        self.mounts.push(Made {
            at: at.to_owned(),
            parent,
            of,
            source,
            flags,
        });
    }

    fn mount_host(&mut self, at: &Path, source: &Path, access: Access, devices: bool) {
        let source = source.canonicalize().unwrap();
        let (of, inherited) = self.host.of(&source);
        let flags = Flags {
            ro: access == Access::ReadOnly || inherited.ro,
            nosuid: true,
            nodev: !devices || inherited.nodev,
            noexec: inherited.noexec,
        };
        self.mount(at, of, Some(source), flags);
    }

    fn mount_new(&mut self, at: &Path, kind: &str, flags: Flags) {
        self.mount(at, Of::New(kind.into()), None, flags);
    }

    fn step(&mut self, step: &PlanStep) {
        match step {
            PlanStep::Root { source, access } => {
                self.root.clone_from(source);
                self.mount_host(Path::new("/"), source, *access, false);
            }
            PlanStep::Shadow { at, entries, .. } => self.shadow(at.as_path(), entries),
            PlanStep::Bind {
                from,
                to,
                attributes,
                ..
            } => {
                let source = match from {
                    BindSource::Host(path) => path.clone(),
                    BindSource::Root(path) => self.root.join(path.relative()),
                };
                self.mount_host(to.as_path(), &source, attributes.access, attributes.devices);
            }
            // No configuration here has one; tests/overlay.rs looks at them from inside.
            PlanStep::Overlay { at, .. } => self.mount_new(at.as_path(), "overlay", IN_MEMORY),
            PlanStep::Tmpfs { to, .. } => self.mount_new(to.as_path(), "tmpfs", IN_MEMORY),
            PlanStep::Proc { to } => {
                let noexec = true;
                self.mount_new(
                    to.as_path(),
                    "proc",
                    Flags {
                        noexec,
                        ..IN_MEMORY
                    },
                );
            }
            PlanStep::Devpts { to } => {
                let (nodev, noexec) = (false, true);
                let flags = Flags {
                    nodev,
                    noexec,
                    ..IN_MEMORY
                };
                self.mount_new(to.as_path(), "devpts", flags);
            }
            PlanStep::File { to, .. } => self.scratch(to.as_path(), "data"),
            PlanStep::Mask { to, node } => {
                let name = match node {
                    sandboxlib::mount::Node::Dir => "mask-dir",
                    sandboxlib::mount::Node::File => "mask-file",
                };
                self.scratch(to.as_path(), name);
            }
            PlanStep::CloseSocket { to } => self.scratch(to.as_path(), "dead-socket"),
            PlanStep::MakeDir { .. } | PlanStep::MakeFile { .. } | PlanStep::MakeSymlink { .. } => {
            }
            PlanStep::Seal { at } => {
                let sealed = self.governing(at.as_path()).unwrap();
                self.mounts[sealed].flags.ro = true;
            }
        }
    }

    fn scratch(&mut self, at: &Path, name: &str) {
        let ro = true;
        self.mount(
            at,
            Of::Scratch(name.into()),
            None,
            Flags { ro, ..IN_MEMORY },
        );
    }

    fn shadow(&mut self, at: &Path, entries: &[ShadowEntry]) {
        let covered = self.governing(at).unwrap();
        let Made {
            at: mount_point,
            source,
            flags,
            ..
        } = self.mounts[covered].clone();
        let mut dir = source.expect("a shadow covers a directory of the host");
        dir.extend(at.strip_prefix(&mount_point).unwrap());
        if at == Path::new("/") {
            // What was the root goes away with the host's.
            self.mounts.clear();
        }
        let ro = true;
        self.mount_new(at, "tmpfs", Flags { ro, ..IN_MEMORY });
        for entry in entries {
            if let ShadowEntry::Keep { name, .. } = entry {
                let path = at.join(name);
                assert!(
                    self.mounts
                        .iter()
                        .all(|m| m.at != path || m.parent != Some(covered)),
                    "{path:?} is mounted on and then shadowed"
                );
                let source = dir.join(name);
                let of = self.host.of(&source).0;
                self.mount(&path, of, Some(source), flags);
            }
        }
    }
}
