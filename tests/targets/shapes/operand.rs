//! Operands: matrices whose rows are anywhere, slices, and outputs that know what they were.

use super::draw::{Draw, MOST};
use kernels::{MatMut, MatRef, Rows, ShapeError};

/// Where row `i` starts, in integers that do not overflow.
pub fn offset(map: &Rows, i: usize) -> u128 {
    let (i, width, height) = (i as u128, map.width as u128, map.height as u128);
    let (pixel, line) = (i % width, i / width);
    let line_at = line % height * map.line as u128;
    (pixel * map.step as u128).saturating_add(line_at).saturating_add(line / height * map.image as u128)
}

/// A matrix; between its rows, and before the first one, are NaNs.
#[derive(Clone, Debug)]
pub struct Mat {
    pub data: Vec<f32>,
    pub rows: usize,
    pub cols: usize,
    pub map: Rows,
    at: usize,
}

impl Mat {
    /// Rows with gaps, or the pixels of images with gaps; of many rows all are the same one.
    pub fn drawn(draw: &mut Draw, rows: usize, cols: usize, values: fn(&mut Draw, usize) -> Vec<f32>) -> Mat {
        let cols = if cols > MOST { cols % 64 } else { cols };
        if rows > 1024 || rows * cols > MOST {
            let data = values(draw, cols);
            return Mat { data, rows, cols, map: Rows::linear(0), at: 0 };
        }
        let map = map(draw, cols);
        let mut mat = Mat::filled(rows, cols, map, 0);
        for i in 0..rows {
            let row = values(draw, cols);
            mat.row_mut(i).copy_from_slice(&row);
        }
        mat
    }

    /// Without gaps.
    pub fn plainly(rows: usize, cols: usize, data: Vec<f32>) -> Mat {
        Mat { data, rows, cols, map: Rows::linear(cols), at: 0 }
    }

    fn filled(rows: usize, cols: usize, map: Rows, around: usize) -> Mat {
        let end = |i: usize| offset(&map, i) as usize + cols;
        let len = if cols == 0 { 0 } else { (0..rows).map(end).max().unwrap_or(0) };
        Mat { data: vec![f32::NAN; len + 2 * around], rows, cols, map, at: around }
    }

    fn place(&self, i: usize) -> usize {
        if self.cols == 0 { 0 } else { self.at + offset(&self.map, i) as usize }
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[self.place(i)..][..self.cols]
    }

    fn row_mut(&mut self, i: usize) -> &mut [f32] {
        let at = self.place(i);
        &mut self.data[at..][..self.cols]
    }

    pub fn view(&self) -> MatRef<'_> {
        MatRef::mapped(&self.data[self.at..], self.rows, self.cols, self.map)
    }

    /// Without the gaps.
    pub fn plain(&self) -> Vec<f32> {
        (0..self.rows).flat_map(|i| self.row(i).to_vec()).collect()
    }
}

fn map(draw: &mut Draw, cols: usize) -> Rows {
    let kind = draw.byte();
    let gap = usize::from(kind / 4 % 4);
    match kind % 4 {
        0 | 1 => Rows::linear(cols + gap),
        2 => Rows::linear(cols),
        _ => {
            let (width, height) = (1 + usize::from(kind / 16 % 4), 1 + usize::from(kind / 64));
            let step = cols + gap;
            let line = width * step + gap;
            Rows { width, height, step, line, image: height * line + 2 * gap }
        }
    }
}

/// A matrix that a kernel writes.
pub struct Out {
    mat: Mat,
    before: Vec<f32>,
}

impl Out {
    /// With numbers in its rows if the kernel reads them.
    pub fn drawn(draw: &mut Draw, rows: usize, cols: usize, read: bool) -> Out {
        let limit = |size: usize| if size > 1024 { size % 64 } else { size };
        let (rows, cols) = (limit(rows), limit(cols));
        let map = map(draw, cols);
        // With floats around it a write beyond is seen, without them by the address sanitizer.
        let mut mat = Mat::filled(rows, cols, map, if draw.flag() { 16 } else { 0 });
        if read {
            for i in 0..rows {
                let row = draw.values(cols);
                mat.row_mut(i).copy_from_slice(&row);
            }
        }
        Out { before: mat.data.clone(), mat }
    }

    pub fn rows(&self) -> usize {
        self.mat.rows
    }

    pub fn cols(&self) -> usize {
        self.mat.cols
    }

    pub fn map(&self) -> &Rows {
        &self.mat.map
    }

    pub fn view(&mut self) -> MatMut<'_> {
        let (rows, cols, map) = (self.mat.rows, self.mat.cols, self.mat.map);
        let end = self.mat.data.len() - self.mat.at;
        MatMut::mapped(&mut self.mat.data[self.mat.at..end], rows, cols, map)
    }

    /// What its rows held before.
    pub fn before(&self) -> Vec<f32> {
        Mat { data: self.before.clone(), ..self.mat.clone() }.plain()
    }

    /// What its rows hold, after making sure that nothing else was written.
    pub fn written(&self) -> Vec<f32> {
        let mut rest = self.mat.clone();
        let old = Mat { data: self.before.clone(), ..self.mat.clone() };
        for i in 0..rest.rows {
            rest.row_mut(i).copy_from_slice(old.row(i));
        }
        assert!(same_bits(&rest.data, &self.before), "written outside the rows");
        self.mat.plain()
    }

    /// Makes sure that nothing was written.
    pub fn untouched(&self) {
        assert!(same_bits(&self.mat.data, &self.before), "written although it was refused");
    }
}

pub fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// A result that says of operands whether they fit must be right; whether they do.
pub fn agrees(draw: &mut Draw, result: Result<(), ShapeError>, fits: bool) -> bool {
    assert_eq!(result.is_ok(), fits, "{result:?}");
    draw.taken = fits;
    fits
}

/// Compares with a reference implementation, relative to its value and to `scale`.
pub fn close(what: &str, found: &[f32], want: &[f64], scale: f64) {
    assert_eq!(found.len(), want.len(), "{what}");
    for (i, (&found, &want)) in found.iter().zip(want).enumerate() {
        let error = (f64::from(found) - want).abs();
        assert!(error <= 1e-5 * (want.abs() + scale), "{what}[{i}] is {found}, {want} expected");
    }
}

/// The largest magnitude, at least 1.
pub fn largest(x: &[f32]) -> f64 {
    x.iter().fold(1.0, |most, &x| most.max(f64::from(x).abs()))
}
