//! The behaviour that all backends share, of each backend of this repository.
#![forbid(unsafe_code)]

mod userns {
    sandboxlib_conformance::conformance!(sandboxlib::userns::Userns);
}

mod chroot {
    sandboxlib_conformance::conformance!(sandboxlib::chroot::Chroot);
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
