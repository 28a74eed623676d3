//! The behaviour that all backends share, of each backend of this repository.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "part of the tests, where a surprise ends the test"
)]

mod userns {
    sandboxlib_conformance::conformance!(sandboxlib::userns::Userns);
}

mod chroot {
    sandboxlib_conformance::conformance!(sandboxlib::chroot::Chroot);
}

/// Under a filter that answers ENOSYS for mount_setattr(2), as kernels before 5.12 do.
#[test]
fn all_of_it_without_mount_setattr() {
    let Some(filter) = sandboxlib_tests::Filter::build() else {
        return;
    };
    let mut line = std::process::Command::new(filter.path());
    line.arg("--no-mount-setattr")
        .arg(std::env::current_exe().unwrap())
        .args(["--nocapture", "--test-threads=2", "userns::", "chroot::"]);
    let mut expected = 2 * sandboxlib_conformance::cases().count();
    let (uid, _) = sandboxlib::spawn::caller_ids();
    if uid != 0 {
        // Nobody but root has filters without no_new_privs, with which newuidmap is of no use.
        line.arg("--skip=userns::a_range_of_ids");
        expected -= 1;
    }
    let done = line.output().unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{out}");
    assert!(out.contains(&format!("ok. {expected} passed")), "{out}");
    for skipped in out.lines().filter(|line| line.starts_with("SKIP: ")) {
        println!("{skipped}");
    }
}

/// An ordinary user has no chroot(2): then every case is refused, none is run.
#[test]
fn chroot_refuses_everything_to_an_ordinary_user() {
    use sandboxlib::core::Backend as _;
    use sandboxlib_conformance::{Verdict, cases, run};

    let facts = sandboxlib::core::HostFacts::linux(1000, 1000);
    let why = sandboxlib::chroot::Chroot.support(&facts);
    assert!(why.usable().is_err(), "{why:?}");
    // As root it is the backend above that is run.
    let (uid, _) = sandboxlib::spawn::caller_ids();
    if uid == 0 {
        return;
    }
    for case in cases() {
        match run(case, &sandboxlib::chroot::Chroot) {
            Ok(Verdict::Refused(reason)) => assert!(reason.contains("needs root"), "{reason}"),
            Ok(Verdict::NoProbe) => {}
            other => assert_eq!(format!("{other:?}"), "a refusal", "{}", case.name),
        }
    }
}
