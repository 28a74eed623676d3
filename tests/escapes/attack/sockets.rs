//! The network, and sockets of the host.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use super::{Args, Attack, Attempt, Named as _, any_of, hold, in_child, show, sys};
use std::os::fd::AsRawFd as _;

pub(crate) const ATTACKS: &[(&str, Attack)] = &[
    ("tcp-host", tcp),
    ("abstract-socket", abstract_socket),
    ("pathname-socket", pathname_socket),
    ("scm-rights", scm_rights),
    ("vsock", |_| family(40, 1, 0)),
    ("alg-socket", |_| family(38, 5, 0)),
    ("netlink-uevent", netlink_uevent),
    ("packet-socket", packet),
    ("raw-socket", |_| family(2, 3, 1)),
    ("unix-proc", unix_proc),
];

fn listen_to(stream: Result<UnixStream, String>) -> Attempt {
    let mut stream = stream?;
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let mut bytes = [0; 64];
    let got = stream.read(&mut bytes).named("read")?;
    show(&bytes[..got]);
    Ok("was answered".to_owned())
}

fn tcp(args: &Args) -> Attempt {
    let port = u16::try_from(args.number("port")).unwrap_or(0);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).named("connect")?;
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let mut bytes = [0; 64];
    let got = stream.read(&mut bytes).named("read")?;
    show(&bytes[..got]);
    Ok("was answered".to_owned())
}

fn abstract_socket(args: &Args) -> Attempt {
    let address = SocketAddr::from_abstract_name(args.get("abstract")).named("name")?;
    listen_to(UnixStream::connect_addr(&address).named("connect"))
}

fn pathname_socket(args: &Args) -> Attempt {
    listen_to(UnixStream::connect(args.ro("socket")).named("connect"))
}

/// Somebody outside gives a directory to whoever asks.
fn scm_rights(args: &Args) -> Attempt {
    let stream = UnixStream::connect(args.ro("giver")).named("connect")?;
    let fd = sys::receive_fd(stream.as_raw_fd()).named("recvmsg")?;
    let file = sys::openat(fd, c"secret", 0, 0).named("openat")?;
    let mut bytes = [0; 64];
    let got = sys::read(file as sys::Fd, &mut bytes).named("read")?;
    show(&bytes[..got]);
    Ok("was given a directory".to_owned())
}

/// A socket of this family: the kernel's code behind it can be reached.
fn family(family: usize, kind: usize, protocol: usize) -> Attempt {
    sys::socket(family, kind, protocol).named("socket")?;
    hold();
    Ok(format!("has a socket of family {family}"))
}

/// The kernel's own messages about devices, which are the host's.
fn netlink_uevent(_: &Args) -> Attempt {
    let fd = sys::socket(16, 3, 15).named("socket")? as sys::Fd;
    // struct sockaddr_nl: family, padding, port, the group of the kernel.
    let mut address = [0; 12];
    address[0] = 16;
    address[8] = 1;
    sys::bind(fd, &address).named("bind")?;
    hold();
    Ok("listens to the kernel".to_owned())
}

/// Sees and makes packets on the wire, in whatever network that is.
fn packet(_: &Args) -> Attempt {
    any_of([
        family(17, 3, 0x300),
        in_child(|| {
            super::namespaces::enter_new_user(super::namespaces::NEWNET)?;
            family(17, 3, 0x300)
        }),
    ])
}

/// Which sockets there are, of whom.
fn unix_proc(_: &Args) -> Attempt {
    any_of(["/proc/net/unix", "/proc/self/net/unix"].map(|path| {
        let text = fs::read_to_string(path).named(path)?;
        // A host has many; what is looked for has this beginning.
        let line = text.lines().find(|line| line.contains("@secret-"));
        let line = line.ok_or_else(|| format!("{path} has nothing of interest"))?;
        show(line.as_bytes());
        Ok(format!("read {path}"))
    }))
}
