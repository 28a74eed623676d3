use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and a processor, in the words of OCI (those of Go).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Such as `linux`.
    pub os: String,
    /// Such as `amd64` or `arm64`.
    #[serde(rename = "architecture")]
    pub arch: String,
    /// Such as `v7`, of arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// The text is no `OS/ARCHITECTURE[/VARIANT]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no platform such as linux/amd64")]
pub struct PlatformError(String);

impl Platform {
    /// Linux on this machine's processor.
    #[must_use]
    pub fn host() -> Self {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            // The only ones of these for which there are images.
            "powerpc64" => "ppc64le",
            "mips64" => "mips64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self {
            os: "linux".to_owned(),
            arch: arch.to_owned(),
            variant: None,
        }
    }

    /// Whether something for `other` runs where this was asked for. A variant counts if both say
    /// one.
    #[must_use]
    pub fn takes(&self, other: &Self) -> bool {
        let variant = match (&self.variant, &other.variant) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        self.os == other.os && self.arch == other.arch && variant
    }

    /// From the labels of an App Container image, which has other words for some.
    pub(crate) fn of_app_container(os: &str, arch: &str) -> Self {
        let (arch, variant) = match arch {
            "i386" => ("386", None),
            "aarch64" => ("arm64", None),
            "armv6l" => ("arm", Some("v6")),
            "armv7l" => ("arm", Some("v7")),
            "x86_64" => ("amd64", None),
            other => (other, None),
        };
        Self {
            os: os.to_owned(),
            arch: arch.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, arch, variant) = match parts[..] {
            [os, arch] => (os, arch, None),
            [os, arch, variant] => (os, arch, Some(variant)),
            _ => return Err(PlatformError(text.to_owned())),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(PlatformError(text.to_owned()));
        }
        Ok(Self {
            os: os.to_owned(),
            arch: arch.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        self.variant.iter().try_for_each(|v| write!(f, "/{v}"))
    }
}
