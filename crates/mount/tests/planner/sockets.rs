//! Which sockets are closed, and which are not.

use std::io;
use std::path::{Path, PathBuf};

use sandboxlib_config::{
    Config, HiddenBy, HiddenPlace, Mount, MountKind, Root, RootAccess, SandboxPath,
};
use sandboxlib_mount::{Entry, FsView, MemoryFs, PlanStep, plan};

use crate::model::Model;

fn at(path: &str) -> SandboxPath {
    SandboxPath::new(path).unwrap()
}

fn host() -> MemoryFs {
    MemoryFs::new()
        .socket("/srv/d/socket")
        .socket("/srv/d/sub/socket")
        .file("/srv/d/file")
        .symlink("/srv/link", "d")
        .socket("/run/daemon")
        .socket("/run/a/daemon")
        .socket("/var/lib/socket")
        .socket("/root-dir/socket")
        .dir("/root-dir/mnt")
}

fn closed(config: &Config) -> Vec<String> {
    let fs = host();
    let plan = plan(config, &fs).unwrap_or_else(|e| panic!("{e}"));
    Model::run(&fs, &plan).unwrap_or_else(|e| panic!("{e}"));
    let closed = plan.steps.iter().filter_map(|step| match step {
        PlanStep::CloseSocket { to } => Some(to.to_string()),
        _ => None,
    });
    closed.collect()
}

/// Its own root, read-only.
fn root() -> Config {
    let mut config = Config::new(Root::Dir("/root-dir".into()));
    config.root_access = Some(RootAccess::ReadOnly);
    config
}

/// The host's, read-only but for what is writable by name, without /run.
fn hosts_root() -> Config {
    let mut config = Config::new(Root::Host);
    let by = HiddenBy::Empty { mode: 0o755 };
    config.hidden = Some(vec![HiddenPlace::new(at("/run"), by)]);
    config
}

#[test]
fn the_root_decides_about_those_in_it() {
    assert_eq!(closed(&root()), ["/socket"]);
    let mut config = root();
    config.root_access = Some(RootAccess::ReadWrite);
    assert!(closed(&config).is_empty());

    let all = [
        "/root-dir/socket",
        "/srv/d/socket",
        "/srv/d/sub/socket",
        "/var/lib/socket",
    ];
    assert_eq!(closed(&hosts_root()), all);
    let mut config = hosts_root();
    config.root_access = Some(RootAccess::ReadOnlyExcept(vec![at("/srv"), at("/var")]));
    config.readable = vec![at("/srv/d/sub")];
    assert_eq!(closed(&config), ["/root-dir/socket", "/srv/d/sub/socket"]);
    config.hidden = Some(Vec::new());
    let mut with_run = closed(&config);
    with_run.retain(|path| path.starts_with("/run"));
    assert_eq!(with_run, ["/run/a/daemon", "/run/daemon"]);
}

#[test]
fn a_bind_decides_about_those_in_it_wherever_it_is() {
    let mut config = root();
    config.root_access = Some(RootAccess::ReadWrite);
    for target in ["/mnt/ro", "/mnt/again"] {
        config
            .mounts
            .push(Mount::bind_read_only("/srv/link", at(target)));
    }
    config.mounts.push(Mount::bind("/srv/d", at("/mnt/rw")));
    let expected = [
        "/mnt/again/socket",
        "/mnt/again/sub/socket",
        "/mnt/ro/socket",
        "/mnt/ro/sub/socket",
    ];
    assert_eq!(closed(&config), expected);
}

#[test]
fn what_is_mounted_there_is_what_counts() {
    let mut config = root();
    config.root_access = Some(RootAccess::ReadWrite);
    config.mounts = vec![Mount::bind_read_only("/srv/d", at("/mnt"))];
    let with = |more: Vec<Mount>| {
        let mut config = config.clone();
        config.mounts.extend(more);
        closed(&config)
    };
    // A shadow has the same entries.
    let new = Mount::tmpfs(at("/mnt/new"));
    assert_eq!(with(vec![new]), ["/mnt/socket", "/mnt/sub/socket"]);
    assert_eq!(with(vec![Mount::tmpfs(at("/mnt/sub"))]), ["/mnt/socket"]);
    let mask = Mount::new(at("/mnt/socket"), MountKind::Mask);
    assert_eq!(with(vec![mask]), ["/mnt/sub/socket"]);
    // By its own name.
    let named = Mount::bind_read_only("/run/daemon", at("/mnt/socket"));
    assert_eq!(with(vec![named.clone()]), ["/mnt/sub/socket"]);
    let writable = Mount::bind("/srv/d/sub", at("/mnt/sub"));
    assert_eq!(with(vec![writable]), ["/mnt/socket"]);
    // That name is covered, by a directory with a socket of the same name.
    let cover = Mount::bind_read_only("/srv/d/sub", at("/mnt")).covering();
    assert_eq!(with(vec![named, cover]), ["/mnt/socket"]);
    let away = Mount::tmpfs(at("/mnt")).covering();
    assert!(with(vec![away]).is_empty());
}

#[test]
fn those_that_are_named_stay_open() {
    let open = |mut config: Config, paths: &[&str]| {
        config.sockets = paths.iter().map(|path| at(path)).collect();
        let left = closed(&config);
        let places = plan(&config, &host()).unwrap().sockets;
        (left, places.iter().map(ToString::to_string).collect())
    };
    let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut config = root();
    config.mounts = vec![Mount::bind_read_only("/srv", at("/mnt"))];
    let table: &[(&[&str], &[&str], &[&str])] = &[
        (
            &["/mnt/link/socket"],
            &["/mnt/d/sub/socket", "/socket"],
            &["/mnt/d/socket"],
        ),
        (&["/mnt/d", "/mnt/link"], &["/socket"], &["/mnt/d"]),
        (&["/"], &[], &["/"]),
    ];
    for (named, left, places) in table {
        assert_eq!(
            open(config.clone(), named),
            (strings(left), strings(places))
        );
    }
    // In a place that is hidden, and in one that is not.
    let (left, _) = open(hosts_root(), &["/run/a", "/var/lib/socket"]);
    assert_eq!(
        left,
        ["/root-dir/socket", "/srv/d/socket", "/srv/d/sub/socket"]
    );

    config.sockets = vec![at("/mnt/none")];
    let error = plan(&config, &host()).unwrap_err().to_string();
    assert_eq!(
        error,
        r#"the socket "/mnt/none" does not exist in the root"#
    );
}

#[test]
fn to_be_connected_to_makes_nothing_read_only() {
    let mut config = hosts_root();
    config.root_access = Some(RootAccess::ReadOnlyExcept(vec![at("/srv")]));
    config.sockets = vec![at("/srv/d"), at("/srv/d/socket")];
    let plan = plan(&config, &host()).unwrap().to_string();
    assert!(!plan.contains("bind dir \"/srv/d\""), "{plan}");
    assert!(!plan.contains("socket\" read-only"), "{plan}");
}

/// A host that cannot be asked for its sockets.
struct Silent(MemoryFs);

impl FsView for Silent {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.0.entry(path)
    }
    fn entry_following(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.0.entry_following(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<(std::ffi::OsString, Entry)>> {
        self.0.list(path)
    }
    fn sockets(&self) -> io::Result<Vec<PathBuf>> {
        Err(io::Error::other("too many"))
    }
}

#[test]
fn the_host_is_asked_where_it_matters() {
    let silent = Silent(host());
    let refused = plan(&root(), &silent).unwrap_err().to_string();
    assert_eq!(refused, "cannot list the unix sockets of the host");
    let mut config = root();
    config.sockets = vec![SandboxPath::root()];
    assert!(plan(&config, &silent).is_ok());
    config.sockets.clear();
    config.root_access = Some(RootAccess::ReadWrite);
    config.mounts = vec![Mount::bind("/srv", at("/mnt"))];
    assert!(plan(&config, &silent).is_ok());
}
