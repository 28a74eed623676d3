//! How [`Settings`] are read with serde. Every value is checked inside a visitor, because that
//! is where a deserializer knows the place in the text that an error is about.

mod number;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use self::number::{Count, Id, Permissions, Size, SizeOrNone};
use super::{
    Definition, HostSecrets, ImageSettings, MountSetting, Namespace, SandboxName, Settings,
    parse_duration,
};
use crate::{
    Access, ControlGroups, FeatureSet, Limits, Mount, MountKind, Network, SandboxPath, Seccomp,
};

/// A type that is written as text.
pub(super) trait FromText: Sized {
    /// What is expected, for messages such as "invalid type: integer, expected a path".
    const WHAT: &'static str;
    fn from_text(text: &str) -> Result<Self, String>;
    /// The same from a number, where that has a plain meaning. It comes written out as people
    /// write numbers, so that one rule judges both.
    fn from_number(_: &str) -> Option<Result<Self, String>> {
        None
    }
    fn from_bool(_: bool) -> Option<Result<Self, String>> {
        None
    }
}

pub(super) struct Text<T>(pub(super) T);

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V<T>(PhantomData<T>);
        impl<T: FromText> V<T> {
            fn number<E: de::Error>(
                self,
                n: &str,
                found: de::Unexpected<'_>,
            ) -> Result<Text<T>, E> {
                match T::from_number(n) {
                    Some(result) => result.map(Text).map_err(E::custom),
                    None => Err(E::invalid_type(found, &self)),
                }
            }
        }
        impl<T: FromText> Visitor<'_> for V<T> {
            type Value = Text<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::WHAT)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<T>, E> {
                T::from_text(text).map(Text).map_err(E::custom)
            }
            fn visit_bool<E: de::Error>(self, b: bool) -> Result<Text<T>, E> {
                match T::from_bool(b) {
                    Some(result) => result.map(Text).map_err(E::custom),
                    None => Err(E::invalid_type(de::Unexpected::Bool(b), &self)),
                }
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Text<T>, E> {
                self.number(&n.to_string(), de::Unexpected::Signed(n))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Text<T>, E> {
                self.number(&n.to_string(), de::Unexpected::Unsigned(n))
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Text<T>, E> {
                self.number(&n.to_string(), de::Unexpected::Float(n))
            }
        }
        deserializer.deserialize_any(V(PhantomData))
    }
}

/// One value, or an array of them.
pub(super) struct Many<T>(pub(super) Vec<T>);

impl<'de, T: FromText> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V<T>(PhantomData<T>);
        impl<'de, T: FromText> Visitor<'de> for V<T> {
            type Value = Many<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}, or an array of them", T::WHAT)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Many<T>, E> {
                T::from_text(text)
                    .map(|one| Many(vec![one]))
                    .map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Many<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(Text(one)) = seq.next_element()? {
                    list.push(one);
                }
                Ok(Many(list))
            }
        }
        deserializer.deserialize_any(V(PhantomData))
    }
}

fn free_of_nul(text: &str) -> Result<OsString, String> {
    match text.contains('\0') {
        true => Err(format!("{text:?} contains a NUL byte")),
        false => Ok(text.into()),
    }
}

impl FromText for SandboxName {
    const WHAT: &'static str = "the name of a sandbox";
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|e: super::ValueError| e.to_string())
    }
}

impl FromText for OsString {
    const WHAT: &'static str = "a string";
    fn from_text(text: &str) -> Result<Self, String> {
        free_of_nul(text)
    }
}

impl FromText for PathBuf {
    const WHAT: &'static str = "a path of the host";
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the path is empty".into());
        }
        free_of_nul(text).map(Self::from)
    }
}

impl FromText for SandboxPath {
    const WHAT: &'static str = "an absolute path";
    fn from_text(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(|e| e.to_string())
    }
}

impl FromText for FeatureSet {
    const WHAT: &'static str = "the name of a feature";
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|e: crate::UnknownFeature| e.to_string())
    }
}

impl FromText for Namespace {
    const WHAT: &'static str = "the name of a namespace";
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|e: super::ValueError| e.0)
    }
}

impl FromText for Network {
    const WHAT: &'static str = "\"isolated\" or \"shared\"";
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|e: super::ValueError| e.0)
    }
}

impl FromText for HostSecrets {
    const WHAT: &'static str = "\"hidden\" or \"shown\"";
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|e: super::ValueError| e.0)
    }
}

impl FromText for Duration {
    const WHAT: &'static str = "a span of time such as \"90s\", or seconds";
    fn from_text(text: &str) -> Result<Self, String> {
        parse_duration(text).map_err(|e| e.0)
    }
    fn from_number(seconds: &str) -> Option<Result<Self, String>> {
        Some(Self::from_text(seconds))
    }
}

struct Hostname(OsString);

impl FromText for Hostname {
    const WHAT: &'static str = "a host name";
    fn from_text(text: &str) -> Result<Self, String> {
        match text.len() {
            0 => Err("the host name is empty".into()),
            1..=64 => free_of_nul(text).map(Self),
            _ => Err("a host name has no more than 64 bytes".into()),
        }
    }
}

pub(super) struct Word(pub(super) String);

impl FromText for Word {
    const WHAT: &'static str = "a name";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("the name is empty".into()),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Variable(OsString);

impl FromText for Variable {
    const WHAT: &'static str = "the name of a variable";
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('=') {
            return Err(format!("{text:?} cannot be the name of a variable"));
        }
        free_of_nul(text).map(Self)
    }
}

/// The value of a variable; `true` for the caller's.
struct VariableValue(Option<OsString>);

impl FromText for VariableValue {
    const WHAT: &'static str = "a string, or true for the caller's value";
    fn from_text(text: &str) -> Result<Self, String> {
        free_of_nul(text).map(|value| Self(Some(value)))
    }
    fn from_bool(b: bool) -> Option<Result<Self, String>> {
        b.then_some(Ok(Self(None)))
    }
}

struct Environment(BTreeMap<OsString, Option<OsString>>);

impl<'de> Deserialize<'de> for Environment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Environment;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of variables")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Environment, A::Error> {
                let mut variables = BTreeMap::new();
                while let Some(Text(Variable(name))) = map.next_key()? {
                    let Text(VariableValue(value)) = map.next_value()?;
                    variables.insert(name, value);
                }
                Ok(Environment(variables))
            }
        }
        deserializer.deserialize_map(V)
    }
}

struct Volumes(BTreeMap<String, PathBuf>);

impl<'de> Deserialize<'de> for Volumes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Volumes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of volumes")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Volumes, A::Error> {
                let mut volumes = BTreeMap::new();
                while let Some(Text(Word(name))) = map.next_key()? {
                    let Text(path) = map.next_value()?;
                    volumes.insert(name, path);
                }
                Ok(Volumes(volumes))
            }
        }
        deserializer.deserialize_map(V)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bind,
    RoBind,
    Tmpfs,
    Proc,
    Dev,
    File,
    Symlink,
    Dir,
    Mask,
}

impl Kind {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Bind, "bind"),
        (Self::RoBind, "ro-bind"),
        (Self::Tmpfs, "tmpfs"),
        (Self::Proc, "proc"),
        (Self::Dev, "dev"),
        (Self::File, "file"),
        (Self::Symlink, "symlink"),
        (Self::Dir, "dir"),
        (Self::Mask, "mask"),
    ];
}

impl FromText for Kind {
    const WHAT: &'static str = "a type of mount";
    fn from_text(text: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(kind, _)| *kind)
            .ok_or_else(|| {
                let known = Self::ALL.map(|(_, name)| name).join(", ");
                format!("unknown type of mount {text:?}; known are: {known}")
            })
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawMount {
    r#type: Text<Kind>,
    target: Text<SandboxPath>,
    source: Option<Text<PathBuf>>,
    text: Option<String>,
    to: Option<Text<OsString>>,
    size: Option<Text<Size>>,
    perms: Option<Text<Permissions>>,
    #[serde(default)]
    cover: bool,
}

impl RawMount {
    fn check(self) -> Result<MountSetting, String> {
        let Text(kind) = self.r#type;
        let name = Kind::ALL
            .iter()
            .find(|(k, _)| *k == kind)
            .map_or("", |(_, name)| name);
        let only = |given: bool, key: &str, kinds: &[Kind]| match given && !kinds.contains(&kind) {
            true => Err(format!("`{key}` means nothing for a mount of type {name}")),
            false => Ok(()),
        };
        only(
            self.source.is_some(),
            "source",
            &[Kind::Bind, Kind::RoBind, Kind::File],
        )?;
        only(self.text.is_some(), "text", &[Kind::File])?;
        only(self.to.is_some(), "to", &[Kind::Symlink])?;
        only(self.size.is_some(), "size", &[Kind::Tmpfs])?;
        only(
            self.perms.is_some(),
            "perms",
            &[Kind::Tmpfs, Kind::File, Kind::Dir],
        )?;
        let needs = |key: &str| format!("a mount of type {name} needs `{key}`");

        let mode = |default| {
            self.perms
                .as_ref()
                .map_or(default, |Text(Permissions(mode))| *mode)
        };
        let mut content = None;
        let kind = match kind {
            Kind::Bind | Kind::RoBind => MountKind::Bind {
                source: self.source.ok_or_else(|| needs("source"))?.0,
                access: match kind {
                    Kind::Bind => Access::ReadWrite,
                    _ => Access::ReadOnly,
                },
            },
            Kind::Tmpfs => MountKind::Tmpfs {
                size: self.size.as_ref().map(|Text(Size(size))| *size),
                mode: mode(0o1777),
            },
            Kind::Proc => MountKind::Proc,
            Kind::Dev => MountKind::Dev,
            Kind::File => {
                let data = match (self.text, self.source) {
                    (Some(_), Some(_)) => {
                        return Err("a file has a `source` or a `text`, not both".into());
                    }
                    (Some(text), None) => text.into_bytes(),
                    (None, Some(Text(path))) => {
                        content = Some(path);
                        Vec::new()
                    }
                    (None, None) => return Err(needs("source")),
                };
                MountKind::File {
                    data: data.into(),
                    mode: self.perms.map_or(0o644, |Text(Permissions(mode))| mode),
                }
            }
            Kind::Symlink => MountKind::Symlink {
                to: self
                    .to
                    .filter(|Text(to)| !to.is_empty())
                    .ok_or_else(|| needs("to"))?
                    .0,
            },
            Kind::Dir => MountKind::Dir { mode: mode(0o755) },
            Kind::Mask => MountKind::Mask,
        };
        let mut mount = Mount::new(self.target.0, kind);
        mount.covers = self.cover;
        Ok(MountSetting { mount, content })
    }
}

impl<'de> Deserialize<'de> for MountSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = MountSetting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table that describes a mount")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MountSetting, A::Error> {
                RawMount::deserialize(de::value::MapAccessDeserializer::new(map))?
                    .check()
                    .map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_map(V)
    }
}

/// A program and its arguments.
struct Command(Vec<OsString>);

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Command;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or an array of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Command, E> {
                let word = OsString::from_text(text).map_err(E::custom)?;
                Ok(Command(vec![word]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Command, A::Error> {
                let seq = de::value::SeqAccessDeserializer::new(seq);
                match Many::deserialize(seq)? {
                    Many(words) if words.is_empty() => {
                        Err(de::Error::custom("the command is empty"))
                    }
                    Many(words) => Ok(Command(words)),
                }
            }
        }
        deserializer.deserialize_any(V)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawSettings {
    extends: Option<Text<SandboxName>>,
    description: Option<String>,
    sandbox: Option<Text<PathBuf>>,
    backend: Option<Many<Word>>,
    read_only: Option<bool>,
    writable: Option<Many<SandboxPath>>,
    overlay: Option<bool>,
    overlay_changes: Option<Text<PathBuf>>,
    image: Option<Text<Word>>,
    platform: Option<Text<Word>>,
    image_cache: Option<Text<PathBuf>>,
    volume: Option<Volumes>,
    host_secrets: Option<Text<HostSecrets>>,
    readable: Option<Many<SandboxPath>>,
    allow_socket: Option<Many<SandboxPath>>,
    bare: Option<bool>,
    #[serde(default)]
    mount: Vec<MountSetting>,
    network: Option<Text<Network>>,
    share: Option<Many<Namespace>>,
    isolate: Option<Many<Namespace>>,
    uid: Option<Id>,
    gid: Option<Id>,
    root: Option<bool>,
    map_subordinate: Option<bool>,
    cap_add: Option<Many<Word>>,
    seccomp: Option<Seccomp>,
    allow_nested: Option<bool>,
    hostname: Option<Text<Hostname>>,
    landlock: Option<bool>,
    prefer: Option<Many<FeatureSet>>,
    cwd: Option<Text<SandboxPath>>,
    env: Option<Environment>,
    inherit_env: Option<bool>,
    timeout: Option<Text<Duration>>,
    cpu_time: Option<Text<Duration>>,
    memory: Option<Text<Size>>,
    processes: Option<Text<Count>>,
    file_size: Option<Text<Size>>,
    open_files: Option<Text<Count>>,
    stack: Option<Text<Size>>,
    core: Option<Text<SizeOrNone>>,
    output: Option<Text<Size>>,
    kill_after: Option<Text<Duration>>,
    cgroup: Option<Text<ControlGroups>>,
    tty: Option<bool>,
    as_pid_1: Option<bool>,
    command: Option<Command>,
}

impl RawSettings {
    fn check(self) -> Result<Definition, String> {
        let (mut uid, mut gid) = (self.uid.map(|Id(n)| n), self.gid.map(|Id(n)| n));
        if self.root == Some(true) {
            if uid.or(gid).is_some() {
                return Err("`root` stands for uid 0 and gid 0; leave `uid` and `gid` out".into());
            }
            (uid, gid) = (Some(0), Some(0));
        }
        if self.overlay == Some(false) && self.overlay_changes.is_some() {
            return Err("`overlay-changes` means nothing without an overlay".into());
        }
        if self.map_subordinate == Some(true) && uid.or(gid).is_some() {
            return Err("`map-subordinate` excludes `uid`, `gid` and `root`".into());
        }
        let list = |many: Option<Many<Namespace>>| many.map_or_else(Vec::new, |Many(list)| list);
        let (share, isolate) = (list(self.share), list(self.isolate));
        if let Some(both) = share.iter().find(|ns| isolate.contains(ns)) {
            return Err(format!("`share` and `isolate` both name {}", both.name()));
        }
        let paths = |many: Option<Many<SandboxPath>>| many.map_or_else(Vec::new, |Many(list)| list);
        let words = |Many(list): Many<Word>| list.into_iter().map(|Word(word)| word).collect();
        let settings = Settings {
            sandbox: self.sandbox.map(|Text(path)| path),
            backend: self.backend.map(words),
            read_only: self.read_only,
            writable: paths(self.writable),
            overlay: self.overlay,
            overlay_changes: self.overlay_changes.map(|Text(path)| path),
            image: ImageSettings {
                reference: self.image.map(|Text(Word(word))| word),
                platform: self.platform.map(|Text(Word(word))| word),
                cache: self.image_cache.map(|Text(path)| path),
                volumes: self
                    .volume
                    .map_or_else(BTreeMap::new, |Volumes(volumes)| volumes),
            },
            host_secrets: self.host_secrets.map(|Text(secrets)| secrets),
            readable: paths(self.readable),
            sockets: paths(self.allow_socket),
            bare: self.bare,
            mounts: self.mount,
            network: self.network.map(|Text(network)| network),
            share,
            isolate,
            uid,
            gid,
            map_subordinate: self.map_subordinate,
            capabilities: self.cap_add.map(words),
            seccomp: self.seccomp,
            allow_nested: self.allow_nested,
            hostname: self.hostname.map(|Text(Hostname(name))| name),
            landlock: self.landlock,
            prefer: self.prefer.map_or(FeatureSet::EMPTY, |Many(list)| {
                list.into_iter().fold(FeatureSet::EMPTY, FeatureSet::union)
            }),
            cwd: self.cwd.map(|Text(path)| path),
            env: self
                .env
                .map_or_else(BTreeMap::new, |Environment(variables)| variables),
            inherit_env: self.inherit_env,
            limits: Limits {
                wall: self.timeout.map(|Text(time)| time),
                cpu_time: self.cpu_time.map(|Text(time)| time),
                memory: self.memory.map(|Text(Size(bytes))| bytes),
                processes: self.processes.map(|Text(Count(n))| n),
                file_size: self.file_size.map(|Text(Size(bytes))| bytes),
                open_files: self.open_files.map(|Text(Count(n))| n),
                stack: self.stack.map(|Text(Size(bytes))| bytes),
                core: self.core.map(|Text(SizeOrNone(bytes))| bytes),
                output: self.output.map(|Text(Size(bytes))| bytes),
                kill_after: self.kill_after.map(|Text(time)| time),
            },
            control_groups: self.cgroup.map(|Text(groups)| groups),
            tty: self.tty,
            as_pid_1: self.as_pid_1,
            command: self.command.map(|Command(words)| words),
        };
        Ok(Definition {
            extends: self.extends.map(|Text(name)| name),
            description: self.description,
            settings,
        })
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let definition = Definition::deserialize(deserializer)?;
        for (key, said) in [
            ("extends", definition.extends.is_some()),
            ("description", definition.description.is_some()),
        ] {
            if said {
                let why = format!("`{key}` belongs to the definition of a named sandbox");
                return Err(de::Error::custom(why));
            }
        }
        Ok(definition.settings)
    }
}

impl<'de> Deserialize<'de> for Definition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawSettings::deserialize(deserializer)?
            .check()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
