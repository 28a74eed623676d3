//! Races: thousands of rounds in which something changes while a sandbox is set up, or in which
//! the command is quicker than the first process.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::Stage;
use crate::run::Broken;

/// How a race went.
#[derive(Debug, Clone)]
pub struct Race {
    /// Its name.
    pub name: &'static str,
    /// What is tried.
    pub tries: &'static str,
    /// How many rounds there were.
    pub rounds: usize,
    /// After how many rounds something careless lost it.
    pub control: String,
    /// What came of the rounds.
    pub detail: String,
}

fn run(command: &mut Command) -> Result<Output, Broken> {
    Ok(command.stdin(Stdio::null()).output()?)
}

fn listing(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// All races, with `rounds` each.
///
/// # Errors
/// That one was lost, or could not be shown to be losable.
pub fn all(program: &Path, stage: &Stage, rounds: usize) -> Result<Vec<Race>, Broken> {
    Ok(vec![
        swapped_target(program, stage, rounds)?,
        first_process(
            program,
            stage,
            rounds,
            "proc-exe",
            "the program of the first process, opened for writing",
        )?,
        first_process(
            program,
            stage,
            rounds,
            "init-fds",
            "the descriptors of the first process, from its first moment on",
        )?,
        leaked(program, stage, rounds / 4)?,
    ])
}

/// A directory of the root is exchanged for a link that leads outside, and back, while mount
/// points are made in it (CVE-2021-30465).
fn swapped_target(program: &Path, stage: &Stage, rounds: usize) -> Result<Race, Broken> {
    let mut scene = stage.scene()?;
    let root = scene.path("race");
    for dir in ["d", "dev", "proc", "tmp", "bin"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::hard_link(stage.attack(), root.join("attack"))?;
    symlink(scene.path("outside"), root.join(".d"))?;
    let (d, link) = (root.join("d"), root.join(".d"));
    let words = [d.display().to_string(), link.display().to_string()];
    scene.call(&["swap", &words[0], &words[1]])?;

    // Somebody careless: makes the directory by its path.
    let outside = scene.path("outside");
    let before = listing(&outside);
    let began = Instant::now();
    let mut control = 0;
    while listing(&outside) == before {
        if began.elapsed() > Duration::from_secs(10) {
            return Err(Broken(
                "making directories by their paths was never tricked".to_owned(),
            ));
        }
        let _ = fs::create_dir(d.join(format!("careless-{control}")));
        control += 1;
    }
    for name in listing(&outside) {
        if !before.contains(&name) {
            fs::remove_dir(outside.join(name))?;
        }
    }

    let (mut worked, mut refused) = (0, 0);
    for round in 0..rounds {
        let new = format!("/d/new-{round}");
        let mut line = Command::new(program);
        line.args(["-e", "userns"]);
        match round % 3 {
            0 => line.arg("--bind").arg(scene.path("work")).arg(&new),
            1 => line.arg("--tmpfs").arg(&new),
            _ => line.arg("--dir").arg(&new),
        };
        line.arg(&root).args(["--", "/attack", "path"]);
        line.args(scene.words(true, None));
        let output = run(&mut line)?;
        let text = String::from_utf8_lossy(&output.stdout);
        if text.contains(&scene.secret) {
            return Err(Broken(format!("round {round}: the secret came out")));
        }
        match output.status.code() {
            Some(0) => worked += 1,
            Some(125) => refused += 1,
            other => return Err(Broken(format!("round {round}: {other:?} {output:?}"))),
        }
        if listing(&outside) != before {
            return Err(Broken(format!(
                "round {round}: {:?} outside",
                listing(&outside)
            )));
        }
    }
    scene.dismiss();
    if worked * 20 < rounds || refused == 0 {
        let why = format!("{worked} worked and {refused} were refused: nobody met the race");
        return Err(Broken(why));
    }
    Ok(Race {
        name: "swapped-target",
        tries: "a directory exchanged for a link that leads outside, while mount points are made in it",
        rounds,
        control: format!("careless mkdir was tricked in round {control}"),
        detail: format!("{worked} worked, {refused} were refused, nothing was made outside"),
    })
}

/// In many sandboxes the attack tries many times, from its first moment on.
fn first_process(
    program: &Path,
    stage: &Stage,
    rounds: usize,
    name: &'static str,
    tries: &'static str,
) -> Result<Race, Broken> {
    const EACH: usize = 20;
    let scene = stage.scene()?;
    let copy = scene.path("run-sandbox");
    fs::copy(program, &copy)?;
    let before = fs::read(&copy)?;
    let starts = rounds.div_ceil(EACH);
    for start in 0..starts {
        let mut line = Command::new(&copy);
        line.args(["-e", "userns", "--read-only"]);
        line.arg(stage.root()).args(["--", "/attack", name]);
        line.args(scene.words(true, None))
            .arg(format!("rounds={EACH}"));
        let output = run(&mut line)?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.lines().any(|line| line.starts_with("no ")) {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(Broken(format!("{name}, start {start}: {text}{errors}")));
        }
    }
    if fs::read(&copy)? != before {
        return Err(Broken(format!("{name}: the program has changed")));
    }
    Ok(Race {
        name,
        tries,
        rounds: starts * EACH,
        control: "works on a process outside: see the technique".to_owned(),
        detail: format!("{EACH} tries in each of {starts} sandboxes"),
    })
}

/// The caller has a directory and a file open that are not close-on-exec.
fn leaked(program: &Path, stage: &Stage, rounds: usize) -> Result<Race, Broken> {
    let scene = stage.scene()?;
    let launch = |sandbox: bool| {
        let mut line = Command::new(stage.attack());
        line.args(["outside", "leak"])
            .arg(scene.path("outside"))
            .arg("--");
        if sandbox {
            line.arg(program).args(["-e", "userns", "--read-only"]);
            line.arg(stage.root()).arg("--").arg("/attack");
        } else {
            line.arg(stage.attack());
        }
        line.arg("leaked-fds").args(scene.words(sandbox, None));
        line
    };
    let open = run(&mut launch(false))?;
    if !String::from_utf8_lossy(&open.stdout).contains(&scene.secret) {
        return Err(Broken(
            "without a sandbox the descriptors are not there".to_owned(),
        ));
    }
    for round in 0..rounds {
        let output = run(&mut launch(true))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if text.trim() != "no nothing is open above 2" {
            return Err(Broken(format!("round {round}: {text}")));
        }
    }
    Ok(Race {
        name: "leaked-fds",
        tries: "descriptors of the caller, from the first moment on",
        rounds,
        control: "without a sandbox they are open".to_owned(),
        detail: "nothing is open above 2".to_owned(),
    })
}
