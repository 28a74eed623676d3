//! Times whole processes.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Result;

/// A command line to time.
#[derive(Debug, Clone)]
pub(super) struct Timed(pub(super) Vec<OsString>);

impl Timed {
    /// From the start of the process to its end, in microseconds.
    fn once(&self) -> Result<f64> {
        let (program, arguments) = self.0.split_first().ok_or("an empty command line")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let start = Instant::now();
        let status = command.status()?;
        let time = start.elapsed();
        if !status.success() {
            let shown: Vec<_> = self.0.iter().take(12).collect();
            return Err(format!("{shown:?}: {status}").into());
        }
        Ok(time.as_secs_f64() * 1e6)
    }
}

/// Times all of `commands` in turn, `rounds` times, after some rounds to get warm.
pub(super) fn in_turn(commands: &[&Timed], rounds: usize) -> Result<Vec<Vec<f64>>> {
    let warm = 3;
    let mut times = vec![Vec::with_capacity(rounds); commands.len()];
    for round in 0..warm + rounds {
        for (command, times) in commands.iter().zip(&mut times) {
            let time = command.once()?;
            if round >= warm {
                times.push(time);
            }
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Timed {
        Timed(["sh", "-c", script].map(OsString::from).to_vec())
    }

    #[test]
    fn each_round_gives_a_time_of_each_command() {
        let times = in_turn(&[&sh("exit 0"), &sh("sleep 0.05")], 3).unwrap();
        assert_eq!((times[0].len(), times[1].len()), (3, 3));
        assert!(times[1].iter().all(|t| *t > 50_000.0), "{times:?}");
    }

    #[test]
    fn a_command_that_fails_is_no_measurement() {
        assert!(in_turn(&[&sh("exit 3")], 1).is_err());
    }
}
