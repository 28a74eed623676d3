//! Runs a command in a sandbox again and again, as `cargo xtask bench` tells it:
//! `bench_driver [OPTION]... ROOT PROGRAM`
//!
//! | option | |
//! |---|---|
//! | `--warm N` | up to N sandboxes stand ready |
//! | `--session` | all runs are in one sandbox |
//! | `--cold` | the sandbox is described and prepared for each run anew |
//! | `--bind SOURCE TARGET` | a read-only bind; as often as wanted |
//! | `--binds DIR N` | DIR/0 to DIR/N-1, read-only, at `/m/0` and so on |
//! | `--share-network` | no network namespace |
//! | `--as-pid-1` | the command is process 1 |
//! | `--no-filter` | no system call filter |
//! | `--no-wall` | no second wall |
//! | `--nested` | no limit on further namespaces, which also takes a smaller filter |
//! | `--heap MIB` | so much memory of this program is resident |
//!
//! How it is told, and what it answers, is in `told`, which it shares with the floor program.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sandboxlib::{Command, Mount, Network, Root, Sandbox, SandboxPath, Seccomp};

#[path = "../../spawn/examples/floor/told.rs"]
mod told;

use told::{Result, obey};

fn main() -> Result<()> {
    let wanted = Wanted::from_args(std::env::args_os().skip(1))?;
    let heap = vec![1u8; wanted.heap << 20];
    if wanted.cold {
        obey(|| {
            Ok(|| {
                let began = Instant::now();
                timed(wanted.sandbox()?.prepare()?.command(&wanted.program), began)
            })
        })?;
    } else if wanted.session {
        let session = wanted.sandbox()?.session()?;
        obey(|| Ok(|| timed(session.command(&wanted.program), Instant::now())))?;
    } else {
        let prepared = wanted.sandbox()?.prepare()?;
        prepared.warm(wanted.warm)?;
        obey(|| {
            Ok(|| {
                // What is wanted is the time of one that stands ready.
                while wanted.warm > 0 && prepared.warmed() == 0 {
                    std::thread::sleep(Duration::from_micros(200));
                }
                let mut command = prepared.command(&wanted.program);
                if wanted.as_pid_1 {
                    command.as_pid_1();
                }
                timed(command, Instant::now())
            })
        })?;
    }
    std::hint::black_box(&heap);
    Ok(())
}

fn timed(mut command: Command<'_>, began: Instant) -> Result<Duration> {
    let outcome = command.status()?;
    let took = began.elapsed();
    if outcome.success() {
        Ok(took)
    } else {
        Err(format!("the command ended with {:?}", outcome.end).into())
    }
}

/// What the command line asks for.
#[derive(Default)]
struct Wanted {
    cold: bool,
    session: bool,
    as_pid_1: bool,
    warm: usize,
    share_network: bool,
    no_filter: bool,
    no_wall: bool,
    nested: bool,
    heap: usize,
    binds: Vec<(PathBuf, PathBuf)>,
    root: PathBuf,
    program: PathBuf,
}

impl Wanted {
    fn from_args(mut args: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut wanted = Self::default();
        let mut paths = Vec::new();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or("a value is missing");
            match arg.to_str() {
                Some("--session") => wanted.session = true,
                Some("--as-pid-1") => wanted.as_pid_1 = true,
                Some("--warm") => wanted.warm = number(&value()?)?,
                Some("--cold") => wanted.cold = true,
                Some("--share-network") => wanted.share_network = true,
                Some("--no-filter") => wanted.no_filter = true,
                Some("--no-wall") => wanted.no_wall = true,
                Some("--nested") => wanted.nested = true,
                Some("--heap") => wanted.heap = number(&value()?)?,
                Some("--bind") => wanted.binds.push((value()?.into(), value()?.into())),
                Some("--binds") => {
                    let source = PathBuf::from(value()?);
                    let numbered = (0..number(&value()?)?).map(|n| {
                        let target = Path::new("/m").join(n.to_string());
                        (source.join(n.to_string()), target)
                    });
                    wanted.binds.extend(numbered);
                }
                _ => paths.push(PathBuf::from(arg)),
            }
        }
        let [root, program] =
            <[_; 2]>::try_from(paths).map_err(|_| "a root and a program are wanted")?;
        Ok(Self {
            root,
            program,
            ..wanted
        })
    }

    /// As `run-sandbox --read-only` would make it.
    fn sandbox(&self) -> Result<Sandbox> {
        let mut sandbox = Sandbox::new(Root::Dir(self.root.clone()))
            .read_only()
            .usual_mounts();
        for (source, target) in &self.binds {
            sandbox = sandbox.mount(Mount::bind_read_only(source, SandboxPath::new(target)?));
        }
        if self.share_network {
            sandbox = sandbox.network(Network::Shared);
        }
        if self.no_filter {
            sandbox = sandbox.seccomp(Seccomp::None);
        }
        if self.nested {
            sandbox = sandbox.allow_nested();
        }
        sandbox.config_mut().landlock = !self.no_wall;
        Ok(sandbox)
    }
}

fn number(text: &OsStr) -> Result<usize> {
    Ok(text.to_string_lossy().parse()?)
}
