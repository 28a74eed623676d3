//! The program linux-user-chroot: see README.md.
#![forbid(unsafe_code)]

mod args;
mod layers;

use std::error::Error as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use sandboxlib::{
    Config, End, Error, FeatureSet, Isolation, Network, Root, RootAccess, Sandbox, SandboxPath,
    Seccomp, Tty,
};

use args::{Args, Invocation};
use layers::Layers;

const NAME: &str = "linux-user-chroot";

/// What `--version` tells: the version whose command line this is, and whose program it is. The
/// backend of the library looks for the latter.
const VERSION: &str = concat!(
    "linux-user-chroot 2015.1 (sandboxlib ",
    env!("CARGO_PKG_VERSION"),
    ")\n"
);

const HELP: &str = "\
Usage: linux-user-chroot [OPTIONS] ROOTDIR PROGRAM [ARGS...]

  --unshare-ipc                  IPC and host name of its own
  --unshare-pid                  process ids of its own
  --unshare-net                  no network but loopback
  --mount-proc DIR               procfs on DIR
  --mount-readonly DIR           what is at DIR becomes read-only
  --mount-bind SRC DEST          the host's SRC appears at DEST
  --mount-devapi DIR             a minimal /dev on DIR
  --chdir DIR                    working directory inside (default: /)
  --seccomp-profile-version N    -1 for none
  --help, --version
";

/// The signals that reach the program when they are sent to this one: hangup, interrupt, quit,
/// user 1 and 2, terminate.
const FORWARDED: &[i32] = &[1, 2, 3, 10, 12, 15];

fn main() -> ExitCode {
    let done = match args::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Help) => print(HELP),
        Ok(Invocation::Version) => print(VERSION),
        Ok(Invocation::Run(args)) => run(*args),
        Err(message) => Err(vec![message]),
    };
    done.unwrap_or_else(|lines| {
        for line in lines {
            // Where it cannot be printed there is nobody to tell.
            let _ = io::stderr().write_all(format!("{NAME}: {}\n", plain(&line)).as_bytes());
        }
        ExitCode::FAILURE
    })
}

/// Does what was asked for, or says in lines why not.
fn run(args: Args) -> Result<ExitCode, Vec<String>> {
    let config = config(&args).map_err(|message| vec![message])?;
    // The variable that chooses a backend is not for this program: it needs this one.
    let sandbox = Sandbox::from_config(config).backends(["userns"]);
    let prepared = sandbox.prepare().map_err(lines)?;
    if let Some(path) = prepared.enforcement().created_on_host.first() {
        return Err(vec![format!("there is no {path} in the root to mount on")]);
    }
    let mut command = prepared.command(&args.program);
    command.args(&args.args).envs(std::env::vars_os());
    command.cwd(args.chdir);
    // The classic program leaves the caller's terminal to whoever runs inside. A session of its
    // own cannot have it, so it gets one like it.
    if io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal() {
        command.tty(Tty::like_callers());
    }
    // From here on no signal is lost: it waits until there is a program to give it to.
    sandboxlib::spawn::block_signals(FORWARDED)
        .map_err(|e| vec![format!("cannot block signals: {e}")])?;
    let mut child = command.spawn().map_err(lines)?;
    let outcome = child.wait_interactive(FORWARDED).map_err(lines)?;
    Ok(match outcome.end {
        End::Exited(status) => ExitCode::from(u8::try_from(status & 0xff).unwrap_or(1)),
        _ => ExitCode::FAILURE,
    })
}

fn config(args: &Args) -> Result<Config, String> {
    let mut layers = Layers::new(&args.root, args.unshare_pid);
    for mount in &args.mounts {
        layers.add(mount)?;
    }
    let (root, read_only, mounts) = layers.finish();
    let root = if root.as_os_str() == "/" {
        Root::Host
    } else {
        Root::Dir(root)
    };
    let isolated = |asked: bool| {
        if asked {
            Isolation::Isolated
        } else {
            Isolation::Shared
        }
    };
    let mut config = Config::new(root);
    config.root_access = Some(if read_only {
        RootAccess::ReadOnly
    } else {
        RootAccess::ReadWrite
    });
    // The classic program shows the whole of the host's root.
    config.hidden = Some(Vec::new());
    // No option could name those that may be connected to.
    config.sockets = vec![SandboxPath::root()];
    config.mounts = mounts;
    config.network = if args.unshare_net {
        Network::Isolated
    } else {
        Network::Shared
    };
    config.namespaces.pid = isolated(args.unshare_pid);
    config.namespaces.ipc = isolated(args.unshare_ipc);
    config.namespaces.uts = isolated(args.unshare_ipc);
    config.namespaces.cgroup = Isolation::Shared;
    // The classic program filters nothing unless a profile is asked for.
    config.seccomp = Seccomp::None;
    config.allow_nested = true;
    config.prefer = FeatureSet::EMPTY;
    Ok(config)
}

/// A failure with its causes and cures.
fn lines(error: Error) -> Vec<String> {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    let hints = error.hints();
    let hints = hints.iter().map(|hint| format!("hint: {}", hint.advice));
    std::iter::once(text).chain(hints).collect()
}

/// A message in which nothing that it quotes can move the cursor of a terminal.
fn plain(line: &str) -> String {
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().collect(),
        false => String::from(c),
    };
    line.chars().map(escaped).collect()
}

/// Prints what was asked for. A reader that has seen enough is no failure.
fn print(text: &str) -> Result<ExitCode, Vec<String>> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(vec![format!("cannot write to standard output: {e}")])
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A path inside, from the command line.
fn inside(option: &str, path: impl AsRef<std::path::Path>) -> Result<SandboxPath, String> {
    SandboxPath::new(path).map_err(|e| format!("{option}: {e}"))
}
