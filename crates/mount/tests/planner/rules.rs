//! The rules, one by one, as the text of the plan.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use sandboxlib_config::{Access, Config, Feature, Mount, MountKind, Root, RootAccess, SandboxPath};
use sandboxlib_mount::{Entry, FsView, HostFs, MemoryFs, MountPlan, PlanError, plan};

use crate::model::Model;

pub(crate) fn at(path: &str) -> SandboxPath {
    SandboxPath::new(path).unwrap()
}

fn config(access: RootAccess, mounts: Vec<Mount>) -> Config {
    let mut config = Config::new(Root::Dir("/r".into()));
    config.root_access = Some(access);
    config.mounts = mounts;
    config
}

fn read_only(mounts: Vec<Mount>) -> Config {
    config(RootAccess::ReadOnly, mounts)
}

fn read_write(mounts: Vec<Mount>) -> Config {
    config(RootAccess::ReadWrite, mounts)
}

fn except(paths: &[&str], mounts: Vec<Mount>) -> Config {
    config(
        RootAccess::ReadOnlyExcept(paths.iter().map(|p| at(p)).collect()),
        mounts,
    )
}

fn bind(target: &str) -> Mount {
    Mount::bind("/s", at(target))
}

fn tmpfs(target: &str) -> Mount {
    Mount::tmpfs(at(target))
}

fn mask(target: &str) -> Mount {
    Mount::new(at(target), MountKind::Mask)
}

fn dir(target: &str) -> Mount {
    Mount::new(at(target), MountKind::Dir { mode: 0o750 })
}

fn file(target: &str) -> Mount {
    Mount::new(
        at(target),
        MountKind::File {
            data: (*b"data").into(),
            mode: 0o600,
        },
    )
}

fn symlink(target: &str, to: &str) -> Mount {
    Mount::new(at(target), MountKind::Symlink { to: to.into() })
}

fn proc() -> Mount {
    Mount::new(at("/proc"), MountKind::Proc)
}

fn dev() -> Mount {
    Mount::new(at("/dev"), MountKind::Dev)
}

/// A root with nothing in it, and a source.
fn host() -> MemoryFs {
    MemoryFs::new().dir("/r").dir("/s").file("/f")
}

/// The plan, which can also be carried out.
fn planned(config: &Config, fs: &MemoryFs) -> MountPlan {
    let plan = plan(config, fs).unwrap();
    if let Err(e) = Model::run(fs, &plan) {
        panic!("{e}");
    }
    plan
}

#[track_caller]
fn assert_plan(config: &Config, fs: &MemoryFs, expected: &[&str]) {
    let text = planned(config, fs).to_string();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[track_caller]
fn assert_error(config: &Config, fs: &MemoryFs, expected: &str) {
    assert_eq!(plan(config, fs).unwrap_err().to_string(), expected);
}

#[test]
fn the_root_is_there_and_a_directory() {
    assert_plan(&read_write(vec![]), &host(), &[r#"root "/r" read-write"#]);
    let linked = MemoryFs::new().dir("/else").symlink("/r", "else");
    assert_plan(&read_only(vec![]), &linked, &[r#"root "/r" read-only"#]);
    assert_plan(
        &Config::new(Root::Host),
        &MemoryFs::new(),
        &[r#"root "/" read-only"#],
    );
    assert_error(
        &read_only(vec![]),
        &MemoryFs::new(),
        r#"the root "/r" does not exist"#,
    );
    let fs = MemoryFs::new().file("/r");
    assert_error(
        &read_only(vec![]),
        &fs,
        r#"the root "/r" is not a directory"#,
    );
}

#[test]
fn writable_paths_are_bound_once_each_from_the_root_itself() {
    let fs = host()
        .dir("/r/a/b")
        .dir("/r/a.b")
        .file("/r/c/f")
        .symlink("/r/l", "/../../c/f");
    assert_plan(
        &except(&["/a/b", "/a.b", "/a", "/l", "/a"], vec![]),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"bind dir "/a" of the root on "/a" read-write"#,
            r#"bind dir "/a.b" of the root on "/a.b" read-write"#,
            r#"bind file "/c/f" of the root on "/c/f" read-write"#,
        ],
    );
    assert_plan(
        &except(&["/a", "/"], vec![]),
        &fs,
        &[r#"root "/r" read-write"#],
    );
    let missing = r#"the writable path "/a/x" does not exist in the root"#;
    assert_error(&except(&["/a/x"], vec![]), &fs, missing);
    assert_error(&except(&["/", "/a/x"], vec![]), &fs, missing);
}

#[test]
fn a_writable_path_is_resolved_inside_the_root() {
    let fs = host()
        .dir("/secret")
        .symlink("/r/out", "/secret")
        .symlink("/r/up", "../../secret");
    for path in ["/out", "/up"] {
        let error = plan(&except(&[path], vec![]), &fs).unwrap_err();
        assert!(
            matches!(error, PlanError::WritableMissing { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_bind_goes_on_what_exists_if_it_is_of_its_kind() {
    let fs = host().dir("/r/d").file("/r/x").symlink("/r/l", "d");
    assert_plan(
        &read_only(vec![bind("/l"), Mount::bind_read_only("/f", at("/x"))]),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"bind dir "/s" on "/d" read-write"#,
            r#"bind file "/f" on "/x" read-only"#,
        ],
    );
    let wrong = r#"the bind at "/x" needs a directory there, but a file exists"#;
    assert_error(&read_only(vec![bind("/x")]), &fs, wrong);
    let wrong = r#"the bind at "/l" needs a file there, but a directory exists"#;
    assert_error(&read_only(vec![Mount::bind("/f", at("/l"))]), &fs, wrong);
    let missing = r#"the source "/nope" of the bind at "/d" does not exist"#;
    assert_error(
        &read_only(vec![Mount::bind("/nope", at("/d"))]),
        &fs,
        missing,
    );
    let way = r#""/x", on the way to "/x/y", is not a directory"#;
    assert_error(&read_only(vec![bind("/x/y")]), &fs, way);
}

#[test]
fn missing_mount_points_are_made_on_a_writable_host() {
    assert_plan(
        &read_write(vec![bind("/a/b"), Mount::bind("/f", at("/a/f"))]),
        &host(),
        &[
            r#"root "/r" read-write"#,
            r#"make dir "/a" mode 0755 on the host"#,
            r#"make dir "/a/b" mode 0755 on the host"#,
            r#"bind dir "/s" on "/a/b" read-write"#,
            r#"make file "/a/f" on the host"#,
            r#"bind file "/f" on "/a/f" read-write"#,
        ],
    );
}

#[test]
fn what_is_made_through_one_bind_is_there_in_another_of_the_same_directory() {
    let fs = host()
        .dir("/r/a")
        .dir("/r/b")
        .dir("/r/c")
        .symlink("/link", "s");
    let other_name = Mount::bind("/link", at("/b"));
    let read_only_again = Mount::bind_read_only("/s", at("/c"));
    assert_plan(
        &read_only(vec![
            read_only_again,
            bind("/a"),
            other_name,
            tmpfs("/a/x"),
            tmpfs("/b/x"),
            tmpfs("/c/x"),
        ]),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"bind dir "/s" on "/c" read-only"#,
            r#"shadow "/c" mode 0755, 0 kept, dir "x" mode 0755"#,
            r#"bind dir "/s" on "/a" read-write"#,
            r#"bind dir "/link" on "/b" read-write"#,
            r#"make dir "/a/x" mode 0755 on the host"#,
            r#"tmpfs on "/a/x" mode 1777"#,
            r#"tmpfs on "/b/x" mode 1777"#,
            r#"tmpfs on "/c/x" mode 1777"#,
        ],
    );
}

#[test]
fn missing_mount_points_are_made_in_private_memory() {
    assert_plan(
        &read_write(vec![
            tmpfs("/t"),
            bind("/t/a/b"),
            Mount::bind("/f", at("/t/a/f")),
        ]),
        &host().dir("/r/t"),
        &[
            r#"root "/r" read-write"#,
            r#"tmpfs on "/t" mode 1777"#,
            r#"make dir "/t/a" mode 0755"#,
            r#"make dir "/t/a/b" mode 0755"#,
            r#"bind dir "/s" on "/t/a/b" read-write"#,
            r#"make file "/t/a/f""#,
            r#"bind file "/f" on "/t/a/f" read-write"#,
        ],
    );
}

#[test]
fn a_shadow_comes_before_every_mount_beneath_it() {
    let fs = host()
        .dir("/r/opt/x")
        .file("/r/opt/f")
        .symlink("/r/opt/l", "x")
        .dir("/r/opt/w");
    assert_plan(
        &except(
            &["/opt/w"],
            vec![bind("/opt/x"), bind("/opt/new/deep"), tmpfs("/opt/new/t")],
        ),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"shadow "/opt" mode 0755, 3 kept, symlink "l" -> "x", dir "new" mode 0755, dir "new/deep" mode 0755, dir "new/t" mode 0755"#,
            r#"bind dir "/opt/w" of the root on "/opt/w" read-write"#,
            r#"bind dir "/s" on "/opt/x" read-write"#,
            r#"bind dir "/s" on "/opt/new/deep" read-write"#,
            r#"tmpfs on "/opt/new/t" mode 1777"#,
        ],
    );
}

#[test]
fn shadows_of_parents_come_first() {
    let fs = host().dir("/r/opt/x");
    assert_plan(
        &read_only(vec![bind("/opt/x/new"), bind("/opt/new"), bind("/new")]),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"shadow "/" mode 0755, 1 kept, dir "new" mode 0755"#,
            r#"shadow "/opt" mode 0755, 1 kept, dir "new" mode 0755"#,
            r#"shadow "/opt/x" mode 0755, 0 kept, dir "new" mode 0755"#,
            r#"bind dir "/s" on "/opt/x/new" read-write"#,
            r#"bind dir "/s" on "/opt/new" read-write"#,
            r#"bind dir "/s" on "/new" read-write"#,
        ],
    );
}

#[test]
fn a_read_only_bind_is_shadowed_directly_after_it() {
    let fs = host().dir("/r/m").dir("/s/have").dir("/r/z");
    assert_plan(
        &read_only(vec![
            Mount::bind_read_only("/s", at("/m")),
            tmpfs("/z"),
            bind("/m/have"),
            tmpfs("/m/new"),
        ]),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"bind dir "/s" on "/m" read-only"#,
            r#"shadow "/m" mode 0755, 1 kept, dir "new" mode 0755"#,
            r#"tmpfs on "/z" mode 1777"#,
            r#"bind dir "/s" on "/m/have" read-write"#,
            r#"tmpfs on "/m/new" mode 1777"#,
        ],
    );
}

#[test]
fn a_dangling_link_leads_to_the_place_of_what_is_missing() {
    let fs = host().symlink("/r/var/run", "/run");
    assert_plan(
        &read_only(vec![bind("/var/run"), dir("/var/run/lock")]),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"shadow "/" mode 0755, 1 kept, dir "run" mode 0755"#,
            r#"bind dir "/s" on "/run" read-write"#,
            r#"make dir "/run/lock" mode 0750 on the host"#,
        ],
    );
    assert_plan(
        &read_write(vec![tmpfs("/var/run/user/1")]),
        &fs,
        &[
            r#"root "/r" read-write"#,
            r#"make dir "/run" mode 0755 on the host"#,
            r#"make dir "/run/user" mode 0755 on the host"#,
            r#"make dir "/run/user/1" mode 0755 on the host"#,
            r#"tmpfs on "/run/user/1" mode 1777"#,
        ],
    );
}

#[test]
fn no_link_leads_out_of_the_root() {
    for text in [
        "/secret",
        "../../../secret",
        "/../secret",
        "x/../../../secret",
    ] {
        let fs = host().dir("/secret").dir("/r/x").symlink("/r/l", text);
        assert_plan(
            &read_only(vec![bind("/l/new")]),
            &fs,
            &[
                r#"root "/r" read-only"#,
                &format!(
                    r#"shadow "/" mode 0755, 1 kept, symlink "l" -> {text:?}, dir "secret" mode 0755, dir "secret/new" mode 0755"#
                ),
                r#"bind dir "/s" on "/secret/new" read-write"#,
            ],
        );
    }
}

#[test]
fn links_in_mounts_are_followed_from_the_root_of_the_sandbox() {
    let fs = host().dir("/r/a").dir("/r/etc").symlink("/s/l", "/etc");
    let plan = planned(&read_only(vec![bind("/a"), tmpfs("/a/l")]), &fs);
    assert_eq!(
        plan.steps.last().unwrap().to_string(),
        r#"tmpfs on "/etc" mode 1777"#
    );
    let through_own_link = read_only(vec![tmpfs("/a"), symlink("/a/k", "../etc"), tmpfs("/a/k")]);
    let plan = planned(&through_own_link, &fs);
    assert_eq!(
        plan.steps.last().unwrap().to_string(),
        r#"tmpfs on "/etc" mode 1777"#
    );
}

#[test]
fn as_many_links_are_followed_as_the_kernel_follows() {
    let chain = |links: usize| {
        (0..links).fold(host().dir("/r/l0"), |fs, i| {
            fs.symlink(format!("/r/l{}", i + 1), format!("l{i}"))
        })
    };
    planned(&read_only(vec![bind("/l40")]), &chain(40));
    let error = r#"too many symbolic links on the way to "/l41""#;
    assert_error(&read_only(vec![bind("/l41")]), &chain(41), error);
    let looping = host().symlink("/r/a", "b").symlink("/r/b", "a");
    let error = r#"too many symbolic links on the way to "/a""#;
    assert_error(&read_only(vec![tmpfs("/a")]), &looping, error);
    assert_error(&except(&["/a"], vec![]), &looping, error);
}

#[test]
fn a_link_that_no_system_call_makes_is_not_followed() {
    for text in ["", "a\0b"] {
        let fs = host().symlink("/r/l", text);
        let error = r#""/l", on the way to "/l", is not a directory"#;
        assert_error(&read_only(vec![tmpfs("/l")]), &fs, error);
    }
}

#[test]
fn dev_is_sealed_when_everything_is_in_it() {
    let config = read_only(vec![
        dev(),
        bind("/dev/shm"),
        tmpfs("/dev/mqueue"),
        dir("/dev/foo"),
        Mount::bind("/f", at("/dev/ptmx")),
    ]);
    let plan = planned(&config, &host().dir("/r/dev"));
    let text = plan.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[lines.len() - 7..],
        [
            r#"tmpfs on "/dev/shm" mode 1777"#,
            r#"bind dir "/s" on "/dev/shm" read-write"#,
            r#"make dir "/dev/mqueue" mode 0755"#,
            r#"tmpfs on "/dev/mqueue" mode 1777"#,
            r#"make dir "/dev/foo" mode 0750"#,
            r#"bind file "/f" on "/dev/pts/ptmx" read-write"#,
            r#"seal "/dev""#,
        ]
    );
    let nothing_in_pts = read_only(vec![dev(), tmpfs("/dev/pts/7")]);
    let error = r#"nothing can be made at "/dev/pts/7": "/dev/pts" is a devpts mount"#;
    assert_error(&nothing_in_pts, &host().dir("/r/dev"), error);
}

#[test]
fn a_covered_dev_is_sealed_before_it_is_out_of_reach() {
    let config = read_only(vec![dev(), tmpfs("/dev").covering(), dir("/dev/x")]);
    let text = planned(&config, &host().dir("/r/dev")).to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[lines.len() - 3..],
        [
            r#"seal "/dev""#,
            r#"tmpfs on "/dev" mode 1777"#,
            r#"make dir "/dev/x" mode 0750"#
        ]
    );
    assert_eq!(text.matches("seal").count(), 1);
}

#[test]
fn a_file_covers_a_file_or_gets_a_place() {
    let fs = host().file("/r/etc/hosts").dir("/r/d");
    assert_plan(
        &read_only(vec![file("/etc/hosts"), file("/etc/new")]),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"shadow "/etc" mode 0755, 1 kept, file "new""#,
            r#"file of 4 bytes on "/etc/hosts" mode 0600"#,
            r#"file of 4 bytes on "/etc/new" mode 0600"#,
        ],
    );
    let wrong = r#"the file at "/d" needs a file there, but a directory exists"#;
    assert_error(&read_only(vec![file("/d")]), &fs, wrong);
    let below = r#"nothing can be made at "/etc/hosts/x": "/etc/hosts" is a file mount"#;
    assert_error(
        &read_only(vec![file("/etc/hosts"), bind("/etc/hosts/x")]),
        &fs,
        below,
    );
}

#[test]
fn a_symlink_is_made_unless_it_is_there() {
    let fs = host()
        .symlink("/r/same", "x")
        .symlink("/r/other", "y")
        .file("/r/f")
        .dir("/r/w");
    let make = vec![
        symlink("/same", "x"),
        symlink("/a/l", "x"),
        symlink("/w/l", "z"),
    ];
    assert_plan(
        &except(&["/w"], make),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"shadow "/" mode 0755, 2 kept, symlink "other" -> "y", symlink "same" -> "x", dir "a" mode 0755, symlink "a/l" -> "x""#,
            r#"bind dir "/w" of the root on "/w" read-write"#,
            r#"make symlink "/w/l" -> "z" on the host"#,
            r#"in place already: "/same""#,
        ],
    );
    for target in ["/other", "/f", "/w", "/"] {
        let error = format!("cannot make the symlink {target:?}: something else exists there");
        assert_error(&read_only(vec![symlink(target, "x")]), &fs, &error);
    }
}

#[test]
fn a_directory_is_made_unless_it_is_there() {
    let fs = host().dir("/r/d").symlink("/r/l", "d").file("/r/f");
    assert_plan(
        &read_only(vec![dir("/l"), dir("/"), dir("/new/deep"), dir("/new")]),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"shadow "/" mode 0755, 2 kept, symlink "l" -> "d", dir "new" mode 0755, dir "new/deep" mode 0750"#,
            r#"in place already: "/l""#,
            r#"in place already: "/""#,
            r#"in place already: "/new""#,
        ],
    );
    let wrong = r#"the dir at "/f" needs a directory there, but a file exists"#;
    assert_error(&read_only(vec![dir("/f")]), &fs, wrong);
}

#[test]
fn what_is_absent_is_masked_where_the_host_stays_as_it_is() {
    let fs = host().dir("/r/d").dir("/r/t").symlink("/r/l", "d");
    assert_plan(
        &read_only(vec![
            mask("/l"),
            mask("/no/such"),
            tmpfs("/t"),
            mask("/t/x"),
        ]),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"shadow "/" mode 0755, 2 kept, symlink "l" -> "d", dir "no" mode 0755, file "no/such""#,
            r#"mask dir "/d""#,
            r#"mask file "/no/such""#,
            r#"tmpfs on "/t" mode 1777"#,
            r#"make file "/t/x""#,
            r#"mask file "/t/x""#,
        ],
    );
    let below = r#"nothing can be made at "/d/x": "/d" is a mask mount"#;
    assert_error(&read_only(vec![mask("/d"), dir("/d/x")]), &fs, below);
}

#[test]
fn no_path_leads_through_a_mask() {
    let fs = host().dir("/r/d").symlink("/r/l", "d/../new");
    let through = r#"nothing can be made at "/l": "/d" is a mask mount"#;
    assert_error(&read_only(vec![mask("/d"), bind("/l")]), &fs, through);
}

#[test]
fn what_is_absent_is_not_masked_by_making_it_on_the_host() {
    let mut config = read_write(vec![mask("/no/such")]);
    let error = plan(&config, &host()).unwrap_err();
    assert!(matches!(error, PlanError::MaskAbsent { .. }), "{error}");
    config.prefer.insert(Feature::Mask);
    assert_plan(
        &config,
        &host(),
        &[
            r#"root "/r" read-write"#,
            r#"not masked, because it does not exist: "/no/such""#,
        ],
    );
}

#[test]
fn no_mount_hides_another_unless_it_is_meant() {
    let fs = host()
        .dir("/r/a/b")
        .dir("/r/w")
        .symlink("/r/l", "a")
        .file("/r/a/f");
    let hides = |mounts: Vec<Mount>| plan(&except(&["/w"], mounts), &fs).unwrap_err().to_string();
    assert_eq!(
        hides(vec![tmpfs("/l/b"), bind("/a")]),
        r#"the bind at "/a" hides the tmpfs at "/l/b""#
    );
    assert_eq!(
        hides(vec![file("/a/f"), mask("/a/f")]),
        r#"the mask at "/a/f" hides the file at "/a/f""#
    );
    assert_eq!(
        hides(vec![dir("/a/b/c"), tmpfs("/a/b")]),
        r#"the tmpfs at "/a/b" hides the dir at "/a/b/c""#
    );
    assert_eq!(
        hides(vec![bind("/w")]),
        r#"the bind at "/w" hides the writable path at "/w""#
    );
    planned(&read_only(vec![bind("/a/b"), dir("/a"), dir("/a/b")]), &fs);
    assert_plan(
        &read_only(vec![bind("/a/b"), tmpfs("/a").covering(), tmpfs("/a/b")]),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"bind dir "/s" on "/a/b" read-write"#,
            r#"tmpfs on "/a" mode 1777"#,
            r#"make dir "/a/b" mode 0755"#,
            r#"tmpfs on "/a/b" mode 1777"#,
        ],
    );
}

#[test]
fn a_directory_made_on_purpose_may_be_mounted_on() {
    let fs = host().symlink("/r/l", "new").dir("/r/w");
    for mount in [bind("/new"), bind("/l")] {
        assert_plan(
            &read_only(vec![dir("/new"), mount]),
            &fs,
            &[
                r#"root "/r" read-only"#,
                r#"shadow "/" mode 0755, 1 kept, symlink "l" -> "new", dir "new" mode 0750"#,
                r#"bind dir "/s" on "/new" read-write"#,
            ],
        );
    }
    for mount in [tmpfs("/new"), mask("/new")] {
        planned(&read_only(vec![dir("/new"), mount]), &fs);
    }
    let hides = |mounts: Vec<Mount>| plan(&except(&["/w"], mounts), &fs).unwrap_err().to_string();
    assert_eq!(
        hides(vec![dir("/new"), dir("/new/deep"), tmpfs("/new")]),
        r#"the tmpfs at "/new" hides the dir at "/new/deep""#
    );
    assert_eq!(
        hides(vec![dir("/new"), tmpfs("/new"), bind("/new")]),
        r#"the bind at "/new" hides the tmpfs at "/new""#
    );
    assert_eq!(
        hides(vec![tmpfs("/new"), dir("/new"), bind("/new")]),
        r#"the bind at "/new" hides the tmpfs at "/new""#
    );
    assert_eq!(
        hides(vec![dir("/w"), bind("/w")]),
        r#"the bind at "/w" hides the writable path at "/w""#
    );
}

#[test]
fn nothing_is_mounted_on_the_root() {
    let fs = host().symlink("/r/l", "..");
    for target in ["/", "/l"] {
        for mount in [
            bind(target),
            tmpfs(target),
            mask(target),
            tmpfs(target).covering(),
        ] {
            let error = format!(r#"nothing can be made at {target:?}: "/" is a root mount"#);
            assert_error(&read_write(vec![mount]), &fs, &error);
        }
    }
}

#[test]
fn procfs_holds_what_the_hosts_holds() {
    let fs = host()
        .dir("/r/proc")
        .file("/proc/kcore")
        .dir("/proc/sys/kernel")
        .symlink("/proc/self", "17")
        .dir("/proc/17");
    assert_plan(
        &read_only(vec![proc(), mask("/proc/kcore"), bind("/proc/sys/kernel")]),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"proc on "/proc""#,
            r#"mask file "/proc/kcore""#,
            r#"bind dir "/s" on "/proc/sys/kernel" read-write"#,
        ],
    );
    for target in ["/proc/new", "/proc/sys/new", "/proc/self", "/proc/self/fd"] {
        let error = plan(&read_only(vec![proc(), tmpfs(target)]), &fs)
            .unwrap_err()
            .to_string();
        assert!(error.ends_with(r#""/proc" is a proc mount"#), "{error}");
    }
}

#[test]
fn names_are_bytes() {
    let name = OsStr::from_bytes(b"\xff\xfe");
    let fs = host()
        .dir(Path::new("/r/d").join(name))
        .symlink("/r/l", Path::new("d").join(name));
    let target = at("/l").join(OsStr::from_bytes(b"\x80new")).unwrap();
    assert_plan(
        &read_only(vec![Mount::bind("/s", target)]),
        &fs,
        &[
            r#"root "/r" read-only"#,
            r#"shadow "/d/\xFF\xFE" mode 0755, 0 kept, dir "\x80new" mode 0755"#,
            r#"bind dir "/s" on "/d/\xFF\xFE/\x80new" read-write"#,
        ],
    );
}

#[test]
fn a_kernel_would_find_the_same_on_this_host() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    std::fs::create_dir_all(root.join("usr/lib")).unwrap();
    std::os::unix::fs::symlink("usr/lib", root.join("lib")).unwrap();
    let mut config = Config::new(Root::Dir(root.clone()));
    config.root_access = Some(RootAccess::ReadOnly);
    config
        .mounts
        .push(Mount::bind_read_only(&root, at("/lib/new")));
    let plan = plan(&config, &HostFs).unwrap();
    let lines: Vec<_> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines[1],
        r#"shadow "/usr/lib" mode 0755, 0 kept, dir "new" mode 0755"#
    );
    assert_eq!(
        lines[2],
        format!(r#"bind dir {root:?} on "/usr/lib/new" read-only"#)
    );
}

/// A view that fails, or tells of names that are none.
struct Hostile {
    name: &'static str,
}

impl FsView for Hostile {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        if path.ends_with("forbidden") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        host().entry(path)
    }

    fn entry_following(&self, path: &Path) -> io::Result<Option<Entry>> {
        host().entry_following(path)
    }

    fn list(&self, _: &Path) -> io::Result<Vec<(std::ffi::OsString, Entry)>> {
        let entry = host().entry("/s".as_ref())?.unwrap();
        Ok(vec![(self.name.into(), entry)])
    }
}

#[test]
fn what_the_view_says_is_not_taken_on_trust() {
    for name in ["", ".", "..", "a/b", "/", "x\0"] {
        let error = plan(&read_only(vec![tmpfs("/new")]), &Hostile { name }).unwrap_err();
        assert!(matches!(error, PlanError::Io { .. }), "{name:?}: {error}");
    }
    let error = plan(
        &read_only(vec![tmpfs("/forbidden")]),
        &Hostile { name: "x" },
    )
    .unwrap_err();
    assert_eq!(error.to_string(), r#"cannot look at "/r/forbidden""#);
}

#[test]
fn access_of_a_bind_is_what_was_said() {
    let mount = |access| {
        Mount::new(
            at("/m"),
            MountKind::Bind {
                source: "/s".into(),
                access,
            },
        )
    };
    for (access, word) in [
        (Access::ReadOnly, "read-only"),
        (Access::ReadWrite, "read-write"),
    ] {
        let plan = planned(&read_only(vec![mount(access)]), &host().dir("/r/m"));
        let line = plan.steps.last().unwrap().to_string();
        assert_eq!(line, format!(r#"bind dir "/s" on "/m" {word}"#));
    }
}
