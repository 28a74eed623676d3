//! Sandboxes that have a name: the files that define them, and the list of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sandboxlib::config::{Definition, SandboxName, Settings};
use serde::Serialize;

use crate::bytes::{self, escaped, shown};
use crate::file::{self, ConfigFile};
use crate::settings::system;

/// What the names of the files end with.
const ENDING: &str = ".toml";

/// Where definitions are looked for.
#[derive(Debug)]
pub(crate) struct Places {
    /// The first that has a name is asked about it.
    dirs: Vec<PathBuf>,
    /// Whether nobody but root may have a say.
    strict: bool,
}

/// Definitions, each of which extends the next, and what they say together.
#[derive(Debug, Default)]
pub(crate) struct Defined {
    pub(crate) files: Vec<ConfigFile>,
    pub(crate) settings: Settings,
}

/// A name that stands for something, or was meant to.
#[derive(Debug)]
pub(crate) struct Listed {
    name: String,
    file: PathBuf,
    /// Its root and what it is for, or what is wrong with it.
    meaning: Result<(Option<PathBuf>, Option<String>), String>,
}

impl Places {
    /// The caller's own directory (XDG Base Directory Specification), and that of the system.
    pub(crate) fn of_caller() -> Self {
        let path = |name: &str| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let own = path("XDG_CONFIG_HOME").or_else(|| Some(path("HOME")?.join(".config")));
        let dirs = own.into_iter().chain(["/etc".into()]);
        Self {
            dirs: dirs.map(|dir| dir.join("sandboxlib")).collect(),
            strict: sandboxlib::spawn::caller_ids().0 == 0,
        }
    }

    /// Reads the definition of `name`. The error is a message.
    pub(crate) fn find(&self, name: &SandboxName) -> Result<ConfigFile, String> {
        for dir in &self.dirs {
            let path = dir.join(format!("{name}{ENDING}"));
            match fs::metadata(&path) {
                Ok(_) => return self.read(&path),
                Err(e) if is_missing(&e) && path.symlink_metadata().is_err() => {}
                Err(e) => return Err(cannot_read(&path, &e)),
            }
        }
        let dirs: Vec<String> = self.dirs.iter().map(shown).collect();
        let dirs = dirs.join(" and ");
        Err(format!(
            "there is no sandbox @{name}: no {name}{ENDING} in {dirs}; --list tells which there are"
        ))
    }

    /// Adds to `first` what it extends. The error is a message.
    pub(crate) fn with_extended(
        &self,
        name: Option<&SandboxName>,
        first: ConfigFile,
    ) -> Result<Defined, String> {
        let definition = first.definition.clone();
        let mut files = vec![first];
        let read = |name: &SandboxName| -> Result<Definition, String> {
            let file = self.find(name)?;
            let definition = file.definition.clone();
            files.push(file);
            Ok(definition)
        };
        let settings = definition
            .resolve(name.cloned(), read)
            .map_err(|e| e.to_string());
        match (settings, files.first()) {
            (Ok(settings), _) => Ok(Defined { files, settings }),
            (Err(e), Some(first)) => Err(match first.definition.extends.as_ref() {
                Some(extended) => format!("{}: {e}", first.place_of("extends", extended.as_str())),
                None => e,
            }),
            (Err(e), None) => Err(e),
        }
    }

    fn read(&self, path: &Path) -> Result<ConfigFile, String> {
        let failed = |e: &io::Error| cannot_read(path, e);
        // To open a fifo would have us wait for somebody who writes.
        if !fs::metadata(path).map_err(|e| failed(&e))?.is_file() {
            return Err(format!("cannot read {path:?}: it is no file"));
        }
        let file = File::open(path).map_err(|e| failed(&e))?;
        if self.strict {
            let meta = file.metadata().map_err(|e| failed(&e))?;
            belongs_to_root(path, &meta)?;
            let real = fs::canonicalize(path).map_err(|e| failed(&e))?;
            let named = path.ancestors().skip(1);
            for dir in named.chain(real.ancestors().skip(1)) {
                let meta = fs::metadata(dir).map_err(|e| cannot_read(dir, &e))?;
                belongs_to_root(dir, &meta)?;
            }
        }
        let bytes = bytes::read_open(file, file::LARGEST).map_err(|e| failed(&e))?;
        file::understand(path, bytes)
    }

    /// All that are defined, and all that were meant to be, by name.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let mut found = BTreeMap::new();
        for dir in &self.dirs {
            let entries = match fs::read_dir(dir) {
                Ok(entries) => entries,
                Err(e) if is_missing(&e) => continue,
                Err(e) => {
                    let meaning = Err(cannot_read(dir, &e));
                    let (name, file) = (String::new(), dir.clone());
                    found.insert(
                        dir.clone().into(),
                        Listed {
                            name,
                            file,
                            meaning,
                        },
                    );
                    continue;
                }
            };
            for entry in entries.flatten() {
                let file = entry.path();
                if file.extension() != Some(OsStr::new(&ENDING[1..])) {
                    continue;
                }
                let stem = file.file_stem().unwrap_or_default().to_owned();
                let name = stem.to_string_lossy().into_owned();
                found.entry(stem.clone()).or_insert_with(|| Listed {
                    meaning: self.meaning(&stem, &file),
                    name,
                    file,
                });
            }
        }
        found.into_values().collect()
    }

    fn meaning(
        &self,
        stem: &OsStr,
        file: &Path,
    ) -> Result<(Option<PathBuf>, Option<String>), String> {
        let name: SandboxName = match stem.to_str().map(str::parse) {
            Some(Ok(name)) => name,
            Some(Err(e)) => return Err(e.to_string()),
            None => return Err(format!("{stem:?} is no name of a sandbox")),
        };
        let defined = self.with_extended(Some(&name), self.read(file)?)?;
        let description = defined.files.into_iter().next();
        let description = description.and_then(|file| file.definition.description);
        Ok((defined.settings.sandbox, description))
    }
}

fn is_missing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn cannot_read(path: &Path, e: &io::Error) -> String {
    format!("cannot read {path:?}: {}", system(e))
}

/// What root runs, nobody else may have written, or put in its place. The error is a message with
/// the cure.
fn belongs_to_root(path: &Path, meta: &Metadata) -> Result<(), String> {
    const OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    if meta.uid() != 0 {
        return Err(format!(
            "{path:?} belongs to user {}, and root goes by what belongs to root: \
             chown root {path:?}, or say with XDG_CONFIG_HOME where root's own files are",
            meta.uid()
        ));
    }
    // In a sticky directory nobody can replace what belongs to root.
    let kept = meta.is_dir() && meta.mode() & STICKY != 0;
    if meta.mode() & OTHERS_WRITE != 0 && !kept {
        return Err(format!(
            "{path:?} can be changed by others than root, who goes by it: chmod go-w {path:?}"
        ));
    }
    Ok(())
}

/// The list for people.
pub(crate) fn text(listed: &[Listed]) -> String {
    let mut out = String::new();
    for one in listed {
        let name = shown(format!("@{}", one.name));
        // Writing to a String does not fail.
        let _ = match &one.meaning {
            Ok((root, _)) => {
                let root = root.as_ref().map_or("no root".to_owned(), shown);
                writeln!(out, "{name}  {root}  ({})", shown(&one.file))
            }
            Err(_) => writeln!(out, "{name}  broken  ({})", shown(&one.file)),
        };
        match &one.meaning {
            Ok((_, None)) => {}
            Ok((_, Some(description))) => {
                let _ = writeln!(out, "    {}", bytes::line(description));
            }
            Err(why) => {
                let _ = writeln!(out, "    error: {}", bytes::line(why));
            }
        }
    }
    out
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    file: String,
    root: Option<String>,
    description: Option<&'a str>,
    error: Option<&'a str>,
}

/// The list for programs.
pub(crate) fn json(listed: &[Listed]) -> serde_json::Result<String> {
    let line = |one: &Listed| -> serde_json::Result<serde_json::Value> {
        let meaning = one.meaning.as_ref();
        serde_json::to_value(Line {
            name: &one.name,
            file: escaped(&one.file),
            root: meaning
                .ok()
                .and_then(|(root, _)| root.as_ref())
                .map(escaped),
            description: meaning.ok().and_then(|(_, text)| text.as_deref()),
            error: meaning.err().map(String::as_str),
        })
    };
    let lines: Vec<_> = listed.iter().map(line).collect::<Result<_, _>>()?;
    bytes::json(&lines)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct World {
        dir: tempfile::TempDir,
        places: Places,
    }

    impl World {
        fn new(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let dirs = ["own", "etc"].map(|name| dir.path().join(name));
            for (name, text) in files {
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            let places = Places {
                dirs: dirs.into(),
                strict: false,
            };
            Self { dir, places }
        }

        fn settings(&self, name: &str) -> Result<Settings, String> {
            let name: SandboxName = name.parse().unwrap();
            let first = self.places.find(&name)?;
            Ok(self.places.with_extended(Some(&name), first)?.settings)
        }
    }

    #[test]
    fn the_callers_own_comes_first_and_paths_start_at_their_file() {
        let world = World::new(&[
            ("own/a.toml", "extends = 'base'\nhostname = 'own'"),
            ("etc/a.toml", "sandbox = '/'\nhostname = 'etc'"),
            ("etc/base.toml", "sandbox = '../roots/base'\ncwd = '/b'"),
        ]);
        let got = world.settings("a").unwrap();
        assert_eq!(got.hostname, Some("own".into()));
        let root = world.dir.path().join("etc/../roots/base");
        assert_eq!(got.sandbox, Some(root));
        let said = world.settings("none").unwrap_err();
        assert!(said.contains("@none") && said.contains("own and"), "{said}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let world = World::new(&[
            ("own/a.toml", "bare = true\nextends = 'b'"),
            ("own/b.toml", "extends = 'a'"),
            ("own/c.toml", "\nextends = 'gone'"),
            ("own/d.toml", "extends = 'bad'"),
            ("own/bad.toml", "frob = 1"),
            ("own/dir.toml/x", ""),
        ]);
        for (name, place, said) in [
            ("a", "a.toml:2:11: ", "a extends b extends a"),
            ("c", "c.toml:2:11: ", "no sandbox @gone"),
            ("d", "d.toml:1:11: ", "bad.toml:1:1: unknown field `frob`"),
            ("dir", "dir.toml", "it is no file"),
        ] {
            let got = world.settings(name).unwrap_err();
            assert!(got.contains(place) && got.contains(said), "{got}");
        }
    }

    #[test]
    fn the_list_has_all_and_says_what_is_wrong() {
        let world = World::new(&[
            ("own/a.toml", "sandbox = '/'\ndescription = 'first\u{9b}2J'"),
            ("etc/a.toml", "sandbox = '/srv'"),
            ("etc/b.toml", "sandbox = 3"),
            ("etc/my box.toml", "sandbox = '/'"),
            ("etc/README", "no definition"),
        ]);
        let listed = world.places.list();
        let names: Vec<&str> = listed.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "my box"]);
        let text = text(&listed);
        assert!(text.starts_with("@a  /  ("), "{text}");
        assert!(text.contains("    first\\u{9b}2J\n"), "{text}");
        assert!(text.contains("@b  broken  ("), "{text}");
        assert!(text.contains("b.toml:1:11: "), "{text}");
        assert!(text.contains("is no name of a sandbox"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&json(&listed).unwrap()).unwrap();
        assert_eq!(json[0]["root"], "/");
        assert!(json[1]["error"].as_str().unwrap().contains("1:11"));
        assert!(World::new(&[]).places.list().is_empty());
    }

    #[test]
    fn root_goes_by_nothing_that_others_can_change() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let chmod = |mode| {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(file.path(), mode).unwrap();
            belongs_to_root(file.path(), &file.path().metadata().unwrap())
        };
        let mine = file.path().metadata().unwrap().uid() == 0;
        for (mode, cure) in [(0o644, None), (0o664, Some("go-w")), (0o646, Some("go-w"))] {
            let said = chmod(mode);
            match (mine, cure) {
                (true, None) => said.unwrap(),
                (true, Some(cure)) => assert!(said.unwrap_err().contains(cure)),
                (false, _) => assert!(said.unwrap_err().contains("chown root")),
            }
        }
        let sticky = Path::new("/tmp").metadata().unwrap();
        assert_eq!(sticky.mode() & 0o7777, 0o1777);
        belongs_to_root(Path::new("/tmp"), &sticky).unwrap();
    }
}
