#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

/// What a sandbox should be: the crate `sandboxlib-config`.
pub use sandboxlib_config as config;
/// The contract of backends: the crate `sandboxlib-core`.
pub use sandboxlib_core as core;
/// Mount planning: the crate `sandboxlib-mount`.
pub use sandboxlib_mount as mount;
/// Starting programs: the crate `sandboxlib-spawn`.
pub use sandboxlib_spawn as spawn;

/// The backend that drives bwrap: the crate `sandboxlib-bubblewrap`.
#[cfg(feature = "bubblewrap")]
pub use sandboxlib_bubblewrap as bubblewrap;
/// The chroot backend: the crate `sandboxlib-chroot`.
#[cfg(feature = "chroot")]
pub use sandboxlib_chroot as chroot;
/// Images made into roots: the crate `sandboxlib-image`.
#[cfg(feature = "image")]
pub use sandboxlib_image as image;
/// The backend that drives linux-user-chroot: the crate `sandboxlib-linux-user-chroot`.
#[cfg(feature = "linux-user-chroot")]
pub use sandboxlib_linux_user_chroot as linux_user_chroot;
/// The backend that drives sandbox-exec on macOS: the crate `sandboxlib-sandbox-exec`.
#[cfg(feature = "sandbox-exec")]
pub use sandboxlib_sandbox_exec as sandbox_exec;
/// The backend that uses Linux namespaces: the crate `sandboxlib-userns`.
#[cfg(feature = "userns")]
pub use sandboxlib_userns as userns;

mod choice;
mod command;
mod doctor;
mod error;
#[cfg(feature = "tokio")]
mod runtime;
mod sandbox;

pub use choice::Candidate;
pub use command::{Child, Command, Output};
pub use doctor::doctor;
pub use error::Error;
pub use sandbox::{Check, Prepared, Sandbox, Session};
pub use sandboxlib_config::{
    Access, Capabilities, Config, ControlGroups, Feature, FeatureSet, HiddenBy, HiddenPlace, Ids,
    Isolation, Limit, Limits, Mount, MountKind, Namespaces, Network, Overlay, Root, RootAccess,
    SandboxPath, Seccomp, SeccompAction, SeccompComparison, SeccompOperator, SeccompOtherwise,
    SeccompRule, SeccompRules, UserNamespace,
};
pub use sandboxlib_core::{End, Enforcement, HeldLimit, KillScope, Means, Outcome, Started};
pub use sandboxlib_spawn::{Rehearsal, Signaller, Stdio, Stream, Tty, WindowSize};
