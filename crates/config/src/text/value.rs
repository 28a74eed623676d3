use std::str::FromStr;
use std::time::Duration;

use super::{HostSecrets, Namespace};
use crate::Network;

/// A word that means nothing where it stands; the text says what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub(super) String);

impl FromStr for Namespace {
    type Err = ValueError;

    fn from_str(word: &str) -> Result<Self, ValueError> {
        Self::ALL
            .iter()
            .copied()
            .find(|ns| ns.name() == word)
            .ok_or_else(|| {
                let known: Vec<&str> = Self::ALL.iter().map(|ns| ns.name()).collect();
                ValueError(format!(
                    "unknown namespace {word:?}; known are: {}",
                    known.join(", ")
                ))
            })
    }
}

impl FromStr for Network {
    type Err = ValueError;

    fn from_str(word: &str) -> Result<Self, ValueError> {
        match word {
            "isolated" => Ok(Self::Isolated),
            "shared" => Ok(Self::Shared),
            _ => Err(ValueError(format!(
                "{word:?} is neither \"isolated\" nor \"shared\""
            ))),
        }
    }
}

impl FromStr for HostSecrets {
    type Err = ValueError;

    fn from_str(word: &str) -> Result<Self, ValueError> {
        match word {
            "hidden" => Ok(Self::Hidden),
            "shown" => Ok(Self::Shown),
            _ => Err(ValueError(format!(
                "{word:?} is neither \"hidden\" nor \"shown\""
            ))),
        }
    }
}

/// Reads a span of time: a number with a unit (`ms`, `s`, `m` or `h`), of seconds without one.
/// The number may have decimals: `1.5h`.
///
/// # Errors
/// [`ValueError`] if it is anything else, zero, or longer than time is counted.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let not_one = || {
        ValueError(format!(
            "{text:?} is not a span of time; write a number with ms, s, m or h, such as 90s or 1.5h"
        ))
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u128 = match unit {
        "ms" => 1_000_000,
        "" | "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(not_one()),
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || decimals.is_empty() || decimals.contains('.') {
        return Err(not_one());
    }
    // Nobody measures a fraction beyond this, and it keeps the product below 2^128.
    let decimals = &decimals[..decimals.len().min(12)];
    let scale = decimals.bytes().fold(1u128, |scale, _| scale * 10);
    let too_long = || ValueError(format!("{text:?} is too long a time"));
    let whole: u64 = whole.parse().map_err(|_| too_long())?;
    let decimals: u128 = decimals.parse().map_err(|_| not_one())?;
    let nanos = u128::from(whole) * unit + decimals * unit / scale;
    let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| too_long())?;
    let rest = u32::try_from(nanos % 1_000_000_000).map_err(|_| too_long())?;
    // A hundred years is a mistake, and every clock can count up to there.
    if seconds > 100 * 366 * 24 * 3600 {
        return Err(too_long());
    }
    let duration = Duration::new(seconds, rest);
    if duration.is_zero() {
        return Err(ValueError(format!("{text:?} is no time at all")));
    }
    Ok(duration)
}

/// Reads a number from 1 up.
///
/// # Errors
/// [`ValueError`] if it is anything else.
pub fn parse_count(text: &str) -> Result<u64, ValueError> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(count) if digits && count > 0 => Ok(count),
        _ => Err(ValueError(format!("{text:?} is not a number from 1 up"))),
    }
}

/// Reads a size as [`parse_size`] does, or 0.
///
/// # Errors
/// As for [`parse_size`].
pub fn parse_size_or_none(text: &str) -> Result<u64, ValueError> {
    match text {
        "0" => Ok(0),
        _ => parse_size(text),
    }
}

/// Reads a size in bytes: a number, with a suffix for powers of 1024 (`K`, `M`, `G`, `T`, also
/// with `iB`).
///
/// # Errors
/// [`ValueError`] if it is anything else, zero, or larger than 64 bits hold.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let not_one = || {
        ValueError(format!(
            "{text:?} is not a size; write bytes, or a number with K, M, G or T"
        ))
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let shift = match suffix.strip_suffix("iB").unwrap_or(suffix) {
        "" if suffix.is_empty() => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(not_one()),
    };
    if number.is_empty() {
        return Err(not_one());
    }
    let size = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1 << shift));
    match size {
        // tmpfs takes 0 for "without limit", which is not what it says.
        Some(0) => Err(ValueError(format!("{text:?} leaves room for nothing"))),
        Some(size) => Ok(size),
        None => Err(ValueError(format!("{text:?} is too large"))),
    }
}

/// Reads permissions as chmod(1) takes them: octal, such as `755` or `1777`.
///
/// # Errors
/// [`ValueError`] if it is not that.
pub fn parse_permissions(text: &str) -> Result<u32, ValueError> {
    let octal = !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o7777 => Ok(mode),
        _ => Err(ValueError(format!(
            "{text:?} is not octal permissions, such as 755 or 1777"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        for (text, ms) in [
            ("90s", 90_000),
            ("90", 90_000),
            ("1.5h", 5_400_000),
            ("0.25", 250),
            ("20ms", 20),
            ("2m", 120_000),
            ("1.0000000000000000000000s", 1000),
        ] {
            assert_eq!(parse_duration(text).unwrap().as_millis(), ms, "{text}");
        }
        for text in [
            "",
            "s",
            "0",
            "0s",
            "0.0h",
            "-1",
            "+1",
            "1 s",
            "1d",
            "1.s",
            ".5",
            "1.2.3",
            "1e3",
            "inf",
            "nan",
            "18446744073709551616",
            "18446744073709551615h",
            "1S",
            "\u{663}s",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("4096").unwrap(), 4096);
        assert_eq!(parse_size("64M").unwrap(), 64 << 20);
        assert_eq!(parse_size("1GiB").unwrap(), 1 << 30);
        for text in [
            "",
            "0",
            "0K",
            "M",
            "iB",
            "1iB",
            "-1",
            "1.5G",
            "1X",
            "16777216T",
            "1 M",
        ] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn counts_and_sizes_that_may_be_nothing() {
        assert_eq!(parse_count("64"), Ok(64));
        for text in ["", "0", "+1", "-1", "1.0", "1K", "18446744073709551616"] {
            assert!(parse_count(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_size_or_none("0"), Ok(0));
        assert_eq!(parse_size_or_none("1K"), Ok(1024));
        assert!(parse_size_or_none("0K").is_err());
    }

    #[test]
    fn permissions() {
        assert_eq!(parse_permissions("1777").unwrap(), 0o1777);
        assert_eq!(parse_permissions("0644").unwrap(), 0o644);
        for text in ["", "8", "+7", "0o755", "17777", "rwx"] {
            assert!(parse_permissions(text).is_err(), "{text:?}");
        }
    }
}
