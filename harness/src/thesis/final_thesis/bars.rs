//! Bars with intervals in groups, and lines across for baselines, as SVG.

use crate::report::svg::{Anchor, Drawing, FAINT, INK, at, extent, text_width, wrap};

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
    /// Above the chart; broken where it is longer than the chart is wide.
    pub title: String,
    /// Name of the vertical axis.
    pub y_label: String,
    /// Names of the bars of a group.
    pub series: Vec<String>,
    /// Name of each group and its bars, one for each of `series`.
    pub groups: Vec<(String, Vec<Option<Bar>>)>,
    /// Lines across, with their names, which the legend holds.
    pub baselines: Vec<(String, f64)>,
}

/// Colours of Okabe and Ito, which colour-blind readers can tell apart.
const COLOURS: [&str; 4] = ["#0072b2", "#e69f00", "#009e73", "#d55e00"];
const LEFT: f64 = 44.0;
const RIGHT: f64 = 10.0;
const HEIGHT: f64 = 260.0;
const BAR: f64 = 24.0;
const GAP: f64 = 26.0;
/// Width of the plot, at least.
const LEAST: f64 = 330.0;
/// Sizes of the title and of all other text: three cells with four bars can be read on a small screen.
const TITLE: f64 = 15.0;
const TEXT: f64 = 12.0;
/// Height of a line of text.
const LINE: f64 = 18.0;

/// Lines of the grid.
const GRID: &str = "#E4E4E4";

impl BarChart {
    /// The chart as an SVG document.
    pub fn svg(&self) -> String {
        let group = BAR * self.series.len() as f64 + GAP;
        let plot = (group * self.groups.len() as f64).max(LEAST);
        let right = LEFT + plot;
        let width = right + RIGHT;
        let mut out = Drawing::default();
        let titles = wrap(&self.title, width - 16.0, TITLE).into_iter().map(|line| (line, TITLE));
        let labels = wrap(&self.y_label, width - 16.0, TEXT).into_iter().map(|line| (line, TEXT));
        let mut top = 0.0;
        for (line, size) in titles.chain(labels) {
            top += LINE;
            out.text(at(8.0, top), size, Anchor::Start, &line);
        }
        let (top, floor) = (top + 14.0, top + 14.0 + HEIGHT);
        let y = |value: f64| top + HEIGHT * (1.0 - value.clamp(0.0, 1.0));
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
        self.baselines
            .iter()
            .for_each(|(_, value)| out.dashed(at(LEFT, y(*value)), at(right, y(*value)), INK));
        let (mut x, mut below) = (LEFT, floor + 44.0);
        for (i, name) in self.series.iter().enumerate() {
            let length = 34.0 + text_width(name, TEXT);
            if x > LEFT && x + length > width {
                (x, below) = (LEFT, below + LINE);
            }
            out.rectangle(at(x, below - 10.0), extent(12.0, 12.0), COLOURS[i % COLOURS.len()]);
            out.text(at(x + 17.0, below), TEXT, Anchor::Start, name);
            x += length;
        }
        let names: Vec<&str> = self.baselines.iter().map(|(name, _)| &name[..]).collect();
        if !names.is_empty() {
            for line in wrap(&format!("dashed: {}", names.join(", ")), plot, TEXT) {
                below += LINE;
                out.text(at(LEFT, below), TEXT, Anchor::Start, &line);
            }
        }
        out.finish(extent(width, below + 14.0))
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
        assert!(svg.contains("a &lt; b") && svg.contains(">Deep<") && svg.contains("dashed: uniform"));
        assert!(svg.contains("height=\"130.00\" fill=\"#0072b2\""), "{svg}");
        assert_eq!(svg.matches("fill=\"#e69f00\"").count(), 1, "the legend only");
        assert!(svg.trim_end().ends_with("</svg>"));
    }
}
