//! From the mount plan to options of bwrap, which carries them out in the order given.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandboxlib_config::{Access, SandboxPath};
use sandboxlib_core::{HelperArg, HelperCall, Reason};
use sandboxlib_mount::{Attributes, BindSource, Node, PlanStep, ShadowEntry};

use crate::who::Who;

/// What `--dev` brings, as the planner asks for it.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
const DIRS: [&str; 2] = ["pts", "shm"];

/// The parts of procfs that root could change the host through, besides those that bwrap makes
/// read-only itself (sysrq-trigger, irq, bus). It means to do so with sys as well, but leaves out
/// what access(2) calls unwritable: the directory is, to root too, and the files in it are not.
const PROC_PARTS: [&str; 5] = ["sys", "fs", "acpi", "scsi", "mtrr"];

pub(crate) fn add(call: &mut HelperCall, steps: &[PlanStep], who: &Who) -> Result<(), Reason> {
    let mut options = Options {
        call,
        who,
        root: PathBuf::new(),
        layers: Vec::new(),
    };
    let mut rest = steps;
    while let [step, after @ ..] = rest {
        rest = match step {
            PlanStep::Tmpfs { to, .. } if brought_by_dev(to, after) > 0 => {
                options.option("--dev", &[to.as_path().as_os_str()]);
                options.layers.push((to.clone(), None));
                &after[brought_by_dev(to, after)..]
            }
            PlanStep::Root { source, access } => {
                options.root(source, *access, after);
                after
            }
            other => {
                options.step(other)?;
                after
            }
        };
    }
    Ok(())
}

/// How many of `steps` are what `--dev` does on the directory `dev`; none if no devpts is among
/// them, because then something else is meant.
fn brought_by_dev(dev: &SandboxPath, steps: &[PlanStep]) -> usize {
    let is = |at: &SandboxPath, names: &[&str]| {
        at.parent().as_ref() == Some(dev)
            && at
                .file_name()
                .is_some_and(|n| names.iter().any(|name| n == *name))
    };
    let is_part = |step: &&PlanStep| match step {
        PlanStep::MakeFile { at, .. } => is(at, &DEVICES),
        PlanStep::Bind {
            from: BindSource::Host(source),
            to,
            ..
        } => {
            is(to, &DEVICES)
                && source.parent() == Some(Path::new("/dev"))
                && source.file_name() == to.file_name()
        }
        PlanStep::MakeSymlink { at, to, .. } => LINKS
            .iter()
            .any(|(name, wanted)| is(at, &[name]) && to == wanted),
        PlanStep::MakeDir { at, mode, .. } => is(at, &DIRS) && *mode == 0o755,
        PlanStep::Devpts { to } => is(to, &["pts"]),
        _ => false,
    };
    let count = steps.iter().take_while(is_part).count();
    let pts = steps[..count]
        .iter()
        .any(|step| matches!(step, PlanStep::Devpts { .. }));
    if pts { count } else { 0 }
}

struct Options<'a> {
    call: &'a mut HelperCall,
    who: &'a Who,
    root: PathBuf,
    /// What has been mounted where, and the path on the host, if it is the host's.
    layers: Vec<(SandboxPath, Option<PathBuf>)>,
}

impl Options<'_> {
    fn option(&mut self, name: &str, values: &[&OsStr]) {
        self.call.arg(name).args(values.iter().map(OsString::from));
    }

    fn perms(&mut self, mode: u32) {
        self.option("--perms", &[format!("{mode:04o}").as_ref()]);
    }

    fn data(&mut self, option: &str, data: &Arc<[u8]>, mode: u32, to: &Path) {
        self.perms(mode);
        self.call.arg(option).arg(HelperArg::Data(data.clone()));
        self.call.arg(to);
    }

    fn root(&mut self, source: &Path, access: Access, after: &[PlanStep]) {
        source.clone_into(&mut self.root);
        self.layers
            .push((SandboxPath::root(), Some(source.to_owned())));
        // A shadow of the root has all of it already.
        if !matches!(after, [PlanStep::Shadow { at, .. }, ..] if at.is_root()) {
            let option = bind_option(access);
            self.option(option, &[source.as_os_str(), OsStr::new("/")]);
        }
    }

    fn step(&mut self, step: &PlanStep) -> Result<(), Reason> {
        match step {
            // The first step, which `add` has dealt with.
            PlanStep::Root { .. } => {}
            PlanStep::Shadow { at, mode, entries } => self.shadow(at, *mode, entries)?,
            PlanStep::Bind {
                from,
                to,
                attributes,
                node: _,
            } => self.bind(from, to, *attributes),
            PlanStep::Tmpfs { to, size, mode } => {
                self.size(to, *size)?;
                self.perms(*mode);
                self.option("--tmpfs", &[to.as_path().as_os_str()]);
                self.layers.push((to.clone(), None));
            }
            PlanStep::Overlay { .. } => return Err(crate::support::no_overlay()),
            PlanStep::Proc { to } => {
                self.option("--proc", &[to.as_path().as_os_str()]);
                self.layers.push((to.clone(), None));
                if self.who.host_root {
                    for name in PROC_PARTS {
                        let from = Path::new("/proc").join(name);
                        let to = to.as_path().join(name);
                        self.option("--ro-bind-try", &[from.as_os_str(), to.as_os_str()]);
                    }
                }
            }
            PlanStep::Devpts { to } => {
                let text = format!("bwrap mounts a devpts as a part of /dev alone, not on {to:?}");
                return Err(Reason::new(text));
            }
            PlanStep::File { to, data, mode } => {
                self.data("--ro-bind-data", data, *mode, to.as_path());
                self.layers.push((to.clone(), None));
            }
            PlanStep::Mask { to, node } => self.mask(to, *node),
            // The device is no socket, and cannot be opened there.
            PlanStep::CloseSocket { to } => self.mask(to, Node::File),
            PlanStep::MakeDir { at, mode, .. } => {
                self.perms(*mode);
                self.option("--dir", &[at.as_path().as_os_str()]);
            }
            // Whatever is mounted there next makes it.
            PlanStep::MakeFile { .. } => {}
            PlanStep::MakeSymlink { at, to, .. } => {
                self.option("--symlink", &[to, at.as_path().as_os_str()]);
            }
            PlanStep::Seal { at } => self.option("--remount-ro", &[at.as_path().as_os_str()]),
        }
        Ok(())
    }

    fn bind(&mut self, from: &BindSource, to: &SandboxPath, attributes: Attributes) {
        let source = match from {
            BindSource::Host(path) => path.clone(),
            BindSource::Root(path) => below(&self.root, path),
        };
        let option = if attributes.devices {
            "--dev-bind"
        } else {
            bind_option(attributes.access)
        };
        self.option(option, &[source.as_os_str(), to.as_path().as_os_str()]);
        if attributes.devices && attributes.access == Access::ReadOnly {
            self.option("--remount-ro", &[to.as_path().as_os_str()]);
        }
        self.layers.push((to.clone(), Some(source)));
    }

    fn size(&mut self, to: &SandboxPath, size: Option<u64>) -> Result<(), Reason> {
        let Some(size) = size else { return Ok(()) };
        if !self.who.may_set_size {
            let text = "a bwrap that is set-user-id lets an ordinary user set no size of a tmpfs";
            return Err(Reason::new(text));
        }
        if size == 0 || size > u64::MAX / 2 {
            let text = format!("bwrap takes no size of {size} for the tmpfs on {to:?}");
            return Err(Reason::new(text));
        }
        self.option("--size", &[size.to_string().as_ref()]);
        Ok(())
    }

    /// A directory without permissions, which its owner cannot change because it is read-only. A
    /// file is covered by a device on a mount where devices do not work: to open it answers
    /// EACCES whoever asks, for writing too, where an unreadable file would answer EROFS.
    fn mask(&mut self, to: &SandboxPath, node: Node) {
        let path = to.as_path().as_os_str();
        match node {
            Node::Dir => {
                self.perms(0);
                self.option("--tmpfs", &[path]);
                self.option("--remount-ro", &[path]);
            }
            Node::File => self.option("--ro-bind", &[OsStr::new("/dev/null"), path]),
        }
        self.layers.push((to.clone(), None));
    }

    fn shadow(
        &mut self,
        at: &SandboxPath,
        mode: u32,
        entries: &[ShadowEntry],
    ) -> Result<(), Reason> {
        let Some(covered) = self.on_host(at) else {
            // The planner shadows directories of the host alone.
            return Err(Reason::new(format!("{at:?} is no directory of the host")));
        };
        self.perms(mode);
        self.option("--tmpfs", &[at.as_path().as_os_str()]);
        let inside = |path: &Path| at.as_path().join(path);
        for entry in entries {
            match entry {
                // Removed since the plan was made: then it is not there any more.
                ShadowEntry::Keep { name, node: _ } => {
                    let (from, to) = (covered.join(name), inside(Path::new(name)));
                    self.option("--ro-bind-try", &[from.as_os_str(), to.as_os_str()]);
                }
                ShadowEntry::Link { path, to } => {
                    self.option("--symlink", &[to, inside(path).as_os_str()]);
                }
                ShadowEntry::Dir { path, mode } => {
                    self.perms(*mode);
                    self.option("--dir", &[inside(path).as_os_str()]);
                }
                ShadowEntry::File { path } => {
                    self.data("--file", &Arc::from([]), 0o644, &inside(path));
                }
            }
        }
        self.option("--remount-ro", &[at.as_path().as_os_str()]);
        Ok(())
    }

    /// Where on the host the directory is that is seen at `path`.
    fn on_host(&self, path: &SandboxPath) -> Option<PathBuf> {
        let layer = self
            .layers
            .iter()
            .rev()
            .find(|(to, _)| path.starts_with(to));
        let (to, source) = layer?;
        let rest = path.as_path().strip_prefix(to).ok()?;
        let source = source.as_ref()?;
        // An empty path would add a slash, which a file does not take.
        Some(if rest.as_os_str().is_empty() {
            source.clone()
        } else {
            source.join(rest)
        })
    }
}

fn bind_option(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => "--ro-bind",
        Access::ReadWrite => "--bind",
    }
}

fn below(root: &Path, path: &SandboxPath) -> PathBuf {
    if path.is_root() {
        root.to_owned()
    } else {
        root.join(path.relative())
    }
}
