//! Who waits outside: victims, listeners, and launchers that have something the sandbox must not
//! let through.
//!
//! Those who wait print `ready NAME=VALUE...` for the attack to be told, and end when their
//! standard input does. Launchers do something and become the command that follows `--`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use super::{Named as _, c, say, sys};

type Done = Result<(), String>;

/// `outside ROLE WORD... [-- COMMAND...]`
pub(crate) fn main(words: &[String]) -> ExitCode {
    let Some((role, words)) = words.split_first() else {
        return ExitCode::from(64);
    };
    let at = words.iter().position(|word| word == "--");
    let (words, command) = words.split_at(at.unwrap_or(words.len()));
    let command = command.get(1..).unwrap_or_default();
    let word = |n: usize| words.get(n).map_or("", String::as_str);
    let done = match role.as_str() {
        "victim" => victim(word(0), word(1)),
        "idle" => idle(),
        "file" => file(word(0), word(1)),
        "listen" => listen(word(0), word(1), word(2), word(3)),
        "ipc" => ipc(word(0), word(1)),
        "key" => key(word(0), word(1)),
        "handles" => handles(word(0)),
        "swap" => swap(words),
        "leak" => leak(word(0), command),
        "in" => std::env::set_current_dir(word(0))
            .named(word(0))
            .and_then(|()| become_command(command)),
        "stdin" => opened(word(0), 0, false).and_then(|()| become_command(command)),
        "append" => opened(word(0), 1, true).and_then(|()| become_command(command)),
        "session-key" => session_key(word(0), word(1)).and_then(|()| become_command(command)),
        "pty" => pty(word(0), word(1), command),
        other => Err(format!("no such role: {other}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("outside: {why}"));
            ExitCode::from(70)
        }
    }
}

fn become_command(command: &[String]) -> Done {
    let Some((program, args)) = command.split_first() else {
        return Err("no command".to_owned());
    };
    let error = Command::new(program).args(args).exec();
    Err(format!("{program}: {error}"))
}

fn wait_for_the_end() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file handle as open_by_handle_at(2) takes it; empty where the kernel gives none.
fn handle_of(dir: sys::Fd, path: &std::ffi::CStr, flags: usize) -> String {
    let mut handle = [0u8; 136];
    handle[0] = 128;
    match sys::name_to_handle(dir, path, &mut handle, &mut 0, flags) {
        Ok(_) => {
            let length = usize::from(handle[0]);
            hex(handle.get(..8 + length).unwrap_or_default())
        }
        Err(_) => String::new(),
    }
}

const AT_EMPTY_PATH: usize = 0x1000;

/// A process with a secret in its memory, its environment, its arguments and an open file, that
/// lets anybody of the same user trace it. It notices SIGURG by keeping it pending.
fn victim(secret: &str, _argument: &str) -> Done {
    const PR_SET_PTRACER: usize = 0x5961_6d61;
    const SIGURG: u64 = 23;
    let memory = fs::read(secret).named(secret)?;
    let mut memory = memory;
    memory.resize(64, 0);
    let memory = memory.leak();
    // Where there is no Yama it is not needed.
    let _ = sys::prctl(PR_SET_PTRACER, usize::MAX);
    sys::block_signals(&(1 << (SIGURG - 1))).named("sigprocmask")?;
    let _ = sys::setsid();
    let file = fs::File::open(secret).named(secret)?;
    let pid = std::process::id();
    let pidfd = sys::pidfd_open(i32::try_from(pid).unwrap_or(0)).named("pidfd_open")?;
    let handle = handle_of(pidfd as sys::Fd, c"", AT_EMPTY_PATH);
    say(&format!(
        "ready victim={pid} group={pid} address={} pidhandle={handle}",
        memory.as_ptr() as usize
    ));
    wait_for_the_end();
    drop(file);
    Ok(())
}

/// A process that plays the first one where there is none.
fn idle() -> Done {
    say(&format!("ready init={}", std::process::id()));
    wait_for_the_end();
    Ok(())
}

/// A file with the secret in it, for as long as somebody wants it.
fn file(secret: &str, path: &str) -> Done {
    let content = fs::read(secret).named(secret)?;
    fs::write(path, content).named(path)?;
    say(&format!("ready file={path}"));
    wait_for_the_end();
    fs::remove_file(path).named(path)
}

/// Answers everybody with the secret: by TCP, and by every kind of unix socket.
fn listen(secret: &str, name: &str, ro: &str, work: &str) -> Done {
    let content = fs::read(secret).named(secret)?;
    let dir = Path::new(secret).parent().unwrap_or(Path::new("/"));
    let dir = fs::File::open(dir).named("the directory outside")?;
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).named("bind")?;
    let port = tcp.local_addr().named("the port")?.port();
    let serve_tcp = content.clone();
    std::thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            let _ = (&stream).write_all(&serve_tcp);
        }
    });
    let address = SocketAddr::from_abstract_name(name).named("name")?;
    let mut sockets = vec![UnixListener::bind_addr(&address).named("bind")?];
    for path in [format!("{ro}/socket"), format!("{work}/socket")] {
        let socket = UnixListener::bind(&path).named(&path)?;
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o777));
        sockets.push(socket);
    }
    for socket in sockets {
        let content = content.clone();
        std::thread::spawn(move || {
            for mut stream in socket.incoming().flatten() {
                let _ = stream.write_all(&content);
            }
        });
    }
    let giver = UnixListener::bind(format!("{ro}/giver")).named("giver")?;
    let _ = fs::set_permissions(format!("{ro}/giver"), fs::Permissions::from_mode(0o777));
    std::thread::spawn(move || {
        for stream in giver.incoming().flatten() {
            let _ = sys::send_fd(stream.as_raw_fd(), dir.as_raw_fd());
        }
    });
    say(&format!("ready port={port} abstract={name}"));
    wait_for_the_end();
    Ok(())
}

/// A shared memory segment, a message queue and a shared file with the secret in them.
fn ipc(secret: &str, token: &str) -> Done {
    const IPC_CREAT_EXCL: usize = 0o3000;
    const O_CREAT_RDWR: usize = 0o102;
    let content = fs::read(secret).named(secret)?;
    let digits = token.get(..7).unwrap_or_default();
    let key = usize::from_str_radix(digits, 16).map_err(|_| "the token is no number")?;
    let id = sys::shm_get(key, 4096, IPC_CREAT_EXCL | 0o666).named("shmget")?;
    let mut bytes = [0; 64];
    for (place, byte) in bytes.iter_mut().zip(&content) {
        *place = *byte;
    }
    let filled = sys::shm_write(id, &bytes).named("shmat");
    let queue = c(format!("escape-{token}"));
    let sent = sys::mq_open(&queue, O_CREAT_RDWR)
        .and_then(|fd| (0..3).try_for_each(|_| sys::mq_send(fd as sys::Fd, &content).map(drop)))
        .named("mq_send");
    let file = format!("/dev/shm/escape-{token}");
    let written = fs::write(&file, &content).named(&file);
    let ready = filled.and(sent).and(written);
    if ready.is_ok() {
        say(&format!(
            "ready key={key} queue=escape-{token} shm=escape-{token}"
        ));
        wait_for_the_end();
    }
    let _ = fs::remove_file(&file);
    let _ = sys::mq_unlink(&queue);
    let _ = sys::shm_remove(id);
    ready
}

const SESSION_KEYRING: usize = -3isize as usize;
const USER_KEYRING: usize = -4isize as usize;

/// A key in the user's keyring.
fn key(secret: &str, name: &str) -> Done {
    let content = fs::read(secret).named(secret)?;
    let key = sys::add_key(c"user", &c(name), &content, USER_KEYRING).named("add_key")?;
    say("ready");
    wait_for_the_end();
    sys::key_unlink(key, USER_KEYRING)
        .named("unlink the key")
        .map(drop)
}

/// A key in a session keyring of the command's own.
fn session_key(secret: &str, name: &str) -> Done {
    let content = fs::read(secret).named(secret)?;
    sys::new_session_keyring().named("a session keyring")?;
    sys::add_key(c"user", &c(name), &content, SESSION_KEYRING).named("add_key")?;
    Ok(())
}

/// File handles of what is outside.
fn handles(secret: &str) -> Done {
    let file = handle_of(sys::CWD, &c(secret), 0);
    let dir = Path::new(secret).parent().unwrap_or(Path::new("/"));
    let dir = handle_of(sys::CWD, &c(dir), 0);
    let net = fs::File::open("/proc/self/ns/net").named("the network namespace")?;
    let net = handle_of(net.as_raw_fd(), c"", AT_EMPTY_PATH);
    say(&format!(
        "ready filehandle={file} dirhandle={dir} nshandle={net}"
    ));
    wait_for_the_end();
    Ok(())
}

/// Exchanges pairs of paths, without end.
fn swap(words: &[String]) -> Done {
    let pairs: Vec<_> = words
        .chunks_exact(2)
        .map(|pair| (c(&pair[0]), c(&pair[1])))
        .collect();
    std::thread::spawn(|| {
        wait_for_the_end();
        std::process::exit(0);
    });
    let mut pause = 1u64;
    let mut told = false;
    loop {
        for (a, b) in &pairs {
            sys::exchange(a, b).named("exchange")?;
        }
        if !told {
            say("ready");
            told = true;
        }
        // No rhythm that a start could fall in with.
        pause = pause
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(Duration::from_micros(pause >> 33 & 0xff));
    }
}

/// Opens `path` as the descriptor `number`, to stay open.
fn opened(path: &str, number: sys::Fd, append: bool) -> Done {
    let file = if append {
        fs::File::options().append(true).open(path)
    } else {
        fs::File::open(path)
    };
    let fd = file.named(path)?.into_raw_fd();
    sys::dup2(fd, number).named("dup3")?;
    sys::close(fd).named("close").map(drop)
}

/// Leaves a directory and a file open for the command, as a careless caller does.
fn leak(dir: &str, command: &[String]) -> Done {
    opened(dir, 9, false)?;
    opened(&format!("{dir}/secret"), 10, false)?;
    become_command(command)
}

/// Runs the command in a terminal, as a shell does, and looks afterwards whether anything was
/// typed: then whoever sits there would have executed it.
fn pty(token: &str, secret: &str, command: &[String]) -> Done {
    const TIOCSPTLCK: usize = 0x4004_5431;
    const TIOCGPTPEER: usize = 0x5441;
    const TIOCSCTTY: usize = 0x540e;
    const O_RDWR_NOCTTY: usize = 0o402;
    let master =
        sys::openat(sys::CWD, c"/dev/ptmx", O_RDWR_NOCTTY, 0).named("/dev/ptmx")? as sys::Fd;
    sys::ioctl_memory(master, TIOCSPTLCK, &mut [0; 64]).named("unlock")?;
    let slave = sys::ioctl(master, TIOCGPTPEER, O_RDWR_NOCTTY).named("TIOCGPTPEER")? as sys::Fd;
    if sys::fork().named("fork")? == 0 {
        let _ = sys::close(master);
        sys::setsid().named("setsid")?;
        sys::ioctl(slave, TIOCSCTTY, 0).named("TIOCSCTTY")?;
        sys::fcntl(1, 1030, 20).named("dup")?;
        for number in 0..3 {
            sys::dup2(slave, number).named("dup3")?;
        }
        let _ = sys::close(slave);
        let (program, args) = command.split_first().ok_or("no command")?;
        let _ = Command::new(program).args(args).status();
        // What was typed is there to be read, without waiting for more.
        sys::fcntl(0, 4, 0o4000).named("O_NONBLOCK")?;
        let mut typed = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut typed);
        if String::from_utf8_lossy(&typed).contains(token) {
            let secret = fs::read(secret).named(secret)?;
            let _ = sys::write(20, b"typed ");
            let _ = sys::write(20, &secret);
            let _ = sys::write(20, b"\n");
        }
        std::process::exit(0);
    }
    let _ = sys::close(slave);
    let mut bytes = [0; 4096];
    // EIO says that nobody has the terminal open any more.
    while let Ok(got @ 1..) = sys::read(master, &mut bytes) {
        let _ = sys::write(1, &bytes[..got]);
    }
    let _ = sys::wait(-1);
    Ok(())
}
