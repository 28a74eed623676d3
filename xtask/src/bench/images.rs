//! Images: unpacking one, against other programs that do, and starting from one that is unpacked,
//! against a plain directory.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::candidate::{COMMAND, Candidate, How};
use super::measure::{Chance, Samples, in_turn, in_turn_after};
use super::place::{Place, link_merged};
use super::report::{ImageTiming, Report};
use super::stats::{Spread, ratios};
use super::wanted::Wanted;
use crate::account::Account;
use crate::{Result, repo};

pub(super) const FIRST: &str = "run-sandbox, image, empty cache";
pub(super) const LIBRARY: &str = "image library, unpack";
pub(super) const TAR: &str = "tar -xzf";
pub(super) const UMOCI: &str = "umoci unpack";
pub(super) const SECOND: &str = "run-sandbox, cached image";
pub(super) const DIRECTORY: &str = "run-sandbox, plain directory";
pub(super) const OVERLAY: &str = "run-sandbox --overlay, plain directory";

/// Bytes of the files in the image, and with `--quick`.
const BYTES: u64 = 80 << 20;
const BYTES_QUICK: u64 = 16 << 20;
/// A single file of more would be most of the image.
const LARGEST: u64 = 8 << 20;
/// Which directories of /usr are taken: each so-many-th, so that they are from everywhere.
const STRIDE: usize = 37;

/// Unpacking takes a hundred times as long as starting.
const FEWER: usize = 20;
const FEWEST: usize = 3;

/// Makes the directory in which the measurement works, and gives it to the account that does.
pub(super) fn make_room(wanted: &Wanted) -> Result {
    let dir = wanted.place.images(&wanted.account);
    fs::create_dir_all(&dir)?;
    if repo::is_root() && wanted.account == "user" {
        let Account { uid, gid, .. } = Account::ordinary()?;
        if fs::metadata(&dir)?.uid() != uid {
            std::os::unix::fs::chown(&dir, Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

/// One image in the forms that the candidates take.
struct Made {
    /// Where everything is.
    dir: PathBuf,
    /// An OCI layout, if there is something to make one with.
    layout: Option<PathBuf>,
    /// The layer of the layout.
    tarball: PathBuf,
    /// The same, unpacked by tar.
    tree: PathBuf,
}

pub(super) fn measure(
    place: &Place,
    wanted: &Wanted,
    chance: &mut Chance,
    report: &mut Report,
) -> Result<Vec<Samples>> {
    let bytes = if wanted.quick { BYTES_QUICK } else { BYTES };
    let image = Made::find(&place.images(&wanted.account), bytes, wanted)?;
    report.image = Some(image.about()?);
    // Somebody may have been interrupted.
    image.clear()?;
    fs::create_dir(image.work())?;
    let rounds = (wanted.rounds / FEWER).max(FEWEST);
    wanted.say(&format!("unpacking an image, {rounds} rounds"));
    let unpacking = in_turn_after(0, &image.unpacking(place), rounds, chance);
    wanted.say(&format!("starting from images, {} rounds", wanted.rounds));
    let starting = in_turn(&image.starting(place), wanted.rounds, chance);
    for (samples, to) in [(&unpacking, TAR), (&starting, DIRECTORY)] {
        report.images.extend(timings(samples, to));
        report.miss(samples.missing.clone());
    }
    image.clear()?;
    Ok(vec![unpacking, starting])
}

fn timings(samples: &Samples, to: &str) -> Vec<ImageTiming> {
    let timing = |(name, times): &(String, Vec<f64>)| ImageTiming {
        name: name.clone(),
        microseconds: Spread::of(times),
        to: to.to_owned(),
        ratio: samples.of(to).map(|to| ratios(times, to)),
    };
    samples.times.iter().map(timing).collect()
}

impl Made {
    /// The image of that size below `dir`, made if it is not there.
    fn find(dir: &Path, bytes: u64, wanted: &Wanted) -> Result<Self> {
        let dir = dir.join(format!("{}M", bytes >> 20));
        let complete = dir.join("complete");
        let made = Self {
            layout: Some(dir.join("oci")).filter(|_| repo::have("umoci")),
            tarball: dir.join("image.tgz"),
            tree: dir.join("tree"),
            dir,
        };
        let has_layout = made.layout.as_ref().is_none_or(|layout| layout.exists());
        if complete.exists() && has_layout {
            return Ok(made);
        }
        wanted.say("making an image");
        if made.dir.exists() {
            fs::remove_dir_all(&made.dir)?;
        }
        fs::create_dir_all(&made.tree)?;
        match &made.layout {
            Some(layout) => made.by_umoci(layout, bytes)?,
            None => {
                let source = made.dir.join("source");
                fill(&source, bytes)?;
                let tar = tool("tar", ["-czf".as_ref(), made.tarball.as_os_str()]);
                run({ tar }.arg("-C").arg(&source).arg("."))?;
                fs::remove_dir_all(source)?;
            }
        }
        let tar = tool("tar", ["-xzf".as_ref(), made.tarball.as_os_str()]);
        run({ tar }.arg("-C").arg(&made.tree))?;
        fs::write(complete, "")?;
        Ok(made)
    }

    /// An image of one layer, and the layer by itself.
    fn by_umoci(&self, layout: &Path, bytes: u64) -> Result {
        let umoci = |words: &[&str]| tool("umoci", words.iter().map(AsRef::as_ref));
        let bundle = self.dir.join("source");
        run(umoci(&["init", "--layout"]).arg(layout))?;
        run(umoci(&["new", "--image"]).arg(named(layout)))?;
        let mut unpack = umoci(&["unpack", "--image"]);
        run(unpack.arg(named(layout)).args(rootless()).arg(&bundle))?;
        fill(&bundle.join("rootfs"), bytes)?;
        run(umoci(&["repack", "--image"])
            .arg(named(layout))
            .arg(&bundle))?;
        fs::remove_dir_all(bundle)?;
        let mut largest: Option<(u64, PathBuf)> = None;
        for entry in fs::read_dir(layout.join("blobs/sha256"))? {
            let entry = entry?;
            let found = (entry.metadata()?.len(), entry.path());
            largest = largest.max(Some(found));
        }
        let (_, layer) = largest.ok_or("umoci made a layout of nothing")?;
        fs::hard_link(layer, &self.tarball)?;
        Ok(())
    }

    fn about(&self) -> Result<String> {
        let (entries, bytes) = contents(&self.tree)?;
        let packed = fs::metadata(&self.tarball)?.len();
        let mib = |bytes: u64| bytes >> 20;
        Ok(format!(
            "{entries} entries, {} MiB, packed {} MiB",
            mib(bytes),
            mib(packed)
        ))
    }

    /// What run-sandbox is given.
    fn image(&self) -> &Path {
        self.layout.as_ref().unwrap_or(&self.tarball)
    }

    fn unpacking(&self, place: &Place) -> Vec<Candidate> {
        let fresh = |name: &str| self.work().join(name);
        let ours = from_image(place, &fresh("cache"), self.image());
        let library = vec![
            place.unpack().into(),
            self.tarball.clone().into(),
            fresh("library").into(),
        ];
        let tar = vec![
            "tar".into(),
            "-xzf".into(),
            self.tarball.clone().into(),
            "-C".into(),
            fresh("tar").into(),
        ];
        let umoci = match &self.layout {
            None => How::Not("not installed".to_owned()),
            Some(layout) => {
                let mut line: Vec<OsString> = vec!["umoci".into(), "unpack".into()];
                line.extend(rootless().map(OsString::from));
                line.extend(["--image".into(), named(layout), fresh("umoci").into()]);
                How::Process(line)
            }
        };
        vec![
            Candidate::new(FIRST, How::Process(ours)).without(fresh("cache")),
            Candidate::new(LIBRARY, How::Process(library)).without(fresh("library")),
            Candidate::new(TAR, How::Process(tar)).with_empty(fresh("tar")),
            Candidate::new(UMOCI, umoci).without(fresh("umoci")),
        ]
    }

    fn starting(&self, place: &Place) -> Vec<Candidate> {
        let cache = self.work().join("kept");
        let cached = from_image(place, &cache, self.image());
        let directory = |option: Option<&str>| {
            let mut line: Vec<OsString> = vec![place.run_sandbox().into()];
            line.extend(option.map(OsString::from));
            line.extend([self.tree.clone().into(), COMMAND.into()]);
            How::Process(line)
        };
        vec![
            Candidate::new(SECOND, How::Process(cached)),
            Candidate::new(DIRECTORY, directory(None)),
            Candidate::new(OVERLAY, directory(Some("--overlay"))),
        ]
    }

    /// What the candidates make is here.
    fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Removes what the candidates made. The image stays for the next time.
    fn clear(&self) -> Result {
        if self.work().exists() {
            fs::remove_dir_all(self.work())?;
        }
        Ok(())
    }
}

fn from_image(place: &Place, cache: &Path, image: &Path) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec![place.run_sandbox().into(), "--image-cache".into()];
    line.extend([cache.into(), image.into(), COMMAND.into()]);
    line
}

/// How umoci knows the image.
fn named(layout: &Path) -> OsString {
    let mut name = OsString::from(layout);
    name.push(":bench");
    name
}

/// What umoci has to be told by everybody but root.
fn rootless() -> Option<&'static str> {
    (!repo::is_root()).then_some("--rootless")
}

fn tool<'a>(name: &str, words: impl IntoIterator<Item = &'a std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command.args(words);
    command
}

/// Runs what helps, quietly: standard output is for what was found.
fn run(command: &mut Command) -> Result {
    repo::run(command.stdout(Stdio::null()))
}

/// Makes a root at `target` with about so many bytes of the host's /usr in it, and /bin/true.
fn fill(target: &Path, bytes: u64) -> Result {
    for dir in ["dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(target.join(dir))?;
    }
    for dir in ["bin", "lib", "lib64", "sbin"] {
        fs::create_dir_all(target.join("usr").join(dir))?;
    }
    link_merged(target)?;
    let libraries = repo::output(Command::new("ldd").arg(COMMAND))?;
    let needed = libraries.split_whitespace().filter(|w| w.starts_with('/'));
    for path in needed.chain([COMMAND]) {
        copy(Path::new(path), target)?;
    }
    let mut directories = Vec::new();
    walk(Path::new("/usr"), &mut directories)?;
    let mut left = bytes;
    for start in 0..STRIDE {
        for files in directories.iter().skip(start).step_by(STRIDE) {
            for (path, length) in files {
                if *length > left {
                    return Ok(());
                }
                left -= length;
                copy(path, target)?;
            }
        }
    }
    Ok(())
}

/// Files and links of a directory, with their lengths.
type Files = Vec<(PathBuf, u64)>;

/// Collects what is in each directory below `dir` that this account may read, in the same order
/// each time.
fn walk(dir: &Path, found: &mut Vec<Files>) -> Result {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    let (mut files, mut below) = (Vec::new(), Vec::new());
    for path in paths {
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            below.push(path);
        } else if metadata.is_symlink() {
            files.push((path, 0));
        } else if metadata.len() <= LARGEST && fs::File::open(&path).is_ok() {
            files.push((path, metadata.len()));
        }
    }
    found.push(files);
    for dir in below {
        walk(&dir, found)?;
    }
    Ok(())
}

/// Copies a file or link of the host to the same place below `target`, unless something is there.
fn copy(path: &Path, target: &Path) -> Result {
    let to = target.join(path.strip_prefix("/")?);
    if fs::symlink_metadata(&to).is_ok() {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::read_link(path) {
        // What the loader is called by has to be there whatever else is taken.
        Ok(link) if path.starts_with("/usr") => symlink(link, to)?,
        _ => {
            fs::copy(path, to)?;
        }
    }
    Ok(())
}

/// The number of entries below a directory, and the bytes of its files.
fn contents(dir: &Path) -> Result<(u64, u64)> {
    let (mut entries, mut bytes) = (0, 0);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        entries += 1;
        if metadata.is_dir() {
            let (more, length) = contents(&entry.path())?;
            (entries, bytes) = (entries + more, bytes + length);
        } else if metadata.is_file() {
            bytes += metadata.len();
        }
    }
    Ok((entries, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_has_its_size_and_what_runs() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let most = 3 << 20;
        fill(&root, most).unwrap();
        let (entries, bytes) = contents(&root).unwrap();
        assert!(entries > 20, "{entries}");
        // The program and its libraries come first.
        assert!(bytes > 1 << 20 && bytes < most + (8 << 20), "{bytes}");
        assert!(root.join("bin/true").is_file());
    }

    #[test]
    fn everybody_unpacks_to_a_place_of_their_own() {
        let made = Made {
            dir: "/d".into(),
            layout: None,
            tarball: "/d/image.tgz".into(),
            tree: "/d/tree".into(),
        };
        let candidates = made.unpacking(&Place::at("/p"));
        let names: Vec<_> = candidates.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, [FIRST, LIBRARY, TAR, UMOCI]);
        // Without umoci it is named, and run-sandbox gets the tarball.
        assert_eq!(candidates[3].how, How::Not("not installed".to_owned()));
        let How::Process(line) = &candidates[0].how else {
            panic!("{candidates:?}");
        };
        assert!(line.contains(&"/d/image.tgz".into()), "{line:?}");
        let mut places: Vec<_> = candidates
            .iter()
            .map(|c| format!("{:?}", c.before))
            .collect();
        places.sort();
        places.dedup();
        assert_eq!(places.len(), 4);
    }
}
