//! What holds for whatever stands in the files that are read before a run.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Lines that are right, nearly right or nothing.
fn lines(parts: Vec<&'static str>) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => select(parts).prop_map(|part| part.as_bytes().to_vec()),
        4 => any::<u32>().prop_map(|n| n.to_string().into_bytes()),
        1 => any::<u64>().prop_map(|n| n.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn an_id_map_is_read_as_the_kernel_writes_it(
        ranges in prop::collection::vec((any::<u32>(), any::<u32>(), 1..=u32::MAX), 0..10),
    ) {
        let text: String = ranges
            .iter()
            .map(|(inside, outside, count)| format!("{inside:>10} {outside:>10} {count:>10}\n"))
            .collect();
        let read: Vec<_> =
            id_map(text.as_bytes()).iter().map(|r| (r.inside, r.outside, r.count)).collect();
        prop_assert_eq!(read, ranges);
    }

    #[test]
    fn an_id_map_has_no_more_than_its_lines(text in lines(vec![" ", "\n", "\t", "0", " 1\n", "-"])) {
        let map = id_map(&text);
        prop_assert!(map.len() <= text.split(|b| *b == b'\n').count());
        prop_assert!(map.iter().all(|range| range.count > 0));
        // Each line is read by itself.
        let apart: Vec<_> = text.split(|b| *b == b'\n').flat_map(id_map).collect();
        prop_assert_eq!(map, apart);
    }

    #[test]
    fn subordinate_ranges_fit_and_are_the_users(
        text in lines(vec![":", "\n", "ann:", "1000:", ":1\n", "bob", " ", "\r\n", "+", "0x"]),
        name in select(vec![None, Some(&b"ann"[..]), Some(b""), Some(b"\xff")]),
        uid in select(vec![0, 1000, u32::MAX]),
    ) {
        let ranges = subordinate_ranges(&text, name, uid);
        for (first, count) in &ranges {
            prop_assert!(*count > 0 && first.checked_add(*count).is_some());
        }
        let apart: Vec<_> = text
            .split(|b| *b == b'\n')
            .filter(|line| {
                let owner = line.split(|b| *b == b':').next().unwrap();
                Some(owner) == name || owner == uid.to_string().as_bytes() || owner.starts_with(b"0")
            })
            .flat_map(|line| subordinate_ranges(line, name, uid))
            .collect();
        prop_assert_eq!(ranges, apart);
    }

    #[test]
    fn subordinate_ranges_are_read_as_they_are_written(
        ranges in prop::collection::vec((any::<u32>(), any::<u32>()), 0..10),
        by_name in any::<bool>(),
    ) {
        let owner = if by_name { "ann" } else { "1000" };
        let text: String =
            ranges.iter().map(|(first, count)| format!("{owner}:{first}:{count}\n")).collect();
        let wanted: Vec<_> = ranges
            .into_iter()
            .filter(|(first, count)| *count > 0 && u64::from(*first) + u64::from(*count) < 1 << 32)
            .collect();
        prop_assert_eq!(subordinate_ranges(text.as_bytes(), Some(b"ann"), 1000), wanted);
    }

    #[test]
    fn a_user_has_the_name_of_a_line(
        text in lines(vec![":", "\n", "ann:x:", "root:x:0:", "#", "+", "1000", "::", "\0"]),
        uid in select(vec![0, 1000]),
    ) {
        if let Some(name) = user_name(&text, uid) {
            prop_assert!(!name.is_empty() && !name.contains(&b':') && !name.contains(&b'\n'));
            let start = [name, b":"].concat();
            prop_assert!(text.split(|b| *b == b'\n').any(|line| line.starts_with(&start)));
        }
    }

    #[test]
    fn a_number_is_its_digits(text in prop_oneof!["[0-9]{1,22}", "[ +0-9a-f_-]{0,6}"]) {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let trimmed = text.trim_start_matches('0');
        match number::<u64>(text.as_bytes()) {
            Some(n) => prop_assert!(digits && (n.to_string() == trimmed || n == 0)),
            None => prop_assert!(!digits || trimmed.len() >= 20, "{text}"),
        }
    }

    #[test]
    fn a_kernel_version_is_its_first_two_numbers(
        major in any::<u32>(),
        minor in any::<u32>(),
        rest in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let mut text = format!("{major}.{minor}").into_bytes();
        if rest.first().is_none_or(|b| !b.is_ascii_digit()) {
            text.extend(&rest);
            prop_assert_eq!(kernel_version(&text), Some(KernelVersion(major, minor)));
        }
        // Of anything else, no more is asked than an answer.
        let _ = kernel_version(&rest);
    }

    #[test]
    fn only_the_one_label_is_unconfined(
        before in prop::collection::vec(any::<u8>(), 0..4),
        behind in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let label = [&before[..], b"unconfined", &behind].concat();
        let blank = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_whitespace);
        let rest = behind.split(|b| *b == 0).next().unwrap();
        prop_assert_eq!(unconfined(&label), blank(&before) && blank(rest));
    }

    #[test]
    fn a_program_is_found_at_an_absolute_path(path in prop::collection::vec(any::<u8>(), 0..40)) {
        use std::os::unix::ffi::OsStrExt as _;
        // Whatever PATH says, what is found has the name and can be executed.
        let found = find_program("env", OsStr::from_bytes(&path)).unwrap();
        prop_assert!(found.is_absolute() && found.ends_with("env"));
        prop_assert!(found.metadata().unwrap().is_file());
    }
}

#[test]
fn long_files_take_their_time_and_no_more() {
    // Mebibytes of the most lines and fields there can be. Were any of it quadratic this would
    // not end.
    let size = 4 << 20;
    for line in [&b"\n"[..], b"a:0:1\n", b"0 0 1\n", b":", b"x"] {
        let text: Vec<u8> = line.iter().copied().cycle().take(size).collect();
        let ranges = subordinate_ranges(&text, Some(b"b"), 1).len();
        assert_eq!(ranges, 0);
        assert!(id_map(&text).len() <= size / 6 + 1);
        assert_eq!(user_name(&text, 7), None);
    }
}
