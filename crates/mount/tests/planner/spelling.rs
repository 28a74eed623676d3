//! File systems that take names for the same that are spelled otherwise.

use sandboxlib_config::{Config, Mount, MountKind, Root, RootAccess, SandboxPath};
use sandboxlib_mount::{MemoryFs, PlanStep, plan};

fn mask(path: &str) -> Mount {
    Mount::new(SandboxPath::new(path).unwrap(), MountKind::Mask)
}

fn read_only(mounts: Vec<Mount>) -> Config {
    let mut config = Config::new(Root::Dir("/r".into()));
    config.root_access = Some(RootAccess::ReadOnly);
    config.mounts = mounts;
    config
}

#[test]
fn a_place_is_known_by_the_name_that_its_directory_has() {
    let fs = MemoryFs::new()
        .dir("/r/Dir/Sub")
        .file("/r/Dir/Sub/File")
        .symlink("/r/Link", "DIR/sub")
        .ignoring_case();
    let targets = |mounts: Vec<Mount>| {
        let plan = plan(&read_only(mounts), &fs).unwrap();
        let masked = plan.steps.iter().filter_map(|step| match step {
            PlanStep::Mask { to, .. } => Some(to.as_path().to_str().unwrap().to_owned()),
            _ => None,
        });
        masked.collect::<Vec<_>>()
    };
    assert_eq!(targets(vec![mask("/dir/SUB/file")]), ["/Dir/Sub/File"]);
    assert_eq!(targets(vec![mask("/link/file")]), ["/Dir/Sub/File"]);
    // Also where something missing has put a shadow over the directory.
    assert_eq!(
        targets(vec![
            mask("/dir/Absent"),
            mask("/dir/sub/file"),
            mask("/DIR/other")
        ]),
        ["/Dir/Absent", "/Dir/Sub/File", "/Dir/other"]
    );
    // One place has one node, however it is spelled: a mount on it is seen.
    let hidden = vec![mask("/dir/sub"), mask("/Dir/SUB/file")];
    assert!(plan(&read_only(hidden), &fs).is_err());
}
