//! Taking orders: a message, the descriptors that came with it, and the command, which stands in
//! the same packet or in a file.

use core::marker::PhantomData;
use core::ptr;

use super::pass::{Ancillary, Header, SCM_RIGHTS, SOL_SOCKET, Vector};
use super::raw::{self, Errno, Fd, arg, nr};
use super::wire::{MOST_FDS, Message, Order, SHORT};

/// The descriptors that came with a message. What was not taken out is closed.
pub(crate) struct Fds {
    list: [Fd; MOST_FDS],
    /// The first that was not taken, and the end.
    next: usize,
    len: usize,
}

impl Fds {
    pub(crate) fn take(&mut self) -> Option<Fd> {
        let fd = *self.list.get(self.next).filter(|_| self.next < self.len)?;
        self.next += 1;
        Some(fd)
    }

    /// Those that are left, which stay here.
    pub(crate) fn rest(&self) -> &[Fd] {
        self.list.get(self.next..self.len).unwrap_or(&[])
    }
}

impl Drop for Fds {
    fn drop(&mut self) {
        while let Some(fd) = self.take() {
            raw::close(fd);
        }
    }
}

/// Room for a packet: a message, and maybe a short order behind it.
#[repr(C, align(8))]
pub(crate) struct Packet {
    message: Message,
    order: [u8; SHORT],
    /// How much of the order there is.
    len: usize,
}

// An order begins at a multiple of what its numbers are aligned to.
const _: () = assert!(core::mem::offset_of!(Packet, order).is_multiple_of(8));

impl Packet {
    pub(crate) const fn new() -> Self {
        Self { message: Message::new(0), order: [0; SHORT], len: 0 }
    }

    /// Whether the order is in it.
    pub(crate) fn has_order(&self) -> bool {
        self.len > 0
    }
}

/// Puts the next packet into `packet`, and gives its message and what came with it; `None` if the
/// other end is closed, or talks nonsense.
pub(crate) fn next(control: Fd, packet: &mut Packet) -> Option<(Message, Fds)> {
    const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
    const EINTR: Errno = 4;
    let mut vector = Vector { base: ptr::from_mut(packet).cast(), len: Message::SIZE + SHORT };
    let mut ancillary = Ancillary { len: 0, level: 0, kind: 0, fds: [0; MOST_FDS] };
    let mut header = Header::new(&raw mut vector, &raw mut ancillary);
    let got = loop {
        let args = [arg(control), &raw mut header as usize, MSG_CMSG_CLOEXEC, 0, 0, 0];
        // SAFETY: the header leads to live memory of the lengths that it gives.
        let got = unsafe { raw::call(nr::RECVMSG, args) };
        if got != Err(EINTR) {
            break got;
        }
    };
    let mut fds = Fds { list: [0; MOST_FDS], next: 0, len: 0 };
    let fixed = core::mem::offset_of!(Ancillary<MOST_FDS>, fds);
    if header.control_len >= fixed && ancillary.level == SOL_SOCKET && ancillary.kind == SCM_RIGHTS {
        let len = ancillary.len.saturating_sub(fixed) / size_of::<Fd>();
        fds.len = if len < MOST_FDS { len } else { MOST_FDS };
        fds.list = ancillary.fds;
    }
    packet.len = got.unwrap_or(0).checked_sub(Message::SIZE)?;
    Some((packet.message, fds))
}

/// An order that can be read for as long as this lives.
pub(crate) struct Placed<'a> {
    at: *mut u8,
    len: usize,
    /// Whether it is a mapping, which ends with this.
    is_mapping: bool,
    packet: PhantomData<&'a mut Packet>,
}

impl<'a> Placed<'a> {
    /// The order that came in `packet`.
    pub(crate) fn within(packet: &'a mut Packet) -> Result<Self, Errno> {
        let at = packet.order.as_mut_ptr();
        Self { at, len: packet.len, is_mapping: false, packet: PhantomData }.ready()
    }

    /// The order in the file `fd`, of `len` bytes.
    pub(crate) fn map(fd: Fd, len: usize) -> Result<Self, Errno> {
        const READ_WRITE: usize = 1 | 2;
        const MAP_PRIVATE: usize = 2;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at = unsafe { raw::call(nr::MMAP, [0, len, READ_WRITE, MAP_PRIVATE, arg(fd), 0]) }?;
        Self { at: at as *mut u8, len, is_mapping: true, packet: PhantomData }.ready()
    }

    /// Makes pointers of the offsets in its table. What is in it comes from the library that this
    /// program is part of, and is as [`Order`] says.
    fn ready(self) -> Result<Self, Errno> {
        const EINVAL: Errno = 22;
        if self.len < Order::SIZE {
            return Err(EINVAL);
        }
        let count = self.table_len();
        if Order::SIZE + 8 * count + 4 * self.head().streams as usize > self.len {
            return Err(EINVAL);
        }
        let table = self.table();
        let mut i = 0;
        while i < count {
            // SAFETY: i is below the table's length, which lies within the order, see above; an
            // offset that is not 0 leads into it.
            unsafe {
                let entry = table.add(i);
                if *entry != 0 {
                    *entry += self.at as usize;
                }
            }
            i += 1;
        }
        Ok(self)
    }

    fn head(&self) -> Order {
        // SAFETY: the order is at least as long, and begins at a page or behind a message in a
        // packet, both multiples of 8; any bits are an Order.
        unsafe { *self.at.cast::<Order>() }
    }

    fn table_len(&self) -> usize {
        let Order { candidates, args, env, .. } = self.head();
        candidates as usize + args as usize + env as usize + 2
    }

    fn table(&self) -> *mut usize {
        // SAFETY: at the end of the head, which is within the order, or just behind it.
        unsafe { self.at.add(Order::SIZE).cast() }
    }

    /// The candidates, and how many.
    pub(crate) fn candidates(&self) -> (*const *const u8, usize) {
        (self.table() as *const *const u8, self.head().candidates as usize)
    }

    /// The arguments, with a null behind them.
    pub(crate) fn argv(&self) -> *const *const u8 {
        // SAFETY: within the table.
        unsafe { self.table().add(self.head().candidates as usize) as *const *const u8 }
    }

    /// The environment, with a null behind it.
    pub(crate) fn envp(&self) -> *const *const u8 {
        let Order { candidates, args, .. } = self.head();
        // SAFETY: within the table.
        unsafe { self.table().add(candidates as usize + args as usize + 1) as *const *const u8 }
    }

    /// The numbers that the descriptors are to have.
    pub(crate) fn targets(&self) -> &[Fd] {
        // SAFETY: `ready` has made sure that they lie within the order, which lives as long.
        unsafe {
            let at = self.table().add(self.table_len()).cast::<Fd>();
            core::slice::from_raw_parts(at, self.head().streams as usize)
        }
    }

    /// The path of the working directory.
    pub(crate) fn cwd(&self) -> *const u8 {
        self.text(self.head().cwd)
    }

    /// The limits (setrlimit(2)).
    pub(crate) fn limits(&self) -> *const u8 {
        self.text(self.head().limits)
    }

    /// What terminal the command gets.
    pub(crate) fn terminal(&self) -> *const u8 {
        self.text(self.head().terminal)
    }

    pub(crate) fn nice(&self) -> usize {
        self.head().nice as usize
    }

    fn text(&self, offset: u32) -> *const u8 {
        if offset as usize >= self.len {
            return c"".as_ptr().cast();
        }
        // SAFETY: within the order.
        unsafe { self.at.add(offset as usize) }
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        if !self.is_mapping {
            return;
        }
        // SAFETY: the mapping that was made in `map`; nothing refers to it without this.
        let _ = unsafe { raw::call(nr::MUNMAP, [self.at as usize, self.len, 0, 0, 0, 0]) };
    }
}
