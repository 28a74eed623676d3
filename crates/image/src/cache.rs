//! Images that stay unpacked.
//!
//! ```text
//! layers/KEY/   tree/  record.json              a layer by itself, shared by images
//! roots/KEY/   tree/  record.json  image.json   a root, joined of layers by hard links
//! work/         what is being unpacked; renamed when it is complete
//! locks/         two files for each of these, see [`lock`](crate::lock)
//! known/         which root an archive has, by what stat(2) says about the archive
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::assemble::Assembly;
use crate::config::ImageConfig;
use crate::error::Error;
use crate::image::{Image, Layer, OpenOptions};
use crate::lock::{self, Lock};
use crate::owners::Ownership;
use crate::platform::Platform;
use crate::record::{Record, Report};
use crate::tree::Tree;
use crate::unpack::{UnpackOptions, empty_tree, finish, remove_tree};
use crate::{Digest, Format};

/// Changes whenever what is in the cache is made or read otherwise.
const VERSION: &str = "2";

/// What the names of directories for single runs begin with.
const SCRATCH: &str = "run-";

/// How old a file has to be before its times tell whether it was changed: as coarse as clocks of
/// file systems are.
const SETTLED: Duration = Duration::from_secs(2);

/// A directory in which images stay unpacked, for many processes at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    dir: PathBuf,
}

/// A root in the cache. It stays there as long as this lives.
#[derive(Debug)]
pub struct CachedRoot {
    dir: PathBuf,
    about: About,
    _used: Lock,
}

/// A directory of the cache for one run. It is removed when this is dropped, or, if the process
/// does not come to that, by whoever makes another one or prunes.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    lock: Option<Lock>,
}

/// What a root in the cache is of.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct About {
    id: Digest,
    source: PathBuf,
    format: Format,
    platform: Option<Platform>,
    config: ImageConfig,
    ownership: Ownership,
    /// Whether files belong to others than root.
    gives: bool,
    not_mapped: NotMapped,
    bytes: u64,
}

/// The files whose user or group became 0, because the map of [`Ownership::Mapped`] does not have
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NotMapped {
    /// How many there are.
    pub files: u64,
    /// To which users and groups the image gives them: the first ones, by number.
    pub ids: BTreeSet<(u32, u32)>,
}

impl NotMapped {
    /// As many ids as are worth telling.
    const MOST: usize = 16;

    fn of(record: &Record, ownership: &Ownership) -> Self {
        let mut found = Self::default();
        for (_, ids) in record.not_mapped(ownership) {
            found.files += 1;
            found.ids.insert(ids);
            if found.ids.len() > Self::MOST {
                found.ids.pop_last();
            }
        }
        found
    }
}

/// Something in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheEntry {
    /// Its name, which is the digest and how it was unpacked.
    pub key: String,
    /// Whether it is a layer or a root.
    pub kind: CacheKind,
    /// For a root, where the image was that it was made of.
    pub source: Option<PathBuf>,
    /// How many bytes were unpacked. Layers and the roots that are made of them share these.
    pub bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
}

/// What an entry of the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheKind {
    /// A layer by itself.
    Layer,
    /// A whole root.
    Root,
}

impl CacheKind {
    fn dir(self) -> &'static str {
        match self {
            Self::Layer => "layers",
            Self::Root => "roots",
        }
    }

    /// The name for everything that is not below [`dir`](Self::dir).
    fn name(self, key: &str) -> String {
        match self {
            Self::Layer => format!("layer-{key}"),
            Self::Root => format!("root-{key}"),
        }
    }
}

impl Cache {
    /// The user's cache: `sandboxlib/images` in `XDG_CACHE_HOME`, or in `.cache` in `HOME`.
    ///
    /// # Errors
    /// [`Error::Missing`] if neither is set to an absolute path; and as [`at`](Self::at).
    pub fn user() -> Result<Self, Error> {
        let absolute = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let base =
            absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|h| h.join(".cache")));
        let base = base.ok_or_else(|| Error::missing("an absolute XDG_CACHE_HOME or HOME"))?;
        Self::at(base.join("sandboxlib/images"))
    }

    /// A cache in this directory, which is made, for its owner alone, if it is not there.
    ///
    /// # Errors
    /// [`Error::Cache`] if it is another user's, or others may write to it.
    pub fn at(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = std::path::absolute(dir.into()).map_err(|e| Error::io("find", ".", e))?;
        let make = |path: &Path| {
            let mut builder = fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(path);
            made.map_err(|e| Error::io("make", path, e))
        };
        make(&dir)?;
        let metadata = fs::metadata(&dir).map_err(|e| Error::io("look at", &dir, e))?;
        let wrong = |why: &str| Error::Cache {
            path: dir.clone(),
            why: why.to_owned(),
        };
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(wrong("is another user's"));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(wrong("can be written to by others"));
        }
        for name in ["layers", "roots", "work", "locks", "known"] {
            make(&dir.join(name))?;
        }
        // So that programs for backups leave it alone.
        let tag = dir.join("CACHEDIR.TAG");
        if !tag.exists() {
            let text = "Signature: 8a477f597d28d172789f06886806bc55\n";
            fs::write(&tag, text).map_err(|e| Error::io("write", &tag, e))?;
        }
        Ok(Self { dir })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The root of the image at `path`, unpacked if it is not yet. An archive that was seen
    /// before and has not changed since, by its times, is not even read; nor is a layout whose
    /// `index.json` has not changed, which says by digests what the rest of it has to be.
    ///
    /// # Errors
    /// As [`Image::open_with`] and [`Image::unpack_to`]; [`Error::Io`].
    pub fn root(
        &self,
        path: impl AsRef<Path>,
        open: &OpenOptions,
        options: &UnpackOptions,
    ) -> Result<CachedRoot, Error> {
        let path = path.as_ref();
        let known = self.known(path, open, options)?;
        if let Some(root) = self.seen(known.as_deref())? {
            return Ok(root);
        }
        let image = Image::open_with(path, open)?;
        let root = self.root_of(&image, options)?;
        // It is what it was before only if nobody has changed it in between.
        if let Some(known) = known
            && self.known(path, open, options)?.as_ref() == Some(&known)
        {
            self.write(&known, root.key().as_bytes())?;
        }
        Ok(root)
    }

    /// As [`root`](Self::root), of an image that was seen before and has not changed since;
    /// `None` for any other, which is not even opened.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Document`].
    pub fn find(
        &self,
        path: impl AsRef<Path>,
        open: &OpenOptions,
        options: &UnpackOptions,
    ) -> Result<Option<CachedRoot>, Error> {
        let known = self.known(path.as_ref(), open, options)?;
        self.seen(known.as_deref())
    }

    /// The root that has this key ([`CachedRoot::key`]), if it is there. For who has it from
    /// another process.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Document`].
    pub fn named(&self, key: &str) -> Result<Option<CachedRoot>, Error> {
        let is_key = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        match is_key && !key.is_empty() {
            true => self.take(key),
            false => Ok(None),
        }
    }

    /// The root that the file `known` says.
    fn seen(&self, known: Option<&Path>) -> Result<Option<CachedRoot>, Error> {
        match known.map(fs::read_to_string) {
            Some(Ok(key)) => self.named(&key),
            _ => Ok(None),
        }
    }

    /// The root of an image that was opened, unpacked if it is not yet. Several processes that ask
    /// for the same at once wait for the first one; if that is killed, the next one does it.
    ///
    /// # Errors
    /// As [`Image::unpack_to`]; [`Error::Io`].
    pub fn root_of(&self, image: &Image, options: &UnpackOptions) -> Result<CachedRoot, Error> {
        let id = image.id()?;
        let key = key(&id, options);
        loop {
            if let Some(root) = self.take(&key)? {
                return Ok(root);
            }
            self.make(CacheKind::Root, &key, |work| {
                let record = self.unpack(image, &id, work, options)?;
                let about = About {
                    id: id.clone(),
                    source: std::path::absolute(image.path())
                        .unwrap_or_else(|_| image.path().to_owned()),
                    format: image.format(),
                    platform: image.platform().cloned(),
                    config: image.config().clone(),
                    ownership: options.ownership.clone(),
                    gives: record.gives(&options.ownership),
                    not_mapped: NotMapped::of(&record, &options.ownership),
                    bytes: record.bytes,
                };
                write_json(&work.join("record.json"), &record)?;
                write_json(&work.join("image.json"), &about)
            })?;
        }
    }

    /// A root that is there.
    fn take(&self, key: &str) -> Result<Option<CachedRoot>, Error> {
        let dir = self.dir.join("roots").join(key);
        if !dir.exists() {
            return Ok(None);
        }
        let used = self.use_lock(CacheKind::Root, key)?;
        // Somebody may have removed it before the lock was ours.
        match read_json(&dir.join("image.json")) {
            Ok(about) => {
                used.touch();
                Ok(Some(CachedRoot {
                    dir,
                    about,
                    _used: used,
                }))
            }
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock_path(&self, kind: CacheKind, key: &str, what: &str) -> PathBuf {
        let name = format!("{}.{what}", kind.name(key));
        self.dir.join("locks").join(name)
    }

    fn use_lock(&self, kind: CacheKind, key: &str) -> Result<Lock, Error> {
        lock::shared(&self.lock_path(kind, key, "use"))
    }

    /// Makes an entry, unless somebody else just has. Whoever makes it holds a lock that ends
    /// with the process, however that ends; so what is found in its working directory was left
    /// behind by somebody who is gone.
    fn make(
        &self,
        kind: CacheKind,
        key: &str,
        fill: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let _making = lock::exclusive(&self.lock_path(kind, key, "make"))?;
        let done = self.dir.join(kind.dir()).join(key);
        if done.exists() {
            return Ok(());
        }
        let work = self.dir.join("work").join(kind.name(key));
        let clear = || remove_tree(&work).map_err(|e| Error::io("remove", &work, e));
        clear()?;
        fs::create_dir(&work).map_err(|e| Error::io("make", &work, e))?;
        if let Err(error) = fill(&work) {
            // What went wrong first is what the caller has to know.
            let _ = clear();
            return Err(error);
        }
        fs::rename(&work, &done).map_err(|e| Error::io("rename", &work, e))
    }

    fn unpack(
        &self,
        image: &Image,
        id: &Digest,
        work: &Path,
        options: &UnpackOptions,
    ) -> Result<Record, Error> {
        let path = work.join("tree");
        let mut tree = empty_tree(&path, &options.limits)?;
        let Some(layers) = image.parts() else {
            let mut record = image.unpack_whole(&mut tree, Some(id), options)?;
            finish(&mut tree, &mut record, options)?;
            return Ok(record);
        };
        let mut assembly = Assembly::new(tree, options);
        for layer in layers {
            let (dir, _used) = self.layer(image, layer, assembly.record(), options)?;
            let tree = Tree::open(&dir.join("tree"), options.limits.depth)
                .map_err(|e| Error::io("open", &dir, e))?;
            assembly.add(&tree, &read_json(&dir.join("record.json"))?)?;
        }
        assembly.finish()
    }

    /// A layer by itself, unpacked if it is not yet.
    fn layer(
        &self,
        image: &Image,
        layer: &Layer,
        used: &Record,
        options: &UnpackOptions,
    ) -> Result<(PathBuf, Lock), Error> {
        let key = key(&layer.diff_id, options);
        let dir = self.dir.join("layers").join(&key);
        loop {
            if dir.exists() {
                let lock = self.use_lock(CacheKind::Layer, &key)?;
                if dir.join("record.json").exists() {
                    lock.touch();
                    return Ok((dir, lock));
                }
            }
            self.make(CacheKind::Layer, &key, |work| {
                let mut tree = empty_tree(&work.join("tree"), &options.limits)?;
                let record = image.unpack_one(layer, &mut tree, options, used)?;
                write_json(&work.join("record.json"), &record)
            })?;
        }
    }

    /// A new and empty directory for one run, on the file system of the cache.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn scratch(&self) -> Result<Scratch, Error> {
        // What has owners of a user namespace is removed by who prunes in such a one.
        let _ = self.clear_scratch();
        let failed = |e| Error::io("make a directory in", &self.dir, e);
        for number in 0_u32.. {
            let name = format!("{SCRATCH}{}-{number}", std::process::id());
            let path = self.dir.join("locks").join(format!("{name}.make"));
            let Some(lock) = lock::try_exclusive(&path)? else {
                continue;
            };
            let dir = self.dir.join("work").join(name);
            match fs::create_dir(&dir) {
                Ok(()) => {
                    let lock = Some(lock);
                    return Ok(Scratch { dir, lock });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(io::ErrorKind::AlreadyExists.into()))
    }

    /// Removes the directories for single runs ([`scratch`](Self::scratch)) of processes that are
    /// gone.
    ///
    /// # Errors
    /// [`Error::Io`] if something cannot be removed. What can be, is.
    pub fn clear_scratch(&self) -> Result<(), Error> {
        self.clear_work(Some(SCRATCH))
    }

    /// Removes what processes left that are gone.
    fn clear_work(&self, prefix: Option<&str>) -> Result<(), Error> {
        let mut done = Ok(());
        for name in names(&self.dir.join("work"))? {
            if prefix.is_some_and(|prefix| !name.starts_with(prefix)) {
                continue;
            }
            // Its maker holds this lock as long as it lives.
            let path = self.dir.join("locks").join(format!("{name}.make"));
            if let Some(making) = lock::try_exclusive(&path)? {
                let work = self.dir.join("work").join(&name);
                match remove_tree(&work) {
                    Ok(()) if name.starts_with(SCRATCH) => making.remove(),
                    Ok(()) => {}
                    Err(e) => done = Err(Error::io("remove", &work, e)),
                }
            }
        }
        done
    }

    /// What is in the cache, roots first.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    pub fn entries(&self) -> Result<Vec<CacheEntry>, Error> {
        let mut entries = Vec::new();
        for kind in [CacheKind::Root, CacheKind::Layer] {
            let dir = self.dir.join(kind.dir());
            for key in names(&dir)? {
                // What somebody else removes meanwhile is not there.
                if let Some(entry) = self.entry(kind, key) {
                    entries.push(entry);
                }
            }
        }
        Ok(entries)
    }

    fn entry(&self, kind: CacheKind, key: String) -> Option<CacheEntry> {
        let dir = self.dir.join(kind.dir()).join(&key);
        let made = fs::metadata(&dir).ok()?.modified().ok()?;
        let lock = fs::metadata(self.lock_path(kind, &key, "use"));
        let used = lock.and_then(|lock| lock.modified());
        let about: Option<About> = read_json(&dir.join("image.json")).ok();
        let bytes = match &about {
            Some(about) => about.bytes,
            None => read_json::<Record>(&dir.join("record.json")).ok()?.bytes,
        };
        Some(CacheEntry {
            kind,
            source: about.map(|about| about.source),
            bytes,
            used: used.map_or(made, |used| used.max(made)),
            key,
        })
    }

    /// Removes what nobody uses and nobody has used for `unused`, and what killed processes left
    /// behind. Returns what was removed.
    ///
    /// # Errors
    /// [`Error::Io`] if something cannot be removed. Everything else is.
    pub fn prune(&self, unused: Duration) -> Result<Vec<CacheEntry>, Error> {
        let (mut removed, mut failed) = (Vec::new(), None);
        for entry in self.entries()? {
            let age = entry.used.elapsed().unwrap_or(Duration::ZERO);
            if age < unused {
                continue;
            }
            match self.remove(&entry) {
                Ok(true) => removed.push(entry),
                Ok(false) => {}
                Err(error) => failed = Some(error),
            }
        }
        if let Err(error) = self.clear_work(None) {
            failed.get_or_insert(error);
        }
        for name in names(&self.dir.join("known"))? {
            let path = self.dir.join("known").join(name);
            let key = fs::read_to_string(&path).unwrap_or_default();
            if !self.dir.join("roots").join(key).exists() {
                let _ = fs::remove_file(path);
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(removed),
        }
    }

    /// Removes an entry, unless somebody makes or uses it.
    fn remove(&self, entry: &CacheEntry) -> Result<bool, Error> {
        let path = |what| self.lock_path(entry.kind, &entry.key, what);
        let Some(making) = lock::try_exclusive(&path("make"))? else {
            return Ok(false);
        };
        let Some(used) = lock::try_exclusive(&path("use"))? else {
            return Ok(false);
        };
        let dir = self.dir.join(entry.kind.dir()).join(&entry.key);
        // Renamed first: what is half removed is not found.
        let work = self.dir.join("work").join(entry.kind.name(&entry.key));
        remove_tree(&work).map_err(|e| Error::io("remove", &work, e))?;
        fs::rename(&dir, &work).map_err(|e| Error::io("rename", &dir, e))?;
        remove_tree(&work).map_err(|e| Error::io("remove", &work, e))?;
        used.remove();
        making.remove();
        Ok(true)
    }

    /// The file that says which root the image at `path` has; `None` for what is neither an
    /// archive nor a layout, and for one that was changed so lately that its times do not tell.
    fn known(
        &self,
        path: &Path,
        open: &OpenOptions,
        options: &UnpackOptions,
    ) -> Result<Option<PathBuf>, Error> {
        let failed = |e| Error::io("open", path, e);
        let mut metadata = fs::metadata(path).map_err(failed)?;
        if metadata.is_dir() {
            match fs::metadata(path.join("index.json")) {
                Ok(index) => metadata = index,
                // Whoever opens it says what it is.
                Err(_) => return Ok(None),
            }
        }
        if !metadata.is_file() {
            return Ok(None);
        }
        let seconds = metadata.ctime().max(metadata.mtime());
        let changed = u64::try_from(seconds).unwrap_or(0);
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed + 1);
        if changed.elapsed().unwrap_or(Duration::ZERO) < SETTLED {
            return Ok(None);
        }
        // The path does not count: a file is the same by any name.
        let text = format!(
            "{} {} {} {}.{} {}.{} {:?} {:?} {}",
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
            open.platform,
            open.reference,
            flavour(options),
        );
        let name = Digest::of(text.as_bytes()).file_name();
        Ok(Some(self.dir.join("known").join(name)))
    }

    /// Writes a file at once or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let failed = |e| Error::io("write", path, e);
        let mut file = tempfile::NamedTempFile::new_in(self.dir.join("known")).map_err(failed)?;
        io::Write::write_all(&mut file, bytes).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

impl Scratch {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now may be later, and there is nobody to tell.
        if remove_tree(&self.dir).is_ok()
            && let Some(lock) = self.lock.take()
        {
            lock.remove();
        }
    }
}

impl CachedRoot {
    /// Copies the root into `target`, an empty directory, for somebody who writes to it. Where
    /// the file system can, the copies share their blocks until then.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Entry`].
    pub fn copy_to(&self, target: &Path) -> Result<(), Error> {
        crate::assemble::copy_tree(&self.path(), target, self.about.ownership.is_kept())
    }

    /// The directory that is the root. It is shared with other runs, and by hard links with other
    /// roots: nobody may write to it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// Its name in the cache.
    #[must_use]
    pub fn key(&self) -> &str {
        // Keys are ASCII.
        let name = self.dir.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    /// Whose the files are.
    #[must_use]
    pub fn ownership(&self) -> &Ownership {
        &self.about.ownership
    }

    /// Whether files are given to others than root (0:0), or would be if the caller could.
    #[must_use]
    pub fn gives(&self) -> bool {
        self.about.gives
    }

    /// The files that are given to root for want of somebody else.
    #[must_use]
    pub fn not_mapped(&self) -> &NotMapped {
        &self.about.not_mapped
    }

    /// What tells the image from all others.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.about.id
    }

    /// What kind of image it was.
    #[must_use]
    pub fn format(&self) -> Format {
        self.about.format
    }

    /// The platform that the image says it is for.
    #[must_use]
    pub fn platform(&self) -> Option<&Platform> {
        self.about.platform.as_ref()
    }

    /// What the image says about running it.
    #[must_use]
    pub fn config(&self) -> &ImageConfig {
        &self.about.config
    }

    /// What became of the image when it was unpacked.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    pub fn report(&self) -> Result<Report, Error> {
        let record: Record = read_json(&self.dir.join("record.json"))?;
        Ok(record.report(&self.about.ownership))
    }
}

/// The options that make a different tree.
fn flavour(options: &UnpackOptions) -> String {
    let owners = options.ownership.word();
    let set_id = if options.keep_set_id { "-setid" } else { "" };
    format!("v{VERSION}-{owners}{set_id}")
}

fn key(digest: &Digest, options: &UnpackOptions) -> String {
    format!("{}-{}", digest.file_name(), flavour(options))
}

fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let failed = |e| Error::io("list", dir, e);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        // All names here are made of digests.
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = fs::read(path).map_err(|e| Error::io("read", path, e))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::document(path.display().to_string(), error))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let bytes = serde_json::to_vec(value).map_err(|e| Error::io("write", path, e))?;
    fs::write(path, bytes).map_err(|e| Error::io("write", path, e))
}
