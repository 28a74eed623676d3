//! The descriptors of a command: where they come from, and what numbers they get.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use sandboxlib_core::{FailedStep, SpawnError};

use super::start::resources;
use super::terminal::Terminal;
use super::wire::MOST_FDS;
use crate::descriptor::duplicate_from;
use crate::run::{Run, Stdio};
use crate::streams::Ends;

/// What the descriptors of a command are made from.
pub(super) struct Passing {
    list: Vec<(Source, RawFd)>,
    /// Whether standard error leads to where standard output does.
    merged: bool,
}

enum Source {
    /// One of the caller's, which stays open meanwhile.
    Callers(RawFd),
    Own(OwnedFd),
}

impl Source {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Callers(fd) => *fd,
            Self::Own(fd) => fd.as_raw_fd(),
        }
    }
}

impl Passing {
    pub(super) fn open(
        run: &Run,
        terminal: Option<&mut Terminal>,
    ) -> Result<(Self, Ends), SpawnError> {
        let mut ends = Ends::default();
        let mut passing = Self {
            list: Vec::with_capacity(3 + run.fds.len()),
            merged: false,
        };
        for (number, stdio) in [(0, &run.stdin), (1, &run.stdout), (2, &run.stderr)] {
            let source = match stdio {
                _ if terminal.as_ref().is_some_and(|t| t.is_stream(number)) => {
                    match terminal.as_ref().and_then(|t| t.theirs.as_ref()) {
                        Some(theirs) => Source::Callers(theirs.as_raw_fd()),
                        // The init program opens it.
                        None => Source::Own(null()?),
                    }
                }
                Stdio::Inherit if is_open(number) => Source::Callers(number),
                // Where the caller has none, nothing else may get its number.
                Stdio::Inherit | Stdio::Null => Source::Own(null()?),
                Stdio::Piped => {
                    let (read, write) = io::pipe().map_err(resources("a pipe"))?;
                    if number == 0 {
                        ends.stdin = Some(fs::File::from(OwnedFd::from(write)));
                        Source::Own(read.into())
                    } else {
                        let end = fs::File::from(OwnedFd::from(read));
                        *if number == 1 {
                            &mut ends.stdout
                        } else {
                            &mut ends.stderr
                        } = Some(end);
                        Source::Own(write.into())
                    }
                }
                Stdio::Fd(fd) => Source::Callers(fd.as_raw_fd()),
                Stdio::Stdout => {
                    passing.merged = true;
                    continue;
                }
            };
            passing.list.push((source, number));
        }
        for (fd, number) in &run.fds {
            if *number < 3 {
                let what = format!("a file as descriptor {number}");
                return Err(refuse(what, "0 to 2 are the standard streams"));
            }
            passing
                .list
                .push((Source::Callers(fd.as_raw_fd()), *number));
        }
        if let Some(terminal) = terminal {
            terminal.ends(&mut ends)?;
        }
        Ok((passing, ends))
    }

    /// Nothing but streams that lead nowhere.
    pub(super) fn nowhere() -> Result<Self, SpawnError> {
        let list = [0, 1, 2].map(|number| Ok((Source::Own(null()?), number)));
        Ok(Self {
            list: list.into_iter().collect::<Result<_, SpawnError>>()?,
            merged: false,
        })
    }

    /// For a child that inherits them. All sources are above `top`, which no target is, so no move
    /// overwrites the source of another.
    pub(super) fn moves(self, top: RawFd) -> Result<Moves, SpawnError> {
        let mut list = Vec::with_capacity(self.list.len() + 1);
        let mut held = Vec::with_capacity(self.list.len());
        for (source, to) in self.list {
            let fd = match source {
                Source::Callers(fd) if fd == to && stays_open(fd) => continue,
                Source::Callers(fd) => duplicate(fd, top)?,
                Source::Own(fd) => above(fd, top)?,
            };
            list.push((fd.as_raw_fd(), to));
            held.push(fd);
        }
        if self.merged {
            // By now 1 is where standard output leads.
            list.push((1, 2));
        }
        Ok(Moves { list, _held: held })
    }

    /// For a process that is sent them: each descriptor, and the number that it is to have.
    pub(super) fn pairs(&self) -> Result<Vec<(RawFd, RawFd)>, SpawnError> {
        let mut pairs: Vec<(RawFd, RawFd)> = self
            .list
            .iter()
            .map(|(source, to)| (source.as_raw_fd(), *to))
            .collect();
        let output = pairs.iter().find(|(_, to)| *to == 1).copied();
        if let Some((fd, _)) = output.filter(|_| self.merged) {
            pairs.push((fd, 2));
        }
        // The order comes with them, and a control socket may.
        if pairs.len() + 2 > MOST_FDS {
            let what = format!("{} descriptors for one command", pairs.len());
            return Err(refuse(what, "a message carries 253 (unix(7), SCM_MAX_FD)"));
        }
        Ok(pairs)
    }
}

/// What a child puts in which places.
pub(super) struct Moves {
    pub(super) list: Vec<(RawFd, RawFd)>,
    /// Keeps the sources open.
    _held: Vec<OwnedFd>,
}

fn refuse(what: String, why: &str) -> SpawnError {
    let source = io::Error::new(io::ErrorKind::InvalidInput, why);
    SpawnError::new(FailedStep::Lower { what }, source)
}

fn null() -> Result<OwnedFd, SpawnError> {
    let mut options = fs::OpenOptions::new();
    let null = options.read(true).write(true).open("/dev/null");
    Ok(null.map_err(resources("/dev/null"))?.into())
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: fcntl with numbers alone.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Whether the descriptor is open and stays so at exec, so that nothing has to be done to inherit
/// it.
fn stays_open(fd: RawFd) -> bool {
    // SAFETY: fcntl with numbers alone.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// `fd`, moved to a number above `top` if it is not there already.
pub(super) fn above(fd: OwnedFd, top: RawFd) -> Result<OwnedFd, SpawnError> {
    if fd.as_raw_fd() > top {
        Ok(fd)
    } else {
        duplicate(fd.as_raw_fd(), top)
    }
}

/// A duplicate of the descriptor `fd` with a number above `top`.
pub(super) fn duplicate(fd: RawFd, top: RawFd) -> Result<OwnedFd, SpawnError> {
    duplicate_from(fd, top + 1).map_err(resources("a duplicate of a file descriptor"))
}
