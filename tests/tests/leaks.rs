//! What starts leave behind in the caller. One test, because it counts what its process has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::time::Duration;

use sandboxlib::{End, Limit, Network, Root, Sandbox, SandboxPath};
use sandboxlib_tests::TinyRoot;

#[test]
fn starts_good_and_bad_leave_no_descriptor_process_or_mount() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = Sandbox::new(Root::Dir(root.path().into()))
        .read_only()
        .usual_mounts()
        .network(Network::Shared)
        .backends(["userns"])
        .prepare()
        .unwrap();
    let round = || {
        assert!(prepared.command("true").output().unwrap().outcome.success());
        assert!(prepared.command("no-such-command").spawn().is_err());
        let nowhere = SandboxPath::new("/no/such/directory").unwrap();
        assert!(prepared.command("true").cwd(nowhere).spawn().is_err());
        let outcome = prepared
            .command("sleep")
            .arg("1000")
            .timeout(Duration::from_millis(1))
            .status()
            .unwrap();
        assert_eq!(outcome.end, End::Limit(Limit::Wall));
        drop(prepared.command("sleep").arg("1000").spawn().unwrap());
    };
    // The init program is kept open from the first start on.
    round();
    let before = seen();
    for _ in 0..25 {
        round();
    }
    assert_eq!(seen(), before);
}

/// The numbers of descriptors, of mappings that look like stacks of children, and of mounts, and
/// the children of this process.
fn seen() -> (usize, usize, usize, usize) {
    let count = |path: &str| fs::read_to_string(path).unwrap().lines().count();
    let me = std::process::id().to_string();
    let children = fs::read_dir("/proc")
        .unwrap()
        .filter_map(Result::ok)
        .filter_map(|e| fs::read_to_string(e.path().join("stat")).ok())
        .filter(|stat| {
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            after_name.split_whitespace().nth(1) == Some(me.as_str())
        })
        .count();
    let anonymous = fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .filter(|line| line.split_whitespace().count() == 5 && line.contains(" ---p "))
        .count();
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
    (
        descriptors,
        anonymous,
        count("/proc/self/mountinfo"),
        children,
    )
}
