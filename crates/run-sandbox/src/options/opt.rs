//! What an option is.

/// A heading under which options are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// The root and what is mounted below it.
    Files,
    /// Images as the root.
    Images,
    /// What is shared with the host besides files.
    Isolation,
    /// Ids and capabilities.
    Identity,
    /// How the command is run.
    Run,
    /// What the command may use.
    Limits,
    /// What is told about it.
    Telling,
}

impl Group {
    /// The groups in the order in which they are shown.
    pub(crate) const ALL: &'static [Self] = &[
        Self::Files,
        Self::Images,
        Self::Isolation,
        Self::Identity,
        Self::Run,
        Self::Limits,
        Self::Telling,
    ];

    /// The heading.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Files => "Files",
            Self::Images => "Images",
            Self::Isolation => "Isolation",
            Self::Identity => "Identity",
            Self::Run => "The run",
            Self::Limits => "Limits",
            Self::Telling => "Information",
        }
    }
}

/// Which option it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id {
    AllowNested,
    AllowSocket,
    Apply,
    AsPid1,
    Backend,
    Bare,
    Bind,
    Cache,
    CapAdd,
    Cgroup,
    Config,
    Core,
    Cover,
    CpuTime,
    Cwd,
    Dev,
    Dir,
    Doctor,
    Env,
    Explain,
    File,
    FileSize,
    Gid,
    Help,
    HostSecrets,
    Hostname,
    In,
    NoLandlock,
    Image,
    ImageCache,
    InheritEnv,
    Isolate,
    KillAfter,
    List,
    MapSubordinate,
    Mask,
    Memory,
    Network,
    NoTty,
    OpenFiles,
    Output,
    Overlay,
    OverlayChanges,
    Perms,
    Platform,
    Prefer,
    Proc,
    Processes,
    ReadOnly,
    Readable,
    Report,
    ReportFormat,
    RoBind,
    Root,
    Seccomp,
    Session,
    Share,
    Size,
    Stack,
    Symlink,
    Timeout,
    Tmpfs,
    Tty,
    Uid,
    Verbose,
    Version,
    Volume,
    Writable,
}

/// An option.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opt {
    /// Which one.
    pub(crate) id: Id,
    /// Its long names without the dashes; the first is the one that messages use.
    pub(crate) long: &'static [&'static str],
    /// Its short name.
    pub(crate) short: Option<char>,
    /// The names of its values. Two values are two words: `--bind SRC DEST`.
    pub(crate) values: &'static [&'static str],
    /// Whether the value may be left out; then it is given as `--option=value`.
    pub(crate) optional: bool,
    /// The values that it takes, if there are so few.
    pub(crate) choices: &'static [&'static str],
    /// What it does, in one line.
    pub(crate) help: &'static str,
    /// The rest that is to be known about it.
    pub(crate) more: &'static str,
    /// Where it is listed.
    pub(crate) group: Group,
}

pub(super) const fn option(
    id: Id,
    group: Group,
    long: &'static [&'static str],
    values: &'static [&'static str],
    help: &'static str,
) -> Opt {
    Opt {
        id,
        long,
        short: None,
        values,
        optional: false,
        choices: &[],
        help,
        more: "",
        group,
    }
}

impl Opt {
    pub(super) const fn more(mut self, more: &'static str) -> Self {
        self.more = more;
        self
    }

    pub(super) const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    pub(super) const fn choices(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    pub(super) const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}
