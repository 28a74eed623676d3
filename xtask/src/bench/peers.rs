//! Other programs that start a command apart from the host, as far as they are installed.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::candidate::{BWRAP, COMMAND, Candidate, How, bwrap_options};
use super::place::{Place, ids};
use crate::{Result, repo};

/// A program of the caller's choice: `NAME=COMMAND`, in which `{root}` stands for the root and
/// `{bwrap}` for the options that bwrap gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) command: String,
}

impl Peer {
    pub(super) fn from_text(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((name, command)) if !name.is_empty() && !command.trim().is_empty() => Ok(Self {
                name: name.to_owned(),
                command: command.to_owned(),
            }),
            _ => Err(format!("--peer {text:?} is not NAME=COMMAND").into()),
        }
    }

    fn line(&self, place: &Place) -> Vec<OsString> {
        self.command
            .split_whitespace()
            .flat_map(|word| match word {
                "{bwrap}" => bwrap_options(place, 0, &[COMMAND]),
                _ => vec![
                    word.replace("{root}", &place.root().to_string_lossy())
                        .into(),
                ],
            })
            .collect()
    }
}

/// Programs that are looked for, and what they are told. What does not fit everybody's idea of a
/// sandbox is said in docs/benchmarks.md.
const USUAL: [(&str, &str); 4] = [
    (
        "unshare",
        "unshare --user --map-current-user --mount --pid --fork --ipc --uts --net --cgroup \
         --mount-proc --kill-child -- /bin/true",
    ),
    (
        "firejail",
        "firejail --quiet --noprofile --net=none --private-tmp --private-dev --read-only=/ \
         -- /bin/true",
    ),
    (
        "systemd-nspawn",
        "systemd-nspawn --quiet --register=no --directory={root} --read-only --bind-ro=/usr \
         --tmpfs=/tmp --private-network -- /bin/true",
    ),
    ("hakoniwa", "hakoniwa run -- /bin/true"),
];

/// bwrap with `binds` binds, if there is one.
pub(super) fn bwrap(place: &Place, binds: usize) -> How {
    installed(BWRAP, || {
        let mut line = vec![BWRAP.into()];
        line.extend(bwrap_options(place, binds, &[COMMAND]));
        Ok(line)
    })
}

/// All peers; `scratch` is a directory of this account's own.
pub(super) fn all(place: &Place, more: &[Peer], scratch: &Path) -> Vec<Candidate> {
    let mut candidates = vec![Candidate::new(BWRAP, bwrap(place, 0))];
    candidates.extend(USUAL.map(|(name, command)| {
        let peer = Peer::from_text(&format!("{name}={command}"));
        Candidate::new(name, installed(name, || Ok(peer?.line(place))))
    }));
    let crun = installed("crun", || crun(place, scratch));
    candidates.push(Candidate::new("crun", crun));
    let more = more.iter().map(|peer| {
        let how = How::Process(peer.line(place));
        Candidate::new(peer.name.clone(), how)
    });
    candidates.extend(more);
    candidates
}

fn installed(program: &str, line: impl FnOnce() -> Result<Vec<OsString>>) -> How {
    if !repo::have(program) {
        return How::Not("not installed".to_owned());
    }
    match line() {
        Ok(line) => How::Process(line),
        Err(error) => How::Not(error.to_string()),
    }
}

/// crun, with a bundle that asks for the same.
fn crun(place: &Place, scratch: &Path) -> Result<Vec<OsString>> {
    let (uid, gid) = ids()?;
    let mount = |at: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": at, "type": kind, "source": source, "options": options});
    let namespaces = ["user", "mount", "pid", "ipc", "uts", "network", "cgroup"];
    let config = json!({
        "ociVersion": "1.0.0",
        "process": {"args": [COMMAND], "cwd": "/", "env": [], "noNewPrivileges": true,
                    "user": {"uid": 0, "gid": 0}},
        "root": {"path": place.root(), "readonly": true},
        "mounts": [
            mount("/usr", "bind", "/usr", &["rbind", "ro"]),
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "mode=755"]),
            mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
        ],
        "linux": {
            "namespaces": namespaces.map(|kind| json!({"type": kind})),
            "uidMappings": [{"containerID": 0, "hostID": uid, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": gid, "size": 1}],
        },
    });
    let bundle = scratch.join("bundle");
    fs::create_dir_all(&bundle)?;
    fs::write(bundle.join("config.json"), config.to_string())?;
    let mut line: Vec<OsString> = vec!["crun".into(), "--cgroup-manager=disabled".into()];
    line.extend(["--root".into(), scratch.join("crun").into()]);
    line.extend([
        "run".into(),
        "--bundle".into(),
        bundle.into(),
        "bench".into(),
    ]);
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_a_name_and_a_command() {
        let peer = Peer::from_text("mine=/x/bwrap {bwrap}").unwrap();
        let line = peer.line(&Place::at("/p"));
        assert_eq!(line[0], "/x/bwrap");
        assert!(line.iter().any(|word| word == "/p/root"), "{line:?}");
        let peer = Peer::from_text("x=run --at={root}/tmp").unwrap();
        assert_eq!(peer.line(&Place::at("/p")), ["run", "--at=/p/root/tmp"]);
        for wrong in ["", "name", "=x", "name= "] {
            assert!(Peer::from_text(wrong).is_err(), "{wrong:?}");
        }
    }
}
