//! Where the data of sparse files is: the four ways to say it that GNU tar has had.

use tar::GnuSparseHeader;

use crate::error::EntryProblem;
use crate::tarball::{Records, Segment, number};

type Result<T> = std::result::Result<T, EntryProblem>;

/// What the extended header says about a sparse file.
#[derive(Debug)]
pub(crate) struct Pax {
    /// Its length, holes included.
    pub(crate) size: u64,
    /// `None` if the map stands before the data (version 1.0).
    pub(crate) segments: Option<Vec<Segment>>,
}

fn wrong(what: &'static str) -> EntryProblem {
    EntryProblem::Sparse(what)
}

/// The map in a header of type `S`.
pub(crate) fn of_header(headers: &[GnuSparseHeader]) -> Result<Vec<Segment>> {
    headers
        .iter()
        .filter(|header| !header.is_empty())
        .map(|header| {
            let offset = header.offset().map_err(|_| wrong("an offset"))?;
            let length = header.length().map_err(|_| wrong("a length"))?;
            Ok(Segment { offset, length })
        })
        .collect()
}

/// The map in a block that follows such a header, and whether another follows.
pub(crate) fn of_block(block: &[u8; 512]) -> Result<(Vec<Segment>, bool)> {
    let mut extended = tar::GnuExtSparseHeader::new();
    extended.as_mut_bytes().copy_from_slice(block);
    Ok((of_header(&extended.sparse)?, extended.is_extended()))
}

/// What the records of an extended header say; `None` if the file is not sparse.
pub(crate) fn of_pax(records: &Records) -> Result<Option<Pax>> {
    let find = |wanted: &str| {
        let found = records.iter().rev().find(|(k, _)| k == wanted.as_bytes());
        found.map(|(_, value)| value.as_slice())
    };
    let is_sparse = records.iter().any(|(k, _)| k.starts_with(b"GNU.sparse."));
    if !is_sparse {
        return Ok(None);
    }
    let size = find("GNU.sparse.realsize").or_else(|| find("GNU.sparse.size"));
    let size = size.and_then(number).ok_or_else(|| wrong("its size"))?;
    let segments = match (find("GNU.sparse.major"), find("GNU.sparse.map")) {
        (Some(b"1"), _) => None,
        (Some(b"0") | None, Some(map)) => Some(pairs(
            map.split(|b| *b == b',').filter(|text| !text.is_empty()),
        )?),
        (Some(b"0") | None, None) => Some(pairs(
            records
                .iter()
                .filter(|(key, _)| key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes")
                .map(|(_, value)| value.as_slice()),
        )?),
        (Some(_), _) => return Err(wrong("a version that is not known")),
    };
    Ok(Some(Pax { size, segments }))
}

fn pairs<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Segment>> {
    let numbers: Option<Vec<u64>> = texts.map(number).collect();
    let numbers = numbers.ok_or_else(|| wrong("no number"))?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong("an offset without a length"));
    }
    Ok(pairs
        .iter()
        .map(|[offset, length]| Segment {
            offset: *offset,
            length: *length,
        })
        .collect())
}

/// The map of version 1.0, fed block by block: how many segments, and their numbers, a line each.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    line: Vec<u8>,
    numbers: Vec<u64>,
}

impl Numbers {
    /// Whether the map is complete.
    pub(crate) fn feed(&mut self, block: &[u8]) -> Result<bool> {
        for byte in block {
            if self.is_complete() {
                return Ok(true);
            }
            if *byte == b'\n' {
                let number = number(&self.line).ok_or_else(|| wrong("no number"))?;
                self.numbers.push(number);
                self.line.clear();
            } else {
                self.line.push(*byte);
            }
            if self.line.len() > 20 {
                return Err(wrong("a number that is too long"));
            }
        }
        Ok(self.is_complete())
    }

    fn is_complete(&self) -> bool {
        let said = self.numbers.first();
        said.is_some_and(|said| *said <= (self.numbers.len() as u64 - 1) / 2)
    }

    /// How many have been read.
    pub(crate) fn segments(&self) -> usize {
        self.numbers.len() / 2
    }

    pub(crate) fn finish(self) -> Result<Vec<Segment>> {
        let numbers = self.numbers.get(1..).unwrap_or_default();
        let (pairs, _) = numbers.as_chunks::<2>();
        Ok(pairs
            .iter()
            .map(|[offset, length]| Segment {
                offset: *offset,
                length: *length,
            })
            .collect())
    }
}

/// Segments follow each other, end within the file, and are as long as the data together.
pub(crate) fn check(segments: &[Segment], size: u64, data: u64) -> Result<()> {
    let mut end = 0;
    let mut sum = 0_u64;
    for segment in segments {
        if segment.offset < end {
            return Err(wrong("its segments overlap"));
        }
        let next = segment.offset.checked_add(segment.length);
        end = next
            .filter(|next| *next <= size)
            .ok_or_else(|| wrong("a segment ends after the file"))?;
        // Cannot overflow: the segments do not overlap and end within the file.
        sum += segment.length;
    }
    if sum != data {
        return Err(wrong("its segments are not as long as its data"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(offset: u64, length: u64) -> Segment {
        Segment { offset, length }
    }

    #[test]
    fn a_map_has_to_add_up() {
        assert!(check(&[segment(0, 2), segment(4, 2)], 8, 4).is_ok());
        assert!(check(&[segment(8, 0)], 8, 0).is_ok());
        assert!(check(&[segment(4, 2), segment(0, 2)], 8, 4).is_err());
        assert!(check(&[segment(0, 2)], 1, 2).is_err());
        assert!(check(&[segment(0, 2)], 8, 1).is_err());
        assert!(check(&[segment(u64::MAX, 2)], 8, 2).is_err());
    }

    #[test]
    fn a_map_may_be_cut_anywhere_between_blocks() {
        let mut numbers = Numbers::default();
        assert!(!numbers.feed(b"2\n0\n1").unwrap());
        assert!(!numbers.feed(b"0\n100\n").unwrap());
        assert!(numbers.feed(b"5\n\0\0\0").unwrap());
        assert_eq!(numbers.finish().unwrap(), [segment(0, 10), segment(100, 5)]);
        assert!(Numbers::default().feed(b"x\n").is_err());
        assert!(Numbers::default().feed(&[b'1'; 30]).is_err());
    }
}
