//! From mounts that apply one after another to a configuration.
//!
//! The classic program mounts on what is there by then, and makes read-only what is there by
//! then. A configuration says what is to be seen where; so this keeps account of which directory
//! of the host is seen at which path.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use sandboxlib::{Mount, MountKind, SandboxPath};

use crate::args;

/// The kernel's own limit on following symbolic links (MAXSYMLINKS).
const MOST_LINKS: usize = 40;

/// What is seen somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Layer {
    /// This path of the host.
    Host(PathBuf),
    /// The minimal /dev, which is read-only but for its devices.
    Dev,
    /// A procfs of the sandbox's own.
    Proc,
}

#[derive(Debug)]
pub(crate) struct Layers {
    root: PathBuf,
    read_only: bool,
    own_pids: bool,
    layers: Vec<(SandboxPath, Layer)>,
    mounts: Vec<Mount>,
}

impl Layers {
    pub(crate) fn new(root: &Path, own_pids: bool) -> Self {
        Self {
            root: root.to_owned(),
            read_only: false,
            own_pids,
            layers: vec![(SandboxPath::root(), Layer::Host(root.to_owned()))],
            mounts: Vec::new(),
        }
    }

    /// The root, whether it is read-only, and the mounts.
    pub(crate) fn finish(self) -> (PathBuf, bool, Vec<Mount>) {
        (self.root, self.read_only, self.mounts)
    }

    pub(crate) fn add(&mut self, mount: &args::Mount) -> Result<(), String> {
        match mount {
            args::Mount::Bind(source, target) => {
                let at = self.canonical(target)?;
                if at.is_root() {
                    self.replace_root(source.clone(), false);
                    return Ok(());
                }
                self.put(Mount::bind(source, at), Layer::Host(source.clone()));
            }
            args::Mount::ReadOnly(target) => self.read_only(target)?,
            args::Mount::Proc(target) => {
                let at = self.mount_point(target)?;
                if self.own_pids {
                    self.put(Mount::new(at, MountKind::Proc), Layer::Proc);
                } else {
                    // That of the same process ids, which is the one there is.
                    self.put(Mount::bind("/proc", at), Layer::Host("/proc".into()));
                }
            }
            args::Mount::Devapi(target) => {
                let at = self.mount_point(target)?;
                self.put(Mount::new(at, MountKind::Dev), Layer::Dev);
            }
        }
        Ok(())
    }

    /// The classic program binds a place to itself, without what is mounted below, and makes
    /// that read-only. So whatever was mounted below is hidden from here on.
    fn read_only(&mut self, target: &SandboxPath) -> Result<(), String> {
        let at = self.canonical(target)?;
        if at.is_root() {
            self.replace_root(self.root.clone(), true);
            return Ok(());
        }
        match self.layer(&at) {
            (rest, Layer::Host(dir)) => {
                let source = join(dir, &rest);
                let layer = Layer::Host(source.clone());
                self.put(Mount::bind_read_only(source, at), layer);
                Ok(())
            }
            (_, Layer::Dev) => Ok(()),
            (_, Layer::Proc) => {
                let what = "a part of the sandbox's own procfs";
                Err(format!("--mount-readonly {target}: it is {what}"))
            }
        }
    }

    fn replace_root(&mut self, root: PathBuf, read_only: bool) {
        self.layers = vec![(SandboxPath::root(), Layer::Host(root.clone()))];
        self.mounts.clear();
        self.root = root;
        self.read_only = read_only;
    }

    fn mount_point(&self, target: &SandboxPath) -> Result<SandboxPath, String> {
        let at = self.canonical(target)?;
        if at.is_root() {
            return Err(format!("{target}: nothing but a directory can be the root"));
        }
        Ok(at)
    }

    fn put(&mut self, mount: Mount, layer: Layer) {
        self.layers.push((mount.target.clone(), layer));
        self.mounts.push(mount.covering());
    }

    /// What is seen at `path` or mounted above it, and the rest of the path.
    fn layer(&self, path: &SandboxPath) -> (PathBuf, &Layer) {
        let found = self.layers.iter().rev().find_map(|(at, layer)| {
            let rest = path.as_path().strip_prefix(at).ok()?;
            Some((rest.to_owned(), layer))
        });
        // The first layer is that of the root, of which every path is a part.
        found.unwrap_or((path.relative().to_owned(), &self.layers[0].1))
    }

    /// The path without symbolic links, which lead nowhere but inside.
    fn canonical(&self, path: &SandboxPath) -> Result<SandboxPath, String> {
        let mut at = SandboxPath::root();
        let mut links = 0;
        let mut rest: Vec<OsString> = path.components().rev().map(Into::into).collect();
        while let Some(name) = rest.pop() {
            if name == ".." {
                at = at.parent().unwrap_or(at);
                continue;
            }
            let next = at.join(&name).map_err(|e| format!("{path}: {e}"))?;
            let link = match self.layer(&next) {
                (tail, Layer::Host(dir)) => std::fs::read_link(join(dir, &tail)).ok(),
                _ => None,
            };
            let Some(to) = link else {
                at = next;
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(format!("{path}: too many symbolic links"));
            }
            for part in to.components().rev() {
                match part {
                    Component::Normal(name) => rest.push(name.into()),
                    Component::ParentDir => rest.push("..".into()),
                    Component::RootDir => at = SandboxPath::root(),
                    Component::CurDir | Component::Prefix(_) => {}
                }
            }
        }
        Ok(at)
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

#[cfg(test)]
mod tests {
    use super::*;
    use sandboxlib::Access;

    fn at(path: &str) -> SandboxPath {
        SandboxPath::new(path).unwrap()
    }

    fn bind(source: &str, target: &str) -> args::Mount {
        args::Mount::Bind(source.into(), at(target))
    }

    fn read_only(target: &str) -> args::Mount {
        args::Mount::ReadOnly(at(target))
    }

    /// The root, whether it is read-only, and each mount as `SOURCE ACCESS TARGET`.
    fn done(mounts: &[args::Mount]) -> (PathBuf, bool, Vec<String>) {
        let mut layers = Layers::new(Path::new("/srv/r"), true);
        for mount in mounts {
            layers.add(mount).unwrap();
        }
        let (root, ro, mounts) = layers.finish();
        let shown = mounts.iter().map(|m| match &m.kind {
            MountKind::Bind { source, access } => {
                let word = match access {
                    Access::ReadOnly => "ro",
                    Access::ReadWrite => "rw",
                };
                format!("{} {word} {}", source.display(), m.target)
            }
            other => format!("{} {}", other.name(), m.target),
        });
        (root, ro, shown.collect())
    }

    #[test]
    fn read_only_is_what_is_seen_there_by_then() {
        let mounts = [
            read_only("/etc"),
            bind("/src", "/build"),
            read_only("/build/sub"),
            bind("/other", "/build/sub"),
            read_only("/build/sub"),
        ];
        let shown = [
            "/srv/r/etc ro /etc",
            "/src rw /build",
            "/src/sub ro /build/sub",
            "/other rw /build/sub",
            "/other ro /build/sub",
        ];
        assert_eq!(
            done(&mounts),
            ("/srv/r".into(), false, shown.map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn the_root_can_be_replaced_and_be_read_only() {
        let (root, ro, mounts) = done(&[bind("/a", "/b"), read_only("/"), bind("/c", "/d")]);
        assert_eq!(
            (root, ro, mounts),
            ("/srv/r".into(), true, vec!["/c rw /d".to_owned()])
        );
        let (root, ro, mounts) = done(&[bind("/a", "/"), read_only("/"), read_only("/e")]);
        assert_eq!(
            (root, ro, mounts),
            ("/a".into(), true, vec!["/a/e ro /e".to_owned()])
        );
    }

    #[test]
    fn own_file_systems_have_no_place_on_the_host() {
        let mut layers = Layers::new(Path::new("/srv/r"), true);
        layers.add(&args::Mount::Proc(at("/proc"))).unwrap();
        layers.add(&args::Mount::Devapi(at("/dev"))).unwrap();
        layers.add(&read_only("/dev")).unwrap();
        layers.add(&read_only("/proc/sys")).unwrap_err();
        assert_eq!(layers.finish().2.len(), 2);
    }

    #[test]
    fn links_stay_inside() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run/x")).unwrap();
        std::os::unix::fs::symlink("/run", root.path().join("var")).unwrap();
        std::os::unix::fs::symlink("../../../../run", root.path().join("up")).unwrap();
        std::os::unix::fs::symlink("loop", root.path().join("loop")).unwrap();
        let layers = Layers::new(root.path(), true);
        for (path, wanted) in [
            ("/var/x", "/run/x"),
            ("/up/x", "/run/x"),
            ("/no/x", "/no/x"),
        ] {
            assert_eq!(layers.canonical(&at(path)).unwrap(), at(wanted));
        }
        layers.canonical(&at("/loop/x")).unwrap_err();
    }
}
