//! Compression, told by the first bytes, and the limits that hold while decompressing.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::error::Exceeded;
use crate::{Limit, Limits};

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// What a stream that begins with `head` is. No tar archive begins with any of these: its first
/// bytes are a name, or NUL.
pub(crate) fn sniff(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
        [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..] if bzip2_block(rest) => Compression::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        // A frame, or one that is to be skipped before the first.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// `BZh9` could begin a name; the number that a block, or the end, begins with could not.
fn bzip2_block(rest: &[u8]) -> bool {
    rest.starts_with(&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59])
        || rest.starts_with(&[0x17, 0x72, 0x45, 0x38, 0x50, 0x90])
}

/// What comes out of `inner`, decompressed as its first bytes say, and within the limits:
/// `budget` bytes, and the ratio.
pub(crate) fn decompress<'a>(
    inner: impl Read + 'a,
    limits: &Limits,
    budget: u64,
) -> io::Result<(Compression, Bounded<'a>)> {
    let read = Rc::new(Cell::new(0));
    let mut inner = BufReader::with_capacity(
        128 << 10,
        Counted {
            inner,
            read: Rc::clone(&read),
        },
    );
    // A pipe may give fewer bytes at first than the longest magic number has.
    let mut head = Vec::with_capacity(10);
    inner.by_ref().take(10).read_to_end(&mut head)?;
    let compression = sniff(&head);
    let inner = io::Cursor::new(head).chain(inner);
    let window = usize::try_from(limits.window).unwrap_or(usize::MAX);
    let inner: Box<dyn Read + 'a> = match compression {
        Compression::None => Box::new(inner),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(inner)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(inner)),
        Compression::Xz => {
            let kib = u32::try_from(window >> 10).unwrap_or(u32::MAX);
            Box::new(lzma_rust2::XzReader::new_mem_limit(inner, true, kib))
        }
        Compression::Zstd => Box::new(Zstd::new(inner, limits.window)),
    };
    let bounded = Bounded {
        inner,
        read,
        written: 0,
        budget,
        ratio: (compression != Compression::None).then_some((limits.ratio, limits.ratio_from)),
    };
    Ok((compression, bounded))
}

#[derive(Debug)]
struct Counted<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.set(self.read.get() + n as u64);
        Ok(n)
    }
}

/// A reader that stops at the limits.
pub(crate) struct Bounded<'a> {
    inner: Box<dyn Read + 'a>,
    read: Rc<Cell<u64>>,
    written: u64,
    budget: u64,
    ratio: Option<(u64, u64)>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.written += n as u64;
        if self.written > self.budget {
            let limit = Limit::Bytes;
            let allowed = self.budget;
            return Err(Exceeded { limit, allowed }.into());
        }
        if let Some((ratio, from)) = self.ratio {
            // The reader has more in its buffer than was decompressed, so this errs on the
            // image's side, by no more than a buffer.
            let fine = self.read.get().saturating_mul(ratio);
            if self.written > from && self.written > fine {
                let limit = Limit::Ratio;
                let allowed = ratio;
                return Err(Exceeded { limit, allowed }.into());
            }
        }
        Ok(n)
    }
}

/// All the frames of a zstd stream. The decoder of the crate does one.
struct Zstd<R> {
    source: R,
    frame: FrameDecoder,
    inside: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R, window: u64) -> Self {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(window);
        Self {
            source,
            frame,
            inside: false,
        }
    }

    /// Goes to the next frame; false at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.frame.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => skip(&mut self.source, u64::from(length))?,
                Err(error) => return Err(invalid(error)),
            }
        }
        Ok(false)
    }
}

fn skip(source: &mut impl BufRead, length: u64) -> io::Result<()> {
    let skipped = io::copy(&mut source.by_ref().take(length), &mut io::sink())?;
    if skipped < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.inside && !self.next_frame()? {
                return Ok(0);
            }
            self.inside = true;
            while self.frame.can_collect() < buffer.len() && !self.frame.is_finished() {
                let more = buffer.len() - self.frame.can_collect();
                let strategy = BlockDecodingStrategy::UptoBytes(more);
                self.frame
                    .decode_blocks(&mut self.source, strategy)
                    .map_err(invalid)?;
            }
            let n = self.frame.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            let said = self.frame.get_checksum_from_data();
            if said.is_some() && said != self.frame.get_calculated_checksum() {
                let error = "the checksum of a zstd frame is wrong";
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            self.inside = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_told_by_the_first_bytes() {
        assert_eq!(sniff(b"\x1f\x8b\x08\0"), Compression::Gzip);
        assert_eq!(sniff(b"BZh91AY&SY"), Compression::Bzip2);
        assert_eq!(sniff(b"\xfd7zXZ\0"), Compression::Xz);
        assert_eq!(sniff(b"\x28\xb5\x2f\xfd"), Compression::Zstd);
        assert_eq!(sniff(b"\x5f\x2a\x4d\x18"), Compression::Zstd);
        // Names of files in an archive that is not compressed.
        for name in ["BZh9notes/x", "BZh9", "./", "", "7zXZ"] {
            assert_eq!(sniff(name.as_bytes()), Compression::None, "{name}");
        }
    }

    /// A reader that gives one byte at a time, as a pipe may.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    fn all(bytes: &[u8], limits: &Limits) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        decompress(Slow(bytes), limits, limits.bytes)?
            .1
            .read_to_end(&mut read)?;
        Ok(read)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        use io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn streams_may_follow_each_other_and_may_not_be_cut_off() {
        let limits = Limits::default();
        let text = b"text ".repeat(1000);
        let one = gzip(&text);
        let two = [&one[..], &one].concat();
        assert_eq!(all(&two, &limits).unwrap(), text.repeat(2));
        assert!(all(&one[..one.len() - 1], &limits).is_err());
        assert_eq!(all(b"", &limits).unwrap(), b"");
        assert_eq!(all(b"plain", &limits).unwrap(), b"plain");
    }

    #[test]
    fn the_ratio_counts_from_a_number_of_bytes_on() {
        let mut limits = Limits {
            ratio: 100,
            ratio_from: 2_000_000,
            ..Limits::default()
        };
        let bomb = gzip(&vec![0; 1_500_000]);
        assert_eq!(all(&bomb, &limits).unwrap().len(), 1_500_000);
        limits.ratio_from = 1_000_000;
        let error = all(&bomb, &limits).unwrap_err();
        let exceeded = error.get_ref().unwrap().downcast_ref::<Exceeded>();
        assert_eq!(exceeded.unwrap().limit, Limit::Ratio);
    }
}
