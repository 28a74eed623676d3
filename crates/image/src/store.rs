//! Where the parts of an image are: a directory, an archive, or one file that is all of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use crate::compress::{Compression, decompress};
use crate::digest::Algorithm;
use crate::error::Error;
use crate::record::Name;
use crate::tarball::{Kind, Source, Stream, Tar};
use crate::tree::{Lost, Tree, components};
use crate::{Digest, Limits};

/// A part of a file, read without moving its offset.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Section {
    pub(crate) fn whole(file: Arc<File>) -> io::Result<Self> {
        let end = file.metadata()?.len();
        Ok(Self { file, at: 0, end })
    }

    pub(crate) fn len(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let n = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// The named parts of an image.
#[derive(Debug)]
pub(crate) enum Store {
    /// Files below a directory.
    Directory(OwnedFd),
    /// Entries of an archive that is not compressed.
    Archive {
        file: Arc<File>,
        index: BTreeMap<Name, Span>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Span {
    Data { at: u64, length: u64 },
    Link(Name),
}

impl Store {
    pub(crate) fn open(&self, name: &str) -> Result<Section, Error> {
        let missing = || Error::missing(name);
        match self {
            Self::Directory(fd) => {
                let fd = fd.try_clone().map_err(|e| Error::io("open", name, e))?;
                let file = Tree::new(fd, 64)
                    .file(name.as_bytes())
                    .map_err(|lost| match lost {
                        Lost::Io(error) => Error::io("open", name, error),
                        _ => missing(),
                    })?;
                let file = file.ok_or_else(missing)?;
                Section::whole(Arc::new(file)).map_err(|e| Error::io("open", name, e))
            }
            Self::Archive { file, index } => {
                let mut at = name.as_bytes();
                // docker-archives have links from one layer to another; they are not chains.
                for _ in 0..8 {
                    match index.get(at).ok_or_else(missing)? {
                        Span::Data { at, length } => {
                            return Ok(Section {
                                file: Arc::clone(file),
                                at: *at,
                                end: at + length,
                            });
                        }
                        Span::Link(target) => at = target,
                    }
                }
                Err(missing())
            }
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.open(name).is_ok()
    }

    /// A document, checked against what is said about it.
    pub(crate) fn document(
        &self,
        name: &str,
        expected: Option<(&Digest, Option<u64>)>,
        limits: &Limits,
    ) -> Result<Vec<u8>, Error> {
        let section = self.open(name)?;
        if section.len() > limits.document {
            return Err(Error::Limit {
                limit: crate::Limit::Document,
                allowed: limits.document,
                entry: Some(name.into()),
            });
        }
        let length = section.len();
        let algorithm = expected.map_or(Algorithm::Sha256, |(digest, _)| digest.algorithm());
        let mut reader = crate::digest::Hashing::new(section, algorithm);
        // No longer than the limit.
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        reader
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("read", name, e))?;
        if let Some((digest, size)) = expected {
            check(name, reader.finish(), digest, size)?;
        }
        Ok(bytes)
    }
}

/// Compares what was read with what was said about it.
pub(crate) fn check(
    what: &str,
    (found, length): (Digest, u64),
    expected: &Digest,
    size: Option<u64>,
) -> Result<(), Error> {
    if let Some(size) = size
        && size != length
    {
        let why = format!("it has {length} bytes instead of {size}");
        return Err(Error::document(what, why));
    }
    if found != *expected {
        return Err(Error::Digest {
            what: what.to_owned(),
            expected: expected.clone(),
            found,
        });
    }
    Ok(())
}

/// What an archive holds.
#[derive(Debug)]
pub(crate) enum Survey {
    /// An App Container image, and its manifest.
    App(Vec<u8>),
    /// The parts of an image.
    Parts(Store),
    /// A root.
    Root,
}

/// Looks what kind of image an archive is, and where in it things are.
pub(crate) fn survey(file: &Arc<File>, path: &Path, limits: &Limits) -> Result<Survey, Error> {
    let section = Section::whole(Arc::clone(file)).map_err(|e| Error::io("read", path, e))?;
    let (compression, stream) = decompress(section.clone(), limits, limits.bytes)
        .map_err(|error| Error::reading(None, error))?;
    if compression == Compression::None {
        drop(stream);
        let file = file
            .try_clone()
            .map_err(|error| Error::io("read", path, error))?;
        let mut reader = BufReader::new(file);
        // The descriptor is shared with whoever looked at the file before.
        io::Seek::rewind(&mut reader).map_err(|error| Error::io("read", path, error))?;
        let found = look(Tar::new(reader, limits), path, limits)?;
        return Ok(found.into_survey(file_of(section)));
    }
    let found = look(Tar::new(Stream(stream), limits), path, limits)?;
    let Found::Parts(_) = found else {
        return Ok(found.into_survey(file_of(section)));
    };
    // Parts are read in another order than they have in the archive, which takes a file that is
    // not compressed.
    let mut spool =
        tempfile::tempfile().map_err(|e| Error::io("make a file in", std::env::temp_dir(), e))?;
    let (_, mut stream) =
        decompress(section, limits, limits.bytes).map_err(|error| Error::reading(None, error))?;
    io::copy(&mut stream, &mut spool).map_err(|error| Error::reading(None, error))?;
    survey(&Arc::new(spool), path, limits)
}

fn file_of(section: Section) -> Arc<File> {
    section.file
}

enum Found {
    App(Vec<u8>),
    Parts(BTreeMap<Name, Span>),
    Root,
}

impl Found {
    fn into_survey(self, file: Arc<File>) -> Survey {
        match self {
            Self::App(manifest) => Survey::App(manifest),
            Self::Parts(index) => Survey::Parts(Store::Archive { file, index }),
            Self::Root => Survey::Root,
        }
    }
}

/// What a name at the top of an archive speaks for.
fn speaks_for(top: &[u8]) -> (bool, bool) {
    let app = matches!(top, b"manifest" | b"rootfs");
    let hex = top.len() == 64 && top.iter().all(u8::is_ascii_hexdigit);
    let parts = hex
        || matches!(top, b"oci-layout" | b"blobs" | b"repositories")
        || top.ends_with(b".json")
        || top.ends_with(b".tar");
    (app, parts)
}

fn look<R: Source>(mut tar: Tar<'_, R>, path: &Path, limits: &Limits) -> Result<Found, Error> {
    let mut manifest = None;
    let mut rootfs = false;
    let mut index = BTreeMap::new();
    let (mut app, mut parts) = (true, true);
    let mut entries = 0;
    loop {
        let entry = match tar.next() {
            // What does not begin as an archive is none.
            Err(Error::Archive { .. }) if entries == 0 => {
                return Err(Error::NotAnImage {
                    path: path.to_owned(),
                    why: "it is no tar archive, compressed or not",
                });
            }
            other => other?,
        };
        let Some(entry) = entry else { break };
        entries += 1;
        if entries > limits.entries {
            return Err(tar.limit(crate::Limit::Entries, limits.entries));
        }
        let mut names = components(&entry.name);
        let Some(top) = names.next() else {
            continue;
        };
        let (for_app, for_parts) = speaks_for(top);
        (app, parts) = (app && for_app, parts && for_parts);
        if !app && !parts {
            return Ok(Found::Root);
        }
        rootfs |= top == b"rootfs";
        let name: Vec<u8> = components(&entry.name).collect::<Vec<_>>().join(&b'/');
        let twice = |name: &str| Error::document(name, "there are two of them");
        match entry.kind {
            Kind::File { size, .. } if app && name == b"manifest" => {
                if manifest.is_some() {
                    return Err(twice("manifest"));
                }
                manifest = Some(tar.document(size)?);
            }
            Kind::File { segments: None, .. } if parts => {
                let (at, length) = tar.data_span();
                let span = Span::Data { at, length };
                if index.insert(name.clone(), span).is_some() {
                    return Err(twice(&String::from_utf8_lossy(&name)));
                }
            }
            Kind::Symlink(target) if parts => {
                if let Some(target) = beside(&name, &target) {
                    index.insert(name, Span::Link(target));
                }
            }
            Kind::HardLink(target) if parts => {
                let target: Vec<&[u8]> = components(&target).collect();
                index.insert(name, Span::Link(target.join(&b'/')));
            }
            _ => {}
        }
    }
    let has = |name: &[u8]| index.contains_key(name);
    if app
        && rootfs
        && let Some(manifest) = manifest
    {
        return Ok(Found::App(manifest));
    }
    if parts && (has(b"index.json") || has(b"manifest.json")) {
        return Ok(Found::Parts(index));
    }
    if entries == 0 {
        return Err(Error::NotAnImage {
            path: path.to_owned(),
            why: "it is an archive with nothing in it",
        });
    }
    Ok(Found::Root)
}

/// Where a symbolic link leads inside an archive; `None` if outside.
fn beside(link: &[u8], target: &[u8]) -> Option<Name> {
    let mut path: Vec<&[u8]> = components(link).collect();
    path.pop();
    if target.starts_with(b"/") {
        return None;
    }
    for component in components(target) {
        if component == b".." {
            path.pop()?;
        } else {
            path.push(component);
        }
    }
    Some(path.join(&b'/'))
}
