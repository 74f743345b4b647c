//! Figures 4.4 to 4.6: diagram of an architecture, each layer with its width.

use super::curve::{FONT_UNIT, GREY, INK, PALETTE};
use super::svg::FONT;
use anyhow::{Result, anyhow};
use model::{Architecture, Core, EncoderLayer, PoolKind, Task};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A layer in the drawing.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its number in the thesis.
    pub number: String,
    /// Its kind.
    pub kind: String,
    /// Its shape as text: `512`, `14×2×24`.
    pub shape: String,
    /// Its neurons.
    pub width: usize,
}

/// An architecture on a task as the layers of its figure: from the input to the logits, and the recurrent one.
pub fn layers(architecture: &Architecture, task: &Task) -> (Vec<Layer>, Option<Layer>) {
    let layer = |number: &str, kind: &str, shape: String, width| Layer {
        number: number.to_owned(),
        kind: kind.to_owned(),
        shape,
        width,
    };
    let (mut rows, mut cols, mut channels) = (task.rows, task.step_cols(), 1);
    let mut found = vec![layer("x", "input", format!("{rows}×{cols}"), rows * cols)];
    let (mut dense, mut convolutions) = (0, 0);
    for encoder in &architecture.encoder {
        let image = |rows: usize, cols: usize, channels: usize| {
            (format!("{rows}×{cols}×{channels}"), rows * cols * channels)
        };
        match *encoder {
            EncoderLayer::Dense(units) => {
                dense += 1;
                found.push(layer(&format!("1{}", "′".repeat(dense)), "dense", units.to_string(), units));
            }
            EncoderLayer::Conv { size, channels: filters, .. } => {
                (convolutions, channels) = (convolutions + 1, filters);
                let (shape, width) = image(rows, cols, channels);
                found.push(layer(&format!("C{convolutions}"), &format!("conv {size}×{size}"), shape, width));
            }
            EncoderLayer::Pool(kind) => {
                (rows, cols) = (rows.div_ceil(2), cols.div_ceil(2));
                let (shape, width) = image(rows, cols, channels);
                let kind = match kind {
                    PoolKind::Max => "pool 2×2",
                    PoolKind::Sum => "sum 2×2",
                };
                found.push(layer(&format!("P{convolutions}"), kind, shape, width));
            }
        }
    }
    let recurrent = match architecture.core {
        Core::Rnn { combine, recurrent } => {
            found.push(layer("4", "combine", combine.to_string(), combine));
            (task.seq_len > 1).then(|| layer("5", "recurrent", recurrent.to_string(), recurrent))
        }
        Core::RLstm { cells } => {
            found.push(layer("4", "r-lstm", cells.to_string(), cells));
            (task.seq_len > 1).then(|| layer("5", "h of the step before", cells.to_string(), cells))
        }
    };
    for (i, &units) in architecture.head.iter().enumerate() {
        found.push(layer(&format!("4{}", "′".repeat(i + 1)), "head", units.to_string(), units));
    }
    found.push(layer("6", "logits", task.classes.to_string(), task.classes));
    (found, recurrent)
}

const SIZE: (u32, u32) = (800, 340);
const MIDDLE: i32 = 130;
const BELOW: i32 = 272;
const HALF: i32 = 13;

/// The diagram of an architecture, with this title.
///
/// # Errors
/// If the drawing library fails.
pub fn svg(title: &str, architecture: &Architecture, task: &Task) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, title, architecture, task).map_err(|error| anyhow!("{title} was not drawn: {error}"))?;
    Ok(svg)
}

/// Half the height of a layer's box: its area grows with its neurons.
fn half_height(width: usize) -> i32 {
    8 + (60.0 * (width as f64 / 3000.0).sqrt().min(1.0)) as i32
}

fn draw<'a>(
    svg: &'a mut String,
    title: &str,
    architecture: &Architecture,
    task: &Task,
) -> Result<(), Box<dyn std::error::Error + 'a>> {
    let centred = |size: f64| {
        let font = (FONT, size * FONT_UNIT).into_font().color(&INK);
        font.pos(Pos::new(HPos::Center, VPos::Center))
    };
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("{title}: neurons of each layer");
    root.draw(&Text::new(title, (24, 16), (FONT, 17.0 * FONT_UNIT).into_font().color(&INK)))?;
    let (layers, recurrent) = layers(architecture, task);
    let space = (SIZE.0 as i32 - 60) / layers.len() as i32;
    let x = |i: usize| 30 + space / 2 + space * i as i32;
    let block =
        |x: i32, y: i32, layer: &Layer, colour: RGBColor| -> Result<(), Box<dyn std::error::Error + 'a>> {
            let h = half_height(layer.width);
            let corners = [(x - HALF, y - h), (x + HALF, y + h)];
            root.draw(&Rectangle::new(corners, colour.mix(0.3).filled()))?;
            root.draw(&Rectangle::new(corners, colour.stroke_width(1)))?;
            let name = format!("{} {}", layer.number, layer.kind);
            root.draw(&Text::new(name, (x, y + h + 14), centred(14.0)))?;
            root.draw(&Text::new(layer.shape.clone(), (x, y + h + 32), centred(14.0)))?;
            Ok(())
        };
    let arrow = |path: &[(i32, i32)]| -> Result<(), Box<dyn std::error::Error + 'a>> {
        root.draw(&PathElement::new(path.to_vec(), GREY.stroke_width(1)))?;
        if let [.., (x0, y0), (x1, y1)] = *path {
            let (dx, dy) = ((x1 - x0).signum(), (y1 - y0).signum());
            let tip = [
                (x1, y1),
                (x1 - 7 * dx - 4 * dy, y1 - 7 * dy - 4 * dx),
                (x1 - 7 * dx + 4 * dy, y1 - 7 * dy + 4 * dx),
            ];
            root.draw(&Polygon::new(tip.to_vec(), GREY.filled()))?;
        }
        Ok(())
    };
    let combine = layers.iter().position(|layer| layer.number == "4").unwrap_or(0);
    for (i, layer) in layers.iter().enumerate() {
        let colour = if i == combine { PALETTE[0] } else { PALETTE[1] };
        block(x(i), MIDDLE, layer, colour)?;
        if i > 0 {
            arrow(&[(x(i - 1) + HALF + 3, MIDDLE), (x(i) - HALF - 3, MIDDLE)])?;
        }
    }
    let last = "at the last step only";
    if combine + 1 < layers.len() && task.seq_len > 1 {
        let at = (x(combine) + x(combine + 1)) / 2;
        root.draw(&Text::new(last, (at.min(SIZE.0 as i32 - 90), MIDDLE - 62), centred(13.0)))?;
    }
    if let Some(recurrent) = recurrent {
        let (at, side) = (x(combine), space.min(74));
        block(at, BELOW, &recurrent, PALETTE[2])?;
        let right = at + side / 2 + 12;
        arrow(&[(at + HALF + 3, MIDDLE + 8), (right, MIDDLE + 8), (right, BELOW), (at + HALF + 3, BELOW)])?;
        let left = at - side / 2 - 12;
        arrow(&[(at - HALF - 3, BELOW), (left, BELOW), (left, MIDDLE + 8), (at - HALF - 3, MIDDLE + 8)])?;
        root.draw(&Text::new("r, to the next step", (left - 70, BELOW), centred(13.0)))?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_are_those_of_the_thesis() {
        let task = Task { seq_len: 7, ..Task::default() };
        let widths = |name: &str| {
            let (layers, recurrent) = layers(&Architecture::preset(name).unwrap(), &task);
            let shapes: Vec<String> = layers.into_iter().map(|layer| layer.shape).collect();
            (shapes.join(" "), recurrent.map(|layer| layer.width))
        };
        assert_eq!(widths("shallow"), ("28×4 768 10".to_owned(), Some(128)));
        assert_eq!(widths("deep"), ("28×4 512 256 64 10".to_owned(), Some(128)));
        assert_eq!(widths("deepv2").0, "28×4 512 256 128 64 10");
        assert_eq!(widths("convdeep").0, "28×4 28×4×24 14×2×24 14×2×48 7×1×48 256 128 10");
        assert_eq!(layers(&Architecture::preset("deep").unwrap(), &Task::default()).1, None);
    }

    #[test]
    fn the_drawing_has_every_width() {
        let task = Task { seq_len: 4, ..Task::default() };
        let svg = svg("Deep-4", &Architecture::preset("deep").unwrap(), &task).unwrap();
        for text in ["Deep-4", "28×7", "512", "256", "64", "128", "recurrent"] {
            assert!(svg.contains(text), "{text}");
        }
    }
}
