//! The techniques, as data.

mod files;
mod kernel;
mod processes;
mod shared;

use crate::Technique;

/// All of them, by theme.
pub fn techniques() -> impl Iterator<Item = &'static Technique> {
    [files::LIST, processes::LIST, shared::LIST, kernel::LIST]
        .into_iter()
        .flatten()
}

/// What is not tried here, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    (
        "a unix socket below a writable bind",
        "it is no way out: who shows a directory to be written to shows what listens in it, and \
         every backend lets it be connected to, see SECURITY.md",
    ),
    (
        "images: `../`, links, device nodes, whiteouts, bombs",
        "there are no images yet",
    ),
    (
        "fork, memory, disk and output bombs",
        "resources are not limited yet, see SECURITY.md",
    ),
    (
        "x32 system calls",
        "no kernel at hand has them: where nothing stops the attack it does not work",
    ),
    (
        "a core dump handler (`core_pattern` with a pipe)",
        "it is a setting of the whole machine, which a test may not change; that it cannot be \
         opened from inside is tried",
    ),
    (
        "asking for the parent of a namespace by ioctl",
        "the kernel answers nobody who is inside: there is nowhere that it works",
    ),
    (
        "a directory passed on purpose by another descriptor than 0",
        "the command line passes none; descriptor 0 is tried",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_every_technique_can_succeed_somewhere() {
        let names: Vec<_> = super::techniques().map(|t| t.name).collect();
        let unique: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), unique.len());
        for t in super::techniques() {
            let never = |c| matches!(c, crate::Control::Not(_));
            assert!(!never(t.root) || !never(t.user), "{} never works", t.name);
        }
    }
}
