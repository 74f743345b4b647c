//! Synthetic handwritten digits drawn from pen strokes: a data set that needs no download.
//!
//! Each digit has a few styles (`STYLES`). A sample picks one, jitters its points, bends and slants the
//! digit, draws it with a pen of random width and centres it as MNIST does: bright ink on exact zero, the
//! longer side about 20 of 28 pixels, the centre of mass near the middle.
//!
//! Every sample has its own generator, seeded by (seed, half, index), and pixels are computed with `+ − · /
//! √` only, so the bytes depend on neither the number of threads nor the machine.

use std::io::Write;
use std::path::Path;

use anyhow::ensure;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

use super::files::FILES;
use crate::io::atomic::{AtomicFile, advice};
use crate::io::folder;
use crate::io::idx::{IMAGES_MAGIC, LABELS_MAGIC};
use crate::io::machine::start_rayon;

/// The seed of the set that `Dataset::open("synth", …)` generates.
pub const DEFAULT_SEED: u64 = 1;
/// Default number of training samples.
pub const DEFAULT_TRAIN: usize = 12_000;
/// Default number of test samples.
pub const DEFAULT_TEST: usize = 2_000;
/// Height and width of an image.
pub const SIZE: usize = 28;

const PIXELS: usize = SIZE * SIZE;
/// Samples drawn before they are written: bounds the memory, not the result.
const BLOCK: usize = 4096;
/// Straight pieces between two points of a stroke.
const PIECES: usize = 7;

/// Points of one pen stroke in percent of the letter's box, y downwards; a repeated point is a corner.
type Stroke = &'static [(i8, i8)];

/// One style of a digit, and its weight among the styles of that digit.
struct Style {
    weight: u64,
    strokes: &'static [Stroke],
}

#[rustfmt::skip]
const STYLES: [&[Style]; 10] = [
    &[
        Style { weight: 7, strokes: &[&[(52, 0), (20, 14), (4, 50), (18, 86), (50, 100), (82, 86), (96, 50), (82, 14), (48, 1)]] },
        Style { weight: 3, strokes: &[&[(66, 6), (36, 3), (8, 34), (8, 72), (38, 99), (76, 86), (95, 48), (80, 12), (50, 2), (36, 14)]] },
    ],
    &[
        Style { weight: 16, strokes: &[&[(50, 0), (50, 50), (50, 100)]] },
        Style { weight: 3, strokes: &[&[(26, 22), (51, 0), (51, 0), (50, 50), (50, 100)]] },
        Style { weight: 1, strokes: &[&[(26, 22), (51, 0), (51, 0), (50, 50), (50, 100)], &[(22, 100), (78, 99)]] },
    ],
    &[
        Style { weight: 5, strokes: &[&[(8, 22), (30, 3), (62, 0), (84, 20), (74, 46), (42, 74), (6, 99), (6, 99), (50, 97), (96, 97)]] },
        Style { weight: 5, strokes: &[&[(10, 20), (36, 0), (70, 6), (78, 32), (56, 64), (22, 96), (5, 90), (18, 76), (46, 86), (72, 99), (98, 90)]] },
    ],
    &[
        Style { weight: 7, strokes: &[&[(10, 12), (40, 0), (74, 8), (76, 28), (56, 43), (32, 47), (32, 47), (66, 51), (88, 68), (78, 90), (44, 100), (6, 88)]] },
        Style { weight: 2, strokes: &[&[(10, 2), (80, 2), (80, 2), (42, 40), (42, 40), (76, 49), (88, 72), (68, 95), (34, 100), (5, 88)]] },
    ],
    &[
        Style { weight: 5, strokes: &[&[(16, 2), (8, 28), (10, 50), (10, 50), (48, 54), (92, 46)], &[(84, 0), (76, 50), (70, 100)]] },
        Style { weight: 3, strokes: &[&[(66, 0), (36, 32), (4, 64), (4, 64), (50, 65), (96, 62)], &[(68, 0), (67, 50), (66, 100)]] },
        Style { weight: 2, strokes: &[&[(20, 0), (10, 34), (24, 52), (56, 48), (80, 26), (86, 2), (86, 2), (78, 50), (74, 100)]] },
    ],
    &[
        Style { weight: 5, strokes: &[&[(22, 4), (18, 42), (18, 42), (50, 36), (82, 52), (82, 80), (50, 100), (8, 90)], &[(22, 4), (54, 4), (92, 0)]] },
        Style { weight: 4, strokes: &[&[(92, 2), (58, 3), (32, 5), (32, 5), (22, 42), (22, 42), (56, 44), (78, 64), (66, 90), (34, 100), (4, 90)]] },
    ],
    &[
        Style { weight: 6, strokes: &[&[(72, 0), (40, 18), (14, 50), (10, 80), (36, 100), (72, 93), (84, 72), (62, 54), (34, 62), (14, 82)]] },
        Style { weight: 3, strokes: &[&[(46, 0), (24, 30), (14, 66), (28, 95), (60, 98), (78, 80), (64, 64), (38, 70), (22, 88)]] },
    ],
    &[
        Style { weight: 7, strokes: &[&[(6, 9), (44, 4), (90, 3), (90, 3), (66, 44), (46, 100)]] },
        Style { weight: 2, strokes: &[&[(6, 7), (44, 4), (90, 3), (90, 3), (64, 44), (44, 100)], &[(28, 52), (54, 50), (84, 48)]] },
        Style { weight: 2, strokes: &[&[(8, 28), (12, 6), (12, 6), (50, 6), (86, 2), (86, 2), (76, 46), (70, 100)]] },
    ],
    &[
        Style { weight: 7, strokes: &[&[(78, 14), (50, 0), (20, 16), (36, 40), (68, 60), (80, 82), (50, 100), (18, 86), (30, 62), (62, 40), (82, 20), (70, 4)]] },
        Style { weight: 3, strokes: &[&[(52, 46), (24, 36), (24, 10), (50, 0), (78, 10), (76, 36), (52, 46), (20, 58), (14, 84), (48, 100), (84, 86), (82, 60), (50, 46)]] },
    ],
    &[
        Style { weight: 5, strokes: &[&[(80, 14), (54, 0), (24, 10), (14, 34), (36, 50), (66, 42), (82, 16), (82, 16), (76, 56), (68, 100)]] },
        Style { weight: 3, strokes: &[&[(80, 20), (58, 0), (26, 8), (18, 34), (42, 48), (70, 38), (82, 16), (80, 56), (62, 92), (24, 98)]] },
        Style { weight: 2, strokes: &[&[(62, 4), (26, 8), (16, 32), (40, 46), (68, 34), (68, 4), (68, 4), (66, 50), (60, 100)]] },
    ],
];

/// Draws `train` + `test` samples and writes them into `dir` as the four IDX files, each of them atomically.
///
/// Same `seed`, same bytes; a longer set begins with the samples of a shorter one. `dir` is created if it
/// does not exist, and existing files are replaced.
///
/// # Errors
/// If a size is 0 or does not fit an IDX header, or a file cannot be written.
pub fn write(dir: &Path, seed: u64, train: usize, test: usize) -> anyhow::Result<()> {
    for (half, len) in [("train", train), ("test", test)] {
        ensure!(len > 0, "synth: the {half} half has 0 samples; use at least 1");
        ensure!(
            u32::try_from(len).is_ok(),
            "synth: {len} {half} samples do not fit an IDX file; use at most {}",
            u32::MAX
        );
    }
    folder::create(dir)?;
    start_rayon();
    let [train_images, train_labels, test_images, test_labels] = FILES;
    write_half(&dir.join(train_images), &dir.join(train_labels), seed, 0, train)?;
    write_half(&dir.join(test_images), &dir.join(test_labels), seed, 1, test)
}

/// The first `len` training samples of that seed: pixels `[len, 28, 28]` and classes.
pub fn draw(seed: u64, len: usize) -> (Vec<u8>, Vec<u8>) {
    draw_half(seed, 0, len)
}

/// The first `len` test samples of that seed, as [`draw`] gives those for training.
pub fn draw_test(seed: u64, len: usize) -> (Vec<u8>, Vec<u8>) {
    draw_half(seed, 1, len)
}

fn draw_half(seed: u64, half: u64, len: usize) -> (Vec<u8>, Vec<u8>) {
    let mut pixels = vec![0; len * PIXELS];
    let images = pixels.chunks_exact_mut(PIXELS).enumerate();
    let labels = images.map(|(i, image)| sample(seed, half, i as u64, image)).collect();
    (pixels, labels)
}

fn write_half(images: &Path, labels: &Path, seed: u64, half: u64, len: usize) -> anyhow::Result<()> {
    let open = |path: &Path| AtomicFile::open(path);
    let (mut to_images, mut to_labels) = (open(images)?, open(labels)?);
    let mut draw = || -> std::io::Result<()> {
        let (count, size) = ((len as u32).to_be_bytes(), (SIZE as u32).to_be_bytes());
        to_images.write_all(&[IMAGES_MAGIC.to_be_bytes(), count, size, size].concat())?;
        to_labels.write_all(&[LABELS_MAGIC.to_be_bytes(), count].concat())?;
        let mut pixels = vec![0; PIXELS * BLOCK.min(len)];
        let mut classes = vec![0; BLOCK.min(len)];
        for first in (0..len).step_by(BLOCK) {
            let n = BLOCK.min(len - first);
            let drawn = pixels[..n * PIXELS].par_chunks_exact_mut(PIXELS).zip(&mut classes[..n]).enumerate();
            drawn.for_each(|(i, (image, label))| *label = sample(seed, half, (first + i) as u64, image));
            to_images.write_all(&pixels[..n * PIXELS])?;
            to_labels.write_all(&classes[..n])?;
        }
        Ok(())
    };
    draw().map_err(|error| {
        let context = format!("{}{}", AtomicFile::unfinished(images), advice(&error));
        anyhow::Error::new(error).context(context)
    })?;
    to_images.commit()?;
    to_labels.commit()
}

/// The random number generator of one sample.
pub(super) struct Random(Xoshiro256PlusPlus);

impl Random {
    pub(super) fn new(seed: u64, half: u64, index: u64) -> Self {
        let mut state = split_mix(seed);
        let mut bytes = [0; 32];
        for (word, salt) in bytes.chunks_exact_mut(8).zip([half, index, 2, 3]) {
            state = split_mix(state ^ salt);
            word.copy_from_slice(&state.to_le_bytes());
        }
        Self(Xoshiro256PlusPlus::from_seed(bytes))
    }

    /// Below `n`; `n` is small, so the bias of the remainder is negligible.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        (self.0.next_u64() >> 16) % n
    }

    /// Uniform in `[low, high)`.
    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.0.next_u64() >> 40) as f32 / (1u64 << 24) as f32)
    }

    /// Bell-shaped around `mean` and never beyond 3.5 `sd`: the sum of four uniforms.
    fn bell(&mut self, mean: f32, sd: f32) -> f32 {
        let sum: f32 = (0..4).map(|_| self.between(-0.5, 0.5)).sum();
        mean + sd * 1.732_050_8 * sum
    }

    fn chance(&mut self, p: f32) -> bool {
        self.between(0.0, 1.0) < p
    }
}

fn split_mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

type Point = [f32; 2];

/// A straight piece of ink with its half width in pixels.
#[derive(Clone, Copy)]
struct Piece {
    from: Point,
    to: Point,
    radius: f32,
}

/// Draws one sample into `image` and returns its class.
fn sample(seed: u64, half: u64, index: u64, image: &mut [u8]) -> u8 {
    let random = &mut Random::new(seed, half, index);
    let class = random.below(10) as usize;
    let ways = STYLES[class];
    let mut pick = random.below(ways.iter().map(|s| s.weight).sum());
    let mut strokes = ways[0].strokes;
    for way in ways {
        strokes = way.strokes;
        if pick < way.weight {
            break;
        }
        pick -= way.weight;
    }

    let distortion = Distortion::new(random, class == 1);
    let lines: Vec<Vec<Point>> = strokes.iter().map(|stroke| distortion.trace(random, stroke)).collect();
    let pieces = place(random, &lines);
    ink(random, &pieces, image);
    class as u8
}

/// The random distortion of all points of a digit.
struct Distortion {
    jitter: f32,
    bend: [f32; 6],
    aspect: f32,
    slant: f32,
    sin: f32,
    cos: f32,
}

impl Distortion {
    fn new(random: &mut Random, is_stick: bool) -> Self {
        // A rotation by 2·atan(t): sine and cosine without a transcendental function.
        let t = random.bell(0.0, 0.055);
        Self {
            jitter: random.between(0.018, 0.060) * if is_stick { 0.6 } else { 1.0 },
            bend: std::array::from_fn(|_| random.bell(0.0, 0.16)),
            aspect: random.bell(0.78, 0.12),
            slant: if is_stick { random.bell(0.22, 0.22) } else { random.bell(0.18, 0.19) },
            sin: 2.0 * t / (1.0 + t * t),
            cos: (1.0 - t * t) / (1.0 + t * t),
        }
    }

    /// The curve through the points of `stroke` (Catmull–Rom), with the random distortion of this sample.
    fn trace(&self, random: &mut Random, stroke: Stroke) -> Vec<Point> {
        let mut points: Vec<Point> = Vec::with_capacity(stroke.len());
        for (i, &(x, y)) in stroke.iter().enumerate() {
            match points.last() {
                Some(&corner) if stroke[i - 1] == (x, y) => points.push(corner),
                _ => points.push([
                    f32::from(x) / 100.0 - 0.5 + random.bell(0.0, self.jitter),
                    f32::from(y) / 100.0 - 0.5 + random.bell(0.0, self.jitter),
                ]),
            }
        }
        let last = points.len() - 1;
        let mut line = vec![self.move_point(points[0])];
        for i in 0..last {
            let around = [points[i.saturating_sub(1)], points[i], points[i + 1], points[(i + 2).min(last)]];
            for piece in 1..=PIECES {
                line.push(self.move_point(spline(around, piece as f32 / PIECES as f32)));
            }
        }
        line
    }

    fn move_point(&self, [x, y]: Point) -> Point {
        let b = &self.bend;
        let bent_x = x + b[0] * x * x + b[1] * x * y + b[2] * y * y;
        let bent_y = y + b[3] * x * x + b[4] * x * y + b[5] * y * y;
        let x = self.aspect * bent_x - self.slant * bent_y;
        [self.cos * x - self.sin * bent_y, self.sin * x + self.cos * bent_y]
    }
}

fn spline([a, b, c, d]: [Point; 4], t: f32) -> Point {
    std::array::from_fn(|k| {
        let (a, b, c, d) = (a[k], b[k], c[k], d[k]);
        let cubic = 3.0 * (b - c) + d - a;
        let square = 2.0 * a - 5.0 * b + 4.0 * c - d;
        b + 0.5 * t * (c - a + t * (square + t * cubic))
    })
}

/// Scales the lines to pixels, centres their mass and sets the width of the pen.
fn place(random: &mut Random, lines: &[Vec<Point>]) -> Vec<Piece> {
    let (mut low, mut high, mut mass, mut centre) = ([f32::MAX; 2], [f32::MIN; 2], 0.0, [0.0; 2]);
    for line in lines {
        for p in line {
            low = std::array::from_fn(|k| low[k].min(p[k]));
            high = std::array::from_fn(|k| high[k].max(p[k]));
        }
        for pair in line.windows(2) {
            let length = distance(pair[0], pair[1]);
            mass += length;
            centre = std::array::from_fn(|k| centre[k] + length * 0.5 * (pair[0][k] + pair[1][k]));
        }
    }
    let pen = random.bell(1.20, 0.30).max(0.65);
    let box_side = (high[0] - low[0]).max(high[1] - low[1]).max(1e-3);
    let scale = (random.bell(20.0, 0.7) - 2.0 * pen) / box_side;
    let middle = (SIZE as f32 - 1.0) / 2.0;
    let shift: Point =
        std::array::from_fn(|k| middle + random.bell(0.0, 0.6) - scale * centre[k] / mass.max(1e-6));

    // The pressure changes along a stroke; sometimes a short gap is left.
    let (start, end) = (random.bell(1.0, 0.13), random.bell(1.0, 0.13));
    let total: usize = lines.iter().map(|line| line.len() - 1).sum();
    let gap = if random.chance(0.12) { random.below(total as u64) as usize } else { usize::MAX };
    let gap_length = 1 + random.below(1 + total as u64 / 14) as usize;
    let to_pixels = |p: Point| -> Point { std::array::from_fn(|k| scale * p[k] + shift[k]) };
    let pairs = lines.iter().flat_map(|line| line.windows(2)).enumerate();
    let written = pairs.filter(|(i, _)| !(gap..gap.saturating_add(gap_length)).contains(i));
    let pieces = written.map(|(i, pair)| {
        let pressure = start + (end - start) * i as f32 / total as f32;
        Piece { from: to_pixels(pair[0]), to: to_pixels(pair[1]), radius: pen * pressure }
    });
    pieces.collect()
}

fn distance(a: Point, b: Point) -> f32 {
    ((a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1])).sqrt()
}

/// Rasterises the pieces with a soft edge, then roughens the ink.
fn ink(random: &mut Random, pieces: &[Piece], image: &mut [u8]) {
    let soft = random.between(0.9, 1.9);
    let gain = random.between(0.95, 1.6);
    let grain = random.between(0.0, 0.14);
    let mut page = [0.0f32; PIXELS];
    let mut draw = |piece: &Piece| {
        let reach = piece.radius + soft;
        let range = |k: usize| {
            let low = (piece.from[k].min(piece.to[k]) - reach).max(0.0) as usize;
            let high = (piece.from[k].max(piece.to[k]) + reach + 1.0).max(0.0) as usize;
            low..high.min(SIZE)
        };
        for y in range(1) {
            for x in range(0) {
                let away = distance_to_piece([x as f32, y as f32], piece);
                let cover = ((piece.radius + 0.5 * soft - away) / soft).clamp(0.0, 1.0);
                page[y * SIZE + x] = page[y * SIZE + x].max(cover);
            }
        }
    };
    pieces.iter().for_each(&mut draw);
    if random.chance(0.06) {
        let at = [random.between(5.0, 22.0), random.between(5.0, 22.0)];
        draw(&Piece {
            from: at,
            to: [at[0] + random.bell(0.0, 1.5), at[1] + random.bell(0.0, 1.5)],
            radius: 0.5,
        });
    }
    for (to, &cover) in image.iter_mut().zip(&page) {
        let rough = if cover > 0.0 { 1.0 - random.between(0.0, grain) } else { 0.0 };
        *to = (255.0 * (cover * gain).min(1.0) * rough + 0.5) as u8;
    }
}

fn distance_to_piece(p: Point, piece: &Piece) -> f32 {
    let along = [piece.to[0] - piece.from[0], piece.to[1] - piece.from[1]];
    let length2 = along[0] * along[0] + along[1] * along[1];
    let dot = (p[0] - piece.from[0]) * along[0] + (p[1] - piece.from[1]) * along[1];
    let t = if length2 > 0.0 { (dot / length2).clamp(0.0, 1.0) } else { 0.0 };
    distance(p, [piece.from[0] + t * along[0], piece.from[1] + t * along[1]])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::io::hash::sha256;

    fn drawn(seed: u64, half: u64, index: u64) -> (u8, Vec<u8>) {
        let mut image = vec![0; PIXELS];
        (sample(seed, half, index, &mut image), image)
    }

    /// The first samples must never change: runs are compared by them.
    #[test]
    fn the_first_samples_are_golden() {
        let (labels, images): (Vec<u8>, Vec<Vec<u8>>) = (0..64).map(|i| drawn(DEFAULT_SEED, 0, i)).unzip();
        assert_eq!(labels[..8], [0, 5, 9, 0, 9, 4, 5, 3]);
        assert_eq!(
            sha256(&images.concat()),
            "d89c62611d058c3f816008d8b45fd9a4382b3f18ac17b914386eaf05536c7881"
        );
    }

    #[test]
    fn seed_half_and_index_each_change_the_sample() {
        let all =
            [drawn(1, 0, 0), drawn(2, 0, 0), drawn(1, 1, 0), drawn(1, 0, 1), drawn(0, 1, 0), drawn(0, 0, 1)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a.1 != b.1));
        }
    }

    #[test]
    fn threads_and_sizes_do_not_change_a_byte() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = |name: &str, threads: usize, train: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let dir = dir.path().join(name);
            pool.install(|| write(&dir, 5, train, 3)).unwrap();
            FILES.map(|file| std::fs::read(dir.join(file)).unwrap())
        };
        let one = bytes("one", 1, BLOCK + 10);
        assert_eq!(one, bytes("three", 3, BLOCK + 10));
        assert_eq!(bytes("short", 2, 7)[0][16..], one[0][16..][..7 * PIXELS]);
    }

    #[test]
    fn digits_are_bright_on_exact_zero_and_centred() {
        for i in 0..500 {
            let (label, image) = drawn(9, 0, i);
            assert!(label < 10);
            assert!(image.iter().filter(|&&p| p == 0).count() > PIXELS / 3, "sample {i}: no background");
            assert!(image.iter().any(|&p| p > 150), "sample {i}: too pale");
            let mass: u32 = image.iter().map(|&p| u32::from(p)).sum();
            let x: u32 = image.iter().enumerate().map(|(k, &p)| (k % SIZE) as u32 * u32::from(p)).sum();
            assert!((x as f32 / mass as f32 - 13.5).abs() < 3.5, "sample {i}: off centre");
        }
    }

    #[test]
    fn sizes_too_large_for_a_file_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write(dir.path(), 1, 0, 5).unwrap_err().to_string().contains("train half has 0"));
        assert!(write(dir.path(), 1, 5, 1 << 33).unwrap_err().to_string().contains("do not fit"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
