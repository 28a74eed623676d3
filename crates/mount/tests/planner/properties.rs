//! What holds for every plan, whatever the tree and the configuration.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use sandboxlib_config::{Access, Config, Feature, Mount, MountKind, Root, RootAccess, SandboxPath};
use sandboxlib_mount::{EntryKind, FsView as _, MemoryFs, MountPlan, plan};

use crate::model::{Model, Shown, real};

const ROOT: &str = "/r";

const LINK_TEXTS: [&str; 20] = [
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
    "../../../../secret",
    "/secret",
    "../../s/d",
    "missing",
    "/missing/x",
    "a/missing/../new",
    "/new/deep",
    "/b/l",
];

const SOURCES: [&str; 10] = [
    "/s/d", "/s/d/a", "/s/f", "/s/sock", "/s/d/f", "/s/link", "/s", "/r/a", "/r/b", "/r",
];

/// A tree under the root, whose names collide often, next to sources and a secret.
fn trees() -> impl Strategy<Value = MemoryFs> {
    let name = || select(vec!["a", "b", "c", "l", "m"]);
    let path = prop::collection::vec(name(), 1..4);
    let kind = select(vec![0_u8, 0, 1, 2, 2, 3]);
    let item = (
        path,
        kind,
        select(LINK_TEXTS.to_vec()),
        select(vec!["/r", "/r", "/r", "/s/d"]),
    );
    prop::collection::vec(item, 0..14).prop_map(|items| {
        let mut fs = MemoryFs::new()
            .dir(ROOT)
            .dir("/s/d/a")
            .file("/s/f")
            .file("/s/d/f")
            .socket("/s/sock")
            .socket("/s/d/a/sock")
            .symlink("/s/link", "d")
            .file("/secret/key")
            .file("/proc/kcore")
            .dir("/proc/sys")
            .symlink("/proc/self", "1");
        for (names, kind, text, base) in items {
            let path = Path::new(base).join(names.iter().collect::<PathBuf>());
            // Only what does not contradict what is there already.
            let fits = path.ancestors().skip(1).all(|p| is_dir_or_free(&fs, p));
            if !fits || fs.entry(&path).unwrap().is_some() {
                continue;
            }
            fs = match kind {
                0 => fs.dir(path),
                1 => fs.file(path),
                3 => fs.socket(path),
                _ => fs.symlink(path, text),
            };
        }
        fs
    })
}

/// Whether `path` itself, no link followed on the way, is a directory or missing.
fn is_dir_or_free(fs: &MemoryFs, path: &Path) -> bool {
    fs.entry(path)
        .unwrap()
        .is_none_or(|e| e.kind == EntryKind::Dir)
}

fn targets() -> impl Strategy<Value = SandboxPath> {
    let name = select(vec![
        "a", "a", "b", "b", "c", "l", "m", "new", "proc", "dev", "kcore", "shm",
    ]);
    prop::collection::vec(name, 0..5).prop_map(|names| {
        SandboxPath::new(Path::new("/").join(names.iter().collect::<PathBuf>())).unwrap()
    })
}

fn accesses() -> impl Strategy<Value = Access> {
    select(vec![Access::ReadOnly, Access::ReadWrite])
}

fn kinds() -> impl Strategy<Value = MountKind> {
    prop_oneof![
        6 => (select(SOURCES.to_vec()), accesses())
            .prop_map(|(source, access)| MountKind::Bind { source: source.into(), access }),
        2 => Just(MountKind::Tmpfs { size: None, mode: 0o1777 }),
        1 => Just(MountKind::Proc),
        1 => Just(MountKind::Dev),
        1 => Just(MountKind::File { data: (*b"x").into(), mode: 0o644 }),
        1 => select(LINK_TEXTS.to_vec()).prop_map(|to| MountKind::Symlink { to: to.into() }),
        2 => Just(MountKind::Dir { mode: 0o700 }),
        2 => Just(MountKind::Mask),
    ]
}

fn mounts() -> impl Strategy<Value = Vec<Mount>> {
    prop::collection::vec(
        (targets(), kinds()).prop_map(|(t, k)| Mount::new(t, k)),
        0..9,
    )
}

fn root_accesses() -> impl Strategy<Value = RootAccess> {
    prop_oneof![
        1 => Just(RootAccess::ReadWrite),
        2 => Just(RootAccess::ReadOnly),
        3 => prop::collection::vec(targets(), 0..4).prop_map(RootAccess::ReadOnlyExcept),
    ]
}

/// A configuration that can be planned, and where each of its paths really is.
struct Case {
    fs: MemoryFs,
    config: Config,
    plan: MountPlan,
    writable: Vec<PathBuf>,
    /// For each mount; `None` for one that is not masked.
    places: Vec<Option<PathBuf>>,
}

impl Case {
    /// Takes of the wishes what can be had, one after another.
    fn build(fs: MemoryFs, access: RootAccess, wishes: Vec<Mount>, prefer_mask: bool) -> Self {
        let mut config = Config::new(Root::Dir(ROOT.into()));
        if prefer_mask {
            config.prefer.insert(Feature::Mask);
        }
        let mut case = Self {
            plan: plan(&config, &fs).unwrap(),
            fs,
            config,
            writable: Vec::new(),
            places: Vec::new(),
        };
        case.set_access(access);
        for mount in wishes {
            case.try_mount(mount);
        }
        case
    }

    fn set_access(&mut self, access: RootAccess) {
        let RootAccess::ReadOnlyExcept(wishes) = access else {
            self.config.root_access = Some(access);
            self.plan = plan(&self.config, &self.fs).unwrap();
            return;
        };
        let mut list = Vec::new();
        for wish in wishes {
            list.push(wish.clone());
            self.config.root_access = Some(RootAccess::ReadOnlyExcept(list.clone()));
            match plan(&self.config, &self.fs) {
                Ok(_) => {
                    let bare = plan(&Config::new(self.config.root.clone()), &self.fs).unwrap();
                    let bare = Model::run(&self.fs, &bare).unwrap();
                    self.writable
                        .push(bare.follow(wish.as_path(), true).unwrap());
                }
                Err(_) => {
                    list.pop();
                }
            }
        }
        self.config.root_access = Some(RootAccess::ReadOnlyExcept(list));
        self.plan = plan(&self.config, &self.fs).unwrap();
    }

    fn try_mount(&mut self, mount: Mount) {
        self.config.mounts.push(mount);
        let Ok(plan) = plan(&self.config, &self.fs) else {
            self.config.mounts.pop();
            return;
        };
        let mount = self.config.mounts.last().unwrap();
        let before = self.model();
        let skipped = plan.not_masked.len() > self.plan.not_masked.len();
        self.plan = plan;
        let after = self.model();
        let follow_last = !matches!(mount.kind, MountKind::Symlink { .. });
        // What is missing is found afterwards only; a link that the mount itself covers, before.
        let place = (!skipped).then(|| {
            let target = mount.target.as_path();
            before
                .follow(target, follow_last)
                .or_else(|| after.follow(target, follow_last))
                .unwrap_or_else(|| panic!("{target:?} leads nowhere\n{}", self.plan))
        });
        self.places.push(place);
    }

    fn model(&self) -> Model {
        Model::run(&self.fs, &self.plan)
            .unwrap_or_else(|e| panic!("the plan cannot be carried out: {e}\n{:#?}", self.config))
    }

    fn placed(&self) -> impl Iterator<Item = (&Mount, &Path)> {
        self.config
            .mounts
            .iter()
            .zip(&self.places)
            .filter_map(|(m, p)| Some((m, p.as_deref()?)))
    }

    /// The places where something is mounted, rather than made or found.
    fn mounted(&self) -> impl Iterator<Item = (&Mount, &Path)> {
        self.placed()
            .filter(|(m, _)| !matches!(m.kind, MountKind::Symlink { .. } | MountKind::Dir { .. }))
    }

    fn root_is_writable(&self) -> bool {
        match self.config.effective_root_access() {
            RootAccess::ReadWrite => true,
            _ => self.writable.iter().any(|w| w == Path::new("/")),
        }
    }

    /// The host's paths that the caller made writable.
    fn may_change(&self) -> Vec<PathBuf> {
        let mut may = Vec::new();
        if self.root_is_writable() {
            may.push(ROOT.into());
        }
        may.extend(self.writable.iter().map(|w| on_host(w)));
        for mount in &self.config.mounts {
            if let MountKind::Bind {
                source,
                access: Access::ReadWrite,
            } = &mount.kind
            {
                may.push(real(&self.fs, source));
            }
        }
        may
    }

    fn sources(&self) -> Vec<&Path> {
        let binds = self.config.mounts.iter().filter_map(|m| match &m.kind {
            MountKind::Bind { source, .. } => Some(source.as_path()),
            _ => None,
        });
        binds.chain([Path::new(ROOT), Path::new("/dev")]).collect()
    }

    /// What was said about the access to `path`: by the innermost of those who said something.
    fn said_writable(&self, path: &Path) -> bool {
        let root = (PathBuf::from("/"), self.root_is_writable());
        let listed = self.writable.iter().map(|w| (w.clone(), true));
        let binds = self.mounted().map(|(mount, place)| {
            let writable = !matches!(
                mount.kind,
                MountKind::Bind {
                    access: Access::ReadOnly,
                    ..
                }
            );
            (place.to_owned(), writable)
        });
        let all = std::iter::once(root).chain(listed).chain(binds);
        let innermost = all
            .filter(|(at, _)| path.starts_with(at))
            .max_by_key(|(at, _)| at.components().count());
        innermost.is_some_and(|(_, writable)| writable)
    }
}

fn is_dir(fs: &MemoryFs, path: &Path) -> bool {
    fs.entry_following(path)
        .unwrap()
        .is_some_and(|e| e.kind == EntryKind::Dir)
}

fn on_host(path: &Path) -> PathBuf {
    Path::new(ROOT).join(path.strip_prefix("/").unwrap())
}

/// (b) Nothing but the root and what was bound in is shown.
fn shows_only_what_was_asked_for(case: &Case, model: &Model) -> Result<(), TestCaseError> {
    let sources = case.sources();
    for (path, shown) in model.everything(7) {
        if let Shown::Host { path: host, .. } = &shown {
            prop_assert!(
                sources.iter().any(|s| host.starts_with(s)) && !host.starts_with("/secret"),
                "{path:?} shows {shown:?}"
            );
        }
    }
    Ok(())
}

/// (c) A file of the host is writable where that was said and nowhere else.
fn writable_is_what_was_said(case: &Case, model: &Model) -> Result<(), TestCaseError> {
    for (path, shown) in model.everything(7) {
        if let Shown::Host { writable, .. } = &shown {
            prop_assert_eq!(
                *writable,
                case.said_writable(&path),
                "{:?}: {:?}",
                path,
                shown
            );
        }
    }
    Ok(())
}

/// (d) The host is changed below what may be changed and nowhere else.
fn changes_only_what_may_be_changed(case: &Case, model: &Model) -> Result<(), TestCaseError> {
    let may = case.may_change();
    for made in &model.made {
        prop_assert!(may.iter().any(|m| made.starts_with(m)), "{made:?} was made");
    }
    prop_assert_eq!(model.made.len(), case.plan.created_on_host().count());
    Ok(())
}

/// (e) Each mount is seen where it was wanted.
fn every_mount_is_in_place(case: &Case, model: &Model) -> Result<(), TestCaseError> {
    for (mount, place) in case.placed() {
        let shown = model.show(place);
        let right = match (&mount.kind, &shown) {
            (MountKind::Bind { source, .. }, Shown::Host { path, .. }) => source == path,
            (
                MountKind::Bind {
                    access: Access::ReadOnly,
                    source,
                },
                Shown::Private {
                    of: "shadow",
                    kind: EntryKind::Dir,
                    writable: false,
                },
            ) => is_dir(&case.fs, source),
            (MountKind::Tmpfs { .. }, Shown::Private { of, writable, .. }) => {
                *of == "tmpfs" && *writable
            }
            (MountKind::Proc, Shown::Private { of, .. }) => *of == "proc",
            (MountKind::Dev, Shown::Private { of, writable, .. }) => *of == "tmpfs" && !writable,
            (MountKind::File { .. }, Shown::Private { of, .. }) => *of == "file",
            (
                MountKind::Symlink { to },
                Shown::Private {
                    kind: EntryKind::Symlink(found),
                    ..
                }
                | Shown::Host {
                    kind: EntryKind::Symlink(found),
                    ..
                },
            ) => found == to,
            (MountKind::Dir { .. }, Shown::Private { kind, .. } | Shown::Host { kind, .. }) => {
                *kind == EntryKind::Dir
            }
            (MountKind::Dir { .. } | MountKind::Mask, Shown::Masked) => true,
            _ => false,
        };
        prop_assert!(right, "{mount:?} at {place:?} shows {shown:?}");
    }
    Ok(())
}

/// (e) What nothing was mounted on looks as it does on the host, but for new entries: in the
/// root, and in what was bound in.
fn the_rest_is_untouched(case: &Case, model: &Model) -> Result<(), TestCaseError> {
    tree_is_untouched(case, model, "/".as_ref(), ROOT.as_ref())?;
    for (mount, place) in case.mounted() {
        match &mount.kind {
            MountKind::Bind { source, .. } if is_dir(&case.fs, source) => {
                tree_is_untouched(case, model, place, source)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn tree_is_untouched(
    case: &Case,
    model: &Model,
    top: &Path,
    source: &Path,
) -> Result<(), TestCaseError> {
    let wanted: BTreeSet<OsString> = case
        .placed()
        .flat_map(|(_, place)| place.iter())
        .chain(model.made.iter().filter_map(|p| p.file_name()))
        .map(OsString::from)
        // What the links `missing/../new` and `b/../c` take to exist, also where `b` is the link
        // `l`.
        .chain(["missing".into(), "b".into(), "l".into()])
        .collect();
    let mut dirs = vec![(top.to_owned(), source.to_owned())];
    while let Some((dir, host)) = dirs.pop() {
        let mut expected = BTreeSet::new();
        for (name, entry) in case.fs.list(&host).unwrap() {
            expected.insert(name.clone());
            let (path, host) = (dir.join(&name), host.join(&name));
            if case
                .mounted()
                .any(|(_, place)| place != top && path.starts_with(place))
            {
                continue;
            }
            match (&entry.kind, model.show(&path)) {
                (EntryKind::File, Shown::Host { path: found, .. }) => {
                    prop_assert_eq!(found, host);
                }
                (EntryKind::File, Shown::Closed) => {
                    prop_assert!(is_socket(&case.fs, &host) && !case.said_writable(&path));
                }
                (
                    EntryKind::Dir,
                    Shown::Host {
                        path: found,
                        kind: EntryKind::Dir,
                        ..
                    },
                ) => {
                    prop_assert_eq!(&found, &host);
                    dirs.push((path, host));
                }
                (
                    EntryKind::Dir,
                    Shown::Private {
                        of: "shadow",
                        kind: EntryKind::Dir,
                        writable: false,
                    },
                ) => dirs.push((path, host)),
                (
                    EntryKind::Symlink(to),
                    Shown::Private {
                        of: "shadow",
                        kind: EntryKind::Symlink(found),
                        ..
                    }
                    | Shown::Host {
                        kind: EntryKind::Symlink(found),
                        ..
                    },
                ) => prop_assert_eq!(to, &found),
                (_, shown) => prop_assert!(false, "{path:?}: {entry:?} shows {shown:?}"),
            }
        }
        let found = model.list(&dir);
        prop_assert!(
            found.is_superset(&expected),
            "{dir:?} lacks {:?}",
            &expected - &found
        );
        let new = &found - &expected;
        prop_assert!(new.is_subset(&wanted), "{dir:?} has {new:?}");
    }
    Ok(())
}

fn is_socket(fs: &MemoryFs, path: &Path) -> bool {
    fs.sockets().unwrap().contains(&real(fs, path))
}

/// (g) A socket that cannot be removed cannot be connected to, unless it was mounted by its own
/// name.
fn read_only_sockets_are_closed(case: &Case, model: &Model) -> Result<(), TestCaseError> {
    for (path, shown) in model.everything(7) {
        if let Shown::Host {
            path: host,
            kind: EntryKind::File,
            writable: false,
        } = &shown
        {
            let by_name = case.mounted().any(|(_, place)| place == path);
            prop_assert!(by_name || !is_socket(&case.fs, host), "{path:?}: {shown:?}");
        }
    }
    Ok(())
}

/// (f) Nothing of what is masked can be seen.
fn masks_hide(case: &Case, model: &Model) -> Result<(), TestCaseError> {
    for (mount, place) in case.placed() {
        if mount.kind == MountKind::Mask {
            prop_assert_eq!(model.show(place), Shown::Masked);
            for name in ["a", "b", "kcore"] {
                prop_assert_eq!(model.show(&place.join(name)), Shown::Masked);
            }
        }
    }
    Ok(())
}

fn check_without_covering(case: &Case) -> Result<(), TestCaseError> {
    let model = case.model();
    shows_only_what_was_asked_for(case, &model)?;
    writable_is_what_was_said(case, &model)?;
    changes_only_what_may_be_changed(case, &model)?;
    every_mount_is_in_place(case, &model)?;
    the_rest_is_untouched(case, &model)?;
    read_only_sockets_are_closed(case, &model)?;
    masks_hide(case, &model)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_plan_gives_what_was_asked_for(
        fs in trees(),
        access in root_accesses(),
        mounts in mounts(),
        prefer_mask in any::<bool>(),
    ) {
        let case = Case::build(fs, access, mounts, prefer_mask);
        check_without_covering(&case)
            .map_err(|e| TestCaseError::fail(format!("{e}\n{}\n{:#?}", case.plan, case.config)))?;
        prop_assert_eq!(&plan(&case.config, &case.fs).unwrap(), &case.plan);
    }

    /// With mounts that hide earlier ones it is harder to say what is to be seen, except at the
    /// last of them.
    #[test]
    fn a_plan_with_covering_mounts_can_be_carried_out(
        fs in trees(),
        access in root_accesses(),
        mounts in mounts(),
        covering in prop::collection::vec(any::<Index>(), 0..4),
    ) {
        let mut mounts = mounts;
        for index in covering.iter().filter(|_| !mounts.is_empty()).collect::<Vec<_>>() {
            let mount = index.get(&mounts).clone().covering();
            mounts.push(mount);
        }
        let mut case = Case::build(fs, access, mounts, false);
        let model = case.model();
        shows_only_what_was_asked_for(&case, &model)?;
        changes_only_what_may_be_changed(&case, &model)?;
        read_only_sockets_are_closed(&case, &model)?;
        if case.places.len() > 1 {
            case.config.mounts.drain(..case.config.mounts.len() - 1);
            case.places.drain(..case.places.len() - 1);
        }
        every_mount_is_in_place(&case, &model)?;
        masks_hide(&case, &model)?;
    }
}
