//! Sandboxes that are defined in files and used by name.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sandboxlib_tests::{TinyRoot, run_sandbox};

/// The caller's directory of definitions, which only this user can change.
struct Definitions(tempfile::TempDir);

impl Definitions {
    fn new(files: &[(&str, String)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sandboxlib")).unwrap();
        let this = Self(dir);
        for (name, text) in files {
            fs::write(this.file(name), text).unwrap();
            chmod(&this.file(name), 0o644);
        }
        chmod(&this.0.path().join("sandboxlib"), 0o755);
        this
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("sandboxlib").join(name)
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut line = Command::new(run_sandbox());
        line.env("XDG_CONFIG_HOME", self.0.path()).current_dir("/");
        line.args(words).output().unwrap()
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

#[test]
fn a_name_is_used_many_times_and_the_command_line_wins() {
    let Some(root) = TinyRoot::new() else { return };
    let here = Definitions::new(&[
        (
            "tiny.toml",
            format!("sandbox = {:?}\nread-only = true\n", root.path()),
        ),
        (
            "build.toml",
            "extends = 'tiny'\ncwd = '/home'\nhostname = 'builder'\ncommand = 'hostname'\n\
             [env]\nA = '1'"
                .to_owned(),
        ),
    ]);
    for (words, wanted) in [
        (&["@build"][..], "builder"),
        (&["@build", "pwd"], "/home"),
        (
            &["@build", "--", "sh", "-c", "echo $A; touch /x 2>&1"],
            "1\ntouch: /x: Read-only file system",
        ),
        (
            &[
                "--hostname",
                "other",
                "--cwd",
                "/etc",
                "@build",
                "sh",
                "-c",
                "hostname; pwd",
            ],
            "other\n/etc",
        ),
        (&["@tiny", "pwd"], "/"),
    ] {
        let output = here.run(words);
        assert_eq!(text(&output.stdout), wanted, "{words:?}: {output:?}");
    }
    // A file of another place may extend them.
    let other = tempfile::NamedTempFile::new().unwrap();
    fs::write(other.path(), "extends = 'build'\nhostname = 'third'").unwrap();
    let output = here.run(&["--config", other.path().to_str().unwrap()]);
    assert_eq!(text(&output.stdout), "third", "{output:?}");
}

#[test]
fn the_list_tells_which_there_are() {
    let here = Definitions::new(&[
        (
            "one.toml",
            "sandbox = '../x'\ndescription = 'the first'".to_owned(),
        ),
        ("two.toml", "extends = 'three'".to_owned()),
        ("three.toml", "extends = 'two'".to_owned()),
    ]);
    let output = here.run(&["--list"]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let shown = text(&output.stdout);
    assert!(
        shown.contains("@one  ") && shown.contains("    the first"),
        "{shown}"
    );
    assert!(shown.contains("@two  broken"), "{shown}");
    assert!(shown.contains("two extends three extends two"), "{shown}");
    let json: serde_json::Value =
        serde_json::from_slice(&here.run(&["--list=json"]).stdout).unwrap();
    let names: Vec<_> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    for name in ["one", "two", "three"] {
        assert!(names.iter().any(|n| **n == *name), "{json}");
    }
    for (word, said) in [
        ("@two", "two extends three extends two"),
        ("@none-of-that-name", "no sandbox @none-of-that-name"),
        ("@../one", "is no name of a sandbox"),
    ] {
        let output = here.run(&[word]);
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        assert!(text(&output.stderr).contains(said), "{output:?}");
    }
}

#[test]
fn root_goes_by_what_nobody_else_can_change() {
    let Some(root) = TinyRoot::new() else { return };
    let sandbox = format!("sandbox = {:?}", root.path());
    let here = Definitions::new(&[
        ("x.toml", sandbox.clone()),
        ("y.toml", "extends = 'x'".into()),
    ]);
    let privileged = fs::metadata("/proc/self").unwrap().uid() == 0;
    let check = |cure: Option<&str>| {
        for name in ["@x", "@y"] {
            let output = here.run(&[name, "true"]);
            match cure.filter(|_| privileged) {
                None => assert!(output.status.success(), "{output:?}"),
                Some(cure) => {
                    assert_eq!(output.status.code(), Some(125), "{output:?}");
                    assert!(text(&output.stderr).contains(cure), "{output:?}");
                }
            }
        }
    };
    let dir = here.file("");
    check(None);
    chmod(&here.file("x.toml"), 0o664);
    check(Some("chmod go-w"));
    chmod(&here.file("x.toml"), 0o644);
    chmod(&dir, 0o777);
    check(Some("chmod go-w"));
    chmod(&dir, 0o755);
    check(None);
    if privileged {
        chown(here.file("x.toml"), Some(12345), None).unwrap();
        check(Some("chown root"));
        // Behind a link it is the same one.
        fs::rename(here.file("x.toml"), here.0.path().join("real")).unwrap();
        std::os::unix::fs::symlink("../real", here.file("x.toml")).unwrap();
        check(Some("belongs to user 12345"));
    }
}
