//! What holds for every configuration file, whoever wrote it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use toml::{Table, Value};

use super::{HostSecrets, MountSetting, Namespace, Settings};
use crate::text::ImageSettings;
use crate::text::{parse_duration, parse_permissions, parse_size};
use crate::{
    Access, ControlGroups, Errno, Feature, FeatureSet, Limits, Mount, MountKind, Network,
    SandboxPath, Seccomp, SeccompAction, SeccompComparison, SeccompOperator, SeccompOtherwise,
    SeccompRule, SeccompRules,
};

/// Text as it may stand in a path or argument: with everything that a format could trip over.
fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,5}", "[ -~\t\n\u{1b}\u{e9}\u{2028}\"'\\\\]{1,8}"]
}

fn places() -> impl Strategy<Value = SandboxPath> {
    prop::collection::vec(words(), 0..4).prop_filter_map("climbs", |names| {
        SandboxPath::new(format!("/{}", names.join("/"))).ok()
    })
}

fn host_paths() -> impl Strategy<Value = PathBuf> {
    words().prop_map(PathBuf::from)
}

fn modes() -> impl Strategy<Value = u32> {
    0..=0o7777_u32
}

fn mounts() -> impl Strategy<Value = MountSetting> {
    let kinds = prop_oneof![
        (
            host_paths(),
            select(vec![Access::ReadOnly, Access::ReadWrite])
        )
            .prop_map(|(source, access)| (MountKind::Bind { source, access }, None)),
        (option::of(1..=u64::MAX >> 1), modes())
            .prop_map(|(size, mode)| (MountKind::Tmpfs { size, mode }, None)),
        Just((MountKind::Proc, None)),
        Just((MountKind::Dev, None)),
        Just((MountKind::Mask, None)),
        modes().prop_map(|mode| (MountKind::Dir { mode }, None)),
        words().prop_map(|to| (MountKind::Symlink { to: to.into() }, None)),
        (".{0,9}", modes()).prop_map(|(text, mode)| {
            let data = text.into_bytes().into();
            (MountKind::File { data, mode }, None)
        }),
        (host_paths(), modes()).prop_map(|(path, mode)| {
            let data = [].into();
            (MountKind::File { data, mode }, Some(path))
        }),
    ];
    (places(), kinds, any::<bool>()).prop_map(|(target, (kind, content), covers)| {
        let mut mount = Mount::new(target, kind);
        mount.covers = covers;
        MountSetting { mount, content }
    })
}

fn ids() -> impl Strategy<Value = (Option<u32>, Option<u32>, Option<bool>)> {
    let id = || option::of(0..u32::MAX);
    prop_oneof![
        (id(), id(), Just(None)),
        Just((None, None, Some(true))),
        Just((None, None, Some(false))),
    ]
}

/// Each namespace shared, isolated or not mentioned.
fn namespaces() -> impl Strategy<Value = (Vec<Namespace>, Vec<Namespace>)> {
    prop::collection::vec(0..3_u8, Namespace::ALL.len()).prop_map(|chosen| {
        let list = |wanted| {
            let both = Namespace::ALL.iter().zip(&chosen);
            both.filter(|(_, choice)| **choice == wanted)
                .map(|(ns, _)| *ns)
                .collect()
        };
        (list(1), list(2))
    })
}

fn variables() -> impl Strategy<Value = BTreeMap<OsString, Option<OsString>>> {
    let name = words().prop_filter("an equals sign", |name| !name.contains('='));
    let value = option::of("[^\0]{0,6}".prop_map(OsString::from));
    prop::collection::btree_map(name.prop_map(OsString::from), value, 0..4)
}

/// Numbers where comparing goes wrong, if it does.
fn numbers() -> impl Strategy<Value = u64> {
    let edges = vec![0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 32];
    prop_oneof![select(edges), any::<u64>()]
}

fn comparisons() -> impl Strategy<Value = SeccompComparison> {
    use SeccompOperator::{Eq, Ge, Gt, Le, Lt, MaskedEq, Ne};
    let operator = prop_oneof![
        select(vec![Eq, Ne, Lt, Le, Gt, Ge]),
        numbers().prop_map(MaskedEq)
    ];
    (0..6_u8, operator, numbers()).prop_map(|(argument, operator, value)| {
        let value = match operator {
            MaskedEq(mask) => value & mask,
            _ => value,
        };
        SeccompComparison::new(argument, operator, value).unwrap()
    })
}

fn actions() -> impl Strategy<Value = SeccompAction> {
    let plain = vec![
        SeccompAction::Allow,
        SeccompAction::Kill,
        SeccompAction::Log,
    ];
    let errno = (1..4096_u16).prop_map(|n| SeccompAction::Errno(Errno::new(n).unwrap()));
    prop_oneof![select(plain), errno]
}

fn filters() -> impl Strategy<Value = Seccomp> {
    let rule = (
        prop::collection::vec("[a-z0-9_]{1,9}", 1..4),
        actions(),
        prop::collection::vec(comparisons(), 0..4),
    )
        .prop_map(|(calls, action, when)| {
            let rule = SeccompRule::new(calls, action).unwrap();
            when.into_iter().fold(rule, |rule, c| rule.when(c).unwrap())
        });
    let otherwise = prop_oneof![
        select(vec![SeccompOtherwise::Build, SeccompOtherwise::StrictIo]),
        actions().prop_map(SeccompOtherwise::Action),
    ];
    prop_oneof![
        select(Seccomp::PRESETS.to_vec()).prop_map(|name| Seccomp::preset(name).unwrap()),
        (prop::collection::vec(rule, 0..4), otherwise)
            .prop_map(|(rules, otherwise)| Seccomp::Rules(SeccompRules { rules, otherwise })),
    ]
}

fn action_written(action: SeccompAction) -> Value {
    match action {
        SeccompAction::Errno(errno) => i64::from(errno.number()).into(),
        other => other.to_string().into(),
    }
}

fn filter_written(seccomp: &Seccomp) -> Value {
    let Seccomp::Rules(list) = seccomp else {
        return seccomp.name().into();
    };
    let table = |pairs: Vec<(&str, Value)>| -> Value {
        let pairs = pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        pairs.collect::<Table>().into()
    };
    let rules = list.rules.iter().map(|rule| {
        let when = rule.comparisons().iter().map(|c| {
            let mut pairs = vec![
                ("arg", i64::from(c.argument()).into()),
                ("value", format!("{:#x}", c.value()).into()),
            ];
            let op = match c.operator() {
                SeccompOperator::MaskedEq(mask) => {
                    pairs.push(("mask", mask.to_string().into()));
                    "eq"
                }
                SeccompOperator::Eq => "eq",
                SeccompOperator::Ne => "ne",
                SeccompOperator::Lt => "lt",
                SeccompOperator::Le => "le",
                SeccompOperator::Gt => "gt",
                SeccompOperator::Ge => "ge",
            };
            pairs.push(("op", op.into()));
            table(pairs)
        });
        table(vec![
            ("call", rule.calls().to_vec().into()),
            ("action", action_written(rule.action())),
            ("when", when.collect::<Vec<_>>().into()),
        ])
    });
    let rules: Vec<Value> = rules.collect();
    let default = match list.otherwise {
        SeccompOtherwise::Build => "build".into(),
        SeccompOtherwise::StrictIo => "strict-io".into(),
        SeccompOtherwise::Action(action) => action_written(action),
    };
    table(vec![("default", default), ("rule", rules.into())])
}

fn spans() -> impl Strategy<Value = Option<Duration>> {
    option::of((1..=u32::MAX).prop_map(|ms| Duration::from_millis(ms.into())))
}

fn limits() -> impl Strategy<Value = Limits> {
    let number = || option::of(1..=u64::MAX >> 1);
    let times = (spans(), spans(), spans());
    let of_tree = (number(), number(), number());
    let of_each = (number(), number(), number(), option::of(0..=u64::MAX >> 1));
    (times, of_tree, of_each).prop_map(|(times, of_tree, of_each)| Limits {
        wall: times.0,
        cpu_time: times.1,
        kill_after: times.2,
        memory: of_tree.0,
        processes: of_tree.1,
        output: of_tree.2,
        file_size: of_each.0,
        open_files: of_each.1,
        stack: of_each.2,
        core: of_each.3,
    })
}

fn control_groups() -> impl Strategy<Value = ControlGroups> {
    let path = host_paths().prop_filter("has a meaning of its own", |path| {
        !["auto", "none"]
            .map(std::path::Path::new)
            .contains(&&**path)
    });
    prop_oneof![
        Just(ControlGroups::Auto),
        Just(ControlGroups::None),
        path.prop_map(ControlGroups::Below)
    ]
}

/// Whether there is one, and where its changes go.
fn overlays() -> impl Strategy<Value = (Option<bool>, Option<PathBuf>)> {
    let pair = (option::of(any::<bool>()), option::of(host_paths()));
    pair.prop_filter("contradicts itself", |(overlay, changes)| {
        *overlay != Some(false) || changes.is_none()
    })
}

fn images() -> impl Strategy<Value = ImageSettings> {
    let volumes = prop::collection::btree_map(words(), host_paths(), 0..3);
    let all = (
        option::of(words()),
        option::of(words()),
        option::of(host_paths()),
        volumes,
    );
    all.prop_map(|(reference, platform, cache, volumes)| ImageSettings {
        reference,
        platform,
        cache,
        volumes,
    })
}

/// Settings that a file can say.
fn settings() -> impl Strategy<Value = Settings> {
    let files = (
        option::of(host_paths()),
        option::of(any::<bool>()),
        prop::collection::vec(places(), 0..3),
        option::of(select(vec![HostSecrets::Hidden, HostSecrets::Shown])),
        prop::collection::vec(places(), 0..3),
        prop::collection::vec(places(), 0..3),
        option::of(any::<bool>()),
        (prop::collection::vec(mounts(), 0..5), overlays(), images()),
    );
    let isolation = (
        option::of(select(vec![Network::Isolated, Network::Shared])),
        namespaces(),
        ids(),
        option::of(prop::collection::vec(words(), 0..3)),
        option::of(words()),
        option::of(any::<bool>()),
        subsequence(Feature::ALL.to_vec(), 0..4),
        (option::of(filters()), option::of(any::<bool>())),
    );
    let run = (
        option::of(prop::collection::vec(words(), 0..3)),
        option::of(places()),
        variables(),
        option::of(any::<bool>()),
        limits(),
        option::of(control_groups()),
        (option::of(any::<bool>()), option::of(any::<bool>())),
        option::of(prop::collection::vec("[^\0]{0,6}", 1..4)),
    );
    // Boxed, because three of these in one property would not fit on the stack.
    let all = (files.boxed(), isolation.boxed(), run.boxed());
    all.prop_map(|(files, isolation, run)| {
        let (sandbox, read_only, writable, host_secrets, readable, sockets, bare, mounted) = files;
        let (mounts, (overlay, overlay_changes), image) = mounted;
        let (
            network,
            (share, isolate),
            (uid, gid, map_subordinate),
            caps,
            hostname,
            landlock,
            pre,
            more,
        ) = isolation;
        let (seccomp, allow_nested) = more;
        let (backend, cwd, env, inherit_env, limits, control_groups, (tty, as_pid_1), command) =
            run;
        Settings {
            sandbox,
            backend,
            read_only,
            writable,
            overlay,
            overlay_changes,
            image,
            host_secrets,
            readable,
            sockets,
            bare,
            mounts,
            network,
            share,
            isolate,
            uid,
            gid,
            map_subordinate,
            capabilities: caps,
            hostname: hostname.map(OsString::from),
            landlock,
            seccomp,
            allow_nested,
            prefer: pre.into_iter().collect(),
            cwd,
            env,
            inherit_env,
            limits,
            control_groups,
            tty,
            as_pid_1,
            command: command.map(|words| words.into_iter().map(OsString::from).collect()),
        }
    })
}

/// Settings as a person would write them.
fn written(settings: &Settings) -> Table {
    let text = |text: &dyn AsRef<std::ffi::OsStr>| Value::from(text.as_ref().to_str().unwrap());
    let paths = |list: &[SandboxPath]| -> Option<Value> {
        let list = list.iter().map(|path| text(&path.as_path()));
        (list.len() > 0).then(|| list.collect::<Vec<_>>().into())
    };
    let names = |list: &[Namespace]| -> Option<Value> {
        let list: Vec<Value> = list.iter().map(|ns| ns.name().into()).collect();
        (!list.is_empty()).then(|| list.into())
    };
    let strings = |list: &[String]| -> Value { list.to_vec().into() };
    let prefer: Vec<&str> = settings.prefer.iter().map(Feature::name).collect();
    let env: Table = settings
        .env
        .iter()
        .map(|(name, value)| {
            let value = value.as_ref().map_or(true.into(), |value| text(value));
            (name.to_str().unwrap().to_owned(), value)
        })
        .collect();
    let volumes = settings.image.volumes.iter();
    let volumes: Table = volumes.map(|(n, path)| (n.clone(), text(path))).collect();
    let mounts: Vec<Value> = settings.mounts.iter().map(mount_written).collect();
    let id = |id: Option<u32>| id.map(|id| i64::from(id).into());
    let count = |n: Option<u64>| n.map(|n| i64::try_from(n).unwrap().into());
    let span = |time: Option<Duration>| {
        time.map(|t| {
            let (millis, rest) = (t.as_millis(), t.as_nanos() % 1_000_000);
            format!("{millis}.{rest:06}ms").into()
        })
    };
    let all: [(&str, Option<Value>); 44] = [
        ("sandbox", settings.sandbox.as_ref().map(|p| text(p))),
        ("backend", settings.backend.as_deref().map(strings)),
        ("read-only", settings.read_only.map(Value::from)),
        ("writable", paths(&settings.writable)),
        ("overlay", settings.overlay.map(Value::from)),
        (
            "overlay-changes",
            settings.overlay_changes.as_ref().map(|p| text(p)),
        ),
        ("image", settings.image.reference.clone().map(Value::from)),
        ("platform", settings.image.platform.clone().map(Value::from)),
        (
            "image-cache",
            settings.image.cache.as_ref().map(|p| text(p)),
        ),
        ("volume", (!volumes.is_empty()).then(|| volumes.into())),
        (
            "host-secrets",
            settings.host_secrets.map(|secrets| match secrets {
                HostSecrets::Hidden => "hidden".into(),
                HostSecrets::Shown => "shown".into(),
            }),
        ),
        ("readable", paths(&settings.readable)),
        ("allow-socket", paths(&settings.sockets)),
        ("bare", settings.bare.map(Value::from)),
        ("mount", (!mounts.is_empty()).then(|| mounts.into())),
        (
            "network",
            settings.network.map(|network| match network {
                Network::Shared => "shared".into(),
                _ => "isolated".into(),
            }),
        ),
        ("share", names(&settings.share)),
        ("isolate", names(&settings.isolate)),
        ("uid", id(settings.uid)),
        ("gid", id(settings.gid)),
        ("map-subordinate", settings.map_subordinate.map(Value::from)),
        ("cap-add", settings.capabilities.as_deref().map(strings)),
        ("hostname", settings.hostname.as_ref().map(|h| text(h))),
        ("landlock", settings.landlock.map(Value::from)),
        ("prefer", (!prefer.is_empty()).then(|| prefer.into())),
        ("cwd", settings.cwd.as_ref().map(|p| text(&p.as_path()))),
        ("env", (!env.is_empty()).then(|| env.into())),
        ("inherit-env", settings.inherit_env.map(Value::from)),
        ("tty", settings.tty.map(Value::from)),
        ("as-pid-1", settings.as_pid_1.map(Value::from)),
        ("timeout", span(settings.limits.wall)),
        ("cpu-time", span(settings.limits.cpu_time)),
        ("memory", count(settings.limits.memory)),
        ("processes", count(settings.limits.processes)),
        ("file-size", count(settings.limits.file_size)),
        ("open-files", count(settings.limits.open_files)),
        ("stack", count(settings.limits.stack)),
        ("core", count(settings.limits.core)),
        ("output", count(settings.limits.output)),
        ("kill-after", span(settings.limits.kill_after)),
        (
            "cgroup",
            settings.control_groups.as_ref().map(|groups| match groups {
                ControlGroups::Below(path) => text(path),
                ControlGroups::None => "none".into(),
                _ => "auto".into(),
            }),
        ),
        (
            "command",
            settings
                .command
                .as_ref()
                .map(|words| words.iter().map(|w| text(w)).collect::<Vec<_>>().into()),
        ),
        ("seccomp", settings.seccomp.as_ref().map(filter_written)),
        ("allow-nested", settings.allow_nested.map(Value::from)),
    ];
    all.into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

fn mount_written(setting: &MountSetting) -> Value {
    let text = |text: &dyn AsRef<std::ffi::OsStr>| Value::from(text.as_ref().to_str().unwrap());
    let perms = |mode: &u32| Some(format!("{mode:o}").into());
    let (name, more): (&str, Vec<(&str, Option<Value>)>) = match &setting.mount.kind {
        MountKind::Bind { source, access } => (
            match access {
                Access::ReadOnly => "ro-bind",
                Access::ReadWrite => "bind",
            },
            vec![("source", Some(text(source)))],
        ),
        MountKind::Tmpfs { size, mode } => {
            let size = size.map(|n| i64::try_from(n).unwrap().into());
            ("tmpfs", vec![("size", size), ("perms", perms(mode))])
        }
        MountKind::Proc => ("proc", vec![]),
        MountKind::Dev => ("dev", vec![]),
        MountKind::Mask => ("mask", vec![]),
        MountKind::Dir { mode } => ("dir", vec![("perms", perms(mode))]),
        MountKind::Symlink { to } => ("symlink", vec![("to", Some(text(to)))]),
        MountKind::File { data, mode } => {
            let content = match &setting.content {
                Some(path) => ("source", Some(text(path))),
                None => {
                    let text = str::from_utf8(data).unwrap();
                    ("text", Some(text.into()))
                }
            };
            ("file", vec![content, ("perms", perms(mode))])
        }
    };
    let mut table: Table = more
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect();
    table.insert("type".into(), name.into());
    table.insert("target".into(), text(&setting.mount.target.as_path()));
    if setting.mount.covers {
        table.insert("cover".into(), true.into());
    }
    table.into()
}

/// Lines that mean something, nearly something, or nothing.
fn texts() -> impl Strategy<Value = String> {
    let key = select(vec![
        "sandbox",
        "backend",
        "read-only",
        "writable",
        "host-secrets",
        "readable",
        "allow-socket",
        "bare",
        "mount",
        "network",
        "share",
        "isolate",
        "uid",
        "gid",
        "root",
        "map-subordinate",
        "cap-add",
        "hostname",
        "landlock",
        "prefer",
        "cwd",
        "env",
        "inherit-env",
        "timeout",
        "command",
        "[env]\nA",
        "[[mount]]\ntype",
        "target",
        "source",
        "size",
        "perms",
        "to",
        "cover",
        "text",
        "bar",
        "\"\\u001b[2J\"",
        "a.b.c",
    ]);
    let value = prop_oneof![
        select(vec![
            "true",
            "false",
            "\"/\"",
            "\"/a\"",
            "\"../a\"",
            "[]",
            "[\"/a\", \"b\"]",
            "0",
            "-1",
            "4294967295",
            "9223372036854775807",
            "1e400",
            "nan",
            "inf",
            "\"\"",
            "\"\\u0000\"",
            "\"tmpfs\"",
            "\"bind\"",
            "\"file\"",
            "\"64M\"",
            "\"99999999999T\"",
            "\"1777\"",
            "\"shared\"",
            "\"user\"",
            "[\"pid\"]",
            "\"mask\"",
            "{}",
            "{ A = \"b\" }",
            "[[[[[[[[[[]]]]]]]]]]",
            "1979-05-27T07:32:00Z",
            "0x_ff",
            "'''\n'''",
            "\"1.5h\"",
        ])
        .prop_map(str::to_owned),
        words().prop_map(|word| Value::from(word).to_string()),
        ".{0,5}",
    ];
    let line = (key, value).prop_map(|(key, value)| format!("{key} = {value}\n"));
    prop_oneof![
        6 => prop::collection::vec(line, 0..6).prop_map(|lines| lines.concat()),
        1 => ".{0,40}",
        // One byte of something right is another one.
        3 => (settings(), any::<Index>(), any::<char>()).prop_map(|(settings, at, new)| {
            let text = written(&settings).to_string();
            let mut chars: Vec<char> = text.chars().collect();
            if !chars.is_empty() {
                let at = at.index(chars.len());
                chars[at] = new;
            }
            chars.into_iter().collect()
        }),
    ]
}

fn unread(_: &std::path::Path) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::Unsupported.into())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(settings in settings()) {
        let text = written(&settings).to_string();
        let read: Settings = toml::from_str(&text)
            .map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(read, settings);
    }

    #[test]
    fn an_error_is_about_a_place_in_the_text(text in texts()) {
        match toml::from_str::<Settings>(&text) {
            Ok(settings) => {
                // What was accepted can be said again, and is the same then.
                let again = written(&settings).to_string();
                let again: Settings = toml::from_str(&again)
                    .map_err(|e| TestCaseError::fail(format!("{e}\n{text}\n{again}")))?;
                prop_assert_eq!(&again, &settings);
                let made = settings.config(|_| Ok(Vec::new())).is_ok();
                let whole = settings.uid.is_some() == settings.gid.is_some();
                if settings.sandbox.is_some() && !made {
                    let of_host = settings.host_secrets.is_some()
                        || !settings.readable.is_empty()
                        || !settings.sockets.is_empty();
                    prop_assert!(!whole || of_host, "{:?}", settings);
                }
            }
            Err(e) => {
                prop_assert!(!e.message().is_empty());
                let span = e.span();
                match span {
                    Some(span) => {
                        let there = text.get(span.clone()).is_some();
                        prop_assert!(there, "{span:?}: {}", e.message());
                    }
                    // Two keys that contradict one another have no one place; they are named.
                    None => prop_assert!(e.message().starts_with('`'), "{}", e.message()),
                }
                // It may quote a value, escaped; it does not grow beyond that.
                prop_assert!(e.message().len() <= 1000 + 10 * text.len());
            }
        }
    }

    #[test]
    fn nothing_is_read_but_the_content_of_files(settings in settings()) {
        let mut asked = Vec::new();
        let made = settings.config(|path| {
            asked.push(path.to_owned());
            Ok(b"content".to_vec())
        });
        let wanted: Vec<PathBuf> =
            settings.mounts.iter().filter_map(|m| m.content.clone()).collect();
        if let Ok(config) = made {
            prop_assert_eq!(&asked, &wanted);
            // Every mount that was asked for is there, in order, behind those that nobody named.
            let own = config.mounts.len() - settings.mounts.len();
            for (mount, setting) in config.mounts[own..].iter().zip(&settings.mounts) {
                prop_assert_eq!(&mount.target, &setting.mount.target);
                prop_assert_eq!(mount.kind.name(), setting.mount.kind.name());
            }
        } else {
            prop_assert!(wanted.starts_with(&asked));
        }
        if !wanted.is_empty() && settings.sandbox.is_some() {
            prop_assert!(settings.config(unread).is_err());
        }
    }

    #[test]
    fn settings_are_laid_over_one_another(
        a in settings(),
        b in settings(),
        c in settings(),
    ) {
        prop_assert_eq!(a.clone().over(Settings::default()), a.clone());
        prop_assert_eq!(Settings::default().over(a.clone()), a.clone());
        let left = a.clone().over(b.clone()).over(c.clone());
        let right = a.clone().over(b.clone().over(c));
        prop_assert_eq!(left, right);
        // Nothing is shared and isolated at once.
        let both = a.over(b);
        prop_assert!(!both.share.iter().any(|ns| both.isolate.contains(ns)));
    }

    #[test]
    fn values_that_are_read_mean_what_they_say(n in any::<u64>(), text in "[0-9.msMKGTiBhx+ -]{0,12}") {
        if let Ok(size) = parse_size(&text) {
            prop_assert_eq!(parse_size(&size.to_string()), Ok(size));
            prop_assert!(text.starts_with(|c: char| c.is_ascii_digit()));
        }
        if let Ok(time) = parse_duration(&text) {
            let millis = format!("{}.{:06}ms", time.as_millis(), time.as_nanos() % 1_000_000);
            prop_assert_eq!(parse_duration(&millis), Ok(time));
        }
        if let Ok(mode) = parse_permissions(&text) {
            prop_assert_eq!(parse_permissions(&format!("{mode:o}")), Ok(mode));
        }
        for (suffix, shift) in [("", 0), ("K", 10), ("MiB", 20), ("G", 30), ("TiB", 40)] {
            let exact = u128::from(n) << shift;
            let read = parse_size(&format!("{n}{suffix}"));
            prop_assert_eq!(read.ok().map(u128::from), u64::try_from(exact).ok().filter(|n| *n > 0).map(u128::from));
        }
        for (unit, millis) in [("ms", 1), ("", 1000), ("s", 1000), ("m", 60_000), ("h", 3_600_000)] {
            let exact = u128::from(n) * millis;
            let read = parse_duration(&format!("{n}{unit}")).ok();
            let hundred_years = 100 * 366 * 24 * 3600 * 1000;
            prop_assert_eq!(read.is_some(), (1..hundred_years + 1000).contains(&exact), "{}", exact);
            prop_assert!(read.is_none_or(|time| time.as_millis() == exact));
        }
    }

    #[test]
    fn a_word_that_names_something_is_its_name(word in "[a-z-]{0,12}") {
        if let Ok(namespace) = word.parse::<Namespace>() {
            prop_assert_eq!(namespace.name(), &*word);
        }
        if let Ok(set) = word.parse::<FeatureSet>() {
            prop_assert_eq!(set.iter().map(Feature::name).collect::<Vec<_>>(), [&*word]);
        }
    }
}

#[test]
fn depth_and_length_do_no_harm() {
    for text in [
        "[".repeat(200_000),
        format!("sandbox = {}", "[".repeat(200_000)),
        format!("sandbox = {}", "{a=".repeat(200_000)),
        "a.".repeat(200_000),
        format!("cwd = \"{}\"", "/a".repeat(500_000)),
        format!("hostname = \"{}\"", "h".repeat(1_000_000)),
    ] {
        let error = toml::from_str::<Settings>(&text).unwrap_err();
        assert!(error.message().len() < 2000, "{}", error.message().len());
    }
}
