//! Times candidates that take turns.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::candidate::{Before, Candidate, How};
use super::report::Missing;
use crate::{Result, repo};

/// Between two measurements, so that what the kernel does behind the last one, such as taking
/// down its network namespace, has begun before the next one starts.
const GAP: Duration = Duration::from_micros(500);

/// Rounds that do not count, to get warm.
const WARM_UP: usize = 3;

/// The times of candidates that took turns: in each round every one, in an order by chance, so
/// that neither a slow moment of the machine nor what somebody leaves behind always hits the same.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Microseconds, for each round.
    pub(super) times: Vec<(String, Vec<f64>)>,
    pub(super) missing: Vec<Missing>,
}

impl Samples {
    pub(super) fn of(&self, name: &str) -> Option<&[f64]> {
        let found = self.times.iter().find(|(n, _)| n == name);
        found.map(|(_, times)| times.as_slice())
    }
}

pub(super) fn in_turn(candidates: &[Candidate], rounds: usize, chance: &mut Chance) -> Samples {
    in_turn_after(WARM_UP, candidates, rounds, chance)
}

/// The same, after so many rounds that do not count. Everybody has been tried once in any case.
pub(super) fn in_turn_after(
    warm_up: usize,
    candidates: &[Candidate],
    rounds: usize,
    chance: &mut Chance,
) -> Samples {
    let new = |c: &Candidate| prepare(&c.before).and_then(|()| Runner::new(&c.how));
    let mut runners: Vec<_> = candidates.iter().map(new).collect();
    let mut times = vec![Vec::with_capacity(rounds); candidates.len()];
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    for round in 0..warm_up + rounds {
        chance.shuffle(&mut order);
        for &n in &order {
            let Ok(runner) = &mut runners[n] else {
                continue;
            };
            let ready = prepare(&candidates[n].before);
            sleep(GAP);
            match ready.and_then(|()| runner.once()) {
                Ok(_) if round < warm_up => {}
                Ok(time) => times[n].push(time.as_secs_f64() * 1e6),
                // Somebody who fails now and then is no reason to lose the times of all others.
                Err(why) => runners[n] = Err(why),
            }
        }
    }
    let mut samples = Samples::default();
    for ((candidate, runner), times) in candidates.iter().zip(runners).zip(times) {
        let name = candidate.name.clone();
        match runner {
            Ok(_) => samples.times.push((name, times)),
            Err(why) => samples.missing.push(Missing {
                name,
                why: why.to_string(),
            }),
        }
    }
    samples
}

/// Does what comes before a run.
fn prepare(before: &Before) -> Result {
    let path = match before {
        Before::Nothing => return Ok(()),
        Before::MoveAway(path) | Before::Empty(path) => path,
    };
    let parent = path.parent().ok_or("a path without a parent")?;
    if path.exists() {
        let aside = tempfile::Builder::new().prefix("old-").tempdir_in(parent)?;
        fs::rename(path, aside.keep().join("tree"))?;
    }
    if let Before::Empty(path) = before {
        fs::create_dir(path)?;
    }
    // What the file system still has to do, for this or for whoever was before, is not timed.
    repo::run(Command::new("sync").arg("--file-system").arg(parent))
}

/// A candidate that can be run.
#[derive(Debug)]
pub(super) enum Runner {
    Process(Vec<OsString>),
    Driver(Driver),
}

impl Runner {
    /// Tries the candidate; the error says why it cannot be measured.
    pub(super) fn new(how: &How) -> Result<Self> {
        match how {
            How::Not(why) => Err(why.clone().into()),
            How::Driver(line) => Ok(Self::Driver(Driver::start(line)?)),
            How::Process(line) => {
                let output = command(line)?.output()?;
                if output.status.success() {
                    return Ok(Self::Process(line.clone()));
                }
                let said = String::from_utf8_lossy(&output.stderr);
                let last = said.trim().lines().last().unwrap_or_default();
                Err(format!("{}: {last}", output.status).into())
            }
        }
    }

    fn once(&mut self) -> Result<Duration> {
        match self {
            Self::Process(line) => run(line),
            Self::Driver(driver) => driver.go(),
        }
    }

    /// Runs of `workers` side by side, each one after another, and the time until all have ended.
    pub(super) fn side_by_side(
        &mut self,
        workers: usize,
        time: Duration,
    ) -> Result<(u64, Duration)> {
        let line = match self {
            Self::Driver(driver) => return driver.side_by_side(workers, time),
            Self::Process(line) => &*line,
        };
        let began = Instant::now();
        let repeat = || {
            let mut runs = 0;
            while began.elapsed() < time {
                run(line).map_err(|e| e.to_string())?;
                runs += 1;
            }
            Ok(runs)
        };
        let runs = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(repeat)).collect();
            let counts = threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| "a worker panicked".to_owned())?);
            counts.sum::<std::result::Result<u64, String>>()
        })?;
        Ok((runs, began.elapsed()))
    }
}

fn command(line: &[OsString]) -> Result<Command> {
    let (program, arguments) = line.split_first().ok_or("an empty command line")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// From the start of the process to its end.
fn run(line: &[OsString]) -> Result<Duration> {
    let mut command = command(line)?;
    command.stdout(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let time = start.elapsed();
    if status.success() {
        return Ok(time);
    }
    let shown: Vec<_> = line.iter().take(12).collect();
    Err(format!("{shown:?}: {status}").into())
}

/// A program that measures when it is told to; crates/spawn/examples/floor/told.rs says how.
#[derive(Debug)]
pub(super) struct Driver {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Driver {
    fn start(line: &[OsString]) -> Result<Self> {
        let mut command = command(line)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let mut driver = Self {
            child,
            orders,
            answers: BufReader::new(answers.ok_or("no pipe")?),
        };
        match driver.answer()?.as_str() {
            "ready" => Ok(driver),
            "" => Err("it ended and was not ready".into()),
            other => Err(format!("it said {other:?}, not that it is ready").into()),
        }
    }

    fn go(&mut self) -> Result<Duration> {
        let answer = self.ask("go")?;
        Ok(Duration::from_nanos(answer.parse()?))
    }

    fn side_by_side(&mut self, workers: usize, time: Duration) -> Result<(u64, Duration)> {
        let answer = self.ask(&format!("loop {} {workers}", time.as_secs_f64()))?;
        let (runs, took) = answer.split_once(' ').ok_or("no two numbers")?;
        Ok((runs.parse()?, Duration::from_nanos(took.parse()?)))
    }

    fn ask(&mut self, order: &str) -> Result<String> {
        let orders = self.orders.as_mut().ok_or("no pipe")?;
        writeln!(orders, "{order}")?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Without orders it ends.
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

/// Numbers that look like chance, the same for the same seed (xorshift, 64 bits).
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Any order, each as likely as any other (Fisher and Yates).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let choices = u64::try_from(last).unwrap_or(u64::MAX) + 1;
            let chosen = usize::try_from(self.next() % choices).unwrap_or(last);
            items.swap(last, chosen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(name: &str, script: &str) -> Candidate {
        let line = ["sh", "-c", script].map(OsString::from).to_vec();
        Candidate::new(name, How::Process(line))
    }

    fn driver(script: &str) -> How {
        How::Driver(["sh", "-c", script].map(OsString::from).to_vec())
    }

    #[test]
    fn each_round_gives_a_time_of_each_candidate() {
        let candidates = [sh("quick", "exit 0"), sh("slow", "sleep 0.05")];
        let samples = in_turn(&candidates, 3, &mut Chance::new(1));
        let slow = samples.of("slow").unwrap();
        assert_eq!((samples.of("quick").unwrap().len(), slow.len()), (3, 3));
        assert!(slow.iter().all(|t| *t > 50_000.0), "{samples:?}");
    }

    #[test]
    fn each_run_finds_what_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        // Either fails if what the run before has made is there.
        let script = |name: &str, script: &str| {
            sh(
                name,
                &script.replace("HERE", &path(name).display().to_string()),
            )
        };
        let candidates = [
            script("removed", "mkdir HERE && echo >HERE/file").without(path("removed")),
            script("empty", "ls HERE/* && exit 1; echo >HERE/file").with_empty(path("empty")),
        ];
        let samples = in_turn_after(1, &candidates, 2, &mut Chance::new(1));
        assert_eq!(samples.missing, []);
        assert!(path("removed/file").exists() && path("empty/file").exists());
    }

    #[test]
    fn who_cannot_be_measured_is_named_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count").display().to_string();
        let candidates = [
            Candidate::new("absent", How::Not("not installed".into())),
            sh("broken", "echo why >&2; exit 3"),
            sh("fine", ":"),
            // Fails when it has been run four times, the trial and the warm-up.
            sh(
                "flaky",
                &format!("echo >>{count}; [ $(wc -l <{count}) -lt 5 ]"),
            ),
        ];
        let samples = in_turn(&candidates, 2, &mut Chance::new(1));
        let why = |n: usize| {
            (
                samples.missing[n].name.as_str(),
                samples.missing[n].why.as_str(),
            )
        };
        assert_eq!(why(0), ("absent", "not installed"));
        assert_eq!(why(1), ("broken", "exit status: 3: why"));
        assert_eq!(why(2).0, "flaky");
        let measured: Vec<_> = samples
            .times
            .iter()
            .map(|(n, t)| (n.as_str(), t.len()))
            .collect();
        assert_eq!(measured, [("fine", 2)]);
    }

    #[test]
    fn drivers_are_told_and_answer() {
        let how = driver(
            "echo ready; while read l; do case $l in go) echo 1500;; *) echo 7 2000; esac; done",
        );
        let mut runner = Runner::new(&how).unwrap();
        assert_eq!(runner.once().unwrap(), Duration::from_nanos(1500));
        let (runs, took) = runner.side_by_side(2, Duration::from_secs(1)).unwrap();
        assert_eq!((runs, took), (7, Duration::from_nanos(2000)));
        assert!(Runner::new(&driver("exit 1")).is_err());
        assert!(Runner::new(&driver("echo hello")).is_err());
        let mut deserter = Runner::new(&driver("echo ready")).unwrap();
        assert!(deserter.once().is_err());
    }

    #[test]
    fn chance_puts_everybody_everywhere() {
        let mut chance = Chance::new(0);
        let mut seen = [[0; 4]; 4];
        for _ in 0..400 {
            let mut order = [0, 1, 2, 3];
            chance.shuffle(&mut order);
            for (place, who) in order.into_iter().enumerate() {
                seen[who][place] += 1;
            }
        }
        assert!(
            seen.iter().flatten().all(|n| (60..140).contains(n)),
            "{seen:?}"
        );
    }
}
