//! What somebody sees while an image is unpacked. It is made to take as long as the test likes by
//! a lock: the upper of its two layers is what another process seems to be unpacking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use sandboxlib_image::Digest;
use sandboxlib_tests::{RunSandbox, Terminal, TinyRoot, have, watch};
use tempfile::TempDir;

mod layouts;

use layouts::{layout, names, run};

/// Longer than it takes until a bar is shown.
const A_WHILE: Duration = Duration::from_secs(1);

/// An image that is not unpacked further than its lower layer until it is released.
struct Stuck {
    dir: TempDir,
    image: PathBuf,
    /// Bytes of the lower layer.
    length: u64,
    holder: Child,
}

impl Stuck {
    /// With so many bytes in the lower layer, beside a shell.
    fn new(bytes: usize) -> Option<Self> {
        let root = TinyRoot::new()?;
        if !have("flock", "util-linux") {
            return None;
        }
        let dir = TempDir::new().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let base = dir.path().join("base");
        run(dir.path(), &format!("cp -a {:?} base", root.path()));
        fs::write(base.join("data"), vec![b'x'; bytes]).unwrap();
        fs::create_dir(dir.path().join("top")).unwrap();
        fs::write(dir.path().join("top/file"), "").unwrap();
        let image = layout(dir.path(), "image", &["base", "top"]);
        let top = Digest::of(&fs::read(dir.path().join("layer.tar")).unwrap());
        let blobs = fs::read_dir(image.join("blobs/sha256")).unwrap();
        let length = blobs.map(|blob| blob.unwrap().metadata().unwrap().len());
        let length = length.max().unwrap();
        // What the lock is called, another cache tells.
        let tried = dir.path().join("tried");
        assert_eq!(say_done(&image, &tried).run().good(), "done");
        let is_it = |name: &String| name.contains(top.hex()) && name.ends_with(".make");
        let locks = names(&tried.join("locks"));
        let name = locks.into_iter().find(is_it).expect("a lock of the layer");
        let cache = dir.path().join("cache");
        fs::create_dir_all(cache.join("locks")).unwrap();
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
        let mut holder = Command::new("flock")
            .arg(cache.join("locks").join(name))
            .args(["sh", "-c", "echo held; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut held = String::new();
        let mut lines = BufReader::new(holder.stdout.take().unwrap());
        lines.read_line(&mut held).unwrap();
        assert_eq!(held, "held\n");
        Some(Self {
            dir,
            image,
            length,
            holder,
        })
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// A run of a command that says "done".
    fn run(&self) -> RunSandbox {
        say_done(&self.image, &self.cache())
    }

    /// Waits until the lower layer is there, and then a while.
    fn wait_until_stuck(&self) {
        let layers = self.cache().join("layers");
        let found = watch::within(Duration::from_secs(20), || {
            (layers.exists() && names(&layers).len() == 1).then_some(())
        });
        found.expect("a layer in the cache");
        thread::sleep(A_WHILE);
        assert_eq!(names(&layers).len(), 1, "it goes on");
    }

    fn release(&mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().unwrap();
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.release();
    }
}

fn say_done(image: &Path, cache: &Path) -> RunSandbox {
    let sandbox = RunSandbox::new(image).option("--image-cache", &[&cache]);
    sandbox.command(&[&"echo", &"done"])
}

fn text(terminal: &Terminal) -> String {
    String::from_utf8(terminal.shown()).unwrap()
}

#[test]
fn a_terminal_shows_how_far_a_large_image_is() {
    let Some(mut stuck) = Stuck::new(20 << 20) else {
        return;
    };
    let mut terminal = Terminal::start(&stuck.run().line());
    terminal.expect("unpacking ");
    // In hundredths of a MiB, rounded.
    let hundredths = (stuck.length * 100 + (1 << 19)) >> 20;
    let amount = format!("{}.{:02} MiB", hundredths / 100, hundredths % 100);
    terminal.expect(&format!(" {amount} of {amount}"));
    stuck.release();
    terminal.expect("done");
    assert!(terminal.wait().success());
    // Before the command says anything, the line is empty again.
    let shown = text(&terminal);
    let (_, after) = shown.rsplit_once(" MiB").unwrap();
    let (between, end) = after.split_once("done").unwrap();
    assert!(between.ends_with("\r\x1b[2K"), "{shown:?}");
    assert_eq!(end, "\r\n", "{shown:?}");
    // What is unpacked already is not unpacked.
    let mut again = Terminal::start(&stuck.run().line());
    again.expect("done\r\n");
    assert!(again.wait().success());
    assert_eq!(text(&again), "done\r\n");
}

#[test]
fn a_small_image_shows_nothing_however_long_it_takes() {
    let Some(mut stuck) = Stuck::new(0) else {
        return;
    };
    let mut terminal = Terminal::start(&stuck.run().line());
    stuck.wait_until_stuck();
    assert_eq!(text(&terminal), "");
    stuck.release();
    terminal.expect("done\r\n");
    assert!(terminal.wait().success());
    assert_eq!(text(&terminal), "done\r\n");
}

#[test]
fn without_a_terminal_nothing_is_said() {
    let Some(mut stuck) = Stuck::new(20 << 20) else {
        return;
    };
    let child = stuck
        .run()
        .line()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    stuck.wait_until_stuck();
    stuck.release();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let (out, err) = (output.stdout, output.stderr);
    assert_eq!((&*out, &*err), (&b"done\n"[..], &b""[..]));
}
