//! What a technique is: plain data about one way out.

use crate::witness::View;

/// One way out of a sandbox, and how to know whether it worked.
#[derive(Debug, Clone, Copy)]
pub struct Technique {
    /// The name, which the attack program knows it by.
    pub name: &'static str,
    /// The number of a published vulnerability of this kind, or nothing.
    pub cve: &'static str,
    /// What is tried, for people.
    pub tries: &'static str,
    /// Who waits outside: roles of the attack program and their words, see `attack/outside.rs`.
    pub outside: &'static [&'static [&'static str]],
    /// Words in front of the sandbox's command line: what its caller is like.
    pub prefix: &'static [&'static str],
    /// A path inside that the sandbox is asked to hide.
    pub mask: Option<&'static str>,
    /// What is done outside when the attack says that it is ready.
    pub ready: Ready,
    /// How success is seen from outside.
    pub witness: Witness,
    /// How it is shown that the attack works where nothing stops it, for root.
    pub root: Control,
    /// The same for an ordinary user.
    pub user: Control,
    /// Whether it is about the host's `/` as the root of the sandbox.
    pub host_root: bool,
    /// Whether a sandbox that refuses to start has blocked it.
    pub refusal: bool,
    /// Why the control may fail on some hosts; then the technique is not applicable there. Empty
    /// where it must work.
    pub lacks: &'static str,
}

/// What somebody outside does when the attack is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Nothing.
    Nothing,
    /// The directory `moving` is moved out of what the sandbox shows.
    MoveOut,
    /// The process that plays the first one is ended, so that its program is not busy any more.
    EndInit,
    /// Whoever supervises the sandbox is killed.
    KillSupervisor,
}

/// How success is seen.
#[derive(Debug, Clone, Copy)]
pub enum Witness {
    /// The secret, which the attack program is not told, is in the output.
    Secret,
    /// A file that must stay as it is has changed.
    Changed,
    /// The victim has the signal pending.
    Signalled,
    /// The victim's limits or priority have changed.
    Limited,
    /// A process is left when everything should be over.
    Survives,
    /// While the attack program holds what it got, one of its processes looks so in the host's
    /// /proc; the answer is what was seen.
    Process(fn(&View<'_>) -> Option<String>),
    /// The same, and what it holds is harm to the host: only that it is not used, because that
    /// would change the machine.
    Harm(fn(&View<'_>) -> Option<String>),
    /// Nobody but the attack program can tell. It says the same of the control, so a lie would be
    /// told of both.
    Told,
}

impl Witness {
    /// What success means: whether something outside was reached, or as yet only a part of the
    /// kernel that leads there.
    #[must_use]
    pub fn reach(self) -> crate::Verdict {
        match self {
            Self::Process(_) | Self::Told => crate::Verdict::Partial,
            _ => crate::Verdict::Escaped,
        }
    }
}

/// A sandbox that is none, or is weakened: there the attack has to work.
#[derive(Debug, Clone, Copy)]
pub enum Control {
    /// On the host, as this user, behind these words.
    Host(&'static [&'static str]),
    /// In the root, which these words enter.
    Inside(&'static [&'static str]),
    /// It cannot be shown, and so is not tried; the reason.
    Not(&'static str),
}

impl Technique {
    /// With nobody outside, seen by the secret, and working on the host as it is.
    pub(crate) const fn new(name: &'static str, tries: &'static str, witness: Witness) -> Self {
        Self {
            name,
            cve: "",
            tries,
            outside: &[],
            prefix: &[],
            mask: None,
            ready: Ready::Nothing,
            witness,
            root: Control::Host(&[]),
            user: Control::Host(&[]),
            host_root: false,
            refusal: false,
            lacks: "",
        }
    }

    pub(crate) const fn cve(mut self, cve: &'static str) -> Self {
        self.cve = cve;
        self
    }

    pub(crate) const fn outside(mut self, roles: &'static [&'static [&'static str]]) -> Self {
        self.outside = roles;
        self
    }

    pub(crate) const fn prefix(mut self, words: &'static [&'static str]) -> Self {
        self.prefix = words;
        self
    }

    pub(crate) const fn mask(mut self, path: &'static str) -> Self {
        self.mask = Some(path);
        self
    }

    pub(crate) const fn ready(mut self, ready: Ready) -> Self {
        self.ready = ready;
        self
    }

    pub(crate) const fn control(mut self, control: Control) -> Self {
        self.root = control;
        self.user = control;
        self
    }

    pub(crate) const fn user(mut self, control: Control) -> Self {
        self.user = control;
        self
    }

    pub(crate) const fn host_root(mut self) -> Self {
        self.host_root = true;
        self
    }

    pub(crate) const fn root(mut self, control: Control) -> Self {
        self.root = control;
        self
    }

    pub(crate) const fn refusal(mut self) -> Self {
        self.refusal = true;
        self
    }

    pub(crate) const fn lacks(mut self, why: &'static str) -> Self {
        self.lacks = why;
        self
    }
}
