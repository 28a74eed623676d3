use sandboxlib_core::{Hint, Knob, Reason};

/// Why sandbox-exec(1) ended without having started the command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelperFailure {
    /// The caller is in a Seatbelt sandbox already, and there is none within another.
    #[error("a Seatbelt sandbox cannot be made inside another")]
    Nested,
    /// The compiled profile is larger than the system takes.
    #[error("the sandbox profile is too large for the system: {0}")]
    TooLarge(String),
    /// The profile has something that this version of macOS does not understand.
    #[error("this version of macOS does not take the sandbox profile: {0}")]
    Profile(String),
    /// The profile was applied, and what was to be started could not be.
    #[error("sandbox-exec could not start the command: {0}")]
    Exec(String),
}

impl HelperFailure {
    /// How many characters of a line are enough for a message.
    const LONGEST: usize = 500;

    /// Reads what sandbox-exec left behind: its exit status, and its standard error, of which
    /// the end is enough. `None` if neither says that it failed.
    ///
    /// A command that was started can print the same and exit with the same status: this
    /// explains a failure, and proves none.
    #[must_use]
    pub fn read(status: i32, stderr: &[u8]) -> Option<Self> {
        // sysexits(3): 65 is EX_DATAERR, 71 EX_OSERR.
        if status != 65 && status != 71 {
            return None;
        }
        let text = String::from_utf8_lossy(stderr);
        let said = text
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("sandbox-exec: "))?;
        // The command may have written it: it is quoted in messages.
        let plain = said.chars().filter(|c| !c.is_control());
        let said: String = plain.take(Self::LONGEST).collect();
        let said = said.trim();
        Some(match status {
            65 if said.contains("exceeds maximum") => Self::TooLarge(said.to_owned()),
            65 => Self::Profile(said.to_owned()),
            // EPERM of sandbox_apply has this one cause: a profile that it does not like is
            // refused before, by the compiler.
            _ if said.starts_with("sandbox_apply:") && said.contains("not permitted") => {
                Self::Nested
            }
            _ => Self::Exec(said.to_owned()),
        })
    }

    /// The cause and its cures.
    #[must_use]
    pub fn reason(&self) -> Reason {
        let reason = Reason::new(self.to_string());
        match self {
            Self::Nested => nested(),
            Self::TooLarge(_) => {
                let advice = "name fewer paths, or a common parent of some";
                reason.hint(Hint::new(Knob::Request("writable paths"), advice))
            }
            Self::Profile(_) => reason.hint(Hint::new(Knob::Os, "report it, with the version")),
            Self::Exec(_) => reason,
        }
    }
}

/// Why nothing can be run in a sandbox: never without one instead.
pub(crate) fn nested() -> Reason {
    let advice = "run it outside of the other sandbox, or have that one isolate both";
    let hint = Hint::new(Knob::Lsm("Seatbelt"), advice);
    Reason::new(HelperFailure::Nested.to_string()).hint(hint)
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as _;

    use super::*;

    #[test]
    fn each_failure_has_its_own_error() {
        let read = |status, text: &str| HelperFailure::read(status, text.as_bytes());
        let nested = "sandbox-exec: sandbox_apply: Operation not permitted\n";
        assert_eq!(read(71, nested), Some(HelperFailure::Nested));
        assert_eq!(read(1, nested), None);
        assert_eq!(read(71, "make: *** error 71\n"), None);
        for text in [
            "data object length 75955 exceeds maximum (65535)",
            "pattern serialization length 97830 exceeds maximum (65535)",
        ] {
            assert_eq!(
                read(65, &format!("noise\nsandbox-exec: {text}\n")),
                Some(HelperFailure::TooLarge(text.to_owned()))
            );
        }
        assert_eq!(
            read(65, "sandbox-exec: unbound variable: file-link\n"),
            Some(HelperFailure::Profile("unbound variable: file-link".into()))
        );
        let exec = "execvp() of 'x' failed: No such file or directory";
        assert_eq!(
            read(71, &format!("sandbox-exec: {exec}\n")),
            Some(HelperFailure::Exec(exec.into()))
        );
    }

    proptest::proptest! {
        #[test]
        fn what_is_quoted_is_short_plain_and_a_line_of_the_helpers(
            status in proptest::sample::select(vec![0, 1, 65, 71, -1]),
            stderr in proptest::collection::vec(
                proptest::prop_oneof![
                    ".{0,20}",
                    "(sandbox-exec: )?.{0,9}\n",
                    "sandbox-exec: .{0,600}\n",
                    "sandbox-exec: sandbox_apply: [a-z ]{0,20}not permitted\n",
                ]
                .prop_map(String::into_bytes),
                0..6,
            ),
        ) {
            let stderr = stderr.concat();
            let Some(failure) = HelperFailure::read(status, &stderr) else {
                return Ok(());
            };
            proptest::prop_assert!(status == 65 || status == 71);
            let text = String::from_utf8_lossy(&stderr);
            proptest::prop_assert!(text.contains("sandbox-exec: "));
            let message = failure.to_string();
            proptest::prop_assert!(!message.chars().any(char::is_control), "{message:?}");
            proptest::prop_assert!(message.chars().count() < 600, "{message:?}");
        }
    }

    #[test]
    fn every_failure_reads_as_a_fragment() {
        for failure in [
            HelperFailure::Nested,
            HelperFailure::TooLarge("x".into()),
            HelperFailure::Profile("x".into()),
            HelperFailure::Exec("x".into()),
        ] {
            let text = failure.reason().text.into_owned();
            assert!(text.chars().next().unwrap().is_lowercase(), "{text}");
            assert!(!text.ends_with('.'));
        }
        assert!(!HelperFailure::Nested.reason().hints.is_empty());
    }
}
