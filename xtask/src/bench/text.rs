//! The report as text, for a terminal and for docs/benchmarks.md.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::plot::{Plot, Scale, Series};
use super::report::{Curve, Report, Throughput};
use super::stats::{Spread, to_f64};
use crate::{Result, host};

const BEGIN: &str = "<!-- written by cargo xtask bench --write -->";
const END: &str = "<!-- end -->";
const PLOTS: &str = "benchmarks";

/// All tables that there is something in.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let parts = [bars(report), latency(report), throughput(report)];
    let mut parts: Vec<_> = parts.into_iter().flatten().collect();
    for against in against(report) {
        parts.push(curves(report, against));
    }
    parts.extend(
        [images(report), memory(report), missing(report)]
            .into_iter()
            .flatten(),
    );
    for (title, table) in parts {
        let _ = write!(text, "### {title}\n\n{table}\n");
    }
    text
}

type Part = (String, String);

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

fn bars(report: &Report) -> Option<Part> {
    let rows = report.bars.iter().map(|bar| {
        let verdict = match bar.met() {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        };
        vec![
            bar.what.clone(),
            bar.to.clone(),
            with_range(bar.ratio),
            format!("{} {}", bar.wanted, bar.bar),
            verdict.to_owned(),
        ]
    });
    let head = ["what", "to", "ratio (p10 to p90)", "bar", ""];
    let title = format!("What has to be shown, as {}", report.account);
    (!report.bars.is_empty()).then(|| (title, table(&head, rows)))
}

fn latency(report: &Report) -> Option<Part> {
    let rows = report.latency.iter().map(|timing| {
        vec![
            timing.name.clone(),
            format!("{:.0}", timing.microseconds.median),
            format!("{:.0}", timing.microseconds.p90),
            median(timing.to_plain),
            median(timing.to_floor),
            median(timing.to_bwrap),
        ]
    });
    let head = [
        "/bin/true by",
        "median, us",
        "p90, us",
        "to plain",
        "to floor",
        "to bwrap",
    ];
    let title = format!("Time of a run, {} rounds", report.rounds);
    (!report.latency.is_empty()).then(|| (title, table(&head, rows)))
}

fn throughput(report: &Report) -> Option<Part> {
    let rows = report.throughput.iter().map(|row| {
        vec![
            row.name.clone(),
            row.workers.to_string(),
            format!("{:.0}", Spread::of(&row.rates).median),
            format!("{:.0}", row.cpu_microseconds.median),
        ]
    });
    let head = [
        "",
        "workers",
        "runs per second",
        "CPU of the machine per run, us",
    ];
    let title = "Throughput".to_owned();
    (!report.throughput.is_empty()).then(|| (title, table(&head, rows)))
}

/// What the curves are against, in their order.
fn against(report: &Report) -> Vec<&str> {
    let mut all: Vec<_> = report.curves.iter().map(|c| c.against.as_str()).collect();
    all.dedup();
    all
}

fn of<'a>(report: &'a Report, against: &str) -> Vec<&'a Curve> {
    let curves = report.curves.iter();
    curves.filter(|curve| curve.against == against).collect()
}

fn curves(report: &Report, against: &str) -> Part {
    let curves = of(report, against);
    let mut counts: Vec<usize> = curves.iter().flat_map(|c| &c.points).map(|p| p.0).collect();
    counts.sort_unstable();
    counts.dedup();
    let mut head = vec![against];
    head.extend(curves.iter().map(|curve| curve.name.as_str()));
    let rows = counts.into_iter().map(|count| {
        let mut row = vec![count.to_string()];
        row.extend(curves.iter().map(|curve| {
            let point = curve.points.iter().find(|(n, _)| *n == count);
            point.map_or(String::new(), |(_, time)| format!("{:.0}", time.median))
        }));
        row
    });
    let title = format!("Time against {against}, us");
    (title, table(&head, rows))
}

fn images(report: &Report) -> Option<Part> {
    let milliseconds = |microseconds: f64| format!("{:.1}", microseconds / 1000.0);
    let rows = report.images.iter().map(|row| {
        vec![
            row.name.clone(),
            milliseconds(row.microseconds.median),
            milliseconds(row.microseconds.p90),
            with_range(row.ratio),
            row.to.clone(),
        ]
    });
    let head = ["", "median, ms", "p90, ms", "ratio (p10 to p90)", "to"];
    let title = format!("An image of {}", report.image.as_deref()?);
    (!report.images.is_empty()).then(|| (title, table(&head, rows)))
}

fn memory(report: &Report) -> Option<Part> {
    let rows = report.memory.iter().map(|row| {
        vec![
            row.name.clone(),
            row.process.clone(),
            row.resident.to_string(),
            row.anonymous.to_string(),
            row.most.to_string(),
        ]
    });
    let head = [
        "of",
        "process",
        "resident, KiB",
        "of it anonymous",
        "at most",
    ];
    let title = "Memory beside the command".to_owned();
    (!report.memory.is_empty()).then(|| (title, table(&head, rows)))
}

fn missing(report: &Report) -> Option<Part> {
    let cell = |text: &str| text.replace('|', "\\|");
    let rows = report
        .missing
        .iter()
        .map(|m| vec![cell(&m.name), cell(&m.why)]);
    let title = "Not measured".to_owned();
    (!report.missing.is_empty()).then(|| (title, table(&["", "why"], rows)))
}

fn median(spread: Option<Spread>) -> String {
    spread.map_or(String::new(), |s| format!("{:.2}", s.median))
}

fn with_range(spread: Option<Spread>) -> String {
    spread.map_or(String::new(), |s| {
        format!("{:.3} ({:.3} to {:.3})", s.median, s.p10, s.p90)
    })
}

/// Replaces the part of `docs`/benchmarks.md between the markers, and the plots.
pub(super) fn write(docs: &Path, report: &Report) -> Result {
    let mut part = format!(
        "{}, Linux {}, {}, {} processors, {}, as {}, seed {}, by `cargo xtask bench --write`.\n\n",
        host::today(),
        host::kernel(),
        host::processor(),
        host::processors(),
        host::version_of("bwrap"),
        report.account,
        report.seed,
    );
    fs::create_dir_all(docs.join(PLOTS))?;
    for (name, plot) in plots(report) {
        let file = format!("{PLOTS}/{name}.svg");
        fs::write(docs.join(&file), plot.svg())?;
        let _ = write!(part, "![{}]({file})\n\n", plot.title);
    }
    part.push_str(&markdown(report));
    let file = docs.join("benchmarks.md");
    let old = fs::read_to_string(&file)?;
    fs::write(file, replaced(&old, &part)?)?;
    Ok(())
}

fn plots(report: &Report) -> Vec<(&'static str, Plot)> {
    let mut plots = Vec::new();
    for (name, against) in [("binds", "binds"), ("host-mounts", "mounts of the host")] {
        let series: Vec<_> = of(report, against).into_iter().map(times).collect();
        if !series.is_empty() {
            plots.push((
                name,
                Plot {
                    title: format!("Time of a run against {against}"),
                    x: (against.to_owned(), Scale::LogWithZero),
                    y: ("ms, median".to_owned(), Scale::Log),
                    series,
                },
            ));
        }
    }
    if !report.throughput.is_empty() {
        plots.push((
            "throughput",
            Plot {
                title: "Runs per second against workers".to_owned(),
                x: ("workers".to_owned(), Scale::Log),
                y: ("runs per second".to_owned(), Scale::Linear),
                series: rates(&report.throughput),
            },
        ));
    }
    plots
}

fn times(curve: &Curve) -> Series {
    let point = |(n, time): &(usize, Spread)| (to_f64(*n), time.median / 1000.0);
    Series {
        name: curve.name.clone(),
        points: curve.points.iter().map(point).collect(),
    }
}

fn rates(rows: &[Throughput]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for row in rows {
        let point = (to_f64(row.workers), Spread::of(&row.rates).median);
        match all.last_mut() {
            Some(series) if series.name == row.name => series.points.push(point),
            _ => all.push(Series {
                name: row.name.clone(),
                points: vec![point],
            }),
        }
    }
    all
}

fn replaced(old: &str, part: &str) -> Result<String> {
    let missing = || format!("no {BEGIN:?} and {END:?} in the file");
    let (before, rest) = old.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n{part}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::candidate::{CLI, FLOOR, PREPARED};
    use crate::bench::report::{AT_MOST, ImageTiming, Missing, Verdict};
    use crate::bench::stats::ratios;

    #[test]
    fn the_part_between_the_markers_is_replaced() {
        let old = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(
            replaced(&old, "new\n").unwrap(),
            format!("a\n{BEGIN}\nnew\n{END}\nb\n")
        );
        assert!(replaced("no markers", "new").is_err());
    }

    fn report(ratio: Option<f64>) -> Report {
        let spread = |value: f64| ratios(&[value], &[1.0]);
        let curve = |name: &str, points: &[(usize, f64)]| Curve {
            against: "binds".into(),
            name: name.into(),
            points: points.iter().map(|(n, t)| (*n, spread(*t))).collect(),
        };
        Report {
            bars: vec![Verdict {
                what: PREPARED.into(),
                to: FLOOR.into(),
                wanted: AT_MOST.into(),
                bar: 1.25,
                ratio: ratio.map(spread),
            }],
            curves: vec![
                curve(PREPARED, &[(0, 1000.0), (10, 2000.0)]),
                curve(CLI, &[(10, 4000.0)]),
            ],
            missing: vec![Missing {
                name: "crun".into(),
                why: "a | b".into(),
            }],
            ..Report::default()
        }
    }

    #[test]
    fn verdicts_are_said() {
        assert!(markdown(&report(Some(1.3))).contains("**missed**"));
        assert!(markdown(&report(Some(1.2))).contains("| met |"));
        assert!(markdown(&report(None)).contains("| not measured |"));
    }

    #[test]
    fn a_point_that_is_missing_leaves_its_place_empty() {
        let text = markdown(&report(None));
        assert!(
            text.contains("| 0 | 1000 |  |\n| 10 | 2000 | 4000 |"),
            "{text}"
        );
        assert!(text.contains("| crun | a \\| b |"), "{text}");
    }

    #[test]
    fn times_of_images_are_said_with_what_they_are_held_against() {
        let mut with = report(None);
        assert!(!markdown(&with).contains("An image of"));
        with.image = Some("12 entries".into());
        with.images = vec![ImageTiming {
            name: "ours".into(),
            microseconds: ratios(&[2500.0], &[1.0]),
            to: "tar".into(),
            ratio: Some(ratios(&[1.0], &[2.0])),
        }];
        let text = markdown(&with);
        assert!(text.contains("### An image of 12 entries"), "{text}");
        let row = "| ours | 2.5 | 2.5 | 0.500 (0.500 to 0.500) | tar |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn plots_are_made_of_what_there_is() {
        let names: Vec<_> = plots(&report(None))
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["binds"]);
    }
}
