//! Finding the cause of a failure, when there has been one: here time does not matter.

use std::ffi::{CStr, CString};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sandboxlib_core::{Diagnosis, FailedStep, HostFacts, MapWriter, SYSCTLS, Step};
use sandboxlib_mount::{BindSource, PlanStep};

use super::facts::{number, read_id_maps, whole};
use super::remount::Unescaped;

/// Looks for what may have made `step` fail.
#[must_use]
pub fn diagnose(facts: HostFacts, step: &FailedStep) -> Diagnosis {
    diagnose_command(facts, step, None)
}

/// As [`diagnose`]; `command` is where the program of [`FailedStep::Exec`] is on the host, if
/// that is known. It is looked at, never executed.
#[must_use]
pub fn diagnose_command(
    mut facts: HostFacts,
    step: &FailedStep,
    command: Option<&Path>,
) -> Diagnosis {
    read_id_maps(&mut facts);
    let mut d = Diagnosis::new(facts);
    for name in SYSCTLS {
        if let Some(value) = whole(sysctl_path(name)) {
            d.sysctls.insert((*name).to_owned(), text(&value));
        }
    }
    let status = whole("/proc/self/status");
    d.proc_missing = status.is_none();
    let status = status.unwrap_or_default();
    // 1 is the strict mode, in which nothing of this could run.
    d.filtered = status_field(&status, "Seccomp") == Some(2);
    d.no_new_privs = status_field(&status, "NoNewPrivs") == Some(1);
    d.label = whole("/proc/self/attr/current")
        .map(|l| label(&l))
        .filter(|label| !label.is_empty());
    if !d.proc_missing {
        d.missing_namespaces = ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup", "time"]
            .into_iter()
            .filter(|kind| {
                Path::new("/proc/self/ns")
                    .join(kind)
                    .symlink_metadata()
                    .is_err()
            })
            .collect();
    }
    let about = relevant(step, command);
    let mounts = whole("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mountinfo(&mounts);
    if !mounts.is_empty() {
        d.proc_masked = is_masked(&mounts);
        let root = mounts.iter().rev().find(|m| m.point == b"/");
        d.chrooted = root.is_none();
        d.initial_root = root.is_some_and(|m| m.kind == b"rootfs");
        d.mount_options = about
            .and_then(mount_id)
            .and_then(|id| mounts.iter().find(|m| m.id == id).map(|m| text(m.options)));
    }
    if let FailedStep::Script { step, .. } = step
        && let Step::IdMap {
            writer:
                MapWriter::Helpers {
                    newuidmap,
                    newgidmap,
                },
            ..
        } = &**step
    {
        d.powerless_helper = [newuidmap, newgidmap]
            .into_iter()
            .find(|p| is_powerless(p))
            .cloned();
    }
    d.foreign = command.and_then(head).and_then(|head| foreign(&head));
    d
}

/// A label without the NUL and the line end that some modules put behind it.
fn label(bytes: &[u8]) -> String {
    let is_text = |b: &u8| *b != 0 && !b.is_ascii_whitespace();
    let end = bytes.iter().rposition(is_text).map_or(0, |last| last + 1);
    text(&bytes[..end])
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref().trim_ascii()).into_owned()
}

/// `user.max_user_namespaces` is user/max_user_namespaces. No name of [`SYSCTLS`] has a dot in a
/// component.
fn sysctl_path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}

/// A number in /proc/PID/status.
fn status_field(status: &[u8], name: &str) -> Option<u32> {
    status.split(|b| *b == b'\n').find_map(|line| {
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        number(value.trim_ascii())
    })
}

/// A line of /proc/PID/mountinfo, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount<'a> {
    id: u64,
    /// Where it is mounted, as seen from the caller's root.
    pub(super) point: Vec<u8>,
    /// The options of this mount, not those of the file system.
    options: &'a [u8],
    /// The type of the file system.
    pub(super) kind: &'a [u8],
}

/// Parses mountinfo (proc_pid_mountinfo(5)). Lines that are none are left out.
pub(super) fn mountinfo(text: &[u8]) -> Vec<Mount<'_>> {
    text.split(|b| *b == b'\n').filter_map(mount_line).collect()
}

fn mount_line(line: &[u8]) -> Option<Mount<'_>> {
    // "36 35 98:0 /root /point options [optional fields] - type source super_options"
    let mut fields = line.split(|b| *b == b' ');
    let id = number(fields.next()?)?;
    let point = Unescaped(fields.nth(3)?).collect();
    let options = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let kind = fields.next().filter(|kind| !kind.is_empty())?;
    Some(Mount {
        id,
        point,
        options,
        kind,
    })
}

/// Whether a new procfs in a user namespace would reveal more than the caller's, in the eyes of
/// the kernel (`mnt_already_visible`): mounts cover parts of it, or it is read-only. Directories
/// that are made to be mounted upon hide nothing.
fn is_masked(mounts: &[Mount<'_>]) -> bool {
    const EMPTY: [&[u8]; 4] = [
        b"/proc/sys/fs/binfmt_misc",
        b"/proc/fs/nfsd",
        b"/proc/xen",
        b"/proc/openprom",
    ];
    mounts.iter().any(|m| {
        let covers = m.point.starts_with(b"/proc/") && !EMPTY.contains(&&m.point[..]);
        let read_only = m.point == b"/proc"
            && m.kind == b"proc"
            && m.options
                .split(|b| *b == b',')
                .any(|option| option == b"ro");
        covers || read_only
    })
}

/// The path on the host that a step was about.
fn relevant<'a>(step: &'a FailedStep, command: Option<&'a Path>) -> Option<&'a Path> {
    match step {
        FailedStep::Exec { .. } => command,
        FailedStep::Helper(path) => Some(path),
        FailedStep::Script { step, .. } => match &**step {
            Step::IdMap {
                writer: MapWriter::Helpers { newuidmap, .. },
                ..
            } => Some(newuidmap),
            Step::ChrootTo(path) => Some(path),
            Step::Mount(PlanStep::Root { source, .. }) => Some(source),
            Step::Mount(PlanStep::Bind {
                from: BindSource::Host(path),
                ..
            }) => Some(path),
            _ => None,
        },
        _ => None,
    }
}

/// The mount that a path is on. Asked of the kernel, since comparing paths goes wrong where
/// links lead elsewhere or one mount hides another.
fn mount_id(path: &Path) -> Option<u64> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
        .ok()?;
    let info = whole(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    info.split(|b| *b == b'\n')
        .find_map(|line| number(line.strip_prefix(b"mnt_id:")?.trim_ascii()))
}

/// Whether executing this file gives no privilege.
fn is_powerless(path: &Path) -> bool {
    let Ok(metadata) = path.metadata() else {
        return false;
    };
    metadata.permissions().mode() & 0o4000 == 0 && !has_capabilities(path)
}

fn has_capabilities(path: &Path) -> bool {
    const NAME: &CStr = c"security.capability";
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: both strings are NUL-terminated and live until the call returns, which keeps no
    // pointer. The size 0 asks for the length alone: nothing is written through the null pointer.
    let length = unsafe { libc::getxattr(path.as_ptr(), NAME.as_ptr(), std::ptr::null_mut(), 0) };
    length > 0
}

/// The beginning of a regular file.
fn head(path: &Path) -> Option<[u8; 20]> {
    // Non-blocking, because it may be a fifo.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    let mut head = [0; 20];
    if file.metadata().ok()?.is_file() {
        file.read_exact(&mut head).ok()?;
    }
    Some(head)
}

/// The processor that an ELF program is for, as qemu names it, if it is not this one.
fn foreign(head: &[u8; 20]) -> Option<&'static str> {
    machine(head).filter(|name| *name != native())
}

fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86" => "i386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// The processor of an ELF header (elf(5), `e_machine`).
fn machine(head: &[u8; 20]) -> Option<&'static str> {
    let [0x7f, b'E', b'L', b'F', class, order, .., low, high] = *head else {
        return None;
    };
    let (wide, big) = (class == 2, order == 2);
    let number = if big {
        u16::from_be_bytes([low, high])
    } else {
        u16::from_le_bytes([low, high])
    };
    Some(match (number, wide, big) {
        (3, false, false) => "i386",
        (62, true, false) => "x86_64",
        (40, false, false) => "arm",
        (40, false, true) => "armeb",
        (183, true, false) => "aarch64",
        (183, true, true) => "aarch64_be",
        (243, true, false) => "riscv64",
        (243, false, false) => "riscv32",
        (258, true, false) => "loongarch64",
        (21, true, false) => "ppc64le",
        (21, true, true) => "ppc64",
        (20, false, true) => "ppc",
        (22, true, true) => "s390x",
        (8, true, false) => "mips64el",
        (8, true, true) => "mips64",
        (8, false, false) => "mipsel",
        (8, false, true) => "mips",
        (43, true, true) => "sparc64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines() {
        for (line, expected) in [
            (
                "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
                Some((36, &b"/mnt2"[..], "rw,noatime", "ext3")),
            ),
            (
                "1 0 0:2 / / rw - rootfs rootfs rw",
                Some((1, b"/", "rw", "rootfs")),
            ),
            (
                "2 1 0:2 / /a\\040b\\012c\\134d\\011 ro shared:1 unbindable - tmpfs a\\040b rw",
                Some((2, b"/a b\nc\\d\t", "ro", "tmpfs")),
            ),
            (
                "3 1 0:2 / /\u{e9}\\777\\08 rw - t s o",
                Some((3, b"/\xc3\xa9\\777\\08", "rw", "t")),
            ),
            ("4 1 0:2 / /x\\04 rw - t", Some((4, b"/x\\04", "rw", "t"))),
            ("5 1 0:2 / /-/- - - t", Some((5, b"/-/-", "-", "t"))),
            ("x 1 0:2 / / rw - t s o", None),
            ("6 1 0:2 / / rw", None),
            ("6 1 0:2 / / rw -", None),
            ("6 1 0:2 / / rw - ", None),
            ("6 1 0:2 /", None),
            ("", None),
        ] {
            let found = mount_line(line.as_bytes());
            let found = found
                .as_ref()
                .map(|m| (m.id, &m.point[..], m.options, m.kind));
            let expected = expected.map(|(i, p, o, k)| (i, p, o.as_bytes(), k.as_bytes()));
            assert_eq!(found, expected, "{line:?}");
        }
        assert_eq!(mountinfo(&[b' '; 100_000]), []);
        assert_eq!(mountinfo(&[0xff; 100_000]), []);
        let many = "1 0 0:2 / /a rw - t s o\n".repeat(100_000);
        assert_eq!(mountinfo(many.as_bytes()).len(), 100_000);
    }

    #[test]
    fn every_prefix_of_a_mountinfo_is_read_without_harm() {
        let text =
            b"36 35 98:0 /m\\040 /p\\134\\040x rw master:1 - ext3 /dev/root rw\n1 0 0:2 / / rw - t";
        for end in 0..text.len() {
            assert!(mountinfo(&text[..end]).len() <= 2);
        }
    }

    #[test]
    fn what_masks_proc() {
        let masked = |lines: &[&str]| is_masked(&mountinfo(lines.join("\n").as_bytes()));
        let proc = "2 1 0:3 / /proc rw,nosuid - proc proc rw";
        assert!(!masked(&[proc]));
        assert!(!masked(&[
            proc,
            "3 2 0:4 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw"
        ]));
        assert!(!masked(&[proc, "3 1 0:4 / /process rw - tmpfs t rw"]));
        assert!(!masked(&[
            proc,
            "3 1 0:4 / /srv/proc/kcore ro - tmpfs t rw"
        ]));
        assert!(masked(&[proc, "3 2 0:3 /sys /proc/sys ro - proc proc rw"]));
        assert!(masked(&[proc, "3 2 0:4 /null /proc/kcore rw - tmpfs t rw"]));
        assert!(masked(&["2 1 0:3 / /proc ro,nosuid - proc proc rw"]));
        assert!(!masked(&["2 1 0:3 / /proc rw,error=ro - proc proc ro"]));
    }

    #[test]
    fn labels() {
        for (bytes, expected) in [
            (
                &b"docker-default (enforce)\n"[..],
                "docker-default (enforce)",
            ),
            (
                b"system_u:system_r:container_t:s0\0",
                "system_u:system_r:container_t:s0",
            ),
            (b"unconfined\n\0", "unconfined"),
            (b"unconfined\0\n", "unconfined"),
            (b"\0\0", ""),
            (b"", ""),
        ] {
            assert_eq!(label(bytes), expected);
        }
    }

    #[test]
    fn status_fields() {
        let status = b"Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t7\nBad:\t-1\nCut:";
        for (name, expected) in [
            ("Seccomp", Some(2)),
            ("NoNewPrivs", Some(1)),
            ("Seccomp_filters", Some(7)),
            ("Bad", None),
            ("Cut", None),
            ("Name", None),
            ("None", None),
        ] {
            assert_eq!(status_field(status, name), expected, "{name}");
        }
    }

    #[test]
    fn machines() {
        let elf = |class, order, machine: [u8; 2]| {
            let mut head = [0; 20];
            head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
            head[18..].copy_from_slice(&machine);
            head
        };
        for (head, expected) in [
            (elf(2, 1, [62, 0]), Some("x86_64")),
            (elf(2, 1, [183, 0]), Some("aarch64")),
            (elf(1, 1, [3, 0]), Some("i386")),
            (elf(2, 2, [0, 22]), Some("s390x")),
            (elf(2, 1, [0, 22]), None),
            (elf(0, 0, [0, 0]), None),
            ([0; 20], None),
            (*b"#!/bin/sh\necho hello", None),
        ] {
            assert_eq!(machine(&head), expected, "{head:?}");
        }
        let this = head(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(machine(&this), Some(native()));
        assert_eq!(foreign(&this), None);
    }

    proptest::proptest! {
        #[test]
        fn a_status_field_is_a_line_of_its_own(
            name in "[A-Za-z:]{1,8}",
            n in proptest::prelude::any::<u32>(),
            before in "[ -~\t]{0,20}",
            behind in proptest::collection::vec(0..=u8::MAX, 0..40),
        ) {
            // A program chooses its name, in which the kernel writes a line end as "\\n".
            let text = format!("Name:\t{before}\n{name}:\t{n}\n");
            let text = [text.as_bytes(), &behind].concat();
            if name != "Name" {
                proptest::prop_assert_eq!(status_field(&text, &name), Some(n));
            }
            let _ = status_field(&behind, &name);
        }

        #[test]
        fn a_label_has_no_end_marks(
            bytes in proptest::collection::vec(0..=u8::MAX, 0..30),
            end in "[\0\n ]{0,4}",
        ) {
            let label = label(&[&bytes, end.as_bytes()].concat());
            proptest::prop_assert!(!label.ends_with(['\0', '\n', ' ']));
            proptest::prop_assert!(label.len() <= 3 * bytes.len());
        }

        #[test]
        fn a_program_is_for_a_machine_or_for_none(
            class in 0..4_u8,
            order in 0..4_u8,
            number in proptest::prelude::any::<[u8; 2]>(),
            head in proptest::prelude::any::<[u8; 20]>(),
        ) {
            let mut elf = head;
            elf[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
            elf[18..].copy_from_slice(&number);
            // The rest of the header has no say.
            let mut plain = [0; 20];
            plain[..6].copy_from_slice(&elf[..6]);
            plain[18..].copy_from_slice(&number);
            proptest::prop_assert_eq!(machine(&elf), machine(&plain));
            if !head.starts_with(b"\x7fELF") {
                proptest::prop_assert_eq!(machine(&head), None);
            }
        }
    }

    #[test]
    fn a_fifo_or_directory_is_no_program() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(head(dir.path()).and_then(|h| machine(&h)), None);
        assert_eq!(head(&dir.path().join("missing")), None);
        std::fs::write(dir.path().join("short"), "x").unwrap();
        assert_eq!(head(&dir.path().join("short")), None);
    }

    #[test]
    fn helpers_have_power_by_a_bit() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("newuidmap");
        std::fs::write(&file, "").unwrap();
        let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        mode(0o755);
        assert!(is_powerless(&file));
        mode(0o4755);
        assert!(!is_powerless(&file));
        // What is missing is missing: that is another cause.
        assert!(!is_powerless(&dir.path().join("missing")));
    }

    #[test]
    fn this_host_is_diagnosed() {
        let facts = HostFacts::linux(0, 0);
        let step = FailedStep::Exec {
            program: "/bin/x".into(),
            problem: sandboxlib_core::ExecProblem::NotExecutable,
        };
        let d = diagnose_command(facts.clone(), &step, Some(Path::new("/proc/self/exe")));
        assert!(!d.proc_missing);
        assert!(
            d.sysctls.contains_key("user.max_user_namespaces"),
            "{:?}",
            d.sysctls
        );
        assert!(d.sysctls.values().all(|v| v.trim() == v));
        assert!(d.mount_options.is_some());
        assert_eq!(d.foreign, None);
        let d = diagnose_command(facts.clone(), &step, Some(Path::new("/proc/self/status")));
        let options = d.mount_options.unwrap();
        assert!(
            options.starts_with("rw") || options.starts_with("ro"),
            "{options}"
        );
        assert_eq!(diagnose(facts, &step).mount_options, None);
    }
}
