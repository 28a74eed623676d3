//! The preset that nearly everybody uses, compiled before: whoever starts a single command would
//! spend more on that than on all else that comes before the command.
//!
//! `SANDBOXLIB_BLESS=1 cargo test -p sandboxlib-seccomp ready` writes them anew.

use crate::Arch;
use crate::program::{Instruction, Program};

/// `Seccomp::Build` for `arch`: instructions as the kernel has them, in little-endian order.
fn bytes(allow_nested: bool, arch: Arch) -> &'static [u8] {
    match (arch, allow_nested) {
        (Arch::X86_64, false) => include_bytes!("ready/x86_64.bpf"),
        (Arch::X86_64, true) => include_bytes!("ready/x86_64-nested.bpf"),
        (Arch::Aarch64, false) => include_bytes!("ready/aarch64.bpf"),
        (Arch::Aarch64, true) => include_bytes!("ready/aarch64-nested.bpf"),
    }
}

/// The program of `Seccomp::Build`.
pub(crate) fn build(allow_nested: bool, arch: Arch) -> Program {
    let instructions = bytes(allow_nested, arch).chunks_exact(8).map(|chunk| {
        let word = |at: usize| u32::from(chunk[at]);
        Instruction {
            code: u16::from_le_bytes([chunk[0], chunk[1]]),
            jt: chunk[2],
            jf: chunk[3],
            k: word(4) | word(5) << 8 | word(6) << 16 | word(7) << 24,
        }
    });
    Program::new(instructions.collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sandboxlib_config::Seccomp;

    use super::*;

    #[test]
    fn ready_is_what_is_compiled() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            for allow_nested in [false, true] {
                let compiled = crate::translate(&Seccomp::Build, allow_nested, arch).unwrap();
                if std::env::var_os("SANDBOXLIB_BLESS").is_some() {
                    let name = match arch {
                        Arch::X86_64 => "x86_64",
                        Arch::Aarch64 => "aarch64",
                    };
                    let nested = if allow_nested { "-nested" } else { "" };
                    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ready");
                    let bytes = compiled.to_bytes();
                    std::fs::write(dir.join(format!("{name}{nested}.bpf")), bytes).unwrap();
                    continue;
                }
                assert_eq!(
                    build(allow_nested, arch),
                    compiled,
                    "{arch:?} {allow_nested}"
                );
            }
        }
    }
}
