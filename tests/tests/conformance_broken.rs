//! The conformance suite, tested: backends that are broken in one way each, and the case that has
//! to notice. A case that notices nothing is no test.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::ptr_arg,
    reason = "a surprise ends the test"
)]

use std::collections::BTreeSet;

use sandboxlib::core::{
    Backend, CapSet, EffectiveConfig, HelperArg, HelperCall, HostFacts, Launch, NamespaceSet,
    PrepareError, ProcessLimits, Reason, Started, Step, Support, TreeLimits,
};
use sandboxlib::mount::{BindSource, MountPlan, Node, PlanStep, ShadowEntry};
use sandboxlib::userns::Userns;
use sandboxlib::{Access, Feature, SandboxPath, Seccomp};
use sandboxlib_conformance::{Case, Verdict, cases, run};
use sandboxlib_tests::{host_can, skip};

/// What is done to a script. Only what makes it weaker or different inside: a script that is wrong
/// in any way could as root do harm to this machine.
type Damage = fn(&mut Vec<Step>);

/// The backend that works, with something wrong.
#[derive(Debug)]
struct Broken(Damage);

impl Backend for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }
    fn support(&self, facts: &HostFacts) -> Support {
        Userns.support(facts)
    }
    fn prepare(
        &self,
        config: &EffectiveConfig,
        plan: MountPlan,
        facts: &HostFacts,
    ) -> Result<Launch, PrepareError> {
        let mut launch = Userns.prepare(config, plan, facts)?;
        if let Launch::Direct(script) = &mut launch {
            // The second wall would hold what the first lets through.
            without(&mut script.steps, |step| matches!(step, Step::Landlock(_)));
            (self.0)(&mut script.steps);
        }
        Ok(launch)
    }
}

/// A backend that isolates nothing, and starts commands by env(1) with these arguments. `CWD`
/// stands for the working directory.
#[derive(Debug)]
struct Env(&'static [&'static str], Started);

impl Backend for Env {
    fn name(&self) -> &'static str {
        "env"
    }
    fn support(&self, _: &HostFacts) -> Support {
        Support::nothing(Reason::new("env(1) isolates nothing"))
    }
    fn prepare(
        &self,
        _: &EffectiveConfig,
        _: MountPlan,
        _: &HostFacts,
    ) -> Result<Launch, PrepareError> {
        let arg = |arg: &&str| match *arg {
            "CWD" => HelperArg::Cwd,
            text => text.into(),
        };
        let mut call = HelperCall::new("/usr/bin/env", self.1);
        call.args(self.0.iter().map(arg));
        Ok(Launch::Helper(call))
    }
}

/// What breaks nothing.
const SOUND: Env = Env(&["--chdir", "CWD"], Started::Unknown);

/// A backend that claims everything and refuses it afterwards.
#[derive(Debug)]
struct Boaster;

impl Backend for Boaster {
    fn name(&self) -> &'static str {
        "boaster"
    }
    fn support(&self, _: &HostFacts) -> Support {
        Support::nothing(Reason::new("never")).with(Feature::ALL.iter().copied())
    }
    fn prepare(
        &self,
        _: &EffectiveConfig,
        _: MountPlan,
        _: &HostFacts,
    ) -> Result<Launch, PrepareError> {
        Err(Reason::new("not really").into())
    }
}

fn case(name: &str) -> &'static Case {
    cases().find(|case| case.name == name).expect(name)
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn namespaces(steps: &mut [Step], change: impl Fn(&mut NamespaceSet)) {
    for step in steps {
        if let Step::Namespaces(set) = step {
            change(set);
        }
    }
}

fn plan(steps: &mut [Step], mut change: impl FnMut(&mut PlanStep)) {
    for step in steps {
        if let Step::Mount(step) = step {
            change(step);
        }
    }
}

fn without(steps: &mut Vec<Step>, is: impl Fn(&Step) -> bool) {
    steps.retain(|step| !is(step));
}

fn without_mount(steps: &mut Vec<Step>, is: impl Fn(&PlanStep) -> bool) {
    without(steps, |step| matches!(step, Step::Mount(step) if is(step)));
}

fn root_access(steps: &mut [Step], to: Access) {
    plan(steps, |step| {
        if let PlanStep::Root { access, .. } = step {
            *access = to;
        }
    });
}

fn entries(steps: &mut [Step], keep: impl Fn(&ShadowEntry) -> bool) {
    plan(steps, |step| {
        if let PlanStep::Shadow { entries, .. } = step {
            entries.retain(&keep);
        }
    });
}

fn no_pids(steps: &mut Vec<Step>) {
    namespaces(steps, |set| set.pid = false);
}

fn network_shared(steps: &mut Vec<Step>) {
    namespaces(steps, |set| set.net = false);
    without(steps, |step| *step == Step::Loopback);
}

fn no_masks(steps: &mut Vec<Step>) {
    without_mount(steps, |step| matches!(step, PlanStep::Mask { .. }));
}

fn close_socket(steps: &mut Vec<Step>, path: &str) {
    let to = SandboxPath::new(path).unwrap();
    let last = steps.iter().rposition(|s| matches!(s, Step::Mount(_)));
    steps.insert(last.unwrap() + 1, Step::Mount(PlanStep::CloseSocket { to }));
}

/// A chroot into the directory, and the capability to do it again.
fn leaky_root(steps: &mut Vec<Step>) {
    let mut root = None;
    plan(steps, |step| {
        if let PlanStep::Root { source, .. } = step {
            root = Some(source.clone());
        }
    });
    without(steps, |step| matches!(step, Step::Mount(_)));
    for step in steps.iter_mut() {
        match step {
            Step::PivotRoot => *step = Step::ChrootTo(root.clone().unwrap()),
            Step::Capabilities(keep) => *keep = CapSet::from_bits(keep.bits() | 1 << 18),
            _ => {}
        }
    }
    // An ordinary user's command has capabilities only if it is root inside.
    plan_ids(steps, 0);
}

/// The id map that says of the caller that it is `inside`.
fn plan_ids(steps: &mut [Step], inside: u32) {
    for step in steps {
        if let Step::IdMap { uids, gids, .. } = step
            && let ([uid], [gid]) = (uids.as_mut_slice(), gids.as_mut_slice())
            && uid.count == 1
        {
            uid.inside = inside;
            gid.inside = inside;
        }
    }
}

fn other_ids(steps: &mut Vec<Step>) {
    plan_ids(steps, 77);
    if is_root() {
        without(steps, |step| matches!(step, Step::Ids { .. }));
        let at = steps
            .iter()
            .position(|s| matches!(s, Step::Capabilities(_)));
        steps.insert(at.unwrap(), Step::Ids { uid: 77, gid: 77 });
    }
}

/// For which case, what is broken, and how.
const DAMAGES: &[(&str, &str, Damage)] = &[
    (
        "ids_are_the_callers",
        "other ids than the caller's",
        other_ids,
    ),
    (
        "what_is_not_asked_for_is_shared",
        "a network that is its own",
        |steps| {
            namespaces(steps, |set| set.net = true);
        },
    ),
    (
        "what_is_not_asked_for_is_shared",
        "ipc that is its own",
        |steps| {
            namespaces(steps, |set| set.ipc = true);
        },
    ),
    (
        "what_is_not_asked_for_is_shared",
        "process ids that are its own",
        |steps| {
            namespaces(steps, |set| set.pid = true);
        },
    ),
    ("the_session_is_its_own", "the caller's session", |steps| {
        without(steps, |step| *step == Step::Session);
    }),
    ("less_will_do", "a step that fails", |steps| {
        steps.push(Step::ChrootTo("/no/such/directory".into()));
    }),
    (
        "the_root_is_the_directory_given",
        "a directory of the host's in it",
        |steps| {
            let to = SandboxPath::new("/dir").unwrap();
            let at = steps.iter().position(|s| matches!(s, Step::Mount(_)));
            let bind = PlanStep::Bind {
                from: BindSource::Host("/usr".into()),
                to,
                node: Node::Dir,
                attributes: sandboxlib::mount::Attributes {
                    access: Access::ReadOnly,
                    devices: false,
                },
            };
            steps.insert(at.unwrap() + 1, Step::Mount(bind));
        },
    ),
    (
        "the_root_cannot_be_left",
        "chroot, and the capability to do it again",
        leaky_root,
    ),
    (
        "a_writable_root_can_be_written",
        "a root that is read-only",
        |steps| {
            root_access(steps, Access::ReadOnly);
        },
    ),
    (
        "what_an_overlay_takes_leaves_the_root_alone",
        "a root that can be written instead",
        |steps| {
            root_access(steps, Access::ReadWrite);
            without(steps, |step| {
                matches!(step, Step::Mount(PlanStep::Overlay { .. }))
            });
        },
    ),
    (
        "the_command_gains_nothing",
        "every capability kept",
        |steps| {
            without(steps, |step| matches!(step, Step::Capabilities(_)));
        },
    ),
    ("the_command_gains_nothing", "no no_new_privs", |steps| {
        without(steps, |step| *step == Step::NoNewPrivs);
    }),
    (
        "the_hosts_root_can_be_read_only",
        "a root that can be written",
        |steps| {
            root_access(steps, Access::ReadWrite);
        },
    ),
    (
        "private_places_of_the_hosts_root_are_hidden",
        "a tmpfs left out",
        no_tmpfs,
    ),
    (
        "a_read_only_root_cannot_be_changed",
        "a root that can be written",
        |steps| {
            root_access(steps, Access::ReadWrite);
        },
    ),
    (
        "a_read_only_root_stays_so",
        "a root that can be written",
        |steps| {
            root_access(steps, Access::ReadWrite);
        },
    ),
    (
        "a_read_only_root_but_for_a_list",
        "a root that can be written",
        |steps| {
            root_access(steps, Access::ReadWrite);
        },
    ),
    (
        "a_read_only_root_but_for_a_list",
        "one of the list left out",
        |steps| {
            let of_list = |step: &Step| {
                matches!(
                    step,
                    Step::Mount(PlanStep::Bind {
                        from: BindSource::Root(_),
                        ..
                    })
                )
            };
            let last = steps.iter().rposition(of_list).unwrap();
            steps.remove(last);
        },
    ),
    ("a_bind_shows_the_host", "a bind left out", |steps| {
        without_mount(steps, |step| matches!(step, PlanStep::Bind { .. }));
    }),
    (
        "a_bind_shows_the_host",
        "a bind that is read-only",
        |steps| {
            binds(steps, Access::ReadOnly);
        },
    ),
    (
        "a_read_only_bind_cannot_be_changed",
        "a bind that can be written",
        |steps| {
            binds(steps, Access::ReadWrite);
        },
    ),
    (
        "a_bind_leaves_no_trace",
        "a mount point made on the host",
        |steps| {
            let root = steps
                .iter()
                .position(|s| matches!(s, Step::Mount(PlanStep::Root { .. })));
            root_access(steps, Access::ReadWrite);
            let made = PlanStep::MakeDir {
                at: SandboxPath::new("/dir/trace").unwrap(),
                mode: 0o755,
                on_host: true,
            };
            steps.insert(root.unwrap() + 1, Step::Mount(made));
        },
    ),
    (
        "links_on_the_way_stay_inside",
        "a bind that is not where the link leads",
        |steps| {
            let first = |s: &Step| matches!(s, Step::Mount(PlanStep::Bind { .. }));
            let first = steps.iter().position(first).unwrap();
            steps.remove(first);
        },
    ),
    (
        "mounts_apply_in_their_order",
        "the last mount left out",
        |steps| {
            without_mount(steps, |step| matches!(step, PlanStep::Bind { .. }));
        },
    ),
    (
        "mounts_apply_in_their_order",
        "the first mount left out",
        |steps| {
            without_mount(steps, |step| matches!(step, PlanStep::Tmpfs { .. }));
        },
    ),
    ("a_tmpfs_is_empty_and_private", "a tmpfs left out", no_tmpfs),
    (
        "a_tmpfs_is_empty_and_private",
        "other permissions",
        |steps| {
            plan(steps, |step| {
                if let PlanStep::Tmpfs { mode, .. } = step {
                    *mode = 0o777;
                }
            });
        },
    ),
    ("a_tmpfs_holds_what_it_may", "no limit", |steps| {
        plan(steps, |step| {
            if let PlanStep::Tmpfs { size, .. } = step {
                *size = None;
            }
        });
    }),
    ("runs_share_nothing", "a tmpfs left out", no_tmpfs),
    (
        "proc_is_that_of_the_sandbox",
        "the host's procfs",
        |steps| {
            plan(steps, |step| {
                if let PlanStep::Proc { to } = step {
                    *step = PlanStep::Bind {
                        from: BindSource::Host("/proc".into()),
                        to: to.clone(),
                        node: Node::Dir,
                        attributes: sandboxlib::mount::Attributes {
                            access: Access::ReadOnly,
                            devices: false,
                        },
                    };
                }
            });
            without(steps, |step| {
                matches!(step, Step::ProtectProc(_) | Step::MaskKeys(_))
            });
        },
    ),
    ("devices_are_those_promised", "a device left out", |steps| {
        without_mount(steps, |step| match step {
            PlanStep::Bind { to, .. } | PlanStep::MakeFile { at: to, .. } => {
                to.as_path().ends_with("full")
            }
            _ => false,
        });
    }),
    (
        "devices_are_those_promised",
        "devices that cannot be opened",
        |steps| {
            plan(steps, |step| {
                if let PlanStep::Bind { attributes, .. } = step {
                    attributes.devices = false;
                }
            });
        },
    ),
    ("devices_are_those_promised", "no terminals", |steps| {
        without_mount(steps, |step| matches!(step, PlanStep::Devpts { .. }));
    }),
    (
        "devices_cannot_be_replaced",
        "a directory that can be written",
        |steps| {
            without_mount(steps, |step| matches!(step, PlanStep::Seal { .. }));
            plan(steps, |step| {
                if let PlanStep::Tmpfs { mode, .. } = step {
                    *mode = 0o777;
                }
            });
        },
    ),
    ("a_file_from_data", "a file left out", |steps| {
        without_mount(steps, |step| matches!(step, PlanStep::File { .. }));
    }),
    ("a_file_from_data", "other content", |steps| {
        plan(steps, |step| {
            if let PlanStep::File { data, .. } = step {
                *data = b"something else"[..].into();
            }
        });
    }),
    ("a_file_from_data", "other permissions", |steps| {
        plan(steps, |step| {
            if let PlanStep::File { mode, .. } = step {
                *mode = 0o666;
            }
        });
    }),
    ("links_and_directories", "a link left out", |steps| {
        without_mount(steps, |step| matches!(step, PlanStep::MakeSymlink { .. }));
    }),
    ("links_and_directories", "a directory left out", |steps| {
        without_mount(steps, |step| matches!(step, PlanStep::MakeDir { .. }));
    }),
    (
        "links_and_directories_leave_no_trace",
        "a link left out",
        |steps| {
            entries(steps, |entry| !matches!(entry, ShadowEntry::Link { .. }));
        },
    ),
    (
        "links_and_directories_leave_no_trace",
        "a directory left out",
        |steps| {
            entries(steps, |entry| !matches!(entry, ShadowEntry::Dir { .. }));
        },
    ),
    ("a_mask_hides_what_is_there", "no mask", no_masks),
    ("a_mask_hides_what_is_not_there_yet", "no mask", no_masks),
    ("a_mask_holds_against_root", "no mask", no_masks),
    (
        "a_mask_holds_against_root",
        "a capability that opens it",
        |steps| {
            for step in steps {
                if let Step::Capabilities(keep) = step {
                    *keep = CapSet::FILES;
                }
            }
        },
    ),
    (
        "the_network_is_its_own",
        "the caller's network",
        network_shared,
    ),
    (
        "the_network_is_its_own",
        "a loopback interface that is down",
        |steps| {
            without(steps, |step| *step == Step::Loopback);
        },
    ),
    (
        "sockets_without_a_file_are_out_of_reach",
        "the caller's network",
        network_shared,
    ),
    (
        "sockets_below_a_read_only_bind_are_out_of_reach",
        "sockets left open",
        |steps| {
            without_mount(steps, |step| matches!(step, PlanStep::CloseSocket { .. }));
        },
    ),
    (
        "sockets_that_are_allowed_can_be_connected_to",
        "one closed that is allowed",
        |steps| close_socket(steps, "/mnt/sub/socket"),
    ),
    (
        "sockets_below_a_writable_bind_can_be_connected_to",
        "one closed that is writable",
        |steps| close_socket(steps, "/mnt/socket"),
    ),
    (
        "other_processes_are_out_of_reach",
        "the caller's process ids",
        no_pids,
    ),
    (
        "nothing_outlives_the_run",
        "the caller's process ids",
        no_pids,
    ),
    (
        "a_child_that_is_dropped_is_dead",
        "the caller's process ids",
        no_pids,
    ),
    ("ipc_is_its_own", "the caller's ipc", |steps| {
        namespaces(steps, |set| set.ipc = false);
    }),
    ("a_host_name_of_its_own", "the host's name", |steps| {
        without(steps, |step| matches!(step, Step::Hostname(_)));
    }),
    ("a_host_name_of_its_own", "another name", |steps| {
        for step in steps {
            if let Step::Hostname(name) = step {
                *name = "other".into();
            }
        }
    }),
    ("a_cgroup_view_of_its_own", "the caller's view", |steps| {
        namespaces(steps, |set| set.cgroup = false);
    }),
    ("clocks_of_its_own", "the caller's clocks", |steps| {
        without(steps, |step| *step == Step::TimeNamespace);
    }),
    ("ids_as_asked_for", "other ids", other_ids),
    ("root_inside", "other ids", other_ids),
    ("a_range_of_ids", "a range that is too short", |steps| {
        for step in steps {
            if let Step::IdMap { uids, gids, .. } = step {
                for ranges in [uids, gids] {
                    if let Some(last) = ranges.last_mut() {
                        last.count = last.count.min(3);
                    }
                }
            }
        }
    }),
    ("system_calls_are_filtered", "no filter", no_filter),
    (
        "system_calls_are_filtered",
        "another filter than the one asked for",
        |steps| {
            for step in steps {
                if let Step::SyscallFilter(filter) = step {
                    filter.seccomp = Seccomp::Build;
                }
            }
        },
    ),
    (
        "no_further_user_namespaces",
        "neither a limit nor a filter",
        |steps| {
            without(steps, |step| *step == Step::LimitNamespaces);
            no_filter(steps);
        },
    ),
];

fn no_filter(steps: &mut Vec<Step>) {
    without(steps, |step| matches!(step, Step::SyscallFilter(_)));
}

/// The same, of what only root's sandboxes can be without.
const DAMAGES_AS_ROOT: &[(&str, &str, Damage)] = &[
    (
        "proc_is_no_lever",
        "settings that can be written",
        |steps| {
            without(steps, |step| {
                matches!(step, Step::ProtectProc(_) | Step::MaskKeys(_))
            });
        },
    ),
    ("a_user_namespace_of_its_own", "the caller's", |steps| {
        namespaces(steps, |set| set.user = false);
        without(steps, |step| matches!(step, Step::IdMap { .. }));
    }),
    (
        "the_command_gains_nothing",
        "a user namespace in which to be root",
        |steps| {
            without(steps, |step| matches!(step, Step::Capabilities(_)));
        },
    ),
];

fn no_tree_limits(steps: &mut Vec<Step>) {
    without(steps, |step| matches!(step, Step::TreeLimits(_)));
}

fn tree_limits(steps: &mut [Step], change: impl Fn(&mut TreeLimits)) {
    for step in steps {
        if let Step::TreeLimits(limits) = step {
            change(limits);
        }
    }
}

fn process_limits(steps: &mut [Step], change: impl Fn(&mut ProcessLimits)) {
    for step in steps {
        if let Step::ProcessLimits(limits) = step {
            change(limits);
        }
    }
}

/// The same, of limits.
const DAMAGES_TO_LIMITS: &[(&str, &str, Damage)] = &[
    (
        "time_on_processors_is_limited",
        "no limit but that of each process",
        |steps| {
            no_tree_limits(steps);
            process_limits(steps, |limits| limits.cpu_seconds = Some(1));
        },
    ),
    (
        "time_on_processors_is_limited",
        "less than was allowed",
        |steps| {
            tree_limits(steps, |limits| {
                if let Some(bound) = &mut limits.cpu_time {
                    bound.most /= 10;
                }
            });
        },
    ),
    ("memory_is_limited", "no limit", no_tree_limits),
    ("memory_is_limited", "more than was allowed", |steps| {
        tree_limits(steps, |limits| {
            if let Some(bound) = &mut limits.memory {
                bound.most *= 4;
            }
        });
    }),
    ("memory_is_limited", "less than was allowed", |steps| {
        tree_limits(steps, |limits| {
            if let Some(bound) = &mut limits.memory {
                bound.most /= 4;
            }
        });
    }),
    (
        "what_is_in_a_tmpfs_is_memory",
        "no limit but the size of the tmpfs",
        no_tree_limits,
    ),
    ("processes_are_limited", "no limit", |steps| {
        no_tree_limits(steps);
        process_limits(steps, |limits| limits.processes = None);
    }),
    (
        "processes_are_limited",
        "a limit that is not told",
        no_tree_limits,
    ),
    ("processes_are_limited", "one less than allowed", |steps| {
        tree_limits(steps, |limits| {
            if let Some(bound) = &mut limits.processes {
                bound.most -= 1;
            }
        });
    }),
    ("the_size_of_files_is_limited", "no limit", |steps| {
        process_limits(steps, |limits| limits.file_size = None);
    }),
    ("open_files_are_limited", "one more than allowed", |steps| {
        process_limits(steps, |limits| {
            limits.open_files = limits.open_files.map(|n| n + 1)
        });
    }),
    ("the_stack_is_limited", "no limit", |steps| {
        process_limits(steps, |limits| limits.stack = None);
    }),
    ("core_dumps_are_limited", "no limit", |steps| {
        process_limits(steps, |limits| limits.core = None);
    }),
];

/// For which case, what is broken, and the arguments of env(1) that do it.
const HELPERS: &[(&str, &str, &[&str])] = &[
    (
        "the_environment_is_what_was_set",
        "a variable of its own",
        &["--chdir", "CWD", "LEAK=1"],
    ),
    (
        "the_environment_is_what_was_set",
        "a variable left out",
        &["--chdir", "CWD", "--unset", "EMPTY"],
    ),
    (
        "arguments_are_bytes",
        "arguments that are split at blanks",
        &["--chdir", "CWD", "sh", "-c", "exec $*", "sh"],
    ),
    (
        "the_working_directory_is_the_one_asked_for",
        "another directory",
        &[],
    ),
    (
        "no_descriptor_is_open_but_those_passed",
        "a file left open",
        &[
            "--chdir",
            "CWD",
            "sh",
            "-c",
            r#"exec 9</etc/passwd "$@""#,
            "sh",
        ],
    ),
    (
        "no_descriptor_is_open_but_those_passed",
        "a descriptor that is not passed on",
        &["--chdir", "CWD", "sh", "-c", r#"exec 5>&- "$@""#, "sh"],
    ),
    (
        "signals_have_their_defaults",
        "a signal that is ignored",
        &["--chdir", "CWD", "--ignore-signal=INT"],
    ),
    (
        "signals_have_their_defaults",
        "a signal that is blocked",
        &["--chdir", "CWD", "--block-signal=INT"],
    ),
    (
        "limits_are_the_callers",
        "fewer descriptors",
        &[
            "--chdir",
            "CWD",
            "sh",
            "-c",
            r#"ulimit -S -n 77; exec "$@""#,
            "sh",
        ],
    ),
    (
        "limits_are_the_callers",
        "another umask",
        &[
            "--chdir",
            "CWD",
            "sh",
            "-c",
            r#"umask 077; exec "$@""#,
            "sh",
        ],
    ),
    (
        "standard_streams_lead_where_they_are_sent",
        "no input",
        &[
            "--chdir",
            "CWD",
            "sh",
            "-c",
            r#"exec "$@" </dev/null"#,
            "sh",
        ],
    ),
    (
        "standard_streams_lead_where_they_are_sent",
        "errors among the output",
        &["--chdir", "CWD", "sh", "-c", r#"exec "$@" 2>&1"#, "sh"],
    ),
    (
        "the_end_is_told",
        "always success",
        &["--chdir", "CWD", "sh", "-c", r#""$@"; exit 0"#, "sh"],
    ),
    (
        "the_end_is_told",
        "no status but 0 and 1",
        &["--chdir", "CWD", "sh", "-c", r#""$@" || exit 1"#, "sh"],
    ),
    (
        "a_signal_reaches_the_command",
        "a signal that is kept from it",
        &[
            "--chdir",
            "CWD",
            "sh",
            "-c",
            r#"trap : TERM; "$@" & wait; wait; exit 0"#,
            "sh",
        ],
    ),
    (
        "a_missing_command_is_no_run",
        "another command in its place",
        &["--chdir", "CWD", "sh", "-c", r#""$@"; exit 0"#, "sh"],
    ),
    (
        "a_missing_directory_is_no_run",
        "a run in another directory",
        &[],
    ),
];

fn works(case: &Case, backend: &dyn Backend) -> bool {
    match run(case, backend) {
        Ok(Verdict::Held) => true,
        Ok(verdict) => {
            skip(&format!("{}: {verdict:?}", case.name));
            false
        }
        Err(fault) => panic!("{fault}"),
    }
}

fn is_noticed(name: &str, what: &str, backend: &dyn Backend) {
    let noticed = run(case(name), backend);
    let fault = noticed.expect_err(&format!("{name} does not notice {what}"));
    println!("{what}: {}", fault.what);
}

fn every_damage_is_noticed(damages: &[(&str, &str, Damage)]) {
    for (name, what, damage) in damages {
        if works(case(name), &Userns) {
            is_noticed(name, what, &Broken(*damage));
        }
    }
}

#[test]
fn every_damage_to_a_script_is_noticed() {
    if host_can() {
        every_damage_is_noticed(DAMAGES);
    }
}

#[test]
fn every_damage_to_roots_script_is_noticed() {
    if is_root() && host_can() {
        every_damage_is_noticed(DAMAGES_AS_ROOT);
    }
}

#[test]
fn every_damage_to_limits_is_noticed() {
    if host_can() {
        every_damage_is_noticed(DAMAGES_TO_LIMITS);
    }
}

#[test]
fn every_fault_of_a_helper_is_noticed() {
    for (name, what, args) in HELPERS {
        if works(case(name), &SOUND) {
            is_noticed(name, what, &Env(args, Started::Unknown));
        }
    }
}

#[test]
fn a_helper_that_says_what_it_cannot_know_is_noticed() {
    for name in [
        "a_missing_command_is_no_run",
        "a_missing_directory_is_no_run",
    ] {
        if works(case(name), &SOUND) {
            is_noticed(
                name,
                "a claim that it was started",
                &Env(SOUND.0, Started::Yes),
            );
        }
    }
}

#[test]
fn a_sound_helper_passes_everything() {
    for case in cases() {
        match run(case, &SOUND).unwrap_or_else(|fault| panic!("{fault}")) {
            Verdict::Held => assert!(case.needs.is_empty(), "{}", case.name),
            Verdict::Refused(_) => assert!(!case.needs.is_empty(), "{}", case.name),
            Verdict::NoProbe => skip("there is no probe for this system"),
        }
    }
}

#[test]
fn to_claim_and_to_refuse_is_noticed() {
    for case in cases() {
        let fault = run(case, &Boaster).unwrap_err();
        assert!(
            fault.to_string().contains("then refuses: not really"),
            "{fault}"
        );
    }
}

/// Otherwise somebody adds a case that notices nothing.
#[test]
fn every_case_has_a_backend_that_fails_it() {
    let scripts = DAMAGES
        .iter()
        .chain(DAMAGES_AS_ROOT)
        .chain(DAMAGES_TO_LIMITS)
        .map(|(name, ..)| *name);
    let helpers = HELPERS.iter().map(|(name, ..)| *name);
    let named: BTreeSet<&str> = scripts.chain(helpers).collect();
    let all: BTreeSet<&str> = cases().map(|case| case.name).collect();
    assert_eq!(named, all);
}

fn binds(steps: &mut [Step], to: Access) {
    plan(steps, |step| {
        if let PlanStep::Bind { attributes, .. } = step {
            attributes.access = to;
        }
    });
}

fn no_tmpfs(steps: &mut Vec<Step>) {
    without_mount(steps, |step| matches!(step, PlanStep::Tmpfs { .. }));
}
