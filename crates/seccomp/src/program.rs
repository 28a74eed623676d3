/// One instruction of a filter: `struct sock_filter` of linux/filter.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions are passed over if a comparison is true.
    pub jt: u8,
    /// How many if it is false.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

impl Instruction {
    /// Loads the word at this place of `struct seccomp_data`.
    pub(crate) const fn load(offset: u32) -> Self {
        Self::with(0x20, 0, 0, offset)
    }

    /// Ends with this answer.
    pub(crate) const fn answer(value: u32) -> Self {
        Self::with(0x06, 0, 0, value)
    }

    /// Passes over so many instructions.
    pub(crate) const fn jump(over: u32) -> Self {
        Self::with(0x05, 0, 0, over)
    }

    /// Passes over `jt` instructions if the word is `k`, else over `jf`.
    pub(crate) const fn if_equal(k: u32, jt: u8, jf: u8) -> Self {
        Self::with(0x15, jt, jf, k)
    }

    /// The same if the word is `k` or more.
    pub(crate) const fn if_at_least(k: u32, jt: u8, jf: u8) -> Self {
        Self::with(0x35, jt, jf, k)
    }

    /// The same if some bits of `k` are set in the word.
    pub(crate) const fn if_any_bit(k: u32, jt: u8, jf: u8) -> Self {
        Self::with(0x45, jt, jf, k)
    }

    const fn with(code: u16, jt: u8, jf: u8, k: u32) -> Self {
        Self { code, jt, jf, k }
    }
}

/// A filter that the kernel can load (seccomp(2), `SECCOMP_SET_MODE_FILTER`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// The most instructions that the kernel takes (`BPF_MAXINSNS`).
    pub const MOST: usize = 4096;

    pub(crate) fn new(instructions: Vec<Instruction>) -> Self {
        Self(instructions)
    }

    /// The instructions.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// The instructions as an array of `struct sock_filter`, in the byte order of this machine:
    /// what `bwrap --seccomp` reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * size_of::<Instruction>());
        for Instruction { code, jt, jf, k } in &self.0 {
            bytes.extend(code.to_ne_bytes());
            bytes.extend([*jt, *jf]);
            bytes.extend(k.to_ne_bytes());
        }
        bytes
    }
}
