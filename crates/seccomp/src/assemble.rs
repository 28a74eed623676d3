//! Instructions: a tree over the numbers, and the comparisons below it.
//!
//! All jumps go forward and are relative, so parts can be put anywhere as they are.

use std::collections::HashMap;

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

/// How far a conditional jump is let reach: it takes one byte, and jumps that reach farther may
/// have to be put before it.
const REACH: usize = 240;

/// A program that is put together from its end to its beginning, because all jumps go forward.
/// What would be there twice is there once: the kernel translates each instruction of each command.
#[derive(Debug, Default)]
struct Backwards {
    /// The last instruction first. An instruction is known by its place here.
    code: Vec<Instruction>,
    /// Where code begins that may be jumped to by others, too.
    shared: HashMap<Vec<Instruction>, usize>,
}

impl Backwards {
    /// Puts an instruction before all others.
    fn push(&mut self, instruction: Instruction) -> usize {
        self.code.push(instruction);
        self.code.len() - 1
    }

    /// How many instructions one that comes next would pass over to get to `place`.
    fn over(&self, place: usize) -> usize {
        self.code.len() - 1 - place
    }

    fn jump(&mut self, place: usize) -> usize {
        // Far too long a program is refused before the kernel sees it.
        let over = u32::try_from(self.over(place)).unwrap_or(u32::MAX);
        self.push(Instruction::jump(over))
    }

    /// `place`, or that of a jump to it which a comparison can reach.
    fn reach(&mut self, place: usize) -> usize {
        match self.over(place) {
            ..=REACH => place,
            _ => self.jump(place),
        }
    }

    /// Has whatever comes next go on at `place`.
    fn go_on(&mut self, place: usize) {
        if self.over(place) > 0 {
            self.jump(place);
        }
    }

    /// Where `code` begins, which ends by itself.
    fn place(&mut self, code: &[Instruction]) -> usize {
        if let Some(place) = self.shared.get(code).copied() {
            // A jump is no shorter than a single instruction.
            if code.len() > 1 || self.over(place) <= REACH {
                return place;
            }
        }
        self.code.extend(code.iter().rev());
        let place = self.code.len() - 1;
        self.shared.insert(code.to_vec(), place);
        place
    }

    /// Goes to `yes` or to `no` by a comparison, which is `make` of how many to pass over.
    fn branch(&mut self, yes: usize, no: usize, make: impl Fn(u8, u8) -> Instruction) -> usize {
        let (yes, no) = (self.reach(yes), self.reach(no));
        let over = |place| u8::try_from(self.over(place)).unwrap_or(u8::MAX);
        let instruction = make(over(yes), over(no));
        self.push(instruction)
    }

    /// A tree of comparisons of the number, with the blocks as its leaves. When a filter is loaded
    /// the kernel asks it about every number there is (for `SECCOMP_RET_ALLOW` without arguments,
    /// `seccomp_cache_prepare`), so what many numbers have is near the top.
    fn tree(&mut self, blocks: &[Block]) -> usize {
        match blocks {
            [] => self.place(&[Instruction::answer(KILL)]),
            [one] => self.place(&one.code),
            [around, one, rest] if one.first + 1 == rest.first && around.code == rest.code => {
                let (around, one) = (self.place(&around.code), self.place(&one.code));
                let first = blocks[1].first;
                self.branch(one, around, |jt, jf| Instruction::if_equal(first, jt, jf))
            }
            _ => {
                let (low, high) = blocks.split_at(middle(blocks));
                let from = high.first().map_or(0, |block| block.first);
                let (high, low) = (self.tree(high), self.tree(low));
                self.branch(high, low, |jt, jf| Instruction::if_at_least(from, jt, jf))
            }
        }
    }
}

/// Where to part them so that both sides have about as many numbers.
fn middle(blocks: &[Block]) -> usize {
    // Where no calls are is nothing to be asked about, but each comparison counts, too.
    const MOST: u32 = 512;
    const EACH: u32 = 8;
    let (first, last) = match blocks {
        [first, .., last] => (first.first, last.first),
        _ => return 1,
    };
    let weight = |to: u32, count: usize| {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        (to - first)
            .min(MOST)
            .saturating_add(count.saturating_mul(EACH))
    };
    let half = weight(last, blocks.len()) / 2;
    let before = blocks.iter().enumerate().skip(1);
    let far = |(n, block): &(usize, &Block)| weight(block.first, *n).abs_diff(half);
    before.min_by_key(far).map_or(1, |(n, _)| n)
}

/// The whole program: to each ABI its tree. A program of an ABI that the architecture is not
/// known to have is ended.
pub(crate) fn program(sections: &[(u32, Vec<Block>)]) -> Vec<Instruction> {
    let mut program = Backwards::default();
    let mut entries = Vec::new();
    for (audit, blocks) in sections.iter().rev() {
        let tree = program.tree(blocks);
        program.go_on(tree);
        entries.push((*audit, program.push(Instruction::load(NUMBER))));
    }
    let mut next = program.push(Instruction::answer(KILL));
    for (audit, entry) in entries {
        next = program.branch(entry, next, |jt, jf| Instruction::if_equal(audit, jt, jf));
    }
    program.go_on(next);
    program.push(Instruction::load(ABI));
    program.code.reverse();
    program.code
}
