//! Images that other programs made, unpacked and held against what they were made of.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sandboxlib_image::{
    Error, Format, Image, Isolator, OpenOptions, Ownership, Platform, UnpackOptions, unpack,
};
use sandboxlib_tests::{have, sh, skip};
use tempfile::TempDir;

/// A small root with one of everything that images have.
fn source(dir: &Path) -> PathBuf {
    let root = dir.join("rootfs");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir(root.join("tmp")).unwrap();
    fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).unwrap();
    fs::write(root.join("usr/bin/tool"), "#!/bin/sh\necho tool\n").unwrap();
    fs::set_permissions(root.join("usr/bin/tool"), Permissions::from_mode(0o755)).unwrap();
    fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/same")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("/etc/passwd", root.join("etc/absolute")).unwrap();
    let passwd = "root:x:0:0::/root:/bin/sh\nworker:x:1234:2345::/home/worker:/bin/sh\n";
    fs::write(root.join("etc/passwd"), passwd).unwrap();
    let group = "root:x:0:\nworker:x:2345:\naudio:x:29:worker\nstaff:x:50:\n";
    fs::write(root.join("etc/group"), group).unwrap();
    fs::write(root.join("etc/empty"), "").unwrap();
    let name = "long/".repeat(30) + &"n".repeat(200);
    fs::create_dir_all(root.join(&name).parent().unwrap()).unwrap();
    fs::write(root.join(name), "long").unwrap();
    fs::create_dir_all(root.join("var/lib")).unwrap();
    fs::write(root.join("var/lib/big"), vec![7; 3 << 20]).unwrap();
    fs::write(root.join("grüße"), "utf8").unwrap();
    // Whole seconds: what writes archives rounds them, each its own way.
    sh(dir, "find rootfs -exec touch -h -d @1600000000 {} +");
    root
}

/// What is in a tree: what it is, its mode, its time in seconds, its content.
fn listing(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let m = fs::symlink_metadata(&path).unwrap();
            let text = if m.is_dir() {
                todo.push(path.clone());
                format!("{:o} {}", m.mode(), m.mtime())
            } else if m.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else {
                let sum = fs::read(&path).unwrap();
                let sum = sandboxlib_image::Digest::of(&sum);
                format!(
                    "{:o} {} {} {} {sum}",
                    m.mode(),
                    m.mtime(),
                    m.nlink(),
                    m.len()
                )
            };
            seen.insert(path.strip_prefix(root).unwrap().to_owned(), text);
        }
    }
    seen
}

/// For everybody: the caller's files. Root's tests look at owners by themselves.
fn options() -> UnpackOptions {
    UnpackOptions::default()
}

#[track_caller]
fn unpacks_to(image: &Path, format: Format, source: &Path) -> Image {
    let opened = Image::open(image).unwrap_or_else(|error| panic!("{image:?}: {error}"));
    assert_eq!(opened.format(), format, "{image:?}");
    let target = TempDir::new().unwrap();
    let target = target.path().join("root");
    let report = opened.unpack_to(&target, &options()).unwrap();
    let (found, expected) = (listing(&target), listing(source));
    for (path, what) in &expected {
        assert_eq!(found.get(path), Some(what), "{image:?}: {path:?}");
    }
    assert_eq!(found.len(), expected.len(), "{image:?}");
    assert_eq!(report.left_out, [], "{image:?}");
    opened
}

#[test]
fn root_tarballs_of_every_kind_and_compression() {
    let dir = TempDir::new().unwrap();
    let root = source(dir.path());
    let mut made = 0;
    for format in ["ustar", "gnu", "posix", "v7"] {
        // What a format cannot hold is not put into it.
        let leave = match format {
            "ustar" | "v7" => "--exclude=long --exclude=absolute",
            _ => "",
        };
        let plain = format!("{format}.tar");
        sh(
            dir.path(),
            &format!("tar --format={format} {leave} -C rootfs -cf {plain} ."),
        );
        if leave.is_empty() {
            unpacks_to(&dir.path().join(&plain), Format::Root, &root);
            made += 1;
        } else {
            let target = dir.path().join(format);
            let file = fs::File::open(dir.path().join(&plain)).unwrap();
            unpack(file, &target, &options()).unwrap();
            assert_eq!(
                listing(&target)[Path::new("var/lib/big")],
                listing(&root)[Path::new("var/lib/big")]
            );
        }
    }
    for (program, package) in [
        ("gzip", "gzip"),
        ("bzip2", "bzip2"),
        ("xz", "xz-utils"),
        ("zstd", "zstd"),
    ] {
        if !have(program, package) {
            continue;
        }
        // A name that says nothing, and two streams after each other, as pigz and pzstd make.
        let command = format!(
            "head -c 1000000 posix.tar | {program} -c >blob; \
             tail -c +1000001 posix.tar | {program} -c >>blob"
        );
        sh(dir.path(), &command);
        unpacks_to(&dir.path().join("blob"), Format::Root, &root);
        made += 1;
    }
    assert!(made >= 2);
}

#[test]
fn sparse_files_of_every_version() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("rootfs");
    fs::create_dir(&root).unwrap();
    let mut many = fs::File::create(root.join("many")).unwrap();
    for n in 0..60_u64 {
        use std::io::{Seek as _, SeekFrom, Write as _};
        many.seek(SeekFrom::Start(n * 100_000)).unwrap();
        many.write_all(format!("piece {n}").as_bytes()).unwrap();
    }
    drop(many);
    let end = fs::File::create(root.join("hole-at-the-end")).unwrap();
    end.set_len(5_000_000).unwrap();
    let flags = [
        "--format=gnu",
        "--format=posix --sparse-version=0.0",
        "--format=posix --sparse-version=0.1",
        "--format=posix --sparse-version=1.0",
    ];
    for flags in flags {
        sh(
            dir.path(),
            &format!("tar {flags} --sparse -C rootfs -cf sparse.tar ."),
        );
        let archive = dir.path().join("sparse.tar");
        let size = fs::metadata(&archive).unwrap().len();
        assert!(size < 1_000_000, "tar did not find the holes: {size}");
        unpacks_to(&archive, Format::Root, &root);
    }
}

#[test]
fn zstd_frames_are_checked_and_windows_bounded() {
    if !have("zstd", "zstd") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let root = source(dir.path());
    sh(
        dir.path(),
        "tar -C rootfs -cf plain .; head -c 1000000 plain | zstd -q --check -c >one; \
         tail -c +1000001 plain | zstd -q --check -c >two; \
         zstd -q --long=27 --ultra -22 -c plain >wide",
    );
    let [one, two] = ["one", "two"].map(|name| fs::read(dir.path().join(name)).unwrap());
    // Frames that are to be skipped, as zstd:chunked layers have.
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let good = [&skipped[..], &one, &skipped, &two, &skipped].concat();
    fs::write(dir.path().join("good"), &good).unwrap();
    unpacks_to(&dir.path().join("good"), Format::Root, &root);
    let mut wrong = [&one[..], &two].concat();
    *wrong.last_mut().unwrap() ^= 1;
    let cut = good[..good.len() - 1].to_vec();
    let more = [&good[..], b"garbage"].concat();
    let target = dir.path().join("target");
    for bad in [wrong, cut, more] {
        let result = unpack(&bad[..], &target, &options());
        assert!(matches!(result, Err(Error::Archive { .. })), "{result:?}");
        fs::remove_dir_all(&target).unwrap();
    }
    let mut narrow = options();
    narrow.limits.window = 1 << 20;
    let wide = fs::read(dir.path().join("wide")).unwrap();
    let result = unpack(&wide[..], &target, &narrow);
    assert!(matches!(result, Err(Error::Archive { .. })), "{result:?}");
    if have("xz", "xz-utils") {
        sh(dir.path(), "xz -9 -c plain >wide.xz");
        let wide = fs::read(dir.path().join("wide.xz")).unwrap();
        fs::remove_dir_all(&target).unwrap();
        let result = unpack(&wide[..], &target, &narrow);
        assert!(matches!(result, Err(Error::Archive { .. })), "{result:?}");
        fs::remove_dir_all(&target).unwrap();
        unpack(&wide[..], &target, &options()).unwrap();
    }
}

fn manifest(dir: &Path, extra: &str) {
    let text = format!(
        r#"{{"acKind": "ImageManifest", "acVersion": "0.8.4", "name": "example.com/worker",
        "labels": [{{"name": "os", "value": "linux"}}, {{"name": "arch", "value": "amd64"}},
                   {{"name": "version", "value": "1.2"}}]
        {extra} }}"#
    );
    fs::write(dir.join("manifest"), text).unwrap();
}

const APP: &str = r#", "app": {"exec": ["/usr/bin/tool", "-v"], "user": "worker", "group": "staff",
    "workingDirectory": "/var/lib",
    "environment": [{"name": "A", "value": "b=c"}, {"name": "PATH", "value": "/usr/bin"}],
    "eventHandlers": [{"name": "pre-start", "exec": ["/usr/bin/same"]}],
    "mountPoints": [{"name": "data", "path": "/srv", "readOnly": true}],
    "ports": [{"name": "http", "port": 80, "protocol": "tcp"}],
    "isolators": [
        {"name": "resource/memory", "value": {"request": "1G", "limit": "1Gi"}},
        {"name": "resource/cpu", "value": {"limit": "500m"}},
        {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_CHOWN"]}},
        {"name": "resource/network-bandwidth", "value": {"default": true, "limit": "1G"}}
    ]}"#;

#[test]
fn app_container_images_made_by_actool() {
    if !have("actool", "appc-spec") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let root = source(dir.path());
    manifest(dir.path(), APP);
    sh(
        dir.path(),
        "mkdir image; cp -a rootfs manifest image/; \
         actool build --overwrite image gz.aci; actool validate gz.aci; \
         actool build --overwrite --no-compression image plain.aci",
    );
    let mut images = vec!["gz.aci", "plain.aci"];
    for (program, package) in [("xz", "xz-utils"), ("bzip2", "bzip2"), ("zstd", "zstd")] {
        if have(program, package) {
            sh(
                dir.path(),
                &format!("{program} -c plain.aci >{program}.aci"),
            );
            images.push(match program {
                "xz" => "xz.aci",
                "bzip2" => "bzip2.aci",
                _ => "zstd.aci",
            });
        }
    }
    for image in images {
        let opened = unpacks_to(&dir.path().join(image), Format::AppContainer, &root);
        let config = opened.config();
        assert_eq!(config.command, ["/usr/bin/tool", "-v"]);
        assert_eq!(config.labels["version"], "1.2");
        assert_eq!(config.event_handlers[0].exec, ["/usr/bin/same"]);
        assert_eq!(
            config.isolators,
            [
                Isolator::Memory { limit: 1 << 30 },
                Isolator::Cpu { limit: 500 },
                Isolator::CapabilitiesRetain(vec!["CAP_CHOWN".into()]),
            ]
        );
        let named = |what: &str| config.unsupported.iter().any(|u| u.what.contains(what));
        assert!(named("resource/network-bandwidth"));
        assert!(named("AC_METADATA_URL"));
        let process = config.process(&root, None, None).unwrap();
        assert_eq!((process.uid, process.gid), (1234, 50));
        assert_eq!(process.cwd.as_path(), Path::new("/var/lib"));
        let env: BTreeMap<_, _> = process.env.iter().cloned().collect();
        let var = |name: &str| env[&OsString::from(name)].to_str().unwrap();
        assert_eq!(var("AC_APP_NAME"), "example.com/worker");
        assert_eq!(var("PATH"), "/usr/bin");
        assert_eq!(var("A"), "b=c");
        assert_eq!(var("HOME"), "/home/worker");
        // The volume is needed, by its name.
        let missing = config.sandbox(&root, &process, &[]);
        assert!(matches!(missing, Err(Error::Missing { .. })));
        let given = [("data".to_owned(), PathBuf::from("/tmp"))];
        let sandbox = config.sandbox(&root, &process, &given).unwrap();
        assert!(
            sandbox
                .mounts
                .iter()
                .any(|m| m.target.as_path() == Path::new("/srv"))
        );
        let unknown = [given[0].clone(), ("nothing".to_owned(), "/tmp".into())];
        assert!(config.sandbox(&root, &process, &unknown).is_err());
    }
    let other = OpenOptions::default();
    let mut arm = other.clone();
    arm.platform = Some("linux/arm64".parse().unwrap());
    let refused = Image::open_with(dir.path().join("gz.aci"), &arm);
    assert!(matches!(refused, Err(Error::Choice { .. })), "{refused:?}");
}

#[test]
fn app_container_images_whose_manifest_comes_last() {
    let dir = TempDir::new().unwrap();
    let root = source(dir.path());
    manifest(dir.path(), "");
    sh(dir.path(), "tar -czf image rootfs manifest");
    let image = unpacks_to(&dir.path().join("image"), Format::AppContainer, &root);
    assert!(image.config().command.is_empty());
    // What needs other images would run without half of its files.
    manifest(
        dir.path(),
        r#", "dependencies": [{"imageName": "example.com/base"}]"#,
    );
    sh(dir.path(), "tar -czf image rootfs manifest");
    let refused = Image::open(dir.path().join("image"));
    assert!(
        matches!(refused, Err(Error::Unsupported { .. })),
        "{refused:?}"
    );
}

/// Two layers made by umoci, of which the second takes away a file and a directory, and what
/// the root should look like.
fn made_by_umoci(dir: &Path) -> Option<PathBuf> {
    if !have("umoci", "umoci") {
        return None;
    }
    let root = source(dir);
    sh(
        dir,
        "umoci init --layout oci; umoci new --image oci:bb; \
         umoci unpack --rootless --image oci:bb bundle; \
         cp -a rootfs/. bundle/rootfs/; \
         umoci repack --image oci:bb bundle; rm -r bundle; \
         umoci unpack --rootless --image oci:bb bundle; \
         rm bundle/rootfs/etc/empty; rm -r bundle/rootfs/long; \
         echo new >bundle/rootfs/etc/new; rm bundle/rootfs/bin; mkdir bundle/rootfs/bin; \
         echo x >bundle/rootfs/bin/x; chmod 700 bundle/rootfs/var; \
         cd bundle/rootfs; touch -d @1700000000 . bin bin/x etc etc/new; cd ../..; \
         umoci repack --image oci:bb bundle; \
         umoci config --image oci:bb --config.entrypoint /usr/bin/tool --config.cmd one \
           --config.cmd two --config.user worker --config.workingdir /var \
           --config.env A=b --config.volume /data --config.label k=v",
    );
    fs::remove_dir_all(&root).unwrap();
    sh(dir, "cp -a bundle/rootfs rootfs");
    Some(root)
}

fn check_config(image: &Image, root: &Path) {
    let config = image.config();
    assert_eq!(config.entrypoint, ["/usr/bin/tool"]);
    assert_eq!(config.labels["k"], "v");
    assert_eq!(config.volumes[0].path, "/data");
    assert!(!config.volumes[0].required);
    let process = config.process(root, None, None).unwrap();
    assert_eq!(process.args, ["/usr/bin/tool", "one", "two"]);
    assert_eq!((process.uid, process.gid), (1234, 2345));
    assert_eq!(process.supplementary_groups, [29]);
    assert_eq!(process.cwd.as_path(), Path::new("/var"));
    assert!(process.env.contains(&("A".into(), "b".into())));
    let command = [OsString::from("other")];
    let process = config.process(root, Some(&command), None).unwrap();
    assert_eq!(process.args, ["/usr/bin/tool", "other"]);
}

#[test]
fn oci_layouts_made_by_umoci() {
    let dir = TempDir::new().unwrap();
    let Some(root) = made_by_umoci(dir.path()) else {
        return;
    };
    let image = unpacks_to(&dir.path().join("oci"), Format::Oci, &root);
    assert_eq!(image.layers().count(), 2);
    check_config(&image, &root);
    assert_eq!(image.platform(), Some(&Platform::host()));
    // Two images in one layout: which one has to be said.
    sh(
        dir.path(),
        "umoci tag --image oci:bb other; umoci config --image oci:other --config.user 7:8",
    );
    let both = Image::open(dir.path().join("oci"));
    let Err(Error::Choice {
        found: 2, there, ..
    }) = both
    else {
        panic!("{both:?}");
    };
    assert!(
        there.iter().any(|image| image.contains("other")),
        "{there:?}"
    );
    let mut options = OpenOptions::default();
    options.reference = Some("other".into());
    let image = Image::open_with(dir.path().join("oci"), &options).unwrap();
    let process = image.config().process(&root, None, None).unwrap();
    assert_eq!((process.uid, process.gid), (7, 8));
}

#[test]
fn archives_made_by_skopeo() {
    if !have("skopeo", "skopeo") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let Some(root) = made_by_umoci(dir.path()) else {
        return;
    };
    let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
    fs::write(dir.path().join("policy.json"), policy).unwrap();
    let copy = |options: &str, to: &str| {
        let command = format!("skopeo --policy policy.json copy {options} oci:oci:bb {to}");
        sh(dir.path(), &command);
    };
    copy("", "docker-archive:docker.tar:name:tag");
    let image = unpacks_to(&dir.path().join("docker.tar"), Format::DockerArchive, &root);
    check_config(&image, &root);
    copy("", "oci-archive:oci.tar");
    let image = unpacks_to(&dir.path().join("oci.tar"), Format::Oci, &root);
    check_config(&image, &root);
    copy("--dest-compress-format zstd", "oci:zstd:bb");
    let zstd = walk(&dir.path().join("zstd/blobs"))
        .iter()
        .filter(|blob| {
            fs::read(blob)
                .unwrap()
                .starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        })
        .count();
    assert_eq!(zstd, 2, "skopeo did not compress by zstd");
    unpacks_to(&dir.path().join("zstd"), Format::Oci, &root);
    // The parts of a compressed archive are read in another order than they come.
    sh(dir.path(), "gzip docker.tar oci.tar");
    unpacks_to(
        &dir.path().join("docker.tar.gz"),
        Format::DockerArchive,
        &root,
    );
    unpacks_to(&dir.path().join("oci.tar.gz"), Format::Oci, &root);
    let mut wrong = OpenOptions::default();
    wrong.platform = Some("linux/s390x".parse().unwrap());
    let refused = Image::open_with(dir.path().join("docker.tar.gz"), &wrong);
    assert!(matches!(refused, Err(Error::Choice { .. })), "{refused:?}");
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn indexes_for_several_platforms() {
    if !have("umoci", "umoci") {
        return;
    }
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("rootfs")).unwrap();
    let host = Platform::host();
    let other = if host.arch == "arm64" {
        "s390x"
    } else {
        "arm64"
    };
    // One image each, then an index of both by hand: umoci writes no platforms.
    sh(
        dir.path(),
        &format!(
            "umoci init --layout oci; for arch in {} {other}; do umoci new --image oci:$arch; \
             umoci unpack --rootless --image oci:$arch b; echo $arch >b/rootfs/arch; \
             umoci repack --image oci:$arch b; umoci config --image oci:$arch --architecture $arch; \
             rm -r b; done",
            host.arch
        ),
    );
    let index = dir.path().join("oci/index.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    for manifest in json["manifests"].as_array_mut().unwrap() {
        let arch = manifest["annotations"]["org.opencontainers.image.ref.name"].take();
        manifest["platform"] = serde_json::json!({"os": "linux", "architecture": arch});
        manifest.as_object_mut().unwrap().remove("annotations");
    }
    // Inside another index, as registries have them, with an attestation beside.
    let mut inner = json.clone();
    inner["manifests"]
        .as_array_mut()
        .unwrap()
        .push(serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2,
            "digest": sandboxlib_image::Digest::of(b"{}").to_string(),
            "platform": {"os": "unknown", "architecture": "unknown"},
        }));
    let inner = inner.to_string();
    let digest = sandboxlib_image::Digest::of(inner.as_bytes());
    let blobs = dir.path().join("oci/blobs/sha256");
    fs::write(blobs.join(digest.hex()), &inner).unwrap();
    json["manifests"] = serde_json::json!([{
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": digest.to_string(), "size": inner.len(),
        "annotations": {"org.opencontainers.image.ref.name": "multi"},
    }]);
    fs::write(&index, json.to_string()).unwrap();
    let arch = |options: &OpenOptions| {
        let image = Image::open_with(dir.path().join("oci"), options)?;
        let target = TempDir::new().unwrap();
        image.unpack_to(target.path(), &self::options())?;
        Ok::<_, Error>(fs::read_to_string(target.path().join("arch")).unwrap())
    };
    let mut options = OpenOptions::default();
    assert_eq!(arch(&options).unwrap().trim(), host.arch);
    options.reference = Some("multi".into());
    options.platform = Some(format!("linux/{other}").parse().unwrap());
    assert_eq!(arch(&options).unwrap().trim(), other);
    options.platform = Some("linux/mips".parse().unwrap());
    let Err(Error::Choice {
        found: 0, there, ..
    }) = arch(&options)
    else {
        panic!();
    };
    assert_eq!(there.len(), 3, "{there:?}");
}

#[test]
fn a_debian_root_made_by_mmdebstrap() {
    if !have("mmdebstrap", "mmdebstrap") {
        return;
    }
    let root = rustix_is_root();
    let dir = TempDir::new().unwrap();
    let mode = if root { "root" } else { "unshare" };
    let made = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=extract"])
        .arg("--include=base-files,coreutils,libc6,login,mount,perl-base,util-linux")
        .arg(format!("--mode={mode}"))
        .args(["bookworm", "root.tar"])
        .current_dir(dir.path())
        .env("TMPDIR", dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr).into_owned();
        skip(&format!("mmdebstrap makes no root here: {why}"));
        return;
    }
    let image = Image::open(dir.path().join("root.tar")).unwrap();
    assert_eq!(image.format(), Format::Root);
    let target = dir.path().join("root");
    let report = image.unpack_to(&target, &options()).unwrap();
    // What tar says is in it, all of it is there but devices.
    let names = Command::new("tar")
        .args(["-tvf", "root.tar", "--numeric-owner"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let names = String::from_utf8_lossy(&names.stdout).into_owned();
    let mut checked = 0;
    for line in names.lines() {
        let (kind, rest) = line.split_at(1);
        let name = rest.split_whitespace().nth(5).unwrap();
        let owner = rest.split_whitespace().nth(1).unwrap();
        let inside = target.join(name.trim_start_matches("./").trim_end_matches('/'));
        if matches!(kind, "c" | "b" | "p") {
            assert!(fs::symlink_metadata(inside).is_err(), "{name}");
            continue;
        }
        let m = fs::symlink_metadata(&inside).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (uid, gid) = owner.split_once('/').unwrap();
        let said = (uid.parse().unwrap(), gid.parse().unwrap());
        if root {
            assert_eq!((m.uid(), m.gid()), said, "{name}");
        } else if said != (0, 0) {
            let path = inside.strip_prefix(&target).unwrap();
            let found = report.owners.iter().find(|o| o.path == path);
            assert_eq!(found.map(|o| (o.uid, o.gid)), Some(said), "{name}");
        }
        checked += 1;
    }
    assert!(checked > 1000, "{checked}");
    assert!(
        report
            .left_out
            .iter()
            .any(|l| l.what == "the set-user-id bit")
    );
    // And it is the same as what tar unpacks, but for what was left out.
    sh(
        dir.path(),
        "mkdir tar; tar -C tar -xpf root.tar --exclude='./dev/*' --no-same-owner",
    );
    let (mut ours, mut theirs) = (
        listing_without_set_id(&target),
        listing_without_set_id(&dir.path().join("tar")),
    );
    for tree in [&mut ours, &mut theirs] {
        tree.retain(|path, _| !path.starts_with("dev"));
    }
    for (path, what) in &theirs {
        assert_eq!(ours.get(path), Some(what), "{path:?}");
    }
    assert_eq!(ours.len(), theirs.len());
}

fn listing_without_set_id(root: &Path) -> BTreeMap<PathBuf, String> {
    for file in walk_all(root) {
        let m = fs::symlink_metadata(&file).unwrap();
        if m.is_file() && m.mode() & 0o6000 != 0 {
            let mode = m.mode() & 0o1777;
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        }
    }
    listing(root)
}

fn walk_all(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk_all(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

#[test]
fn owners_are_the_images_for_root_and_in_the_report_for_others() {
    let dir = TempDir::new().unwrap();
    source(dir.path());
    sh(
        dir.path(),
        "tar --owner=1234 --group=2345 -C rootfs -cf some.tar etc; \
         tar --owner=0 --group=0 -C rootfs -rf some.tar usr",
    );
    let unpacked = |ownership, name: &str| {
        let mut options = options();
        options.ownership = ownership;
        let archive = fs::File::open(dir.path().join("some.tar")).unwrap();
        let target = dir.path().join(name);
        unpack(archive, &target, &options).map(|report| (report, target))
    };
    let (report, target) = unpacked(Ownership::Caller, "caller").unwrap();
    assert!(!report.owners_kept);
    let own = fs::metadata(dir.path()).unwrap();
    for path in ["etc", "etc/passwd", "etc/absolute"] {
        let m = fs::symlink_metadata(target.join(path)).unwrap();
        assert_eq!((m.uid(), m.gid()), (own.uid(), own.gid()), "{path}");
        let owner = report.owners.iter().find(|o| o.path == Path::new(path));
        let owner = owner.unwrap_or_else(|| panic!("{path}"));
        assert_eq!((owner.uid, owner.gid), (1234, 2345));
    }
    assert!(report.owners.iter().all(|o| o.path.starts_with("etc")));
    let kept = unpacked(Ownership::Image, "image");
    if rustix_is_root() {
        let (report, target) = kept.unwrap();
        assert!(report.owners_kept);
        for path in ["etc", "etc/passwd", "etc/absolute"] {
            let m = fs::symlink_metadata(target.join(path)).unwrap();
            assert_eq!((m.uid(), m.gid()), (1234, 2345), "{path}");
        }
        let m = fs::symlink_metadata(target.join("usr/bin/tool")).unwrap();
        assert_eq!((m.uid(), m.gid()), (0, 0));
    } else {
        assert!(matches!(kept, Err(Error::Entry { .. })), "{kept:?}");
    }
}
