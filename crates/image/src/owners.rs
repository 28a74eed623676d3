use serde::{Deserialize, Serialize};

use crate::Digest;

/// Who owns what is unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Ownership {
    /// The caller owns all of it, and the [`Report`](crate::Report) says whose it should be. Needs
    /// no privilege.
    Caller,
    /// The users and groups that the image says, by number. Needs to be root (chown(2)).
    Image,
    /// The users and groups that the image says, as far as a user namespace has them. Needs to be
    /// root of one that has this map. A user or group that it does not have becomes 0, and the
    /// report says so.
    Mapped(IdMap),
}

impl Ownership {
    /// The image's for root, the caller's for everybody else.
    #[must_use]
    pub fn auto() -> Self {
        if rustix::process::geteuid().is_root() {
            Self::Image
        } else {
            Self::Caller
        }
    }

    /// Whether files are given to those whom the image says.
    pub(crate) fn is_kept(&self) -> bool {
        *self != Self::Caller
    }

    /// The user and the group to whom a file of these is given; `None` if it stays the caller's.
    pub(crate) fn of(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        match self {
            Self::Caller => None,
            Self::Image => Some((uid, gid)),
            Self::Mapped(map) => {
                let if_there = |ranges: &[Range], id| if has(ranges, id) { id } else { 0 };
                Some((if_there(&map.uids, uid), if_there(&map.gids, gid)))
            }
        }
    }

    /// A word that tells it from the others in the names of the cache.
    pub(crate) fn word(&self) -> String {
        match self {
            Self::Caller => "caller".to_owned(),
            Self::Image => "image".to_owned(),
            Self::Mapped(map) => {
                // Enough of it that a user never has two maps of one name.
                let digest = Digest::of(format!("{:?} {:?}", map.uids, map.gids).as_bytes());
                format!("map{:.16}", digest.hex())
            }
        }
    }
}

/// The ids that there are in a user namespace, and what they are outside (user_namespaces(7)).
/// Files that were given to ids of one map belong to other users in another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdMap {
    uids: Vec<Range>,
    gids: Vec<Range>,
}

/// The first id inside, the first one outside, and how many there are.
type Range = (u32, u32, u32);

impl IdMap {
    /// A map of ranges as in `/proc/PID/uid_map` and `gid_map`: the first id inside, the first one
    /// outside, and how many there are.
    #[must_use]
    pub fn new(
        uids: impl IntoIterator<Item = (u32, u32, u32)>,
        gids: impl IntoIterator<Item = (u32, u32, u32)>,
    ) -> Self {
        Self {
            uids: uids.into_iter().collect(),
            gids: gids.into_iter().collect(),
        }
    }

    /// Whether this user and this group are there.
    #[must_use]
    pub fn has(&self, uid: u32, gid: u32) -> bool {
        has(&self.uids, uid) && has(&self.gids, gid)
    }
}

fn has(ranges: &[Range], id: u32) -> bool {
    let is_in = |&(first, _, count): &Range| id.checked_sub(first).is_some_and(|at| at < count);
    ranges.iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(outside: u32) -> IdMap {
        let ids = [(0, 1000, 1), (1, outside, 65536)];
        IdMap::new(ids, ids)
    }

    #[test]
    fn an_id_that_is_not_mapped_becomes_root() {
        let of = |uid, gid| Ownership::Mapped(map(100_000)).of(uid, gid);
        assert_eq!(of(0, 0), Some((0, 0)));
        assert_eq!(of(1000, 65536), Some((1000, 65536)));
        assert_eq!(of(65537, 8), Some((0, 8)));
        assert_eq!(of(8, u32::MAX), Some((8, 0)));
        assert_eq!(Ownership::Caller.of(8, 8), None);
        assert_eq!(Ownership::Image.of(70_000, 8), Some((70_000, 8)));
    }

    #[test]
    fn each_map_has_its_own_word() {
        let words = [
            Ownership::Caller.word(),
            Ownership::Image.word(),
            Ownership::Mapped(map(100_000)).word(),
            Ownership::Mapped(map(165_536)).word(),
        ];
        for (n, word) in words.iter().enumerate() {
            assert!(!words[..n].contains(word), "{words:?}");
            assert!(word.bytes().all(|b| b.is_ascii_alphanumeric()), "{word}");
        }
    }
}
