//! OCI layouts, written by hand, and what is in a directory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sandboxlib_image::Digest;

/// Runs a script in `dir`.
pub(crate) fn run(dir: &Path, command: &str) {
    let status = Command::new("sh")
        .args(["-euc", command])
        .current_dir(dir)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{command}");
}

/// An OCI layout of these layers, each a directory to be packed by tar.
pub(crate) fn layout(dir: &Path, name: &str, layers: &[&str]) -> PathBuf {
    let image = dir.join(name);
    let blobs = image.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        serde_json::json!({"digest": digest.to_string(), "size": bytes.len()})
    };
    let kind = |mut of: serde_json::Value, kind: &str| {
        of["mediaType"] = format!("application/vnd.oci.image.{kind}").into();
        of
    };
    let packed: Vec<Vec<u8>> = layers
        .iter()
        .map(|layer| {
            let tar = format!("tar --sort=name --mtime=@0 -C {layer} -cf layer.tar .");
            run(dir, &tar);
            fs::read(dir.join("layer.tar")).unwrap()
        })
        .collect();
    let diff_ids: Vec<String> = packed.iter().map(|l| Digest::of(l).to_string()).collect();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "config": {"Cmd": [name]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = kind(put(config.to_string().as_bytes()), "config.v1+json");
    let layers: Vec<_> = packed
        .iter()
        .map(|l| kind(put(l), "layer.v1.tar"))
        .collect();
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
    let manifest = kind(put(manifest.to_string().as_bytes()), "manifest.v1+json");
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(image.join("index.json"), index.to_string()).unwrap();
    fs::write(
        image.join("oci-layout"),
        r#"{"imageLayoutVersion": "1.0.0"}"#,
    )
    .unwrap();
    image
}

/// The names in a directory.
pub(crate) fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
