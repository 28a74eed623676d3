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
pub(crate) fn tree(blocks: &[Block]) -> Vec<Instruction> {
    match blocks {
        [] => vec![Instruction::answer(KILL)],
        [one] => one.code.clone(),
        _ => {
            let (low, high) = blocks.split_at(blocks.len() / 2);
            let from = high.first().map_or(0, |block| block.first);
            let (low, high) = (tree(low), tree(high));
            let mut code = Vec::with_capacity(low.len() + high.len() + 2);
            // A conditional jump reaches 255 instructions.
            match u8::try_from(low.len()) {
                Ok(over) => code.push(Instruction::if_at_least(from, over, 0)),
                Err(_) => {
                    code.push(Instruction::if_at_least(from, 0, 1));
                    code.push(jump_over(&low));
                }
            }
            code.extend(low);
            code.extend(high);
            code
        }
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
