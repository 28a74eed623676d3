//! What is known about an unpacked tree and cannot be seen in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::owners::Ownership;
use crate::tarball;

/// A path inside a root, without a leading slash; empty for the root itself.
pub(crate) type Name = Vec<u8>;

/// What became of an image that was unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Report {
    /// The entries of all layers.
    pub entries: u64,
    /// The bytes of all layers, decompressed.
    pub bytes: u64,
    /// The layers.
    pub layers: u64,
    /// Whether files have the owners that the image says, as the caller sees them. Without that
    /// they are the caller's, or those of a user namespace
    /// ([`Ownership::Mapped`]), and [`owners`](Self::owners) says
    /// whose they should be.
    pub owners_kept: bool,
    /// What the image gives to others than root (0:0).
    pub owners: Vec<Owner>,
    /// Which of these have 0 for a user or group that the user namespace does not have.
    pub not_mapped: Vec<Owner>,
    /// What the image has and the directory does not.
    pub left_out: Vec<LeftOut>,
}

/// Whose a file is, by the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The file, from the root of the image, without a leading slash.
    pub path: PathBuf,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Something that was not unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The entry, from the root of the image.
    pub path: PathBuf,
    /// What of it, such as "a character device" or "the set-user-id bit".
    pub what: String,
}

/// What a directory is to be like when everything in it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirMeta {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) xattrs: Vec<(Name, Vec<u8>)>,
}

/// The record of one layer, or of a root that was put together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Bytes of all names.
    pub(crate) names: u64,
    pub(crate) layers: u64,
    /// The directories that have an entry. The others were made on the way.
    #[serde(with = "pairs")]
    pub(crate) directories: BTreeMap<Name, DirMeta>,
    /// What is not 0:0.
    #[serde(with = "pairs")]
    pub(crate) owners: BTreeMap<Name, (u32, u32)>,
    pub(crate) left_out: Vec<(Name, String)>,
    /// What the layers below have and this one takes away.
    pub(crate) whiteouts: BTreeSet<Name>,
    /// The directories of which this layer takes away what those below have in them.
    pub(crate) opaque: BTreeSet<Name>,
    /// Hard links to what a layer below has.
    #[serde(with = "pairs")]
    pub(crate) links: BTreeMap<Name, Name>,
}

impl Record {
    /// Forgets `path` and everything below it: it was taken away.
    pub(crate) fn forget(&mut self, path: &[u8]) {
        forget(&mut self.directories, path);
        forget(&mut self.owners, path);
        forget(&mut self.links, path);
    }

    /// Notes an owner that is not root.
    pub(crate) fn owner(&mut self, path: &[u8], uid: u32, gid: u32) {
        if (uid, gid) == (0, 0) {
            self.owners.remove(path);
        } else {
            self.owners.insert(path.to_vec(), (uid, gid));
        }
    }

    pub(crate) fn leave_out(&mut self, path: &[u8], what: impl Into<String>) {
        self.left_out.push((path.to_vec(), what.into()));
    }

    /// What is given to another user or group than the image says, for want of those.
    pub(crate) fn not_mapped<'a>(
        &'a self,
        ownership: &'a Ownership,
    ) -> impl Iterator<Item = (&'a Name, (u32, u32))> {
        let owners = self.owners.iter().map(|(path, ids)| (path, *ids));
        owners.filter(|(_, (uid, gid))| {
            ownership
                .of(*uid, *gid)
                .is_some_and(|given| given != (*uid, *gid))
        })
    }

    /// Whether something was given to another than root.
    pub(crate) fn gives(&self, ownership: &Ownership) -> bool {
        let mut given = self.owners.values();
        given.any(|(uid, gid)| ownership.of(*uid, *gid).unwrap_or((*uid, *gid)) != (0, 0))
    }

    pub(crate) fn report(&self, ownership: &Ownership) -> Report {
        let owner = |path: &Name, (uid, gid)| Owner {
            path: tarball::path(path),
            uid,
            gid,
        };
        Report {
            entries: self.entries,
            bytes: self.bytes,
            layers: self.layers,
            owners_kept: *ownership == Ownership::Image,
            owners: self.owners.iter().map(|(p, ids)| owner(p, *ids)).collect(),
            not_mapped: self
                .not_mapped(ownership)
                .map(|(path, ids)| owner(path, ids))
                .collect(),
            left_out: self
                .left_out
                .iter()
                .map(|(path, what)| LeftOut {
                    path: tarball::path(path),
                    what: what.clone(),
                })
                .collect(),
        }
    }
}

/// What is at `path` and below it.
fn forget<V>(map: &mut BTreeMap<Name, V>, path: &[u8]) {
    map.remove(path);
    let from = [path, b"/"].concat();
    // The byte after '/'.
    let to = [path, b"0"].concat();
    let range = (Bound::Included(from), Bound::Excluded(to));
    let below: Vec<Name> = map.range(range).map(|(name, _)| name.clone()).collect();
    for name in below {
        map.remove(&name);
    }
}

/// JSON has maps with strings as keys alone, and names are bytes.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S, K, V>(map: &BTreeMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        K: Serialize,
        V: Serialize,
    {
        serializer.collect_seq(map.iter())
    }

    pub(super) fn deserialize<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        D: Deserializer<'de>,
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_is_forgotten_and_nothing_beside() {
        let mut record = Record::default();
        for name in ["a", "a/b", "a/b/c", "a-b", "a0", "ab", "b"] {
            record.owner(name.as_bytes(), 1, 1);
        }
        record.forget(b"a");
        let left: Vec<&[u8]> = record.owners.keys().map(Vec::as_slice).collect();
        assert_eq!(left, [&b"a-b"[..], b"a0", b"ab", b"b"]);
    }

    #[test]
    fn a_record_survives_json_with_names_that_are_no_text() {
        let mut record = Record::default();
        record.owner(b"\xff\n\"", 1, 2);
        record.whiteouts.insert(vec![0x80]);
        record.leave_out(b"\xfe", "a fifo");
        let json = serde_json::to_vec(&record).unwrap();
        assert_eq!(serde_json::from_slice::<Record>(&json).unwrap(), record);
    }
}
