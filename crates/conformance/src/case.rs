use sandboxlib_config::{Config, Feature};
use sandboxlib_core::HostFacts;
use sandboxlib_spawn::Run;

use crate::fault::What;
use crate::stage::Stage;
use crate::world::World;

/// One behaviour, as data.
///
/// In the texts of a case `@path` is a path below the root as seen inside, and `{name}` is
/// something that differs from host to host, such as `{uid}`.
#[derive(Debug)]
pub struct Case {
    /// Its name, which is that of the test.
    pub name: &'static str,
    /// The features that it is about. A backend that lacks one has to refuse it.
    pub needs: &'static [Feature],
    /// The files of the host, below the directory of the case: `root/...` is in the root,
    /// `outside/...` is not. Path and content; with a slash at the end, a directory.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Symbolic links, and what they say.
    pub(crate) links: &'static [(&'static str, &'static str)],
    /// Local sockets of the host, on which the suite listens.
    pub(crate) sockets: &'static [&'static str],
    /// What is asked for, beyond a root that is writable and no isolation.
    pub(crate) config: fn(&mut Config, &World),
    /// Whether a host with these facts lacks what the case is about, such as another id. Then a
    /// backend that claims the features may refuse this configuration of them.
    pub(crate) unfit: fn(&HostFacts) -> bool,
    /// What the host has the probe do before the run.
    pub(crate) before: &'static [&'static str],
    /// What differs in the run from a plain one.
    pub(crate) run: fn(&mut Run, &World),
    /// What the probe is asked inside, and what it has to answer.
    pub(crate) asks: &'static [(&'static str, Expect)],
    /// Instead of `asks`, where one run and its answers do not tell.
    pub(crate) by_hand: Option<ByHand>,
    /// The files of the host that may be new or different afterwards, and what they hold then.
    /// All others have to be as they were.
    pub(crate) leaves: &'static [(&'static str, &'static str)],
    /// What the host has the probe do after the run, whatever came of it.
    pub(crate) after: &'static [&'static str],
}

/// What is done where questions and answers are not enough.
pub(crate) type ByHand = fn(&Stage<'_>) -> Result<(), What>;

/// What a case is that says nothing.
pub(crate) const CASE: Case = Case {
    name: "",
    needs: &[],
    files: &[],
    links: &[],
    sockets: &[],
    config: |_, _| {},
    unfit: |_| false,
    before: &[],
    run: |_, _| {},
    asks: &[],
    by_hand: None,
    leaves: &[],
    after: &[],
};

/// What a right answer is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    /// It worked.
    Done,
    /// This text.
    Is(&'static str),
    /// A text that begins so.
    Begins(&'static str),
    /// These bytes.
    Bytes(&'static [u8]),
    /// These variables, in any order.
    Variables(&'static [&'static [u8]]),
    /// These names, in any order.
    Lists(&'static str),
    /// What an earlier answer was.
    SameAs(usize),
    /// What the host answers to this.
    AsOnHost(&'static str),
    /// Something else than what the host answers to this.
    NotAsOnHost(&'static str),
    /// One of these errors.
    Fails(&'static [i32]),
    /// An error that says that it may not be.
    Refused,
    /// A text of which something is true.
    Holds(&'static str, fn(&World, &str) -> bool),
}

/// The numbers of errors, which are the same on all systems that there is a probe for.
pub(crate) mod errno {
    pub(crate) const EPERM: i32 = 1;
    pub(crate) const ENOENT: i32 = 2;
    pub(crate) const ESRCH: i32 = 3;
    pub(crate) const EACCES: i32 = 13;
    pub(crate) const EBUSY: i32 = 16;
    pub(crate) const EINVAL: i32 = 22;
    pub(crate) const ENOSPC: i32 = 28;
    pub(crate) const EROFS: i32 = 30;
    pub(crate) const ECONNREFUSED: i32 = 111;

    /// What is not allowed is answered with one of these; EBUSY is for a mount point.
    pub(crate) const REFUSALS: &[i32] = &[EPERM, EACCES, EROFS, EBUSY];
}
