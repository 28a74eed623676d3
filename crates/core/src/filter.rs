use std::fmt;

use sandboxlib_config::{Config, Seccomp, SeccompOtherwise};

/// A system call filter, as it was asked for. It binds the command and not what starts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyscallFilter {
    /// The calls that are let through.
    pub seccomp: Seccomp,
    /// Whether those that make namespaces are too, as far as `seccomp` lets them.
    pub allow_nested: bool,
}

impl SyscallFilter {
    /// The filter that `config` asks for, if it takes one. `limited` says that further user
    /// namespaces are impossible anyway ([`Step::LimitNamespaces`](crate::Step::LimitNamespaces)).
    #[must_use]
    pub fn wanted(config: &Config, limited: bool) -> Option<Self> {
        let nothing_to_close = config.allow_nested || limited;
        (config.seccomp != Seccomp::None || !nothing_to_close).then(|| Self {
            seccomp: config.seccomp.clone(),
            allow_nested: config.allow_nested,
        })
    }
}

impl fmt::Display for SyscallFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.seccomp {
            Seccomp::None => return f.write_str("no further namespaces"),
            Seccomp::Rules(list) => {
                for rule in &list.rules {
                    write!(f, "{rule}; ")?;
                }
                match list.otherwise {
                    SeccompOtherwise::Build => f.write_str("otherwise build")?,
                    SeccompOtherwise::StrictIo => f.write_str("otherwise strict-io")?,
                    SeccompOtherwise::Action(action) => write!(f, "otherwise {action}")?,
                    other => write!(f, "otherwise {other:?}")?,
                }
            }
            preset => f.write_str(preset.name())?,
        }
        f.write_str(if self.allow_nested {
            ", further namespaces allowed"
        } else {
            ", no further namespaces"
        })
    }
}

#[cfg(test)]
mod tests {
    use sandboxlib_config::{Root, SeccompAction, SeccompRule, SeccompRules};

    use super::*;

    #[test]
    fn there_is_a_filter_where_one_is_needed() {
        let mut config = Config::new(Root::Host);
        let wanted = |config: &Config, limited| {
            SyscallFilter::wanted(config, limited).map(|filter| filter.to_string())
        };
        let build = Some("build, no further namespaces".to_owned());
        assert_eq!(wanted(&config, true), build);
        assert_eq!(wanted(&config, false), build);
        config.seccomp = Seccomp::None;
        assert_eq!(wanted(&config, true), None);
        let alone = Some("no further namespaces".to_owned());
        assert_eq!(wanted(&config, false), alone);
        config.allow_nested = true;
        assert_eq!(wanted(&config, false), None);
        config.seccomp = Seccomp::Rules(SeccompRules {
            rules: vec![SeccompRule::new(["read", "write"], SeccompAction::Kill).unwrap()],
            otherwise: SeccompOtherwise::Action(SeccompAction::Allow),
        });
        let list = "read, write: kill; otherwise allow, further namespaces allowed";
        assert_eq!(wanted(&config, false).as_deref(), Some(list));
    }
}
