use std::fmt;

/// How much an image may ask of the host. The defaults pass the big images that exist; what is
/// beyond them is refused with [`Error::Limit`](crate::Error::Limit), which names the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of all layers together, decompressed. 64 GiB.
    pub bytes: u64,
    /// Entries of all layers together. Two million.
    pub entries: u64,
    /// Bytes of one file as `ls` shows it, holes included. 1 TiB.
    pub file_size: u64,
    /// How many bytes may come out of one compressed byte, once more than
    /// [`ratio_from`](Self::ratio_from) bytes have come out. 200.
    pub ratio: u64,
    /// The number of bytes up to which nobody looks at the ratio. 256 MiB.
    pub ratio_from: u64,
    /// Bytes of one name, without the directories that it is in. 255, which is what Linux file
    /// systems can hold.
    pub name: u64,
    /// Bytes of a whole path, and of what a symbolic link says. 4095.
    pub path: u64,
    /// Directories below each other, after symbolic links have been followed. 256.
    pub depth: u64,
    /// Bytes of all paths together, because they are kept in memory. 512 MiB.
    pub names: u64,
    /// Bytes of one document in memory: a manifest, a configuration, an index, the extended
    /// header of one entry. 8 MiB.
    pub document: u64,
    /// Bytes of memory that a decompressor may take for its window. 256 MiB.
    pub window: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 30,
            entries: 2_000_000,
            file_size: 1 << 40,
            ratio: 200,
            ratio_from: 256 << 20,
            name: 255,
            path: 4095,
            depth: 256,
            names: 512 << 20,
            document: 8 << 20,
            window: 256 << 20,
        }
    }
}

/// A limit of [`Limits`], without its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::bytes`].
    Bytes,
    /// [`Limits::entries`].
    Entries,
    /// [`Limits::file_size`].
    FileSize,
    /// [`Limits::ratio`].
    Ratio,
    /// [`Limits::name`].
    Name,
    /// [`Limits::path`].
    Path,
    /// [`Limits::depth`].
    Depth,
    /// [`Limits::names`].
    Names,
    /// [`Limits::document`].
    Document,
    /// How many symbolic links may be followed for one entry, 40 as in the kernel.
    Links,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Entries => "entries",
            Self::FileSize => "bytes in one file",
            Self::Ratio => "bytes out of one compressed byte",
            Self::Name => "bytes in one name",
            Self::Path => "bytes in one path",
            Self::Depth => "directories below each other",
            Self::Names => "bytes in all paths together",
            Self::Document => "bytes in one document",
            Self::Links => "symbolic links on the way to one entry",
        })
    }
}
