//! What a kernel would make of a plan, over files in memory.
//!
//! A mount table in the order of mounting is all that it takes: what a path shows is decided by
//! the last mount at the path or above it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use sandboxlib_config::Access;
use sandboxlib_mount::{
    BindSource, EntryKind, FsView as _, MemoryFs, MountPlan, Node, PlanStep, ShadowEntry,
};

/// What a path shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shown {
    Missing,
    /// A component before the last is a symbolic link.
    ThroughLink,
    Masked,
    /// A socket that is closed.
    Closed,
    Host {
        path: PathBuf,
        kind: EntryKind,
        writable: bool,
    },
    /// Something in memory: which mount made it, and what it is.
    Private {
        of: &'static str,
        kind: EntryKind,
        writable: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fs {
    /// The host's tree from this path on.
    Host(PathBuf),
    /// One of the private trees, from this path on.
    Private(usize, PathBuf),
    /// procfs, which is taken to hold what the host's does.
    Proc,
    Mask(Node),
    DeadSocket,
    Data,
}

#[derive(Debug, Clone)]
struct Mounted {
    at: PathBuf,
    fs: Fs,
    read_only: bool,
}

struct PrivateTree {
    of: &'static str,
    read_only: bool,
    entries: BTreeMap<PathBuf, EntryKind>,
}

pub(crate) struct Model {
    pub(crate) host: MemoryFs,
    /// The host's paths that the plan has made.
    pub(crate) made: BTreeSet<PathBuf>,
    root: PathBuf,
    mounts: Vec<Mounted>,
    private: Vec<PrivateTree>,
}

type Outcome<T = ()> = Result<T, String>;

impl Model {
    /// Carries out `plan`.
    pub(crate) fn run(host: &MemoryFs, plan: &MountPlan) -> Outcome<Self> {
        let mut model = Self {
            host: host.clone(),
            made: BTreeSet::new(),
            root: PathBuf::new(),
            mounts: Vec::new(),
            private: Vec::new(),
        };
        for (number, step) in plan.steps.iter().enumerate() {
            if (number == 0) != matches!(step, PlanStep::Root { .. }) {
                return Err("the root is not exactly the first step".into());
            }
            model
                .step(step)
                .map_err(|e| format!("step {number}, {step}: {e}\n{plan}"))?;
        }
        Ok(model)
    }

    fn step(&mut self, step: &PlanStep) -> Outcome {
        match step {
            PlanStep::Root { source, access } => {
                self.root.clone_from(source);
                self.mounts.push(Mounted {
                    at: "/".into(),
                    fs: Fs::Host(source.clone()),
                    read_only: *access == Access::ReadOnly,
                });
                self.expect("/".as_ref(), Node::Dir)
            }
            PlanStep::Shadow { at, entries, .. } => self.shadow(at.as_path(), entries),
            PlanStep::Bind {
                from,
                to,
                node,
                attributes,
            } => {
                self.expect(to.as_path(), *node)?;
                let source = match from {
                    BindSource::Host(path) => path.clone(),
                    BindSource::Root(path) => self.root_path(path.relative())?,
                };
                let found = self.host.entry_following(&source).unwrap().map(|e| e.kind);
                let device = attributes.devices && source.starts_with("/dev");
                if !device && found.as_ref().map(node_of) != Some(Some(*node)) {
                    return Err(format!("the source {source:?} is {found:?}"));
                }
                let read_only = attributes.access == Access::ReadOnly;
                self.mount(to.as_path(), Fs::Host(source), read_only);
                Ok(())
            }
            // What these tests ask for has none; see overlay.rs.
            PlanStep::Overlay { .. } => Err("an overlay".into()),
            PlanStep::Tmpfs { to, .. } => {
                self.expect(to.as_path(), Node::Dir)?;
                let tree = self.new_private("tmpfs");
                self.mount(to.as_path(), Fs::Private(tree, "/".into()), false);
                Ok(())
            }
            PlanStep::Devpts { to } => {
                self.expect(to.as_path(), Node::Dir)?;
                let tree = self.new_private("devpts");
                self.private[tree]
                    .entries
                    .insert("/ptmx".into(), EntryKind::File);
                self.private[tree].read_only = true;
                self.mount(to.as_path(), Fs::Private(tree, "/".into()), false);
                Ok(())
            }
            PlanStep::Proc { to } => {
                self.expect(to.as_path(), Node::Dir)?;
                self.mount(to.as_path(), Fs::Proc, false);
                Ok(())
            }
            PlanStep::File { to, .. } => {
                self.expect(to.as_path(), Node::File)?;
                self.mount(to.as_path(), Fs::Data, true);
                Ok(())
            }
            PlanStep::Mask { to, node } => {
                self.expect(to.as_path(), *node)?;
                self.mount(to.as_path(), Fs::Mask(*node), true);
                Ok(())
            }
            PlanStep::CloseSocket { to } => match self.show(to.as_path()) {
                Shown::Host {
                    kind: EntryKind::File,
                    writable: false,
                    ..
                } => {
                    self.mount(to.as_path(), Fs::DeadSocket, true);
                    Ok(())
                }
                other => Err(format!("{other:?} need not be closed")),
            },
            PlanStep::MakeDir { at, on_host, .. } => {
                self.make(at.as_path(), EntryKind::Dir, *on_host)
            }
            PlanStep::MakeFile { at, on_host } => {
                self.make(at.as_path(), EntryKind::File, *on_host)
            }
            PlanStep::MakeSymlink { at, to, on_host } => {
                self.make(at.as_path(), EntryKind::Symlink(to.clone()), *on_host)
            }
            PlanStep::Seal { at } => match self
                .mounts
                .iter()
                .rposition(|m| at.as_path().starts_with(&m.at))
            {
                Some(top) => match &self.mounts[top] {
                    Mounted {
                        at: path,
                        fs: Fs::Private(tree, _),
                        ..
                    } if path == at.as_path() => {
                        self.private[*tree].read_only = true;
                        Ok(())
                    }
                    other => Err(format!("{other:?} is no tmpfs to seal")),
                },
                None => Err("nothing is mounted".into()),
            },
        }
    }

    fn mount(&mut self, at: &Path, fs: Fs, read_only: bool) {
        self.mounts.push(Mounted {
            at: at.to_owned(),
            fs,
            read_only,
        });
    }

    fn new_private(&mut self, of: &'static str) -> usize {
        let entries = BTreeMap::from([(PathBuf::from("/"), EntryKind::Dir)]);
        self.private.push(PrivateTree {
            of,
            read_only: false,
            entries,
        });
        self.private.len() - 1
    }

    /// The host's path of a path in the root's own tree, which must not lead through links.
    fn root_path(&self, relative: &Path) -> Outcome<PathBuf> {
        let mut path = self.root.clone();
        for name in relative {
            path.push(name);
            if matches!(self.kind_on_host(&path), None | Some(EntryKind::Symlink(_))) {
                return Err(format!("{path:?} is no canonical path of the root"));
            }
        }
        Ok(path)
    }

    fn shadow(&mut self, at: &Path, entries: &[ShadowEntry]) -> Outcome {
        match self.show(at) {
            Shown::Host {
                kind: EntryKind::Dir,
                writable: false,
                ..
            } => {}
            other => return Err(format!("{other:?} needs no shadow")),
        }
        let before = self.mounts.clone();
        let tree = self.new_private("shadow");
        let mut kept = Vec::new();
        for entry in entries {
            let (path, kind) = match entry {
                ShadowEntry::Keep { name, node } => {
                    let path = at.join(name);
                    self.expect(&path, *node)?;
                    kept.push(path);
                    let kind = if *node == Node::Dir {
                        EntryKind::Dir
                    } else {
                        EntryKind::File
                    };
                    (PathBuf::from(name), kind)
                }
                ShadowEntry::Link { path, to } => (path.clone(), EntryKind::Symlink(to.clone())),
                ShadowEntry::Dir { path, .. } => (path.clone(), EntryKind::Dir),
                ShadowEntry::File { path } => (path.clone(), EntryKind::File),
            };
            if path
                .components()
                .any(|c| !matches!(c, Component::Normal(_)))
            {
                return Err(format!("{path:?} is no path in a shadow"));
            }
            let path = Path::new("/").join(path);
            let entries = &mut self.private[tree].entries;
            if entries.get(path.parent().unwrap()) != Some(&EntryKind::Dir) {
                return Err(format!("the parent of {path:?} is missing"));
            }
            if entries.insert(path.clone(), kind).is_some() {
                return Err(format!("{path:?} is there twice"));
            }
        }
        self.private[tree].read_only = true;
        // Bound in with everything that is mounted below.
        let mut carried = Vec::new();
        for path in kept {
            let (top, fs) = self.governing(&path).unwrap();
            carried.push(Mounted {
                at: path.clone(),
                fs,
                read_only: before[top].read_only,
            });
            let below = before[top + 1..].iter().filter(|m| m.at.starts_with(&path));
            carried.extend(below.cloned());
        }
        self.mount(at, Fs::Private(tree, "/".into()), false);
        self.mounts.extend(carried);
        Ok(())
    }

    fn make(&mut self, at: &Path, kind: EntryKind, on_host: bool) -> Outcome {
        if self.show(at) != Shown::Missing {
            return Err(format!("{at:?} shows {:?}", self.show(at)));
        }
        let parent = at.parent().unwrap();
        match self.show(parent) {
            Shown::Host {
                kind: EntryKind::Dir,
                writable: true,
                path,
            } if on_host => {
                let path = real(&self.host, &path).join(at.file_name().unwrap());
                self.made.insert(path.clone());
                let host = std::mem::take(&mut self.host);
                self.host = match kind {
                    EntryKind::Dir => host.dir(path),
                    EntryKind::File => host.file(path),
                    EntryKind::Symlink(to) => host.symlink(path, to),
                };
                Ok(())
            }
            Shown::Private {
                kind: EntryKind::Dir,
                writable: true,
                ..
            } if !on_host => {
                let Some((_, Fs::Private(tree, path))) = self.governing(at) else {
                    return Err("not in memory".into());
                };
                self.private[tree].entries.insert(path, kind);
                Ok(())
            }
            other => Err(format!("cannot make anything in {other:?}")),
        }
    }

    fn expect(&self, at: &Path, wanted: Node) -> Outcome {
        let shown = self.show(at);
        let node = match &shown {
            Shown::Host { kind, .. } | Shown::Private { kind, .. } => node_of(kind),
            Shown::Masked => match self.governing(at) {
                // A mask itself can be covered; nothing below it can.
                Some((_, Fs::Mask(node))) if self.mounts.iter().any(|m| m.at == at) => Some(node),
                _ => None,
            },
            Shown::Closed => Some(Node::File),
            Shown::Missing | Shown::ThroughLink => None,
        };
        if node == Some(wanted) {
            Ok(())
        } else {
            Err(format!("{at:?} shows {shown:?}"))
        }
    }

    /// The mount that decides about `path`, and the place in its file system.
    fn governing(&self, path: &Path) -> Option<(usize, Fs)> {
        let top = self.mounts.iter().rposition(|m| path.starts_with(&m.at))?;
        let mounted = &self.mounts[top];
        let relative = path.strip_prefix(&mounted.at).unwrap();
        let below = |base: &Path| {
            if relative.as_os_str().is_empty() {
                base.to_owned()
            } else {
                base.join(relative)
            }
        };
        let fs = match &mounted.fs {
            Fs::Host(base) => Fs::Host(below(base)),
            Fs::Private(tree, base) => Fs::Private(*tree, below(base)),
            other => other.clone(),
        };
        Some((top, fs))
    }

    fn kind_on_host(&self, path: &Path) -> Option<EntryKind> {
        self.host.entry(path).unwrap().map(|e| e.kind)
    }

    /// What is at exactly this path; no link is followed.
    pub(crate) fn show(&self, path: &Path) -> Shown {
        if let Some(parent) = path.parent() {
            match self.show(parent) {
                Shown::Host {
                    kind: EntryKind::Dir,
                    ..
                }
                | Shown::Private {
                    kind: EntryKind::Dir,
                    ..
                } => {}
                Shown::Host {
                    kind: EntryKind::Symlink(_),
                    ..
                }
                | Shown::Private {
                    kind: EntryKind::Symlink(_),
                    ..
                }
                | Shown::ThroughLink => return Shown::ThroughLink,
                Shown::Masked => return Shown::Masked,
                _ => return Shown::Missing,
            }
        }
        let Some((top, fs)) = self.governing(path) else {
            return Shown::Missing;
        };
        let mounted = &self.mounts[top];
        let at_mount_point = mounted.at == path;
        match fs {
            Fs::Host(host) => {
                // The source of a bind is followed; what is below it is as it is.
                let entry = if at_mount_point {
                    self.host.entry_following(&host).unwrap()
                } else {
                    self.host.entry(&host).unwrap()
                };
                let device = host.starts_with("/dev") && at_mount_point;
                let kind = match entry {
                    Some(entry) => entry.kind,
                    None if device => EntryKind::File,
                    None => return Shown::Missing,
                };
                Shown::Host {
                    path: host,
                    kind,
                    writable: !mounted.read_only,
                }
            }
            Fs::Private(tree, inner) => {
                let tree = &self.private[tree];
                let Some(kind) = tree.entries.get(&inner) else {
                    return Shown::Missing;
                };
                let writable = !tree.read_only && !mounted.read_only;
                Shown::Private {
                    of: tree.of,
                    kind: kind.clone(),
                    writable,
                }
            }
            Fs::Proc => {
                let like = Path::new("/proc").join(path.strip_prefix(&mounted.at).unwrap());
                let kind = if at_mount_point {
                    Some(EntryKind::Dir)
                } else {
                    self.kind_on_host(&like)
                };
                match kind {
                    Some(kind) => Shown::Private {
                        of: "proc",
                        kind,
                        writable: false,
                    },
                    None => Shown::Missing,
                }
            }
            Fs::Mask(_) => Shown::Masked,
            Fs::DeadSocket => Shown::Closed,
            Fs::Data => Shown::Private {
                of: "file",
                kind: EntryKind::File,
                writable: false,
            },
        }
    }

    /// The names in a directory as shown.
    pub(crate) fn list(&self, dir: &Path) -> BTreeSet<OsString> {
        let mut names = BTreeSet::new();
        match self.governing(dir) {
            Some((_, Fs::Host(path))) => {
                names.extend(
                    self.host
                        .list(&path)
                        .unwrap_or_default()
                        .into_iter()
                        .map(|e| e.0),
                );
            }
            Some((_, Fs::Private(tree, inner))) => {
                let entries = self.private[tree].entries.keys();
                let inside = entries.filter(|p| p.parent() == Some(&inner));
                names.extend(inside.filter_map(|p| p.file_name()).map(OsStr::to_owned));
            }
            _ => {}
        }
        names
    }

    /// Every path that is shown, in no more than `depth` levels.
    pub(crate) fn everything(&self, depth: usize) -> Vec<(PathBuf, Shown)> {
        let mut found = Vec::new();
        self.collect("/".as_ref(), depth, &mut found);
        found
    }

    fn collect(&self, path: &Path, depth: usize, found: &mut Vec<(PathBuf, Shown)>) {
        let shown = self.show(path);
        let is_dir = matches!(
            &shown,
            Shown::Host {
                kind: EntryKind::Dir,
                ..
            } | Shown::Private {
                kind: EntryKind::Dir,
                ..
            }
        );
        found.push((path.to_owned(), shown));
        if is_dir && depth > 0 {
            for name in self.list(path) {
                self.collect(&path.join(name), depth - 1, found);
            }
        }
    }

    /// Where a process in the sandbox gets when it follows `path` to the end.
    pub(crate) fn follow(&self, path: &Path, follow_last: bool) -> Option<PathBuf> {
        self.follow_from(PathBuf::from("/"), path, follow_last, &mut 0)
    }

    fn follow_from(
        &self,
        mut at: PathBuf,
        path: &Path,
        follow_last: bool,
        links: &mut usize,
    ) -> Option<PathBuf> {
        let names: Vec<_> = path
            .components()
            .filter(|c| !matches!(c, Component::RootDir | Component::CurDir))
            .collect();
        if path.is_absolute() {
            at = "/".into();
        }
        for (i, name) in names.iter().enumerate() {
            let Component::Normal(name) = name else {
                at.pop();
                continue;
            };
            let next = at.join(name);
            let last = i + 1 == names.len();
            let kind = match self.show(&next) {
                Shown::Host { kind, .. } | Shown::Private { kind, .. } => kind,
                Shown::Masked | Shown::Closed => EntryKind::File,
                Shown::Missing | Shown::ThroughLink => return None,
            };
            at = match kind {
                EntryKind::Symlink(to) if !last || follow_last => {
                    *links += 1;
                    if *links > 40 {
                        return None;
                    }
                    let end = self.follow_from(at, to.as_ref(), true, links)?;
                    if !last && !self.is_dir(&end) {
                        return None;
                    }
                    end
                }
                EntryKind::Dir => next,
                _ if last => next,
                _ => return None,
            };
        }
        Some(at)
    }

    fn is_dir(&self, path: &Path) -> bool {
        matches!(
            self.show(path),
            Shown::Host {
                kind: EntryKind::Dir,
                ..
            } | Shown::Private {
                kind: EntryKind::Dir,
                ..
            }
        )
    }
}

/// The path of an existing file or directory of the host without links.
pub(crate) fn real(host: &MemoryFs, path: &Path) -> PathBuf {
    let mut real = PathBuf::from("/");
    for (i, name) in path.components().enumerate() {
        real.push(name);
        if let Some(EntryKind::Symlink(to)) = host.entry(&real).unwrap().map(|e| e.kind) {
            real.pop();
            let rest: PathBuf = path.components().skip(i + 1).collect();
            return self::real(host, &real.join(to).join(rest));
        }
        if name == Component::ParentDir {
            real.pop();
            real.pop();
        }
    }
    real
}

fn node_of(kind: &EntryKind) -> Option<Node> {
    match kind {
        EntryKind::Dir => Some(Node::Dir),
        EntryKind::File => Some(Node::File),
        EntryKind::Symlink(_) => None,
    }
}
