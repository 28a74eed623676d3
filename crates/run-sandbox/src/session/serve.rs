//! `--session`: one sandbox, in which the commands of clients run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use sandboxlib::config::{Config, SandboxPath};
use sandboxlib::core::{End, Enforcement, HeldLimit, KillScope, Outcome};
use sandboxlib::spawn::{self, Relay, RelayEvent, SIGNALS_TO_FORWARD};
use sandboxlib::{Child, Limit, Means, Prepared, Session, Signaller, Stdio};

use super::socket::{self, Served};
use super::wire::{self, Reply, Request, Word};
use crate::explain;
use crate::render::Failure;
use crate::settings::{self, system};

/// How long a client may take to say what it wants, and to take what is said to it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many clients there can be at a time. A session has 256 commands at most; the others get to
/// know why they cannot have one.
const MOST_CLIENTS: usize = 288;

/// How long clients may take to hear of the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What commands have unless they say otherwise.
#[derive(Debug)]
pub(crate) struct Defaults {
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) cwd: Option<SandboxPath>,
}

/// What the threads of all clients have in common.
struct Server {
    session: Session,
    config: Config,
    defaults: Defaults,
    clients: Mutex<usize>,
    gone: Condvar,
}

impl Server {
    /// Whether the session is over now that a command has ended so.
    fn ended_with(&self, outcome: &Outcome) -> bool {
        // What came to a limit of the whole is about to end, and may not be waited for yet.
        let whole = |limit| matches!(limit, Limit::CpuTime | Limit::Memory | Limit::Processes);
        matches!(outcome.end, End::Limit(limit) if whole(limit))
            || !matches!(self.session.try_wait(), Ok(None))
    }
}

/// A client that counts.
struct Counted(Arc<Server>);

impl Drop for Counted {
    fn drop(&mut self) {
        *lock(&self.0.clients) -= 1;
        self.0.gone.notify_all();
    }
}

fn lock(clients: &Mutex<usize>) -> std::sync::MutexGuard<'_, usize> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) enforcement: Enforcement,
    pub(crate) outcome: Outcome,
    /// The signal to end, if that was the reason.
    pub(crate) signal: Option<i32>,
}

/// Serves a session on the socket `path` until it ends or a signal comes.
pub(crate) fn serve(
    prepared: Prepared,
    config: Config,
    defaults: Defaults,
    path: &Path,
) -> Result<Finished, Failure> {
    // Known before anything is set up, and checked again when it is made.
    socket::check(path)?;
    let waiting = |e: io::Error| format!("cannot wait for signals: {}", system(&e));
    spawn::block_signals(SIGNALS_TO_FORWARD).map_err(waiting)?;
    let mut relay = Relay::new(SIGNALS_TO_FORWARD).map_err(waiting)?;
    let server = Arc::new(Server {
        session: prepared.session()?,
        config,
        defaults,
        clients: Mutex::new(0),
        gone: Condvar::new(),
    });
    let served = socket::serve(path)?;
    let session = &server.session;
    let signal = loop {
        match relay.next(&[session.as_fd(), served.listener.as_fd()]) {
            Ok(RelayEvent::Signal(signal)) => break Some(signal),
            Ok(RelayEvent::Ready(0)) => break None,
            Ok(_) => welcome(&server, &served),
            Err(e) => return Err(waiting(e).into()),
        }
    };
    drop(served);
    let outcome = session.end()?;
    let clients = lock(&server.clients);
    // Who does not listen does not hold the end up.
    let _ = server
        .gone
        .wait_timeout_while(clients, FAREWELL, |clients| *clients > 0);
    Ok(Finished {
        enforcement: session.enforcement().clone(),
        outcome,
        signal,
    })
}

/// Takes in the clients that have come.
fn welcome(server: &Arc<Server>, served: &Served) {
    loop {
        let stream = match served.listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(_) => {
                // There are no descriptors left. The client waits until others have ended.
                thread::sleep(Duration::from_millis(20));
                return;
            }
        };
        // Of a client that does not take what is said to it nothing is expected any more.
        if stream.set_write_timeout(Some(PATIENCE)).is_err() {
            continue;
        }
        let busy = || "the session has as many clients as it can look after".to_owned();
        let mut clients = lock(&server.clients);
        if *clients >= MOST_CLIENTS {
            drop(clients);
            refuse(&stream, busy().into());
            continue;
        }
        *clients += 1;
        drop(clients);
        let client = Counted(server.clone());
        let stream = Arc::new(stream);
        let theirs = stream.clone();
        let thread = thread::Builder::new().name("client".into());
        if thread.spawn(move || attend(&client.0, &theirs)).is_err() {
            refuse(&stream, busy().into());
        }
    }
}

/// Tells that there was no command. Where nobody hears it, nobody wants to know.
fn refuse(stream: &UnixStream, failure: Failure) {
    let _ = wire::say(stream, &Reply::Failed(failure.told()));
}

/// Runs the command of a client.
fn attend(server: &Server, stream: &UnixStream) {
    let started = socket::check_peer(stream)
        .map_err(Failure::from)
        .and_then(|()| {
            let heard = wire::hear_request(stream, PATIENCE);
            let (request, fds) = heard.map_err(|e| format!("--in: {}", system(&e)))?;
            start(server, request, fds)
        });
    let (mut child, reply) = match started {
        Ok(started) => started,
        Err(failure) => return refuse(stream, failure),
    };
    // From here on, a client that cannot be told anything has its command killed.
    let told = wire::say(stream, &reply);
    thread::scope(|scope| {
        let signaller = child.signaller();
        let words = thread::Builder::new().name("words".into());
        let heeds = words.spawn_scoped(scope, move || heed(stream, &signaller));
        if told.is_err() || heeds.is_err() {
            // That it has ended already is no error.
            let _ = child.kill();
        }
        let reply = match child.wait() {
            Ok(outcome) => Reply::Ended {
                outcome: (&outcome).into(),
                session: server.ended_with(&outcome),
            },
            Err(error) => Reply::Failed(Failure::from(error).told()),
        };
        let _ = wire::say(stream, &reply);
        // It wakes whoever still listens.
        let _ = stream.shutdown(Shutdown::Both);
    });
}

/// Does what the client says while its command runs. A client that is gone, or talks nonsense,
/// ends it.
fn heed(stream: &UnixStream, child: &Signaller) {
    loop {
        match wire::hear(stream, Some(wire::LARGEST_WORD)) {
            // It may have ended in the meantime.
            Ok(Some(Word::Signal(signal))) => drop(child.signal(signal)),
            Ok(Some(Word::Kill)) => drop(child.kill()),
            Ok(None) | Err(_) => return drop(child.kill()),
        }
    }
}

fn start(server: &Server, request: Request, fds: Vec<OwnedFd>) -> Result<(Child, Reply), Failure> {
    let limits = request.limits();
    let session = &server.session;
    let enforcement = session.enforcement();
    let mut words = request.command.into_iter().map(|word| word.0);
    let mut command = session.command(words.next().unwrap_or_else(|| "/bin/sh".into()));
    command.args(words).limits(limits);
    let mut environment: BTreeMap<_, _> = server.defaults.environment.iter().cloned().collect();
    let theirs = request.env.into_iter();
    environment.extend(theirs.map(|(name, value)| (name.0, value.0)));
    command.envs(environment);
    let said = match request.cwd {
        Some(path) => {
            let path = SandboxPath::new(path.0).map_err(|e| format!("--cwd: {e}"))?;
            Some(path)
        }
        None => server.defaults.cwd.clone(),
    };
    let callers = request.callers.as_ref().map(|path| Path::new(&path.0));
    let (directory, callers) = settings::place(&server.config, said, callers);
    settings::check_directory(&server.config, callers.as_ref(), &enforcement.hidden)?;
    command.cwd(directory);
    for (number, fd) in request.fds.into_iter().zip(fds) {
        match number {
            0 => command.stdin(Stdio::Fd(fd)),
            1 => command.stdout(Stdio::Fd(fd)),
            2 => command.stderr(Stdio::Fd(fd)),
            _ => command.fd(fd, number),
        };
    }
    let child = command.spawn()?;
    let mut enforcement = enforcement.clone();
    // What else it has started lives on.
    enforcement.kill_scope = KillScope::ProcessGroup;
    for limit in limits.set() {
        let by = match limit {
            Limit::Wall => Means::Supervisor,
            _ => Means::Rlimit,
        };
        if !enforcement.limits.iter().any(|held| held.limit == limit) {
            enforcement.limits.push(HeldLimit { limit, by });
        }
    }
    let reply = Reply::Started {
        backend: enforcement.backend.to_owned(),
        held: Box::new((&enforcement).into()),
        lines: explain::enforcement(&enforcement),
        pid: session.id(),
    };
    Ok((child, reply))
}
