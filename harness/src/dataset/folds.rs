//! Stratified folds: lists of indices, no sample is copied.

use super::synth::Random;
use anyhow::ensure;

/// Distinguishes the generator of folds from other generators with the same seed.
const PURPOSE: u64 = 8;

/// One division of a data set: its test part and its training part, each in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    /// Training samples.
    pub train: Vec<u32>,
    /// Test samples.
    pub test: Vec<u32>,
}

/// Divides samples into `folds` test parts, each with the same proportion of every class.
///
/// The samples of a class are shuffled and assigned to the folds in turn, starting after the last fold of the
/// previous class: between any two folds, the test samples of a class, and all test samples, differ by at
/// most one.
///
/// # Errors
/// If there are fewer than 2 folds, or fewer samples than folds.
pub fn stratified(labels: &[u8], folds: usize, seed: u64) -> anyhow::Result<Vec<Fold>> {
    ensure!(folds >= 2, "{folds} folds, expected at least 2");
    ensure!(folds <= labels.len(), "{folds} folds of {} samples; ask for fewer folds", labels.len());
    let mut fold_of = vec![0usize; labels.len()];
    let mut dealt = 0;
    for class in 0..=u8::MAX {
        let mut members: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == class).collect();
        let mut random = Random::new(seed, PURPOSE, u64::from(class));
        for last in (1..members.len()).rev() {
            members.swap(last, random.below(last as u64 + 1) as usize);
        }
        for i in members {
            fold_of[i] = dealt % folds;
            dealt += 1;
        }
    }
    let part = |fold: usize, is_test: bool| -> Vec<u32> {
        (0..labels.len()).filter(|&i| (fold_of[i] == fold) == is_test).map(|i| i as u32).collect()
    };
    Ok((0..folds).map(|fold| Fold { train: part(fold, false), test: part(fold, true) }).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn counts(labels: &[u8], part: &[u32]) -> [usize; 10] {
        part.iter().fold([0; 10], |mut counts, &i| {
            counts[usize::from(labels[i as usize])] += 1;
            counts
        })
    }

    #[test]
    fn folds_are_a_partition_with_every_class_in_its_share() {
        for (n, folds) in [(10, 2), (97, 7), (1000, 7), (50, 50)] {
            let labels: Vec<u8> = (0..n).map(|i| ((i * i + i / 3) % 10) as u8).collect();
            let found = stratified(&labels, folds, 3).unwrap();
            assert_eq!(found.len(), folds);
            let mut tested: Vec<u32> = found.iter().flat_map(|fold| fold.test.clone()).collect();
            tested.sort_unstable();
            assert_eq!(tested, (0..n).collect::<Vec<u32>>(), "each sample is tested once");
            for fold in &found {
                let mut all = [fold.train.clone(), fold.test.clone()].concat();
                all.sort_unstable();
                assert_eq!(all, (0..n).collect::<Vec<u32>>(), "train and test are disjoint and hold all");
                assert!(fold.train.is_sorted() && fold.test.is_sorted());
            }
            let of: Vec<_> = found.iter().map(|fold| counts(&labels, &fold.test)).collect();
            for class in 0..10 {
                let of_class = of.iter().map(|counts| counts[class]);
                assert!(of_class.clone().max().unwrap() - of_class.min().unwrap() <= 1, "{of:?}");
            }
            let sizes = found.iter().map(|fold| fold.test.len());
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }

    #[test]
    fn a_seed_has_one_division_and_too_many_folds_are_refused() {
        let labels: Vec<u8> = (0..200).map(|i| (i % 10) as u8).collect();
        assert_eq!(stratified(&labels, 7, 1).unwrap(), stratified(&labels, 7, 1).unwrap());
        assert_ne!(stratified(&labels, 7, 1).unwrap(), stratified(&labels, 7, 2).unwrap());
        for (folds, part) in [(0, "0 folds"), (1, "1 folds"), (201, "201 folds of 200 samples")] {
            let message = stratified(&labels, folds, 1).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
