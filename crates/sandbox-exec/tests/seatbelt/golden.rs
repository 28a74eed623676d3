//! Profiles for the common cases, each a file that can be tried on a Mac as it stands.
//!
//! `SANDBOXLIB_BLESS=1 cargo test -p sandboxlib-sandbox-exec golden` writes them anew.

use std::fmt::Write as _;
use std::path::Path;

use sandboxlib_config::{Config, Mount, MountKind, Network, RootAccess};
use sandboxlib_core::{Backend, negotiate};
use sandboxlib_sandbox_exec::{MacPath, Policy, Profile, Reach, Region, SandboxExec};

use crate::host::{at, facts, mac, read_only};

/// What somebody at a Mac types in the sandboxed shell, and what comes of it.
type Checks<'a> = &'a [(&'a str, &'a str)];

const DENIED: &str = "Operation not permitted";

fn check(name: &str, about: &str, profile: &Profile, checks: Checks<'_>) {
    let mut text =
        format!("; {about}\n;\n; To try it, after replacing /Users/me by your home:\n;\n");
    let _ = write!(text, ";   sandbox-exec -f {name}.sb");
    for (n, path) in profile.params.iter().enumerate() {
        let _ = write!(text, " \\\n;     -DP{n}='{path}'");
    }
    text.push_str(" \\\n;     /bin/sh\n;\n; and in that shell:\n;\n");
    for (command, result) in checks {
        let _ = writeln!(text, ";   {command:40} {result}");
    }
    let _ = write!(text, "\n{}", profile.text);
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/seatbelt/golden")
        .join(name)
        .with_extension("sb");
    if std::env::var_os("SANDBOXLIB_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, golden, "{}", file.display());
}

fn of(config: &Config) -> Profile {
    let backend = SandboxExec;
    let effective = negotiate(config, &backend.support(&facts())).unwrap();
    let plan = sandboxlib_mount::plan(effective.config(), &mac()).unwrap();
    backend.profile(&effective, &plan).unwrap().profile
}

#[test]
fn nothing_but_looking() {
    check(
        "read-only",
        "The defaults on the host's root: read everything, change nothing, no network.",
        &of(&read_only()),
        &[
            ("ls /", "works"),
            ("touch ~/x", DENIED),
            ("echo x > /dev/null", "works"),
            ("curl -m 5 https://example.com", "cannot resolve the name"),
            ("kill -0 $PPID", DENIED),
            ("ps", "cannot be executed: it is set-user-id"),
        ],
    );
}

#[test]
fn a_build() {
    let mut config = read_only();
    config.root_access = Some(RootAccess::ReadOnlyExcept(vec![
        at("/Users/me/src/build"),
        at("/tmp"),
        at("/var/folders/x"),
    ]));
    check(
        "build",
        "A build: it changes its own directory and the temporary ones, without network.",
        &of(&config),
        &[
            ("touch ~/src/build/x /tmp/x", "works"),
            ("touch ~/src/x", DENIED),
            ("mv ~/src/build /tmp/away", DENIED),
            ("ln ~/.netrc /tmp/second-name", DENIED),
            (
                "cp /bin/ls /tmp/ls; chmod u+s /tmp/ls",
                format!("chmod: {DENIED}").as_str(),
            ),
            ("nc -lU /tmp/s & sleep 1; nc -U /tmp/s", "connects"),
            ("nc -z localhost 22", DENIED),
        ],
    );
}

#[test]
fn a_build_with_network() {
    let mut config = read_only();
    config.network = Network::Shared;
    config.root_access = Some(RootAccess::ReadOnlyExcept(vec![at("/Users/me/src/build")]));
    config.mounts = vec![
        Mount::new(at("/Users/me/.ssh"), MountKind::Mask),
        Mount::new(at("/Users/me/.netrc"), MountKind::Mask),
    ];
    check(
        "network",
        "A build that downloads, and cannot see two secrets.",
        &of(&config),
        &[
            ("curl -sI https://example.com", "works"),
            ("ls ~/.ssh", DENIED),
            ("cat ~/.netrc", DENIED),
            ("stat ~/.netrc", DENIED),
            ("touch ~/src/build/x", "works"),
            ("ls ~", "works; the names are listed: denied is not hidden"),
        ],
    );
}

#[test]
fn everything_but() {
    let mut config = read_only();
    config.root_access = Some(RootAccess::ReadWrite);
    config.mounts = vec![
        Mount::bind_read_only("/Users/me/src", at("/Users/me/src")),
        Mount::bind("/Users/me/src/build", at("/Users/me/src/build")),
        Mount::new(at("/Users/me/.ssh"), MountKind::Mask),
    ];
    check(
        "exceptions",
        "Everything may be changed but the sources, among which the build directory may.",
        &of(&config),
        &[
            ("touch ~/x", "works"),
            ("touch ~/src/x", DENIED),
            ("touch ~/src/build/x", "works"),
            ("mv ~/src ~/away", DENIED),
            ("mv ~/.ssh ~/away", DENIED),
            ("mkdir ~/d; mv ~/d ~/e", "works"),
            ("cat ~/.ssh/config", DENIED),
        ],
    );
}

#[test]
fn only_what_is_listed() {
    let mut policy = Policy::new(Reach::Denied);
    policy.regions = [
        ("/bin", Reach::Read),
        ("/usr/bin", Reach::Read),
        ("/private/etc", Reach::Read),
        ("/Users/me/src", Reach::Read),
        ("/Users/me/src/build", Reach::Write),
    ]
    .map(|(path, reach)| Region {
        path: MacPath::new(path).unwrap(),
        reach,
    })
    .into();
    check(
        "listed",
        "A policy that denies what it does not list. No configuration leads to it yet.",
        &Profile::new(&policy),
        &[
            ("ls ~/src", "works"),
            ("ls ~", DENIED),
            ("stat ~", "works: it is on the way to what can be read"),
            ("cd ~/src/build && pwd -P && touch x", "works"),
            ("cat /etc/hosts", "works"),
            ("ls /Applications", DENIED),
        ],
    );
}
