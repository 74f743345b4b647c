//! The colour bar that explains heatmaps.

use super::colormap::{Colormap, Look, Norm, Range, Scale};
use super::picture::Canvas;
use super::svg::{self, Anchor, Drawing, at, extent};
use anyhow::Result;

/// The colour bar of heatmaps: a part of a colour map, labelled with values at some positions.
#[derive(Clone, Debug)]
pub struct ColourBar {
    /// the map of the heatmaps
    pub cmap: Colormap,
    /// start of the bar on the map, at least −1
    pub from: f32,
    /// labels and their positions on the map, in ascending order
    pub marks: Vec<(f32, String)>,
}

/// Colours of a bar.
const SHADES: usize = 101;

impl ColourBar {
    /// The bar of heatmaps that were drawn in one range, with its values, or with words where each has its own. Without
    /// negative relevance a [`Norm::Symmetric`] bar begins at 0.
    pub fn new(look: Look, range: Option<Range>, signed: bool) -> Self {
        let end = match (range, look.scale) {
            (Some(range), _) => short(range.largest()),
            (None, Scale::Percentile(p)) => format!("P{p} of |R|"),
            (None, _) => "max |R|".to_owned(),
        };
        let zero = || "0".to_owned();
        let marks = match look.norm() {
            Norm::Symmetric if signed => vec![(-1.0, format!("−{end}")), (0.0, zero()), (1.0, end)],
            Norm::Symmetric => vec![(0.0, zero()), (1.0, end)],
            Norm::Absolute => vec![(-1.0, zero()), (1.0, end)],
            Norm::Unaligned => match range {
                Some(range) => vec![(-1.0, short(range.low)), (1.0, short(range.high))],
                None => vec![(-1.0, "min R".to_owned()), (1.0, "max R".to_owned())],
            },
        };
        Self { cmap: look.cmap, from: marks[0].0, marks }
    }

    /// The bar as a picture one pixel high, from its smallest value to its largest.
    fn shades(&self) -> Canvas {
        let value = |i: usize| self.from + (1.0 - self.from) * i as f32 / (SHADES - 1) as f32;
        Canvas { width: SHADES, height: 1, rgb: (0..SHADES).flat_map(|i| self.cmap.rgb(value(i))).collect() }
    }

    /// Draws a horizontal bar with the labels below it; the largest value is at the right. It and its labels take
    /// [`ColourBar::width`] and [`ColourBar::HEIGHT`] below `top`.
    ///
    /// # Errors
    /// If the picture of the bar cannot be encoded.
    pub fn draw(&self, drawing: &mut Drawing, top: svg::At, size: f64) -> Result<()> {
        let left = top.x + self.margin(size);
        drawing.picture(at(left, top.y), extent(Self::LENGTH, 10.0), &self.shades())?;
        drawing.frame(at(left, top.y), extent(Self::LENGTH, 10.0), svg::FAINT);
        for (position, text) in &self.marks {
            let x = left + f64::from((position - self.from) / (1.0 - self.from)) * Self::LENGTH;
            drawing.tick(at(x, top.y + 10.0), 4.0, svg::FAINT);
            drawing.text(at(x, top.y + 15.0 + size), size, Anchor::Middle, text);
        }
        Ok(())
    }

    /// Length of the colours alone.
    pub const LENGTH: f64 = 150.0;
    /// Height of bar and labels, for text of the usual size.
    pub const HEIGHT: f64 = 34.0;

    /// Width of bar and labels with text of this size.
    pub fn width(&self, size: f64) -> f64 {
        Self::LENGTH + 2.0 * self.margin(size)
    }

    fn margin(&self, size: f64) -> f64 {
        let half =
            |mark: Option<&(f32, String)>| mark.map_or(0.0, |(_, text)| svg::text_width(text, size) / 2.0);
        half(self.marks.first()).max(half(self.marks.last()))
    }
}

/// A value with three digits.
fn short(v: f32) -> String {
    let size = v.abs();
    match size {
        0.0 => "0".into(),
        100.0..1e5 => format!("{v:.0}"),
        10.0..100.0 => format!("{v:.1}"),
        1.0..10.0 => format!("{v:.2}"),
        0.01..1.0 => format!("{v:.3}"),
        _ => format!("{v:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_begins_at_zero_when_nothing_is_negative() {
        let look = Look::default();
        let bar = |range, signed| ColourBar::new(look, range, signed);
        let found = bar(Some(Range { low: 0.0, high: 2.5 }), false);
        assert_eq!((found.from, found.marks), (0.0, vec![(0.0, "0".to_owned()), (1.0, "2.50".to_owned())]));
        assert_eq!(bar(Some(Range { low: -3.0, high: 2.5 }), true).marks[0].1, "−3.00");
        assert_eq!(bar(None, true).marks[2].1, "max |R|");
    }
}
