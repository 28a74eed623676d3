//! `cargo xtask bench`: how long a sandbox takes, against other programs, against a spawn without
//! any, and against the least that the kernel takes.
//!
//! Candidates take turns, in an order by chance in each round, so that whatever else happens on
//! the machine happens to all; what counts are ratios within the rounds. Whole processes are timed
//! from a process that is small and does nothing else; what a long-lived program does is timed by
//! itself, in a driver that is told when. See docs/benchmarks.md.

mod bars;
mod candidate;
mod images;
mod measure;
mod memory;
mod peers;
mod place;
mod plot;
mod report;
mod scaling;
mod stats;
mod text;
mod throughput;
mod wanted;

use std::ffi::OsStr;
use std::process::Command;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::measure::{Chance, in_turn};
use self::peers::Peer;
use self::place::Place;
use self::report::{Curve, Missing, Report, Timing};
use self::stats::{Spread, ratios};
use self::wanted::{PARTS, Wanted};
use crate::account::Account;
use crate::{Result, repo};

/// Rounds in which each candidate has its turn, and with `--quick`.
const ROUNDS: usize = 200;
const QUICK: usize = 15;

/// A request of the bench to itself: a task and a [`Wanted`] as JSON. It measures under another
/// account, or in a mount namespace of its own.
const MEASURE: &str = "measure";
/// Everything but what root has to help with.
const REPORT: &str = "report";
/// The few candidates that are of interest under each number of mounts.
const FEW: &str = "few";
/// The curves against mounts of the host.
const HOST_MOUNTS: &str = "host-mounts";

pub(crate) fn main(mut args: lexopt::Parser) -> Result {
    let (mut rounds, mut quick, mut json, mut write) = (None, false, false, false);
    let (mut only, mut peers, mut account, mut seed) = (Vec::new(), Vec::new(), None, None);
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("quick") => quick = true,
            lexopt::Arg::Long("rounds") => rounds = Some(args.value()?.string()?.parse()?),
            lexopt::Arg::Long("only") => only.push(args.value()?.string()?),
            lexopt::Arg::Long("peer") => peers.push(Peer::from_text(&args.value()?.string()?)?),
            lexopt::Arg::Long("as") => account = Some(args.value()?.string()?),
            lexopt::Arg::Long("seed") => seed = Some(args.value()?.string()?.parse()?),
            lexopt::Arg::Long("json") => json = true,
            lexopt::Arg::Long("write") => write = true,
            lexopt::Arg::Long(MEASURE) => {
                let task = args.value()?.string()?;
                return perform(&task, &serde_json::from_str(&args.value()?.string()?)?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let account = match account.as_deref() {
        Some("root") if !repo::is_root() => return Err("--as root: this is not root".into()),
        Some("root") => "root",
        Some("user") | None => "user",
        Some(other) => return Err(format!("--as {other:?}: root and user are known").into()),
    };
    let now = std::time::UNIX_EPOCH.elapsed()?.as_nanos();
    let wanted = Wanted {
        place: Place::make()?,
        account: account.to_owned(),
        rounds: rounds.unwrap_or(if quick { QUICK } else { ROUNDS }),
        quick,
        only,
        peers,
        seed: seed.unwrap_or(u64::try_from(now % 1_000_000)?),
    };
    let report = whole(&wanted)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", text::markdown(&report));
    }
    if write {
        text::write(&repo::root().join("docs"), &report)?;
    }
    Ok(())
}

/// What a process does that was started for a part of the measurement.
fn perform(task: &str, wanted: &Wanted) -> Result {
    match task {
        REPORT => hand_back(&measure(wanted)?),
        FEW => {
            let mut chance = Chance::new(wanted.seed);
            hand_back(&scaling::few(&wanted.place, wanted, &mut chance))
        }
        HOST_MOUNTS => {
            let curves =
                scaling::host_mounts(&wanted.place, wanted, |wanted| as_account(FEW, wanted))?;
            hand_back(&curves)
        }
        other => Err(format!("no task {other:?}").into()),
    }
}

fn hand_back(found: &impl Serialize) -> Result {
    println!("{}", serde_json::to_string(found)?);
    Ok(())
}

/// Has `task` performed by a process of the account that is wanted.
fn as_account<T: DeserializeOwned>(task: &str, wanted: &Wanted) -> Result<T> {
    let (xtask, dir) = (wanted.place.xtask(), wanted.place.dir());
    let command = if repo::is_root() && wanted.account == "user" {
        Account::ordinary()?.command(&xtask, dir)
    } else {
        Command::new(xtask)
    };
    ask(command, task, wanted)
}

fn ask<T: DeserializeOwned>(mut command: Command, task: &str, wanted: &Wanted) -> Result<T> {
    command.args(["bench", &format!("--{MEASURE}"), task]);
    command.arg(serde_json::to_string(wanted)?);
    command.current_dir(wanted.place.dir());
    Ok(serde_json::from_str(&repo::output(&mut command)?)?)
}

fn whole(wanted: &Wanted) -> Result<Report> {
    if wanted.part("images") {
        images::make_room(wanted)?;
    }
    let mut report: Report = as_account(REPORT, wanted)?;
    if wanted.part(PARTS[4]) {
        match host_mounts(wanted) {
            Ok(curves) => report.curves.extend(curves),
            Err(why) => report.miss([Missing {
                name: "mounts of the host".to_owned(),
                why: why.to_string(),
            }]),
        }
    }
    Ok(report)
}

/// The curves, taken in a mount namespace that ends with the process.
fn host_mounts(wanted: &Wanted) -> Result<Vec<Curve>> {
    if !repo::is_root() {
        return Err("only root may add some".into());
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    command.arg(wanted.place.xtask());
    ask(command, HOST_MOUNTS, wanted)
}

/// Measures everything that takes no privilege, in this process.
fn measure(wanted: &Wanted) -> Result<Report> {
    let place = &wanted.place;
    let mut chance = Chance::new(wanted.seed);
    let mut report = Report {
        account: wanted.account.clone(),
        rounds: wanted.rounds,
        seed: wanted.seed,
        ..Report::default()
    };
    let mut sets = Vec::new();
    if wanted.part("latency") {
        // What a peer writes down goes with it.
        let scratch = tempfile::tempdir()?;
        let mut candidates = candidate::ours(place);
        candidates.extend(peers::all(place, &wanted.peers, scratch.path()));
        candidates.retain(|candidate| wanted.candidate(&candidate.name));
        wanted.say(&format!(
            "{} candidates, {} rounds",
            candidates.len(),
            wanted.rounds
        ));
        let samples = in_turn(&candidates, wanted.rounds, &mut chance);
        report.latency = timings(&samples);
        report.miss(samples.missing.clone());
        sets.push((0, samples));
    }
    if wanted.part("binds") {
        let binds = scaling::binds(place, wanted, &mut chance);
        report.curves = scaling::curves_of_binds(&binds);
        for (_, set) in &binds {
            report.miss(set.missing.clone());
        }
        sets.extend(binds);
    }
    if wanted.part("throughput") {
        throughput::measure(place, wanted, &mut chance, &mut report)?;
    }
    if wanted.part("memory") {
        wanted.say("memory");
        report.memory = memory::measure(place)?;
    }
    if wanted.part("images") {
        let found = images::measure(place, wanted, &mut chance, &mut report)?;
        sets.extend(found.into_iter().map(|set| (0, set)));
    }
    let sets: Vec<_> = sets.iter().map(|(_, set)| set).collect();
    report.bars = bars::verdicts(&sets, &report.throughput);
    if !wanted.only.is_empty() {
        report.bars.retain(|bar| bar.ratio.is_some());
    }
    Ok(report)
}

fn timings(samples: &measure::Samples) -> Vec<Timing> {
    let to = |times: &[f64], other: &str| samples.of(other).map(|other| ratios(times, other));
    let timing = |(name, times): &(String, Vec<f64>)| Timing {
        name: name.clone(),
        microseconds: Spread::of(times),
        to_plain: to(times, candidate::PLAIN),
        to_floor: to(times, candidate::FLOOR),
        to_bwrap: to(times, candidate::BWRAP),
    };
    samples.times.iter().map(timing).collect()
}

/// lexopt's strings, as UTF-8.
trait Text {
    fn string(self) -> Result<String>;
}

impl<S: AsRef<OsStr>> Text for S {
    fn string(self) -> Result<String> {
        let text = self.as_ref();
        Ok(text
            .to_str()
            .ok_or_else(|| format!("not UTF-8: {text:?}"))?
            .to_owned())
    }
}
