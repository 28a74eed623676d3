//! Attributes of mounts where the kernel has no mount_setattr(2) (before Linux 5.12, or under a
//! filter that says so): each mount of a tree is remounted by itself.
//!
//! Only an attached mount can be remounted, so the tree is attached at a place of this child's
//! own, where nobody sees it. Which mounts it has, /proc/self/mountinfo tells, read by the child
//! itself: a list from before could miss one. No name in that list is trusted. It leads to a
//! place, and what is found there is remounted if it is the mount that was meant.

use core::ffi::CStr;

use super::ops::{Call, Failed};
use super::raw::{AT_FDCWD, Fd};
use super::sys::{self, EACCES, ENOENT, ENOTDIR, ESTALE, Held, Named, Result};

/// What a remount takes away if it is not repeated, and fails to take away, with EPERM, where
/// another user namespace has set it. (The fourth kind, how access times are kept, stays as it
/// is if a remount does not mention it.) The numbers are those of mount(2), which those of
/// mount_setattr(2) agree with.
const KEPT: [(&[u8], u64); 5] = [
    (b"ro", libc::MS_RDONLY),
    (b"nosuid", libc::MS_NOSUID),
    (b"nodev", libc::MS_NODEV),
    (b"noexec", libc::MS_NOEXEC),
    (b"nosymfollow", NOSYMFOLLOW),
];
/// `MS_NOSYMFOLLOW`, from linux/mount.h.
const NOSYMFOLLOW: u64 = 256;

const _: () = assert!(
    libc::MS_RDONLY == libc::MOUNT_ATTR_RDONLY
        && libc::MS_NOSUID == libc::MOUNT_ATTR_NOSUID
        && libc::MS_NODEV == libc::MOUNT_ATTR_NODEV
        && libc::MS_NOEXEC == libc::MOUNT_ATTR_NOEXEC
);

/// Sets attributes of the attached mount whose root `mount` is.
pub(super) fn one(mount: Fd, set: u64) -> Result<()> {
    all(mount, None, set)
}

/// Sets attributes of the attached mount whose root `mount` is, and of all that are mounted below
/// it and can be reached. It is attached at `at`, a name in a directory that is attached on the
/// `/` of this process.
///
/// A mount that is covered by another one, or lies below a directory that this child may not
/// search, stays as it is: nobody inside can get there, who has the child's rights or fewer.
pub(super) fn tree(mount: Fd, at: &CStr, set: u64) -> Result<()> {
    all(mount, Some(at), set)
}

fn all(mount: Fd, below: Option<&CStr>, set: u64) -> Result<()> {
    let own = sys::mount_id(mount, c"").named(Call::StatX)?;
    let mut found = false;
    each_mount(|line| {
        let inner = below.and_then(|at| line.inside(at.to_bytes()));
        if line.id == own {
            found = true;
            remount(mount, line.flags | set)
        } else if line.cut && inner.is_some() {
            Err(Failed {
                call: Call::MountInfo,
                errno: libc::ENAMETOOLONG,
            })
        } else if let Some(path) = inner {
            remount_below(mount, path, line, set)
        } else {
            Ok(())
        }
    })?;
    if found {
        Ok(())
    } else {
        Err(Failed {
            call: Call::MountInfo,
            errno: ENOENT,
        })
    }
}

/// Remounts the mount of `line`, which was listed at `path` below `tree`.
fn remount_below(tree: Fd, path: &[u8], line: &Line<'_>, set: u64) -> Result<()> {
    let Walked { place, arrived } = match walk(tree, path) {
        Ok(walked) => walked,
        Err(Failed { errno: EACCES, .. }) => return Ok(()),
        Err(failed) => return Err(failed),
    };
    let here = place.as_ref().map_or(tree, Held::fd);
    let id = sys::mount_id(here, c"").named(Call::StatX)?;
    if arrived && id == line.id {
        return remount(here, line.flags | set);
    }
    if id == line.parent {
        // Whatever covers a mount or the way to it is another mount. In the one that it is
        // attached to it must be found, or somebody has renamed directories meanwhile.
        return Err(Failed {
            call: Call::Open,
            errno: ESTALE,
        });
    }
    Ok(())
}

/// `at` may be the root of any file system, so it is not looked up by a path.
fn remount(at: Fd, flags: u64) -> Result<()> {
    let mut buffer = [0; 32];
    sys::remount_bind(fd_path(at, &mut buffer), flags).named(Call::Mount)
}

/// The path that leads to what a descriptor refers to, and nowhere else (proc_pid_fd(5)).
fn fd_path(fd: Fd, buffer: &mut [u8; 32]) -> &CStr {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    let mut digits = [0; 10];
    let mut rest = fd.unsigned_abs();
    let mut first = digits.len();
    while first > 0 {
        first -= 1;
        // A remainder below 10.
        digits[first] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let number = &digits[first..];
    // 14 and 10 bytes at most, and a NUL.
    buffer.fill(0);
    buffer[..PREFIX.len()].copy_from_slice(PREFIX);
    buffer[PREFIX.len()..PREFIX.len() + number.len()].copy_from_slice(number);
    CStr::from_bytes_until_nul(buffer).unwrap_or(c"")
}

/// How far a path led.
struct Walked {
    /// The last place on the way; `None` is where it began.
    place: Option<Held>,
    /// Whether that is where the path ends.
    arrived: bool,
}

/// Follows `path`, escaped as in mountinfo, from the directory `from`: through mounts, and not
/// through links. Step by step, so that no file system on the way is mounted by being looked at,
/// and nothing limits the length.
fn walk(from: Fd, path: &[u8]) -> Result<Walked> {
    let mut place: Option<Held> = None;
    for part in path.split(|b| *b == b'/') {
        if part.is_empty() {
            continue;
        }
        // The longest name that Linux has is 255 bytes long.
        let mut name = [0; 256];
        let mut len = 0;
        for byte in Unescaped(part) {
            if let Some(room) = name.get_mut(len) {
                *room = byte;
            }
            len += 1;
        }
        let here = place.as_ref().map_or(from, Held::fd);
        let next = match CStr::from_bytes_until_nul(&name) {
            Ok(name) if len < 256 => sys::open_at(here, name, libc::O_PATH | libc::O_NOFOLLOW),
            _ => Err(ENOENT),
        };
        match next {
            Ok(next) => place = Some(next),
            Err(ENOENT | ENOTDIR | ESTALE) => {
                return Ok(Walked {
                    place,
                    arrived: false,
                });
            }
            Err(errno) => {
                return Err(Failed {
                    call: Call::Open,
                    errno,
                });
            }
        }
    }
    Ok(Walked {
        place,
        arrived: true,
    })
}

/// What mountinfo says without the escapes: `\040` and the like, which stand for space, tab,
/// newline and backslash (proc_pid_mountinfo(5)).
pub(super) struct Unescaped<'a>(pub(super) &'a [u8]);

impl Iterator for Unescaped<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let [
            b'\\',
            a @ b'0'..=b'3',
            b @ b'0'..=b'7',
            c @ b'0'..=b'7',
            behind @ ..,
        ] = self.0
        {
            self.0 = behind;
            return Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
        }
        let (first, behind) = self.0.split_first()?;
        self.0 = behind;
        Some(*first)
    }
}

/// Calls `act` with each mount of this process's mount namespace that its root leads to.
fn each_mount(mut act: impl FnMut(&Line<'_>) -> Result<()>) -> Result<()> {
    let file =
        sys::open_at(AT_FDCWD, c"/proc/self/mountinfo", libc::O_RDONLY).named(Call::MountInfo)?;
    let mut reader = Reader::new();
    let mut buffer = [0; 2048];
    loop {
        let read = sys::read(file.fd(), &mut buffer).named(Call::MountInfo)?;
        if read.is_empty() {
            return Ok(());
        }
        for byte in read {
            if reader.push(*byte) {
                act(&reader.line())?;
                reader.next_line();
            }
        }
    }
}

/// A line of mountinfo, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    id: u64,
    parent: u64,
    /// Where it is mounted, as seen from the root of this process; escaped.
    point: &'a [u8],
    /// Whether `point` is only the beginning of it.
    cut: bool,
    /// Those of [`KEPT`] that it has.
    flags: u64,
}

impl<'a> Line<'a> {
    /// The rest of the mount point if it is inside of the directory `name` of the root.
    fn inside(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.point
            .strip_prefix(b"/")?
            .strip_prefix(name)?
            .strip_prefix(b"/")
    }
}

/// Puts lines of mountinfo together from bytes: no line has to fit into memory, of which this
/// child has little.
struct Reader {
    /// How many spaces there were in this line.
    field: usize,
    numbers: [u64; 2],
    point: [u8; Self::LONGEST],
    len: usize,
    cut: bool,
    option: [u8; 16],
    option_len: usize,
    flags: u64,
}

impl Reader {
    /// Escaped, a path has up to four times the bytes; few have many.
    const LONGEST: usize = 8192;

    fn new() -> Self {
        Self {
            field: 0,
            numbers: [0; 2],
            point: [0; Self::LONGEST],
            len: 0,
            cut: false,
            option: [0; 16],
            option_len: 0,
            flags: 0,
        }
    }

    fn next_line(&mut self) {
        self.field = 0;
        self.numbers = [0; 2];
        self.len = 0;
        self.cut = false;
        self.option_len = 0;
        self.flags = 0;
    }

    /// Takes a byte, and tells whether it ends a line.
    fn push(&mut self, byte: u8) -> bool {
        // "36 35 98:0 /root /point options [optional fields] - type source super_options"
        match (self.field, byte) {
            (_, b'\n') => {
                self.end_option();
                return true;
            }
            (5, b' ' | b',') => {
                self.end_option();
                self.field += usize::from(byte == b' ');
            }
            (_, b' ') => self.field += 1,
            (0 | 1, _) => {
                let number = &mut self.numbers[self.field];
                let digit = u64::from(byte.wrapping_sub(b'0'));
                *number = number.wrapping_mul(10).wrapping_add(digit);
            }
            (4, _) => match self.point.get_mut(self.len) {
                Some(room) => {
                    *room = byte;
                    self.len += 1;
                }
                None => self.cut = true,
            },
            (5, _) => {
                if let Some(room) = self.option.get_mut(self.option_len) {
                    *room = byte;
                }
                self.option_len += 1;
            }
            _ => {}
        }
        false
    }

    fn end_option(&mut self) {
        let option = self.option.get(..self.option_len).unwrap_or_default();
        for (name, flag) in KEPT {
            if option == name {
                self.flags |= flag;
            }
        }
        self.option_len = 0;
    }

    fn line(&self) -> Line<'_> {
        Line {
            id: self.numbers[0],
            parent: self.numbers[1],
            point: self.point.get(..self.len).unwrap_or_default(),
            cut: self.cut,
            flags: self.flags,
        }
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    /// Id, parent, mount point, whether it is cut, flags.
    type Seen = (u64, u64, Vec<u8>, bool, u64);

    fn lines(text: &[u8]) -> Vec<Seen> {
        let mut reader = Reader::new();
        let mut seen = Vec::new();
        for byte in text {
            if reader.push(*byte) {
                let line = reader.line();
                let point = line.point.to_vec();
                seen.push((line.id, line.parent, point, line.cut, line.flags));
                reader.next_line();
            }
        }
        seen
    }

    #[test]
    fn lines_are_put_together() {
        const ALL: u64 = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        for (text, id, parent, point, flags) in [
            (
                "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root ro,nosuid",
                36,
                35,
                "/mnt2",
                0,
            ),
            (
                "1 0 0:2 / / ro - rootfs rootfs rw",
                1,
                0,
                "/",
                libc::MS_RDONLY,
            ),
            (
                "9 8 0:2 /a /b\\040c ro,nosuid,nodev,noexec,relatime shared:7 - t s o",
                9,
                8,
                "/b\\040c",
                ALL,
            ),
            (
                "9 8 0:2 / /b rw,nosymfollow - t s ro",
                9,
                8,
                "/b",
                NOSYMFOLLOW,
            ),
            // Words that only resemble.
            (
                "9 8 0:2 / /b rw,nosuidx,xnodev,noexecnoexecnoexecnoexec - t s ro",
                9,
                8,
                "/b",
                0,
            ),
            ("9 8 0:2 / /b ro", 9, 8, "/b", libc::MS_RDONLY),
            (
                "4294967297 2147483648 0:2 / /b rw - t s o",
                4_294_967_297,
                2_147_483_648,
                "/b",
                0,
            ),
        ] {
            let expected = (id, parent, point.as_bytes().to_vec(), false, flags);
            // Twice: nothing of a line is left for the next one.
            let both = lines(format!("{text}\n{text}\n").as_bytes());
            assert_eq!(both, [expected.clone(), expected], "{text:?}");
        }
        assert_eq!(lines(b"1 2 3 / /not-ended rw"), []);
        for rubbish in [&[b' '; 5000][..], &[0xff; 100_000], b"\n\n\n", b"x y z\n"] {
            let _ = lines(rubbish);
        }
    }

    #[test]
    fn a_path_that_is_too_long_is_known_to_be_cut() {
        let long = "x".repeat(Reader::LONGEST);
        let text = format!("5 4 0:1 / /stage/{long} ro - t s o\n6 4 0:1 / /short rw - t s o\n");
        let seen = lines(text.as_bytes());
        let (id, .., cut, flags) = &seen[0];
        assert_eq!((*id, *cut, *flags), (5, true, libc::MS_RDONLY));
        assert_eq!(seen[1], (6, 4, b"/short".to_vec(), false, 0));
        // The root of a file system may have any length: it is not kept.
        let text = format!("5 4 0:1 /{long}{long} /a ro - t s o\n");
        assert_eq!(lines(text.as_bytes())[0].2, b"/a");
    }

    #[test]
    fn what_is_inside_is_told_from_what_begins_alike() {
        let inside = |point: &'static str| {
            let line = Line {
                id: 0,
                parent: 0,
                point: point.as_bytes(),
                cut: false,
                flags: 0,
            };
            line.inside(b"stage")
        };
        assert_eq!(inside("/stage/a/b"), Some(&b"a/b"[..]));
        for outside in ["/stage", "/stages/a", "/a/stage/b", "stage/a", "/", ""] {
            assert_eq!(inside(outside), None, "{outside}");
        }
    }

    #[test]
    fn descriptors_have_paths() {
        for (fd, path) in [
            (0, c"/proc/self/fd/0"),
            (7, c"/proc/self/fd/7"),
            (1_048_576, c"/proc/self/fd/1048576"),
            (Fd::MAX, c"/proc/self/fd/2147483647"),
        ] {
            assert_eq!(fd_path(fd, &mut [0xff; 32]), path);
        }
    }

    #[test]
    fn paths_are_followed_as_far_as_they_lead() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a b/c")).unwrap();
        std::os::unix::fs::symlink("a b", dir.path().join("link")).unwrap();
        let path = std::ffi::CString::new(dir.path().to_str().unwrap()).unwrap();
        let root = sys::open(&path, libc::O_PATH).unwrap();
        let led = |path: &str| {
            let walked = walk(root.fd(), path.as_bytes()).ok().unwrap();
            let here = walked.place.as_ref().map_or(root.fd(), Held::fd);
            let found = std::fs::read_link(format!("/proc/self/fd/{here}")).unwrap();
            let rest = found.strip_prefix(dir.path()).unwrap().to_owned();
            (rest.to_str().unwrap().to_owned(), walked.arrived)
        };
        let long = "n".repeat(255);
        for (path, place, arrived) in [
            ("", "", true),
            ("a\\040b", "a b", true),
            ("a\\040b/c", "a b/c", true),
            ("a\\040b//c/", "a b/c", true),
            ("a\\040b/missing/c", "a b", false),
            ("link", "link", true),
            ("link/c", "link", false),
            (&*format!("a\\040b/{long}"), "a b", false),
            (&*format!("a\\040b/{long}n"), "a b", false),
            ("a\\000b", "", false),
        ] {
            assert_eq!(led(path), (place.to_owned(), arrived), "{path:?}");
        }
    }

    #[test]
    fn a_mount_that_is_not_where_it_was_listed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("there")).unwrap();
        let path = std::ffi::CString::new(dir.path().to_str().unwrap()).unwrap();
        let tree = sys::open(&path, libc::O_PATH).unwrap();
        let here = sys::mount_id(tree.fd(), c"").unwrap();
        let done = |path: &str, parent| {
            let line = Line {
                id: u64::MAX,
                parent,
                point: b"",
                cut: false,
                flags: 0,
            };
            let done = remount_below(tree.fd(), path.as_bytes(), &line, libc::MS_RDONLY);
            done.map_err(|failed| (failed.call, failed.errno))
        };
        // Directories were renamed: it is somewhere in the mount that was reached.
        let changed = Err((Call::Open, ESTALE));
        assert_eq!(done("there", here), changed);
        assert_eq!(done("gone", here), changed);
        assert_eq!(done("gone/below", here), changed);
        // Another mount lies over it, and is what was reached.
        assert_eq!(done("there", here + 1), Ok(()));
        assert_eq!(done("gone", here + 1), Ok(()));
    }

    #[test]
    fn every_mount_of_this_process_is_seen() {
        let text = std::fs::read("/proc/self/mountinfo").unwrap();
        let mut seen = Vec::new();
        let done = each_mount(|line| {
            seen.push((line.id, line.point.to_vec()));
            Ok(())
        });
        assert_eq!(done.ok(), Some(()));
        let expected: Vec<(u64, Vec<u8>)> = text
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
                let id = std::str::from_utf8(fields[0]).unwrap().parse().unwrap();
                (id, fields[4].to_vec())
            })
            .collect();
        assert_eq!(seen, expected);
    }
}
