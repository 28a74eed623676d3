use std::fmt;
use std::path::{Component, Path, PathBuf};

use sandboxlib_core::{Hint, Knob, Reason};

/// The directories at the top that are symbolic links on every Mac, and where they lead.
const LINKS: [(&str, &str); 3] = [
    ("/etc", "/private/etc"),
    ("/tmp", "/private/tmp"),
    ("/var", "/private/var"),
];

/// Where the volume with the user's files is mounted. The kernel never compares by this
/// spelling: a file below it is known by the path that leads to it from `/` (firmlinks).
const DATA_VOLUME: &str = "/System/Volumes/Data";

/// A path as the kernel's comparison sees it: absolute, without `.`, `..` and symbolic links,
/// UTF-8, without control characters.
///
/// That no component is a symbolic link is for the caller to know; a mount plan's paths are so.
/// The links that every Mac has at the top (`/tmp`, `/var`, `/etc`) are resolved here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacPath(PathBuf);

/// Why a path cannot be put into a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MacPathError {
    /// It does not begin with a slash.
    #[error("path {0:?} is relative where an absolute path is needed")]
    Relative(PathBuf),
    /// It has a `..` component, which means something else where a symbolic link is in the way.
    #[error("path {0:?} contains a '..' component")]
    ParentDir(PathBuf),
    /// It is not UTF-8: a profile's parameters are text.
    #[error("path {0:?} is not UTF-8, and a Seatbelt profile takes no other paths")]
    NotUtf8(PathBuf),
    /// It has a newline, a NUL or another control character.
    #[error("path {0:?} contains a control character, which a Seatbelt profile cannot be given")]
    Control(PathBuf),
    /// It goes through the mount point of the data volume, where a rule would match nothing.
    #[error("path {0:?} leads through {DATA_VOLUME}, where Seatbelt rules match nothing")]
    DataVolume(PathBuf),
}

impl MacPath {
    /// Checks `path` and resolves the links that every Mac has at the top.
    ///
    /// # Errors
    /// [`MacPathError`] if a rule about the path would be refused, or would match nothing.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, MacPathError> {
        let given = path.as_ref();
        let owned = || given.to_owned();
        let Some(text) = given.to_str() else {
            return Err(MacPathError::NotUtf8(owned()));
        };
        if text.chars().any(char::is_control) {
            return Err(MacPathError::Control(owned()));
        }
        if !text.starts_with('/') {
            return Err(MacPathError::Relative(owned()));
        }
        let mut clean = PathBuf::from("/");
        for component in given.components() {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => return Err(MacPathError::ParentDir(owned())),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        for (link, to) in LINKS {
            if let Ok(rest) = clean.strip_prefix(link) {
                clean = if rest.as_os_str().is_empty() {
                    PathBuf::from(to)
                } else {
                    Path::new(to).join(rest)
                };
                break;
            }
        }
        if clean.starts_with(DATA_VOLUME) {
            return Err(MacPathError::DataVolume(owned()));
        }
        Ok(Self(clean))
    }

    /// `/`.
    #[must_use]
    pub fn root() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A path of this crate's own, which is known to be as it has to be.
    pub(crate) fn known(path: &'static str) -> Self {
        Self(PathBuf::from(path))
    }

    /// The path, beginning with `/`.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Checked when it was made.
        self.0.to_str().unwrap_or_default()
    }

    /// Whether this path is `other` or below it.
    #[must_use]
    pub fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The directory that holds this path; `None` for `/`.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.parent().map(|parent| Self(parent.to_owned()))
    }

    /// The directories that lead to this path, the nearest first and `/` last.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        self.0
            .ancestors()
            .skip(1)
            .map(|ancestor| Self(ancestor.to_owned()))
    }

    /// How many names it is made of.
    pub(crate) fn depth(&self) -> usize {
        self.0.components().count() - 1
    }
}

/// The top-level names that are links, which somebody who resolves a path has to read.
pub(crate) fn links() -> impl Iterator<Item = MacPath> {
    LINKS.iter().map(|(link, _)| MacPath::known(link))
}

impl fmt::Display for MacPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl From<MacPathError> for Reason {
    fn from(error: MacPathError) -> Self {
        let advice = match &error {
            MacPathError::DataVolume(_) => "name it by the path that leads to it from /",
            MacPathError::NotUtf8(_) | MacPathError::Control(_) => "rename it",
            MacPathError::Relative(_) | MacPathError::ParentDir(_) => "write it out",
        };
        let path = match &error {
            MacPathError::Relative(p)
            | MacPathError::ParentDir(p)
            | MacPathError::NotUtf8(p)
            | MacPathError::Control(p)
            | MacPathError::DataVolume(p) => p.clone(),
        };
        Self::new(error.to_string()).hint(Hint::new(Knob::Path(path), advice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn the_links_at_the_top_are_resolved() {
        for (given, wanted) in [
            ("/tmp", "/private/tmp"),
            ("//tmp/./a/", "/private/tmp/a"),
            ("/var/folders/x", "/private/var/folders/x"),
            ("/etcetera", "/etcetera"),
            ("/a/tmp", "/a/tmp"),
            ("/", "/"),
        ] {
            assert_eq!(MacPath::new(given).unwrap().as_str(), wanted);
        }
    }

    #[test]
    fn what_a_profile_cannot_be_given_is_refused() {
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        for (given, wanted) in [
            ("a", MacPathError::Relative("a".into())),
            ("", MacPathError::Relative("".into())),
            ("/a/../b", MacPathError::ParentDir("/a/../b".into())),
            ("/a\nb", MacPathError::Control("/a\nb".into())),
            ("/a\0b", MacPathError::Control("/a\0b".into())),
            (
                "/System/Volumes/Data/Users",
                MacPathError::DataVolume("/System/Volumes/Data/Users".into()),
            ),
        ] {
            assert_eq!(MacPath::new(given), Err(wanted));
        }
        let bytes = path(b"/a\xff");
        assert_eq!(
            MacPath::new(&bytes),
            Err(MacPathError::NotUtf8(bytes.clone()))
        );
        for quoted in ["/a\"b", "/a\\b", "/a)(b", "/a;b", "/a'b", "/ a=b", "/ü"] {
            assert_eq!(MacPath::new(quoted).unwrap().as_str(), quoted);
        }
    }
}
