//! Questions about the network.

use core::fmt::Write as _;

use crate::sys::{self, Errno, Fd};
use crate::value::Value;
use crate::{Answer, Args, EINVAL};

const AF_UNIX: usize = 1;
const AF_INET: usize = 2;
const SOCK_STREAM: usize = 1;
const SOCK_DGRAM: usize = 2;

/// struct sockaddr_in: family, port, address, padding.
fn local(port: u16) -> [u8; 16] {
    let mut address = [0; 16];
    let family = 2u16.to_ne_bytes();
    let bytes = family
        .into_iter()
        .chain(port.to_be_bytes())
        .chain([127, 0, 0, 1]);
    for (place, byte) in address.iter_mut().zip(bytes) {
        *place = byte;
    }
    address
}

fn socket(family: usize, kind: usize) -> Result<Fd, Errno> {
    sys::socket(family, kind).map(|fd| fd as Fd)
}

/// `connect PORT`: by TCP, to 127.0.0.1.
pub(crate) fn connect(args: &Args<'_>, _: &mut Value) -> Answer {
    let port = u16::try_from(args.number(0)?).map_err(|_| EINVAL)?;
    let fd = socket(AF_INET, SOCK_STREAM)?;
    let connected = sys::connect(fd, &local(port));
    let _ = sys::close(fd);
    connected.map(drop)
}

/// struct sockaddr_un of a local socket that is in no file system, and how much of it counts.
fn named(name: &[u8]) -> ([u8; 110], usize) {
    let mut address = [0; 110];
    let family = 1u16.to_ne_bytes();
    let bytes = family.into_iter().chain([0]).chain(name.iter().copied());
    let mut len = 0;
    for (place, byte) in address.iter_mut().zip(bytes) {
        *place = byte;
        len += 1;
    }
    (address, len)
}

/// `connect-abstract NAME`: to a local socket that is in no file system.
pub(crate) fn connect_abstract(args: &Args<'_>, _: &mut Value) -> Answer {
    let (address, len) = named(args.word(0)?.to_bytes());
    let fd = socket(AF_UNIX, SOCK_STREAM)?;
    let connected = sys::connect(fd, address.get(..len).unwrap_or_default());
    let _ = sys::close(fd);
    connected.map(drop)
}

/// `listen-abstract NAME`: makes such a socket, which is there for as long as the probe is.
pub(crate) fn listen_abstract(args: &Args<'_>, _: &mut Value) -> Answer {
    let (address, len) = named(args.word(0)?.to_bytes());
    let fd = socket(AF_UNIX, SOCK_STREAM)?;
    sys::bind(fd, address.get(..len).unwrap_or_default())?;
    sys::listen(fd).map(drop)
}

/// struct sockaddr_un of a local socket in a file system, and how much of it counts.
fn at_path(path: &[u8]) -> Result<([u8; 110], usize), Errno> {
    let mut address = [0; 110];
    let family = 1u16.to_ne_bytes();
    let len = family.len() + path.len() + 1;
    if len > address.len() {
        return Err(EINVAL);
    }
    let bytes = family.into_iter().chain(path.iter().copied());
    for (place, byte) in address.iter_mut().zip(bytes) {
        *place = byte;
    }
    Ok((address, len))
}

/// `connect-path PATH`: to a local socket.
pub(crate) fn connect_path(args: &Args<'_>, _: &mut Value) -> Answer {
    let (address, len) = at_path(args.word(0)?.to_bytes())?;
    let fd = socket(AF_UNIX, SOCK_STREAM)?;
    let connected = sys::connect(fd, address.get(..len).unwrap_or_default());
    let _ = sys::close(fd);
    connected.map(drop)
}

/// `listen-path PATH`: makes such a socket, which is answered for as long as the probe is there.
pub(crate) fn listen_path(args: &Args<'_>, _: &mut Value) -> Answer {
    let (address, len) = at_path(args.word(0)?.to_bytes())?;
    let fd = socket(AF_UNIX, SOCK_STREAM)?;
    sys::bind(fd, address.get(..len).unwrap_or_default())?;
    sys::listen(fd).map(drop)
}

/// `interfaces`: their names, in the order of their numbers.
pub(crate) fn interfaces(_: &Args<'_>, value: &mut Value) -> Answer {
    const SIOCGIFNAME: usize = 0x8910;
    let fd = socket(AF_INET, SOCK_DGRAM)?;
    for index in 1u32..512 {
        // struct ifreq: name of 16 bytes, then the number.
        let mut request = [0; 40];
        for (place, byte) in request.iter_mut().skip(16).zip(index.to_ne_bytes()) {
            *place = byte;
        }
        if sys::ioctl(fd, SIOCGIFNAME, &mut request).is_ok() {
            let name = request.get(..16).unwrap_or_default();
            value.separate(b' ');
            value.push(name.split(|byte| *byte == 0).next().unwrap_or_default());
        }
    }
    let _ = sys::close(fd);
    Ok(())
}

/// `loopback`: listens on 127.0.0.1 and connects to itself.
pub(crate) fn loopback(_: &Args<'_>, value: &mut Value) -> Answer {
    let listener = socket(AF_INET, SOCK_STREAM)?;
    sys::bind(listener, &local(0))?;
    sys::listen(listener)?;
    let mut address = [0; 16];
    sys::getsockname(listener, &mut address, &mut 0)?;
    let caller = socket(AF_INET, SOCK_STREAM)?;
    sys::connect(caller, &address)?;
    let _ = write!(value, "connected");
    Ok(())
}
