//! What the probe answers, and whether that is right.

use std::collections::BTreeSet;
use std::fmt;

use crate::case::{Expect, errno};
use crate::world::World;

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It worked, and gave this.
    Ok(Vec<u8>),
    /// It failed with this errno.
    No(i32),
}

impl Answer {
    /// Reads the lines that the probe prints. Lines that it does not print are left out.
    pub(crate) fn read(output: &[u8]) -> Vec<Self> {
        let line = |line: &[u8]| {
            let text = std::str::from_utf8(line).ok()?;
            match text.split_at_checked(3)? {
                ("ok ", value) => unescape(value).map(Self::Ok),
                ("no ", errno) => Some(Self::No(errno.parse().ok()?)),
                _ => None,
            }
        };
        output
            .split(|byte| *byte == b'\n')
            .filter_map(line)
            .collect()
    }
}

/// What stands for `text`; nothing if the probe would not have written it so.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once("\\x") {
        bytes.extend(plain.as_bytes());
        let (digits, behind) = escaped.split_at_checked(2)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    bytes.extend(rest.as_bytes());
    Some(bytes)
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok(value) => write!(f, "\"{}\"", value.escape_ascii()),
            Self::No(errno) => std::io::Error::from_raw_os_error(*errno).fmt(f),
        }
    }
}

impl Expect {
    /// Whether `answer` is right; `host` asks the probe on the host.
    pub(crate) fn holds(
        self,
        answer: &Answer,
        earlier: &[Answer],
        world: &World,
        host: impl Fn(&str) -> Option<Answer>,
    ) -> bool {
        let value = match answer {
            Answer::Ok(value) => value,
            Answer::No(errno) => {
                return match self {
                    Self::Fails(errnos) => errnos.contains(errno),
                    Self::Refused => errno::REFUSALS.contains(errno),
                    _ => false,
                };
            }
        };
        let text = String::from_utf8_lossy(value);
        match self {
            Self::Done => true,
            Self::Is(wanted) => text == world.fill(wanted),
            Self::Begins(wanted) => text.starts_with(&world.fill(wanted)),
            Self::Bytes(wanted) => value == wanted,
            Self::Variables(wanted) => {
                let found: BTreeSet<&[u8]> = value.split_inclusive(|byte| *byte == 0).collect();
                found == wanted.iter().copied().collect()
            }
            Self::Lists(names) => {
                let found: BTreeSet<&str> = text.split('/').filter(|n| !n.is_empty()).collect();
                found == names.split_whitespace().collect()
            }
            Self::SameAs(n) => earlier.get(n) == Some(answer),
            Self::AsOnHost(question) => host(question).as_ref() == Some(answer),
            // No answer from the host is no answer that differs.
            Self::NotAsOnHost(question) => host(question)
                .is_some_and(|theirs| matches!(theirs, Answer::Ok(_)) && theirs != *answer),
            Self::Holds(_, is_true) => is_true(world, &text),
            Self::Fails(_) | Self::Refused => false,
        }
    }

    /// What would be right, for people.
    pub(crate) fn describe(self, world: &World) -> String {
        let errors = |errnos: &[i32]| {
            let texts: Vec<String> = errnos
                .iter()
                .map(|errno| std::io::Error::from_raw_os_error(*errno).to_string())
                .collect();
            texts.join(", or ")
        };
        match self {
            Self::Done => "success".to_owned(),
            Self::Is(text) => format!("{:?}", world.fill(text)),
            Self::Begins(text) => format!("something that begins with {:?}", world.fill(text)),
            Self::Bytes(bytes) => format!("\"{}\"", bytes.escape_ascii()),
            Self::Variables(wanted) => format!("\"{}\"", wanted.concat().escape_ascii()),
            Self::Lists(names) => format!("exactly the names {names:?}"),
            Self::SameAs(n) => format!("the same as answer {n}"),
            Self::AsOnHost(question) => format!("what the host answers to {question:?}"),
            Self::NotAsOnHost(question) => {
                format!("something else than what the host answers to {question:?}")
            }
            Self::Fails(errnos) => format!("the error {}", errors(errnos)),
            Self::Refused => format!("a refusal: {}", errors(errno::REFUSALS)),
            Self::Holds(what, _) => what.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read() {
        let output = b"ok a\\x00b\\x5c\nnoise\nno 13\nok \n";
        assert_eq!(
            Answer::read(output),
            [
                Answer::Ok(b"a\0b\\".to_vec()),
                Answer::No(13),
                Answer::Ok(vec![])
            ]
        );
    }

    /// As the probe writes a value.
    fn told(value: &[u8]) -> String {
        let escaped = value.iter().map(|b| match b {
            b'\\' => r"\x5c".to_owned(),
            0x20..0x7f => char::from(*b).to_string(),
            _ => format!("\\x{b:02x}"),
        });
        format!("ok {}\n", escaped.collect::<String>())
    }

    proptest! {
        #[test]
        fn what_is_told_is_read(answers in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..20).prop_map(Answer::Ok),
                any::<i32>().prop_map(Answer::No),
            ],
            0..6,
        )) {
            let output: String = answers
                .iter()
                .map(|answer| match answer {
                    Answer::Ok(value) => told(value),
                    Answer::No(errno) => format!("no {errno}\n"),
                })
                .collect();
            prop_assert_eq!(Answer::read(output.as_bytes()), answers);
        }

        /// No answer is made up: what is read of a line is what the line says.
        #[test]
        fn what_is_not_told_is_not_read(output in prop::collection::vec(
            prop_oneof![
                any::<u8>(),
                prop::sample::select(b"okno \\x5cf\n+-1".to_vec()),
            ],
            0..40,
        )) {
            let lines: Vec<Answer> = output.split(|b| *b == b'\n').flat_map(Answer::read).collect();
            prop_assert_eq!(&Answer::read(&output), &lines);
            for line in output.split(|b| *b == b'\n') {
                if let [Answer::Ok(value)] = &Answer::read(line)[..] {
                    prop_assert!(line.starts_with(b"ok "));
                    let escapes = line.windows(2).filter(|w| w == b"\\x").count();
                    prop_assert_eq!(line.len(), 3 + value.len() + 3 * escapes);
                }
            }
        }
    }
}
