//! A sandbox that is ready, and the runs in it.

use std::time::Duration;

use sandboxlib_config::Limits;
use sandboxlib_core::{End, Outcome, SpawnError};
use sandboxlib_spawn::{Child, Prepared, Run, Stdio};

use crate::answer::Answer;
use crate::case::{Case, Expect};
use crate::fault::What;
use crate::world::World;

/// No run takes a fraction of this. What hangs is a fault as well.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where a case is played.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) world: &'a World,
    pub(crate) prepared: &'a Prepared,
    /// What the case limits, some of which is held by waiting.
    pub(crate) limits: Limits,
    /// Whether a program of the host's stands between us and the command.
    pub(crate) helper: bool,
    /// Whether sockets that come later are claimed to be out of reach as well.
    pub(crate) sockets_are_walled: bool,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    pub(crate) answers: Vec<Answer>,
    pub(crate) stderr: String,
}

impl Stage<'_> {
    /// A run of the probe with these questions, separated by `:`.
    pub(crate) fn probe(&self, questions: &str) -> Run {
        let mut run = Run::new(self.world.inside("probe"));
        run.args = self
            .world
            .words(questions)
            .into_iter()
            .map(Into::into)
            .collect();
        run.stdin = Stdio::Null;
        run.stdout = Stdio::Piped;
        run.stderr = Stdio::Piped;
        run
    }

    pub(crate) fn start(&self, run: &Run) -> Result<Child, What> {
        let mut child = self.try_start(run).map_err(What::Start)?;
        let mut limits = self.limits;
        limits.wall = Some(TIMEOUT);
        child.set_limits(limits);
        Ok(child)
    }

    pub(crate) fn try_start(&self, run: &Run) -> Result<Child, Box<SpawnError>> {
        self.prepared.start(run).map_err(Box::new)
    }

    pub(crate) fn finish(&self, mut child: Child) -> Result<Done, What> {
        let (outcome, stdout, stderr) = child.wait_with_output()?;
        Ok(Done {
            outcome,
            answers: Answer::read(&stdout),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }

    pub(crate) fn run(&self, run: &Run) -> Result<Done, What> {
        self.finish(self.start(run)?)
    }

    /// Asks what the case asks, in one run, and checks every answer.
    pub(crate) fn play(&self, case: &Case) -> Result<(), What> {
        let questions: Vec<&str> = case.asks.iter().map(|(question, _)| *question).collect();
        let mut run = self.probe(&questions.join(" : "));
        (case.run)(&mut run, self.world);
        let done = self.run(&run)?;
        self.check(case.asks, &done)?;
        done.ended(self, End::Exited(0))
    }

    pub(crate) fn check(&self, asks: &[(&str, Expect)], done: &Done) -> Result<(), What> {
        for (n, (question, expect)) in asks.iter().enumerate() {
            let Some(answer) = done.answers.get(n) else {
                return Err(What::End {
                    wanted: format!("an answer to {question:?} first"),
                    got: done.outcome.end,
                    stderr: done.stderr.clone(),
                });
            };
            let host = |question: &str| self.world.ask_host(question);
            if !expect.holds(answer, &done.answers, self.world, host) {
                return Err(What::Answer {
                    question: self.world.words(question).join(" "),
                    wanted: expect.describe(self.world),
                    got: answer.to_string(),
                });
            }
        }
        Ok(())
    }
}

impl Done {
    /// Whether the run ended so. A helper may tell a signal in the way of the shell.
    pub(crate) fn ended(&self, stage: &Stage<'_>, wanted: End) -> Result<(), What> {
        let as_by_shell = match wanted {
            End::Signalled(signal) if stage.helper => Some(End::Exited(128 + signal)),
            _ => None,
        };
        if self.outcome.end == wanted || Some(self.outcome.end) == as_by_shell {
            return Ok(());
        }
        Err(What::End {
            wanted: format!("{wanted:?}"),
            got: self.outcome.end,
            stderr: self.stderr.clone(),
        })
    }
}
