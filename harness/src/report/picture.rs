//! Pictures in memory: a canvas of RGB pixels, heatmaps and inputs on it.

use super::colormap::{Colormap, Look, Range, normalise};
use crate::io::atomic::write_atomically;
use anyhow::{Context, Result};
use std::path::Path;

/// A colour: red, green, blue.
pub type Rgb = [u8; 3];

/// The background of a picture.
const PAPER: Rgb = [255, 255, 255];

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

    /// Draws `other`, each of its pixels as `scale`×`scale`, with its top left corner at column `x`, row `y`.
    pub fn blit(&mut self, x: usize, y: usize, other: &Canvas, scale: usize) {
        for (i, pixel) in other.rgb.chunks_exact(3).enumerate() {
            let (row, column) = (i / other.width, i % other.width);
            self.rectangle(x + scale * column, y + scale * row, scale, scale, [pixel[0], pixel[1], pixel[2]]);
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

/// A relevance map: `values` `[rows, cols]`, normalised in a range, coloured, a pixel each.
///
/// # Panics
/// If `values` does not hold `rows·cols` values.
pub fn heatmap(rows: usize, cols: usize, values: &[f32], look: Look, range: Range) -> Canvas {
    coloured(rows, cols, &normalise(look.norm(), values, range), look.cmap, 1)
}

/// An input picture in grey: `low` is black and `high` is white, the pixel range of the network; each pixel as
/// `scale`×`scale`.
///
/// # Panics
/// If `values` does not hold `rows·cols` values.
pub fn input(rows: usize, cols: usize, values: &[f32], low: f32, high: f32, scale: usize) -> Canvas {
    let grey: Vec<f32> = values.iter().map(|v| 2.0 * (v - low) / (high - low) - 1.0).collect();
    coloured(rows, cols, &grey, Colormap::Gray, scale)
}

/// `values` in `[-1, 1]`, coloured and enlarged.
fn coloured(rows: usize, cols: usize, values: &[f32], cmap: Colormap, scale: usize) -> Canvas {
    assert_eq!(values.len(), rows * cols, "a picture of {rows}x{cols} has {} values", values.len());
    let small = Canvas { width: cols, height: rows, rgb: values.iter().flat_map(|&v| cmap.rgb(v)).collect() };
    let mut large = Canvas::new(scale * cols, scale * rows, PAPER);
    large.blit(0, 0, &small, scale);
    large
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
        canvas.rectangle(5, 5, 9, 9, [0; 3]);
        assert_eq!(canvas, Canvas::new(3, 3, PAPER));
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
        let look = Look::default();
        let picture = heatmap(2, 3, &values, look, look.ranges(&[&values])[0]);
        picture.save_png(&path).unwrap();
        let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut rgb).unwrap();
        assert_eq!((info.width as usize, info.height as usize), (picture.width, picture.height));
        assert_eq!(rgb, picture.rgb);
    }
}
