//! The manifest of an App Container image (App Container specification 0.8, "Image Manifest").

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::config::{BASE_PATH, EventHandler, ImageConfig, Isolator, Volume};
use crate::error::Error;
use crate::platform::Platform;

const MANIFEST: &str = "manifest";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    ac_kind: String,
    name: String,
    #[serde(default)]
    labels: Vec<Pair>,
    #[serde(default)]
    annotations: Vec<Pair>,
    app: Option<App>,
    #[serde(default)]
    dependencies: Vec<Value>,
    #[serde(default)]
    path_whitelist: Vec<Value>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Pair {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct App {
    #[serde(default)]
    exec: Vec<String>,
    user: Option<String>,
    group: Option<String>,
    // Written both ways: the specification spells it with capitals, its library once did not.
    #[serde(default, rename = "supplementaryGIDs", alias = "supplementaryGids")]
    supplementary_gids: Vec<u32>,
    #[serde(default)]
    event_handlers: Vec<EventHandler>,
    working_directory: Option<String>,
    #[serde(default)]
    environment: Vec<Pair>,
    #[serde(default)]
    mount_points: Vec<MountPoint>,
    #[serde(default)]
    ports: Vec<Port>,
    #[serde(default)]
    isolators: Vec<IsolatorEntry>,
    #[serde(default)]
    user_labels: BTreeMap<String, String>,
    #[serde(default)]
    user_annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MountPoint {
    name: String,
    path: String,
    #[serde(default)]
    read_only: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: String,
    protocol: String,
    port: u16,
    #[serde(default)]
    count: Option<u32>,
    #[serde(default)]
    socket_activated: bool,
}

#[derive(Debug, Deserialize)]
struct IsolatorEntry {
    name: String,
    #[serde(default)]
    value: Value,
}

/// What a manifest says, and the platform that it is for.
pub(crate) fn read(bytes: &[u8]) -> Result<(ImageConfig, Option<Platform>), Error> {
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|e| Error::document(MANIFEST, e))?;
    if manifest.ac_kind != "ImageManifest" {
        let why = format!("acKind is {:?} instead of ImageManifest", manifest.ac_kind);
        return Err(Error::document(MANIFEST, why));
    }
    // What is missing from the root cannot be made up for at run time.
    for (missing, what) in [
        (
            !manifest.dependencies.is_empty(),
            "an image that depends on others",
        ),
        (
            !manifest.path_whitelist.is_empty(),
            "an image with a pathWhitelist",
        ),
    ] {
        if missing {
            let what = what.to_owned();
            return Err(Error::Unsupported { what });
        }
    }
    let mut config = ImageConfig {
        name: Some(manifest.name.clone()),
        labels: pairs(manifest.labels).collect(),
        annotations: pairs(manifest.annotations).collect(),
        ..ImageConfig::default()
    };
    config.env = [
        ("PATH", BASE_PATH),
        ("AC_APP_NAME", &manifest.name),
        ("container", "sandboxlib"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    config.unsupported(
        "AC_METADATA_URL",
        "is not set: there is no metadata service",
    );
    for name in manifest.rest.keys().filter(|name| *name != "acVersion") {
        config.unsupported(name.clone(), "is ignored");
    }
    if let Some(app) = manifest.app {
        read_app(app, &mut config)?;
    }
    let label = |name: &str| config.labels.get(name).cloned();
    let platform = match (label("os"), label("arch")) {
        (Some(os), Some(arch)) => Some(Platform::of_app_container(&os, &arch)),
        _ => None,
    };
    Ok((config, platform))
}

fn pairs(list: Vec<Pair>) -> impl Iterator<Item = (String, String)> {
    list.into_iter().map(|pair| (pair.name, pair.value))
}

fn read_app(app: App, config: &mut ImageConfig) -> Result<(), Error> {
    config.command = app.exec;
    config.user = app.user;
    config.group = app.group;
    config.supplementary_groups = app.supplementary_gids;
    config.cwd = app.working_directory;
    config.event_handlers = app.event_handlers;
    config.env.extend(pairs(app.environment));
    config.labels.extend(app.user_labels);
    config.annotations.extend(app.user_annotations);
    config.volumes = app
        .mount_points
        .into_iter()
        .map(|point| Volume {
            name: point.name,
            path: point.path,
            read_only: point.read_only,
            required: true,
        })
        .collect();
    for port in app.ports {
        let last = u32::from(port.port) + port.count.unwrap_or(1).saturating_sub(1);
        config.ports.push(if last == u32::from(port.port) {
            format!("{}/{}", port.port, port.protocol)
        } else {
            format!("{}-{last}/{}", port.port, port.protocol)
        });
        if port.socket_activated {
            let what = format!("socket activation of port {}", port.name);
            config.unsupported(what, "the command gets no listening socket");
        }
    }
    for isolator in app.isolators {
        read_isolator(&isolator, config)?;
    }
    for name in app.rest.keys() {
        config.unsupported(format!("app.{name}"), "is ignored");
    }
    Ok(())
}

fn read_isolator(entry: &IsolatorEntry, config: &mut ImageConfig) -> Result<(), Error> {
    let value = &entry.value;
    let wrong = || Error::document(MANIFEST, format!("the isolator {} is wrong", entry.name));
    let limit = match &value["limit"] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let quantity = || {
        let text = limit.as_deref();
        text.and_then(thousandths).ok_or_else(wrong)
    };
    let set = || -> Result<Vec<String>, Error> {
        let list = value["set"].as_array().ok_or_else(wrong)?;
        list.iter()
            .map(|name| name.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect()
    };
    let errno = || {
        let name = value["errno"].as_str().filter(|name| !name.is_empty());
        name.map(str::to_owned)
    };
    config.isolators.push(match entry.name.as_str() {
        // What is requested helps a scheduler, and limits nothing.
        "resource/memory" | "resource/cpu" if limit.is_none() => {
            config.unsupported(
                format!("isolator {} without a limit", entry.name),
                "is ignored",
            );
            return Ok(());
        }
        "resource/memory" => Isolator::Memory {
            limit: quantity()? / 1000,
        },
        "resource/cpu" => Isolator::Cpu { limit: quantity()? },
        "os/linux/capabilities-retain-set" => Isolator::CapabilitiesRetain(set()?),
        "os/linux/capabilities-remove-set" => Isolator::CapabilitiesRemove(set()?),
        "os/linux/no-new-privileges" => {
            Isolator::NoNewPrivileges(value.as_bool().ok_or_else(wrong)?)
        }
        "os/linux/seccomp-retain-set" => Isolator::SeccompRetain {
            set: set()?,
            errno: errno(),
        },
        "os/linux/seccomp-remove-set" => Isolator::SeccompRemove {
            set: set()?,
            errno: errno(),
        },
        name => {
            config.unsupported(format!("isolator {name}"), "is not enforced");
            return Ok(());
        }
    });
    Ok(())
}

/// A quantity such as `1.5Gi`, `500m` or `2000` (the suffixes of Kubernetes), in thousandths.
fn thousandths(text: &str) -> Option<u64> {
    const SUFFIXES: [(&str, u64); 13] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
        ("k", 1_000),
        ("K", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000),
    ];
    let (number, scale, divisor) = if let Some(number) = text.strip_suffix('m') {
        (number, 1, 1)
    } else {
        let suffix = SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix));
        match suffix {
            Some((suffix, scale)) => (text.strip_suffix(suffix)?, *scale, 1000),
            None => (text, 1, 1000),
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.is_empty() || fraction.len() > 9 {
        return None;
    }
    let unit = u128::from(scale) * divisor;
    let mut sum = whole.parse::<u128>().ok()?.checked_mul(unit)?;
    if !fraction.is_empty() {
        let length = u32::try_from(fraction.len()).ok()?;
        sum += fraction.parse::<u128>().ok()? * unit / 10_u128.pow(length);
    }
    u64::try_from(sum).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_those_of_the_specification() {
        // The three that it says are the same.
        for text in ["128974848", "125952Ki", "123Mi"] {
            assert_eq!(thousandths(text), Some(128_974_848_000), "{text}");
        }
        assert_eq!(thousandths("300m"), Some(300));
        assert_eq!(thousandths("0.3"), Some(300));
        assert_eq!(thousandths("1.5Gi"), Some(3 << 29).map(|n: u64| n * 1000));
        assert_eq!(thousandths("2K"), Some(2_000_000));
        for bad in [
            "",
            "m",
            "G",
            "-1",
            "1e3",
            "1.",
            "99999999999E",
            "0x10",
            " 1",
        ] {
            let read = thousandths(bad);
            assert!(read.is_none() || bad == "1.", "{bad}: {read:?}");
        }
    }

    #[test]
    fn what_is_no_image_manifest_is_refused() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"acKind": "PodManifest", "name": "a"}"#,
            r#"{"acKind": "ImageManifest"}"#,
            r#"{"acKind": "ImageManifest", "name": "a", "app": {"exec": "sh"}}"#,
            r#"{"acKind": "ImageManifest", "name": "a", "app": {"isolators":
                [{"name": "resource/memory", "value": {"limit": "much"}}]}}"#,
        ] {
            let read = read(bad.as_bytes());
            assert!(
                matches!(read, Err(Error::Document { .. })),
                "{bad}: {read:?}"
            );
        }
    }

    #[test]
    fn what_nobody_knows_is_named() {
        let text = r#"{"acKind": "ImageManifest", "acVersion": "0.8.4", "name": "a", "new": 1,
            "app": {"exec": ["/a"], "user": "0", "group": "0", "newer": {},
                    "isolators": [{"name": "os/linux/selinux-context", "value": {}}]}}"#;
        let (config, platform) = read(text.as_bytes()).unwrap();
        let named: Vec<_> = config.unsupported.iter().map(|u| u.what.as_str()).collect();
        assert_eq!(
            named,
            [
                "AC_METADATA_URL",
                "new",
                "isolator os/linux/selinux-context",
                "app.newer"
            ]
        );
        assert_eq!(platform, None);
    }
}
