use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far the unpacking of an image is, to be looked at by another thread meanwhile.
///
/// It counts what is read, not what comes out, because that alone is known before. What was
/// unpacked before is not read.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// The bytes that were read.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.read.load(Ordering::Relaxed)
    }

    /// The bytes that will have been read, as far as that is known; 0 before anything is.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }

    /// Takes over what another process has counted.
    pub fn set(&self, read: u64, total: u64) {
        self.0.read.store(read, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn expect(&self, bytes: u64) {
        self.0.total.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Two are the same if they count together.
impl PartialEq for Progress {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Progress {}

/// A reader of which every byte counts.
pub(crate) struct Counted<R> {
    inner: R,
    progress: Option<Progress>,
}

impl<R> Counted<R> {
    pub(crate) fn new(inner: R, progress: Option<&Progress>) -> Self {
        let progress = progress.cloned();
        Self { inner, progress }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let Some(Progress(counts)) = &self.progress {
            counts.read.fetch_add(read as u64, Ordering::Relaxed);
        }
        Ok(read)
    }
}
