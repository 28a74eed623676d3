//! Who is measured: our own ways to start a sandbox, with the same isolation as bwrap is told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::place::Place;

pub(super) const PLAIN: &str = "plain posix_spawn";
pub(super) const FLOOR: &str = "floor";
pub(super) const BWRAP: &str = "bwrap";
pub(super) const CLI: &str = "run-sandbox";
pub(super) const CLI_SOFT: &str = "run-sandbox, no hardening";
pub(super) const COLD: &str = "library, cold";
pub(super) const PREPARED: &str = "library, prepared";
pub(super) const NO_FILTER: &str = "library, prepared, no system call filter";
pub(super) const NO_WALL: &str = "library, prepared, no second wall";
pub(super) const SOFT: &str = "library, prepared, no hardening";
pub(super) const HEAP: &str = "library, prepared, 1 GiB resident";
pub(super) const NO_NETWORK: &str = "library, prepared, no network namespace";
pub(super) const FLOOR_NO_NETWORK: &str = "floor, no network namespace";
pub(super) const PID_1: &str = "library, prepared, command as pid 1";
pub(super) const WARM: &str = "library, warm";
pub(super) const SESSION: &str = "library, in a session";

/// The command that all candidates run.
pub(super) const COMMAND: &str = "/bin/true";

/// How a candidate is timed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum How {
    /// A process, from its start to its end.
    Process(Vec<OsString>),
    /// A program that measures itself when it is told to.
    Driver(Vec<OsString>),
    /// Not at all, and why.
    Not(String),
}

/// What is done before each run, and not timed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Before {
    Nothing,
    /// This is moved away, to a directory beside it that somebody removes in the end: where
    /// files were just removed, ext4 is slow to make others (recently_deleted in its ialloc.c).
    MoveAway(PathBuf),
    /// The same, and an empty directory is made.
    Empty(PathBuf),
}

/// Somebody who starts a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) how: How,
    pub(super) before: Before,
}

impl Candidate {
    pub(super) fn new(name: impl Into<String>, how: How) -> Self {
        let (name, before) = (name.into(), Before::Nothing);
        Self { name, how, before }
    }

    /// The same, to whose runs nothing is at `path`.
    pub(super) fn without(self, path: PathBuf) -> Self {
        let before = Before::MoveAway(path);
        Self { before, ..self }
    }

    /// The same, to whose runs an empty directory is at `path`.
    pub(super) fn with_empty(self, path: PathBuf) -> Self {
        let before = Before::Empty(path);
        Self { before, ..self }
    }
}

/// Our own, the floor, and what there is without any sandbox.
pub(super) fn ours(place: &Place) -> Vec<Candidate> {
    let library = |options: &[&str]| library(place, options, 0);
    [
        (PLAIN, plain(place)),
        (FLOOR, floor(place, "umpitnRlv", 0)),
        (FLOOR_NO_NETWORK, floor(place, "umpitRv", 0)),
        (PREPARED, library(&[])),
        (NO_NETWORK, library(&["--share-network"])),
        (NO_FILTER, library(&["--no-filter"])),
        (NO_WALL, library(&["--no-wall"])),
        (SOFT, library(&["--no-filter", "--no-wall", "--nested"])),
        (HEAP, library(&["--heap", "1024"])),
        (COLD, library(&["--cold"])),
        (PID_1, library(&["--as-pid-1"])),
        (WARM, library(&["--warm", "4"])),
        (SESSION, library(&["--session"])),
        (CLI, cli(place, &[], 0)),
        (CLI_SOFT, cli(place, &SOFT_OPTIONS, 0)),
    ]
    .map(|(name, how)| Candidate::new(name, how))
    .into()
}

/// No system call filter, no second wall, and no limit on further namespaces.
const SOFT_OPTIONS: [&str; 4] = ["--seccomp", "none", "--no-landlock", "--allow-nested"];

fn words<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> Vec<OsString> {
    words.into_iter().map(|w| w.as_ref().into()).collect()
}

pub(super) fn plain(place: &Place) -> How {
    How::Driver(vec![place.floor().into(), "s".into(), COMMAND.into()])
}

pub(super) fn floor(place: &Place, letters: &str, binds: usize) -> How {
    let mut line = vec![place.floor().into(), letters.into()];
    line.extend(["--root".into(), place.root().into()]);
    line.extend(words(["--bind", "/usr", "/usr"]));
    for n in 0..binds {
        line.extend(["--bind".into(), place.sources().join(n.to_string()).into()]);
        line.push(format!("/m/{n}").into());
    }
    line.push(COMMAND.into());
    How::Driver(line)
}

pub(super) fn library(place: &Place, options: &[&str], binds: usize) -> How {
    let mut line = vec![place.driver().into()];
    line.extend(words(options));
    line.extend(words(["--bind", "/usr", "/usr"]));
    if binds > 0 {
        line.extend(["--binds".into(), place.sources().into()]);
        line.push(binds.to_string().into());
    }
    line.extend([place.root().into(), COMMAND.into()]);
    How::Driver(line)
}

/// Read-only root, /usr of the host, all namespaces, a minimal /dev, /proc, a tmpfs at /tmp and an
/// empty environment: run-sandbox's defaults.
pub(super) fn cli(place: &Place, options: &[&str], binds: usize) -> How {
    How::Process(cli_line(place, options, binds, &[COMMAND]))
}

pub(super) fn cli_line(
    place: &Place,
    options: &[&str],
    binds: usize,
    command: &[&str],
) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec![place.run_sandbox().into()];
    line.extend(words(options));
    line.extend(words(["--read-only", "--ro-bind", "/usr", "/usr"]));
    line.extend(bind_options(&place.sources(), binds));
    line.extend([place.root().into(), "--".into()]);
    line.extend(words(command));
    line
}

/// What bwrap is told to get the same, but for its own name.
pub(super) fn bwrap_options(place: &Place, binds: usize, command: &[&str]) -> Vec<OsString> {
    let mut line = words("--unshare-all --die-with-parent --clearenv --ro-bind".split(' '));
    line.extend([place.root().into(), "/".into()]);
    let rest = "--ro-bind /usr /usr --dev /dev --proc /proc --tmpfs /tmp";
    line.extend(words(rest.split(' ')));
    line.extend(bind_options(&place.sources(), binds));
    line.extend(words(["--chdir", "/", "--"]));
    line.extend(words(command));
    line
}

fn bind_options(source: &Path, binds: usize) -> impl Iterator<Item = OsString> {
    (0..binds).flat_map(move |n| {
        [
            "--ro-bind".into(),
            source.join(n.to_string()).into(),
            format!("/m/{n}").into(),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_programs_get_the_same_binds() {
        let place = Place::at("/p");
        let tail = |line: Vec<OsString>| -> Vec<OsString> {
            let first = line.iter().position(|a| a == "/p/src/0").unwrap();
            line[first..first + 3 * 9 + 2].to_vec()
        };
        assert_eq!(
            tail(cli_line(&place, &[], 10, &["x"])),
            tail(bwrap_options(&place, 10, &["x"]))
        );
    }

    #[test]
    fn names_are_names_of_one_each() {
        let mut names: Vec<_> = ours(&Place::at("/p")).into_iter().map(|c| c.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
