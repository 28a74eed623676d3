//! Every option of run-sandbox, as plain data. The parser and `--help` are driven by it, and
//! `cargo xtask` includes this file for the man page and the shell completions, so it uses
//! nothing but the language itself.

/// The name of the program.
pub(crate) const NAME: &str = "run-sandbox";

#[path = "options/opt.rs"]
mod opt;
#[path = "options/words.rs"]
pub(crate) mod words;

use opt::option;
pub(crate) use opt::{Group, Id, Opt};

/// The options, in the order in which help shows them.
pub(crate) const OPTIONS: &[Opt] = &[
    option(
        Id::ReadOnly,
        Group::Files,
        &["read-only"],
        &[],
        "let nothing below the root be changed",
    )
    .more(
        "This is so for / in any case. Mounts are not concerned: each of them is writable or \
             not by itself.",
    ),
    option(
        Id::Writable,
        Group::Files,
        &["writable"],
        &["PATH"],
        "let PATH be changed after all",
    )
    .more(
        "May be repeated; implies --read-only for the rest. PATH is absolute, as seen inside, \
             and exists. In a hidden place (see --host-secrets) it is shown, with nothing beside \
             it.",
    ),
    option(
        Id::Bind,
        Group::Files,
        &["bind"],
        &["SRC", "DEST"],
        "show SRC of the host at DEST, writable",
    )
    .more(
        "SRC is a file or a directory, and may be relative to the working directory. This and \
             the following kinds of mounts may be repeated and are applied in the order given. If \
             DEST is missing it appears inside alone, unless its parent was made writable: then it \
             is made there, and --report says so. A mount that hides an earlier one is an error, \
             see --cover.",
    ),
    option(
        Id::RoBind,
        Group::Files,
        &["ro-bind"],
        &["SRC", "DEST"],
        "show SRC of the host at DEST, read-only",
    )
    .more("What is mounted below SRC on the host is read-only too."),
    option(
        Id::Tmpfs,
        Group::Files,
        &["tmpfs"],
        &["DEST"],
        "put an empty file system in memory at DEST",
    ),
    option(
        Id::Proc,
        Group::Files,
        &["proc"],
        &["DEST"],
        "put procfs at DEST",
    ),
    option(
        Id::Dev,
        Group::Files,
        &["dev"],
        &["DEST"],
        "put a directory of harmless devices at DEST",
    )
    .more("null, zero, full, random, urandom, tty, pts, ptmx, shm, fd, stdin, stdout, stderr."),
    option(
        Id::File,
        Group::Files,
        &["file"],
        &["SRC", "DEST"],
        "put a read-only copy of the file SRC at DEST",
    )
    .more("SRC has 256 MiB at most; what is larger is better bound."),
    option(
        Id::Symlink,
        Group::Files,
        &["symlink"],
        &["TARGET", "PATH"],
        "make PATH a symbolic link that says TARGET",
    ),
    option(
        Id::Dir,
        Group::Files,
        &["dir"],
        &["PATH"],
        "make the directory PATH, if it is missing",
    ),
    option(
        Id::Mask,
        Group::Files,
        &["mask"],
        &["PATH"],
        "refuse access to PATH, whatever is there",
    ),
    option(
        Id::Overlay,
        Group::Files,
        &["overlay"],
        &[],
        "let changes of the root go into memory, and away",
    )
    .more(
        "COMMAND can change the root as far as permissions go, and the root stays as it is. What \
             is --writable is changed itself. What is mounted below the root on the host is seen \
             and cannot be changed. Needs Linux 6.6. An image has this unless told otherwise.",
    ),
    option(
        Id::OverlayChanges,
        Group::Files,
        &["overlay-changes"],
        &["DIR"],
        "let changes of the root go into DIR, and list them",
    )
    .more(
        "DIR is made if it is missing; what an earlier run left there counts. After the run the \
             changes are printed on standard error, and are in --report. --apply puts them onto a \
             directory. Needs Linux 5.11, and a file system with user extended attributes.",
    ),
    option(
        Id::Apply,
        Group::Files,
        &["apply"],
        &["DIR"],
        "put the changes in DIR onto the directory SANDBOX",
    )
    .more(
        "DIR is what --overlay-changes had. It runs nothing, and lists what it did. Each file \
             appears whole or not at all; if it is interrupted, do it again.",
    ),
    option(
        Id::HostSecrets,
        Group::Files,
        &["host-secrets"],
        &["WHICH"],
        "hidden (the default), or shown as the caller sees them",
    )
    .choices(&["hidden", "shown"])
    .more(
        "This is about / as SANDBOX. Hidden are /home, /root, the caller's home, /run, /tmp, \
             /var/tmp, /var/log, /dev/shm and /sys/firmware, and from root what of /sys shows the \
             kernel's inside: each is empty, private and writable, and is gone after the run. \
             What --writable, --readable, --allow-socket or a mount names is shown. /etc/resolv.conf \
             keeps working with --network shared. --explain lists what is hidden.",
    ),
    option(
        Id::Readable,
        Group::Files,
        &["readable"],
        &["PATH"],
        "show PATH of the host, read-only, although it is hidden",
    )
    .more("May be repeated. PATH is absolute, as seen inside, and exists. For / as SANDBOX."),
    option(
        Id::AllowSocket,
        Group::Files,
        &["allow-socket"],
        &["PATH"],
        "let the unix socket PATH be connected to",
    )
    .more(
        "May be repeated. PATH is absolute, as seen inside, and exists; a directory stands for all \
             sockets below it, / for all that are seen. Otherwise no socket below something \
             read-only can be connected to, but those that are bound by their own name; before \
             Linux 7.1, none of those that were there at the start. For user names by SSSD, name \
             /var/lib/sss/pipes.",
    ),
    option(
        Id::Size,
        Group::Files,
        &["size"],
        &["BYTES"],
        "limit the --tmpfs that comes next to BYTES",
    )
    .more("With K, M, G or T for powers of 1024. The default is half of the memory."),
    option(
        Id::Perms,
        Group::Files,
        &["perms"],
        &["OCTAL"],
        "permissions of the next --tmpfs, --file or --dir",
    )
    .more("The defaults are 1777 for --tmpfs, 644 for --file and 755 for --dir."),
    option(
        Id::Cover,
        Group::Files,
        &["cover"],
        &[],
        "let the mount that comes next hide earlier ones",
    ),
    option(
        Id::Bare,
        Group::Files,
        &["bare"],
        &[],
        "leave out the usual /proc, /dev and /tmp",
    )
    .more(
        "Without this they come before all other mounts, except those whose place is wanted \
             by a mount there or above, or by a --writable path there or below.",
    ),
    option(
        Id::Volume,
        Group::Images,
        &["volume"],
        &["NAME=PATH"],
        "give PATH of the host for the volume NAME of the image",
    )
    .more(
        "May be repeated. NAME is what the image calls it, or its path inside. A volume without \
             which an App Container image does not run is an error, or with --prefer volumes an \
             empty directory.",
    ),
    option(
        Id::Image,
        Group::Images,
        &["image"],
        &["REF"],
        "the image to run, of an archive or layout of several",
    ),
    option(
        Id::Platform,
        Group::Images,
        &["platform"],
        &["OS/ARCH"],
        "the platform, of an image for several",
    )
    .more("Such as linux/arm64 or linux/arm/v7. The default is the host's."),
    option(
        Id::ImageCache,
        Group::Images,
        &["image-cache"],
        &["DIR"],
        "where images stay unpacked",
    )
    .more("The default is sandboxlib/images in XDG_CACHE_HOME, or in ~/.cache."),
    option(
        Id::Cache,
        Group::Images,
        &["cache"],
        &["ACTION"],
        "list what is in the cache, or prune what is not used",
    )
    .choices(&["list", "prune"])
    .more("It stands alone, but for --image-cache, and runs nothing."),
    option(
        Id::Network,
        Group::Isolation,
        &["network"],
        &["WHICH"],
        "isolated (the default), or shared with the host",
    )
    .choices(&["isolated", "shared"]),
    option(
        Id::Share,
        Group::Isolation,
        &["share"],
        &["NAMESPACE"],
        "share a namespace with the host",
    )
    .choices(&["user", "pid", "ipc", "uts", "cgroup", "time"])
    .more("May be repeated. The time namespace is shared unless it is isolated."),
    option(
        Id::Isolate,
        Group::Isolation,
        &["isolate"],
        &["NAMESPACE"],
        "insist on a namespace of the sandbox's own",
    )
    .choices(&["user", "pid", "ipc", "uts", "cgroup", "time"])
    .more(
        "May be repeated. pid, ipc, uts and cgroup are isolated without this where the \
             backend can; with this the run fails where it cannot.",
    ),
    option(
        Id::Hostname,
        Group::Isolation,
        &["hostname"],
        &["NAME"],
        "the host name inside",
    ),
    option(
        Id::NoLandlock,
        Group::Isolation,
        &["no-landlock"],
        &[],
        "do without Landlock as a second wall behind the mounts",
    )
    .more(
        "It is used where the kernel has it, allows all that is shown inside, and is left out by \
             itself where COMMAND may mount. --report says what it covered.",
    ),
    option(
        Id::Seccomp,
        Group::Isolation,
        &["seccomp"],
        &["WHICH"],
        "the system calls that can be made: a preset or a file",
    )
    .more(
        "build (the default), strict-io, none, or a TOML file with a list of one's own, named by \
             a path with a slash or a dot in it. docs/seccomp.md describes them.",
    ),
    option(
        Id::AllowNested,
        Group::Isolation,
        &["allow-nested"],
        &[],
        "let further namespaces be made inside",
    )
    .more("A sandbox in the sandbox needs this. It opens the calls that mount, too."),
    option(
        Id::Prefer,
        Group::Isolation,
        &["prefer"],
        &["LIST"],
        "run even if these features cannot be enforced",
    )
    .more(
        "LIST is names separated by commas: root, read-only, bind, tmpfs, proc, dev, file, \
             entries, mask, network, pid, ipc, uts, cgroup, time, user, ids, subordinate, \
             host-secrets, seccomp, nested, cpu-time, memory, processes, file-size, open-files, \
             stack, core, overlay, volumes; mounts for all kinds of mounts; all. What was not \
             enforced is in --report, and is printed with -v. Another root is never given up, nor \
             a filter of one's own.",
    ),
    option(
        Id::Uid,
        Group::Identity,
        &["uid"],
        &["N"],
        "the user id inside",
    ),
    option(
        Id::Gid,
        Group::Identity,
        &["gid"],
        &["N"],
        "the group id inside",
    ),
    option(
        Id::Root,
        Group::Identity,
        &["root"],
        &[],
        "be root inside: --uid 0 --gid 0",
    ),
    option(
        Id::MapSubordinate,
        Group::Identity,
        &["map-subordinate"],
        &[],
        "be root inside, with further ids",
    )
    .more(
        "The ids that /etc/subuid and /etc/subgid grant the caller are seen as 1 and up, so \
             that files can be given to other users. An image whose files have owners has them by \
             itself, with the user that it names, unless --uid, --gid or --root says otherwise.",
    ),
    option(
        Id::CapAdd,
        Group::Identity,
        &["cap-add"],
        &["NAME"],
        "keep the capability NAME, and only those named",
    )
    .more(
        "May be repeated; \"none\" keeps none. Without this, root inside keeps what makes its \
             file operations work, and anybody else keeps none.",
    ),
    option(
        Id::Backend,
        Group::Run,
        &["backend", "executor"],
        &["NAME"],
        "the backend that isolates, or several to be tried",
    )
    .short('e')
    .more(
        "One of auto, userns, bubblewrap, sandbox-exec (on macOS), chroot, linux-user-chroot. \
             Several names, separated by commas, are tried in that order. The default is the value \
             of SANDBOXLIB_BACKEND, or auto: the first that can enforce everything.",
    ),
    option(
        Id::Cwd,
        Group::Run,
        &["cwd"],
        &["DIR"],
        "the working directory inside",
    ),
    option(
        Id::Env,
        Group::Run,
        &["env"],
        &["NAME[=VALUE]"],
        "set a variable, or pass it on from the caller",
    )
    .more("May be repeated. A variable that the caller does not have is not passed on."),
    option(
        Id::InheritEnv,
        Group::Run,
        &["inherit-env"],
        &[],
        "pass on the whole environment of the caller",
    ),
    option(
        Id::Tty,
        Group::Run,
        &["tty"],
        &[],
        "give COMMAND a terminal of its own",
    )
    .more(
        "This is so by itself where standard input and output are terminals and COMMAND is a shell. \
             Keys and changes of the size are passed on to it; COMMAND cannot type into the \
             caller's. With standard input from elsewhere, what comes from there is typed.",
    ),
    option(
        Id::NoTty,
        Group::Run,
        &["no-tty"],
        &[],
        "leave COMMAND with the standard streams of the caller",
    ),
    option(
        Id::AsPid1,
        Group::Run,
        &["as-pid-1"],
        &[],
        "make COMMAND process 1, with no init program above it",
    )
    .more(
        "For a COMMAND that is an init system itself. Signals for which it has no handler do \
             nothing to it, what loses its parent is its to wait for, and if run-sandbox is \
             killed, a COMMAND that wants to can live on. It gets no terminal.",
    ),
    option(
        Id::Timeout,
        Group::Limits,
        &["timeout"],
        &["TIME"],
        "kill everything in the sandbox after TIME",
    )
    .more("A number with ms, s, m or h, of seconds without: 90s, 1.5h."),
    option(
        Id::KillAfter,
        Group::Limits,
        &["kill-after"],
        &["TIME"],
        "let COMMAND clean up for TIME when its time is up",
    )
    .more(
        "It gets SIGTERM when --timeout or --cpu-time is over, and everything is killed TIME \
             later. Without this everything is killed at once.",
    ),
    option(
        Id::CpuTime,
        Group::Limits,
        &["cpu-time"],
        &["TIME"],
        "limit the time on processors of all processes",
    ),
    option(
        Id::Memory,
        Group::Limits,
        &["memory"],
        &["BYTES"],
        "limit the memory of all processes together",
    )
    .more(
        "With K, M, G or T for powers of 1024. To use more ends the run. What is in a tmpfs \
             counts.",
    ),
    option(
        Id::Processes,
        Group::Limits,
        &["processes"],
        &["N"],
        "limit the processes and threads at a time",
    )
    .more("To want more ends the run."),
    option(
        Id::Output,
        Group::Limits,
        &["output"],
        &["BYTES"],
        "limit what is printed on each of the two streams",
    )
    .more(
        "They are pipes then, and not the terminal or file that run-sandbox has, to which it \
             copies them; with --tty, that terminal. To print more ends the run.",
    ),
    option(
        Id::FileSize,
        Group::Limits,
        &["file-size"],
        &["BYTES"],
        "limit the size of each file that is written",
    )
    .more("A process that writes beyond it gets SIGXFSZ, and EFBIG if it ignores that."),
    option(
        Id::OpenFiles,
        Group::Limits,
        &["open-files"],
        &["N"],
        "limit the open files of each process",
    ),
    option(
        Id::Stack,
        Group::Limits,
        &["stack"],
        &["BYTES"],
        "limit the stack of each process",
    ),
    option(
        Id::Core,
        Group::Limits,
        &["core"],
        &["BYTES"],
        "limit core dumps; 0 for none",
    ),
    option(
        Id::Cgroup,
        Group::Limits,
        &["cgroup"],
        &["DIR"],
        "make control groups for limits below DIR, or none",
    )
    .more(
        "DIR is a directory of cgroup v2 that is delegated to the caller, with no process in it. \
             The default is auto: below the caller's own groups where it may. Where there are \
             none, as with none, the processes are looked at every few milliseconds. --report \
             says what held each limit.",
    ),
    option(
        Id::Session,
        Group::Run,
        &["session"],
        &["SOCKET"],
        "serve one sandbox for many commands on SOCKET",
    )
    .more(
        "It takes no COMMAND: --in SOCKET runs them. The unix socket SOCKET is there when the \
             sandbox is ready, is for the same user alone, and is removed at the end: when \
             SIGTERM, SIGINT or the like comes, or the sandbox comes to a limit. Then everything \
             in it is killed. --env, --cwd, --timeout and limits of each process hold for \
             commands that do not say otherwise. docs/sessions.md tells more.",
    ),
    option(
        Id::In,
        Group::Run,
        &["in"],
        &["SOCKET"],
        "run COMMAND in the sandbox served on SOCKET",
    )
    .more(
        "There is no SANDBOX then: run-sandbox --in SOCKET -- COMMAND. It sees what the commands \
             before have left. Options about COMMAND can be given: --cwd, --env, --inherit-env, \
             --timeout, --kill-after, --output, --file-size, --open-files, --stack, --core, \
             --report and -v. Those about the sandbox belong to --session.",
    ),
    option(
        Id::Config,
        Group::Run,
        &["config"],
        &["FILE"],
        "read settings from a TOML file",
    )
    .more(
        "Its keys are named like these options; README.md describes them. Options given here \
             win; mounts given here come after those in FILE. If FILE names the sandbox, then \
             SANDBOX may be left out, with -- in front of COMMAND.",
    ),
    option(
        Id::Explain,
        Group::Telling,
        &["explain"],
        &["FORMAT"],
        "show all that would be done, and run nothing",
    )
    .choices(&["text", "json"])
    .optional(),
    option(
        Id::Doctor,
        Group::Telling,
        &["doctor"],
        &["FORMAT"],
        "try what works on this host, and tell the cures",
    )
    .choices(&["text", "json"])
    .optional()
    .more(
        "It stands alone, without SANDBOX, and changes nothing. The exit status is 0 if a backend \
             can do all that a plain \"run-sandbox / true\" asks, and 1 if none can.",
    ),
    option(
        Id::List,
        Group::Telling,
        &["list"],
        &["FORMAT"],
        "list the sandboxes that have a name",
    )
    .choices(&["text", "json"])
    .optional()
    .more("It stands alone. Those whose definitions are wrong are listed with what is wrong."),
    option(
        Id::Report,
        Group::Telling,
        &["report"],
        &["FILE"],
        "write what happened to FILE, as JSON",
    )
    .more(
        "How the command ended and what it used, what was enforced and what was not and why. \
             In its strings, a byte that is not UTF-8, or a backslash, is written as \\xNN.",
    ),
    option(
        Id::ReportFormat,
        Group::Telling,
        &["report-format"],
        &["FORMAT"],
        "json (the default), or isolate for judge systems",
    )
    .choices(&["json", "isolate"])
    .more("isolate writes the keys of the meta file of isolate(1), one in a line."),
    option(
        Id::Verbose,
        Group::Telling,
        &["verbose"],
        &[],
        "say what is enforced, and what was used",
    )
    .short('v'),
    option(
        Id::Help,
        Group::Telling,
        &["help"],
        &[],
        "show this; -h is shorter",
    )
    .short('h'),
    option(
        Id::Version,
        Group::Telling,
        &["version"],
        &[],
        "show the version",
    )
    .short('V'),
];
