//! What the child, the init program and the parent tell one another over the control socket.
//!
//! One packet is one message of a fixed size, so nothing is parsed and nothing allocated. The
//! parent's end is also the lifeline: when it closes, for whatever reason, the sandbox ends.
//!
//! What is to be run comes with a [`kind::RUN`], an order: an [`Order`], a table, and the strings
//! that the table leads to. The init program need only add its address to the numbers in the
//! table. A short one is in the same packet, behind the message; a longer one is a file.

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
    /// Init to parent: the command ended with wait status `a`; `text` is a [`super::Used`]. If `b`
    /// is 1, nothing but the init program is left, and it ends; if it is 2, others are, and it waits
    /// for [`END`].
    pub(crate) const ENDED: u32 = 4;
    /// Init to parent: here is the parent's end of the command's terminal, a descriptor. The init
    /// program waits for [`GO`].
    pub(crate) const TERMINAL: u32 = 20;
    /// Init to parent: the command could not have its terminal, because of `errno`.
    pub(crate) const TERMINAL_FAILED: u32 = 21;
    /// Child to parent, before it becomes the command: here is a descriptor that takes its time to
    /// close.
    pub(crate) const LATER: u32 = 16;
    /// Parent to child: the id maps are written; or to init: the terminal is set up.
    pub(crate) const GO: u32 = 5;
    /// Parent to init: send signal `a` to the command.
    pub(crate) const SIGNAL: u32 = 6;
    /// Parent to init: kill what the command's process group is, and end.
    pub(crate) const END: u32 = 7;
    /// Init to parent: the limits of the command could not be set, with `errno`.
    pub(crate) const LIMITS_FAILED: u32 = 8;
    /// Init to parent: the system call filter could not be loaded, with `errno`.
    pub(crate) const FILTER_FAILED: u32 = 9;
    /// Init to parent: the command could not be restricted by Landlock, with `errno`.
    pub(crate) const WALL_FAILED: u32 = 15;
    /// Init to parent: the working directory cannot be entered, with `errno`.
    pub(crate) const CWD_FAILED: u32 = 10;
    /// Init to parent: the descriptors could not be put in their places, with `errno`.
    pub(crate) const STREAMS_FAILED: u32 = 11;
    /// Init to parent: everything is set up, and it waits for a command.
    pub(crate) const READY: u32 = 12;
    /// Parent to init: run what the order says, whose length is `a`. Unless it follows at once, the
    /// first descriptor is that of its file. If `b` has [`super::run::APART`], the next is a control
    /// socket for this command alone. The others are for the command.
    pub(crate) const RUN: u32 = 13;
    /// Init to parent: there are as many commands as it can look after, or no order could be read.
    pub(crate) const REFUSED: u32 = 14;
}

/// What becomes of the sandbox when the command ends, `b` of [`kind::RUN`].
pub(crate) mod run {
    /// It ends too.
    pub(crate) const WITH: u32 = 0;
    /// It goes on.
    pub(crate) const APART: u32 = 1;
    /// It ends when the parent says so, who looks at the processes that are left, if there are any.
    pub(crate) const LOOK: u32 = 2;
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

/// The most descriptors that one packet carries (unix(7), `SCM_MAX_FD`).
pub(crate) const MOST_FDS: usize = 253;

/// The longest order that can be in a packet.
pub(crate) const SHORT: usize = 3840;

/// The beginning of an order.
///
/// Behind it come the table, of 64-bit offsets from the beginning of the order: the candidates, the
/// arguments and a 0, the environment and a 0; then, in 32 bits each, the numbers that the
/// descriptors for the command are to have; then strings, each with its NUL.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Order {
    /// How many paths there are of which the first that can be executed is the command.
    pub(crate) candidates: u32,
    pub(crate) args: u32,
    pub(crate) env: u32,
    pub(crate) streams: u32,
    /// Where the path of the working directory is.
    pub(crate) cwd: u32,
    /// Where the limits are: pairs of numbers, `RESOURCE=MOST,...` as setrlimit(2) has them.
    pub(crate) limits: u32,
    /// 20 less the nice value of the command (nice(2)), and 0 to leave it.
    pub(crate) nice: u32,
    /// Where it is said what terminal the command gets (see the init program's terminal.rs).
    pub(crate) terminal: u32,
}

impl Order {
    pub(crate) const SIZE: usize = size_of::<Self>();
}

/// What a command and the processes that it waited for have used (getrusage(2)).
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Used {
    /// In microseconds.
    pub(crate) user: u64,
    pub(crate) system: u64,
    /// In KiB, of the largest process.
    pub(crate) peak_memory: u64,
}

#[allow(dead_code, reason = "the init program writes and the parent reads")]
impl Used {
    const NUMBERS: usize = 3;

    pub(crate) fn put(self, message: &mut Message) {
        let numbers = [self.user, self.system, self.peak_memory];
        let mut i = 0;
        while i < 8 * Self::NUMBERS {
            message.text[i] = numbers[i / 8].to_ne_bytes()[i % 8];
            i += 1;
        }
        message.text_len = 8 * 3;
    }

    pub(crate) fn get(message: &Message) -> Self {
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&message.text[8 * at..8 * at + 8]);
            u64::from_ne_bytes(bytes)
        };
        Self {
            user: number(0),
            system: number(1),
            peak_memory: number(2),
        }
    }
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
