//! What a doctor finds out about a host: each mechanism tried apart, and what each backend can
//! enforce with them. Plain data; `sandboxlib::doctor()` fills it in.

use std::path::Path;

use sandboxlib_config::Feature;

use crate::{
    Diagnosis, FailedStep, Failure, Hint, HostFacts, KernelVersion, Knob, Reason, explain,
};

/// Whether something works on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It was tried and works.
    Works,
    /// It does not.
    Fails {
        /// What the operating system said, if it was asked.
        errno: Option<i32>,
        /// What says no, as a lower-case fragment that can stand behind `because `.
        cause: String,
        /// The cures, the likeliest first.
        hints: Vec<Hint>,
    },
    /// It was not tried, or the trial tells nothing.
    Unknown,
}

impl Verdict {
    /// It failed with `errno`, and `hints` explain it. Without any, `otherwise` is the cause.
    #[must_use]
    pub fn fails(errno: Option<i32>, otherwise: impl Into<String>, hints: Vec<Hint>) -> Self {
        let cause = cause(&hints).unwrap_or_else(|| otherwise.into());
        Self::Fails {
            errno,
            cause,
            hints,
        }
    }

    /// Whether it works.
    #[must_use]
    pub fn works(&self) -> bool {
        *self == Self::Works
    }

    /// The cures; none where nothing is wrong.
    #[must_use]
    pub fn hints(&self) -> &[Hint] {
        match self {
            Self::Fails { hints, .. } => hints,
            _ => &[],
        }
    }
}

impl From<&Reason> for Verdict {
    fn from(reason: &Reason) -> Self {
        Self::Fails {
            errno: None,
            cause: reason.text.clone().into_owned(),
            hints: reason.hints.clone(),
        }
    }
}

/// One mechanism, and whether it works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Its name, such as `user-namespace`.
    pub name: &'static str,
    /// Whether it works.
    pub verdict: Verdict,
    /// What else there is to know: a version, the step that failed, why it was not tried. May be
    /// empty.
    pub detail: String,
    /// Whether a plain run with the best backend needs it.
    pub needed: bool,
}

impl Check {
    /// A mechanism that a plain run can do without.
    pub fn new(name: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self {
            name,
            verdict,
            detail: detail.into(),
            needed: false,
        }
    }

    /// Says whether a plain run needs it.
    #[must_use]
    pub fn needed(mut self, needed: bool) -> Self {
        self.needed = needed;
        self
    }
}

/// What a backend can do here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendFindings {
    /// Its name.
    pub name: &'static str,
    /// Whether it can isolate fully by default: everything that [`Config::new`] with the host's
    /// root and the usual mounts asks for, with nothing left out.
    ///
    /// [`Config::new`]: sandboxlib_config::Config::new
    pub plain_run: Verdict,
    /// Whether it enforces each feature, tried apart.
    pub features: Vec<(Feature, Verdict)>,
}

impl BackendFindings {
    /// What is known of the backend `name`.
    #[must_use]
    pub fn new(name: &'static str, plain_run: Verdict, features: Vec<(Feature, Verdict)>) -> Self {
        Self {
            name,
            plain_run,
            features,
        }
    }
}

/// Everything that was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Findings {
    /// What is known about the host and the caller.
    pub facts: HostFacts,
    /// The mechanisms, in an order in which those that others need come first.
    pub checks: Vec<Check>,
    /// The backends of this build, in the order in which `auto` tries them.
    pub backends: Vec<BackendFindings>,
    /// The backend that a plain run takes, if one takes it. Whether the run then works is in
    /// `backends`.
    pub chosen: Option<&'static str>,
}

impl Findings {
    /// These findings, and no backend yet.
    #[must_use]
    pub fn new(facts: HostFacts, checks: Vec<Check>) -> Self {
        Self {
            facts,
            checks,
            backends: Vec::new(),
            chosen: None,
        }
    }

    /// Whether some backend can isolate fully by default.
    #[must_use]
    pub fn can_isolate(&self) -> bool {
        self.backends.iter().any(|b| b.plain_run.works())
    }

    /// The check of this name.
    #[must_use]
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// The backend of this name.
    #[must_use]
    pub fn backend(&self, name: &str) -> Option<&BackendFindings> {
        self.backends.iter().find(|backend| backend.name == name)
    }

    /// Every cure once, with what it is for: the ones that a plain run waits for come first. What
    /// a backend lacks is left alone where another one isolates fully.
    #[must_use]
    pub fn cures(&self) -> Vec<Cure<'_>> {
        let checks = |needed| {
            let asked = move |check: &&Check| check.needed == needed;
            let named = move |check: &'_ Check| (check.name.to_owned(), needed);
            self.checks
                .iter()
                .filter(asked)
                .map(move |check| (named(check), &check.verdict))
        };
        let wanting = match self.can_isolate() {
            true => &[][..],
            false => &self.backends[..],
        };
        let backends = wanting
            .iter()
            .map(|b| ((format!("backend {}", b.name), true), &b.plain_run));
        let mut cures: Vec<Cure<'_>> = Vec::new();
        for ((name, needed), verdict) in checks(true).chain(backends).chain(checks(false)) {
            for hint in verdict.hints() {
                match cures.iter_mut().find(|cure| cure.hint == hint) {
                    Some(cure) if cure.serves.contains(&name) => {}
                    Some(cure) => cure.serves.push(name.clone()),
                    None => cures.push(Cure {
                        hint,
                        serves: vec![name.clone()],
                        needed,
                    }),
                }
            }
        }
        cures
    }
}

/// A cure, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cure<'a> {
    /// What to do.
    pub hint: &'a Hint,
    /// The checks, and the backends, that say so.
    pub serves: Vec<String>,
    /// Whether a plain run may be waiting for it.
    pub needed: bool,
}

/// What may have caused the mount of an overlay to fail, and what to do. The doctor tries one apart
/// from any root, so there is no step of a script to explain: what is particular to overlayfs comes
/// first, then whatever refuses mounting in general.
#[must_use]
pub fn explain_overlay(failure: Failure<'_>, diagnosis: &Diagnosis) -> Vec<Hint> {
    const EPERM: i32 = 1;
    const ENODEV: i32 = 19;
    /// The first kernel that lets a user namespace mount it.
    const FIRST: KernelVersion = KernelVersion(5, 11);
    let found = diagnosis.facts.kernel;
    match failure.errno {
        ENODEV => vec![Hint::new(
            Knob::KernelConfig("CONFIG_OVERLAY_FS"),
            "load the module (`modprobe overlay`), or use a kernel with overlayfs",
        )],
        EPERM if found.is_some_and(|found| found < FIRST) => vec![Hint::new(
            Knob::Kernel {
                found,
                wanted: FIRST,
            },
            format!(
                "use Linux {FIRST} or later, which is the first to mount overlayfs in a user namespace"
            ),
        )],
        _ => explain(failure, diagnosis),
    }
}

/// What says no, in the words of the first two knobs; `None` without any.
fn cause(hints: &[Hint]) -> Option<String> {
    let first = hints.first()?;
    let mut text = named(&first.knob);
    match (&first.knob, hints.get(1).map(|hint| &hint.knob)) {
        // The setting is how the module says no, and not another cause.
        (Knob::Lsm("AppArmor"), Some(Knob::Sysctl { name, found, .. }))
            if name.starts_with("kernel.apparmor") =>
        {
            text.push_str(&format!(" ({name} is {found})"));
        }
        (_, Some(second)) => {
            text.push_str(", or ");
            text.push_str(&named(second));
        }
        (_, None) => {}
    }
    Some(text)
}

fn named(knob: &Knob) -> String {
    match knob {
        Knob::Sysctl { name, found, .. } => format!("{name} is {found}"),
        Knob::Capability(name) => format!("the caller lacks {name}"),
        Knob::Program { name, .. } => format!("{name} is not installed"),
        Knob::File { path, .. } => format!("{path} has no line for the caller"),
        Knob::KernelConfig(name) => format!("the kernel lacks {name}"),
        Knob::Kernel { found, wanted } => match found {
            Some(found) => format!("Linux {found} is older than {wanted}"),
            None => format!("the kernel is older than {wanted}"),
        },
        Knob::Os => "this operating system has no such thing".to_owned(),
        Knob::Lsm(name) => format!("{name} refuses it"),
        Knob::Seccomp => "a system call filter (seccomp) around the caller refuses it".to_owned(),
        Knob::Mount(what) => mount(what),
        Knob::Limit(name) => format!("the limit {name} is reached"),
        Knob::Path(path) => in_the_way(path),
        Knob::Request(what) => format!("{what} of the caller are in the way"),
    }
}

fn mount(what: &str) -> String {
    match what {
        "/proc" => "the caller's /proc is partly covered, read-only or missing".to_owned(),
        "chroot" => "the caller is in a chroot".to_owned(),
        "initramfs" => "the caller's root is an initramfs".to_owned(),
        "root" => "the caller's root cannot be exchanged".to_owned(),
        option => format!("a file system is mounted {option}"),
    }
}

fn in_the_way(path: &Path) -> String {
    format!("{path:?} is not as it has to be")
}

/// The errno and the text of a failed step, for a check's detail.
#[must_use]
pub fn told(step: &FailedStep, source: &std::io::Error) -> String {
    let said = source.to_string();
    let said = said.find(" (os error ").map_or(&*said, |at| &said[..at]);
    format!("cannot {step}: {said}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NamespaceSet, Step};

    fn sysctl(name: &'static str, found: &str) -> Knob {
        Knob::Sysctl {
            name: name.into(),
            found: found.to_owned(),
            wanted: "1".into(),
        }
    }

    fn cause_of(knobs: Vec<Knob>) -> String {
        let hints = knobs.into_iter().map(|k| Hint::new(k, "x")).collect();
        match Verdict::fails(Some(1), "otherwise", hints) {
            Verdict::Fails { cause, .. } => cause,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cause_names_the_knob_and_its_value() {
        for (knobs, expected) in [
            (vec![], "otherwise"),
            (
                vec![sysctl("user.max_user_namespaces", "0")],
                "user.max_user_namespaces is 0",
            ),
            (
                vec![
                    Knob::Lsm("AppArmor"),
                    sysctl("kernel.apparmor_restrict_unprivileged_userns", "1"),
                ],
                "AppArmor refuses it (kernel.apparmor_restrict_unprivileged_userns is 1)",
            ),
            (
                vec![
                    Knob::Limit("RLIMIT_NPROC"),
                    Knob::Limit("pids.max"),
                    Knob::Os,
                ],
                "the limit RLIMIT_NPROC is reached, or the limit pids.max is reached",
            ),
            (
                vec![Knob::Kernel {
                    found: Some(KernelVersion(5, 10)),
                    wanted: KernelVersion(5, 12),
                }],
                "Linux 5.10 is older than 5.12",
            ),
            (
                vec![Knob::Mount("/proc".into())],
                "the caller's /proc is partly covered, read-only or missing",
            ),
        ] {
            assert_eq!(cause_of(knobs), expected);
        }
    }

    #[test]
    fn each_cure_is_listed_once_with_all_that_it_is_for() {
        let hint = |advice: &'static str| Hint::new(Knob::Os, advice);
        let fails = |hints: Vec<Hint>| Verdict::fails(None, "x", hints);
        let mut findings = Findings::new(
            HostFacts::linux(0, 0),
            vec![
                Check::new("a", fails(vec![hint("one"), hint("two")]), ""),
                Check::new("b", Verdict::Works, ""),
                Check::new("c", fails(vec![hint("two"), hint("two")]), ""),
            ],
        );
        findings.backends.push(BackendFindings::new(
            "d",
            fails(vec![hint("one")]),
            vec![(Feature::Pid, fails(vec![hint("three")]))],
        ));
        findings.checks[2].needed = true;
        let listed = |findings: &Findings| -> Vec<(String, String)> {
            let line = |cure: Cure<'_>| (cure.hint.advice.to_string(), cure.serves.join(" "));
            findings.cures().into_iter().map(line).collect()
        };
        let pair = |advice: &str, serves: &str| (advice.to_owned(), serves.to_owned());
        assert_eq!(
            listed(&findings),
            [pair("two", "c a"), pair("one", "backend d a")]
        );
        assert!(!findings.can_isolate());
        findings.backends[0].plain_run = Verdict::Works;
        assert!(findings.can_isolate());
        assert_eq!(listed(&findings), [pair("two", "c a"), pair("one", "a")]);
        assert!(findings.cures()[0].needed && !findings.cures()[1].needed);
    }

    #[test]
    fn an_overlay_that_an_old_kernel_refuses() {
        let step = FailedStep::Script {
            index: 0,
            step: Box::new(Step::PrivateMounts),
            detail: "fsopen",
        };
        let mut d = Diagnosis::new(HostFacts::linux(1000, 1000));
        let knobs = |d: &Diagnosis, errno| {
            let failure = Failure { step: &step, errno };
            let hints = explain_overlay(failure, d);
            hints.into_iter().map(|h| h.knob).collect::<Vec<_>>()
        };
        d.facts.kernel = Some(KernelVersion(5, 10));
        assert!(matches!(knobs(&d, 1)[..], [Knob::Kernel { .. }]));
        d.facts.kernel = Some(KernelVersion(6, 1));
        d.filtered = true;
        assert_eq!(knobs(&d, 1), [Knob::Seccomp]);
        assert_eq!(knobs(&d, 19), [Knob::KernelConfig("CONFIG_OVERLAY_FS")]);
    }

    #[test]
    fn a_failed_step_is_told_without_the_number() {
        let set = NamespaceSet {
            user: true,
            ..NamespaceSet::default()
        };
        let source = std::io::Error::from_raw_os_error(1);
        assert_eq!(
            told(&FailedStep::Clone(set), &source),
            "cannot clone a child into new namespaces: user: Operation not permitted"
        );
    }
}
