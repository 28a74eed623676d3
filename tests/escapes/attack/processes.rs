//! Processes outside: their memory, files, signals and limits.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use super::{Args, Attack, Attempt, Named as _, any_of, in_child, show, steal, sys};

pub(crate) const ATTACKS: &[(&str, Attack)] = &[
    ("ptrace", ptrace),
    ("process-vm-readv", vm_readv),
    ("proc-mem", proc_mem),
    ("proc-environ", proc_environ),
    ("proc-cmdline", proc_cmdline),
    ("proc-fd", proc_fd),
    ("pidfd-getfd", pidfd_getfd),
    ("kill-all", kill_all),
    ("kill-victim", kill_victim),
    ("pidfd-handle", pidfd_handle),
    ("sigio", sigio),
    ("prlimit", prlimit),
    ("setpriority", setpriority),
    ("daemon", daemon),
    ("daemon-killed", daemon_killed),
];

const SIGURG: usize = 23;

/// Every process that may be one outside: the one that is known to be there, and all in sight.
fn targets(args: &Args) -> Vec<i32> {
    let mut pids = vec![args.pid("victim")];
    let mine = i32::try_from(std::process::id()).unwrap_or(0);
    if let Ok(entries) = fs::read_dir("/proc") {
        pids.extend(
            entries
                .flatten()
                .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
                .filter(|pid| args.own_processes() && *pid != mine),
        );
    }
    pids
}

fn each(args: &Args, attack: impl Fn(i32) -> Attempt) -> Attempt {
    any_of(targets(args).into_iter().map(attack))
}

fn ptrace(args: &Args) -> Attempt {
    let address = args.number("address");
    each(args, |pid| {
        sys::ptrace_attach(pid)
            .or_else(|_| sys::ptrace_seize(pid))
            .named(format_args!("ptrace {pid}"))?;
        let _ = sys::wait(pid);
        let mut text = Vec::new();
        for offset in (0..64).step_by(8) {
            let mut word = 0;
            if sys::ptrace_peek(pid, address + offset, &mut word).is_ok() {
                text.extend(word.to_ne_bytes());
            }
        }
        let _ = sys::ptrace_detach(pid);
        show(&text);
        Ok(format!("traced {pid}"))
    })
}

fn vm_readv(args: &Args) -> Attempt {
    each(args, |pid| {
        let mut bytes = [0; 64];
        sys::read_process(pid, args.number("address") as u64, &mut bytes)
            .named(format_args!("process_vm_readv {pid}"))?;
        show(&bytes);
        Ok(format!("read the memory of {pid}"))
    })
}

fn proc_mem(args: &Args) -> Attempt {
    each(args, |pid| {
        let path = format!("/proc/{pid}/mem");
        let mut file = fs::File::open(&path).named(&path)?;
        let mut bytes = [0; 64];
        file.seek(SeekFrom::Start(args.number("address") as u64))
            .and_then(|_| file.read(&mut bytes))
            .named(&path)?;
        show(&bytes);
        Ok(format!("read {path}"))
    })
}

fn proc_environ(args: &Args) -> Attempt {
    let own = steal("/proc/self/environ").map(|_| ());
    let others = each(args, |pid| steal(format!("/proc/{pid}/environ")));
    // Its own is always to be had; what is in it is what counts.
    own.and(others)
}

fn proc_cmdline(args: &Args) -> Attempt {
    each(args, |pid| steal(format!("/proc/{pid}/cmdline")))
}

fn proc_fd(args: &Args) -> Attempt {
    each(args, |pid| {
        let path = format!("/proc/{pid}/fd");
        let entries = fs::read_dir(&path).named(&path)?;
        // A pipe would have to be waited for.
        any_of(entries.flatten().filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            target.starts_with("/").then(|| steal(entry.path()))
        }))
    })
}

fn pidfd_getfd(args: &Args) -> Attempt {
    each(args, |pid| {
        let pidfd = sys::pidfd_open(pid).named(format_args!("pidfd_open {pid}"))? as sys::Fd;
        any_of((3..10).map(|number| {
            let fd = sys::pidfd_getfd(pidfd, number)
                .named(format_args!("pidfd_getfd {pid} {number}"))?;
            let mut bytes = [0; 64];
            let flags = sys::fcntl(fd as sys::Fd, 4, 0o4000);
            let got = flags.and_then(|_| sys::read(fd as sys::Fd, &mut bytes));
            show(&bytes[..got.unwrap_or(0)]);
            Ok(format!("took descriptor {number} of {pid}"))
        }))
    })
}

/// SIGURG does no harm to anybody: what does not wait for it does not notice.
fn kill_all(_: &Args) -> Attempt {
    sys::kill(-1, SIGURG).named("kill")?;
    Ok("sent a signal to everybody".to_owned())
}

fn kill_victim(args: &Args) -> Attempt {
    let pid = args.pid("victim");
    any_of(
        [
            sys::kill(pid, SIGURG).named("kill"),
            sys::tgkill(pid, pid, SIGURG).named("tgkill"),
            sys::kill(-args.pid("group"), SIGURG).named("kill a group"),
            sys::pidfd_open(pid)
                .and_then(|fd| sys::pidfd_send_signal(fd as sys::Fd, SIGURG))
                .named("pidfd_send_signal"),
        ]
        .map(|sent| sent.map(|_| "sent a signal".to_owned())),
    )
}

/// The victim by the file handle of its pidfd (Linux 6.14).
fn pidfd_handle(args: &Args) -> Attempt {
    const FD_PIDFS_ROOT: sys::Fd = -10002;
    let handle = args.handle("pidhandle")?;
    let fd = sys::open_by_handle(FD_PIDFS_ROOT, &handle, 0).named("open_by_handle_at")?;
    sys::pidfd_send_signal(fd as sys::Fd, SIGURG).named("pidfd_send_signal")?;
    Ok("sent a signal by a handle".to_owned())
}

/// Has the kernel send the signal when something comes through a socket.
fn sigio(args: &Args) -> Attempt {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;
    const F_SETOWN: usize = 8;
    const F_SETSIG: usize = 10;
    const F_SETFL: usize = 4;
    const O_ASYNC: usize = 0o20000;
    let (ours, mut theirs) = UnixStream::pair().named("socketpair")?;
    let fd = ours.as_raw_fd();
    sys::fcntl(fd, F_SETOWN, args.number("victim")).named("F_SETOWN")?;
    sys::fcntl(fd, F_SETSIG, SIGURG).named("F_SETSIG")?;
    sys::fcntl(fd, F_SETFL, O_ASYNC).named("O_ASYNC")?;
    theirs.write_all(b"x").named("write")?;
    std::thread::sleep(Duration::from_millis(20));
    Ok("had the kernel send a signal".to_owned())
}

fn prlimit(args: &Args) -> Attempt {
    const RLIMIT_CORE: usize = 4;
    sys::set_limit(args.pid("victim"), RLIMIT_CORE, &[4711, 4711]).named("prlimit")?;
    Ok("changed a limit".to_owned())
}

fn setpriority(args: &Args) -> Attempt {
    sys::set_priority(args.pid("victim"), 19).named("setpriority")?;
    Ok("changed a priority".to_owned())
}

/// Leaves a process behind in a session of its own, whose parent is gone.
fn leave_behind() -> Result<(), String> {
    if sys::fork().named("fork")? != 0 {
        std::thread::sleep(Duration::from_millis(50));
        return Ok(());
    }
    let _ = sys::setsid();
    if sys::fork().is_ok_and(|pid| pid != 0) {
        std::process::exit(0);
    }
    for fd in 0..3 {
        let _ = sys::close(fd);
    }
    for signal in [1u32, 2, 15] {
        let _ = sys::block_signals(&(1u64 << (signal - 1)));
    }
    std::thread::sleep(Duration::from_secs(20));
    std::process::exit(0)
}

fn daemon(_: &Args) -> Attempt {
    leave_behind()?;
    Ok("left a process behind".to_owned())
}

/// The same, and then the supervisor is killed.
fn daemon_killed(_: &Args) -> Attempt {
    leave_behind()?;
    super::say("ready");
    std::thread::sleep(Duration::from_secs(20));
    Ok("lived on".to_owned())
}

/// Whether a process can be traced.
pub(crate) fn trace_briefly(pid: i32) -> Attempt {
    in_child(|| {
        // Without stopping it: a first process that stands still holds everything up.
        sys::ptrace_seize(pid).named(format_args!("ptrace {pid}"))?;
        Ok(format!("traced process {pid}"))
    })
}
