//! The majority problem: the share of relevance on the two images that determine the class.

use crate::dataset::files::BLOCKS;
use model::measure::shares;

/// Cosine of a mask with relevance spread evenly over the blocks: √(2/3).
pub const UNIFORM_BASELINE: f64 = 0.816_496_580_927_726;
/// Mean cosine of all masks with relevance on the last block only, `(1/√2 + 1/√2 + 0) / 3`.
pub const LAST_BLOCK_BASELINE: f64 = 0.471_404_520_791_031_7;

/// Treatment of negative relevance before the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegativeRelevance {
    /// Negative relevance is kept.
    Keep,
    /// A pixel of negative relevance counts as 0.
    SetToZero,
}

/// Sum of the relevance of each block.
///
/// - `map` `[rows, cols]`; the blocks have `cols / 3` columns each
///
/// # Panics
/// If the columns are not three blocks of equal width, or `map` is not one whole heatmap.
pub fn block_sums(map: &[f32], rows: usize, cols: usize, negative: NegativeRelevance) -> [f64; BLOCKS] {
    assert_eq!(map.len(), rows * cols, "one heatmap of {rows}x{cols}");
    let sums = match negative {
        NegativeRelevance::Keep => shares::per_step(map, rows, cols, BLOCKS),
        NegativeRelevance::SetToZero => {
            let positive: Vec<f32> = map.iter().map(|r| r.max(0.0)).collect();
            shares::per_step(&positive, rows, cols, BLOCKS)
        }
    };
    std::array::from_fn(|block| sums[block])
}

/// Cosine between a mask and the relevance of the blocks; 0 if there is no relevance.
///
/// Sums or shares can be used: a cosine does not depend on a positive scale, and a negative total keeps its
/// sign.
pub fn mask_cosine(mask: [bool; BLOCKS], sums: [f64; BLOCKS]) -> f64 {
    let cosine = shares::cosine(&mask.map(|is_majority| f64::from(u8::from(is_majority))), &sums);
    if cosine.is_nan() { 0.0 } else { cosine }
}

/// Statistics of many heatmaps of the majority problem.
#[derive(Clone, Debug, PartialEq)]
pub struct MajorityScores {
    rows: usize,
    cols: usize,
    /// Cosine of each sample, negative relevance kept.
    pub cosine: Vec<f64>,
    /// Cosine of each sample, negative relevance set to 0.
    pub cosine_positive: Vec<f64>,
    blocks: [f64; BLOCKS],
    steps: Vec<f64>,
    /// Relevance on the majority's blocks, and on the other.
    sides: [f64; 2],
}

impl MajorityScores {
    /// For heatmaps `[rows, cols]` of a network that reads them in `seq_len` steps.
    pub fn new(rows: usize, cols: usize, seq_len: usize) -> MajorityScores {
        MajorityScores {
            rows,
            cols,
            cosine: Vec::new(),
            cosine_positive: Vec::new(),
            blocks: [0.0; BLOCKS],
            steps: vec![0.0; seq_len],
            sides: [0.0; 2],
        }
    }

    /// Adds heatmaps `[N, rows, cols]` with the mask of each.
    ///
    /// # Panics
    /// If there is not one mask per heatmap, or the steps or the blocks do not divide the columns.
    pub fn add(&mut self, masks: &[[bool; BLOCKS]], maps: &[f32]) {
        let size = self.rows * self.cols;
        assert_eq!(maps.len(), masks.len() * size, "{} masks", masks.len());
        for (&mask, map) in masks.iter().zip(maps.chunks_exact(size)) {
            let sums = block_sums(map, self.rows, self.cols, NegativeRelevance::Keep);
            let positive = block_sums(map, self.rows, self.cols, NegativeRelevance::SetToZero);
            self.cosine.push(mask_cosine(mask, sums));
            self.cosine_positive.push(mask_cosine(mask, positive));
            for (block, sum) in sums.into_iter().enumerate() {
                self.blocks[block] += sum;
                self.sides[usize::from(!mask[block])] += sum;
            }
            let steps = shares::per_step(map, self.rows, self.cols, self.steps.len());
            self.steps.iter_mut().zip(steps).for_each(|(total, sum)| *total += sum);
        }
    }

    /// Share of all relevance by block, `[3]`.
    pub fn share_by_block(&self) -> Vec<f64> {
        shares::normalised(&self.blocks)
    }

    /// Share of all relevance by step of the sequence, `[T]`.
    pub fn share_by_step(&self) -> Vec<f64> {
        shares::normalised(&self.steps)
    }

    /// Share of all relevance that lies on blocks of the majority; 2/3 if it is spread evenly.
    pub fn majority_share(&self) -> f64 {
        shares::normalised(&self.sides)[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASKS: [[bool; 3]; 3] = [[true, true, false], [true, false, true], [false, true, true]];

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn the_baselines_are_what_they_say() {
        let mean = |sums: [f64; 3]| MASKS.map(|mask| mask_cosine(mask, sums)).iter().sum::<f64>() / 3.0;
        assert!(close(mean([1.0; 3]), UNIFORM_BASELINE) && close(UNIFORM_BASELINE, (2f64 / 3.0).sqrt()));
        assert!(
            close(mean([0.0, 0.0, 5.0]), LAST_BLOCK_BASELINE)
                && close(LAST_BLOCK_BASELINE, 2f64.sqrt() / 3.0)
        );
    }

    #[test]
    fn the_cosine_ranges_from_opposed_to_exact() {
        let mask = MASKS[0];
        assert!(close(mask_cosine(mask, [2.0, 2.0, 0.0]), 1.0));
        assert_eq!(mask_cosine(mask, [0.0, 0.0, 3.0]), 0.0);
        assert!(close(mask_cosine(mask, [-1.0, -1.0, 0.0]), -1.0));
        assert_eq!(mask_cosine(mask, [0.0; 3]), 0.0);
        assert!(close(mask_cosine(mask, [3.0, 0.0, 4.0]), 3.0 / (5.0 * 2f64.sqrt())));
    }

    #[test]
    fn negative_relevance_is_kept_or_set_to_zero_pixel_by_pixel() {
        // Two rows, one column per block.
        let map = [3.0, -1.0, 2.0, -1.0, 2.0, -4.0];
        assert_eq!(block_sums(&map, 2, 3, NegativeRelevance::Keep), [2.0, 1.0, -2.0]);
        assert_eq!(block_sums(&map, 2, 3, NegativeRelevance::SetToZero), [3.0, 2.0, 2.0]);
    }

    #[test]
    fn scores_gather_cosines_and_shares() {
        let mut scores = MajorityScores::new(1, 6, 6);
        scores.add(&MASKS[..2], &[1.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        scores.add(&MASKS[2..], &[0.0, 0.0, 0.0, 0.0, 0.0, 4.0]);
        assert!(close(scores.cosine[0], 1.0) && close(scores.cosine[2], 0.5f64.sqrt()));
        assert_eq!((scores.cosine[1], scores.cosine.len()), (0.0, 3));
        assert_eq!(scores.cosine, scores.cosine_positive);
        assert_eq!(scores.share_by_block(), [0.25, 0.25, 0.5]);
        assert_eq!(scores.share_by_step(), [0.125, 0.125, 0.25, 0.0, 0.0, 0.5]);
        assert_eq!(scores.majority_share(), 1.0);
    }

    #[test]
    #[should_panic(expected = "2 masks")]
    fn a_mask_too_many_is_refused() {
        MajorityScores::new(1, 3, 3).add(&MASKS[..2], &[0.0; 3]);
    }
}
