//! Instructions: a tree over the numbers, and the comparisons below it.
//!
//! All jumps go forward and are relative, so parts are put behind one another as they are.

use sandboxlib_config::{SeccompAction, SeccompOperator};
use seccompiler::{BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use crate::CompileError;
use crate::policy::{Condition, Decision, Guard};
use crate::program::Instruction;

/// Where `struct seccomp_data` (linux/seccomp.h) has the number of the call.
const NUMBER: u32 = 0;
/// Where it has the ABI.
const ABI: u32 = 4;
/// Where it has the arguments, 8 bytes each, the lower half first.
const ARGUMENTS: u32 = 16;

const KILL: u32 = 0x8000_0000;

/// What the kernel makes of an action (`SECCOMP_RET_`).
fn answer(action: SeccompAction) -> u32 {
    match action {
        SeccompAction::Allow => 0x7fff_0000,
        SeccompAction::Log => 0x7ffc_0000,
        SeccompAction::Errno(errno) => 0x0005_0000 | u32::from(errno.number()),
        // Whatever comes to be known beyond these is not let through unread.
        _ => KILL,
    }
}

/// The instructions for the numbers from `first` up to the next block.
#[derive(Debug)]
pub(crate) struct Block {
    first: u32,
    code: Vec<Instruction>,
}

impl Block {
    pub(crate) fn new(first: u32, decision: &Decision) -> Result<Self, CompileError> {
        let mut code = Vec::new();
        for clause in &decision.clauses {
            match &clause.when {
                Guard::All(conditions) => code.extend(comparisons(conditions)?),
                Guard::AnyBit { argument, mask } => code.extend([
                    Instruction::load(ARGUMENTS + 8 * u32::from(*argument)),
                    Instruction::if_any_bit(*mask, 0, 1),
                ]),
            }
            code.push(Instruction::answer(answer(clause.action)));
        }
        code.push(Instruction::answer(answer(decision.otherwise)));
        Ok(Self { first, code })
    }
}

/// Goes on to the next instruction if all of the conditions are true, and else passes over it.
fn comparisons(conditions: &[Condition]) -> Result<Vec<Instruction>, CompileError> {
    let wrong = |e: seccompiler::Error| CompileError::Comparison(e.to_string());
    let backend = |e: seccompiler::BackendError| wrong(e.into());
    let conditions: Result<Vec<_>, _> = conditions
        .iter()
        .map(|condition| {
            let operator = match condition.operator {
                SeccompOperator::Eq => SeccompCmpOp::Eq,
                SeccompOperator::Ne => SeccompCmpOp::Ne,
                SeccompOperator::Lt => SeccompCmpOp::Lt,
                SeccompOperator::Le => SeccompCmpOp::Le,
                SeccompOperator::Gt => SeccompCmpOp::Gt,
                SeccompOperator::Ge => SeccompCmpOp::Ge,
                SeccompOperator::MaskedEq(mask) => SeccompCmpOp::MaskedEq(mask),
                other => return Err(CompileError::Comparison(format!("{other:?}"))),
            };
            // In full width: the half that is not looked at would be a way around the rule.
            let width = SeccompCmpArgLen::Qword;
            SeccompCondition::new(condition.argument, width, operator, condition.value)
                .map_err(backend)
        })
        .collect();
    let rule = SeccompRule::new(conditions?).map_err(backend)?;
    let code = BpfProgram::from(rule);
    Ok(code
        .iter()
        .map(|i| Instruction {
            code: i.code,
            jt: i.jt,
            jf: i.jf,
            k: i.k,
        })
        .collect())
}

/// A balanced tree of comparisons of the number, with the blocks as its leaves.
///
/// Leaves with the same answer are one, as far as a jump reaches: the kernel takes the longer to
/// load a program the longer it is, and that for each command.
pub(crate) fn tree(blocks: &[Block]) -> Vec<Instruction> {
    let mut tree = Tree::default();
    let root = tree.add(blocks);
    // It begins with its root.
    if root + 1 != tree.backwards.len() {
        tree.jump_to(root);
    }
    tree.backwards.reverse();
    tree.backwards
}

/// A tree in the making, from its end: so whatever a comparison jumps to is in its place already.
#[derive(Default)]
struct Tree {
    backwards: Vec<Instruction>,
    /// Where each answer was written last.
    answers: Vec<(Instruction, usize)>,
}

impl Tree {
    /// A conditional jump reaches 255 instructions, of which a comparison may need two to get at
    /// what is farther away.
    const REACH: usize = 253;

    /// Where the part begins that tells these blocks apart.
    fn add(&mut self, blocks: &[Block]) -> usize {
        match blocks {
            [] => self.answer(Instruction::answer(KILL)),
            [one] => match *one.code {
                [answer] => self.answer(answer),
                _ => {
                    self.backwards.extend(one.code.iter().rev());
                    self.last()
                }
            },
            _ => {
                let (low, high) = blocks.split_at(blocks.len() / 2);
                let from = high.first().map_or(0, |block| block.first);
                let (mut high, mut low) = (self.add(high), self.add(low));
                for part in [&mut high, &mut low] {
                    if self.over(*part) > Self::REACH {
                        *part = self.jump_to(*part);
                    }
                }
                let [high, low] = [high, low].map(|part| {
                    // It is within reach by now.
                    u8::try_from(self.over(part)).unwrap_or(u8::MAX)
                });
                let comparison = Instruction::if_at_least(from, high, low);
                self.backwards.push(comparison);
                self.last()
            }
        }
    }

    /// Where this answer is given, near enough for what comes next.
    fn answer(&mut self, answer: Instruction) -> usize {
        let known = self.answers.iter().position(|(given, _)| *given == answer);
        let near = known.map(|known| self.answers[known].1);
        // The other half of the comparison is yet to come between them.
        if let Some(near) = near.filter(|near| self.over(*near) < Self::REACH / 2) {
            return near;
        }
        self.backwards.push(answer);
        let here = self.last();
        match known {
            Some(known) => self.answers[known].1 = here,
            None => self.answers.push((answer, here)),
        }
        here
    }

    fn jump_to(&mut self, part: usize) -> usize {
        let over = u32::try_from(self.over(part)).unwrap_or(u32::MAX);
        self.backwards.push(Instruction::jump(over));
        self.last()
    }

    /// How many instructions the next one passes over to get there.
    fn over(&self, part: usize) -> usize {
        self.backwards.len() - 1 - part
    }

    fn last(&self) -> usize {
        self.backwards.len() - 1
    }
}

/// The whole program: to each ABI its tree. A program of an ABI that the architecture is not
/// known to have is ended.
pub(crate) fn dispatch(sections: &[(u32, Vec<Instruction>)]) -> Vec<Instruction> {
    let mut code = vec![Instruction::load(ABI)];
    for (audit, tree) in sections {
        let mut section = vec![Instruction::load(NUMBER)];
        section.extend(tree);
        code.push(Instruction::if_equal(*audit, 1, 0));
        code.push(jump_over(&section));
        code.extend(section);
    }
    code.push(Instruction::answer(KILL));
    code
}

fn jump_over(code: &[Instruction]) -> Instruction {
    // Far too long a program is refused before the kernel sees it.
    Instruction::jump(u32::try_from(code.len()).unwrap_or(u32::MAX))
}
