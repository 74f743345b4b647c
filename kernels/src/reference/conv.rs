//! A convolution as the equivalent dense layer.

use crate::image::ConvShape;

/// A convolution as a dense layer: the matrix `[rows·cols·inputs, rows·cols·outputs]` that has
/// weight `w[y'−y+p, x'−x+p, i, o]` from input pixel `(y', x')` to output pixel `(y, x)`.
pub fn conv_as_dense(shape: &ConvShape, w: &[f32]) -> Vec<f32> {
    let ConvShape { rows, cols, size, inputs, outputs } = *shape;
    let n = rows * cols * outputs;
    let mut dense = vec![0.0; rows * cols * inputs * n];
    for y in 0..rows {
        for x in 0..cols {
            for dy in 0..size {
                for dx in 0..size {
                    let (from_y, from_x) = (y + dy, x + dx);
                    let p = size / 2;
                    if from_y < p || from_x < p || from_y - p >= rows || from_x - p >= cols {
                        continue;
                    }
                    for i in 0..inputs {
                        for o in 0..outputs {
                            let from = ((from_y - p) * cols + from_x - p) * inputs + i;
                            let to = (y * cols + x) * outputs + o;
                            dense[from * n + to] = w[((dy * size + dx) * inputs + i) * outputs + o];
                        }
                    }
                }
            }
        }
    }
    dense
}
