//! Descriptors in a packet (unix(7), `SCM_RIGHTS`).
//!
//! `core` alone: the init program sends and takes them, and a child that becomes the command sends
//! one.

use super::raw::{self, Errno, Fd, arg, nr};
use super::wire::Message;

/// `struct cmsghdr` for descriptors, and room for `N` of them (cmsg(3)).
#[repr(C)]
pub(crate) struct Ancillary<const N: usize> {
    pub(crate) len: usize,
    pub(crate) level: i32,
    pub(crate) kind: i32,
    pub(crate) fds: [Fd; N],
}

pub(crate) const SOL_SOCKET: i32 = 1;
pub(crate) const SCM_RIGHTS: i32 = 1;

/// `struct msghdr` (recvmsg(2)).
#[repr(C)]
pub(crate) struct Header {
    name: usize,
    name_len: u32,
    vectors: *mut Vector,
    vector_count: usize,
    control: usize,
    pub(crate) control_len: usize,
    flags: i32,
}

impl Header {
    /// Of one vector, and of what comes beside it.
    pub(crate) fn new<const N: usize>(vector: *mut Vector, ancillary: *mut Ancillary<N>) -> Self {
        Self {
            name: 0,
            name_len: 0,
            vectors: vector,
            vector_count: 1,
            control: ancillary as usize,
            control_len: size_of::<Ancillary<N>>(),
            flags: 0,
        }
    }
}

#[repr(C)]
pub(crate) struct Vector {
    pub(crate) base: *mut u8,
    pub(crate) len: usize,
}

/// Sends `message` and a descriptor.
pub(crate) fn send_with(control: Fd, message: &Message, fd: Fd) -> Result<(), Errno> {
    const MSG_NOSIGNAL: usize = 0x4000;
    let bytes = message.bytes();
    let mut vector = Vector {
        base: bytes.as_ptr().cast_mut(),
        len: bytes.len(),
    };
    // The length is without the padding at the end (cmsg(3)).
    let len = core::mem::offset_of!(Ancillary<1>, fds) + size_of::<Fd>();
    let mut rights = Ancillary {
        len,
        level: SOL_SOCKET,
        kind: SCM_RIGHTS,
        fds: [fd],
    };
    let header = Header::new(&raw mut vector, &raw mut rights);
    let args = [
        arg(control),
        &raw const header as usize,
        MSG_NOSIGNAL,
        0,
        0,
        0,
    ];
    // SAFETY: the structures have the layout of the kernel's on 64-bit systems, and all of them
    // and the message are live for the call, which only reads them.
    unsafe { raw::call(nr::SENDMSG, args) }.map(drop)
}
