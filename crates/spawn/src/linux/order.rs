//! Orders: what the init program is told of a command ([`super::wire::Order`]).

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;

use sandboxlib_core::{ExecProblem, FailedStep, SpawnError};

use super::control::Control;
use super::init;
use super::start::resources;
use super::wire::{self, Message, SHORT, kind};
use crate::run::Run;
use crate::words::{candidates, text};

/// A command, ready to be sent.
pub(super) struct Order {
    content: Content,
    len: u32,
    /// What becomes of the sandbox when the command ends: one of [`wire::run`].
    then: u32,
    /// The descriptors that go with it.
    fds: Vec<RawFd>,
}

enum Content {
    Short(Vec<u8>),
    File(OwnedFd),
}

impl Order {
    /// `limits` are as the init program reads them; `nice` is 20 less the nice value of the
    /// command, or 0; `terminal` is as the init program reads it; `pairs` are descriptors and the numbers that they are to have.
    pub(super) fn new(
        run: &Run,
        limits: &CStr,
        nice: u32,
        terminal: &CStr,
        pairs: &[(RawFd, RawFd)],
    ) -> Result<Self, SpawnError> {
        let targets: Vec<RawFd> = pairs.iter().map(|(_, to)| *to).collect();
        let bytes = encode(run, limits, nice, terminal, &targets)?;
        let len = u32::try_from(bytes.len()).map_err(|_| {
            let program = run.program.clone().into();
            let problem = ExecProblem::TooLong;
            let source = io::Error::from_raw_os_error(libc::E2BIG);
            SpawnError::new(FailedStep::Exec { program, problem }, source)
        })?;
        let content = if bytes.len() <= SHORT {
            Content::Short(bytes)
        } else {
            Content::File(init::content(&bytes).map_err(resources("an order"))?)
        };
        Ok(Self {
            content,
            len,
            then: wire::run::WITH,
            fds: pairs.iter().map(|(from, _)| *from).collect(),
        })
    }

    /// Whoever waits looks at the processes that the command leaves.
    pub(super) fn looks(mut self, looks: bool) -> Self {
        if looks {
            self.then = wire::run::LOOK;
        }
        self
    }

    /// Sends it, with the other end of a control socket if the command is to have one of its own.
    pub(super) fn send(&self, to: &Control, own: Option<&OwnedFd>) -> io::Result<()> {
        let mut message = Message::new(kind::RUN);
        message.a = self.len;
        message.b = own.map_or(self.then, |_| wire::run::APART);
        let (short, file): (&[u8], _) = match &self.content {
            Content::Short(bytes) => (bytes, None),
            Content::File(file) => (&[], Some(file.as_raw_fd())),
        };
        let fds: Vec<RawFd> = file
            .into_iter()
            .chain(own.map(|fd| fd.as_raw_fd()))
            .chain(self.fds.iter().copied())
            .collect();
        to.say_with(&[message.bytes(), short].concat(), &fds)
    }
}

/// What a command is called with, as execve(2) takes it.
pub(super) struct Words {
    /// The paths of which the first that can be executed is the command.
    pub(super) candidates: Vec<CString>,
    pub(super) args: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) cwd: CString,
}

impl Words {
    pub(super) fn of(run: &Run) -> Result<Self, SpawnError> {
        let mut env = Vec::with_capacity(run.env.len());
        for (name, value) in &run.env {
            let bytes = [name.as_bytes(), b"=", value.as_bytes()].concat();
            env.push(text(OsStr::from_bytes(&bytes))?);
        }
        let mut args = vec![text(&run.program)?];
        for arg in &run.args {
            args.push(text(arg)?);
        }
        Ok(Self {
            candidates: candidates(run)?,
            args,
            env,
            cwd: text(run.cwd.as_path())?,
        })
    }
}

fn encode(
    run: &Run,
    limits: &CStr,
    nice: u32,
    terminal: &CStr,
    targets: &[RawFd],
) -> Result<Vec<u8>, SpawnError> {
    let Words {
        candidates,
        args,
        env,
        cwd,
    } = Words::of(run)?;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let table = candidates.len() + args.len() + env.len() + 2;
    let fixed = wire::Order::SIZE + 8 * table + 4 * targets.len();
    let mut strings: Vec<u8> = Vec::new();
    let mut place = |string: &CStr| {
        let at = fixed + strings.len();
        strings.extend_from_slice(string.to_bytes_with_nul());
        at as u64
    };
    let mut offsets: Vec<u64> = Vec::with_capacity(table);
    offsets.extend(candidates.iter().map(|s| place(s)));
    offsets.extend(args.iter().map(|s| place(s)));
    offsets.push(0);
    offsets.extend(env.iter().map(|s| place(s)));
    offsets.push(0);
    let head = [
        count(candidates.len()),
        count(args.len()),
        count(env.len()),
        count(targets.len()),
        // Longer orders are refused as a whole.
        u32::try_from(place(&cwd)).unwrap_or(u32::MAX),
        u32::try_from(place(limits)).unwrap_or(u32::MAX),
        nice,
        u32::try_from(place(terminal)).unwrap_or(u32::MAX),
    ];
    let mut bytes = Vec::with_capacity(fixed + strings.len());
    bytes.extend(head.iter().flat_map(|n| n.to_ne_bytes()));
    bytes.extend(offsets.iter().flat_map(|n| n.to_ne_bytes()));
    bytes.extend(targets.iter().flat_map(|n| n.to_ne_bytes()));
    bytes.extend(strings);
    Ok(bytes)
}
