//! Sandboxes that are ready, and commands that run in them.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use sandboxlib::{Outcome, Output, Signaller, Stdio, spawn};

use crate::description::{Description, inside, os, seconds};
use crate::{failure, report};

/// How often Python gets to handle its signals while it waits.
const SIGNALS: Duration = Duration::from_millis(50);

/// A sandbox that is ready to run commands.
#[pyclass(frozen, module = "sandboxlib._native")]
pub(crate) struct Prepared(sandboxlib::Prepared);

/// Makes a sandbox ready.
///
/// # Errors
/// `ValueError` for what is no description, and the exceptions of `sandboxlib._errors`.
#[pyfunction]
pub(crate) fn prepare(py: Python<'_>, description: Description) -> PyResult<Prepared> {
    let sandbox = description.sandbox()?;
    let prepared = py.detach(|| sandbox.prepare());
    prepared
        .map(Prepared)
        .map_err(|error| failure::exception(py, &error))
}

/// One run, in plain data.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Run {
    argv: Vec<PyBackedBytes>,
    env: Vec<(PyBackedBytes, PyBackedBytes)>,
    cwd: PyBackedBytes,
    /// A descriptor, or one of the numbers of [`stdio`].
    stdin: i32,
    stdout: i32,
    stderr: i32,
    /// Descriptors, and the numbers that the command has them under.
    fds: Vec<(i32, i32)>,
    /// What is written to standard input, which is a pipe then.
    input: Option<PyBackedBytes>,
    /// Whether what comes through the pipes of standard output and error is gathered; otherwise
    /// their ends are the caller's.
    gather: bool,
    timeout: Option<f64>,
    kill_after: Option<f64>,
    output_limit: Option<u64>,
}

/// The numbers of subprocess, and one for "the caller's own".
fn stdio(number: i32) -> PyResult<Stdio> {
    Ok(match number {
        -1 => Stdio::Piped,
        -2 => Stdio::Stdout,
        -3 => Stdio::Null,
        -4 => Stdio::Inherit,
        fd => Stdio::Fd(duplicate(fd)?),
    })
}

fn duplicate(fd: i32) -> PyResult<OwnedFd> {
    spawn::duplicate(fd).map_err(|error| failure::os_error(&error))
}

#[pymethods]
impl Prepared {
    /// What is enforced for every command.
    fn enforcement<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        report::enforcement(py, self.0.enforcement())
    }

    /// Keeps up to `count` sandboxes ready.
    fn warm(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        let kept = py.detach(|| self.0.warm(count));
        kept.map_err(|error| failure::exception(py, &error))
    }

    /// How many stand ready.
    fn warmed(&self) -> usize {
        self.0.warmed()
    }

    /// Starts a command.
    fn start(&self, py: Python<'_>, run: Run) -> PyResult<Child> {
        let gather = run.gather;
        let (child, stdin) = self.begin(py, run)?;
        Child::attended(child, stdin, gather)
    }

    /// Runs a command to its end: the outcome, and what came through the pipes of standard output
    /// and error. Signal handlers of Python run meanwhile, and what they raise ends the command.
    fn run<'py>(&self, py: Python<'py>, run: Run) -> PyResult<Result3<'py>> {
        let (mut child, stdin) = self.begin(py, run)?;
        // Without input there is none to come.
        drop(stdin);
        // Most commands have ended before it is worth a thread.
        let output = py.detach(|| child.wait_with_output_for(SIGNALS));
        let verdict = match output.transpose() {
            Some(output) => output.map(Ended::from),
            None => {
                let child = Child::attended(child, None, true)?;
                py.check_signals()?;
                return match child.wait(py, None)? {
                    Some(told) => Ok(told),
                    None => Err(PyRuntimeError::new_err("it waited for less than for ever")),
                };
            }
        };
        told(py, &verdict)
    }
}

impl Prepared {
    /// Starts a command: what runs, and the caller's end of its standard input if there is no
    /// input for it.
    fn begin(&self, py: Python<'_>, run: Run) -> PyResult<(sandboxlib::Child, Option<File>)> {
        let mut argv = run.argv.iter();
        let none = || PyRuntimeError::new_err("there is no command");
        let mut command = self.0.command(os(argv.next().ok_or_else(none)?));
        command.args(argv.map(|arg| os(arg)));
        command.envs(run.env.iter().map(|(name, value)| (os(name), os(value))));
        command.cwd(inside(&run.cwd)?);
        command.stdin(stdio(run.stdin)?);
        command.stdout(stdio(run.stdout)?);
        command.stderr(stdio(run.stderr)?);
        for (fd, number) in &run.fds {
            command.fd(duplicate(*fd)?, *number);
        }
        if let Some(timeout) = run.timeout {
            command.timeout(seconds(timeout)?);
        }
        if let Some(grace) = run.kill_after {
            command.kill_after(seconds(grace)?);
        }
        if let Some(bytes) = run.output_limit {
            command.output_limit(bytes);
        }
        let started = py.detach(|| command.spawn());
        let mut child = started.map_err(|error| failure::exception(py, &error))?;
        let stdin = child.stdin.take();
        let stdin = match run.input {
            None => stdin,
            Some(input) => {
                if let Some(stdin) = stdin {
                    background(move || write_all(stdin, &input))?;
                }
                None
            }
        };
        Ok((child, stdin))
    }
}

/// Whoever waits for the command holds its limits of time and output, so it is always waited
/// for, whatever Python does meanwhile: by a thread of its own, or for the first moments by the one
/// that started it, which Python has let go.
fn background(work: impl FnOnce() + Send + 'static) -> PyResult<()> {
    let name = "sandboxlib".to_owned();
    let started = thread::Builder::new().name(name).spawn(work);
    started.map(drop).map_err(|error| failure::os_error(&error))
}

fn write_all(mut stdin: File, input: &[u8]) {
    // A command need not read what it is given; subprocess does not mind either.
    let _ = stdin.write_all(input);
}

/// How a command ended, and what it printed.
struct Ended {
    outcome: Outcome,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            outcome: output.outcome,
            stdout: output.stdout,
            stderr: output.stderr,
        }
    }
}

type Verdict = Result<Ended, sandboxlib::Error>;

fn wait(mut child: sandboxlib::Child, gather: bool) -> Verdict {
    if gather {
        return child.wait_with_output().map(Ended::from);
    }
    Ok(Ended {
        outcome: child.wait()?,
        stdout: Vec::new(),
        stderr: Vec::new(),
    })
}

/// Where a command's end is told.
#[derive(Default)]
struct Ending {
    verdict: Mutex<Option<Arc<Verdict>>>,
    told: Condvar,
}

impl Ending {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Verdict>>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, verdict: Verdict) {
        *self.lock() = Some(Arc::new(verdict));
        self.told.notify_all();
    }

    /// The verdict, if there is one within this time.
    fn within(&self, time: Duration) -> Option<Arc<Verdict>> {
        let waited = self
            .told
            .wait_timeout_while(self.lock(), time, |verdict| verdict.is_none());
        let (verdict, _) = waited.unwrap_or_else(PoisonError::into_inner);
        verdict.clone()
    }
}

/// A command that runs in a sandbox. Everything in the sandbox is killed when it is dropped.
#[pyclass(frozen, module = "sandboxlib._native")]
pub(crate) struct Child {
    #[pyo3(get)]
    pid: u32,
    /// The caller's ends of the pipes, which are Python's to close.
    #[pyo3(get)]
    fds: [Option<i32>; 3],
    signaller: Signaller,
    ending: Arc<Ending>,
}

type Result3<'py> = (Bound<'py, PyDict>, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

fn told<'py>(py: Python<'py>, verdict: &Verdict) -> PyResult<Result3<'py>> {
    match verdict {
        Ok(ended) => Ok((
            report::outcome(py, &ended.outcome)?,
            PyBytes::new(py, &ended.stdout),
            PyBytes::new(py, &ended.stderr),
        )),
        Err(error) => Err(failure::exception(py, error)),
    }
}

impl Child {
    /// With a thread that waits for it, and so holds its limits, whatever Python does.
    fn attended(mut child: sandboxlib::Child, stdin: Option<File>, gather: bool) -> PyResult<Self> {
        let (stdout, stderr) = if gather {
            (None, None)
        } else {
            (child.stdout.take(), child.stderr.take())
        };
        let number = |file: Option<File>| file.map(|file| file.into_raw_fd());
        let fds = [stdin, stdout, stderr].map(number);
        let (pid, signaller) = (child.id(), child.signaller());
        let ending = Arc::new(Ending::default());
        let told = Arc::clone(&ending);
        background(move || told.tell(wait(child, gather)))?;
        Ok(Self {
            pid,
            fds,
            signaller,
            ending,
        })
    }
}

#[pymethods]
impl Child {
    /// Waits for the end of everything in the sandbox, for at most so many seconds: the outcome,
    /// and what was gathered of standard output and error; `None` if the time is up. Signal
    /// handlers of Python run meanwhile, and what they raise ends the waiting.
    fn wait<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Option<Result3<'py>>> {
        let deadline = match timeout {
            Some(time) => Instant::now().checked_add(seconds(time.max(0.0))?),
            None => None,
        };
        let verdict = loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let slice = left.map_or(SIGNALS, |left| left.min(SIGNALS));
            if let Some(verdict) = py.detach(|| self.ending.within(slice)) {
                break verdict;
            }
            py.check_signals()?;
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
        };
        told(py, &verdict).map(Some)
    }

    /// Sends a signal to the command. That it has ended already is no error.
    fn signal(&self, signal: i32) -> PyResult<()> {
        match self.signaller.signal(signal) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            done => done.map_err(|error| failure::os_error(&error)),
        }
    }

    /// Kills everything in the sandbox. That it has ended already is no error.
    fn kill(&self) -> PyResult<()> {
        self.signaller
            .kill()
            .map_err(|error| failure::os_error(&error))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ending.lock().is_none() {
            // The thread that waits does the rest.
            let _ = self.signaller.kill();
        }
    }
}
