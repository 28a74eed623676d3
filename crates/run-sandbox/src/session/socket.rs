//! The socket of a session: how it comes to be, and how it is reached.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandboxlib::spawn;

use crate::settings::system;

/// A socket that others of the same user can connect to. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Which file it is, so that no other one is removed.
    file: (u64, u64),
}

impl Drop for Served {
    fn drop(&mut self) {
        // Where somebody has removed it, or put another one there, nothing is left to do.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| which(&found) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn which(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// What is where a socket is to be.
enum Found {
    Nothing,
    /// A socket on which nobody listens any more.
    Stale((u64, u64)),
}

/// The error is a message.
fn look(path: &Path) -> Result<Found, String> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) => {
            return Err(format!(
                "--session: cannot look at {path:?}: {}",
                system(&e)
            ));
        }
    };
    if !file.file_type().is_socket() {
        return Err(format!(
            "--session: {path:?} is there already and is no socket: remove it, or name another \
             place"
        ));
    }
    match connect(path) {
        Ok(_) => Err(format!(
            "--session: a session is served on {path:?} already: end it first (SIGTERM), or name \
             another place"
        )),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(Found::Stale(which(&file))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(e) => Err(format!(
            "--session: the socket {path:?} is there already and cannot be connected to: {}; name \
             another place",
            system(&e)
        )),
    }
}

/// Whether a socket can be made at `path`; [`serve`] looks again. The error is a message.
pub(super) fn check(path: &Path) -> Result<(), String> {
    look(path).map(drop)
}

/// Makes the socket `path`, which exists from the moment when it can be connected to, and can be
/// by nobody but this user and root at any time. The error is a message.
pub(super) fn serve(path: &Path) -> Result<Served, String> {
    let cannot = |e: io::Error| format!("--session: cannot make {path:?}: {}", system(&e));
    let path = std::path::absolute(path).map_err(cannot)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    // Nobody else can look into it, so it does not matter with what permissions a socket is born.
    let nursery = Nursery::new(parent).map_err(cannot)?;
    let born = nursery.0.join("s");
    let listener = reach(&born, |name| UnixListener::bind(name)).map_err(cannot)?;
    fs::set_permissions(&born, Permissions::from_mode(0o600)).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    let file = which(&fs::symlink_metadata(&born).map_err(cannot)?);
    let _turn = turn(parent);
    loop {
        // Unlike rename(2) this replaces nothing.
        match fs::hard_link(&born, &path) {
            Ok(()) => break,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(cannot(e)),
        }
        if let Found::Stale(stale) = look(&path)? {
            nursery.take_away(&path, stale).map_err(cannot)?;
        }
    }
    Ok(Served {
        listener,
        path,
        file,
    })
}

/// Lets one at a time look at a stale socket and replace it. Somebody who may open the directory
/// can keep the lock; without it a server can at worst lose its socket to another that starts at
/// the same moment.
fn turn(dir: &Path) -> Option<File> {
    let dir = File::open(dir).ok()?;
    for _ in 0..200 {
        match spawn::try_lock(&dir) {
            Ok(true) => return Some(dir),
            Ok(false) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => return None,
        }
    }
    None
}

/// A directory for this process alone.
struct Nursery(PathBuf);

impl Nursery {
    fn new(parent: &Path) -> io::Result<Self> {
        let mut number = 0;
        loop {
            let name = format!(".run-sandbox.{}.{number}", std::process::id());
            let dir = parent.join(name);
            match DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Ok(Self(dir)),
                // One that was killed in the middle of it had the same process id.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && number < 100 => number += 1,
                Err(e) => return Err(e),
            }
        }
    }

    /// Removes the socket that was found stale. Somebody else may do the same at this moment and
    /// have put a new one there; that one is put back.
    fn take_away(&self, path: &Path, stale: (u64, u64)) -> io::Result<()> {
        let away = self.0.join("old");
        match fs::rename(path, &away) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        }
        if which(&fs::symlink_metadata(&away)?) != stale {
            match fs::hard_link(&away, path) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
        }
        fs::remove_file(&away)
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        // What is in it has its place elsewhere by now, or is not wanted.
        for name in ["s", "old"] {
            let _ = fs::remove_file(self.0.join(name));
        }
        let _ = fs::remove_dir(&self.0);
    }
}

/// Calls `f` with a name for `path` that is short enough for the address of a socket (unix(7)).
fn reach<T>(path: &Path, f: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    const LONGEST: usize = 100;
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if path.as_os_str().as_bytes().len() > LONGEST => {
            let dir = File::open(parent)?;
            let number = dir.as_raw_fd().to_string();
            f(&Path::new("/proc/self/fd").join(number).join(name))
        }
        _ => f(path),
    }
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    reach(path, |name| UnixStream::connect(name))
}

/// Connects to the session at `path`. The error is a message.
pub(super) fn join(path: &Path) -> Result<UnixStream, String> {
    let stream = connect(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => format!(
            "--in: no session is served on {path:?}: start one by run-sandbox --session {path:?} \
             SANDBOX"
        ),
        io::ErrorKind::ConnectionRefused => format!(
            "--in: the session on {path:?} has ended: start another by run-sandbox --session \
             {path:?} SANDBOX"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "--in: cannot connect to {path:?}: {}; a session is for the user who started it alone",
            system(&e)
        ),
        _ => format!("--in: cannot connect to {path:?}: {}", system(&e)),
    })?;
    check_peer(&stream).map_err(|e| format!("--in: {path:?}: {e}"))?;
    Ok(stream)
}

/// Refuses another user at the other end: for a server, whoever is not its owner, root too; for
/// a client, a server to which its files would be handed. The error is a message.
pub(super) fn check_peer(stream: &UnixStream) -> Result<(), String> {
    let peer = spawn::peer_uid(stream)
        .map_err(|e| format!("cannot tell who is at the other end: {}", system(&e)))?;
    let (own, _) = spawn::caller_ids();
    match peer == own {
        true => Ok(()),
        false => Err(format!(
            "user {peer} is at the other end and this is user {own}; a session is for the user \
             who started it alone"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_is_the_owners_alone_and_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let served = serve(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(left(dir.path()), ["socket"]);
        let said = serve(&path).unwrap_err();
        assert!(
            said.contains("already") && said.contains("SIGTERM"),
            "{said}"
        );
        check_peer(&join(&path).unwrap()).unwrap();
        drop(served);
        assert!(left(dir.path()).is_empty());
    }

    #[test]
    fn a_stale_one_is_replaced_and_anything_else_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        assert!(join(&path).unwrap_err().contains("has ended"));
        let served = serve(&path).unwrap();
        join(&path).unwrap();
        // What took its place is not removed with it.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(served);
        assert!(serve(&path).unwrap_err().contains("no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert!(serve(&path).unwrap_err().contains("no socket"));
        assert!(join(&path).unwrap_err().contains("no session"));
        assert_eq!(left(dir.path()), ["socket"]);
    }

    #[test]
    fn a_long_path_is_reached_too() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let path = deep.join("socket");
        let served = serve(&path).unwrap();
        join(&path).unwrap();
        drop(served);
        assert!(left(&deep).is_empty());
    }

    #[test]
    fn of_many_who_want_the_place_of_a_stale_one_one_gets_it() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("socket");
            drop(UnixListener::bind(&path).unwrap());
            let served: Vec<Served> = std::thread::scope(|scope| {
                let tries: Vec<_> = (0..4).map(|_| scope.spawn(|| serve(&path))).collect();
                let results = tries.into_iter().map(|t| t.join().unwrap());
                results.filter_map(Result::ok).collect()
            });
            assert_eq!(served.len(), 1);
            join(&path).unwrap();
            drop(served);
            assert!(left(dir.path()).is_empty());
        }
    }
}
