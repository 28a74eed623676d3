//! The program inside: this very test program, started by its own loader.
//!
//! It walks the root and writes down, for every path, what is there and what it may do with it.
//! It has no opinion on what should be there, and uses no `/proc`, because there may be none.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Set for the probe. Its value is a list of directories not to look into, in hexadecimal.
pub(crate) const LEAVE_OUT: &str = "SANDBOX_TEST_PROBE";
/// The way to whatever is mounted on top of the root: nothing else crosses onto it.
pub(crate) const ABOVE: &str = "/..";
/// The name of files that the probe makes and removes again.
pub(crate) const NEW: &str = ".made-by-probe";
/// How far down it looks.
pub(crate) const DEPTH: usize = 7;

const BEGIN: &[u8] = b"<begin>";
const END: &[u8] = b"<end>";

/// The number of open(2), the same on every processor that we know.
const O_NONBLOCK: i32 = 0o4000;

/// What is at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    /// Device and inode.
    pub(crate) identity: (u64, u64),
    /// Of a file its content, of a link what it says.
    pub(crate) content: Vec<u8>,
    /// Opening a file to read, or listing a directory.
    pub(crate) read: Answer,
    /// Opening a file to write, or making a file in a directory.
    pub(crate) write: Answer,
    /// Where a link leads, or for what cannot be read an attempt to make it readable and to look
    /// at something in it.
    pub(crate) more: More,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dir,
    File,
    Link,
    Device,
    Other,
}

/// How the kernel answered: 0, or its errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer(pub(crate) i32);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum More {
    Nothing,
    LeadsTo(Result<(u64, u64), Answer>),
    /// chmod(2), and stat(2) of something below.
    Closed(Answer, Answer),
}

fn answer<T>(result: &io::Result<T>) -> Answer {
    Answer(match result {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    })
}

/// What a test of the name `probe_inside` does.
pub(crate) fn main() {
    let Some(list) = std::env::var_os(LEAVE_OUT) else {
        return;
    };
    let list = list.into_string().unwrap();
    let leave_out: Vec<PathBuf> = list.split(':').map(from_hex).collect();
    let mut report = BEGIN.to_vec();
    report.push(0);
    // What procfs tells inside, from the first directory left out that has it.
    let mountinfo = leave_out
        .iter()
        .find_map(|dir| fs::read(dir.join("self/mountinfo")).ok());
    report.extend(mountinfo.unwrap_or_default());
    report.push(0);
    write_down(&look(Path::new(ABOVE)), &mut report);
    walk(Path::new("/"), DEPTH, &leave_out, &mut report);
    report.extend(END);
    report.push(0);
    // Not by print macros, which libtest catches.
    io::stderr().lock().write_all(&report).unwrap();
    // Until then whoever started us may look at our mounts.
    io::stdin().lock().read_to_end(&mut Vec::new()).unwrap();
}

fn walk(path: &Path, depth: usize, leave_out: &[PathBuf], report: &mut Vec<u8>) {
    let found = look(path);
    write_down(&found, report);
    if found.kind != Kind::Dir || depth == 0 || leave_out.iter().any(|p| p == path) {
        return;
    }
    let mut names: Vec<_> = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    names.sort();
    for name in names {
        walk(&path.join(name), depth - 1, leave_out, report);
    }
}

fn look(path: &Path) -> Found {
    let mut found = Found {
        path: path.to_owned(),
        kind: Kind::Other,
        identity: (0, 0),
        content: Vec::new(),
        read: Answer(0),
        write: Answer(0),
        more: More::Nothing,
    };
    let Ok(meta) = fs::symlink_metadata(path) else {
        // Somebody else has just taken it away, or it is listed and cannot be looked at.
        return found;
    };
    found.identity = (meta.dev(), meta.ino());
    let kind = meta.file_type();
    if kind.is_symlink() {
        found.kind = Kind::Link;
        let text = fs::read_link(path).unwrap_or_default();
        found.content = text.into_os_string().into_vec();
        let end = fs::metadata(path).map(|m| (m.dev(), m.ino()));
        found.more = More::LeadsTo(end.map_err(|e| answer::<()>(&Err(e))));
        return found;
    }
    if kind.is_dir() {
        found.kind = Kind::Dir;
        found.read = answer(&fs::read_dir(path));
        let new = path.join(NEW);
        found.write = answer(&File::create_new(&new));
        if found.write == Answer(0) {
            // One that stays, because somebody has swapped the directory, is found on the host.
            let _ = fs::remove_file(&new);
        }
    } else {
        found.kind = if kind.is_file() {
            Kind::File
        } else if kind.is_char_device() {
            Kind::Device
        } else {
            Kind::Other
        };
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open(path);
        found.read = answer(&file);
        if let (Kind::File, Ok(mut file)) = (found.kind, file) {
            file.read_to_end(&mut found.content).unwrap();
        }
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(path);
        found.write = answer(&file);
    }
    if found.read != Answer(0) {
        let chmod = fs::set_permissions(path, fs::Permissions::from_mode(0o777));
        let below = fs::symlink_metadata(path.join("a"));
        found.more = More::Closed(answer(&chmod), answer(&below));
    }
    found
}

fn write_down(found: &Found, report: &mut Vec<u8>) {
    let kind = match found.kind {
        Kind::Dir => "dir",
        Kind::File => "file",
        Kind::Link => "link",
        Kind::Device => "device",
        Kind::Other => "other",
    };
    let more = match found.more {
        More::Nothing => String::new(),
        More::LeadsTo(Ok((dev, ino))) => format!("to {dev} {ino}"),
        More::LeadsTo(Err(Answer(errno))) => format!("nowhere {errno}"),
        More::Closed(Answer(chmod), Answer(below)) => format!("closed {chmod} {below}"),
    };
    let (dev, ino) = found.identity;
    for field in [
        found.path.as_os_str().as_bytes(),
        kind.as_bytes(),
        dev.to_string().as_bytes(),
        ino.to_string().as_bytes(),
        // A file may hold anything.
        to_hex(&found.content).as_bytes(),
        found.read.0.to_string().as_bytes(),
        found.write.0.to_string().as_bytes(),
        more.as_bytes(),
    ] {
        report.extend(field);
        report.push(0);
    }
}

/// What the probe wrote down.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// `/proc/self/mountinfo` as read inside, empty if there was none.
    pub(crate) mountinfo: Vec<u8>,
    pub(crate) found: Vec<Found>,
}

/// Whether `bytes` end with the end of a report.
pub(crate) fn is_complete(bytes: &[u8]) -> bool {
    bytes
        .strip_suffix(b"\0")
        .is_some_and(|rest| rest.ends_with(END))
}

/// Reads a report; `None` if it is none.
pub(crate) fn parse(bytes: &[u8]) -> Option<Report> {
    let start = bytes.windows(BEGIN.len()).position(|w| w == BEGIN)?;
    let mut fields = bytes.get(start + BEGIN.len() + 1..)?.split(|b| *b == 0);
    let mountinfo = fields.next()?.to_vec();
    let mut found = Vec::new();
    loop {
        let path = fields.next()?;
        if path == END {
            return Some(Report { mountinfo, found });
        }
        let mut text = || std::str::from_utf8(fields.next()?).ok();
        let kind = match text()? {
            "dir" => Kind::Dir,
            "file" => Kind::File,
            "link" => Kind::Link,
            "device" => Kind::Device,
            _ => Kind::Other,
        };
        let identity = (text()?.parse().ok()?, text()?.parse().ok()?);
        let content = from_hex(text()?).into_os_string().into_vec();
        let (read, write) = (Answer(text()?.parse().ok()?), Answer(text()?.parse().ok()?));
        let more: Vec<&str> = text()?.split(' ').collect();
        let more = match more[..] {
            ["to", dev, ino] => More::LeadsTo(Ok((dev.parse().ok()?, ino.parse().ok()?))),
            ["nowhere", errno] => More::LeadsTo(Err(Answer(errno.parse().ok()?))),
            ["closed", a, b] => More::Closed(Answer(a.parse().ok()?), Answer(b.parse().ok()?)),
            _ => More::Nothing,
        };
        found.push(Found {
            path: OsString::from_vec(path.to_vec()).into(),
            kind,
            identity,
            content,
            read,
            write,
            more,
        });
    }
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> PathBuf {
    let digits = text.as_bytes().chunks_exact(2);
    let bytes = digits.map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap());
    OsString::from_vec(bytes.collect()).into()
}
