//! Sizes, counts and what else has a number or a word of its own.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::super::{parse_count, parse_permissions, parse_size, parse_size_or_none};
use super::FromText;
use crate::ControlGroups;

pub(super) struct Size(pub(super) u64);

impl FromText for Size {
    const WHAT: &'static str = "a size such as \"64M\"";
    fn from_text(text: &str) -> Result<Self, String> {
        parse_size(text).map(Self).map_err(|e| e.0)
    }
    fn from_number(bytes: &str) -> Option<Result<Self, String>> {
        Some(Self::from_text(bytes))
    }
}

/// A size that may be 0.
pub(super) struct SizeOrNone(pub(super) u64);

impl FromText for SizeOrNone {
    const WHAT: &'static str = "a size such as \"64M\", or 0";
    fn from_text(text: &str) -> Result<Self, String> {
        parse_size_or_none(text).map(Self).map_err(|e| e.0)
    }
    fn from_number(bytes: &str) -> Option<Result<Self, String>> {
        Some(Self::from_text(bytes))
    }
}

pub(super) struct Count(pub(super) u64);

impl FromText for Count {
    const WHAT: &'static str = "a number from 1 up";
    fn from_text(text: &str) -> Result<Self, String> {
        parse_count(text).map(Self).map_err(|e| e.0)
    }
    fn from_number(n: &str) -> Option<Result<Self, String>> {
        Some(Self::from_text(n))
    }
}

impl FromText for ControlGroups {
    const WHAT: &'static str = "\"auto\", \"none\" or a path of the host";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            path => PathBuf::from_text(path).map(Self::Below),
        }
    }
}

pub(super) struct Permissions(pub(super) u32);

impl FromText for Permissions {
    const WHAT: &'static str = "octal permissions as a string, such as \"1777\"";
    fn from_text(text: &str) -> Result<Self, String> {
        parse_permissions(text).map(Self).map_err(|e| e.0)
    }
}

/// A number that can be a uid or gid: (uid_t) -1 stands for "none" in system calls.
pub(super) struct Id(pub(super) u32);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id from 0 to 4294967294")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Id, E> {
                match u32::try_from(n) {
                    Ok(id) if id != u32::MAX => Ok(Id(id)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(n), &self)),
                }
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Id, E> {
                match u32::try_from(n) {
                    Ok(id) if id != u32::MAX => Ok(Id(id)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(n), &self)),
                }
            }
        }
        deserializer.deserialize_any(V)
    }
}
