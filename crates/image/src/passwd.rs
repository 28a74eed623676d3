//! Users and groups by the image's own files (passwd(5), group(5)).

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::config::ImageConfig;
use crate::error::Error;
use crate::record::Report;
use crate::tree::{Lost, Tree, components};

/// Who the command is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Who {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: Option<OsString>,
}

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";
/// As much as is read of such a file: 100000 users.
const MOST: u64 = 16 << 20;

/// Finds the ids for what the image says; root where it says nothing. Names come first and
/// numbers second, because a name may consist of digits.
pub(crate) fn look_up(
    config: &ImageConfig,
    root: &Path,
    report: Option<&Report>,
) -> Result<Who, Error> {
    let users = lines(root, PASSWD)?;
    let groups = lines(root, GROUP)?;
    let said = config.user.as_deref().unwrap_or("0");
    let mut who = Who::default();
    let mut own_group = None;
    let mut name: &[u8] = &[];
    if said.starts_with('/') {
        who.uid = owner(root, said, report, "user")?.0;
    } else {
        let by_name = users.iter().find(|user| user.has_name(said));
        let number: Option<u32> = said.parse().ok().filter(|uid| *uid != u32::MAX);
        let user = by_name.or_else(|| users.iter().find(|user| number == user.number(2)));
        who.uid = match user.and_then(|user| user.number(2)).or(number) {
            Some(uid) => uid,
            None => return Err(no_such("user", said)),
        };
        if let Some(user) = user {
            own_group = user.number(3);
            name = user.field(0);
            let home = user.field(5);
            who.home = (!home.is_empty()).then(|| OsString::from_vec(home.to_vec()));
        }
    }
    who.gid = match config.group.as_deref() {
        None => own_group.unwrap_or(0),
        Some(said) if said.starts_with('/') => owner(root, said, report, "group")?.1,
        Some(said) => {
            let by_name = groups.iter().find(|group| group.has_name(said));
            let number = || said.parse().ok().filter(|gid| *gid != u32::MAX);
            match by_name.and_then(|group| group.number(2)).or_else(number) {
                Some(gid) => gid,
                None => return Err(no_such("group", said)),
            }
        }
    };
    // As container engines do: who names a group gets that group alone.
    if config.group.is_none() && !name.is_empty() {
        let member = |group: &&Line| group.field(3).split(|b| *b == b',').any(|m| m == name);
        let further = groups.iter().filter(member).filter_map(|g| g.number(2));
        who.groups.extend(further);
    }
    who.groups.extend(&config.supplementary_groups);
    who.groups.retain(|gid| *gid != who.gid);
    who.groups.sort_unstable();
    who.groups.dedup();
    Ok(who)
}

fn no_such(kind: &'static str, name: &str) -> Error {
    Error::NoSuchId {
        kind,
        name: name.to_owned(),
        file: if kind == "user" {
            "/etc/passwd"
        } else {
            "/etc/group"
        },
    }
}

struct Line(Vec<u8>);

impl Line {
    fn field(&self, n: usize) -> &[u8] {
        self.0.split(|b| *b == b':').nth(n).unwrap_or_default()
    }

    fn has_name(&self, name: &str) -> bool {
        !name.is_empty() && self.field(0) == name.as_bytes()
    }

    fn number(&self, n: usize) -> Option<u32> {
        std::str::from_utf8(self.field(n)).ok()?.parse().ok()
    }
}

/// The lines of a file in the root, links inside followed; none if it is not there.
fn lines(root: &Path, name: &'static str) -> Result<Vec<Line>, Error> {
    let failed = |error: io::Error| Error::io("read", root.join(name), error);
    let mut tree = Tree::open(root, 256).map_err(failed)?;
    let file = match tree.file(name.as_bytes()) {
        Ok(file) => file,
        Err(Lost::Io(error)) => return Err(failed(error)),
        // A way that leads nowhere is a file that is not there.
        Err(Lost::Missing | Lost::NotADirectory(_) | Lost::Limit(_)) => None,
    };
    let mut bytes = Vec::new();
    if let Some(file) = file {
        file.take(MOST).read_to_end(&mut bytes).map_err(failed)?;
    }
    Ok(bytes
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(|line| Line(line.to_vec()))
        .collect())
}

/// The owner of a file in the root, by the report where files are the caller's.
fn owner(
    root: &Path,
    path: &str,
    report: Option<&Report>,
    kind: &'static str,
) -> Result<(u32, u32), Error> {
    let mut tree = Tree::open(root, 256).map_err(|e| Error::io("open", root, e))?;
    let file = tree.file(path.as_bytes());
    let file = file.ok().flatten().ok_or_else(|| no_such(kind, path))?;
    let metadata = file
        .metadata()
        .map_err(|e| Error::io("look at", root.join(path.trim_start_matches('/')), e))?;
    match report {
        Some(report) if !report.owners_kept => {
            let parts: Vec<&[u8]> = components(path.as_bytes()).collect();
            let path = crate::tarball::path(&parts.join(&b'/'));
            let owner = report.owners.iter().find(|owner| owner.path == path);
            Ok(owner.map_or((0, 0), |owner| (owner.uid, owner.gid)))
        }
        _ => Ok((metadata.uid(), metadata.gid())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::record::Owner;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs::create_dir(&etc).unwrap();
        // A user whose name is a number, and one without a home.
        let users = "root:x:0:0::/root:/bin/sh\n# comment\n\nann:x:10:20::/home/ann:\n\
                     77:x:11:21:::\nbroken\nbad:x:nan:1::/:\n";
        fs::write(etc.join("passwd"), users).unwrap();
        let groups = "root:x:0:\nstaff:x:20:bob\naudio:x:29:bob,ann\nvideo:x:44:ann\n12:x:13:\n";
        fs::write(etc.join("group"), groups).unwrap();
        root
    }

    fn who(root: &Path, user: Option<&str>, group: Option<&str>) -> Result<Who, Error> {
        let config = ImageConfig {
            user: user.map(str::to_owned),
            group: group.map(str::to_owned),
            ..ImageConfig::default()
        };
        look_up(&config, root, None)
    }

    #[test]
    fn names_come_before_numbers() {
        let root = root();
        let ids = |user, group| {
            let who = who(root.path(), user, group).unwrap();
            (who.uid, who.gid, who.groups)
        };
        assert_eq!(ids(None, None), (0, 0, vec![]));
        assert_eq!(ids(Some("ann"), None), (10, 20, vec![29, 44]));
        assert_eq!(ids(Some("10"), None), (10, 20, vec![29, 44]));
        assert_eq!(ids(Some("77"), None), (11, 21, vec![]));
        assert_eq!(ids(Some("5000"), None), (5000, 0, vec![]));
        assert_eq!(ids(Some("ann"), Some("video")), (10, 44, vec![]));
        assert_eq!(ids(Some("5000"), Some("12")), (5000, 13, vec![]));
        assert_eq!(ids(Some("0"), Some("6000")), (0, 6000, vec![]));
        let home = who(root.path(), Some("ann"), None).unwrap().home;
        assert_eq!(home, Some("/home/ann".into()));
        assert_eq!(who(root.path(), Some("77"), None).unwrap().home, None);
    }

    #[test]
    fn who_is_not_there_is_an_error() {
        let root = root();
        for (user, group) in [
            (Some("nobody"), None),
            (Some("bad"), None),
            (Some("-1"), None),
            (Some("4294967295"), None),
            (Some("ann"), Some("nogroup")),
            (Some("ann"), Some("4294967295")),
            (Some("/no/file"), None),
        ] {
            let who = who(root.path(), user, group);
            assert!(
                matches!(who, Err(Error::NoSuchId { .. })),
                "{user:?}: {who:?}"
            );
        }
        // Without the files numbers will do.
        let bare = tempfile::tempdir().unwrap();
        assert_eq!(who(bare.path(), Some("7"), Some("8")).unwrap().gid, 8);
        assert!(who(bare.path(), Some("ann"), None).is_err());
    }

    #[test]
    fn the_files_are_those_of_the_image() {
        let outside = root();
        let image = tempfile::tempdir().unwrap();
        symlink(outside.path().join("etc"), image.path().join("etc")).unwrap();
        assert!(who(image.path(), Some("ann"), None).is_err());
        fs::remove_file(image.path().join("etc")).unwrap();
        // A link that leads up is a link in the root.
        fs::create_dir_all(image.path().join("lib")).unwrap();
        fs::write(image.path().join("lib/passwd"), "ann:x:1:2:::\n").unwrap();
        fs::create_dir(image.path().join("etc")).unwrap();
        symlink("../../../lib/passwd", image.path().join("etc/passwd")).unwrap();
        assert_eq!(who(image.path(), Some("ann"), None).unwrap().uid, 1);
    }

    #[test]
    fn a_file_names_its_owner_by_the_report() {
        let root = root();
        let config = ImageConfig {
            user: Some("/etc/passwd".into()),
            group: Some("/etc/group".into()),
            ..ImageConfig::default()
        };
        let report = Report {
            owners: vec![Owner {
                path: "etc/passwd".into(),
                uid: 5,
                gid: 6,
            }],
            ..Report::default()
        };
        let who = look_up(&config, root.path(), Some(&report)).unwrap();
        assert_eq!((who.uid, who.gid), (5, 0));
        let own = fs::metadata(root.path().join("etc/group")).unwrap();
        let who = look_up(&config, root.path(), None).unwrap();
        assert_eq!((who.uid, who.gid), (own.uid(), own.gid()));
    }
}
