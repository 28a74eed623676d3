//! What the child, the init program and the parent tell one another over the control socket.
//!
//! One packet is one message of a fixed size, so nothing is parsed and nothing allocated. The
//! parent's end is also the lifeline: when it closes, for whatever reason, the sandbox ends.

/// A message. All fields are plain numbers, and every bit pattern of them is valid.
#[repr(C)]
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Message {
    /// Which message: one of the constants in [`kind`].
    pub(crate) kind: u32,
    /// An errno, where the message is about a failure.
    pub(crate) errno: i32,
    /// A number whose meaning depends on the kind.
    pub(crate) a: u32,
    /// Another one.
    pub(crate) b: u32,
    /// How many bytes of `text` count.
    pub(crate) text_len: u32,
    /// Bytes, such as the path of a missing interpreter.
    pub(crate) text: [u8; Message::TEXT],
}

/// The kinds of messages.
#[allow(dead_code, reason = "the init program sends some and the child others")]
pub(crate) mod kind {
    /// Child to parent: step `a` failed in call `b` with `errno`.
    pub(crate) const STEP_FAILED: u32 = 1;
    /// Child or init to parent: the command cannot be executed; `a` is one of
    /// [`super::problem`], `text` the path that is missing.
    pub(crate) const EXEC_FAILED: u32 = 2;
    /// Init to parent: the command runs and is process `a` inside.
    pub(crate) const STARTED: u32 = 3;
    /// Init to parent: the command ended with wait status `a`.
    pub(crate) const ENDED: u32 = 4;
    /// Init to parent: the system call filter could not be loaded, with `errno`.
    pub(crate) const FILTER_FAILED: u32 = 7;
    /// Init to parent: the limits of the command could not be set, with `errno`.
    pub(crate) const LIMITS_FAILED: u32 = 8;
    /// Init to parent: here is the parent's end of the command's terminal, a descriptor. The init
    /// program waits for [`GO`].
    pub(crate) const TERMINAL: u32 = 20;
    /// Init to parent: the command could not have its terminal, because of `errno`.
    pub(crate) const TERMINAL_FAILED: u32 = 21;
    /// Parent to child: the id maps are written; or to init: the terminal is set up.
    pub(crate) const GO: u32 = 5;
    /// Parent to init: send signal `a` to the command.
    pub(crate) const SIGNAL: u32 = 6;
    /// Parent to init: kill what the command's process group is, and end.
    pub(crate) const END: u32 = 7;
}

/// What is wrong with a command, `a` of [`kind::EXEC_FAILED`].
#[allow(
    dead_code,
    reason = "the parent reads them all, the init program makes some"
)]
pub(crate) mod problem {
    pub(crate) const OTHER: u32 = 0;
    pub(crate) const NOT_FOUND: u32 = 1;
    pub(crate) const NOT_EXECUTABLE: u32 = 2;
    pub(crate) const INTERPRETER_MISSING: u32 = 3;
    pub(crate) const LOADER_MISSING: u32 = 4;
    pub(crate) const BAD_FORMAT: u32 = 5;
    pub(crate) const TOO_LONG: u32 = 6;
}

impl Message {
    pub(crate) const TEXT: usize = 236;
    pub(crate) const SIZE: usize = size_of::<Self>();

    pub(crate) const fn new(kind: u32) -> Self {
        Self {
            kind,
            errno: 0,
            a: 0,
            b: 0,
            text_len: 0,
            text: [0; Self::TEXT],
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the struct is repr(C) of 4-byte numbers and bytes whose size is a multiple of
        // 4, so it has no padding and all of its SIZE bytes are initialised.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), Self::SIZE) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; and every bit pattern is a valid Message, so writing any bytes
        // leaves a valid one.
        unsafe { core::slice::from_raw_parts_mut(core::ptr::from_mut(self).cast(), Self::SIZE) }
    }
}
