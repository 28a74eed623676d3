//! `cargo xtask lab`: real input for the tests, a Debian 12 root with a compiler and the source
//! of a package to build in it.
//!
//! The sources of packages are made from the machine's own, in a private apt configuration: the
//! machine's lists and its /etc stay as they are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, repo};

/// Names the directory of the lab: for us where to make it, for the tests where it is.
pub(crate) const DIR: &str = "SANDBOXLIB_LAB";
/// Tells the tests why there is none.
pub(crate) const MISSING: &str = "SANDBOXLIB_LAB_MISSING";

const SUITE: &str = "bookworm";
const PACKAGES: &str = "gcc,make,libc6-dev";
/// Small, configured, compiled and tested in some seconds, with a test suite of its own.
const SOURCE: &str = "zlib";

pub(crate) fn main(mut args: lexopt::Parser) -> Result {
    let mut dir = None;
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Value(value) if dir.is_none() => dir = Some(PathBuf::from(value)),
            other => return Err(other.unexpected().into()),
        }
    }
    println!("{}", make(dir)?.display());
    Ok(())
}

/// Makes what is missing of the lab and returns its directory, which holds `root` and `src`.
pub(crate) fn make(dir: Option<PathBuf>) -> Result<PathBuf> {
    let dir = match dir.or_else(|| std::env::var_os(DIR).map(PathBuf::from)) {
        Some(dir) => {
            fs::create_dir_all(&dir)?;
            fs::canonicalize(dir)?
        }
        None => repo::shared_dir("lab")?,
    };
    if dir.join("root").exists() && dir.join("src").exists() {
        return Ok(dir);
    }
    for (tool, package) in [
        ("mmdebstrap", "mmdebstrap"),
        ("apt-get", "apt"),
        ("dpkg-source", "dpkg-dev"),
    ] {
        if !repo::have(tool) {
            return Err(format!("there is no {tool} (package {package})").into());
        }
    }
    let work = tempfile::Builder::new()
        .prefix("making-")
        .tempdir_in(&dir)?;
    // mmdebstrap's user namespace has other ids, and must get in.
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755))?;
    let sources = work.path().join("lab.sources");
    fs::write(&sources, sources_for(SUITE)?)?;
    if !dir.join("src").exists() {
        make_source(&sources, work.path(), &dir.join("src"))?;
    }
    if !dir.join("root").exists() {
        make_root(&sources, &dir)?;
    }
    Ok(dir)
}

fn make_root(sources: &Path, dir: &Path) -> Result {
    eprintln!("making a Debian root in {} (once)", dir.display());
    // Beside its final place: what mmdebstrap makes in a user namespace belongs to another id,
    // and may be given another name by us, but not another parent.
    let part = dir.join(format!("root.part-{}", std::process::id()));
    let mode = if repo::is_root() { "root" } else { "unshare" };
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=essential", "--format=directory"])
        .arg(format!("--mode={mode}"))
        .arg(format!("--include={PACKAGES}"))
        .arg(SUITE)
        .arg(&part)
        .arg(sources)
        .current_dir(dir);
    repo::run(&mut command)?;
    fs::rename(part, dir.join("root"))?;
    Ok(())
}

fn make_source(sources: &Path, work: &Path, to: &Path) -> Result {
    eprintln!("fetching the source of {SOURCE} to {} (once)", to.display());
    for dir in ["lists/partial", "cache/archives/partial", "fetched"] {
        fs::create_dir_all(work.join(dir))?;
    }
    let config = work.join("apt.conf");
    let text = format!(
        "Dir::Etc::sourcelist \"/dev/null\";\n\
         Dir::Etc::sourceparts \"{0}/parts\";\n\
         Dir::State::lists \"{0}/lists\";\n\
         Dir::Cache \"{0}/cache\";\n\
         APT::Sandbox::User \"\";\n\
         APT::Get::List-Cleanup \"false\";\n\
         Acquire::Languages \"none\";\n",
        work.display()
    );
    fs::write(&config, text)?;
    fs::create_dir(work.join("parts"))?;
    fs::copy(sources, work.join("parts/lab.sources"))?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command
            .arg("-qq")
            .env("APT_CONFIG", &config)
            .current_dir(work.join("fetched"));
        command
    };
    repo::run(apt().arg("update"))?;
    repo::run(apt().args(["source", SOURCE]))?;
    let unpacked = fs::read_dir(work.join("fetched"))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|path| path.is_dir())
        .ok_or("apt-get source unpacked nothing")?;
    fs::rename(unpacked, to)?;
    Ok(())
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
        .ok_or_else(|| format!("no package source in /etc/apt has {codename}").into())
}

fn render(stanzas: &[Stanza], codename: &str, suite: &str) -> Option<String> {
    let stanza = stanzas
        .iter()
        .find(|s| s.suites.iter().any(|s| s == codename))?;
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
}
