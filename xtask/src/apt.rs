//! Packages of any Debian suite, by a private apt configuration: the machine's lists, its state
//! and its /etc stay as they are, and no address is written down here, because the sources of
//! packages are made from the machine's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Result, repo};

/// An apt of our own, with the packages of one suite and nothing installed.
#[derive(Debug)]
pub(crate) struct Private {
    /// Lists and configuration, gone when this is dropped.
    work: tempfile::TempDir,
    cache: PathBuf,
    sources: PathBuf,
}

impl Private {
    /// Fetches the lists of `suite`, such as `bookworm` or `trixie-backports`. `cache` is where
    /// packages are put; it is made if it is missing. Takes some seconds: look first whether
    /// what you want is in `cache` already.
    pub(crate) fn new(cache: &Path, suite: &str) -> Result<Self> {
        if !repo::have("apt-get") {
            return Err("there is no apt-get: this needs a Debian machine".into());
        }
        fs::create_dir_all(cache)?;
        let cache = fs::canonicalize(cache)?;
        let work = tempfile::Builder::new().prefix("apt-").tempdir_in(&cache)?;
        // mmdebstrap's user namespace has other ids, and must get in.
        fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755))?;
        for dir in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(work.path().join(dir))?;
        }
        let sources = work.path().join("parts/suite.sources");
        fs::write(&sources, sources_for(suite)?)?;
        // What the machine has installed or pinned must not choose the version.
        fs::write(work.path().join("status"), "")?;
        let text = format!(
            "Dir::Etc::sourcelist \"/dev/null\";\n\
             Dir::Etc::sourceparts \"{0}/parts\";\n\
             Dir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\n\
             Dir::State::lists \"{0}/lists\";\n\
             Dir::State::status \"{0}/status\";\n\
             Dir::Cache \"{0}/cache\";\n\
             APT::Update::Error-Mode \"any\";\n\
             APT::Sandbox::User \"\";\n\
             APT::Get::List-Cleanup \"false\";\n\
             Acquire::Languages \"none\";\n",
            work.path().display()
        );
        fs::write(work.path().join("apt.conf"), text)?;
        let apt = Self {
            work,
            cache,
            sources,
        };
        repo::run(apt.get(apt.work.path()).arg("update"))?;
        Ok(apt)
    }

    /// The sources file of the suite, for other tools that install packages.
    pub(crate) fn sources(&self) -> &Path {
        &self.sources
    }

    /// Downloads a package and returns the file, in the cache. `version` is a version, or its
    /// beginning and a `*`; without it the newest is taken.
    pub(crate) fn download(&self, package: &str, version: Option<&str>) -> Result<PathBuf> {
        let dir = tempfile::tempdir_in(self.work.path())?;
        let what = match version {
            Some(version) => format!("{package}={version}"),
            None => package.to_owned(),
        };
        repo::run(self.get(dir.path()).args(["download", &what]))?;
        let file = entry(dir.path(), Path::is_file)
            .ok_or_else(|| format!("apt-get download {what} left no file"))?;
        let to = self.cache.join(file.file_name().unwrap_or_default());
        fs::rename(file, &to)?;
        Ok(to)
    }

    /// Downloads a package with all that it depends on, down to libc, and returns the files.
    pub(crate) fn download_whole(&self, package: &str) -> Result<Vec<PathBuf>> {
        let mut command = self.get(self.work.path());
        command.args([
            "install",
            "--yes",
            "--download-only",
            "--no-install-recommends",
        ]);
        repo::run(command.arg(package).stdout(Stdio::null()))?;
        let mut files = Vec::new();
        for entry in fs::read_dir(self.work.path().join("cache/archives"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "deb") {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// The names of the packages of the suite that begin so.
    pub(crate) fn names(&self, beginning: &str) -> Result<Vec<String>> {
        let mut command = Command::new("apt-cache");
        command.env("APT_CONFIG", self.work.path().join("apt.conf"));
        let names = repo::output(command.args(["pkgnames", beginning]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Unpacks the source of a package as the directory `to`, on the file system of the cache.
    pub(crate) fn source(&self, package: &str, to: &Path) -> Result {
        let dir = tempfile::tempdir_in(self.work.path())?;
        repo::run(self.get(dir.path()).args(["source", package]))?;
        let unpacked = entry(dir.path(), Path::is_dir).ok_or("apt-get source unpacked nothing")?;
        fs::rename(unpacked, to)?;
        Ok(())
    }

    fn get(&self, dir: &Path) -> Command {
        let mut command = Command::new("apt-get");
        command
            .arg("-qq")
            .env("APT_CONFIG", self.work.path().join("apt.conf"))
            .current_dir(dir);
        command
    }
}

/// Unpacks the files of the package `deb` below `dir`, which is made if it is missing.
pub(crate) fn unpack(deb: &Path, dir: &Path) -> Result {
    repo::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(dir))
}

/// Unpacks those files of the package `deb` below `dir`, a directory, whose names match `pattern`
/// of tar(1), such as `./boot/*`. A kernel's package is thousands of modules that nobody wants.
pub(crate) fn unpack_only(deb: &Path, pattern: &str, dir: &Path) -> Result {
    let mut package = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()?;
    let files = package.stdout.take().ok_or("dpkg-deb has no output")?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(dir).args(["-x", "--wildcards", pattern]);
    let unpacked = repo::run_on(&mut tar, files);
    let package = package.wait()?;
    unpacked?;
    if !package.success() {
        return Err(format!("dpkg-deb --fsys-tarfile {}: {package}", deb.display()).into());
    }
    Ok(())
}

fn entry(dir: &Path, wanted: fn(&Path) -> bool) -> Option<PathBuf> {
    let mut entries = fs::read_dir(dir).ok()?;
    entries.find_map(|entry| entry.ok().map(|e| e.path()).filter(|p| wanted(p)))
}

/// One source of packages, as sources.list(5) has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stanza {
    uri: String,
    suites: Vec<String>,
    components: String,
    signed_by: Option<String>,
}

/// A sources file with binary and source packages of `suite`, from where this machine gets the
/// packages of its own Debian release.
fn sources_for(suite: &str) -> Result<String> {
    let mut stanzas = Vec::new();
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(|e| e.ok().map(|e| e.path())));
    }
    files.sort();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => stanzas.extend(one_line_sources(&text)),
            Some("sources") => stanzas.extend(deb822_sources(&text)),
            _ => {}
        }
    }
    let release = fs::read_to_string("/etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|l| l.strip_prefix("VERSION_CODENAME="))
        .filter(|_| release.lines().any(|l| l == "ID=debian"))
        .ok_or("this machine is no Debian release, whose package sources could be used")?;
    render(&stanzas, codename, suite)
        .ok_or_else(|| format!("no package source in /etc/apt, of {codename}, has {suite}").into())
}

fn render(stanzas: &[Stanza], codename: &str, suite: &str) -> Option<String> {
    // Security updates have an archive of their own; every other suite is beside the releases.
    let ours = if suite.ends_with("-security") {
        format!("{codename}-security")
    } else {
        codename.to_owned()
    };
    let stanza = stanzas.iter().find(|s| s.suites.contains(&ours))?;
    let mut text = format!(
        "Types: deb deb-src\nURIs: {}\nSuites: {suite}\nComponents: {}\n",
        stanza.uri, stanza.components
    );
    if let Some(key) = &stanza.signed_by {
        text.push_str(&format!("Signed-By: {key}\n"));
    }
    Some(text)
}

fn one_line_sources(text: &str) -> Vec<Stanza> {
    text.lines()
        .filter_map(|line| {
            let mut rest = line.split('#').next()?.trim().strip_prefix("deb ")?.trim();
            let mut signed_by = None;
            if let Some((options, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
                signed_by = options
                    .split_whitespace()
                    .find_map(|o| o.strip_prefix("signed-by="))
                    .map(str::to_owned);
                rest = after.trim();
            }
            let mut words = rest.split_whitespace();
            Some(Stanza {
                uri: words.next()?.to_owned(),
                suites: vec![words.next()?.to_owned()],
                components: words.collect::<Vec<_>>().join(" "),
                signed_by,
            })
        })
        .collect()
}

fn deb822_sources(text: &str) -> Vec<Stanza> {
    text.split("\n\n")
        .filter_map(|paragraph| {
            let field = |name: &str| {
                paragraph
                    .lines()
                    .filter(|l| !l.starts_with('#'))
                    .find_map(|line| {
                        let (key, value) = line.split_once(':')?;
                        key.eq_ignore_ascii_case(name)
                            .then(|| value.trim().to_owned())
                    })
            };
            if field("Enabled").is_some_and(|e| e.eq_ignore_ascii_case("no")) {
                return None;
            }
            field("Types")?.split_whitespace().find(|t| *t == "deb")?;
            Some(Stanza {
                uri: field("URIs")?.split_whitespace().next()?.to_owned(),
                suites: field("Suites")?
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect(),
                components: field("Components")?,
                // An armoured key in the file itself spans lines, and the machine's keyring has
                // Debian's keys anyway.
                signed_by: field("Signed-By").filter(|key| key.starts_with('/')),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_sources_are_read() {
        let line = "# deb http://x.invalid/ no main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://a.invalid/debian trixie main contrib\n";
        let deb822 = "Types: deb\n# URIs: http://no.invalid/\nURIs: http://a.invalid/debian\n\
                      Suites: trixie trixie-updates\nComponents: main contrib\nSigned-By: /k.gpg\n\
                      \n\nEnabled: no\nTypes: deb\nURIs: http://b.invalid\nSuites: trixie\n\
                      Components: main\n";
        let from_line = render(&one_line_sources(line), "trixie", "bookworm").unwrap();
        let from_deb822 = render(&deb822_sources(deb822), "trixie", "bookworm").unwrap();
        assert_eq!(from_line, from_deb822);
        assert_eq!(
            from_line,
            "Types: deb deb-src\nURIs: http://a.invalid/debian\nSuites: bookworm\n\
             Components: main contrib\nSigned-By: /k.gpg\n"
        );
        assert_eq!(
            deb822_sources(deb822).len(),
            1,
            "a disabled source is left out"
        );
    }

    #[test]
    fn another_release_is_not_taken_for_ours() {
        let stanzas = one_line_sources("deb http://a.invalid/debian sid main\n");
        assert_eq!(render(&stanzas, "trixie", "bookworm"), None);
    }

    #[test]
    fn security_updates_come_from_their_own_archive() {
        let stanzas = one_line_sources(
            "deb http://a.invalid/debian trixie main\n\
             deb http://s.invalid/security trixie-security main\n",
        );
        let uri = |suite| {
            let text = render(&stanzas, "trixie", suite).unwrap();
            let line = text.lines().find(|l| l.starts_with("URIs"));
            line.unwrap().to_owned()
        };
        assert_eq!(uri("bookworm-security"), "URIs: http://s.invalid/security");
        assert_eq!(uri("trixie-backports"), "URIs: http://a.invalid/debian");
    }
}
