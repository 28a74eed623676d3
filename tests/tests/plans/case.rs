//! Trees on the disk and configurations, at random.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use sandboxlib::mount::{FsView, HostFs, MemoryFs, MountPlan, plan};
use sandboxlib::{
    Access, Capabilities, Config, Feature, Ids, Mount, MountKind, Network, Root, RootAccess,
    SandboxPath, UserNamespace,
};
use tempfile::TempDir;

use crate::inside::{Inside, PLACE};

/// Names that collide often; `new` is never in a tree.
const NAMES: [&[u8]; 10] = [
    b"a",
    b"a",
    b"b",
    b"b",
    b"c",
    b"l",
    b"m",
    b"new",
    b"sp ace\n\"\\:#",
    b"\xff\xfe",
];

/// `$` stands for the directory in which root, sources and secret are.
const LINK_TEXTS: [&str; 21] = [
    "a",
    "b",
    "l",
    "/a",
    "/a/b",
    "/l",
    "..",
    "../..",
    "/",
    ".",
    "../a/b",
    "b/../c",
    "../../../../../../../../..$/secret",
    "$/secret",
    "../secret/key",
    "../../s/d",
    "missing",
    "/missing/x",
    "a/missing/../new",
    "/new/deep",
    "/b/l",
];

const SOURCES: [&str; 9] = [
    "$/s/d", "$/s/d/a", "$/s/f", "$/s/d/f", "$/s/link", "$/s", "$/r/a", "$/r/b", "$/r",
];

/// What a case is made of, before it is known which of the wishes can be had together.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    items: Vec<Item>,
    access: RootAccess,
    mounts: Vec<Mount>,
    covering: Vec<Index>,
    prefer_mask: bool,
    ids: Ids,
    capabilities: Capabilities,
}

#[derive(Debug, Clone)]
struct Item {
    base: &'static str,
    names: PathBuf,
    kind: u8,
    text: &'static str,
}

fn names(least: usize, most: usize) -> impl Strategy<Value = PathBuf> {
    prop::collection::vec(select(NAMES.to_vec()), least..most)
        .prop_map(|names| names.into_iter().map(OsStr::from_bytes).collect())
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let item = (
        select(vec!["$/r", "$/r", "$/r", "$/s/d"]),
        names(1, 4),
        select(vec![0_u8, 0, 1, 2, 2]),
        select(LINK_TEXTS.to_vec()),
    );
    let item = item.prop_map(|(base, names, kind, text)| Item {
        base,
        names: names.iter().filter(|n| *n != "new").collect(),
        kind,
        text,
    });
    prop::collection::vec(item, 0..14)
}

fn targets() -> impl Strategy<Value = SandboxPath> {
    names(0, 5).prop_map(|names| SandboxPath::new(Path::new("/").join(names)).unwrap())
}

fn kinds() -> impl Strategy<Value = MountKind> {
    let accesses = select(vec![Access::ReadOnly, Access::ReadWrite]);
    prop_oneof![
        12 => (select(SOURCES.to_vec()), accesses)
            .prop_map(|(source, access)| MountKind::Bind { source: source.into(), access }),
        4 => (select(vec![None, Some(1 << 20)]), select(vec![0o1777, 0o755, 0o700]))
            .prop_map(|(size, mode)| MountKind::Tmpfs { size, mode }),
        1 => Just(MountKind::Proc),
        1 => Just(MountKind::Dev),
        3 => any::<u16>().prop_map(|n| MountKind::File {
            data: format!("data {n}").into_bytes().into(),
            mode: 0o644,
        }),
        2 => select(LINK_TEXTS.to_vec()).prop_map(|to| MountKind::Symlink { to: to.into() }),
        4 => select(vec![0o700, 0o755]).prop_map(|mode| MountKind::Dir { mode }),
        5 => Just(MountKind::Mask),
    ]
}

fn accesses() -> impl Strategy<Value = RootAccess> {
    prop_oneof![
        1 => Just(RootAccess::ReadWrite),
        2 => Just(RootAccess::ReadOnly),
        3 => prop::collection::vec(targets(), 0..4).prop_map(RootAccess::ReadOnlyExcept),
    ]
}

pub(crate) fn wishes() -> impl Strategy<Value = Wishes> {
    let mounts = prop::collection::vec((targets(), kinds()), 0..9)
        .prop_map(|m| m.into_iter().map(|(t, k)| Mount::new(t, k)).collect());
    (
        items(),
        accesses(),
        mounts,
        prop::collection::vec(any::<Index>(), 0..3),
        any::<bool>(),
        select(vec![Ids::Caller, Ids::Caller, Ids::ROOT]),
        select(vec![Capabilities::Auto, Capabilities::Only(Vec::new())]),
    )
        .prop_map(
            |(items, access, mounts, covering, prefer_mask, ids, capabilities)| Wishes {
                items,
                access,
                mounts,
                covering,
                prefer_mask,
                ids,
                capabilities,
            },
        )
}

/// A tree on the disk, and a configuration that can be planned on it.
pub(crate) struct Case {
    dir: TempDir,
    /// The same in memory.
    pub(crate) memory: MemoryFs,
    pub(crate) config: Config,
    pub(crate) plan: MountPlan,
}

impl Case {
    /// Takes of the wishes what can be had, one after another.
    pub(crate) fn build(wishes: &Wishes, inside: &Inside, user: UserNamespace) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The temporary directory may be known by a link, and the model by one path only.
        let base = dir.path().canonicalize().unwrap();
        let memory = make(&base, wishes).dir(inside.dir());

        let mut config = Config::new(Root::Dir(base.join("r")));
        config.network = Network::Shared;
        config.namespaces.user = user;
        config.ids = wishes.ids;
        config.capabilities = wishes.capabilities.clone();
        if wishes.prefer_mask {
            config.prefer.insert(Feature::Mask);
        }
        set_access(&mut config, &wishes.access);
        config.mounts.push(inside.mount());
        let covering = wishes.covering.iter().filter(|_| !wishes.mounts.is_empty());
        let covering = covering.map(|index| index.get(&wishes.mounts).clone().covering());
        for mut mount in wishes.mounts.iter().cloned().chain(covering) {
            match &mut mount.kind {
                MountKind::Bind { source, .. } => {
                    *source = in_base(source.as_os_str(), &base).into()
                }
                MountKind::Symlink { to } => *to = in_base(to, &base),
                _ => {}
            }
            // A source may be a link in the tree that leads anywhere; the probe writes wherever it
            // may, so nothing of the machine's own is given to it.
            let stranger = match &mount.kind {
                MountKind::Bind { source, .. } => source
                    .canonicalize()
                    .is_ok_and(|real| !real.starts_with(&base)),
                _ => false,
            };
            config.mounts.push(mount);
            if stranger || plan(&config, &HostFs).is_err() {
                config.mounts.pop();
            }
        }
        let plan = plan(&config, &HostFs).unwrap();
        Self {
            dir,
            memory,
            config,
            plan,
        }
    }

    /// The directory on the host in which everything is.
    pub(crate) fn base(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }
}

fn set_access(config: &mut Config, access: &RootAccess) {
    let RootAccess::ReadOnlyExcept(wishes) = access else {
        config.root_access = Some(access.clone());
        return;
    };
    let mut list = Vec::new();
    for wish in wishes {
        list.push(wish.clone());
        config.root_access = Some(RootAccess::ReadOnlyExcept(list.clone()));
        if plan(config, &HostFs).is_err() {
            list.pop();
        }
    }
    config.root_access = Some(RootAccess::ReadOnlyExcept(list));
}

/// Puts the directory into the place of `$`.
fn in_base(text: &OsStr, base: &Path) -> OsString {
    match text.to_str().and_then(|t| t.split_once('$')) {
        Some((before, after)) => {
            let mut text = OsString::from(before);
            text.push(base);
            text.push(after);
            text
        }
        None => text.to_owned(),
    }
}

/// Makes the tree, on the disk and in memory.
fn make(base: &Path, wishes: &Wishes) -> MemoryFs {
    let mut maker = Maker {
        memory: MemoryFs::new(),
    };
    maker.dir(base);
    for dir in ["r", "s", "s/d", "s/d/a", "secret"] {
        maker.dir(&base.join(dir));
    }
    maker.dir(&base.join("r").join(PLACE));
    for file in ["s/f", "s/d/f", "secret/key"] {
        maker.file(&base.join(file));
    }
    maker.link(&base.join("s/link"), "d".as_ref());
    for item in &wishes.items {
        let mut path = PathBuf::from(in_base(item.base.as_ref(), base));
        let Some(last) = item.names.file_name() else {
            continue;
        };
        // Only what does not contradict what is there already.
        let fits = item.names.parent().into_iter().flatten().all(|name| {
            path.push(name);
            maker.dir(&path)
        });
        path.push(last);
        if fits && maker.is_free(&path) {
            match item.kind {
                0 => drop(maker.dir(&path)),
                1 => maker.file(&path),
                _ => maker.link(&path, &in_base(item.text.as_ref(), base)),
            }
        }
    }
    maker.memory
}

struct Maker {
    memory: MemoryFs,
}

impl Maker {
    fn is_free(&self, path: &Path) -> bool {
        self.memory.entry(path).unwrap().is_none()
    }

    fn change(&mut self, change: impl FnOnce(MemoryFs) -> MemoryFs) {
        self.memory = change(std::mem::take(&mut self.memory));
    }

    /// Whether there is a directory then.
    fn dir(&mut self, path: &Path) -> bool {
        if !path.exists() && !path.is_symlink() {
            fs::create_dir(path).unwrap();
        }
        let is_dir = fs::symlink_metadata(path).unwrap().is_dir();
        if is_dir {
            // Whatever our umask is.
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            self.change(|memory| memory.dir(path));
        }
        is_dir
    }

    /// A file that says where it is.
    fn file(&mut self, path: &Path) {
        fs::write(path, path.as_os_str().as_bytes()).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        self.change(|memory| memory.file(path));
    }

    fn link(&mut self, path: &Path, text: &OsStr) {
        symlink(text, path).unwrap();
        self.change(|memory| memory.symlink(path, text));
    }
}
