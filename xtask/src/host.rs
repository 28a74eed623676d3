//! What a measurement was taken on.

use std::fs;
use std::process::Command;

use crate::repo;

/// The first line that `program --version` prints, or that there is none.
pub(crate) fn version_of(program: &str) -> String {
    repo::output(Command::new(program).arg("--version"))
        .ok()
        .and_then(|text| text.lines().next().map(str::to_owned))
        .unwrap_or_else(|| format!("no {program}"))
}

/// The release of the running kernel.
pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |s| s.trim().to_owned())
}

/// Today, in UTC.
pub(crate) fn today() -> String {
    repo::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))
        .map_or_else(|_| "unknown".to_owned(), |s| s.trim().to_owned())
}

/// The name of the processor.
pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let name = lines.find(|(key, _)| key.trim() == "model name");
    name.map_or_else(
        || "unknown processor".to_owned(),
        |(_, name)| name.trim().to_owned(),
    )
}

/// How many processors there are for us.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
