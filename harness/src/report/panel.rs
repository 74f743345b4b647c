//! Grids of pictures, such as Figures 4.7 and 4.8 of the thesis.

use super::colormap::{Colormap, Norm};
use super::picture::{Canvas, ColourBar, FAINT, GLYPH, INK, PAPER, Rgb, heatmap, input, text_width, wrap};

/// Pictures in labelled rows and columns, with a title above and a caption below; an empty text takes no space.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    /// one line above everything
    pub title: String,
    /// one label a column, from the left
    pub column_labels: Vec<String>,
    /// the rows, from the top
    pub rows: Vec<GridRow>,
    /// the meaning of the colours, drawn below the rows
    pub bar: Option<ColourBar>,
    /// text below, broken into lines that fit
    pub caption: String,
}

/// One row of a [`Grid`].
#[derive(Clone, Debug, Default)]
pub struct GridRow {
    /// label at the left, "Deep-7"
    pub label: String,
    /// the pictures, from the left
    pub cells: Vec<Canvas>,
    /// steps a picture is read in; more than one are marked by ticks below it
    pub steps: usize,
    /// whether a wider gap sets this row apart from the one above
    pub apart: bool,
}

/// The frame of a picture, since a heatmap may be as white as the background.
const EDGE: Rgb = [216, 216, 216];
const MARGIN: usize = 24;
const GAP: usize = 8;
const TICK: usize = 5;
const APART: usize = 12;
/// From this width on, caption and colour bar are twice as large.
const WIDE: usize = 900;

impl Grid {
    /// Draws the sheet on white. Pictures of different sizes are centred in their row and column.
    pub fn draw(&self) -> Canvas {
        let columns = self.rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|i| {
                self.rows.iter().filter_map(|row| row.cells.get(i)).map(|cell| cell.width).max().unwrap_or(0)
            })
            .collect();
        let label_width = self.rows.iter().map(|row| text_width(&row.label, 2)).max().unwrap_or(0);
        let left = MARGIN + if label_width > 0 { label_width + 2 * GAP } else { 0 };
        let cells_width = widths.iter().sum::<usize>() + GAP * columns.saturating_sub(1);
        let width = (left + cells_width + MARGIN).max(2 * MARGIN + text_width(&self.title, 2));

        // Text on a wide sheet is larger.
        let small = if width >= WIDE { 2 } else { 1 };
        let top = MARGIN + if self.title.is_empty() { 0 } else { 2 * GLYPH + 2 * GAP };
        let bar = self.bar.as_ref().map(|bar| bar.lying(100 * small, small));
        let width = width.max(bar.as_ref().map_or(0, |bar| left + bar.width + MARGIN));
        // The caption stands beside the bar if that leaves it most of the sheet, else below.
        let beside = bar.as_ref().map_or(0, |bar| bar.width + 3 * GAP);
        let beside = if 2 * beside < width - MARGIN - left { beside } else { 0 };
        let below = if beside > 0 { 0 } else { bar.as_ref().map_or(0, |bar| bar.height + GAP) };
        let caption = wrap(&self.caption, width - MARGIN - left - beside, small);
        let leading = (GLYPH + 5) * small;
        let foot = bar.as_ref().map_or(0, |bar| bar.height).max(if caption.is_empty() {
            0
        } else {
            below + leading * caption.len()
        });

        let labels = if self.column_labels.iter().all(String::is_empty) { 0 } else { 2 * GLYPH + GAP };
        let rows_height: usize =
            self.rows.iter().enumerate().map(|(i, row)| row.space_above(i) + row.height()).sum();
        let foot_space = if foot > 0 { foot + 2 * GAP } else { 0 };
        let mut sheet = Canvas::new(width, top + labels + rows_height + foot_space + MARGIN, PAPER);

        sheet.text(MARGIN, MARGIN, 2, INK, &self.title);
        let mut x = left;
        let fits = |(label, &width): (&String, &usize)| text_width(label, 2) <= width;
        let scale = if self.column_labels.iter().zip(&widths).all(fits) { 2 } else { 1 };
        for (label, width) in self.column_labels.iter().zip(&widths) {
            let inset = (width.saturating_sub(text_width(label, scale))) / 2;
            sheet.text(x + inset, top + 2 * GLYPH - scale * GLYPH, scale, INK, label);
            x += width + GAP;
        }

        let mut y = top + labels;
        for (i, row) in self.rows.iter().enumerate() {
            y += row.space_above(i);
            let height = row.picture_height();
            let (label_x, label_y) = (MARGIN + label_width - text_width(&row.label, 2), y + height / 2);
            sheet.text(label_x, label_y.saturating_sub(GLYPH), 2, INK, &row.label);
            let mut x = left;
            for (cell, width) in row.cells.iter().zip(&widths) {
                let (cell_x, cell_y) = (x + (width - cell.width) / 2, y + (height - cell.height) / 2);
                sheet.frame(cell_x - 1, cell_y - 1, cell.width + 2, cell.height + 2, EDGE);
                sheet.blit(cell_x, cell_y, cell, 1);
                if row.steps > 1 {
                    for step in 0..=row.steps {
                        let at = (step * cell.width / row.steps).min(cell.width.saturating_sub(1));
                        sheet.vertical(cell_x + at, cell_y + cell.height + 2, TICK, FAINT);
                    }
                }
                x += width + GAP;
            }
            y += row.height();
        }

        y += 2 * GAP;
        if let Some(bar) = &bar {
            sheet.blit(left, y, bar, 1);
        }
        for (i, line) in caption.iter().enumerate() {
            sheet.text(left + beside, y + below + leading * i, small, INK, line);
        }
        sheet
    }
}

impl GridRow {
    fn picture_height(&self) -> usize {
        self.cells.iter().map(|cell| cell.height).max().unwrap_or(0)
    }

    fn height(&self) -> usize {
        self.picture_height() + if self.steps > 1 { TICK + 2 } else { 0 }
    }

    fn space_above(&self, index: usize) -> usize {
        match (index, self.apart) {
            (0, _) => 0,
            (_, true) => GAP + APART,
            (_, false) => GAP,
        }
    }
}

/// The heatmaps of one trained network, one a sample.
#[derive(Clone, Debug)]
pub struct HeatRow<'a> {
    /// the cell and its sequence length, "Deep-7"; rows whose text before the `-` differs are set apart
    pub label: String,
    /// T
    pub seq_len: usize,
    /// relevance, `[rows, cols]` each, in the order of the inputs
    pub maps: Vec<&'a [f32]>,
}

/// How the pictures of a sheet are drawn.
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
    /// colours of the relevance
    pub cmap: Colormap,
    /// normalisation of the relevance, picture by picture
    pub norm: Norm,
    /// pixels of the sheet a pixel of the picture
    pub scale: usize,
}

/// The sheet of Figures 4.7 and 4.8: the inputs on top and below them a row of heatmaps for each network.
///
/// Figure 4.7 has a column for each class and the rows Shallow-1, -4, -7, Deep-1, -4, -7; Figure 4.8 has sixteen samples
/// of class 1 and the rows Shallow-7, Deep-7.
///
/// # Panics
/// If a picture does not hold `rows·cols` values.
pub fn heat_grid(
    title: &str,
    caption: &str,
    column_labels: &[String],
    inputs: &[&[f32]],
    networks: &[HeatRow],
    style: &Style,
) -> Grid {
    let &Style { rows, cols, low, high, cmap, norm, scale } = style;
    let pictures = inputs.iter().map(|values| input(rows, cols, values, low, high, scale)).collect();
    let mut grid_rows = vec![GridRow { label: "Input".into(), cells: pictures, ..GridRow::default() }];
    let family =
        |row: &HeatRow| row.label.rsplit_once('-').map_or(row.label.clone(), |(cell, _)| cell.to_string());
    for (i, network) in networks.iter().enumerate() {
        grid_rows.push(GridRow {
            label: network.label.clone(),
            cells: network.maps.iter().map(|r| heatmap(rows, cols, r, cmap, norm, scale)).collect(),
            steps: network.seq_len,
            apart: i == 0 || family(network) != family(&networks[i - 1]),
        });
    }
    let signed = networks.iter().flat_map(|network| &network.maps).any(|map| map.iter().any(|&r| r < 0.0));
    Grid {
        title: title.into(),
        column_labels: column_labels.to_vec(),
        rows: grid_rows,
        bar: (!networks.is_empty()).then(|| ColourBar::relative(cmap, norm, signed)),
        caption: caption.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style = Style {
        rows: 28,
        cols: 28,
        low: -1.0,
        high: 1.0,
        cmap: Colormap::Coldnhot,
        norm: Norm::Symmetric,
        scale: 2,
    };

    #[test]
    fn every_picture_is_on_the_sheet() {
        let cell = |grey: u8| Canvas::new(10, 10, [grey, 0, 77]);
        let grid = Grid {
            title: "t".into(),
            column_labels: vec!["a".into(), "b".into()],
            rows: (0..3)
                .map(|r| GridRow {
                    label: format!("row {r}"),
                    cells: vec![cell(2 * r), cell(2 * r + 1)],
                    steps: 2,
                    apart: r == 1,
                })
                .collect(),
            ..Grid::default()
        };
        let sheet = grid.draw();
        for grey in 0..6 {
            let painted = sheet.rgb.chunks_exact(3).filter(|pixel| *pixel == [grey, 0, 77]).count();
            assert_eq!(painted, 100, "picture {grey}");
        }
    }

    #[test]
    fn an_empty_grid_is_a_blank_sheet() {
        let sheet = Grid::default().draw();
        assert!(sheet.width > 0 && sheet.rgb.iter().all(|&v| v == 255));
    }

    #[test]
    fn families_of_cells_stand_apart() {
        let picture = vec![0.5; 28 * 28];
        let row = |label: &str, seq_len| HeatRow { label: label.into(), seq_len, maps: vec![&picture] };
        let networks = [row("Shallow-1", 1), row("Shallow-7", 7), row("Deep-1", 1)];
        let grid = heat_grid("", "", &[], &[&picture], &networks, &STYLE);
        let apart: Vec<bool> = grid.rows.iter().map(|row| row.apart).collect();
        assert_eq!(apart, [false, true, false, true]);
        assert_eq!(grid.bar.unwrap().from, 0.0);
    }
}
