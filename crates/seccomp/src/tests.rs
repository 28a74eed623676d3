#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use sandboxlib_config::{
    Errno, SeccompAction, SeccompComparison, SeccompOperator, SeccompOtherwise, SeccompRule,
    SeccompRules,
};

use super::*;
use crate::presets::Closed;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const KILL: u32 = 0x8000_0000;
const EPERM: u32 = errno(1);
const ENOSYS: u32 = errno(38);

const fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}

/// A call as the kernel shows it to a filter.
#[derive(Debug, Clone, Copy)]
struct Call {
    abi: u32,
    number: u32,
    args: [u64; 6],
}

/// What the kernel's interpreter does, for the instructions that a filter may have; and how many
/// of them it takes.
fn run(program: &Program, call: Call) -> (u32, usize) {
    let word = |offset: u32| match offset {
        0 => call.number,
        4 => call.abi,
        16..=60 if offset.is_multiple_of(4) => {
            let at = (offset - 16) as usize;
            let half = call.args[at / 8] >> (8 * (at % 8));
            u32::try_from(half & 0xffff_ffff).unwrap()
        }
        _ => panic!("a load from {offset}"),
    };
    let code = program.instructions();
    let (mut at, mut a, mut steps) = (0, 0, 0);
    loop {
        let i = code[at];
        at += 1;
        steps += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { i.jt } else { i.jf });
        match i.code {
            0x20 => a = word(i.k),
            0x54 => a &= i.k,
            0x05 => at += i.k as usize,
            0x15 => branch(a == i.k),
            0x25 => branch(a > i.k),
            0x35 => branch(a >= i.k),
            0x45 => branch(a & i.k != 0),
            0x06 => return (i.k, steps),
            code => panic!("instruction {code:#x}"),
        }
    }
}

fn number(abi: u32, name: &str) -> u32 {
    [Arch::X86_64, Arch::Aarch64]
        .iter()
        .flat_map(|arch| arch.abis())
        .find(|known| known.audit == abi)
        .and_then(|known| known.calls().find(|(_, call)| *call == name))
        .unwrap_or_else(|| panic!("{name} in {abi:#x}"))
        .0
}

fn told(program: &Program, abi: u32, name: &str, args: &[u64]) -> u32 {
    let mut six = [0; 6];
    six[..args.len()].copy_from_slice(args);
    let number = number(abi, name);
    run(
        program,
        Call {
            abi,
            number,
            args: six,
        },
    )
    .0
}

fn build(nested: bool, arch: Arch) -> Program {
    compile(&Seccomp::Build, nested, arch).unwrap()
}

fn list(otherwise: SeccompOtherwise, rules: Vec<SeccompRule>) -> Seccomp {
    Seccomp::Rules(SeccompRules { rules, otherwise })
}

fn rule(calls: &[&str], action: SeccompAction) -> SeccompRule {
    SeccompRule::new(calls.iter().copied(), action).unwrap()
}

/// Every ABI, with the program that holds for it.
fn each_abi(seccomp: &Seccomp, nested: bool) -> Vec<(u32, Program)> {
    let on = |arch| compile(seccomp, nested, arch).unwrap();
    vec![
        (X86_64, on(Arch::X86_64)),
        (I386, on(Arch::X86_64)),
        (AARCH64, on(Arch::Aarch64)),
        (ARM, on(Arch::Aarch64)),
    ]
}

#[test]
fn what_build_closes_always_is_closed_in_every_abi() {
    let tables = [presets::NAMESPACES, presets::MOUNTS, presets::BUILD].concat();
    for (abi, program) in each_abi(&Seccomp::Build, false) {
        let known: BTreeSet<&str> = [Arch::X86_64, Arch::Aarch64]
            .iter()
            .flat_map(|arch| arch.abis())
            .filter(|known| known.audit == abi)
            .flat_map(abi::Abi::calls)
            .map(|(_, name)| name)
            .collect();
        let mut closed = 0;
        for Closed { calls, rules, .. } in &tables {
            for call in calls.iter().filter(|call| known.contains(*call)) {
                let last = rules.last().unwrap();
                if let (presets::When::Always, SeccompAction::Errno(e)) = (last.when, last.action) {
                    let wanted = errno(u32::from(e.number()));
                    // No family and no request of this number is open.
                    let answer = told(&program, abi, call, &[40, 40, 40]);
                    assert_eq!(answer, wanted, "{call} in {abi:#x}");
                    closed += 1;
                }
            }
        }
        assert!(closed > 20, "{closed}");
    }
    // Each name is one that some architecture has, or nothing would be closed by it.
    for call in tables.iter().flat_map(|closed| closed.calls) {
        assert!(abi::is_known(call), "{call}");
    }
}

#[test]
fn what_builds_need_is_open() {
    let both = [
        "read",
        "write",
        "openat",
        "openat2",
        "execve",
        "execveat",
        "wait4",
        "mmap",
        "mprotect",
        "ptrace",
        "personality",
        "process_vm_readv",
        "process_vm_writev",
        "pidfd_open",
        "pidfd_getfd",
        "memfd_create",
        "seccomp",
        "prctl",
        "mknodat",
        "fchownat",
        "fchmodat",
        "setresuid",
        "chroot",
        "kill",
        "futex",
        "rseq",
        "statx",
        "copy_file_range",
        "splice",
        "inotify_add_watch",
        "prlimit64",
        "sched_setaffinity",
        "unlinkat",
        "renameat2",
    ];
    for (abi, program) in [
        (X86_64, build(false, Arch::X86_64)),
        (AARCH64, build(false, Arch::Aarch64)),
    ] {
        for name in both {
            assert_eq!(told(&program, abi, name, &[]), ALLOW, "{name} in {abi:#x}");
        }
    }
    let program = build(false, Arch::X86_64);
    for name in [
        "fork",
        "vfork",
        "open",
        "modify_ldt",
        "mmap2",
        "ipc",
        "setuid32",
    ] {
        assert_eq!(told(&program, I386, name, &[]), ALLOW, "{name}");
    }
}

#[test]
fn namespaces_are_closed_unless_nested_ones_are_allowed() {
    const NEWUSER: u64 = 0x1000_0000;
    const SIGCHLD: u64 = 17;
    for (abi, program) in each_abi(&Seccomp::Build, false) {
        let told = |name, flags| told(&program, abi, name, &[flags]);
        assert_eq!(told("clone", SIGCHLD), ALLOW);
        for bit in [17, 25, 26, 27, 28, 29, 30] {
            assert_eq!(told("clone", SIGCHLD | 1 << bit), EPERM, "{bit}");
            assert_eq!(told("unshare", 1 << bit), EPERM, "{bit}");
        }
        assert_eq!(told("unshare", 0x80), EPERM);
        // CLONE_FILES, CLONE_FS.
        assert_eq!(told("unshare", 0x600), ALLOW);
        assert_eq!(told("clone3", 0), ENOSYS);
        assert_eq!(told("mount", 0), EPERM);
        assert_eq!(told("fsopen", 0), EPERM);
        // The upper half is not looked at by the kernel either.
        assert_eq!(told("clone", NEWUSER | 1 << 40), EPERM);
    }
    assert_eq!(
        told(&build(false, Arch::X86_64), I386, "umount", &[]),
        EPERM
    );
    for (abi, program) in each_abi(&Seccomp::Build, true) {
        for (name, arg) in [("clone", NEWUSER), ("unshare", NEWUSER), ("clone3", 0)] {
            assert_eq!(told(&program, abi, name, &[arg]), ALLOW, "{name}");
        }
        assert_eq!(told(&program, abi, "mount", &[]), ALLOW);
        assert_eq!(told(&program, abi, "keyctl", &[]), ENOSYS);
    }
    // Without a filter otherwise, and with one of one's own.
    let own = list(
        SeccompOtherwise::Action(SeccompAction::Log),
        vec![rule(&["clone"], SeccompAction::Kill)],
    );
    for (seccomp, plain) in [(Seccomp::None, ALLOW), (own, KILL)] {
        for (abi, program) in each_abi(&seccomp, false) {
            assert_eq!(told(&program, abi, "clone", &[NEWUSER]), EPERM);
            assert_eq!(told(&program, abi, "clone", &[SIGCHLD]), plain);
            assert_eq!(told(&program, abi, "unshare", &[NEWUSER]), EPERM);
        }
    }
}

#[test]
fn terminals_are_not_typed_into_whatever_the_upper_half() {
    for (abi, program) in each_abi(&Seccomp::Build, false) {
        for request in [0x5412, 0x541c] {
            assert_eq!(told(&program, abi, "ioctl", &[0, request]), EPERM);
            let high = request | 0xffff_ffff << 32;
            assert_eq!(told(&program, abi, "ioctl", &[0, high]), EPERM);
            let one = request | 1 << 32;
            assert_eq!(told(&program, abi, "ioctl", &[0, one]), EPERM);
        }
        assert_eq!(told(&program, abi, "ioctl", &[0, 0x5413]), ALLOW);
    }
}

#[test]
fn families_of_sockets() {
    for (abi, program) in each_abi(&Seccomp::Build, false) {
        let told = |name, args: &[u64]| told(&program, abi, name, args);
        for family in 0..64 {
            let open = [1, 2, 10].contains(&family);
            let wanted = if open { ALLOW } else { errno(97) };
            assert_eq!(told("socketpair", &[family, 1, 0]), wanted, "{family}");
            if family != 16 {
                assert_eq!(told("socket", &[family, 1, 0]), wanted, "{family}");
                let high = family | 5 << 32;
                assert_eq!(told("socket", &[high, 1, 0]), wanted, "{family}");
            }
        }
        for protocol in 0..32 {
            let open = protocol == 0;
            let wanted = if open { ALLOW } else { errno(93) };
            assert_eq!(told("socket", &[16, 3, protocol]), wanted, "{protocol}");
        }
    }
    // The multiplexer of i386 has the arguments in memory.
    let program = build(false, Arch::X86_64);
    let by = |part| told(&program, I386, "socketcall", &[part]);
    assert_eq!((by(1), by(8)), (ENOSYS, ENOSYS));
    for part in [
        2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
    ] {
        assert_eq!(by(part), ALLOW, "{part}");
    }
}

#[test]
fn a_list_holds_behind_multiplexers_and_for_aliases() {
    let program = |otherwise, rules| compile(&list(otherwise, rules), true, Arch::X86_64).unwrap();
    let open = SeccompOtherwise::Action(SeccompAction::Allow);
    let closes = program(
        open,
        vec![rule(
            &["connect", "shmget", "fcntl", "settimeofday"],
            SeccompAction::Kill,
        )],
    );
    let i386 = |name, args: &[u64]| told(&closes, I386, name, args);
    assert_eq!(i386("socketcall", &[3]), KILL);
    assert_eq!(i386("socketcall", &[2]), ALLOW);
    assert_eq!(i386("ipc", &[23]), KILL);
    assert_eq!(i386("ipc", &[1 << 16 | 23]), KILL);
    assert_eq!(i386("ipc", &[22]), ALLOW);
    assert_eq!(i386("fcntl64", &[]), KILL);
    assert_eq!(i386("stime", &[]), KILL);

    let closed = SeccompOtherwise::Action(SeccompAction::Errno(Errno::EPERM));
    let needed = ["execve", "exit_group", "connect"];
    let opens = program(closed, vec![rule(&needed, SeccompAction::Allow)]);
    assert_eq!(told(&opens, I386, "socketcall", &[3]), ALLOW);
    assert_eq!(told(&opens, I386, "socketcall", &[1]), EPERM);
    assert_eq!(told(&opens, X86_64, "read", &[]), EPERM);
}

/// A call of a 32-bit ABI has a counterpart of the same name, an alias, or nothing that it would
/// be compared to: else a rule about the one would say nothing of the other.
#[test]
fn every_call_of_a_32_bit_abi_is_accounted_for() {
    let names = |arch: Arch, n: usize| -> BTreeSet<&str> {
        arch.abis()[n].calls().map(|(_, name)| name).collect()
    };
    let (x86_64, aarch64) = (names(Arch::X86_64, 0), names(Arch::Aarch64, 0));
    for (wide, narrow) in [
        (&x86_64, names(Arch::X86_64, 1)),
        (&x86_64, names(Arch::Aarch64, 1)),
        (&x86_64, aarch64.clone()),
    ] {
        for name in narrow {
            let alone = alias::WITHOUT_COUNTERPART.contains(&name);
            let known = wide.contains(name)
                || wide.contains(alias::usual(name))
                || alias::WITHOUT_COUNTERPART.contains(&alias::usual(name));
            assert!(known, "{name}");
            assert!(!(alone && wide.contains(name)), "{name}");
        }
    }
}

#[test]
fn strict_io_lets_little_through() {
    for (abi, program) in each_abi(&Seccomp::StrictIo, false) {
        for name in [
            "read",
            "write",
            "exit",
            "exit_group",
            "rt_sigreturn",
            "execve",
        ] {
            assert_eq!(told(&program, abi, name, &[]), ALLOW, "{name}");
        }
        for name in [
            "openat", "munmap", "brk", "kill", "clone", "clone3", "ioctl", "execveat",
        ] {
            assert_eq!(told(&program, abi, name, &[]), KILL, "{name}");
        }
        let far = Call {
            abi,
            number: 5000,
            args: [0; 6],
        };
        assert_eq!(run(&program, far).0, KILL);
    }
}

#[test]
fn numbers_that_nobody_knows() {
    for (abi, program) in each_abi(&Seccomp::Build, false) {
        let by = |number| {
            let args = [0; 6];
            run(&program, Call { abi, number, args }).0
        };
        assert_eq!(by(1000), ENOSYS);
        assert_eq!(by(0x7fff_ffff), ENOSYS);
        // x32.
        assert_eq!(by(0x4000_0000 + 1), ENOSYS);
        assert_eq!(by(u32::MAX - 1), ENOSYS);
        // A tracer's "do not".
        assert_eq!(by(u32::MAX), ALLOW);
    }
    let (strange, args) = (0x8000_0016, [0; 6]);
    let call = Call {
        abi: strange,
        number: 1,
        args,
    };
    assert_eq!(run(&build(false, Arch::X86_64), call).0, KILL);
    // Calls of 32-bit ARM that are far beyond the others.
    let program = build(false, Arch::Aarch64);
    assert_eq!(told(&program, ARM, "cacheflush", &[]), ALLOW);
    assert_eq!(told(&program, ARM, "set_tls", &[]), ALLOW);
}

#[test]
fn it_is_short_and_quick() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let program = build(false, arch);
        let len = program.instructions().len();
        assert!(len < 450, "{len}");
        assert_eq!(program.to_bytes().len(), 8 * len);
        let abi = arch.abis()[0].audit;
        for name in ["read", "write", "openat", "close", "mmap", "futex"] {
            let (number, args) = (number(abi, name), [0; 6]);
            let (answer, steps) = run(&program, Call { abi, number, args });
            assert_eq!(answer, ALLOW);
            assert!(steps <= 12, "{name}: {steps}");
        }
    }
}

#[test]
fn what_cannot_be_is_told() {
    let open = SeccompOtherwise::Action(SeccompAction::Allow);
    let no = |seccomp: Seccomp| compile(&seccomp, false, Arch::X86_64).unwrap_err();
    assert_eq!(
        no(list(
            open,
            vec![rule(&["read", "raed"], SeccompAction::Kill)]
        )),
        CompileError::UnknownCall("raed".into())
    );
    // A call of another architecture is none that nobody knows.
    let other = list(open, vec![rule(&["pciconfig_iobase"], SeccompAction::Kill)]);
    assert!(compile(&other, false, Arch::X86_64).is_ok());
    let closed = SeccompOtherwise::Action(SeccompAction::Kill);
    assert_eq!(no(list(closed, vec![])), CompileError::Needed("execve"));
    let half = list(closed, vec![rule(&["execve"], SeccompAction::Allow)]);
    assert_eq!(no(half), CompileError::Needed("exit_group"));
    let condition = SeccompComparison::new(0, SeccompOperator::Ne, 0).unwrap();
    let sometimes = rule(&["exit_group"], SeccompAction::Kill)
        .when(condition)
        .unwrap();
    assert_eq!(
        no(list(open, vec![sometimes])),
        CompileError::Needed("exit_group")
    );
    let long: Vec<SeccompRule> = (0..600)
        .map(|n| {
            let is = SeccompComparison::new(0, SeccompOperator::Eq, n).unwrap();
            rule(&["getpid"], SeccompAction::Kill).when(is).unwrap()
        })
        .collect();
    assert!(matches!(no(list(open, long)), CompileError::TooLong(_)));
}

/// The table of docs/seccomp.md, from the data.
fn table() -> String {
    let mut text = String::from("| calls | closed | answer | why |\n|---|---|---|---|\n");
    for (tables, nested) in [
        (&[presets::NAMESPACES, presets::MOUNTS][..], true),
        (&[presets::BUILD], false),
    ] {
        for closed in tables.iter().copied().flatten() {
            let calls: Vec<String> = closed.calls.iter().map(|c| format!("`{c}`")).collect();
            let case = match (closed.case, nested) {
                ("", true) => "unless `--allow-nested`".to_owned(),
                ("", false) => "always".to_owned(),
                (case, true) => format!("{case}, unless `--allow-nested`"),
                (case, false) => case.to_owned(),
            };
            let last = closed.rules.last().unwrap().action;
            text += &format!(
                "| {} | {case} | {last} | {} |\n",
                calls.join(", "),
                closed.why
            );
        }
    }
    text
}

#[test]
fn the_table_of_the_documentation_is_the_data() {
    let documentation = include_str!("../../../docs/seccomp.md");
    let table = table();
    assert!(
        documentation.contains(&table),
        "docs/seccomp.md has to hold:\n{table}"
    );
}

/// What a policy says, read off the rules without any tree, alias or instruction.
fn reference(rules: &[SeccompRule], otherwise: u32, name: &str, args: [u64; 6]) -> u32 {
    let holds = |c: &SeccompComparison| {
        let (arg, value) = (args[usize::from(c.argument())], c.value());
        match c.operator() {
            SeccompOperator::Eq => arg == value,
            SeccompOperator::Ne => arg != value,
            SeccompOperator::Lt => arg < value,
            SeccompOperator::Le => arg <= value,
            SeccompOperator::Gt => arg > value,
            SeccompOperator::Ge => arg >= value,
            SeccompOperator::MaskedEq(mask) => arg & mask == value & mask,
            other => panic!("{other:?}"),
        }
    };
    rules
        .iter()
        .find(|r| r.calls().iter().any(|c| c == name) && r.comparisons().iter().all(holds))
        .map_or(otherwise, |r| answer_of(r.action()))
}

fn answer_of(action: SeccompAction) -> u32 {
    match action {
        SeccompAction::Allow => ALLOW,
        SeccompAction::Log => LOG,
        SeccompAction::Errno(e) => errno(u32::from(e.number())),
        _ => KILL,
    }
}

/// Numbers around which comparisons go wrong.
fn edge() -> impl Strategy<Value = u64> {
    let half = prop::sample::select(vec![0u64, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]);
    (half.clone(), half).prop_map(|(high, low)| high << 32 | low)
}

fn action() -> impl Strategy<Value = SeccompAction> {
    prop_oneof![
        Just(SeccompAction::Allow),
        Just(SeccompAction::Log),
        Just(SeccompAction::Kill),
        (1u16..4096).prop_map(|n| SeccompAction::Errno(Errno::new(n).unwrap())),
    ]
}

fn comparison() -> impl Strategy<Value = SeccompComparison> {
    let operator = prop_oneof![
        Just(SeccompOperator::Eq),
        Just(SeccompOperator::Ne),
        Just(SeccompOperator::Lt),
        Just(SeccompOperator::Le),
        Just(SeccompOperator::Gt),
        Just(SeccompOperator::Ge),
        edge().prop_map(SeccompOperator::MaskedEq),
    ];
    (0u8..6, operator, edge())
        .prop_map(|(arg, operator, value)| SeccompComparison::new(arg, operator, value).unwrap())
}

const SOME: [&str; 6] = ["read", "write", "close", "ioctl", "getpid", "statx"];

fn rules() -> impl Strategy<Value = Vec<SeccompRule>> {
    let calls = prop::sample::subsequence(SOME.to_vec(), 1..4);
    let when = prop_oneof![
        prop::collection::vec(comparison(), 0..3),
        prop::collection::vec(comparison(), SeccompRule::MOST_COMPARISONS),
    ];
    let rule = (calls, action(), when).prop_map(|(calls, action, when)| {
        when.into_iter()
            .fold(rule(&calls, action), |rule, c| rule.when(c).unwrap())
    });
    prop::collection::vec(rule, 0..12)
}

#[test]
fn more_rules_than_anybody_has_are_refused_before_they_are_compiled() {
    let every: Vec<&str> = Arch::X86_64.abis()[0]
        .calls()
        .map(|(_, name)| name)
        .collect();
    let when = |rule: SeccompRule| {
        let c = SeccompComparison::new(0, SeccompOperator::Eq, 1).unwrap();
        (0..SeccompRule::MOST_COMPARISONS).fold(rule, |rule, _| rule.when(c).unwrap())
    };
    let many = |times: usize| {
        let one = when(rule(&every, SeccompAction::Kill));
        let mut rules = vec![rule(&["execve", "exit_group"], SeccompAction::Allow)];
        rules.extend(std::iter::repeat_n(one, times));
        compile(&list(SeccompOtherwise::Build, rules), true, Arch::X86_64).unwrap_err()
    };
    let names = 2 + 10_000 * every.len();
    assert_eq!(many(10_000), CompileError::TooMany(names));
    assert!(matches!(many(10), CompileError::TooLong(n) if n > 10_000));
    // One call, named as often as it may be.
    let calls = vec!["getppid"; 65_534];
    let rules = vec![
        rule(&["execve", "exit_group"], SeccompAction::Allow),
        rule(&calls, SeccompAction::Kill),
    ];
    assert!(compile(&list(SeccompOtherwise::Build, rules), true, Arch::X86_64).is_ok());
}

proptest! {
    #[test]
    fn the_program_does_what_the_rules_say(
        mut rules in rules(),
        otherwise in action(),
        args in prop::collection::vec(prop::array::uniform6(edge()), 8),
    ) {
        rules.push(rule(&["execve", "exit_group"], SeccompAction::Allow));
        let seccomp = list(SeccompOtherwise::Action(otherwise), rules.clone());
        for (abi, program) in each_abi(&seccomp, true) {
            for args in &args {
                for name in SOME.iter().chain(&["lseek", "fork"]) {
                    if *name == "fork" && abi == AARCH64 {
                        continue;
                    }
                    let wanted = reference(&rules, answer_of(otherwise), name, *args);
                    prop_assert_eq!(told(&program, abi, name, args), wanted, "{} {:x?}", name, args);
                }
            }
        }
    }
}
