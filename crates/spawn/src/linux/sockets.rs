//! The unix sockets of this host that have a path.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// A list as of a few hundred thousand sockets. Where there are more, nothing is planned: to leave
/// some out would be to open them to whoever makes enough others.
const MOST_BYTES: u64 = 64 << 20;

/// Those that are bound in the caller's network namespace and are found by the path that they were
/// bound to, which is returned without symbolic links.
///
/// Where procfs does not tell, none are known.
pub(super) fn bound() -> io::Result<Vec<PathBuf>> {
    let list = match File::open("/proc/net/unix") {
        Ok(list) => list,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(e),
    };
    let mut text = Vec::new();
    list.take(MOST_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            "/proc/net/unix is longer than 64 MiB",
        ));
    }
    Ok(found(paths(&text)))
}

/// The absolute paths in the table, each once. A socket that was accepted has the path of the one
/// that listened.
fn paths(table: &[u8]) -> BTreeSet<&Path> {
    let lines = table.split(|byte| *byte == b'\n').skip(1);
    lines.filter_map(path_in).collect()
}

/// `Num RefCount Protocol Flags Type St Inode Path` (proc_net_unix(5)); an abstract socket's path
/// begins with `@`, and one without a name has none.
fn path_in(line: &[u8]) -> Option<&Path> {
    let mut rest = line;
    for _ in 0..7 {
        let field = rest.iter().position(|byte| *byte != b' ')?;
        rest = &rest[field..];
        let end = rest.iter().position(|byte| *byte == b' ')?;
        rest = &rest[end..];
    }
    // One blank, and then the path with any that are its own.
    let path = rest.get(1..)?;
    path.starts_with(b"/")
        .then(|| Path::new(OsStr::from_bytes(path)))
}

/// Of `paths`, which are as the binders wrote them, those that lead to a socket, without links.
fn found(paths: BTreeSet<&Path>) -> Vec<PathBuf> {
    let mut directories: HashMap<&Path, Option<PathBuf>> = HashMap::new();
    let mut found = BTreeSet::new();
    for path in paths {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let directory = directories
            .entry(parent)
            .or_insert_with(|| fs::canonicalize(parent).ok());
        let Some(path) = directory.as_ref().map(|dir| dir.join(name)) else {
            continue;
        };
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.file_type().is_socket()) {
            found.insert(path);
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    #[test]
    fn the_table_is_read() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01   190 /run/a b\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 12345 /run/a b\n\
            0000000000000000: 00000003 00000000 00000000 0001 03     7\n\
            0000000000000000: 00000002 00000000 00000000 0002 01     8 @abstract\n\
            0000000000000000: 00000002 00000000 00000000 0002 01     9 relative/path\n\
            0000000000000000: 00000002 00000000 00000000 0005 01    10 /run/\xff \n\
            the rest of a name\n";
        let expected = [
            Path::new("/run/a b"),
            Path::new(OsStr::from_bytes(b"/run/\xff ")),
        ];
        assert_eq!(paths(table), BTreeSet::from(expected));
        assert!(paths(b"").is_empty());
    }

    #[test]
    fn sockets_of_every_type_are_found_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        let link = dir.path().join("link");
        fs::create_dir(dir.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("sub", &link).unwrap();
        let listener = UnixListener::bind(dir.path().join("stream")).unwrap();
        let _client = UnixStream::connect(dir.path().join("stream")).unwrap();
        let _accepted = listener.accept().unwrap();
        let _datagram = UnixDatagram::bind(link.join("datagram")).unwrap();
        let _gone = UnixListener::bind(dir.path().join("gone")).unwrap();
        fs::remove_file(dir.path().join("gone")).unwrap();
        let _replaced = UnixListener::bind(dir.path().join("replaced")).unwrap();
        fs::remove_file(dir.path().join("replaced")).unwrap();
        fs::write(dir.path().join("replaced"), "").unwrap();
        let mut found = bound().unwrap();
        found.retain(|path| path.starts_with(&real));
        assert_eq!(found, [real.join("stream"), real.join("sub/datagram")]);
    }
}
