//! Helper programs: finding one, what it is given for a run, and what it tells.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sandboxlib_config::SandboxPath;
use sandboxlib_core::{End, FailedStep, HelperArg, HelperCall, HelperFact, HostFacts};
use sandboxlib_core::{ScratchEntry, ScratchKind, SpawnError, Started};

use crate::ask::{From, ask};
use crate::run::Run;
use crate::system;

/// Looks for the helper program `wanted`, a name or a path, and adds what is found to `facts`.
///
/// A program is asked for its version once, and again when its file has changed.
pub fn find_helper(facts: &mut HostFacts, wanted: &Path) {
    if facts.helper(wanted).is_some() {
        return;
    }
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let candidates = if wanted.components().count() > 1 || wanted.is_absolute() {
        vec![wanted.to_owned()]
    } else {
        std::env::split_paths(&dirs)
            .filter(|dir| dir.is_absolute())
            .chain([PathBuf::from("/usr/bin")])
            .map(|dir| dir.join(wanted))
            .collect()
    };
    let found = candidates.into_iter().find_map(|path| {
        let meta = path.metadata().ok()?;
        (meta.is_file() && meta.mode() & 0o111 != 0).then_some((path, meta))
    });
    let Some((path, meta)) = found else { return };
    facts.helpers.push(HelperFact {
        wanted: wanted.to_owned(),
        version: version(&path, &meta),
        setuid_root: meta.mode() & 0o4000 != 0 && meta.uid() == 0,
        path,
    });
}

/// What tells one state of a file from another.
type State = (u64, u64, i64, i64);

fn version(path: &Path, meta: &fs::Metadata) -> String {
    static KNOWN: Mutex<Option<HashMap<PathBuf, (State, String)>>> = Mutex::new(None);
    let state = (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    match known.get(path) {
        Some((then, version)) if *then == state => version.clone(),
        _ => {
            let version = ask_version(path);
            known.insert(path.to_owned(), (state, version.clone()));
            version
        }
    }
}

/// For how long a helper may think about its version.
const PATIENCE: Duration = Duration::from_secs(10);

fn ask_version(path: &Path) -> String {
    let mut command = Command::new(path);
    command.arg("--version").env_clear().current_dir("/");
    let said = ask(command, From::Stdout, PATIENCE);
    said.map_or_else(|_| String::new(), |(_, text)| first_line(&text))
}

/// The first line of what a helper says, fit for messages.
fn first_line(text: &[u8]) -> String {
    let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let plain: String = line.chars().filter(|c| !c.is_control()).collect();
    plain.trim().to_owned()
}

/// The most bytes of a helper's report that are read: a few hundred are usual, and a socket holds
/// no more than this unless somebody empties it.
const LONGEST_REPORT: u64 = 1 << 20;

/// What belongs to one run of a helper program, for as long as it runs.
#[derive(Debug)]
pub(crate) struct Errand {
    /// Removed when this is dropped.
    scratch: Option<Scratch>,
    /// Where the helper's report arrives, and what in it says that the command was started.
    report: Option<(UnixStream, &'static str)>,
    on_failure: Started,
}

impl Errand {
    /// Whether the command was started, now that the helper has ended.
    pub(crate) fn started(&mut self, end: End) -> Started {
        let Some((stream, text)) = &mut self.report else {
            return match end {
                End::Exited(0) => Started::Yes,
                _ => self.on_failure,
            };
        };
        let mut told = Vec::new();
        // It ends with WouldBlock where something of the helper's still holds the other end; what
        // was written before is in `told` all the same. Whoever holds it might write faster than
        // this reads, without end.
        let _ = stream.take(LONGEST_REPORT).read_to_end(&mut told);
        if told
            .windows(text.len().max(1))
            .any(|w| w == text.as_bytes())
        {
            Started::Yes
        } else if matches!(end, End::Exited(_)) {
            Started::No
        } else {
            // It was killed before it could tell.
            Started::Unknown
        }
    }
}

/// The helper's command line with the command behind it.
pub(crate) fn wrap(call: &HelperCall, run: &Run) -> Result<(Run, Errand), SpawnError> {
    let mut wrapped = run
        .try_clone()
        .map_err(resources("a duplicate of a file descriptor"))?;
    let scratch = match call.scratch.as_slice() {
        [] => None,
        entries => Some(Scratch::new(entries).map_err(resources("a private directory"))?),
    };
    let mut errand = Errand {
        scratch: None,
        report: None,
        on_failure: call.on_failure,
    };
    let mut args = Vec::with_capacity(call.args.len() + run.args.len() + 1);
    let mut pass = |fd: OwnedFd| -> OsString {
        let number = wrapped.fds.iter().map(|(_, n)| *n + 1).max();
        let number = number.unwrap_or(3).max(3);
        wrapped.fds.push((fd, number));
        number.to_string().into()
    };
    for arg in &call.args {
        args.push(match arg {
            HelperArg::Text(text) => text.clone(),
            HelperArg::WithoutTerminal(_) if run.tty.is_some() => continue,
            HelperArg::WithoutTerminal(text) => text.clone(),
            HelperArg::Cwd => run.cwd.as_path().into(),
            HelperArg::Data(data) => {
                pass(system::content(data).map_err(resources("a file with data"))?)
            }
            HelperArg::Report => {
                let (ours, theirs) = report().map_err(resources("a report socket"))?;
                errand.report = call.reports.map(|text| (ours, text));
                pass(theirs.into())
            }
            HelperArg::Scratch(path) => match &scratch {
                Some(scratch) => scratch.0.join(path).into(),
                None => return Err(unknown(arg)),
            },
            other => return Err(unknown(other)),
        });
    }
    args.push(run.program.clone());
    args.extend(run.args.iter().cloned());
    wrapped.args = args;
    if !call.in_cwd {
        // The directory of the run is a matter of the helper's.
        wrapped.cwd = SandboxPath::root();
    }
    wrapped.program = call.program.clone().into();
    errand.scratch = scratch;
    Ok((wrapped, errand))
}

fn report() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((ours, theirs))
}

fn unknown(arg: &HelperArg) -> SpawnError {
    let what = format!("the argument {arg:?}");
    SpawnError::new(
        FailedStep::Lower { what },
        io::ErrorKind::Unsupported.into(),
    )
}

fn resources(what: &'static str) -> impl Fn(io::Error) -> SpawnError {
    move |source| SpawnError::new(FailedStep::Resources(what), source)
}

/// A private directory of the host, removed with all that is in it.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new(entries: &[ScratchEntry]) -> io::Result<Self> {
        let scratch = Self(private_dir()?);
        let mut dirs = Vec::new();
        for ScratchEntry { path, kind } in entries {
            let path = scratch.0.join(path);
            match kind {
                ScratchKind::Dir(mode) => {
                    DirBuilder::new().mode(0o700).create(&path)?;
                    dirs.push((path, *mode));
                }
                ScratchKind::File(data, mode) => {
                    let mut file = File::options().write(true).create_new(true).open(&path)?;
                    file.write_all(data)?;
                    file.set_permissions(Permissions::from_mode(*mode))?;
                }
                ScratchKind::Symlink(to) => symlink(to, &path)?,
                other => {
                    let what = format!("{other:?} cannot be made");
                    return Err(io::Error::new(io::ErrorKind::Unsupported, what));
                }
            }
        }
        // Now that all is in them.
        for (path, mode) in dirs {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Directories that the command closed to itself are opened again, which is why this is not
/// left to `remove_dir_all` alone.
fn remove(dir: &Path) {
    if fs::remove_dir_all(dir).is_ok() {
        return;
    }
    let _ = fs::set_permissions(dir, Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    // Whatever is left cannot be removed, and there is nobody to tell.
    let _ = fs::remove_dir_all(dir);
}

fn private_dir() -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let base = std::path::absolute(std::env::temp_dir())?;
    for _ in 0..1000 {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sandboxlib-{}-{number}", std::process::id());
        let path = base.join(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            // Left by a process of the same number that was killed, or put there by somebody.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// A file without a name that holds `data`, to be read from its beginning.
#[allow(dead_code, reason = "Linux has something better")]
pub(crate) fn unlinked_file(data: &[u8]) -> io::Result<OwnedFd> {
    let dir = private_dir()?;
    let path = dir.join("data");
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(data))
        .and_then(|()| File::open(&path));
    remove(&dir);
    Ok(made?.into())
}

#[cfg(test)]
mod tests {
    use sandboxlib_config::Limit;

    use super::*;

    fn dir(path: &str, mode: u32) -> ScratchEntry {
        ScratchEntry {
            path: path.into(),
            kind: ScratchKind::Dir(mode),
        }
    }

    #[test]
    fn scratch_is_as_told_and_goes_away() {
        let file = ScratchEntry {
            path: "a/file".into(),
            kind: ScratchKind::File(b"data"[..].into(), 0o640),
        };
        let link = ScratchEntry {
            path: "a/link".into(),
            kind: ScratchKind::Symlink("/no/where".into()),
        };
        let scratch = Scratch::new(&[
            dir("a", 0o755),
            dir("b", 0o555),
            dir("b/c", 0o750),
            file,
            link,
        ])
        .unwrap();
        let at = scratch.0.clone();
        let mode = |name: &str| fs::symlink_metadata(at.join(name)).unwrap().mode() & 0o7777;
        assert_eq!(fs::metadata(&at).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(
            (mode("a"), mode("b/c"), mode("a/file")),
            (0o755, 0o750, 0o640)
        );
        assert_eq!(fs::read(at.join("a/file")).unwrap(), b"data");
        assert_eq!(
            fs::read_link(at.join("a/link")).unwrap(),
            Path::new("/no/where")
        );
        drop(scratch);
        assert!(!at.exists());
    }

    #[test]
    fn scratch_that_cannot_be_made_leaves_nothing() {
        let mark = format!("mark-{}", std::process::id());
        assert!(Scratch::new(&[dir(&mark, 0o755), dir("no/such/parent", 0o755)]).is_err());
        let left = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
        assert!(!left.map(|e| e.path().join(&mark)).any(|p| p.exists()));
    }

    #[test]
    fn data_is_read_from_the_beginning() {
        for fd in [
            unlinked_file(b"hello").unwrap(),
            system::content(b"hello").unwrap(),
        ] {
            let mut text = String::new();
            File::from(fd).read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
        }
    }

    #[test]
    fn a_helper_is_found_by_path_and_asked_once() {
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("helper");
        let count = place.path().join("count");
        let script = format!(
            "#!/bin/sh\necho x >>{}\necho 'helper 1.23.4 more'\necho rest\n",
            count.display()
        );
        fs::write(&program, script).unwrap();
        let mut facts = HostFacts::linux(0, 0);
        find_helper(&mut facts, &program);
        assert_eq!(facts.helper(&program), None, "it cannot be executed");
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        for _ in 0..2 {
            facts.helpers.clear();
            find_helper(&mut facts, &program);
            let found = facts.helper(&program).unwrap();
            assert_eq!(found.version, "helper 1.23.4 more");
            assert_eq!(found.numbers(), Some((1, 23)));
            assert!(!found.setuid_root);
        }
        assert_eq!(fs::read_to_string(&count).unwrap(), "x\n");
        find_helper(&mut facts, Path::new("no-such-helper-anywhere"));
        assert_eq!(facts.helpers.len(), 1);
    }

    #[test]
    fn a_version_is_one_short_line() {
        for (text, line) in [
            (&b"bubblewrap 0.8.0\nrest"[..], "bubblewrap 0.8.0"),
            (b" a \x1b[2J\xff\r\n", "a [2J\u{fffd}"),
            (b"\n1.2", ""),
            (b"", ""),
        ] {
            assert_eq!(first_line(text), line);
        }
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("helper");
        for text in [
            "yes 'helper 1.2' | tr -d '\\n'",
            "echo helper 1.2; exec yes",
        ] {
            // By another process: what this one has open for writing, a child that another test
            // starts at this moment has open too, and then it cannot be executed.
            let made = Command::new("/bin/sh")
                .args([
                    "-c",
                    "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$0\" && chmod 755 \"$0\"",
                ])
                .args([program.as_os_str(), text.as_ref()])
                .status();
            assert!(made.unwrap().success());
            let mut facts = HostFacts::linux(0, 0);
            find_helper(&mut facts, &program);
            let version = &facts.helper(&program).unwrap().version;
            assert!(version.starts_with("helper 1.2"), "{version}");
            assert!(version.len() <= crate::ask::LONGEST, "{}", version.len());
        }
    }

    #[test]
    fn a_report_without_end_is_read_no_further_than_needed() {
        let (ours, mut theirs) = report().unwrap();
        let flood = std::thread::spawn(move || {
            let chunk = [b'x'; 65536];
            let mut written = 0;
            // Until nobody reads any more.
            while theirs.write_all(&chunk).is_ok() {
                written += chunk.len();
            }
            written
        });
        let mut errand = Errand {
            scratch: None,
            report: Some((ours, "started")),
            on_failure: Started::Unknown,
        };
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(errand.started(End::Exited(1)), Started::No);
        drop(errand);
        assert!(flood.join().unwrap() < 16 << 20);
    }

    proptest::proptest! {
        #[test]
        fn a_report_tells_wherever_the_word_stands(
            before in proptest::collection::vec(0..=u8::MAX, 0..40),
            behind in proptest::collection::vec(0..=u8::MAX, 0..40),
            says in 0..3_u8,
        ) {
            let (ours, mut theirs) = report().unwrap();
            let word = match says {
                0 => &b"started"[..],
                1 => b"starte",
                _ => b"",
            };
            let text = [&before[..], word, &behind].concat();
            let there = String::from_utf8_lossy(&text).contains("started");
            theirs.write_all(&text).unwrap();
            let mut errand = Errand {
                scratch: None,
                report: Some((ours, "started")),
                on_failure: Started::Unknown,
            };
            let wanted = if there { Started::Yes } else { Started::No };
            proptest::prop_assert_eq!(errand.started(End::Exited(0)), wanted);
        }

        #[test]
        fn a_version_line_is_fit_for_messages(text in proptest::collection::vec(0..=u8::MAX, 0..60)) {
            let line = first_line(&text);
            proptest::prop_assert!(!line.chars().any(char::is_control));
            proptest::prop_assert_eq!(line.trim(), &line);
            proptest::prop_assert_eq!(first_line(line.as_bytes()), line);
        }
    }

    #[test]
    fn reports_tell() {
        let errand = |text: &str| {
            let (ours, mut theirs) = report().unwrap();
            theirs.write_all(text.as_bytes()).unwrap();
            (
                Errand {
                    scratch: None,
                    report: Some((ours, "started")),
                    on_failure: Started::Unknown,
                },
                theirs,
            )
        };
        for (text, end, wanted) in [
            ("x started y", End::Exited(1), Started::Yes),
            ("x", End::Exited(1), Started::No),
            ("", End::Exited(0), Started::No),
            ("", End::Limit(Limit::Wall), Started::Unknown),
            ("started", End::Limit(Limit::Wall), Started::Yes),
        ] {
            let (mut one, theirs) = errand(text);
            assert_eq!(
                one.started(end),
                wanted,
                "{text:?}, the other end still open"
            );
            drop(theirs);
            let (mut one, theirs) = errand(text);
            drop(theirs);
            assert_eq!(one.started(end), wanted, "{text:?}");
        }
        let mut silent = Errand {
            scratch: None,
            report: None,
            on_failure: Started::Unknown,
        };
        assert_eq!(silent.started(End::Exited(0)), Started::Yes);
        assert_eq!(silent.started(End::Exited(1)), Started::Unknown);
    }
}
