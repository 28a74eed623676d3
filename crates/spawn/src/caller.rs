//! Who the caller is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use nix::unistd::{Uid, User};

/// The effective user and group id of the caller.
#[must_use]
pub fn caller_ids() -> (u32, u32) {
    (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    )
}

/// The directories that may be the caller's home: what HOME says, and what the user database
/// does (passwd(5)). Neither is checked: the first is whatever the environment has, and programs
/// that were started in odd ways have none or another's.
#[must_use]
pub fn caller_homes() -> Vec<PathBuf> {
    let (uid, _) = caller_ids();
    let of_environment = std::env::var_os("HOME").map(PathBuf::from);
    // Most users are in the file, and to read it costs less than to ask all the sources that
    // nsswitch.conf(5) may name.
    let file = std::fs::read("/etc/passwd").unwrap_or_default();
    let of_database = home_in(&file, uid).or_else(|| {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        user.map(|user| user.dir)
    });
    of_environment.into_iter().chain(of_database).collect()
}

/// The home directory that the content of a passwd file gives `uid`.
fn home_in(passwd: &[u8], uid: u32) -> Option<PathBuf> {
    passwd.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let id = OsStr::from_bytes(fields.nth(2)?).to_str()?;
        let home = fields.nth(2)?;
        let is_it = id.parse() == Ok(uid) && !home.is_empty();
        is_it.then(|| OsString::from_vec(home.to_vec()).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_of_a_user_is_the_sixth_field() {
        let file = b"root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken:x:7\n\
                     odd:x:7:7:,,,:/data/\xff:/bin/sh\nnone:x:8:8:::/bin/sh\nlast:x:9:9::/l";
        assert_eq!(home_in(file, 0), Some("/root".into()));
        let odd = OsString::from_vec(b"/data/\xff".to_vec());
        assert_eq!(home_in(file, 7), Some(odd.into()));
        for nobody in [8, 10] {
            assert_eq!(home_in(file, nobody), None);
        }
        assert_eq!(home_in(file, 9), Some("/l".into()));
    }

    #[test]
    fn the_database_says_the_same_as_the_system() {
        let (uid, _) = caller_ids();
        let user = User::from_uid(Uid::from_raw(uid)).unwrap();
        assert!(user.is_none_or(|user| caller_homes().contains(&user.dir)));
    }
}
