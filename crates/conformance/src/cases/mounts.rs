//! Mounts, of every kind.

use sandboxlib_config::{Config, Feature, Ids, Isolation, Mount, MountKind, RootAccess};
use sandboxlib_core::End;

use crate::Case;
use crate::case::CASE;
use crate::case::Expect::{Begins, Done, Fails, Holds, Is, Lists, NotAsOnHost, Refused, SameAs};
use crate::case::errno::{EACCES, EINVAL, ENOENT, ENOSPC, EPERM, EROFS};
use crate::fault::What;
use crate::stage::Stage;
use crate::world::World;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_bind_shows_the_host",
        needs: &[Feature::Bind],
        files: &[
            ("root/mnt/hidden", "hidden"),
            ("root/one", "hidden"),
            ("outside/shared/file", "shared"),
            ("outside/one", "one"),
        ],
        config: |config, world| {
            config.mounts = vec![
                Mount::bind(world.on_host("outside/shared"), world.at("mnt")),
                Mount::bind(world.on_host("outside/one"), world.at("one")),
            ];
        },
        asks: &[
            ("list @mnt", Lists("file")),
            ("read @mnt/file", Is("shared")),
            ("write @mnt/new new", Done),
            ("read @one", Is("one")),
            ("write @one two", Done),
            ("unlink @one", Refused),
        ],
        leaves: &[("outside/shared/new", "new"), ("outside/one", "two")],
        ..CASE
    },
    Case {
        name: "a_read_only_bind_cannot_be_changed",
        needs: &[Feature::Bind],
        files: &[("root/mnt/", ""), ("outside/shared/file", "old")],
        config: |config, world| {
            let source = world.on_host("outside/shared");
            config.mounts = vec![Mount::bind_read_only(source, world.at("mnt"))];
        },
        asks: &[
            ("read @mnt/file", Is("old")),
            ("write @mnt/file new", Refused),
            ("mkdir @mnt/new", Refused),
            ("unlink @mnt/file", Refused),
            ("umount @mnt", Fails(&[EPERM, EINVAL])),
            ("reopen @mnt", Refused),
        ],
        ..CASE
    },
    Case {
        name: "a_bind_leaves_no_trace",
        needs: &[Feature::ReadOnly, Feature::Bind],
        files: &[
            ("root/dir/file", "of the root"),
            ("outside/shared/file", "shared"),
        ],
        config: |config, world| {
            config.root_access = Some(RootAccess::ReadOnly);
            let source = world.on_host("outside/shared");
            config.mounts = vec![Mount::bind(source, world.at("dir/new/deep"))];
        },
        asks: &[
            ("read @dir/new/deep/file", Is("shared")),
            ("write @dir/new/deep/made made", Done),
            ("read @dir/file", Is("of the root")),
            ("write @dir/new/made made", Refused),
            ("write @dir/made made", Refused),
        ],
        leaves: &[("outside/shared/made", "made")],
        ..CASE
    },
    Case {
        name: "links_on_the_way_stay_inside",
        needs: &[Feature::Root, Feature::Bind],
        files: &[
            ("root/inner/a/", ""),
            ("root/inner/b/", ""),
            ("outside/shared/file", "shared"),
        ],
        links: &[
            ("root/absolute", "/inner"),
            ("root/climbing", "../../../../../../../../../inner"),
        ],
        config: |config, world| {
            let source = || world.on_host("outside/shared");
            config.mounts = vec![
                Mount::bind(source(), world.at("absolute/a")),
                Mount::bind(source(), world.at("climbing/b")),
            ];
        },
        asks: &[
            ("read @inner/a/file", Is("shared")),
            ("read @inner/b/file", Is("shared")),
        ],
        ..CASE
    },
    Case {
        name: "mounts_apply_in_their_order",
        needs: &[Feature::Bind, Feature::Tmpfs],
        files: &[
            ("root/mnt/hidden", "hidden"),
            ("outside/shared/file", "shared"),
        ],
        config: |config, world| {
            config.mounts = vec![
                Mount::tmpfs(world.at("mnt")),
                Mount::bind(world.on_host("outside/shared"), world.at("mnt/inner")),
            ];
        },
        asks: &[
            ("list @mnt", Lists("inner")),
            ("read @mnt/inner/file", Is("shared")),
        ],
        ..CASE
    },
    Case {
        name: "a_tmpfs_is_empty_and_private",
        needs: &[Feature::Tmpfs],
        files: &[("root/tmp/hidden", "hidden")],
        config: |config, world| config.mounts = vec![Mount::tmpfs(world.at("tmp"))],
        asks: &[
            ("list @tmp", Lists("")),
            ("stat @tmp", Begins("dir 1777 ")),
            ("write @tmp/new new", Done),
            ("read @tmp/new", Is("new")),
        ],
        ..CASE
    },
    Case {
        name: "a_tmpfs_holds_what_it_may",
        needs: &[Feature::Tmpfs],
        files: &[("root/tmp/", "")],
        config: |config, world| {
            let kind = MountKind::Tmpfs {
                size: Some(1 << 20),
                mode: 0o755,
            };
            config.mounts = vec![Mount::new(world.at("tmp"), kind)];
        },
        asks: &[
            ("stat @tmp", Begins("dir 755 ")),
            ("fill @tmp/half 500000", Done),
            ("fill @tmp/more 1000000", Fails(&[ENOSPC])),
        ],
        ..CASE
    },
    Case {
        name: "runs_share_nothing",
        needs: &[Feature::Tmpfs],
        files: &[("root/tmp/", "")],
        config: |config, world| config.mounts = vec![Mount::tmpfs(world.at("tmp"))],
        by_hand: Some(two_runs),
        ..CASE
    },
    Case {
        name: "proc_is_that_of_the_sandbox",
        needs: &[Feature::Proc, Feature::Pid],
        files: &[("root/proc/", "")],
        config: with_proc,
        asks: &[
            ("pid", Done),
            // In the numbers of another namespace it would be another one.
            ("readlink @proc/self", SameAs(0)),
            (
                "readlink @proc/self/ns/pid",
                NotAsOnHost("readlink /proc/self/ns/pid"),
            ),
            (
                "list @proc",
                Holds(
                    "no more processes than a sandbox of one command has",
                    |_, names| {
                        let is_process = |name: &&str| name.parse::<u32>().is_ok();
                        names.split('/').filter(is_process).count() <= 3
                    },
                ),
            ),
        ],
        ..CASE
    },
    Case {
        name: "proc_is_no_lever",
        needs: &[Feature::Proc, Feature::Pid],
        files: &[("root/proc/", "")],
        config: with_proc,
        asks: &[
            ("open @proc/sys/kernel/core_pattern", Fails(MAY_BE_MISSING)),
            ("open @proc/sys/kernel/modprobe", Fails(MAY_BE_MISSING)),
            ("open @proc/sys/vm/drop_caches", Fails(MAY_BE_MISSING)),
            ("open @proc/sysrq-trigger", Fails(MAY_BE_MISSING)),
            ("read @proc/kcore 1", Fails(MAY_BE_MISSING)),
        ],
        ..CASE
    },
    Case {
        name: "devices_are_those_promised",
        needs: &[Feature::Dev],
        files: &[("root/dev/hidden", "hidden")],
        config: with_dev,
        asks: &[
            (
                "list @dev",
                Lists("null zero full random urandom tty pts ptmx shm fd stdin stdout stderr"),
            ),
            ("open @dev/null", Done),
            ("read @dev/null", Is("")),
            ("read @dev/zero 3", Is("\0\0\0")),
            ("read @dev/urandom 4", Done),
            ("read @dev/random 4", Done),
            ("write @dev/full text", Fails(&[ENOSPC])),
            ("stat @dev/tty", Begins("char ")),
            ("readlink @dev/fd", Is("/proc/self/fd")),
            ("readlink @dev/stdin", Is("/proc/self/fd/0")),
            ("readlink @dev/stdout", Is("/proc/self/fd/1")),
            ("readlink @dev/stderr", Is("/proc/self/fd/2")),
            ("pty @dev", Is("0")),
            ("write @dev/shm/new new", Done),
        ],
        ..CASE
    },
    Case {
        name: "devices_cannot_be_replaced",
        needs: &[Feature::Dev],
        files: &[("root/dev/", "")],
        config: with_dev,
        asks: &[
            ("mkdir @dev/new", Refused),
            ("write @dev/new new", Refused),
            ("unlink @dev/null", Refused),
            ("unlink @dev/fd", Refused),
            ("rename @dev/zero @dev/null", Refused),
            ("mknod @dev/more", Refused),
            ("umount @dev/null", Fails(&[EPERM, EINVAL])),
        ],
        ..CASE
    },
    Case {
        name: "a_file_from_data",
        needs: &[Feature::File],
        files: &[("root/etc/hidden", "hidden")],
        config: |config, world| {
            let kind = |mode| MountKind::File {
                data: b"from data"[..].into(),
                mode,
            };
            config.mounts = vec![
                Mount::new(world.at("etc/hidden"), kind(0o644)),
                Mount::new(world.at("etc/new"), kind(0o444)),
            ];
        },
        asks: &[
            ("read @etc/hidden", Is("from data")),
            ("stat @etc/hidden", Begins("file 644 ")),
            ("read @etc/new", Is("from data")),
            ("stat @etc/new", Begins("file 444 ")),
            ("write @etc/hidden new", Refused),
            ("chmod @etc/hidden 0666", Refused),
            ("unlink @etc/hidden", Refused),
        ],
        ..CASE
    },
    Case {
        name: "links_and_directories",
        needs: &[Feature::Entries],
        config: with_entries,
        asks: ENTRIES,
        ..CASE
    },
    Case {
        name: "links_and_directories_leave_no_trace",
        needs: &[Feature::ReadOnly, Feature::Entries],
        config: |config, world| {
            config.root_access = Some(RootAccess::ReadOnly);
            with_entries(config, world);
        },
        asks: ENTRIES,
        ..CASE
    },
    Case {
        name: "a_mask_hides_what_is_there",
        needs: &[Feature::Mask],
        files: SECRETS,
        config: with_masks,
        asks: MASKED,
        ..CASE
    },
    Case {
        name: "a_mask_hides_what_is_not_there_yet",
        needs: &[Feature::ReadOnly, Feature::Mask],
        files: &[("root/dir/", "")],
        config: |config, world| {
            config.root_access = Some(RootAccess::ReadOnly);
            config.mounts = vec![Mount::new(world.at("dir/absent"), MountKind::Mask)];
        },
        asks: &[
            ("open @dir/absent", Fails(&[EACCES])),
            ("read @dir/absent", Fails(&[EACCES])),
            ("unlink @dir/absent", Refused),
        ],
        ..CASE
    },
    Case {
        name: "a_mask_holds_against_root",
        needs: &[Feature::Mask, Feature::Ids],
        files: SECRETS,
        config: |config, world| {
            config.ids = Ids::ROOT;
            with_masks(config, world);
        },
        asks: MASKED,
        ..CASE
    },
];

/// A kernel without it has nothing to protect.
const MAY_BE_MISSING: &[i32] = &[EACCES, EPERM, EROFS, ENOENT];

const ENTRIES: &[(&str, crate::case::Expect)] = &[
    ("readlink @link", Is("some/where")),
    ("stat @made", Begins("dir 750 ")),
    ("list @made", Lists("")),
];

const SECRETS: &[(&str, &str)] = &[("root/secret", "secret"), ("root/vault/key", "secret")];

const MASKED: &[(&str, crate::case::Expect)] = &[
    ("read @secret", Fails(&[EACCES])),
    ("open @secret", Fails(&[EACCES])),
    ("write @secret new", Fails(&[EACCES])),
    ("list @vault", Fails(&[EACCES])),
    ("read @vault/key", Fails(&[EACCES])),
    ("write @vault/new new", Fails(&[EACCES])),
    ("chmod @secret 0666", Refused),
    ("chmod @vault 0777", Refused),
    ("unlink @secret", Refused),
    ("rename @vault @elsewhere", Refused),
    ("umount @secret", Fails(&[EPERM, EINVAL])),
];

fn with_proc(config: &mut Config, world: &World) {
    config.namespaces.pid = Isolation::Isolated;
    config.mounts = vec![Mount::new(world.at("proc"), MountKind::Proc)];
}

fn with_dev(config: &mut Config, world: &World) {
    config.mounts = vec![Mount::new(world.at("dev"), MountKind::Dev)];
}

fn with_entries(config: &mut Config, world: &World) {
    let link = MountKind::Symlink {
        to: "some/where".into(),
    };
    config.mounts = vec![
        Mount::new(world.at("link"), link),
        Mount::new(world.at("made"), MountKind::Dir { mode: 0o750 }),
    ];
}

fn with_masks(config: &mut Config, world: &World) {
    config.mounts = vec![
        Mount::new(world.at("secret"), MountKind::Mask),
        Mount::new(world.at("vault"), MountKind::Mask),
    ];
}

fn two_runs(stage: &Stage<'_>) -> Result<(), What> {
    for _ in 0..2 {
        let done = stage.run(&stage.probe("list @tmp : write @tmp/new new"))?;
        stage.check(
            &[("list @tmp", Lists("")), ("write @tmp/new new", Done)],
            &done,
        )?;
        done.ended(stage, End::Exited(0))?;
    }
    Ok(())
}
