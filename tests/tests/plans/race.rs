//! Another process swaps directories of the root for links that lead out of it, again and again,
//! while sandboxes are planned and started that mount there. Whatever comes of each, nothing
//! outside the root is seen, mounted upon or changed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sandboxlib::core::{FailedStep, Launch, Step};
use sandboxlib::mount::{PlanStep, ShadowEntry};
use sandboxlib::{
    Access, Capabilities, Config, Error, Mount, MountKind, Network, Root, RootAccess, Sandbox,
    SandboxPath, UserNamespace,
};
use sandboxlib_tests::{skip, watch};

use crate::files::listing;
use crate::inside::{Inside, Looked, PLACE, user_namespaces};
use crate::mounts::{self, Host};
use crate::probe::{Kind, NEW};

const RUNS: usize = 300;

/// Exchanges each pair of paths by renameat2(2), for as long as its parent lives and does not
/// close its standard input. The number of the call comes first: this language has no name for it.
const SWAPPER: &str = r#"
    my ($number, @paths) = @ARGV;
    my $here = -100;      # AT_FDCWD
    my $exchange = 2;     # RENAME_EXCHANGE
    my $parent = getppid();
    my $told = 0;
    while (getppid() == $parent) {
        for (my $i = 0; $i < @paths; $i += 2) {
            my ($a, $b) = @paths[$i, $i + 1];
            syscall($number, $here, $a, $here, $b, $exchange) == 0 or die "exchange: $!\n";
        }
        if (!$told) { $| = 1; print "going\n"; $told = 1; }
        select(undef, undef, undef, rand() * 0.0004);
    }
"#;

struct Swapper(Child);

impl Swapper {
    /// `None`, and a skip, where there is no way to do it.
    fn start(pairs: &[(PathBuf, PathBuf)]) -> Option<Self> {
        let number = match std::env::consts::ARCH {
            "x86_64" => "316",
            "aarch64" | "riscv64" => "276",
            other => {
                skip(&format!(
                    "the number of renameat2 on {other} is not known here"
                ));
                return None;
            }
        };
        let child = Command::new("perl")
            .args(["-e", SWAPPER, number])
            .args(pairs.iter().flat_map(|(a, b)| [a, b]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                skip(&format!("no perl to swap directories with: {error}"));
                return None;
            }
        };
        let mut going = [0; 6];
        if child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut going)
            .is_err()
        {
            let output = child.wait_with_output().unwrap();
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            skip(&format!("this file system swaps no directories: {why}"));
            return None;
        }
        Some(Self(child))
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        // It has to live until then: a race with nobody proves nothing.
        let alive = self.0.try_wait().unwrap().is_none();
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        assert!(alive || std::thread::panicking(), "the swapper gave up");
    }
}

fn make(base: &Path) {
    for dir in [
        "r",
        "r/.probe",
        "r/d",
        "r/d/sub",
        "r/d/sub/deep",
        "r/e",
        "r/e/sub",
    ] {
        fs::create_dir(base.join(dir)).unwrap();
    }
    // Outside, and built so that whoever follows the links finds everything.
    for dir in ["canary", "canary/sub", "canary/sub/deep", "s", "s/below"] {
        fs::create_dir(base.join(dir)).unwrap();
    }
    for file in [
        "r/d/file",
        "r/e/file",
        "canary/file",
        "canary/sub/file",
        "s/file",
    ] {
        fs::write(base.join(file), file).unwrap();
    }
    for dir in ["", "r", "canary", "s"] {
        fs::set_permissions(base.join(dir), fs::Permissions::from_mode(0o755)).unwrap();
    }
    symlink(base.join("canary"), base.join("r/.d")).unwrap();
    symlink("../canary", base.join("r/.e")).unwrap();
}

fn at(path: &str) -> SandboxPath {
    SandboxPath::new(path).unwrap()
}

/// Mounts of every kind below the directories that are swapped; which, depends on the turn.
fn mounts(base: &Path, turn: usize) -> Vec<Mount> {
    let bind = |target: &str, access| {
        let source = base.join("s");
        Mount::new(at(target), MountKind::Bind { source, access })
    };
    let file = |target: &str, access| {
        let source = base.join("s/file");
        Mount::new(at(target), MountKind::Bind { source, access })
    };
    let data = || MountKind::File {
        data: (*b"data").into(),
        mode: 0o644,
    };
    match turn % 6 {
        0 => vec![bind("/d/sub", Access::ReadOnly), Mount::tmpfs(at("/e/sub"))],
        1 => vec![
            Mount::tmpfs(at("/d/new/deep")),
            bind("/e/sub/new", Access::ReadWrite),
        ],
        2 => vec![
            Mount::new(at("/d/file"), data()),
            file("/e/new", Access::ReadOnly),
        ],
        3 => vec![
            Mount::new(at("/d/file"), MountKind::Mask),
            Mount::new(at("/d/made"), MountKind::Dir { mode: 0o755 }),
            Mount::new(at("/e/link"), MountKind::Symlink { to: "file".into() }),
        ],
        4 => vec![
            Mount::tmpfs(at("/d/sub/deep")),
            Mount::new(at("/d/sub/deep/in"), data()),
            Mount::new(at("/d/other"), data()),
        ],
        _ => vec![
            bind("/d/sub", Access::ReadWrite),
            Mount::tmpfs(at("/d/sub/below")),
            Mount::new(at("/e/sub"), MountKind::Mask),
        ],
    }
}

fn config(base: &Path, inside: &Inside, turn: usize, user: UserNamespace) -> Config {
    let mut config = Config::new(Root::Dir(base.join("r")));
    config.network = Network::Shared;
    config.namespaces.user = user;
    config.capabilities = Capabilities::Only(Vec::new());
    config.root_access = Some(match turn / 6 % 3 {
        0 => RootAccess::ReadOnly,
        1 => RootAccess::ReadWrite,
        _ => RootAccess::ReadOnlyExcept(vec![at("/d/sub/deep"), at("/e")]),
    });
    config.mounts.push(inside.mount());
    config.mounts.extend(mounts(base, turn));
    config
}

#[test]
fn links_swapped_in_lead_nowhere() {
    let Some(modes) = user_namespaces() else {
        return;
    };
    let inside = Inside::new();
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().canonicalize().unwrap();
    make(&base);
    let names = |dir: &Path| -> BTreeSet<PathBuf> {
        let found = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
        // In the source of writable binds the probe may lose sight of what it has made.
        found.filter(|p| !p.ends_with(NEW)).collect()
    };
    let outside = || {
        (
            listing(&base.join("canary")),
            names(&base),
            names(&base.join("s")),
        )
    };
    let before = outside();
    let strangers: BTreeSet<_> = before.0.values().map(|facts| facts.identity).collect();
    let pairs = ["d", "e"].map(|name| {
        let root = base.join("r");
        (root.join(name), root.join(format!(".{name}")))
    });
    let Some(swapper) = Swapper::start(&pairs) else {
        return;
    };

    let (mut worked, mut not_planned, mut not_mounted) = (0, 0, 0);
    for turn in 0..RUNS {
        let config = config(&base, &inside, turn, modes[turn / 18 % modes.len()]);
        match run(config, &inside) {
            Ok((steps, looked)) => {
                worked += 1;
                everything_is_inside(&base, &steps, &looked, &strangers);
            }
            Err(Error::Plan { .. }) => not_planned += 1,
            Err(Error::Spawn { error, .. }) => {
                let FailedStep::Script { step, .. } = &error.step else {
                    panic!("{error}: {:?}", error.source);
                };
                assert!(
                    matches!(**step, Step::Mount(_) | Step::Landlock(_)),
                    "{error}: {:?}",
                    error.source
                );
                not_mounted += 1;
            }
            Err(other) => panic!("{other}"),
        }
        assert_eq!(
            outside(),
            before,
            "something outside has changed in turn {turn}"
        );
        assert_eq!(
            watch::mounts_about(&base),
            [""; 0],
            "a mount got out in turn {turn}"
        );
        forget(&base);
    }
    drop(swapper);
    println!("{worked} worked, {not_planned} not planned, {not_mounted} not mounted");
    assert!(worked > RUNS / 10, "hardly anything works: {worked}");
    assert!(not_planned + not_mounted > 0, "nobody noticed the race");
}

/// Removes what a run has made in the root, so that the next finds it missing again. What is in
/// the swapped directories is always there by one name or the other.
fn forget(base: &Path) {
    let root = base.join("r");
    for dir in ["d", ".d", "e", ".e"] {
        // Through the links nothing of these names is to be found: it would have failed above.
        for name in ["new", "made", "link", "other", "sub/new"] {
            let path = root.join(dir).join(name);
            let _ = fs::remove_file(&path);
            let _ = fs::remove_dir_all(&path);
        }
    }
    // Where the links lead inside.
    for path in [
        &root.join("canary"),
        &root.join(base.strip_prefix("/").unwrap()),
    ] {
        let _ = fs::remove_dir_all(path);
    }
}

fn run(config: Config, inside: &Inside) -> Result<(Vec<PlanStep>, Looked), Error> {
    let sandbox = Sandbox::from_config(config)
        .backends(["userns"])
        .prepare()?;
    let Launch::Direct(script) = sandbox.launch() else {
        panic!("not launched by a script");
    };
    let steps = script.steps.iter().filter_map(|step| match step {
        Step::Mount(step) => Some(step.clone()),
        _ => None,
    });
    let steps = steps.collect();
    Ok((steps, inside.look(&sandbox, &[])?))
}

/// All that was planned is mounted in this sandbox, and no way in it leads outside.
fn everything_is_inside(
    base: &Path,
    steps: &[PlanStep],
    looked: &Looked,
    strangers: &BTreeSet<(u64, u64)>,
) {
    let raw = mounts::parse(&looked.mountinfo);
    let text = String::from_utf8_lossy(&looked.mountinfo);
    let canary = base.join("canary");
    let host = Host::new();
    let shown = raw.iter().find(|r| host.is_below(r, &canary));
    assert!(shown.is_none(), "the canary is mounted: {shown:?}");
    assert_eq!(
        raw.iter().filter(|r| r.at == Path::new("/")).count(),
        1,
        "{text}"
    );
    // Where they are by now is a matter of the moment: a directory that was swapped takes along
    // what is mounted in it. And what a shadow was to keep may have been the names of another
    // directory, which are not to be found in this one.
    let (mut planned, mut kept) = (0, 0);
    for step in steps {
        match step {
            PlanStep::Root { .. }
            | PlanStep::Bind { .. }
            | PlanStep::Tmpfs { .. }
            | PlanStep::File { .. }
            | PlanStep::Mask { .. }
            | PlanStep::CloseSocket { .. } => planned += 1,
            PlanStep::Shadow { at, entries, .. } => {
                // That of the root takes the place of the root.
                planned += usize::from(!at.is_root());
                let keeps = |e: &&ShadowEntry| matches!(e, ShadowEntry::Keep { .. });
                kept += entries.iter().filter(keeps).count();
            }
            _ => {}
        }
    }
    let right = planned..=planned + kept;
    assert!(right.contains(&raw.len()), "{steps:#?}\n{text}");
    let own = Path::new("/").join(PLACE);
    for found in &looked.report.found {
        assert!(!strangers.contains(&found.identity), "{found:?}");
        let is_marker = found.kind == Kind::File && !found.path.starts_with(&own);
        let foreign = is_marker && found.content.starts_with(b"canary");
        assert!(!foreign, "{found:?} in {base:?}");
    }
}
