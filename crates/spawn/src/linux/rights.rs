//! Messages with descriptors on unix sockets (unix(7), SCM_RIGHTS), and who is at the other end.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use super::wire::MOST_FDS;

/// Sends `bytes` and descriptors on a stream, and tells how many bytes were taken; the descriptors
/// go with the first. At most 253 can be sent at a time.
///
/// # Errors
/// What the operating system says; `InvalidInput` for too many descriptors.
pub fn send_with_fds(
    stream: &UnixStream,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let fds: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    if fds.len() > MOST_FDS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    send(stream.as_raw_fd(), bytes, &fds)
}

/// The space for `count` descriptors, in elements of 8 bytes, so that it is aligned for the header
/// at its beginning; and in bytes.
fn room(count: usize) -> (Vec<u64>, libc::c_uint) {
    let len = u32::try_from(count * size_of::<RawFd>()).unwrap_or(u32::MAX);
    // SAFETY: computes a length from a length.
    let space = unsafe { libc::CMSG_SPACE(len) };
    (vec![0u64; (space as usize).div_ceil(8)], space)
}

/// Sends a message, with descriptors if there are any.
pub(super) fn send(socket: RawFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    let len = size_of_val(fds);
    let (mut room, space) = room(fds.len());
    let mut vector = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    if !fds.is_empty() {
        header.msg_control = room.as_mut_ptr().cast();
        header.msg_controllen = space as _;
        // SAFETY: the control buffer is as long as CMSG_SPACE says and aligned, so its first
        // header exists and has room for the descriptors behind it.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(u32::try_from(len).unwrap_or(u32::MAX)) as _;
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(first), len);
        }
    }
    loop {
        // SAFETY: the header leads to live memory of the lengths that it gives.
        let sent = unsafe { libc::sendmsg(socket, &raw const header, libc::MSG_NOSIGNAL) };
        match (usize::try_from(sent), io::Error::last_os_error()) {
            (Ok(sent), _) => return Ok(sent),
            (_, e) if e.kind() == io::ErrorKind::Interrupted => {}
            (_, e) => return Err(e),
        }
    }
}

/// Receives what is there, up to the length of `bytes`, and the descriptors that come with it, all
/// closed on exec. 0 bytes are the end.
///
/// # Errors
/// What the operating system says; `InvalidData` if there are more than `most` descriptors, which
/// are closed.
pub fn receive_with_fds(
    stream: &UnixStream,
    bytes: &mut [u8],
    most: usize,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    receive(stream.as_raw_fd(), bytes, most, 0)
}

/// Receives a message with more `flags` (recvmsg(2)) than the one that closes descriptors on exec,
/// and the descriptors that come with it.
pub(super) fn receive(
    socket: RawFd,
    bytes: &mut [u8],
    most: usize,
    flags: libc::c_int,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let (mut room, space) = room(most.min(MOST_FDS));
    let mut vector = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = room.as_mut_ptr().cast();
    header.msg_controllen = space as _;
    let got = loop {
        let flags = flags | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the header leads to live memory of the lengths that it gives.
        let got = unsafe { libc::recvmsg(socket, &raw mut header, flags) };
        match (usize::try_from(got), io::Error::last_os_error()) {
            (Ok(got), _) => break got,
            (_, e) if e.kind() == io::ErrorKind::Interrupted => {}
            (_, e) => return Err(e),
        }
    };
    let mut fds = Vec::new();
    // SAFETY: the kernel has filled the control buffer in, and set its length; each header that
    // these macros lead to is inside, and aligned.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !at.is_null() {
        // SAFETY: as above.
        let control = unsafe { *at };
        if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: computes a length from a length.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            #[allow(
                clippy::unnecessary_cast,
                reason = "the length has another type with some C libraries"
            )]
            let len = (control.cmsg_len as usize).saturating_sub(head);
            for i in 0..len / size_of::<RawFd>() {
                // SAFETY: the message has this many descriptors behind its header. The kernel has
                // just made them, and nobody else knows them.
                fds.push(unsafe {
                    let first = libc::CMSG_DATA(at).cast::<RawFd>();
                    OwnedFd::from_raw_fd(first.add(i).read_unaligned())
                });
            }
        }
        // SAFETY: as above.
        at = unsafe { libc::CMSG_NXTHDR(&raw const header, at) };
    }
    // What did not fit was closed by the kernel. Because of padding one more than asked for may.
    if header.msg_flags & libc::MSG_CTRUNC != 0 || fds.len() > most {
        let why = format!("more than {most} descriptors came with a message");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok((got, fds))
}

/// The user id of the one who connected to the other end of `stream`, or listened there, at the
/// time when that was done (SO_PEERCRED).
///
/// # Errors
/// What the operating system says.
pub fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut len = libc::socklen_t::try_from(size_of_val(&peer)).unwrap_or(0);
    // SAFETY: the structure is live for the call and of the length given.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    match done {
        0 => Ok(peer.uid),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn descriptors_arrive_in_order_and_closed_on_exec() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut pipes = Vec::new();
        for text in ["one", "two", "three"] {
            let (read, mut write) = io::pipe().unwrap();
            write.write_all(text.as_bytes()).unwrap();
            pipes.push(read);
        }
        let fds: Vec<BorrowedFd<'_>> = pipes.iter().map(|pipe| pipe.as_fd()).collect();
        assert_eq!(send_with_fds(&ours, b"hello", &fds).unwrap(), 5);
        let mut bytes = [0; 16];
        let (got, fds) = receive_with_fds(&theirs, &mut bytes, 3).unwrap();
        assert_eq!(&bytes[..got], b"hello");
        drop(pipes);
        let texts = fds.into_iter().map(|fd| {
            // SAFETY: fcntl with numbers alone.
            let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
            assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
            let mut text = String::new();
            File::from(fd).read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!(texts.collect::<Vec<_>>(), ["one", "two", "three"]);
    }

    #[test]
    fn too_many_are_refused_and_none_are_none() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (read, mut write) = io::pipe().unwrap();
        for most in [0, 1, 2, 3] {
            send_with_fds(&ours, b"x", &vec![read.as_fd(); most + 1]).unwrap();
            let refused = receive_with_fds(&theirs, &mut [0; 4], most).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        }
        send_with_fds(&ours, b"x", &[]).unwrap();
        let (got, fds) = receive_with_fds(&theirs, &mut [0; 4], 0).unwrap();
        assert_eq!((got, fds.len()), (1, 0));
        // Nobody holds the ones that were refused.
        drop(read);
        assert_eq!(
            write.write_all(b"x").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
        drop(ours);
        assert_eq!(receive_with_fds(&theirs, &mut [0; 4], 0).unwrap().0, 0);
    }

    #[test]
    fn the_peer_is_this_user() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(peer_uid(&ours).unwrap(), crate::caller_ids().0);
    }
}
