//! How a system call filter is read: the name of a preset, or a table with a list.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::read::{FromText, Many, Text, Word};
use crate::{
    Errno, Seccomp, SeccompAction, SeccompComparison, SeccompOperator, SeccompOtherwise,
    SeccompRule, SeccompRules,
};

impl FromText for SeccompAction {
    const WHAT: &'static str = "\"allow\", \"kill\", \"log\" or an errno";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "allow" => Ok(Self::Allow),
            "kill" => Ok(Self::Kill),
            "log" => Ok(Self::Log),
            _ => Errno::parse(text).map(Self::Errno).ok_or_else(|| {
                format!(
                    "{text:?} is no action: allow, kill, log, an errno such as EPERM or ENOSYS, \
                     or its number"
                )
            }),
        }
    }
    fn from_number(number: &str) -> Option<Result<Self, String>> {
        Some(Self::from_text(number))
    }
}

impl FromText for SeccompOtherwise {
    const WHAT: &'static str = "an action, \"build\" or \"strict-io\"";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "build" => Ok(Self::Build),
            "strict-io" => Ok(Self::StrictIo),
            _ => SeccompAction::from_text(text)
                .map(Self::Action)
                .map_err(|e| format!("{e}; or build, or strict-io")),
        }
    }
    fn from_number(number: &str) -> Option<Result<Self, String>> {
        Some(Self::from_text(number))
    }
}

/// A number of 64 bits. Those for which TOML has no number are written as text.
struct Bits(u64);

impl FromText for Bits {
    const WHAT: &'static str = "a number from 0 to 2^64 - 1; beyond 2^63 - 1 as a string";
    fn from_text(text: &str) -> Result<Self, String> {
        let read = match text.strip_prefix("0x") {
            Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16),
            _ if text.starts_with('+') => return Err(format!("{text:?} is not {}", Self::WHAT)),
            _ => text.parse(),
        };
        read.map(Self)
            .map_err(|_| format!("{text:?} is not {}", Self::WHAT))
    }
    fn from_number(number: &str) -> Option<Result<Self, String>> {
        Some(Self::from_text(number))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Operator(&'static str);

impl FromText for Operator {
    const WHAT: &'static str = "an operator";
    fn from_text(text: &str) -> Result<Self, String> {
        ["eq", "ne", "lt", "le", "gt", "ge"]
            .iter()
            .find(|name| **name == text)
            .map(|name| Self(name))
            .ok_or_else(|| format!("{text:?} is none of eq, ne, lt, le, gt, ge"))
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawComparison {
    arg: u8,
    op: Text<Operator>,
    value: Text<Bits>,
    mask: Option<Text<Bits>>,
}

impl RawComparison {
    fn check(self) -> Result<SeccompComparison, String> {
        let (Text(Operator(op)), Text(Bits(value))) = (self.op, self.value);
        let operator = match (op, self.mask) {
            ("eq", Some(Text(Bits(mask)))) => {
                if value & !mask != 0 {
                    return Err(format!(
                        "{value:#x} has bits outside the mask {mask:#x}, so nothing is equal to it"
                    ));
                }
                SeccompOperator::MaskedEq(mask)
            }
            (_, Some(_)) => return Err("`mask` means nothing but with eq".into()),
            ("eq", None) => SeccompOperator::Eq,
            ("ne", None) => SeccompOperator::Ne,
            ("lt", None) => SeccompOperator::Lt,
            ("le", None) => SeccompOperator::Le,
            ("gt", None) => SeccompOperator::Gt,
            (_, None) => SeccompOperator::Ge,
        };
        SeccompComparison::new(self.arg, operator, value).map_err(|e| e.to_string())
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawRule {
    call: Many<Word>,
    action: Text<SeccompAction>,
    #[serde(default)]
    when: Vec<RawComparison>,
}

impl RawRule {
    fn check(self) -> Result<SeccompRule, String> {
        let calls = self.call.0.into_iter().map(|Word(name)| name);
        let mut rule = SeccompRule::new(calls, self.action.0).map_err(|e| e.to_string())?;
        for comparison in self.when {
            rule = rule.when(comparison.check()?).map_err(|e| e.to_string())?;
        }
        Ok(rule)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawRules {
    default: Text<SeccompOtherwise>,
    #[serde(default)]
    rule: Vec<RawRule>,
}

impl RawRules {
    fn check(self) -> Result<Seccomp, String> {
        let rules: Result<_, String> = self.rule.into_iter().map(RawRule::check).collect();
        Ok(Seccomp::Rules(SeccompRules {
            rules: rules?,
            otherwise: self.default.0,
        }))
    }
}

impl<'de> Deserialize<'de> for Seccomp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Seccomp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"none\", \"build\", \"strict-io\", or a table of rules")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seccomp, E> {
                Seccomp::preset(text).ok_or_else(|| {
                    let known = Seccomp::PRESETS.join(", ");
                    E::custom(format!("{text:?} is none of the presets {known}"))
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Seccomp, A::Error> {
                RawRules::deserialize(de::value::MapAccessDeserializer::new(map))?
                    .check()
                    .map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(V)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Feature, Settings};

    fn read(text: &str) -> Settings {
        toml::from_str(text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn presets_and_lists() {
        let config = |text: &str| {
            let text = format!("sandbox = \"/\"\n{text}");
            read(&text).config(|_| Ok(vec![])).unwrap()
        };
        assert_eq!(config("").seccomp, Seccomp::Build);
        assert!(config("").prefer.contains(Feature::Seccomp));
        assert!(!config("").allow_nested);
        assert!(config("allow-nested = true").allow_nested);
        let strict = config("allow-nested = false\nseccomp = \"strict-io\"");
        assert_eq!(strict.seccomp, Seccomp::StrictIo);
        assert!(!strict.prefer.contains(Feature::Seccomp));
        assert!(!strict.prefer.contains(Feature::Nested));
        let text = r#"
            [seccomp]
            default = "build"
            [[seccomp.rule]]
            call = ["socket", "socketpair"]
            action = "EACCES"
            when = [{ arg = 0, op = "eq", value = 2, mask = 0xffffffff },
                    { arg = 2, op = "ge", value = "0xffffffffffffffff" }]
            [[seccomp.rule]]
            call = "getppid"
            action = 77
        "#;
        let Seccomp::Rules(list) = config(text).seccomp else {
            panic!("no list")
        };
        assert_eq!(list.otherwise, SeccompOtherwise::Build);
        let shown: Vec<String> = list.rules.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "socket, socketpair if argument 0 & 0xffffffff == 0x2 and argument 2 >= \
                 0xffffffffffffffff: EACCES",
                "getppid: errno 77"
            ]
        );
        // A file of its own holds what is below [seccomp].
        let alone = "default = \"kill\"\n[[rule]]\ncall = \"read\"\naction = \"log\"\n";
        let Seccomp::Rules(list) = toml::from_str(alone).unwrap() else {
            panic!("no list")
        };
        assert_eq!(
            list.otherwise,
            SeccompOtherwise::Action(SeccompAction::Kill)
        );
    }

    #[test]
    fn the_upper_filter_wins() {
        let both = read("seccomp = \"none\"").over(read("seccomp = \"build\""));
        assert_eq!(both.seccomp, Some(Seccomp::None));
    }

    #[test]
    fn mistakes_are_told() {
        let rule = |body: &str| format!("seccomp.default = \"allow\"\n[[seccomp.rule]]\n{body}");
        let when = |body: &str| {
            rule(&format!(
                "call = \"read\"\naction = \"kill\"\nwhen = [{{ {body} }}]"
            ))
        };
        for (text, message) in [
            ("seccomp = \"strict\"".to_owned(), "none of the presets"),
            ("seccomp = 1".to_owned(), "a table of rules"),
            ("[seccomp]\n".to_owned(), "missing field `default`"),
            ("seccomp.default = \"maybe\"".to_owned(), "or strict-io"),
            ("seccomp.default = 0".to_owned(), "is no action"),
            ("seccomp.default = 4096".to_owned(), "is no action"),
            ("seccomp.dfault = 1".to_owned(), "unknown field"),
            (rule("action = \"kill\""), "missing field `call`"),
            (rule("call = []\naction = \"kill\""), "names no system call"),
            (
                rule("call = \"a-b\"\naction = \"kill\""),
                "cannot be the name",
            ),
            (rule("call = \"read\"\naction = \"stop\""), "is no action"),
            (when("arg = 6, op = \"eq\", value = 1"), "no argument 6"),
            (when("arg = 0, op = \"is\", value = 1"), "none of eq"),
            (when("arg = 0, op = \"eq\", value = -1"), "2^64"),
            (when("arg = 0, op = \"eq\", value = 1.5"), "2^64"),
            (when("arg = 0, op = \"eq\", value = \"0x+1\""), "2^64"),
            (
                when("arg = 0, op = \"ne\", value = 1, mask = 1"),
                "but with eq",
            ),
            (
                when("arg = 0, op = \"eq\", value = 2, mask = 1"),
                "outside the mask",
            ),
        ] {
            let error = toml::from_str::<Settings>(&text).unwrap_err();
            assert!(
                error.message().contains(message),
                "{text}: {}",
                error.message()
            );
        }
    }
}
