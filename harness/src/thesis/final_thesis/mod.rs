//! The report of the finished thesis: single images, then the majority problem in folds.

mod bars;
mod cells;
mod claims;
mod figures;
mod front;
mod printed;
mod tables;

use super::networks;
use crate::experiment::folder::Loaded;
use crate::measure::majority::{LAST_BLOCK_BASELINE, UNIFORM_BASELINE};
use crate::report::colormap::Look;
use crate::report::document::{Report, Section};
use anyhow::Result;
use cells::Set;
use printed::METHODS;
use serde_json::Value;

/// The report of an experiment's folder. It depends on the content of the folder only.
///
/// - `look` colours and scale of the heatmaps
/// - `runs` the section that lists the runs and their states
/// - `data` every number of every run
///
/// # Errors
/// If a figure cannot be drawn.
pub fn report(loaded: &Loaded, look: Look, runs: Section, data: Value) -> Result<Report> {
    let sets = Set::of(loaded, look);
    let (majority, single): (Vec<Set>, Vec<Set>) =
        sets.into_iter().filter(|set| set.measured().next().is_some()).partition(Set::is_majority);
    let mut claims = Section::new("Claims of the thesis");
    claims.text(
        "The claims of the finished thesis, tested on this reproduction: differences of mean cosines, paired by fold, with 95 % \
         bootstrap intervals over folds. A claim holds or fails if the whole interval does, and is unsure if 0 lies in it; with \
         one fold there is no interval. Claims about cells that are not planned are left out; one whose cells have no fold in \
         common is not measured.",
    );
    majority.iter().for_each(|set| claims.text(format!("{}: {}", set.title(), tables::below_uniform(set))));
    let caption = "Claims of the finished thesis, with value and threshold of each.";
    claims.table("statements", caption, claims::table(&majority));
    let mut accuracy = Section::new("Accuracy");
    let all: Vec<Set> = single.iter().chain(&majority).cloned().collect();
    let caption = "Test accuracy after the last epoch, mean over the folds with its 95 % bootstrap interval, and the value of the \
                   thesis: the mean over its folds where it is known, else that of its test set. Runs are finished ones.";
    accuracy.table("final-accuracy", caption, tables::accuracy(&all));
    let mut sections = vec![front::section(&majority, &single)?, claims];
    for (i, set) in majority.iter().enumerate() {
        sections.push(majority_problem(set, i == 0)?);
    }
    for (i, set) in single.iter().enumerate() {
        sections.push(single_images(set, i == 0 && majority.is_empty())?);
    }
    sections.extend([accuracy, runs]);
    Ok(Report {
        title: format!(
            "Recurrent networks designed for explainability, the finished thesis: {}",
            loaded.experiment.name
        ),
        lead: front::lead(loaded, &majority),
        warning: super::front::warning(loaded, &networks::Set::of(loaded)),
        sections,
        data,
        ..Report::default()
    })
}

/// Experiment 1; its heatmaps may be on the first screen.
fn single_images(set: &Set, first: bool) -> Result<Section> {
    let mut section = Section::new(&format!("Experiment 1: single images of {}", set.title()));
    let each_class = if first { None } else { figures::each_class(set)? };
    let figures = [each_class, figures::population(set)?, figures::share_by_step(set)?];
    figures.into_iter().flatten().for_each(|figure| section.figure(figure));
    if let Some(seq_len) = set.measured().map(|cell| cell.settings.seq_len).max() {
        let caption =
            format!("Figure 3.7 as numbers, T = {seq_len}, deep Taylor, beside those of the thesis.");
        section.table(format!("final-steps-{}", set.name), caption, tables::steps(set, seq_len));
    }
    Ok(section)
}

/// Experiments 2 and 3; the figure of all cells may be on the first screen.
fn majority_problem(set: &Set, first: bool) -> Result<Section> {
    let mut section = Section::new(&format!("Experiments 2 and 3: {}", set.title()));
    let sequences = figures::sequences(set)?;
    let all = figures::all_cells(set).filter(|_| !first);
    sequences.into_iter().chain(all).chain(figures::bars(set)).for_each(|figure| section.figure(figure));
    let caption = format!(
        "Cosine between the mask of the majority and the share of relevance of each image, mean over the test fold, then mean \
         and 95 % bootstrap interval over folds. Negative relevance of LRP is set to 0 first, as in the thesis, and so are \
         negative values of GB; the last two columns have both. Relevance spread evenly scores {UNIFORM_BASELINE:.4}, on the last image only \
         {LAST_BLOCK_BASELINE:.4}."
    );
    section.table(format!("final-cosines-{}", set.name), caption, tables::cosines(set));
    let caption = "Share of relevance on the two images of the class, by image and by step, mean over folds. Signs are kept.";
    section.table(format!("final-shares-{}", set.name), caption, tables::shares(set));
    for (method, title) in METHODS {
        if let Some(table) = tables::tukey(set, method) {
            let caption = format!(
                "Tukey's honestly significant differences of the cosines by {title}, paired by fold, α = {}: the second cell \
                 less the first, with simultaneous intervals.",
                tables::ALPHA
            );
            section.table(format!("final-tukey-{method}-{}", set.name), caption, table);
        }
    }
    Ok(section)
}
