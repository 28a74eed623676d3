//! Archives that try to get out, one trick each, with a tree beside the target that must stay as
//! it is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

mod support;

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use sandboxlib_image::{EntryProblem, Error, Image, Limit, Report, UnpackOptions, unpack};
use support::{Tar, Yard, gzip, header, listing, name, oci};

fn options() -> UnpackOptions {
    UnpackOptions::default()
}

/// Unpacks, and looks after the canary.
fn run(yard: &Yard, archive: &[u8]) -> Result<Report, Error> {
    yard.clear();
    let result = unpack(archive, yard.target(), &options());
    yard.check("unpacking touched something outside");
    result
}

/// The entry and the problem that an archive is refused for.
#[track_caller]
fn refused(archive: Vec<u8>) -> (Vec<u8>, EntryProblem) {
    let yard = Yard::new();
    match run(&yard, &archive) {
        Err(Error::Entry { entry, problem }) => (entry.as_os_str().as_bytes().to_vec(), problem),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn limited(archive: &[u8], options: &UnpackOptions) -> (Limit, Option<Vec<u8>>) {
    let yard = Yard::new();
    let result = unpack(archive, yard.target(), options);
    yard.check("unpacking touched something outside");
    match result {
        Err(Error::Limit { limit, entry, .. }) => {
            (limit, entry.map(|e| e.as_os_str().as_bytes().to_vec()))
        }
        other => panic!("{other:?}"),
    }
}

macro_rules! assert_refused {
    ($archive:expr, $entry:expr, $problem:pat) => {
        let (entry, problem) = refused($archive);
        assert_eq!(name(&entry), name($entry.as_ref()));
        assert!(matches!(problem, $problem), "{problem:?}");
    };
}

#[test]
fn names_that_go_up_are_refused() {
    for bad in ["../canary/new", "a/../../canary/new", "..", "a/..", "/../x"] {
        assert_refused!(
            Tar::new().file(bad, "x").end(),
            bad,
            EntryProblem::ParentDir
        );
        assert_refused!(Tar::new().dir(bad).end(), bad, EntryProblem::ParentDir);
        assert_refused!(
            Tar::new().symlink(bad, "x").end(),
            bad,
            EntryProblem::ParentDir
        );
        let long = Tar::new().entry(b"L", b'L', b"", 0, bad.as_bytes());
        assert_refused!(long.file("fine", "x").end(), bad, EntryProblem::ParentDir);
        let pax = Tar::new().pax(&[("path", bad.as_bytes())]);
        assert_refused!(pax.file("fine", "x").end(), bad, EntryProblem::ParentDir);
    }
}

#[test]
fn names_that_are_none_are_refused() {
    assert_refused!(Tar::new().file("", "x").end(), "", EntryProblem::EmptyName);
    let pax = Tar::new().pax(&[("path", b"a\0b")]);
    assert_refused!(pax.file("fine", "x").end(), "a\0b", EntryProblem::Nul);
    let link = Tar::new().pax(&[("linkpath", b"a\0b")]);
    assert_refused!(link.symlink("s", "x").end(), "s", EntryProblem::Nul);
    assert_refused!(
        Tar::new().symlink("s", "").end(),
        "s",
        EntryProblem::EmptyLink
    );
}

#[test]
fn the_root_stays_a_directory() {
    let yard = Yard::new();
    let canary = yard.canary();
    let canary = canary.as_os_str().as_bytes();
    for root in [".", "./", "/", "//", "./."] {
        assert_refused!(
            Tar::new().symlink(root, "x").end(),
            root,
            EntryProblem::ReplacesRoot
        );
        let pax = Tar::new().pax(&[("linkpath", canary)]);
        assert_refused!(
            pax.symlink(root, "x").file("file", "x").end(),
            root,
            EntryProblem::ReplacesRoot
        );
        assert_refused!(
            Tar::new().file("f", "").link(root, "f").end(),
            root,
            EntryProblem::ReplacesRoot
        );
    }
}

#[test]
fn absolute_names_are_inside() {
    let yard = Yard::new();
    let victim = yard.canary().join("file");
    let archive = Tar::new().pax(&[("path", victim.as_os_str().as_bytes())]);
    run(&yard, &archive.file("x", "pwned").end()).unwrap();
    let inside = yard.target().join(victim.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(inside).unwrap(), "pwned");
}

#[test]
fn links_on_the_way_lead_inside() {
    let yard = Yard::new();
    let canary = yard.canary();
    let absolute = canary.as_os_str().as_bytes();
    let inside = canary.strip_prefix("/").unwrap().as_os_str().as_bytes();
    // What the link says, and where a file through it ends up.
    let cases: [(&[u8], &[u8]); 5] = [
        (b"../canary", b"canary"),
        (b"../../../../canary", b"canary"),
        (absolute, inside),
        (b"/", b""),
        (b"..", b""),
    ];
    for (to, at) in cases {
        let archive = Tar::new()
            .pax(&[("linkpath", to)])
            .symlink("l", "x")
            .file("l/file", "pwned")
            .dir("l/new/")
            .end();
        run(&yard, &archive).unwrap();
        let file = yard.target().join(name(at)).join("file");
        assert_eq!(fs::read_to_string(file).unwrap(), "pwned");
        assert!(yard.target().join(name(at)).join("new").is_dir());
    }
}

#[test]
fn links_through_links_lead_inside() {
    let yard = Yard::new();
    let archive = Tar::new()
        .dir("a/b")
        .symlink("a/b/up", "../../..")
        .symlink("s", "a/b/up/canary")
        .file("s/file", "pwned")
        .end();
    run(&yard, &archive).unwrap();
    assert_eq!(
        fs::read_to_string(yard.target().join("canary/file")).unwrap(),
        "pwned"
    );
}

#[test]
fn a_later_entry_replaces_and_does_not_write_through() {
    let yard = Yard::new();
    let victim = yard.canary().join("file");
    let victim = victim.as_os_str().as_bytes();
    for to in [victim, b"../canary/file"] {
        let link = || Tar::new().pax(&[("linkpath", to)]).symlink("s", "x");
        run(&yard, &link().file("s", "mine").end()).unwrap();
        assert_eq!(listing(&yard.target())[Path::new("s")], "file mine");
        // By another name, too.
        run(&yard, &link().link("h", "s").file("h", "mine").end()).unwrap();
        assert_eq!(listing(&yard.target())[Path::new("h")], "file mine");
    }
    // A directory that becomes a link before something is put into it, and the other way round.
    let archive = Tar::new()
        .dir("d")
        .file("d/old", "x")
        .symlink("d", "../canary")
        .file("d/file", "mine")
        .dir("d")
        .file("d/new", "y");
    run(&yard, &archive.end()).unwrap();
    let seen = listing(&yard.target());
    assert_eq!(seen[Path::new("canary/file")], "file mine");
    assert_eq!(seen[Path::new("d/new")], "file y");
    assert!(!seen.contains_key(Path::new("d/old")));
}

#[test]
fn a_later_write_does_not_change_what_an_earlier_link_shares() {
    let yard = Yard::new();
    let archive = Tar::new()
        .file("a", "one")
        .link("b", "a")
        .file("a", "two")
        .end();
    run(&yard, &archive).unwrap();
    let seen = listing(&yard.target());
    assert_eq!(seen[Path::new("a")], "file two");
    assert_eq!(seen[Path::new("b")], "file one");
}

#[test]
fn hard_links_stay_inside() {
    let yard = Yard::new();
    let victim = yard.canary().join("file");
    let absolute = victim.as_os_str().as_bytes();
    assert_refused!(
        Tar::new().link("h", "../canary/file").end(),
        "h",
        EntryProblem::LinkOutside(_)
    );
    let archive = Tar::new().pax(&[("linkpath", absolute)]).link("h", "x");
    assert_refused!(archive.end(), "h", EntryProblem::LinkMissing(_));
    for to in [&b"../canary"[..], yard.canary().as_os_str().as_bytes()] {
        let archive = Tar::new()
            .pax(&[("linkpath", to)])
            .symlink("l", "x")
            .link("h", "l/file");
        assert_refused!(archive.end(), "h", EntryProblem::LinkMissing(_));
    }
    assert_refused!(
        Tar::new().dir("d").link("h", "d").end(),
        "h",
        EntryProblem::LinkToDirectory(_)
    );
    assert_refused!(
        Tar::new().link("h", "/").end(),
        "h",
        EntryProblem::LinkToDirectory(_)
    );
    assert_refused!(Tar::new().link("h", "").end(), "h", EntryProblem::EmptyLink);
    // A link to a link is the link, and not what it says.
    let archive = Tar::new().symlink("s", "../canary/file").link("h", "s");
    run(&yard, &archive.end()).unwrap();
    assert_eq!(listing(&yard.target())[Path::new("h")], "-> ../canary/file");
    // To itself: nothing changes.
    run(&yard, &Tar::new().file("f", "x").link("f", "./f").end()).unwrap();
    assert_eq!(listing(&yard.target())[Path::new("f")], "file x");
}

#[test]
fn a_file_on_the_way_is_refused() {
    let archive = Tar::new().file("f", "x").file("f/g", "y");
    assert_refused!(archive.end(), "f/g", EntryProblem::NotADirectory(_));
}

#[test]
fn devices_and_fifos_are_left_out() {
    let yard = Yard::new();
    let mut archive = Tar::new();
    for (n, kind) in b"346Z".iter().enumerate() {
        archive = archive.entry(format!("s{n}").as_bytes(), *kind, b"", 0o666, b"");
    }
    // One that takes the place of a file, and a file that takes the place of one.
    let archive = archive
        .file("f", "x")
        .entry(b"f", b'6', b"", 0o666, b"")
        .file("s0", "y");
    let report = run(&yard, &archive.end()).unwrap();
    let seen = listing(&yard.target());
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[Path::new("s0")], "file y");
    let left: Vec<_> = report.left_out.iter().map(|l| l.what.as_str()).collect();
    assert_eq!(
        left,
        [
            "a character device",
            "a block device",
            "a fifo",
            "of a kind that is not known",
            "a fifo"
        ]
    );
}

#[test]
fn set_id_bits_are_left_out_unless_wanted() {
    let yard = Yard::new();
    let archive = Tar::new()
        .entry(b"su", b'0', b"", 0o6755, b"x")
        .entry(b"mail", b'5', b"", 0o2775, b"")
        .entry(b"tmp", b'5', b"", 0o1777, b"")
        .end();
    let mode = |name: &str| fs::metadata(yard.target().join(name)).unwrap().mode() & 0o7777;
    let report = run(&yard, &archive).unwrap();
    assert_eq!(mode("su"), 0o755);
    assert_eq!(mode("tmp"), 0o1777);
    assert_eq!(mode("mail"), 0o2775);
    assert_eq!(report.left_out.len(), 2);
    assert_eq!(report.left_out[0].path, Path::new("su"));
    yard.clear();
    let mut options = options();
    options.keep_set_id = true;
    let report = unpack(&archive[..], yard.target(), &options).unwrap();
    assert_eq!(mode("su"), 0o6755);
    assert_eq!(report.left_out, []);
}

#[test]
fn attributes_that_the_kernel_acts_upon_are_left_out() {
    let yard = Yard::new();
    let records: [(&str, &[u8]); 4] = [
        ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\n\0\0\0"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.redirect", b"/../canary"),
        ("SCHILY.xattr.user.mime_type", b"text/plain\n"),
    ];
    let archive = Tar::new()
        .pax(&records)
        .file("f", "x")
        .pax(&records)
        .dir("d");
    let report = run(&yard, &archive.end()).unwrap();
    for name in ["f", "d"] {
        let path = yard.target().join(name);
        let left: Vec<_> = report
            .left_out
            .iter()
            .filter(|left| left.path == Path::new(name))
            .map(|left| left.what.as_str())
            .collect();
        let set: Vec<_> = xattr::list(&path).unwrap().collect();
        if set.is_empty() {
            // The file system has none; then it says so.
            assert!(left.contains(&"the attribute user.mime_type"), "{left:?}");
        } else {
            assert_eq!(set, ["user.mime_type"]);
            let value = xattr::get(&path, "user.mime_type").unwrap().unwrap();
            assert_eq!(value, b"text/plain\n");
        }
        for kernel in ["security.capability", "trusted.overlay.opaque"] {
            assert!(left.contains(&format!("the attribute {kernel}").as_str()));
        }
    }
}

#[test]
fn names_need_not_be_text() {
    let yard = Yard::new();
    let archive = Tar::new()
        .file(b"\xff\xfe", "x")
        .dir(b"d\n\x80")
        .symlink(b"l\xc3", b"\xff\xfe")
        .end();
    run(&yard, &archive).unwrap();
    assert_eq!(
        fs::read(yard.target().join(name(b"\xff\xfe"))).unwrap(),
        b"x"
    );
    assert!(yard.target().join(name(b"d\n\x80")).is_dir());
    assert_eq!(
        fs::read_link(yard.target().join(name(b"l\xc3"))).unwrap(),
        name(b"\xff\xfe")
    );
}

#[test]
fn long_names_have_their_limits() {
    let yard = Yard::new();
    let long = "n".repeat(255);
    let path = format!("{long}/{long}/{long}");
    for archive in [
        Tar::new().pax(&[("path", path.as_bytes())]),
        Tar::new().entry(b"L", b'L', b"", 0, path.as_bytes()),
    ] {
        run(&yard, &archive.file("x", "y").end()).unwrap();
        assert_eq!(fs::read(yard.target().join(&path)).unwrap(), b"y");
    }
    let cases = [
        (Limit::Name, "n".repeat(256)),
        (Limit::Path, "n/".repeat(2048) + "n"),
        (Limit::Depth, "n/".repeat(300) + "n"),
    ];
    for (limit, path) in cases {
        let archive = Tar::new().pax(&[("path", path.as_bytes())]);
        let found = limited(&archive.file("x", "y").end(), &options());
        assert_eq!(found, (limit, Some(path.clone().into_bytes())));
        let target = Tar::new().pax(&[("linkpath", path.as_bytes())]);
        let archive = target.symlink("s", "x").end();
        if limit == Limit::Path {
            assert_eq!(limited(&archive, &options()).0, limit);
        }
    }
}

#[test]
fn links_do_not_make_it_deeper_than_the_limit() {
    // Each link leads 200 directories below the last.
    let deep = "d/".repeat(200);
    let mut archive = Tar::new();
    let mut last = String::new();
    for n in 0..5 {
        let path = format!("{last}{deep}");
        archive = archive
            .pax(&[("path", format!("{path}x").as_bytes())])
            .file("x", "")
            .pax(&[("linkpath", path.as_bytes())])
            .symlink(format!("l{n}"), "x");
        last = format!("l{n}/");
    }
    assert_eq!(limited(&archive.end(), &options()).0, Limit::Depth);
    let archive = Tar::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", "");
    let found = limited(&archive.end(), &options());
    assert_eq!(found, (Limit::Links, Some(b"a/x".to_vec())));
}

#[test]
fn directories_that_cannot_be_entered_are_filled_first() {
    let yard = Yard::new();
    let archive = Tar::new()
        .entry(b"closed", b'5', b"", 0, b"")
        .file("closed/f", "x")
        .entry(b"closed/in", b'5', b"", 0o500, b"")
        .file("closed/in/g", "y")
        .end();
    run(&yard, &archive).unwrap();
    let closed = yard.target().join("closed");
    let mode = fs::metadata(&closed).unwrap().mode();
    assert_eq!(mode & 0o7777, 0);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::read(closed.join("f")).unwrap(), b"x");
    let inner = closed.join("in");
    assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o7777, 0o500);
    assert_eq!(fs::read(inner.join("g")).unwrap(), b"y");
}

#[test]
fn a_target_with_something_in_it_is_refused() {
    let yard = Yard::new();
    fs::create_dir(yard.target()).unwrap();
    fs::write(yard.target().join("mine"), "x").unwrap();
    let result = unpack(
        &Tar::new().file("f", "x").end()[..],
        yard.target(),
        &options(),
    );
    assert!(matches!(result, Err(Error::NotEmpty { .. })), "{result:?}");
    assert_eq!(listing(&yard.target()).len(), 1);
}

#[test]
fn what_is_no_archive_is_an_error() {
    let good = Tar::new().file("a", "x".repeat(600)).file("b", "y").end();
    let mut wrong_sum = good.clone();
    wrong_sum[150] ^= 1;
    let mut after_zeros = vec![0; 512];
    after_zeros.extend_from_slice(&good);
    let mut gz = gzip(&good);
    let end = gz.len();
    gz[end - 6] ^= 1;
    for (what, archive) in [
        ("a header is wrong", wrong_sum),
        ("a header is cut off", good[..1900].to_vec()),
        ("the data is cut off", good[..700].to_vec()),
        ("a header follows zeros", after_zeros),
        ("text", b"This is no archive at all.".repeat(100)),
        ("the checksum of gzip is wrong", gz),
        ("gzip is cut off", gzip(&good)[..60].to_vec()),
    ] {
        let yard = Yard::new();
        let result = run(&yard, &archive);
        assert!(
            matches!(result, Err(Error::Archive { .. })),
            "{what}: {result:?}"
        );
    }
    for (key, value) in [
        ("size", "-1"),
        ("uid", "4294967295"),
        ("gid", "99999999999"),
        ("size", "1e3"),
    ] {
        let archive = Tar::new().pax(&[(key, value.as_bytes())]).file("f", "x");
        assert_refused!(archive.end(), "f", EntryProblem::Header(_));
    }
    let archive = Tar::new().entry(b"pax", b'x', b"", 0, b"99 path=x\n");
    assert!(matches!(
        refused(archive.file("f", "").end()).1,
        EntryProblem::Header(_)
    ));
}

#[test]
fn a_size_in_the_extended_header_counts() {
    // A reader that takes the size of the plain header takes the data for headers.
    let hidden = Tar::new().file("smuggled", "x").0;
    let yard = Yard::new();
    let block = header(b"f", b'0', 0, b"", 0o644);
    let size = hidden.len().to_string();
    let archive = Tar::new()
        .pax(&[("size", size.as_bytes())])
        .raw(&block, &hidden)
        .end();
    run(&yard, &archive).unwrap();
    let seen = listing(&yard.target());
    assert_eq!(seen.len(), 1);
    assert_eq!(fs::read(yard.target().join("f")).unwrap(), hidden);
}

#[test]
fn bombs_end_at_their_limits() {
    let mut small = options();
    small.limits.ratio_from = 1 << 20;
    small.limits.document = 64 << 10;
    // A gigabyte of zeros would come out.
    let zeros = vec![0; 16 << 20];
    let mut bomb = Tar::new().file("zeros", &zeros);
    bomb.0[124..136].copy_from_slice(b"10000000000\0");
    let mut block: [u8; 512] = bomb.0[..512].try_into().unwrap();
    support::sum(&mut block);
    bomb.0[..512].copy_from_slice(&block);
    let found = limited(&gzip(&bomb.0), &small);
    assert_eq!(found, (Limit::Ratio, Some(b"zeros".to_vec())));
    // What is passed over counts as well, and what follows the end.
    let mut after = Tar::new().file("f", "x").end();
    after.extend_from_slice(&zeros);
    assert_eq!(limited(&gzip(&after), &small).0, Limit::Ratio);

    let mut few = options();
    few.limits.bytes = 10_000;
    let found = limited(&Tar::new().file("big", vec![1; 20_000]).end(), &few);
    assert_eq!(found, (Limit::Bytes, Some(b"big".to_vec())));

    few = options();
    few.limits.entries = 100;
    let many = (0..200).fold(Tar::new(), |tar, n| tar.file(format!("f{n}"), ""));
    let found = limited(&many.end(), &few);
    assert_eq!(found, (Limit::Entries, Some(b"f100".to_vec())));

    few = options();
    few.limits.names = 1000;
    let many = (0..200).fold(Tar::new(), |tar, n| tar.file(format!("f{n:09}"), ""));
    assert_eq!(limited(&many.end(), &few).0, Limit::Names);

    // A name, an extended header and a sparse map that would fill the memory: said, not there.
    for kind in *b"LKxg" {
        let mut tar = Tar::new();
        tar.0.extend(header(b"x", kind, 1 << 50, b"", 0));
        assert_eq!(limited(&tar.0, &options()).0, Limit::Document);
    }
    let archive = Tar::new()
        .pax(&[
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.size", b"9000000000000000000"),
            ("GNU.sparse.map", b"0,1"),
        ])
        .file("holes", "x");
    let found = limited(&archive.end(), &options());
    assert_eq!(found, (Limit::FileSize, Some(b"holes".to_vec())));
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    for (map, data) in [
        ("0,1", "xx"),
        ("0,2,1,2", "xxxx"),
        ("1000,1", "x"),
        ("18446744073709551615,1", "x"),
        ("0", "x"),
        ("0,x", "x"),
    ] {
        let archive = Tar::new()
            .pax(&[
                ("GNU.sparse.size", b"100"),
                ("GNU.sparse.map", map.as_bytes()),
            ])
            .file("holes", data);
        assert_refused!(archive.end(), "holes", EntryProblem::Sparse(_));
    }
    let archive = Tar::new().pax(&[("GNU.sparse.major", b"7"), ("GNU.sparse.size", b"1")]);
    assert_refused!(
        archive.file("holes", "x").end(),
        "holes",
        EntryProblem::Sparse(_)
    );
}

/// An image of these layers, unpacked.
fn layers(yard: &Yard, layers: &[Vec<u8>]) -> Result<Report, Error> {
    yard.clear();
    let image = yard.path().join("image");
    if image.exists() {
        fs::remove_dir_all(&image).unwrap();
    }
    oci(&image, layers, "{}");
    let result = Image::open(&image)
        .unwrap()
        .unpack_to(yard.target(), &options());
    yard.check("unpacking layers touched something outside");
    result
}

#[test]
fn whiteouts_take_away_what_is_below_and_nothing_else() {
    let yard = Yard::new();
    let base = Tar::new()
        .file("keep", "1")
        .file("gone", "2")
        .file("dir/gone", "3")
        .file("dir/keep", "4")
        .file("opaque/gone", "5")
        .file("opaque/deep/gone", "6")
        .file("tree/a/b", "7")
        .end();
    let top = Tar::new()
        .file(".wh.gone", "")
        .file("dir/.wh.gone", "")
        .file("opaque/new", "8")
        .file("opaque/.wh..wh..opq", "")
        .file(".wh.tree", "")
        .file("tree/c", "9")
        .file(".wh.never", "")
        .file(".wh..wh.plnk", "")
        .end();
    let report = layers(&yard, &[base, top]).unwrap();
    let seen = listing(&yard.target());
    let seen: Vec<_> = seen
        .iter()
        .filter(|(_, what)| *what != "dir")
        .map(|(path, what)| (path.to_str().unwrap(), what.as_str()))
        .collect();
    let expected = [
        ("dir/keep", "file 4"),
        ("keep", "file 1"),
        ("opaque/new", "file 8"),
        ("tree/c", "file 9"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(report.layers, 2);
    assert_eq!(report.left_out.len(), 1, "{:?}", report.left_out);
}

#[test]
fn whiteouts_do_not_reach_outside() {
    let yard = Yard::new();
    let canary = yard.canary();
    for to in [&b"../canary"[..], canary.as_os_str().as_bytes()] {
        let base = || Tar::new().pax(&[("linkpath", to)]).symlink("l", "x").end();
        for hidden in ["l/.wh.file", "l/.wh..wh..opq", "l/dir/.wh.inner"] {
            layers(&yard, &[base(), Tar::new().file(hidden, "").end()]).unwrap();
            let both = Tar::new()
                .pax(&[("linkpath", to)])
                .symlink("l", "x")
                .file(hidden, "");
            layers(&yard, &[Tar::new().end(), both.end()]).unwrap();
        }
    }
    for (bad, is_parent) in [(".wh...", true), (".wh..", true), ("d/.wh.", false)] {
        let result = layers(&yard, &[Tar::new().file(bad, "").end()]);
        let Err(Error::Entry { entry, problem }) = result else {
            panic!("{bad}: {result:?}");
        };
        assert_eq!(entry, Path::new(bad));
        assert_eq!(matches!(problem, EntryProblem::ParentDir), is_parent);
    }
    // The whole root, while it is being put together.
    let base = Tar::new().file("a", "1").file("b/c", "2").end();
    let top = Tar::new().file(".wh..wh..opq", "").file("d", "3").end();
    layers(&yard, &[base, top]).unwrap();
    assert_eq!(listing(&yard.target()).len(), 1);
}

#[test]
fn upper_layers_follow_links_of_lower_ones_inside() {
    let yard = Yard::new();
    let base = Tar::new()
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .symlink("out", "../../canary")
        .file("file", "below")
        .end();
    let top = Tar::new()
        .file("lib/new", "1")
        .file("out/file", "2")
        .link("hard", "file")
        .end();
    layers(&yard, &[base.clone(), top]).unwrap();
    let seen = listing(&yard.target());
    assert_eq!(seen[Path::new("usr/lib/new")], "file 1");
    assert_eq!(seen[Path::new("lib")], "-> usr/lib");
    assert_eq!(seen[Path::new("canary/file")], "file 2");
    assert_eq!(seen[Path::new("hard")], "file below");
    // A directory with an entry of its own replaces the link.
    let top = Tar::new().dir("lib").file("lib/new", "1").end();
    layers(&yard, &[base.clone(), top]).unwrap();
    let seen = listing(&yard.target());
    assert_eq!(seen[Path::new("lib/new")], "file 1");
    let result = layers(&yard, &[base, Tar::new().link("hard", "nothing").end()]);
    assert!(
        matches!(
            result,
            Err(Error::Entry {
                problem: EntryProblem::LinkMissing(_),
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn layers_do_not_make_it_deeper_than_the_limit() {
    let yard = Yard::new();
    let deep = "d/".repeat(200);
    let base = Tar::new()
        .pax(&[("path", format!("{deep}x").as_bytes())])
        .file("x", "")
        .pax(&[("linkpath", deep.as_bytes())])
        .symlink("l", "x")
        .end();
    let mut top = Tar::new();
    let mut path = "l/".to_owned();
    top = top.file(format!("{path}x"), "");
    for _ in 0..100 {
        path.push_str("e/");
        top = top.pax(&[("path", path.as_bytes())]).dir("x");
    }
    let result = layers(&yard, &[base, top.end()]);
    assert!(
        matches!(
            result,
            Err(Error::Limit {
                limit: Limit::Depth,
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn limits_count_all_layers() {
    let yard = Yard::new();
    let image = yard.path().join("image");
    let layer = |name: &str| Tar::new().file(name, vec![1; 8000]).end();
    oci(&image, &[layer("a"), layer("b"), layer("c")], "{}");
    let image = Image::open(&image).unwrap();
    let mut few = options();
    few.limits.bytes = 20_000;
    let result = image.unpack_to(yard.target(), &few);
    assert!(
        matches!(
            result,
            Err(Error::Limit {
                limit: Limit::Bytes,
                allowed: 20_000,
                ..
            })
        ),
        "{result:?}"
    );
    yard.clear();
    few = options();
    few.limits.entries = 2;
    let result = image.unpack_to(yard.target(), &few);
    let Err(Error::Limit {
        limit: Limit::Entries,
        entry: Some(entry),
        ..
    }) = result
    else {
        panic!("{result:?}");
    };
    assert_eq!(entry, Path::new("c"));
}

#[test]
fn parts_that_are_not_what_the_image_says_are_refused() {
    let yard = Yard::new();
    let image = yard.path().join("image");
    oci(&image, &[Tar::new().file("a", "1").end()], "{}");
    let blobs = image.join("blobs/sha256");
    let names: Vec<_> = fs::read_dir(&blobs)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(names.len(), 3);
    for blob in &names {
        let good = fs::read(blob).unwrap();
        let mut bad = good.clone();
        let last = bad.len() - 1;
        bad[last] ^= 1;
        for bad in [bad, good[..last].to_vec()] {
            fs::write(blob, bad).unwrap();
            yard.clear();
            let result = Image::open(&image).and_then(|i| i.unpack_to(yard.target(), &options()));
            assert!(
                matches!(result, Err(Error::Digest { .. } | Error::Document { .. })),
                "{blob:?}: {result:?}"
            );
        }
        // A blob that is a link to a file outside, with the right content even.
        let outside = yard.path().join("image.blob");
        fs::write(&outside, &good).unwrap();
        fs::remove_file(blob).unwrap();
        std::os::unix::fs::symlink(&outside, blob).unwrap();
        yard.clear();
        let result = Image::open(&image).and_then(|i| i.unpack_to(yard.target(), &options()));
        assert!(matches!(result, Err(Error::Missing { .. })), "{result:?}");
        fs::remove_file(outside).unwrap();
        fs::remove_file(blob).unwrap();
        fs::write(blob, &good).unwrap();
    }
    yard.clear();
    Image::open(&image)
        .unwrap()
        .unpack_to(yard.target(), &options())
        .unwrap();
}

#[test]
fn nothing_special_is_ever_made() {
    // Whatever else a test above says: not one entry of another kind.
    let yard = Yard::new();
    let mut archive = Tar::new();
    for kind in 0..=255u8 {
        if !b"LKxgS".contains(&kind) {
            archive = archive.entry(format!("n{kind}").as_bytes(), kind, b"n0", 0o644, b"");
        }
    }
    run(&yard, &archive.end()).unwrap();
    for entry in fs::read_dir(yard.target()).unwrap() {
        let kind = entry.unwrap().file_type().unwrap();
        let special =
            kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device();
        assert!(!special);
    }
}
