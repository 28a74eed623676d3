//! A mount namespace that is made once and copied by every start.
//!
//! Most of a set-up is the same for all runs of a prepared sandbox: the root and what is bound into
//! it. It is carried out in a mount namespace of its own, a template, which is kept by a
//! descriptor, without a process. A start enters it and clones from there, and the kernel copies
//! the mounts in a fraction of the time; what remains is what is each run's own: procfs, every tmpfs
//! that can be written to, devpts.
//!
//! A mount that comes out of a template lies in a namespace of less privilege than where it was
//! made, so whoever is inside cannot take it away even with all capabilities there
//! (mount_namespaces(7)); those on top of it can be, and the template has an empty procfs below
//! that of the run. So a command that keeps `CAP_SYS_ADMIN` gets no template.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;

use sandboxlib_core::{MapWriter, NamespaceSet, SpawnError, Step};

use super::lower::Lowered;
use super::ops::{Action, From, Op, Protection};
use super::pool::Mounts;
use super::start;

/// A set-up that is done, and what is left for each run.
#[derive(Debug)]
pub(super) struct Template {
    /// The user namespace to which the mount namespace belongs, if it is not the caller's.
    pub(super) user: Option<OwnedFd>,
    pub(super) mounts: OwnedFd,
    /// The caller's procfs: that of the template knows no processes.
    pub(super) procfs: OwnedFd,
    pub(super) lowered: Lowered,
    changes: Mounts,
}

impl Template {
    /// The template of a script, if it can have one.
    pub(super) fn make(lowered: &Lowered, steps: &[Step]) -> Result<Option<Self>, SpawnError> {
        let Some((first, then)) = split(lowered) else {
            return Ok(None);
        };
        let changes = Mounts::watch();
        let own_user = lowered.namespaces.user && lowered.parent_maps.is_none();
        let template = Lowered {
            namespaces: NamespaceSet {
                user: own_user,
                mount: true,
                // For a procfs without processes.
                pid: true,
                ..NamespaceSet::default()
            },
            ops: first,
            slots: lowered.slots,
            ..lowered.bare()
        };
        let (user, mounts) = start::found(&template, steps)?;
        let procfs = File::open("/proc").map_err(start::resources("/proc"))?;
        let mut rest = lowered.bare();
        rest.ops = then;
        rest.parent_maps.clone_from(&lowered.parent_maps);
        Ok(Some(Self {
            user,
            mounts,
            procfs: procfs.into(),
            lowered: rest,
            changes,
        }))
    }

    /// Whether it still is what would be made now.
    pub(super) fn is_fresh(&self) -> bool {
        !self.changes.have_changed()
    }

    pub(super) fn entrance(&self) -> (RawFd, RawFd) {
        let user = self.user.as_ref().map_or(-1, |fd| fd.as_raw_fd());
        (user, self.mounts.as_raw_fd())
    }
}

impl Lowered {
    /// All but the operations and what they need.
    fn bare(&self) -> Self {
        Self {
            namespaces: self.namespaces,
            ops: Vec::new(),
            parent_maps: None,
            slots: 0,
            close_range: self.close_range,
            old: self.old,
            keeps_admin: self.keeps_admin,
            filter: self.filter.clone(),
            tree: self.tree.clone(),
            tmpfs: self.tmpfs.clone(),
            limits: self.limits.clone(),
            ptmx: self.ptmx.clone(),
        }
    }
}

/// The operations of a template, and those of each run. `None` where they cannot be told apart.
fn split(lowered: &Lowered) -> Option<(Vec<Op>, Vec<Op>)> {
    let set = lowered.namespaces;
    let by_helpers = matches!(
        &lowered.parent_maps,
        Some((_, _, MapWriter::Helpers { .. }))
    );
    let pivots = lowered
        .ops
        .iter()
        .any(|op| matches!(op.action, Action::PivotRoot));
    // The old root would stay, or the maps could not be written from so far away.
    if lowered.old || !set.mount || !set.pid || by_helpers || !pivots {
        return None;
    }
    if lowered.keeps_admin {
        return None;
    }
    let mut parts = Parts {
        sealed: sealed(&lowered.ops),
        fresh: Vec::new(),
        masks: false,
        null: None,
        has_null: false,
    };
    let mut template = Vec::new();
    let mut rest = Vec::new();
    for op in &lowered.ops {
        match parts.place(&op.action)? {
            Place::Template => template.push(op.clone()),
            Place::Run => rest.push(op.clone()),
            Place::Both => {
                template.push(op.clone());
                rest.push(op.clone());
            }
            Place::Map => {
                template.push(Op {
                    step: op.step,
                    action: own_map(&op.action)?,
                });
                rest.push(op.clone());
            }
            Place::Turn => {
                template.push(op.clone());
                // From here on the run's own, and its mounts come first among them.
            }
        }
    }
    if parts.masks && !parts.has_null {
        return None;
    }
    // The tree stands before the first mount of a run.
    let first_mount = rest
        .iter()
        .position(|op| !matches!(op.action, Action::WriteMap { .. } | Action::AwaitMaps))?;
    let step = rest.get(first_mount).map_or(0, |op| op.step);
    let stand = Op {
        step,
        action: Action::Stand,
    };
    rest.insert(first_mount, stand);
    Some((template, rest))
}

enum Place {
    Template,
    Run,
    Both,
    /// The id map: the template has one of its own, in which everybody is who he is outside.
    Map,
    /// The change of root.
    Turn,
}

struct Parts<'a> {
    sealed: Vec<&'a CString>,
    /// Where each run mounts a file system of its own.
    fresh: Vec<&'a CString>,
    /// Whether something is masked by the host's /dev/null, and whether that is inside.
    masks: bool,
    null: Option<usize>,
    has_null: bool,
}

impl<'a> Parts<'a> {
    fn place(&mut self, action: &'a Action) -> Option<Place> {
        Some(match action {
            // A user namespace has this from the one that it is made in.
            Action::WriteMap { path, .. } if path.to_bytes().ends_with(b"setgroups") => {
                Place::Template
            }
            Action::WriteMap { .. } => Place::Map,
            Action::PrivateMounts => Place::Template,
            Action::PivotRoot => Place::Turn,
            Action::CloneSource { source, slot } => {
                if source.as_bytes() == b"/dev/null" {
                    self.null = Some(*slot);
                }
                Place::Template
            }
            Action::Root { .. } => Place::Template,
            Action::FileSystem { kind, to, .. } => {
                self.not_covering(to)?;
                if self.is_fresh(to) {
                    return Some(Place::Run);
                }
                match kind.to_bytes() {
                    b"tmpfs" if self.sealed.contains(&to) => Place::Template,
                    b"proc" => {
                        self.fresh.push(to);
                        // One that is in full view is what allows a user namespace to mount another.
                        Place::Both
                    }
                    _ => {
                        self.fresh.push(to);
                        Place::Run
                    }
                }
            }
            Action::SharedTmpfs { to, .. } => {
                self.not_covering(to)?;
                self.fresh.push(to);
                Place::Run
            }
            Action::Bind { from, to, .. } => {
                if let (From::Held(slot), b"dev/null") = (from, to.as_bytes()) {
                    self.has_null = self.null == Some(*slot);
                }
                self.of_template(to)?
            }
            Action::Shadow { at: to, .. }
            | Action::File { to, .. }
            | Action::Mask { to, .. }
            | Action::CloseSocket { to } => self.of_template(to)?,
            // It covers nothing.
            Action::Seal { at } => match self.is_fresh(at) {
                true => Place::Run,
                false => Place::Template,
            },
            Action::MakeDir { parent, .. }
            | Action::MakeFile { parent, .. }
            | Action::MakeSymlink { parent, .. } => match self.is_fresh(parent) {
                true => Place::Run,
                false => Place::Template,
            },
            Action::Protect { parts, .. } => {
                self.masks |= parts.iter().any(|(_, how)| *how == Protection::Mask);
                Place::Run
            }
            // What is written to is each run's own, and the host is out of sight by then; another
            // kind of root; or one that stands already.
            Action::Overlay { .. }
            | Action::TryOverlay
            | Action::Chroot
            | Action::ChrootTo(_)
            | Action::Stand => {
                return None;
            }
            Action::AwaitMaps
            | Action::BoundPids { .. }
            | Action::EnterGroups
            | Action::CgroupNamespace
            | Action::LimitNamespaces { .. }
            | Action::TimeNamespace
            | Action::Loopback
            | Action::Hostname(_)
            | Action::Session
            | Action::Keyring
            | Action::ClearGroups
            | Action::Ids { .. }
            | Action::Capabilities(_)
            | Action::NoNewPrivs
            | Action::Landlock(_) => Place::Run,
        })
    }

    /// Something from outside can be mounted in the template alone.
    fn of_template(&self, to: &CString) -> Option<Place> {
        self.not_covering(to)?;
        (!self.is_fresh(to)).then_some(Place::Template)
    }

    /// Whether it is in, or at the place of, a file system of the run's own.
    fn is_fresh(&self, path: &CString) -> bool {
        self.fresh.iter().any(|fresh| is_below(path, fresh))
    }

    /// What comes later in the script than a mount of the run, and covers it, would come first.
    fn not_covering(&self, path: &CString) -> Option<()> {
        let covers = self.fresh.iter().any(|fresh| is_below(fresh, path));
        (!covers).then_some(())
    }
}

/// Whether `path` is `root` or below it. Both are relative to the root, which is `.`.
fn is_below(path: &CString, root: &CString) -> bool {
    let (path, root) = (path.as_bytes(), root.as_bytes());
    root == b"."
        || path
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn sealed(ops: &[Op]) -> Vec<&CString> {
    ops.iter()
        .filter_map(|op| match &op.action {
            Action::Seal { at } => Some(at),
            _ => None,
        })
        .collect()
}

/// The map `INSIDE OUTSIDE COUNT` with each id where it is outside.
fn own_map(action: &Action) -> Option<Action> {
    let Action::WriteMap { path, text } = action else {
        return None;
    };
    let text = std::str::from_utf8(text).ok()?;
    let mut own = String::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (outside, count) = (words.next()?, words.next()?);
        own.push_str(&format!("{outside} {outside} {count}\n"));
    }
    Some(Action::WriteMap {
        path,
        text: own.into_bytes(),
    })
}

/// The template of a prepared sandbox, which is made when it is started for the second time: one
/// that is started once is quicker without.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    state: std::sync::Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unused,
    Once,
    Made(Arc<Template>),
    /// There is none, or it did not work.
    Never,
}

impl Keeper {
    /// The template for the next start.
    pub(super) fn template(&self, lowered: &Lowered, steps: &[Step]) -> Option<Arc<Template>> {
        let mut state = self.lock();
        match &*state {
            State::Unused => *state = State::Once,
            State::Made(template) if template.is_fresh() => return Some(template.clone()),
            State::Never => {}
            // What fails here is told by a start without a template, if it fails there too.
            State::Once | State::Made(_) => match Template::make(lowered, steps) {
                Ok(Some(template)) => {
                    let template = Arc::new(template);
                    *state = State::Made(template.clone());
                    return Some(template);
                }
                _ => *state = State::Never,
            },
        }
        None
    }

    /// Goes without from here on.
    pub(super) fn give_up(&self) {
        *self.lock() = State::Never;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use sandboxlib_config::{Access, SandboxPath};
    use sandboxlib_core::{CapSet, ChildScript, IdRange};
    use sandboxlib_mount::{Attributes, BindSource, Node, PlanStep};

    use super::super::{Script, lower::lower};
    use super::*;
    use crate::run::Run;

    fn at(path: &str) -> SandboxPath {
        SandboxPath::new(path).unwrap()
    }

    fn tmpfs(path: &str) -> PlanStep {
        PlanStep::Tmpfs {
            to: at(path),
            size: None,
            mode: 0o755,
        }
    }

    fn bind(path: &str) -> PlanStep {
        PlanStep::Bind {
            from: BindSource::Host("/usr".into()),
            to: at(path),
            node: Node::Dir,
            attributes: Attributes {
                access: Access::ReadOnly,
                devices: false,
            },
        }
    }

    fn script(root: &str, mounts: Vec<PlanStep>, keep: CapSet) -> ChildScript {
        let (uid, gid) = crate::caller_ids();
        let same = |id| {
            vec![IdRange {
                inside: id,
                outside: id,
                count: 1,
            }]
        };
        let mut steps = vec![
            Step::Namespaces(NamespaceSet {
                user: true,
                mount: true,
                pid: true,
                ..NamespaceSet::default()
            }),
            Step::IdMap {
                uids: same(uid),
                gids: same(gid),
                writer: MapWriter::Child,
            },
            Step::PrivateMounts,
            Step::Mount(PlanStep::Root {
                source: root.into(),
                access: Access::ReadOnly,
            }),
        ];
        steps.extend(mounts.into_iter().map(Step::Mount));
        steps.extend([
            Step::PivotRoot,
            Step::Session,
            Step::NoNewPrivs,
            Step::Capabilities(keep),
        ]);
        ChildScript { steps }
    }

    /// How many operations on mounts are left for each run.
    fn left(mounts: Vec<PlanStep>) -> Option<Vec<String>> {
        let lowered = lower(&script("/", mounts, CapSet::EMPTY)).unwrap();
        let (_, rest) = split(&lowered)?;
        let mounts = rest.iter().filter_map(|op| match &op.action {
            Action::FileSystem { to, .. }
            | Action::SharedTmpfs { to, .. }
            | Action::Bind { to, .. }
            | Action::Seal { at: to } => Some(to.to_str().unwrap().to_owned()),
            Action::MakeDir { parent, name, .. } => {
                let [parent, name] = [parent, name].map(|s| s.to_str().unwrap());
                Some(format!("{parent}/{name}"))
            }
            _ => None,
        });
        Some(mounts.collect())
    }

    #[test]
    fn what_can_be_written_to_is_each_runs_own() {
        let seal = |path: &str| PlanStep::Seal { at: at(path) };
        let dir = |path: &str| PlanStep::MakeDir {
            at: at(path),
            mode: 0o755,
            on_host: false,
        };
        let proc = PlanStep::Proc { to: at("/proc") };
        let list = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(left(vec![bind("/usr"), proc]), list(&["proc"]));
        // A tmpfs that is sealed is the template's, and what is mounted in it is not.
        let dev = vec![
            tmpfs("/dev"),
            dir("/dev/shm"),
            tmpfs("/dev/shm"),
            seal("/dev"),
        ];
        assert_eq!(left(dev), list(&["dev/shm"]));
        assert_eq!(
            left(vec![tmpfs("/tmp"), dir("/tmp/a")]),
            list(&["tmp", "tmp/a"])
        );
        // So are those that share a file system.
        let two = vec![tmpfs("/tmp"), bind("/usr"), tmpfs("/run"), dir("/run/a")];
        assert_eq!(left(two), list(&["tmp", "run", "run/a"]));
        assert_eq!(left(vec![tmpfs("/a/b"), tmpfs("/c"), bind("/a")]), None);
        // The host is out of sight by then.
        assert_eq!(
            left(vec![tmpfs("/tmp"), dir("/tmp/a"), bind("/tmp/a")]),
            None
        );
        // It would come first, and not cover.
        assert_eq!(left(vec![tmpfs("/a/b"), bind("/a")]), None);
        assert_eq!(left(vec![tmpfs("/a/b"), bind("/a/bc")]), list(&["a/b"]));
        assert_eq!(left(vec![tmpfs("/a"), tmpfs("/a")]), None);
    }

    #[test]
    fn who_may_unmount_gets_none() {
        let keep = CapSet::from_bits(1 << 21);
        let lowered = lower(&script("/", vec![tmpfs("/tmp")], keep)).unwrap();
        assert!(split(&lowered).is_none());
    }

    #[test]
    fn it_is_made_for_the_second_start() {
        let root = tempfile::tempdir().unwrap();
        for name in ["proc", "tmp", "usr"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        let mounts = vec![
            PlanStep::Proc { to: at("/proc") },
            tmpfs("/tmp"),
            bind("/usr"),
        ];
        let script = script(root.path().to_str().unwrap(), mounts, CapSet::EMPTY);
        let script = Script::new(&script).unwrap();
        let nothing = Run::new("");
        if crate::rehearsal::judge(script.start(&nothing)).is_err() {
            // No user namespaces for this caller here: what is left to see is seen elsewhere.
            return;
        }
        let state = || format!("{:?}", *script.ready.keeper.lock());
        assert!(state().starts_with("Once"), "{}", state());
        for _ in 0..2 {
            crate::rehearsal::judge(script.start(&nothing)).unwrap();
            assert!(state().starts_with("Made"), "{}", state());
        }
    }
}
