use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use sandboxlib_config::{Isolation, Network};

use crate::path::{MacPath, links};
use crate::policy::{Layout, Policy, Reach};
use crate::size;

/// A profile in Apple's sandbox language (SBPL), and the values of its parameters.
///
/// The text is made of words of this crate alone: every path of the caller's is a parameter, so
/// none can be taken for a part of the profile, whatever it contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The text, for `sandbox-exec -p`.
    pub text: String,
    /// The values, for `sandbox-exec -D`: that of `P0`, `P1` and so on.
    pub params: Vec<MacPath>,
    /// How many bytes it will have at most when it is compiled, by an estimate that was held
    /// against published measurements. The system takes [`Profile::LIMIT`].
    pub compiled_size: usize,
}

/// What reading means: looking at a file, mapping it as code, starting it.
const READ: &str = "file-read* file-map-executable process-exec";
/// What changing means.
const WRITE: &str = "file-write*";

/// The devices that can be written to although nothing in /dev can be changed.
const DEVICES: &[&str] = &["/dev/dtracehelper", "/dev/null", "/dev/tty", "/dev/zero"];

/// The daemons that DNS and TLS ask.
const NETWORK_SERVICES: &[&str] = &[
    "com.apple.SecurityServer",
    "com.apple.SystemConfiguration.DNSConfiguration",
    "com.apple.networkd",
    "com.apple.ocspd",
    "com.apple.trustd",
    "com.apple.trustd.agent",
];

/// Where names are looked up.
const NAME_SOCKET: &str = "/private/var/run/mDNSResponder";

/// Where daemons of the system listen, mDNSResponder among them, which looks names up for
/// whoever asks.
const DAEMON_SOCKETS: &str = "/private/var/run";

impl Profile {
    /// The most bytes that a compiled profile may have.
    pub const LIMIT: usize = 65_535;

    /// The profile that enforces `policy`.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let layout = policy.layout();
        let mut profile = Writer::default();
        profile.line("(version 1)\n(deny default)");
        profile.start_up(&layout);
        profile.files(&layout);
        profile.metadata(&layout);
        profile.devices(&layout);
        profile.pins(&layout);
        profile.network(policy, &layout);
        if policy.ipc == Isolation::Shared {
            profile.line("\n; System V and POSIX IPC, shared with the host.");
            profile.line("(allow ipc-posix* ipc-sysv*)");
        }
        let compiled_size = size::estimate(&profile.uses);
        Self {
            text: profile.text,
            params: profile.params,
            compiled_size,
        }
    }

    /// The arguments of sandbox-exec(1), up to the command.
    pub fn arguments(&self) -> impl Iterator<Item = String> {
        let flag = ["-p".to_owned(), self.text.clone()];
        let params = self.params.iter().enumerate();
        flag.into_iter()
            .chain(params.map(|(n, path)| format!("-DP{n}={path}")))
    }
}

impl fmt::Display for Profile {
    /// The text, with the values of the parameters as comments before it. Values are printed
    /// escaped, so that none can pass for another line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, path) in self.params.iter().enumerate() {
            writeln!(f, "; P{n} = {:?}", path.as_str())?;
        }
        f.write_str(&self.text)
    }
}

/// One filter on a path, and under how many operations it stands: what the size depends on.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) path: MacPath,
    pub(crate) exact: bool,
    pub(crate) operations: usize,
}

#[derive(Debug, Default)]
struct Writer {
    text: String,
    params: Vec<MacPath>,
    known: BTreeMap<MacPath, usize>,
    uses: Vec<Use>,
}

/// Which paths a filter matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// The path alone.
    Exact,
    /// The path and what is below it. Both are said, so that a path that does not exist yet is
    /// matched when somebody makes a file of it.
    Tree,
}

impl Writer {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The parameter that stands for `path`.
    fn value(&mut self, path: &MacPath) -> String {
        let n = *self.known.entry(path.clone()).or_insert_with(|| {
            self.params.push(path.clone());
            self.params.len() - 1
        });
        format!("(param \"P{n}\")")
    }

    fn filter(&mut self, path: &MacPath, matched: Match, operations: usize) -> String {
        let value = self.value(path);
        let mut count = |exact| {
            self.uses.push(Use {
                path: path.clone(),
                exact,
                operations,
            });
        };
        count(true);
        match matched {
            Match::Exact => format!("(literal {value})"),
            Match::Tree => {
                count(false);
                format!("(literal {value}) (subpath {value})")
            }
        }
    }

    fn rule(&mut self, action: &str, operations: &str, path: &MacPath, matched: Match) {
        let filter = self.filter(path, matched, operations.split(' ').count());
        self.line(&format!("({action} {operations} {filter})"));
    }

    /// One rule about many paths; none if there are no paths.
    fn list(&mut self, comment: &str, action: &str, operations: &str, paths: &BTreeSet<MacPath>) {
        if paths.is_empty() {
            return;
        }
        self.line(comment);
        let mut rule = format!("({action} {operations}");
        for path in paths {
            let filter = self.filter(path, Match::Exact, operations.split(' ').count());
            // Writing to a String cannot fail.
            let _ = write!(rule, "\n  {filter}");
        }
        rule.push(')');
        self.line(&rule);
    }

    fn start_up(&mut self, layout: &Layout) {
        self.line("\n; Processes: they start others, and signal and inspect nobody else's.");
        self.line("(allow process-fork)");
        self.line("(allow process-info* (target same-sandbox))");
        self.line("(allow signal (target same-sandbox))");
        self.line("\n; What programs ask before they start: the kernel's settings, and who the");
        self.line("; user is. Arguments and environment of other processes are not for them.");
        self.line("(allow sysctl-read)");
        self.line(
            "(deny sysctl-read (sysctl-name \"kern.procargs\") (sysctl-name \"kern.procargs2\"))",
        );
        self.line("(allow mach-lookup (global-name \"com.apple.system.opendirectoryd.libinfo\"))");
        if layout.base == Reach::Denied {
            self.line(
                "\n; getcwd and the dynamic linker read / itself: without it nothing starts.",
            );
            self.line("(allow file-read* (literal \"/\"))");
        }
    }

    /// What may be read and changed. Of the rules that match, the last counts, and what
    /// encloses a path comes before it.
    fn files(&mut self, layout: &Layout) {
        match layout.base {
            Reach::Denied => self.line("\n; Files: nothing but what follows."),
            Reach::Read => {
                self.line("\n; Files: all can be read, none changed but for what follows.");
                self.line(&format!("(allow {READ})"));
            }
            Reach::Write => {
                self.line("\n; Files: all can be changed but for what follows.");
                self.line(&format!("(allow {READ})\n(allow {WRITE})"));
            }
        }
        for (path, reach) in &layout.regions {
            let both = format!("{READ} {WRITE}");
            let (action, operations) = match (layout.reach_around(path), reach) {
                (_, Reach::Denied) => ("deny", both.as_str()),
                (Reach::Denied, Reach::Read) => ("allow", READ),
                (_, Reach::Read) => ("deny", WRITE),
                (Reach::Denied, Reach::Write) => ("allow", both.as_str()),
                (_, Reach::Write) => ("allow", WRITE),
            };
            self.rule(action, operations, path, Match::Tree);
        }
    }

    /// Whoever resolves a path looks at each directory on the way.
    fn metadata(&mut self, layout: &Layout) {
        let visible = layout
            .regions
            .iter()
            .filter(|(_, reach)| **reach != Reach::Denied);
        let mut on_the_way: BTreeSet<MacPath> =
            visible.flat_map(|(path, _)| path.ancestors()).collect();
        if layout.base == Reach::Denied {
            on_the_way.extend(links());
        }
        on_the_way.retain(|path| layout.reach(path) == Reach::Denied);
        // It can be read as a whole.
        on_the_way.remove(&MacPath::root());
        self.list(
            "\n; Directories on the way to what can be read: they can be looked at, not listed.",
            "allow",
            "file-read-metadata",
            &on_the_way,
        );
    }

    fn devices(&mut self, layout: &Layout) {
        let readable = |path: &MacPath| layout.reach(path) == Reach::Read;
        let devices = DEVICES.iter().map(|d| MacPath::known(d)).filter(readable);
        self.list(
            "\n; Devices that can be written to without anything being changed.",
            "allow",
            "file-write-data",
            &devices.collect(),
        );
        let fds = MacPath::known("/dev/fd");
        if readable(&fds) && layout.is_uniform_below(&fds) {
            self.rule("allow", "file-write-data", &fds, Match::Tree);
        }
        let helper = MacPath::known("/dev/dtracehelper");
        if layout.reach(&helper) != Reach::Denied {
            self.rule("allow", "file-ioctl", &helper, Match::Exact);
        }
    }

    /// Rules are about paths, so who could rename a directory on the way to a protected path
    /// would get around them.
    fn pins(&mut self, layout: &Layout) {
        let mut kept = BTreeSet::new();
        let mut made = BTreeSet::new();
        for path in layout.regions.keys() {
            for place in std::iter::once(path.clone()).chain(path.ancestors()) {
                if layout.reach(&place) != Reach::Write {
                    continue;
                }
                let around = layout.reach_around(&place) == Reach::Write;
                if !around {
                    made.insert(place);
                } else if !layout.all_writable(&place) {
                    kept.insert(place);
                }
            }
        }
        self.list(
            "\n; Writable inside, but an entry of a directory that is not.",
            "deny",
            "file-write-create file-write-unlink",
            &made,
        );
        self.list(
            "\n; Directories on the way to a protected path: moved away, they would take it along.",
            "deny",
            "file-write-unlink",
            &kept,
        );
        self.line(
            "\n; No program that runs as somebody else can be made, and no second name for a",
        );
        self.line("; file, which would be another path without its rules.");
        self.line("(deny file-write-setugid)\n(deny file-link)");
    }

    fn network(&mut self, policy: &Policy, layout: &Layout) {
        match policy.network {
            Network::Shared => {
                self.line("\n; Network: the host's.");
                self.line("(allow system-socket)\n(allow network-outbound)");
                self.line(
                    "(allow network-bind network-inbound (local ip \"*:*\") (local unix-socket))",
                );
                for service in NETWORK_SERVICES {
                    self.line(&format!("(allow mach-lookup (global-name \"{service}\"))"));
                }
                if layout.base == Reach::Denied {
                    self.line("(deny network-outbound (remote unix-socket))");
                    let names = MacPath::known(NAME_SOCKET);
                    if !policy.says_something_about(&names) {
                        self.socket_rule("allow", &names);
                    }
                }
                for (path, reach) in &layout.regions {
                    match (layout.reach_around(path), reach) {
                        (_, Reach::Denied) => self.socket_rule("deny", path),
                        (Reach::Denied, _) => self.socket_rule("allow", path),
                        _ => {}
                    }
                }
            }
            Network::Isolated => {
                self.line("\n; Network: none, loopback included. Unix sockets can be made where files can,");
                self.line("; and connected to below paths that were made writable by name.");
                self.line("(allow system-socket (socket-domain AF_UNIX))");
                self.line("(allow network-bind network-inbound (local unix-socket))");
                let mut any = false;
                for (path, reach) in &layout.regions {
                    let enclosed = layout.within_region(path);
                    if *reach == Reach::Write {
                        any = true;
                        self.socket_rule("allow", path);
                    } else if enclosed {
                        self.socket_rule("deny", path);
                    }
                }
                if any {
                    self.line("; Daemons of the system would pass on what is said to them.");
                    self.socket_rule("deny", &MacPath::known(DAEMON_SOCKETS));
                }
            }
        }
    }

    fn socket_rule(&mut self, action: &str, path: &MacPath) {
        for matched in ["literal", "subpath"] {
            let value = self.value(path);
            self.uses.push(Use {
                path: path.clone(),
                exact: matched == "literal",
                operations: 1,
            });
            self.line(&format!(
                "({action} network-outbound (remote unix-socket ({matched} {value})))"
            ));
        }
    }
}
