//! The attack program: tries to get out of the sandbox that it runs in, by one technique.
//!
//! It is static and needs nothing of the root that it runs in. Arguments: the name of a technique,
//! and what it has to know, as `NAME=VALUE`: where things are, and what waits outside. It says
//! what became of the attempt in a line, `did WHAT` or `no WHY`, and before that what it got hold
//! of. `hold` means that it holds something for whoever looks from outside, and waits until its
//! standard input ends; `ready` that somebody outside should do something now.
//!
//! `outside ROLE` makes it one of those who wait outside: see [`outside`]. There it is no attack
//! but a part of the scene, written here because this program has the system calls.

#![deny(unsafe_code)]
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod descriptors;
mod files;
mod init;
mod ipc;
mod kernel;
mod mounts;
mod namespaces;
mod outside;
mod processes;
mod sockets;
mod sys;
mod terminal;

use std::ffi::CString;
use std::fmt::Display;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// What an attack came to: what it did, or why it could not.
type Attempt = Result<String, String>;
type Attack = fn(&Args) -> Attempt;

/// The techniques, by theme.
const ATTACKS: &[&[(&str, Attack)]] = &[
    descriptors::ATTACKS,
    files::ATTACKS,
    init::ATTACKS,
    ipc::ATTACKS,
    kernel::ATTACKS,
    mounts::ATTACKS,
    namespaces::ATTACKS,
    processes::ATTACKS,
    sockets::ATTACKS,
    terminal::ATTACKS,
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let Some((name, rest)) = words.split_first() else {
        return ExitCode::from(64);
    };
    if name == "outside" {
        return outside::main(rest);
    }
    let attack = ATTACKS
        .iter()
        .flat_map(|theme| theme.iter())
        .find(|(known, _)| known == name);
    let Some((_, attack)) = attack else {
        println!("no such attack: {name}");
        return ExitCode::from(64);
    };
    match attack(&Args(rest.to_vec())) {
        Ok(what) => say(&format!("did {what}")),
        Err(why) => say(&format!("no {why}")),
    }
    ExitCode::SUCCESS
}

/// What the program was told.
struct Args(Vec<String>);

impl Args {
    /// The value of `name`, or nothing.
    fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
    }

    /// A number; 0 if there is none.
    fn number(&self, name: &str) -> usize {
        self.get(name).parse().unwrap_or(0)
    }

    fn pid(&self, name: &str) -> i32 {
        i32::try_from(self.number(name)).unwrap_or(0)
    }

    /// A file handle (open_by_handle_at(2)), which somebody outside has asked the kernel for.
    fn handle(&self, name: &str) -> Result<[u8; 136], String> {
        let text = self.get(name);
        if text.is_empty() {
            return Err("no handle could be had outside".to_owned());
        }
        let mut handle = [0; 136];
        for (place, digits) in handle.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            *place = u8::from_str_radix(digits, 16).unwrap_or(0);
        }
        Ok(handle)
    }

    /// Whether the process ids in sight are the sandbox's own. Otherwise only what belongs to the
    /// experiment may be touched: the others are those of a machine that is in use.
    fn own_processes(&self) -> bool {
        let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let host = self.get("hostpids");
        !host.is_empty() && link.to_string_lossy() != host
    }

    /// A file in the directory that is writable by intention.
    fn work(&self, name: &str) -> String {
        format!("{}/{name}", self.get("work"))
    }

    /// A file in the directory that is read-only by intention.
    fn ro(&self, name: &str) -> String {
        format!("{}/{name}", self.get("ro"))
    }

    /// A file that the sandbox does not show.
    fn outside(&self, name: &str) -> String {
        format!("{}/{name}", self.get("outside"))
    }
}

/// A line for whoever looks from outside.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", line.replace('\n', " "));
    let _ = out.flush();
}

/// Tells what was read: whoever looks from outside knows whether it should have been.
fn show(bytes: &[u8]) {
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { ' ' })
        .take(4000)
        .collect();
    say(&format!("got {text}"));
}

/// Stays as it is until somebody outside has had a look.
fn hold() {
    say("hold");
    await_end_of_input();
}

fn await_end_of_input() {
    // Nobody may be there to end it.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(5));
        std::process::exit(3);
    });
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn c(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap_or_default()
}

/// Reads a file and tells what was in it.
fn steal(path: impl AsRef<Path>) -> Attempt {
    let path = path.as_ref();
    match std::fs::read(path) {
        Ok(bytes) => {
            show(&bytes);
            Ok(format!("read {}", path.display()))
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Overwrites a file that is there already.
fn spoil(path: impl AsRef<Path>) -> Attempt {
    let path = path.as_ref();
    let file = std::fs::File::options().write(true).open(path);
    match file.and_then(|mut file| file.write_all(b"spoilt")) {
        Ok(()) => Ok(format!("wrote {}", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Which call failed, and how.
trait Named<T> {
    fn named(self, what: impl Display) -> Result<T, String>;
}

impl<T> Named<T> for std::io::Result<T> {
    fn named(self, what: impl Display) -> Result<T, String> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}

/// Everything that worked; if nothing did, everything that did not.
fn any_of(attempts: impl IntoIterator<Item = Attempt>) -> Attempt {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    let mut attempts = attempts.into_iter().peekable();
    if attempts.peek().is_none() {
        return Err("there was nothing to try it on".to_owned());
    }
    for attempt in attempts {
        match attempt {
            Ok(what) => done.push(what),
            Err(why) => failed.push(why),
        }
    }
    if done.is_empty() {
        // What many processes answer is mostly the same.
        let text = failed.join("; ");
        Err(text.chars().take(500).collect())
    } else {
        Ok(done.join("; "))
    }
}

/// Does something in a child, so that what it changes about itself ends with it. `Ok` is what the
/// child came to; its words it says itself.
fn in_child(what: impl FnOnce() -> Attempt) -> Attempt {
    let (mut reader, mut writer) = std::io::pipe().named("pipe")?;
    if sys::fork().named("fork")? == 0 {
        drop(reader);
        let told = match what() {
            Ok(what) => format!("+{what}"),
            Err(why) => format!("-{why}"),
        };
        let _ = writer.write_all(told.as_bytes());
        drop(writer);
        std::process::exit(0);
    }
    drop(writer);
    let mut told = String::new();
    let _ = reader.read_to_string(&mut told);
    match told.split_at_checked(1) {
        Some(("+", what)) => Ok(what.to_owned()),
        Some((_, why)) => Err(why.to_owned()),
        None => Err("the child was killed".to_owned()),
    }
}
