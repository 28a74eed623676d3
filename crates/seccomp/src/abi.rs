//! The ABIs of each architecture, and the numbers that their calls have.

use std::collections::BTreeSet;

use syscalls::{aarch64, arm, x86, x86_64};

use crate::alias::{MULTIPLEXERS, usual};

/// An architecture of machines, with all the ABIs that its kernel serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Arch {
    /// x86-64, with i386. x32 has the calls of x86-64 under numbers of its own, which are all
    /// closed.
    X86_64,
    /// 64-bit ARM, with the 32-bit ABI.
    Aarch64,
}

impl Arch {
    /// The architecture with this name, as in `std::env::consts::ARCH`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// Every call of its ABIs but those of these names, and those that do the same under another
    /// name. Calls that stand for others (socketcall, ipc) are left out: what is said of the
    /// others is said of them.
    #[must_use]
    pub fn calls_but(self, names: &[impl AsRef<str>]) -> Vec<&'static str> {
        let kept: BTreeSet<&str> = names.iter().map(|name| usual(name.as_ref())).collect();
        let calls = self.abis().into_iter().flat_map(Abi::calls);
        let others: BTreeSet<&'static str> = calls
            .map(|(_, name)| name)
            .filter(|name| !kept.contains(usual(name)))
            .filter(|name| !MULTIPLEXERS.iter().any(|m| m.name == *name))
            .collect();
        others.into_iter().collect()
    }

    /// Whether some architecture has a call of this name.
    #[must_use]
    pub fn any_has(name: &str) -> bool {
        is_known(name)
    }

    /// Its ABIs, the one of most programs first.
    pub(crate) fn abis(self) -> [&'static Abi; 2] {
        match self {
            Self::X86_64 => [&X86_64, &I386],
            Self::Aarch64 => [&AARCH64, &ARM],
        }
    }
}

/// A set of numbers for system calls.
#[derive(Debug)]
pub(crate) struct Abi {
    /// How the kernel names it to a filter (`AUDIT_ARCH_` in linux/audit.h).
    pub(crate) audit: u32,
    /// The name of the call with this number.
    name: fn(usize) -> Option<&'static str>,
    /// The number of the last call.
    last: i32,
    /// Calls that the tables leave out: 32-bit ARM has some far beyond the others.
    extra: &'static [(u32, &'static str)],
}

const X86_64: Abi = Abi {
    audit: 0xc000_003e,
    name: |n| x86_64::Sysno::new(n).map(|call| call.name()),
    last: x86_64::Sysno::last().id(),
    extra: &[],
};

const I386: Abi = Abi {
    audit: 0x4000_0003,
    name: |n| x86::Sysno::new(n).map(|call| call.name()),
    last: x86::Sysno::last().id(),
    extra: &[],
};

const AARCH64: Abi = Abi {
    audit: 0xc000_00b7,
    name: |n| aarch64::Sysno::new(n).map(|call| call.name()),
    last: aarch64::Sysno::last().id(),
    extra: &[],
};

const ARM: Abi = Abi {
    audit: 0x4000_0028,
    name: |n| arm::Sysno::new(n).map(|call| call.name()),
    last: arm::Sysno::last().id(),
    extra: &[
        (0xf0001, "breakpoint"),
        (0xf0002, "cacheflush"),
        (0xf0005, "set_tls"),
    ],
};

impl Abi {
    /// Every call, in the order of the numbers.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (u32, &'static str)> {
        (0..=u32::try_from(self.last).unwrap_or(0))
            .filter_map(|n| (self.name)(n as usize).map(|name| (n, plain(name))))
            .chain(self.extra.iter().copied())
    }
}

/// The table writes a name that is a word of Rust as one that is none.
fn plain(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// Whether some architecture has a call of this name.
pub(crate) fn is_known(name: &str) -> bool {
    [&X86_64, &I386, &AARCH64, &ARM]
        .iter()
        .any(|abi| abi.calls().any(|(_, known)| known == name))
}
