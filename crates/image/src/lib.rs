#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod appc;
mod assemble;
mod beside;
mod cache;
mod changes;
mod compress;
mod config;
mod digest;
mod error;
mod image;
mod limits;
mod lock;
mod oci;
mod owners;
mod passwd;
mod platform;
mod progress;
mod record;
mod sparse;
mod store;
mod tarball;
mod tree;
mod unpack;

pub use cache::{Cache, CacheEntry, CacheKind, CachedRoot, NotMapped, Scratch};
pub use changes::{Change, ChangeKind, Changes};
pub use config::{BASE_PATH, EventHandler, ImageConfig, Isolator, Process, Unsupported, Volume};
pub use digest::{Digest, DigestError};
pub use error::{EntryProblem, Error};
pub use image::{Format, Image, OpenOptions};
pub use limits::{Limit, Limits};
pub use owners::{IdMap, Ownership};
pub use platform::{Platform, PlatformError};
pub use progress::Progress;
pub use record::{LeftOut, Owner, Report};
pub use unpack::{UnpackOptions, unpack};
