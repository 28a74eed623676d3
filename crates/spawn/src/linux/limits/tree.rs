//! What all processes of a sandbox use together, added up from procfs (proc(5)).

use std::collections::{HashMap, HashSet};
use std::thread::sleep;
use std::time::Duration;

use super::super::control::send_signal;
use super::super::facts::{number, whole};
use super::cgroup::pidfd;
use super::host::proc_tells;

/// How often processes are looked for that are to be killed: those that were born meanwhile, and
/// those that take some time to end.
const ROUNDS: u32 = 500;

/// What was found at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Survey {
    /// Processes and threads, without the init program if there is one.
    pub(super) tasks: u64,
    /// What several processes share is counted for each, so this is never less than what they
    /// use.
    pub(super) memory: Memory,
    /// Time of all that live and all that were waited for, in clock ticks: user, and kernel.
    pub(super) ticks: (u64, u64),
}

/// Memory of processes in bytes, as far as no file on a disk could give it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Memory {
    pub(super) anonymous: u64,
    /// Of anonymous mappings that are shared, and of files in a tmpfs.
    pub(super) shared: u64,
}

impl Memory {
    fn plus(self, other: Self) -> Self {
        Self {
            anonymous: self.anonymous.saturating_add(other.anonymous),
            shared: self.shared.saturating_add(other.shared),
        }
    }

    /// All of it, where files in a tmpfs use `files`, of which it is not known how much is mapped.
    pub(super) fn with_files(self, files: u64) -> u64 {
        self.anonymous.saturating_add(self.shared.max(files))
    }
}

/// What a process is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It runs, or waits for something.
    Active,
    /// By a signal, or by whoever traces it.
    Stopped,
    /// It has ended, and nobody has waited for it.
    Dead,
}

/// One process.
#[derive(Debug, Clone, Copy)]
struct Process {
    pid: libc::pid_t,
    parent: libc::pid_t,
    threads: u64,
    state: State,
    /// Its own time: user, and kernel.
    own: (u64, u64),
    /// That of its children that it has waited for.
    waited: (u64, u64),
    /// When it began, which with its number names it for good.
    began: u64,
}

/// The tree of processes that begins at the init program.
#[derive(Debug)]
pub(super) struct Tree {
    root: libc::pid_t,
    /// Whether the first process is one of those that are counted.
    counts_root: bool,
    /// Whether procfs lists the children of a process (`CONFIG_PROC_CHILDREN`).
    lists_children: bool,
    /// The own time of each process that was ever seen, and so a lower bound of all time also
    /// where nobody waits for a child that has ended.
    seen: HashMap<(libc::pid_t, u64), (u64, u64)>,
    /// The time of those that are no longer kept in `seen`.
    gone: (u64, u64),
    found: Vec<Process>,
}

impl Tree {
    pub(super) fn new(root: libc::pid_t) -> Self {
        Self {
            root,
            counts_root: false,
            lists_children: whole("/proc/thread-self/children").is_some(),
            seen: HashMap::new(),
            gone: (0, 0),
            found: Vec::new(),
        }
    }

    pub(super) fn counting_the_first(mut self, counts: bool) -> Self {
        self.counts_root = counts;
        self
    }

    fn counts(&self, process: &Process) -> bool {
        self.counts_root || process.pid != self.root
    }

    /// Looks at all processes, or at so many that there are more tasks than `most`: where processes
    /// multiply, whoever looks at all of them is never done. Those that are born meanwhile may be
    /// missed until the next time.
    pub(super) fn survey(&mut self, with_memory: bool, most: u64) -> Survey {
        self.found.clear();
        if self.lists_children {
            self.walk(most);
        } else {
            self.scan();
        }
        let mut survey = Survey::default();
        let mut alive = HashMap::with_capacity(self.found.len());
        let mut living = (0u64, 0u64);
        for process in &self.found {
            living.0 += process.own.0 + process.waited.0;
            living.1 += process.own.1 + process.waited.1;
            alive.insert((process.pid, process.began), process.own);
            if !self.counts(process) {
                continue;
            }
            survey.tasks += process.threads;
            if with_memory {
                survey.memory = survey.memory.plus(resident(process.pid));
            }
        }
        for (key, own) in &self.seen {
            if !alive.contains_key(key) {
                self.gone.0 += own.0;
                self.gone.1 += own.1;
            }
        }
        self.seen = alive;
        let sum = |pick: fn(&(u64, u64)) -> u64| self.seen.values().map(pick).sum::<u64>();
        let seen = (
            self.gone.0 + sum(|own| own.0),
            self.gone.1 + sum(|own| own.1),
        );
        // Both are lower bounds: the one knows who was waited for, the other who was not.
        survey.ticks = if living.0 + living.1 >= seen.0 + seen.1 {
            living
        } else {
            seen
        };
        survey
    }

    /// The memory of the processes that were found last, where what is shared is divided among
    /// those that share it. It takes far longer, and says nothing of processes that the caller
    /// may not look into.
    pub(super) fn exact_memory(&self) -> Memory {
        let found = self.found.iter().filter(|p| self.counts(p));
        found.fold(Memory::default(), |sum, process| {
            // Until it executes something, a child of vfork has no memory of its own.
            if process.parent != self.root && same_memory(process.pid, process.parent) {
                return sum;
            }
            sum.plus(proportional(process.pid).unwrap_or_else(|| resident(process.pid)))
        })
    }

    /// Kills every process but the first.
    pub(super) fn kill(&mut self) {
        // Otherwise the numbers that are found mean others.
        if !proc_tells() {
            return;
        }
        // They are stopped first: the place of one that is killed is taken by the child of another,
        // and where there are many they are faster than whoever kills them.
        self.signal_all(libc::SIGSTOP, |process| process.state == State::Active);
        let killed = self.signal_all(libc::SIGKILL, |process| process.state != State::Dead);
        // The init program may have ended with the command, and then they are nobody's here.
        let lives = |(pid, began): &(libc::pid_t, u64)| {
            stat(*pid).is_some_and(|now| now.began == *began && now.state != State::Dead)
        };
        for _ in 0..ROUNDS {
            if !killed.iter().any(lives) {
                return;
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Sends `signal` to every process but the first that it is for, until there is none. Those
    /// that are born while the others are looked at are found the next time. Gives all whom it was
    /// sent to, by their number and when they began.
    fn signal_all(
        &mut self,
        signal: i32,
        is_for: impl Fn(&Process) -> bool,
    ) -> HashSet<(libc::pid_t, u64)> {
        let mut reached = HashSet::new();
        let mut nobody = false;
        for _ in 0..ROUNDS {
            self.survey(false, u64::MAX);
            let root = self.root;
            let found = self.found.iter().filter(|process| process.pid != root);
            let mut found = found.filter(|process| is_for(process)).peekable();
            if found.peek().is_none() {
                // One whose parent ended while they were looked at was at neither place.
                if std::mem::replace(&mut nobody, true) {
                    break;
                }
                continue;
            }
            nobody = false;
            let before = reached.len();
            for process in found {
                // Its number was another's if it is not the one that was found.
                if let Some(pidfd) = pidfd(process.pid)
                    && self.still_there(process.pid)
                {
                    let _ = send_signal(&pidfd, signal);
                    reached.insert((process.pid, process.began));
                }
            }
            if reached.len() == before {
                // All of them know, and may need this processor to act on it.
                sleep(Duration::from_millis(1));
            }
        }
        reached
    }

    /// Whether the process `pid` is the one that was found last.
    pub(super) fn still_there(&self, pid: libc::pid_t) -> bool {
        let found = self.found.iter().find(|process| process.pid == pid);
        let now = stat(pid);
        found.is_some_and(|then| now.is_some_and(|now| now.began == then.began))
    }

    fn walk(&mut self, most: u64) {
        let mut left = vec![(self.root, 0)];
        let mut tasks = 0;
        while let Some((pid, parent)) = left.pop() {
            let Some(mut process) = stat(pid) else {
                continue;
            };
            if parent != 0 {
                process.parent = parent;
            }
            let mut add = |task: &str| {
                let path = format!("/proc/{pid}/task/{task}/children");
                let children = whole(path).unwrap_or_default();
                let numbers = children.split(|b| *b == b' ').filter_map(number);
                left.extend(numbers.map(|child: libc::pid_t| (child, pid)));
            };
            if process.threads == 1 {
                add(&pid.to_string());
            } else {
                let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
                for task in tasks.into_iter().flatten().flatten() {
                    add(&task.file_name().to_string_lossy());
                }
            }
            self.found.push(process);
            // The init program has one that does not count.
            tasks += process.threads;
            if tasks - 1 > most {
                return;
            }
        }
    }

    /// The same where the kernel lists no children: all processes are looked at.
    fn scan(&mut self) {
        let mut children: HashMap<libc::pid_t, Vec<Process>> = HashMap::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = number(entry.file_name().as_encoded_bytes());
            if let Some(process) = pid.and_then(stat) {
                if process.pid == self.root {
                    self.found.push(process);
                } else {
                    children.entry(process.parent).or_default().push(process);
                }
            }
        }
        let mut next = 0;
        while let Some(process) = self.found.get(next) {
            let mine = children.remove(&process.pid).unwrap_or_default();
            self.found.extend(mine);
            next += 1;
        }
    }
}

fn stat(pid: libc::pid_t) -> Option<Process> {
    parse(pid, &whole(format!("/proc/{pid}/stat"))?)
}

/// The fields behind the name, which may hold anything, itself a closing parenthesis.
fn parse(pid: libc::pid_t, stat: &[u8]) -> Option<Process> {
    let behind = stat.iter().rposition(|b| *b == b')')? + 1;
    let fields: Vec<&[u8]> = stat[behind..]
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty())
        .collect();
    // The first of them is the third field of proc(5).
    let field = |n: usize| number::<u64>(fields.get(n - 3)?);
    Some(Process {
        pid,
        parent: number(fields.get(1)?)?,
        threads: field(20)?,
        state: match *fields.first()? {
            b"Z" | b"X" => State::Dead,
            b"T" | b"t" => State::Stopped,
            _ => State::Active,
        },
        own: (field(14)?, field(15)?),
        waited: (field(16)?, field(17)?),
        began: field(22)?,
    })
}

/// What a process has resident.
fn resident(pid: libc::pid_t) -> Memory {
    let status = whole(format!("/proc/{pid}/status")).unwrap_or_default();
    Memory {
        anonymous: kibibytes(&status, "RssAnon:"),
        shared: kibibytes(&status, "RssShmem:"),
    }
}

/// The same with each page divided by how many have it; nothing if that may not be known.
fn proportional(pid: libc::pid_t) -> Option<Memory> {
    let rollup = whole(format!("/proc/{pid}/smaps_rollup"))?;
    Some(Memory {
        anonymous: kibibytes(&rollup, "Pss_Anon:"),
        shared: kibibytes(&rollup, "Pss_Shmem:"),
    })
}

/// The number in the line `RssAnon:     120 kB`, in bytes.
fn kibibytes(text: &[u8], key: &str) -> u64 {
    let number = text.split(|b| *b == b'\n').find_map(|line| {
        let rest = line.strip_prefix(key.as_bytes())?;
        number::<u64>(rest.strip_suffix(b"kB")?.trim_ascii())
    });
    number.unwrap_or(0).saturating_mul(1024)
}

/// Whether two processes share all memory (kcmp(2), `KCMP_VM`).
fn same_memory(a: libc::pid_t, b: libc::pid_t) -> bool {
    const KCMP_VM: libc::c_int = 1;
    // SAFETY: kcmp(2) takes numbers.
    unsafe { libc::syscall(libc::SYS_kcmp, a, b, KCMP_VM, 0, 0) == 0 }
}

/// How long a clock tick of procfs is.
pub(super) fn tick() -> Duration {
    // SAFETY: sysconf with a constant.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let per_second = u32::try_from(per_second).ok().filter(|n| *n > 0);
    Duration::from_secs(1) / per_second.unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_last_parenthesis() {
        let line = b"12 (a) R 1 (b) S 7 12 12 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 9 0 555 1 2";
        let process = parse(12, line).unwrap();
        assert_eq!((process.parent, process.threads), (7, 9));
        assert_eq!((process.own, process.waited), ((50, 60), (70, 80)));
        assert_eq!((process.began, process.state), (555, State::Active));
        for (letter, state) in [(b'T', State::Stopped), (b'Z', State::Dead)] {
            let mut line = line.to_vec();
            line[15] = letter;
            assert_eq!(parse(12, &line).unwrap().state, state);
        }
        for short in [&b""[..], b"12 (a", b"12 (a) S 7 1", b"12 (a) S x 1"] {
            assert!(parse(12, short).is_none());
        }
    }

    #[test]
    fn kibibytes_of_a_line() {
        let status = b"VmRSS:\t 9 kB\nRssAnon:\t     120 kB\nRssFile:\t 7 kB\nRssShmem:\t 8 kB\nx";
        assert_eq!(kibibytes(status, "RssAnon:"), 120 * 1024);
        assert_eq!(kibibytes(status, "RssShmem:"), 8 * 1024);
        for text in [&b""[..], b"RssAnon: x kB", b"RssAnon: 5", b"RssAnon: 5 MB"] {
            assert_eq!(kibibytes(text, "RssAnon:"), 0);
        }
        let memory = Memory {
            anonymous: 5,
            shared: 3,
        };
        assert_eq!((memory.with_files(2), memory.with_files(4)), (8, 9));
    }

    fn members(tree: &Tree) -> Vec<libc::pid_t> {
        let pids = tree.found.iter().map(|process| process.pid);
        pids.filter(|pid| *pid != tree.root).collect()
    }

    /// Both ways of finding processes find the same, and what they use.
    #[test]
    fn children_are_found_and_counted() {
        let script =
            "sleep 60 & x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo; read y; echo $x";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let pid = libc::pid_t::try_from(child.id()).unwrap();
        for lists_children in [true, false] {
            let mut tree = Tree::new(pid);
            tree.lists_children &= lists_children;
            let survey = tree.survey(true, u64::MAX);
            assert_eq!(survey.tasks, 1, "the sleep");
            assert!(survey.memory.with_files(0) < 4 << 20);
            assert_eq!(members(&tree).len(), 1);
            assert_eq!(tree.survey(false, 0).tasks, 1);
            let mut above = Tree::new(libc::pid_t::try_from(std::process::id()).unwrap());
            above.lists_children &= lists_children;
            let survey = above.survey(true, u64::MAX);
            assert!(survey.tasks >= 2 && survey.memory.anonymous >= 8_000_000);
            let exact = above.exact_memory().anonymous;
            assert!(
                (8_000_000..=survey.memory.anonymous).contains(&exact),
                "{exact} {survey:?}"
            );
        }
        let mut tree = Tree::new(pid);
        tree.survey(false, u64::MAX);
        let sleeper = members(&tree)[0];
        assert!(tree.still_there(sleeper) && !tree.still_there(pid + 100_000));
        assert!(tree.found.iter().all(|p| p.state == State::Active));
        tree.kill();
        // The shell, which goes on, has not waited for it.
        tree.survey(false, u64::MAX);
        let dead = tree.found.iter().filter(|p| p.state == State::Dead);
        assert_eq!(
            dead.map(|process| process.pid).collect::<Vec<_>>(),
            [sleeper]
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
