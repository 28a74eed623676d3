//! A thousand binds, on the host's own files.

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Instant;

use sandboxlib_config::{Config, Mount, Root, RootAccess, SandboxPath};
use sandboxlib_mount::{Entry, FsView, HostFs, plan};

/// Counts what is asked of the host.
struct Counting {
    entries: Cell<usize>,
    lists: Cell<usize>,
}

impl FsView for Counting {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.entries.set(self.entries.get() + 1);
        HostFs.entry(path)
    }

    fn entry_following(&self, path: &Path) -> io::Result<Option<Entry>> {
        HostFs.entry_following(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Entry)>> {
        self.lists.set(self.lists.get() + 1);
        HostFs.list(path)
    }
}

fn thousand(below: &str) -> (tempfile::TempDir, Config) {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    let source = temp.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let mut config = Config::new(Root::Dir(root.clone()));
    config.root_access = Some(RootAccess::ReadOnly);
    std::fs::create_dir_all(root.join("deep/in/the/root")).unwrap();
    for i in 0..1000 {
        std::fs::create_dir(root.join(format!("deep/in/the/root/{i}"))).unwrap();
        let target = SandboxPath::new(format!("/deep/in/the/root/{below}{i}")).unwrap();
        config.mounts.push(Mount::bind_read_only(&source, target));
    }
    (temp, config)
}

/// Each component of the root's path is looked at once, to know it without links.
fn root_depth(config: &Config) -> usize {
    match &config.root {
        Root::Dir(path) => path.components().count() - 1,
        _ => 0,
    }
}

#[test]
fn a_thousand_binds_cost_one_look_each() {
    let (_temp, config) = thousand("");
    let view = Counting {
        entries: Cell::new(0),
        lists: Cell::new(0),
    };
    let start = Instant::now();
    let plan = plan(&config, &view).unwrap();
    eprintln!("1000 binds on what exists: {:?}", start.elapsed());
    assert_eq!(plan.steps.len(), 1001);
    assert_eq!(
        (view.entries.get(), view.lists.get()),
        (1004 + root_depth(&config), 0)
    );
}

#[test]
fn a_thousand_missing_mount_points_cost_one_shadow() {
    let (_temp, config) = thousand("new");
    let view = Counting {
        entries: Cell::new(0),
        lists: Cell::new(0),
    };
    let start = Instant::now();
    let plan = plan(&config, &view).unwrap();
    eprintln!("1000 binds on what is missing: {:?}", start.elapsed());
    assert_eq!(plan.steps.len(), 1002);
    assert_eq!(
        (view.entries.get(), view.lists.get()),
        (5 + root_depth(&config), 1)
    );
}
