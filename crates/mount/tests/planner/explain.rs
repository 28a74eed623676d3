use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use sandboxlib_config::{Access, Config, Feature, Mount, MountKind, Root, RootAccess};
use sandboxlib_mount::{MemoryFs, plan};

use crate::rules::at;

#[test]
fn every_step_is_one_line() {
    let fs = MemoryFs::new()
        .dir("/srv/root/usr/lib")
        .file("/srv/root/init")
        .dir("/srv/root/tmp")
        .dir("/srv/root/var/tmp")
        .symlink("/srv/root/lib", "usr/lib")
        .file("/src/hello")
        .file("/srv/root/etc/shadow");
    let mut config = Config::new(Root::Dir("/srv/root".into()));
    config.root_access = Some(RootAccess::ReadOnlyExcept(vec![at("/var/tmp")]));
    config.prefer.insert(Feature::Mask);
    config.mounts = vec![
        Mount::bind("/src", at("/build/src")),
        Mount::bind_read_only("/src/hello", at("/build/hello")),
        Mount::new(
            at("/tmp"),
            MountKind::Tmpfs {
                size: Some(4096),
                mode: 0o1777,
            },
        ),
        Mount::new(at("/tmp/d"), MountKind::Dir { mode: 0o700 }),
        Mount::new(at("/usr"), MountKind::Dir { mode: 0o755 }),
        Mount::new(at("/proc"), MountKind::Proc),
        Mount::new(at("/dev"), MountKind::Dev),
        Mount::new(at("/etc/shadow"), MountKind::Mask),
        Mount::new(at("/var/tmp/secret"), MountKind::Mask),
        Mount::new(
            at("/var/tmp/hosts"),
            MountKind::File {
                data: (*b"::1").into(),
                mode: 0o644,
            },
        ),
        Mount::new(
            at("/lib64"),
            MountKind::Symlink {
                to: "usr/lib".into(),
            },
        ),
    ];
    let text = plan(&config, &fs).unwrap().to_string();
    assert_eq!(text, include_str!("explain.txt"), "\n{text}");
}

#[test]
fn no_name_passes_for_another_line_or_a_quote() {
    let name = OsStr::from_bytes(b"x\nroot \"/\" \x1b[2J\xff");
    let fs = MemoryFs::new()
        .dir("/r")
        .dir(std::path::Path::new("/s").join(name));
    let mut config = Config::new(Root::Dir("/r".into()));
    config.mounts.push(Mount::new(
        at("/m").join(name).unwrap(),
        MountKind::Bind {
            source: std::path::Path::new("/s").join(name),
            access: Access::ReadOnly,
        },
    ));
    let plan = plan(&config, &fs).unwrap();
    for step in &plan.steps {
        let text = step.to_string();
        assert!(!text.contains(['\n', '\x1b']), "{text:?}");
    }
    let last = plan.steps.last().unwrap().to_string();
    let escaped = r#"x\nroot \"/\" \u{1b}[2J\xFF"#;
    assert_eq!(
        last,
        format!(r#"bind dir "/s/{escaped}" on "/m/{escaped}" read-only"#)
    );
}
