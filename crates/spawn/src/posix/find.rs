//! What is wrong with a command that could not be executed, from a look at it afterwards.
//!
//! The parent looks, on the host and without the sandbox's privileges, so this is a guess where
//! somebody changes the root at the same time; nothing but the error message depends on it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use sandboxlib_core::ExecProblem;

/// What the command at `path` in `root` needs and has not got; `None` if it is not there itself,
/// or is no file.
pub(super) fn missing_part(root: &Path, path: &Path) -> Option<ExecProblem> {
    let found = resolve(root, path)?;
    if !fs::metadata(&found).ok()?.is_file() {
        return Some(ExecProblem::NotExecutable);
    }
    let mut file = File::open(found).ok()?;
    let mut head = Vec::with_capacity(512);
    file.by_ref().take(512).read_to_end(&mut head).ok()?;
    if let Some(line) = head.strip_prefix(b"#!") {
        return Some(ExecProblem::InterpreterMissing(interpreter(line)));
    }
    Some(match elf_loader(&file, &head) {
        Some(loader) => ExecProblem::LoaderMissing(loader),
        None => ExecProblem::Other,
    })
}

/// The host's path of `path` inside `root`, symbolic links followed inside; `None` if it does not
/// exist.
fn resolve(root: &Path, path: &Path) -> Option<PathBuf> {
    const MAX_LINKS: u32 = 40;
    let own = |c: Component<'_>| c.as_os_str().to_owned();
    let mut inside: Vec<OsString> = Vec::new();
    let mut rest: Vec<OsString> = path.components().rev().map(own).collect();
    let mut links = 0;
    let on_host = |inside: &[OsString]| root.join(inside.iter().collect::<PathBuf>());
    while let Some(name) = rest.pop() {
        match name.as_bytes() {
            b"/" => inside.clear(),
            b"." => {}
            b".." => {
                inside.pop();
            }
            _ => {
                inside.push(name);
                let here = on_host(&inside);
                if fs::symlink_metadata(&here).ok()?.is_symlink() {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    inside.pop();
                    let to = fs::read_link(&here).ok()?;
                    rest.extend(to.components().rev().map(own));
                }
            }
        }
    }
    Some(on_host(&inside))
}

/// Of a `#!` line, the interpreter.
fn interpreter(line: &[u8]) -> PathBuf {
    let end = line
        .iter()
        .position(|b| matches!(b, b'\n' | b'\0'))
        .unwrap_or(line.len());
    let word = line[..end]
        .split(|b| matches!(b, b' ' | b'\t'))
        .find(|word| !word.is_empty())
        .unwrap_or_default();
    OsStr::from_bytes(word).into()
}

/// The loader that an ELF program names (elf(5), `PT_INTERP`).
fn elf_loader(file: &File, head: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: u64 = 3;
    if head.len() < 64 || !head.starts_with(b"\x7fELF") {
        return None;
    }
    let (wide, big) = (head[4] == 2, head[5] == 2);
    let number = |bytes: &[u8]| {
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if big {
            bytes.iter().fold(0, join)
        } else {
            bytes.iter().rev().fold(0, join)
        }
    };
    let (table, size, count) = if wide {
        (
            number(&head[32..40]),
            number(&head[54..56]),
            number(&head[56..58]),
        )
    } else {
        (
            number(&head[28..32]),
            number(&head[42..44]),
            number(&head[44..46]),
        )
    };
    for i in 0..count.min(64) {
        let mut entry = [0; 56];
        let entry = if wide {
            &mut entry[..]
        } else {
            &mut entry[..32]
        };
        file.read_exact_at(entry, table.checked_add(i.checked_mul(size)?)?)
            .ok()?;
        if number(&entry[..4]) == PT_INTERP {
            let offset = if wide {
                number(&entry[8..16])
            } else {
                number(&entry[4..8])
            };
            let mut path = vec![0; 1024];
            let read = file.read_at(&mut path, offset).ok()?;
            let end = path[..read].iter().position(|b| *b == 0)?;
            path.truncate(end);
            return Some(OsString::from_vec(path).into());
        }
    }
    None
}

#[cfg(test)]
mod properties;
