//! The claims of the finished thesis, each with a value, its interval over folds, a threshold and a verdict.
//!
//! A claim about a cell that the experiment does not plan is left out: [`not_planned`] names these cells.

use super::cells::{Cell, Scores, Set, method_title, paired};
use super::printed::METHODS;
use crate::report::matrix::{self, Matrix, Row, Verdict};
use crate::report::table::Table;
use model::Architecture;
use model::measure::{Bootstrap, Interval};

/// One claim on one data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    claim: &'static str,
    of: String,
    /// The method, in short.
    by: String,
    number: String,
    /// The mean over the folds and its 95 % bootstrap interval over them; none if a cell has no finished run.
    value: Option<Interval>,
    folds: usize,
    /// Whether the value must be at most 0, not at least 0.
    below: bool,
}

impl Claim {
    /// What becomes of it: the interval decides. The threshold of every claim is 0.
    pub fn verdict(&self) -> Verdict {
        let Some(Interval { low, high, .. }) = self.value else { return Verdict::NotMeasured };
        let on_side = |x: f64| if self.below { x <= 0.0 } else { x >= 0.0 };
        match (on_side(low), on_side(high)) {
            (true, true) => Verdict::Holds,
            (false, false) => Verdict::Fails,
            _ => Verdict::Unsure,
        }
    }

    fn sign(&self) -> &'static str {
        if self.below { "≤ 0" } else { "≥ 0" }
    }
}

/// `+0.0123 [-0.0010, +0.0256]`, or a dash.
fn shown(value: Option<Interval>) -> String {
    value.map_or("–".to_owned(), |Interval { estimate, low, high }| match low < high {
        true => format!("{estimate:+.4} [{low:+.4}, {high:+.4}]"),
        false => format!("{estimate:+.4}"),
    })
}

const DTD: &str = METHODS[2].0;
const LRP: &str = METHODS[3].0;

/// Two cells that are compared: the second should score higher, or not.
type Pair = (&'static str, &'static str);

const DEEPER: [Pair; 3] =
    [("final-shallow", "final-deep"), ("final-deep", "final-deepv2"), ("final-deepv2", "final-convdeep")];
const LSTM: Pair = ("final-deep", "r-lstm");
const HELPED: Pair = ("r-lstm", "r-lstm-sd");
const NOT_HELPED: Pair = ("final-deep", "final-deep-sd");
const LATERAL: [Pair; 2] = [("final-convdeep", "convplus-deep"), ("convr-lstm-sd", "convplus-r-lstm-sd")];
/// The cells of experiment 2.
const STRUCTURES: [&str; 4] = ["final-shallow", "final-deep", "final-deepv2", "final-convdeep"];

fn is_planned(set: &Set, name: &str) -> bool {
    set.cells.iter().any(|cell| cell.name == name)
}

/// The claims on a data set whose cells are all planned.
pub fn claims(set: &Set) -> Vec<Claim> {
    let all = METHODS.map(|(name, _)| name);
    let mut wanted: Vec<(&'static str, Pair, &[&str], bool)> = Vec::new();
    for pair in DEEPER {
        wanted.extend([&[DTD], &[LRP]].map(|by| ("deeper networks explain better", pair, &by[..], false)));
    }
    wanted.extend([&[DTD], &[LRP]].map(|by| ("R-LSTM explains better than Deep", LSTM, &by[..], false)));
    for by in [&[LRP][..], &all] {
        wanted.push(("stationary dropout helps R-LSTM", HELPED, by, false));
        wanted.push(("stationary dropout does not help Deep", NOT_HELPED, by, true));
    }
    for pair in LATERAL {
        wanted.extend([&[DTD], &[LRP]].map(|by| ("lateral connections do not help", pair, &by[..], true)));
    }
    let planned = wanted.into_iter().filter(|(_, (a, b), ..)| is_planned(set, a) && is_planned(set, b));
    let mut found: Vec<Claim> =
        planned.map(|(claim, pair, by, below)| difference(set, claim, pair, by, below)).collect();
    if STRUCTURES.iter().all(|name| is_planned(set, name)) {
        found.push(structure(set));
    }
    found
}

/// The cells of claims that the experiment does not plan, by their titles: what is claimed of them is left out.
pub fn not_planned(set: &Set) -> Vec<String> {
    let pairs = DEEPER.into_iter().chain([LSTM, HELPED, NOT_HELPED]).chain(LATERAL);
    let mut found: Vec<String> = Vec::new();
    for name in pairs.flat_map(|(a, b)| [a, b]).filter(|name| !is_planned(set, name)) {
        let (preset, suffix) = name.strip_suffix("-sd").map_or((name, ""), |preset| (preset, "-SD"));
        let title = Architecture::preset(preset).map_or(preset.to_owned(), |cell| cell.title());
        let title = format!("{}{suffix}", title.replace(" (final)", ""));
        if !found.contains(&title) {
            found.push(title);
        }
    }
    found
}

/// The claims and the cells or pairs that they are about.
pub fn matrix(set: &Set) -> Matrix {
    let mut rows: Vec<Row> = Vec::new();
    for claim in claims(set) {
        let at = rows.iter().position(|row| row.claim == claim.claim).unwrap_or_else(|| {
            rows.push(Row { claim: claim.claim.to_owned(), cells: Vec::new() });
            rows.len() - 1
        });
        let folds = if claim.folds == 1 { "fold" } else { "folds" };
        rows[at].cells.push(Some(matrix::Cell {
            network: format!("{}, {}", claim.of, claim.by),
            verdict: claim.verdict(),
            claimed: true,
            detail: format!(
                "{} {}, {} {folds}; the claim needs {}.",
                claim.number,
                shown(claim.value),
                claim.folds,
                claim.sign()
            ),
        }));
    }
    let title = format!("Claims of the finished thesis on {}", set.title());
    Matrix { name: format!("claims-{}", set.name), title, rows }
}

/// Mean of the methods' cosines by fold.
fn mean_cosine(cell: &Cell, methods: &[&str]) -> Scores {
    let all: Vec<Scores> = methods.iter().map(|method| cell.thesis_cosine(method)).collect();
    let folds = all.first().map(|scores| scores.keys().copied().collect::<Vec<_>>()).unwrap_or_default();
    let has_all = |fold: &usize| all.iter().all(|scores| scores.contains_key(fold));
    let mean = |fold: usize| all.iter().map(|scores| scores[&fold]).sum::<f64>() / all.len() as f64;
    folds.into_iter().filter(has_all).map(|fold| (fold, mean(fold))).collect()
}

/// The cosine of the second cell less that of the first, mean over the folds that both have.
fn difference(
    set: &Set,
    claim: &'static str,
    (first, second): (&str, &str),
    methods: &[&str],
    below: bool,
) -> Claim {
    let title = |name: &str| {
        let planned = set.cells.iter().find(|cell| cell.name == name);
        planned.map_or(name.to_owned(), |cell| cell.title.clone())
    };
    let (by, words) = match methods {
        [one] => (method_title(one).to_owned(), method_title(one).to_owned()),
        _ => ("all methods".to_owned(), "the mean of the four methods".to_owned()),
    };
    let scores = [first, second].map(|name| set.cell(name).map(|cell| mean_cosine(cell, methods)));
    let scores: Vec<Scores> = scores.into_iter().flatten().collect();
    let pairs = if scores.len() == 2 { paired(&scores) } else { vec![Vec::new(); 2] };
    let differences: Vec<f64> =
        pairs[0].iter().zip(&pairs[1]).map(|(first, second)| second - first).collect();
    let of = format!("{} − {}", title(second), title(first));
    let value = Bootstrap::default().mean(&differences);
    let folds = differences.len();
    Claim { claim, of, by, number: format!("difference of the cosines by {words}"), value, folds, below }
}

/// Over the cells of experiment 2, the smaller range of the cosines by relevance less the larger range by gradients.
fn structure(set: &Set) -> Claim {
    let cells: Vec<&Cell> = STRUCTURES.iter().filter_map(|name| set.cell(name)).collect();
    let by_method = |(method, _): &(&str, &str)| -> Vec<Scores> {
        cells.iter().map(|cell| cell.thesis_cosine(method)).collect()
    };
    let scores: Vec<Scores> = METHODS.iter().flat_map(by_method).collect();
    let scores = if cells.len() == STRUCTURES.len() { paired(&scores) } else { Vec::new() };
    let folds: Vec<usize> = (0..scores.first().map_or(0, Vec::len)).collect();
    let statistic = |drawn: &[usize]| {
        let mean = |of: &Vec<f64>| drawn.iter().map(|&fold| of[fold]).sum::<f64>() / drawn.len() as f64;
        let ranges = scores.chunks(STRUCTURES.len()).map(|of_method| {
            let means = || of_method.iter().map(mean);
            means().fold(f64::NEG_INFINITY, f64::max) - means().fold(f64::INFINITY, f64::min)
        });
        match ranges.collect::<Vec<f64>>()[..] {
            [sa, gb, dtd, lrp] => dtd.min(lrp) - sa.max(gb),
            _ => f64::NAN,
        }
    };
    let value = Bootstrap::default().interval(&folds, statistic).filter(|value| value.estimate.is_finite());
    Claim {
        claim: "DTD and LRP depend on the structure more than SA and GB",
        of: "Shallow, Deep, DeepV2, ConvDeep".to_owned(),
        by: "range".to_owned(),
        number: "smaller range of the cosines by DTD and LRP, less the larger one by SA and GB".to_owned(),
        value,
        folds: value.map_or(0, |_| folds.len()),
        below: false,
    }
}

/// The claims as a table.
pub fn table(sets: &[Set]) -> Table {
    let columns = ["claim", "data", "network", "verdict", "value", "threshold", "folds", "number"];
    let mut table = Table::new(&columns);
    for set in sets {
        for claim in claims(set) {
            table.row(vec![
                claim.claim.to_owned(),
                set.name.to_owned(),
                claim.of.clone(),
                claim.verdict().text().to_owned(),
                shown(claim.value),
                claim.sign().to_owned(),
                claim.folds.to_string(),
                claim.number.clone(),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_follows_from_the_interval() {
        let of = |ends: Option<(f64, f64)>, below| {
            let value = ends.map(|(low, high)| Interval { estimate: 0.5 * (low + high), low, high });
            let text = String::new;
            Claim { claim: "", of: text(), by: text(), number: text(), value, folds: 1, below }.verdict()
        };
        let (up, down) = (Some((0.1, 0.2)), Some((-0.2, -0.1)));
        assert_eq!((of(up, false), of(up, true)), (Verdict::Holds, Verdict::Fails));
        assert_eq!((of(down, false), of(down, true)), (Verdict::Fails, Verdict::Holds));
        assert_eq!((of(Some((-0.1, 0.1)), false), of(None, true)), (Verdict::Unsure, Verdict::NotMeasured));
    }

    #[test]
    fn claims_about_cells_that_are_not_planned_are_left_out() {
        let set = Set { name: "synth-maj", cells: Vec::new(), samples: Vec::new(), look: Default::default() };
        assert!(claims(&set).is_empty() && matrix(&set).rows.is_empty());
        let cells = not_planned(&set);
        assert!(cells.contains(&"R-LSTM-SD".to_owned()) && cells.contains(&"Deep".to_owned()), "{cells:?}");
        assert!(cells.iter().all(|title| !title.contains("final") && !title.contains("-sd")), "{cells:?}");
    }
}
