//! Runs a case and holds what it finds against what it should.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sandboxlib::Sandbox;
use sandboxlib::core::{Launch, Step};
use sandboxlib::mount::{EntryKind, MountPlan, PlanStep};

use crate::Seen;
use crate::case::Case;
use crate::files::{Facts, listing};
use crate::inside::{Inside, Looked, PLACE};
use crate::model::{Model, Shown, real};
use crate::mounts::{self, Host};
use crate::probe::{ABOVE, Answer, DEPTH, Found, Kind, More};

type Checked = Result<(), String>;

const EACCES: Answer = Answer(13);
const EROFS: Answer = Answer(30);
const OK: Answer = Answer(0);
/// What following a link that leads to nothing gives: ENOENT, EACCES, ENOTDIR or ELOOP.
const NOWHERE: [Answer; 4] = [Answer(2), Answer(13), Answer(20), Answer(40)];

macro_rules! ensure {
    ($truth:expr, $($why:tt)*) => {
        if !$truth {
            return Err(format!($($why)*));
        }
    };
}

pub(crate) fn check(case: &Case, inside: &Inside, seen: &Seen) -> Checked {
    let base = case.base();
    let before = listing(&base);
    let sandbox = Sandbox::from_config(case.config.clone())
        .backends(["userns"])
        .prepare()
        .map_err(|e| format!("cannot be prepared: {e}"))?;
    let Launch::Direct(script) = sandbox.launch() else {
        return Err("not launched by a script".into());
    };
    ensure!(listing(&base) == before, "preparing has changed the host");

    let procs = procs(&case.plan);
    let looked = inside.look(&sandbox, &procs);
    let looked = looked.map_err(|e| format!("cannot be started: {e} {:?}", cause(&e)))?;
    let steps = script.steps.iter().filter_map(|step| match step {
        Step::Mount(step) => Some(step),
        _ => None,
    });
    ensure!(steps.eq(&case.plan.steps), "that is not the plan");
    let enforcement = sandbox.enforcement();
    let made: Vec<_> = case.plan.created_on_host().cloned().collect();
    ensure!(
        enforcement.created_on_host == made && enforcement.not_masked == case.plan.not_masked,
        "the report differs from the plan: {enforcement:?}"
    );

    let model = Model::run(&case.memory, &case.plan)?;
    let protected = script
        .steps
        .iter()
        .any(|step| matches!(step, Step::ProtectProc(_) | Step::MaskKeys(_)));
    compare_mounts(&case.plan, &model, &looked, protected)?;
    compare_paths(&model, &looked.report.found, &procs)?;
    compare_host(&model, &before, &listing(&base))?;

    let count = |kind: fn(&PlanStep) -> bool| case.plan.steps.iter().filter(|s| kind(s)).count();
    let add = |cell: &std::cell::Cell<usize>, n: usize| cell.set(cell.get() + n);
    add(&seen.cases, 1);
    add(&seen.mounts, mounts::parse(&looked.mountinfo).len());
    add(
        &seen.shadows,
        count(|s| matches!(s, PlanStep::Shadow { .. })),
    );
    add(&seen.masked, count(|s| matches!(s, PlanStep::Mask { .. })));
    add(&seen.made_on_host, made.len());
    add(&seen.paths, looked.report.found.len());
    Ok(())
}

fn cause(error: &sandboxlib::Error) -> Option<String> {
    std::error::Error::source(error).map(|e| {
        let deeper = std::error::Error::source(e).map(ToString::to_string);
        format!("{e}: {deeper:?}")
    })
}

fn procs(plan: &MountPlan) -> Vec<PathBuf> {
    let procs = plan.steps.iter().filter_map(|step| match step {
        PlanStep::Proc { to } => Some(to.as_path().to_owned()),
        _ => None,
    });
    procs.collect()
}

fn compare_mounts(plan: &MountPlan, model: &Model, looked: &Looked, protected: bool) -> Checked {
    let text = || String::from_utf8_lossy(&looked.mountinfo).into_owned();
    let inside = &looked.report.mountinfo;
    ensure!(
        inside.is_empty() || *inside == looked.mountinfo,
        "inside there is another mount table: {}\n{}",
        String::from_utf8_lossy(inside),
        text()
    );
    let raw = mounts::parse(&looked.mountinfo);
    ensure!(
        raw.iter().all(|r| !r.propagates),
        "mounts propagate: {}",
        text()
    );
    let host = Host::new();
    let mut told = mounts::told(&raw, &host);
    let roots = raw.iter().filter(|r| r.at == Path::new("/")).count();
    ensure!(roots == 1, "{roots} mounts at the root: {}", text());
    let expected = mounts::planned(plan, &host);
    if protected {
        // On names that only procfs has, not in the trees of the cases.
        let mut protections = BTreeSet::new();
        let procs = procs(plan);
        told.retain(|line| {
            let at = line.chain.last().unwrap();
            let below = procs.iter().find(|p| at.parent() == Some(p));
            let name = at.file_name().unwrap_or_default();
            let only_there = name.len() > 1 && Path::new("/proc").join(name).exists();
            let protection = only_there && line.flags.ro && line.flags.noexec;
            protections.extend(below.filter(|_| protection));
            !(protection && below.is_some())
        });
        let of_proc = |p: &&PathBuf| matches!(model.show(p), Shown::Private { of: "proc", .. });
        let bare = procs
            .iter()
            .filter(of_proc)
            .find(|p| !protections.contains(p));
        ensure!(bare.is_none(), "nothing protects {bare:?}: {}", text());
    }
    let differences = |a: &[mounts::Line], b: &[mounts::Line]| {
        let missing = a.iter().filter(|line| !b.contains(line));
        missing
            .map(|line| format!("\n  {line}"))
            .collect::<String>()
    };
    ensure!(
        told == expected,
        "planned and not there:{}\nthere and not planned:{}",
        differences(&expected, &told),
        differences(&told, &expected)
    );
    Ok(())
}

fn compare_paths(model: &Model, found: &[Found], procs: &[PathBuf]) -> Checked {
    let own = Path::new("/").join(PLACE);
    let left_out = |path: &Path| {
        let dirs = procs.iter().chain([&own]);
        dirs.into_iter().any(|d| path.starts_with(d) && path != d)
    };
    let expected: BTreeMap<PathBuf, Shown> = model
        .everything(DEPTH)
        .into_iter()
        .filter(|(path, _)| !left_out(path))
        .collect();
    let mut found: BTreeMap<&Path, &Found> = found.iter().map(|f| (f.path.as_path(), f)).collect();
    let above = found
        .remove(Path::new(ABOVE))
        .ok_or("nothing above the root")?;
    let root = found.get(Path::new("/")).ok_or("no root")?;
    ensure!(
        above.identity == root.identity,
        "above the root is something else"
    );
    for (path, found) in &found {
        ensure!(
            expected.contains_key(*path),
            "{path:?} is there and should not be: {found:?}"
        );
    }
    for (path, shown) in &expected {
        let Some(at) = found.get(path.as_path()) else {
            return Err(format!("{path:?} is missing: {shown:?}"));
        };
        compare_path(model, shown, at)
            .and_then(|()| compare_link(model, at, &found, procs))
            .map_err(|why| format!("{path:?}: {why}\n{shown:?}\n{at:?}"))?;
    }
    Ok(())
}

fn compare_path(model: &Model, shown: &Shown, found: &Found) -> Checked {
    match shown {
        Shown::Missing | Shown::ThroughLink => {
            Err("the model lists it and does not show it".into())
        }
        Shown::Closed => Err("no case has a socket".into()),
        Shown::Masked => {
            ensure!(found.read == EACCES && found.write == EACCES, "not masked");
            let More::Closed(chmod, below) = found.more else {
                return Err("not masked".into());
            };
            ensure!(chmod == EROFS, "its permissions can be changed");
            let below_wanted = match found.kind {
                Kind::Dir => EACCES,
                // ENOTDIR
                _ => Answer(20),
            };
            ensure!(below == below_wanted, "one sees what is below");
            Ok(())
        }
        Shown::Host {
            path,
            kind,
            writable,
        } => {
            let meta = match kind {
                EntryKind::Symlink(_) => fs::symlink_metadata(path),
                EntryKind::Dir | EntryKind::File => fs::metadata(path),
            };
            let meta = meta.map_err(|e| format!("{path:?} on the host: {e}"))?;
            ensure!(
                found.identity == (meta.dev(), meta.ino()),
                "not the host's {path:?}"
            );
            if path.starts_with("/dev") {
                ensure!(found.kind == Kind::Device, "no device");
                // The terminal is there for those who have one.
                let works = found.read == OK && found.write == OK;
                ensure!(
                    works || path.ends_with("tty"),
                    "a device that does not work"
                );
                return Ok(());
            }
            // A file holds where it is, and one that the plan has made holds nothing.
            let marker = (*kind == EntryKind::File).then(|| {
                let path = real(&model.host, path);
                if model.made.contains(&path) {
                    PathBuf::new()
                } else {
                    path
                }
            });
            compare_entry(kind, *writable, marker.as_deref(), found)
        }
        Shown::Private { of, kind, writable } => match *of {
            "proc" | "devpts" => {
                let is_dir = *kind == EntryKind::Dir;
                ensure!(is_dir == (found.kind == Kind::Dir), "another kind");
                Ok(())
            }
            "file" => {
                ensure!(found.content.starts_with(b"data "), "other data");
                compare_entry(kind, false, None, found)
            }
            _ => compare_entry(kind, *writable, None, found),
        },
    }
}

/// `marker` is what a file has to hold.
fn compare_entry(
    kind: &EntryKind,
    writable: bool,
    marker: Option<&Path>,
    found: &Found,
) -> Checked {
    let write = if writable { OK } else { EROFS };
    match (kind, found.kind) {
        (EntryKind::Symlink(to), Kind::Link) => {
            ensure!(to.as_bytes() == found.content, "it says something else");
            return Ok(());
        }
        (EntryKind::Dir, Kind::Dir) => {}
        (EntryKind::File, Kind::File) => {
            ensure!(
                marker.is_none_or(|m| m.as_os_str().as_bytes() == found.content),
                "not the content of {marker:?}"
            );
        }
        _ => return Err("another kind".into()),
    }
    ensure!(found.read == OK, "cannot be read");
    ensure!(found.write == write, "writable should be {writable}");
    Ok(())
}

/// Where the kernel gets by a link is where the model gets.
fn compare_link(
    model: &Model,
    link: &Found,
    found: &BTreeMap<&Path, &Found>,
    procs: &[PathBuf],
) -> Checked {
    let More::LeadsTo(end) = &link.more else {
        return Ok(());
    };
    // Of procfs the model knows little.
    if link.content.starts_with(b"/proc/") {
        return Ok(());
    }
    match (model.follow(&link.path, true), end) {
        (Some(path), _) if procs.iter().any(|p| path.starts_with(p)) => Ok(()),
        (Some(path), Ok(identity)) => {
            let known = found.get(path.as_path());
            ensure!(
                known.is_none_or(|k| k.identity == *identity),
                "it leads elsewhere than to {path:?}: {known:?}"
            );
            Ok(())
        }
        (None, Err(errno)) if NOWHERE.contains(errno) => Ok(()),
        (expected, _) => Err(format!("it should lead to {expected:?}")),
    }
}

/// The host is changed where it was to be, and nowhere else.
fn compare_host(
    model: &Model,
    before: &BTreeMap<PathBuf, Facts>,
    after: &BTreeMap<PathBuf, Facts>,
) -> Checked {
    let is = |map: &BTreeMap<PathBuf, Facts>| map.keys().cloned().collect::<BTreeSet<_>>();
    let (was, is) = (is(before), is(after));
    ensure!(is.is_superset(&was), "gone: {:?}", &was - &is);
    let made = &is - &was;
    ensure!(
        made == model.made,
        "made on the host: {made:?}, not {:?}",
        model.made
    );
    // In these the probe has made files for a moment.
    let writable: BTreeSet<PathBuf> = model
        .everything(DEPTH)
        .into_iter()
        .filter_map(|(_, shown)| match shown {
            Shown::Host {
                path,
                kind: EntryKind::Dir,
                writable: true,
            } => Some(real(&model.host, &path)),
            _ => None,
        })
        .chain(made.iter().filter_map(|p| p.parent()).map(Path::to_owned))
        .collect();
    for (path, facts) in before {
        let mut now = after[path].clone();
        if facts.is_dir() && writable.contains(path) {
            now.modified = facts.modified;
        }
        ensure!(now == *facts, "{path:?} has changed: {facts:?} -> {now:?}");
    }
    Ok(())
}
