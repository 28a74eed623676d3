//! The root, and what may be changed in it.

use sandboxlib_config::{
    Config, Feature, HiddenBy, HiddenPlace, Overlay, Root, RootAccess, SandboxPath,
};

use crate::Case;
use crate::case::CASE;
use crate::case::Expect::{Done, Fails, Holds, Is, Lists, Refused};
use crate::case::errno::{EACCES, EINVAL, ENOENT, EPERM, EROFS};

/// chown, dac_override, fowner, fsetid, kill, setgid, setuid: what root's file operations take.
const FILES: u64 = 0b1111_1011;

fn discarding() -> Config {
    let mut config = Config::new(Root::Host);
    config.overlay = Some(Overlay::Discard);
    config
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the_root_is_the_directory_given",
        needs: &[Feature::Root],
        files: &[("root/dir/file", "of the root")],
        asks: &[
            ("list @", Lists("probe dir")),
            ("read @dir/file", Is("of the root")),
            ("stat {outside}", Fails(&[ENOENT])),
        ],
        ..CASE
    },
    Case {
        name: "the_root_cannot_be_left",
        needs: &[Feature::Root],
        files: &[("root/dir/", ""), ("root/below/", "")],
        asks: &[("escape {outside}/canary", Is(""))],
        ..CASE
    },
    Case {
        name: "a_writable_root_can_be_written",
        needs: &[Feature::Root],
        files: &[("root/old", "old"), ("root/gone", "gone")],
        asks: &[
            ("write @old new", Done),
            ("write @made made", Done),
            ("rename @made @moved", Done),
            ("unlink @gone", Done),
        ],
        leaves: &[
            ("root/old", "new"),
            ("root/moved", "made"),
            ("root/gone", ""),
        ],
        ..CASE
    },
    Case {
        name: "what_an_overlay_takes_leaves_the_root_alone",
        needs: &[Feature::Root, Feature::Overlay],
        files: &[("root/old", "old"), ("root/gone", "gone")],
        config: |config, _| {
            config.root_access = None;
            config.overlay = Some(Overlay::Discard);
        },
        // Older kernels keep no attributes in memory, and take a directory of the host.
        unfit: |facts| facts.overlay_kind_reason(&discarding()).is_some(),
        asks: &[
            ("read @old", Is("old")),
            ("write @old new", Done),
            ("read @old", Is("new")),
            ("write @made made", Done),
            ("rename @made @moved", Done),
            ("unlink @gone", Done),
            ("stat @gone", Fails(&[ENOENT])),
        ],
        ..CASE
    },
    Case {
        name: "the_command_gains_nothing",
        needs: &[Feature::Root],
        files: &[("root/dir/", "")],
        asks: &[
            ("no-new-privs", Is("1")),
            (
                "capabilities",
                Holds("none but those of root's file operations", |world, bits| {
                    let allowed = if world.value("{uid}") == "0" {
                        FILES
                    } else {
                        0
                    };
                    u64::from_str_radix(bits, 16).is_ok_and(|bits| bits & !allowed == 0)
                }),
            ),
            ("mknod @dir/null", Refused),
            ("umount @", Fails(&[EPERM, EINVAL])),
        ],
        ..CASE
    },
    Case {
        name: "the_hosts_root_can_be_read_only",
        needs: &[Feature::ReadOnly],
        files: &[("outside/file", "old")],
        config: |config, _| {
            config.root = Root::Host;
            config.root_access = Some(RootAccess::ReadOnly);
        },
        asks: &[
            ("read {outside}/file", Is("old")),
            ("write {outside}/file new", Refused),
            ("mkdir {outside}/new", Refused),
            // A mount of its own, on most hosts.
            (
                "write /dev/shm/sandboxlib-{key} new",
                Fails(&[EROFS, EACCES, EPERM, ENOENT]),
            ),
        ],
        // A backend that is broken has made it.
        after: &["unlink /dev/shm/sandboxlib-{key}"],
        ..CASE
    },
    Case {
        name: "private_places_of_the_hosts_root_are_hidden",
        needs: &[Feature::HostSecrets],
        files: &[
            ("outside/private/secret", "secret"),
            ("outside/private/shown/file", "shown"),
        ],
        config: |config, world| {
            config.root = Root::Host;
            let path = |path| SandboxPath::new(world.on_host(path));
            config.hidden = Some(Vec::new());
            if let (Ok(private), Ok(shown)) =
                (path("outside/private"), path("outside/private/shown"))
            {
                let by = HiddenBy::Empty { mode: 0o755 };
                config.hidden = Some(vec![HiddenPlace::new(private, by)]);
                config.readable = vec![shown];
            }
        },
        asks: &[
            ("read {outside}/private/secret", Fails(&[ENOENT])),
            ("read {outside}/private/shown/file", Is("shown")),
            ("write {outside}/private/shown/file new", Refused),
            ("umount {outside}/private", Fails(&[EPERM, EINVAL])),
        ],
        ..CASE
    },
    Case {
        name: "a_read_only_root_cannot_be_changed",
        needs: &[Feature::ReadOnly],
        files: &[("root/file", "old"), ("root/dir/file", "old")],
        config: |config, _| config.root_access = Some(RootAccess::ReadOnly),
        asks: &[
            ("read @file", Is("old")),
            ("write @file new", Refused),
            ("write @dir/file new", Refused),
            ("write @new new", Refused),
            ("mkdir @new", Refused),
            ("unlink @file", Refused),
            ("rename @file @moved", Refused),
            ("chmod @file 0600", Refused),
            ("chown @file {uid} {gid}", Refused),
        ],
        ..CASE
    },
    Case {
        name: "a_read_only_root_stays_so",
        needs: &[Feature::ReadOnly],
        config: |config, _| config.root_access = Some(RootAccess::ReadOnly),
        asks: &[("reopen @", Refused)],
        ..CASE
    },
    Case {
        name: "a_read_only_root_but_for_a_list",
        needs: &[Feature::ReadOnly],
        files: &[
            ("root/build/", ""),
            ("root/var/cache/", ""),
            ("root/var/log/old", "old"),
        ],
        links: &[("root/build/up", "../var/log")],
        config: |config, world| {
            let list = vec![world.at("build"), world.at("var/cache")];
            config.root_access = Some(RootAccess::ReadOnlyExcept(list));
        },
        asks: &[
            ("write @build/new new", Done),
            ("write @var/cache/new new", Done),
            ("write @new new", Refused),
            ("write @var/new new", Refused),
            ("write @var/log/old new", Refused),
            ("write @build/up/old new", Refused),
            ("write @build/../new new", Refused),
        ],
        leaves: &[("root/build/new", "new"), ("root/var/cache/new", "new")],
        ..CASE
    },
];
