//! Bars with intervals in groups, and lines across for baselines, as SVG.

use std::fmt::Write;

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

/// An SVG document under way.
struct Drawing(String);

impl Drawing {
    fn rectangle(&mut self, [x, y, width, height]: [f64; 4], colour: &str) {
        let _ = writeln!(
            self.0,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
        );
    }

    fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], style: &str) {
        let _ =
            writeln!(self.0, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>");
    }

    fn text(&mut self, [x, y]: [f64; 2], anchor: &str, size: u32, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{text}</text>"
        );
    }
}

impl BarChart {
    /// The chart as an SVG document.
    pub fn svg(&self) -> String {
        let group = BAR * self.series.len() as f64 + GAP;
        let plot = (group * self.groups.len() as f64).max(420.0);
        let (width, height, floor) = (LEFT + plot + 120.0, TOP + HEIGHT + 60.0, TOP + HEIGHT);
        let y = |value: f64| TOP + HEIGHT * (1.0 - value.clamp(0.0, 1.0));
        let mut out = Drawing(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" font-family=\"Helvetica, Arial, sans-serif\" fill=\"#222\">\n"
        ));
        out.rectangle([0.0, 0.0, width, height], "#fff");
        out.text([LEFT, 18.0], "start", 15, &self.title);
        out.text([LEFT, 33.0], "start", 11, &self.y_label);
        for tick in 0..=5 {
            let value = f64::from(tick) / 5.0;
            out.line([LEFT, y(value), LEFT + plot, y(value)], "stroke=\"#e4e4e4\"");
            out.text([LEFT - 8.0, y(value) + 4.0], "end", 12, &format!("{value:.1}"));
        }
        for (i, (name, bars)) in self.groups.iter().enumerate() {
            let from = LEFT + group * i as f64 + 0.5 * GAP;
            out.text([from + 0.5 * (group - GAP), floor + 18.0], "middle", 12, name);
            for (k, bar) in bars.iter().enumerate() {
                let Some(bar) = bar.filter(|bar| bar.value.is_finite()) else { continue };
                let x = from + BAR * k as f64;
                let colour = COLOURS[k % COLOURS.len()];
                out.rectangle([x + 1.0, y(bar.value), BAR - 2.0, floor - y(bar.value)], colour);
                let (middle, stroke) = (x + 0.5 * BAR, "stroke=\"#222\" stroke-width=\"1.3\"");
                out.line([middle, y(bar.low), middle, y(bar.high)], stroke);
                for end in [bar.low, bar.high] {
                    out.line([middle - 4.0, y(end), middle + 4.0, y(end)], stroke);
                }
            }
        }
        out.line([LEFT, floor, LEFT + plot, floor], "stroke=\"#6e6e6e\"");
        for (name, value) in &self.baselines {
            out.line([LEFT, y(*value), LEFT + plot, y(*value)], "stroke=\"#222\" stroke-dasharray=\"6 4\"");
            out.text([LEFT + plot + 6.0, y(*value) + 4.0], "start", 11, name);
        }
        let mut at = LEFT;
        for (i, name) in self.series.iter().enumerate() {
            out.rectangle([at, floor + 34.0, 12.0, 12.0], COLOURS[i % COLOURS.len()]);
            out.text([at + 17.0, floor + 44.5], "start", 12, name);
            at += 40.0 + 7.5 * name.chars().count() as f64;
        }
        out.0.push_str("</svg>\n");
        out.0
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
        assert!(svg.contains("height=\"130.0\" fill=\"#0072b2\""), "{svg}");
        assert_eq!(svg.matches("fill=\"#e69f00\"").count(), 1, "the legend only");
        assert!(svg.trim_end().ends_with("</svg>"));
    }
}
