//! Archives and images, written byte by byte so that they can lie.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test uses some of it, and a surprise ends the test"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sandboxlib_image::Digest;
use tempfile::TempDir;

/// A tar archive being written. Nothing is checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// A header with a name of at most 100 bytes.
pub(crate) fn header(name: &[u8], kind: u8, size: u64, link: &[u8], mode: u32) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    if size < 1 << 33 {
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    sum(&mut block);
    block
}

/// Makes the checksum of a header right.
pub(crate) fn sum(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn raw(mut self, block: &[u8; 512], data: &[u8]) -> Self {
        self.0.extend_from_slice(block);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn entry(self, name: &[u8], kind: u8, link: &[u8], mode: u32, data: &[u8]) -> Self {
        let block = header(name, kind, data.len() as u64, link, mode);
        self.raw(&block, data)
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        self.entry(name.as_ref(), b'0', b"", 0o644, data.as_ref())
    }

    pub(crate) fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.entry(name.as_ref(), b'5', b"", 0o755, b"")
    }

    pub(crate) fn symlink(self, name: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        self.entry(name.as_ref(), b'2', to.as_ref(), 0o777, b"")
    }

    pub(crate) fn link(self, name: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        self.entry(name.as_ref(), b'1', to.as_ref(), 0o644, b"")
    }

    /// An extended header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while rest + length.to_string().len() != length {
                length = rest + length.to_string().len();
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(b"pax", b'x', b"", 0o644, &data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An OCI layout with these layers, each as it is to be stored and the digest it has decompressed.
pub(crate) fn oci(dir: &Path, layers: &[Vec<u8>], config: &str) {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        digest
    };
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| {
            serde_json::json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": blob(layer).to_string(),
                "size": layer.len(),
            })
        })
        .collect();
    let config: serde_json::Value = serde_json::from_str(config).unwrap();
    let config = serde_json::json!({
        "os": "linux", "architecture": sandboxlib_image::Platform::host().arch,
        "config": config, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": blob(config.as_bytes()).to_string(), "size": config.len(),
        },
        "layers": layers,
    });
    let manifest = manifest.to_string();
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": blob(manifest.as_bytes()).to_string(), "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": "latest"},
        }],
    });
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// A directory to unpack into, with a tree beside it that nobody may touch.
pub(crate) struct Yard {
    dir: TempDir,
    before: Vec<String>,
}

impl Yard {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        fs::create_dir_all(canary.join("dir")).unwrap();
        fs::write(canary.join("file"), "canary").unwrap();
        fs::write(canary.join("dir/inner"), "canary").unwrap();
        std::os::unix::fs::symlink("file", canary.join("link")).unwrap();
        let before = Vec::new();
        let mut yard = Self { dir, before };
        yard.before = yard.outside();
        yard
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn canary(&self) -> PathBuf {
        self.dir.path().join("canary")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    /// Everything beside the target, with whatever could be changed about it.
    fn outside(&self) -> Vec<String> {
        let mut seen = Vec::new();
        let mut todo = vec![self.canary()];
        // The times of the yard itself change with the target; its names must not.
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let name = entry.unwrap().file_name();
            if !["target", "image"].iter().any(|known| name == *known) {
                seen.push(format!("{name:?}"));
            }
        }
        while let Some(path) = todo.pop() {
            let m = fs::symlink_metadata(&path).unwrap();
            let content = if m.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            seen.push(format!(
                "{path:?} {} {:o} {} {} {} {} {:?} {:?} {content:?}",
                m.ino(),
                m.mode(),
                m.uid(),
                m.gid(),
                m.nlink(),
                m.size(),
                m.mtime_nsec(),
                m.ctime_nsec(),
            ));
            if m.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            }
        }
        seen.sort();
        seen
    }

    /// # Panics
    /// If anything outside of the target is not as it was.
    pub(crate) fn check(&self, what: &str) {
        assert_eq!(self.outside(), self.before, "{what}");
    }

    /// Removes the target, for the next case.
    pub(crate) fn clear(&self) {
        if self.target().exists() {
            // Modes may be anything.
            make_removable(&self.target());
            fs::remove_dir_all(self.target()).unwrap();
        }
    }
}

fn make_removable(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            make_removable(&entry.path());
        }
    }
}

/// What is in a tree: kind and content by path. Files that are one file have the same content.
pub(crate) fn listing(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let text = if kind.is_dir() {
                todo.push(path.clone());
                "dir".to_owned()
            } else if kind.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else {
                format!(
                    "file {}",
                    String::from_utf8_lossy(&fs::read(&path).unwrap())
                )
            };
            seen.insert(path.strip_prefix(root).unwrap().to_owned(), text);
        }
    }
    seen
}

pub(crate) fn name(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
