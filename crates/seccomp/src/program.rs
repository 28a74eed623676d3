use crate::Arch;

/// `SECCOMP_RET_ALLOW`.
const ALLOW: u32 = 0x7fff_0000;

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

    /// Whether a program of the machine's own ABI is let make the call with this number. Of the
    /// arguments those are given that are known; if it depends on another one, it is not certain
    /// to be let through.
    #[must_use]
    pub fn allows(&self, arch: Arch, number: u32, arguments: [Option<u64>; 6]) -> bool {
        let [abi, ..] = arch.abis();
        let word = |offset: u32| match offset {
            0 => Some(number),
            4 => Some(abi.audit),
            _ => {
                let at = (offset.checked_sub(16)? / 4) as usize;
                let whole = arguments.get(at / 2).copied()??;
                let half = whole >> (32 * (at % 2));
                u32::try_from(half & 0xffff_ffff).ok()
            }
        };
        self.answer(word) == Some(ALLOW)
    }

    /// What comes of it where `word` tells what `struct seccomp_data` has at an offset; nothing if
    /// it does not know.
    fn answer(&self, word: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        let (mut at, mut loaded) = (0usize, 0);
        loop {
            let Instruction { code, jt, jf, k } = *self.0.get(at)?;
            at += 1;
            let taken = match code {
                0x20 => {
                    loaded = word(k)?;
                    continue;
                }
                0x54 => {
                    loaded &= k;
                    continue;
                }
                0x05 => {
                    at = at.checked_add(k as usize)?;
                    continue;
                }
                0x15 => loaded == k,
                0x25 => loaded > k,
                0x35 => loaded >= k,
                0x45 => loaded & k != 0,
                0x06 => return Some(k),
                _ => return None,
            };
            at += usize::from(if taken { jt } else { jf });
        }
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
