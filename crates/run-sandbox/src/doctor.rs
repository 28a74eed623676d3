//! `--doctor`: what works on this host, what does not and why, and what to do about it.

use std::fmt::Write as _;

use sandboxlib::core::HostFacts;
use sandboxlib::core::doctor::{BackendFindings, Check, Findings, Verdict};
use serde::Serialize;

use crate::bytes;
use crate::help::{WIDTH, wrap};
use crate::options::NAME;
use crate::render::advice;

/// The column in which a check's verdict stands, and the one in which its reason does.
const VERDICT: usize = 22;
const REASON: usize = 33;

/// The findings for people.
pub(crate) fn text(findings: &Findings) -> String {
    let mut out = String::new();
    wrap(&mut out, &summary(findings), 0);
    // Writing to a String does not fail.
    let _ = writeln!(out, "\nhost: {}", host(&findings.facts));
    for (title, needed) in [
        ("needed by a plain run", true),
        ("of use beyond that", false),
    ] {
        let _ = writeln!(out, "\n{title}:");
        for check in findings.checks.iter().filter(|c| c.needed == needed) {
            mechanism(&mut out, check);
        }
    }
    for backend in &findings.backends {
        let _ = writeln!(out, "\nbackend {}:", backend.name);
        for line in enforces(backend) {
            wrap_hanging(&mut out, &line, 2, 4);
        }
    }
    let cures = findings.cures();
    for (title, needed) in [("what to do", true), ("what else may be of use", false)] {
        let mut title = Some(title);
        for cure in cures.iter().filter(|cure| cure.needed == needed) {
            if let Some(title) = title.take() {
                let _ = writeln!(out, "\n{title}:");
            }
            let line = format!("- {} [{}]", advice(cure.hint), cure.serves.join(", "));
            wrap_hanging(&mut out, &line, 2, 4);
        }
    }
    out
}

/// The answer in a sentence or two.
fn summary(findings: &Findings) -> String {
    let works = |name: &&str| {
        findings
            .backend(name)
            .is_some_and(|backend| backend.plain_run.works())
    };
    let other = findings.backends.iter().find(|b| b.plain_run.works());
    match (findings.chosen.filter(works), findings.chosen, other) {
        (Some(name), ..) => format!("{NAME} isolates fully here, by the backend {name}."),
        (None, Some(chosen), Some(other)) => format!(
            "{NAME} can isolate fully here with -e {}. Without that it takes {chosen}, which \
             cannot.",
            other.name
        ),
        (None, None, Some(other)) => {
            format!("{NAME} can isolate fully here with -e {}.", other.name)
        }
        (None, _, None) => {
            let causes: Vec<String> = findings
                .checks
                .iter()
                .filter(|check| check.needed)
                .filter_map(|check| match &check.verdict {
                    Verdict::Fails { cause, .. } => Some(format!("{}: {cause}", check.name)),
                    _ => None,
                })
                .collect();
            let mut text = format!("{NAME} cannot isolate fully here.");
            if let Some(first) = causes.first() {
                let _ = write!(text, " The first thing in the way is {first}.");
            }
            text
        }
    }
}

fn host(facts: &HostFacts) -> String {
    let system = format!("{:?}", facts.os);
    let kernel = facts.kernel.map_or(String::new(), |v| format!(" {v}"));
    let all = (1u64 << 41) - 1;
    let capabilities = match facts.capabilities.bits() {
        0 => "no capabilities".to_owned(),
        bits if bits & all == all => "all capabilities".to_owned(),
        bits => format!("{} capabilities", bits.count_ones()),
    };
    format!(
        "{system}{kernel}, uid {}, gid {}, {capabilities}",
        facts.uid, facts.gid
    )
}

fn mechanism(out: &mut String, check: &Check) {
    let reason = match &check.verdict {
        Verdict::Fails { cause, .. } if check.detail.is_empty() || check.detail == *cause => {
            cause.clone()
        }
        Verdict::Fails { cause, .. } => format!("{cause}; {}", check.detail),
        _ => check.detail.clone(),
    };
    let head = format!("{:VERDICT$}{}", check.name, word(&check.verdict));
    let width = REASON - 2;
    let line = format!("{head:width$}{reason}");
    wrap_hanging(out, line.trim_end(), 2, REASON);
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Works => "works",
        Verdict::Fails { .. } => "fails",
        _ => "unknown",
    }
}

/// What a backend enforces, what not and why. Features that fail for one reason share a line.
fn enforces(backend: &BackendFindings) -> Vec<String> {
    let mut lines = vec![match &backend.plain_run {
        Verdict::Works => "a plain run works".to_owned(),
        Verdict::Fails { cause, .. } => format!("a plain run fails: {cause}"),
        _ => "a plain run was not tried".to_owned(),
    }];
    let mut works = Vec::new();
    let mut unknown = Vec::new();
    let mut fails: Vec<(&str, Vec<&str>)> = Vec::new();
    for (feature, verdict) in &backend.features {
        match verdict {
            Verdict::Works => works.push(feature.name()),
            Verdict::Fails { cause, .. } => match fails.iter_mut().find(|(c, _)| c == cause) {
                Some((_, names)) => names.push(feature.name()),
                None => fails.push((cause, vec![feature.name()])),
            },
            _ => unknown.push(feature.name()),
        }
    }
    if works.is_empty() {
        lines.push("enforces nothing".to_owned());
    } else {
        lines.push(format!("enforces {}", works.join(", ")));
    }
    // What a plain run fails for need not be said again where it is all that there is to say.
    let whole = match (&backend.plain_run, &fails[..]) {
        (Verdict::Fails { cause, .. }, [(one, _)]) => works.is_empty() && cause == one,
        _ => false,
    };
    for (cause, names) in fails.into_iter().filter(|_| !whole) {
        lines.push(format!("lacks {}: {cause}", names.join(", ")));
    }
    if !unknown.is_empty() {
        lines.push(format!("not tried: {}", unknown.join(", ")));
    }
    lines
}

/// Text in lines of which all but the first are indented further.
fn wrap_hanging(out: &mut String, text: &str, indent: usize, hanging: usize) {
    let first = WIDTH - indent;
    let fits = |at: &usize| *at <= first;
    let end = match text.len() <= first {
        true => text.len(),
        // What is aligned in columns is kept as it is: only behind the hanging column is there a
        // space to break at.
        false => text
            .match_indices(' ')
            .map(|(at, _)| at)
            .take_while(fits)
            .last()
            .unwrap_or(text.len()),
    };
    let (line, rest) = text.split_at(end);
    let _ = writeln!(out, "{:indent$}{}", "", line.trim_end());
    let rest = rest.trim_start();
    if !rest.is_empty() {
        wrap(out, rest, hanging);
    }
}

#[derive(Serialize)]
struct Document {
    can_isolate: bool,
    chosen: Option<&'static str>,
    host: Host,
    checks: Vec<Mechanism>,
    backends: Vec<Backend>,
}

#[derive(Serialize)]
struct Host {
    os: String,
    kernel: Option<String>,
    uid: u32,
    gid: u32,
    capabilities: Vec<String>,
}

#[derive(Serialize)]
struct Mechanism {
    name: &'static str,
    needed: bool,
    detail: String,
    #[serde(flatten)]
    verdict: Said,
}

#[derive(Serialize)]
struct Backend {
    name: &'static str,
    plain_run: Said,
    features: Vec<Enforced>,
}

#[derive(Serialize)]
struct Enforced {
    feature: &'static str,
    #[serde(flatten)]
    verdict: Said,
}

#[derive(Serialize)]
struct Said {
    verdict: &'static str,
    errno: Option<i32>,
    cause: Option<String>,
    hints: Vec<String>,
}

impl From<&Verdict> for Said {
    fn from(verdict: &Verdict) -> Self {
        let (errno, cause) = match verdict {
            Verdict::Fails { errno, cause, .. } => (*errno, Some(cause.clone())),
            _ => (None, None),
        };
        Self {
            verdict: word(verdict),
            errno,
            cause,
            hints: verdict.hints().iter().map(advice).collect(),
        }
    }
}

/// The findings for programs.
pub(crate) fn json(findings: &Findings) -> serde_json::Result<String> {
    let facts = &findings.facts;
    let document = Document {
        can_isolate: findings.can_isolate(),
        chosen: findings.chosen,
        host: Host {
            os: format!("{:?}", facts.os).to_lowercase(),
            kernel: facts.kernel.map(|version| version.to_string()),
            uid: facts.uid,
            gid: facts.gid,
            capabilities: facts.capabilities.names().collect(),
        },
        checks: findings
            .checks
            .iter()
            .map(|check| Mechanism {
                name: check.name,
                needed: check.needed,
                detail: check.detail.clone(),
                verdict: (&check.verdict).into(),
            })
            .collect(),
        backends: findings
            .backends
            .iter()
            .map(|backend| Backend {
                name: backend.name,
                plain_run: (&backend.plain_run).into(),
                features: backend
                    .features
                    .iter()
                    .map(|(feature, verdict)| Enforced {
                        feature: feature.name(),
                        verdict: verdict.into(),
                    })
                    .collect(),
            })
            .collect(),
    };
    bytes::json(&document)
}

#[cfg(test)]
mod tests {
    use sandboxlib::config::Feature;
    use sandboxlib::core::{Hint, KernelVersion, Knob};

    use super::*;

    fn findings() -> Findings {
        let sysctl = Knob::Sysctl {
            name: "user.max_user_namespaces".into(),
            found: "0".to_owned(),
            wanted: "15000".into(),
        };
        let hint = Hint::new(sysctl, "allow user namespaces");
        let refused = || Verdict::fails(Some(28), "", vec![hint.clone()]);
        let mut facts = HostFacts::linux(1000, 1000);
        facts.kernel = Some(KernelVersion(6, 1));
        let detail = "cannot clone a child into new namespaces: user: No space left on device";
        let mut findings = Findings::new(
            facts,
            vec![
                Check::new("user-namespace", refused(), detail).needed(true),
                Check::new("id-map", Verdict::Unknown, "not tried").needed(true),
                Check::new("landlock", Verdict::Works, "ABI 2"),
            ],
        );
        findings.backends = vec![BackendFindings::new(
            "userns",
            refused(),
            vec![
                (Feature::Root, refused()),
                (Feature::Pid, refused()),
                (Feature::Ids, Verdict::Works),
                (Feature::Time, Verdict::Unknown),
            ],
        )];
        findings
    }

    #[test]
    fn the_text_is_aligned_and_says_each_cure_once() {
        let expected = "\
run-sandbox cannot isolate fully here. The first thing in the way is
user-namespace: user.max_user_namespaces is 0.

host: Linux 6.1, uid 1000, gid 1000, no capabilities

needed by a plain run:
  user-namespace        fails    user.max_user_namespaces is 0; cannot clone a
                                 child into new namespaces: user: No space left
                                 on device
  id-map                unknown  not tried

of use beyond that:
  landlock              works    ABI 2

backend userns:
  a plain run fails: user.max_user_namespaces is 0
  enforces ids
  lacks root, pid: user.max_user_namespaces is 0
  not tried: time

what to do:
  - allow user namespaces: sysctl -w user.max_user_namespaces=15000 (found 0)
    [user-namespace, backend userns]
";
        let text = text(&findings());
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn the_summary_names_the_way_that_works() {
        let mut findings = findings();
        findings.backends[0].plain_run = Verdict::Works;
        assert!(summary(&findings).contains("-e userns."));
        findings.chosen = Some("userns");
        assert!(summary(&findings).contains("fully here, by the backend userns"));
        findings.chosen = Some("other");
        assert!(summary(&findings).contains("Without that it takes other"));
    }

    #[test]
    fn the_json_has_the_same() {
        let json: serde_json::Value = serde_json::from_str(&json(&findings()).unwrap()).unwrap();
        assert_eq!(json["can_isolate"], false);
        assert_eq!(json["host"]["kernel"], "6.1");
        let check = &json["checks"][0];
        assert_eq!(check["name"], "user-namespace");
        assert_eq!(check["verdict"], "fails");
        assert_eq!(check["errno"], 28);
        assert_eq!(check["cause"], "user.max_user_namespaces is 0");
        assert_eq!(json["backends"][0]["features"][2]["feature"], "ids");
        assert_eq!(json["backends"][0]["features"][2]["verdict"], "works");
    }
}
