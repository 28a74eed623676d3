//! Failures, and advice on them, as lines for people.

use std::error::Error as _;

use sandboxlib::config::{Feature, FeatureSet};
use sandboxlib::core::{ExecProblem, Hint, Knob, NegotiateError, Started};
use sandboxlib::mount::PlanError;
use sandboxlib::{Candidate, Error};
use serde::{Deserialize, Serialize};

/// Why nothing was run.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked for makes no sense.
    Bad(String),
    /// It could not be done.
    Run(Box<Error>),
    /// Another process says so, which serves a session.
    Told(Told),
}

/// All that there is to know about a failure, as it is told to another process and in reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Told {
    /// The exit status that says so.
    pub(crate) status: u8,
    pub(crate) message: Vec<String>,
    pub(crate) hints: Vec<String>,
    pub(crate) backend: Option<String>,
    /// Whether the command was started; `None` if that is not known.
    pub(crate) started: Option<bool>,
    pub(crate) step: Option<String>,
    pub(crate) errno: Option<i32>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Run(Box::new(error))
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Bad(message)
    }
}

impl Failure {
    /// The exit status that says so.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Bad(_) => 125,
            Self::Told(told) => told.status,
            Self::Run(error) => match error.exec_problem() {
                None => 125,
                Some(ExecProblem::NotFound) => 127,
                Some(_) => 126,
            },
        }
    }

    /// What happened, in one line and, where there were several ways, one for each.
    pub(crate) fn message(&self) -> Vec<String> {
        match self {
            Self::Bad(message) => vec![message.clone()],
            Self::Told(told) => told.message.clone(),
            Self::Run(error) => match &**error {
                Error::Negotiate { candidates } => {
                    let mut lines = vec!["no backend can do what is asked for".to_owned()];
                    lines.extend(candidates.iter().map(candidate));
                    lines
                }
                other => vec![chain(other)],
            },
        }
    }

    /// What may be done about it.
    pub(crate) fn hints(&self) -> Vec<String> {
        let error = match self {
            Self::Bad(_) => return Vec::new(),
            Self::Told(told) => return told.hints.clone(),
            Self::Run(error) => error,
        };
        let mut lines = Vec::new();
        for hint in error.hints() {
            let line = advice(hint);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        match &**error {
            Error::Negotiate { candidates } => {
                lines.extend(candidates.iter().filter_map(without));
            }
            Error::Plan {
                error: PlanError::Hides { .. },
            } => {
                lines.push("if that is meant, put --cover in front of the one that hides".into());
            }
            _ => {}
        }
        lines
    }

    /// Whether the command was started.
    pub(crate) fn started(&self) -> Started {
        match self {
            Self::Bad(_) => Started::No,
            Self::Told(told) => match told.started {
                Some(true) => Started::Yes,
                Some(false) => Started::No,
                None => Started::Unknown,
            },
            Self::Run(error) => error.started(),
        }
    }

    /// All that there is to know about it.
    pub(crate) fn told(&self) -> Told {
        let (mut backend, mut step, mut errno) = (None, None, None);
        match self {
            Self::Told(told) => return told.clone(),
            Self::Bad(_) => {}
            Self::Run(error) => match &**error {
                Error::Prepare { backend: name, .. } => backend = Some((*name).to_owned()),
                Error::Spawn {
                    backend: name,
                    error,
                } => {
                    backend = Some((*name).to_owned());
                    step = Some(error.step.to_string());
                    errno = error.source.raw_os_error();
                }
                _ => {}
            },
        }
        Told {
            status: self.status(),
            message: self.message(),
            hints: self.hints(),
            backend,
            started: match self.started() {
                Started::Yes => Some(true),
                Started::No => Some(false),
                Started::Unknown => None,
            },
            step,
            errno,
        }
    }
}

/// A backend, and why it was not taken.
pub(crate) fn candidate(candidate: &Candidate) -> String {
    format!("{}: {}", candidate.backend, candidate.error)
}

/// The option with which a backend would do after all.
fn without(candidate: &Candidate) -> Option<String> {
    let NegotiateError::Refused(refusals) = &candidate.error else {
        return None;
    };
    let features: FeatureSet = refusals.iter().map(|refusal| refusal.feature).collect();
    if features.contains(Feature::Root) {
        return None;
    }
    let names: Vec<&str> = features.iter().map(Feature::name).collect();
    let (list, backend) = (names.join(","), &candidate.backend);
    Some(format!(
        "{backend} can run it without these: --backend {backend} --prefer {list}"
    ))
}

/// An error and what caused it, each said once.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        let said = said.find(" (os error ").map_or(&*said, |at| &said[..at]);
        if !text.contains(said) {
            text.push_str(": ");
            text.push_str(said);
        }
        cause = error.source();
    }
    text
}

/// A hint, with the knob where the advice alone does not name it.
pub(crate) fn advice(hint: &Hint) -> String {
    let advice = &hint.advice;
    let add = |name: &str, rest: String| match advice.contains(name) {
        true => advice.to_string(),
        false => format!("{advice} ({rest})"),
    };
    match &hint.knob {
        Knob::Sysctl {
            name,
            found,
            wanted,
        } => match advice.contains("sysctl ") {
            true => format!("{advice} (found {found})"),
            false => format!("{advice}: sysctl -w {name}={wanted} (found {found})"),
        },
        Knob::Capability(name) => add(name, format!("capability {name}")),
        Knob::Program { name, package } => {
            let package = package.map_or(String::new(), |p| format!(", in the Debian package {p}"));
            match advice.contains(&**name) && (package.is_empty() || advice.contains("package")) {
                true => advice.to_string(),
                false => format!("{advice} (program {name}{package})"),
            }
        }
        Knob::File { path, line } => match advice.contains(line.as_str()) {
            true => advice.to_string(),
            false => format!("{advice}: add the line {line:?} to {path}"),
        },
        Knob::KernelConfig(name) => add(name, format!("kernel option {name}")),
        Knob::Kernel { found, wanted } => {
            let found = found.map_or(String::new(), |v| format!(", this is {v}"));
            match advice.contains(&wanted.to_string()) {
                true => advice.to_string(),
                false => format!("{advice} (from Linux {wanted}{found})"),
            }
        }
        Knob::Lsm(name) => add(name, (*name).to_owned()),
        Knob::Mount(what) => add(what, what.to_string()),
        _ => advice.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_names_its_knob_once() {
        let sysctl = Knob::Sysctl {
            name: "user.max_user_namespaces".into(),
            found: "0".into(),
            wanted: "15000".into(),
        };
        assert_eq!(
            advice(&Hint::new(sysctl, "allow user namespaces")),
            "allow user namespaces: sysctl -w user.max_user_namespaces=15000 (found 0)"
        );
        let cap = || Knob::Capability("CAP_SYS_ADMIN");
        assert_eq!(
            advice(&Hint::new(cap(), "run it as root")),
            "run it as root (capability CAP_SYS_ADMIN)"
        );
        assert_eq!(
            advice(&Hint::new(cap(), "add CAP_SYS_ADMIN")),
            "add CAP_SYS_ADMIN"
        );
        let program = Knob::Program {
            name: "newuidmap".into(),
            package: Some("uidmap"),
        };
        assert_eq!(
            advice(&Hint::new(program, "install it")),
            "install it (program newuidmap, in the Debian package uidmap)"
        );
        let file = Knob::File {
            path: "/etc/subuid",
            line: "u:100000:65536".into(),
        };
        assert_eq!(
            advice(&Hint::new(file, "grant subordinate ids")),
            "grant subordinate ids: add the line \"u:100000:65536\" to /etc/subuid"
        );
        assert_eq!(advice(&Hint::new(Knob::Os, "use Linux")), "use Linux");
    }

    #[test]
    fn a_message_is_bad_usage() {
        let failure = Failure::Bad("x".into());
        assert_eq!(
            (failure.status(), failure.message()),
            (125, vec!["x".to_owned()])
        );
        assert!(failure.hints().is_empty());
    }
}
