//! What lies around a sandbox in one run: what it may have, and what it must not reach.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use tempfile::TempDir;

use crate::Who;

/// Compiled by the build script.
static ATTACK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/attack"));

type Result<T = ()> = std::io::Result<T>;

/// What a whole suite has in common: the root, with the attack program in it.
#[derive(Debug)]
pub struct Stage {
    dir: TempDir,
    /// Who plays.
    pub who: Who,
}

const CANARY: &str = "as it was\n";

impl Stage {
    /// A new one.
    ///
    /// # Errors
    /// What the file system says, and if the attack program could not be built.
    pub fn new(who: Who) -> Result<Self> {
        if ATTACK.is_empty() {
            let why = "this build has no attack program: see the build script";
            return Err(std::io::Error::other(why));
        }
        let dir = tempfile::Builder::new().prefix("escape-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let stage = Self { dir, who };
        let root = stage.root();
        for name in [
            "bin", "dev", "etc", "home", "proc", "ro", "root", "run", "sys", "tmp", "usr", "var",
            "work",
        ] {
            fs::create_dir_all(root.join(name))?;
        }
        fs::create_dir(root.join("etc/private"))?;
        fs::write(root.join("etc/masked"), "")?;
        fs::write(root.join("etc/os-release"), "ID=escapes\n")?;
        sandboxlib_tests::install(ATTACK, &stage.attack(), 0o755);
        if Path::new("/bin/busybox").exists() {
            fs::copy("/bin/busybox", root.join("bin/busybox"))?;
            std::os::unix::fs::symlink("busybox", root.join("bin/sh"))?;
        }
        if who == Who::Root {
            // Somebody else's program, which has its owner's rights wherever that counts.
            let setuid = root.join("bin/setuid");
            sandboxlib_tests::install(ATTACK, &setuid, 0o755);
            chown(&setuid, Some(12345), Some(12345))?;
            fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755))?;
        }
        Ok(stage)
    }

    /// The root directory that sandboxes get.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// The attack program, on the host.
    #[must_use]
    pub fn attack(&self) -> PathBuf {
        self.root().join("attack")
    }

    /// A fresh scene.
    ///
    /// # Errors
    /// What the file system says.
    pub fn scene(&self) -> Result<Scene<'_>> {
        let dir = tempfile::Builder::new()
            .prefix("scene-")
            .tempdir_in(self.dir.path())?;
        let mut random = [0; 16];
        fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let (token, secret) = random.split_at(8);
        let scene = Scene {
            stage: self,
            dir,
            token: hex(token),
            secret: format!("secret-{}", hex(secret)),
            waiting: Vec::new(),
            told: Vec::new(),
        };
        scene.lay_out()?;
        Ok(scene)
    }
}

/// One run's surroundings. Dropping it ends whoever waits outside.
#[derive(Debug)]
pub struct Scene<'a> {
    stage: &'a Stage,
    dir: TempDir,
    /// What the processes of this run are known by.
    pub token: String,
    /// What must not come out.
    pub secret: String,
    waiting: Vec<Waiting>,
    told: Vec<String>,
}

#[derive(Debug)]
struct Waiting {
    child: Child,
    input: Option<ChildStdin>,
}

impl Scene<'_> {
    fn lay_out(&self) -> Result {
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o755))?;
        for name in [
            "outside",
            "outside/sub",
            "work",
            "work/private",
            "work/moving",
            "ro",
            "ro/sub",
        ] {
            fs::create_dir(self.path(name))?;
        }
        for (name, content) in [
            ("outside/secret", self.secret.as_str()),
            ("outside/canary", CANARY),
            ("outside/log", &format!("{}\n", self.secret)),
            ("work/private/secret", self.secret.as_str()),
            ("ro/canary", CANARY),
            ("ro/sub/canary", CANARY),
        ] {
            fs::write(self.path(name), content)?;
        }
        fs::write(self.stage.root().join("etc/masked"), &self.secret)?;
        // A program that can be executed and must not be written.
        fs::copy(self.stage.attack(), self.path("outside/program"))?;
        Ok(())
    }

    /// Something of this scene.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory of this scene.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts somebody who waits outside, and notes what the attack is to be told.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn call(&mut self, role: &[&str]) -> Result {
        let words = self.fill(role);
        let program = if role.first() == Some(&"idle") {
            self.path("outside/program")
        } else {
            self.stage.attack()
        };
        let mut child = Command::new(program)
            .arg("outside")
            .args(words)
            .env("SECRET", &self.secret)
            .current_dir(self.path("outside"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        self.waiting.push(Waiting { child, input });
        match line.trim().strip_prefix("ready") {
            Some(words) => {
                self.told
                    .extend(words.split_whitespace().map(str::to_owned));
                Ok(())
            }
            None => Err(std::io::Error::other(format!(
                "{} outside: {}",
                role.first().unwrap_or(&""),
                line.trim()
            ))),
        }
    }

    /// What somebody outside has told under this name.
    #[must_use]
    pub fn told(&self, name: &str) -> Option<&str> {
        self.told
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// Ends everybody who waits outside.
    pub fn dismiss(&mut self) {
        for mut one in self.waiting.drain(..) {
            drop(one.input.take());
            if sandboxlib_tests::watch::within(std::time::Duration::from_secs(2), || {
                one.child.try_wait().ok().flatten()
            })
            .is_none()
            {
                let _ = one.child.kill();
                let _ = one.child.wait();
            }
        }
    }

    /// The words with their places filled in. `{unshare}` alone becomes several.
    #[must_use]
    pub fn fill(&self, words: &[impl AsRef<str>]) -> Vec<String> {
        let places = [
            ("{root}", self.stage.root()),
            ("{attack}", self.stage.attack()),
            ("{outside}", self.path("outside")),
            ("{work}", self.path("work")),
            ("{ro}", self.path("ro")),
        ];
        words
            .iter()
            .flat_map(|word| {
                let word = word.as_ref();
                if word == "{unshare}" {
                    let user = self.stage.who == Who::User;
                    let options: &[&str] = if user {
                        &["unshare", "--mount", "--map-root-user"]
                    } else {
                        &["unshare", "--mount"]
                    };
                    return options.iter().map(|w| (*w).to_owned()).collect();
                }
                let mut word = word
                    .replace("{token}", &self.token)
                    .replace("{name}", &format!("escape-{}", self.token))
                    .replace("{secret}", &self.secret)
                    .replace("{home}", &std::env::var("HOME").unwrap_or_default());
                for (place, path) in &places {
                    word = word.replace(place, &path.display().to_string());
                }
                vec![word]
            })
            .collect()
    }

    /// What the attack is told: where things are, as it sees them.
    #[must_use]
    pub fn words(&self, inside: bool, mask: Option<&str>) -> Vec<String> {
        let at = |name: &str| {
            if inside {
                format!("/{name}")
            } else {
                self.path(name).display().to_string()
            }
        };
        let root = if inside {
            String::new()
        } else {
            self.stage.root().display().to_string()
        };
        let link = |name: &str| {
            fs::read_link(format!("/proc/self/ns/{name}"))
                .map(|link| link.display().to_string())
                .unwrap_or_default()
        };
        let device = {
            use std::os::unix::fs::MetadataExt as _;
            fs::metadata(self.dir.path()).map_or(0, |m| m.dev())
        };
        let mut words = vec![
            format!("token={}", self.token),
            format!("outside={}", self.path("outside").display()),
            format!("hidden={}", self.path("outside/secret").display()),
            format!("work={}", at("work")),
            format!("ro={}", at("ro")),
            format!("setuid={root}/bin/setuid"),
            format!("hostpids={}", link("pid")),
            format!("disk={device}"),
            format!("keyname={}", self.token),
        ];
        match mask {
            Some(path) if inside => words.push(format!("masked={path}")),
            Some(path) => words.push(format!("masked={root}{path}")),
            None => {}
        }
        words.extend(self.told.iter().cloned());
        // The first that is told counts: outside, another process plays the part.
        if inside || self.told("init").is_none() {
            words.push("init=1".to_owned());
        }
        if inside {
            words.retain(|word| !word.starts_with("init=") || word == "init=1");
        }
        words
    }

    /// Whether a file that must stay as it is has changed, and which.
    #[must_use]
    pub fn changed(&self) -> Option<String> {
        let same = |name: &str| fs::read_to_string(self.path(name)).is_ok_and(|t| t == CANARY);
        for name in ["outside/canary", "ro/canary", "ro/sub/canary"] {
            if !same(name) {
                return Some(format!("{name} has changed"));
            }
        }
        let unexpected = |dir: &str, expected: &[&str]| {
            let entries = fs::read_dir(self.path(dir)).into_iter().flatten().flatten();
            entries
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .find(|name| !expected.contains(&name.as_str()))
                .map(|name| format!("{dir}/{name} was made"))
        };
        unexpected(
            "outside",
            &["secret", "canary", "log", "program", "sub", "moving"],
        )
        .or_else(|| unexpected("ro", &["canary", "sub", "socket", "giver"]))
    }

    /// Makes the hidden file one that everybody may write.
    pub(crate) fn open_canary(&self) -> Result {
        let mut file = fs::File::options()
            .append(true)
            .open(self.path("outside/canary"))?;
        file.write_all(b"")
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        self.dismiss();
    }
}
