//! Asking a program something: a short answer, soon, or none.

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Which of a program's streams the answer comes from; the other one leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Stdout,
    #[allow(dead_code, reason = "what Linux's helpers complain to")]
    Stderr,
}

/// The most bytes of an answer that are read; a program that has more to say is killed.
pub(crate) const LONGEST: usize = 4096;

/// How often it is looked whether a program has ended that keeps its stream open, or leaves it
/// open with somebody else.
const TICK: Duration = Duration::from_millis(20);

/// Runs `command` without standard input, and gives how it ended and the beginning of its answer.
/// It is killed after `patience`, or when it has said too much.
pub(crate) fn ask(
    mut command: Command,
    from: From,
    patience: Duration,
) -> io::Result<(ExitStatus, Vec<u8>)> {
    let deadline = Instant::now() + patience;
    let (mut ours, theirs) = UnixStream::pair()?;
    let theirs = Stdio::from(OwnedFd::from(theirs));
    let (out, err) = match from {
        From::Stdout => (theirs, Stdio::null()),
        From::Stderr => (Stdio::null(), theirs),
    };
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let mut child = command.spawn()?;
    // It holds the other end, without which the stream has an end.
    drop(command);
    let answer = listen(&mut ours, &mut child, deadline);
    let status = end(&mut child, deadline);
    Ok((status?, answer?))
}

fn listen(stream: &mut UnixStream, child: &mut Child, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut buffer = [0; LONGEST];
    stream.set_read_timeout(Some(TICK))?;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(answer),
            Ok(read) => answer.extend(buffer.iter().take(read)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                if child.try_wait()?.is_some() {
                    return Ok(answer);
                }
            }
            Err(e) => return Err(e),
        }
        if answer.len() >= LONGEST || Instant::now() >= deadline {
            answer.truncate(LONGEST);
            child.kill()?;
            return Ok(answer);
        }
    }
}

fn end(child: &mut Child, deadline: Instant) -> io::Result<ExitStatus> {
    // Mostly it ends together with its stream.
    let mut pause = Duration::from_micros(100);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        sleep(pause);
        pause = (pause * 2).min(TICK);
    }
    child.kill()?;
    child.wait()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const SOON: Duration = Duration::from_millis(200);
    const LATE: Duration = Duration::from_secs(60);

    fn sh(text: &str, from: From, patience: Duration) -> (ExitStatus, Vec<u8>) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]);
        ask(command, from, patience).unwrap()
    }

    #[test]
    fn answers_are_heard_on_the_stream_that_was_asked() {
        let (status, said) = sh("echo out; echo err >&2; exit 3", From::Stdout, LATE);
        assert_eq!((status.code(), &*said), (Some(3), &b"out\n"[..]));
        let (status, said) = sh("echo out; echo err >&2; exit 3", From::Stderr, LATE);
        assert_eq!((status.code(), &*said), (Some(3), &b"err\n"[..]));
        let (status, said) = sh("read x; echo \"$?$x\"", From::Stdout, LATE);
        assert_eq!((status.code(), &*said), (Some(0), &b"1\n"[..]));
    }

    #[test]
    fn who_goes_on_for_ever_is_stopped() {
        let began = Instant::now();
        let (status, said) = sh("exec yes", From::Stdout, LATE);
        assert_eq!(said.len(), LONGEST);
        // By the closed stream or by the kill, whichever was first.
        assert!(status.signal().is_some(), "{status}");
        for text in [
            "echo x; exec sleep 60",
            "echo x; exec >/dev/null; exec sleep 60",
        ] {
            let (status, said) = sh(text, From::Stdout, SOON);
            assert_eq!(
                (status.signal(), &*said),
                (Some(libc::SIGKILL), &b"x\n"[..])
            );
        }
        assert!(began.elapsed() < LATE / 2);
    }

    #[test]
    fn who_leaves_its_stream_to_another_is_not_waited_for() {
        let began = Instant::now();
        let (status, said) = sh("echo x; sleep 3 & exit 0", From::Stdout, LATE);
        assert_eq!((status.code(), &*said), (Some(0), &b"x\n"[..]));
        assert!(began.elapsed() < Duration::from_secs(3));
    }
}
