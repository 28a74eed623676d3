use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::assemble::Assembly;
use crate::config::ImageConfig;
use crate::digest::{Algorithm, Hashing};
use crate::error::Error;
use crate::oci::{self, Wanted};
use crate::platform::Platform;
use crate::progress::Counted;
use crate::record::{Record, Report};
use crate::store::{Section, Store, Survey, check, survey};
use crate::tree::Tree;
use crate::unpack::{Reading, UnpackOptions, empty_tree, unpack_layer};
use crate::{Digest, Limits, appc};

/// The formats of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Format {
    /// An App Container image (`.aci`).
    AppContainer,
    /// An OCI image layout: a directory, or an archive of one.
    Oci,
    /// What `docker save` writes.
    DockerArchive,
    /// An archive of a root, without any description.
    Root,
}

/// Which image to open, and how much it may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OpenOptions {
    /// The platform; where the image has several, the host's without this.
    pub platform: Option<Platform>,
    /// The name that the image has in a layout or archive of several, such as `latest` or
    /// `debian:12`.
    pub reference: Option<String>,
    /// How much the documents and the archive may ask for.
    pub limits: Limits,
}

/// An image that has been looked at, and not been unpacked.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    format: Format,
    config: ImageConfig,
    platform: Option<Platform>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// One archive, and the directory in it that is the root.
    Whole { file: Arc<File>, reading: Reading },
    Layers {
        id: Digest,
        store: Store,
        layers: Vec<Layer>,
    },
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// What it is called in the store.
    pub(crate) part: String,
    /// The digest and length of that part, where the image says.
    pub(crate) blob: Option<(Digest, u64)>,
    /// The digest of the archive, decompressed.
    pub(crate) diff_id: Digest,
}

impl Image {
    /// Looks at the image at `path`: what it is, told by its content, and what it says about
    /// running it. For an OCI image its documents are checked against their digests.
    ///
    /// # Errors
    /// [`Error::NotAnImage`] if it is none of the formats; [`Error::Choice`] if it holds several
    /// images or none for this host; [`Error::Unsupported`], [`Error::Document`],
    /// [`Error::Digest`], [`Error::Limit`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// As [`open`](Self::open), with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, Error> {
        let path = path.as_ref();
        let limits = &options.limits;
        let metadata = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
        if metadata.is_dir() {
            let tree = Tree::open(path, 64).map_err(|e| Error::io("open", path, e))?;
            let fd = tree.root().fd().try_clone_to_owned();
            let store = Store::Directory(fd.map_err(|e| Error::io("open", path, e))?);
            if !store.has("oci-layout") {
                return Err(Error::NotAnImage {
                    path: path.to_owned(),
                    why: "it is a directory without the file oci-layout",
                });
            }
            return Self::of_parts(path, store, options);
        }
        if !metadata.is_file() {
            return Err(Error::NotAnImage {
                path: path.to_owned(),
                why: "it is neither a file nor a directory",
            });
        }
        let file = Arc::new(File::open(path).map_err(|e| Error::io("open", path, e))?);
        let whole = |format, config, platform, root| Self {
            path: path.to_owned(),
            format,
            config,
            platform,
            content: Content::Whole {
                file: Arc::clone(&file),
                reading: Reading {
                    root,
                    whiteouts: false,
                },
            },
        };
        match survey(&file, path, limits)? {
            Survey::App(manifest) => {
                let (config, platform) = appc::read(&manifest)?;
                if let (Some(wanted), Some(own)) = (&options.platform, &platform)
                    && !wanted.takes(own)
                {
                    return Err(Error::Choice {
                        wanted: wanted.to_string(),
                        found: 0,
                        there: vec![own.to_string()],
                    });
                }
                Ok(whole(
                    Format::AppContainer,
                    config,
                    platform,
                    Some("rootfs"),
                ))
            }
            Survey::Root => Ok(whole(Format::Root, ImageConfig::default(), None, None)),
            Survey::Parts(store) => Self::of_parts(path, store, options),
        }
    }

    fn of_parts(path: &Path, store: Store, options: &OpenOptions) -> Result<Self, Error> {
        let wanted = Wanted {
            platform: options.platform.as_ref(),
            reference: options.reference.as_deref(),
        };
        let (format, chosen) = if store.has("index.json") {
            let chosen = oci::choose(&store, &wanted, &options.limits)?;
            (Format::Oci, chosen)
        } else {
            let chosen = oci::choose_docker(&store, &wanted, &options.limits)?;
            (Format::DockerArchive, chosen)
        };
        Ok(Self {
            path: path.to_owned(),
            format,
            config: chosen.config,
            platform: chosen.platform,
            content: Content::Layers {
                id: chosen.id,
                store,
                layers: chosen.layers,
            },
        })
    }

    /// Where the image is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What kind of image it is.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The platform that the image says it is for.
    #[must_use]
    pub fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// What the image says about running it.
    #[must_use]
    pub fn config(&self) -> &ImageConfig {
        &self.config
    }

    /// What tells this image from all others: the digest of the manifest (OCI), of the
    /// configuration (docker-archive), or of the whole file, which is read for it.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read.
    pub fn id(&self) -> Result<Digest, Error> {
        match &self.content {
            Content::Layers { id, .. } => Ok(id.clone()),
            Content::Whole { file, .. } => {
                let failed = |e| Error::io("read", &self.path, e);
                let section = Section::whole(Arc::clone(file)).map_err(failed)?;
                let mut hashing = Hashing::new(section, Algorithm::Sha256);
                io::copy(&mut hashing, &mut io::sink()).map_err(failed)?;
                Ok(hashing.finish().0)
            }
        }
    }

    /// The digests of the layers, decompressed, from the lowest; none for an image that is one
    /// archive.
    pub fn layers(&self) -> impl Iterator<Item = &Digest> {
        let layers: &[Layer] = match &self.content {
            Content::Layers { layers, .. } => layers,
            Content::Whole { .. } => &[],
        };
        layers.iter().map(|layer| &layer.diff_id)
    }

    /// Unpacks the image into `target`, which is made if it is not there, and has to be empty.
    /// Nothing outside of it is touched. If this fails, what was unpacked before is left there.
    ///
    /// # Errors
    /// [`Error::Entry`] and [`Error::Limit`] name the entry; [`Error::Digest`] if a layer is not
    /// what the image says; [`Error::NotEmpty`].
    pub fn unpack_to(
        &self,
        target: impl AsRef<Path>,
        options: &UnpackOptions,
    ) -> Result<Report, Error> {
        let target = target.as_ref();
        let tree = empty_tree(target, &options.limits)?;
        let record = match &self.content {
            Content::Whole { .. } => {
                let mut tree = tree;
                let mut record = self.unpack_whole(&mut tree, None, options)?;
                crate::unpack::finish(&mut tree, &mut record, options)?;
                record
            }
            Content::Layers { layers, .. } => {
                let failed = |e| Error::io("make a directory in", target, e);
                let scratch = tempfile::Builder::new()
                    .prefix(".layers-")
                    .tempdir_in(target)
                    .map_err(failed)?;
                // The layers and what they are joined to are kept apart from the target until all
                // is there: a layer may take away everything in its root.
                let root = scratch.path().join("root");
                let root = empty_tree(&root, &options.limits)?;
                let mut assembly = Assembly::new(root, options);
                for (n, layer) in layers.iter().enumerate() {
                    let path = scratch.path().join(n.to_string());
                    let mut layer_tree = empty_tree(&path, &options.limits)?;
                    let used = assembly.record();
                    let record = self.unpack_one(layer, &mut layer_tree, options, used)?;
                    assembly.add(&layer_tree, &record)?;
                    crate::unpack::remove_tree(&path).map_err(|e| Error::io("remove", &path, e))?;
                }
                let name = scratch.path().to_owned();
                let record = assembly.finish_in(tree)?;
                scratch.close().map_err(|e| Error::io("remove", name, e))?;
                record
            }
        };
        Ok(record.report(&options.ownership))
    }

    /// Unpacks an image that is one archive, and checks that it still is what it was.
    pub(crate) fn unpack_whole(
        &self,
        tree: &mut Tree,
        id: Option<&Digest>,
        options: &UnpackOptions,
    ) -> Result<Record, Error> {
        let Content::Whole { file, reading } = &self.content else {
            return Err(Error::missing("an archive of the whole image"));
        };
        let section =
            Section::whole(Arc::clone(file)).map_err(|e| Error::io("read", &self.path, e))?;
        if let Some(progress) = &options.progress {
            progress.expect(section.len());
        }
        let section = Counted::new(section, options.progress.as_ref());
        let Some(id) = id else {
            return unpack_layer(section, tree, *reading, options, &Record::default());
        };
        let mut hashing = Hashing::new(section, id.algorithm());
        let record = unpack_layer(&mut hashing, tree, *reading, options, &Record::default())?;
        finish_reading(&mut hashing, &self.path)?;
        check("the image", hashing.finish(), id, None)?;
        Ok(record)
    }

    pub(crate) fn parts(&self) -> Option<&[Layer]> {
        match &self.content {
            Content::Layers { layers, .. } => Some(layers),
            Content::Whole { .. } => None,
        }
    }

    /// Unpacks one layer into a tree of its own, and checks its digests.
    pub(crate) fn unpack_one(
        &self,
        layer: &Layer,
        tree: &mut Tree,
        options: &UnpackOptions,
        used: &Record,
    ) -> Result<Record, Error> {
        let Content::Layers { store, .. } = &self.content else {
            return Err(Error::missing("a layer"));
        };
        let reading = Reading {
            root: None,
            whiteouts: true,
        };
        let section = store.open(&layer.part)?;
        let path = Path::new(&layer.part);
        if let Some((_, size)) = &layer.blob
            && section.len() != *size
        {
            let why = format!("it has {} bytes instead of {size}", section.len());
            return Err(Error::document(&layer.part, why));
        }
        let algorithm = layer
            .blob
            .as_ref()
            .map_or(Algorithm::Sha256, |(digest, _)| digest.algorithm());
        if let Some(progress) = &options.progress {
            progress.expect(section.len());
        }
        let section = Counted::new(section, options.progress.as_ref());
        let mut hashing = Hashing::new(section, algorithm);
        let unpacked = crate::unpack::unpack_hashed(
            &mut hashing,
            layer.diff_id.algorithm(),
            tree,
            reading,
            options,
            used,
        );
        // Bytes that are not what they should be are a better reason than what they led to.
        if matches!(unpacked, Ok(_) | Err(Error::Archive { .. })) {
            finish_reading(&mut hashing, path)?;
            if let Some((digest, size)) = &layer.blob {
                check(&layer.part, hashing.finish(), digest, Some(*size))?;
            }
        }
        let (record, diff_id) = unpacked?;
        if diff_id != layer.diff_id {
            return Err(Error::Digest {
                what: format!("{}, decompressed,", layer.part),
                expected: layer.diff_id.clone(),
                found: diff_id,
            });
        }
        Ok(record)
    }
}

fn finish_reading(reader: &mut impl Read, path: &Path) -> Result<(), Error> {
    io::copy(reader, &mut io::sink()).map_err(|e| Error::io("read", path, e))?;
    Ok(())
}
