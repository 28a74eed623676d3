//! How paths, arguments and variables, which are bytes, are shown as text.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt as _};
use std::path::Path;

/// A message as one line: whatever it quotes, and wherever that comes from, nothing in it can
/// move the cursor of a terminal or begin another line.
pub(crate) fn line(message: &str) -> String {
    lines(message).replace('\n', "\\n")
}

/// The same of several lines.
pub(crate) fn lines(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for c in message.chars() {
        match c.is_control() && c != '\n' {
            true => text.extend(c.escape_default()),
            false => text.push(c),
        }
    }
    text
}

/// A value as JSON, in lines. No name in it can move the cursor of a terminal that it is shown
/// on: serde_json leaves the control characters from U+007F on as they are.
pub(crate) fn json(value: &impl serde::Serialize) -> serde_json::Result<String> {
    let plain = serde_json::to_string_pretty(value)?;
    let mut text = String::with_capacity(plain.len() + 1);
    for c in plain.chars() {
        match c {
            // They stand in strings alone.
            '\u{7f}'..='\u{9f}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            _ => text.push(c),
        }
    }
    text.push('\n');
    Ok(text)
}

/// Reads a file that has no more than `mebibytes`: a device such as /dev/zero has no end.
pub(crate) fn read(path: &Path, mebibytes: u64) -> io::Result<Vec<u8>> {
    read_open(std::fs::File::open(path)?, mebibytes)
}

/// The same of one that is open.
pub(crate) fn read_open(file: std::fs::File, mebibytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = file.take((mebibytes << 20) + 1).read_to_end(&mut bytes)?;
    match u64::try_from(read) {
        Ok(read) if read <= mebibytes << 20 => Ok(bytes),
        _ => Err(io::Error::other(format!(
            "it is larger than {mebibytes} MiB"
        ))),
    }
}

/// For people: as it is if it is plain, else quoted with escapes, so that no name can pretend to
/// be a line of output.
pub(crate) fn shown(bytes: impl AsRef<OsStr>) -> String {
    let bytes = bytes.as_ref();
    match bytes.to_str() {
        Some(text) if !text.is_empty() && text.bytes().all(is_plain) => text.to_owned(),
        _ => format!("{bytes:?}"),
    }
}

fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"/._-+=:,@%^~".contains(&b)
}

/// For JSON: text, in which each byte that is not UTF-8, and each backslash, is `\xNN`. Nothing
/// else writes that, so whoever reads it gets the bytes back.
pub(crate) fn escaped(bytes: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for chunk in bytes.as_ref().as_bytes().utf8_chunks() {
        for (i, part) in chunk.valid().split('\\').enumerate() {
            if i > 0 {
                text.push_str("\\x5c");
            }
            text.push_str(part);
        }
        for byte in chunk.invalid() {
            // Writing to a String does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The bytes that [`escaped`] has written; `None` if it cannot have written this.
pub(crate) fn unescaped(text: &str) -> Option<OsString> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.strip_prefix('x')?.get(..2)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[3..]);
    }
    Some(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_people() {
        assert_eq!(shown("/a/b-c.d"), "/a/b-c.d");
        assert_eq!(shown("a b"), "\"a b\"");
        assert_eq!(shown(""), "\"\"");
        assert_eq!(
            shown("a\nrun-sandbox: done\u{1b}"),
            r#""a\nrun-sandbox: done\u{1b}""#
        );
        assert_eq!(shown(OsStr::from_bytes(b"\xff")), r#""\xFF""#);
    }

    #[test]
    fn messages_are_one_line() {
        assert_eq!(line("a \"b\" \u{e9}"), "a \"b\" \u{e9}");
        assert_eq!(
            line("a\nb\r\u{1b}[2J\u{9b}\u{7f}\0"),
            r"a\nb\r\u{1b}[2J\u{9b}\u{7f}\u{0}"
        );
    }

    #[test]
    fn json_has_no_control_characters_but_lines() {
        let value = ["a\u{7f}\u{9b}2J\u{1b}\n\u{e9}"];
        let text = json(&value).unwrap();
        assert_eq!(text, "[\n  \"a\\u007f\\u009b2J\\u001b\\n\u{e9}\"\n]\n");
        assert_eq!(serde_json::from_str::<[String; 1]>(&text).unwrap(), value);
    }

    #[test]
    fn for_json_nothing_is_lost() {
        assert_eq!(escaped("a\u{e9}\n"), "a\u{e9}\n");
        assert_eq!(
            escaped(OsStr::from_bytes(b"a\xff\xc3b")),
            "a\\xffb".replace("ffb", "ff\\xc3b")
        );
        assert_eq!(escaped("\\xff"), "\\x5cxff");
        for bytes in [&b""[..], b"a\xc3\xa9\n", b"a\xff\xc3b", b"\\xff\\", b"\\"] {
            let bytes = OsStr::from_bytes(bytes);
            assert_eq!(unescaped(&escaped(bytes)).as_deref(), Some(bytes));
        }
        for text in ["\\", "\\x", "\\x1", "\\xg0", "\\x+1", "a\\n", "\\x1\u{e9}"] {
            assert_eq!(unescaped(text), None, "{text}");
        }
    }
}
