//! What the attacks are tried against: command lines with places to fill in.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Who;

/// A sandbox, as the command line that the attack program is put behind.
///
/// Places in the words: `{root}` is the directory that the sandbox has as its root, `{work}` the
/// one to be writable at /work, `{ro}` the one to be read-only at /ro, `{name}` a name that no
/// other run has.
#[derive(Debug, Clone)]
pub struct Target {
    /// For the table.
    pub name: String,
    /// What was found installed.
    pub version: String,
    /// The words.
    pub words: Vec<String>,
    /// How a path is hidden: words for `{path}`, which take the place of a word `{mask}`. Empty
    /// for a program that hides none.
    pub mask: Vec<String>,
    /// The host's root is the sandbox's: for techniques that are about that.
    pub host_root: bool,
    /// Whether it is a backend of ours, which has to bear whatever is put around it.
    pub ours: bool,
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Our backends, by run-sandbox.
#[must_use]
pub fn ours(program: &Path, who: Who) -> Vec<Target> {
    let line = |options: &str, root: &str| {
        let mut line = vec![program.display().to_string()];
        line.extend(words(options));
        line.extend(words(
            "--read-only --bind {work} /work --ro-bind {ro} /ro {mask}",
        ));
        line.extend(words(root));
        line.push("--".to_owned());
        line
    };
    let target = |name: &str, options: &str| Target {
        name: name.to_owned(),
        version: version(&program.display().to_string()),
        words: line(options, "{root}"),
        mask: words("--mask {path}"),
        host_root: false,
        ours: true,
    };
    let mut targets = vec![
        target("userns", "-e userns"),
        target("bubblewrap", "-e bubblewrap"),
        Target {
            // It hides no path; what is preferred is not enforced.
            mask: Vec::new(),
            ..target("linux-user-chroot", "-e linux-user-chroot --prefer all")
        },
    ];
    let shown = "--cwd / --ro-bind {attack} /attack";
    targets.push(Target {
        words: line(&format!("-e userns {shown}"), "/"),
        host_root: true,
        ..target("userns on /", "")
    });
    if who == Who::Root {
        targets.push(target("chroot", "-e chroot --prefer all"));
    }
    targets
}

/// Another program, by the command line that comes nearest to what ours are asked for.
struct Peer {
    name: &'static str,
    words: &'static [&'static str],
    mask: &'static [&'static str],
}

const PEERS: &[Peer] = &[
    Peer {
        name: "bwrap",
        words: &[
            "bwrap",
            "--unshare-all",
            "--die-with-parent",
            "--new-session",
            "--clearenv",
            "--cap-drop",
            "ALL",
            "--ro-bind",
            "{root}",
            "/",
            "--bind",
            "{work}",
            "/work",
            "--ro-bind",
            "{ro}",
            "/ro",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--tmpfs",
            "/tmp",
            "{mask}",
            "--",
        ],
        mask: &["--ro-bind", "/dev/null", "{path}"],
    },
    Peer {
        name: "unshare",
        words: &[
            "unshare",
            "--map-root-user",
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--cgroup",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            "mount --bind {root} {root} && mount -o remount,bind,ro {root} && \
             mount --bind {work} {root}/work && mount --rbind {ro} {root}/ro && \
             mount -o remount,bind,ro {root}/ro && mount -t proc proc {root}/proc && \
             mount -t tmpfs tmp {root}/tmp && exec chroot {root} \"$@\"",
            "sh",
        ],
        mask: &[],
    },
    Peer {
        name: "systemd-nspawn",
        // In a scope that systemd makes for it: with `--keep-unit` it would leave control groups
        // behind, so where there is no systemd it is not tried.
        words: &[
            "systemd-nspawn",
            "--quiet",
            "--pipe",
            "--register=no",
            "--as-pid2",
            "--machine={name}",
            "--directory={root}",
            "--read-only",
            "--private-network",
            "--bind={work}:/work",
            "--bind-ro={ro}:/ro",
            "--tmpfs=/tmp",
            "{mask}",
            "--",
        ],
        mask: &["--inaccessible={path}"],
    },
    Peer {
        name: "firejail",
        words: &[
            "firejail",
            "--quiet",
            "--noprofile",
            "--net=none",
            "--chroot={root}",
            "--caps.drop=all",
            "--seccomp",
            "--nonewprivs",
            "--private-dev",
            "--",
        ],
        mask: &[],
    },
    Peer {
        name: "crun",
        words: &["sh", "-c", CRUN, "sh"],
        mask: &[],
    },
];

/// A bundle with what an engine asks for by default, but for the filter of system calls, which
/// each engine brings itself. In its mount namespace there is the one hierarchy of control groups
/// that it can deal with.
const CRUN: &str = r#"d=$(mktemp -d) && args=$(printf ',"%s"' "$@") && cat >"$d/config.json" <<END &&
{"ociVersion":"1.0.0","root":{"path":"{root}","readonly":true},
"process":{"user":{"uid":0,"gid":0},"args":[${args#,}],"cwd":"/","noNewPrivileges":true,
"capabilities":{"bounding":[],"effective":[],"permitted":[]}},
"mounts":[{"destination":"/proc","type":"proc","source":"proc"},
{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755"]},
{"destination":"/tmp","type":"tmpfs","source":"tmpfs"},
{"destination":"/work","type":"bind","source":"{work}","options":["rbind","rw"]},
{"destination":"/ro","type":"bind","source":"{ro}","options":["rbind","ro"]}],
"linux":{"namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},
{"type":"mount"}],"maskedPaths":["/proc/kcore","/proc/keys","/proc/timer_list"],
"readonlyPaths":["/proc/sys","/proc/irq","/proc/bus","/proc/fs","/proc/sysrq-trigger"]}}
END
unshare --mount sh -c 'umount -lR /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"' \
sh crun --root="$d/state" --cgroup-manager=disabled run --bundle="$d" {name}; s=$?
rm -rf "$d"; exit $s"#;

/// Another program: one that is known by its name, or any command line with places.
///
/// # Errors
/// If the line has no place for the root, or has the host's.
pub fn other(line: &str) -> Result<Target, String> {
    let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
    if let Some(peer) = PEERS.iter().find(|peer| peer.name == line.trim()) {
        return Ok(Target {
            name: peer.name.to_owned(),
            version: version(peer.name),
            words: owned(peer.words),
            mask: owned(peer.mask),
            host_root: false,
            ours: false,
        });
    }
    let words = words(line);
    let known: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
    let Some(program) = words.first() else {
        return Err("an empty command".to_owned());
    };
    if !line.contains("{root}") {
        return Err(format!(
            "the command has no {{root}}: the directory made for it has to be its root (or one of \
             {})",
            known.join(", ")
        ));
    }
    // A tool that is given the host's `/` may change the machine; as the place for {root} it may
    // be named.
    let mut before = "";
    for word in &words {
        if (word == "/" && before != "{root}") || word.ends_with("=/") {
            return Err(format!(
                "the command names the host's `/` behind {before:?}"
            ));
        }
        before = word;
    }
    Ok(Target {
        name: Path::new(program)
            .file_name()
            .map_or_else(|| program.clone(), |n| n.to_string_lossy().into_owned()),
        version: version(program),
        words: words.clone(),
        mask: Vec::new(),
        host_root: false,
        ours: false,
    })
}

/// The first line that a program says about its version.
fn version(program: &str) -> String {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    text.ok()
        .and_then(|text| text.lines().next().map(|line| line.trim().to_owned()))
        .unwrap_or_default()
}

/// Where our own helper program lies: beside run-sandbox.
pub(crate) fn search_path(program: &Path) -> std::ffi::OsString {
    let mut dirs: Vec<PathBuf> = program.parent().map(Path::to_owned).into_iter().collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    dirs.extend(std::env::split_paths(&path));
    std::env::join_paths(dirs).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::other;

    #[test]
    fn the_hosts_root_is_given_to_nobody() {
        for line in [
            "",
            "bwrap --ro-bind / / --",
            "bwrap --ro-bind / / --bind {root} /x --",
            "tool --directory=/ {root}",
        ] {
            assert!(other(line).is_err(), "{line}");
        }
        assert!(other("bwrap --ro-bind {root} / --").is_ok());
        assert!(other("systemd-nspawn").is_ok());
    }
}
