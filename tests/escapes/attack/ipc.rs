//! Interprocess communication and keys that are no files.

use super::{Args, Attack, Attempt, Named as _, any_of, c, show, steal, sys};

pub(crate) const ATTACKS: &[(&str, Attack)] = &[
    ("sysv-shm", sysv),
    ("posix-mq", posix_mq),
    ("posix-shm", posix_shm),
    ("keyring", keyring),
    ("user-keyring", user_keyring),
];

fn sysv(args: &Args) -> Attempt {
    let id = sys::shm_get(args.number("key"), 0, 0).named("shmget")?;
    let mut bytes = [0; 64];
    sys::shm_read(id, &mut bytes).named("shmat")?;
    show(&bytes);
    Ok("read a shared memory segment".to_owned())
}

fn posix_mq(args: &Args) -> Attempt {
    const O_NONBLOCK: usize = 0o4000;
    let queue = sys::mq_open(&c(args.get("queue")), O_NONBLOCK).named("mq_open")?;
    let mut bytes = [0; 8192];
    let got = sys::mq_receive(queue as sys::Fd, &mut bytes).named("mq_receive")?;
    show(&bytes[..got]);
    Ok("read a message of a queue".to_owned())
}

fn posix_shm(args: &Args) -> Attempt {
    steal(format!("/dev/shm/{}", args.get("shm")))
}

fn read_key(ring: usize, args: &Args) -> Attempt {
    let key = sys::key_search(ring, c"user", &c(args.get("keyname"))).named("keyctl search")?;
    let mut bytes = [0; 64];
    let got = sys::key_read(key, &mut bytes).named("keyctl read")?;
    show(&bytes[..got.min(64)]);
    Ok("read a key".to_owned())
}

/// The session's keyring, which is inherited; and every key whose number is told.
fn keyring(args: &Args) -> Attempt {
    const SESSION: usize = -3isize as usize;
    const PROCESS: usize = -2isize as usize;
    // The numbers of keys are no secret to who may see them.
    let direct = || {
        let keys = std::fs::read_to_string("/proc/keys").named("/proc/keys")?;
        let line = keys.lines().find(|line| line.contains(args.get("keyname")));
        let number = line
            .and_then(|line| line.split(' ').next())
            .unwrap_or_default();
        let number = usize::from_str_radix(number, 16).map_err(|_| "no such key is listed")?;
        let mut bytes = [0; 64];
        let got = sys::key_read(number, &mut bytes).named("keyctl read")?;
        show(&bytes[..got.min(64)]);
        Ok("read a key by its number".to_owned())
    };
    any_of([read_key(SESSION, args), read_key(PROCESS, args), direct()])
}

/// The user's keyring, which all sessions of a user share.
fn user_keyring(args: &Args) -> Attempt {
    const USER: usize = -4isize as usize;
    const USER_SESSION: usize = -5isize as usize;
    any_of([read_key(USER, args), read_key(USER_SESSION, args)])
}
