//! What an image says about running it, in one form for all formats.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sandboxlib_config::{Access, Config, Ids, Mount, MountKind, Root, RootAccess, SandboxPath};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::passwd;
use crate::record::Report;

/// The search path of the App Container specification, and what container engines set where an
/// image has none.
pub const BASE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an image says about running it. It is what the image says, and nothing of it has been
/// held against a root: [`process`](Self::process) does that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageConfig {
    /// The name that the image gives itself.
    pub name: Option<String>,
    /// What comes before the command, and stays when the caller gives another command. An App
    /// Container image has none.
    pub entrypoint: Vec<String>,
    /// The command: `exec` of an App Container image, `Cmd` of the others.
    pub command: Vec<String>,
    /// The environment, the base of the specification included. The last one of a name counts.
    pub env: Vec<(String, String)>,
    /// The working directory, as it is written; `None` for `/`.
    pub cwd: Option<String>,
    /// The user: a name, a number, or (App Container) the path of a file whose owner it is.
    pub user: Option<String>,
    /// The group, likewise.
    pub group: Option<String>,
    /// Further groups, by number.
    pub supplementary_groups: Vec<u32>,
    /// Where data from outside is expected.
    pub volumes: Vec<Volume>,
    /// What the command is to be held to.
    pub isolators: Vec<Isolator>,
    /// What is to be run before and after the command.
    pub event_handlers: Vec<EventHandler>,
    /// The ports on which the command will listen, as text such as `80/tcp`.
    pub ports: Vec<String>,
    /// The signal that asks the command to end, such as `SIGTERM`.
    pub stop_signal: Option<String>,
    /// What the image says about itself to people.
    pub labels: BTreeMap<String, String>,
    /// The same, where the format has two kinds.
    pub annotations: BTreeMap<String, String>,
    /// What the image asks for and nobody here gives.
    pub unsupported: Vec<Unsupported>,
}

/// A place in the root where data from outside is expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The name to give it by: that of the mount point, or else its path.
    pub name: String,
    /// Where, as it is written.
    pub path: String,
    /// Whether it is only to be read.
    pub read_only: bool,
    /// Whether the image does not run without. The volumes of OCI images have what the image has
    /// there until somebody gives something else.
    pub required: bool,
}

/// A restriction that an image asks for (App Container specification, "Isolators").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Isolator {
    /// Memory, in bytes.
    Memory {
        /// The most.
        limit: u64,
    },
    /// Processor time, in thousandths of one processor.
    Cpu {
        /// The most.
        limit: u64,
    },
    /// The capabilities that are kept (capabilities(7)).
    CapabilitiesRetain(Vec<String>),
    /// The capabilities that are taken from the usual set.
    CapabilitiesRemove(Vec<String>),
    /// No privileges by executing a program (prctl(2), `PR_SET_NO_NEW_PRIVS`).
    NoNewPrivileges(bool),
    /// The system calls that are allowed; the others answer `errno`, or kill.
    SeccompRetain {
        /// Their names, or sets such as `@appc.io/all`.
        set: Vec<String>,
        /// The name of the error, such as `EPERM`.
        errno: Option<String>,
    },
    /// The system calls that are not allowed.
    SeccompRemove {
        /// Their names, or sets such as `@appc.io/empty`.
        set: Vec<String>,
        /// The name of the error, such as `EPERM`.
        errno: Option<String>,
    },
}

/// A program that is run when something happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventHandler {
    /// When: `pre-start` or `post-stop`.
    pub name: String,
    /// The program and its arguments.
    pub exec: Vec<String>,
}

/// Something that an image asks for and nobody here gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsupported {
    /// What, such as `isolator resource/network-bandwidth`.
    pub what: String,
    /// What that means for a run.
    pub consequence: String,
}

/// What to run, with the names of the image made into what the kernel knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// The program and its arguments; empty if neither the image nor the caller says any.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory inside.
    pub cwd: SandboxPath,
    /// The user inside.
    pub uid: u32,
    /// The group inside.
    pub gid: u32,
    /// Further groups inside: those of the image's group file that have the user, and those that
    /// the image lists.
    pub supplementary_groups: Vec<u32>,
}

impl ImageConfig {
    /// What to run in `root`, into which the image was unpacked. With `command`, that instead of
    /// the image's; the entry point stays. `report` is needed for a user or group that is named
    /// by a file, where files have not the owners that the image says.
    ///
    /// # Errors
    /// [`Error::NoSuchId`] for a user or group that is not in the root's own files;
    /// [`Error::Document`] for a working directory that is no path inside.
    pub fn process(
        &self,
        root: &Path,
        command: Option<&[OsString]>,
        report: Option<&Report>,
    ) -> Result<Process, Error> {
        let who = passwd::look_up(self, root, report)?;
        let own: Vec<OsString> = self.command.iter().map(OsString::from).collect();
        let mut args: Vec<OsString> = self.entrypoint.iter().map(OsString::from).collect();
        args.extend_from_slice(command.unwrap_or(&own));
        let mut env: BTreeMap<OsString, OsString> = BTreeMap::new();
        if let Some(home) = who.home {
            env.insert("HOME".into(), home);
        }
        env.extend(self.env.iter().map(|(k, v)| (k.into(), v.into())));
        Ok(Process {
            args,
            env: env.into_iter().collect(),
            cwd: inside("the working directory", self.cwd.as_deref().unwrap_or("/"))?,
            uid: who.uid,
            gid: who.gid,
            supplementary_groups: who.groups,
        })
    }

    /// A sandbox for this image: `root`, not writable, with /proc, /dev (and in it /dev/shm) and
    /// the volumes, each a name of [`volumes`](Self::volumes) with a path of the host; as
    /// `process` says. /sys, which the specifications promise too, is not there: it would show
    /// the host's devices, and is the caller's to add.
    ///
    /// # Errors
    /// [`Error::Missing`] for a volume that the image needs and nobody gave, or one that was
    /// given and the image does not have; [`Error::Document`] for one at no path inside.
    pub fn sandbox(
        &self,
        root: &Path,
        process: &Process,
        volumes: &[(String, PathBuf)],
    ) -> Result<Config, Error> {
        let mut config = Config::new(Root::Dir(root.to_owned()));
        config.root_access = Some(RootAccess::ReadOnly);
        config.ids = Ids::Pair {
            uid: process.uid,
            gid: process.gid,
        };
        let promised = [("/proc", MountKind::Proc), ("/dev", MountKind::Dev)];
        for (path, kind) in promised {
            config.mounts.push(Mount::new(inside(path, path)?, kind));
        }
        for (name, _) in volumes {
            if !self.volumes.iter().any(|volume| volume.name == *name) {
                return Err(Error::missing(format!("a volume {name:?} of the image")));
            }
        }
        for volume in &self.volumes {
            let given = volumes.iter().rev().find(|(name, _)| *name == volume.name);
            let Some((_, source)) = given else {
                if volume.required {
                    let what = format!("a directory for the volume {:?}", volume.name);
                    return Err(Error::missing(what));
                }
                continue;
            };
            let access = if volume.read_only {
                Access::ReadOnly
            } else {
                Access::ReadWrite
            };
            let target = inside("a volume", &volume.path)?;
            let source = source.clone();
            config
                .mounts
                .push(Mount::new(target, MountKind::Bind { source, access }));
        }
        Ok(config)
    }

    pub(crate) fn unsupported(&mut self, what: impl Into<String>, consequence: &str) {
        self.unsupported.push(Unsupported {
            what: what.into(),
            consequence: consequence.to_owned(),
        });
    }
}

fn inside(what: &str, path: &str) -> Result<SandboxPath, Error> {
    // An OCI image may say `app` and mean `/app`.
    SandboxPath::new(Path::new("/").join(path)).map_err(|error| Error::document(what, error))
}
