//! The unpacker against a model in memory, and against bytes that are anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use sandboxlib_image::{UnpackOptions, unpack};
use support::{Tar, Yard, gzip, listing};

/// An entry of an archive.
#[derive(Debug, Clone)]
enum Op {
    File(String, String),
    Dir(String),
    Symlink(String, String),
    Link(String, String),
    Fifo(String),
}

/// What a tree would be: nodes by number, so that hard links can be one node.
#[derive(Debug, Clone)]
struct Model {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Dir(BTreeMap<String, usize>),
    File(String),
    Symlink(String),
}

/// What cannot be unpacked.
#[derive(Debug)]
struct Refused;

impl Model {
    fn new() -> Self {
        let nodes = vec![Node::Dir(BTreeMap::new())];
        Self { nodes }
    }

    fn entries(&mut self, dir: usize) -> &mut BTreeMap<String, usize> {
        match &mut self.nodes[dir] {
            Node::Dir(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The directory at a path, by recursion over what links say, with a stack of names only: the
    /// parent of a directory is found by going down again.
    fn directory(&mut self, path: &str, make: bool) -> Result<Option<usize>, Refused> {
        let mut here: Vec<String> = Vec::new();
        let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    here.pop();
                    continue;
                }
                _ => {}
            }
            let dir = self.at(&here);
            let found = self.entries(dir).get(&name).copied();
            match found.map(|node| self.nodes[node].clone()) {
                None if !make => return Ok(None),
                None => {
                    let node = self.add(Node::Dir(BTreeMap::new()));
                    self.entries(dir).insert(name.clone(), node);
                    here.push(name);
                }
                Some(Node::Dir(_)) => here.push(name),
                Some(Node::File(_)) => return Err(Refused),
                Some(Node::Symlink(to)) => {
                    links += 1;
                    if links > 40 {
                        return Err(Refused);
                    }
                    if to.starts_with('/') {
                        here.clear();
                    }
                    rest.extend(to.split('/').rev().map(str::to_owned));
                }
            }
        }
        Ok(Some(self.at(&here)))
    }

    /// The directory with this path, in which there is no link.
    fn at(&mut self, path: &[String]) -> usize {
        path.iter().fold(0, |dir, name| self.entries(dir)[name])
    }

    fn place(&mut self, path: &str, make: bool) -> Result<Option<(usize, String)>, Refused> {
        let clean: Vec<&str> = path
            .split('/')
            .filter(|c| !c.is_empty() && *c != ".")
            .collect();
        if clean.is_empty() || clean.contains(&"..") {
            return Err(Refused);
        }
        let (name, parent) = clean.split_last().unwrap();
        let dir = self.directory(&parent.join("/"), make)?;
        Ok(dir.map(|dir| (dir, (*name).to_owned())))
    }

    fn apply(&mut self, op: &Op) -> Result<(), Refused> {
        match op {
            Op::Dir(path) if path.split('/').all(|c| c.is_empty() || c == ".") => {
                if path.is_empty() {
                    return Err(Refused);
                }
            }
            Op::Dir(path) => {
                let (dir, name) = self.place(path, true)?.unwrap();
                let there = self.entries(dir).get(&name).copied();
                let is_dir = there.is_some_and(|n| matches!(self.nodes[n], Node::Dir(_)));
                if !is_dir {
                    let node = self.add(Node::Dir(BTreeMap::new()));
                    self.entries(dir).insert(name, node);
                }
            }
            Op::File(path, content) => {
                let (dir, name) = self.place(path, true)?.unwrap();
                let node = self.add(Node::File(content.clone()));
                self.entries(dir).insert(name, node);
            }
            Op::Symlink(path, to) => {
                let (dir, name) = self.place(path, true)?.unwrap();
                if to.is_empty() {
                    return Err(Refused);
                }
                let node = self.add(Node::Symlink(to.clone()));
                self.entries(dir).insert(name, node);
            }
            Op::Link(path, to) => {
                let (dir, name) = self.place(path, true)?.unwrap();
                let (from, old) = self.place(to, false)?.ok_or(Refused)?;
                let node = self.entries(from).get(&old).copied().ok_or(Refused)?;
                if matches!(self.nodes[node], Node::Dir(_)) {
                    return Err(Refused);
                }
                let gone = self.entries(dir).get(&name).copied();
                if gone.is_some_and(|gone| self.holds(gone, from)) {
                    return Err(Refused);
                }
                self.entries(dir).insert(name, node);
            }
            Op::Fifo(path) => {
                if let Some((dir, name)) = self.place(path, false)? {
                    self.entries(dir).remove(&name);
                }
            }
        }
        Ok(())
    }

    /// Whether `dir` is `tree` or in it.
    fn holds(&self, tree: usize, dir: usize) -> bool {
        match &self.nodes[tree] {
            Node::Dir(entries) => tree == dir || entries.values().any(|n| self.holds(*n, dir)),
            _ => false,
        }
    }

    fn listing(&self) -> BTreeMap<PathBuf, String> {
        let mut seen = BTreeMap::new();
        let mut todo = vec![(PathBuf::new(), 0)];
        while let Some((path, node)) = todo.pop() {
            let text = match &self.nodes[node] {
                Node::Dir(entries) => {
                    todo.extend(entries.iter().map(|(name, node)| (path.join(name), *node)));
                    "dir".to_owned()
                }
                Node::File(content) => format!("file {content}"),
                Node::Symlink(to) => format!("-> {to}"),
            };
            if node != 0 {
                seen.insert(path, text);
            }
        }
        seen
    }
}

fn archive(ops: &[Op]) -> Tar {
    ops.iter().fold(Tar::new(), |tar, op| match op {
        Op::File(path, content) => tar.file(path, content),
        Op::Dir(path) => tar.dir(path),
        Op::Symlink(path, to) => tar.symlink(path, to),
        Op::Link(path, to) => tar.link(path, to),
        Op::Fifo(path) => tar.entry(path.as_bytes(), b'6', b"", 0o644, b""),
    })
}

fn path() -> impl Strategy<Value = String> {
    // Few names, so that entries meet; now and then something that goes up.
    prop_oneof![
        20 => "(/|\\./)?[abc](/[abc]){0,3}",
        1 => "[abc]?/?\\.\\.(/[abc])?",
    ]
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[abc](/[abc]){0,2}",
        3 => "(\\.\\./){1,3}[abc]?",
        2 => "/[abc]?",
        2 => Just("../canary".to_owned()),
        1 => "\\.?",
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (path(), "[x-z]{0,3}").prop_map(|(path, content)| Op::File(path, content)),
        3 => path().prop_map(Op::Dir),
        1 => prop_oneof![Just("./"), Just("/"), Just(".")].prop_map(|p| Op::Dir(p.into())),
        4 => (path(), target()).prop_map(|(path, to)| Op::Symlink(path, to)),
        3 => (path(), path()).prop_map(|(path, to)| Op::Link(path, to)),
        1 => path().prop_map(Op::Fifo),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_unpacked_is_what_the_model_has(ops in prop::collection::vec(op(), 1..40)) {
        // What the model takes, and the first that it refuses with all before it.
        let mut model = Model::new();
        let mut taken = Vec::new();
        let mut refused = None;
        for op in ops {
            let mut next = model.clone();
            if next.apply(&op).is_ok() {
                model = next;
                taken.push(op);
            } else if refused.is_none() {
                let mut all = taken.clone();
                all.push(op);
                refused = Some(all);
            }
        }
        let yard = Yard::new();
        let unpack = |ops: &[Op]| {
            yard.clear();
            let result = unpack(
                &archive(ops).end()[..],
                yard.target(),
                &UnpackOptions::default(),
            );
            yard.check("the canary");
            result
        };
        let result = unpack(&taken);
        prop_assert!(result.is_ok(), "{result:?} {taken:?}");
        prop_assert_eq!(listing(&yard.target()), model.listing());
        if let Some(all) = refused {
            prop_assert!(unpack(&all).is_err(), "the last of {all:?} was not refused");
        }
    }
}

/// An archive with everything in it, to be damaged.
fn rich() -> Vec<u8> {
    Tar::new()
        .dir("./")
        .dir("a")
        .file("a/f", "x".repeat(700))
        .pax(&[
            ("path", b"a/long"),
            ("size", b"3"),
            ("SCHILY.xattr.user.a", b"b"),
        ])
        .file("x", "abc")
        .entry(b"L", b'L', b"", 0, b"a/gnu-long-name")
        .entry(b"K", b'K', b"", 0, b"../canary")
        .symlink("x", "y")
        .link("h", "a/f")
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.name", b"s"),
            ("GNU.sparse.realsize", b"1000"),
        ])
        .file("x", {
            let mut data = b"1\n900\n3\n".to_vec();
            data.resize(512, 0);
            data.extend_from_slice(b"end");
            data
        })
        .symlink("l", "../canary")
        .file("l/file", "y")
        .entry(b"dev", b'3', b"", 0o666, b"")
        .end()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_archives_do_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        again in any::<bool>(),
        packed in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = rich();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if again {
            // With the checksums right, what was damaged is read.
            for at in (0..bytes.len()).step_by(512) {
                let block: &mut [u8; 512] = (&mut bytes[at..at + 512]).try_into().unwrap();
                if block[257..262] == *b"ustar" {
                    support::sum(block);
                }
            }
        } else {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        if packed {
            bytes = gzip(&bytes);
        }
        let yard = Yard::new();
        // Whether it is refused depends on what was hit. It does not panic, and:
        let _ = unpack(&bytes[..], yard.target(), &UnpackOptions::default());
        yard.check("the canary");
    }

    #[test]
    fn bytes_that_are_anything_do_no_harm(
        magic in prop::sample::select(vec![
            &b""[..], b"\x1f\x8b\x08", b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd",
            b"\x50\x2a\x4d\x18",
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let yard = Yard::new();
        let bytes = [magic, &bytes].concat();
        let _ = unpack(&bytes[..], yard.target(), &UnpackOptions::default());
        yard.check("the canary");
        let file = yard.path().join("image");
        std::fs::write(&file, &bytes).unwrap();
        let _ = sandboxlib_image::Image::open(&file);
    }
}

#[test]
fn the_archive_that_is_damaged_is_good() {
    let yard = Yard::new();
    unpack(&rich()[..], yard.target(), &UnpackOptions::default()).unwrap();
    let seen = listing(&yard.target());
    let text = |name: &str| seen[&PathBuf::from(name)].clone();
    assert_eq!(text("a/long"), "file abc");
    assert_eq!(text("a/gnu-long-name"), "-> ../canary");
    assert_eq!(text("s").len(), "file ".len() + 1000);
    assert!(text("s").contains("\0end\0"));
    assert_eq!(text("canary/file"), "file y");
}
