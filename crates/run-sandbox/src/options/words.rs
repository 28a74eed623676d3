//! What is said about the program besides its options.

/// What the program is, in one line.
pub(crate) const ABOUT: &str = "run a command with its own root, mounts and network";

/// How it is called.
pub(crate) const USAGE: &str = "run-sandbox [OPTIONS] SANDBOX [--] [COMMAND [ARG]...]";

/// What it does, in paragraphs.
pub(crate) const DESCRIPTION: &[&str] = &[
    "SANDBOX is a directory that COMMAND sees as its root, / for the host's own root, an image \
     (an App Container image, an OCI layout or archive, a docker-archive, or a root tarball), or \
     @NAME for what NAME.toml in the configuration directories says; a directory of such a name is \
     ./@NAME. Without COMMAND, what the image says is run, or /bin/sh. Options stand in front of SANDBOX; whatever follows COMMAND \
     belongs to it.",
    "Unless told otherwise, COMMAND has no network but a loopback interface, sees no process but \
     its own, and has an empty environment but for PATH, and TERM on a terminal. /proc, a minimal \
     /dev and an empty /tmp are there. A directory as SANDBOX can be written to; the host's root \
     cannot, and it is shown without home directories and other private places. What cannot be enforced on this host is refused before anything is run.",
    "COMMAND is looked up by the PATH inside the root. It starts in / of the root; with / as \
     SANDBOX, in the caller's working directory, if that is not covered by a mount. If that is \
     hidden, as home directories are, nothing is run: say with --writable, --readable or --cwd \
     what is meant.",
];

/// The exit statuses, and what each means.
pub(crate) const EXIT_STATUS: &[(&str, &str)] = &[
    ("0-255", "that of COMMAND"),
    ("128+N", "signal N ended COMMAND"),
    ("124", "the time was up"),
    (
        "137",
        "COMMAND came to another limit and had no status of its own",
    ),
    (
        "125",
        "the options are wrong or the sandbox cannot be had; nothing was run",
    ),
    (
        "126",
        "COMMAND was found inside the root but could not be executed",
    ),
    ("127", "COMMAND was not found inside the root"),
];

/// Examples: what they do, and the command.
pub(crate) const EXAMPLES: &[(&str, &str)] = &[
    (
        "Build in the current directory, without network, and let nothing else be changed",
        "run-sandbox --writable \"$PWD\" / make check",
    ),
    (
        "The same in a Debian root that is not changed either",
        "run-sandbox --read-only --bind . /build --cwd /build debian12 make check",
    ),
    (
        "Look at the plan for it",
        "run-sandbox --explain --read-only --bind . /build debian12",
    ),
    (
        "Run an image, and keep what it changes of its root",
        "run-sandbox --overlay-changes changes app.aci",
    ),
    (
        "Use what /etc/sandboxlib/build.toml defines",
        "run-sandbox @build make check",
    ),
    (
        "Be root in a root of one's own",
        "run-sandbox --map-subordinate debian12",
    ),
];
