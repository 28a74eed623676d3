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
