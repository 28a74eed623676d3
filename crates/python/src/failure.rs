//! Errors on their way to Python: the exceptions themselves are classes of `sandboxlib._errors`.

use std::error::Error as _;
use std::io;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use sandboxlib::core::{FailedStep, Started};

/// An `OSError`, or what Python makes of it by its errno.
pub(crate) fn os_error(error: &io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(errno) => PyOSError::new_err((errno, error.to_string())),
        None => PyOSError::new_err(error.to_string()),
    }
}

/// The exception for `error`, with its parts as plain data.
pub(crate) fn exception(py: Python<'_>, error: &sandboxlib::Error) -> PyErr {
    build(py, error).unwrap_or_else(|error| error)
}

fn build(py: Python<'_>, error: &sandboxlib::Error) -> PyResult<PyErr> {
    use sandboxlib::Error;
    let mut message = error.to_string();
    let mut source = error.source();
    // The outermost texts of an error of starting is that of its source.
    while let Some(inner) = source {
        let text = inner.to_string();
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        source = inner.source();
    }
    let parts = PyDict::new(py);
    parts.set_item("message", message)?;
    parts.set_item("errno", errno(error))?;
    let hints: Vec<&str> = error.hints().iter().map(|hint| &*hint.advice).collect();
    parts.set_item("hints", hints)?;
    let started = match error.started() {
        Started::Yes => Some(true),
        Started::No => Some(false),
        Started::Unknown => None,
    };
    parts.set_item("started", started)?;
    let kind = match error {
        Error::UnknownBackend { .. } | Error::Config { .. } => "config",
        Error::Negotiate { .. } | Error::Prepare { .. } => "unsupported",
        Error::Plan { .. } => "plan",
        Error::Spawn { error, .. } => {
            parts.set_item("step", error.step.to_string())?;
            match &error.step {
                FailedStep::Exec { program, .. } => {
                    parts.set_item("path", program.as_os_str())?;
                    "exec"
                }
                FailedStep::WorkingDirectory(path) => {
                    parts.set_item("path", path.as_path().as_os_str())?;
                    "cwd"
                }
                _ => "start",
            }
        }
        _ => "wait",
    };
    parts.set_item("kind", kind)?;
    let make = py.import("sandboxlib._errors")?.getattr("from_native")?;
    Ok(PyErr::from_value(make.call1((parts,))?))
}

/// The errno that is the first cause.
fn errno(error: &sandboxlib::Error) -> Option<i32> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.raw_os_error();
        }
        cause = error.source();
    }
    None
}
