//! Sandboxes that are defined once, under a name, and used many times.

use std::fmt;
use std::str::FromStr;

use super::{Settings, ValueError};

/// The name of a sandbox: letters, digits, dots, underscores and dashes, and so never a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SandboxName(String);

impl SandboxName {
    /// The most bytes that a name has. Names of files have no more than 255, and there is an
    /// ending.
    pub const LONGEST: usize = 200;

    /// It, as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SandboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SandboxName {
    type Err = ValueError;

    fn from_str(word: &str) -> Result<Self, ValueError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let why = if word.is_empty() {
            "it is empty"
        } else if word.len() > Self::LONGEST {
            "it is longer than 200 bytes"
        } else if !word.bytes().all(plain) {
            "it has letters, digits, dots, underscores and dashes"
        } else {
            return Ok(Self(word.to_owned()));
        };
        Err(ValueError(format!(
            "{word:?} is no name of a sandbox: {why}"
        )))
    }
}

/// What a file says that defines a sandbox: the keys of [`Settings`], and `extends` and
/// `description`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Definition {
    /// `extends`: the sandbox whose settings hold where these say nothing.
    pub extends: Option<SandboxName>,
    /// `description`: what it is for, for people.
    pub description: Option<String>,
    /// The others.
    pub settings: Settings,
}

/// Why a [`Definition`] and those that it extends do not make [`Settings`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtendsError<E> {
    /// One extends itself, by way of the others: each extends the next, and the last is one of
    /// those before it.
    Cycle(Vec<SandboxName>),
    /// One could not be read.
    Read {
        /// The way to it: each extends the next, and the last is the one.
        chain: Vec<SandboxName>,
        /// Why.
        source: E,
    },
}

impl<E: fmt::Display> fmt::Display for ExtendsError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |chain: &[SandboxName]| {
            let names: Vec<&str> = chain.iter().map(SandboxName::as_str).collect();
            names.join(" extends ")
        };
        match self {
            Self::Cycle(chain) => write!(f, "a sandbox extends itself: {}", names(chain)),
            Self::Read { chain, source } if chain.len() > 1 => {
                write!(f, "{source} ({})", names(chain))
            }
            Self::Read { source, .. } => source.fmt(f),
        }
    }
}

impl<E: fmt::Display + fmt::Debug> std::error::Error for ExtendsError<E> {}

impl Definition {
    /// These settings, over those of the definitions that this one extends, which `read` reads.
    /// `name` is this one's own, if it has one.
    ///
    /// # Errors
    /// [`ExtendsError`] with what `read` returned, or if one extends itself.
    pub fn resolve<E>(
        self,
        name: Option<SandboxName>,
        mut read: impl FnMut(&SandboxName) -> Result<Self, E>,
    ) -> Result<Settings, ExtendsError<E>> {
        let mut chain: Vec<SandboxName> = name.into_iter().collect();
        let mut settings = self.settings;
        let mut next = self.extends;
        while let Some(name) = next {
            let seen = chain.contains(&name);
            chain.push(name);
            if seen {
                return Err(ExtendsError::Cycle(chain));
            }
            let Some(name) = chain.last() else { break };
            let lower = match read(name) {
                Ok(lower) => lower,
                Err(source) => return Err(ExtendsError::Read { chain, source }),
            };
            settings = settings.over(lower.settings);
            next = lower.extends;
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> SandboxName {
        text.parse().unwrap()
    }

    fn definition(text: &str) -> Definition {
        toml::from_str(text).unwrap()
    }

    fn resolve(files: &BTreeMap<&str, &str>, first: &str) -> Result<Settings, String> {
        let read = |name: &SandboxName| match files.get(name.as_str()) {
            Some(text) => Ok(definition(text)),
            None => Err(format!("there is no {name}")),
        };
        let it = read(&name(first)).unwrap();
        it.resolve(Some(name(first)), read)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_nearest_word_counts() {
        let files = BTreeMap::from([
            ("a", "extends = 'b'\nhostname = 'a'\nwritable = ['/a']"),
            (
                "b",
                "extends = 'c'\nhostname = 'b'\ncwd = '/b'\ndescription = 'second'",
            ),
            ("c", "sandbox = 'root'\ncwd = '/c'\nwritable = ['/c']"),
        ]);
        let got = resolve(&files, "a").unwrap();
        let text = "sandbox = 'root'\nhostname = 'a'\ncwd = '/b'\nwritable = ['/c', '/a']";
        assert_eq!(got, toml::from_str(text).unwrap());
    }

    #[test]
    fn what_is_wrong_is_told_with_the_way_to_it() {
        let files = BTreeMap::from([
            ("a", "extends = 'b'"),
            ("b", "extends = 'c'"),
            ("c", "extends = 'b'"),
            ("self", "extends = 'self'"),
            ("gone", "extends = 'nowhere'"),
        ]);
        for (first, said) in [
            (
                "a",
                "a sandbox extends itself: a extends b extends c extends b",
            ),
            ("self", "a sandbox extends itself: self extends self"),
            ("gone", "there is no nowhere (gone extends nowhere)"),
        ] {
            assert_eq!(resolve(&files, first).unwrap_err(), said);
        }
    }

    #[test]
    fn settings_alone_extend_nothing() {
        for text in ["extends = 'a'", "description = 'x'"] {
            let said = toml::from_str::<Settings>(text).unwrap_err().to_string();
            assert!(said.contains("named sandbox"), "{said}");
        }
        let said = toml::from_str::<Definition>("extends = '../a'").unwrap_err();
        assert!(said.message().contains("no name of a sandbox"), "{said}");
        assert!(toml::from_str::<Definition>("extend = 'a'").is_err());
    }

    proptest! {
        #[test]
        fn a_name_is_never_a_path(word in ".{0,12}|[a-zA-Z0-9._-]{1,210}") {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            let good = (1..=200).contains(&word.len()) && word.chars().all(plain);
            let name = word.parse::<SandboxName>();
            prop_assert_eq!(name.is_ok(), good);
            if let Ok(name) = name {
                let file = format!("{name}.toml");
                let path = std::path::Path::new(&file);
                prop_assert_eq!(path.components().count(), 1);
                prop_assert_eq!(path.file_name(), Some(std::ffi::OsStr::new(&file)));
            }
        }

        /// Whatever extends what, it comes to an end.
        #[test]
        fn every_chain_ends(links in prop::collection::vec(0..9usize, 8)) {
            let names: Vec<String> = (0..8).map(|n| n.to_string()).collect();
            let texts: Vec<String> = links.iter().map(|to| match names.get(*to) {
                Some(to) => format!("extends = '{to}'"),
                None => "sandbox = '/'".to_owned(),
            }).collect();
            let files = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str));
            let got = resolve(&files.collect(), "0");
            let mut at = 0;
            let ends = (0..9).any(|_| {
                let end = at == 8;
                at = links.get(at).copied().unwrap_or(8);
                end
            });
            prop_assert_eq!(got.is_ok(), ends);
        }
    }
}
