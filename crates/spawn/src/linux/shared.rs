//! Which tmpfs mounts of a script share one file system.
//!
//! To make a file system takes several calls, and to take it away takes the kernel as long again.
//! So the tmpfs mounts that differ in nothing but their permissions are directories of one. Its
//! root, which nobody is to see, is attached first, where the first of them then lies on top of
//! it: a detached one could be cloned from only since Linux 6.15, and to take a detached one away
//! is slower than all that is saved. Looking a path up does not lead below a mount on the same
//! place, and `..` leads past it.
//!
//! Who has `CAP_SYS_ADMIN` inside could unmount what lies on top, or open files by their handles,
//! so there each has a file system of its own.

use sandboxlib_config::SandboxPath;
use sandboxlib_core::{CapSet, ChildScript, Step};
use sandboxlib_mount::PlanStep;

/// What mkdir(2) can give a directory.
const MODES: u32 = 0o1777;

/// The steps of the mounts that share one file system, by their numbers in the script; none where
/// there would be one alone.
pub(super) fn steps(script: &ChildScript) -> Vec<u32> {
    if keeps_admin(script) {
        return Vec::new();
    }
    let alike: Vec<(u32, &SandboxPath)> = (0..)
        .zip(&script.steps)
        .filter_map(|(number, step)| match step {
            Step::Mount(PlanStep::Tmpfs {
                to,
                size: None,
                mode,
            }) if mode & !MODES == 0 && !is_sealed(to, script) => Some((number, to)),
            _ => None,
        })
        .collect();
    let apart = |to: &SandboxPath| {
        let related = |other: &SandboxPath| other.starts_with(to) || to.starts_with(other);
        // It is one of them itself.
        alike.iter().filter(|(_, other)| related(other)).count() == 1
    };
    // Programs take a directory for a mount point, or for another file system, by its device,
    // which must not be that of the directory above.
    let found: Vec<u32> = alike
        .iter()
        .filter(|(_, to)| apart(to))
        .map(|(number, _)| *number)
        .collect();
    if found.len() < 2 {
        return Vec::new();
    }
    found
}

/// Whether the command may unmount. Without a step that takes capabilities away it keeps what the
/// caller has.
pub(super) fn keeps_admin(script: &ChildScript) -> bool {
    let kept = script.steps.iter().rev().find_map(|step| match step {
        Step::Capabilities(keep) => Some(keep.contains(CapSet::SYS_ADMIN)),
        _ => None,
    });
    kept.unwrap_or(true)
}

/// What is sealed may be of the template, and the others are of one run.
fn is_sealed(to: &SandboxPath, script: &ChildScript) -> bool {
    script
        .steps
        .iter()
        .any(|step| matches!(step, Step::Mount(PlanStep::Seal { at }) if at == to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> SandboxPath {
        SandboxPath::new(path).unwrap()
    }

    fn tmpfs(path: &str) -> PlanStep {
        tmpfs_of(path, None, 0o755)
    }

    fn tmpfs_of(path: &str, size: Option<u64>, mode: u32) -> PlanStep {
        PlanStep::Tmpfs {
            to: at(path),
            size,
            mode,
        }
    }

    fn shared_by(mounts: Vec<PlanStep>, keep: Option<CapSet>) -> Vec<u32> {
        let mut steps: Vec<Step> = mounts.into_iter().map(Step::Mount).collect();
        steps.extend(keep.map(Step::Capabilities));
        super::steps(&ChildScript { steps })
    }

    fn shared(mounts: Vec<PlanStep>) -> Vec<u32> {
        shared_by(mounts, Some(CapSet::EMPTY))
    }

    #[test]
    fn those_that_differ_in_permissions_alone() {
        let tmp = || tmpfs_of("/tmp", None, 0o1777);
        assert_eq!(shared(vec![tmpfs("/home"), tmp()]), [0, 1]);
        assert_eq!(shared(vec![tmp()]), []);
        let small = tmpfs_of("/small", Some(4096), 0o755);
        assert_eq!(shared(vec![small, tmpfs("/home"), tmp()]), [1, 2]);
        // mkdir(2) makes no directory with set-group-id.
        let set = tmpfs_of("/set", None, 0o2755);
        assert_eq!(shared(vec![tmpfs("/home"), set, tmp()]), [0, 2]);
        let seal = PlanStep::Seal { at: at("/dev") };
        let dev = vec![tmpfs("/dev"), tmpfs("/dev/shm"), seal, tmpfs("/home")];
        assert_eq!(shared(dev), [1, 3]);
    }

    #[test]
    fn those_that_lie_apart() {
        let three = |second| shared(vec![tmpfs("/a"), tmpfs(second), tmpfs("/b"), tmpfs("/c")]);
        assert_eq!(three("/a/in"), [2, 3]);
        assert_eq!(three("/a"), [2, 3]);
        assert_eq!(three("/ab"), [0, 1, 2, 3]);
        assert_eq!(shared(vec![tmpfs("/a/in"), tmpfs("/b"), tmpfs("/a")]), []);
    }

    #[test]
    fn not_where_one_can_be_unmounted() {
        let two = || vec![tmpfs("/a"), tmpfs("/b")];
        assert_eq!(shared_by(two(), Some(CapSet::SYS_ADMIN)), []);
        assert_eq!(shared_by(two(), None), []);
        let others = CapSet::from_bits(!(1 << 21));
        assert_eq!(shared_by(two(), Some(others)), [0, 1]);
    }
}
