use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// A path inside a sandbox: absolute, without `.` and `..` components, without NUL bytes,
/// without repeated or trailing slashes.
///
/// It is parsed once and trusted afterwards, so code that holds one need not ask again whether
/// it could climb out of the root. Whether it names something that exists, or leads through
/// symbolic links, is for the mount planner to find out. The bytes need not be UTF-8.
///
/// ```
/// use sandboxlib_config::SandboxPath;
/// let p = SandboxPath::new("/usr//lib/./gcc/")?;
/// assert_eq!(p.as_path(), std::path::Path::new("/usr/lib/gcc"));
/// assert!(SandboxPath::new("/usr/../etc").is_err());
/// # Ok::<(), sandboxlib_config::PathError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxPath(PathBuf);

/// Why some bytes are not a [`SandboxPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The path is empty.
    #[error("the path is empty")]
    Empty,
    /// The path does not begin with a slash.
    #[error("path {0:?} is relative where an absolute path is needed")]
    Relative(PathBuf),
    /// The path has a `..` component. Inside a sandbox it would mean something else as soon as a
    /// symbolic link is in the way, so it is refused rather than folded.
    #[error("path {0:?} contains a '..' component")]
    ParentDir(PathBuf),
    /// The path has a NUL byte, which no system call can be given.
    #[error("path {0:?} contains a NUL byte")]
    Nul(PathBuf),
    /// The path, of so many bytes, is longer than [`SandboxPath::LONGEST`].
    #[error(
        "a path of {0} bytes is longer than the {longest} that a system call takes",
        longest = SandboxPath::LONGEST
    )]
    TooLong(usize),
}

impl SandboxPath {
    /// How many bytes a path may have: those of Linux's `PATH_MAX` without the NUL
    /// (path_resolution(7)). What is longer could be used by nobody, and whoever walks it would
    /// need memory by the square of its length.
    pub const LONGEST: usize = 4095;

    /// Checks and normalises `path`.
    ///
    /// # Errors
    /// [`PathError`] if it is empty, relative, has a `..` component or a NUL byte, or is too long.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, PathError> {
        let path = path.as_ref();
        let bytes = path.as_os_str().as_encoded_bytes();
        if bytes.is_empty() {
            return Err(PathError::Empty);
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul(path.to_owned()));
        }
        if bytes[0] != b'/' {
            return Err(PathError::Relative(path.to_owned()));
        }
        let mut clean = PathBuf::with_capacity(bytes.len());
        clean.push("/");
        for component in path.components() {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => return Err(PathError::ParentDir(path.to_owned())),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        match clean.as_os_str().len() {
            0..=Self::LONGEST => Ok(Self(clean)),
            length => Err(PathError::TooLong(length)),
        }
    }

    /// The root of the sandbox, `/`.
    #[must_use]
    pub fn root() -> Self {
        Self(PathBuf::from("/"))
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.as_os_str().len() == 1
    }

    /// The path, beginning with `/`.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The path without its leading slash; empty for the root.
    #[must_use]
    pub fn relative(&self) -> &Path {
        // A SandboxPath begins with a slash by construction.
        self.0.strip_prefix("/").unwrap_or(&self.0)
    }

    /// The names that the path is made of, from the root downwards.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &OsStr> {
        self.0.components().filter_map(|c| match c {
            Component::Normal(name) => Some(name),
            _ => None,
        })
    }

    /// The directory that holds this path; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.parent().map(|p| Self(p.to_owned()))
    }

    /// The last name of the path; `None` for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&OsStr> {
        self.0.file_name()
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    /// [`PathError`] if `name` is empty, is `..`, or has a slash or NUL byte that makes the
    /// result anything but a path below this one, or if that is too long.
    pub fn join(&self, name: impl AsRef<OsStr>) -> Result<Self, PathError> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(PathError::Empty);
        }
        let mut joined = OsString::from(self.0.as_os_str());
        joined.push("/");
        joined.push(name);
        Self::new(PathBuf::from(joined))
    }

    /// Whether this path is `other` or below it.
    #[must_use]
    pub fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl AsRef<Path> for SandboxPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<&Path> for SandboxPath {
    type Error = PathError;
    fn try_from(path: &Path) -> Result<Self, PathError> {
        Self::new(path)
    }
}

impl std::str::FromStr for SandboxPath {
    type Err = PathError;
    fn from_str(s: &str) -> Result<Self, PathError> {
        Self::new(s)
    }
}

impl fmt::Debug for SandboxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SandboxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_could_climb_or_cannot_be_passed() {
        assert_eq!(SandboxPath::new(""), Err(PathError::Empty));
        assert_eq!(
            SandboxPath::new("a/b"),
            Err(PathError::Relative("a/b".into()))
        );
        assert_eq!(
            SandboxPath::new("/a/.."),
            Err(PathError::ParentDir("/a/..".into()))
        );
        assert_eq!(
            SandboxPath::new("/a\0b"),
            Err(PathError::Nul("/a\0b".into()))
        );
    }

    #[test]
    fn the_root_is_the_root_however_it_is_written() {
        for text in ["/", "//", "/.", "/./", "///."] {
            let p = SandboxPath::new(text).unwrap();
            assert!(p.is_root(), "{text}");
            assert_eq!(p.relative(), Path::new(""));
        }
    }

    #[test]
    fn a_path_is_no_longer_than_a_system_call_takes() {
        // Written longer than it is.
        let p = SandboxPath::new("//./a".repeat(2046)).unwrap();
        assert_eq!(p.to_string(), "/a".repeat(2046));
        assert_eq!(p.join("bc").unwrap().as_path().as_os_str().len(), 4095);
        assert_eq!(p.join("bcd"), Err(PathError::TooLong(4096)));
        let long = "/a".repeat(1 << 20);
        let error = SandboxPath::new(&long).unwrap_err();
        assert_eq!(error, PathError::TooLong(long.len()));
        assert!(error.to_string().len() < 100, "{error}");
    }

    proptest! {
        #[test]
        fn bytes_are_kept(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            use std::os::unix::ffi::OsStrExt as _;
            let mut path = vec![b'/'];
            path.extend(bytes);
            if let Ok(p) = SandboxPath::new(OsStr::from_bytes(&path)) {
                let names = |bytes: &[u8]| -> Vec<Vec<u8>> {
                    let names = bytes.split(|b| *b == b'/');
                    names.filter(|n| !n.is_empty() && *n != b".").map(<[u8]>::to_vec).collect()
                };
                let found: Vec<Vec<u8>> = p.components().map(|n| n.as_bytes().to_vec()).collect();
                prop_assert_eq!(found, names(&path));
            } else {
                let climbs = path.split(|b| *b == b'/').any(|name| name == b"..");
                prop_assert!(climbs || path.contains(&0));
            }
        }

        #[test]
        fn what_is_accepted_is_clean(text in "(/|[a-c.]{0,3}){0,8}") {
            if let Ok(p) = SandboxPath::new(&text) {
                let shown = p.to_string();
                prop_assert!(shown.starts_with('/'));
                prop_assert!(shown == "/" || !shown.ends_with('/'));
                prop_assert!(!shown.contains("//"));
                prop_assert!(shown.split('/').all(|c| c != "." && c != ".."));
                prop_assert_eq!(SandboxPath::new(&shown).unwrap(), p);
            } else {
                prop_assert!(!text.starts_with('/') || text.split('/').any(|c| c == ".."));
            }
        }

        #[test]
        fn a_joined_name_stays_below(base in "(/[a-c]{1,2}){0,3}", name in "[a-c./]{0,5}") {
            let base = SandboxPath::new(if base.is_empty() { "/" } else { &base }).unwrap();
            if let Ok(p) = base.join(&name) {
                prop_assert!(p.starts_with(&base));
            }
        }
    }
}
