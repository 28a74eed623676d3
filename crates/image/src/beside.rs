//! Reading, the digest and writing at the same time: decompression takes about as long as making
//! the files, and the digest a third of that.
//!
//! The caller's thread reads, so that a reader need not be one that other threads may have. What
//! it reads goes in pieces to the thread of the digest, and from there to the consumer's. Each
//! waits for the next one when it is a few pieces ahead, so this takes no more than a few MiB.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};

use crate::Digest;
use crate::digest::{Algorithm, Hasher};
use crate::tarball::Source;

/// The bytes of a piece.
const PIECE: usize = 128 << 10;
/// How many pieces wait between two threads.
const AHEAD: usize = 4;

/// Bytes in their order, or what reading failed with, which is the last one.
type Piece = io::Result<Vec<u8>>;

/// What another thread reads.
pub(crate) struct Pieces {
    incoming: Receiver<Piece>,
    /// Where pieces go that were read, to be filled again.
    spare: Sender<Vec<u8>>,
    current: Vec<u8>,
    /// How much of the current one was read.
    at: usize,
    before: u64,
}

impl Pieces {
    /// The bytes that were read.
    pub(crate) fn position(&self) -> u64 {
        self.before + self.at as u64
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.current.len() {
            // Nobody is there any more who could send one: it was the end.
            let Ok(next) = self.incoming.recv() else {
                return Ok(&[]);
            };
            self.before += self.at as u64;
            self.at = 0;
            let read = std::mem::replace(&mut self.current, next?);
            // The reader may have ended.
            let _ = self.spare.send(read);
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at = self.current.len().min(self.at + bytes);
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl Source for Pieces {
    fn skip(&mut self, mut n: u64) -> io::Result<()> {
        while n > 0 {
            let there = self.fill_buf()?.len();
            if there == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let passed = there.min(usize::try_from(n).unwrap_or(usize::MAX));
            self.consume(passed);
            n -= passed as u64;
        }
        Ok(())
    }
}

/// Has another thread consume what this one reads from `source`, and computes the digest of what
/// was consumed, if one is wanted. A consumer that returns before the end ends the reading, and
/// then the digest is that of no more than was read.
///
/// # Errors
/// If no thread can be started (pthread_create(3)).
pub(crate) fn beside<T: Send>(
    source: impl Read,
    digest: Option<Algorithm>,
    consume: impl FnOnce(Pieces) -> T + Send,
) -> io::Result<(T, Option<Digest>)> {
    let (read, incoming) = sync_channel(AHEAD);
    let (spare, spares) = channel();
    scope(|scope| {
        let (incoming, hasher) = match digest {
            None => (incoming, None),
            Some(algorithm) => {
                let (passed, hashed) = sync_channel(AHEAD);
                let work = move || hash(algorithm, &incoming, &passed);
                (hashed, Some(start(scope, work)?))
            }
        };
        let consumer = start(scope, move || {
            consume(Pieces {
                incoming,
                spare,
                current: Vec::new(),
                at: 0,
                before: 0,
            })
        })?;
        feed(source, &read, &spares);
        drop(read);
        Ok((join(consumer), hasher.map(join)))
    })
}

fn start<'s, 'e, T: Send + 's>(
    scope: &'s Scope<'s, 'e>,
    work: impl FnOnce() -> T + Send + 's,
) -> io::Result<ScopedJoinHandle<'s, T>> {
    Builder::new()
        .name("unpack".to_owned())
        .spawn_scoped(scope, work)
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Reads until the end, an error, or until nobody wants any more.
fn feed(mut source: impl Read, read: &SyncSender<Piece>, spares: &Receiver<Vec<u8>>) {
    loop {
        let mut piece = spares.try_recv().unwrap_or_default();
        piece.clear();
        let filled = source.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let last = piece.len() < PIECE;
        // What came before an error belongs to the entries before it.
        if !piece.is_empty() && read.send(Ok(piece)).is_err() {
            return;
        }
        if let Err(error) = filled {
            let _ = read.send(Err(error));
            return;
        }
        if last {
            return;
        }
    }
}

/// Computes the digest of the pieces that it passes on.
fn hash(algorithm: Algorithm, incoming: &Receiver<Piece>, passed: &SyncSender<Piece>) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    for piece in incoming {
        if let Ok(bytes) = &piece {
            hasher.update(bytes);
        }
        if passed.send(piece).is_err() {
            break;
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many bytes, no two pieces alike.
    fn bytes(n: usize) -> Vec<u8> {
        let byte = |n: usize| n.to_le_bytes()[0] ^ (n / 7919).to_le_bytes()[0];
        (0..n).map(byte).collect()
    }

    /// A reader that fails after the bytes that it has.
    struct Broken<'a>(&'a [u8]);

    impl Read for Broken<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("broken")),
                n => Ok(n),
            }
        }
    }

    #[test]
    fn everything_arrives_in_order_with_its_digest() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 20 * PIECE + 17] {
            let sent = bytes(length);
            for digest in [None, Some(Algorithm::Sha256)] {
                let (got, found) = beside(&*sent, digest, |mut pieces| {
                    let mut got = Vec::new();
                    pieces.read_to_end(&mut got).unwrap();
                    (got, pieces.position())
                })
                .unwrap();
                assert!(got.0 == sent, "{length}");
                assert_eq!(got.1, length as u64);
                assert_eq!(found, digest.map(|_| Digest::of(&sent)));
            }
        }
    }

    #[test]
    fn an_error_comes_after_what_was_read_before_it() {
        let sent = bytes(3 * PIECE + 5);
        let (got, _) = beside(Broken(&sent), Some(Algorithm::Sha256), |mut pieces| {
            let mut got = Vec::new();
            let error = pieces.read_to_end(&mut got).unwrap_err();
            (got, error.to_string())
        })
        .unwrap();
        assert!(got.0 == sent);
        assert_eq!(got.1, "broken");
    }

    #[test]
    fn a_consumer_that_gives_up_ends_the_reading() {
        // It would never end.
        let endless = io::repeat(7);
        let (got, _) = beside(endless, Some(Algorithm::Sha256), |mut pieces| {
            let mut some = [0; 1000];
            pieces.read_exact(&mut some).unwrap();
            some
        })
        .unwrap();
        assert_eq!(got, [7; 1000]);
    }
}
