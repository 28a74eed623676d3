#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod abi;
mod alias;
mod assemble;
mod policy;
pub mod presets;
mod program;
mod ready;
#[cfg(test)]
mod tests;

use sandboxlib_config::Seccomp;

pub use abi::Arch;
pub use program::{Instruction, Program};

use assemble::Block;
use policy::{Decision, Policy};

/// Why there is no program for a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// No architecture has a call of this name.
    #[error("there is no system call {0:?}")]
    UnknownCall(String),
    /// Without it the command itself could not be started.
    #[error(
        "the rules have to allow {0} without conditions: the filter is loaded before the command \
         is executed"
    )]
    Needed(&'static str),
    /// The kernel takes no more than 4096 instructions (seccomp(2)).
    #[error("the filter has {0} instructions, and the kernel takes {most} at most", most = Program::MOST)]
    TooLong(usize),
    /// The rules name calls so many times. What they come to would be far too long as well, and
    /// would have to be held in memory to know it.
    #[error("the rules name calls {0} times, and {most} times is the most", most = MOST_NAMES)]
    TooMany(usize),
    /// A comparison that cannot be assembled.
    #[error("a comparison cannot be assembled: {0}")]
    Comparison(String),
}

/// The most names that all rules of a list have together: more than a hundred rules about every
/// call there is.
const MOST_NAMES: usize = 65_536;

/// The program that lets through what `seccomp` does, on machines of this architecture. Unless
/// `allow_nested`, calls that make namespaces are closed before anything else is asked.
///
/// A call that is newer than the tables of this crate fails with ENOSYS wherever others are
/// allowed, as on a kernel without it.
///
/// # Errors
/// [`CompileError`].
pub fn compile(seccomp: &Seccomp, allow_nested: bool, arch: Arch) -> Result<Program, CompileError> {
    match seccomp {
        Seccomp::Build => Ok(ready::build(allow_nested, arch)),
        _ => translate(seccomp, allow_nested, arch),
    }
}

fn translate(seccomp: &Seccomp, allow_nested: bool, arch: Arch) -> Result<Program, CompileError> {
    if let Seccomp::Rules(list) = seccomp {
        let names = list.rules.iter().map(|rule| rule.calls().len()).sum();
        if names > MOST_NAMES {
            return Err(CompileError::TooMany(names));
        }
        let mut names = list.rules.iter().flat_map(|rule| rule.calls());
        if let Some(name) = names.find(|name| !abi::is_known(name)) {
            return Err(CompileError::UnknownCall(name.clone()));
        }
    }
    let policy = Policy::new(seccomp, allow_nested);
    // What comes between the filter and the command, and ends the process where that fails.
    for needed in ["execve", "exit_group"] {
        if !policy.decide(needed).always_allows() {
            return Err(CompileError::Needed(needed));
        }
    }
    let mut sections = Vec::new();
    for abi in arch.abis() {
        let mut ranges: Vec<(u32, Decision)> = Vec::new();
        for (number, decision) in policy.by_number(abi) {
            // Neighbours that are decided alike are one range.
            if ranges.last().is_none_or(|(_, last)| *last != decision) {
                ranges.push((number, decision));
            }
        }
        let blocks: Result<Vec<Block>, CompileError> = ranges
            .iter()
            .map(|(first, decision)| Block::new(*first, decision))
            .collect();
        sections.push((abi.audit, blocks?));
    }
    let program = Program::new(assemble::program(&sections));
    match program.instructions().len() {
        len if len > Program::MOST => Err(CompileError::TooLong(len)),
        _ => Ok(program),
    }
}
