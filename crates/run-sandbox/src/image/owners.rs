//! Whose the files of an image are: who can have the users and groups that the image says, and
//! who has one id for all of them.

use sandboxlib::Sandbox;
use sandboxlib::config::{Access, Config, Feature, Ids, Mount, MountKind, Root, Seccomp, Settings};
use sandboxlib::core::IdRange;
use sandboxlib::image::{CachedRoot, IdMap, Process};
use serde::Serialize;

/// Whose the files are, as the command sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owners {
    /// Those that the image says.
    Image,
    /// All are those of the command, for this reason.
    One(String),
}

/// The same for programs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Ownership {
    files: &'static str,
    reason: Option<String>,
    not_mapped: NotMapped,
}

#[derive(Debug, Clone, Serialize)]
struct NotMapped {
    files: u64,
    ids: Vec<String>,
}

impl Ownership {
    pub(super) fn new(owners: &Owners, root: &CachedRoot) -> Self {
        let not_mapped = root.not_mapped();
        let ids = not_mapped.ids.iter();
        Self {
            files: match owners {
                Owners::Image => "image",
                Owners::One(_) => "one-id",
            },
            reason: match owners {
                Owners::Image => None,
                Owners::One(why) => Some(why.clone()),
            },
            not_mapped: NotMapped {
                files: not_mapped.files,
                ids: ids.map(|(uid, gid)| format!("{uid}:{gid}")).collect(),
            },
        }
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![match &self.reason {
            None => "  owners: those of the image".to_owned(),
            Some(why) => format!("  owners: one id for all files: {why}"),
        }];
        let NotMapped { files, ids } = &self.not_mapped;
        if *files > 0 {
            lines.push(format!(
                "  owners: root for want of {} ({files} in all)",
                ids.join(", ")
            ));
        }
        lines
    }
}

/// The map of ids that a worker has and a run can have, unless there is a reason for one id.
pub(super) fn map(settings: &Settings) -> Result<IdMap, String> {
    if settings.map_subordinate != Some(true) {
        let said = settings.uid.or(settings.gid).is_some() || settings.map_subordinate.is_some();
        if said {
            return Err("the ids of the command were chosen".to_owned());
        }
        if settings.overlay_changes.is_some() {
            return Err("what --overlay-changes keeps is to be the caller's".to_owned());
        }
    }
    granted()
}

/// The map that the host grants the caller.
pub(super) fn granted() -> Result<IdMap, String> {
    // No more is found out than is asked for.
    let mut config = Config::new(Root::Host);
    config.ids = Ids::SUBORDINATE;
    config.seccomp = Seccomp::None;
    config.allow_nested = true;
    let facts = sandboxlib::spawn::facts(&config);
    if let Some(reason) = facts.subordinate_reason() {
        return Err(reason.to_string());
    }
    let granted = facts.subordinate.as_ref();
    let granted = granted.ok_or("the caller has no subordinate ids")?;
    let (uids, gids) = granted.maps(facts.uid, facts.gid);
    let plain = |range: IdRange| (range.inside, range.outside, range.count);
    Ok(IdMap::new(
        uids.into_iter().map(plain),
        gids.into_iter().map(plain),
    ))
}

/// How files are owned by a map.
pub(super) fn mapped(map: &IdMap) -> sandboxlib::image::Ownership {
    sandboxlib::image::Ownership::Mapped(map.clone())
}

/// Why the backend of the run can have no range of ids, as far as is known without trying.
pub(super) fn backend_lacks(settings: &Settings) -> Option<String> {
    let mut config = Config::new(Root::Host);
    config.ids = Ids::SUBORDINATE;
    let mut sandbox = Sandbox::from_config(config);
    if let Some(names) = &settings.backend {
        sandbox = sandbox.backends(names.iter().cloned());
    }
    match sandbox.check() {
        Ok(check) if check.enforcement.enforced.contains(Feature::Subordinate) => None,
        Ok(_) => Some("the backend has no subordinate ids".to_owned()),
        Err(error) => Some(crate::render::Failure::from(error).message().join("; ")),
    }
}

/// Why an image with owners is run with one id although its caller has more: because they would
/// not do what the caller wants.
pub(super) fn unfit(map: &IdMap, process: &Process, settings: &Settings) -> Option<String> {
    if settings.map_subordinate == Some(true) {
        // Then it is root, and was asked for.
        return None;
    }
    let (uid, gid) = (process.uid, process.gid);
    if !map.has(uid, gid) {
        return Some(format!(
            "the caller has no ids for the command's {uid}:{gid}"
        ));
    }
    let is_writable = |mount: &Mount| match mount.kind {
        MountKind::Bind { access, .. } => access == Access::ReadWrite,
        _ => false,
    };
    let mut mounts = settings.mounts.iter();
    let writes =
        !settings.image.volumes.is_empty() || mounts.any(|setting| is_writable(&setting.mount));
    (uid != 0 && writes).then(|| {
        format!("what the command may write to is the caller's, and it is not root but {uid}:{gid}")
    })
}
