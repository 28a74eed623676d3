//! `--report`: what happened, as JSON.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use sandboxlib::Means;
use sandboxlib::config::Limit;
use sandboxlib::core::{Degradation, End, Enforcement, KillScope, Outcome, Started};
use serde::{Deserialize, Serialize};

use crate::bytes::{escaped, json};
use crate::image::About;
use crate::overlay::Changed;
use crate::parse::ReportFormat;
use crate::render::Failure;
use crate::settings::system;

/// What is written.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    backend: Option<String>,
    started: &'static str,
    pid: Option<u32>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    timed_out: bool,
    /// The limit that ended it.
    limit: Option<&'static str>,
    wall_seconds: Option<f64>,
    user_seconds: Option<f64>,
    system_seconds: Option<f64>,
    peak_memory_bytes: Option<u64>,
    /// How the figures above were measured.
    measured_by: Option<MeasuredBy>,
    #[serde(flatten)]
    held: Held,
    #[serde(flatten)]
    more: More,
    error: Option<Problem>,
}

/// What there is to tell about some runs.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct More {
    /// The image that was the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<About>,
    /// What was changed of the root, and kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) changes: Option<Vec<Changed>>,
}

/// A name: one of ours, or one that another process of this program has told.
type Word = Cow<'static, str>;

/// A run that came to an end.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) backend: String,
    pub(crate) held: Held,
    pub(crate) outcome: Outcome,
    pub(crate) more: More,
}

impl Ran {
    pub(crate) fn new(enforcement: &Enforcement, outcome: Outcome) -> Self {
        Self {
            backend: enforcement.backend.to_owned(),
            held: enforcement.into(),
            outcome,
            more: More::default(),
        }
    }
}

/// What held during the run, or would.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Held {
    enforced: Vec<Word>,
    not_enforced: Vec<NotEnforced>,
    created_on_host: Vec<String>,
    not_masked: Vec<String>,
    hidden: Vec<String>,
    seccomp: Option<Word>,
    kill_scope: Option<Word>,
    landlock: Option<Landlock>,
    limits: Vec<HeldLimit>,
}

/// By what a limit was held.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct HeldLimit {
    limit: Word,
    by: Word,
}

#[derive(Debug, Serialize)]
struct MeasuredBy {
    cpu: &'static str,
    memory: &'static str,
}

/// The second wall: which ABI the kernel has, and what that covers.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Landlock {
    abi: u32,
    covers: Vec<Word>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct NotEnforced {
    feature: Word,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Problem {
    message: String,
    step: Option<String>,
    errno: Option<i32>,
    hints: Vec<String>,
}

impl From<&Enforcement> for Held {
    fn from(enforcement: &Enforcement) -> Self {
        let not_enforced = |d: &Degradation| NotEnforced {
            feature: d.feature.name().into(),
            reason: d.reason.to_string(),
        };
        Self {
            enforced: enforcement
                .enforced
                .iter()
                .map(|feature| feature.name().into())
                .collect(),
            not_enforced: enforcement.degradations.iter().map(not_enforced).collect(),
            created_on_host: enforcement
                .created_on_host
                .iter()
                .map(|p| escaped(p.as_path()))
                .collect(),
            not_masked: enforcement
                .not_masked
                .iter()
                .map(|p| escaped(p.as_path()))
                .collect(),
            hidden: enforcement
                .hidden
                .iter()
                .map(|p| escaped(p.as_path()))
                .collect(),
            seccomp: Some(enforcement.seccomp.into()),
            kill_scope: Some(kill_scope(enforcement.kill_scope).into()),
            landlock: enforcement.landlock.as_ref().map(|landlock| Landlock {
                abi: landlock.abi,
                covers: landlock.covers().map(Word::from).collect(),
            }),
            limits: enforcement
                .limits
                .iter()
                .map(|held| HeldLimit {
                    limit: held.limit.name().into(),
                    by: held.by.name().into(),
                })
                .collect(),
        }
    }
}

impl Held {
    /// Adds a limit that one command has besides.
    pub(crate) fn add_limit(&mut self, limit: Limit, by: Means) {
        if !self.limits.iter().any(|held| held.limit == limit.name()) {
            self.limits.push(HeldLimit {
                limit: limit.name().into(),
                by: by.name().into(),
            });
        }
    }
}

fn kill_scope(scope: KillScope) -> &'static str {
    match scope {
        KillScope::Everything => "everything",
        // Whatever comes to be known beyond this one is at least that.
        _ => "process-group",
    }
}

fn started(started: Started) -> &'static str {
    match started {
        Started::Yes => "yes",
        Started::No => "no",
        Started::Unknown => "unknown",
    }
}

impl Report {
    /// About a run that came to an end.
    pub(crate) fn finished(ran: Ran) -> Self {
        let Ran {
            backend,
            held,
            outcome,
            more,
        } = ran;
        let limit = match outcome.end {
            End::Limit(limit) => Some(limit),
            _ => None,
        };
        Self {
            backend: Some(backend),
            started: started(outcome.started),
            pid: Some(outcome.pid),
            exit_code: outcome.exit_code,
            signal: outcome.signal,
            timed_out: limit == Some(Limit::Wall),
            limit: limit.map(Limit::name),
            wall_seconds: Some(outcome.wall.as_secs_f64()),
            user_seconds: Some(outcome.user.as_secs_f64()),
            system_seconds: Some(outcome.system.as_secs_f64()),
            peak_memory_bytes: outcome.peak_memory,
            measured_by: Some(MeasuredBy {
                cpu: outcome.cpu_by.name(),
                memory: outcome.memory_by.name(),
            }),
            held,
            more,
            error: None,
        }
    }

    /// About a run that did not come to be.
    pub(crate) fn failed(failure: &Failure) -> Self {
        let told = failure.told();
        Self {
            backend: told.backend,
            started: started(failure.started()),
            error: Some(Problem {
                message: told.message.join("; "),
                step: told.step,
                errno: told.errno,
                hints: told.hints,
            }),
            ..Self::default()
        }
    }
}

impl Report {
    /// The same as the meta file of isolate(1): a key and a value in each line, as far as there is
    /// something to tell.
    fn isolate(&self) -> String {
        const KILLED: i32 = 9;
        let mut lines = Vec::new();
        let mut add = |key: &str, value: Option<String>| {
            lines.extend(value.map(|value| format!("{key}:{value}\n")));
        };
        let seconds = |time: f64| format!("{time:.3}");
        let used = self.user_seconds.zip(self.system_seconds);
        add("time", used.map(|(user, system)| seconds(user + system)));
        add("time-wall", self.wall_seconds.map(seconds));
        let by = self.measured_by.as_ref().map(|by| by.memory);
        let kib = self
            .peak_memory_bytes
            .map(|bytes| (bytes / 1024).to_string());
        let of_tree = by.is_some_and(|by| by != Means::WaitedFor.name());
        add(if of_tree { "cg-mem" } else { "max-rss" }, kib);
        let killed = self.limit.is_some() && self.exit_code.or(self.signal).is_none();
        let signal = self.signal.or(killed.then_some(KILLED));
        add("exitcode", self.exit_code.map(|code| code.to_string()));
        add("exitsig", signal.map(|signal| signal.to_string()));
        let is = |limit: Limit| self.limit == Some(limit.name());
        add("killed", self.limit.map(|_| "1".to_owned()));
        let out_of_memory = is(Limit::Memory) && of_tree && by != Some(Means::Accounting.name());
        add("cg-oom-killed", out_of_memory.then(|| "1".to_owned()));
        let (status, message) = match (&self.error, self.limit) {
            (Some(problem), _) => (Some("XX"), Some(problem.message.clone())),
            (None, Some(limit)) => {
                let status = if is(Limit::Wall) || is(Limit::CpuTime) {
                    "TO"
                } else if signal.is_some() {
                    "SG"
                } else {
                    "RE"
                };
                (
                    Some(status),
                    Some(format!("the limit of {limit} was reached")),
                )
            }
            (None, None) => match (self.exit_code, signal) {
                (_, Some(signal)) => (Some("SG"), Some(format!("ended by signal {signal}"))),
                (Some(code), _) if code != 0 => {
                    (Some("RE"), Some(format!("exited with status {code}")))
                }
                _ => (None, None),
            },
        };
        add("status", status.map(str::to_owned));
        // A line is a value.
        add("message", message.map(|text| text.replace('\n', " ")));
        lines.concat()
    }
}

/// Where a report goes.
#[derive(Debug)]
pub(crate) enum Target {
    /// Into something that exists and stays: a pipe, a terminal, a file that only itself may be
    /// written to. `end` says that what it holds is kept.
    Open { file: File, end: bool },
    /// To a name, which shows either the whole report or what was there before.
    Replace(PathBuf),
}

impl Target {
    /// Makes sure that a report can be written to `path`, and leaves no trace yet. The error is a
    /// message.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        Self::try_open(path)
            .map_err(|e| format!("--report: cannot write to {path:?}: {}", system(&e)))
    }

    fn try_open(path: &Path) -> io::Result<Self> {
        // Opened anew, a file would be written to at another place than the one where the
        // stream stands; and it may belong to somebody else.
        let stream = match path.to_str() {
            Some("/dev/stdout") => Some(io::stdout().as_fd().try_clone_to_owned()?),
            Some("/dev/stderr") => Some(io::stderr().as_fd().try_clone_to_owned()?),
            _ => None,
        };
        if let Some(fd) = stream {
            return Ok(Self::Open {
                file: fd.into(),
                end: true,
            });
        }
        let path = std::path::absolute(path)?;
        match std::fs::symlink_metadata(&path) {
            Ok(there) if !there.is_file() => {
                // /dev/fd/3 may be a file that others write to as well.
                let end = path.starts_with("/dev") || path.starts_with("/proc");
                let file = OpenOptions::new().write(true).append(end).open(&path)?;
                let end = end || !file.metadata()?.is_file();
                return Ok(Self::Open { file, end });
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        // A file is made and removed at once, so that nothing is left if this program is killed.
        match temporary(&path).and_then(|(name, _)| std::fs::remove_file(name)) {
            Ok(()) => Ok(Self::Replace(path)),
            Err(e) => match OpenOptions::new().write(true).open(&path) {
                Ok(file) => Ok(Self::Open { file, end: false }),
                Err(_) => Err(e),
            },
        }
    }

    /// Writes the report.
    pub(crate) fn write(self, report: &Report, format: ReportFormat) -> io::Result<()> {
        let text = match format {
            ReportFormat::Json => json(report)?,
            ReportFormat::Isolate => report.isolate(),
        };
        let text = text.as_bytes();
        match self {
            Self::Open { mut file, end } => {
                if !end {
                    file.set_len(0)?;
                }
                file.write_all(text)
            }
            Self::Replace(path) => {
                let (name, mut file) = temporary(&path)?;
                let done = file
                    .write_all(text)
                    .and_then(|()| std::fs::rename(&name, &path));
                if done.is_err() {
                    // What matters is the first error; this is but tidying up.
                    let _ = std::fs::remove_file(&name);
                }
                done
            }
        }
    }
}

/// A new file next to `path`.
fn temporary(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.tmp", std::process::id()));
    // A name may be as long as the file system takes; then the temporary one is too long.
    if hidden.len() > 255 {
        hidden = format!(".run-sandbox.{}.tmp", std::process::id()).into();
    }
    let hidden = path.with_file_name(hidden);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&hidden)?;
    Ok((hidden, file))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::time::Duration;

    use sandboxlib::config::{Feature, SandboxPath};
    use sandboxlib::core::Reason;

    use super::*;

    fn written(target: Target, path: &Path, report: &Report) -> serde_json::Value {
        target.write(report, ReportFormat::Json).unwrap();
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn a_run_and_a_path_that_is_not_utf8() {
        let mut enforcement = Enforcement::none("userns");
        enforcement.enforced.insert(Feature::Network);
        enforcement.degradations.push(Degradation {
            feature: Feature::Pid,
            reason: Reason::new("not here"),
        });
        let odd = OsStr::from_bytes(b"/a\xff\\");
        enforcement
            .created_on_host
            .push(SandboxPath::new(odd).unwrap());
        enforcement.hidden.push(SandboxPath::new("/home").unwrap());
        let mut outcome = Outcome::new(End::Signalled(9), Started::Yes, 42);
        outcome.wall = Duration::from_millis(1500);
        outcome.peak_memory = Some(4096);
        outcome.signal = Some(9);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        let target = Target::open(&path).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let json = written(
            target,
            &path,
            &Report::finished(Ran::new(&enforcement, outcome.clone())),
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(
            json,
            serde_json::json!({
                "backend": "userns", "started": "yes", "pid": 42, "exit_code": null, "signal": 9,
                "timed_out": false, "limit": null, "wall_seconds": 1.5, "user_seconds": 0.0,
                "system_seconds": 0.0, "peak_memory_bytes": 4096,
                "measured_by": {"cpu": "waited-for", "memory": "waited-for"}, "enforced": ["network"],
                "not_enforced": [{"feature": "pid", "reason": "not here"}],
                "created_on_host": ["/a\\xff\\x5c"], "not_masked": [],
                "hidden": ["/home"], "seccomp": "none", "kill_scope": "process-group",
                "landlock": null, "limits": [], "error": null,
            })
        );
    }

    #[test]
    fn the_meta_file_of_isolate() {
        let enforcement = Enforcement::none("userns");
        let mut outcome = Outcome::new(End::Exited(0), Started::Yes, 42);
        outcome.exit_code = Some(0);
        outcome.wall = Duration::from_millis(1500);
        outcome.user = Duration::from_millis(250);
        outcome.system = Duration::from_millis(8);
        outcome.peak_memory = Some(4096);
        let meta =
            |outcome: &Outcome| Report::finished(Ran::new(&enforcement, outcome.clone())).isolate();
        let figures = "time:0.258\ntime-wall:1.500\nmax-rss:4\n";
        assert_eq!(meta(&outcome), format!("{figures}exitcode:0\n"));
        outcome.exit_code = Some(3);
        outcome.end = End::Exited(3);
        let failed = "exitcode:3\nstatus:RE\nmessage:exited with status 3\n";
        assert_eq!(meta(&outcome), format!("{figures}{failed}"));
        (outcome.exit_code, outcome.signal) = (None, Some(11));
        outcome.end = End::Signalled(11);
        let signalled = "exitsig:11\nstatus:SG\nmessage:ended by signal 11\n";
        assert_eq!(meta(&outcome), format!("{figures}{signalled}"));
        outcome.signal = None;
        outcome.end = End::Limit(Limit::CpuTime);
        let killed = "exitsig:9\nkilled:1\nstatus:TO\nmessage:the limit of cpu-time was reached\n";
        assert_eq!(meta(&outcome), format!("{figures}{killed}"));
        outcome.end = End::Limit(Limit::Memory);
        outcome.memory_by = Means::CgroupV1;
        let text = meta(&outcome);
        assert!(text.contains("cg-mem:4\nexitsig:9\nkilled:1\ncg-oom-killed:1\nstatus:SG\n"));
        let failed = Report::failed(&Failure::Bad("no\nway".into())).isolate();
        assert_eq!(failed, "status:XX\nmessage:no way\n");
    }

    #[test]
    fn a_failure() {
        let report = Report::failed(&Failure::Bad("no".into()));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["started"], "no");
        assert_eq!(json["error"]["message"], "no");
        assert_eq!(json["exit_code"], serde_json::Value::Null);
    }

    #[test]
    fn links_stay_links_and_long_names_are_fine() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "x".repeat(10_000)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let report = Report::failed(&Failure::Bad("no".into()));
        written(Target::open(&link).unwrap(), &file, &report);
        assert!(link.is_symlink());
        let long = dir.path().join("n".repeat(255));
        written(Target::open(&long).unwrap(), &long, &report);
    }

    #[test]
    fn what_cannot_be_written_is_known_beforehand() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("a/b"), "/".into()] {
            let said = Target::open(&path).unwrap_err();
            assert!(said.starts_with("--report: cannot write to"), "{said}");
        }
    }
}
