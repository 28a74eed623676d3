//! From rules about names to what happens to each number.

use std::collections::HashMap;

use sandboxlib_config::{
    Errno, Seccomp, SeccompAction, SeccompComparison, SeccompOperator, SeccompOtherwise,
};

use crate::abi::Abi;
use crate::alias::{MULTIPLEXERS, Multiplexer, usual};
use crate::presets::{self, Closed};

/// A comparison of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) argument: u8,
    pub(crate) operator: SeccompOperator,
    pub(crate) value: u64,
}

impl From<&SeccompComparison> for Condition {
    fn from(comparison: &SeccompComparison) -> Self {
        Self {
            argument: comparison.argument(),
            operator: comparison.operator(),
            value: comparison.value(),
        }
    }
}

/// When a clause is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Guard {
    /// When all of these are; always if there are none.
    All(Vec<Condition>),
    /// When some of these bits are set in the lower half of the argument.
    AnyBit { argument: u8, mask: u32 },
}

/// What happens if something is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    pub(crate) when: Guard,
    pub(crate) action: SeccompAction,
}

/// What happens to a call: the first clause that is true decides, or else `otherwise` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) clauses: Vec<Clause>,
    pub(crate) otherwise: SeccompAction,
}

impl Decision {
    fn always(action: SeccompAction) -> Self {
        Self {
            clauses: Vec::new(),
            otherwise: action,
        }
    }

    pub(crate) fn always_allows(&self) -> bool {
        self.clauses.is_empty() && lets_through(self.otherwise)
    }

    /// Takes out what makes no difference.
    fn simplify(mut self) -> Self {
        while self
            .clauses
            .last()
            .is_some_and(|last| last.action == self.otherwise)
        {
            self.clauses.pop();
        }
        self
    }
}

fn lets_through(action: SeccompAction) -> bool {
    matches!(action, SeccompAction::Allow | SeccompAction::Log)
}

struct Rule<'a> {
    calls: Vec<&'a str>,
    clause: Clause,
}

/// All rules in their order, and what happens to every other call.
pub(crate) struct Policy<'a> {
    rules: Vec<Rule<'a>>,
    otherwise: SeccompAction,
    /// Which rules name a call, by their places. There are hundreds of calls to be decided, by
    /// whoever starts a single command too.
    index: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Policy<'a> {
    pub(crate) fn new(seccomp: &'a Seccomp, allow_nested: bool) -> Self {
        let mut policy = Self {
            rules: Vec::new(),
            otherwise: SeccompAction::Allow,
            index: HashMap::new(),
        };
        // A list of what is let through closes them by itself, and may end what tries.
        let closed_anyway = matches!(seccomp, Seccomp::StrictIo);
        if !allow_nested && !closed_anyway {
            policy.close(presets::NAMESPACES);
        }
        match seccomp {
            Seccomp::Build => policy.build(allow_nested),
            Seccomp::StrictIo => policy.strict_io(),
            Seccomp::Rules(list) => {
                policy.rules.extend(list.rules.iter().map(|rule| Rule {
                    calls: rule.calls().iter().map(String::as_str).collect(),
                    clause: Clause {
                        when: Guard::All(rule.comparisons().iter().map(Condition::from).collect()),
                        action: rule.action(),
                    },
                }));
                match list.otherwise {
                    SeccompOtherwise::Build => policy.build(allow_nested),
                    SeccompOtherwise::StrictIo => policy.strict_io(),
                    SeccompOtherwise::Action(action) => policy.otherwise = action,
                    // Whatever comes to be known beyond these is not let through unread.
                    _ => policy.otherwise = SeccompAction::Errno(Errno::EPERM),
                }
            }
            _ => {}
        }
        for (place, rule) in policy.rules.iter().enumerate() {
            for call in &rule.calls {
                policy.index.entry(*call).or_default().push(place);
            }
        }
        policy
    }

    /// The rules about a call, by this name or by another, in their order.
    fn about(&self, name: &str, other: &str) -> impl Iterator<Item = &Rule<'a>> {
        let named = |name| self.index.get(name).map_or(&[][..], Vec::as_slice);
        let (one, two) = match name == other {
            true => (named(name), &[][..]),
            false => (named(name), named(other)),
        };
        let mut places = [one, two].concat();
        if !two.is_empty() {
            places.sort_unstable();
            places.dedup();
        }
        places.into_iter().filter_map(|place| self.rules.get(place))
    }

    fn build(&mut self, allow_nested: bool) {
        self.close(presets::BUILD);
        if !allow_nested {
            self.close(presets::MOUNTS);
        }
    }

    fn strict_io(&mut self) {
        self.rules.push(Rule {
            calls: presets::STRICT_IO.to_vec(),
            clause: Clause {
                when: Guard::All(Vec::new()),
                action: SeccompAction::Allow,
            },
        });
        self.otherwise = SeccompAction::Kill;
    }

    fn close(&mut self, table: &[Closed]) {
        for closed in table {
            let rules = closed.rules.iter().map(|rule| Rule {
                calls: closed.calls.to_vec(),
                clause: Clause {
                    when: rule.when.into(),
                    action: rule.action,
                },
            });
            self.rules.extend(rules);
        }
    }

    /// What happens to the call of this name.
    pub(crate) fn decide(&self, name: &str) -> Decision {
        let usual = usual(name);
        let mut clauses = Vec::new();
        for rule in self.about(name, usual) {
            if rule.clause.when == Guard::All(Vec::new()) {
                let otherwise = rule.clause.action;
                return Decision { clauses, otherwise }.simplify();
            }
            clauses.push(rule.clause.clone());
        }
        if let Some(multiplexer) = MULTIPLEXERS.iter().find(|call| call.name == name) {
            clauses.extend(self.parts(multiplexer));
        }
        Decision {
            clauses,
            otherwise: self.otherwise,
        }
        .simplify()
    }

    /// What happens to the calls behind a multiplexer: what happens to them by themselves. Where
    /// that depends on arguments, which are in memory here, they are closed, and the C libraries
    /// take the plain call.
    fn parts(&self, multiplexer: &Multiplexer) -> Vec<Clause> {
        multiplexer
            .parts
            .iter()
            .map(|(number, name)| {
                let decision = self.decide(name);
                let action = if decision.clauses.is_empty() {
                    decision.otherwise
                } else {
                    SeccompAction::Errno(Errno::ENOSYS)
                };
                let part = Condition {
                    argument: 0,
                    operator: SeccompOperator::MaskedEq(multiplexer.mask),
                    value: *number,
                };
                Clause {
                    when: Guard::All(vec![part]),
                    action,
                }
            })
            .filter(|clause| clause.action != self.otherwise)
            .collect()
    }

    /// What happens to a number that the tables do not have: the call is newer than they are, or
    /// of another ABI.
    fn unknown(&self) -> Decision {
        Decision::always(if lets_through(self.otherwise) {
            SeccompAction::Errno(Errno::ENOSYS)
        } else {
            self.otherwise
        })
    }

    /// What happens to every number of an ABI: each decision holds up to the next.
    pub(crate) fn by_number(&self, abi: &Abi) -> Vec<(u32, Decision)> {
        let mut decisions = Vec::new();
        let mut next = 0;
        for (number, name) in abi.calls() {
            if number > next {
                decisions.push((next, self.unknown()));
            }
            decisions.push((number, self.decide(name)));
            next = number + 1;
        }
        decisions.push((next, self.unknown()));
        // -1 is how a tracer says that the call is not to be made (ptrace(2)); the kernel asks
        // the filter all the same, whose answer would replace the tracer's.
        if lets_through(self.otherwise) {
            decisions.push((u32::MAX, Decision::always(SeccompAction::Allow)));
        }
        decisions
    }
}
