use std::fmt;

/// Which system calls the command can make (seccomp(2)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Seccomp {
    /// All of them.
    None,
    /// Those that compilers, package managers, test suites and debuggers of their own children
    /// make. What is closed is listed, with the reasons, in `docs/seccomp.md` of the repository.
    #[default]
    Build,
    /// read, write and exit, and the execve by which the command itself is started; any other
    /// ends it. For programs without a C library, whose start takes more.
    StrictIo,
    /// Those of a list.
    Rules(SeccompRules),
}

impl Seccomp {
    /// The names of what needs no list.
    pub const PRESETS: &'static [&'static str] = &["none", "build", "strict-io"];

    /// What has this name, one of [`PRESETS`](Self::PRESETS).
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "build" => Some(Self::Build),
            "strict-io" => Some(Self::StrictIo),
            _ => None,
        }
    }

    /// The name used on the command line, in files and in reports; `rules` for a list.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Build => "build",
            Self::StrictIo => "strict-io",
            Self::Rules(_) => "rules",
        }
    }
}

/// Rules about system calls, and what holds for a call that none of them decides. The first rule
/// that fits a call decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeccompRules {
    /// The rules, in order.
    pub rules: Vec<SeccompRule>,
    /// What holds otherwise.
    pub otherwise: SeccompOtherwise,
}

/// What holds for a system call that no rule of a list decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeccompOtherwise {
    /// [`Seccomp::Build`].
    Build,
    /// [`Seccomp::StrictIo`].
    StrictIo,
    /// The same for all.
    Action(SeccompAction),
}

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SeccompAction {
    /// It is made.
    Allow,
    /// It is not made, and fails with this.
    Errno(Errno),
    /// It ends the process, as by SIGSYS.
    Kill,
    /// It is made, and the kernel's log tells of it.
    Log,
}

impl fmt::Display for SeccompAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allow"),
            Self::Errno(errno) => errno.fmt(f),
            Self::Kill => f.write_str("kill"),
            Self::Log => f.write_str("log"),
        }
    }
}

/// An error number that a system call can answer: 1 to 4095 (errno(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(u16);

impl Errno {
    /// The names that are known here, with the numbers that they have on all Linux systems that
    /// this project supports.
    const NAMES: &'static [(&'static str, u16)] = &[
        ("EPERM", 1),
        ("ENOENT", 2),
        ("EIO", 5),
        ("EACCES", 13),
        ("ENODEV", 19),
        ("EINVAL", 22),
        ("EROFS", 30),
        ("ENOSYS", 38),
        ("EPROTONOSUPPORT", 93),
        ("EOPNOTSUPP", 95),
        ("EAFNOSUPPORT", 97),
    ];

    /// The error with this number; `None` if there cannot be one.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match number {
            1..=4095 => Some(Self(number)),
            _ => None,
        }
    }

    /// EPERM.
    pub const EPERM: Self = Self(1);
    /// ENOSYS.
    pub const ENOSYS: Self = Self(38);

    /// The error with this name, such as `EPERM`, or this number.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let named = Self::NAMES.iter().find(|(name, _)| *name == word);
        match named {
            Some((_, number)) => Some(Self(*number)),
            None => word.parse().ok().and_then(Self::new),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// What happens to some system calls, if their arguments are as told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeccompRule {
    calls: Vec<String>,
    when: Vec<SeccompComparison>,
    action: SeccompAction,
}

/// A rule about system calls that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeccompError {
    /// The rule names no call.
    #[error("a rule names no system call")]
    NoCall,
    /// This cannot be the name of a call.
    #[error("{0:?} cannot be the name of a system call")]
    Name(String),
    /// A call has six arguments.
    #[error("there is no argument {0}: they are counted from 0 to 5")]
    Argument(u8),
    /// Nobody can mean that many.
    #[error(
        "a rule has no more than {} comparisons",
        SeccompRule::MOST_COMPARISONS
    )]
    TooMany,
}

impl SeccompRule {
    /// The most comparisons that a rule can have: two for each argument.
    pub const MOST_COMPARISONS: usize = 12;

    /// A rule about the calls of these names. Whether such calls exist shows when the filter is
    /// made.
    ///
    /// # Errors
    /// [`SeccompError`] if there is no name, or one that no call can have.
    pub fn new<S: Into<String>>(
        calls: impl IntoIterator<Item = S>,
        action: SeccompAction,
    ) -> Result<Self, SeccompError> {
        let calls: Vec<String> = calls.into_iter().map(Into::into).collect();
        if calls.is_empty() {
            return Err(SeccompError::NoCall);
        }
        let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let wrong = calls
            .iter()
            .find(|name| name.is_empty() || !name.bytes().all(letter));
        if let Some(name) = wrong {
            return Err(SeccompError::Name(name.clone()));
        }
        Ok(Self {
            calls,
            when: Vec::new(),
            action,
        })
    }

    /// The rule for calls of which this is true as well.
    ///
    /// # Errors
    /// [`SeccompError::TooMany`].
    pub fn when(mut self, comparison: SeccompComparison) -> Result<Self, SeccompError> {
        if self.when.len() == Self::MOST_COMPARISONS {
            return Err(SeccompError::TooMany);
        }
        self.when.push(comparison);
        Ok(self)
    }

    /// The names of the calls.
    #[must_use]
    pub fn calls(&self) -> &[String] {
        &self.calls
    }

    /// What has to be true of the arguments, all of it.
    #[must_use]
    pub fn comparisons(&self) -> &[SeccompComparison] {
        &self.when
    }

    /// What happens to them.
    #[must_use]
    pub fn action(&self) -> SeccompAction {
        self.action
    }
}

impl fmt::Display for SeccompRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.calls.join(", "))?;
        for (i, comparison) in self.when.iter().enumerate() {
            let word = if i == 0 { "if" } else { "and" };
            write!(f, " {word} {comparison}")?;
        }
        write!(f, ": {}", self.action)
    }
}

/// Something that is true of an argument of a system call, or is not. Arguments are compared as
/// unsigned numbers of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeccompComparison {
    argument: u8,
    operator: SeccompOperator,
    value: u64,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeccompOperator {
    /// It is the value.
    Eq,
    /// It is not.
    Ne,
    /// It is less.
    Lt,
    /// It is less, or the value.
    Le,
    /// It is greater.
    Gt,
    /// It is greater, or the value.
    Ge,
    /// The bits of it that are set in this mask are those of the value.
    MaskedEq(u64),
}

impl SeccompComparison {
    /// Whether the argument with this number, from 0 to 5, is as told.
    ///
    /// # Errors
    /// [`SeccompError::Argument`] if there is no such argument.
    pub fn new(argument: u8, operator: SeccompOperator, value: u64) -> Result<Self, SeccompError> {
        if argument > 5 {
            return Err(SeccompError::Argument(argument));
        }
        Ok(Self {
            argument,
            operator,
            value,
        })
    }

    /// The number of the argument, from 0 to 5.
    #[must_use]
    pub fn argument(&self) -> u8 {
        self.argument
    }

    /// How it is compared.
    #[must_use]
    pub fn operator(&self) -> SeccompOperator {
        self.operator
    }

    /// With what it is compared.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }
}

impl fmt::Display for SeccompComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.operator {
            SeccompOperator::Eq => "==",
            SeccompOperator::Ne => "!=",
            SeccompOperator::Lt => "<",
            SeccompOperator::Le => "<=",
            SeccompOperator::Gt => ">",
            SeccompOperator::Ge => ">=",
            SeccompOperator::MaskedEq(mask) => {
                let (n, value) = (self.argument, self.value);
                return write!(f, "argument {n} & {mask:#x} == {value:#x}");
            }
        };
        write!(f, "argument {} {sign} {:#x}", self.argument, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_their_names() {
        for name in Seccomp::PRESETS {
            assert_eq!(Seccomp::preset(name).unwrap().name(), *name);
        }
        assert_eq!(Seccomp::preset("rules"), None);
        assert_eq!(Seccomp::default().name(), "build");
    }

    #[test]
    fn errors_by_name_and_number() {
        assert_eq!(Errno::parse("ENOSYS"), Some(Errno::ENOSYS));
        assert_eq!(Errno::parse("38"), Some(Errno::ENOSYS));
        assert_eq!(Errno::parse("4095").map(Errno::number), Some(4095));
        for word in ["", "0", "4096", "-1", "70000", "enosys", "E"] {
            assert_eq!(Errno::parse(word), None, "{word}");
        }
        assert_eq!(Errno::new(97).unwrap().to_string(), "EAFNOSUPPORT");
        assert_eq!(Errno::new(77).unwrap().to_string(), "errno 77");
    }

    #[test]
    fn rules_are_checked_and_shown() {
        let none: [&str; 0] = [];
        assert_eq!(
            SeccompRule::new(none, SeccompAction::Kill),
            Err(SeccompError::NoCall)
        );
        for name in ["", "a b", "open-at", "é"] {
            assert_eq!(
                SeccompRule::new([name], SeccompAction::Kill),
                Err(SeccompError::Name(name.into()))
            );
        }
        let compare = |operator| SeccompComparison::new(1, operator, 16).unwrap();
        let rule = SeccompRule::new(["socket", "bind"], SeccompAction::Errno(Errno::EPERM))
            .and_then(|rule| rule.when(compare(SeccompOperator::Ge)))
            .and_then(|rule| rule.when(compare(SeccompOperator::MaskedEq(0xff))))
            .unwrap();
        assert_eq!(
            rule.to_string(),
            "socket, bind if argument 1 >= 0x10 and argument 1 & 0xff == 0x10: EPERM"
        );
        let mut long = rule;
        while long.comparisons().len() < SeccompRule::MOST_COMPARISONS {
            long = long.when(compare(SeccompOperator::Ne)).unwrap();
        }
        assert_eq!(
            long.when(compare(SeccompOperator::Ne)),
            Err(SeccompError::TooMany)
        );
        assert_eq!(
            SeccompComparison::new(6, SeccompOperator::Eq, 0),
            Err(SeccompError::Argument(6))
        );
    }
}
