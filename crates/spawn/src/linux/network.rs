//! The network namespace of a sandbox, made beside the rest of it.
//!
//! Of all namespaces it takes the kernel the longest, about as long as all the mounts together
//! (copy_net_ns). So the process that has given birth to the child does not end at once: it makes
//! the namespace in the child's own user namespace, while the child mounts, and sends it over. Where
//! it may not, the child makes its own.
//!
//! Nothing here allocates, see [`super::setup`].

use super::ops::Call;
use super::pass;
use super::raw::{self, Errno, Fd, arg, nr};
use super::sys::{self, Held, Named as _, Result};
use super::wire::{Message, kind};

#[allow(clippy::cast_sign_loss, reason = "flags of clone(2) are bits")]
const NEW_USER: usize = libc::CLONE_NEWUSER as usize;
#[allow(clippy::cast_sign_loss, reason = "flags of clone(2) are bits")]
const NEW_NET: usize = libc::CLONE_NEWNET as usize;

/// Makes one, owned by the user namespace of `child` (a pidfd) if that has one of its own, and sends
/// it by `control`, the parent's end. Whether something was sent, if only that there is none.
///
/// The calling process is in these namespaces afterwards.
pub(super) fn provide(control: Fd, child: Fd, own_user: bool) -> bool {
    let message = Message::new(kind::NETWORK);
    match make(child, own_user) {
        Ok(namespace) => pass::send_with(control, &message, namespace.fd()).is_ok(),
        Err(_) => raw::send(control, message.bytes()).is_ok(),
    }
}

fn make(child: Fd, own_user: bool) -> core::result::Result<Held, Errno> {
    const SIOCGSKNS: usize = 0x894c;
    #[cfg(test)]
    if tests::REFUSED.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(libc::EPERM);
    }
    if own_user {
        sys::numbers(nr::SETNS, [arg(child), NEW_USER, 0])?;
    }
    sys::numbers(nr::UNSHARE, [NEW_NET, 0, 0])?;
    let socket = sys::loopback_up().map_err(|failed| failed.errno)?;
    // The namespace that the socket is in (linux/sockios.h).
    // SAFETY: numbers alone.
    unsafe { raw::call(nr::IOCTL, [arg(socket.fd()), SIOCGSKNS, 0, 0, 0, 0]) }.map(Held::new)
}

/// Enters the one that was made meanwhile, or makes one.
pub(super) fn take(control: Fd) -> Result<()> {
    let (message, namespace) = pass::receive(control).named(Call::Receive)?;
    if message.kind != kind::NETWORK {
        // The parent gave up, and has its own error to tell.
        raw::exit(125);
    }
    match namespace {
        Some(fd) => {
            let namespace = Held::new(usize::try_from(fd).unwrap_or(usize::MAX));
            sys::numbers(nr::SETNS, [arg(namespace.fd()), NEW_NET, 0]).named(Call::Enter)
        }
        None => {
            sys::numbers(nr::UNSHARE, [NEW_NET, 0, 0]).named(Call::Unshare)?;
            sys::loopback_up().map(drop)
        }
    }
}

/// A number in decimal digits, at the beginning of `text`. Gives how many there are.
pub(super) fn decimal(number: usize, text: &mut [u8; 20]) -> usize {
    let mut len = 1;
    let mut rest = number / 10;
    while rest > 0 {
        len += 1;
        rest /= 10;
    }
    let mut rest = number;
    for digit in text.iter_mut().take(len).rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    len
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    use sandboxlib_core::{ChildScript, IdRange, MapWriter, NamespaceSet, Step};

    use super::*;
    use crate::linux::Script;
    use crate::run::{Run, Stdio};

    /// Whether whoever makes the namespace may not.
    pub(super) static REFUSED: AtomicBool = AtomicBool::new(false);

    fn script(own_user: bool) -> Script {
        let (uid, gid) = crate::caller_ids();
        let range = |id| IdRange {
            inside: id,
            outside: id,
            count: 1,
        };
        let set = NamespaceSet {
            user: own_user,
            net: true,
            ..NamespaceSet::default()
        };
        let map = Step::IdMap {
            uids: vec![range(uid)],
            gids: vec![range(gid)],
            writer: MapWriter::Child,
        };
        let mut steps = vec![Step::Namespaces(set)];
        steps.extend(own_user.then_some(map));
        steps.push(Step::Loopback);
        Script::new(&ChildScript { steps }).unwrap()
    }

    /// The network namespace inside, and how many routes it has to loopback addresses.
    fn network_of(script: &Script) -> Option<(String, usize)> {
        let mut run = Run::new("/bin/sh");
        let look = "readlink /proc/self/ns/net; grep -c 127.0.0.1 /proc/self/net/fib_trie; true";
        run.args = ["-c", look].map(Into::into).into();
        run.stdout = Stdio::Piped;
        let mut child = script.start(&run).ok()?;
        let mut told = String::new();
        child.stdout.take()?.read_to_string(&mut told).unwrap();
        assert!(child.wait().unwrap().success());
        let (name, count) = told.trim().split_once('\n')?;
        Some((name.to_owned(), count.parse().unwrap()))
    }

    #[test]
    fn it_is_as_good_where_the_child_has_to_make_it() {
        let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
        for own_user in [true, false] {
            let script = script(own_user);
            REFUSED.store(false, Ordering::Relaxed);
            let Some((made, routes)) = network_of(&script) else {
                // No such namespaces for this caller here: what is left to see is seen elsewhere.
                continue;
            };
            REFUSED.store(true, Ordering::Relaxed);
            let (own, alike) = network_of(&script).unwrap();
            REFUSED.store(false, Ordering::Relaxed);
            assert!(routes > 0, "lo is up");
            assert_eq!(alike, routes);
            for name in [made, own] {
                assert_ne!(name, outside.to_str().unwrap());
            }
        }
    }

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 99, 100, 4_194_304, usize::MAX] {
            let mut text = [0; 20];
            let len = decimal(number, &mut text);
            assert_eq!(
                std::str::from_utf8(&text[..len]).unwrap(),
                number.to_string()
            );
        }
    }
}
