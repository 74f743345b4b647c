//! Max- and sum-pool.

/// The pixels of pooled pixel `(y, x)`'s window, row-major; windows at the edge are smaller.
fn window([rows, cols]: [usize; 2], size: usize, [y, x]: [usize; 2]) -> impl Iterator<Item = usize> {
    let lines = y * size..rows.min((y + 1) * size);
    lines.flat_map(move |row| (x * size..cols.min((x + 1) * size)).map(move |col| row * cols + col))
}

/// Max-pool of one image `[rows·cols, channels]` with stride `size`: the values, and the argmax index in `x`
/// of each, the first of equal maxima in row-major order.
pub fn max_pool([rows, cols, channels]: [usize; 3], size: usize, x: &[f32]) -> (Vec<f32>, Vec<usize>) {
    let (mut values, mut from) = (Vec::new(), Vec::new());
    for y in 0..rows.div_ceil(size) {
        for column in 0..cols.div_ceil(size) {
            for channel in 0..channels {
                let mut indices = window([rows, cols], size, [y, column]).map(|p| p * channels + channel);
                let Some(mut best) = indices.next() else { continue };
                for index in indices {
                    if x[index] > x[best] {
                        best = index;
                    }
                }
                values.push(x[best]);
                from.push(best);
            }
        }
    }
    (values, from)
}

/// Sum-pool of one image, and for each value of the input the index of its pooled value.
pub fn sum_pool([rows, cols, channels]: [usize; 3], size: usize, x: &[f32]) -> (Vec<f64>, Vec<usize>) {
    let (mut values, mut into) = (Vec::new(), vec![0; x.len()]);
    for y in 0..rows.div_ceil(size) {
        for column in 0..cols.div_ceil(size) {
            for channel in 0..channels {
                let mut sum = 0.0;
                for index in window([rows, cols], size, [y, column]) {
                    sum += f64::from(x[index * channels + channel]);
                    into[index * channels + channel] = values.len();
                }
                values.push(sum);
            }
        }
    }
    (values, into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tie_belongs_to_the_first_pixel_and_an_edge_window_is_smaller() {
        let x = [1.0, 3.0, 3.0, 3.0, 2.0, 5.0]; // [2, 3], one channel
        assert_eq!(max_pool([2, 3, 1], 2, &x), (vec![3.0, 5.0], vec![1, 5]));
        assert_eq!(sum_pool([2, 3, 1], 2, &x), (vec![9.0, 8.0], vec![0, 0, 1, 0, 0, 1]));
    }
}
