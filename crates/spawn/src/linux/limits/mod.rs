//! The limits of what all processes of a sandbox use together: control groups where there are
//! any, and looking at the processes where there are none.

mod cgroup;
mod host;
mod pace;
mod priority;
mod tmpfs;
mod tree;

use std::ffi::CString;
use std::time::{Duration, Instant};

use sandboxlib_config::Limit;
use sandboxlib_core::{Bound, Counter, Means, Outcome, TreeLimits};

pub(super) use cgroup::Groups;
pub(super) use host::{cgroups, proc_tells};
use pace::Pace;
pub(super) use priority::{Urgent, go_first, nice};
use tmpfs::Mounts;
use tree::{Survey, Tree};

/// How often what the kernel holds by itself is asked for, and processor time that cannot be used
/// up before.
const SELDOM: Duration = Duration::from_millis(25);

/// Sees whether a sandbox keeps to its limits.
#[derive(Debug)]
pub(super) struct Monitor {
    limits: TreeLimits,
    groups: Groups,
    tree: Tree,
    init: libc::pid_t,
    tmpfs: Mounts,
    /// Whether a limit is held by looking at the processes.
    looks: bool,
    next: Instant,
    pace: Pace,
    /// How much of the limits of memory and processes was used the last time.
    shares: [f64; 2],
    /// Whether memory was beyond its limit the last time, too.
    doubtful: bool,
    peak_memory: u64,
    cpu: (Duration, Duration),
}

impl Monitor {
    /// `init` is the first process; whether it is counted too says `is_the_command`.
    pub(super) fn new(
        limits: &TreeLimits,
        groups: Groups,
        tmpfs: &[CString],
        init: u32,
        is_the_command: bool,
    ) -> Self {
        let limits = limits.clone();
        let init = libc::pid_t::try_from(init).unwrap_or(0);
        let looks = Self::would_look(&limits);
        Self {
            limits,
            groups,
            tree: Tree::new(init).counting_the_first(is_the_command),
            init,
            tmpfs: Mounts::new(tmpfs),
            looks,
            next: Instant::now(),
            pace: Pace::new(Instant::now()),
            shares: [0.0; 2],
            doubtful: false,
            peak_memory: 0,
            cpu: (Duration::ZERO, Duration::ZERO),
        }
    }

    /// Whether there are limits for which processes have to be looked at.
    pub(super) fn would_look(limits: &TreeLimits) -> bool {
        by_looking(limits.cpu_time.as_ref())
            || by_looking(limits.memory.as_ref())
            || by_looking(limits.processes.as_ref())
    }

    /// Whether processes are looked at, so that it has to be done in time.
    pub(super) fn looks(&self) -> bool {
        self.looks
    }

    /// When to look next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Looks, and tells which limit is exceeded.
    pub(super) fn look(&mut self) -> Option<Limit> {
        let began = pace::used();
        let exceeded = self.ask_groups().or_else(|| self.look_at_processes());
        let now = Instant::now();
        let pause = if self.doubtful {
            Duration::from_millis(4)
        } else if self.often() {
            let cost = pace::used().saturating_sub(began);
            self.pace.pause(now, self.shares, cost)
        } else {
            SELDOM
        };
        self.next = now + pause;
        exceeded
    }

    fn often(&self) -> bool {
        by_looking(self.limits.memory.as_ref()) || by_looking(self.limits.processes.as_ref())
    }

    fn ask_groups(&mut self) -> Option<Limit> {
        let counted = self.groups.read(&self.limits);
        self.peak_memory = self.peak_memory.max(counted.peak_memory.unwrap_or(0));
        self.cpu = counted.cpu.unwrap_or(self.cpu);
        if counted.out_of_memory {
            return Some(Limit::Memory);
        }
        if counted.out_of_processes {
            return Some(Limit::Processes);
        }
        self.out_of_time()
    }

    fn look_at_processes(&mut self) -> Option<Limit> {
        if !self.looks {
            return None;
        }
        let memory = self.memory_by_looking();
        let processes = self.limits.processes.as_ref();
        let processes = processes.filter(|bound| bound.by == Counter::Accounting);
        let most = processes.map_or(u64::MAX, |bound| bound.most);
        let survey = self.tree.survey(memory.is_some(), most);
        self.shares[0] = share(survey.tasks, most);
        if survey.tasks > most {
            return Some(Limit::Processes);
        }

        if memory.is_some_and(|most| self.exceeds_memory(survey, most)) {
            return Some(Limit::Memory);
        }
        if by_looking(self.limits.cpu_time.as_ref()) {
            let (user, system) = survey.ticks;
            let time = |ticks: u64| tree::tick() * u32::try_from(ticks).unwrap_or(u32::MAX);
            self.cpu = (self.cpu.0.max(time(user)), self.cpu.1.max(time(system)));
        }
        self.out_of_time()
    }

    /// What looks like too much may be shared, so it is counted again, exactly; and while a process
    /// is made its memory may be seen twice, so it has to be too much two times in a row.
    fn exceeds_memory(&mut self, survey: Survey, most: u64) -> bool {
        let files = self.tmpfs.used(self.init);
        let mut used = survey.memory.with_files(files);
        if used > most {
            used = self.tree.exact_memory().with_files(files);
        }
        self.peak_memory = self.peak_memory.max(used);
        self.shares[1] = share(used, most);
        if used <= most {
            self.doubtful = false;
            return false;
        }
        std::mem::replace(&mut self.doubtful, true)
    }

    fn out_of_time(&self) -> Option<Limit> {
        let limit = self.limits.cpu_time.as_ref()?;
        (self.cpu.0 + self.cpu.1 >= limit.most).then_some(Limit::CpuTime)
    }

    fn memory_by_looking(&self) -> Option<u64> {
        let memory = self.limits.memory.as_ref()?;
        (memory.by == Counter::Accounting).then_some(memory.most)
    }

    /// Kills all that is left of the sandbox but its init program: what a control group holds, and
    /// what descends from the init program.
    pub(super) fn kill(&mut self) {
        self.groups.kill();
        self.tree.kill();
    }

    /// Of a sandbox that has ended, what it wrote is still there.
    fn left_in_files(&mut self) -> Option<Limit> {
        let most = self.memory_by_looking()?;
        let used = self.tmpfs.used(self.init);
        self.peak_memory = self.peak_memory.max(used);
        (used > most).then_some(Limit::Memory)
    }

    /// Adds what was measured to the outcome of a sandbox that has ended, and tells which limit
    /// it has exceeded.
    pub(super) fn finish(&mut self, outcome: &mut Outcome) -> Option<Limit> {
        let exceeded = self.ask_groups().or_else(|| self.left_in_files());
        let by = |counter: &Counter| counter.means();
        if let Some(memory) = &self.limits.memory
            && self.peak_memory > 0
        {
            outcome.peak_memory = Some(self.peak_memory);
            outcome.memory_by = by(&memory.by);
        }
        let Some(limit) = &self.limits.cpu_time else {
            return exceeded;
        };
        let waited = outcome.user + outcome.system;
        if by(&limit.by) != Means::Accounting || self.cpu.0 + self.cpu.1 > waited {
            (outcome.user, outcome.system) = self.cpu;
            outcome.cpu_by = by(&limit.by);
        }
        let used = outcome.user + outcome.system;
        exceeded.or((used >= limit.most).then_some(Limit::CpuTime))
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
fn share(used: u64, most: u64) -> f64 {
    used as f64 / most.max(1) as f64
}

/// Kills what descends from the init program `init`, which goes on. Where no process id namespace
/// does it, processes that left their group are found so.
pub(super) fn kill_below(init: u32) {
    if let Ok(init) = libc::pid_t::try_from(init) {
        Tree::new(init).kill();
    }
}

fn by_looking<T>(bound: Option<&Bound<T>>) -> bool {
    bound.is_some_and(|bound| bound.by == Counter::Accounting)
}
