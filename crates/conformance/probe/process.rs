//! Questions about the process itself.

use core::fmt::Write as _;

use crate::sys::{self, Errno, Fd};
use crate::value::Value;
use crate::{Answer, Args, EINVAL, files};

/// `args ...`: themselves, separated by NUL.
pub(crate) fn args(args: &Args<'_>, value: &mut Value) -> Answer {
    for word in args.words {
        value.push(word.to_bytes_with_nul());
    }
    Ok(())
}

/// `environment`: every variable, with a NUL behind each.
pub(crate) fn environment(args: &Args<'_>, value: &mut Value) -> Answer {
    for variable in args.environment {
        value.push(variable.to_bytes_with_nul());
    }
    Ok(())
}

/// `capabilities`: every capability that the process has in one of its sets, or could get, as
/// bits in hexadecimal.
pub(crate) fn capabilities(_: &Args<'_>, value: &mut Value) -> Answer {
    const VERSION_3: u32 = 0x2008_0522;
    const PR_CAPBSET_READ: usize = 23;
    const PR_CAP_AMBIENT: usize = 47;
    const PR_CAP_AMBIENT_IS_SET: usize = 1;
    let mut sets = [0; 6];
    sys::capget(&mut [VERSION_3, 0], &mut sets)?;
    let [e, p, i, high_e, high_p, high_i] = sets;
    let mut bits = u64::from(e | p | i) | u64::from(high_e | high_p | high_i) << 32;
    for number in 0..64 {
        let bounding = sys::prctl(PR_CAPBSET_READ, number, 0) == Ok(1);
        let ambient = sys::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, number) == Ok(1);
        if bounding || ambient {
            bits |= 1 << number;
        }
    }
    let _ = write!(value, "{bits:x}");
    Ok(())
}

/// `no-new-privs`: 1 or 0.
pub(crate) fn no_new_privs(_: &Args<'_>, value: &mut Value) -> Answer {
    const PR_GET_NO_NEW_PRIVS: usize = 39;
    let _ = write!(value, "{}", sys::prctl(PR_GET_NO_NEW_PRIVS, 0, 0)?);
    Ok(())
}

/// `fds`: the numbers of the open descriptors below 1024.
pub(crate) fn fds(_: &Args<'_>, value: &mut Value) -> Answer {
    for fd in (0..1024).filter(|fd| files::is_open(*fd)) {
        value.separate(b' ');
        let _ = write!(value, "{fd}");
    }
    Ok(())
}

/// `hostname`
pub(crate) fn hostname(_: &Args<'_>, value: &mut Value) -> Answer {
    let mut names = [0; 390];
    sys::uname(&mut names)?;
    let name = names.get(65..130).unwrap_or_default();
    value.push(name.split(|byte| *byte == 0).next().unwrap_or_default());
    Ok(())
}

/// `ids`: real, effective and saved uid, the same of the gid, and the supplementary groups.
pub(crate) fn ids(_: &Args<'_>, value: &mut Value) -> Answer {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    sys::getresuid(&mut real, &mut effective, &mut saved)?;
    let _ = write!(value, "{real} {effective} {saved} ");
    sys::getresgid(&mut real, &mut effective, &mut saved)?;
    let _ = write!(value, "{real} {effective} {saved}");
    let mut groups = [0; 1024];
    let count = sys::getgroups(&mut groups)?;
    for group in groups.get(..count).unwrap_or_default() {
        let _ = write!(value, " {group}");
    }
    Ok(())
}

/// `kill PID SIGNAL`
pub(crate) fn kill(args: &Args<'_>, _: &mut Value) -> Answer {
    sys::kill(args.number(0)?, args.number(1)?).map(drop)
}

/// `limits`: soft and hard limit of each resource, in the order of their numbers.
pub(crate) fn limits(_: &Args<'_>, value: &mut Value) -> Answer {
    for resource in 0..16 {
        let mut limit = [0; 2];
        sys::limit(resource, &mut limit)?;
        let [soft, hard] = limit;
        value.separate(b' ');
        let _ = write!(value, "{soft:x}/{hard:x}");
    }
    Ok(())
}

/// `linger SECONDS`: leaves a process behind that has left the session, holds every descriptor
/// but the standard streams, and lives for that long.
pub(crate) fn linger(args: &Args<'_>, _: &mut Value) -> Answer {
    let seconds = args.number(0)?;
    let child = sys::fork()?;
    if child > 0 {
        // Whoever kills the group of this process must not find it there any more.
        for _ in 0..1000 {
            if sys::getsid(child) == Ok(child) {
                return Ok(());
            }
            let _ = sys::nanosleep(&[0, 1_000_000]);
        }
        return Err(EINVAL);
    }
    let _ = sys::setsid();
    for fd in 0..3 {
        let _ = sys::close(fd);
    }
    let _ = sys::nanosleep(&[u64::from(seconds), 0]);
    sys::exit(0)
}

/// `mq make|find|remove NAME`: a POSIX message queue.
pub(crate) fn mq(args: &Args<'_>, _: &mut Value) -> Answer {
    const O_CREAT: usize = 0o100;
    let name = args.word(1)?;
    match args.word(0)?.to_bytes() {
        b"make" => sys::mq_open(name, O_CREAT, 0o600),
        b"find" => sys::mq_open(name, 0, 0),
        b"remove" => sys::mq_unlink(name),
        _ => Err(EINVAL),
    }
    .map(drop)
}

/// `parent`: the process id of the parent.
pub(crate) fn parent(_: &Args<'_>, value: &mut Value) -> Answer {
    let _ = write!(value, "{}", sys::getppid()?);
    Ok(())
}

/// `pid`: the process id.
pub(crate) fn pid(_: &Args<'_>, value: &mut Value) -> Answer {
    let _ = write!(value, "{}", sys::getpid()?);
    Ok(())
}

/// `put FD TEXT`: writes to a descriptor.
pub(crate) fn put(args: &Args<'_>, _: &mut Value) -> Answer {
    let fd = Fd::try_from(args.number(0)?).map_err(|_| EINVAL)?;
    sys::write(fd, args.word(1)?.to_bytes()).map(drop)
}

/// `session`: the id of the session.
pub(crate) fn session(_: &Args<'_>, value: &mut Value) -> Answer {
    let _ = write!(value, "{}", sys::getsid(0)?);
    Ok(())
}

/// `shm make|find|remove KEY`: a System V shared memory segment.
pub(crate) fn shm(args: &Args<'_>, _: &mut Value) -> Answer {
    const IPC_CREAT: usize = 0o1000;
    let key = args.number(1)?;
    match args.word(0)?.to_bytes() {
        b"make" => sys::shmget(key, 1, IPC_CREAT | 0o600),
        b"find" => sys::shmget(key, 0, 0),
        b"remove" => sys::shm_remove(sys::shmget(key, 0, 0)?),
        _ => Err(EINVAL),
    }
    .map(drop)
}

/// `signals`: the mask of those that are blocked, and of those that are ignored or handled.
pub(crate) fn signals(_: &Args<'_>, value: &mut Value) -> Answer {
    let mut blocked = 0;
    sys::blocked(&mut blocked)?;
    let mut changed = 0u64;
    for signal in 1..=64 {
        let mut action = [0; 4];
        sys::disposition(signal, &mut action)?;
        if action.first() != Some(&0) {
            changed |= 1 << (signal - 1);
        }
    }
    let _ = write!(value, "blocked {blocked:x} not default {changed:x}");
    Ok(())
}

/// `sleep SECONDS`
pub(crate) fn sleep(args: &Args<'_>, _: &mut Value) -> Answer {
    sys::nanosleep(&[u64::from(args.number(0)?), 0]).map(drop)
}

/// `umask MORE`: with these bits besides.
pub(crate) fn umask(args: &Args<'_>, value: &mut Value) -> Answer {
    let more = args.number(0)?;
    let _ = write!(value, "{:o}", sys::umask(0o077)? | more as usize);
    Ok(())
}

/// `unshare FLAGS`: unshare(2).
pub(crate) fn unshare(args: &Args<'_>, _: &mut Value) -> Answer {
    sys::unshare(args.number(0)? as usize).map(drop)
}

/// `exit STATUS`
pub(crate) fn exit(args: &Args<'_>, _: &mut Value) -> Answer {
    sys::exit(i32::try_from(args.number(0)?).map_err(|_| EINVAL)?)
}

/// `die SIGNAL`: sends itself a signal, and answers only if it lives on.
pub(crate) fn die(args: &Args<'_>, _: &mut Value) -> Answer {
    let pid = sys::getpid()?;
    let pid = u32::try_from(pid).map_err(|_| EINVAL as Errno)?;
    sys::kill(pid, args.number(0)?).map(drop)
}
