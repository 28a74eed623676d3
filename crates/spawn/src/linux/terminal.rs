//! The terminal of a command, on the parent's side: which one it is, and the parent's end of it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;

use sandboxlib_core::{FailedStep, SpawnError};
use sandboxlib_mount::PlanStep;

use crate::run::{Run, Stdio};
use crate::streams::{Ends, Stream};
use crate::tty::Tty;
use crate::words::text;

/// Where terminals of the sandbox's own are opened, as seen inside, once `step` is carried out:
/// in the devpts that was mounted last, unless something covers it.
pub(super) fn ptmx_after(step: &PlanStep, ptmx: &mut Option<CString>) -> Result<(), SpawnError> {
    if let PlanStep::Devpts { to } = step {
        let at = [to.as_path().as_os_str().as_encoded_bytes(), b"/ptmx"].concat();
        *ptmx = Some(text(std::ffi::OsString::from_vec(at))?);
    } else if let (Some(at), Some(path)) = (step.covers(), &ptmx) {
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
        if path.starts_with(at.as_path()) {
            *ptmx = None;
        }
    }
    Ok(())
}

/// What a run with a terminal needs before it begins.
pub(super) struct Terminal {
    /// For the init program.
    pub(super) argument: CString,
    /// The command's end, if it is a terminal of the host's. Else the init program opens one.
    pub(super) theirs: Option<OwnedFd>,
    ours: Option<File>,
    tty: Tty,
    streams: [bool; 3],
}

impl Terminal {
    /// `ptmx` is where the sandbox has its own.
    pub(super) fn new(run: &Run, ptmx: Option<&CStr>) -> Result<Option<Self>, SpawnError> {
        let Some(tty) = &run.tty else {
            return Ok(None);
        };
        let unset = |stdio: &Stdio| matches!(stdio, Stdio::Inherit);
        let merged = matches!(run.stderr, Stdio::Stdout) && unset(&run.stdout);
        let streams = [
            unset(&run.stdin),
            unset(&run.stdout),
            unset(&run.stderr) || merged,
        ];
        let bits = (0..3).filter(|n| streams[*n]).map(|n| 1 << n).sum::<u8>();
        if bits == 0 {
            let what = "a terminal for the command".to_owned();
            let why = "something else is set for each of the standard streams";
            let source = io::Error::new(io::ErrorKind::InvalidInput, why);
            return Err(SpawnError::new(FailedStep::Lower { what }, source));
        }
        let (ours, theirs) = match ptmx {
            Some(_) => (None, None),
            None => {
                let (ours, theirs) = open_on_host().map_err(failed)?;
                tty.set_up(ours.as_fd()).map_err(failed)?;
                (Some(ours), Some(theirs))
            }
        };
        let path = ptmx.unwrap_or_default().to_bytes();
        let argument = [format!("{bits}:").as_bytes(), path].concat();
        Ok(Some(Self {
            argument: text(std::ffi::OsString::from_vec(argument))?,
            theirs,
            ours,
            tty: tty.clone(),
            streams,
        }))
    }

    /// Whether this standard stream leads to it.
    pub(super) fn is_stream(&self, number: RawFd) -> bool {
        usize::try_from(number).is_ok_and(|n| self.streams.get(n) == Some(&true))
    }

    /// The parent's ends, if the terminal is the host's.
    pub(super) fn ends(&mut self, ends: &mut Ends) -> Result<(), SpawnError> {
        match self.ours.take() {
            Some(ours) => self.share(ours, ends).map_err(failed),
            None => Ok(()),
        }
    }

    /// Sets up the terminal that the init program has opened.
    pub(super) fn opened(&self, ours: Option<OwnedFd>) -> Result<Ends, SpawnError> {
        let ours = ours.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
        let mut ends = Ends::default();
        self.tty
            .set_up(ours.as_fd())
            .and_then(|()| self.share(ours.into(), &mut ends))
            .map_err(failed)?;
        Ok(ends)
    }

    fn share(&self, ours: File, ends: &mut Ends) -> io::Result<()> {
        if self.streams[0] {
            ends.stdin = Some(ours.try_clone()?);
        }
        // What is printed on standard error, where both lead there, comes out with the rest.
        let (end, stream) = match self.streams {
            [_, true, _] => (&mut ends.stdout, Some(Stream::Stdout)),
            [_, _, true] => (&mut ends.stderr, Some(Stream::Stderr)),
            _ => (&mut None, None),
        };
        ends.shown = stream;
        if stream.is_some() {
            *end = Some(ours.try_clone()?);
        }
        ends.terminal = Some(ours);
        Ok(())
    }
}

/// The command could not have its terminal.
pub(super) fn failed(source: io::Error) -> SpawnError {
    SpawnError::new(FailedStep::Resources("a terminal"), source)
}

/// The two ends of a new terminal of the host's.
fn open_on_host() -> io::Result<(File, OwnedFd)> {
    let ours = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open("/dev/ptmx")?;
    let unlocked: libc::c_int = 0;
    // SAFETY: the integer is live for the call, which reads it.
    if unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: numbers alone.
    let theirs = unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if theirs < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok((ours, unsafe { OwnedFd::from_raw_fd(theirs) }))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use sandboxlib_config::{Access, SandboxPath};
    use sandboxlib_mount::{Attributes, BindSource, Node};

    use super::*;
    use crate::tty::WindowSize;

    #[test]
    fn terminals_are_where_devpts_is_seen() {
        let at = |path: &str| SandboxPath::new(path).unwrap();
        let devpts = |path: &str| PlanStep::Devpts { to: at(path) };
        let tmpfs = |path: &str| PlanStep::Tmpfs {
            to: at(path),
            size: None,
            mode: 0o755,
        };
        let bind = |path: &str| PlanStep::Bind {
            from: BindSource::Root(at("/x")),
            to: at(path),
            node: Node::Dir,
            attributes: Attributes {
                access: Access::ReadOnly,
                devices: false,
            },
        };
        for (steps, wanted) in [
            (vec![], None),
            (
                vec![tmpfs("/dev"), devpts("/dev/pts")],
                Some("/dev/pts/ptmx"),
            ),
            (
                vec![devpts("/dev/pts"), tmpfs("/dev/shm")],
                Some("/dev/pts/ptmx"),
            ),
            (vec![devpts("/dev/pts"), bind("/dev")], None),
            (vec![devpts("/dev/pts"), tmpfs("/dev/pts")], None),
            (
                vec![devpts("/dev/pts"), bind("/dev"), devpts("/d/pts")],
                Some("/d/pts/ptmx"),
            ),
        ] {
            let mut ptmx = None;
            for step in &steps {
                ptmx_after(step, &mut ptmx).unwrap();
            }
            let found = ptmx.as_ref().map(|path| path.to_str().unwrap());
            assert_eq!(found, wanted, "{steps:?}");
        }
    }

    #[test]
    fn the_ends_of_a_terminal_of_the_hosts_belong_together() {
        let size = WindowSize {
            rows: 12,
            columns: 34,
        };
        let (mut ours, theirs) = open_on_host().unwrap();
        Tty::new(size).set_up(ours.as_fd()).unwrap();
        let mut theirs = File::from(theirs);
        ours.write_all(b"typed\n").unwrap();
        let mut got = [0; 6];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"typed\n");
        // Which was echoed.
        let mut got = [0; 7];
        ours.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"typed\r\n");
    }

    #[test]
    fn a_run_without_a_stream_for_it_gets_no_terminal() {
        let mut run = Run::new("x");
        assert!(Terminal::new(&run, None).unwrap().is_none());
        let size = WindowSize {
            rows: 24,
            columns: 80,
        };
        run.tty = Some(Tty::new(size));
        run.stdin = Stdio::Null;
        run.stderr = Stdio::Stdout;
        let terminal = Terminal::new(&run, Some(c"/dev/pts/ptmx"))
            .unwrap()
            .unwrap();
        assert_eq!(terminal.argument.as_c_str(), c"6:/dev/pts/ptmx");
        assert!(terminal.theirs.is_none() && terminal.is_stream(2) && !terminal.is_stream(0));
        let terminal = Terminal::new(&run, None).unwrap().unwrap();
        assert_eq!(terminal.argument.as_c_str(), c"6:");
        assert!(terminal.theirs.is_some());
        run.stdout = Stdio::Null;
        assert!(Terminal::new(&run, None).is_err());
    }
}
