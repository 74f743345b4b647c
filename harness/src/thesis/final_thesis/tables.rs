//! Accuracies, cosines, shares and pairwise comparisons, beside the printed values.

use super::cells::{Cell, Scores, Set, interval, method_title, methods, paired};
use super::printed;
use crate::measure::majority::UNIFORM_BASELINE;
use crate::measure::tukey::tukey_hsd;
use crate::report::table::Table;
use model::measure::Interval;
use model::measure::shares::normalised;

/// Level of the pairwise comparisons.
pub const ALPHA: f64 = 0.05;

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.decimals$}"))
}

fn ends(found: Option<Interval>, folds: usize) -> [String; 2] {
    let found = found.filter(|_| folds > 1);
    [found.map(|of| of.low), found.map(|of| of.high)].map(|end| number(end, 4))
}

/// Test accuracy of every cell.
pub fn accuracy(sets: &[Set]) -> Table {
    let columns = [
        "data",
        "cell",
        "T",
        "variables",
        "runs",
        "planned",
        "test accuracy",
        "low",
        "high",
        "thesis",
        "difference",
    ];
    let mut table = Table::new(&columns);
    for set in sets {
        for cell in set.measured() {
            let (scores, seq_len) = (cell.accuracy(), cell.settings.seq_len);
            let found = interval(&scores);
            let in_folds = cell.settings.folds.is_some();
            let printed = printed::single(set.name, &cell.name, seq_len).or_else(|| {
                let of = printed::majority(set.name, &cell.name)?;
                of.folds_accuracy.filter(|_| in_folds).or(Some(of.accuracy))
            });
            let [low, high] = ends(found, scores.len());
            table.row(vec![
                set.name.to_owned(),
                cell.title.clone(),
                seq_len.to_string(),
                cell.first().map_or(String::new(), |(_, run)| run.outcome.variables.to_string()),
                cell.runs.len().to_string(),
                cell.planned.to_string(),
                number(found.map(|of| of.estimate), 4),
                low,
                high,
                number(printed, 4),
                found
                    .zip(printed)
                    .map_or("–".to_owned(), |(of, printed)| format!("{:+.4}", of.estimate - printed)),
            ]);
        }
    }
    table
}

/// Cosine of relevance and mask, of every cell by every method.
pub fn cosines(set: &Set) -> Table {
    let columns = [
        "cell",
        "method",
        "folds",
        "cosine",
        "low",
        "high",
        "thesis",
        "difference",
        "− uniform",
        "negative kept",
        "negative set to 0",
    ];
    let mut table = Table::new(&columns);
    for cell in set.measured() {
        for method in methods(cell) {
            let scores = cell.thesis_cosine(method);
            let found = interval(&scores);
            let printed = printed::cosine(set.name, &cell.name, method);
            let [low, high] = ends(found, scores.len());
            let estimate = found.map(|of| of.estimate);
            let mean = |scores: Scores| number(interval(&scores).map(|of| of.estimate), 4);
            let less = |by: Option<f64>| {
                estimate.zip(by).map_or("–".to_owned(), |(value, by)| format!("{:+.4}", value - by))
            };
            table.row(vec![
                cell.title.clone(),
                method_title(method).to_owned(),
                scores.len().to_string(),
                number(estimate, 4),
                low,
                high,
                number(printed, 3),
                less(printed),
                less(Some(UNIFORM_BASELINE)),
                mean(cell.cosine(method)),
                mean(cell.positive_cosine(method)),
            ]);
        }
    }
    table
}

/// Cells that score below relevance spread evenly, by method.
pub fn below_uniform(set: &Set) -> String {
    let Some(first) = set.measured().next() else { return String::new() };
    let of_method = |method: &&str| {
        let below = |cell: &&Cell| {
            interval(&cell.thesis_cosine(method)).is_some_and(|found| found.estimate < UNIFORM_BASELINE)
        };
        let titles: Vec<String> = set.measured().filter(below).map(|cell| cell.title.clone()).collect();
        let titles = if titles.is_empty() { "none".to_owned() } else { titles.join(", ") };
        format!("by {} {titles}", method_title(method))
    };
    let by_method: Vec<String> = methods(first).iter().map(of_method).collect();
    format!(
        "Cells that score below relevance spread evenly over the three images ({UNIFORM_BASELINE:.4}): {}.",
        by_method.join("; ")
    )
}

/// Share of relevance by block and step, mean over the folds.
pub fn shares(set: &Set) -> Table {
    let steps = set.measured().map(|cell| cell.settings.seq_len).max().unwrap_or(0);
    let mut columns = vec!["cell".to_owned(), "method".to_owned(), "on the majority".to_owned()];
    columns.extend((1..=3).map(|block| format!("image {block}")));
    columns.extend((1..=steps).map(|step| format!("t {step}")));
    let mut table = Table::new(&columns.iter().map(String::as_str).collect::<Vec<_>>());
    for cell in set.measured() {
        for method in methods(cell) {
            let majority = cell.scores(|run| run.measured.majority(method).map(|of| of.majority_share));
            let mut row = vec![
                cell.title.clone(),
                method_title(method).to_owned(),
                number(interval(&majority).map(|of| of.estimate), 3),
            ];
            row.extend(
                cell.mean_of(method, |of| &of.share_by_block).into_iter().map(|share| format!("{share:.3}")),
            );
            row.extend(
                cell.mean_of(method, |of| &of.share_by_step).into_iter().map(|share| format!("{share:.3}")),
            );
            row.resize(columns.len(), String::new());
            table.row(row);
        }
    }
    table
}

/// Tukey's honestly significant differences between all cells by one method, paired by fold; none if fewer than two folds
/// are common to two cells.
pub fn tukey(set: &Set, method: &str) -> Option<Table> {
    let cells: Vec<&Cell> = set.measured().collect();
    let scores = paired(&cells.iter().map(|cell| cell.thesis_cosine(method)).collect::<Vec<_>>());
    let found = tukey_hsd(&scores, ALPHA).ok()?;
    let mut table = Table::new(&["first", "second", "difference", "low", "high", "p", "differ"]);
    for pair in &found.comparisons {
        table.row(vec![
            cells[pair.first].title.clone(),
            cells[pair.second].title.clone(),
            format!("{:+.4}", pair.difference),
            format!("{:+.4}", pair.low),
            format!("{:+.4}", pair.high),
            format!("{:.4}", pair.p),
            if pair.significant { "yes" } else { "no" }.to_owned(),
        ]);
    }
    Some(table)
}

/// Share of each step over the samples of the class, deep Taylor, of cells of one length on single images.
pub fn steps(set: &Set, seq_len: usize) -> Table {
    let names: Vec<String> = (1..=seq_len).map(|step| step.to_string()).collect();
    let columns: Vec<&str> = ["share in step"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut table = Table::new(&columns);
    let mut add = |name: String, share: &[f64]| {
        if share.len() == seq_len {
            let cells = share.iter().map(|share| format!("{share:.3}"));
            table.row(std::iter::once(name).chain(cells).collect());
        }
    };
    let cells: Vec<&Cell> = set.measured().filter(|cell| cell.settings.seq_len == seq_len).collect();
    if let Some(pixels) = cells.first().and_then(|cell| pixel_share(set, cell)) {
        add("pixels".to_owned(), &pixels);
    }
    if let Some(printed) = printed::share(set.name, "pixels") {
        add("pixels, thesis".to_owned(), printed);
    }
    for cell in cells {
        add(cell.title.clone(), &step_share(cell, printed::METHODS[2].0));
        if let Some(printed) = printed::share(set.name, &cell.name) {
            add(format!("{}, thesis", cell.title), printed);
        }
    }
    table
}

/// Share of the class's pixel intensity in each step of a cell.
pub fn pixel_share(set: &Set, cell: &Cell) -> Option<Vec<f64>> {
    let samples = set.samples_of(cell.first()?.0)?;
    Some(by_step(&samples.class_columns, cell.settings.seq_len))
}

/// Share of a method's relevance of the class in each step, mean over the runs.
pub fn step_share(cell: &Cell, method: &str) -> Vec<f64> {
    let of = |run: &crate::experiment::folder::Finished| {
        run.measured.method(method).map(|of| by_step(&of.class_columns, cell.settings.seq_len))
    };
    let shares: Vec<Vec<f64>> = cell.runs.iter().filter_map(|(_, run)| of(run)).collect();
    let mean = |t: usize| shares.iter().map(|share| share[t]).sum::<f64>() / shares.len() as f64;
    if shares.is_empty() { Vec::new() } else { (0..cell.settings.seq_len).map(mean).collect() }
}

fn by_step(columns: &[f64], seq_len: usize) -> Vec<f64> {
    let width = (columns.len() / seq_len.max(1)).max(1);
    normalised(&columns.chunks(width).map(|step| step.iter().sum()).collect::<Vec<f64>>())
}
