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
    /// The image's for root, by the map of its user namespace if that does not have all ids; the
    /// caller's for everybody else.
    #[must_use]
    pub fn auto() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::Caller;
        }
        match IdMap::current() {
            Some(map) if !map.is_whole() => Self::Mapped(map),
            _ => Self::Image,
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

    /// That of the user namespace in which the caller lives. `None` if that is not known, as on
    /// systems that have none.
    fn current() -> Option<Self> {
        let ranges = |path| -> Option<Vec<Range>> {
            let text = std::fs::read_to_string(path).ok()?;
            text.lines().map(range).collect()
        };
        Some(Self {
            uids: ranges("/proc/self/uid_map")?,
            gids: ranges("/proc/self/gid_map")?,
        })
    }

    /// Whether every id is there.
    fn is_whole(&self) -> bool {
        let whole = |ranges: &[Range]| matches!(ranges, [(0, _, u32::MAX)]);
        whole(&self.uids) && whole(&self.gids)
    }

    /// Whether this user and this group are there.
    #[must_use]
    pub fn has(&self, uid: u32, gid: u32) -> bool {
        has(&self.uids, uid) && has(&self.gids, gid)
    }
}

/// A line of a map (user_namespaces(7)).
fn range(line: &str) -> Option<Range> {
    let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
    let range = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(range)
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
    fn a_line_of_a_map() {
        assert_eq!(
            range("         1     100000      65536"),
            Some((1, 100_000, 65536))
        );
        assert_eq!(range("0 0 4294967295"), Some((0, 0, u32::MAX)));
        for wrong in ["", "0 0", "0 0 1 1", "0 0 x", "0 0 4294967296"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
        assert!(!map(1).is_whole());
        let whole = [(0, 0, u32::MAX)];
        assert!(IdMap::new(whole, whole).is_whole());
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
