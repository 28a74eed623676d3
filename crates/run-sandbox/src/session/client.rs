//! `--in`: a command in a session that another process serves.

use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Instant;

use sandboxlib::config::Settings;
use sandboxlib::core::{End, Outcome, Started};
use sandboxlib::spawn::{self, Relay, RelayEvent, SIGNALS_TO_FORWARD};
use sandboxlib::{Limit, Means};

use super::socket;
use super::wire::{self, Reply, Request, Text, VERSION, Word};
use crate::render::{Failure, Told};
use crate::report::{Held, Ran};
use crate::settings::{self, Caller, system};

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) ran: Ran,
    /// Whether the session has ended with it.
    pub(crate) session: bool,
}

/// What is known of a command that runs.
struct Running {
    backend: String,
    held: Held,
    pid: u32,
}

/// Runs the command of `settings` in the session that is served on `path`. `tell` gets what holds
/// there, in lines.
pub(crate) fn run(
    path: &Path,
    settings: Settings,
    tell: impl Fn(&str),
) -> Result<Finished, Failure> {
    let began = Instant::now();
    let most = settings.limits.output;
    let request = request(settings, &Caller::current());
    let stream = socket::join(path)?;
    let cannot = |what: &'static str| move |e: io::Error| format!("cannot {what}: {}", system(&e));
    // From here on no signal is lost: it waits until there is a command to give it to.
    spawn::block_signals(SIGNALS_TO_FORWARD).map_err(cannot("block signals"))?;
    let mut relay = Relay::new(SIGNALS_TO_FORWARD).map_err(cannot("wait for signals"))?;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let sent = if let Some(most) = most {
        let (out, out_end) = io::pipe().map_err(cannot("make a pipe"))?;
        let (err, err_end) = io::pipe().map_err(cannot("make a pipe"))?;
        let file = |end: PipeReader| File::from(OwnedFd::from(end));
        relay
            .output(file(out), file(err), most)
            .map_err(cannot("read the output"))?;
        wire::ask(
            &stream,
            &request,
            &[stdin.as_fd(), out_end.as_fd(), err_end.as_fd()],
        )
    } else {
        wire::ask(
            &stream,
            &request,
            &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        )
    };
    match sent {
        // The server has hung up, and may have said why.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
        sent => sent.map_err(cannot("ask the session for a command"))?,
    }

    let mut running: Option<Running> = None;
    let mut over = false;
    loop {
        let event = relay
            .next(&[stream.as_fd()])
            .map_err(cannot("wait for the command"))?;
        // Where it is not heard any more, the command has ended, and the end is there to be read.
        match event {
            RelayEvent::Signal(signal) => drop(wire::say(&stream, &Word::Signal(signal))),
            RelayEvent::TooMuchOutput => {
                over = true;
                let _ = wire::say(&stream, &Word::Kill);
            }
            RelayEvent::Ready(_) => match (wire::hear(&stream, None), running.take()) {
                (Ok(Some(Reply::Failed(told))), _) => return Err(Failure::Told(told)),
                (
                    Ok(Some(Reply::Started {
                        backend,
                        mut held,
                        lines,
                        pid,
                    })),
                    None,
                ) => {
                    tell(&format!("backend: {backend}"));
                    lines.iter().for_each(|line| tell(line));
                    if most.is_some() {
                        held.add_limit(Limit::Output, Means::Supervisor);
                    }
                    running = Some(Running {
                        backend,
                        held: *held,
                        pid,
                    });
                }
                (Ok(Some(Reply::Ended { outcome, session })), Some(running)) => {
                    let Some(mut outcome) = outcome.outcome() else {
                        return Err(lost(path, "it says what this client does not understand"));
                    };
                    over |= relay.finish().map_err(cannot("read the output"))?;
                    judge(&mut outcome, over);
                    return Ok(finished(running, outcome, session));
                }
                (Ok(None) | Err(_), Some(running)) => {
                    // With the server the sandbox has ended, and the command in it.
                    over |= relay.finish().map_err(cannot("read the output"))?;
                    let mut outcome = Outcome::new(End::Killed, Started::Yes, running.pid);
                    outcome.wall = began.elapsed();
                    judge(&mut outcome, over);
                    return Ok(finished(running, outcome, true));
                }
                (Ok(None), None) => return Err(lost(path, "it has ended")),
                (Err(e), None) => return Err(lost(path, &system(&e))),
                (Ok(Some(_)), _) => return Err(lost(path, "it answers out of turn")),
            },
        }
    }
}

fn finished(running: Running, outcome: Outcome, session: bool) -> Finished {
    let Running { backend, held, .. } = running;
    let ran = Ran {
        backend,
        held,
        outcome,
        more: crate::report::More::default(),
    };
    Finished { ran, session }
}

/// A command that has printed too much has come to that limit, however it ended.
fn judge(outcome: &mut Outcome, over: bool) {
    if over && !matches!(outcome.end, End::Limit(_)) {
        outcome.end = End::Limit(Limit::Output);
    }
}

/// The server did not answer, or not so that anything could be made of it.
fn lost(path: &Path, why: &str) -> Failure {
    Failure::Told(Told {
        status: 125,
        message: vec![format!(
            "--in: the session on {path:?} did not answer: {why}"
        )],
        hints: Vec::new(),
        backend: None,
        started: None,
        step: None,
        errno: None,
    })
}

fn request(settings: Settings, caller: &Caller) -> Request {
    let env = settings::asked_environment(&settings, caller);
    let limits = settings.limits;
    let text = |path: &Path| Text(path.as_os_str().to_owned());
    Request {
        version: VERSION,
        env: env.into_iter().map(|(n, v)| (Text(n), Text(v))).collect(),
        cwd: settings.cwd.as_ref().map(|path| text(path.as_path())),
        callers: caller.directory.as_deref().map(text),
        fds: vec![0, 1, 2],
        wall: limits.wall,
        kill_after: limits.kill_after,
        file_size: limits.file_size,
        open_files: limits.open_files,
        stack: limits.stack,
        core: limits.core,
        command: settings
            .command
            .unwrap_or_default()
            .into_iter()
            .map(Text)
            .collect(),
    }
}
