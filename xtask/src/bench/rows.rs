//! What is measured: the command lines of both programs, with the same isolation.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::measure::{Timed, in_turn};
use super::stats::{Spread, ratios};
use crate::Result;

/// A row of the table, and how many times the other's time is to be reached at most.
struct Row {
    name: &'static str,
    binds: usize,
    against: Against,
    bar: f64,
}

/// What run-sandbox is compared with.
#[derive(Clone, Copy)]
enum Against {
    Bwrap,
    /// Itself, without what `SOFT` turns off.
    Soft,
}

impl Against {
    fn name(self) -> &'static str {
        match self {
            Self::Bwrap => "bwrap",
            Self::Soft => "without hardening",
        }
    }
}

const ROWS: [Row; 3] = [
    Row {
        name: "/bin/true",
        binds: 0,
        against: Against::Bwrap,
        bar: 0.75,
    },
    Row {
        name: "/bin/true, 1000 read-only binds",
        binds: 1000,
        against: Against::Bwrap,
        bar: 0.05,
    },
    Row {
        name: "/bin/true, all hardening",
        binds: 0,
        against: Against::Soft,
        bar: 1.15,
    },
];

/// No system call filter, no second wall, and no limit on further namespaces.
const SOFT: [&str; 4] = ["--seccomp", "none", "--no-landlock", "--allow-nested"];

const BINDS: usize = 1000;

/// Makes a root of its own for both programs, whose /usr is the host's, and directories to bind.
pub(super) fn lay_out(place: &Path) -> Result {
    let root = place.join("root");
    for dir in ["dev", "proc", "tmp", "usr", "m"] {
        fs::create_dir_all(root.join(dir))?;
    }
    for dir in ["bin", "lib", "lib64", "sbin"] {
        let link = root.join(dir);
        let merged = Path::new("/usr").join(dir).exists();
        if merged && fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(format!("usr/{dir}"), link)?;
        }
    }
    for n in 0..BINDS {
        fs::create_dir_all(place.join(format!("src/{n}")))?;
        fs::create_dir_all(root.join(format!("m/{n}")))?;
    }
    Ok(())
}

pub(super) fn measure_all(who: &str, place: &Path, pairs: usize) -> Result<Vec<Value>> {
    ROWS.iter()
        .map(|row| measure(row, who, place, pairs))
        .collect()
}

fn measure(row: &Row, who: &str, place: &Path, pairs: usize) -> Result<Value> {
    eprintln!("measuring as {who}: {}, {pairs} pairs", row.name);
    let plain = Timed(vec!["/bin/true".into()]);
    let other = match row.against {
        Against::Bwrap => bwrap(place, row.binds),
        Against::Soft => ours(place, row.binds, &SOFT),
    };
    let times = in_turn(&[&ours(place, row.binds, &[]), &other, &plain], pairs)?;
    let [ours, theirs, plain] = times.as_slice() else {
        return Err("three commands gave no three sets of times".into());
    };
    let ratio = ratios(ours, theirs);
    Ok(json!({
        "row": row.name,
        "as": who,
        "pairs": pairs,
        "run_sandbox_us": spread(Spread::of(ours)),
        "against": row.against.name(),
        "other_us": spread(Spread::of(theirs)),
        "plain_us": spread(Spread::of(plain)),
        "ratio": spread(ratio),
        "bar": row.bar,
        "within_bar": ratio.median <= row.bar,
    }))
}

fn spread(s: Spread) -> Value {
    json!({"p10": s.p10, "median": s.median, "p90": s.p90})
}

/// Read-only root, /usr of the host, all namespaces, a minimal /dev, /proc, a tmpfs at /tmp and an
/// empty environment: run-sandbox's defaults.
fn ours(place: &Path, binds: usize, options: &[&str]) -> Timed {
    let mut line: Vec<OsString> = vec![place.join("run-sandbox").into()];
    line.extend(options.iter().map(OsString::from));
    line.extend([
        "--read-only".into(),
        "--ro-bind".into(),
        "/usr".into(),
        "/usr".into(),
    ]);
    line.extend(bind_options(place, binds));
    line.extend([place.join("root").into(), "--".into(), "/bin/true".into()]);
    Timed(line)
}

/// The same, said to bwrap.
fn bwrap(place: &Path, binds: usize) -> Timed {
    let mut line: Vec<OsString> = [
        "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--clearenv",
        "--ro-bind",
    ]
    .map(OsString::from)
    .to_vec();
    line.push(place.join("root").into());
    line.push("/".into());
    let rest = "--ro-bind /usr /usr --dev /dev --proc /proc --tmpfs /tmp";
    line.extend(rest.split(' ').map(OsString::from));
    line.extend(bind_options(place, binds));
    line.extend(["--chdir", "/", "--", "/bin/true"].map(OsString::from));
    Timed(line)
}

fn bind_options(place: &Path, binds: usize) -> impl Iterator<Item = OsString> {
    let source = place.join("src");
    (0..binds).flat_map(move |n| {
        [
            "--ro-bind".into(),
            source.join(n.to_string()).into(),
            format!("/m/{n}").into(),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_programs_get_the_same_binds() {
        let place = Path::new("/p");
        let tail = |timed: Timed| -> Vec<OsString> {
            let first = timed.0.iter().position(|a| a == "/p/src/0").unwrap();
            timed.0[first..first + 3 * 9 + 2].to_vec()
        };
        assert_eq!(tail(ours(place, 10, &[])), tail(bwrap(place, 10)));
    }
}
