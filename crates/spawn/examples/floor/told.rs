//! How a program that measures is told to: by lines on its standard input, each answered by a
//! line on its standard output, until there are no more. The first line out is `ready`.
//!
//! | line | what is done | answer |
//! |---|---|---|
//! | `go` | one run | its time in nanoseconds |
//! | `loop SECONDS WORKERS` | runs one after another in each of so many threads | the number of all runs, and the nanoseconds until the last has ended |
//!
//! The example `bench_driver` of the facade is told in the same way, by this file.

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::time::{Duration, Instant};

/// Whatever went wrong.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Does as told. `worker` makes what one thread needs to run again and again.
pub(crate) fn obey<W: FnMut() -> Result<Duration>>(
    worker: impl Fn() -> Result<W> + Sync,
) -> Result<()> {
    let mut once = worker()?;
    once()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["go"] => writeln!(out, "{}", once()?.as_nanos())?,
            ["loop", seconds, workers] => {
                let time = Duration::from_secs_f64(seconds.parse()?);
                let (runs, took) = in_threads(&worker, time, workers.parse()?)?;
                writeln!(out, "{runs} {}", took.as_nanos())?;
            }
            _ => return Err(format!("cannot {line:?}").into()),
        }
    }
    Ok(())
}

fn in_threads<W: FnMut() -> Result<Duration>>(
    worker: &(impl Fn() -> Result<W> + Sync),
    time: Duration,
    workers: usize,
) -> Result<(u64, Duration)> {
    let began = Instant::now();
    let runs = std::thread::scope(|scope| {
        let repeat = || -> Result<u64> {
            let mut once = worker()?;
            let mut runs = 0;
            while began.elapsed() < time {
                once()?;
                runs += 1;
            }
            Ok(runs)
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(repeat)).collect();
        let counts = threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a worker panicked")?);
        counts.sum::<Result<u64>>()
    })?;
    Ok((runs, began.elapsed()))
}
