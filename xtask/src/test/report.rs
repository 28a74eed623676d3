//! Reads what libtest prints, and adds it up.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::AddAssign;

/// The sum of what was run. A test that skipped something is not counted as passed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    /// Each skip with its reason.
    pub(super) skips: Vec<String>,
}

impl Tally {
    /// Something that is more than a test, and was not run.
    pub(super) fn not_run(why: &str) -> Self {
        Self {
            skipped: 1,
            skips: vec![why.to_owned()],
            ..Self::default()
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.skips.extend(other.skips);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Reads the output of one test program (or of several, one after another, for documentation).
#[derive(Debug)]
pub(super) struct Reader {
    program: String,
    tally: Tally,
    /// The tests that printed a reason for having skipped something.
    with_skips: BTreeSet<String>,
    ignored: usize,
    /// The test whose output is being read.
    section: String,
    summaries: usize,
}

impl Reader {
    pub(super) fn new(program: &str) -> Self {
        Self {
            program: program.to_owned(),
            tally: Tally::default(),
            with_skips: BTreeSet::new(),
            ignored: 0,
            section: String::new(),
            summaries: 0,
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|l| l.strip_suffix(" stdout ----"))
        {
            name.clone_into(&mut self.section);
        } else if let Some(reason) = line.strip_prefix("SKIP: ") {
            self.tally
                .skips
                .push(format!("{} {}: {reason}", self.program, self.section));
            self.with_skips.insert(self.section.clone());
        } else if let Some(summary) = line.strip_prefix("test result: ") {
            self.summary(summary);
        }
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; ...`
    fn summary(&mut self, summary: &str) {
        self.summaries += 1;
        let counts = summary
            .split_once(". ")
            .map_or(summary, |(_, counts)| counts);
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<usize>() else {
                continue;
            };
            match what {
                "passed" => self.tally.passed += number,
                "failed" => self.tally.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// What was read. A program that failed without a test that failed died, or was not built,
    /// and counts as one failure.
    pub(super) fn finish(mut self, success: bool) -> Tally {
        if (!success && self.tally.failed == 0) || self.summaries == 0 {
            self.tally.failed += 1;
        }
        // A test that printed a reason and then failed counts as failed.
        let skipped = self.with_skips.len().min(self.tally.passed);
        self.tally.passed -= skipped;
        self.tally.skipped = skipped + self.ignored;
        if self.ignored > 0 {
            self.tally
                .skips
                .push(format!("{}: {} #[ignore]d", self.program, self.ignored));
        }
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, success: bool) -> Tally {
        let mut reader = Reader::new("program");
        text.lines().for_each(|line| reader.line(line));
        reader.finish(success)
    }

    const OUTPUT: &str = "\
running 4 tests
test a ... ok

successes:

---- a stdout ----
SKIP: no mmdebstrap
SKIP: no network either

---- b stdout ----
hello

test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

    #[test]
    fn a_test_that_skips_is_not_passed() {
        let tally = read(OUTPUT, true);
        assert_eq!(tally.to_string(), "2 passed, 0 failed, 2 skipped");
        assert_eq!(tally.skips[0], "program a: no mmdebstrap");
    }

    #[test]
    fn failures_are_counted() {
        let text = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured;";
        assert_eq!(
            read(text, false).to_string(),
            "1 passed, 2 failed, 0 skipped"
        );
    }

    #[test]
    fn a_program_that_dies_is_a_failure() {
        assert_eq!(read("running 4 tests\n", false).failed, 1);
        assert_eq!(read("", true).failed, 1, "no summary: nothing was run");
        assert_eq!(read(OUTPUT, false).failed, 1);
    }
}
