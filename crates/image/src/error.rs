use std::io;
use std::path::{Path, PathBuf};

use crate::{Digest, Limit};

/// Why an image was not read, not unpacked or not described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An entry of an archive cannot be unpacked as it is.
    #[error("entry {entry:?}: {problem}")]
    Entry {
        /// Its name, as the archive has it.
        entry: PathBuf,
        /// What is wrong.
        problem: EntryProblem,
    },
    /// The image wants more than [`Limits`](crate::Limits) allow.
    #[error("more than {allowed} {limit}{}", at(.entry.as_deref()))]
    Limit {
        /// Which limit.
        limit: Limit,
        /// What it is.
        allowed: u64,
        /// The entry at which it was reached; `None` while no entry was being read.
        entry: Option<PathBuf>,
    },
    /// The archive is no tar archive, is cut off, or is compressed wrongly.
    #[error("failed to read the archive{}", at(.entry.as_deref()))]
    Archive {
        /// The entry that was being read, or the last one before.
        entry: Option<PathBuf>,
        /// What the reader says.
        source: io::Error,
    },
    /// The file is none of the formats that are known.
    #[error("{path:?} is no image: {why}")]
    NotAnImage {
        /// The file or directory.
        path: PathBuf,
        /// What is missing.
        why: &'static str,
    },
    /// A document of the image does not say what it has to say.
    #[error("{document} is wrong: {why}")]
    Document {
        /// Which one, such as `index.json`.
        document: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something of the image is not there.
    #[error("{what} is missing")]
    Missing {
        /// What.
        what: String,
    },
    /// The bytes are not those that the image names.
    #[error("{what} has the digest {found} instead of {expected}")]
    Digest {
        /// Which part of the image.
        what: String,
        /// What the image says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The image needs something that this crate cannot do.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
    /// There is no image, or more than one, for what was asked.
    #[error("{found} images for {wanted}; there are: {}", .there.join(", "))]
    Choice {
        /// The platform and the reference that were asked for.
        wanted: String,
        /// How many match.
        found: usize,
        /// What the index has.
        there: Vec<String>,
    },
    /// The user or group that the image names is not in its passwd or group file (passwd(5)).
    #[error("{kind} {name:?} is not in {file} of the image")]
    NoSuchId {
        /// `user` or `group`.
        kind: &'static str,
        /// What the image says.
        name: String,
        /// The file in which it was looked up.
        file: &'static str,
    },
    /// The directory to unpack into has something in it.
    #[error("{path:?} is not empty")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The cache cannot be trusted: another user could have put something there.
    #[error("the cache {path:?} {why}")]
    Cache {
        /// The directory of the cache.
        path: PathBuf,
        /// Why it is not used.
        why: String,
    },
    /// The operating system said no.
    #[error("failed to {step} {path:?}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// What is wrong with one entry of an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryProblem {
    /// The name is empty.
    #[error("the name is empty")]
    EmptyName,
    /// The name has a `..` component: it could name something outside.
    #[error("the name has a '..' component")]
    ParentDir,
    /// The name, or what a link says, has a NUL byte.
    #[error("the name has a NUL byte")]
    Nul,
    /// It would replace the root directory by something else.
    #[error("it would replace the root directory")]
    ReplacesRoot,
    /// A link that says nothing.
    #[error("the link leads nowhere")]
    EmptyLink,
    /// A hard link with a `..` component.
    #[error("the hard link to {0:?} leads outside")]
    LinkOutside(PathBuf),
    /// A hard link to something that does not exist.
    #[error("the hard link's target {0:?} is not there")]
    LinkMissing(PathBuf),
    /// A hard link to a directory.
    #[error("the hard link's target {0:?} is a directory")]
    LinkToDirectory(PathBuf),
    /// A hard link that would take the place of the directory that its target is in.
    #[error("the hard link would replace the directory of its target {0:?}")]
    LinkReplacesTarget(PathBuf),
    /// A component of the name is there, and is no directory.
    #[error("{0:?} on the way to it is no directory")]
    NotADirectory(PathBuf),
    /// A whiteout without a name.
    #[error("the whiteout names nothing")]
    EmptyWhiteout,
    /// The map of a sparse file makes no sense.
    #[error("the map of the sparse file is wrong: {0}")]
    Sparse(&'static str),
    /// The header makes no sense.
    #[error("the header is wrong: {0}")]
    Header(&'static str),
    /// The operating system said no.
    #[error("failed to {step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// What it said.
        source: io::Error,
    },
}

fn at(entry: Option<&Path>) -> String {
    entry.map_or_else(String::new, |entry| format!(", at entry {entry:?}"))
}

/// A limit that was reached inside a reader, where only an [`io::Error`] can be returned.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("more than {allowed} {limit}")]
pub(crate) struct Exceeded {
    pub(crate) limit: Limit,
    pub(crate) allowed: u64,
}

impl From<Exceeded> for io::Error {
    fn from(exceeded: Exceeded) -> Self {
        Self::other(exceeded)
    }
}

impl Error {
    pub(crate) fn io(
        step: &'static str,
        path: impl Into<PathBuf>,
        error: impl Into<io::Error>,
    ) -> Self {
        Self::Io {
            step,
            path: path.into(),
            source: error.into(),
        }
    }

    /// What a reader said, with a limit told apart.
    pub(crate) fn reading(entry: Option<&Path>, error: io::Error) -> Self {
        let entry = entry.map(Path::to_owned);
        let exceeded = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Exceeded>())
            .copied();
        match exceeded {
            Some(Exceeded { limit, allowed }) => Self::Limit {
                limit,
                allowed,
                entry,
            },
            None => Self::Archive {
                entry,
                source: error,
            },
        }
    }

    pub(crate) fn document(document: impl Into<String>, why: impl ToString) -> Self {
        Self::Document {
            document: document.into(),
            why: why.to_string(),
        }
    }

    pub(crate) fn missing(what: impl Into<String>) -> Self {
        Self::Missing { what: what.into() }
    }
}
