//! What client and server of a session say to each other: messages of JSON on a unix stream, each
//! behind its length in four bytes, the lowest first.
//!
//! The client sends one [`Request`], whose descriptors come with its first byte, and then
//! [`Word`]s. The server answers with [`Reply`]s: [`Reply::Failed`], or [`Reply::Started`] and
//! [`Reply::Ended`].

use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use sandboxlib::config::Limit;
use sandboxlib::core::{End, Outcome, Started};
use sandboxlib::{Limits, Means, spawn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::bytes::{escaped, unescaped};
use crate::render::Told;
use crate::report::Held;

/// Of what is said here. A server refuses other clients.
pub(super) const VERSION: u32 = 1;

/// How many bytes a message may have. Arguments and environment have 2 MiB at most by default
/// (execve(2)), and some letters take more as JSON.
const LARGEST: usize = 16 << 20;

/// How many bytes a [`Word`] may have.
pub(super) const LARGEST_WORD: usize = 256;

/// How many descriptors can come with a request: what the kernel sends in one message, but for
/// two that the library needs.
const MOST_FDS: usize = 251;

/// Bytes as text, none of them lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(pub(super) OsString);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&escaped(&self.0))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = unescaped(&text).ok_or_else(|| {
            de::Error::custom("a backslash that does not begin a byte as \\xNN does")
        })?;
        Ok(Self(bytes))
    }
}

/// The version of any request, whatever else there is in it.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// A command, and what is its own.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) version: u32,
    /// The command with its arguments; empty for a shell.
    pub(super) command: Vec<Text>,
    /// Variables besides those of the session.
    pub(super) env: Vec<(Text, Text)>,
    /// The working directory, if one was said.
    pub(super) cwd: Option<Text>,
    /// That of the client, where it has one.
    pub(super) callers: Option<Text>,
    /// The numbers under which the command has the descriptors that come with this.
    pub(super) fds: Vec<i32>,
    pub(super) wall: Option<Duration>,
    pub(super) kill_after: Option<Duration>,
    pub(super) file_size: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) stack: Option<u64>,
    pub(super) core: Option<u64>,
}

impl Request {
    /// The limits that the server holds. Output is counted by the client, which has it.
    pub(super) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.wall = self.wall;
        limits.kill_after = self.kill_after;
        limits.file_size = self.file_size;
        limits.open_files = self.open_files;
        limits.stack = self.stack;
        limits.core = self.core;
        limits
    }
}

/// What a client says of its command that runs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// Send it this signal.
    Signal(i32),
    /// Kill it.
    Kill,
}

/// What the server says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It did not come to run.
    Failed(Told),
    Started {
        /// The backend of the sandbox.
        backend: String,
        /// What holds in it.
        held: Box<Held>,
        /// The same for people, in lines.
        lines: Vec<String>,
        /// The process id, on the host, of the sandbox's first process.
        pid: u32,
    },
    Ended {
        outcome: Ended,
        /// Whether the session has ended too.
        session: bool,
    },
}

/// An [`Outcome`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ended {
    end: HowEnded,
    exit_code: Option<i32>,
    signal: Option<i32>,
    pid: u32,
    wall: Duration,
    user: Duration,
    system: Duration,
    peak_memory: Option<u64>,
    cpu_by: String,
    memory_by: String,
}

/// An [`End`].
#[derive(Debug, Clone, Serialize, Deserialize)]
enum HowEnded {
    Exited(i32),
    Signalled(i32),
    Limit(String),
    Killed,
}

impl From<&Outcome> for Ended {
    fn from(outcome: &Outcome) -> Self {
        Self {
            end: match outcome.end {
                End::Exited(status) => HowEnded::Exited(status),
                End::Signalled(signal) => HowEnded::Signalled(signal),
                End::Limit(limit) => HowEnded::Limit(limit.name().to_owned()),
                _ => HowEnded::Killed,
            },
            exit_code: outcome.exit_code,
            signal: outcome.signal,
            pid: outcome.pid,
            wall: outcome.wall,
            user: outcome.user,
            system: outcome.system,
            peak_memory: outcome.peak_memory,
            cpu_by: outcome.cpu_by.name().to_owned(),
            memory_by: outcome.memory_by.name().to_owned(),
        }
    }
}

impl Ended {
    /// The outcome; `None` if it has a name that means nothing.
    pub(super) fn outcome(self) -> Option<Outcome> {
        const MEANS: [Means; 6] = [
            Means::CgroupV2,
            Means::CgroupV1,
            Means::Rlimit,
            Means::Accounting,
            Means::WaitedFor,
            Means::Supervisor,
        ];
        let means = |name: &str| MEANS.into_iter().find(|means| means.name() == name);
        let end = match self.end {
            HowEnded::Exited(status) => End::Exited(status),
            HowEnded::Signalled(signal) => End::Signalled(signal),
            HowEnded::Limit(name) => {
                let mut all = Limit::ALL.iter();
                End::Limit(*all.find(|limit| limit.name() == name)?)
            }
            HowEnded::Killed => End::Killed,
        };
        let mut outcome = Outcome::new(end, Started::Yes, self.pid);
        outcome.exit_code = self.exit_code;
        outcome.signal = self.signal;
        outcome.wall = self.wall;
        outcome.user = self.user;
        outcome.system = self.system;
        outcome.peak_memory = self.peak_memory;
        outcome.cpu_by = means(&self.cpu_by)?;
        outcome.memory_by = means(&self.memory_by)?;
        Some(outcome)
    }
}

fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let len = bytes.len() - 4;
    match u32::try_from(len) {
        Ok(head) if len <= LARGEST => bytes[..4].copy_from_slice(&head.to_le_bytes()),
        _ => {
            let why = format!("{len} bytes are more than the {LARGEST} that a message may have");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
    }
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|e| invalid(format!("a message without sense: {e}")))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Sends a message.
pub(super) fn say(mut stream: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    stream.write_all(&encode(message)?)
}

/// Sends a request with its descriptors.
pub(super) fn ask(
    mut stream: &UnixStream,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = encode(request)?;
    let sent = spawn::send_with_fds(stream, &bytes, fds)?;
    stream.write_all(bytes.get(sent..).unwrap_or_default())
}

/// The next message of up to `largest` bytes; `None` if the other side has said all.
pub(super) fn hear<T: DeserializeOwned>(
    stream: &UnixStream,
    largest: Option<usize>,
) -> io::Result<Option<T>> {
    let mut stream = stream;
    let mut head = [0; 4];
    let mut got = 0;
    while got < head.len() {
        match stream.read(&mut head[got..]) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let len = length(head, largest.unwrap_or(LARGEST))?;
    let mut bytes = Vec::new();
    // It grows with what comes, and not with what was announced.
    stream.take(len as u64).read_to_end(&mut bytes)?;
    match bytes.len() == len {
        true => decode(&bytes).map(Some),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn length(head: [u8; 4], largest: usize) -> io::Result<usize> {
    let len = usize::try_from(u32::from_le_bytes(head)).unwrap_or(usize::MAX);
    match len <= largest {
        true => Ok(len),
        false => Err(invalid(format!(
            "a message of {len} bytes is announced, and {largest} are allowed"
        ))),
    }
}

/// The request of a client that has `patience` to send all of it.
pub(super) fn hear_request(
    stream: &UnixStream,
    patience: Duration,
) -> io::Result<(Request, Vec<OwnedFd>)> {
    let began = Instant::now();
    let (mut bytes, mut fds) = (Vec::new(), Vec::new());
    let mut piece = vec![0; 64 * 1024];
    loop {
        let wanted = match bytes.get(..4).and_then(|head| head.try_into().ok()) {
            Some(head) => 4 + length(head, LARGEST)?,
            None => 4,
        };
        let missing = wanted - bytes.len();
        if missing == 0 && wanted > 4 {
            break;
        }
        if missing == 0 {
            return Err(invalid("an empty message".to_owned()));
        }
        let left = patience.saturating_sub(began.elapsed());
        let late = || {
            let why = format!("the request did not come within {patience:?}");
            io::Error::new(io::ErrorKind::TimedOut, why)
        };
        if left.is_zero() {
            return Err(late());
        }
        stream.set_read_timeout(Some(left))?;
        let most = missing.min(piece.len());
        let (got, more) =
            match spawn::receive_with_fds(stream, &mut piece[..most], MOST_FDS - fds.len()) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(received) => received,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(late()),
                Err(e) => return Err(e),
            };
        bytes.extend_from_slice(&piece[..got]);
        fds.extend(more);
    }
    stream.set_read_timeout(None)?;
    let body = &bytes[4..];
    let Versioned { version } = decode(body)?;
    if version != VERSION {
        return Err(invalid(format!(
            "the client speaks version {version} and the server version {VERSION}: use the same \
             run-sandbox for both"
        )));
    }
    let request: Request = decode(body)?;
    let mut numbers = request.fds.clone();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() != fds.len() || request.fds.len() != fds.len() {
        return Err(invalid(format!(
            "{} descriptors came for the numbers {:?}",
            fds.len(),
            request.fds
        )));
    }
    if !numbers.starts_with(&[0, 1, 2]) {
        return Err(invalid("a standard stream is missing".to_owned()));
    }
    Ok((request, fds))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::ffi::OsStringExt as _;

    use proptest::prelude::*;

    use super::*;

    const SOON: Duration = Duration::from_millis(100);

    fn request(words: Vec<Vec<u8>>) -> Request {
        Request {
            version: VERSION,
            command: words
                .into_iter()
                .map(|word| Text(OsString::from_vec(word)))
                .collect(),
            env: vec![(Text("A".into()), Text("\\x".into()))],
            cwd: None,
            callers: Some(Text("/".into())),
            fds: vec![2, 0, 1],
            wall: Some(Duration::from_millis(1500)),
            kill_after: None,
            file_size: Some(u64::MAX),
            open_files: None,
            stack: None,
            core: Some(0),
        }
    }

    proptest! {
        #[test]
        fn what_is_asked_arrives(
            words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)
        ) {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let null = std::fs::File::open("/dev/null").unwrap();
            let asked = request(words);
            ask(&ours, &asked, &[null.as_fd(); 3]).unwrap();
            let (heard, fds) = hear_request(&theirs, SOON).unwrap();
            prop_assert_eq!(heard, asked);
            prop_assert_eq!(fds.len(), 3);
        }

        #[test]
        fn whatever_comes_is_refused_and_nothing_worse(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            honest in any::<bool>(),
            fds in 0usize..5,
        ) {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let null = std::fs::File::open("/dev/null").unwrap();
            let mut all = bytes.clone();
            if honest {
                let len = u32::try_from(bytes.len()).unwrap();
                all.splice(..0, len.to_le_bytes());
            }
            if !all.is_empty() {
                let sent = spawn::send_with_fds(&ours, &all, &vec![null.as_fd(); fds]).unwrap();
                ours.write_all(&all[sent..]).unwrap();
            }
            drop(ours);
            prop_assert!(hear_request(&theirs, SOON).is_err());
        }
    }

    #[test]
    fn a_client_that_does_not_go_on_is_not_waited_for() {
        for begun in [&b""[..], &b"\x10"[..], &b"\x10\0\0\0{"[..]] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(begun).unwrap();
            let began = Instant::now();
            let error = hear_request(&theirs, SOON).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
            assert!(began.elapsed() < Duration::from_secs(20));
        }
    }

    #[test]
    fn lengths_versions_and_descriptors_have_to_be_right() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let said = |bytes: &[u8], fds: usize| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let fds = vec![null.as_fd(); fds];
            let sent = spawn::send_with_fds(&ours, bytes, &fds).unwrap();
            assert_eq!(sent, bytes.len());
            hear_request(&theirs, SOON).unwrap_err().to_string()
        };
        assert!(said(&u32::MAX.to_le_bytes(), 0).contains("are allowed"));
        assert!(said(&[0; 4], 0).contains("empty"));
        assert!(said(&encode(&request(vec![])).unwrap(), 2).contains("2 descriptors came"));
        let mut other = request(vec![]);
        other.fds = vec![0, 1, 3];
        assert!(said(&encode(&other).unwrap(), 3).contains("standard stream"));
        other.fds = vec![0, 1, 1, 2];
        assert!(said(&encode(&other).unwrap(), 4).contains("descriptors came"));
        other.version = 7;
        assert!(said(&encode(&other).unwrap(), 3).contains("version 7"));
    }

    #[test]
    fn an_outcome_arrives() {
        for end in [
            End::Exited(3),
            End::Signalled(9),
            End::Limit(Limit::FileSize),
            End::Killed,
        ] {
            let mut outcome = Outcome::new(end, Started::Yes, 42);
            outcome.wall = Duration::from_nanos(1_234_567_891);
            outcome.peak_memory = Some(4096);
            outcome.memory_by = Means::CgroupV1;
            let (ours, theirs) = UnixStream::pair().unwrap();
            say(&ours, &Ended::from(&outcome)).unwrap();
            let heard: Ended = hear(&theirs, None).unwrap().unwrap();
            assert_eq!(heard.outcome(), Some(outcome));
            drop(ours);
            assert!(hear::<Ended>(&theirs, None).unwrap().is_none());
        }
    }
}
