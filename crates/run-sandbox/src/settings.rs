//! The settings of the command line and of the file, made into a run.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use sandboxlib::config::{
    Config, MountKind, Root, RootAccess, SandboxPath, Settings, SettingsError,
};

use crate::bytes;

/// The PATH of a command to which no other one was given.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many mebibytes the content of a file may have. It is held in memory; what is larger is
/// better bound.
const LARGEST_CONTENT: u64 = 256;

/// What a run needs to know about the one who asked for it.
#[derive(Debug, Default)]
pub(crate) struct Caller {
    /// The environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// The working directory; `None` where it is gone.
    pub(crate) directory: Option<PathBuf>,
    /// Whether standard input or output is a terminal.
    pub(crate) terminal: bool,
    /// Whether both are.
    pub(crate) interactive: bool,
}

impl Caller {
    /// The one who started this program.
    pub(crate) fn current() -> Self {
        use std::io::IsTerminal;
        Self {
            environment: std::env::vars_os().collect(),
            directory: std::env::current_dir().ok(),
            terminal: io::stdin().is_terminal() || io::stdout().is_terminal(),
            interactive: io::stdin().is_terminal() && io::stdout().is_terminal(),
        }
    }
}

/// Everything about a run that does not depend on the host any more.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) config: Config,
    /// Empty for the default.
    pub(crate) backends: Vec<String>,
    pub(crate) directory: SandboxPath,
    /// The caller's working directory, where nobody said another one for the host's root.
    pub(crate) callers_directory: Option<SandboxPath>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Whether the command gets a terminal of its own.
    pub(crate) tty: bool,
    /// Whether the command is process 1 itself.
    pub(crate) as_pid_1: bool,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
}

/// Makes a run of what was said. The error is a message.
pub(crate) fn settle(mut settings: Settings, caller: &Caller) -> Result<Run, String> {
    let Some(sandbox) = &settings.sandbox else {
        return Err(
            "no SANDBOX is given: a directory, or / for the host's root; see --help".to_owned(),
        );
    };
    // The host's root is what it is under every name, and only a directory can be the root.
    let sandbox = match std::fs::canonicalize(sandbox) {
        Ok(path) => path,
        Err(e) => return Err(format!("cannot find SANDBOX {sandbox:?}: {}", system(&e))),
    };
    if !sandbox.is_dir() {
        return Err(format!("SANDBOX {sandbox:?} is not a directory"));
    }
    settings.sandbox = Some(sandbox);
    for mount in &mut settings.mounts {
        if let Some(path) = mount.host_path() {
            match std::path::absolute(&*path) {
                Ok(absolute) => *path = absolute,
                Err(e) => return Err(format!("cannot resolve {path:?}: {}", system(&e))),
            }
        }
    }
    for path in settings.overlay_changes.iter_mut() {
        *path = std::path::absolute(&*path)
            .map_err(|e| format!("cannot resolve {path:?}: {}", system(&e)))?;
    }
    if settings.uid.is_some() != settings.gid.is_some() {
        let (uid, gid) = sandboxlib::spawn::caller_ids();
        settings.uid.get_or_insert(uid);
        settings.gid.get_or_insert(gid);
    }
    let config = settings
        .config(|path| bytes::read(path, LARGEST_CONTENT))
        .map_err(|e| match e {
            SettingsError::Content {
                path,
                target,
                source,
            } => {
                format!(
                    "--file SRC: cannot read {path:?} for {target:?}: {}",
                    system(&source)
                )
            }
            other => other.to_string(),
        })?;

    let mut environment = asked_environment(&settings, caller);
    let (directory, callers_directory) = place(&config, settings.cwd, caller.directory.as_deref());
    environment
        .entry("PATH".into())
        .or_insert_with(|| USUAL_PATH.into());
    let mut command = settings.command.unwrap_or_default().into_iter();
    let program = command.next().unwrap_or_else(|| "/bin/sh".into());
    let (tty, as_pid_1) = (settings.tty, settings.as_pid_1 == Some(true));
    Ok(Run {
        config,
        backends: settings.backend.unwrap_or_default(),
        directory,
        callers_directory,
        environment: environment.into_iter().collect(),
        tty: tty.unwrap_or(caller.interactive && !as_pid_1 && is_shell(&program)),
        as_pid_1,
        program,
        arguments: command.collect(),
    })
}

/// Programs that somebody at a terminal talks to, and that run others there.
const SHELLS: [&str; 11] = [
    "sh", "ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "tcsh", "yash", "zsh",
];

fn is_shell(program: &OsStr) -> bool {
    let name = Path::new(program).file_name();
    name.is_some_and(|name| SHELLS.iter().any(|shell| name == *shell))
}

/// The working directory: the one that was `said`, or for the host's root the caller's if it is
/// seen there, or the root. With it the caller's, where it was up to that.
pub(crate) fn place(
    config: &Config,
    said: Option<SandboxPath>,
    callers: Option<&Path>,
) -> (SandboxPath, Option<SandboxPath>) {
    let callers = match (&config.root, &said) {
        (Root::Host, None) => callers.and_then(|path| SandboxPath::new(path).ok()),
        _ => None,
    };
    let directory = match (said, &callers) {
        (Some(path), _) => path,
        (None, Some(current)) => directory(config, current),
        (None, None) => SandboxPath::root(),
    };
    (directory, callers)
}

/// What the operating system said, without the number.
pub(crate) fn system(e: &io::Error) -> String {
    let text = e.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// Refuses to run where the caller's working directory is in one of the `hidden` places and is
/// not shown: to run in another one would surprise more. The error is a message.
pub(crate) fn check_directory(
    config: &Config,
    callers: Option<&SandboxPath>,
    hidden: &[SandboxPath],
) -> Result<(), String> {
    let Some(current) = callers else {
        return Ok(());
    };
    let Some(place) = hidden.iter().find(|place| current.starts_with(place)) else {
        return Ok(());
    };
    let writable = match &config.root_access {
        Some(RootAccess::ReadOnlyExcept(paths)) => &**paths,
        _ => &[],
    };
    // They may be named through links, and the working directory has none.
    let shows = |path: &SandboxPath| {
        let real = std::fs::canonicalize(path.as_path());
        current.starts_with(path) || real.is_ok_and(|real| current.as_path().starts_with(real))
    };
    let mounted = config.mounts.iter().any(|mount| {
        let bind = matches!(mount.kind, MountKind::Bind { .. });
        bind && current.starts_with(&mount.target)
    });
    if mounted || writable.iter().chain(&config.readable).any(shows) {
        return Ok(());
    }
    let why = match place == current {
        true => String::new(),
        false => format!(", because {:?} is", place.as_path()),
    };
    let current = current.as_path();
    Err(format!(
        "the working directory {current:?} is hidden{why}: show it by --writable \
         {current:?} or --readable {current:?}, or say with --cwd / to run elsewhere"
    ))
}

/// The caller's working directory `current` if the same directory is seen there inside; else the
/// root.
fn directory(config: &Config, current: &SandboxPath) -> SandboxPath {
    let mut visible = true;
    for mount in config
        .mounts
        .iter()
        .filter(|mount| current.starts_with(&mount.target))
    {
        match &mount.kind {
            MountKind::Bind { source, .. } => {
                let rest = current
                    .as_path()
                    .strip_prefix(&mount.target)
                    .unwrap_or(Path::new(""));
                visible = source.join(rest) == current.as_path();
            }
            MountKind::Dir { .. } => {}
            _ => visible = false,
        }
    }
    if visible {
        current.clone()
    } else {
        SandboxPath::root()
    }
}

/// The variables that were asked for, and TERM where there is a terminal.
pub(crate) fn asked_environment(
    settings: &Settings,
    caller: &Caller,
) -> BTreeMap<OsString, OsString> {
    let callers = |name: &OsStr| {
        caller
            .environment
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.clone())
    };
    let mut set = BTreeMap::new();
    if settings.inherit_env == Some(true) {
        set.extend(caller.environment.iter().cloned());
    } else if caller.terminal
        && let Some(term) = callers(OsStr::new("TERM"))
    {
        set.insert("TERM".into(), term);
    }
    for (name, value) in &settings.env {
        if let Some(value) = value.clone().or_else(|| callers(name)) {
            set.insert(name.clone(), value);
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use sandboxlib::config::{HostSecrets, Ids, Mount};

    use super::*;

    fn host() -> Settings {
        let mut settings = Settings::default();
        settings.sandbox = Some("/".into());
        settings
    }

    fn at(path: &str) -> SandboxPath {
        SandboxPath::new(path).unwrap()
    }

    fn caller(directory: &str) -> Caller {
        let variables = [("PATH", "/callers"), ("TERM", "xterm"), ("HOME", "/home/u")];
        Caller {
            environment: variables
                .iter()
                .map(|(n, v)| (n.into(), v.into()))
                .collect(),
            directory: Some(directory.into()),
            terminal: false,
            interactive: false,
        }
    }

    #[test]
    fn the_working_directory_is_the_callers_where_it_is_seen() {
        let seen = |settings: Settings, directory: &str| {
            settle(settings, &caller(directory))
                .unwrap()
                .directory
                .to_string()
        };
        assert_eq!(seen(host(), "/home/u"), "/home/u");
        assert_eq!(seen(host(), "/tmp/x"), "/");
        assert_eq!(seen(host(), "/dev/shm"), "/");
        assert_eq!(seen(host(), "/tmpfiles"), "/tmpfiles");

        let mut s = host();
        s.host_secrets = Some(HostSecrets::Shown);
        s.bare = Some(true);
        assert_eq!(seen(s, "/tmp/x"), "/tmp/x");

        let mut s = host();
        s.writable = vec![at("/tmp/x")];
        assert_eq!(seen(s, "/tmp/x/y"), "/tmp/x/y");

        let mut s = host();
        s.mounts = vec![
            Mount::bind("/tmp/x", at("/tmp/x")).into(),
            Mount::bind("/srv", at("/home")).into(),
        ];
        assert_eq!(seen(s.clone(), "/tmp/x/y"), "/tmp/x/y");
        assert_eq!(seen(s.clone(), "/home/u"), "/");
        s.mounts
            .push(Mount::new(at("/tmp/x/y"), MountKind::Mask).into());
        assert_eq!(seen(s.clone(), "/tmp/x/y"), "/");
        s.cwd = Some(at("/etc"));
        assert_eq!(seen(s, "/home/u"), "/etc");

        let root = tempfile::tempdir().unwrap();
        let mut s = host();
        s.sandbox = Some(root.path().into());
        assert_eq!(seen(s, "/home/u"), "/");
    }

    #[test]
    fn the_host_is_the_host_under_every_name() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        for name in ["/", "//", "/.", "/usr/..", "/proc/self/root"] {
            let mut s = host();
            s.sandbox = Some(name.into());
            let run = settle(s, &caller("/")).unwrap();
            assert_eq!(run.config.root, Root::Host, "{name}");
            assert_eq!(run.config.effective_root_access(), RootAccess::ReadOnly);
        }
        let mut s = host();
        s.sandbox = Some(dir.path().join("link"));
        assert_eq!(settle(s, &caller("/")).unwrap().config.root, Root::Host);
    }

    #[test]
    fn a_sandbox_that_is_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        for (name, message) in [("file", "is not a directory"), ("missing", "No such file")] {
            let mut s = host();
            s.sandbox = Some(dir.path().join(name));
            let said = settle(s, &caller("/")).unwrap_err();
            assert!(said.contains("SANDBOX") && said.contains(message), "{said}");
        }
        assert!(
            settle(Settings::default(), &caller("/"))
                .unwrap_err()
                .contains("no SANDBOX")
        );
    }

    #[test]
    fn the_environment_is_what_was_asked_for() {
        let names = |settings: Settings, terminal: bool| -> Vec<String> {
            let caller = Caller {
                terminal,
                ..caller("/")
            };
            let run = settle(settings, &caller).unwrap();
            let show = |(n, v): (OsString, OsString)| format!("{}={}", n.display(), v.display());
            run.environment.into_iter().map(show).collect()
        };
        let path = format!("PATH={USUAL_PATH}");
        assert_eq!(names(host(), false), [path.as_str()]);
        assert_eq!(names(host(), true), [path.as_str(), "TERM=xterm"]);
        let mut s = host();
        s.env = [
            ("A".into(), Some("1".into())),
            ("HOME".into(), None),
            ("MISSING".into(), None),
        ]
        .into();
        assert_eq!(
            names(s.clone(), false),
            ["A=1", "HOME=/home/u", path.as_str()]
        );
        s.inherit_env = Some(true);
        assert_eq!(
            names(s.clone(), false),
            ["A=1", "HOME=/home/u", "PATH=/callers", "TERM=xterm"]
        );
        s.env.insert("PATH".into(), Some("/mine".into()));
        assert_eq!(names(s, false)[2], "PATH=/mine");
    }

    #[test]
    fn a_shell_at_a_terminal_gets_one_of_its_own() {
        let tty = |program: Option<&str>, said: Option<bool>, interactive: bool| {
            let mut s = host();
            s.command = program.map(|p| vec![p.into(), "-c".into(), "x".into()]);
            s.tty = said;
            let caller = Caller {
                interactive,
                ..caller("/")
            };
            settle(s, &caller).unwrap().tty
        };
        assert!(tty(None, None, true) && tty(Some("/bin/bash"), None, true));
        assert!(!tty(None, None, false) && !tty(Some("make"), None, true));
        assert!(tty(Some("make"), Some(true), false) && !tty(None, Some(false), true));
    }

    #[test]
    fn sources_become_absolute_and_contents_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "content").unwrap();
        let mut s = host();
        s.bare = Some(true);
        s.mounts = vec![Mount::bind("a/../b", at("/b")).into()];
        s.mounts.push(sandboxlib::config::MountSetting {
            mount: Mount::new(
                at("/f"),
                MountKind::File {
                    data: [].into(),
                    mode: 0o644,
                },
            ),
            content: Some(file.clone()),
        });
        let run = settle(s.clone(), &caller("/")).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            run.config.mounts[0],
            Mount::bind(here.join("a/../b"), at("/b"))
        );
        assert!(matches!(&run.config.mounts[1].kind,
            MountKind::File { data, .. } if **data == *b"content"));

        std::fs::remove_file(&file).unwrap();
        let said = settle(s, &caller("/")).unwrap_err();
        assert!(said.starts_with("--file SRC: cannot read"), "{said}");
    }

    #[test]
    fn the_other_id_is_the_callers() {
        let mut s = host();
        s.uid = Some(12345);
        let Ids::Pair { uid: 12345, gid } = settle(s, &caller("/")).unwrap().config.ids else {
            panic!()
        };
        assert_eq!(gid, sandboxlib::spawn::caller_ids().1);
    }
}
