//! The isolators of an App Container image, made into limits and options.
//!
//! They take away and never give: an image that asks for more than a command has by default does
//! not get it, and whoever runs it can say so with an option.

use sandboxlib::config::{
    Errno, Seccomp, SeccompAction, SeccompOtherwise, SeccompRule, SeccompRules, Settings,
};
use sandboxlib::core::CapSet;
use sandboxlib::image::{ImageConfig, Isolator};
use sandboxlib::spawn::{is_system_call, system_calls_but};

/// The sets of calls that the specification defines.
const ALL: &str = "@appc.io/all";
const EMPTY: &str = "@appc.io/empty";

type Missing = Vec<(String, String)>;

/// Puts what the isolators say into `lower`, and what they ask for in vain into `missing`. The
/// error is a message.
pub(super) fn settle(
    config: &ImageConfig,
    upper: &Settings,
    lower: &mut Settings,
    missing: &mut Missing,
) -> Result<(), String> {
    let uid = upper.uid.or(lower.uid);
    let is_root = upper.map_subordinate == Some(true) || uid == Some(0);
    let usual = match is_root {
        true => CapSet::FILES,
        false => CapSet::EMPTY,
    };
    let mut keep = usual;
    for isolator in &config.isolators {
        match isolator {
            Isolator::Memory { limit } => lower.limits.memory = Some(*limit),
            Isolator::Cpu { limit } => missing.push((
                "isolator resource/cpu".to_owned(),
                format!(
                    "the command may use more than {}.{:03} processors",
                    limit / 1000,
                    limit % 1000
                ),
            )),
            Isolator::CapabilitiesRetain(names) => {
                let wanted = capabilities("os/linux/capabilities-retain-set", names)?;
                let more: Vec<String> = wanted.without(usual).names().collect();
                if !more.is_empty() {
                    missing.push((
                        "isolator os/linux/capabilities-retain-set".to_owned(),
                        format!("{} is given with --cap-add alone", more.join(", ")),
                    ));
                }
                keep = CapSet::from_bits(keep.bits() & wanted.bits());
            }
            Isolator::CapabilitiesRemove(names) => {
                keep = keep.without(capabilities("os/linux/capabilities-remove-set", names)?);
            }
            // It is so in any case.
            Isolator::NoNewPrivileges(true) => {}
            Isolator::NoNewPrivileges(false) => missing.push((
                "isolator os/linux/no-new-privileges".to_owned(),
                "the command cannot gain privileges in any case".to_owned(),
            )),
            Isolator::SeccompRetain { set, errno } => {
                let name = "os/linux/seccomp-retain-set";
                let all = set.iter().any(|name| name == ALL);
                if !all && let Some(calls) = calls(name, set, missing) {
                    lower.seccomp = retain(&calls, action(name, errno.as_deref(), missing))?;
                }
            }
            Isolator::SeccompRemove { set, errno } => {
                let name = "os/linux/seccomp-remove-set";
                if let Some(calls) = calls(name, set, missing) {
                    lower.seccomp = remove(&calls, action(name, errno.as_deref(), missing))?;
                }
            }
            other => missing.push((format!("isolator {other:?}"), "is not enforced".to_owned())),
        }
    }
    if keep != usual {
        lower.capabilities = Some(keep.names().collect());
    }
    Ok(())
}

fn capabilities(isolator: &str, names: &[String]) -> Result<CapSet, String> {
    CapSet::from_names(names).map_err(|e| format!("the image: isolator {isolator}: {e}"))
}

/// The calls of a set. `None` where it has another set in it that is not known here.
fn calls<'a>(isolator: &str, set: &'a [String], missing: &mut Missing) -> Option<Vec<&'a str>> {
    let set = || set.iter().map(|name| &**name).filter(|name| *name != EMPTY);
    if let Some(other) = set().find(|name| name.starts_with('@')) {
        missing.push((
            format!("isolator {isolator}"),
            format!("the set {other} is not known; the usual filter holds instead"),
        ));
        return None;
    }
    let (known, unknown): (Vec<&str>, Vec<&str>) = set().partition(|name| is_system_call(name));
    if !unknown.is_empty() {
        let what = format!("isolator {isolator}");
        let why = format!("there are no system calls {}", unknown.join(", "));
        missing.push((what, why));
    }
    Some(known)
}

/// What happens to a call that is not allowed: without an error, it ends the process.
fn action(isolator: &str, errno: Option<&str>, missing: &mut Missing) -> SeccompAction {
    match errno.map(|name| (name, Errno::parse(name))) {
        None => SeccompAction::Kill,
        Some((_, Some(errno))) => SeccompAction::Errno(errno),
        Some((name, None)) => {
            let what = format!("isolator {isolator}");
            missing.push((what, format!("the error {name} is not known: it is EPERM")));
            SeccompAction::Errno(Errno::EPERM)
        }
    }
}

/// The usual filter, with all other calls than these closed as well.
fn retain(calls: &[&str], action: SeccompAction) -> Result<Option<Seccomp>, String> {
    let others = system_calls_but(calls)
        .ok_or("the image: there are no system call filters for this machine")?;
    rules(others, action)
}

/// The usual filter, with these calls closed as well.
fn remove(calls: &[&str], action: SeccompAction) -> Result<Option<Seccomp>, String> {
    rules(calls.to_vec(), action)
}

fn rules(closed: Vec<&str>, action: SeccompAction) -> Result<Option<Seccomp>, String> {
    if closed.is_empty() {
        return Ok(None);
    }
    let rule = SeccompRule::new(closed, action).map_err(|e| format!("the image: {e}"))?;
    Ok(Some(Seccomp::Rules(SeccompRules {
        rules: vec![rule],
        otherwise: SeccompOtherwise::Build,
    })))
}
