use std::ffi::CString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use super::exec::{Refusal, exec_first};
use super::raw::{self, nr};
use super::wire::{Message, kind, problem};

/// What is said of a file with this content that cannot be executed.
fn said_of(content: &[u8]) -> (u32, Vec<u8>) {
    let path = executable(content);
    let said = said_of_paths(&[&path]);
    std::fs::remove_file(path.to_str().unwrap()).unwrap();
    (said.a, said.text[..said.text_len as usize].to_vec())
}

fn said_of_paths(paths: &[&CString]) -> Message {
    let candidates: Vec<*const u8> = paths.iter().map(|p| p.as_ptr().cast()).collect();
    let none = [std::ptr::null::<u8>()];
    let mut failure = Message::new(0);
    // SAFETY: the candidates are NUL-terminated and live for the call; argv and envp are
    // null-terminated arrays. Nothing among them can be executed, or the test ends here.
    let done = unsafe {
        exec_first(
            candidates.as_ptr(),
            candidates.len(),
            &mut failure,
            |path| {
                let (path, none) = (path as usize, none.as_ptr() as usize);
                match raw::call(nr::EXECVE, [path, none, none, 0, 0, 0]) {
                    Ok(_) => Ok(()),
                    Err(errno) => Err(Refusal::Exec(errno)),
                }
            },
        )
    };
    assert_eq!(done, None);
    failure
}

/// Written by another process: what this one has open for writing, a child that another test
/// starts at this moment has open too, and the file is busy until it executes something.
fn executable(content: &[u8]) -> CString {
    let path = tempfile::NamedTempFile::new()
        .unwrap()
        .into_temp_path()
        .keep()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut cat = std::process::Command::new("sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    cat.stdin.take().unwrap().write_all(content).unwrap();
    assert!(cat.wait().unwrap().success());
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// An ELF header with one program header, PT_INTERP, and the path behind it (elf(5)).
fn elf(wide: bool, big: bool, interpreter: &[u8]) -> Vec<u8> {
    let number = |value: u64, size: usize| -> Vec<u8> {
        if big {
            value.to_be_bytes()[8 - size..].to_vec()
        } else {
            value.to_le_bytes()[..size].to_vec()
        }
    };
    let (header, entry, word) = if wide { (64, 56, 8) } else { (52, 32, 4) };
    let mut file = vec![0; header + entry];
    file[..4].copy_from_slice(b"\x7fELF");
    file[4] = 1 + u8::from(wide);
    file[5] = 1 + u8::from(big);
    let mut put = |at: usize, value: u64, size: usize| {
        file[at..at + size].copy_from_slice(&number(value, size));
    };
    put(if wide { 32 } else { 28 }, header as u64, word);
    put(if wide { 54 } else { 42 }, entry as u64, 2);
    put(if wide { 56 } else { 44 }, 1, 2);
    put(header, 3, 4);
    put(
        header + if wide { 8 } else { 4 },
        (header + entry) as u64,
        word,
    );
    file.extend_from_slice(interpreter);
    file.push(0);
    file
}

#[test]
fn scripts() {
    let missing = |text: &str| (problem::INTERPRETER_MISSING, text.as_bytes().to_vec());
    assert_eq!(said_of(b"#!/no/such\n"), missing("/no/such"));
    assert_eq!(said_of(b"#! \t/no/such -x y\n"), missing("/no/such"));
    assert_eq!(said_of(b"#!/no/such"), missing("/no/such"));
    let long = format!("#!/{}\n", "x".repeat(200));
    assert_eq!(
        said_of(long.as_bytes()),
        missing(&format!("/{}", "x".repeat(200)))
    );
}

#[test]
fn what_the_kernel_does_not_take_is_no_missing_part() {
    assert_eq!(said_of(b"hello").0, problem::BAD_FORMAT);
    assert_eq!(said_of(b"").0, problem::BAD_FORMAT);
    // Not of this machine, or not whole: the kernel does not get as far as the loader.
    assert_eq!(
        said_of(&elf(true, true, b"/no/such")).0,
        problem::BAD_FORMAT
    );
    assert_eq!(said_of(b"\x7fELF\x02\x01").0, problem::BAD_FORMAT);
}

#[test]
fn the_loader_is_read_from_either_class_and_order() {
    for (wide, big) in [(true, false), (true, true), (false, false), (false, true)] {
        let path = executable(&elf(wide, big, b"/no/such/loader"));
        // SAFETY: the path is NUL-terminated.
        let message = unsafe { super::exec::missing_part(path.as_ptr().cast()) };
        std::fs::remove_file(path.to_str().unwrap()).unwrap();
        assert_eq!(message.a, problem::LOADER_MISSING);
        let text = &message.text[..message.text_len as usize];
        assert_eq!(text, b"/no/such/loader", "wide {wide}, big {big}");
    }
}

#[test]
fn hostile_headers_are_read_without_harm() {
    let mut bytes = elf(true, false, b"/no/such");
    for at in 32..64 {
        let saved = bytes[at];
        bytes[at] = 0xff;
        let path = executable(&bytes);
        // SAFETY: the path is NUL-terminated.
        let message = unsafe { super::exec::missing_part(path.as_ptr().cast()) };
        std::fs::remove_file(path.to_str().unwrap()).unwrap();
        assert_eq!(message.a, problem::LOADER_MISSING);
        bytes[at] = saved;
    }
}

#[test]
fn the_search_goes_on_as_a_shell_does() {
    let nothing = CString::new("/no/such/program").unwrap();
    let below_file = CString::new("/etc/passwd/program").unwrap();
    let plain = CString::new("/etc/passwd").unwrap();
    assert_eq!(said_of_paths(&[]).a, problem::NOT_FOUND);
    assert_eq!(
        said_of_paths(&[&nothing, &below_file]).a,
        problem::NOT_FOUND
    );
    assert_eq!(
        said_of_paths(&[&plain, &nothing]).a,
        problem::NOT_EXECUTABLE
    );
    let script = executable(b"#!/no/such\n");
    assert_eq!(
        said_of_paths(&[&nothing, &script, &plain]).a,
        problem::INTERPRETER_MISSING
    );
    std::fs::remove_file(script.to_str().unwrap()).unwrap();
}

#[test]
fn what_is_no_matter_of_the_path_ends_the_search() {
    let plain = CString::new("/etc/passwd").unwrap();
    let candidates = [plain.as_ptr().cast(), plain.as_ptr().cast()];
    let mut attempts = 0;
    let mut failure = Message::new(0);
    // SAFETY: the candidates are NUL-terminated and live for the call.
    let told = unsafe {
        exec_first(
            candidates.as_ptr(),
            2,
            &mut failure,
            |_| -> Result<(), Refusal> {
                attempts += 1;
                let kind = kind::FILTER_FAILED;
                Err(Refusal::Other { kind, errno: 22 })
            },
        )
    };
    assert_eq!(told, None);
    assert_eq!((failure.kind, failure.errno), (kind::FILTER_FAILED, 22));
    assert_eq!(attempts, 1);
    let nothing = CString::new("/no/such/program").unwrap();
    let candidates = [nothing.as_ptr().cast(), plain.as_ptr().cast()];
    let mut tried = Vec::new();
    // SAFETY: as above.
    let told = unsafe {
        exec_first(candidates.as_ptr(), 2, &mut failure, |path| {
            tried.push(path);
            Ok::<_, Refusal>(7)
        })
    };
    assert_eq!(told, Some(7));
    assert_eq!(
        tried,
        [plain.as_ptr().cast::<u8>()],
        "what is not there is not tried"
    );
}

mod properties {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::super::exec::missing_part;
    use super::*;

    /// What is said of a file that need not be executable.
    fn part_of(content: &[u8]) -> (u32, Vec<u8>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all(content).unwrap();
        let path = CString::new(file.path().as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is NUL-terminated.
        let message = unsafe { missing_part(path.as_ptr().cast()) };
        assert!(message.text_len as usize <= Message::TEXT);
        (
            message.a,
            message.text[..message.text_len as usize].to_vec(),
        )
    }

    fn files() -> impl Strategy<Value = Vec<u8>> {
        let elf_with = (
            any::<bool>(),
            any::<bool>(),
            prop::collection::vec(any::<u8>(), 0..300),
        );
        let changed = prop::collection::vec((any::<Index>(), any::<u8>()), 0..5);
        prop_oneof![
            (elf_with, changed, any::<Index>()).prop_map(|((wide, big, name), changes, end)| {
                let mut file = elf(wide, big, &name);
                for (at, byte) in changes {
                    // In the headers, where it matters.
                    let at = at.index(file.len().min(120));
                    file[at] = byte;
                }
                if end.index(4) == 0 {
                    file.truncate(end.index(file.len()));
                }
                file
            }),
            prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(b" \t\n\0/a".to_vec())],
                0..300
            )
            .prop_map(|rest| [b"#!", &rest[..]].concat()),
            prop::collection::vec(any::<u8>(), 0..300),
        ]
    }

    proptest! {
        #[test]
        fn what_is_named_stands_in_the_file(content in files()) {
            let (problem, named) = part_of(&content);
            prop_assert!(!named.contains(&0));
            let there = named.is_empty() || content.windows(named.len()).any(|w| w == named);
            prop_assert!(there, "{}", named.escape_ascii());
            match problem {
                problem::INTERPRETER_MISSING => {
                    prop_assert!(content.starts_with(b"#!"));
                    let line = content[2..].split(|b| matches!(b, b'\n' | b'\0')).next().unwrap();
                    let line = &line[..line.len().min(Message::TEXT)];
                    let blank = |b: &u8| matches!(b, b' ' | b'\t');
                    let mut words = line.split(blank).filter(|word| !word.is_empty());
                    prop_assert_eq!(words.next().unwrap_or_default(), &named);
                }
                problem::LOADER_MISSING => prop_assert!(content.starts_with(b"\x7fELF")),
                other => {
                    prop_assert_eq!(other, problem::OTHER);
                    prop_assert!(named.is_empty());
                }
            }
        }

        #[test]
        fn a_loader_is_read_from_either_class_and_order(
            wide in any::<bool>(),
            big in any::<bool>(),
            name in prop::collection::vec(1..=u8::MAX, 0..Message::TEXT),
        ) {
            let (problem, named) = part_of(&elf(wide, big, &name));
            prop_assert_eq!((problem, named), (problem::LOADER_MISSING, name));
        }
    }
}
