//! From the script, which is for people and tests, to operations, which are for the child.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandboxlib_config::{Access, SandboxPath};
use sandboxlib_core::{
    Bound, ChildScript, Counter, FailedStep, IdRange, KernelVersion, MapWriter, NamespaceSet,
    ProcessLimits, SpawnError, Step, SyscallFilter, TreeLimits,
};
use sandboxlib_mount::{Attributes, BindSource, Node, PlanStep, ShadowEntry};
use sandboxlib_seccomp::{Arch, Program, compile};

use super::mounting::{NODEV, NOEXEC, NOSUID, RDONLY};
use super::ops::{Action, Entry, From, FsOption, Layer, Op, Protection};
use super::sys::{self, Asked};
use super::{facts, landlock, shared};
use crate::words::text;

/// A script that is ready to be run as often as asked.
#[derive(Debug)]
pub(super) struct Lowered {
    pub(super) namespaces: NamespaceSet,
    pub(super) ops: Vec<Op>,
    /// The maps that the parent has to write or have written, if it is not the child.
    pub(super) parent_maps: Option<(Vec<IdRange>, Vec<IdRange>, MapWriter)>,
    /// How many sources of binds are held at a time.
    pub(super) slots: usize,
    /// Whether there is the youngest call that nothing can be started without. A kernel that lacks
    /// it may also give no pidfd for a child, and then the child could not be waited for.
    pub(super) close_range: bool,
    /// Whether this is a kernel from before mount_setattr(2), or is to be taken for one.
    pub(super) old: bool,
    /// Whether the command may unmount.
    pub(super) keeps_admin: bool,
    /// The system call filter of the command.
    pub(super) filter: Option<Arc<Filter>>,
    /// The limits of all processes together.
    pub(super) tree: Option<TreeLimits>,
    /// Where there is a tmpfs, relative to the root.
    pub(super) tmpfs: Vec<CString>,
    /// Where terminals of the sandbox's own are opened, as seen inside.
    pub(super) ptmx: Option<CString>,
    /// Those of each process, as the init program takes them, and the step of the script.
    pub(super) limits: Option<(CString, u32)>,
}

impl Lowered {
    /// What Landlock's rules for files are about, if there are any rules.
    pub(super) fn wall(&self) -> Option<u64> {
        self.ops.iter().find_map(|op| match &op.action {
            Action::Landlock(wall) if wall.handled != [0; 3] => Some(wall.handled[0]),
            _ => None,
        })
    }

    /// The step of the script that they are.
    pub(super) fn wall_step(&self) -> Option<u32> {
        let op = self
            .ops
            .iter()
            .find(|op| matches!(op.action, Action::Landlock(_)));
        op.map(|op| op.step)
    }

    /// Whether the child changes its user or group id.
    pub(super) fn changes_ids(&self) -> bool {
        self.ops
            .iter()
            .any(|op| matches!(op.action, Action::Ids { .. }))
    }
}

/// The parts of procfs that act on the host or show it, for a command that is root on the host,
/// and so the owner of these files, with or without capabilities (kernel documentation,
/// Documentation/filesystems/proc.rst; proc(5)).
///
/// To an ordinary user all of them are read-only or closed by their permissions, or (kallsyms) show
/// it nothing, but for keys, which shows its own; and a procfs with something mounted on it would
/// keep it from mounting one of its own, in a sandbox inside the sandbox (mount_namespaces(7)). So
/// keys is all that is masked for it, and only where no sandbox inside is wanted. What is left out: iomem, ioports and modules have their addresses blanked for
/// whoever lacks capabilities on the host; config.gz and cmdline are no secret; interrupts,
/// softirqs and stat tell the time of events, as many other things do, and programs count
/// processors by them.
const PROC_PARTS: &[(&CStr, Protection)] = &[
    // Settings: core_pattern and modprobe name programs that the kernel runs as root.
    (c"sys", Protection::ReadOnly),
    // Reboots, kills, dumps memory to the console.
    (c"sysrq-trigger", Protection::ReadOnly),
    // Which processor takes which interrupt.
    (c"irq", Protection::ReadOnly),
    // PCI configuration space, which reaches devices.
    (c"bus", Protection::ReadOnly),
    // Settings of nfsd, ext4, xfs and others.
    (c"fs", Protection::ReadOnly),
    // Wakes and sleeps the machine, adds and removes disks, changes caching of memory.
    (c"acpi", Protection::ReadOnly),
    (c"scsi", Protection::ReadOnly),
    (c"mtrr", Protection::ReadOnly),
    // All memory; that of a kernel that crashed.
    (c"kcore", Protection::Mask),
    (c"vmcore", Protection::Mask),
    // Where in memory the kernel is, which every exploit has to know first.
    (c"kallsyms", Protection::Mask),
    (c"timer_list", Protection::Mask),
    (c"vmallocinfo", Protection::Mask),
    // Names of the keys of root: tickets, encrypted file systems.
    (c"keys", Protection::Mask),
    // What other processes do: which run, wait and allocate, and where in memory they are.
    (c"sched_debug", Protection::Mask),
    (c"latency_stats", Protection::Mask),
    (c"slabinfo", Protection::Mask),
    (c"pagetypeinfo", Protection::Mask),
    (c"kpagecount", Protection::Mask),
    (c"kpageflags", Protection::Mask),
    (c"kpagecgroup", Protection::Mask),
    // The kernel's log. It comes last because every kernel has it, see `Tree::protect`.
    (c"kmsg", Protection::Mask),
];

/// What is closed to everybody else.
const KEYS: &[(&CStr, Protection)] = &[(c"keys", Protection::Mask)];

pub(super) fn lower(script: &ChildScript) -> Result<Lowered, SpawnError> {
    let mut lowering = Lowering {
        lowered: Lowered {
            namespaces: NamespaceSet::default(),
            ops: Vec::with_capacity(script.steps.len() + 8),
            parent_maps: None,
            slots: 0,
            close_range: sys::has(Asked::CloseRange),
            // Asked each time: a filter may have come since, and it is a call that does nothing.
            old: !sys::has(Asked::MountSetAttr),
            keeps_admin: shared::keeps_admin(script),
            filter: None,
            tree: None,
            tmpfs: Vec::new(),
            ptmx: None,
            limits: None,
        },
        step: 0,
        sources: 0,
        overlays: 0,
        shared: shared::steps(script),
        scratch: needs_scratch(script),
        closes_namespaces: closes_namespaces(script),
    };
    for (number, step) in (0..).zip(&script.steps) {
        if matches!(step, Step::Mount(PlanStep::Root { .. })) {
            lowering.clone_sources(script)?;
        }
        lowering.step = number;
        lowering.step(step)?;
    }
    Ok(lowering.lowered)
}

/// Whether the filter sees to it that no further user namespaces are made.
fn closes_namespaces(script: &ChildScript) -> bool {
    script
        .steps
        .iter()
        .any(|step| matches!(step, Step::SyscallFilter(filter) if !filter.allow_nested))
}

/// A system call filter, compiled, in a file of its own.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) file: OwnedFd,
    /// What is in it: an array of `struct sock_filter`.
    pub(super) instructions: Vec<u8>,
    /// Whether the init program can do its work under it, too.
    pub(super) leaves_init: bool,
    /// The step of the script.
    pub(super) step: u32,
}

impl Filter {
    fn new(filter: &SyscallFilter, step: u32) -> Result<Self, SpawnError> {
        let (program, arch) = compiled(filter)?;
        let bytes = program.to_bytes();
        let file = super::init::content(&bytes).map_err(|source| {
            SpawnError::new(FailedStep::Resources("the system call filter"), source)
        })?;
        let leaves_init = super::init::can_live_under(&program, arch);
        Ok(Self {
            file,
            instructions: bytes,
            leaves_init,
            step,
        })
    }

    /// How many instructions it has, of 8 bytes each.
    pub(super) fn len(&self) -> u16 {
        // Longer ones are not compiled (seccomp(2): 4096).
        u16::try_from(self.instructions.len() / 8).unwrap_or(u16::MAX)
    }
}

/// Whether some architecture has a system call of this name.
#[must_use]
pub fn is_system_call(name: &str) -> bool {
    Arch::any_has(name)
}

/// Every system call that programs can make on this machine but those of these names, and those
/// that do the same under another name. `None` where there are no filters for it.
#[must_use]
pub fn system_calls_but(names: &[&str]) -> Option<Vec<&'static str>> {
    Some(Arch::named(std::env::consts::ARCH)?.calls_but(names))
}

/// The filter for this machine: an array of `struct sock_filter`.
pub(crate) fn filter_program(filter: &SyscallFilter) -> Result<Vec<u8>, SpawnError> {
    compiled(filter).map(|(program, _)| program.to_bytes())
}

fn compiled(filter: &SyscallFilter) -> Result<(Program, Arch), SpawnError> {
    let what = || format!("the system call filter: {filter}");
    let arch = Arch::named(std::env::consts::ARCH)
        .ok_or_else(|| refuse(what(), "there is none for this processor"))?;
    let program = compile(&filter.seccomp, filter.allow_nested, arch)
        .map_err(|error| refuse(what(), error))?;
    Ok((program, arch))
}

/// Since this version kernel.pid_max is a matter of each process id namespace. Before, writing to
/// it would bound the whole host.
const PIDS_BY_NAMESPACE: KernelVersion = KernelVersion(6, 14);

/// `RESOURCE=MOST` pairs, separated by commas.
pub(super) fn process_limits(limits: &ProcessLimits) -> Result<CString, SpawnError> {
    let pairs = crate::limits::resources(limits);
    let pairs: Vec<String> = pairs.map(|(name, most)| format!("{name}={most}")).collect();
    text(pairs.join(","))
}

fn needs_scratch(script: &ChildScript) -> bool {
    script.steps.iter().any(|step| {
        matches!(
            step,
            Step::Mount(
                PlanStep::File { .. }
                    | PlanStep::Mask { .. }
                    | PlanStep::CloseSocket { .. }
                    | PlanStep::Overlay { .. }
            )
        )
    })
}

struct Lowering {
    lowered: Lowered,
    step: u32,
    /// How many sources of binds have been given a slot.
    sources: usize,
    /// How many overlays there are so far.
    overlays: usize,
    /// The steps of the tmpfs mounts that share one file system.
    shared: Vec<u32>,
    scratch: bool,
    closes_namespaces: bool,
}

impl Lowering {
    fn op(&mut self, action: Action) {
        self.lowered.ops.push(Op {
            step: self.step,
            action,
        });
    }

    /// The sources of all binds are cloned before the new root is attached: it is attached on the
    /// host's `/`, where a bind of `/` would see it, and a `..` too many would climb onto it.
    fn clone_sources(&mut self, script: &ChildScript) -> Result<(), SpawnError> {
        for (number, step) in (0..).zip(&script.steps) {
            if let Step::Mount(
                PlanStep::Bind {
                    from: BindSource::Host(path),
                    ..
                }
                | PlanStep::Overlay {
                    keep: Some(path), ..
                },
            ) = step
            {
                self.step = number;
                let source = text(path.as_os_str())?;
                let slot = self.lowered.slots;
                self.lowered.slots += 1;
                self.op(Action::CloneSource { source, slot });
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), SpawnError> {
        match step {
            Step::Namespaces(set) => self.lowered.namespaces = *set,
            Step::IdMap { uids, gids, writer } => self.id_map(uids, gids, writer),
            Step::LimitNamespaces => self.op(Action::LimitNamespaces {
                required: !self.closes_namespaces,
            }),
            Step::TreeLimits(limits) => self.tree_limits(limits),
            Step::TimeNamespace => self.op(Action::TimeNamespace),
            Step::PrivateMounts => self.op(Action::PrivateMounts),
            Step::Mount(step) => self.mount(step)?,
            Step::ProtectProc(at) => self.protect(at, PROC_PARTS)?,
            Step::MaskKeys(at) => self.protect(at, KEYS)?,
            Step::PivotRoot => self.op(Action::PivotRoot),
            Step::Chroot => self.op(Action::Chroot),
            Step::ChrootTo(path) => {
                let path = text(path.as_os_str())?;
                self.op(Action::ChrootTo(path));
            }
            Step::Loopback => self.op(Action::Loopback),
            Step::Hostname(name) => self.op(Action::Hostname(name.as_bytes().to_vec())),
            Step::Session => self.op(Action::Session),
            Step::Keyring => self.op(Action::Keyring),
            Step::ClearGroups => self.op(Action::ClearGroups),
            Step::Ids { uid, gid } => self.op(Action::Ids {
                uid: *uid,
                gid: *gid,
            }),
            Step::Capabilities(keep) => self.op(Action::Capabilities(keep.bits())),
            Step::NoNewPrivs => self.op(Action::NoNewPrivs),
            Step::Landlock(wall) => self.op(Action::Landlock(landlock::wall(wall)?)),
            Step::ProcessLimits(limits) => {
                self.lowered.limits = Some((process_limits(limits)?, self.step));
            }
            Step::SyscallFilter(filter) => {
                if self.lowered.filter.is_some() {
                    return Err(refuse(step, "there is one already"));
                }
                self.lowered.filter = Some(Arc::new(Filter::new(filter, self.step)?));
            }
            other => return Err(refuse(other, "this spawner does not know the step")),
        }
        Ok(())
    }

    fn protect(
        &mut self,
        at: &SandboxPath,
        parts: &'static [(&'static CStr, Protection)],
    ) -> Result<(), SpawnError> {
        let at = relative(at)?;
        self.op(Action::Protect { at, parts });
        Ok(())
    }

    fn tree_limits(&mut self, limits: &TreeLimits) {
        if let Some(Bound { most, by }) = &limits.processes
            && *by == Counter::Accounting
            && self.lowered.namespaces.pid
            && facts::kernel().is_some_and(|kernel| kernel >= PIDS_BY_NAMESPACE)
        {
            // Programs expect that it takes a while until a number is another's, and the kernel
            // takes nothing below 301.
            let room = most.saturating_mul(2).max(700).saturating_add(300);
            let most = room.min(4_194_304).to_string().into_bytes();
            self.op(Action::BoundPids { most });
        }
        if !limits.directories().is_empty() {
            self.op(Action::EnterGroups);
            // The view of the groups begins at the one that the child is in when it gets it.
            if std::mem::take(&mut self.lowered.namespaces.cgroup) {
                self.op(Action::CgroupNamespace);
            }
        }
        self.lowered.tree = Some(limits.clone());
    }

    fn id_map(&mut self, uids: &[IdRange], gids: &[IdRange], writer: &MapWriter) {
        if *writer == MapWriter::Child {
            // Without "deny" an unprivileged process may not map groups (user_namespaces(7)).
            for (path, text) in [
                (c"/proc/self/setgroups", "deny".to_owned()),
                (c"/proc/self/uid_map", map_text(uids)),
                (c"/proc/self/gid_map", map_text(gids)),
            ] {
                self.op(Action::WriteMap {
                    path,
                    text: text.into_bytes(),
                });
            }
        } else {
            self.lowered.parent_maps = Some((uids.to_vec(), gids.to_vec(), writer.clone()));
            self.op(Action::AwaitMaps);
        }
    }

    fn mount(&mut self, step: &PlanStep) -> Result<(), SpawnError> {
        super::terminal::ptmx_after(step, &mut self.lowered.ptmx)?;
        let action = match step {
            PlanStep::Root { source, access } => {
                return self.root(source, *access);
            }
            PlanStep::Shadow { at, mode, entries } => Action::Shadow {
                at: relative(at)?,
                mode: octal(*mode)?,
                entries: entries.iter().map(entry).collect::<Result<_, _>>()?,
            },
            PlanStep::Overlay { at, keep, size } => self.overlay(at, keep.is_some(), *size)?,
            PlanStep::Bind {
                from,
                to,
                attributes,
                node: _,
            } => Action::Bind {
                from: self.source(from)?,
                to: relative(to)?,
                attributes: flags(*attributes),
            },
            PlanStep::Tmpfs { to, size, mode } => {
                self.lowered.tmpfs.push(relative(to)?);
                if self.shared.contains(&self.step) {
                    self.op(Action::SharedTmpfs {
                        name: text(self.step.to_string())?,
                        mode: *mode,
                        to: relative(to)?,
                    });
                    return Ok(());
                }
                let mut options = vec![FsOption {
                    key: c"mode",
                    value: octal(*mode)?,
                }];
                if let Some(size) = size {
                    options.push(FsOption {
                        key: c"size",
                        value: text(size.to_string())?,
                    });
                }
                file_system(c"tmpfs", options, to, NOSUID | NODEV)?
            }
            PlanStep::Proc { to } => file_system(c"proc", Vec::new(), to, NOSUID | NODEV | NOEXEC)?,
            PlanStep::Devpts { to } => {
                let options = vec![
                    FsOption {
                        key: c"ptmxmode",
                        value: c"0666".into(),
                    },
                    FsOption {
                        key: c"mode",
                        value: c"0620".into(),
                    },
                ];
                file_system(c"devpts", options, to, NOSUID | NOEXEC)?
            }
            PlanStep::File { to, data, mode } => Action::File {
                to: relative(to)?,
                name: text(format!("data-{}", self.step))?,
                data: data.clone(),
                mode: *mode,
            },
            PlanStep::Mask { to, node } => Action::Mask {
                to: relative(to)?,
                directory: *node == Node::Dir,
            },
            PlanStep::CloseSocket { to } => Action::CloseSocket { to: relative(to)? },
            PlanStep::MakeDir {
                at,
                mode,
                on_host: _,
            } => {
                let (parent, name) = split(at)?;
                Action::MakeDir {
                    parent,
                    name,
                    mode: *mode,
                }
            }
            PlanStep::MakeFile { at, on_host: _ } => {
                let (parent, name) = split(at)?;
                Action::MakeFile { parent, name }
            }
            PlanStep::MakeSymlink { at, to, on_host: _ } => {
                let (parent, name) = split(at)?;
                Action::MakeSymlink {
                    parent,
                    name,
                    target: text(to)?,
                }
            }
            PlanStep::Seal { at } => Action::Seal { at: relative(at)? },
        };
        self.op(action);
        Ok(())
    }

    fn root(&mut self, source: &Path, access: Access) -> Result<(), SpawnError> {
        let attributes = flags(Attributes {
            access,
            devices: false,
        });
        let source = text(source.as_os_str())?;
        let remounts = self.lowered.old;
        let scratch = self.scratch || remounts;
        self.op(Action::Root {
            source,
            attributes,
            scratch,
            remounts,
        });
        Ok(())
    }

    fn overlay(
        &mut self,
        at: &SandboxPath,
        keep: bool,
        size: Option<u64>,
    ) -> Result<Action, SpawnError> {
        let layer = if keep {
            Layer::Held(self.slot())
        } else {
            // How much is in it is told at the mount point: overlayfs answers for it.
            self.lowered.tmpfs.push(relative(at)?);
            let size = size.map(|size| text(size.to_string())).transpose()?;
            Layer::Memory(size)
        };
        let mut upper = Vec::new();
        let mut path = PathBuf::from("upper");
        upper.push(text(path.as_os_str())?);
        for name in at.relative() {
            path.push(name);
            upper.push(text(path.as_os_str())?);
        }
        let number = self.overlays;
        self.overlays += 1;
        let work = format!("work-{number}");
        let up = "../".repeat(upper.len());
        Ok(Action::Overlay {
            at: relative(at)?,
            layer,
            to_lower: text(format!("{up}../lower"))?,
            to_work: text(format!("{up}{work}"))?,
            upper,
            work: text(work)?,
            names: [
                text(format!("overlay-{number}"))?,
                text(format!("overlay-{number}/lower"))?,
                text(format!("overlay-{number}/layer"))?,
            ],
        })
    }

    /// The slot of the next source, in the order in which they were cloned.
    fn slot(&mut self) -> usize {
        self.sources += 1;
        self.sources - 1
    }

    fn source(&mut self, from: &BindSource) -> Result<From, SpawnError> {
        Ok(match from {
            BindSource::Host(_) => From::Held(self.slot()),
            BindSource::Root(path) => From::Root(relative(path)?),
        })
    }
}

fn file_system(
    kind: &'static CStr,
    options: Vec<FsOption>,
    to: &SandboxPath,
    attributes: u64,
) -> Result<Action, SpawnError> {
    Ok(Action::FileSystem {
        kind,
        options,
        to: relative(to)?,
        attributes,
    })
}

fn flags(attributes: Attributes) -> u64 {
    let mut set = NOSUID;
    if attributes.access == Access::ReadOnly {
        set |= RDONLY;
    }
    if !attributes.devices {
        set |= NODEV;
    }
    set
}

fn entry(entry: &ShadowEntry) -> Result<Entry, SpawnError> {
    Ok(match entry {
        ShadowEntry::Keep { name, node } => Entry::Keep {
            name: text(name)?,
            directory: *node == Node::Dir,
        },
        ShadowEntry::Link { path, to } => Entry::Link {
            path: text(path.as_os_str())?,
            target: text(to)?,
        },
        ShadowEntry::Dir { path, mode } => Entry::Dir {
            path: text(path.as_os_str())?,
            mode: *mode,
        },
        ShadowEntry::File { path } => Entry::File {
            path: text(path.as_os_str())?,
        },
    })
}

/// `inside outside count` lines (user_namespaces(7)).
pub(super) fn map_text(ranges: &[IdRange]) -> String {
    let mut text = String::new();
    for r in ranges {
        text.push_str(&format!("{} {} {}\n", r.inside, r.outside, r.count));
    }
    text
}

fn octal(mode: u32) -> Result<CString, SpawnError> {
    text(format!("{mode:o}"))
}

/// The path relative to the new root; `.` for the root itself.
pub(super) fn relative(path: &SandboxPath) -> Result<CString, SpawnError> {
    if path.is_root() {
        Ok(c".".into())
    } else {
        text(path.relative().as_os_str())
    }
}

fn split(path: &SandboxPath) -> Result<(CString, CString), SpawnError> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((relative(&parent)?, text(name)?)),
        _ => Err(refuse(path, "the root cannot be made")),
    }
}

fn refuse(what: impl std::fmt::Display, why: impl std::fmt::Display) -> SpawnError {
    SpawnError::new(
        FailedStep::Lower {
            what: what.to_string(),
        },
        io::Error::new(io::ErrorKind::InvalidInput, why.to_string()),
    )
}
