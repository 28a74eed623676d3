//! Which control groups can be made here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use sandboxlib_config::{Config, ControlGroups, Limits};
use sandboxlib_core::{CgroupDir, CgroupFacts, CgroupVersion};

use super::super::facts::{number, whole};
use super::cgroup::{LEAF, has_word};

/// Whether /proc shows this process under its own number, and so the caller's children under
/// theirs: it may be of another process id namespace.
pub(in super::super) fn proc_tells() -> bool {
    let link = std::fs::read_link("/proc/self");
    let shown = link
        .ok()
        .and_then(|link| number(link.as_os_str().as_bytes()));
    shown == Some(std::process::id())
}

/// Where groups can be made for the limits of `config`.
pub(in super::super) fn cgroups(config: &Config) -> CgroupFacts {
    let mut facts = CgroupFacts::default();
    match &config.control_groups {
        ControlGroups::None => {}
        ControlGroups::Below(path) => below(path, &config.limits, &mut facts),
        _ => below_own(&mut facts),
    }
    facts
}

fn below(path: &Path, limits: &Limits, facts: &mut CgroupFacts) {
    // The group that it names must not depend on who asks.
    let path = match std::path::absolute(path) {
        Ok(path) => path,
        Err(e) => {
            facts.refused = Some(format!("{path:?} has no absolute path: {e}"));
            return;
        }
    };
    let refused = if whole(path.join("cgroup.controllers")).is_none() {
        Some(format!("{path:?} is no directory of cgroup v2"))
    } else if !may_make_groups(&path) {
        Some(format!("no control group can be made in {path:?}"))
    } else {
        let lacks = |wanted: bool, controller| wanted && !gives(&path, controller);
        let missing = if lacks(limits.memory.is_some(), "memory") {
            Some("memory")
        } else if lacks(limits.processes.is_some(), "pids") {
            Some("pids")
        } else {
            None
        };
        missing.map(|name| format!("{path:?} can give no group the controller {name}"))
    };
    if refused.is_some() {
        facts.refused = refused;
        return;
    }
    let dir = CgroupDir {
        version: CgroupVersion::V2,
        path,
    };
    facts.cpu = Some(dir.clone());
    facts.memory = Some(dir.clone());
    facts.pids = Some(dir);
}

/// Below the group that the caller is in, of each hierarchy; version 2 first.
fn below_own(facts: &mut CgroupFacts) {
    let (Some(mounts), Some(own)) = (whole("/proc/self/mountinfo"), whole("/proc/self/cgroup"))
    else {
        return;
    };
    let hierarchies = hierarchies(&mounts, &own);
    for hierarchy in hierarchies.iter().filter(|h| h.controllers.is_none()) {
        let path = without_leaf(&hierarchy.path);
        if !may_make_groups(path) {
            continue;
        }
        let dir = CgroupDir {
            version: CgroupVersion::V2,
            path: path.to_owned(),
        };
        facts.cpu = Some(dir.clone());
        facts.memory = gives(path, "memory").then(|| dir.clone());
        facts.pids = gives(path, "pids").then_some(dir);
    }
    for hierarchy in &hierarchies {
        let Some(controllers) = &hierarchy.controllers else {
            continue;
        };
        if !may_make_groups(&hierarchy.path) {
            continue;
        }
        for (name, slot) in [
            ("cpuacct", &mut facts.cpu),
            ("memory", &mut facts.memory),
            ("pids", &mut facts.pids),
        ] {
            if slot.is_none() && controllers.iter().any(|controller| controller == name) {
                *slot = Some(CgroupDir {
                    version: CgroupVersion::V1,
                    path: hierarchy.path.clone(),
                });
            }
        }
    }
}

/// A group can be made in `path`, and a process of the caller's own be moved into it.
fn may_make_groups(path: &Path) -> bool {
    let writable = AccessFlags::W_OK | AccessFlags::X_OK;
    access(path, writable).is_ok() && access(&path.join("cgroup.procs"), AccessFlags::W_OK).is_ok()
}

/// Whether groups below `path` have, or can be given, this controller of version 2.
fn gives(path: &Path, controller: &str) -> bool {
    let has = |file| has_word(&whole(path.join(file)).unwrap_or_default(), controller);
    if has("cgroup.subtree_control") {
        return true;
    }
    // The topmost group has no type, and alone may hold processes all the same.
    let topmost = !path.join("cgroup.type").exists();
    let control = path.join("cgroup.subtree_control");
    has("cgroup.controllers")
        && access(&control, AccessFlags::W_OK).is_ok()
        && (topmost || only_this_process(path))
}

/// Whether no process is in the group but, maybe, this one, which can move.
fn only_this_process(path: &Path) -> bool {
    let procs = whole(path.join("cgroup.procs")).unwrap_or_default();
    procs
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .all(|line| number(line) == Some(std::process::id()))
}

/// The group of which the caller has moved into a leaf, or `path` itself.
fn without_leaf(path: &Path) -> &Path {
    let leaf = path
        .file_name()
        .is_some_and(|name| name.as_bytes().starts_with(LEAF.as_bytes()));
    path.parent().filter(|_| leaf).unwrap_or(path)
}

/// Where the caller is in a hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    path: PathBuf,
    /// The controllers of version 1; nothing for version 2, whose directories list them.
    controllers: Option<Vec<String>>,
}

/// What is mounted (proc(5), mountinfo) and where in it the caller is (cgroups(7)).
fn hierarchies(mounts: &[u8], own: &[u8]) -> Vec<Hierarchy> {
    let line = |line: &[u8]| {
        let at = line.windows(3).position(|w| w == b" - ")?;
        let before: Vec<&[u8]> = line[..at].split(|b| *b == b' ').collect();
        let behind: Vec<&[u8]> = line[at + 3..].split(|b| *b == b' ').collect();
        let (root, point) = (*before.get(3)?, *before.get(4)?);
        let controllers = match *behind.first()? {
            b"cgroup2" => None,
            b"cgroup" => Some(
                behind
                    .get(2)?
                    .split(|b| *b == b',')
                    .map(|word| String::from_utf8_lossy(word).into_owned())
                    .collect::<Vec<_>>(),
            ),
            _ => return None,
        };
        // Names with blanks are written otherwise here, and nobody mounts cgroups there.
        let path = |bytes: &[u8]| (!bytes.contains(&b'\\')).then(|| bytes.to_owned());
        let (root, point) = (path(root)?, path(point)?);
        let place = own_place(own, controllers.as_deref())?;
        let root = Path::new(OsStr::from_bytes(&root));
        let below = place.strip_prefix(root).ok()?;
        Some(Hierarchy {
            path: Path::new(OsStr::from_bytes(&point)).join(below),
            controllers,
        })
    };
    mounts.split(|b| *b == b'\n').filter_map(line).collect()
}

/// The caller's group in the hierarchy with one of these controllers, or that of version 2.
fn own_place(own: &[u8], controllers: Option<&[String]>) -> Option<PathBuf> {
    own.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.splitn(3, |b| *b == b':');
        let (_, names) = (fields.next()?, fields.next()?);
        let is_it = match controllers {
            None => names.is_empty(),
            Some(list) => names
                .split(|b| *b == b',')
                .any(|name| list.iter().any(|c| c.as_bytes() == name)),
        };
        let path = fields.next().filter(|_| is_it)?;
        Some(PathBuf::from(OsStr::from_bytes(path)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &[u8] = b"4:memory:/a/b\n2:cpu,cpuacct:/\n1:name=systemd:/x\n0::/user/me.scope\n";

    fn found(mounts: &str) -> Vec<(String, Option<Vec<String>>)> {
        let list = hierarchies(mounts.as_bytes(), OWN);
        let show = |h: Hierarchy| (h.path.display().to_string(), h.controllers);
        list.into_iter().map(show).collect()
    }

    #[test]
    fn the_callers_group_is_found_in_each_hierarchy() {
        let words = |text: &str| Some(text.split(',').map(str::to_owned).collect());
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw\n\
            32 31 0:29 / /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            found(mounts),
            [
                ("/sys/fs/cgroup/cpu/".into(), words("rw,cpu,cpuacct")),
                ("/sys/fs/cgroup/memory/a/b".into(), words("rw,memory")),
                ("/sys/fs/cgroup/unified/user/me.scope".into(), None),
            ]
        );
        // A part of the hierarchy that the caller is in, and one that it is not in.
        let part = "1 2 0:3 /user /mnt rw - cgroup2 none rw\n1 2 0:3 /other /mnt rw - cgroup2 x rw";
        assert_eq!(found(part), [("/mnt/me.scope".into(), None)]);
        for broken in [
            "",
            "1 2 3",
            " - cgroup2",
            "1 2 3 / /x rw - cgroup x",
            "\n\n",
        ] {
            assert_eq!(found(broken), [], "{broken:?}");
        }
    }

    #[test]
    fn the_leaf_is_left_out() {
        assert_eq!(without_leaf(Path::new("/g/a/caller-7")), Path::new("/g/a"));
        assert_eq!(without_leaf(Path::new("/g/a")), Path::new("/g/a"));
    }

    #[test]
    fn what_is_named_has_to_be_a_control_group() {
        let mut config = Config::new(sandboxlib_config::Root::Host);
        let dir = tempfile::tempdir().unwrap();
        config.control_groups = ControlGroups::Below(dir.path().to_owned());
        let refused = cgroups(&config).refused.unwrap();
        assert!(
            refused.contains("is no directory of cgroup v2"),
            "{refused}"
        );
        config.control_groups = ControlGroups::None;
        assert_eq!(cgroups(&config), CgroupFacts::default());
        assert!(proc_tells());
    }
}
