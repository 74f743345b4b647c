//! Bars with intervals in groups, and lines across for baselines, as SVG.

use crate::report::svg::{Anchor, Drawing, FAINT, INK, at, extent};

/// A bar: its value and the ends of its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// The height.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A chart of bars from 0 to 1: a group for each cell, in it a bar for each method.
#[derive(Clone, Debug, Default)]
pub struct BarChart {
    /// One line above the chart.
    pub title: String,
    /// Name of the vertical axis.
    pub y_label: String,
    /// Names of the bars of a group.
    pub series: Vec<String>,
    /// Name of each group and its bars, one for each of `series`.
    pub groups: Vec<(String, Vec<Option<Bar>>)>,
    /// Lines across, with their names.
    pub baselines: Vec<(String, f64)>,
}

/// Colours of Okabe and Ito, which colour-blind readers can tell apart.
const COLOURS: [&str; 4] = ["#0072b2", "#e69f00", "#009e73", "#d55e00"];
const LEFT: f64 = 58.0;
const TOP: f64 = 40.0;
const HEIGHT: f64 = 260.0;
const BAR: f64 = 24.0;
const GAP: f64 = 34.0;

/// Lines of the grid.
const GRID: &str = "#E4E4E4";

impl BarChart {
    /// The chart as an SVG document.
    pub fn svg(&self) -> String {
        let group = BAR * self.series.len() as f64 + GAP;
        let plot = (group * self.groups.len() as f64).max(420.0);
        let (right, floor) = (LEFT + plot, TOP + HEIGHT);
        let y = |value: f64| TOP + HEIGHT * (1.0 - value.clamp(0.0, 1.0));
        let mut out = Drawing::default();
        out.text(at(LEFT, 18.0), 15.0, Anchor::Start, &self.title);
        out.text(at(LEFT, 33.0), 11.0, Anchor::Start, &self.y_label);
        for tick in 0..=5 {
            let value = f64::from(tick) / 5.0;
            out.line(at(LEFT, y(value)), at(right, y(value)), GRID);
            out.text(at(LEFT - 8.0, y(value) + 4.0), 12.0, Anchor::End, &format!("{value:.1}"));
        }
        for (i, (name, bars)) in self.groups.iter().enumerate() {
            let from = LEFT + group * i as f64 + 0.5 * GAP;
            out.text(at(from + 0.5 * (group - GAP), floor + 18.0), 12.0, Anchor::Middle, name);
            for (k, bar) in bars.iter().enumerate() {
                let Some(bar) = bar.filter(|bar| bar.value.is_finite()) else { continue };
                let x = from + BAR * k as f64;
                let size = extent(BAR - 2.0, floor - y(bar.value));
                out.rectangle(at(x + 1.0, y(bar.value)), size, COLOURS[k % COLOURS.len()]);
                let middle = x + 0.5 * BAR;
                out.line(at(middle, y(bar.low)), at(middle, y(bar.high)), INK);
                for end in [bar.low, bar.high] {
                    out.line(at(middle - 4.0, y(end)), at(middle + 4.0, y(end)), INK);
                }
            }
        }
        out.line(at(LEFT, floor), at(right, floor), FAINT);
        for (name, value) in &self.baselines {
            out.dashed(at(LEFT, y(*value)), at(right, y(*value)), INK);
            out.text(at(right + 6.0, y(*value) + 4.0), 11.0, Anchor::Start, name);
        }
        let mut x = LEFT;
        for (i, name) in self.series.iter().enumerate() {
            out.rectangle(at(x, floor + 34.0), extent(12.0, 12.0), COLOURS[i % COLOURS.len()]);
            out.text(at(x + 17.0, floor + 44.5), 12.0, Anchor::Start, name);
            x += 40.0 + 7.5 * name.chars().count() as f64;
        }
        out.finish(extent(right + 120.0, floor + 60.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_value_and_a_missing_one_is_left_out() {
        let bar = |value| Some(Bar { value, low: value - 0.1, high: value + 0.1 });
        let chart = BarChart {
            title: "a < b".into(),
            series: vec!["SA".into(), "GB".into()],
            groups: vec![("Deep".into(), vec![bar(0.5), None])],
            baselines: vec![("uniform".into(), 0.8165)],
            ..BarChart::default()
        };
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b") && svg.contains(">Deep<") && svg.contains(">uniform<"));
        assert!(svg.contains("height=\"130.00\" fill=\"#0072b2\""), "{svg}");
        assert_eq!(svg.matches("fill=\"#e69f00\"").count(), 1, "the legend only");
        assert!(svg.trim_end().ends_with("</svg>"));
    }
}
