//! The ordinary account that root's tests and measurements run under as well.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Result, repo};

/// An account from /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Names the account to use. Without it: the one that `.ci/run` makes, or nobody. No account
/// that belongs to a person is ever taken unasked.
const CHOICE: &str = "SANDBOXLIB_TEST_USER";
const CANDIDATES: [&str; 2] = ["sandboxtest", "nobody"];

impl Account {
    /// The ordinary account of this machine.
    pub(crate) fn ordinary() -> Result<Self> {
        if !repo::have("setpriv") {
            return Err("there is no setpriv (package util-linux)".into());
        }
        let passwd = String::from_utf8_lossy(&fs::read("/etc/passwd")?).into_owned();
        match std::env::var(CHOICE) {
            Ok(name) => find(&passwd, &name)
                .ok_or_else(|| format!("{CHOICE}={name}: no such ordinary account").into()),
            Err(_) => CANDIDATES
                .iter()
                .find_map(|name| find(&passwd, name))
                .ok_or_else(|| format!("no account of {CANDIDATES:?}; set {CHOICE}").into()),
        }
    }

    /// The words in front of a command line that is to run under this account.
    pub(crate) fn prefix(&self) -> String {
        let Self { uid, gid, .. } = self;
        format!("setpriv --reuid={uid} --regid={gid} --clear-groups --")
    }

    /// A command that runs `program` under this account with `home` as its home, and of our
    /// environment PATH alone.
    pub(crate) fn command(&self, program: &Path, home: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", self.uid))
            .arg(format!("--regid={}", self.gid))
            .args(["--clear-groups", "--"])
            .arg(program)
            .env_clear()
            .env("HOME", home)
            .env("USER", &self.name)
            .env("LOGNAME", &self.name)
            .env("LANG", "C.UTF-8");
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    /// Makes `path` belong to this account, with everything below it.
    pub(crate) fn own(&self, path: &Path) -> Result {
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))?;
        if fs::symlink_metadata(path)?.is_dir() {
            for entry in fs::read_dir(path)? {
                self.own(&entry?.path())?;
            }
        }
        Ok(())
    }
}

fn find(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (uid != 0).then(|| Account {
            name: name.to_owned(),
            uid,
            gid,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:n:/:/bin/false\n";

    #[test]
    fn finds_accounts_and_never_root() {
        let nobody = find(PASSWD, "nobody").unwrap();
        assert_eq!((nobody.uid, nobody.gid), (65534, 65533));
        assert_eq!(find(PASSWD, "root"), None);
        assert_eq!(find(PASSWD, "nob"), None);
    }
}
