//! Both readers of mountinfo, on what the kernel writes and on what it never would.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::diagnose::mountinfo;
use super::*;

#[derive(Debug, Clone)]
struct Written {
    id: u32,
    parent: u32,
    root: Vec<u8>,
    point: Vec<u8>,
    options: Vec<(&'static str, u64)>,
    optional: Vec<String>,
    kind: &'static str,
}

/// As the kernel writes names: blanks and the backslash in octal (seq_path).
fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for b in bytes {
        match b {
            b' ' | b'\t' | b'\n' | b'\\' => text.extend(format!("\\{b:03o}").bytes()),
            _ => text.push(*b),
        }
    }
    text
}

impl Written {
    fn line(&self) -> Vec<u8> {
        let Self { id, parent, .. } = self;
        let mut line = format!("{id} {parent} 0:42 ").into_bytes();
        line.extend(escaped(&self.root));
        line.push(b' ');
        line.extend(escaped(&self.point));
        let options: Vec<&str> = self.options.iter().map(|(name, _)| *name).collect();
        let optional: String = self.optional.iter().map(|o| format!(" {o}")).collect();
        let rest = format!(" {}{optional} - {} none rw", options.join(","), self.kind);
        line.extend(rest.bytes());
        line.push(b'\n');
        line
    }

    fn flags(&self) -> u64 {
        self.options.iter().fold(0, |all, (_, flag)| all | flag)
    }
}

fn paths() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        select(b" \t\n\\/0174-,".to_vec()),
        select(b"/abc".to_vec()),
    ];
    let byte = byte.prop_filter("no file has it in its name", |b| *b != 0);
    prop::collection::vec(byte, 0..30).prop_map(|rest| [b"/", &rest[..]].concat())
}

fn mounts() -> impl Strategy<Value = Written> {
    let option = select(vec![
        ("ro", libc::MS_RDONLY),
        ("rw", 0),
        ("nosuid", libc::MS_NOSUID),
        ("nodev", libc::MS_NODEV),
        ("noexec", libc::MS_NOEXEC),
        ("nosymfollow", NOSYMFOLLOW),
        ("relatime", 0),
        ("idmapped", 0),
    ]);
    (
        any::<u32>(),
        any::<u32>(),
        paths(),
        paths(),
        prop::collection::vec(option, 1..6),
        prop::collection::vec("(shared|master|propagate_from):[0-9]{1,3}|unbindable", 0..3),
        select(vec!["proc", "tmpfs", "ext4", "fuse.a"]),
    )
        .prop_map(
            |(id, parent, root, point, options, optional, kind)| Written {
                id,
                parent,
                root,
                point,
                options,
                optional,
                kind,
            },
        )
}

type Seen = (u64, u64, Vec<u8>, bool, u64);

fn seen(text: &[u8]) -> Vec<Seen> {
    let mut reader = Reader::new();
    let mut seen = Vec::new();
    for byte in text {
        if reader.push(*byte) {
            let line = reader.line();
            let point = line.point.to_vec();
            seen.push((line.id, line.parent, point, line.cut, line.flags));
            reader.next_line();
        }
    }
    seen
}

proptest! {
    #[test]
    fn what_the_kernel_writes_is_read_by_both(list in prop::collection::vec(mounts(), 0..8)) {
        let text: Vec<u8> = list.iter().flat_map(Written::line).collect();
        let wanted: Vec<Seen> = list
            .iter()
            .map(|m| {
                (m.id.into(), m.parent.into(), escaped(&m.point), false, m.flags())
            })
            .collect();
        prop_assert_eq!(seen(&text), wanted);
        let read: Vec<(Vec<u8>, &[u8])> =
            mountinfo(&text).into_iter().map(|m| (m.point, m.kind)).collect();
        let wanted: Vec<(Vec<u8>, &[u8])> =
            list.iter().map(|m| (m.point.clone(), m.kind.as_bytes())).collect();
        prop_assert_eq!(read, wanted);
    }

    #[test]
    fn a_name_comes_back_from_its_escapes(path in paths()) {
        let text = escaped(&path);
        prop_assert!(!text.iter().any(|b| matches!(b, b' ' | b'\n' | b'\t')));
        prop_assert_eq!(Unescaped(&text).collect::<Vec<u8>>(), path);
    }

    #[test]
    fn anything_is_unescaped_to_no_more_than_it_is(text in prop::collection::vec(any::<u8>(), 0..40)) {
        let plain: Vec<u8> = Unescaped(&text).collect();
        prop_assert!(plain.len() <= text.len());
        if !text.contains(&b'\\') {
            prop_assert_eq!(plain, text);
        }
    }

    /// Each line is read by itself: what a mount in it is called moves no other one.
    #[test]
    fn no_line_has_a_part_in_another(
        list in prop::collection::vec(mounts(), 0..4),
        rubbish in prop::collection::vec(
            prop_oneof![any::<u8>(), select(b" ,-0ro\\".to_vec())],
            0..60,
        ),
    ) {
        let mut text: Vec<u8> = rubbish.clone();
        text.push(b'\n');
        let alone = seen(&text).len();
        let before = mountinfo(&text).len();
        text.extend(list.iter().flat_map(Written::line));
        let all = seen(&text);
        prop_assert_eq!(all.len(), alone + list.len());
        for (found, written) in all[alone..].iter().zip(&list) {
            prop_assert_eq!((found.0, found.4), (u64::from(written.id), written.flags()));
        }
        prop_assert_eq!(mountinfo(&text).len(), before + list.len());
    }

    /// Below a place, and not beside it; whatever bytes there are.
    #[test]
    fn inside_is_below(path in paths()) {
        let point = escaped(&path);
        let line = Line { id: 0, parent: 0, point: &point, cut: false, flags: 0 };
        let wanted = point.strip_prefix(b"/a/");
        prop_assert_eq!(line.inside(b"a"), wanted);
    }

    #[test]
    fn a_walk_ends_where_it_may(path in prop::collection::vec(
        prop_oneof![select(b"/.ab\\012 ".to_vec()), any::<u8>()],
        0..40,
    )) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("b")).unwrap();
        let top = std::ffi::CString::new(dir.path().to_str().unwrap()).unwrap();
        let root = sys::open(&top, libc::O_PATH).unwrap();
        // The kernel lists no path with these two, and they would lead out.
        let climbs = path.split(|b| *b == b'/').any(|part| Unescaped(part).eq(*b".."));
        if let Ok(walked) = walk(root.fd(), &path) && !climbs {
            let here = walked.place.as_ref().map_or(root.fd(), Held::fd);
            let found = std::fs::read_link(format!("/proc/self/fd/{here}")).unwrap();
            prop_assert!(found.starts_with(dir.path()), "{found:?}");
        }
    }
}
