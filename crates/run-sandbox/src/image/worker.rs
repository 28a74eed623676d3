//! Work on the cache of images by this same program in a sandbox, where the caller's subordinate
//! ids are to be had. It sees the host's root without what is private, read-only; the image; and
//! the cache, which alone it can write to. So what decompresses and parses an image that a
//! stranger made is kept in, too.
//!
//! It tells what it does on its standard output, a JSON value in each line. It dies with the
//! caller, however that ends; then what it was making has a lock that nobody holds.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use sandboxlib::config::{ImageSettings, SandboxPath, Settings};
use sandboxlib::core::End;
use sandboxlib::image::{Cache, CachedRoot, Error, IdMap, Progress, UnpackOptions};
use sandboxlib::{Sandbox, Stdio};
use serde::{Deserialize, Serialize};

use super::{open_options, said};
use crate::parse::CacheAction;
use crate::render::Failure;
use crate::settings::{self, Caller};

/// The first argument of a worker. It is no option: nobody but this program gives it.
pub(crate) const WORD: &str = "--image-worker";

/// More than any line of a worker has that means well.
const LONGEST_LINE: u64 = 1 << 20;

/// What a worker does.
#[derive(Debug)]
pub(crate) enum Job<'a> {
    /// Makes sure that the image is in the cache, and says its key there.
    Unpack(&'a Source<'a>),
    /// Copies the root of the image to this directory.
    Copy(&'a Source<'a>, &'a Path),
    /// Removes what nobody uses, and says what that was.
    Prune,
    /// Removes what runs left that are gone.
    ClearScratch,
}

/// An image, and how it is unpacked.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    pub(crate) settings: &'a ImageSettings,
    pub(crate) map: &'a IdMap,
}

/// What of a [`Source`] can be told in JSON. Paths can not: they are bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Wanted {
    reference: Option<String>,
    platform: Option<String>,
    map: IdMap,
}

/// A line that a worker prints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Progress { read: u64, total: u64 },
    Done(String),
    Unable(String),
    Failed(String),
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No worker could be started, or it does not see the image.
    Unavailable(String),
    /// It failed. The message is for the user.
    Failed(String),
}

/// Has a worker do `job`, and gives what it says.
pub(crate) fn run(
    cache: &Cache,
    job: &Job<'_>,
    progress: Option<&Progress>,
) -> Result<String, Trouble> {
    let start = || -> Result<_, String> {
        let run = settings::settle(sandbox_of(cache, job)?, &Caller::default())?;
        let lines = |failure: Failure| failure.message().join("; ");
        let sandbox = Sandbox::from_config(run.config.clone());
        let prepared = sandbox.prepare().map_err(|e| lines(e.into()))?;
        let mut command = prepared.command(&run.program);
        command.args(&run.arguments).cwd(run.directory.clone());
        for (name, value) in &run.environment {
            command.env(name, value);
        }
        command
            .stdin(Stdio::Null)
            .stdout(Stdio::Piped)
            .stderr(Stdio::Null);
        command.spawn().map_err(|e| lines(e.into()))
    };
    let mut child = start().map_err(Trouble::Unavailable)?;
    let told = child.stdout.take().and_then(|out| listen(out, progress));
    match told {
        // It has nothing left to do, and is killed if it thinks otherwise.
        Some(result) => result,
        None => {
            let how = match child.wait().map(|outcome| outcome.end) {
                Ok(End::Exited(status)) => format!("it exited with status {status}"),
                Ok(End::Signalled(number)) => format!("it was ended by signal {number}"),
                Ok(_) => "it was killed".to_owned(),
                Err(e) => Failure::from(e).message().join("; "),
            };
            let text = format!("the worker for images said nothing: {how}");
            Err(Trouble::Failed(text))
        }
    }
}

/// What a worker says in the end, if it comes to that.
fn listen(out: impl Read, progress: Option<&Progress>) -> Option<Result<String, Trouble>> {
    let mut out = BufReader::new(out);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = out.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) {
            return None;
        }
        return Some(match serde_json::from_slice(&line) {
            Ok(Line::Progress { read, total }) => {
                if let Some(progress) = progress {
                    progress.set(read, total);
                }
                continue;
            }
            Ok(Line::Done(text)) => Ok(text),
            Ok(Line::Unable(text)) => Err(Trouble::Unavailable(text)),
            Ok(Line::Failed(text)) => Err(Trouble::Failed(text)),
            // It ended in the middle of a line, or is not one of ours any more.
            Err(_) if line.last() != Some(&b'\n') && (line.len() as u64) < LONGEST_LINE => {
                return None;
            }
            Err(_) => {
                let text = "the worker for images says what it should not";
                Err(Trouble::Failed(text.to_owned()))
            }
        });
    }
}

/// The sandbox of a worker, with its command.
fn sandbox_of(cache: &Cache, job: &Job<'_>) -> Result<Settings, String> {
    let real = |path: &Path| {
        let real = std::fs::canonicalize(path);
        real.map_err(|e| format!("cannot find {path:?}: {}", settings::system(&e)))
    };
    let inside = |path: &Path| SandboxPath::new(path).map_err(|e| format!("{path:?}: {e}"));
    let program = std::env::current_exe();
    let program =
        program.map_err(|e| format!("cannot find this program: {}", settings::system(&e)))?;
    let cache = real(cache.path())?;
    let mut sandbox = Settings::default();
    sandbox.sandbox = Some("/".into());
    sandbox.map_subordinate = Some(true);
    sandbox.cwd = Some(SandboxPath::root());
    sandbox.writable = vec![inside(&cache)?];
    sandbox.readable = vec![inside(&program)?];
    // What is decompressed on the way has a place there, and in memory perhaps not.
    sandbox
        .env
        .insert("TMPDIR".into(), Some(cache.join("work").into()));
    let mut words: Vec<OsString> = vec![program.into(), WORD.into(), cache.into()];
    let mut add_source = |name: &str, source: &Source<'_>| {
        let path = real(source.path)?;
        sandbox.readable.push(inside(&path)?);
        let wanted = Wanted {
            reference: source.settings.reference.clone(),
            platform: source.settings.platform.clone(),
            map: source.map.clone(),
        };
        let wanted = serde_json::to_string(&wanted).map_err(|e| e.to_string())?;
        words.extend([name.into(), path.into(), source.path.into(), wanted.into()]);
        Ok::<(), String>(())
    };
    match job {
        Job::Unpack(source) => add_source("unpack", source)?,
        Job::Copy(source, target) => {
            add_source("copy", source)?;
            words.push(real(target)?.into());
        }
        Job::Prune => words.push("prune".into()),
        Job::ClearScratch => words.push("clear-scratch".into()),
    }
    sandbox.command = Some(words);
    Ok(sandbox)
}

/// The program as a worker, with the words behind [`WORD`].
pub(crate) fn main(words: Vec<OsString>) -> ExitCode {
    let progress = Progress::default();
    let (done, is_done) = channel::<()>();
    let result = std::thread::scope(|scope| {
        let counts = progress.clone();
        scope.spawn(move || {
            const OFTEN: Duration = Duration::from_millis(100);
            while is_done.recv_timeout(OFTEN) == Err(RecvTimeoutError::Timeout) {
                let (read, total) = (counts.read(), counts.total());
                if total > 0 {
                    tell(&Line::Progress { read, total });
                }
            }
        });
        let result = work(&words, &progress);
        drop(done);
        result
    });
    let (line, status) = match result {
        Ok(text) => (Line::Done(text), ExitCode::SUCCESS),
        Err(Trouble::Unavailable(text)) => (Line::Unable(text), ExitCode::FAILURE),
        Err(Trouble::Failed(text)) => (Line::Failed(text), ExitCode::FAILURE),
    };
    tell(&line);
    status
}

/// Prints a line. Where it cannot be printed the caller has gone, and this program goes with it.
fn tell(line: &Line) {
    if let Ok(mut text) = serde_json::to_vec(line) {
        text.push(b'\n');
        let _ = std::io::stdout().write_all(&text);
    }
}

fn work(words: &[OsString], progress: &Progress) -> Result<String, Trouble> {
    let wrong = || Trouble::Failed(format!("{WORD} is no option for users"));
    let (cache, action, rest) = match words {
        [cache, action, rest @ ..] => (cache, action.to_str().ok_or_else(wrong)?, rest),
        _ => return Err(wrong()),
    };
    let in_cache = |e: Error| Trouble::Failed(said("the cache of images", &e));
    let cache = Cache::at(PathBuf::from(cache)).map_err(in_cache)?;
    match (action, rest) {
        ("prune", []) => crate::overlay::act(&cache, CacheAction::Prune).map_err(Trouble::Failed),
        ("clear-scratch", []) => cache
            .clear_scratch()
            .map_err(in_cache)
            .map(|()| String::new()),
        ("unpack", [path, named, wanted]) => {
            let root = unpacked(&cache, path, named, wanted, progress)?;
            Ok(root.key().to_owned())
        }
        ("copy", [path, named, wanted, target]) => {
            let root = unpacked(&cache, path, named, wanted, progress)?;
            let copied = root.copy_to(Path::new(target));
            copied.map_err(|e| Trouble::Failed(said("cannot copy the image", &e)))?;
            Ok(root.key().to_owned())
        }
        _ => Err(wrong()),
    }
}

/// The root of the image at `path`, which the user calls `named`.
fn unpacked(
    cache: &Cache,
    path: &OsStr,
    named: &OsStr,
    wanted: &OsStr,
    progress: &Progress,
) -> Result<CachedRoot, Trouble> {
    // The caller can. It has groups that a worker has not.
    File::open(path).map_err(|e| {
        let why = settings::system(&e);
        Trouble::Unavailable(format!("the image cannot be opened by a worker: {why}"))
    })?;
    let wanted: Wanted = serde_json::from_slice(wanted.as_encoded_bytes())
        .map_err(|e| Trouble::Failed(format!("{WORD}: {e}")))?;
    let open = open_options(wanted.platform.as_deref(), wanted.reference.as_deref())
        .map_err(Trouble::Failed)?;
    let mut options = UnpackOptions::default();
    options.ownership = super::owners::mapped(&wanted.map);
    options.progress = Some(progress.clone());
    let root = cache.root(path, &open, &options);
    root.map_err(|mut error| {
        if let Error::Io { path: at, .. } | Error::NotAnImage { path: at, .. } = &mut error
            && at.as_os_str() == path
        {
            *at = named.into();
        }
        Trouble::Failed(said(&format!("SANDBOX {:?}", Path::new(named)), &error))
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn heard(text: impl AsRef<[u8]>) -> Option<Result<String, Trouble>> {
        listen(text.as_ref(), None)
    }

    #[test]
    fn what_it_says_is_heard_and_progress_is_passed_on() {
        let progress = Progress::default();
        let text = "{\"progress\":{\"read\":5,\"total\":9}}\n{\"done\":\"key\"}\n";
        let Some(Ok(key)) = listen(text.as_bytes(), Some(&progress)) else {
            panic!("it was done");
        };
        assert_eq!((&*key, progress.read(), progress.total()), ("key", 5, 9));
        assert!(matches!(
            heard("{\"failed\":\"x\"}\n"),
            Some(Err(Trouble::Failed(_)))
        ));
        assert!(matches!(
            heard("{\"unable\":\"x\"}\n"),
            Some(Err(Trouble::Unavailable(_)))
        ));
        // It was killed.
        let progress = "{\"progress\":{\"read\":5,\"total\":9}}\n";
        for text in ["", progress, "{\"done\":\"ke"] {
            assert!(heard(text).is_none(), "{text}");
        }
        // It is not what it seems, and is not waited for.
        for text in ["x\n", "\n", "{\"done\":\"ke\n{\"done\":\"key\"}\n"] {
            assert!(
                matches!(heard(text), Some(Err(Trouble::Failed(_)))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        struct Endless(u64);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0 += buffer.len() as u64;
                buffer.fill(b'[');
                Ok(buffer.len())
            }
        }
        let mut endless = Endless(0);
        assert!(matches!(
            listen(&mut endless, None),
            Some(Err(Trouble::Failed(_)))
        ));
        assert!(endless.0 <= 2 * LONGEST_LINE, "{}", endless.0);
    }

    proptest! {
        #[test]
        fn whatever_it_says_there_is_an_answer(
            lines in vec(prop_oneof![
                vec(any::<u8>(), 0..40),
                Just(b"{\"done\":\"\\u0000\"}".to_vec()),
                Just(b"{\"progress\":{\"read\":18446744073709551615,\"total\":0}}".to_vec()),
                Just(b"{\"progress\":{\"read\":-1,\"total\":0}}".to_vec()),
            ], 0..8),
        ) {
            let progress = Progress::default();
            let _ = listen(&*lines.join(&b'\n'), Some(&progress));
        }
    }
}
