//! Starting and waiting in a tokio runtime. A start blocks for a millisecond or two and is made by
//! a thread of the runtime's for such things; waiting takes no thread.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read as _};
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use sandboxlib_core::{FailedStep, Outcome, SpawnError};
use sandboxlib_spawn::Quota;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::unix::pipe;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::command::start;
use crate::{Child, Command, Error, Output};

/// How much is read at a time.
const PIECE: usize = 32 * 1024;

/// A sleep without a reason to end, in parts.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// A command that runs. When it is dropped inside of a runtime in which it was waited for,
/// everything is killed at once, and the runtime sees to what takes time about its end.
#[derive(Debug)]
pub(crate) struct Running {
    child: sandboxlib_spawn::Child,
    watch: Option<AsyncFd<OwnedFd>>,
}

impl From<sandboxlib_spawn::Child> for Running {
    fn from(child: sandboxlib_spawn::Child) -> Self {
        Self { child, watch: None }
    }
}

impl Deref for Running {
    type Target = sandboxlib_spawn::Child;

    fn deref(&self) -> &Self::Target {
        &self.child
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.child
    }
}

impl Running {
    /// Has the runtime tell when there is something to see to.
    fn watch(&mut self) -> io::Result<()> {
        if self.watch.is_none() {
            self.watch = Some(registered(self.child.wait_fd()?)?);
        }
        Ok(())
    }

    async fn ended(&mut self, intakes: &mut [Intake]) -> io::Result<Outcome> {
        match &self.watch {
            Some(watch) => ended(&mut self.child, watch, intakes).await,
            // Nobody waits before `watch`.
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Without them, the child waits for its end itself.
        let (Some(watch), Ok(runtime)) = (self.watch.take(), Handle::try_current()) else {
            return;
        };
        if let Some(mut rest) = self.child.condemn() {
            // A runtime that shuts down drops the task, and so waits for the end.
            runtime.spawn(async move { ended(&mut rest, &watch, &mut []).await.map(drop) });
        }
    }
}

/// Has the runtime watch `fd`, which is open for as long as that is what owns it.
#[allow(
    deprecated,
    reason = "what is unsound about it is a type whose descriptor is closed or changes meanwhile, \
              and an OwnedFd does neither; what replaces it is unsafe to call for every type"
)]
fn registered(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// Waits until everything has ended, holds the limits meanwhile, and takes what is printed.
async fn ended(
    child: &mut sandboxlib_spawn::Child,
    watch: &AsyncFd<OwnedFd>,
    intakes: &mut [Intake],
) -> io::Result<Outcome> {
    loop {
        if let Some(outcome) = child.try_wait()? {
            return Ok(outcome);
        }
        let due = child.next_look();
        let due = due.unwrap_or_else(|| Instant::now() + LONG);
        let mut sleep = pin!(tokio::time::sleep_until(due.into()));
        poll_fn(|context| {
            let mut woken = sleep.as_mut().poll(context).is_ready();
            if let Poll::Ready(guard) = watch.poll_read_ready(context) {
                guard?.clear_ready();
                woken = true;
            }
            for intake in intakes.iter_mut() {
                if let Poll::Ready(taken) = intake.poll(context) {
                    taken?;
                    woken = true;
                }
            }
            if woken {
                Poll::Ready(Ok::<(), io::Error>(()))
            } else {
                Poll::Pending
            }
        })
        .await?;
        if intakes.iter().any(|intake| intake.quota.is_over()) {
            child.exceed_output()?;
        }
    }
}

/// What comes through a pipe, as far as its limit.
struct Intake {
    /// None at its end.
    from: Option<pipe::Receiver>,
    data: Vec<u8>,
    quota: Quota,
}

impl Intake {
    fn new(from: Option<File>, quota: Quota) -> io::Result<Self> {
        Ok(Self {
            from: from.map(pipe::Receiver::from_file).transpose()?,
            data: Vec::new(),
            quota,
        })
    }

    /// Takes a piece as soon as there is one. At the end, and beyond the limit, there is none.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(from) = self.from.as_mut().filter(|_| !self.quota.is_over()) else {
            return Poll::Pending;
        };
        let mut piece = [0; PIECE];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(from).poll_read(context, &mut piece))?;
        self.take(piece.filled());
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, piece: &[u8]) {
        match piece {
            [] => self.from = None,
            piece => self.data.extend_from_slice(self.quota.take(piece)),
        }
    }

    /// Takes what is left when everything has ended, and waits for nobody who holds the pipe open.
    fn finish(&mut self) -> io::Result<()> {
        let Some(from) = self.from.take() else {
            return Ok(());
        };
        // What the runtime has not heard of yet is there all the same.
        let mut from = File::from(from.into_nonblocking_fd()?);
        let mut piece = [0; PIECE];
        while !self.quota.is_over() {
            match from.read(&mut piece) {
                Ok(0) => break,
                Ok(got) => self.take(&piece[..got]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// A start that is made elsewhere. Dropping this calls it off: if it has not begun it is not made,
/// and otherwise who makes it ends the sandbox again.
struct Starting(JoinHandle<Result<Child, Error>>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Command<'_> {
    /// Starts the command as [`spawn`](Self::spawn) does, by a thread of the runtime's for what
    /// blocks ([`spawn_blocking`](tokio::task::spawn_blocking)), because it takes a millisecond or
    /// more.
    ///
    /// Where the future is dropped before it is done, nothing is left of the sandbox, though the
    /// command may have begun to run. Where the [`Child`] is dropped in a runtime, everything in
    /// the sandbox is killed at once, and its end is waited for in the background.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    ///
    /// # Panics
    /// Outside of a tokio runtime that has both I/O and time enabled.
    pub async fn spawn_async(&mut self) -> Result<Child, Error> {
        self.check_streams()?;
        self.check_limits()?;
        let failed = |step, source| Error::Spawn {
            backend: self.basis.check.enforcement.backend,
            error: Box::new(SpawnError::new(step, source)),
        };
        let run = self.run.try_clone();
        let run = run.map_err(|source| failed(FailedStep::Streams, source))?;
        let (basis, session) = (self.basis.clone(), self.session.cloned());
        let limits = self.limits;
        let starting = tokio::task::spawn_blocking(move || {
            let mut child = start(&basis, session.as_deref(), &run, limits)?;
            child.watch()?;
            Ok(child)
        });
        match (&mut Starting(starting).0).await {
            Ok(started) => started,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => {
                    let step = FailedStep::Resources("a thread of the runtime");
                    Err(failed(step, io::Error::other(error)))
                }
            },
        }
    }

    /// Runs the command to its end, as [`status`](Self::status) does. Dropping the future kills
    /// everything in the sandbox.
    ///
    /// # Errors
    /// As for [`status`](Self::status).
    ///
    /// # Panics
    /// As for [`spawn_async`](Self::spawn_async).
    pub async fn status_async(&mut self) -> Result<Outcome, Error> {
        self.spawn_async().await?.wait_async().await
    }

    /// Runs the command to its end and gathers what it prints, as [`output`](Self::output) does.
    /// Dropping the future kills everything in the sandbox.
    ///
    /// # Errors
    /// As for [`output`](Self::output).
    ///
    /// # Panics
    /// As for [`spawn_async`](Self::spawn_async).
    pub async fn output_async(&mut self) -> Result<Output, Error> {
        self.gather();
        self.spawn_async().await?.wait_with_output_async().await
    }
}

impl Child {
    /// Waits as [`wait`](Self::wait) does, without a thread. Standard input is closed first, if it
    /// is a pipe that the caller has not taken. Limits of time are held while this is polled.
    ///
    /// Dropping the future ends the waiting alone, and it can be waited again.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    ///
    /// # Panics
    /// As for [`spawn_async`](Command::spawn_async).
    pub async fn wait_async(&mut self) -> Result<Outcome, Error> {
        drop(self.stdin.take());
        self.watch()?;
        let outcome = self.inner.ended(&mut []).await;
        let outcome = outcome.map_err(|source| self.not_waited(source))?;
        self.with_command(outcome, &[])
    }

    /// Waits as [`wait_with_output`](Self::wait_with_output) does, without a thread. Dropping the
    /// future kills everything in the sandbox.
    ///
    /// # Errors
    /// As for [`wait_with_output`](Self::wait_with_output).
    ///
    /// # Panics
    /// As for [`spawn_async`](Command::spawn_async).
    pub async fn wait_with_output_async(mut self) -> Result<Output, Error> {
        drop(self.stdin.take());
        self.watch()?;
        let gathered = self.gather().await;
        let (outcome, [stdout, stderr]) = gathered.map_err(|source| self.not_waited(source))?;
        self.output((outcome, stdout, stderr))
    }

    async fn gather(&mut self) -> io::Result<(Outcome, [Vec<u8>; 2])> {
        let quota = self.inner.quota();
        let mut intakes = [
            Intake::new(self.stdout.take(), quota)?,
            Intake::new(self.stderr.take(), quota)?,
        ];
        let mut outcome = self.inner.ended(&mut intakes).await?;
        for intake in &mut intakes {
            intake.finish()?;
            if intake.quota.is_over() {
                self.inner.exceed_output()?;
                outcome = self.inner.try_wait()?.unwrap_or(outcome);
            }
        }
        Ok((outcome, intakes.map(|intake| intake.data)))
    }

    fn watch(&mut self) -> Result<(), Error> {
        let watched = self.inner.watch();
        watched.map_err(|source| self.not_waited(source))
    }
}
