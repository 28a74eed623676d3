//! The cache of images: many processes at once, and processes that are killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use sandboxlib_image::{Cache, CacheKind, CachedRoot, Error, OpenOptions, UnpackOptions};
use tempfile::TempDir;

mod layouts;

use layouts::{layout, names, run};

/// How the process that this test starts of itself learns what to do.
const CACHE: &str = "SANDBOXLIB_TEST_CACHE";
const IMAGE: &str = "SANDBOXLIB_TEST_IMAGE";

fn root(cache: &Cache, image: &Path) -> Result<CachedRoot, Error> {
    cache.root(image, &OpenOptions::default(), &UnpackOptions::default())
}

/// Two images of two layers, which share the lower one. It is large enough to be killed in.
fn two_images(dir: &Path) -> [PathBuf; 2] {
    let base = dir.join("base");
    for n in 0..300 {
        let sub = base.join(format!("d{}", n % 10));
        fs::create_dir_all(&sub).unwrap();
        fs::write(sub.join(format!("f{n}")), vec![b'x'; 20_000]).unwrap();
    }
    symlink("d1", base.join("link")).unwrap();
    fs::create_dir(base.join("closed")).unwrap();
    fs::write(base.join("closed/f"), "x").unwrap();
    fs::set_permissions(base.join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    for name in ["one", "two"] {
        let layer = dir.join(format!("layer-{name}"));
        fs::create_dir_all(layer.join("d1")).unwrap();
        fs::write(layer.join("d1/own"), name).unwrap();
        fs::write(layer.join("d1/.wh.f1"), "").unwrap();
    }
    ["one", "two"].map(|name| layout(dir, name, &["base", &format!("layer-{name}")]))
}

/// What the root of such an image has.
fn check(root: &Path, name: &str) {
    assert_eq!(fs::read_to_string(root.join("d1/own")).unwrap(), name);
    let mut files = 0;
    for n in 0..10 {
        for entry in fs::read_dir(root.join(format!("d{n}"))).unwrap() {
            let path = entry.unwrap().path();
            if !path.ends_with("own") {
                assert_eq!(fs::metadata(&path).unwrap().len(), 20_000, "{path:?}");
                files += 1;
            }
        }
    }
    assert_eq!(files, 299, "all but the one that was taken away");
    let closed = fs::metadata(root.join("closed")).unwrap();
    assert_eq!(closed.mode() & 0o7777, 0o500);
}

/// By itself, one process with a cache of its own; started by the tests below, one of many.
#[test]
fn a_process_gets_a_whole_root() {
    if let (Some(cache), Some(image)) = (std::env::var_os(CACHE), std::env::var_os(IMAGE)) {
        let image = PathBuf::from(image);
        let root = root(&Cache::at(cache).unwrap(), &image).unwrap();
        check(&root.path(), image.file_name().unwrap().to_str().unwrap());
        return;
    }
    let dir = TempDir::new().unwrap();
    let [one, _] = two_images(dir.path());
    let cache = Cache::at(dir.path().join("cache")).unwrap();
    let root = root(&cache, &one).unwrap();
    check(&root.path(), "one");
    assert_eq!(root.config().command, ["one"]);
    assert_eq!(root.report().unwrap().layers, 2);
}

fn start(cache: &Cache, image: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_gets_a_whole_root"])
        .env(CACHE, cache.path())
        .env(IMAGE, image)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn many_at_once_and_a_third_of_them_killed() {
    let dir = TempDir::new().unwrap();
    let images = two_images(dir.path());
    // How long one takes by itself, for the times of the killings.
    let begin = std::time::Instant::now();
    let alone = Cache::at(dir.path().join("alone")).unwrap();
    assert!(start(&alone, &images[0]).wait().unwrap().success());
    let span = begin.elapsed();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |most: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % most
    };
    let mut died = 0;
    for round in 0..4 {
        let cache = Cache::at(dir.path().join(format!("cache{round}"))).unwrap();
        let started: Vec<(Child, bool)> = (0..18)
            .map(|n| (start(&cache, &images[n % 2]), n % 3 == 0))
            .collect();
        let killers: Vec<_> = started
            .into_iter()
            .map(|(mut child, kill)| {
                let most = u64::try_from(span.as_micros()).unwrap() * 4;
                let wait = Duration::from_micros(random(most));
                thread::spawn(move || {
                    if kill {
                        thread::sleep(wait);
                        child.kill().unwrap();
                    }
                    (child.wait().unwrap(), kill)
                })
            })
            .collect();
        for killer in killers {
            let (status, killed) = killer.join().unwrap();
            assert!(status.success() || killed, "round {round}: {status}");
            died += usize::from(!status.success());
        }
        // The cache is whole: both roots, three layers, and nothing half done after a prune.
        for image in &images {
            let root = root(&cache, image).unwrap();
            check(&root.path(), image.file_name().unwrap().to_str().unwrap());
        }
        assert_eq!(names(&cache.path().join("roots")).len(), 2);
        assert_eq!(names(&cache.path().join("layers")).len(), 3);
        let removed = cache.prune(Duration::from_secs(3600)).unwrap();
        assert_eq!(removed, []);
        assert_eq!(names(&cache.path().join("work")), BTreeSet::new());
        cache.prune(Duration::ZERO).unwrap();
        assert_eq!(cache.entries().unwrap(), []);
    }
    assert!(
        died > 0,
        "nobody was killed in time: the test shows nothing"
    );
}

#[test]
fn what_a_killed_process_left_behind_is_not_used() {
    let dir = TempDir::new().unwrap();
    let [one, _] = two_images(dir.path());
    // Killed at ever later times, until it gets through.
    let cache = Cache::at(dir.path().join("cache")).unwrap();
    let mut wait = Duration::from_millis(1);
    let mut left = 0;
    loop {
        let mut child = start(&cache, &one);
        thread::sleep(wait);
        child.kill().unwrap();
        let through = child.wait().unwrap().success();
        left += usize::from(!names(&cache.path().join("work")).is_empty());
        if through {
            break;
        }
        wait = wait * 5 / 4;
    }
    assert!(left > 0, "it was never killed in the middle");
    check(&root(&cache, &one).unwrap().path(), "one");
    cache.prune(Duration::from_secs(3600)).unwrap();
    assert_eq!(names(&cache.path().join("work")), BTreeSet::new());
}

#[test]
fn each_layer_is_unpacked_once() {
    let dir = TempDir::new().unwrap();
    let [one, two] = two_images(dir.path());
    let cache = Cache::at(dir.path().join("cache")).unwrap();
    let first = root(&cache, &one).unwrap();
    // Without its bytes the shared layer cannot be unpacked again.
    let shared = fs::read(dir.path().join("layer.tar")).unwrap();
    assert!(!shared.is_empty());
    for blob in names(&two.join("blobs/sha256")) {
        if one.join("blobs/sha256").join(&blob).exists() {
            let path = two.join("blobs/sha256").join(&blob);
            let length = fs::metadata(&path).unwrap().len();
            fs::write(path, vec![0; usize::try_from(length).unwrap()]).unwrap();
        }
    }
    let second = root(&cache, &two).unwrap();
    check(&second.path(), "two");
    // They are the same files.
    let inode = |root: &CachedRoot| fs::metadata(root.path().join("d2/f2")).unwrap().ino();
    assert_eq!(inode(&first), inode(&second));
    // A root that is there is used again.
    let again = root(&cache, &one).unwrap();
    assert_eq!(again.path(), first.path());
    let kinds: Vec<_> = cache.entries().unwrap().iter().map(|e| e.kind).collect();
    assert_eq!(kinds.iter().filter(|k| **k == CacheKind::Root).count(), 2);
    assert_eq!(kinds.iter().filter(|k| **k == CacheKind::Layer).count(), 3);
}

#[test]
fn an_archive_that_did_not_change_is_not_read_again() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("tree")).unwrap();
    fs::write(dir.path().join("tree/f"), "first").unwrap();
    run(dir.path(), "tar -C tree -czf image .");
    let image = dir.path().join("image");
    let cache = Cache::at(dir.path().join("cache")).unwrap();
    let known = cache.path().join("known");
    drop(root(&cache, &image).unwrap());
    assert_eq!(names(&known).len(), 0, "its times do not tell yet");
    thread::sleep(Duration::from_secs(4));
    let first = root(&cache, &image).unwrap();
    assert_eq!(names(&known).len(), 1);
    // The access time tells whether anybody reads it (it is older than the change, so that
    // relatime does not hide it).
    let file = fs::File::open(&image).unwrap();
    let old = SystemTime::now() - Duration::from_secs(100_000);
    file.set_times(fs::FileTimes::new().set_accessed(old))
        .unwrap();
    // That was a change of its times, which makes it unknown, and then known again.
    thread::sleep(Duration::from_secs(4));
    drop(root(&cache, &image).unwrap());
    let read = fs::metadata(&image).unwrap().atime();
    thread::sleep(Duration::from_secs(2));
    let again = root(&cache, &image).unwrap();
    assert_eq!(fs::metadata(&image).unwrap().atime(), read);
    assert_eq!(again.path(), first.path());
    // Another content by the same name and length is another image.
    fs::write(dir.path().join("tree/f"), "other").unwrap();
    run(dir.path(), "tar -C tree -czf image .");
    let other = root(&cache, &image).unwrap();
    assert_eq!(fs::read_to_string(other.path().join("f")).unwrap(), "other");
    assert_eq!(fs::read_to_string(again.path().join("f")).unwrap(), "first");
}

#[test]
fn a_layout_whose_index_did_not_change_is_not_read_again() {
    let dir = TempDir::new().unwrap();
    let [one, two] = two_images(dir.path());
    let cache = Cache::at(dir.path().join("cache")).unwrap();
    // Until its times tell.
    thread::sleep(Duration::from_secs(4));
    let first = root(&cache, &one).unwrap();
    assert_eq!(names(&cache.path().join("known")).len(), 1);
    // What is not there cannot be read.
    fs::rename(one.join("blobs"), one.join("away")).unwrap();
    let again = root(&cache, &one).unwrap();
    assert_eq!(again.path(), first.path());
    assert_eq!(again.config().command, ["one"]);
    // Another index by the same name is another image.
    fs::rename(one.join("away"), one.join("blobs")).unwrap();
    for blob in names(&two.join("blobs/sha256")) {
        let blob = Path::new("blobs/sha256").join(blob);
        fs::copy(two.join(&blob), one.join(&blob)).unwrap();
    }
    fs::copy(two.join("index.json"), one.join("index.json")).unwrap();
    let other = root(&cache, &one).unwrap();
    assert_eq!(other.config().command, ["two"]);
    check(&other.path(), "two");
}

#[test]
fn what_is_used_is_not_pruned() {
    let dir = TempDir::new().unwrap();
    let [one, two] = two_images(dir.path());
    let cache = Cache::at(dir.path().join("cache")).unwrap();
    let used = root(&cache, &one).unwrap();
    drop(root(&cache, &two).unwrap());
    let removed = cache.prune(Duration::ZERO).unwrap();
    let roots: Vec<_> = removed
        .iter()
        .filter(|e| e.kind == CacheKind::Root)
        .collect();
    assert_eq!(roots.len(), 1);
    assert_eq!(roots[0].source.as_deref(), Some(two.as_path()));
    // The layers are gone, and the root does not need them.
    check(&used.path(), "one");
    assert_eq!(cache.entries().unwrap().len(), 1);
    drop(used);
    assert_eq!(cache.prune(Duration::ZERO).unwrap().len(), 1);
    assert_eq!(names(&cache.path().join("locks")), BTreeSet::new());
    check(&root(&cache, &two).unwrap().path(), "two");
}

#[test]
fn a_failed_image_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let [one, _] = two_images(dir.path());
    for blob in names(&one.join("blobs/sha256")) {
        let path = one.join("blobs/sha256").join(blob);
        let mut bytes = fs::read(&path).unwrap();
        if bytes.len() > 1_000_000 {
            bytes[600_000] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    let cache = Cache::at(dir.path().join("cache")).unwrap();
    let failed = root(&cache, &one);
    assert!(matches!(failed, Err(Error::Digest { .. })), "{failed:?}");
    for place in ["work", "layers", "roots", "known"] {
        assert_eq!(names(&cache.path().join(place)), BTreeSet::new(), "{place}");
    }
}

#[test]
fn a_cache_that_others_can_write_to_is_refused() {
    let dir = TempDir::new().unwrap();
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Cache::at(&open), Err(Error::Cache { .. })));
    let fine = Cache::at(dir.path().join("fine")).unwrap();
    let mode = fs::metadata(fine.path()).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o700);
    if fs::metadata(dir.path()).unwrap().uid() == 0 {
        let other = dir.path().join("other");
        fs::create_dir(&other).unwrap();
        std::os::unix::fs::chown(&other, Some(1234), None).unwrap();
        assert!(matches!(Cache::at(&other), Err(Error::Cache { .. })));
    } else {
        assert!(matches!(
            Cache::at("/"),
            Err(Error::Cache { .. } | Error::Io { .. })
        ));
    }
}
