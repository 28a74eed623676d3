//! A root and a program that somebody made for this look at them.

use std::os::unix::fs::symlink;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn contents() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), select(b" \t\n\0/a\x03".to_vec())];
    let rest = prop::collection::vec(byte, 0..300);
    let begin = select(vec![
        &b"#!"[..],
        b"",
        b"\x7fELF\x02\x01",
        b"\x7fELF\x01\x02",
        // One entry of 56 bytes behind the header.
        b"\x7fELF\x02\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\
          \0\0\0\0\0\0\0\0\0\0\0\0\0\0\x38\0\x01\0\0\0\0\0\0\0\x03\0\0\0",
    ]);
    (begin, rest).prop_map(|(begin, rest)| [begin, &rest].concat())
}

proptest! {
    #[test]
    fn what_is_named_stands_in_the_file(content in contents()) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("f"), &content).unwrap();
        let named = match missing_part(root.path(), Path::new("/f")) {
            Some(ExecProblem::InterpreterMissing(path)) => {
                prop_assert!(content.starts_with(b"#!"));
                path
            }
            Some(ExecProblem::LoaderMissing(path)) => {
                prop_assert!(content.starts_with(b"\x7fELF"));
                path
            }
            other => {
                prop_assert_eq!(other, Some(ExecProblem::Other));
                return Ok(());
            }
        };
        let named = named.as_os_str().as_bytes();
        prop_assert!(!named.contains(&0) && named.len() <= 1024);
        prop_assert!(named.is_empty() || content.windows(named.len()).any(|w| w == named));
    }

    #[test]
    fn a_path_does_not_leave_the_root(
        links in prop::collection::vec(
            (
                select(vec!["a", "b", "c", "d/a", "d/b"]),
                select(vec!["/", "..", "../..", "a", "b", "/d", "d/../..", "/etc", "/d/a/../x", "."]),
            ),
            0..6,
        ),
        path in prop::collection::vec(select(vec!["a", "b", "c", "d", "..", "etc", "."]), 0..6),
    ) {
        let root = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(root.path()).unwrap();
        fs::create_dir_all(top.join("d/etc")).unwrap();
        for (name, to) in links {
            let _ = symlink(to, top.join(name));
        }
        let path = Path::new("/").join(path.iter().collect::<PathBuf>());
        if let Some(found) = resolve(&top, &path) {
            prop_assert!(found.starts_with(&top), "{found:?}");
            if found.exists() {
                prop_assert_eq!(fs::canonicalize(&found).unwrap(), found);
            }
        }
    }
}
