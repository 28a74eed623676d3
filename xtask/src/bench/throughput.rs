//! Runs per second by several workers, and what they cost the whole machine.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::candidate::{BWRAP, CLI, Candidate, FLOOR, PLAIN, PREPARED, cli, floor, library, plain};
use super::measure::{Chance, Runner};
use super::peers::bwrap;
use super::place::Place;
use super::report::{Missing, Report, Throughput};
use super::stats::Spread;
use super::wanted::Wanted;
use crate::Result;

const WORKERS: [usize; 4] = [1, 2, 4, 8];

/// What comes after the end of a run, such as taking down its namespaces, is over by then.
const SETTLE: Duration = Duration::from_millis(200);

/// A tick of /proc/stat in microseconds: USER_HZ is 100 on every Linux.
const TICK: f64 = 10_000.0;

pub(super) fn measure(
    place: &Place,
    wanted: &Wanted,
    chance: &mut Chance,
    report: &mut Report,
) -> Result {
    let (time, repetitions) = if wanted.quick {
        (Duration::from_millis(200), 1)
    } else {
        (Duration::from_secs(2), 5)
    };
    let candidates = [
        (PLAIN, plain(place)),
        (FLOOR, floor(place, "umpitnRlv", 0)),
        (PREPARED, library(place, &[], 0)),
        (CLI, cli(place, &[], 0)),
        (BWRAP, bwrap(place, 0)),
    ]
    .map(|(name, how)| Candidate::new(name, how));
    let mut runners = Vec::new();
    for candidate in candidates {
        match Runner::new(&candidate.how) {
            Ok(runner) => runners.push((candidate.name, runner)),
            Err(why) => report.miss([Missing {
                name: candidate.name,
                why: why.to_string(),
            }]),
        }
    }
    let mut found: Vec<(usize, usize, Vec<f64>, Vec<f64>)> = (0..runners.len())
        .flat_map(|n| WORKERS.map(|workers| (n, workers, vec![], vec![])))
        .collect();
    for repetition in 0..repetitions {
        wanted.say(&format!("throughput, {} of {repetitions}", repetition + 1));
        let idle = idle()?;
        chance.shuffle(&mut found);
        for (n, workers, rates, cpu) in &mut found {
            let (name, runner) = &mut runners[*n];
            let (before, began) = (busy()?, Instant::now());
            let (runs, took) = runner
                .side_by_side(*workers, time)
                .map_err(|e| format!("{name}: {e}"))?;
            sleep(SETTLE);
            let others = idle * began.elapsed().as_secs_f64();
            #[allow(clippy::cast_precision_loss, reason = "counts of runs are small")]
            let runs = runs as f64;
            rates.push(runs / took.as_secs_f64());
            cpu.push(((busy()? - before - others) / runs).max(0.0));
        }
    }
    found.sort_by_key(|(n, workers, ..)| (*n, *workers));
    report.throughput = found
        .into_iter()
        .map(|(n, workers, rates, cpu)| Throughput {
            name: runners[n].0.clone(),
            workers,
            rates,
            cpu_microseconds: Spread::of(&cpu),
        })
        .collect();
    Ok(())
}

/// What the machine does without us: microseconds per second.
fn idle() -> Result<f64> {
    let (before, began) = (busy()?, Instant::now());
    sleep(SETTLE * 2);
    Ok((busy()? - before) / began.elapsed().as_secs_f64())
}

/// Microseconds that all processors together have worked.
fn busy() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks = ticks(&text).ok_or("/proc/stat is not as it should be")?;
    #[allow(clippy::cast_precision_loss, reason = "2^53 ticks are many years")]
    let ticks = ticks as f64;
    Ok(ticks * TICK)
}

/// proc_stat(5): user, nice, system, idle, iowait, irq, softirq; a guest's time is in user.
fn ticks(stat: &str) -> Option<u64> {
    let numbers: Vec<u64> = stat
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))?
        .split_whitespace()
        .map_while(|n| n.parse().ok())
        .collect();
    let at = |n: usize| numbers.get(n).copied();
    Some(at(0)? + at(1)? + at(2)? + at(5)? + at(6)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_no_work() {
        let stat = "cpu  1 20 300 99999 99999 4000 50000 9 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(ticks(stat), Some(54321));
        assert_eq!(ticks("intr 1 2 3\n"), None);
    }
}
