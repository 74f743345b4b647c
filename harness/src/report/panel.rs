//! Grids of pictures, such as Figures 4.7 and 4.8 of the thesis.

use super::colormap::Look;
use super::colour_bar::ColourBar;
use super::picture::{Canvas, heatmap, input};
use super::svg::{self, Anchor, Drawing, at, extent, text_width, wrap};
use anyhow::Result;

/// Pictures in labelled rows and columns, with a line below that says what they are; an empty text takes no space.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    /// one label per column, from the left
    pub column_labels: Vec<String>,
    /// the rows, from the top
    pub rows: Vec<GridRow>,
    /// the meaning of the colours, drawn below the rows
    pub bar: Option<ColourBar>,
    /// method, value, networks and scale, drawn beside the bar or below it
    pub note: String,
}

/// One row of a [`Grid`].
#[derive(Clone, Debug, Default)]
pub struct GridRow {
    /// label at the left, "Deep-7"
    pub label: String,
    /// the pictures, from the left
    pub cells: Vec<Canvas>,
    /// number of steps of a picture; if there are several, ticks below it mark them
    pub steps: usize,
    /// whether a wider gap sets this row apart from the one above
    pub apart: bool,
}

/// The frame of a picture, since a heatmap may be as white as the background.
const EDGE: &str = "#D8D8D8";
const MARGIN: f64 = 12.0;
const GAP: f64 = 6.0;
const TICK: f64 = 4.0;
const APART: f64 = 10.0;
/// The longer side of a picture.
const CELL: f64 = 62.0;
/// Size of the labels.
const TEXT: f64 = 15.0;
/// Size of the text below.
const SMALL: f64 = 14.0;
/// The least width of the text below.
const NOTE: f64 = 260.0;

/// Width and height of a picture in a grid.
fn size(cell: &Canvas) -> svg::Extent {
    let (width, height) = (cell.width as f64, cell.height as f64);
    let unit = CELL / width.max(height).max(1.0);
    extent(unit * width, unit * height)
}

impl Grid {
    /// Draws the sheet. Pictures of different sizes are centred in their row and column.
    ///
    /// # Errors
    /// If a picture has no pixels.
    pub fn svg(&self) -> Result<String> {
        let columns = self.rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
        let of_column = |i: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(i));
            let widest = cells.map(|cell| size(cell).width).fold(0.0, f64::max);
            widest.max(self.column_labels.get(i).map_or(0.0, |label| text_width(label, SMALL)))
        };
        let widths: Vec<f64> = (0..columns).map(of_column).collect();
        let label = self.rows.iter().map(|row| text_width(&row.label, TEXT)).fold(0.0, f64::max);
        let left = MARGIN + if label > 0.0 { label + 10.0 } else { 0.0 };
        let cells = widths.iter().sum::<f64>() + GAP * columns.saturating_sub(1) as f64;
        let bar = self.bar.as_ref().map_or(0.0, |bar| bar.width(SMALL));
        let least = bar.max(if self.note.is_empty() { 0.0 } else { NOTE });
        let width = (left + cells).max(MARGIN + least) + MARGIN;
        let labels = if self.column_labels.iter().all(String::is_empty) { 0.0 } else { TEXT + 8.0 };
        let mut drawing = Drawing::default();
        let mut x = left;
        for (text, width) in self.column_labels.iter().zip(&widths) {
            drawing.text(at(x + width / 2.0, MARGIN + TEXT - 2.0), SMALL, Anchor::Middle, text);
            x += width + GAP;
        }
        let mut y = MARGIN + labels;
        for (i, row) in self.rows.iter().enumerate() {
            y += row.space_above(i);
            row.draw(&mut drawing, at(left, y), &widths)?;
            y += row.height();
        }
        y += 14.0;
        if let Some(bar) = &self.bar {
            bar.draw(&mut drawing, at(MARGIN, y), SMALL)?;
        }
        // The text is beside the bar if enough of the width is left for it, otherwise below.
        let space = width - 2.0 * MARGIN - bar - 16.0;
        let (note_x, space, below) = match bar > 0.0 && space >= NOTE {
            true => (MARGIN + bar + 16.0, space, 0.0),
            false => (MARGIN, width - 2.0 * MARGIN, if bar > 0.0 { ColourBar::HEIGHT + 6.0 } else { 0.0 }),
        };
        let lines = wrap(&self.note, space, SMALL);
        for (i, line) in lines.iter().enumerate() {
            let y = y + below + SMALL + 1.35 * SMALL * i as f64;
            drawing.coloured_text(at(note_x, y), SMALL, Anchor::Start, svg::FAINT, line);
        }
        let note = if lines.is_empty() { 0.0 } else { below + 1.35 * SMALL * lines.len() as f64 };
        let foot = note.max(if bar > 0.0 { ColourBar::HEIGHT } else { 0.0 });
        let height = if foot > 0.0 { y + foot } else { y - 14.0 } + MARGIN;
        Ok(drawing.finish(extent(width.ceil(), height.ceil())))
    }
}

impl GridRow {
    fn picture_height(&self) -> f64 {
        self.cells.iter().map(|cell| size(cell).height).fold(0.0, f64::max)
    }

    fn height(&self) -> f64 {
        self.picture_height() + if self.steps > 1 { TICK + 2.0 } else { 0.0 }
    }

    fn space_above(&self, i: usize) -> f64 {
        match (i, self.apart) {
            (0, _) => 0.0,
            (_, true) => GAP + APART,
            _ => GAP,
        }
    }

    fn draw(&self, drawing: &mut Drawing, top: svg::At, widths: &[f64]) -> Result<()> {
        let height = self.picture_height();
        let middle = top.y + height / 2.0 + TEXT / 3.0;
        drawing.text(at(top.x - 10.0, middle), TEXT, Anchor::End, &self.label);
        let mut x = top.x;
        for (cell, width) in self.cells.iter().zip(widths) {
            let size = size(cell);
            let corner = at(x + (width - size.width) / 2.0, top.y + (height - size.height) / 2.0);
            drawing.picture(corner, size, cell)?;
            drawing.frame(corner, size, EDGE);
            for step in 0..=if self.steps > 1 { self.steps } else { 0 } {
                if self.steps > 1 {
                    let x = corner.x + size.width * step as f64 / self.steps as f64;
                    drawing.tick(at(x, corner.y + size.height + 2.0), TICK, svg::FAINT);
                }
            }
            x += width + GAP;
        }
        Ok(())
    }
}

/// One network's row of heatmaps.
#[derive(Clone, Debug)]
pub struct HeatRow<'a> {
    /// "Deep-7"
    pub label: String,
    /// its number of steps T
    pub seq_len: usize,
    /// `[rows, cols]` each, in the order of the inputs
    pub maps: Vec<&'a [f32]>,
}

/// The size of the pictures of a sheet, their pixel range and how relevance is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// image rows
    pub rows: usize,
    /// image columns
    pub cols: usize,
    /// the input value that is drawn black
    pub low: f32,
    /// the input value that is drawn white
    pub high: f32,
    /// colours and scale of the relevance
    pub look: Look,
}

/// The sheet of Figures 4.7 and 4.8: the inputs on top and below them a row of heatmaps for each network; `what` names
/// method and value.
///
/// Figure 4.7 has a column for each class and the rows Shallow-1, -4, -7, Deep-1, -4, -7; Figure 4.8 has sixteen samples
/// of class 1 and the rows Shallow-7, Deep-7.
///
/// # Panics
/// If a picture does not hold `rows·cols` values.
pub fn heat_grid(
    what: &str,
    column_labels: &[String],
    inputs: &[&[f32]],
    networks: &[HeatRow],
    style: &Style,
) -> Grid {
    let &Style { rows, cols, low, high, look } = style;
    let pictures = inputs.iter().map(|values| input(rows, cols, values, low, high, 1)).collect();
    let mut grid_rows = vec![GridRow { label: "Input".into(), cells: pictures, ..GridRow::default() }];
    let family =
        |row: &HeatRow| row.label.rsplit_once('-').map_or(row.label.clone(), |(cell, _)| cell.to_string());
    let all: Vec<&[f32]> = networks.iter().flat_map(|network| network.maps.iter().copied()).collect();
    let ranges = look.ranges(&all);
    let mut left = ranges.iter();
    for (i, network) in networks.iter().enumerate() {
        let maps = network.maps.iter().zip(&mut left);
        grid_rows.push(GridRow {
            label: network.label.clone(),
            cells: maps.map(|(r, range)| heatmap(rows, cols, r, look, *range)).collect(),
            steps: network.seq_len,
            apart: i == 0 || family(network) != family(&networks[i - 1]),
        });
    }
    let signed = all.iter().any(|map| map.iter().any(|&r| r < 0.0));
    let common = ranges.first().copied().filter(|first| ranges.iter().all(|of| of == first));
    Grid {
        column_labels: column_labels.to_vec(),
        rows: grid_rows,
        bar: (!all.is_empty()).then(|| ColourBar::new(look, common, signed)),
        note: format!("{what}; {}", look.text()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::report::colormap::Scale;

    #[test]
    fn every_picture_and_label_is_on_the_sheet() {
        let cell = |grey: u8| Canvas::new(10, 10, [grey, 0, 77]);
        let row = |r: u8| GridRow {
            label: format!("row {r}"),
            cells: vec![cell(2 * r), cell(2 * r + 1)],
            steps: 2,
            apart: r == 1,
        };
        let grid = Grid {
            column_labels: vec!["a".into(), "b".into()],
            rows: (0..3).map(row).collect(),
            ..Grid::default()
        };
        let sheet = grid.svg().unwrap();
        assert_eq!((sheet.matches("<image").count(), sheet.matches("<line").count()), (6, 18));
        for text in ["row 0", "row 2", ">a<", ">b<"] {
            assert!(sheet.contains(text), "{text}");
        }
    }

    #[test]
    fn an_empty_grid_is_a_blank_sheet() {
        let sheet = Grid::default().svg().unwrap();
        assert!(sheet.contains("<rect") && !sheet.contains("<image"));
    }

    #[test]
    fn different_architectures_are_separated_and_the_scale_is_named() {
        let picture = vec![0.5; 28 * 28];
        let row = |label: &str, seq_len| HeatRow { label: label.into(), seq_len, maps: vec![&picture] };
        let networks = [row("Shallow-1", 1), row("Shallow-7", 7), row("Deep-1", 1)];
        let look = Look { scale: Scale::Common, ..Look::default() };
        let style = Style { rows: 28, cols: 28, low: -1.0, high: 1.0, look };
        let grid = heat_grid("deep-taylor, value logit", &[], &[&picture], &networks, &style);
        let apart: Vec<bool> = grid.rows.iter().map(|row| row.apart).collect();
        assert_eq!(apart, [false, true, false, true]);
        let bar = grid.bar.unwrap();
        assert_eq!((bar.from, bar.marks[1].1.as_str()), (0.0, "0.500"));
        assert!(grid.note.contains("deep-taylor, value logit") && grid.note.contains("common"));
    }
}
