//! Views accept exactly the matrices that lie in their slices.

use super::draw::{Draw, MOST, panels as panels_len, times};
use super::operand::offset;
use kernels::{MatMut, MatRef, Panels, Plane, Rows};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

/// Whether a constructor accepts its arguments. A refusal is a panic, which is neither printed nor ends a
/// fuzzer.
fn accepts<T>(construct: impl FnOnce() -> T) -> bool {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let accepted = catch_unwind(AssertUnwindSafe(construct)).is_ok();
    set_hook(hook);
    accepted
}

fn any_map(draw: &mut Draw) -> Rows {
    let mut small = || if draw.below(4) == 0 { draw.any() } else { draw.below(12) };
    let (width, height, step, line, image) = (small(), small(), small(), small(), small());
    if draw.flag() { Rows { width, height, step, line, image } } else { Rows::linear(step) }
}

pub fn matrices(draw: &mut Draw) {
    let map = any_map(draw);
    let rows = if draw.below(4) == 0 { draw.any() } else { draw.below(64) };
    let cols = if draw.below(8) == 0 { draw.any() } else { draw.below(20) };
    let len = 4 * draw.below(256);
    let mut data = vec![0.0; len];
    let sound = map.width > 0 && map.height > 0;
    // If there are many rows, only those at the ends of lines and images are checked.
    let image = map.width.wrapping_mul(map.height);
    let some = [rows, map.width, image, image.wrapping_mul(2)];
    let seen: Vec<usize> = (0..rows.min(1024))
        .chain(some.iter().flat_map(|&end| [end.wrapping_sub(1), end]))
        .filter(|&i| i < rows && sound)
        .collect();
    let inside = sound
        && (cols == 0 || seen.iter().all(|&i| offset(&map, i).saturating_add(cols as u128) <= len as u128));
    let read = accepts(|| MatRef::mapped(&data, rows, cols, map));
    assert!(!read || inside, "{map:?} with [{rows}, {cols}] in {len} floats");
    assert!(read || !inside || rows > 1024, "{map:?} with [{rows}, {cols}] in {len} floats is refused");
    let mut starts: Vec<u128> = seen.iter().map(|&i| offset(&map, i)).collect();
    starts.sort_unstable();
    starts.dedup();
    let apart = rows > 1024
        || cols == 0
        || starts.len() == rows && starts.windows(2).all(|two| two[1] - two[0] >= cols as u128);
    let written = accepts(|| MatMut::mapped(&mut data, rows, cols, map).rows());
    assert!(!written || inside && apart, "{map:?} with [{rows}, {cols}] in {len} floats overlaps");
    if read && rows <= 1024 && cols <= MOST {
        let matrix = MatRef::mapped(&data, rows, cols, map);
        (0..rows).filter(|_| cols > 0).for_each(|i| assert_eq!(matrix.row(i).len(), cols));
    }
    draw.taken = read;
}

pub fn panels(draw: &mut Draw) {
    let mut size = || if draw.below(3) == 0 { draw.any() } else { draw.below(20) };
    let (k, n) = (size(), size());
    let right = panels_len(k as u128, n);
    let len = if draw.flag() && right <= MOST as u128 { right as usize } else { draw.below(64) };
    let data = vec![1.0; len];
    draw.taken = accepts(|| Panels::new(&data, k, n));
    assert_eq!(draw.taken, len as u128 == right, "[{k}, {n}] in {len} floats");
    if draw.taken {
        let (from, to) = (draw.below(24), draw.below(24));
        let rows = || Panels::new(&data, k, n).rows(from, to);
        assert_eq!(accepts(rows), from <= to && to <= k, "rows {from}..{to} of {k}");
        if from <= to && to <= k {
            let rows = rows();
            assert_eq!((rows.k(), rows.n()), (to - from, n));
            (0..n.min(64)).for_each(|j| (0..to - from).for_each(|i| assert_eq!(rows.at(i, j), 1.0)));
        }
    }
}

pub fn planes(draw: &mut Draw) {
    let mut size = || if draw.below(6) == 0 { draw.any() } else { draw.below(6) };
    let plane = Plane { rows: size(), cols: size(), channels: size(), pad: size() };
    let images = size();
    let [rows, cols] = [plane.rows, plane.cols].map(|size| size as u128 + 2 * plane.pad as u128);
    let right = rows.saturating_mul(cols).saturating_mul(times(&[plane.channels, images]));
    let len = if draw.flag() && right <= MOST as u128 { right as usize } else { draw.below(256) };
    let mut data = vec![1.0; len];
    let pixels = times(&[plane.rows, plane.cols, plane.channels, images]);
    if accepts(|| plane.pixels_of(&data, images)) && pixels > 0 {
        assert!(right - 2 * plane.pad as u128 * (cols * plane.channels as u128) <= len as u128, "{plane:?}");
        draw.taken = true;
    }
    if accepts(|| plane.pixels_mut(&mut data, images).rows()) && pixels > 0 {
        let mut inside = plane.pixels_mut(&mut data, images);
        (0..inside.rows()).for_each(|i| inside.row_mut(i).fill(0.0));
        let written = data.iter().filter(|&&x| x == 0.0).count();
        assert_eq!(written as u128, pixels, "{plane:?}");
    }
}
