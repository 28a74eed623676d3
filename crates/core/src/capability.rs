use std::fmt;

use sandboxlib_config::{Capabilities, Config, Ids};

/// A set of capabilities (capabilities(7)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CapSet(u64);

/// A word that names no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {word:?}")]
pub struct UnknownCapability {
    /// The word as it was given.
    pub word: String,
}

/// The names in the order of their numbers in linux/capability.h.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

const fn bit(number: u32) -> u64 {
    1 << number
}

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// `CAP_DAC_OVERRIDE`: file permissions do not count.
    pub const DAC_OVERRIDE: Self = Self(bit(1));
    /// `CAP_SETGID`.
    pub const SETGID: Self = Self(bit(6));
    /// `CAP_SETUID`.
    pub const SETUID: Self = Self(bit(7));
    /// `CAP_SYS_CHROOT`.
    pub const SYS_CHROOT: Self = Self(bit(18));
    /// `CAP_SYS_ADMIN`.
    pub const SYS_ADMIN: Self = Self(bit(21));
    /// What makes root's file operations work, and nothing that reaches beyond the sandbox:
    /// chown, dac_override, fowner, fsetid, kill, setgid, setuid. dac_read_search is not among
    /// them, because it opens files by handle, wherever they are.
    pub const FILES: Self = Self(bit(0) | bit(1) | bit(3) | bit(4) | bit(5) | bit(6) | bit(7));

    /// The set with these bits, numbered as in linux/capability.h.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, numbered as in linux/capability.h.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether every capability of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The capabilities of this set that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set of the capabilities named: `CAP_CHOWN`, `cap_chown` or `chown`.
    ///
    /// # Errors
    /// [`UnknownCapability`] at the first word that is no capability.
    pub fn from_names<S: AsRef<str>>(
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self, UnknownCapability> {
        let mut bits = 0;
        for name in names {
            let word = name.as_ref();
            let lower = word.to_ascii_lowercase();
            let short = lower.strip_prefix("cap_").unwrap_or(&lower);
            match NAMES.iter().zip(0u32..).find(|(known, _)| **known == short) {
                Some((_, number)) => bits |= bit(number),
                None => {
                    return Err(UnknownCapability {
                        word: word.to_owned(),
                    });
                }
            }
        }
        Ok(Self(bits))
    }

    /// The capabilities that `config` leaves the command, where `masks` says whether a path is
    /// masked: the rule of [`Capabilities`].
    ///
    /// # Errors
    /// [`UnknownCapability`] at the first word that is no capability.
    pub fn kept(config: &Config, masks: bool) -> Result<Self, UnknownCapability> {
        let root_named = matches!(
            config.ids,
            Ids::Pair { uid: 0, .. } | Ids::Subordinate { uid: 0, .. }
        );
        match &config.capabilities {
            Capabilities::Only(names) => Self::from_names(names),
            _ if !root_named => Ok(Self::EMPTY),
            _ if masks => Ok(Self::FILES.without(Self::DAC_OVERRIDE)),
            _ => Ok(Self::FILES),
        }
    }

    /// The names, such as `CAP_CHOWN`, in the order of their numbers. A capability newer than
    /// this table has none.
    pub fn names(self) -> impl Iterator<Item = String> {
        NAMES
            .iter()
            .zip(0u32..)
            .filter(move |(_, n)| self.0 & bit(*n) != 0)
            .map(|(name, _)| format!("CAP_{}", name.to_ascii_uppercase()))
    }
}

impl fmt::Debug for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let all = CapSet::from_bits((1 << 41) - 1);
        assert_eq!(CapSet::from_names(all.names()).unwrap(), all);
        assert_eq!(
            CapSet::from_names(["sys_admin"]).unwrap(),
            CapSet::SYS_ADMIN
        );
        assert_eq!(
            CapSet::from_names(["CAP_SYS_CHROOT"]).unwrap(),
            CapSet::SYS_CHROOT
        );
        assert_eq!(CapSet::from_names(["cap_foo"]).unwrap_err().word, "cap_foo");
    }

    #[test]
    fn root_file_powers_do_not_reach_out() {
        for name in [
            "dac_read_search",
            "sys_chroot",
            "mknod",
            "sys_admin",
            "sys_ptrace",
        ] {
            assert!(
                !CapSet::FILES.contains(CapSet::from_names([name]).unwrap()),
                "{name}"
            );
        }
    }
}
