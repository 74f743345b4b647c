//! Files of figures: SVG as it is drawn; PDF and PNG are made from it, with the cargo feature `figure-formats`.

use crate::error::UsageError;
use crate::io::atomic::write_atomically;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use std::path::Path;

/// A format of figure files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FigureFormat {
    /// text as text, heatmaps as lossless pictures inside it
    #[default]
    Svg,
    /// vector graphics with embedded fonts, for LaTeX
    Pdf,
    /// pixels, 300 per inch
    Png,
}

/// The formats that figures are written in.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct FigureFormats {
    /// Formats of figure files: svg, pdf (vector, fonts embedded) or png (300 dpi); several are separated by commas. pdf and
    /// png need a program that was built with the cargo feature `figure-formats`
    #[arg(
        long,
        value_name = "FORMATS",
        value_delimiter = ',',
        default_value = "svg",
        hide_possible_values = true
    )]
    figure_format: Vec<FigureFormat>,
}

impl Default for FigureFormats {
    fn default() -> FigureFormats {
        FigureFormats { figure_format: vec![FigureFormat::Svg] }
    }
}

impl FigureFormat {
    /// The ending of its files.
    pub fn ending(self) -> &'static str {
        match self {
            FigureFormat::Svg => "svg",
            FigureFormat::Pdf => "pdf",
            FigureFormat::Png => "png",
        }
    }
}

impl FigureFormats {
    /// Refuses formats that this program cannot write, before anything is computed.
    ///
    /// # Errors
    /// [`UsageError`] that says how to build one that can.
    pub fn check(&self) -> Result<(), UsageError> {
        let other = self.figure_format.iter().find(|format| **format != FigureFormat::Svg);
        match other {
            Some(format) if !cfg!(feature = "figure-formats") => Err(UsageError(format!(
                "--figure-format {}: this program writes svg only; build it with cargo build --release --features figure-formats",
                format.ending()
            ))),
            _ => Ok(()),
        }
    }

    /// The names of the files of a figure, each format once.
    pub fn files(&self, name: &str) -> Vec<String> {
        let once = |(i, format): (usize, &FigureFormat)| {
            (!self.figure_format[..i].contains(format)).then(|| format!("{name}.{}", format.ending()))
        };
        self.figure_format.iter().enumerate().filter_map(once).collect()
    }

    /// Writes the files of a figure, from its SVG document, and returns their names.
    ///
    /// # Errors
    /// As [`FigureFormats::check`], or if the figure cannot be converted or a file cannot be written.
    pub fn write(&self, folder: &Path, name: &str, svg: &str) -> Result<Vec<String>> {
        self.check()?;
        let files = self.files(name);
        for file in &files {
            let bytes = match file.rsplit_once('.') {
                Some((_, "svg")) => svg.as_bytes().to_vec(),
                Some((_, ending)) => {
                    convert(svg, ending).with_context(|| format!("{file}: the figure cannot be converted"))?
                }
                None => Vec::new(),
            };
            ensure!(!bytes.is_empty(), "{file}: the figure is empty");
            write_atomically(&folder.join(file), |out| Ok(out.write_all(&bytes)?))?;
        }
        Ok(files)
    }
}

#[cfg(feature = "figure-formats")]
use convert::convert;

#[cfg(not(feature = "figure-formats"))]
fn convert(_: &str, ending: &str) -> Result<Vec<u8>> {
    anyhow::bail!("{ending} needs the cargo feature figure-formats")
}

#[cfg(feature = "figure-formats")]
mod convert {
    use anyhow::{Context, Result, anyhow};
    use std::sync::{Arc, LazyLock};
    use svg2pdf::usvg::fontdb::Database;
    use svg2pdf::usvg::{Options, Tree};
    use svg2pdf::{ConversionOptions, PageOptions};

    /// Units of an SVG document to an inch.
    const UNITS: f32 = 96.0;
    /// Pixels of a PNG to an inch.
    const DPI: f32 = 300.0;

    /// The one font of figures, the same on every machine: it has the metrics of Helvetica and Arial, for which text is laid
    /// out.
    static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
        let mut fonts = Database::new();
        fonts.load_font_data(include_bytes!("font/LiberationSans-Regular.ttf").to_vec());
        let family = fonts.faces().next().and_then(|face| Some(face.families.first()?.0.clone()));
        // Documents name other fonts first, which are not here, and `sans-serif` last.
        family.into_iter().for_each(|family| fonts.set_sans_serif_family(family));
        Arc::new(fonts)
    });

    /// A PDF or PNG file with the content of an SVG document.
    pub(super) fn convert(svg: &str, ending: &str) -> Result<Vec<u8>> {
        let options = Options { fontdb: Arc::clone(&FONTS), ..Options::default() };
        let tree = Tree::from_str(svg, &options)?;
        match ending {
            "pdf" => svg2pdf::to_pdf(&tree, ConversionOptions::default(), PageOptions { dpi: UNITS })
                .map_err(|error| anyhow!("{error}")),
            _ => png(&tree),
        }
    }

    fn png(tree: &Tree) -> Result<Vec<u8>> {
        use resvg::tiny_skia::{Pixmap, Transform};
        let scale = DPI / UNITS;
        let [width, height] =
            [tree.size().width(), tree.size().height()].map(|side| (side * scale).ceil() as u32);
        let mut pixels = Pixmap::new(width, height).context("the figure has no pixels")?;
        resvg::render(tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_pixel_dims(Some(png::PixelDimensions {
            xppu: per_metre(),
            yppu: per_metre(),
            unit: png::Unit::Meter,
        }));
        // Figures have opaque paper, so nothing shines through.
        let rgb: Vec<u8> =
            pixels.data().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&rgb)?;
        writer.finish()?;
        Ok(bytes)
    }

    fn per_metre() -> u32 {
        (DPI / 0.0254).round() as u32
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::report::picture::Canvas;
    use crate::report::svg::{Anchor, Drawing, at, extent};

    /// A figure of 96×48 units, an inch by half an inch: text, a line, and a picture of one red and one blue pixel.
    fn figure() -> String {
        let mut drawing = Drawing::default();
        drawing.text(at(4.0, 14.0), 10.0, Anchor::Start, "α2β1, R ≥ 0 − ε");
        drawing.line(at(4.0, 20.0), at(92.0, 20.0), "#000000");
        let picture = Canvas { width: 2, height: 1, rgb: vec![255, 0, 0, 0, 0, 255] };
        drawing.picture(at(48.0, 24.0), extent(48.0, 24.0), &picture).unwrap();
        drawing.finish(extent(96.0, 48.0))
    }

    fn formats(formats: &[FigureFormat]) -> FigureFormats {
        FigureFormats { figure_format: formats.to_vec() }
    }

    #[test]
    fn svg_is_written_as_it_is_and_each_format_once() {
        let folder = tempfile::tempdir().unwrap();
        let all = formats(&[FigureFormat::Svg, FigureFormat::Svg]);
        assert_eq!(all.write(folder.path(), "a", &figure()).unwrap(), ["a.svg"]);
        assert_eq!(std::fs::read_to_string(folder.path().join("a.svg")).unwrap(), figure());
        let all = formats(&[FigureFormat::Pdf, FigureFormat::Svg, FigureFormat::Pdf]);
        assert_eq!(all.files("b"), ["b.pdf", "b.svg"]);
    }

    #[cfg(not(feature = "figure-formats"))]
    #[test]
    fn other_formats_are_refused_with_the_way_to_get_them() {
        let UsageError(text) = formats(&[FigureFormat::Svg, FigureFormat::Png]).check().unwrap_err();
        assert!(text.contains("--figure-format png") && text.contains("--features figure-formats"), "{text}");
    }

    #[cfg(feature = "figure-formats")]
    #[test]
    fn a_png_has_300_pixels_an_inch_and_the_pixels_of_pictures_are_not_smoothed() {
        let folder = tempfile::tempdir().unwrap();
        formats(&[FigureFormat::Png]).write(folder.path(), "a", &figure()).unwrap();
        let file = std::io::BufReader::new(std::fs::File::open(folder.path().join("a.png")).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut rgb).unwrap();
        let info = reader.info();
        assert_eq!((info.width, info.height), (300, 150));
        assert_eq!(info.pixel_dims.map(|dims| (dims.xppu, dims.yppu)), Some((11811, 11811)));
        let pixel = |x: usize, y: usize| -> [u8; 3] { rgb[3 * (300 * y + x)..][..3].try_into().unwrap() };
        assert_eq!((pixel(2, 148), pixel(152, 120), pixel(298, 120)), ([255; 3], [255, 0, 0], [0, 0, 255]));
        // Both sides of the border between the two pixels of the picture, which begins at half the width.
        assert_eq!((pixel(223, 100), pixel(227, 100)), ([255, 0, 0], [0, 0, 255]));
        // The line, and some ink of the text.
        assert!(pixel(100, 62)[0] < 128, "{:?}", pixel(100, 62));
        let ink =
            (12..150).flat_map(|x| (15..48).map(move |y| (x, y))).filter(|&(x, y)| pixel(x, y)[0] < 100);
        assert!(ink.count() > 200);
    }

    #[cfg(feature = "figure-formats")]
    #[test]
    fn a_pdf_has_its_size_in_points_and_its_font_inside() {
        let folder = tempfile::tempdir().unwrap();
        formats(&[FigureFormat::Pdf]).write(folder.path(), "a", &figure()).unwrap();
        let bytes = std::fs::read(folder.path().join("a.pdf")).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("%PDF-") && text.trim_end().ends_with("%%EOF"));
        assert!(text.contains("/MediaBox [0 0 72 36]"), "an inch by half an inch");
        // The part of the font that is used is embedded, as is a map from its glyphs to characters.
        assert!(
            text.contains("LiberationSans") && text.contains("/FontFile2") && text.contains("/ToUnicode")
        );
        assert!(text.contains("/Subtype /Image"));
        let again = formats(&[FigureFormat::Pdf]);
        again.write(folder.path(), "b", &figure()).unwrap();
        assert_eq!(
            bytes,
            std::fs::read(folder.path().join("b.pdf")).unwrap(),
            "the same values give the same bytes"
        );
    }
}
