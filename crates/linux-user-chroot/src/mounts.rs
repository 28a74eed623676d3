//! From the mount plan to options of linux-user-chroot, which carries them out in the order
//! given.
//!
//! It binds without what is mounted below, makes nothing that is missing, and has no tmpfs and
//! no file with data. So what has to be made is made in a private directory of the run and bound
//! in; `--mount-readonly` comes before what is mounted below, because it would hide it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sandboxlib_config::{Access, SandboxPath};
use sandboxlib_core::{HelperArg, HelperCall, Hint, Knob, Reason, ScratchEntry, ScratchKind};
use sandboxlib_mount::{BindSource, Node, PlanStep, ShadowEntry};

/// Directories that every Linux has, as a place for a root that is not mounted on itself. The
/// root covers it for this run alone, so nothing can be bound from there.
const PLACES: [&str; 6] = ["/sys", "/mnt", "/media", "/boot", "/opt", "/srv"];

/// Adds the options and the root directory, and says how many options they are.
pub(crate) fn add(call: &mut HelperCall, steps: &[PlanStep]) -> Result<usize, Reason> {
    let mut options = Options {
        call,
        count: 0,
        scratch: 0,
        root: PathBuf::new(),
        layers: Vec::new(),
    };
    let [PlanStep::Root { source, access }, rest @ ..] = steps else {
        return Err(Reason::new("the plan does not begin with a root"));
    };
    let place = options.root(source, *access, rest)?;
    let mut rest = rest;
    while let [step, after @ ..] = rest {
        rest = match step {
            PlanStep::Tmpfs { to, .. } if is_dev(to, after) => {
                options.option("--mount-devapi", [to.as_path().into()]);
                options.layers.push((to.clone(), Layer::Dev));
                behind_dev(to, after)
            }
            other => {
                options.step(other)?;
                after
            }
        };
    }
    let count = options.count;
    call.arg(place);
    Ok(count)
}

/// Whether the tmpfs on `dev` is that of a minimal `/dev`, which has a devpts in it.
fn is_dev(dev: &SandboxPath, steps: &[PlanStep]) -> bool {
    let pts = steps
        .iter()
        .take_while(|step| is_below(dev, step))
        .find_map(|step| match step {
            PlanStep::Devpts { to } => Some(to),
            _ => None,
        });
    pts.and_then(SandboxPath::parent).as_ref() == Some(dev)
}

/// The steps behind those that make a minimal `/dev` up to its shm.
fn behind_dev<'a>(dev: &SandboxPath, steps: &'a [PlanStep]) -> &'a [PlanStep] {
    let shm = |step: &PlanStep| {
        matches!(step, PlanStep::Tmpfs { to, .. }
            if to.parent().as_ref() == Some(dev) && to.file_name().is_some_and(|n| n == "shm"))
    };
    let end = steps.iter().take_while(|s| is_below(dev, s)).position(shm);
    end.map_or(steps, |at| &steps[at + 1..])
}

fn is_below(dir: &SandboxPath, step: &PlanStep) -> bool {
    let at = match step {
        PlanStep::Bind { to, .. } | PlanStep::Tmpfs { to, .. } | PlanStep::Devpts { to } => to,
        PlanStep::MakeFile { at, .. }
        | PlanStep::MakeDir { at, .. }
        | PlanStep::MakeSymlink { at, .. } => at,
        _ => return false,
    };
    at != dir && at.starts_with(dir)
}

/// What has been mounted somewhere.
#[derive(Debug, Clone)]
enum Layer {
    /// A directory or file of the host.
    Host(PathBuf),
    /// Something in the private directory of the run.
    Scratch(PathBuf),
    /// A procfs.
    Proc,
    /// The devices that the helper makes.
    Dev,
}

struct Options<'a> {
    call: &'a mut HelperCall,
    count: usize,
    /// How many things there are at the top of the private directory.
    scratch: usize,
    root: PathBuf,
    layers: Vec<(SandboxPath, Layer)>,
}

impl Options<'_> {
    fn option<const N: usize>(&mut self, name: &str, values: [OsString; N]) {
        self.call.arg(name).args(values);
        self.count += 1;
    }

    fn bind(&mut self, from: impl Into<HelperArg>, to: &SandboxPath, access: Access) {
        self.call.arg("--mount-bind").arg(from).arg(to.as_path());
        self.count += 1;
        if access == Access::ReadOnly {
            self.option("--mount-readonly", [to.as_path().into()]);
        }
    }

    /// A new thing in the private directory, and its name.
    fn new_scratch(&mut self, kind: ScratchKind) -> PathBuf {
        let path = PathBuf::from(self.scratch.to_string());
        self.scratch += 1;
        self.add_scratch(path.clone(), kind);
        path
    }

    fn add_scratch(&mut self, path: PathBuf, kind: ScratchKind) {
        self.call.scratch.push(ScratchEntry { path, kind });
    }

    /// Decides where the root is put together, and what is there before any mount of the plan.
    fn root(
        &mut self,
        source: &Path,
        access: Access,
        rest: &[PlanStep],
    ) -> Result<HelperArg, Reason> {
        source.clone_into(&mut self.root);
        let root = SandboxPath::root();
        self.layers.push((root.clone(), Layer::Host(source.into())));
        // A shadow of the root covers it.
        if matches!(rest, [PlanStep::Shadow { at, .. }, ..] if at.is_root()) {
            return self.place(source, rest);
        }
        // What is bound from within the root would be looked up in what is mounted there by then.
        let from_within = rest.iter().any(|step| match step {
            PlanStep::Bind { from, .. } => match from {
                BindSource::Host(path) => path.starts_with(source),
                BindSource::Root(_) => true,
            },
            _ => false,
        });
        if access == Access::ReadWrite && !from_within {
            return Ok(source.as_os_str().into());
        }
        let place = self.place(source, rest)?;
        self.bind(source, &root, access);
        Ok(place)
    }

    fn place(&self, source: &Path, rest: &[PlanStep]) -> Result<HelperArg, Reason> {
        let used = |place: &str| {
            source.starts_with(place)
                || rest.iter().any(|step| {
                    matches!(step, PlanStep::Bind { from: BindSource::Host(path), .. }
                        if path.starts_with(place))
                })
        };
        match PLACES.iter().find(|place| !used(place)) {
            Some(place) => Ok((*place).into()),
            None => Err(Reason::new(
                "there is no directory left to put the root together in",
            )),
        }
    }

    fn step(&mut self, step: &PlanStep) -> Result<(), Reason> {
        match step {
            PlanStep::Root { .. } => {
                return Err(Reason::new("the plan has a second root"));
            }
            PlanStep::Shadow { at, mode, entries } => self.shadow(at, *mode, entries)?,
            PlanStep::Bind {
                from,
                to,
                attributes,
                node: _,
            } => {
                let source = match from {
                    BindSource::Host(path) => path.clone(),
                    BindSource::Root(path) if path.is_root() => self.root.clone(),
                    BindSource::Root(path) => self.root.join(path.relative()),
                };
                self.bind(source.clone(), to, attributes.access);
                self.layers.push((to.clone(), Layer::Host(source)));
            }
            PlanStep::Tmpfs { to, size, mode } => {
                if size.is_some() {
                    let text = format!(
                        "linux-user-chroot has no tmpfs, and the directory that stands in for it \
                         on {to:?} cannot be limited in size"
                    );
                    return Err(Reason::new(text));
                }
                let dir = self.new_scratch(ScratchKind::Dir(*mode));
                self.bind(HelperArg::Scratch(dir.clone()), to, Access::ReadWrite);
                self.layers.push((to.clone(), Layer::Scratch(dir)));
            }
            PlanStep::Proc { to } => {
                self.option("--mount-proc", [to.as_path().into()]);
                self.layers.push((to.clone(), Layer::Proc));
            }
            PlanStep::File { to, data, mode } => {
                let file = self.new_scratch(ScratchKind::File(data.clone(), *mode));
                self.bind(HelperArg::Scratch(file.clone()), to, Access::ReadOnly);
                self.layers.push((to.clone(), Layer::Scratch(file)));
            }
            PlanStep::Overlay { .. } => {
                return Err(Reason::new("linux-user-chroot has no overlays"));
            }
            PlanStep::MakeDir { at, mode, .. } => self.make(at, ScratchKind::Dir(*mode))?,
            PlanStep::MakeFile { at, .. } => {
                self.make(at, ScratchKind::File([].into(), 0o644))?;
            }
            PlanStep::MakeSymlink { at, to, .. } => {
                self.make(at, ScratchKind::Symlink(to.clone()))?;
            }
            // Only what the helper makes belongs to root, whom the command is not.
            PlanStep::Seal { at } if matches!(self.layer(at), Some((_, Layer::Dev))) => {}
            PlanStep::Seal { at } => self.option("--mount-readonly", [at.as_path().into()]),
            PlanStep::Devpts { to } => {
                let text = format!("linux-user-chroot cannot mount a devpts on {to:?}");
                return Err(Reason::new(text));
            }
            // A file is no socket.
            PlanStep::CloseSocket { to } => {
                let file = self.new_scratch(ScratchKind::File([].into(), 0));
                self.bind(HelperArg::Scratch(file.clone()), to, Access::ReadOnly);
                self.layers.push((to.clone(), Layer::Scratch(file)));
            }
            PlanStep::Mask { to, .. } => {
                let text = format!("linux-user-chroot cannot mask {to:?}");
                return Err(Reason::new(text));
            }
        }
        Ok(())
    }

    /// What is mounted at `path` or above it, and the rest of the path.
    fn layer(&self, path: &SandboxPath) -> Option<(PathBuf, &Layer)> {
        let (at, layer) = self
            .layers
            .iter()
            .rev()
            .find(|(at, _)| path.starts_with(at))?;
        Some((path.as_path().strip_prefix(at).ok()?.to_owned(), layer))
    }

    /// Makes something that is missing, which has to be in the private directory.
    fn make(&mut self, at: &SandboxPath, kind: ScratchKind) -> Result<(), Reason> {
        match self.layer(at) {
            Some((rest, Layer::Scratch(dir))) => {
                let path = dir.join(rest);
                self.add_scratch(path, kind);
                Ok(())
            }
            Some((rest, Layer::Host(dir))) => {
                let path = dir.join(rest);
                let hint = Hint::new(
                    Knob::Path(path),
                    "make it beforehand, or make the root read-only",
                );
                let text = format!("linux-user-chroot cannot make the missing {at:?} on the host");
                Err(Reason::new(text).hint(hint))
            }
            _ => {
                let text = format!("linux-user-chroot cannot make {at:?}");
                Err(Reason::new(text))
            }
        }
    }

    /// A directory of our own over `at`, with the entries of the covered one bound in.
    fn shadow(
        &mut self,
        at: &SandboxPath,
        mode: u32,
        entries: &[ShadowEntry],
    ) -> Result<(), Reason> {
        let covered = match self.layer(at) {
            Some((rest, Layer::Host(dir))) => join(dir, &rest),
            _ => return Err(Reason::new(format!("{at:?} is no directory of the host"))),
        };
        let dir = self.new_scratch(ScratchKind::Dir(mode));
        self.bind(HelperArg::Scratch(dir.clone()), at, Access::ReadOnly);
        for entry in entries {
            match entry {
                ShadowEntry::Keep { name, node } => {
                    let kind = match node {
                        Node::Dir => ScratchKind::Dir(0o755),
                        Node::File => ScratchKind::File([].into(), 0o644),
                    };
                    self.add_scratch(dir.join(name), kind);
                    let to = at.join(name).map_err(|e| Reason::new(e.to_string()))?;
                    self.bind(covered.join(name), &to, Access::ReadOnly);
                }
                ShadowEntry::Link { path, to } => {
                    self.add_scratch(dir.join(path), ScratchKind::Symlink(to.clone()));
                }
                ShadowEntry::Dir { path, mode } => {
                    self.add_scratch(dir.join(path), ScratchKind::Dir(*mode));
                }
                ShadowEntry::File { path } => {
                    self.add_scratch(dir.join(path), ScratchKind::File([].into(), 0o644));
                }
            }
        }
        Ok(())
    }
}

/// An empty rest would add a slash, which a file does not take.
fn join(dir: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() {
        dir.to_owned()
    } else {
        dir.join(rest)
    }
}
