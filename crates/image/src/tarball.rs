//! Entries of a tar archive, one after the other, within the limits.
//!
//! The header's fields are read by the crate `tar`. Its own iterator is not used, because it
//! reads long names and extended headers into memory however long they are, and does not know
//! the sparse files of the pax format. Where the formats leave room, this reads an archive as
//! Go's archive/tar does, with which most images are made: an entry that two readers take for
//! two different ones is how things are smuggled in.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::error::{EntryProblem, Error};
use crate::sparse;
use crate::{Limit, Limits};

const BLOCK: u64 = 512;

/// Keys with their values, in the order of the archive.
pub(crate) type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file of so many bytes; with the places of its data if it has holes.
    File {
        size: u64,
        segments: Option<Vec<Segment>>,
    },
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    /// What is not made: devices, fifos, and what nobody knows.
    Special(&'static str),
}

/// Where some of the data of a sparse file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// One entry, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) xattrs: Records,
}

/// A reader that can pass over bytes, perhaps faster than by reading them.
pub(crate) trait Source: Read {
    fn skip(&mut self, n: u64) -> io::Result<()>;
}

/// Passes over bytes by reading them.
pub(crate) struct Stream<R>(pub(crate) R);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Source for Stream<R> {
    fn skip(&mut self, n: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.0.by_ref().take(n), &mut io::sink())?;
        if skipped < n {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl Source for BufReader<std::fs::File> {
    fn skip(&mut self, n: u64) -> io::Result<()> {
        let n = i64::try_from(n).map_err(io::Error::other)?;
        self.seek_relative(n)
    }
}

/// A tar archive being read.
pub(crate) struct Tar<'l, R> {
    inner: R,
    limits: &'l Limits,
    /// Bytes read so far.
    offset: u64,
    /// Bytes of the current entry's data that nobody has read.
    left: u64,
    /// Zeros after the data.
    padding: u64,
    /// Bytes of all names.
    names: u64,
    /// The entry being read, for errors.
    current: Option<PathBuf>,
}

/// What precedes a header and says more about it.
#[derive(Debug, Default)]
struct Extra {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Records,
}

impl Extra {
    /// The value of a pax record. The last one counts, and an empty one means none.
    fn pax(&self, key: &[u8]) -> Option<&[u8]> {
        let found = self.pax.iter().rev().find(|(k, _)| k == key)?;
        (!found.1.is_empty()).then_some(&*found.1)
    }

    fn number(&self, key: &'static str) -> Result<Option<u64>, EntryProblem> {
        self.pax(key.as_bytes())
            .map(|text| number(text).ok_or(EntryProblem::Header(key)))
            .transpose()
    }
}

impl<'l, R: Source> Tar<'l, R> {
    pub(crate) fn new(inner: R, limits: &'l Limits) -> Self {
        Self {
            inner,
            limits,
            offset: 0,
            left: 0,
            padding: 0,
            names: 0,
            current: None,
        }
    }

    /// Where in the archive the data of the current entry begins, and how long it is.
    pub(crate) fn data_span(&self) -> (u64, u64) {
        (self.offset, self.left)
    }

    /// The entry being read, or the last one.
    pub(crate) fn current(&self) -> Option<&Path> {
        self.current.as_deref()
    }

    /// Bytes of all names that were read.
    pub(crate) fn names(&self) -> u64 {
        self.names
    }

    /// The reader, after the end of the archive: what follows belongs to no entry.
    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    /// An error about the current entry.
    pub(crate) fn problem(&self, problem: EntryProblem) -> Error {
        Error::Entry {
            entry: self.current.clone().unwrap_or_default(),
            problem,
        }
    }

    pub(crate) fn limit(&self, limit: Limit, allowed: u64) -> Error {
        Error::Limit {
            limit,
            allowed,
            entry: self.current.clone(),
        }
    }

    fn reading(&self, error: io::Error) -> Error {
        Error::reading(self.current(), error)
    }

    /// The next entry; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Error> {
        let mut extra = Extra::default();
        loop {
            self.pass_over()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = self.blank_or(header.entry_size(), &header.as_old().size, "size")?;
            match header.entry_type().as_byte() {
                b'L' => extra.long_name = Some(self.text(size)?),
                b'K' => extra.long_link = Some(self.text(size)?),
                b'x' => extra.pax.extend(self.pax(size)?),
                // What holds for the whole archive: Go's reader does not apply it either, and
                // what writes it (git archive) puts a comment there.
                b'g' => {
                    self.document(size)?;
                }
                _ => return self.entry(&header, size, &extra).map(Some),
            }
        }
    }

    /// Reads data of the current entry.
    pub(crate) fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let n = loop {
            match self.inner.read(&mut buffer[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|error| self.reading(error))?,
            }
        };
        if n == 0 && most > 0 {
            return Err(self.reading(io::ErrorKind::UnexpectedEof.into()));
        }
        self.left -= n as u64;
        self.offset += n as u64;
        Ok(n)
    }

    /// The data of the current entry that can be read without waiting; empty at its end. What of
    /// it was used is to be [taken](Self::take_data).
    pub(crate) fn data(&mut self) -> Result<&[u8], Error>
    where
        R: BufRead,
    {
        if self.left == 0 {
            return Ok(&[]);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        match self.inner.fill_buf() {
            Ok(&[]) => {
                let error = io::ErrorKind::UnexpectedEof.into();
                Err(Error::reading(self.current.as_deref(), error))
            }
            Ok(piece) => Ok(&piece[..most.min(piece.len())]),
            Err(error) => Err(Error::reading(self.current.as_deref(), error)),
        }
    }

    /// Goes on by so many bytes of what [`data`](Self::data) showed.
    pub(crate) fn take_data(&mut self, bytes: usize)
    where
        R: BufRead,
    {
        self.inner.consume(bytes);
        self.left -= bytes as u64;
        self.offset += bytes as u64;
    }

    /// All data of the current entry, which is a document.
    pub(crate) fn document(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > self.limits.document {
            return Err(self.limit(Limit::Document, self.limits.document));
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let mut done = 0;
        while done < bytes.len() {
            done += self.read_data(&mut bytes[done..])?;
        }
        Ok(bytes)
    }

    fn text(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut text = self.document(size)?;
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        text.truncate(end);
        self.current = Some(path(&text));
        Ok(text)
    }

    fn pax(&mut self, size: u64) -> Result<Records, Error> {
        let bytes = self.document(size)?;
        let records = pax_records(&bytes)
            .ok_or(EntryProblem::Header("extended header"))
            .map_err(|problem| self.problem(problem))?;
        if let Some((_, name)) = records.iter().rev().find(|(key, _)| key == b"path") {
            self.current = Some(path(name));
        }
        Ok(records)
    }

    fn pass_over(&mut self) -> Result<(), Error> {
        let n = self.left + self.padding;
        self.inner.skip(n).map_err(|error| self.reading(error))?;
        self.offset += n;
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// One block; `None` at the end of the file.
    fn block(&mut self) -> Result<Option<[u8; 512]>, Error> {
        let mut block = [0; 512];
        let mut done = 0;
        while done < block.len() {
            match self.inner.read(&mut block[done..]) {
                Ok(0) if done == 0 => return Ok(None),
                Ok(0) => return Err(self.reading(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.reading(error)),
            }
        }
        self.offset += BLOCK;
        Ok(Some(block))
    }

    /// A header; `None` at the end of the archive, which two blocks of zeros mark, or the end of
    /// the file.
    fn header(&mut self) -> Result<Option<tar::Header>, Error> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block == [0; 512] {
            return match self.block()? {
                Some(second) if second != [0; 512] => {
                    Err(self.reading(invalid("a header follows a block of zeros")))
                }
                _ => Ok(None),
            };
        }
        if !sum_is_right(&block) {
            return Err(self.reading(invalid("the checksum of a header is wrong")));
        }
        Ok(Some(tar::Header::from_byte_slice(&block).clone()))
    }

    /// A number of the header, in which some writers leave blank what is zero.
    fn blank_or(
        &self,
        number: io::Result<u64>,
        field: &[u8],
        what: &'static str,
    ) -> Result<u64, Error> {
        match number {
            Ok(number) => Ok(number),
            Err(_) if field.iter().all(|b| matches!(b, 0 | b' ')) => Ok(0),
            Err(_) => Err(self.problem(EntryProblem::Header(what))),
        }
    }

    fn entry(&mut self, header: &tar::Header, size: u64, extra: &Extra) -> Result<Entry, Error> {
        let name = extra
            .pax(b"GNU.sparse.name")
            .or_else(|| extra.pax(b"path"))
            .or(extra.long_name.as_deref());
        let name = name.map_or_else(|| header.path_bytes().into_owned(), <[u8]>::to_vec);
        self.current = Some(path(&name));
        self.count_name(&name)?;
        let number = |key| extra.number(key).map_err(|problem| self.problem(problem));
        let old = header.as_old();
        let id = |pax: Option<u64>, field: Result<u64, Error>, what| {
            let id = pax.map_or(field, Ok)?;
            // The highest number means "leave it" to chown(2).
            u32::try_from(id)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| self.problem(EntryProblem::Header(what)))
        };
        let uid = self.blank_or(header.uid(), &old.uid, "uid");
        let uid = id(number("uid")?, uid, "uid")?;
        let gid = self.blank_or(header.gid(), &old.gid, "gid");
        let gid = id(number("gid")?, gid, "gid")?;
        let mode = header.mode().or_else(|error| {
            let blank = old.mode.iter().all(|b| matches!(b, 0 | b' '));
            if blank { Ok(0o644) } else { Err(error) }
        });
        let mode = mode.map_err(|_| self.problem(EntryProblem::Header("mode")))? & 0o7777;
        let link = || -> Vec<u8> {
            let said = extra.pax(b"linkpath").or(extra.long_link.as_deref());
            said.map(<[u8]>::to_vec)
                .or_else(|| header.link_name_bytes().map(|name| name.into_owned()))
                .unwrap_or_default()
        };
        let data = number("size")?.unwrap_or(size);
        let kind = match header.entry_type().as_byte() {
            b'0' | 0 | b'7' if name.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => self.file(header, extra, data)?,
            b'1' => Kind::HardLink(link()),
            b'2' => Kind::Symlink(link()),
            b'5' => Kind::Directory,
            b'3' => Kind::Special("a character device"),
            b'4' => Kind::Special("a block device"),
            b'6' => Kind::Special("a fifo"),
            _ => {
                self.set_data(data);
                Kind::Special("of a kind that is not known")
            }
        };
        Ok(Entry {
            name,
            kind,
            mode,
            uid,
            gid,
            mtime: mtime(header, extra),
            xattrs: xattrs(extra),
        })
    }

    fn count_name(&mut self, name: &[u8]) -> Result<(), Error> {
        self.names += name.len() as u64;
        if self.names > self.limits.names {
            return Err(self.limit(Limit::Names, self.limits.names));
        }
        Ok(())
    }

    fn set_data(&mut self, size: u64) {
        self.left = size;
        // A size near the end of the numbers has no padding; nothing that long can be read.
        self.padding = size
            .checked_next_multiple_of(BLOCK)
            .map_or(0, |padded| padded - size);
    }

    /// A file, with or without holes.
    fn file(&mut self, header: &tar::Header, extra: &Extra, data: u64) -> Result<Kind, Error> {
        let sparse = |problem| EntryProblem::Sparse(problem);
        let (size, segments) = if header.entry_type().is_gnu_sparse() {
            let gnu = header
                .as_gnu()
                .ok_or_else(|| self.problem(sparse("not in a GNU archive")))?;
            let size = gnu
                .real_size()
                .map_err(|_| self.problem(sparse("its size")))?;
            let mut segments = sparse::of_header(&gnu.sparse).map_err(|p| self.problem(p))?;
            let mut more = gnu.is_extended();
            while more {
                let block = self.block()?;
                let block = block.ok_or_else(|| self.problem(sparse("it is cut off")))?;
                let (further, again) = sparse::of_block(&block).map_err(|p| self.problem(p))?;
                segments.extend(further);
                self.map_fits(segments.len())?;
                more = again;
            }
            self.set_data(data);
            (size, Some(segments))
        } else {
            self.set_data(data);
            match sparse::of_pax(&extra.pax).map_err(|p| self.problem(p))? {
                None => (data, None),
                Some(sparse::Pax {
                    size,
                    segments: Some(segments),
                }) => (size, Some(segments)),
                Some(sparse::Pax {
                    size,
                    segments: None,
                }) => (size, Some(self.map_before_data()?)),
            }
        };
        if size > self.limits.file_size {
            return Err(self.limit(Limit::FileSize, self.limits.file_size));
        }
        if let Some(segments) = &segments {
            sparse::check(segments, size, self.left).map_err(|p| self.problem(p))?;
        }
        Ok(Kind::File { size, segments })
    }

    /// The map of a sparse file takes 16 bytes a segment in memory.
    fn map_fits(&self, segments: usize) -> Result<(), Error> {
        if segments as u64 > self.limits.document / 16 {
            return Err(self.limit(Limit::Document, self.limits.document));
        }
        Ok(())
    }

    /// The map that stands before the data: lines of numbers, padded to a whole block.
    fn map_before_data(&mut self) -> Result<Vec<Segment>, Error> {
        let wrong = EntryProblem::Sparse("the map before its data");
        let mut numbers = sparse::Numbers::default();
        loop {
            if self.left < BLOCK {
                return Err(self.problem(wrong));
            }
            let block = self.block()?;
            let block = block.ok_or_else(|| self.reading(io::ErrorKind::UnexpectedEof.into()))?;
            self.left -= BLOCK;
            let done = numbers.feed(&block).map_err(|p| self.problem(p))?;
            self.map_fits(numbers.segments())?;
            if done {
                return numbers.finish().map_err(|p| self.problem(p));
            }
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

pub(crate) fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
}

/// The sum of the header's bytes, with its own field taken as spaces. Some old writers took
/// bytes as signed.
fn sum_is_right(block: &[u8; 512]) -> bool {
    let field = 148..156;
    let bytes = || {
        block
            .iter()
            .enumerate()
            .map(|(n, byte)| if field.contains(&n) { b' ' } else { *byte })
    };
    let plain: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    let said = tar::Header::from_byte_slice(block).cksum();
    said.is_ok_and(|said| i64::from(said) == plain || i64::from(said) == signed)
}

/// `LENGTH KEY=VALUE\n`, again and again; `None` if it is anything else.
fn pax_records(mut bytes: &[u8]) -> Option<Records> {
    let mut records = Vec::new();
    // Some writers fill the rest with zeros.
    while !bytes.is_empty() && bytes.iter().any(|b| *b != 0) {
        let space = bytes.iter().position(|b| *b == b' ')?;
        let length = usize::try_from(number(&bytes[..space])?).ok()?;
        let record = bytes.get(space + 1..length)?;
        bytes = &bytes[length..];
        let record = record.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
    }
    Some(records)
}

/// A decimal number without a sign.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()
}

/// Whole seconds since 1970. What cannot be read is 1970: no more depends on it than a time.
fn mtime(header: &tar::Header, extra: &Extra) -> i64 {
    let pax = extra
        .pax(b"mtime")
        .and_then(|text| std::str::from_utf8(text).ok())
        .and_then(|text| text.split('.').next()?.parse().ok());
    pax.or_else(|| header.mtime().ok()?.try_into().ok())
        .unwrap_or(0)
}

fn xattrs(extra: &Extra) -> Records {
    extra
        .pax
        .iter()
        .filter_map(|(key, value)| {
            let name = key
                .strip_prefix(b"SCHILY.xattr.")
                .or_else(|| key.strip_prefix(b"LIBARCHIVE.xattr."))?;
            Some((name.to_vec(), value.clone()))
        })
        .collect()
}
