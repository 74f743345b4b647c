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
    /// png need a program that was built with `--features figure-formats`
    #[arg(long, value_name = "FORMATS", value_delimiter = ',', default_value = "svg", hide_possible_values = true)]
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
        Arc::new(fonts)
    });

    /// A PDF or PNG file with the content of an SVG document.
    pub(super) fn convert(svg: &str, ending: &str) -> Result<Vec<u8>> {
        let family = FONTS.faces().next().and_then(|face| Some(face.families.first()?.0.clone()));
        let options = Options {
            fontdb: Arc::clone(&FONTS),
            font_family: family.context("the font has no name")?,
            ..Options::default()
        };
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
        let [width, height] = [tree.size().width(), tree.size().height()].map(|side| (side * scale).ceil() as u32);
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
        let rgb: Vec<u8> = pixels.data().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&rgb)?;
        writer.finish()?;
        Ok(bytes)
    }

    fn per_metre() -> u32 {
        (DPI / 0.0254).round() as u32
    }
}
