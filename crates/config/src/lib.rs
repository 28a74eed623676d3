#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod config;
mod feature;
mod hidden;
mod mount;
mod path;
#[cfg(feature = "serde")]
mod text;

pub use config::{
    Capabilities, Config, Ids, Isolation, Namespaces, Network, Root, RootAccess, UserNamespace,
};
pub use feature::{Feature, FeatureSet, UnknownFeature};
pub use hidden::{HiddenBy, HiddenPlace};
pub use mount::{Access, Mount, MountKind};
pub use path::{PathError, SandboxPath};
#[cfg(feature = "serde")]
pub use text::{
    HostSecrets, MountSetting, Namespace, Settings, SettingsError, ValueError, parse_duration,
    parse_permissions, parse_size,
};
