//! Pictures in memory: a canvas of RGB pixels, and heatmaps and inputs drawn on it.

use super::colormap::{Colormap, Norm, normalise, range};
use crate::io::atomic::write_atomically;
use anyhow::{Context, Result};
use font8x8::legacy::{BASIC_LEGACY, GREEK_LEGACY, LATIN_LEGACY, NOTHING_TO_DISPLAY};
use std::path::Path;

/// A colour: red, green, blue.
pub type Rgb = [u8; 3];

/// The background of a figure.
pub const PAPER: Rgb = [255, 255, 255];
/// The colour of text.
pub const INK: Rgb = [34, 34, 34];
/// The colour of captions, frames and ticks.
pub const FAINT: Rgb = [120, 120, 120];

/// Side of one character at scale 1, in pixels.
pub const GLYPH: usize = 8;

/// A picture, row by row from the top left. Drawing is clipped at its edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// columns, in pixels
    pub width: usize,
    /// rows, in pixels
    pub height: usize,
    /// `[height, width, 3]`: red, green and blue of each pixel
    pub rgb: Vec<u8>,
}

impl Canvas {
    /// A canvas of one colour.
    pub fn new(width: usize, height: usize, colour: Rgb) -> Self {
        Self { width, height, rgb: colour.repeat(width * height) }
    }

    /// Paints everything in one colour.
    pub fn fill(&mut self, colour: Rgb) {
        self.rectangle(0, 0, self.width, self.height, colour);
    }

    /// The colour at column `x`, row `y`, if that lies on the canvas.
    pub fn pixel(&self, x: usize, y: usize) -> Option<Rgb> {
        let at = 3 * (y * self.width + x);
        (x < self.width && y < self.height).then(|| [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]])
    }

    /// Paints `width`×`height` pixels whose top left corner is at column `x`, row `y`.
    pub fn rectangle(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Rgb) {
        let right = x.saturating_add(width).min(self.width);
        let bottom = y.saturating_add(height).min(self.height);
        if x >= right {
            return;
        }
        for row in y..bottom {
            let line = &mut self.rgb[3 * (row * self.width + x)..3 * (row * self.width + right)];
            line.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&colour));
        }
    }

    /// Draws the edge, one pixel wide, of a rectangle.
    pub fn frame(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Rgb) {
        self.rectangle(x, y, width, 1, colour);
        self.rectangle(x, (y + height).saturating_sub(1), width, 1, colour);
        self.rectangle(x, y, 1, height, colour);
        self.rectangle((x + width).saturating_sub(1), y, 1, height, colour);
    }

    /// Draws a horizontal line of `length` pixels.
    pub fn horizontal(&mut self, x: usize, y: usize, length: usize, colour: Rgb) {
        self.rectangle(x, y, length, 1, colour);
    }

    /// Draws a vertical line of `length` pixels.
    pub fn vertical(&mut self, x: usize, y: usize, length: usize, colour: Rgb) {
        self.rectangle(x, y, 1, length, colour);
    }

    /// Draws `other`, each of its pixels as `scale`×`scale`, with its top left corner at column `x`, row `y`.
    pub fn blit(&mut self, x: usize, y: usize, other: &Canvas, scale: usize) {
        for (i, pixel) in other.rgb.chunks_exact(3).enumerate() {
            let (row, column) = (i / other.width, i % other.width);
            self.rectangle(x + scale * column, y + scale * row, scale, scale, [pixel[0], pixel[1], pixel[2]]);
        }
    }

    /// Writes one line of text whose top left corner is at column `x`, row `y`; each character is [`GLYPH`]`·scale`
    /// wide and high. Latin-1 and small Greek are drawn, any other letter is a `?`.
    pub fn text(&mut self, x: usize, y: usize, scale: usize, colour: Rgb, text: &str) {
        for (i, character) in text.chars().enumerate() {
            for (row, bits) in glyph(character).into_iter().enumerate() {
                for column in (0..GLYPH).filter(|column| bits >> column & 1 == 1) {
                    self.rectangle(x + scale * (GLYPH * i + column), y + scale * row, scale, scale, colour);
                }
            }
        }
    }

    /// As PNG, RGB with 8 bits each.
    ///
    /// # Errors
    /// If the canvas has no pixels, or more than 2³² − 1 a side.
    pub fn png(&self) -> Result<Vec<u8>> {
        let side = |pixels: usize| u32::try_from(pixels).context("a PNG has at most 2^32 - 1 pixels a side");
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, side(self.width)?, side(self.height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().context("the PNG header was refused")?;
        writer.write_image_data(&self.rgb).context("the PNG pixels were refused")?;
        writer.finish()?;
        Ok(bytes)
    }

    /// Saves as PNG.
    ///
    /// # Errors
    /// If the file cannot be written, or the canvas has no pixels.
    pub fn save_png(&self, path: &Path) -> Result<()> {
        let bytes = self.png()?;
        write_atomically(path, |file| Ok(file.write_all(&bytes)?))
    }
}

/// Width of `text` at `scale`, in pixels, without the empty column after the last character.
pub fn text_width(text: &str, scale: usize) -> usize {
    (GLYPH * scale * text.chars().count()).saturating_sub(scale)
}

/// Eight rows, the lowest bit at the left.
fn glyph(character: char) -> [u8; GLYPH] {
    let code = character as usize;
    match character {
        '−' | '–' | '—' => BASIC_LEGACY['-' as usize],
        '⁺' => BASIC_LEGACY['+' as usize],
        '\u{0}'..='\u{7f}' => BASIC_LEGACY[code],
        '\u{a0}'..='\u{ff}' => LATIN_LEGACY[code - 0xa0],
        '\u{390}'..='\u{3c9}' => match GREEK_LEGACY[code - 0x390] {
            NOTHING_TO_DISPLAY => BASIC_LEGACY['?' as usize],
            glyph => glyph,
        },
        _ => BASIC_LEGACY['?' as usize],
    }
}

/// A relevance map: `values` `[rows, cols]`, normalised, coloured, each pixel as `scale`×`scale`.
///
/// # Panics
/// If `values` does not hold `rows·cols` values.
pub fn heatmap(rows: usize, cols: usize, values: &[f32], cmap: Colormap, norm: Norm, scale: usize) -> Canvas {
    coloured(rows, cols, &normalise(norm, values), cmap, scale)
}

/// An input picture in grey: `low` is black and `high` is white, the pixel range of the network.
///
/// # Panics
/// If `values` does not hold `rows·cols` values.
pub fn input(rows: usize, cols: usize, values: &[f32], low: f32, high: f32, scale: usize) -> Canvas {
    let grey: Vec<f32> = values.iter().map(|v| 2.0 * (v - low) / (high - low) - 1.0).collect();
    coloured(rows, cols, &grey, Colormap::Gray, scale)
}

/// `values` in `[-1, 1]`, coloured and enlarged.
fn coloured(rows: usize, cols: usize, values: &[f32], cmap: Colormap, scale: usize) -> Canvas {
    assert_eq!(values.len(), rows * cols, "a picture of {rows}x{cols} was given {} values", values.len());
    let small = Canvas { width: cols, height: rows, rgb: values.iter().flat_map(|&v| cmap.rgb(v)).collect() };
    let mut large = Canvas::new(scale * cols, scale * rows, PAPER);
    large.blit(0, 0, &small, scale);
    large
}

/// What the colours of a heatmap mean: a part of a colour map with the values at some places of it.
#[derive(Clone, Debug)]
pub struct ColourBar {
    /// the map of the heatmap
    pub cmap: Colormap,
    /// where the bar begins on the map, −1 or more
    pub from: f32,
    /// what to write at which place of the map, in rising order
    pub marks: Vec<(f32, String)>,
}

impl ColourBar {
    /// The bar of one heatmap, with its values. Without negative relevance a [`Norm::Symmetric`] bar begins at 0.
    pub fn of(cmap: Colormap, norm: Norm, values: &[f32]) -> Self {
        let (low, high) = range(values);
        if low > high {
            return Self { cmap, from: -1.0, marks: Vec::new() };
        }
        let largest = high.max(-low);
        let marks = match norm {
            Norm::Symmetric if low >= 0.0 => vec![(0.0, "0".into()), (1.0, short(largest))],
            Norm::Symmetric => vec![(-1.0, short(-largest)), (0.0, "0".into()), (1.0, short(largest))],
            Norm::Absolute => vec![(-1.0, "0".into()), (1.0, short(largest))],
            Norm::Unaligned => vec![(-1.0, short(low)), (1.0, short(high))],
        };
        Self { cmap, from: marks[0].0, marks }
    }

    /// The bar of many heatmaps, each normalised by itself; `signed` if any of them has negative relevance.
    pub fn relative(cmap: Colormap, norm: Norm, signed: bool) -> Self {
        let marks: &[(f32, &str)] = match norm {
            Norm::Symmetric if signed => &[(-1.0, "-max"), (0.0, "0"), (1.0, "max")],
            Norm::Symmetric => &[(0.0, "0"), (1.0, "max")],
            Norm::Absolute => &[(-1.0, "0"), (1.0, "max")],
            Norm::Unaligned => &[(-1.0, "min"), (1.0, "max")],
        };
        Self {
            cmap,
            from: marks[0].0,
            marks: marks.iter().map(|&(at, text)| (at, text.to_string())).collect(),
        }
    }

    /// Position of `at` along a bar of `length` pixels.
    fn place(&self, at: f32, length: usize) -> usize {
        (((at - self.from) / (1.0 - self.from)) * (length - 1) as f32).round() as usize
    }

    /// Value of the map at pixel `i` of a bar of `length` pixels.
    fn value(&self, i: usize, length: usize) -> f32 {
        self.from + (1.0 - self.from) * i as f32 / (length - 1) as f32
    }

    /// A standing bar, `height` pixels and the text of its marks at the right; the largest value is on top.
    pub fn standing(&self, height: usize, scale: usize) -> Canvas {
        let (bar, height) = (12 * scale, height.max(2 * GLYPH * scale));
        let text = self.marks.iter().map(|(_, text)| text_width(text, scale)).max().unwrap_or(0);
        let mut canvas = Canvas::new(bar + 6 * scale + text, height, PAPER);
        for i in 0..height {
            canvas.horizontal(0, height - 1 - i, bar, self.cmap.rgb(self.value(i, height)));
        }
        canvas.frame(0, 0, bar, height, FAINT);
        for (at, text) in &self.marks {
            let y = height - 1 - self.place(*at, height);
            canvas.horizontal(bar, y, 3 * scale, FAINT);
            let top = y.saturating_sub(GLYPH * scale / 2).min(height - GLYPH * scale);
            canvas.text(bar + 6 * scale, top, scale, INK, text);
        }
        canvas
    }

    /// A lying bar, `width` pixels, with the text of its marks on the line below it; the largest value is at the right.
    pub fn lying(&self, width: usize, scale: usize) -> Canvas {
        let (bar, width) = (8 * scale, width.max(2));
        let half =
            |mark: Option<&(f32, String)>| mark.map_or(0, |(_, text)| text_width(text, scale) / 2 + scale);
        let (before, after) = (half(self.marks.first()), half(self.marks.last()));
        let mut canvas = Canvas::new(before + width + after, bar + (GLYPH + 5) * scale, PAPER);
        for i in 0..width {
            canvas.vertical(before + i, 0, bar, self.cmap.rgb(self.value(i, width)));
        }
        canvas.frame(before, 0, width, bar, FAINT);
        for (at, text) in &self.marks {
            let x = before + self.place(*at, width);
            canvas.vertical(x, bar, 3 * scale, FAINT);
            canvas.text(x.saturating_sub(text_width(text, scale) / 2), bar + 5 * scale, scale, INK, text);
        }
        canvas
    }
}

/// A value in three digits.
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

/// One explained sample: the input, its heatmap and the colour bar in a row, `caption` below in lines that fit.
pub fn side_by_side(input: &Canvas, heatmap: &Canvas, bar: &ColourBar, caption: &str) -> Canvas {
    let (margin, gap) = (16, 12);
    let scale = if input.width >= 280 { 2 } else { 1 };
    let leading = (GLYPH + 5) * scale;
    let bar = bar.standing(heatmap.height, scale);
    let pictures = input.width + gap + heatmap.width + gap + bar.width;
    let lines = wrap(caption, pictures, scale);
    let height = input.height.max(bar.height);
    let below = if lines.is_empty() { 0 } else { gap + leading * lines.len() };
    let mut canvas = Canvas::new(2 * margin + pictures, 2 * margin + height + below, PAPER);
    let mut x = margin;
    for part in [input, heatmap, &bar] {
        canvas.blit(x, margin, part, 1);
        x += part.width + gap;
    }
    for (i, line) in lines.iter().enumerate() {
        canvas.text(margin, margin + height + gap + leading * i, scale, INK, line);
    }
    canvas
}

/// Breaks `text` at spaces into lines of at most `width` pixels at `scale`; a longer word stands alone.
pub(crate) fn wrap(text: &str, width: usize, scale: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(line, scale) + text_width(word, scale) + 2 * GLYPH * scale <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blit_repeats_each_pixel_and_cuts_at_the_edge() {
        let small = Canvas { width: 2, height: 1, rgb: vec![1, 1, 1, 2, 2, 2] };
        let mut canvas = Canvas::new(4, 3, [0; 3]);
        canvas.blit(1, 1, &small, 2);
        let reds: Vec<u8> = canvas.rgb.iter().step_by(3).copied().collect();
        assert_eq!(reds, [0, 0, 0, 0, 0, 1, 1, 2, 0, 1, 1, 2]);
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let mut canvas = Canvas::new(3, 3, PAPER);
        canvas.rectangle(5, 5, 9, 9, INK);
        canvas.text(90, 90, 2, INK, "ABC");
        canvas.frame(2, 2, 0, 0, PAPER);
        assert_eq!(canvas, Canvas::new(3, 3, PAPER));
    }

    #[test]
    fn text_leans_the_right_way() {
        let mut canvas = Canvas::new(8, 8, PAPER);
        canvas.text(0, 0, 1, INK, "L");
        let dark = |range: std::ops::Range<usize>| {
            range
                .flat_map(|x| (0..8).map(move |y| (x, y)))
                .filter(|&(x, y)| canvas.pixel(x, y) == Some(INK))
                .count()
        };
        assert!(dark(0..4) > dark(4..8), "the stem of an L is at its left");
    }

    #[test]
    fn an_input_spans_black_to_white() {
        let picture = input(1, 3, &[-1.0, 0.0, 1.0], -1.0, 1.0, 1);
        assert_eq!(picture.rgb, [0, 0, 0, 128, 128, 128, 255, 255, 255]);
    }

    #[test]
    fn the_png_holds_the_pixels_of_the_canvas() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let values = [0.0, 0.1, -0.4, 1.0, 0.5, -1.0];
        let map = heatmap(2, 3, &values, Colormap::Coldnhot, Norm::Symmetric, 4);
        let bar = ColourBar::of(Colormap::Coldnhot, Norm::Symmetric, &values);
        let picture =
            side_by_side(&input(2, 3, &values, -1.0, 1.0, 4), &map, &bar, "a caption of some words");
        picture.save_png(&path).unwrap();
        let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut rgb).unwrap();
        assert_eq!((info.width as usize, info.height as usize), (picture.width, picture.height));
        assert_eq!(rgb, picture.rgb);
    }

    #[test]
    fn a_bar_begins_at_zero_when_nothing_is_negative() {
        let bar = ColourBar::of(Colormap::Bwr, Norm::Symmetric, &[0.0, 2.5]);
        assert_eq!((bar.from, bar.marks), (0.0, vec![(0.0, "0".to_string()), (1.0, "2.50".to_string())]));
        assert_eq!(ColourBar::of(Colormap::Bwr, Norm::Symmetric, &[-3.0, 2.5]).marks[0].1, "-3.00");
        assert!(ColourBar::of(Colormap::Bwr, Norm::Symmetric, &[]).standing(40, 1).width > 0);
    }

    #[test]
    fn captions_wrap_at_spaces() {
        assert_eq!(wrap("one two three", 8 * 8, 1), ["one two", "three"]);
        assert!(wrap("", 100, 1).is_empty());
    }
}
