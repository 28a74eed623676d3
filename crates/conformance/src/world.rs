//! The part of the host that a case has to itself.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sandboxlib_config::{
    Config, FeatureSet, Isolation, Network, Root, RootAccess, SandboxPath, Seccomp,
};
use tempfile::TempDir;

use crate::answer::Answer;
use crate::case::Case;

/// Why there is no program; empty where there is one.
pub(crate) const NO_PROBE: &str = env!("SANDBOXLIB_NO_PROBE");

/// The program; empty where there is none.
pub(crate) static PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe"));

/// More processes than there are in any sandbox of the cases, which are numbered from 1.
const INSIDE: u32 = 100;

/// A directory with `root`, which holds nothing but the probe, and `outside`, which no sandbox
/// sees that was not told to; a listener on a port of 127.0.0.1; and names for what is shared by
/// number.
///
/// In texts `{root}` and `{outside}` are these directories on the host, `{port}` the port,
/// `{uid}` and `{gid}` those of the caller, `{pid}` a process of the host's, `{key}` a number of
/// this case's own.
#[derive(Debug)]
pub(crate) struct World {
    // Dropped before the directory that its program is in.
    _bystander: Option<Running>,
    dir: TempDir,
    /// Whether `root` is the root, and not the host's.
    own_root: Cell<bool>,
    _listener: TcpListener,
    _sockets: Vec<UnixListener>,
    names: Vec<(&'static str, String)>,
}

impl World {
    /// A new one with the files of `case`.
    pub(crate) fn new(case: &Case, own_root: bool) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::Builder::new()
            .prefix("sandboxlib-conformance-")
            .tempdir()?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (uid, gid) = sandboxlib_spawn::caller_ids();
        let pid = std::process::id();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Not 0, which stands for a new segment, and no other process's.
        let key = 1 + (pid % 100_000) * 1000 + number % 1000;
        let path = |name: &str| dir.path().join(name).display().to_string();
        let names = vec![
            ("{root}", path("root")),
            ("{outside}", path("outside")),
            ("{port}", listener.local_addr()?.port().to_string()),
            ("{uid}", uid.to_string()),
            ("{gid}", gid.to_string()),
            ("{pid}", pid.to_string()),
            ("{key}", key.to_string()),
        ];
        let mut world = Self {
            _bystander: None,
            dir,
            own_root: Cell::new(own_root),
            _listener: listener,
            _sockets: Vec::new(),
            names,
        };
        world.make_dir("")?;
        world.make_dir("root")?;
        world.make_dir("outside")?;
        world.write("outside/canary", b"of the host")?;
        world.write("root/probe", PROBE)?;
        world.set_mode("root/probe", 0o755)?;
        for (path, content) in case.files {
            match path.strip_suffix('/') {
                Some(directory) => world.make_dir(directory)?,
                None => world.write(path, content.as_bytes())?,
            }
        }
        for (path, to) in case.links {
            symlink(to, world.on_host(path))?;
        }
        for path in case.sockets {
            let socket = world.listen(path)?;
            world._sockets.push(socket);
        }
        world.wait_until_executable()?;
        if pid < INSIDE {
            let bystander = world.bystander()?;
            let number = bystander.0.id().to_string();
            let named = world.names.iter_mut().find(|(name, _)| *name == "{pid}");
            if let Some((_, value)) = named {
                *value = number;
            }
            world._bystander = Some(bystander);
        }
        Ok(world)
    }

    /// A process of the host's with a number that no process inside has. The caller itself has a
    /// small one where it is in a process id namespace too.
    fn bystander(&self) -> io::Result<Running> {
        for _ in 0..2 * INSIDE {
            let bystander = self.start_on_host("pid : sleep 60")?;
            if bystander.0.id() >= INSIDE {
                return Ok(bystander);
            }
        }
        Err(io::Error::other("every new process has a small number"))
    }

    fn make_dir(&self, path: &str) -> io::Result<()> {
        fs::create_dir_all(self.on_host(path))?;
        // Whatever the umask: the command may be somebody else.
        self.set_mode(path, 0o755)
    }

    fn write(&self, path: &str, content: &[u8]) -> io::Result<()> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.make_dir(parent)?;
        }
        fs::write(self.on_host(path), content)?;
        self.set_mode(path, 0o644)
    }

    /// Listens on a local socket, which anybody may connect to.
    pub(crate) fn listen(&self, path: &str) -> io::Result<UnixListener> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.make_dir(parent)?;
        }
        let listener = UnixListener::bind(self.on_host(path))?;
        self.set_mode(path, 0o666)?;
        Ok(listener)
    }

    fn set_mode(&self, path: &str, mode: u32) -> io::Result<()> {
        fs::set_permissions(self.on_host(path), fs::Permissions::from_mode(mode))
    }

    /// Another thread may have made a child while the probe was written, and the child holds it
    /// open until it executes something. Once the probe has been executed, nobody does.
    fn wait_until_executable(&self) -> io::Result<()> {
        for _ in 0..500 {
            match self.probe(&["pid"]).status() {
                Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                done => return done.map(drop),
            }
        }
        Err(io::ErrorKind::ExecutableFileBusy.into())
    }

    /// A path below the directory of the case, on the host.
    pub(crate) fn on_host(&self, path: &str) -> PathBuf {
        if path.is_empty() {
            return self.dir.path().to_owned();
        }
        self.dir.path().join(path)
    }

    /// A path below the root, as seen inside.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        let root = match self.own_root.get() {
            true => PathBuf::from("/"),
            false => self.on_host("root"),
        };
        if path.is_empty() {
            root
        } else {
            root.join(path)
        }
    }

    /// The same, for a configuration.
    pub(crate) fn at(&self, path: &str) -> SandboxPath {
        // The paths of the cases are such paths; a test goes through all of them.
        SandboxPath::new(self.inside(path)).unwrap_or_else(|_| SandboxPath::root())
    }

    /// A text of a case with its names filled in.
    pub(crate) fn fill(&self, text: &str) -> String {
        let named = self
            .names
            .iter()
            .fold(text.to_owned(), |text, (name, value)| {
                text.replace(name, value)
            });
        match named.strip_prefix('@') {
            Some(path) => self.inside(path).display().to_string(),
            None => named,
        }
    }

    /// The value of a name such as `{uid}`.
    pub(crate) fn value(&self, name: &str) -> &str {
        let found = self.names.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The words of a question.
    pub(crate) fn words(&self, question: &str) -> Vec<String> {
        question.split_whitespace().map(|w| self.fill(w)).collect()
    }

    /// Nothing isolated, and what the case adds.
    pub(crate) fn config(&self, case: &Case) -> Config {
        let root = match self.own_root.get() {
            true => Root::Dir(self.on_host("root")),
            false => Root::Host,
        };
        let mut config = Config::new(root);
        config.root_access = Some(RootAccess::ReadWrite);
        config.hidden = Some(Vec::new());
        config.sockets = vec![SandboxPath::root()];
        config.network = Network::Shared;
        config.namespaces.pid = Isolation::Shared;
        config.namespaces.ipc = Isolation::Shared;
        config.namespaces.uts = Isolation::Shared;
        config.namespaces.cgroup = Isolation::Shared;
        config.seccomp = Seccomp::None;
        config.allow_nested = true;
        config.prefer = FeatureSet::EMPTY;
        (case.config)(&mut config, self);
        self.own_root.set(config.root != Root::Host);
        config
    }

    fn probe(&self, words: &[impl AsRef<std::ffi::OsStr>]) -> Command {
        let mut command = Command::new(self.on_host("root/probe"));
        command
            .args(words)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    /// Asks the probe on the host.
    pub(crate) fn ask_host(&self, question: &str) -> Option<Answer> {
        let output = self.probe(&self.words(question)).output().ok()?;
        Answer::read(&output.stdout).into_iter().next()
    }

    /// Starts the probe on the host, and returns when it has answered the first question.
    pub(crate) fn start_on_host(&self, questions: &str) -> io::Result<Running> {
        use std::io::{BufRead as _, BufReader};
        let mut child = self.probe(&self.words(questions)).spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        Ok(Running(child))
    }

    /// Every file below the directory of the case: kind, permissions and content.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        self.walk(self.dir.path(), &mut found);
        found
    }

    fn walk(&self, dir: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = fs::symlink_metadata(&path) else {
                continue;
            };
            let mut text = format!("{:?} {:o}", meta.file_type(), meta.permissions().mode());
            if meta.is_symlink() {
                text += &format!(" to {:?}", fs::read_link(&path).unwrap_or_default());
            } else if meta.is_file() && !path.ends_with("root/probe") {
                let content = fs::read(&path).unwrap_or_default();
                text += &format!(" with \"{}\"", content.escape_ascii());
            } else if meta.is_file() {
                text += &format!(" of {} bytes", meta.len());
            }
            if meta.is_dir() {
                self.walk(&path, found);
            }
            let name = path.strip_prefix(self.dir.path()).unwrap_or(&path);
            found.insert(name.to_owned(), text);
        }
    }

    /// The mounts of the host that have to do with the directory of the case: none, if all is
    /// well.
    pub(crate) fn mounts(&self) -> Option<String> {
        let name = self.dir.path().file_name()?.to_str()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        mounts.lines().find(|m| m.contains(name)).map(str::to_owned)
    }
}

/// A probe on the host, until it is dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
