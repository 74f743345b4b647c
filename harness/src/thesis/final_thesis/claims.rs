//! The claims of the finished thesis, each with a value, a threshold and a verdict.

use super::cells::{Cell, Scores, Set, method_title, paired};
use super::printed::METHODS;
use crate::report::table::Table;

/// One claim on one data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    claim: &'static str,
    of: String,
    number: String,
    /// The mean over the folds; none if a cell is not there.
    value: Option<f64>,
    folds: usize,
    /// Whether the value must be at most 0, not at least 0.
    below: bool,
}

impl Claim {
    /// `holds`, `fails` or `not measured`. The threshold of every claim is 0.
    pub fn verdict(&self) -> &'static str {
        match self.value {
            None => "not measured",
            Some(value) if self.below && value <= 0.0 || !self.below && value >= 0.0 => "holds",
            Some(_) => "fails",
        }
    }
}

const DTD: &str = METHODS[2].0;
const LRP: &str = METHODS[3].0;

/// The claims on a data set.
pub fn claims(set: &Set) -> Vec<Claim> {
    let deeper =
        [("final-shallow", "final-deep"), ("final-deep", "final-deepv2"), ("final-deepv2", "final-convdeep")];
    let mut found = Vec::new();
    for (pair, method) in deeper.into_iter().flat_map(|pair| [(pair, DTD), (pair, LRP)]) {
        found.push(difference(set, "deeper networks explain better", pair, &[method], false));
    }
    for method in [DTD, LRP] {
        let pair = ("final-deep", "r-lstm");
        found.push(difference(set, "R-LSTM explains better than Deep", pair, &[method], false));
    }
    let all = METHODS.map(|(name, _)| name);
    for methods in [&[LRP][..], &all] {
        let pair = ("r-lstm", "r-lstm-sd");
        found.push(difference(set, "stationary dropout helps R-LSTM", pair, methods, false));
        let pair = ("final-deep", "final-deep-sd");
        found.push(difference(set, "stationary dropout does not help Deep", pair, methods, true));
    }
    for pair in [("final-convdeep", "convplus-deep"), ("convr-lstm-sd", "convplus-r-lstm-sd")] {
        for method in [DTD, LRP] {
            found.push(difference(set, "lateral connections do not help", pair, &[method], true));
        }
    }
    found.push(structure(set));
    found
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
    let by = match methods {
        [one] => method_title(one).to_owned(),
        _ => "the mean of the four methods".to_owned(),
    };
    let scores = [first, second].map(|name| set.cell(name).map(|cell| mean_cosine(cell, methods)));
    let scores: Vec<Scores> = scores.into_iter().flatten().collect();
    let pairs = if scores.len() == 2 { paired(&scores) } else { Vec::new() };
    let folds = pairs.first().map_or(0, Vec::len);
    let value = (folds > 0).then(|| mean(&pairs[1]) - mean(&pairs[0]));
    let of = format!("{} − {}", title(second), title(first));
    Claim { claim, of, number: format!("difference of the cosines by {by}"), value, folds, below }
}

/// Over the cells of experiment 2, the smaller range of the cosines by relevance less the larger range by gradients.
fn structure(set: &Set) -> Claim {
    let names = ["final-shallow", "final-deep", "final-deepv2", "final-convdeep"];
    let cells: Vec<&Cell> = names.iter().filter_map(|name| set.cell(name)).collect();
    let mut folds = 0;
    let mut range = |method: &str| {
        let all: Vec<Scores> = cells.iter().map(|cell| cell.thesis_cosine(method)).collect();
        let pairs = paired(&all);
        folds = pairs.first().map_or(0, Vec::len);
        let means: Vec<f64> = pairs.iter().map(|scores| mean(scores)).collect();
        let most = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        most - means.iter().copied().fold(f64::INFINITY, f64::min)
    };
    let [sa, gb, dtd, lrp] = METHODS.map(|(method, _)| range(method));
    let value = (cells.len() == names.len() && folds > 0).then(|| dtd.min(lrp) - sa.max(gb));
    Claim {
        claim: "DTD and LRP depend on the structure more than SA and GB",
        of: "Shallow, Deep, DeepV2, ConvDeep".to_owned(),
        number: "smaller range of the cosines by DTD and LRP, less the larger one by SA and GB".to_owned(),
        value: value.filter(|value| value.is_finite()),
        folds: value.map_or(0, |_| folds),
        below: false,
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
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
                claim.verdict().to_owned(),
                claim.value.map_or("–".to_owned(), |value| format!("{value:+.4}")),
                if claim.below { "≤ 0" } else { "≥ 0" }.to_owned(),
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
    fn a_verdict_follows_from_the_value() {
        let of = |value, below| {
            Claim { claim: "", of: String::new(), number: String::new(), value, folds: 1, below }.verdict()
        };
        assert_eq!((of(Some(0.1), false), of(Some(0.1), true)), ("holds", "fails"));
        assert_eq!((of(Some(-0.1), false), of(Some(-0.1), true)), ("fails", "holds"));
        assert_eq!((of(None, false), of(Some(f64::NAN), true)), ("not measured", "fails"));
    }
}
