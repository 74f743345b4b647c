//! Line charts as SVG: training curves, and the shares of Figure 4.9.

use super::svg::FONT;
use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One line of a [`LineChart`].
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// its name in the legend
    pub label: String,
    /// `(x, y)` from left to right; a point that is not finite leaves a gap
    pub points: Vec<(f64, f64)>,
    /// drawn dashed and grey, as a reference
    pub dashed: bool,
}

/// Lines over two named axes, with the legend below.
#[derive(Clone, Debug, Default)]
pub struct LineChart {
    /// one line above the chart
    pub title: String,
    /// name and unit of the horizontal axis
    pub x_label: String,
    /// name and unit of the vertical axis
    pub y_label: String,
    /// where the horizontal axis is labelled, with half a step of margin; chosen automatically when empty
    pub x_ticks: Vec<f64>,
    /// whether the vertical axis shows 0 even if every value is far from it
    pub from_zero: bool,
    /// the lines, drawn in this order
    pub lines: Vec<Line>,
}

/// Width, and height without the legend: narrow enough that the text can be read on a small screen.
const SIZE: (u32, u32) = (500, 380);
/// Height of a row of the legend.
const LEGEND_ROW: i32 = 22;
/// plotters divides font sizes by this.
pub(super) const FONT_UNIT: f64 = 1.24;
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
pub(super) const GREY: RGBColor = RGBColor(110, 110, 110);
pub(super) const MESH: RGBColor = RGBColor(228, 228, 228);
/// The palette of Okabe and Ito, which colour-blind readers can tell apart; its yellow and black are left out.
pub(super) const PALETTE: [RGBColor; 6] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Up to this number of points, each is marked by a dot.
const DOTS: usize = 32;

impl LineChart {
    /// The chart as an SVG document.
    ///
    /// # Errors
    /// If the drawing library fails.
    pub fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        self.draw(&mut svg)
            .map_err(|error| anyhow!("the chart \"{}\" was not drawn: {error}", self.title))?;
        Ok(svg)
    }

    fn finite(&self) -> impl Iterator<Item = (f64, f64)> {
        self.lines.iter().flat_map(|line| &line.points).copied().filter(is_finite)
    }

    /// Range and labels of the horizontal axis.
    fn x_axis(&self) -> Axis {
        match (self.x_ticks.first(), self.x_ticks.last()) {
            (Some(&first), Some(&last)) => {
                let margin = (last - first) / (2 * self.x_ticks.len().max(2) - 2) as f64;
                let margin = if margin > 0.0 { margin } else { 0.5 };
                Axis {
                    low: first - margin,
                    high: last + margin,
                    ticks: self.x_ticks.clone(),
                    decimals: decimals(&self.x_ticks),
                }
            }
            _ => Axis::around(self.finite().map(|(x, _)| x), 10, false),
        }
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error + '_>> {
        let x = self.x_axis();
        let y = Axis::around(self.finite().map(|(_, y)| y).chain(self.from_zero.then_some(0.0)), 6, true);
        let longest = self.lines.iter().map(|line| line.label.chars().count()).max().unwrap_or(0);
        let entry = 64 + 8 * longest as i32;
        let columns = ((SIZE.0 as i32 - 20) / entry).max(1);
        let rows = (self.lines.len() as i32 + columns - 1) / columns;
        let height = SIZE.1 as i32 + LEGEND_ROW * rows + 6;
        let root = SVGBackend::with_string(svg, (SIZE.0, height as u32)).into_drawing_area();
        root.fill(&WHITE)?;

        let text = |size: f64| (FONT, size * FONT_UNIT).into_font().color(&INK);
        root.draw(&Text::new(self.title.as_str(), (14, 14), text(15.5)))?;
        let (plot, legend) = root.margin(44, 6, 4, 12).split_vertically(SIZE.1 as i32 - 50);

        let mut chart = ChartBuilder::on(&plot)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .margin_right(12)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(MESH)
            .light_line_style(TRANSPARENT)
            .axis_style(GREY)
            .x_desc(self.x_label.as_str())
            .y_desc(self.y_label.as_str())
            .axis_desc_style(text(14.0))
            .label_style(text(14.0))
            .draw()?;

        let mut colours = PALETTE.iter().cycle();
        for (i, line) in self.lines.iter().enumerate() {
            let colour = if line.dashed { GREY } else { *colours.next().unwrap_or(&INK) };
            // After the last colour, colours repeat with another stroke.
            let broken = match (line.dashed, i / PALETTE.len()) {
                (true, _) => Some((7, 5)),
                (_, 0) => None,
                (_, 1) => Some((9, 3)),
                _ => Some((2, 3)),
            };
            let stroke = colour.stroke_width(2);
            for piece in line.points.split(|point| !is_finite(point)).filter(|piece| !piece.is_empty()) {
                let points = piece.iter().copied();
                if let Some((line, gap)) = broken {
                    chart.draw_series(DashedLineSeries::new(points, line, gap, stroke))?;
                } else {
                    chart.draw_series(LineSeries::new(points, stroke))?;
                }
                if piece.len() <= DOTS {
                    chart.draw_series(piece.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
                }
            }
            let (x, y) = (16 + entry * (i as i32 % columns), LEGEND_ROW * (i as i32 / columns) + 16);
            let sample = [(x, y), (x + 30, y)];
            if let Some((line, gap)) = broken {
                legend.draw(&DashedPathElement::new(sample, line, gap, stroke))?;
            } else {
                legend.draw(&PathElement::new(sample, stroke))?;
            }
            let style = text(14.0).pos(Pos::new(HPos::Left, VPos::Center));
            legend.draw(&Text::new(line.label.as_str(), (x + 38, y), style))?;
        }
        root.present()?;
        Ok(())
    }
}

fn is_finite(&(x, y): &(f64, f64)) -> bool {
    x.is_finite() && y.is_finite()
}

/// The range of an axis and the places of its labels.
pub(super) struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
    decimals: usize,
}

impl Axis {
    /// An axis around `values` with about `count` labels at 1, 2 or 5 times a power of ten; `whole` widens it to the
    /// nearest labels.
    pub(super) fn around(values: impl Iterator<Item = f64>, count: usize, whole: bool) -> Self {
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = match (low, high) {
            (low, high) if low > high => (0.0, 1.0),
            (low, high) if high - low <= 1e-12 * high.abs().max(low.abs()) => {
                let margin = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
                (low - margin, high + margin)
            }
            range => range,
        };
        let rough = (high - low) / count as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = power * [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
        let (first, last) = if whole {
            ((low / step).floor() as i64, (high / step).ceil() as i64)
        } else {
            ((low / step).ceil() as i64, (high / step).floor() as i64)
        };
        let ticks: Vec<f64> = (first..=last).map(|i| i as f64 * step).collect();
        let (low, high) = if whole { (first as f64 * step, last as f64 * step) } else { (low, high) };
        Self { low, high, ticks, decimals: (-step.log10().floor()).clamp(0.0, 12.0) as usize }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + ((value - self.low) / (self.high - self.low) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        value.to_string()
    }

    fn format_ext(&self, value: &f64) -> String {
        format!("{value:.*}", self.decimals)
    }
}

/// Decimals that show every tick exactly, three at the most.
fn decimals(ticks: &[f64]) -> usize {
    (0..3).find(|&d| ticks.iter().all(|t| (t * 10f64.powi(d)).fract() == 0.0)).unwrap_or(3) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> LineChart {
        LineChart {
            title: "a < b".into(),
            x_label: "epoch".into(),
            y_label: "loss (nats)".into(),
            lines: vec![Line { label: "Deep-7".into(), points, dashed: false }],
            ..LineChart::default()
        }
    }

    #[test]
    fn names_and_units_are_in_the_document() {
        let svg = chart(vec![(1.0, 0.5), (2.0, 0.25)]).svg().unwrap();
        for text in ["a &lt; b", "epoch", "loss (nats)", "Deep-7"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn odd_values_still_give_a_chart() {
        for points in [
            vec![],
            vec![(1.0, 0.0)],
            vec![(1.0, 3.0), (2.0, 3.0)],
            vec![(0.0, f64::NAN), (1.0, f64::INFINITY), (2.0, 1.0)],
            vec![(0.0, 1e-30), (1.0, 1e30)],
        ] {
            assert!(chart(points.clone()).svg().is_ok(), "{points:?}");
        }
    }

    #[test]
    fn the_same_chart_gives_the_same_bytes() {
        let one = chart(vec![(1.0, 0.5), (2.0, 0.25)]);
        assert_eq!(one.svg().unwrap(), one.svg().unwrap());
    }

    #[test]
    fn ticks_are_round_numbers_around_the_values() {
        let axis = Axis::around([0.03, 0.47].into_iter(), 6, true);
        assert_eq!((axis.low, axis.high, axis.decimals), (0.0, 0.5, 1));
        assert_eq!(axis.ticks.len(), 6);
    }
}
