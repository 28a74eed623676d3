//! An image as SANDBOX: what it is made into, and what it says about running it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sandboxlib::Error;
use sandboxlib::config::{
    Access, Feature, HiddenPlace, ImageSettings, Mount, MountKind, MountSetting, SandboxPath,
    Settings,
};
use sandboxlib::core::{Degradation, Enforcement, Hint, Knob, NegotiateError, Reason};
use sandboxlib::image::{
    Cache, CachedRoot, EventHandler, Format, IdMap, ImageConfig, OpenOptions, Platform, Process,
    Progress, Scratch, UnpackOptions,
};
use serde::Serialize;

use crate::bytes::{escaped, shown};
use crate::parse::CacheAction;
use crate::settings::system;

mod isolators;
mod owners;
pub(crate) mod worker;

use owners::{Owners, Ownership};
use worker::{Job, Source, Trouble};

/// An image that is the root of a run, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Opened {
    cache: Cache,
    root: CachedRoot,
    owners: Owners,
    /// What a worker needs to know, if files belong to ids that only a worker has.
    mapped: Option<Mapped>,
    scratch: Option<Scratch>,
    /// The volumes that are empty directories because nobody gave another.
    empty_volumes: Vec<String>,
    /// What the image asks for and does not get, and what that means.
    not_supported: Vec<(String, String)>,
    pub(crate) handlers: Vec<EventHandler>,
}

/// The image that a root was made of by a map of ids.
#[derive(Debug)]
struct Mapped {
    path: PathBuf,
    settings: ImageSettings,
    map: IdMap,
}

/// A root, and all that follows from whose its files are.
struct Unpacked {
    root: CachedRoot,
    process: Process,
    owners: Owners,
    /// The map that the run needs.
    map: Option<IdMap>,
}

/// Whether `path` is to be taken for an image. A directory is one only if it says so, and this is
/// all that a plain directory pays for images.
fn is_image(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            path.join("oci-layout").is_file() && path.join("index.json").is_file()
        }
        Ok(found) => found.is_file(),
        Err(_) => false,
    }
}

/// If SANDBOX is an image, makes a root of it, and puts what it says below `settings`. The error
/// is a message.
pub(crate) fn open(settings: Settings) -> Result<(Settings, Option<Opened>), String> {
    let Some(path) = settings.sandbox.clone() else {
        return Ok((settings, None));
    };
    if !is_image(&path) {
        if !settings.image.is_empty() {
            return Err(format!(
                "SANDBOX {path:?} is no image, which --volume, --image, --platform and \
                 --image-cache are about"
            ));
        }
        return Ok((settings, None));
    }
    if !settings.writable.is_empty() {
        return Err(
            "--writable: the root of an image is kept for other runs, and changed in a layer of \
             its own: see --overlay-changes, or bind a directory"
                .to_owned(),
        );
    }
    let cache = cache(settings.image.cache.as_deref())?;
    let unpacked = unpacked(&cache, &path, &settings)?;
    make(settings, cache, &path, unpacked)
}

/// The cache in `dir`, or the user's.
pub(crate) fn cache(dir: Option<&Path>) -> Result<Cache, String> {
    match dir {
        Some(dir) => Cache::at(dir),
        None => Cache::user(),
    }
    .map_err(|e| said("the cache of images", &e))
}

/// Removes what nobody uses, and says what that was. What belongs to subordinate ids is removed
/// by a worker, which has them.
pub(crate) fn pruned(cache: &Cache) -> Result<String, String> {
    if sandboxlib::spawn::caller_ids().0 != 0 && owners::granted().is_ok() {
        match worker::run(cache, &Job::Prune, None) {
            Ok(text) => return Ok(text),
            Err(Trouble::Failed(message)) => return Err(message),
            Err(Trouble::Unavailable(_)) => {}
        }
    }
    crate::overlay::act(cache, CacheAction::Prune)
}

fn said(what: &str, error: &sandboxlib::image::Error) -> String {
    use std::error::Error as _;
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = match error.downcast_ref::<io::Error>() {
            Some(error) => system(error),
            None => error.to_string(),
        };
        text = format!("{text}: {more}");
        cause = error.source();
    }
    text
}

fn open_options(platform: Option<&str>, reference: Option<&str>) -> Result<OpenOptions, String> {
    let mut open = OpenOptions::default();
    if let Some(word) = platform {
        let platform: Platform = word.parse().map_err(|e| format!("--platform: {e}"))?;
        open.platform = Some(platform);
    }
    open.reference = reference.map(str::to_owned);
    Ok(open)
}

/// The root of the image at `path`: with its owners where these can be had and are of use, and
/// else with one id for all files. Root has all ids, and needs nothing for it.
fn unpacked(cache: &Cache, path: &Path, settings: &Settings) -> Result<Unpacked, String> {
    let wanted = &settings.image;
    let open = open_options(wanted.platform.as_deref(), wanted.reference.as_deref())?;
    let is_root = sandboxlib::spawn::caller_ids().0 == 0;
    let one_id = if is_root {
        None
    } else {
        match with_owners(cache, path, &open, settings)? {
            Ok(unpacked) => return Ok(unpacked),
            Err(reason) => Some(reason),
        }
    };
    let mut options = UnpackOptions::default();
    let root = showing(|progress| {
        options.progress = progress.cloned();
        cache.root(path, &open, &options)
    });
    let root = root.map_err(|e| said(&format!("SANDBOX {path:?}"), &e))?;
    let process = process(&root)?;
    let owners = match one_id {
        Some(reason) => owners_of_one_id(&root, &process, settings, reason),
        None => Owners::Image,
    };
    Ok(Unpacked {
        root,
        process,
        owners,
        map: None,
    })
}

/// The same with the owners of the image, by the caller's subordinate ids. Those are needed in the
/// run too, unless all files are root's. What is not an error is a reason to do without.
fn with_owners(
    cache: &Cache,
    path: &Path,
    open: &OpenOptions,
    settings: &Settings,
) -> Result<Result<Unpacked, String>, String> {
    let map = match owners::map(settings) {
        Ok(map) => map,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut options = UnpackOptions::default();
    options.ownership = owners::mapped(&map);
    let failed = |e| said(&format!("SANDBOX {path:?}"), &e);
    let found = cache.find(path, open, &options).map_err(failed)?;
    if found.as_ref().is_none_or(CachedRoot::gives)
        && let Some(reason) = owners::backend_lacks(settings)
    {
        return Ok(Err(reason));
    }
    let source = Source {
        path,
        settings: &settings.image,
        map: &map,
    };
    if found.is_none() {
        // A worker is root of what the caller owns, and would read what its owner has closed.
        File::open(path).map_err(|source| {
            failed(sandboxlib::image::Error::Io {
                step: "open",
                path: path.to_owned(),
                source,
            })
        })?;
    }
    let root = match found {
        Some(root) => root,
        None => match by_worker(cache, &source) {
            Ok(root) => root,
            Err(Trouble::Unavailable(reason)) => return Ok(Err(reason)),
            Err(Trouble::Failed(message)) => return Err(message),
        },
    };
    // This process is not root of those ids, and what is closed to it cannot be planned in.
    if let Err(e) = std::fs::read_dir(root.path()) {
        let why = system(&e);
        let reason = format!("with its owners, the image cannot be looked into: {why}");
        return Ok(Err(reason));
    }
    let process = match process(&root) {
        Ok(process) => process,
        // If something else is wrong, it is so with one id, too.
        Err(reason) => return Ok(Err(reason)),
    };
    if !root.gives() {
        let reason = "all files of the image are root's, for which no further ids are needed";
        let owners = owners_of_one_id(&root, &process, settings, reason.to_owned());
        // What is made in the run can belong to others all the same.
        let map = (settings.map_subordinate == Some(true)).then_some(map);
        return Ok(Ok(Unpacked {
            root,
            process,
            owners,
            map,
        }));
    }
    if let Some(reason) = owners::unfit(&map, &process, settings) {
        return Ok(Err(reason));
    }
    Ok(Ok(Unpacked {
        root,
        process,
        owners: Owners::Image,
        map: Some(map),
    }))
}

/// Where one id is all that the image has, it is the image's if the command is root.
fn owners_of_one_id(
    root: &CachedRoot,
    process: &Process,
    settings: &Settings,
    reason: String,
) -> Owners {
    let ids = match settings.map_subordinate {
        Some(_) => (0, 0),
        None => (
            settings.uid.unwrap_or(process.uid),
            settings.gid.unwrap_or(process.gid),
        ),
    };
    match !root.gives() && ids == (0, 0) {
        true => Owners::Image,
        false => Owners::One(reason),
    }
}

/// A root that a worker unpacks, or finds.
fn by_worker(cache: &Cache, source: &Source<'_>) -> Result<CachedRoot, Trouble> {
    // It can be pruned before it is taken, again and again, but nobody does that.
    const OFTEN: u32 = 16;
    for _ in 0..OFTEN {
        let key = showing(|progress| worker::run(cache, &Job::Unpack(source), progress))?;
        let root = cache.named(&key);
        let failed = |e| Trouble::Failed(said("the cache of images", &e));
        match root.map_err(failed)? {
            Some(root) if *root.ownership() == owners::mapped(source.map) => return Ok(root),
            Some(_) => break,
            None => {}
        }
    }
    let message = "the cache of images: the root is not there that a worker has unpacked";
    Err(Trouble::Failed(message.to_owned()))
}

/// What the image says about its command, by the files of its root.
fn process(root: &CachedRoot) -> Result<Process, String> {
    let config = root.config();
    let wrong = |e| said("the image", &e);
    let report = match names_a_file(config) {
        true => Some(root.report().map_err(wrong)?),
        false => None,
    };
    let process = config.process(&root.path(), None, report.as_ref());
    process.map_err(wrong)
}

/// Does `work`. On a terminal it shows how far that is, if it takes a while.
fn showing<T>(work: impl FnOnce(Option<&Progress>) -> T) -> T {
    if !io::stderr().is_terminal() {
        return work(None);
    }
    let progress = Progress::default();
    watched(&progress, || work(Some(&progress)))
}

/// Does `work`, while another thread shows how far it is. All threads have ended afterwards.
fn watched<T>(progress: &Progress, work: impl FnOnce() -> T) -> T {
    /// What takes no longer is not worth a line that comes and goes.
    const PATIENCE: Duration = Duration::from_millis(300);
    const OFTEN: Duration = Duration::from_millis(100);
    /// Nor is an image of less than this, however long it takes.
    const LARGE: u64 = 4 << 20;
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            use std::sync::mpsc::RecvTimeoutError::Timeout;
            let mut wait = PATIENCE;
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            while is_done.recv_timeout(wait) == Err(Timeout) {
                if wait == PATIENCE && progress.total() >= LARGE {
                    wait = OFTEN;
                    let style = ProgressStyle::with_template(
                        "unpacking {wide_bar} {bytes} of {total_bytes}",
                    );
                    if let Ok(style) = style {
                        bar.set_style(style);
                    }
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                }
                bar.set_length(progress.total());
                bar.set_position(progress.read());
            }
            bar.finish_and_clear();
        });
        let result = work();
        drop(done);
        result
    })
}

fn make(
    settings: Settings,
    cache: Cache,
    image: &Path,
    unpacked: Unpacked,
) -> Result<(Settings, Option<Opened>), String> {
    let Unpacked {
        root,
        process,
        owners,
        map,
    } = unpacked;
    let config = root.config().clone();
    let path = root.path();
    let needs_map = map.is_some();
    let mapped = map.map(|map| Mapped {
        path: image.to_owned(),
        settings: settings.image.clone(),
        map,
    });
    let mut opened = Opened {
        cache,
        owners,
        mapped,
        scratch: None,
        empty_volumes: Vec::new(),
        not_supported: Vec::new(),
        handlers: config.event_handlers.clone(),
        root,
    };
    for unsupported in &config.unsupported {
        let (what, why) = (unsupported.what.clone(), unsupported.consequence.clone());
        opened.not_supported.push((what, why));
    }
    let mut lower = below(&path, process);
    lower.map_subordinate = needs_map.then_some(true);
    lower.overlay = (settings.read_only != Some(true)).then_some(true);
    lower.mounts = volumes(&config, &settings, &mut opened)?;
    if settings.bare != Some(true) {
        lower.mounts.extend(sysfs(&settings));
    }
    isolators::settle(&config, &settings, &mut lower, &mut opened.not_supported)?;
    if !process_groups(&config).is_empty() {
        let what = "supplementary groups".to_owned();
        let why = "the command has none".to_owned();
        opened.not_supported.push((what, why));
    }
    lower
        .mounts
        .extend(missing_directory(&path, &lower, &settings));
    // It is what the image is in, and the root is what came out of it.
    let mut settings = settings;
    settings.sandbox = None;
    let mut settings = settings.over(lower);
    // The cached root is shared: it is read-only, with a layer over it or without.
    match (
        settings.overlay,
        &settings.overlay_changes,
        settings.read_only,
    ) {
        (Some(false), None, _) => settings.read_only = Some(true),
        (_, _, Some(false)) => settings.read_only = None,
        _ => {}
    }
    let has_layer = settings.overlay == Some(true) && settings.overlay_changes.is_none();
    if has_layer && !opened.handlers.is_empty() {
        // What the handlers do is to be seen by the command: one layer for all of them.
        let dir = opened.scratch()?;
        settings.overlay_changes = Some(dir);
    }
    settings.image = ImageSettings::default();
    Ok((settings, Some(opened)))
}

/// Whether the user or the group is named by the path of a file.
fn names_a_file(config: &ImageConfig) -> bool {
    let names = [&config.user, &config.group];
    names
        .into_iter()
        .flatten()
        .any(|name| name.starts_with('/'))
}

fn process_groups(config: &ImageConfig) -> &[u32] {
    &config.supplementary_groups
}

/// What the image says, as settings below those of the caller.
fn below(root: &Path, process: Process) -> Settings {
    let mut lower = Settings::default();
    lower.sandbox = Some(root.to_owned());
    lower.env = process.env.into_iter().map(|(n, v)| (n, Some(v))).collect();
    (lower.uid, lower.gid) = (Some(process.uid), Some(process.gid));
    lower.cwd = Some(process.cwd);
    lower.command = Some(process.args).filter(|args| !args.is_empty());
    lower
}

/// The working directory of the image, which need not be in it. One that links lead to is.
fn missing_directory(root: &Path, lower: &Settings, upper: &Settings) -> Option<MountSetting> {
    let cwd = lower.cwd.clone().filter(|_| upper.cwd.is_none())?;
    let mut targets = upper.mounts.iter().chain(&lower.mounts);
    let is_mounted = targets.any(|m| cwd.starts_with(&m.mount.target));
    let mut path = root.to_owned();
    for name in cwd.relative() {
        path.push(name);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return None,
            Err(_) if is_mounted => return None,
            // One that is somebody else's alone is there, as far as can be seen.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return None,
            Err(_) => return Some(Mount::new(cwd, MountKind::Dir { mode: 0o755 }).into()),
        }
    }
    None
}

/// Whether a mount of the caller's own is at `target`.
fn is_taken(settings: &Settings, target: &SandboxPath) -> bool {
    settings.mounts.iter().any(|m| m.mount.target == *target)
}

/// The volumes of the image as mounts. The caller's mount at the same place counts instead.
fn volumes(
    config: &ImageConfig,
    settings: &Settings,
    opened: &mut Opened,
) -> Result<Vec<MountSetting>, String> {
    let given: &BTreeMap<String, PathBuf> = &settings.image.volumes;
    for name in given.keys() {
        if !config.volumes.iter().any(|volume| volume.name == *name) {
            let known: Vec<&str> = config.volumes.iter().map(|v| &*v.name).collect();
            let known = match &*known {
                [] => "it has none".to_owned(),
                known => format!("it has {}", known.join(", ")),
            };
            return Err(format!(
                "--volume {name}: the image has no such volume; {known}"
            ));
        }
    }
    let mut mounts = Vec::new();
    for volume in &config.volumes {
        let target = Path::new("/").join(&volume.path);
        let target = SandboxPath::new(target)
            .map_err(|e| format!("the image: the path of the volume {}: {e}", volume.name))?;
        if is_taken(settings, &target) {
            continue;
        }
        let access = match volume.read_only {
            true => Access::ReadOnly,
            false => Access::ReadWrite,
        };
        let kind = match given.get(&volume.name) {
            Some(source) => MountKind::Bind {
                source: source.clone(),
                access,
            },
            None if !volume.required => continue,
            None if settings.prefer.contains(Feature::Volumes) => {
                opened.empty_volumes.push(volume.name.clone());
                MountKind::Tmpfs {
                    size: None,
                    mode: 0o1777,
                }
            }
            None => {
                return Err(format!(
                    "the image needs the volume {}, for {target:?}: give a directory with \
                     --volume {}=PATH, or an empty one with --prefer volumes",
                    volume.name, volume.name
                ));
            }
        };
        mounts.push(Mount::new(target, kind).into());
    }
    Ok(mounts)
}

/// What the specifications promise at /sys: the host's, as an ordinary user sees it, read-only.
fn sysfs(settings: &Settings) -> Vec<MountSetting> {
    let Ok(sys) = SandboxPath::new("/sys") else {
        return Vec::new();
    };
    if is_taken(settings, &sys) || !sys.as_path().is_dir() {
        return Vec::new();
    }
    let mut mounts: Vec<MountSetting> = vec![Mount::bind_read_only("/sys", sys.clone()).into()];
    // What root alone can read needs no cover from anybody else, and each costs a start its time.
    let is_root = sandboxlib::spawn::caller_ids().0 == 0;
    for place in HiddenPlace::usual::<&Path>([], is_root) {
        if place.path.starts_with(&sys) && place.path.as_path().is_dir() {
            let kind = MountKind::Tmpfs {
                size: Some(1 << 12),
                mode: 0o555,
            };
            mounts.push(Mount::new(place.path, kind).into());
        }
    }
    mounts
}

impl Opened {
    fn scratch(&mut self) -> Result<PathBuf, String> {
        if let Some(scratch) = &self.scratch {
            return Ok(scratch.path().to_owned());
        }
        let scratch = self.cache.scratch();
        let scratch = scratch.map_err(|e| said("the cache of images", &e))?;
        let path = scratch.path().to_owned();
        self.scratch = Some(scratch);
        Ok(path)
    }

    /// Makes the root a copy of its own, which can be written to, for a host that has no overlays.
    pub(crate) fn copied(&mut self) -> Result<PathBuf, String> {
        let path = self.scratch()?;
        let root = path.join("root");
        std::fs::create_dir(&root).map_err(|e| format!("cannot make {root:?}: {}", system(&e)))?;
        let Some(mapped) = &self.mapped else {
            let copied = self.root.copy_to(&root);
            copied.map_err(|e| said("cannot copy the image", &e))?;
            return Ok(root);
        };
        let source = Source {
            path: &mapped.path,
            settings: &mapped.settings,
            map: &mapped.map,
        };
        match worker::run(&self.cache, &Job::Copy(&source, &root), None) {
            Ok(_) => Ok(root),
            Err(Trouble::Unavailable(why) | Trouble::Failed(why)) => Err(why),
        }
    }

    /// Whether what the run changes is gone afterwards, wherever it goes.
    pub(crate) fn has_scratch(&self) -> bool {
        self.scratch.is_some()
    }

    /// Notes in what held during the run what concerns the image.
    pub(crate) fn note(&self, enforcement: &mut Enforcement) {
        for name in &self.empty_volumes {
            let text = format!("nothing was given for {name}: it is an empty directory");
            enforcement.degradations.push(Degradation {
                feature: Feature::Volumes,
                reason: Reason::new(text),
            });
        }
    }

    /// What is said in any case: what the image asks for and does not get.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        // Every image would have it.
        let told = self.not_supported.iter();
        let told = told.filter(|(what, _)| what != "AC_METADATA_URL");
        told.map(|(what, why)| format!("the image: {what}: {why}"))
    }

    /// About the image, for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let about = About::from(self);
        let mut lines = vec![format!("image: {} {}", about.format, about.id)];
        lines.extend(about.name.map(|name| format!("  name: {}", shown(name))));
        lines.extend(
            about
                .platform
                .map(|platform| format!("  platform: {platform}")),
        );
        for (kind, map) in [("label", about.labels), ("annotation", about.annotations)] {
            for (name, value) in map {
                lines.push(format!("  {kind}: {} = {}", shown(name), shown(value)));
            }
        }
        lines.extend(about.ownership.lines());
        for port in about.ports {
            lines.push(format!("  port: {}", shown(port)));
        }
        for handler in about.event_handlers {
            let words: Vec<String> = handler.command.iter().map(shown).collect();
            lines.push(format!("  {}: {}", shown(handler.event), words.join(" ")));
        }
        for (what, why) in &self.not_supported {
            lines.push(format!("  not supported: {}: {}", shown(what), why));
        }
        lines
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let scratch = self.scratch.take();
        let has_owners = self.mapped.is_some() && scratch.is_some();
        drop(scratch);
        if has_owners {
            // What is left of it now is not the caller's. If it cannot be removed, whoever
            // prunes does.
            let _ = worker::run(&self.cache, &Job::ClearScratch, None);
        }
    }
}

/// Whether a sandbox was not made because no overlay can be had on this host.
pub(crate) fn is_about_overlay(error: &Error) -> bool {
    let is_about = |hint: &Hint| matches!(hint.knob, Knob::Request("overlay"));
    let refused = |error: &NegotiateError| match error {
        NegotiateError::Refused(list) => list.iter().any(|r| r.feature == Feature::Overlay),
        _ => false,
    };
    match error {
        Error::Prepare { error, .. } => error.reason.hints.iter().any(is_about),
        Error::Negotiate { candidates } => candidates.iter().any(|c| refused(&c.error)),
        _ => false,
    }
}

/// About an image, for programs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct About {
    format: &'static str,
    id: String,
    name: Option<String>,
    platform: Option<String>,
    root: String,
    ownership: Ownership,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    ports: Vec<String>,
    event_handlers: Vec<Handler>,
    not_supported: Vec<NotSupported>,
}

#[derive(Debug, Clone, Serialize)]
struct Handler {
    event: String,
    command: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct NotSupported {
    what: String,
    consequence: String,
}

impl From<&Opened> for About {
    fn from(opened: &Opened) -> Self {
        let config = opened.root.config();
        let handler = |handler: &EventHandler| Handler {
            event: handler.name.clone(),
            command: handler.exec.clone(),
        };
        let not_supported = opened.not_supported.iter();
        Self {
            format: match opened.root.format() {
                Format::AppContainer => "app-container",
                Format::Oci => "oci",
                Format::DockerArchive => "docker-archive",
                Format::Root => "root",
                _ => "other",
            },
            id: opened.root.id().to_string(),
            name: config.name.clone(),
            platform: opened.root.platform().map(ToString::to_string),
            root: escaped(opened.root.path()),
            ownership: Ownership::new(&opened.owners, &opened.root),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            ports: config.ports.clone(),
            event_handlers: opened.handlers.iter().map(handler).collect(),
            not_supported: not_supported
                .map(|(what, consequence)| NotSupported {
                    what: what.clone(),
                    consequence: consequence.clone(),
                })
                .collect(),
        }
    }
}

/// The program and arguments of a handler, as words of a command line.
pub(crate) fn words(handler: &EventHandler) -> Vec<OsString> {
    handler.exec.iter().map(OsString::from).collect()
}
