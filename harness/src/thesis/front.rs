//! The first screen: what ran, what came of it, the central figure, and the claims.

use super::heatmaps;
use super::networks::{Estimate, Net, Set};
use super::printed::HYPER_PARAMETERS;
use super::statements::{self, ALIKE, DIGIT, EQUAL, LAST};
use crate::experiment::folder::{Loaded, Run};
use crate::measure::heatmaps::MAIN;
use crate::measure::intervals::last_quarter;
use crate::report::document::Section;
use crate::report::matrix::Verdict;
use anyhow::Result;
use model::explain::Value;
use std::collections::BTreeSet;

/// What ran, in one line a data set, or why nothing can be said.
pub fn ran(loaded: &Loaded, sets: &[Set]) -> String {
    let experiment = &loaded.experiment;
    let finished = loaded.runs.iter().filter(|run| run.finished().is_some()).count();
    let list = |items: Vec<String>| items.join(", ");
    let epochs = epochs(loaded);
    let thesis = HYPER_PARAMETERS.iter().find(|(name, _)| *name == "epochs").map_or("", |(_, epochs)| epochs);
    let published = sets.iter().any(|set| !set.published().is_empty());
    let of_thesis = match published && epochs.1.to_string() != thesis {
        true => format!(" (the thesis: {thesis})"),
        false => String::new(),
    };
    let mut parts: Vec<String> = Vec::new();
    for set in sets.iter().map(|set| samples(set, sets)) {
        if !parts.contains(&set) {
            parts.push(set);
        }
    }
    parts.push(format!(
        "{}, T = {}",
        list(cells(loaded)),
        list(lengths(loaded).iter().map(ToString::to_string).collect())
    ));
    parts.push(format!("{} of {} epochs{of_thesis}", epochs.0, epochs.1));
    let seeds = list(experiment.seeds.iter().map(ToString::to_string).collect());
    parts.push(format!("{} {seeds}", if experiment.seeds.len() == 1 { "seed" } else { "seeds" }));
    parts.push(format!("{finished} of {} runs are complete", loaded.runs.len()));
    format!("{}.", parts.join(" · "))
}

/// Names of the cells, once each.
fn cells(loaded: &Loaded) -> Vec<String> {
    let mut cells: Vec<String> = Vec::new();
    for run in &loaded.runs {
        let settings = &run.planned.settings;
        let title = settings.title();
        let cell = title.strip_suffix(&format!("-{}", settings.seq_len)).unwrap_or(&title).to_owned();
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    cells
}

/// The sequence lengths of all runs, ascending.
fn lengths(loaded: &Loaded) -> BTreeSet<usize> {
    loaded.runs.iter().map(|run| run.planned.settings.seq_len).collect()
}

/// The least number of epochs that a complete run has, 0 without one, and the largest that was planned.
fn epochs(loaded: &Loaded) -> (usize, u64) {
    let seen = |run: &Run| run.finished().map(|run| run.metrics.get("epoch").map_or(0, Vec::len));
    let planned = loaded.runs.iter().map(|run| run.planned.settings.epochs).max().unwrap_or(0);
    (loaded.runs.iter().filter_map(seen).min().unwrap_or(0), planned)
}

/// The samples that the networks of a set were trained on: training and held-out ones.
fn trained_on(set: &Set) -> Option<usize> {
    set.nets.first().map(|net| net.first().manifest.samples[0] + net.first().manifest.samples[1])
}

/// A set and what was trained on; folds of one set are named together, with the samples of the first that is finished.
fn samples(set: &Set, all: &[Set]) -> String {
    let base = |set: &Set| set.name.split_once('/').map(|(base, _)| base.to_owned());
    let folds = || all.iter().filter(|other| base(set).is_some() && base(other) == base(set));
    let title = match base(set) {
        Some(base) if folds().count() == 1 => format!("{base} in one fold"),
        Some(base) => format!("{base} in {} folds", folds().count()),
        None => set.title().to_owned(),
    };
    let set = folds().find(|set| trained_on(set).is_some()).unwrap_or(set);
    match trained_on(set) {
        Some(n) if n < set.selection.train => {
            let share = 100.0 * n as f64 / set.selection.train.max(1) as f64;
            format!("{title} ({n} of {} training samples, {share:.0} %)", set.selection.train)
        }
        Some(n) => format!("{title} (all {n} training samples)"),
        None => title,
    }
}

/// What makes the results less than those of the whole experiment; empty if nothing does.
pub fn warning(loaded: &Loaded, sets: &[Set]) -> String {
    let mut parts = Vec::new();
    let missing = loaded.runs.iter().filter(|run| run.finished().is_none()).count();
    if missing > 0 {
        parts.push(format!("{missing} of {} runs are not complete", loaded.runs.len()));
    }
    for set in sets {
        if let Some(n) = trained_on(set).filter(|&n| n < set.selection.train) {
            let title = set.name.split_once('/').map_or(set.title(), |(base, _)| base);
            let part = format!("trained on {n} of the {} samples of {title}", set.selection.train);
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    match parts.is_empty() {
        true => String::new(),
        false => {
            format!("Cut short: {}.", parts.join("; "))
        }
    }
}

/// The network without an encoder and the one with, whose heatmaps are compared.
fn pair<'a>(set: &'a Set) -> Option<(&'a Net<'a>, &'a Net<'a>)> {
    let t = set.main_length().filter(|&t| t > 1)?;
    let (encoded, plain): (Vec<&Net>, Vec<&Net>) =
        set.of_length(t).into_iter().partition(|net| net.has_encoder());
    Some((*plain.first()?, *encoded.first()?))
}

/// The verdict on the finding of the thesis, in one sentence made from the numbers.
pub fn verdict(set: &Set) -> String {
    let title = set.title();
    let Some((plain, encoded)) = pair(set) else {
        return format!(
            "The finding of the thesis cannot be judged on {title}: it compares a network without an encoder with one that \
             has one, both on a sequence, and there is no such pair."
        );
    };
    let t = plain.settings.seq_len;
    let (difference, last, digit) = (
        statements::difference(plain, encoded),
        statements::last_steps(plain),
        statements::follows(set, encoded),
    );
    let verdicts = [EQUAL.verdict(difference), LAST.verdict(last), DIGIT.verdict(digit)];
    let outcome = match verdicts {
        all if all.iter().all(|of| *of == Verdict::Holds) => "holds",
        some if some.contains(&Verdict::Fails) => "does not hold",
        _ => "is not decided",
    };
    let value = |of: Option<Estimate>| of.map_or("not measured".to_owned(), |of| of.text(3));
    let [a, b] = [plain, encoded].map(|net| value(net.accuracy_estimate()));
    let equal = match verdicts[0] {
        Verdict::Holds => "are equally accurate",
        Verdict::Fails => "are not equally accurate",
        _ => "may or may not be equally accurate",
    };
    let (last_text, digit_text) = (
        match verdicts[1] {
            Verdict::Holds => "concentrates",
            Verdict::Fails => "does not concentrate",
            _ => "may or may not concentrate",
        },
        match verdicts[2] {
            Verdict::Holds => "follows the image",
            Verdict::Fails => "does not follow the image",
            _ => "may or may not follow the image",
        },
    );
    format!(
        "The finding of the thesis {outcome} on {title}, T = {t}: {} ({a}) and {} ({b}) {equal}; the relevance of {} {last_text} \
         on the last {} of {t} steps ({} of it), and that of {} {digit_text} (cosine with the pixels {}).",
        plain.title,
        encoded.title,
        plain.title,
        last_quarter(t),
        value(last),
        encoded.title,
        value(digit)
    )
}

/// How much the heatmaps say about the class: the number that belongs beside the finding.
pub fn class_dependence(set: &Set) -> Option<String> {
    let (_, net) = pair(set)?;
    let names = &net.first().measured.classes;
    let value_at = Value::NAMES.iter().position(|name| *name == set.value)?;
    let of = |method: &str, value: usize| net.class_dependence(method, value);
    let main = of(MAIN, value_at)?;
    let mut least: Option<(&str, &str, Estimate)> = None;
    for method in names.iter().map(|of| &of.method[..]) {
        for (value, name) in Value::NAMES.iter().enumerate() {
            if let Some(cosine) =
                of(method, value).filter(|cosine| least.is_none_or(|(.., best)| cosine.value < best.value))
            {
                least = Some((method, name, cosine));
            }
        }
    }
    let what = if main.value >= ALIKE {
        "are the same for every class but for a factor: they say where the evidence lies, not why this class"
    } else {
        "differ between the classes"
    };
    let (method, value, cosine) = least?;
    Some(format!(
        "The {MAIN} heatmaps of {} on {} {what} (mean |cosine| over all pairs of {} classes {}, value {}; 1: the same). Of the \
         methods and values measured, {method} of {value} depends on the class most ({}).",
        net.title,
        set.title(),
        set.selection.classes,
        main.text(3),
        set.value,
        cosine.text(3)
    ))
}

/// The central figure and the claims of every set.
///
/// # Errors
/// If the figure cannot be drawn.
pub fn section(loaded: &Loaded, sets: &[Set]) -> Result<Section> {
    let mut section = Section::default();
    if let Some((set, t)) = main_set(sets) {
        section.parts.push(heatmaps::central(set, t)?);
    }
    for set in sets.iter().filter(|set| !set.nets.is_empty()) {
        if let Some(text) = class_dependence(set) {
            section.text(text);
        }
        section.matrix(statements::matrix(set, &loaded.experiment));
    }
    Ok(section)
}

/// The set whose Figure 4.8 is on the first screen, and its length.
pub fn main_set<'s, 'a>(sets: &'s [Set<'a>]) -> Option<(&'s Set<'a>, usize)> {
    sets.iter().find_map(|set| set.main_length().map(|t| (set, t)))
}
