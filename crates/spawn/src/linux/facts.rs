//! The facts about a Linux host. Gathered before every run, so each costs at most a few system
//! calls, and what is rarely needed is looked for only when it is.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use caps::CapSet as Kind;
use sandboxlib_config::{Config, Seccomp};
use sandboxlib_core::{CapSet, HostFacts, IdRange, KernelVersion, Subordinate};

use super::{landlock, limits};

/// More than any of the files read here has, and little enough to be read in one go.
const LARGEST: u64 = 16 << 20;

/// What is known about the host and the caller, as far as `config` needs it.
#[must_use]
pub fn facts(config: &Config) -> HostFacts {
    let uid = nix::unistd::geteuid().as_raw();
    let mut facts = HostFacts::linux(uid, nix::unistd::getegid().as_raw());
    facts.capabilities = effective_capabilities();
    let mut buffer = [0; 64];
    let mut value = |path: &str| Some(trimmed(small(path, &mut buffer)?).to_vec());
    facts.kernel = value("/proc/sys/kernel/osrelease").and_then(|v| kernel_version(&v));
    facts.max_user_namespaces =
        value("/proc/sys/user/max_user_namespaces").and_then(|v| number(&v));
    let mut switch = |path| value(path).and_then(|v| number::<u64>(&v)).map(|n| n != 0);
    facts.unprivileged_userns_clone = switch("/proc/sys/kernel/unprivileged_userns_clone");
    facts.apparmor_restricts_userns =
        switch("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    if facts.apparmor_restricts_userns == Some(true) {
        // The second is where it was before several security modules could be active.
        let label =
            value("/proc/self/attr/apparmor/current").or_else(|| value("/proc/self/attr/current"));
        facts.apparmor_unconfined = label.map(|label| unconfined(&label));
    }
    facts.landlock = landlock::abi().unwrap_or(0);
    // The others can map nothing but their own ids, which are in the map or there is no hope.
    if facts.capabilities.contains(CapSet::SETUID) {
        read_id_maps(&mut facts);
        facts.setgroups = value("/proc/self/setgroups").is_none_or(|v| v != b"deny");
    }
    if config.seccomp != Seccomp::None || !config.allow_nested {
        facts.seccomp = Some(super::doctor::filter_action(libc::SECCOMP_RET_ERRNO).is_ok());
    }
    if config.limits.counts_the_tree() {
        facts.cgroups = limits::cgroups(config);
        facts.proc_tells = Some(limits::proc_tells());
    }
    if config.ids.has_range() {
        facts.subordinate = Some(subordinate(uid));
    }
    facts
}

/// The version of the kernel.
pub(super) fn kernel() -> Option<KernelVersion> {
    kernel_version(trimmed(small("/proc/sys/kernel/osrelease", &mut [0; 64])?))
}

/// Replaces the maps by those of the user namespace that the caller lives in.
pub(super) fn read_id_maps(facts: &mut HostFacts) {
    let map = |path: &str| {
        whole(path)
            .map(|text| id_map(&text))
            .filter(|map| !map.is_empty())
    };
    if let Some(map) = map("/proc/self/uid_map") {
        facts.uid_map = map;
    }
    if let Some(map) = map("/proc/self/gid_map") {
        facts.gid_map = map;
    }
}

fn effective_capabilities() -> CapSet {
    // It fails for no reason but a filter; then the kernel is asked when it comes to it, and
    // nothing is promised.
    let found = caps::read(None, Kind::Effective).unwrap_or_default();
    CapSet::from_bits(
        found
            .iter()
            .fold(0, |bits, capability| bits | capability.bitmask()),
    )
}

/// The first bytes of a file that has few.
fn small<'a>(path: &str, buffer: &'a mut [u8; 64]) -> Option<&'a [u8]> {
    let read = File::open(path).ok()?.read(buffer).ok()?;
    buffer.get(..read)
}

/// All of a file; nothing of one that is too large to be what it should be.
pub(super) fn whole(path: impl AsRef<Path>) -> Option<Vec<u8>> {
    // Room for what most of them have: then one read gets it and one finds the end.
    let mut text = Vec::with_capacity(1024);
    let read = File::open(path)
        .ok()?
        .take(LARGEST + 1)
        .read_to_end(&mut text)
        .ok()?;
    (u64::try_from(read).ok()? <= LARGEST).then_some(text)
}

fn trimmed(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// Whether an AppArmor label is that of a program without a profile. One with a profile that
/// allows everything is `NAME (unconfined)`.
fn unconfined(label: &[u8]) -> bool {
    trimmed(label.split(|b| *b == 0).next().unwrap_or_default()) == b"unconfined"
}

/// A decimal number and nothing else.
pub(super) fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    // FromStr takes a leading plus sign, and these files have none.
    if !text.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The first two numbers of `6.18.44-generic`.
fn kernel_version(release: &[u8]) -> Option<KernelVersion> {
    let mut parts = release.splitn(3, |b| *b == b'.');
    let major = number(parts.next()?)?;
    let minor = parts.next()?;
    let digits = minor.iter().take_while(|b| b.is_ascii_digit()).count();
    Some(KernelVersion(major, number(minor.get(..digits)?)?))
}

/// A uid or gid map (user_namespaces(7)). Lines that are none are left out.
fn id_map(text: &[u8]) -> Vec<IdRange> {
    let line = |line: &[u8]| {
        let mut fields = line
            .split(u8::is_ascii_whitespace)
            .filter(|f| !f.is_empty());
        let mut next = || number(fields.next()?);
        let range = IdRange {
            inside: next()?,
            outside: next()?,
            count: next()?,
        };
        (fields.next().is_none() && range.count > 0).then_some(range)
    };
    text.split(|b| *b == b'\n').filter_map(line).collect()
}

fn subordinate(uid: u32) -> Subordinate {
    // Not by getpwuid: that loads libraries (NSS), which a static program cannot and a threaded
    // one should not before it makes a child.
    let name = whole("/etc/passwd").and_then(|text| user_name(&text, uid).map(<[u8]>::to_vec));
    let ranges = |path| {
        let text = whole(path).unwrap_or_default();
        subordinate_ranges(&text, name.as_deref(), uid)
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    Subordinate {
        uids: ranges("/etc/subuid"),
        gids: ranges("/etc/subgid"),
        newuidmap: find_program("newuidmap", &path),
        newgidmap: find_program("newgidmap", &path),
    }
}

/// The name of a user in passwd(5).
fn user_name(passwd: &[u8], uid: u32) -> Option<&[u8]> {
    passwd.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let name = fields.next()?;
        let found: u32 = number(fields.nth(1)?)?;
        // A line of NIS begins with a sign, and a comment is no name.
        let is_name = name
            .first()
            .is_some_and(|b| !matches!(b, b'+' | b'-' | b'#'));
        (found == uid && is_name).then_some(name)
    })
}

/// The ranges that subuid(5) or subgid(5) grants a user, who is named there by name or by number.
/// Ranges that are empty or reach beyond the last id are left out.
fn subordinate_ranges(text: &[u8], name: Option<&[u8]>, uid: u32) -> Vec<(u32, u32)> {
    text.split(|b| *b == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|b| *b == b':');
            let owner = fields.next()?;
            let first: u32 = number(fields.next()?)?;
            let count: u32 = number(trimmed(fields.next()?))?;
            let mine = Some(owner) == name || number(owner) == Some(uid);
            // The id u32::MAX stands for no id.
            let fits = count > 0 && first.checked_add(count).is_some();
            (mine && fits && fields.next().is_none()).then_some((first, count))
        })
        .collect()
}

/// An executable file of that name in the absolute directories of `path`, or in /usr/bin.
pub(super) fn find_program(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .chain([PathBuf::from("/usr/bin")])
        .map(|dir| dir.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use sandboxlib_config::{Ids, Root};

    #[test]
    fn numbers_are_digits() {
        for (text, expected) in [
            ("0", Some(0)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("+1", None),
            ("-1", None),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("1x", None),
        ] {
            assert_eq!(number::<u32>(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(number::<u32>(b"1\xff"), None);
    }

    #[test]
    fn kernel_versions() {
        for (text, expected) in [
            ("6.18.44-fc-v669", Some((6, 18))),
            ("5.10.0-28-cloud-amd64", Some((5, 10))),
            ("6.1", Some((6, 1))),
            ("7.2-rc1", Some((7, 2))),
            ("4.4.0", Some((4, 4))),
            ("6.18+", Some((6, 18))),
            ("6", None),
            ("6.", None),
            ("6.x", None),
            (".1", None),
            ("", None),
            ("99999999999.1", None),
            ("Linux 6.1", None),
        ] {
            let expected = expected.map(|(a, b)| KernelVersion(a, b));
            assert_eq!(kernel_version(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn labels_of_apparmor() {
        for (label, expected) in [
            (&b"unconfined"[..], true),
            (b"unconfined\n", true),
            (b"unconfined\n\0", true),
            (b"run-sandbox (unconfined)", false),
            (b"unconfined (enforce)", false),
            (b"/usr/bin/run-sandbox (enforce)", false),
            (b"unconfined_u:unconfined_r:unconfined_t:s0", false),
            (b"", false),
        ] {
            assert_eq!(unconfined(label), expected, "{}", label.escape_ascii());
        }
    }

    #[test]
    fn id_maps() {
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        for (text, expected) in [
            (
                "         0          0 4294967295\n",
                vec![range(0, 0, u32::MAX)],
            ),
            (
                "0 1000 1\n1 100000 65536\n",
                vec![range(0, 1000, 1), range(1, 100_000, 65536)],
            ),
            ("0 1000 1", vec![range(0, 1000, 1)]),
            ("0\t1000\t1", vec![range(0, 1000, 1)]),
            ("", vec![]),
            ("\n\n", vec![]),
            ("0 1000", vec![]),
            ("0 1000 1 1", vec![]),
            ("0 1000 0", vec![]),
            ("0 1000 -1", vec![]),
            ("0 4294967296 1", vec![]),
            ("x y z\n5 6 7\n", vec![range(5, 6, 7)]),
        ] {
            assert_eq!(id_map(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(id_map(&[0xff; 1000]), []);
        assert_eq!(id_map("1 2 3\n".repeat(100_000).as_bytes()).len(), 100_000);
    }

    #[test]
    fn user_names() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\n#old:x:7:7::/:\n+nis:x:7:7::/:\n\
            b\xffn:x:1000:1000::/:\nsecond:x:1000:1000::/:\nshort:x\nbad:x:12x:1::/:\n:x:9:9::/:\n\
            last:x:2000";
        for (uid, expected) in [
            (0, Some(&b"root"[..])),
            (1000, Some(b"b\xffn")),
            (2000, Some(b"last")),
            (7, None),
            (9, None),
            (12, None),
            (3, None),
        ] {
            assert_eq!(user_name(passwd, uid), expected, "{uid}");
        }
        assert_eq!(user_name(b"", 0), None);
        assert_eq!(user_name(&b":".repeat(1 << 20), 0), None);
    }

    #[test]
    fn subordinate_ids() {
        let of = |text: &[u8]| subordinate_ranges(text, Some(b"ann"), 1000);
        for (text, expected) in [
            (&b"ann:100000:65536\n"[..], vec![(100_000, 65536)]),
            (
                b"bob:1:2\nann:5:6\n1000:7:8\nann:9:10",
                vec![(5, 6), (7, 8), (9, 10)],
            ),
            (b"ann:100000:65536 \r\n", vec![(100_000, 65536)]),
            (b"ann2:1:2\n10000:1:2\nan:1:2\n", vec![]),
            (b"ann:1\nann\nann:\nann::\nann:1:\nann::1\n", vec![]),
            (b"ann:1:2:3\n", vec![]),
            (b"ann:1:0\n", vec![]),
            (b"ann:4294967295:1\n", vec![]),
            (b"ann:4294967294:1\n", vec![(4_294_967_294, 1)]),
            (b"ann:1:4294967295\n", vec![]),
            (b"ann:-1:5\nann:+1:5\nann:0x1:5\n", vec![]),
            (b"# ann:1:2\n\xff:1:2\n\n\n", vec![]),
            (b"", vec![]),
        ] {
            assert_eq!(of(text), expected, "{}", text.escape_ascii());
        }
        // Without a name, an empty owner is nobody.
        assert_eq!(subordinate_ranges(b":1:2\n1000:3:4", None, 1000), [(3, 4)]);
        assert_eq!(of(&b"ann:100000:65536\n".repeat(50_000)).len(), 50_000);
        assert_eq!(of(&vec![b'a'; 1 << 20]), []);
    }

    #[test]
    fn programs_are_found_in_absolute_directories() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("plain"), "").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(at("tool"), "").unwrap();
        std::fs::set_permissions(at("tool"), PermissionsExt::from_mode(0o755)).unwrap();
        let path = std::env::join_paths([Path::new("."), Path::new(""), dir.path()]).unwrap();
        assert_eq!(find_program("tool", &path), Some(at("tool")));
        assert_eq!(find_program("plain", &path), None);
        assert_eq!(find_program("folder", &path), None);
        assert_eq!(find_program("tool", OsStr::new("")), None);
        assert_eq!(
            find_program("env", OsStr::new("")),
            Some("/usr/bin/env".into())
        );
    }

    #[test]
    fn files_that_are_too_large_or_missing_are_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LARGEST + 1).unwrap();
        assert_eq!(whole(file.path()), None);
        file.as_file().set_len(3).unwrap();
        assert_eq!(whole(file.path()), Some(vec![0; 3]));
        assert_eq!(whole("/nonexistent"), None);
        assert_eq!(whole("/"), None);
    }

    #[test]
    fn this_host_has_facts() {
        let config = Config::new(Root::Host);
        let found = facts(&config);
        assert_eq!(found.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(found.subordinate, None);
        assert!(found.kernel.is_some_and(|v| v > KernelVersion(3, 0)));
        // The bits agree with what /proc says.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("CapEff:\t"))
            .unwrap();
        assert_eq!(
            found.capabilities.bits(),
            u64::from_str_radix(line, 16).unwrap()
        );
        let mut config = config;
        config.ids = Ids::SUBORDINATE;
        assert!(facts(&config).subordinate.is_some());
    }
}
