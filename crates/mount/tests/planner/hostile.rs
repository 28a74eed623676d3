//! Roots that somebody made to lead the planner astray, or to keep it busy.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::select;
use sandboxlib_config::{Access, Config, Mount, MountKind, Root, RootAccess, SandboxPath};
use sandboxlib_mount::{Entry, FsView, MemoryFs, MountPlan, PlanError, plan};

use crate::model::Model;

const ROOT: &str = "/r";
/// How many links are followed, and how many names a path can have.
const LINKS: usize = 40;
const NAMES: usize = SandboxPath::LONGEST / 2 + 1;
/// How many names are many, for random cases: the tree in memory walks each path anew.
const LONG: usize = 100;

/// Counts what is asked of a tree in memory.
struct Counting<'a> {
    fs: &'a MemoryFs,
    asked: Cell<usize>,
}

impl Counting<'_> {
    fn count(&self) {
        self.asked.set(self.asked.get() + 1);
    }
}

impl FsView for Counting<'_> {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.count();
        self.fs.entry(path)
    }

    fn entry_following(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.count();
        self.fs.entry_following(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Entry)>> {
        self.count();
        self.fs.list(path)
    }
}

fn counted(config: &Config, fs: &MemoryFs) -> (Result<MountPlan, PlanError>, usize) {
    let view = Counting {
        fs,
        asked: Cell::new(0),
    };
    (plan(config, &view), view.asked.get())
}

fn config(access: RootAccess, mounts: Vec<Mount>) -> Config {
    let mut config = Config::new(Root::Dir(ROOT.into()));
    config.root_access = Some(access);
    config.mounts = mounts;
    config
}

fn at(path: impl AsRef<Path>) -> SandboxPath {
    SandboxPath::new(path).unwrap()
}

/// The bytes of all paths that a plan names, and the longest of them.
fn paths_of(plan: &MountPlan) -> usize {
    plan.to_string().len()
}

/// Names of every length and of every byte that a name can have.
fn names() -> impl Strategy<Value = OsString> {
    let bytes = |length: std::ops::RangeInclusive<usize>| {
        prop::collection::vec(
            any::<u8>().prop_filter("no name has it", |b| !matches!(b, 0 | b'/')),
            length,
        )
        .prop_map(OsString::from_vec)
    };
    prop_oneof![
        6 => select(vec!["a", "b", "c", "l"]).prop_map(OsString::from),
        1 => bytes(1..=6),
        1 => bytes(250..=255),
    ]
    .prop_filter("these are no names", |name| name != "." && name != "..")
}

fn texts() -> impl Strategy<Value = OsString> {
    let joined = prop::collection::vec(names(), 1..4).prop_map(|names| {
        let path: PathBuf = names.iter().collect();
        path.into_os_string()
    });
    prop_oneof![
        4 => select(vec![
            "l", "/l", "./l/", "..", "/", "//a//b", "a/../l", "../../../../x", "l/l/l", "/a/b/c/l",
        ]).prop_map(OsString::from),
        2 => joined,
        1 => (1..LONG).prop_map(|n| OsString::from("a/".repeat(n))),
        1 => (1..LONG).prop_map(|n| OsString::from("../".repeat(n / 2) + "a")),
        // What no file system can hold, but a view might say.
        1 => prop::collection::vec(any::<u8>(), 0..8).prop_map(OsString::from_vec),
    ]
}

fn trees() -> impl Strategy<Value = MemoryFs> {
    let item = (prop::collection::vec(names(), 1..4), 0..4_u8, texts());
    prop::collection::vec(item, 0..16).prop_map(|items| {
        let mut fs = MemoryFs::new().dir(ROOT).dir("/s").dir("/proc");
        for (names, kind, text) in items {
            let path = Path::new(ROOT).join(names.iter().collect::<PathBuf>());
            let above_is_dir = path.ancestors().skip(1).all(|above| {
                let entry = fs.entry(above).unwrap();
                entry.is_none_or(|e| e.kind == sandboxlib_mount::EntryKind::Dir)
            });
            if !above_is_dir || fs.entry(&path).unwrap().is_some() {
                continue;
            }
            fs = match kind {
                0 => fs.dir(path),
                1 => fs.file(path),
                _ => fs.symlink(path, text),
            };
        }
        fs
    })
}

fn targets() -> impl Strategy<Value = SandboxPath> {
    let few = prop::collection::vec(names(), 0..5);
    prop_oneof![
        6 => few.prop_map(|names| at(Path::new("/").join(names.iter().collect::<PathBuf>()))),
        1 => (1..LONG).prop_map(|n| at("/a".repeat(n))),
    ]
}

fn mounts() -> impl Strategy<Value = Vec<Mount>> {
    let kind = select(vec![
        MountKind::Tmpfs {
            size: None,
            mode: 0o700,
        },
        MountKind::Bind {
            source: "/s".into(),
            access: Access::ReadWrite,
        },
        MountKind::Bind {
            source: ROOT.into(),
            access: Access::ReadOnly,
        },
        MountKind::Dir { mode: 0o700 },
        MountKind::Mask,
        MountKind::Symlink { to: "l".into() },
        MountKind::File {
            data: [].into(),
            mode: 0o600,
        },
    ]);
    let mount = (targets(), kind, any::<bool>()).prop_map(|(target, kind, covers)| {
        let mut mount = Mount::new(target, kind);
        mount.covers = covers;
        mount
    });
    prop::collection::vec(mount, 0..5)
}

fn accesses() -> impl Strategy<Value = RootAccess> {
    prop_oneof![
        Just(RootAccess::ReadWrite),
        Just(RootAccess::ReadOnly),
        prop::collection::vec(targets(), 1..3).prop_map(RootAccess::ReadOnlyExcept),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_hostile_root_gives_a_plan_or_an_error(
        fs in trees(),
        access in accesses(),
        mounts in mounts(),
    ) {
        let wishes = mounts.len() + match &access {
            RootAccess::ReadOnlyExcept(list) => list.len(),
            _ => 0,
        };
        let config = config(access, mounts);
        let (planned, asked) = counted(&config, &fs);
        // For each path: the names in it and in forty links, and what is in the directories of
        // this small tree.
        prop_assert!(asked <= (wishes + 2) * (LINKS + 2) * NAMES, "{asked}");
        match planned {
            Ok(plan) => {
                prop_assert!(paths_of(&plan) <= (wishes + 2) * NAMES * 2 * SandboxPath::LONGEST * 4);
                for made in plan.created_on_host() {
                    prop_assert!(made.as_path().as_os_str().len() <= SandboxPath::LONGEST);
                }
                let carried_out = Model::run(&fs, &plan);
                prop_assert!(carried_out.is_ok(), "{:?}\n{}", carried_out.err(), plan);
                // The same question has the same answer.
                prop_assert_eq!(counted(&config, &fs).0.ok(), Some(plan));
            }
            Err(error) => {
                let text = error.to_string();
                prop_assert!(!text.chars().any(char::is_control), "{text:?}");
                // It names a path, and does not repeat it without end.
                prop_assert!(text.contains('"'), "{text}");
                prop_assert!(text.len() <= 200 + 3 * 4 * SandboxPath::LONGEST, "{}", text.len());
            }
        }
    }
}

/// Each link leads to the next one and then down a way that does not exist: what is missing
/// would be made, eighty thousand directories deep.
#[test]
fn links_cannot_make_a_path_longer_than_there_are() {
    let mut fs = MemoryFs::new().dir(ROOT).dir("/s");
    for i in 0..LINKS - 1 {
        let way = format!("l{}/{}", i + 1, "a/".repeat(NAMES - 10));
        fs = fs.symlink(format!("{ROOT}/l{i}"), way);
    }
    fs = fs.symlink(format!("{ROOT}/l{}", LINKS - 1), "a");
    for access in [RootAccess::ReadOnly, RootAccess::ReadWrite] {
        let config = config(access, vec![Mount::bind("/s", at("/l0/x"))]);
        let (planned, asked) = counted(&config, &fs);
        let error = planned.unwrap_err();
        let Some(source) = std::error::Error::source(&error) else {
            panic!("{error}");
        };
        assert!(
            source.to_string().contains("longer than the 4095"),
            "{source}"
        );
        assert!(asked <= 2 * NAMES, "{asked}");
    }
}

#[test]
fn links_that_lead_round_in_circles_end() {
    let mut fs = MemoryFs::new()
        .dir(ROOT)
        .dir("/s")
        .symlink("/r/self", "self");
    fs = fs
        .symlink("/r/there", "back/x")
        .symlink("/r/back", "/there/y");
    // Each doubles what is left to be walked: 2^40 names, if nobody counts the links.
    for i in 0..LINKS + 2 {
        fs = fs.symlink(format!("/r/d{i}"), format!("d{0}/../d{0}", i + 1));
    }
    fs = fs.dir(format!("/r/d{}", LINKS + 2));
    for target in ["/self", "/self/x", "/there", "/back/z", "/d0", "/d0/x"] {
        let config = config(RootAccess::ReadWrite, vec![Mount::bind("/s", at(target))]);
        let (planned, asked) = counted(&config, &fs);
        let error = planned.unwrap_err();
        assert!(
            matches!(&error, PlanError::TooManyLinks { target: found } if found.as_path() == Path::new(target)),
            "{target}: {error}"
        );
        assert!(asked <= 4 * LINKS, "{target}: {asked}");
    }
}

/// The depth of the deepest path and the width of the widest directory, for every kind of way.
#[test]
fn thousands_of_mounts_cost_a_look_each() {
    const MANY: usize = 4000;
    let wide = |kind: fn(usize) -> MountKind, prefix: &str| -> Vec<Mount> {
        (0..MANY)
            .map(|i| Mount::new(at(format!("{prefix}{i}")), kind(i)))
            .collect()
    };
    let tmpfs = |_| MountKind::Tmpfs {
        size: None,
        mode: 0o755,
    };
    let bind = |_| MountKind::Bind {
        source: "/s".into(),
        access: Access::ReadOnly,
    };
    let mut fs = MemoryFs::new().dir(ROOT).dir("/s");
    for i in 0..MANY {
        fs = fs.dir(format!("/r/there/{i}"));
    }
    for (what, access, mounts) in [
        ("there", RootAccess::ReadOnly, wide(tmpfs, "/there/")),
        ("missing", RootAccess::ReadOnly, wide(bind, "/new")),
        ("made", RootAccess::ReadWrite, wide(bind, "/new/")),
        (
            "masks",
            RootAccess::ReadOnly,
            wide(|_| MountKind::Mask, "/there/"),
        ),
        (
            "covered",
            RootAccess::ReadOnly,
            (0..MANY)
                .map(|i| Mount::new(at("/there/0"), tmpfs(i)).covering())
                .collect(),
        ),
        (
            "writable",
            RootAccess::ReadOnlyExcept((0..MANY).map(|i| at(format!("/there/{i}"))).collect()),
            Vec::new(),
        ),
        (
            "nested",
            RootAccess::ReadOnly,
            (1..NAMES - 1)
                .map(|n| Mount::new(at("/a".repeat(n)), tmpfs(n)))
                .collect(),
        ),
    ] {
        let config = config(access, mounts);
        let (planned, asked) = counted(&config, &fs);
        let plan = planned.unwrap();
        assert!(
            plan.steps.len() <= 3 * MANY + 10,
            "{what}: {}",
            plan.steps.len()
        );
        assert!(asked <= 3 * MANY + 20, "{what}: {asked}");
    }
}

/// What is compared with everything before it takes minutes here, and else a second.
#[test]
fn writable_paths_are_not_compared_with_one_another() {
    let mut fs = MemoryFs::new().dir(ROOT);
    let paths: Vec<SandboxPath> = (0..40_000).map(|i| at(format!("/{i}"))).collect();
    for path in &paths {
        fs = fs.dir(Path::new(ROOT).join(path.relative()));
    }
    // Said twice, it is done once.
    let twice = [paths.clone(), paths.clone()].concat();
    let config = config(RootAccess::ReadOnlyExcept(twice), Vec::new());
    let began = std::time::Instant::now();
    let plan = counted(&config, &fs).0.unwrap();
    assert_eq!(plan.steps.len(), paths.len() + 1);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

#[test]
fn a_name_of_the_longest_is_a_name() {
    let name = OsStr::from_bytes(&[0xff; 255]).to_owned();
    let host = Path::new(ROOT).join(&name);
    let fs = MemoryFs::new().dir(&host).dir("/s");
    let target = at(Path::new("/").join(&name));
    let config = config(
        RootAccess::ReadOnly,
        vec![Mount::bind("/s", target.clone())],
    );
    let plan = counted(&config, &fs).0.unwrap();
    assert!(plan.to_string().contains(&format!("{target:?}")), "{plan}");
}
