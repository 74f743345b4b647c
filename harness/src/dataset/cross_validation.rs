//! Cross-validation: training and test half are joined and divided into stratified folds.
//!
//! A fold is a [`Dataset`] like any other; it presents the mapped images in another order without copying
//! them.

use super::files::{BLOCKS, canonical_name};
use super::folds::{Fold, stratified};
use super::maj::{self, Part, SUFFIX};
use super::set::Dataset;
use super::split::{Composition, Split};
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;

/// One fold of a data set: which part is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldChoice {
    /// Number of folds.
    pub folds: usize,
    /// The one that is tested, below `folds`.
    pub fold: usize,
    /// Whether a majority problem is drawn before the division: see [`Problem::LeakyMajority`].
    pub leaky: bool,
}

/// Seed of divisions into folds and of the majority problems in them: folds do not depend on the seed of a training, so
/// that scores of networks and seeds can be paired by fold.
const FOLD_SEED: u64 = maj::DEFAULT_SEED;

/// Opens a fold of the data set `name`. A majority problem, `mnist-maj`, is composed of the images of its base set,
/// `mnist`; no file of its own is read.
///
/// # Errors
/// If the set, or the base set of a majority problem, is not found, or the fold cannot be made of it.
pub fn open_fold(name: &str, choice: FoldChoice, data_dir: Option<&Path>) -> anyhow::Result<Dataset> {
    let name = canonical_name(name)?;
    let (base, problem) = match (name.strip_suffix(SUFFIX), choice.leaky) {
        (Some(base), true) => (base, Problem::LeakyMajority),
        (Some(base), false) => (base, Problem::Majority),
        (None, _) => (&name[..], Problem::Samples),
    };
    let base = Dataset::open(base, data_dir)?;
    CrossValidation::new(&base, problem, choice.folds, FOLD_SEED)?.fold(choice.fold)
}

/// The kind of samples of a fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// The samples of the set.
    Samples,
    /// The majority problem, drawn inside the training and the test part of each fold: no image is in both.
    Majority,
    /// The majority problem of each half, divided after it was drawn, as in the thesis: images recur in both
    /// parts of a fold.
    LeakyMajority,
}

/// A data set divided into folds.
#[derive(Clone, Debug)]
pub struct CrossValidation {
    base: Dataset,
    /// Training and test half.
    halves: [Split; 2],
    problem: Problem,
    seed: u64,
    /// The samples of both halves, for [`Problem::LeakyMajority`].
    drawn: Option<Composition>,
    folds: Vec<Fold>,
}

impl CrossValidation {
    /// Divides `base` into `folds` parts. With the seed of `harness data maj`, the samples of [`Problem::LeakyMajority`] are
    /// those of its files.
    ///
    /// # Errors
    /// If the number of folds does not fit, or the set cannot be the base of a majority problem.
    pub fn new(base: &Dataset, problem: Problem, folds: usize, seed: u64) -> anyhow::Result<CrossValidation> {
        let halves = [base.train.clone(), base.test.clone()];
        let labels = halves.each_ref().map(Split::labels).concat();
        ensure!(
            u32::try_from(labels.len()).is_ok(),
            "{}: {} samples are too many for folds; there may be {}",
            base.name,
            labels.len(),
            u32::MAX
        );
        if problem != Problem::Samples {
            maj::check(&base.train).with_context(|| base.name.clone())?;
        }
        let drawn = match problem {
            Problem::LeakyMajority => Some(leaky(&labels, base.train.len() as u32, seed)?),
            Problem::Samples | Problem::Majority => None,
        };
        let folds = stratified(&labels, folds, seed).with_context(|| base.name.clone())?;
        Ok(CrossValidation { base: base.clone(), halves, problem, seed, drawn, folds })
    }

    /// Indices of each fold over the joined samples: training half first, then test half.
    pub fn folds(&self) -> &[Fold] {
        &self.folds
    }

    /// Fold `fold` as a data set: its test part is the test half.
    ///
    /// # Errors
    /// If there is no such fold, or one of its parts has one class only.
    pub fn fold(&self, fold: usize) -> anyhow::Result<Dataset> {
        let lists = self.folds.get(fold).with_context(|| {
            format!("{}: no fold {fold}; there are 0 to {}", self.base.name, self.folds.len() - 1)
        })?;
        let name = match self.problem {
            Problem::Samples => self.base.name.clone(),
            Problem::Majority | Problem::LeakyMajority => format!("{}{SUFFIX}", self.base.name),
        };
        let train = self.split(&lists.train, Part::FoldTrain(fold))?;
        let test = self.split(&lists.test, Part::FoldTest(fold))?;
        let (rows, cols) = (train.rows(), train.cols());
        Ok(Dataset { name, train, test, rows, cols, classes: self.base.classes })
    }

    fn split(&self, members: &[u32], part: Part) -> anyhow::Result<Split> {
        let labels = self.halves.each_ref().map(Split::labels).concat();
        let composition = match (self.problem, &self.drawn) {
            (Problem::Majority, _) => maj::draw(&labels, members, self.seed, part)
                .with_context(|| format!("{}, {part:?}", self.base.name))?,
            (_, Some(drawn)) => select(drawn, members),
            (_, None) => Composition {
                blocks: 1,
                sources: members.to_vec(),
                labels: members.iter().map(|&i| labels[i as usize]).collect(),
                masks: self.masks(members),
            },
        };
        Ok(Split::compose(&self.halves, composition))
    }

    /// Masks of members of a set that is a majority problem itself; empty for other sets.
    fn masks(&self, members: &[u32]) -> Vec<[bool; BLOCKS]> {
        let train = self.halves[0].len();
        let mask = |&i: &u32| match (i as usize).checked_sub(train) {
            None => self.halves[0].mask(i as usize),
            Some(i) => self.halves[1].mask(i),
        };
        members.iter().filter_map(mask).collect()
    }
}

/// The samples of both halves, each drawn from itself, over the joined images.
fn leaky(labels: &[u8], train: u32, seed: u64) -> anyhow::Result<Composition> {
    let (of_train, of_test): (Vec<u32>, Vec<u32>) = (0..labels.len() as u32).partition(|&i| i < train);
    let mut drawn = maj::draw(labels, &of_train, seed, Part::Train).context("training half")?;
    let test = maj::draw(labels, &of_test, seed, Part::Test).context("test half")?;
    drawn.sources.extend(test.sources);
    drawn.labels.extend(test.labels);
    drawn.masks.extend(test.masks);
    Ok(drawn)
}

/// Some samples of a composition.
fn select(from: &Composition, members: &[u32]) -> Composition {
    let at = members.iter().map(|&i| i as usize);
    Composition {
        blocks: from.blocks,
        sources: at.clone().flat_map(|i| from.sources[i * from.blocks..][..from.blocks].to_vec()).collect(),
        labels: at.clone().map(|i| from.labels[i]).collect(),
        masks: at.map(|i| from.masks[i]).collect(),
    }
}

/// Images that are in both halves of a fold; none if the halves are mapped files.
pub fn recurring_images(fold: &Dataset) -> Option<usize> {
    let images =
        |half: &Split| half.composition().map(|found| found.sources.iter().copied().collect::<HashSet<_>>());
    Some(images(&fold.train)?.intersection(&images(&fold.test)?).count())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dataset::samples::Scaled;
    use crate::dataset::synth;
    use model::Samples;

    fn digits() -> (tempfile::TempDir, Dataset) {
        let dir = tempfile::tempdir().unwrap();
        synth::write(dir.path(), 5, 500, 130).unwrap();
        let set = Dataset::open_folder(dir.path()).unwrap();
        (dir, set)
    }

    fn counts(labels: &[u8]) -> [usize; 10] {
        labels.iter().fold([0; 10], |mut counts, &label| {
            counts[usize::from(label)] += 1;
            counts
        })
    }

    #[test]
    fn folds_first_then_images_share_none_and_the_other_way_round_many() {
        let (_dir, base) = digits();
        for problem in [Problem::Samples, Problem::Majority, Problem::LeakyMajority] {
            let division = CrossValidation::new(&base, problem, 7, 2).unwrap();
            let mut total = [0; 10];
            for fold in 0..7 {
                let set = division.fold(fold).unwrap();
                assert_eq!(set.train.len() + set.test.len(), 630);
                assert!([90, 91].contains(&set.test.len()));
                let is_majority = problem != Problem::Samples;
                assert_eq!(
                    (set.rows, set.cols, set.train.has_masks()),
                    (28, if is_majority { 84 } else { 28 }, is_majority)
                );
                let recurring = recurring_images(&set).unwrap();
                assert_eq!(
                    recurring > 0,
                    problem == Problem::LeakyMajority,
                    "{recurring} images in both halves"
                );
                if problem == Problem::LeakyMajority {
                    // 90 tests show about 230 images; nearly all are among the 1,600 of training.
                    assert!(recurring > 120, "{recurring}");
                }
                total.iter_mut().zip(counts(set.test.labels())).for_each(|(sum, count)| *sum += count);
            }
            assert_eq!(total, counts(&[base.train.labels(), base.test.labels()].concat()));
        }
        assert_eq!(recurring_images(&base), None);
    }

    #[test]
    fn a_majority_fold_takes_its_images_from_its_own_part_and_shows_them() {
        let (_dir, base) = digits();
        let division = CrossValidation::new(&base, Problem::Majority, 7, 2).unwrap();
        let set = division.fold(6).unwrap();
        let image = |i: usize| if i < 500 { base.train.image(i) } else { base.test.image(i - 500) };
        for (half, members) in
            [(&set.train, &division.folds()[6].train), (&set.test, &division.folds()[6].test)]
        {
            let sources = &half.composition().unwrap().sources;
            assert!(sources.iter().all(|source| members.contains(source)));
            let scaled = Scaled::new(half, -1.0, 1.0);
            for i in [0, half.len() - 1] {
                let mut x = vec![0.0; 28 * 84];
                scaled.pixels(i, &mut x);
                for block in 0..3 {
                    let base = image(sources[3 * i + block] as usize);
                    let expected = base.iter().map(|&byte| f32::from(byte) * 2.0 / 255.0 - 1.0);
                    let shown = x.chunks_exact(84).flat_map(|row| row[28 * block..][..28].to_vec());
                    assert!(shown.eq(expected));
                }
                assert_eq!(scaled.label(i), half.label(i));
            }
        }
    }

    #[test]
    fn leaky_samples_are_those_of_the_written_set() {
        let (_dir, base) = digits();
        let written = maj::majority(&[base.train.clone(), base.test.clone()], 4).unwrap();
        let division = CrossValidation::new(&base, Problem::LeakyMajority, 5, 4).unwrap();
        let set = division.fold(0).unwrap();
        for (i, &member) in division.folds()[0].test.iter().enumerate() {
            let member = member as usize;
            let (half, at) = if member < 500 { (&written[0], member) } else { (&written[1], member - 500) };
            assert_eq!(set.test.image(i), half.image(at));
            assert_eq!((set.test.mask(i), set.test.label(i)), (half.mask(at), half.label(at)));
        }
    }

    #[test]
    fn folds_of_a_written_majority_problem_keep_its_masks() {
        let (dir, base) = digits();
        let out = dir.path().join("out");
        maj::write(&out, &maj::majority(&[base.train, base.test], 4).unwrap()).unwrap();
        let written = Dataset::open_folder(&out).unwrap();
        let division = CrossValidation::new(&written, Problem::Samples, 3, 1).unwrap();
        let set = division.fold(2).unwrap();
        assert_eq!((set.rows, set.cols), (28, 84));
        let last = set.test.len() - 1;
        let member = division.folds()[2].test[last] as usize - 500;
        assert_eq!(
            (set.test.mask(last), set.test.image(last)),
            (written.test.mask(member), written.test.image(member))
        );
        let message = format!("{:#}", CrossValidation::new(&written, Problem::Majority, 3, 1).unwrap_err());
        assert!(message.contains("a majority problem already"), "{message}");
    }

    #[test]
    fn checksums_tell_seeds_folds_and_problems_apart() {
        let (_dir, base) = digits();
        let of = |problem, seed, fold| {
            CrossValidation::new(&base, problem, 7, seed).unwrap().fold(fold).unwrap().test.sha256()
        };
        let all = [
            of(Problem::Majority, 1, 0),
            of(Problem::Majority, 2, 0),
            of(Problem::Majority, 1, 1),
            of(Problem::LeakyMajority, 1, 0),
            of(Problem::Samples, 1, 0),
        ];
        let distinct: HashSet<&str> = all.iter().map(|sums| sums.images.as_str()).collect();
        assert_eq!((distinct.len(), &all[0]), (5, &of(Problem::Majority, 1, 0)));
    }

    #[test]
    fn a_fold_is_opened_by_the_name_of_its_set() {
        let dir = tempfile::tempdir().unwrap();
        synth::write(&dir.path().join("digits"), 5, 100, 40).unwrap();
        let open =
            |name: &str, leaky| open_fold(name, FoldChoice { folds: 7, fold: 2, leaky }, Some(dir.path()));
        let [single, folded, leaky] =
            [open("digits", false), open("digits-maj", false), open("digits-maj", true)].map(Result::unwrap);
        assert_eq!((&single.name[..], single.cols), ("digits", 28));
        assert_eq!((&folded.name[..], folded.cols), ("digits-maj", 84));
        assert_eq!((folded.test.len(), recurring_images(&folded)), (20, Some(0)));
        assert!(recurring_images(&leaky).unwrap() > 0);
        // Without folds, and without files of its own, a majority problem is composed of its base set.
        let whole = Dataset::open("digits-maj", Some(dir.path())).unwrap();
        let base = Dataset::open("digits", Some(dir.path())).unwrap();
        let written = maj::majority(&[base.train, base.test], maj::DEFAULT_SEED).unwrap();
        assert_eq!((&whole.name[..], whole.train.sha256()), ("digits-maj", written[0].sha256()));
        let error = Dataset::open("other-maj", Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains("harness data maj --from other"), "{error}");
    }

    #[test]
    fn folds_that_do_not_exist_are_refused() {
        let (_dir, base) = digits();
        let division = CrossValidation::new(&base, Problem::Majority, 7, 1).unwrap();
        assert!(division.fold(7).unwrap_err().to_string().contains("no fold 7; there are 0 to 6"));
        let message = format!("{:#}", CrossValidation::new(&base, Problem::Samples, 1, 1).unwrap_err());
        assert!(message.contains("1 folds, expected at least 2"), "{message}");
    }
}
