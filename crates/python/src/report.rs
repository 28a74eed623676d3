//! What held, and how a run ended, as plain data.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use sandboxlib::{End, Enforcement, KillScope, Outcome, Started};

/// What is enforced for every command.
pub(crate) fn enforcement<'py>(
    py: Python<'py>,
    held: &Enforcement,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("backend", held.backend)?;
    let enforced: Vec<_> = held.enforced.iter().map(|f| f.name()).collect();
    dict.set_item("enforced", enforced)?;
    let degraded = PyDict::new(py);
    for degradation in &held.degradations {
        degraded.set_item(degradation.feature.name(), degradation.reason.to_string())?;
    }
    dict.set_item("degraded", degraded)?;
    let limits = PyDict::new(py);
    for held in &held.limits {
        limits.set_item(held.limit.name(), held.by.name())?;
    }
    dict.set_item("limits", limits)?;
    let paths = |list: &[sandboxlib::SandboxPath]| -> Vec<std::ffi::OsString> {
        list.iter()
            .map(|p| p.as_path().as_os_str().to_owned())
            .collect()
    };
    dict.set_item("created_on_host", paths(&held.created_on_host))?;
    dict.set_item("hidden", paths(&held.hidden))?;
    dict.set_item("seccomp", held.seccomp)?;
    dict.set_item("landlock", held.landlock.as_ref().map(|l| l.abi))?;
    dict.set_item("kills_everything", held.kill_scope == KillScope::Everything)?;
    Ok(dict)
}

/// How a run ended, and what it used.
pub(crate) fn outcome<'py>(py: Python<'py>, outcome: &Outcome) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    // As subprocess has it: a signal is a negative status.
    const KILLED: i32 = -9;
    let status = match outcome.end {
        End::Exited(status) => status,
        End::Signalled(signal) => -signal,
        _ => match (outcome.exit_code, outcome.signal) {
            (Some(status), _) if status != 0 => status,
            (_, Some(signal)) => -signal,
            _ => KILLED,
        },
    };
    dict.set_item("returncode", status)?;
    let limit = match outcome.end {
        End::Limit(limit) => Some(limit.name()),
        _ => None,
    };
    dict.set_item("limit", limit)?;
    dict.set_item("killed", outcome.end == End::Killed)?;
    let started = match outcome.started {
        Started::Yes => Some(true),
        Started::No => Some(false),
        Started::Unknown => None,
    };
    dict.set_item("started", started)?;
    dict.set_item("wall", outcome.wall.as_secs_f64())?;
    dict.set_item("user", outcome.user.as_secs_f64())?;
    dict.set_item("system", outcome.system.as_secs_f64())?;
    dict.set_item("cpu_by", outcome.cpu_by.name())?;
    dict.set_item("peak_memory", outcome.peak_memory)?;
    dict.set_item("memory_by", outcome.memory_by.name())?;
    Ok(dict)
}
