//! Lines in a picture (SVG).

use std::fmt::Write as _;

/// A picture with a line for each series.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: (String, Scale),
    pub(super) y: (String, Scale),
    pub(super) series: Vec<Series>,
}

#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// How a number becomes a place on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// For numbers above 0.
    Log,
    /// From 0, which lies where one tenth would.
    LogWithZero,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.log10(),
            Self::LogWithZero => value.max(0.1).log10(),
        }
    }
}

/// One axis: what is at its ends, and how long it is.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    length: f64,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64>, length: f64) -> Self {
        let ends = (f64::INFINITY, f64::NEG_INFINITY);
        let places = values.map(|value| scale.place(value));
        let (low, high) = places.fold(ends, |(low, high), p| (low.min(p), high.max(p)));
        let low = if scale == Scale::Linear { 0.0 } else { low };
        // A single value has the axis to itself.
        let high = if high > low { high } else { low + 1.0 };
        Self {
            scale,
            low,
            high,
            length,
        }
    }

    fn at(&self, value: f64) -> f64 {
        (self.scale.place(value) - self.low) / (self.high - self.low) * self.length
    }

    /// Round numbers between the ends.
    fn marks(&self) -> Vec<f64> {
        let round = |base: f64| [1.0, 2.0, 5.0].map(|n| n * 10f64.powf(base));
        if self.scale == Scale::Linear {
            let steps = (-3..9).flat_map(|base| round(f64::from(base)));
            let step = { steps }
                .find(|step| self.high / step <= 6.0)
                .unwrap_or(self.high);
            return (0..=6)
                .map(|n| f64::from(n) * step)
                .filter(|m| *m <= self.high)
                .collect();
        }
        let all = (-3..9).flat_map(|base| round(f64::from(base)));
        // Over many powers of ten, only those themselves.
        let wide = self.high - self.low > 2.0;
        let inside = |m: &f64| (self.low..=self.high).contains(&self.scale.place(*m));
        let marks = all.filter(|m| inside(m) && (!wide || m.log10().fract().abs() < 1e-9));
        let zero = (self.scale == Scale::LogWithZero).then_some(0.0);
        let zero = zero.filter(|_| self.low <= -1.0);
        zero.into_iter()
            .chain(marks.filter(|m| zero.is_none() || *m > 0.1))
            .collect()
    }
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
/// For the names of the series.
const RIGHT: f64 = 190.0;
const BOTTOM: f64 = 50.0;
/// To be told apart by those who do not see all colours, too (Okabe and Ito).
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

impl Plot {
    pub(super) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Axis::new(self.x.1, points().map(|p| p.0), WIDTH);
        let y = Axis::new(self.y.1, points().map(|p| p.1), HEIGHT);
        let (width, height) = (LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM);
        let bottom = TOP + HEIGHT;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        label(&mut svg, LEFT, 20.0, "start", &self.title);
        label(
            &mut svg,
            LEFT + WIDTH / 2.0,
            bottom + 40.0,
            "middle",
            &self.x.0,
        );
        label(&mut svg, 8.0, TOP - 4.0, "start", &self.y.0);
        for mark in x.marks() {
            let at = LEFT + x.at(mark);
            line(&mut svg, (at, TOP), (at, bottom));
            label(&mut svg, at, bottom + 18.0, "middle", &mark.to_string());
        }
        for mark in y.marks() {
            let at = bottom - y.at(mark);
            line(&mut svg, (LEFT, at), (LEFT + WIDTH, at));
            // Products such as 2 * 0.001 have more digits than anybody wants.
            let shown = (mark * 1e6).round() / 1e6;
            label(&mut svg, LEFT - 8.0, at + 4.0, "end", &shown.to_string());
        }
        for ((n, series), colour) in (0u8..).zip(&self.series).zip(COLOURS.iter().cycle()) {
            let place = |(px, py): &(f64, f64)| (LEFT + x.at(*px), bottom - y.at(*py));
            let places: Vec<_> = series.points.iter().map(place).collect();
            let list: Vec<_> = places
                .iter()
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let list = list.join(" ");
            let _ = writeln!(
                svg,
                "<polyline points=\"{list}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            );
            for (x, y) in places {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
                );
            }
            let (x, y) = (LEFT + WIDTH + 15.0, TOP + 10.0 + 20.0 * f64::from(n));
            let _ = writeln!(
                svg,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"/>"
            );
            label(&mut svg, x + 12.0, y + 4.0, "start", &series.name);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>"
    );
}

fn label(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_between_the_ends() {
        let axis = Axis::new(Scale::LogWithZero, [0.0, 1.0, 1000.0].into_iter(), 100.0);
        assert_eq!(
            [axis.at(0.0), axis.at(1.0), axis.at(1000.0)],
            [0.0, 25.0, 100.0]
        );
        assert_eq!(axis.marks(), [0.0, 1.0, 10.0, 100.0, 1000.0]);
        let axis = Axis::new(Scale::Linear, [200.0, 1000.0].into_iter(), 10.0);
        assert_eq!([axis.at(0.0), axis.at(500.0)], [0.0, 5.0]);
        assert_eq!(axis.marks(), [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]);
        let axis = Axis::new(Scale::Log, [1.0, 8.0].into_iter(), 10.0);
        assert_eq!(axis.marks(), [1.0, 2.0, 5.0]);
    }

    #[test]
    fn a_picture_has_all_lines_and_no_open_text() {
        let series = |name: &str| Series {
            name: name.into(),
            points: vec![(0.0, 1.0), (10.0, 3.0)],
        };
        let plot = Plot {
            title: "a < b & c".into(),
            x: ("x".into(), Scale::LogWithZero),
            y: ("y".into(), Scale::Log),
            series: vec![series("one"), series("two")],
        };
        let svg = plot.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a &lt; b &amp; c"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
