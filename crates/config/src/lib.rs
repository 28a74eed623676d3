#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod config;
mod feature;
mod hidden;
mod limits;
mod mount;
mod path;
mod seccomp;
#[cfg(feature = "serde")]
mod text;

pub use config::{
    Capabilities, Config, Ids, Isolation, Namespaces, Network, Overlay, Root, RootAccess,
    UserNamespace,
};
pub use feature::{Feature, FeatureSet, UnknownFeature};
pub use hidden::{HiddenBy, HiddenPlace};
pub use limits::{ControlGroups, Limit, Limits};
pub use mount::{Access, Mount, MountKind};
pub use path::{PathError, SandboxPath};
pub use seccomp::{
    Errno, Seccomp, SeccompAction, SeccompComparison, SeccompError, SeccompOperator,
    SeccompOtherwise, SeccompRule, SeccompRules,
};
#[cfg(feature = "serde")]
pub use text::{
    Definition, ExtendsError, HostSecrets, ImageSettings, MountSetting, Namespace, SandboxName,
    Settings, SettingsError, ValueError, parse_count, parse_duration, parse_permissions,
    parse_size, parse_size_or_none,
};
