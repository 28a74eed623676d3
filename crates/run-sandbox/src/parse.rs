//! The command line, made into [`Settings`] and what concerns this program alone.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;

use lexopt::{Arg, Parser};
use sandboxlib::config::{
    Access, ControlGroups, FeatureSet, Mount, MountKind, MountSetting, Namespace, SandboxName,
    SandboxPath, Seccomp, Settings, parse_count, parse_duration, parse_permissions, parse_size,
    parse_size_or_none,
};
use sandboxlib::core::CapSet;

use crate::options::{Id, OPTIONS, Opt};
use crate::session::{self, Place};

/// What the user wants from this program.
#[derive(Debug)]
pub(crate) enum Invocation {
    Help {
        long: bool,
    },
    Version,
    Doctor(Format),
    List(Format),
    Cache {
        action: CacheAction,
        dir: Option<PathBuf>,
    },
    Apply {
        changes: PathBuf,
        target: PathBuf,
    },
    Run(Box<Args>),
}

/// A run, or the explanation of one.
#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(crate) settings: Settings,
    pub(crate) config: Option<PathBuf>,
    /// The name of a sandbox that is defined in a file.
    pub(crate) name: Option<SandboxName>,
    /// A file with a system call filter.
    pub(crate) seccomp: Option<PathBuf>,
    pub(crate) explain: Option<Format>,
    pub(crate) report: Option<PathBuf>,
    pub(crate) report_format: ReportFormat,
    pub(crate) verbose: bool,
    pub(crate) place: Place,
}

/// What is done with the cache of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheAction {
    List,
    Prune,
}

/// How a plan is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ReportFormat {
    #[default]
    Json,
    /// The meta file of isolate(1).
    Isolate,
}

/// Options that belong to the mount that follows them.
#[derive(Default)]
struct Pending {
    size: Option<u64>,
    perms: Option<u32>,
    cover: bool,
}

/// Reads a command line without the name of the program.
///
/// The error is a message that names the option.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
    let mut parser = Parser::from_args(words);
    let mut args = Args::default();
    let mut pending = Pending::default();
    let mut sandbox = None;
    let mut dashes = false;
    let (mut alone, mut cache, mut apply) = (None, None, None);
    let mut given = Vec::new();
    loop {
        if let Some(mut raw) = parser.try_raw_args()
            && raw.next_if(|word| word == "--").is_some()
        {
            dashes = true;
            break;
        }
        let mut short = false;
        let opt = match parser.next().map_err(|e| e.to_string())? {
            None => break,
            Some(Arg::Value(word)) => {
                sandbox = Some(word);
                break;
            }
            Some(Arg::Short(letter)) => {
                short = true;
                OPTIONS
                    .iter()
                    .find(|opt| opt.short == Some(letter))
                    .ok_or_else(|| format!("unknown option -{}", letter.escape_debug()))?
            }
            Some(Arg::Long(long)) => OPTIONS
                .iter()
                .find(|opt| opt.long.contains(&long))
                .ok_or_else(|| unknown(long))?,
        };
        given.push(opt);
        match opt.id {
            // The short one is for people who know the options and forgot how one is spelt.
            Id::Help => return Ok(Invocation::Help { long: !short }),
            Id::Version => return Ok(Invocation::Version),
            Id::Doctor | Id::List => alone = Some((opt, format(opt, parser.optional_value())?)),
            Id::Cache => cache = Some(cache_action(&value(opt, &mut parser)?)?),
            Id::Apply => apply = Some(PathBuf::from(value(opt, &mut parser)?)),
            _ => take(opt, &mut parser, &mut args, &mut pending)?,
        }
    }
    for (given, option) in [
        (pending.size.is_some(), "size"),
        (pending.perms.is_some(), "perms"),
        (pending.cover, "cover"),
    ] {
        if given {
            return Err(format!(
                "--{option} belongs in front of a mount, and none follows"
            ));
        }
    }
    if args.explain.is_some() && args.report.is_some() {
        return Err("--report is about a run, and --explain runs nothing".to_owned());
    }

    let mut rest: Vec<OsString> = match parser.raw_args() {
        Ok(words) => words.collect(),
        Err(e) => return Err(e.to_string()),
    };
    if let Some((opt, format)) = alone {
        let (what, invocation) = match opt.id {
            Id::List => ("is no run", Invocation::List(format)),
            _ => ("looks at the host", Invocation::Doctor(format)),
        };
        if given.len() > 1 || sandbox.is_some() || !rest.is_empty() {
            let name = opt.long[0];
            return Err(format!(
                "--{name} {what} and stands alone: without SANDBOX and other options"
            ));
        }
        return Ok(invocation);
    }
    if let Some(action) = cache {
        let dir = args.settings.image.cache.take();
        if given.len() > 1 + usize::from(dir.is_some()) || sandbox.is_some() || !rest.is_empty() {
            return Err(
                "--cache stands alone: without SANDBOX, and no option but --image-cache".to_owned(),
            );
        }
        return Ok(Invocation::Cache { action, dir });
    }
    if let Some(changes) = apply {
        return match (sandbox, given.len(), &*rest) {
            (Some(target), 1, []) => Ok(Invocation::Apply {
                changes,
                target: target.into(),
            }),
            _ => Err(
                "--apply DIR takes the directory SANDBOX, no COMMAND, and no other option"
                    .to_owned(),
            ),
        };
    }
    if let Place::In(_) = args.place {
        session::check(&args.place, &given, None)?;
        session::command(&mut args, sandbox, rest);
        return Ok(Invocation::Run(Box::new(args)));
    }
    if dashes && args.config.is_none() && !rest.is_empty() {
        sandbox = Some(rest.remove(0));
    }
    if let Some(word) = sandbox {
        if word.is_empty() {
            return Err("SANDBOX is empty".to_owned());
        }
        match word.as_encoded_bytes().strip_prefix(b"@") {
            Some(_) if args.config.is_some() => {
                return Err(format!(
                    "{word:?} is defined in a file, and --config names another one"
                ));
            }
            Some(_) => args.name = Some(name(&word)?),
            None => args.settings.sandbox = Some(word.into()),
        }
        match rest.first() {
            Some(word) if word == "--" => {
                rest.remove(0);
            }
            Some(word) if word.len() > 1 && word.as_encoded_bytes().starts_with(b"-") => {
                return Err(format!(
                    "{word:?} follows SANDBOX; put options in front of SANDBOX, and -- in front \
                     of a COMMAND that begins with a dash"
                ));
            }
            _ => {}
        }
    }
    session::check(&args.place, &given, rest.first())?;
    if !rest.is_empty() {
        args.settings.command = Some(rest);
    }
    Ok(Invocation::Run(Box::new(args)))
}

/// The name that follows the at sign.
fn name(word: &OsStr) -> Result<SandboxName, String> {
    let text = word.to_str().and_then(|word| word.strip_prefix('@'));
    let path = format!("a directory of that name is \"./\" and {word:?}");
    let text = text.ok_or_else(|| format!("{word:?} is no name of a sandbox; {path}"))?;
    text.parse().map_err(|e| format!("{e}; {path}"))
}

fn unknown(long: &str) -> String {
    let names = || OPTIONS.iter().flat_map(|opt| opt.long.iter().copied());
    // A word of any length is compared with words that could be meant.
    let near = names()
        .filter(|name| name.len().abs_diff(long.len()) <= 1 + name.len() / 5)
        .map(|name| (distance(name, long), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 5);
    match near {
        Some((_, name)) => format!("unknown option {:?}; is it --{name}?", format!("--{long}")),
        None => format!(
            "unknown option {:?}; --help lists them",
            format!("--{long}")
        ),
    }
}

/// How many letters have to be added, taken away or replaced to make one word the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The one value of an option.
fn value(opt: &Opt, parser: &mut Parser) -> Result<OsString, String> {
    let lacking = || format!("--{} lacks its {}", opt.long[0], opt.values[0]);
    match parser.value() {
        Ok(word) if !word.is_empty() => Ok(word),
        _ => Err(lacking()),
    }
}

fn cache_action(word: &OsStr) -> Result<CacheAction, String> {
    match word.to_str() {
        Some("list") => Ok(CacheAction::List),
        Some("prune") => Ok(CacheAction::Prune),
        _ => Err(format!("--cache: {word:?} is neither list nor prune")),
    }
}

/// Takes the values of `opt` and notes what they say.
fn take(
    opt: &Opt,
    parser: &mut Parser,
    args: &mut Args,
    pending: &mut Pending,
) -> Result<(), String> {
    let name = opt.long[0];
    let mut values = Vec::with_capacity(2);
    if opt.optional {
        values.extend(parser.optional_value());
    } else {
        for value in opt.values {
            values.push(
                parser
                    .value()
                    .map_err(|_| format!("--{name} lacks its {value}"))?,
            );
        }
    }
    let set = &mut args.settings;
    let given = Given { opt, values };
    match opt.id {
        // These are dealt with before.
        Id::Help | Id::Version | Id::Doctor | Id::List | Id::Cache | Id::Apply => {}
        Id::ReadOnly => set.read_only = Some(true),
        Id::Overlay => set.overlay = Some(true),
        Id::OverlayChanges => set.overlay_changes = Some(given.host_path(0)?),
        Id::Image => set.image.reference = Some(given.text()?.to_owned()),
        Id::Platform => set.image.platform = Some(given.text()?.to_owned()),
        Id::ImageCache => set.image.cache = Some(given.host_path(0)?),
        Id::Volume => {
            let (name, path) = split_variable(&given.values[0]);
            match (name.to_str(), path) {
                (Some(name), Some(path)) if !name.is_empty() && !path.is_empty() => {
                    set.image.volumes.insert(name.to_owned(), path.into());
                }
                _ => {
                    let said = &given.values[0];
                    return Err(given.wrong(format_args!("{said:?} is not NAME=PATH")));
                }
            }
        }
        Id::Writable => set.writable.push(given.sandbox_path(0)?),
        Id::Readable => set.readable.push(given.sandbox_path(0)?),
        Id::AllowSocket => set.sockets.push(given.sandbox_path(0)?),
        Id::HostSecrets => set.host_secrets = Some(given.read(FromStr::from_str)?),
        Id::Bind => mount(set, pending, given.bind(Access::ReadWrite)?, opt)?,
        Id::RoBind => mount(set, pending, given.bind(Access::ReadOnly)?, opt)?,
        Id::Tmpfs => mount(
            set,
            pending,
            Mount::tmpfs(given.sandbox_path(0)?).into(),
            opt,
        )?,
        Id::Proc => mount(set, pending, given.plain(MountKind::Proc)?, opt)?,
        Id::Dev => mount(set, pending, given.plain(MountKind::Dev)?, opt)?,
        Id::Mask => mount(set, pending, given.plain(MountKind::Mask)?, opt)?,
        Id::Dir => mount(
            set,
            pending,
            given.plain(MountKind::Dir { mode: 0o755 })?,
            opt,
        )?,
        Id::File => {
            let kind = MountKind::File {
                data: [].into(),
                mode: 0o644,
            };
            let file = Mount::new(given.sandbox_path(1)?, kind);
            let content = Some(given.host_path(0)?);
            mount(
                set,
                pending,
                MountSetting {
                    mount: file,
                    content,
                },
                opt,
            )?;
        }
        Id::Symlink => {
            let to = given.full(0)?.to_owned();
            let link = Mount::new(given.sandbox_path(1)?, MountKind::Symlink { to });
            mount(set, pending, link.into(), opt)?;
        }
        Id::Size => pending.size = Some(given.read(parse_size)?),
        Id::Perms => pending.perms = Some(given.read(parse_permissions)?),
        Id::Cover => pending.cover = true,
        Id::Bare => set.bare = Some(true),
        Id::Network => set.network = Some(given.read(FromStr::from_str)?),
        Id::Share => {
            let namespace: Namespace = given.read(FromStr::from_str)?;
            forget(set, namespace);
            set.share.push(namespace);
        }
        Id::Isolate => {
            let namespace: Namespace = given.read(FromStr::from_str)?;
            forget(set, namespace);
            set.isolate.push(namespace);
        }
        Id::Hostname => {
            let hostname = given.full(0)?;
            if hostname.len() > 64 {
                return Err(given.wrong("a host name has no more than 64 bytes"));
            }
            set.hostname = Some(hostname.to_owned());
        }
        Id::NoLandlock => set.landlock = Some(false),
        Id::Seccomp => {
            let word = given.full(0)?;
            let preset = word.to_str().and_then(Seccomp::preset);
            let is_path = word.as_encoded_bytes().iter().any(|b| b"/.".contains(b));
            if preset.is_none() && !is_path {
                let known = Seccomp::PRESETS.join(", ");
                return Err(given.wrong(format_args!(
                    "{word:?} is none of the presets {known}, and a file is named by a path with \
                     a slash or a dot in it"
                )));
            }
            args.seccomp = preset.is_none().then(|| word.into());
            set.seccomp = preset;
        }
        Id::AllowNested => set.allow_nested = Some(true),
        Id::Prefer => {
            let list: FeatureSet = given.read(FromStr::from_str)?;
            set.prefer = set.prefer.union(list);
        }
        Id::Uid => (set.uid, set.map_subordinate) = (Some(given.id()?), None),
        Id::Gid => (set.gid, set.map_subordinate) = (Some(given.id()?), None),
        Id::Root => (set.uid, set.gid, set.map_subordinate) = (Some(0), Some(0), None),
        Id::MapSubordinate => {
            (set.uid, set.gid, set.map_subordinate) = (None, None, Some(true));
        }
        Id::CapAdd => {
            let word = given.text()?;
            let list = set.capabilities.get_or_insert_default();
            if word == "none" {
                list.clear();
            } else {
                CapSet::from_names([word]).map_err(|e| given.wrong(e))?;
                list.push(word.to_owned());
            }
        }
        Id::Backend => {
            let names = given.text()?.split(',');
            if names.clone().any(str::is_empty) {
                return Err(given.wrong("a name is empty"));
            }
            set.backend = Some(names.map(str::to_owned).collect());
        }
        Id::Cwd => set.cwd = Some(given.sandbox_path(0)?),
        Id::Env => {
            let (name, value) = split_variable(&given.values[0]);
            if name.is_empty() {
                return Err(given.wrong(format_args!("{:?} names no variable", given.values[0])));
            }
            set.env.insert(name, value);
        }
        Id::InheritEnv => set.inherit_env = Some(true),
        Id::AsPid1 => set.as_pid_1 = Some(true),
        Id::Tty => set.tty = Some(true),
        Id::NoTty => set.tty = Some(false),
        Id::Timeout => set.limits.wall = Some(given.read(parse_duration)?),
        Id::KillAfter => set.limits.kill_after = Some(given.read(parse_duration)?),
        Id::CpuTime => set.limits.cpu_time = Some(given.read(parse_duration)?),
        Id::Memory => set.limits.memory = Some(given.read(parse_size)?),
        Id::Processes => set.limits.processes = Some(given.read(parse_count)?),
        Id::Output => set.limits.output = Some(given.read(parse_size)?),
        Id::FileSize => set.limits.file_size = Some(given.read(parse_size)?),
        Id::OpenFiles => set.limits.open_files = Some(given.read(parse_count)?),
        Id::Stack => set.limits.stack = Some(given.read(parse_size)?),
        Id::Core => set.limits.core = Some(given.read(parse_size_or_none)?),
        Id::Cgroup => {
            let word = given.full(0)?;
            set.control_groups = Some(match word.to_str() {
                Some("auto") => ControlGroups::Auto,
                Some("none") => ControlGroups::None,
                _ => ControlGroups::Below(word.into()),
            });
        }
        Id::Session => args.place = Place::Serve(given.host_path(0)?),
        Id::In => args.place = Place::In(given.host_path(0)?),
        Id::Config => {
            if args.config.replace(given.host_path(0)?).is_some() {
                return Err(given.wrong("only one file can be read"));
            }
        }
        Id::Explain => {
            args.explain = Some(format(opt, given.values.into_iter().next())?);
        }
        Id::ReportFormat => {
            args.report_format = match given.text()? {
                "json" => ReportFormat::Json,
                "isolate" => ReportFormat::Isolate,
                other => {
                    return Err(given.wrong(format_args!("{other:?} is neither json nor isolate")));
                }
            }
        }
        Id::Report => args.report = Some(given.host_path(0)?),
        Id::Verbose => args.verbose = true,
    }
    Ok(())
}

/// Takes back what was said about a namespace: the last word counts, and the lists stay short.
fn forget(settings: &mut Settings, namespace: Namespace) {
    for list in [&mut settings.share, &mut settings.isolate] {
        list.retain(|other| *other != namespace);
    }
}

/// The format that was asked for, text if none was.
fn format(opt: &Opt, word: Option<OsString>) -> Result<Format, String> {
    match word {
        None => Ok(Format::Text),
        Some(word) if word == "text" => Ok(Format::Text),
        Some(word) if word == "json" => Ok(Format::Json),
        Some(word) => Err(format!(
            "--{}: {word:?} is neither text nor json",
            opt.long[0]
        )),
    }
}

/// Adds a mount, with the options in front of it.
fn mount(
    settings: &mut Settings,
    pending: &mut Pending,
    mut setting: MountSetting,
    opt: &Opt,
) -> Result<(), String> {
    let Pending { size, perms, cover } = std::mem::take(pending);
    let useless = |option: &str| {
        format!(
            "--{option} means nothing for the --{} that follows it",
            opt.long[0]
        )
    };
    if let Some(new) = size {
        match &mut setting.mount.kind {
            MountKind::Tmpfs { size, .. } => *size = Some(new),
            _ => return Err(useless("size")),
        }
    }
    if let Some(new) = perms {
        match &mut setting.mount.kind {
            MountKind::Tmpfs { mode, .. }
            | MountKind::File { mode, .. }
            | MountKind::Dir { mode } => *mode = new,
            _ => return Err(useless("perms")),
        }
    }
    setting.mount.covers = cover;
    settings.mounts.push(setting);
    Ok(())
}

/// `NAME=VALUE` or `NAME`, taken apart at the first equals sign.
fn split_variable(word: &OsStr) -> (OsString, Option<OsString>) {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = word.as_bytes();
    match bytes.iter().position(|b| *b == b'=') {
        Some(at) => (
            OsString::from_vec(bytes[..at].to_vec()),
            Some(OsString::from_vec(bytes[at + 1..].to_vec())),
        ),
        None => (word.to_owned(), None),
    }
}

/// An option with its values.
struct Given<'a> {
    opt: &'a Opt,
    values: Vec<OsString>,
}

impl Given<'_> {
    /// A message about value number `at`.
    fn wrong_at(&self, at: usize, problem: impl std::fmt::Display) -> String {
        match self.opt.values.get(at) {
            Some(value) if self.opt.values.len() > 1 => {
                format!("--{} {value}: {problem}", self.opt.long[0])
            }
            _ => format!("--{}: {problem}", self.opt.long[0]),
        }
    }

    fn wrong(&self, problem: impl std::fmt::Display) -> String {
        self.wrong_at(0, problem)
    }

    fn full(&self, at: usize) -> Result<&OsStr, String> {
        match &*self.values[at] {
            word if word.is_empty() => Err(self.wrong_at(at, "the value is empty")),
            word => Ok(word),
        }
    }

    fn host_path(&self, at: usize) -> Result<PathBuf, String> {
        self.full(at).map(PathBuf::from)
    }

    fn sandbox_path(&self, at: usize) -> Result<SandboxPath, String> {
        SandboxPath::new(&self.values[at]).map_err(|e| self.wrong_at(at, e))
    }

    fn bind(&self, access: Access) -> Result<MountSetting, String> {
        let source = self.host_path(0)?;
        Ok(Mount::new(self.sandbox_path(1)?, MountKind::Bind { source, access }).into())
    }

    fn plain(&self, kind: MountKind) -> Result<MountSetting, String> {
        Ok(Mount::new(self.sandbox_path(0)?, kind).into())
    }

    fn text(&self) -> Result<&str, String> {
        self.full(0)?
            .to_str()
            .ok_or_else(|| self.wrong(format_args!("{:?} is not UTF-8", self.values[0])))
    }

    fn read<T, E: std::fmt::Display>(&self, f: fn(&str) -> Result<T, E>) -> Result<T, String> {
        f(self.text()?).map_err(|e| self.wrong(e))
    }

    fn id(&self) -> Result<u32, String> {
        let word = self.text()?;
        let plain = word.bytes().all(|b| b.is_ascii_digit());
        match word.parse() {
            // (uid_t) -1 stands for "none" in system calls.
            Ok(id) if plain && id != u32::MAX => Ok(id),
            _ => Err(self.wrong(format_args!("{word:?} is not an id from 0 to 4294967294"))),
        }
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests;
