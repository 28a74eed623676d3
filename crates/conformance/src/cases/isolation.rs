//! Namespaces and ids.

use std::io::{PipeReader, Read as _};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sandboxlib_config::{
    Config, Errno, Feature, Ids, Isolation, Mount, MountKind, Network, RootAccess, Seccomp,
    SeccompAction, SeccompComparison, SeccompOperator, SeccompOtherwise, SeccompRule, SeccompRules,
    UserNamespace,
};
use sandboxlib_core::End;
use sandboxlib_spawn::{Child, Run};

use crate::Case;
use crate::case::CASE;
use crate::case::Expect::{self, Begins, Done, Fails, Holds, Is, NotAsOnHost};
use crate::case::errno::{EACCES, ECONNREFUSED, ENOENT, ENOSPC, EPERM, ESRCH};
use crate::fault::What;
use crate::stage::Stage;
use crate::world::World;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the_network_is_its_own",
        needs: &[Feature::Network],
        config: |config, _| config.network = Network::Isolated,
        asks: &[
            ("interfaces", Is("lo")),
            ("connect {port}", Fails(&[ECONNREFUSED])),
            ("loopback", Is("connected")),
        ],
        ..CASE
    },
    Case {
        name: "sockets_without_a_file_are_out_of_reach",
        needs: &[Feature::Network],
        config: |config, _| config.network = Network::Isolated,
        by_hand: Some(abstract_socket),
        ..CASE
    },
    Case {
        name: "sockets_below_a_read_only_bind_are_out_of_reach",
        needs: &[Feature::ReadOnly, Feature::Bind],
        files: &[("root/mnt/", "")],
        sockets: &[
            "root/socket",
            "outside/shared/socket",
            "outside/shared/sub/socket",
        ],
        config: |config, world| {
            read_only_shared(config, world);
            config.sockets.clear();
        },
        by_hand: Some(closed_sockets),
        ..CASE
    },
    Case {
        name: "sockets_that_are_allowed_can_be_connected_to",
        needs: &[Feature::ReadOnly, Feature::Bind],
        files: &[("root/mnt/", ""), ("root/one", "")],
        sockets: &[
            "root/socket",
            "outside/shared/socket",
            "outside/shared/other",
            "outside/shared/sub/socket",
        ],
        config: |config, world| {
            read_only_shared(config, world);
            let other = world.on_host("outside/shared/other");
            config
                .mounts
                .push(Mount::bind_read_only(other, world.at("one")));
            config.sockets = ["socket", "mnt/socket", "mnt/sub"]
                .map(|path| world.at(path))
                .into();
        },
        asks: &[
            ("connect-path @socket", Done),
            ("connect-path @mnt/socket", Done),
            ("connect-path @mnt/sub/socket", Done),
            // By its own name.
            ("connect-path @one", Done),
            ("connect-path @mnt/other", Fails(&[ECONNREFUSED, EACCES])),
        ],
        ..CASE
    },
    Case {
        name: "sockets_below_a_writable_bind_can_be_connected_to",
        needs: &[Feature::ReadOnly, Feature::Bind],
        files: &[("root/mnt/", "")],
        sockets: &["outside/shared/socket"],
        config: |config, world| {
            config.root_access = Some(RootAccess::ReadOnly);
            let source = world.on_host("outside/shared");
            config.mounts = vec![Mount::bind(source, world.at("mnt"))];
            config.sockets.clear();
        },
        asks: &[
            ("connect-path @mnt/socket", Done),
            ("listen-path @mnt/own", Done),
            ("connect-path @mnt/own", Done),
            ("unlink @mnt/own", Done),
        ],
        ..CASE
    },
    Case {
        name: "other_processes_are_out_of_reach",
        needs: &[Feature::Pid],
        config: |config, _| config.namespaces.pid = Isolation::Isolated,
        asks: &[
            ("kill {pid} 0", Fails(&[ESRCH])),
            (
                "parent",
                Holds("the first process, or none that it sees", |_, pid| {
                    pid.len() == 1
                }),
            ),
        ],
        ..CASE
    },
    Case {
        name: "nothing_outlives_the_run",
        needs: &[Feature::Pid],
        config: |config, _| config.namespaces.pid = Isolation::Isolated,
        by_hand: Some(|stage| {
            let (run, reader) = with_pipe(stage, "linger 20 : pid")?;
            let child = stage.start(&run)?;
            // Ours of its writing end.
            drop(run);
            let done = stage.finish(child)?;
            closed(reader)?;
            done.ended(stage, End::Exited(0))
        }),
        ..CASE
    },
    Case {
        name: "a_child_that_is_dropped_is_dead",
        needs: &[Feature::Pid],
        config: |config, _| config.namespaces.pid = Isolation::Isolated,
        by_hand: Some(|stage| {
            dropped(stage, false)?;
            // What is ours outside of the helper, and ends with it, is the helper's matter.
            if stage.helper {
                return Ok(());
            }
            dropped(stage, true)
        }),
        ..CASE
    },
    Case {
        name: "ipc_is_its_own",
        needs: &[Feature::Ipc],
        config: |config, _| config.namespaces.ipc = Isolation::Isolated,
        before: &["shm make {key}", "mq make sandboxlib-{key}"],
        asks: &[
            ("shm find {key}", Fails(&[ENOENT])),
            ("mq find sandboxlib-{key}", Fails(&[ENOENT])),
        ],
        after: &["shm remove {key}", "mq remove sandboxlib-{key}"],
        ..CASE
    },
    Case {
        name: "a_host_name_of_its_own",
        needs: &[Feature::Uts],
        config: |config, _| {
            config.namespaces.uts = Isolation::Isolated;
            config.hostname = Some("conformance-box".into());
        },
        asks: &[("hostname", Is("conformance-box"))],
        ..CASE
    },
    Case {
        name: "a_cgroup_view_of_its_own",
        needs: &[Feature::Cgroup, Feature::Proc, Feature::Pid],
        files: &[("root/proc/", "")],
        config: |config, world| {
            config.namespaces.cgroup = Isolation::Isolated;
            with_proc(config, world);
        },
        asks: &[(
            "readlink @proc/self/ns/cgroup",
            NotAsOnHost("readlink /proc/self/ns/cgroup"),
        )],
        ..CASE
    },
    Case {
        name: "clocks_of_its_own",
        needs: &[Feature::Time, Feature::Proc, Feature::Pid],
        files: &[("root/proc/", "")],
        config: |config, world| {
            config.namespaces.time = Isolation::Isolated;
            with_proc(config, world);
        },
        asks: &[(
            "readlink @proc/self/ns/time",
            NotAsOnHost("readlink /proc/self/ns/time"),
        )],
        ..CASE
    },
    Case {
        name: "a_user_namespace_of_its_own",
        needs: &[Feature::User, Feature::Proc, Feature::Pid],
        files: &[("root/proc/", "")],
        config: |config, world| {
            config.namespaces.user = UserNamespace::Isolated;
            with_proc(config, world);
        },
        asks: &[(
            "readlink @proc/self/ns/user",
            NotAsOnHost("readlink /proc/self/ns/user"),
        )],
        ..CASE
    },
    Case {
        name: "ids_as_asked_for",
        needs: &[Feature::Ids],
        config: |config, _| {
            config.ids = Ids::Pair {
                uid: 1234,
                gid: 2345,
            }
        },
        unfit: |facts| facts.ids_reason(1234, 2345).is_some(),
        asks: &[
            ("ids", Begins("1234 1234 1234 2345 2345 2345")),
            (
                "ids",
                Holds("no group of the caller's", |_, ids| {
                    // 65534 stands for an id that has no name inside.
                    let mut groups = ids.split(' ').skip(6);
                    groups.all(|group| ["2345", "65534"].contains(&group))
                }),
            ),
            ("capabilities", Is("0")),
        ],
        ..CASE
    },
    Case {
        name: "root_inside",
        needs: &[Feature::Ids],
        files: &[("root/file", "old")],
        config: |config, _| config.ids = Ids::ROOT,
        asks: &[
            ("ids", Begins("0 0 0 0 0 0")),
            ("stat @file", Begins("file 644 0 0")),
            ("mknod @null", Fails(&[EPERM, EACCES])),
        ],
        ..CASE
    },
    Case {
        name: "a_range_of_ids",
        needs: &[Feature::Subordinate],
        files: &[("root/file", "old")],
        config: |config, _| config.ids = Ids::SUBORDINATE,
        asks: &[
            ("ids", Begins("0 0 0 0 0 0")),
            ("chown @file 5 6", Done),
            ("stat @file", Is("file 644 5 6")),
            ("chown @file 1000 1000", Done),
            ("chown @file 0 0", Done),
        ],
        ..CASE
    },
    Case {
        name: "system_calls_are_filtered",
        needs: &[Feature::Seccomp],
        config: |config, _| config.seccomp = odd_filter(),
        asks: &[
            // Calls that no system refuses, and errors that they never have.
            ("parent", Fails(&[77])),
            ("session", Fails(&[78])),
            ("pid", Done),
        ],
        ..CASE
    },
    Case {
        name: "no_further_user_namespaces",
        needs: &[Feature::Nested],
        config: |config, _| config.allow_nested = false,
        asks: &[
            // CLONE_NEWUSER.
            ("unshare 268435456", Fails(&[EPERM, ENOSPC])),
            // CLONE_FILES, which makes none.
            ("unshare 1024", Done),
        ],
        ..CASE
    },
];

/// getppid fails, and getsid where it is about the caller.
fn odd_filter() -> Seccomp {
    let rule = |call: &str, errno| {
        let errno = Errno::new(errno).unwrap_or(Errno::EPERM);
        SeccompRule::new([call], SeccompAction::Errno(errno)).ok()
    };
    let own = SeccompComparison::new(0, SeccompOperator::Eq, 0).ok();
    let own = rule("getsid", 78).zip(own);
    let rules = [
        rule("getppid", 77),
        own.and_then(|(rule, own)| rule.when(own).ok()),
    ];
    Seccomp::Rules(SeccompRules {
        rules: rules.into_iter().flatten().collect(),
        otherwise: SeccompOtherwise::Action(SeccompAction::Allow),
    })
}

fn with_proc(config: &mut Config, world: &World) {
    config.namespaces.pid = Isolation::Isolated;
    config.mounts = vec![Mount::new(world.at("proc"), MountKind::Proc)];
}

/// A local socket with a name that is in no file system, held open on the host.
fn abstract_socket(stage: &Stage<'_>) -> Result<(), What> {
    let _listener = stage
        .world
        .start_on_host("listen-abstract sandboxlib-{key} : sleep 25")?;
    let asks = [(
        "connect-abstract sandboxlib-{key}",
        Fails(&[ECONNREFUSED, EPERM, EACCES]),
    )];
    let question = asks[0].0;
    // Without anybody who listens, it would be out of reach for everybody.
    if !matches!(
        stage.world.ask_host(question),
        Some(crate::answer::Answer::Ok(_))
    ) {
        return Err(What::Other(
            "the suite's own socket cannot be reached".to_owned(),
        ));
    }
    let done = stage.run(&stage.probe(question))?;
    stage.check(&asks, &done)?;
    done.ended(stage, End::Exited(0))
}

fn read_only_shared(config: &mut Config, world: &World) {
    config.root_access = Some(RootAccess::ReadOnly);
    let source = world.on_host("outside/shared");
    config.mounts = vec![Mount::bind_read_only(source, world.at("mnt"))];
}

/// Those that were there when the sandbox was prepared, and where that is claimed one that was
/// made since.
fn closed_sockets(stage: &Stage<'_>) -> Result<(), What> {
    const CLOSED: Expect = Fails(&[ECONNREFUSED, EACCES]);
    let mut asks = vec![
        ("connect-path @socket", CLOSED),
        ("connect-path @mnt/socket", CLOSED),
        ("connect-path @mnt/sub/socket", CLOSED),
    ];
    for on_host in ["{root}/socket", "{outside}/shared/sub/socket"] {
        let question = format!("connect-path {on_host}");
        if !matches!(
            stage.world.ask_host(&question),
            Some(crate::answer::Answer::Ok(_))
        ) {
            return Err(What::Other(format!(
                "the suite's own socket {on_host} cannot be reached"
            )));
        }
    }
    let late = stage.world.listen("outside/shared/late")?;
    if stage.sockets_are_walled {
        asks.push(("connect-path @mnt/late", CLOSED));
    }
    let questions: Vec<&str> = asks.iter().map(|(question, _)| *question).collect();
    let done = stage.run(&stage.probe(&questions.join(" : ")));
    drop(late);
    std::fs::remove_file(stage.world.on_host("outside/shared/late"))?;
    let done = done?;
    stage.check(&asks, &done)?;
    done.ended(stage, End::Exited(0))
}

/// A child that is dropped, and, if it is `orphaned`, has lost its first process before, so that
/// nobody but the kernel can find what it has left behind.
fn dropped(stage: &Stage<'_>, orphaned: bool) -> Result<(), What> {
    let (run, reader) = with_pipe(stage, "linger 20 : sleep 20")?;
    let mut child: Child = stage.start(&run)?;
    drop(run);
    // It has left its process behind once it has answered.
    let mut byte = [0];
    if let Some(output) = &mut child.stdout {
        output.read_exact(&mut byte)?;
    }
    if orphaned {
        let _ = stage.world.ask_host(&format!("kill {} 9", child.id()));
    }
    drop(child);
    closed(reader)
}

/// A run that holds the writing end of a pipe, as descriptor 5.
fn with_pipe(stage: &Stage<'_>, questions: &str) -> Result<(Run, PipeReader), What> {
    let (reader, writer) = std::io::pipe()?;
    let mut run = stage.probe(questions);
    run.fds.push((OwnedFd::from(writer), 5));
    Ok((run, reader))
}

/// Whether nobody holds the writing end. Whoever does is one that was left behind, and ends by
/// itself after a while, in which nobody waits for it.
fn closed(mut reader: PipeReader) -> Result<(), What> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(reader.read_to_end(&mut Vec::new())));
    match told.recv_timeout(Duration::from_secs(3)) {
        Ok(end) => end.map(drop).map_err(What::Suite),
        Err(_) => Err(What::Other("a process of the sandbox lived on".to_owned())),
    }
}
