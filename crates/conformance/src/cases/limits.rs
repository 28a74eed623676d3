//! What a command may use at most.

use std::time::Duration;

use sandboxlib_config::{Config, Feature, Limit, Mount, MountKind};
use sandboxlib_core::End;

use crate::Case;
use crate::answer::Answer;
use crate::case::CASE;
use crate::case::Expect::{Done, Is, Refused};
use crate::fault::What;
use crate::stage::Stage;
use crate::world::World;

const MEBIBYTE: u64 = 1 << 20;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "time_on_processors_is_limited",
        needs: &[Feature::CpuTime],
        config: |config, _| config.limits.cpu_time = Some(Duration::from_millis(600)),
        by_hand: Some(|stage| {
            within(stage, "burn 2 50", "2")?;
            // Each by itself has less than a second, the least that setrlimit(2) knows.
            beyond(stage, "burn 2 900", Limit::CpuTime)
        }),
        ..CASE
    },
    Case {
        name: "memory_is_limited",
        needs: &[Feature::Memory],
        config: |config, _| config.limits.memory = Some(32 * MEBIBYTE),
        by_hand: Some(|stage| {
            within(stage, "hoard 2 6 100", "2")?;
            beyond(stage, "hoard 3 20 1000", Limit::Memory)
        }),
        ..CASE
    },
    Case {
        name: "what_is_in_a_tmpfs_is_memory",
        needs: &[Feature::Memory, Feature::Tmpfs],
        files: &[("root/mnt/", "")],
        config: |config, world| {
            config.limits.memory = Some(16 * MEBIBYTE);
            tmpfs(config, world);
        },
        by_hand: Some(|stage| {
            within(stage, "fill @mnt/file 4000000", "")?;
            beyond(
                stage,
                "fill @mnt/file 40000000 : crowd 1 1000",
                Limit::Memory,
            )
        }),
        ..CASE
    },
    Case {
        name: "processes_are_limited",
        needs: &[Feature::Processes],
        config: |config, _| config.limits.processes = Some(8),
        by_hand: Some(|stage| {
            // With the one that makes them they are as many as may be.
            within(stage, "crowd 7 100", "7")?;
            beyond(stage, "crowd 12 1000", Limit::Processes)
        }),
        ..CASE
    },
    Case {
        name: "the_size_of_files_is_limited",
        needs: &[Feature::FileSize],
        config: |config, _| config.limits.file_size = Some(0x10000),
        by_hand: Some(|stage| {
            process_limit(stage, FILE_SIZE, 0x10000)?;
            within(stage, "fill @fits 65536", "")?;
            beyond(stage, "fill @large 65537", Limit::FileSize)
        }),
        after: &["unlink {root}/fits", "unlink {root}/large"],
        ..CASE
    },
    Case {
        name: "open_files_are_limited",
        needs: &[Feature::OpenFiles],
        config: |config, _| config.limits.open_files = Some(20),
        by_hand: Some(|stage| {
            process_limit(stage, OPEN_FILES, 20)?;
            within(stage, "duplicate 100", "20")
        }),
        ..CASE
    },
    Case {
        name: "the_stack_is_limited",
        needs: &[Feature::Stack],
        config: |config, _| config.limits.stack = Some(0x80000),
        by_hand: Some(|stage| {
            process_limit(stage, STACK, 0x80000)?;
            within(stage, "deep 128", "1")?;
            within(stage, "deep 1024", "1 signal 11")
        }),
        ..CASE
    },
    Case {
        name: "core_dumps_are_limited",
        needs: &[Feature::Core],
        config: |config, _| config.limits.core = Some(0x1000),
        // Where a dump goes, and whether one is made, is for the host to say.
        by_hand: Some(|stage| process_limit(stage, CORE, 0x1000)),
        ..CASE
    },
];

/// The numbers of resources (setrlimit(2)).
const FILE_SIZE: usize = 1;
const STACK: usize = 3;
const CORE: usize = 4;
const OPEN_FILES: usize = 7;

fn tmpfs(config: &mut Config, world: &World) {
    let tmpfs = MountKind::Tmpfs {
        mode: 0o777,
        size: None,
    };
    config.mounts.push(Mount::new(world.at("mnt"), tmpfs));
}

/// What may be is done, and answered so.
fn within(stage: &Stage<'_>, question: &str, answer: &'static str) -> Result<(), What> {
    let done = stage.run(&stage.probe(question))?;
    let expect = if answer.is_empty() { Done } else { Is(answer) };
    stage.check(&[(question, expect)], &done)?;
    done.ended(stage, End::Exited(0))
}

/// What may not be ends the run, and by that limit.
fn beyond(stage: &Stage<'_>, questions: &str, limit: Limit) -> Result<(), What> {
    let done = stage.run(&stage.probe(questions))?;
    done.ended(stage, End::Limit(limit))
}

/// A limit of each process is seen inside, the caller's own if that is lower, and cannot be taken
/// off.
fn process_limit(stage: &Stage<'_>, resource: usize, most: u64) -> Result<(), What> {
    let done = stage.run(&stage.probe(&format!("limits : raise {resource}")))?;
    let callers = limit_of(stage.world.ask_host("limits").as_ref(), resource);
    let found = limit_of(done.answers.first(), resource);
    let right = callers.map(|(_, hard)| (hard.min(most), hard.min(most)));
    if right.is_none() || found != right {
        return Err(What::Other(format!(
            "the limit of resource {resource} is {found:?}, and right is {right:?}"
        )));
    }
    let raise = done.answers.get(1..).unwrap_or_default().to_vec();
    let question = format!("raise {resource}");
    let done = crate::stage::Done {
        answers: raise,
        ..done
    };
    stage.check(&[(&question, Refused)], &done)?;
    done.ended(stage, End::Exited(0))
}

/// The soft and the hard limit in an answer to `limits`.
fn limit_of(answer: Option<&Answer>, resource: usize) -> Option<(u64, u64)> {
    let Some(Answer::Ok(text)) = answer else {
        return None;
    };
    let text = std::str::from_utf8(text).ok()?;
    let (soft, hard) = text.split(' ').nth(resource)?.split_once('/')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    Some((number(soft)?, number(hard)?))
}
