//! The documents of OCI images (OCI image specification 1.1) and of docker-archives, whose
//! configuration is the same.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{BASE_PATH, ImageConfig, Volume};
use crate::error::Error;
use crate::image::Layer;
use crate::platform::Platform;
use crate::store::Store;
use crate::{Digest, Limits};

/// The name under which an index knows an image.
const REFERENCE: &str = "org.opencontainers.image.ref.name";
/// The full name, which containerd writes beside a reference that is the tag alone.
const IMAGE_NAME: &str = "io.containerd.image.name";

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct ConfigFile {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    #[serde(default)]
    config: Option<Settings>,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<Digest>,
}

/// Fields may be `null` where Go has an empty list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    user: Option<String>,
    exposed_ports: Option<BTreeMap<String, Value>>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    volumes: Option<BTreeMap<String, Value>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
    healthcheck: Option<Value>,
    on_build: Option<Vec<Value>>,
}

/// One image of the many that a layout may hold.
pub(crate) struct Chosen {
    pub(crate) id: Digest,
    pub(crate) layers: Vec<Layer>,
    pub(crate) config: ImageConfig,
    pub(crate) platform: Option<Platform>,
}

/// What is looked for.
pub(crate) struct Wanted<'a> {
    pub(crate) platform: Option<&'a Platform>,
    pub(crate) reference: Option<&'a str>,
}

impl Wanted<'_> {
    fn text(&self, platform: &Platform) -> String {
        match self.reference {
            Some(reference) => format!("{platform} of {reference:?}"),
            None => platform.to_string(),
        }
    }

    fn choice(&self, found: usize, there: Vec<String>) -> Error {
        let host = Platform::host();
        Error::Choice {
            wanted: self.text(self.platform.unwrap_or(&host)),
            found,
            there,
        }
    }
}

fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::document(name, error))
}

fn blob<T: DeserializeOwned>(store: &Store, of: &Descriptor, limits: &Limits) -> Result<T, Error> {
    let name = of.digest.blob();
    let bytes = store.document(&name, Some((&of.digest, Some(of.size))), limits)?;
    parse(&name, &bytes)
}

/// An image that an index lists.
#[derive(Debug, Clone)]
struct Candidate {
    descriptor: Descriptor,
    reference: Option<String>,
}

impl Candidate {
    fn text(&self) -> String {
        let platform = self.descriptor.platform.as_ref();
        let platform = platform.map_or_else(|| "any platform".to_owned(), Platform::to_string);
        match &self.reference {
            Some(reference) => format!("{platform} of {reference:?}"),
            None => platform,
        }
    }
}

pub(crate) fn choose(store: &Store, wanted: &Wanted<'_>, limits: &Limits) -> Result<Chosen, Error> {
    let layout = store.document("oci-layout", None, limits)?;
    let layout: Value = parse("oci-layout", &layout)?;
    let version = layout["imageLayoutVersion"].as_str().unwrap_or_default();
    if version.split('.').next() != Some("1") {
        let what = format!("version {version:?} of the OCI image layout");
        return Err(Error::Unsupported { what });
    }
    let index: Index = parse("index.json", &store.document("index.json", None, limits)?)?;
    let mut candidates = Vec::new();
    collect(store, index, None, wanted, limits, 0, &mut candidates)?;
    let chosen = pick(candidates, wanted)?;
    let manifest: Manifest = blob(store, &chosen.descriptor, limits)?;
    match manifest.config.media_type.as_str() {
        "application/vnd.oci.image.config.v1+json"
        | "application/vnd.docker.container.image.v1+json" => {}
        other => {
            let what = format!("an artifact of type {other:?}, which is no image,");
            return Err(Error::Unsupported { what });
        }
    }
    let file: ConfigFile = blob(store, &manifest.config, limits)?;
    let diff_ids = &file.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let why = format!(
            "it has {} layers, and the configuration {}",
            manifest.layers.len(),
            diff_ids.len()
        );
        return Err(Error::document("the manifest", why));
    }
    let layers = manifest.layers.into_iter().zip(diff_ids);
    let layers: Result<Vec<Layer>, Error> = layers
        .map(|(of, diff_id)| {
            // What follows the word is how it is compressed, which the bytes say better.
            let known = [
                "application/vnd.oci.image.layer.",
                "application/vnd.docker.image.rootfs.",
            ]
            .iter()
            .any(|prefix| of.media_type.starts_with(prefix))
                && !of.media_type.contains("encrypted");
            if !known {
                let what = format!("a layer of type {:?}", of.media_type);
                return Err(Error::Unsupported { what });
            }
            Ok(Layer {
                part: of.digest.blob(),
                blob: Some((of.digest, of.size)),
                diff_id: diff_id.clone(),
            })
        })
        .collect();
    Ok(Chosen {
        id: chosen.descriptor.digest,
        layers: layers?,
        platform: check_platform(&file, wanted)?,
        config: settings(file.config, chosen.reference),
    })
}

/// All images of an index, and of the indexes in it.
fn collect(
    store: &Store,
    index: Index,
    reference: Option<&str>,
    wanted: &Wanted<'_>,
    limits: &Limits,
    depth: usize,
    candidates: &mut Vec<Candidate>,
) -> Result<(), Error> {
    for descriptor in index.manifests {
        let names = [REFERENCE, IMAGE_NAME].map(|key| descriptor.annotations.get(key));
        let own = match wanted.reference {
            // Either name will do.
            Some(wanted) => names.iter().flatten().find(|name| is_named(name, wanted)),
            None => None,
        };
        let own = own.or(names.iter().flatten().next());
        let reference = own
            .map(|name| name.as_str())
            .or(reference)
            .map(str::to_owned);
        match descriptor.media_type.as_str() {
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => {
                // Nobody nests them deeper, and each could name the next a thousand times.
                if depth >= 3 || candidates.len() > 1000 {
                    let what = "an index in an index in an index".to_owned();
                    return Err(Error::Unsupported { what });
                }
                let inner: Index = blob(store, &descriptor, limits)?;
                let name = reference.as_deref();
                collect(store, inner, name, wanted, limits, depth + 1, candidates)?;
            }
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json" => {
                candidates.push(Candidate {
                    descriptor,
                    reference,
                });
            }
            // Something else that an index may list, such as signatures.
            _ => {}
        }
    }
    Ok(())
}

fn pick(candidates: Vec<Candidate>, wanted: &Wanted<'_>) -> Result<Candidate, Error> {
    let there: Vec<String> = candidates.iter().map(Candidate::text).collect();
    let host = Platform::host();
    let platform = wanted.platform.unwrap_or(&host);
    let mut fit: Vec<Candidate> = candidates
        .into_iter()
        .filter(|c| match (wanted.reference, &c.reference) {
            (None, _) => true,
            (Some(name), own) => own.as_deref().is_some_and(|own| is_named(own, name)),
        })
        .filter(|c| {
            let own = c.descriptor.platform.as_ref();
            own.is_none_or(|own| platform.takes(own))
        })
        .collect();
    // One that says that it is for this platform is better than one that says nothing.
    if fit.iter().any(|c| c.descriptor.platform.is_some()) {
        fit.retain(|c| c.descriptor.platform.is_some());
    }
    fit.dedup_by(|a, b| a.descriptor.digest == b.descriptor.digest);
    match <[Candidate; 1]>::try_from(fit) {
        Ok([one]) => Ok(one),
        Err(fit) => Err(wanted.choice(fit.len(), there)),
    }
}

/// The platform that the configuration says. It is held against what the caller asked for; one
/// that was not asked for is not checked, because what the host can run is not known here.
fn check_platform(file: &ConfigFile, wanted: &Wanted<'_>) -> Result<Option<Platform>, Error> {
    let (Some(os), Some(arch)) = (file.os.clone(), file.architecture.clone()) else {
        return Ok(None);
    };
    let own = Platform {
        os,
        arch,
        variant: file.variant.clone().filter(|variant| !variant.is_empty()),
    };
    match wanted.platform {
        Some(platform) if !platform.takes(&own) => Err(wanted.choice(0, vec![own.to_string()])),
        _ => Ok(Some(own)),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Whether `tag` is what is meant by `name`: docker writes some names in full, and nobody else
/// does.
fn is_named(tag: &str, name: &str) -> bool {
    let short = ["docker.io/library/", "docker.io/"];
    let mut short = short.iter().filter_map(|prefix| tag.strip_prefix(prefix));
    tag == name || short.any(|tag| tag == name)
}

pub(crate) fn choose_docker(
    store: &Store,
    wanted: &Wanted<'_>,
    limits: &Limits,
) -> Result<Chosen, Error> {
    let images: Vec<DockerImage> = parse(
        "manifest.json",
        &store.document("manifest.json", None, limits)?,
    )?;
    let tags = |image: &DockerImage| image.repo_tags.clone().unwrap_or_default();
    let there = images
        .iter()
        .map(|image| match tags(image)[..] {
            [] => "one without a name".to_owned(),
            ref tags => tags.join(" "),
        })
        .collect();
    let fit: Vec<DockerImage> = images
        .into_iter()
        .filter(|image| {
            wanted
                .reference
                .is_none_or(|name| tags(image).iter().any(|tag| is_named(tag, name)))
        })
        .collect();
    let image = match <[DockerImage; 1]>::try_from(fit) {
        Ok([one]) => one,
        Err(fit) => return Err(wanted.choice(fit.len(), there)),
    };
    let bytes = store.document(&image.config, None, limits)?;
    let id = Digest::of(&bytes);
    // The file is named by its digest, in one of two ways.
    let base = image.config.rsplit('/').next().unwrap_or_default();
    let base = base.strip_suffix(".json").unwrap_or(base);
    if let Ok(expected) = format!("sha256:{base}").parse::<Digest>()
        && expected != id
    {
        return Err(Error::Digest {
            what: image.config,
            expected,
            found: id,
        });
    }
    let file: ConfigFile = parse(&image.config, &bytes)?;
    let diff_ids = &file.rootfs.diff_ids;
    if diff_ids.len() != image.layers.len() {
        let why = format!(
            "it has {} layers, and the configuration {}",
            image.layers.len(),
            diff_ids.len()
        );
        return Err(Error::document("manifest.json", why));
    }
    let layers = image.layers.iter().zip(diff_ids);
    Ok(Chosen {
        layers: layers
            .map(|(part, diff_id)| Layer {
                part: part.clone(),
                blob: None,
                diff_id: diff_id.clone(),
            })
            .collect(),
        platform: check_platform(&file, wanted)?,
        config: settings(file.config, tags(&image).into_iter().next()),
        id,
    })
}

fn settings(settings: Option<Settings>, name: Option<String>) -> ImageConfig {
    let settings = settings.unwrap_or_default();
    let mut config = ImageConfig {
        name,
        entrypoint: settings.entrypoint.unwrap_or_default(),
        command: settings.cmd.unwrap_or_default(),
        cwd: settings.working_dir.filter(|dir| !dir.is_empty()),
        labels: settings.labels.unwrap_or_default(),
        stop_signal: settings.stop_signal.filter(|name| !name.is_empty()),
        ports: settings
            .exposed_ports
            .unwrap_or_default()
            .into_keys()
            .collect(),
        volumes: settings
            .volumes
            .unwrap_or_default()
            .into_keys()
            .map(|path| Volume {
                name: path.clone(),
                path,
                read_only: false,
                required: false,
            })
            .collect(),
        ..ImageConfig::default()
    };
    config.env = std::iter::once(("PATH".to_owned(), BASE_PATH.to_owned()))
        .chain(settings.env.unwrap_or_default().into_iter().map(|entry| {
            // Without `=` it is a variable that is empty.
            let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
            (name.to_owned(), value.to_owned())
        }))
        .collect();
    let user = settings.user.unwrap_or_default();
    let (user, group) = user.split_once(':').unwrap_or((&user, ""));
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (config.user, config.group) = (said(user), said(group));
    if settings.healthcheck.is_some() {
        config.unsupported("Healthcheck", "is not run");
    }
    if settings.on_build.is_some_and(|steps| !steps.is_empty()) {
        config.unsupported("OnBuild", "is for builds upon this image, and ignored");
    }
    config
}
