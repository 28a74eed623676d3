#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod failure;
mod fold;
mod path;
mod policy;
mod profile;
mod size;
mod support;

use std::path::Path;

use sandboxlib_config::{Capabilities, Config, Feature, Ids};
use sandboxlib_core::{
    Backend, Degradation, EffectiveConfig, HelperCall, Hint, HostFacts, Knob, Launch, Os,
    PrepareError, Reason, Started, Support,
};
use sandboxlib_mount::MountPlan;

pub use failure::HelperFailure;
pub use fold::Fold;
pub use path::{MacPath, MacPathError};
pub use policy::{Policy, Reach, Region};
pub use profile::Profile;

/// The backend that uses macOS Seatbelt, by way of sandbox-exec(1).
#[derive(Debug, Clone, Copy, Default)]
pub struct SandboxExec;

/// The helper. By its full path: one that a changed `PATH` finds may isolate nothing.
const PROGRAM: &str = "/usr/bin/sandbox-exec";

/// What a configuration comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prepared {
    /// The profile.
    pub profile: Profile,
    /// Writable paths that had to be put together to make the profile small enough. Each makes
    /// more writable than was asked for.
    pub folds: Vec<Fold>,
}

impl SandboxExec {
    /// The name of the backend.
    pub const NAME: &'static str = "sandbox-exec";

    /// The profile for a configuration. Where its size makes it necessary and the caller
    /// prefers [`Feature::ReadOnly`] rather than requiring it, writable paths are folded into
    /// common parents, and the result lists them.
    ///
    /// # Errors
    /// [`PrepareError`] if the configuration has something that a profile cannot say, or if the
    /// profile would be too large.
    pub fn profile(
        self,
        config: &EffectiveConfig,
        plan: &MountPlan,
    ) -> Result<Prepared, PrepareError> {
        let config = config.config();
        let policy = Policy::from_plan(config, plan)?;
        let profile = Profile::new(&policy);
        if profile.compiled_size <= Profile::LIMIT {
            let folds = Vec::new();
            return Ok(Prepared { profile, folds });
        }
        let folded = fold::fold(&policy);
        match folded {
            Some((profile, folds)) if config.prefer.contains(Feature::ReadOnly) => {
                Ok(Prepared { profile, folds })
            }
            folded => Err(too_large(&profile, folded.map(|(_, folds)| folds)).into()),
        }
    }
}

impl Backend for SandboxExec {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn os(&self) -> Option<Os> {
        Some(Os::MacOs)
    }

    fn helper(&self) -> Option<&Path> {
        Some(Path::new(PROGRAM))
    }

    fn support(&self, facts: &HostFacts) -> Support {
        support::support(facts)
    }

    fn prepare(
        &self,
        config: &EffectiveConfig,
        plan: MountPlan,
        facts: &HostFacts,
    ) -> Result<Launch, PrepareError> {
        identity(config.config(), facts)?;
        let prepared = self.profile(config, &plan)?;
        // It exits with a status that the command may have too.
        let mut call = HelperCall::new(PROGRAM, Started::Unknown);
        // The command may have a name that begins with a hyphen.
        call.args(prepared.profile.arguments()).arg("--");
        // It changes neither the root nor the directory.
        call.in_cwd = true;
        call.degradations.extend(prepared.degradation());
        Ok(Launch::Helper(call))
    }

    fn helper_failure(&self, facts: &HostFacts, status: i32, stderr: &[u8]) -> Option<Reason> {
        match HelperFailure::read(status, stderr)? {
            // Then it was a sandbox that the command tried to make.
            HelperFailure::Nested if facts.seatbelt == Some(false) => None,
            failure => Some(failure.reason()),
        }
    }
}

impl Prepared {
    /// What an outcome has to list: that a part of what was asked for is not enforced.
    #[must_use]
    pub fn degradation(&self) -> Option<Degradation> {
        if self.folds.is_empty() {
            return None;
        }
        let text = format!(
            "the profile would be larger than the {} bytes that macOS takes, so more is \
             writable than was asked for: {}",
            Profile::LIMIT,
            listed(&self.folds)
        );
        Some(Degradation {
            feature: Feature::ReadOnly,
            reason: Reason::new(text).hint(parents()),
        })
    }
}

fn listed(folds: &[Fold]) -> String {
    const SHOWN: usize = 8;
    let mut each: Vec<String> = folds
        .iter()
        .take(SHOWN)
        .map(|fold| {
            format!(
                "all of {:?} for {} paths in it",
                fold.into.as_path(),
                fold.paths
            )
        })
        .collect();
    if folds.len() > SHOWN {
        each.push(format!("and {} others", folds.len() - SHOWN));
    }
    each.join(", ")
}

fn parents() -> Hint {
    let advice = "make a common parent of the writable paths writable, or name fewer paths";
    Hint::new(Knob::Request("writable paths"), advice)
}

fn too_large(profile: &Profile, folds: Option<Vec<Fold>>) -> Reason {
    let size = format!(
        "the sandbox profile for these {} paths would have some {} bytes, and macOS takes {}",
        profile.params.len(),
        profile.compiled_size,
        Profile::LIMIT
    );
    match folds {
        Some(folds) => Reason::new(format!(
            "{size}; it would fit with {} writable",
            listed(&folds)
        ))
        .hint(parents()),
        None => Reason::new(size).hint(parents()),
    }
}

/// Checks that the command is to be nobody else than the caller, with no more and no less power.
fn identity(config: &Config, facts: &HostFacts) -> Result<(), Reason> {
    match &config.capabilities {
        // Root has every privilege there, and anybody else none.
        Capabilities::Only(names) if facts.uid == 0 || !names.is_empty() => {
            return Err(Reason::new("capabilities exist on Linux alone"));
        }
        _ => {}
    }
    match config.ids {
        Ids::Caller => Ok(()),
        _ => Err(Reason::new("Seatbelt gives a command no other ids")),
    }
}
