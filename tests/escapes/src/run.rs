//! Trying techniques: the control first, then the sandbox.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sandboxlib_tests::watch::within;

use crate::witness::{View, pids_with};
use crate::{Control, Ready, Scene, Stage, Technique, Verdict, Who, Witness, target::Target};

/// How long one attempt may take.
const LONGEST: Duration = Duration::from_secs(15);
/// How long processes may take to die when their sandbox is over.
const GRACE: Duration = Duration::from_secs(2);

/// What became of one technique in one place.
#[derive(Debug, Clone)]
pub struct Row {
    /// The technique.
    pub technique: &'static Technique,
    /// The place: a backend, or another program.
    pub target: String,
    /// Who tried.
    pub who: Who,
    /// What became of it.
    pub verdict: Verdict,
    /// What was seen, or why it could not be tried.
    pub detail: String,
}

/// A suite that could not be carried out: no verdict is given then.
#[derive(Debug)]
pub struct Broken(pub String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Tries all `techniques` against all `targets`.
///
/// # Errors
/// If a control does not work that must, or a sandbox cannot be started: then nothing was proved.
pub fn all(
    stage: &Stage,
    program: &Path,
    techniques: &[&'static Technique],
    targets: &[Target],
) -> Result<Vec<Row>, Broken> {
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for target in targets.iter().filter(|target| !target.ours) {
        starts(stage, program, target)?;
    }
    for technique in techniques {
        let name = technique.name;
        let targets: Vec<_> = targets
            .iter()
            .filter(|target| target.host_root == technique.host_root)
            .collect();
        match control(stage, program, technique) {
            Err(why) => broken.push(format!("{name}: {why}")),
            Ok(Err(reason)) => rows.extend(targets.iter().map(|target| Row {
                technique,
                target: target.name.clone(),
                who: stage.who,
                verdict: Verdict::NotApplicable,
                detail: reason.clone(),
            })),
            Ok(Ok(())) => {
                for target in &targets {
                    match against(stage, program, technique, target) {
                        Ok((verdict, detail)) => rows.push(Row {
                            technique,
                            target: target.name.clone(),
                            who: stage.who,
                            verdict,
                            detail,
                        }),
                        // Another program may not bear what is put around it.
                        Err(why) if !target.ours => rows.push(Row {
                            technique,
                            target: target.name.clone(),
                            who: stage.who,
                            verdict: Verdict::NotApplicable,
                            detail: format!("{} did not start it: {why}", target.name),
                        }),
                        Err(why) => broken.push(format!("{name} against {}: {why}", target.name)),
                    }
                }
            }
        }
    }
    if broken.is_empty() {
        Ok(rows)
    } else {
        Err(Broken(broken.join("\n")))
    }
}

/// Whether the attack program can be started in a sandbox at all.
fn starts(stage: &Stage, program: &Path, target: &Target) -> Result<(), Broken> {
    let Some(harmless) = crate::techniques().find(|t| t.name == "path") else {
        return Ok(());
    };
    against(stage, program, harmless, target).map(drop)
}

/// Shows that the technique works where nothing stops it. The inner error is why it does not
/// apply here.
fn control(
    stage: &Stage,
    program: &Path,
    technique: &Technique,
) -> Result<Result<(), String>, Broken> {
    let control = match stage.who {
        Who::Root => technique.root,
        Who::User => technique.user,
    };
    let (words, inside) = match control {
        Control::Not(reason) => return Ok(Err(reason.to_owned())),
        Control::Host(words) => (words, false),
        Control::Inside(words) => (words, true),
    };
    let mut scene = stage.scene()?;
    let prepared = prepare(&mut scene, technique);
    if let (Err(why), false) = (&prepared, technique.lacks.is_empty()) {
        return Ok(Err(format!("{}: {why}", technique.lacks)));
    }
    prepared?;
    let words = scene.fill(words);
    let seen = attempt(&scene, program, technique, words, inside, None)?;
    if seen.verdict != Verdict::Blocked {
        return Ok(Ok(()));
    }
    if technique.lacks.is_empty() {
        let why = format!("it does not work where nothing stops it: {}", seen.detail);
        return Err(Broken(why));
    }
    Ok(Err(format!("{}: {}", technique.lacks, seen.detail)))
}

fn against(
    stage: &Stage,
    program: &Path,
    technique: &Technique,
    target: &Target,
) -> Result<(Verdict, String), Broken> {
    let mut scene = stage.scene()?;
    prepare(&mut scene, technique)?;
    let mut words = Vec::new();
    for word in &target.words {
        match (word.as_str(), technique.mask) {
            ("{mask}", Some(path)) => {
                words.extend(target.mask.iter().map(|w| w.replace("{path}", path)));
            }
            ("{mask}", None) => {}
            _ => words.push(word.clone()),
        }
    }
    if technique.mask.is_some() && target.mask.is_empty() {
        let why = "nothing is hidden by path there".to_owned();
        return Ok((Verdict::NotApplicable, why));
    }
    let words = scene.fill(&words);
    let seen = attempt(&scene, program, technique, words, true, Some(target))?;
    Ok((seen.verdict, seen.detail))
}

/// Calls those who wait outside.
fn prepare(scene: &mut Scene<'_>, technique: &Technique) -> Result<(), Broken> {
    scene.open_canary()?;
    for role in technique.outside {
        scene.call(role)?;
    }
    Ok(())
}

struct Seen {
    verdict: Verdict,
    detail: String,
}

/// Starts the attack behind `words`, and looks.
fn attempt(
    scene: &Scene<'_>,
    program: &Path,
    technique: &Technique,
    words: Vec<String>,
    inside: bool,
    target: Option<&Target>,
) -> Result<Seen, Broken> {
    let mut line = scene.fill(technique.prefix);
    line.extend(words);
    line.push(if inside {
        "/attack".to_owned()
    } else {
        scene.fill(&["{attack}"]).concat()
    });
    line.push(technique.name.to_owned());
    line.extend(scene.words(inside, technique.mask));
    let mut watched = Watched::start(scene, program, &line)?;
    watched.follow(scene, technique);
    let mut over = watched.end()?;
    // Where the output was a file, what the attack said is there.
    let log = fs::read_to_string(scene.path("outside/log")).unwrap_or_default();
    let words = log
        .lines()
        .filter(|l| l.starts_with("did ") || l.starts_with("no "));
    over.output.extend(words.flat_map(|line| [line, "\n"]));

    let patience = match (technique.witness, target) {
        (Witness::Survives, Some(_)) => GRACE,
        _ => Duration::from_millis(300),
    };
    let survivors = over_but_alive(scene, patience);
    let found = match technique.witness {
        Witness::Secret => [&over.output, &over.errors]
            .iter()
            .any(|text| text.contains(&scene.secret))
            .then(|| "the secret came out".to_owned()),
        Witness::Changed => scene.changed(),
        Witness::Signalled => signalled(scene),
        Witness::Limited => limited(scene),
        Witness::Survives => survivors,
        Witness::Process(_) | Witness::Harm(_) => watched.seen.take(),
        Witness::Told => over.said("did ").map(str::to_owned),
    };
    let said = over.said("did ").or_else(|| over.said("no "));
    if let Some(found) = found {
        let claim = said.map_or(String::new(), |said| format!(" ({said})"));
        return Ok(Seen {
            verdict: technique.witness.reach(),
            detail: format!("{found}{claim}"),
        });
    }
    // Whoever did not try was not blocked.
    let detail = match (said, over.killed_by_filter()) {
        (Some(said), _) => said.to_owned(),
        (None, true) => "killed by a filter of system calls".to_owned(),
        (None, false) if technique.witness_needs_no_word() && target.is_some() && over.tried() => {
            "nothing was reached".to_owned()
        }
        (None, false) if technique.refusal && !over.status.success() => {
            format!("refused: {}", over.errors.trim())
        }
        (None, false) => {
            return Err(Broken(format!(
                "the attack said nothing: {} {} {}",
                over.status,
                over.output.trim(),
                over.errors.trim()
            )));
        }
    };
    Ok(Seen {
        verdict: Verdict::Blocked,
        detail,
    })
}

impl Technique {
    /// Whether the attack is ended before it can say how it went.
    fn witness_needs_no_word(&self) -> bool {
        self.ready == Ready::KillSupervisor
    }
}

/// A process of the attack that is alive when the sandbox is not.
fn over_but_alive(scene: &Scene<'_>, patience: Duration) -> Option<String> {
    let gone = within(patience, || {
        pids_with(&scene.token).is_empty().then_some(())
    });
    if gone.is_some() {
        return None;
    }
    let left = pids_with(&scene.token);
    for pid in &left {
        sandboxlib_tests::watch::signal(*pid, "KILL");
    }
    Some(format!("{} processes live on", left.len()))
}

fn signalled(scene: &Scene<'_>) -> Option<String> {
    const SIGURG: u32 = 23;
    let status = fs::read_to_string(format!("/proc/{}/status", scene.told("victim")?)).ok()?;
    let pending = status
        .lines()
        .filter_map(|l| {
            l.strip_prefix("SigPnd:")
                .or_else(|| l.strip_prefix("ShdPnd:"))
        })
        .filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .fold(0, |all, mask| all | mask);
    (pending & 1 << (SIGURG - 1) != 0).then(|| "the victim has the signal".to_owned())
}

fn limited(scene: &Scene<'_>) -> Option<String> {
    let pid = scene.told("victim")?;
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    if limits
        .lines()
        .any(|l| l.starts_with("Max core") && l.contains("4711"))
    {
        return Some("the victim has another limit".to_owned());
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let nice = stat.rsplit(") ").next()?.split(' ').nth(16)?.to_owned();
    (nice == "19").then(|| "the victim has another priority".to_owned())
}

/// What came of a run.
struct Over {
    output: String,
    errors: String,
    status: std::process::ExitStatus,
}

impl Over {
    /// The rest of the first line with this beginning.
    fn said(&self, beginning: &str) -> Option<&str> {
        let mut lines = self.output.lines().map(str::trim);
        lines.find_map(|line| line.strip_prefix(beginning))
    }

    fn tried(&self) -> bool {
        self.output.lines().any(|line| line.trim() == "ready")
    }

    fn killed_by_filter(&self) -> bool {
        use std::os::unix::process::ExitStatusExt as _;
        const SIGSYS: i32 = 31;
        self.status.signal() == Some(SIGSYS) || self.status.code() == Some(128 + SIGSYS)
    }
}

struct Watched {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    errors: std::thread::JoinHandle<String>,
    output: String,
    seen: Option<String>,
}

impl Watched {
    fn start(scene: &Scene<'_>, program: &Path, line: &[String]) -> Result<Self, Broken> {
        let Some((first, rest)) = line.split_first() else {
            return Err(Broken("an empty command".to_owned()));
        };
        let mut child = Command::new(first)
            .args(rest)
            .env("PATH", crate::target::search_path(program))
            .current_dir(scene.path("work"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Broken(format!("cannot start {first}: {error}")))?;
        let (sender, lines) = mpsc::channel();
        let stdout = child.stdout.take();
        std::thread::spawn(move || {
            let reader = stdout.map(BufReader::new);
            for line in reader.into_iter().flat_map(|r| r.split(b'\n')).flatten() {
                let line = String::from_utf8_lossy(&line).into_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = child.stderr.take();
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.map(|mut s| s.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Self {
            input: child.stdin.take(),
            child,
            lines,
            errors,
            output: String::new(),
            seen: None,
        })
    }

    /// Reads what the attack says, and does what has to be done meanwhile.
    fn follow(&mut self, scene: &Scene<'_>, technique: &Technique) {
        let deadline = Instant::now() + LONGEST;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    match line.trim() {
                        "hold" => {
                            if let Witness::Process(look) | Witness::Harm(look) = technique.witness
                            {
                                let views = View::all(&scene.token, scene.dir());
                                let seen = views.iter().find_map(look);
                                self.seen = self.seen.take().or(seen);
                            }
                            drop(self.input.take());
                        }
                        "ready" => self.ready(scene, technique.ready),
                        _ => {}
                    }
                    self.output.push_str(&line);
                    self.output.push('\n');
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    return;
                }
            }
            // A process that got away may hold the output open.
            if matches!(technique.witness, Witness::Survives)
                && self.child.try_wait().ok().flatten().is_some()
            {
                return;
            }
        }
    }

    fn ready(&mut self, scene: &Scene<'_>, what: Ready) {
        match what {
            Ready::Nothing => {}
            Ready::MoveOut => {
                let _ = fs::rename(scene.path("work/moving"), scene.path("outside/moving"));
                drop(self.input.take());
            }
            Ready::EndInit => {
                let there = |pid: &u32| PathBuf::from(format!("/proc/{pid}")).exists();
                let pid = scene.told("init").and_then(|pid| pid.parse().ok());
                if let Some(pid) = pid.filter(there) {
                    sandboxlib_tests::watch::signal(pid, "KILL");
                }
            }
            Ready::KillSupervisor => {
                let _ = self.child.kill();
            }
        }
    }

    fn end(&mut self) -> Result<Over, Broken> {
        drop(self.input.take());
        let status = match within(LONGEST, || self.child.try_wait().ok().flatten()) {
            Some(status) => status,
            None => {
                let _ = self.child.kill();
                self.child.wait()?
            }
        };
        let errors = std::mem::replace(&mut self.errors, std::thread::spawn(String::new));
        // Somebody who got away may hold it open, so it is not waited for without end.
        let done = within(Duration::from_millis(300), || {
            errors.is_finished().then_some(())
        });
        let errors = match done {
            Some(()) => errors.join().unwrap_or_default(),
            None => String::new(),
        };
        Ok(Over {
            output: std::mem::take(&mut self.output),
            errors,
            status,
        })
    }
}
