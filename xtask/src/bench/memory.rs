//! What stays resident while a command runs.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::candidate::{BWRAP, CLI, bwrap_options, cli_line};
use super::place::Place;
use super::report::Memory;
use crate::{Result, repo};

/// A command that is there until it is killed.
const COMMAND: [&str; 2] = ["/bin/sleep", "600"];
const PATIENCE: Duration = Duration::from_secs(10);
/// What stays does so when nothing has happened for a while.
const SETTLED: Duration = Duration::from_secs(1);

pub(super) fn measure(place: &Place) -> Result<Vec<Memory>> {
    let mut found = of(CLI, &cli_line(place, &[], 0, &COMMAND))?;
    if repo::have(BWRAP) {
        let mut line = vec![BWRAP.into()];
        line.extend(bwrap_options(place, 0, &COMMAND));
        found.extend(of(BWRAP, &line)?);
    }
    Ok(found)
}

/// Starts it, looks at the processes until the command is among them, and kills it.
fn of(name: &str, line: &[OsString]) -> Result<Vec<Memory>> {
    let (program, arguments) = line.split_first().ok_or("an empty command line")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()?;
    let began = Instant::now();
    let found = loop {
        let family = family(child.id())?;
        if family.iter().any(|p| p.name == "sleep") {
            sleep(SETTLED);
            break self::family(child.id());
        }
        if began.elapsed() > PATIENCE || child.try_wait()?.is_some() {
            break Err(format!("{name}: no sandbox to look at").into());
        }
        sleep(Duration::from_millis(20));
    };
    // Both end what is in the sandbox when they end.
    child.kill()?;
    child.wait()?;
    let ours = found?.into_iter().filter(|process| process.name != "sleep");
    Ok(ours
        .map(|process| Memory {
            name: name.to_owned(),
            process: process.name,
            resident: process.resident,
            anonymous: process.anonymous,
            most: process.most,
        })
        .collect())
}

#[derive(Debug, PartialEq)]
struct Process {
    id: u32,
    parent: u32,
    name: String,
    resident: u64,
    anonymous: u64,
    most: u64,
}

/// A process and its descendants, parents first.
fn family(id: u32) -> Result<Vec<Process>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        // One that has ended meanwhile is none.
        let status = fs::read_to_string(entry?.path().join("status"));
        all.extend(status.ok().as_deref().and_then(process));
    }
    let mut family: Vec<Process> = Vec::new();
    let mut wanted = vec![id];
    while let Some(id) = wanted.pop() {
        wanted.extend(all.iter().filter(|p| p.parent == id).map(|p| p.id));
        if let Some(at) = all.iter().position(|p| p.id == id) {
            family.push(all.swap_remove(at));
        }
    }
    Ok(family)
}

/// proc_pid_status(5).
fn process(status: &str) -> Option<Process> {
    let field = |name: &str| {
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim())
    };
    // A process that is ending has no memory.
    let size = |name: &str| {
        let (number, _) = field(name)?.split_once(' ')?;
        number.parse().ok()
    };
    Some(Process {
        id: field("Pid")?.parse().ok()?,
        parent: field("PPid")?.parse().ok()?,
        name: field("Name")?.to_owned(),
        resident: size("VmRSS").unwrap_or(0),
        anonymous: size("RssAnon").unwrap_or(0),
        most: size("VmHWM").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let status = "Name:\tsleep\nPid:\t7\nPPid:\t3\nVmHWM:\t  30 kB\nVmRSS:\t    20 kB\nRssAnon:\t 10 kB\n";
        let found = process(status).unwrap();
        assert_eq!((found.id, found.parent), (7, 3));
        assert_eq!((found.anonymous, found.resident, found.most), (10, 20, 30));
        assert_eq!(process("Name:\tx\n"), None);
    }

    #[test]
    fn a_family_is_whole() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60; :"])
            .spawn()
            .unwrap();
        let began = Instant::now();
        let names = loop {
            let names: Vec<_> = family(child.id()).unwrap().into_iter().collect();
            // Before it executes sleep the other one is called sh as well.
            let is_whole = names.len() == 2 && names.iter().any(|p| p.name == "sleep");
            if is_whole || began.elapsed() > PATIENCE {
                break names;
            }
        };
        let grandchild = names.iter().find(|p| p.name == "sleep").map(|p| p.id);
        child.kill().unwrap();
        child.wait().unwrap();
        let id = grandchild.unwrap();
        repo::run(Command::new("kill").arg(id.to_string())).unwrap();
        assert!(names[0].resident > 0, "{names:?}");
    }
}
