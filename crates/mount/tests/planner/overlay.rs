//! Layers over the root.

use sandboxlib_config::{Config, Mount, MountKind, Overlay, Root, RootAccess, SandboxPath};
use sandboxlib_mount::{MemoryFs, MountPlan, PlanError, plan};

fn at(path: &str) -> SandboxPath {
    SandboxPath::new(path).unwrap()
}

fn host() -> MemoryFs {
    MemoryFs::new()
        .dir("/r/etc")
        .dir("/r/var/lib/x")
        .file("/r/var/f")
        .symlink("/r/lib", "var/lib")
        .dir("/changes")
}

fn config() -> Config {
    let mut config = Config::new(Root::Dir("/r".into()));
    config.overlay = Some(Overlay::Discard);
    config
}

fn steps(plan: &MountPlan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

#[test]
fn one_layer_over_all_of_a_root_in_which_nothing_is_mounted() {
    let plan = plan(&config(), &host().mount("/elsewhere")).unwrap();
    let expected = [
        r#"root "/r" read-only"#,
        r#"overlay on "/", changes in memory"#,
    ];
    assert_eq!(steps(&plan), expected);
}

#[test]
fn mount_points_are_made_in_the_layer_and_not_on_the_host() {
    let mut config = config();
    config.overlay = Some(Overlay::Keep("/changes".into()));
    config.mounts = vec![
        Mount::tmpfs(at("/new/deep")),
        Mount::new(at("/lib/y"), MountKind::Dir { mode: 0o700 }),
        Mount::new(at("/etc/masked"), MountKind::Mask),
    ];
    let plan = plan(&config, &host()).unwrap();
    assert_eq!(
        steps(&plan),
        [
            r#"root "/r" read-only"#,
            r#"overlay on "/", changes in "/changes""#,
            r#"make dir "/new" mode 0755"#,
            r#"make dir "/new/deep" mode 0755"#,
            r#"tmpfs on "/new/deep" mode 1777"#,
            r#"make dir "/var/lib/y" mode 0700"#,
            r#"make file "/etc/masked""#,
            r#"mask file "/etc/masked""#,
        ]
    );
    assert_eq!(plan.created_on_host().count(), 0);
}

#[test]
fn beside_what_is_mounted_each_directory_has_one() {
    // A root by the name of a link, with a mount two levels down, and one on it itself.
    let host = host()
        .symlink("/link", "/r")
        .mount("/r")
        .mount("/r/var/lib/x")
        .dir("/r/var/lib/beside")
        .dir("/r/var/libx");
    let mut config = config();
    config.root = Root::Dir("/link".into());
    let plan = plan(&config, &host).unwrap();
    assert_eq!(
        steps(&plan),
        [
            r#"root "/link" read-only"#,
            r#"overlay on "/etc", changes in memory"#,
            r#"overlay on "/var/lib/beside", changes in memory"#,
            r#"overlay on "/var/libx", changes in memory"#,
        ]
    );
}

#[test]
fn what_is_writable_is_the_roots_own() {
    let mut config = config();
    config.root_access = Some(RootAccess::ReadOnlyExcept(vec![at("/lib")]));
    let plan = plan(&config, &host()).unwrap();
    assert_eq!(
        steps(&plan)[2..],
        [r#"bind dir "/var/lib" of the root on "/var/lib" read-write"#]
    );
}

#[test]
fn sockets_are_shown_by_themselves_if_they_are_named_and_not_closed_otherwise() {
    let host = host().socket("/r/etc/s").socket("/r/var/s");
    let mut config = config();
    config.sockets = vec![at("/etc/s")];
    let plan = plan(&config, &host).unwrap();
    assert_eq!(
        steps(&plan)[2..],
        [r#"bind file "/etc/s" of the root on "/etc/s" read-only"#]
    );
}

#[test]
fn what_cannot_be_had_is_refused() {
    let mut writable = config();
    writable.root_access = Some(RootAccess::ReadWrite);
    assert!(matches!(
        plan(&writable, &host()),
        Err(PlanError::OverlaidWritable)
    ));
    // By another name.
    let host = host().symlink("/r/self", "/");
    writable.root_access = Some(RootAccess::ReadOnlyExcept(vec![at("/self")]));
    assert!(matches!(
        plan(&writable, &host),
        Err(PlanError::OverlaidWritable)
    ));
    let mut missing = config();
    missing.overlay = Some(Overlay::Keep("/missing".into()));
    assert!(matches!(
        plan(&missing, &host),
        Err(PlanError::OverlayDir { .. })
    ));
}
