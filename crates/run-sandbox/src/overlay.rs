//! What an overlay took: as text, as data, and put onto a directory. And the cache of images,
//! listed and pruned.

use std::path::Path;
use std::time::{Duration, SystemTime};

use sandboxlib::image::{Cache, CacheEntry, CacheKind, Change, ChangeKind, Changes};
use serde::Serialize;

use crate::bytes::{escaped, shown};
use crate::parse::CacheAction;
use crate::settings::system;

/// A change, for programs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Changed {
    change: &'static str,
    path: String,
}

impl From<&Change> for Changed {
    fn from(change: &Change) -> Self {
        Self {
            change: change.kind.name(),
            path: escaped(Path::new("/").join(&change.path)),
        }
    }
}

/// A change, for people.
pub(crate) fn line(change: &Change) -> String {
    let sign = match change.kind {
        ChangeKind::Added => '+',
        ChangeKind::Modified => '~',
        ChangeKind::Deleted => '-',
    };
    format!("{sign} {}", shown(Path::new("/").join(&change.path)))
}

/// Makes sure that there is a directory for changes. The error is a message.
pub(crate) fn make_directory(path: &Path) -> Result<(), String> {
    match std::fs::create_dir(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(format!(
            "--overlay-changes: cannot make {path:?}: {}",
            system(&e)
        )),
        _ => Ok(()),
    }
}

/// Puts the changes in `changes` onto `target`, and says which they were. The error is a message.
pub(crate) fn apply(changes: &Path, target: &Path) -> Result<String, String> {
    let failed = |e: sandboxlib::image::Error| format!("--apply: {}", chain(&e));
    let changes = Changes::of(changes.join("upper"), target, []).map_err(failed)?;
    changes.apply(target).map_err(failed)?;
    Ok(changes.list().iter().map(|c| line(c) + "\n").collect())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Lists what is in the cache, or removes what nobody uses at the moment. The error is a message.
pub(crate) fn cache(action: CacheAction, dir: Option<&Path>) -> Result<String, String> {
    let cache: Cache = crate::image::cache(dir)?;
    match action {
        CacheAction::List => act(&cache, action),
        CacheAction::Prune => crate::image::pruned(&cache),
    }
}

/// Does that with all that this process can.
pub(crate) fn act(cache: &Cache, action: CacheAction) -> Result<String, String> {
    let failed = |e: sandboxlib::image::Error| format!("--cache: {}", chain(&e));
    let entries = match action {
        CacheAction::List => cache.entries(),
        CacheAction::Prune => cache.prune(Duration::ZERO),
    };
    let entries = entries.map_err(failed)?;
    let verb = match action {
        CacheAction::List => "",
        CacheAction::Prune => "removed ",
    };
    let now = SystemTime::now();
    Ok(entries.iter().map(|e| describe(verb, e, now)).collect())
}

fn describe(verb: &str, entry: &CacheEntry, now: SystemTime) -> String {
    let kind = match entry.kind {
        CacheKind::Layer => "layer",
        CacheKind::Root => "root ",
    };
    let age = now.duration_since(entry.used).unwrap_or_default().as_secs();
    let mebibytes = entry.bytes.div_ceil(1 << 20);
    let source = entry.source.as_ref();
    let source = source.map_or(String::new(), |path| format!("  {}", shown(path)));
    let age = match age {
        0..3600 => format!("{} min", age / 60),
        3600..86400 => format!("{} h", age / 3600),
        _ => format!("{} days", age / 86400),
    };
    format!(
        "{verb}{kind} {}  {mebibytes} MiB, used {age} ago{source}\n",
        entry.key
    )
}
