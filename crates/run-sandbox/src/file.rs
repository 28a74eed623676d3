//! The configuration file.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sandboxlib::config::{Definition, Seccomp, Settings};
use sandboxlib::core::CapSet;
use toml::de::{DeTable, DeValue};

use crate::bytes::{self, shown};
use crate::settings::system;

/// How many mebibytes a file may have.
pub(crate) const LARGEST: u64 = 16;

/// A file that was read.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    text: String,
    /// What it says, with every path of the host made absolute.
    pub(crate) definition: Definition,
}

/// Reads `path`. The error is a message with the place in the file.
pub(crate) fn read(path: &Path) -> Result<ConfigFile, String> {
    understand(path, load(path, "config")?)
}

/// What the bytes in the file `path` say. The error is a message with the place in the file.
pub(crate) fn understand(path: &Path, bytes: Vec<u8>) -> Result<ConfigFile, String> {
    let (text, mut definition): (_, Definition) = toml(path, bytes)?;
    let absolute = std::path::absolute(path)
        .map_err(|e| format!("cannot resolve {path:?}: {}", system(&e)))?;
    let directory = absolute.parent().unwrap_or(Path::new("/"));
    definition.settings.rebase(directory);

    let file = ConfigFile {
        path: path.to_owned(),
        text,
        definition,
    };
    for word in file.settings().capabilities.iter().flatten() {
        if let Err(e) = CapSet::from_names([word]) {
            return Err(format!("{}: {e}", file.place_of("cap-add", word)));
        }
    }
    Ok(file)
}

/// Reads the system call filter in `path`. The error is a message with the place in the file.
pub(crate) fn seccomp(path: &Path) -> Result<Seccomp, String> {
    toml(path, load(path, "seccomp")?).map(|(_, filter)| filter)
}

/// The content of the file that `option` names.
fn load(path: &Path, option: &str) -> Result<Vec<u8>, String> {
    bytes::read(path, LARGEST)
        .map_err(|e| format!("--{option}: cannot read {path:?}: {}", system(&e)))
}

/// The text of the file, and what it means.
fn toml<T: serde::de::DeserializeOwned>(
    path: &Path,
    bytes: Vec<u8>,
) -> Result<(String, T), String> {
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => {
            let good = e.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&e.as_bytes()[..good]).into_owned();
            return Err(format!(
                "{}: a byte that is not UTF-8",
                place(path, &before, good)
            ));
        }
    };
    let value = toml::from_str(&text).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start);
        format!("{}: {}", place(path, &text, at), e.message())
    })?;
    Ok((text, value))
}

impl ConfigFile {
    /// What it says about a run.
    pub(crate) fn settings(&self) -> &Settings {
        &self.definition.settings
    }

    /// Where the file says `word` for `key`.
    pub(crate) fn place_of(&self, key: &str, word: &str) -> String {
        place(
            &self.path,
            &self.text,
            self.offset_of(key, word).unwrap_or(0),
        )
    }

    fn offset_of(&self, key: &str, word: &str) -> Option<usize> {
        // It has been read before, so it can be.
        let table = DeTable::parse(&self.text).ok()?;
        let value = table.get_ref().get(key)?;
        let words = match value.get_ref() {
            DeValue::Array(list) => list.iter().collect(),
            _ => vec![value],
        };
        let found = words
            .iter()
            .find(|one| one.get_ref().as_str() == Some(word));
        Some(found.copied().unwrap_or(value).span().start)
    }
}

/// `FILE:LINE:COLUMN` for the byte `at` of `text`.
fn place(path: &Path, text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!("{}:{line}:{column}", shown(AsRef::<OsStr>::as_ref(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box.toml");
        std::fs::write(&path, text).unwrap();
        let said = read(&path).unwrap_err();
        let rest = said.strip_prefix(&format!("{}:", path.display()));
        rest.unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    #[test]
    fn errors_have_line_and_column() {
        for (text, begin) in [
            (
                &b"bare = true\n  red-only = true\n"[..],
                "2:3: unknown field `red-only`",
            ),
            (
                b"# \xc3\xa9\nnetwork = \"none\"",
                "2:11: \"none\" is neither",
            ),
            (b"\n\nbare = yes", "3:8: "),
            (b"bare = true\nbare = true", "2:1: "),
            (b"hostname = \"\xff\"", "1:13: a byte that is not UTF-8"),
            (
                b"cap-add = [\"kill\",\n \"chow\"]",
                "2:2: unknown capability \"chow\"",
            ),
            (
                b"# cap-add: not \"chow\"\ncommand = [\"cap-add\", \"chow\"]\ncap-add = ['chow']",
                "3:12: unknown capability \"chow\"",
            ),
            (
                b"\"cap-add\" = [\"kill\",\n  \"c\\u0068ow\"]",
                "2:3: unknown capability \"chow\"",
            ),
            (b"root = true\nuid = 4", "1:1: `root` stands for"),
        ] {
            let said = error(text);
            assert!(said.starts_with(begin), "{said}");
        }
    }

    #[test]
    fn paths_start_at_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box.toml");
        let text =
            "sandbox = \"root\"\n[[mount]]\ntype = \"bind\"\nsource = \"src\"\ntarget = \"/b\"";
        std::fs::write(&path, text).unwrap();
        let mut settings = read(&path).unwrap().definition.settings;
        assert_eq!(settings.sandbox, Some(dir.path().join("root")));
        assert_eq!(
            settings.mounts[0].host_path(),
            Some(&mut dir.path().join("src"))
        );
        assert!(
            read(Path::new("/missing"))
                .unwrap_err()
                .starts_with("--config: cannot read")
        );
    }

    #[test]
    fn the_example_in_the_readme_is_right() {
        let readme = include_str!("../README.md");
        let begin = readme.find("```toml\n").unwrap() + 8;
        let text = &readme[begin..begin + readme[begin..].find("```").unwrap()];
        toml::from_str::<Definition>(text).unwrap();
    }
}
