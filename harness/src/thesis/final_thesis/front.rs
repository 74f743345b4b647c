//! The first screen: what ran, what came of it, the central figure, and the claims.

use super::super::{front, networks};
use super::cells::{Set, interval, method_title, methods};
use super::{claims, figures};
use crate::experiment::folder::Loaded;
use crate::measure::majority::UNIFORM_BASELINE;
use crate::report::document::Section;
use crate::report::matrix::Verdict;
use anyhow::Result;
use model::measure::Interval;

/// What ran, and the result on each majority problem, made from the numbers.
pub fn lead(loaded: &Loaded, majority: &[Set]) -> Vec<String> {
    let ran = front::ran(loaded, &networks::Set::of(loaded));
    std::iter::once(ran).chain(majority.iter().map(verdict)).collect()
}

/// What becomes of the claims, and the cell and method whose relevance lies most on the majority.
fn verdict(set: &Set) -> String {
    let claims = claims::claims(set);
    let count = |verdict: Verdict| claims.iter().filter(|claim| claim.verdict() == verdict).count();
    let counted = [Verdict::Holds, Verdict::Fails, Verdict::Unsure, Verdict::NotMeasured]
        .map(|verdict| (count(verdict), verdict.text()));
    let counted: Vec<String> =
        counted.iter().filter(|(n, _)| *n > 0).map(|(n, text)| format!("{text} {n}")).collect();
    let outcome = match claims.len() {
        0 => "no comparison of the finished thesis is between cells that are planned".to_owned(),
        n => format!("{n} comparisons of the finished thesis between planned cells: {}", counted.join(", ")),
    };
    let mut scores: Vec<(String, Interval)> = Vec::new();
    for cell in set.measured() {
        for method in methods(cell) {
            let found = interval(&cell.thesis_cosine(method));
            scores.extend(found.map(|found| (format!("{} by {}", cell.title, method_title(method)), found)));
        }
    }
    let best = scores.into_iter().max_by(|(_, a), (_, b)| a.estimate.total_cmp(&b.estimate));
    let best = best.map_or(String::new(), |(name, Interval { estimate, low, high })| {
        // One fold has no interval.
        let interval = if low < high { format!("[{low:.3}, {high:.3}]") } else { "in one fold".to_owned() };
        format!(
            " Relevance lies most on the two images of the majority for {name}: mean cosine {estimate:.3} {interval} \
             (spread evenly {UNIFORM_BASELINE:.3})."
        )
    });
    format!("On {}, {outcome}.{best}", set.title())
}

/// The central figure and the claims of every majority problem; without one, heatmaps of single images.
///
/// # Errors
/// If the figure cannot be drawn.
pub fn section(majority: &[Set], single: &[Set]) -> Result<Section> {
    let mut section = Section::default();
    match (majority.first(), single.first()) {
        (Some(set), _) => figures::all_cells(set).into_iter().for_each(|figure| section.figure(figure)),
        (None, Some(set)) => figures::each_class(set)?.into_iter().for_each(|figure| section.figure(figure)),
        (None, None) => {}
    }
    for set in majority {
        section.matrix(claims::matrix(set));
        let cells = claims::not_planned(set);
        if !cells.is_empty() {
            section.text(format!(
                "Left out are the claims about cells that this experiment does not plan on {}: {}.",
                set.title(),
                cells.join(", ")
            ));
        }
    }
    Ok(section)
}
