//! The thesis's tables, figures and statements from the finished runs of an experiment.

mod accuracy;
pub mod compare;
mod heatmaps;
mod networks;
mod numbers;
mod printed;
mod setup;
mod statements;

use crate::experiment::definition::Rate;
use crate::experiment::folder::{Loaded, Run, State};
use crate::report::document::{Report, Section};
use crate::report::table::Table;
use anyhow::Result;
use networks::Set;
use serde_json::{Value, json};

/// The report of an experiment's folder. It depends on what the folder holds and on nothing else.
///
/// # Errors
/// If a drawing cannot be made.
pub fn report(loaded: &Loaded) -> Result<Report> {
    let sets = Set::of(loaded);
    let experiment = &loaded.experiment;
    let finished = loaded.runs.iter().filter(|run| run.finished().is_some()).count();
    let names: Vec<&str> = sets.iter().map(Set::title).collect();
    let names = if names.is_empty() { "no data".to_owned() } else { names.join(" and ") };
    let mut statements = Section::new("Statements");
    statements.text(
        "The claims of the thesis, judged by the numbers of this reproduction. Each has a fixed threshold; checks are not the thesis's, but a heatmap that fails them explains less than it seems. A claim \
         that fails says so.",
    );
    sets.iter().for_each(|set| statements.text(statements::words(set, experiment)));
    let caption = "Claims of the thesis, with the number that decides each.";
    statements.table("statements", caption, statements::table(&sets, experiment));
    let mut sections = vec![statements, runs(loaded)];
    sections.push(setup::background(experiment, &sets)?);
    sections.push(setup::data(experiment, &sets)?);
    sections.push(setup::cells(experiment, &sets)?);
    sections.push(accuracy::section(&sets)?);
    for set in sets.iter().filter(|set| !set.nets.is_empty()) {
        sections.push(heatmaps::section(set)?);
        sections.push(numbers::section(set)?);
    }
    Ok(Report {
        title: format!("Recurrent networks designed for explainability: {} on {names}", experiment.name),
        lead: vec![
            "A reproduction of P. Chormai, Designing Recurrent Neural Networks for Explainability (TU Berlin, 2018): \
             relu networks that read an image strip by strip, and layer-wise relevance propagation (LRP, deep Taylor \
             decomposition) that hands every decision back to the pixels."
                .to_owned(),
            format!(
                "{finished} of {} runs are whole. Numbers with ± are mean and standard deviation over seeds; pictures show \
                 the first seed. Every number is in report.json and tables/, every figure in figures/.",
                loaded.runs.len()
            ),
        ],
        sections,
        data: data(loaded),
    })
}

/// What is there of a run, in words.
fn word(state: &State) -> String {
    match state {
        State::Done(_) => "done".to_owned(),
        State::Missing => "missing".to_owned(),
        State::Unfinished(why) => format!("unfinished: {why}"),
        State::Damaged(why) => format!("damaged: {why}"),
    }
}

fn runs(loaded: &Loaded) -> Section {
    let mut section = Section::new("Runs");
    let mut table =
        Table::new(&["run", "state", "epochs", "batch", "learning rate", "seed", "samples", "seconds"]);
    let row = |run: &Run| {
        let settings = &run.planned.settings;
        let finished = run.finished();
        let shown = |of: Option<String>| of.unwrap_or_default();
        vec![
            run.planned.folder.clone(),
            word(&run.state),
            settings.epochs.to_string(),
            settings.batch.to_string(),
            settings.lr.to_string(),
            settings.seed.to_string(),
            shown(finished.map(|run| run.manifest.samples.map(|n| n.to_string()).join(" + "))),
            shown(finished.map(|run| format!("{:.0}", run.outcome.seconds))),
        ]
    };
    loaded.runs.iter().for_each(|run| {
        table.row(row(run));
    });
    for (name, error) in loaded.sets.iter().filter_map(|(name, set)| Some((name, set.as_ref().err()?))) {
        section.text(format!("The samples of {name} cannot be shown: {error}."));
    }
    let caption = "What was trained and what is there of it. Samples: to learn from, held out for validation, to test on. \
                   Seconds are those of the process that ended the training, beside others.";
    section.table("runs", caption, table);
    let mut machines: Vec<String> = Vec::new();
    for run in loaded.runs.iter().filter_map(Run::finished) {
        let commit = run.manifest.commit.as_deref().unwrap_or("unknown");
        let text = format!("{}, {} kernels, commit {commit}", run.manifest.cpu, run.manifest.kernels);
        if !machines.contains(&text) {
            machines.push(text);
        }
    }
    if !machines.is_empty() {
        section.text(format!("Trained on: {}.", machines.join("; ")));
    }
    if let Rate::Search(_) = loaded.experiment.lr {
        section.text(
            "Learning rates were searched for each set, cell and T: every candidate is trained for a few epochs, and the \
             best accuracy on held-out training samples wins, the smaller rate of equals. The test set has no part in it.",
        );
        let mut table = Table::new(&["network", "learning rate", "validation accuracy", "chosen"]);
        for (group, tried) in &loaded.rates.0 {
            for of in tried {
                let chosen = loaded.rates.get(group) == Some(of.lr);
                table.row(vec![
                    group.clone(),
                    of.lr.to_string(),
                    of.validation_accuracy.map_or("failed".to_owned(), |accuracy| format!("{accuracy:.4}")),
                    if chosen { "chosen".to_owned() } else { String::new() },
                ]);
            }
        }
        section.table("learning-rates", "Candidates of the learning rate and what they came to.", table);
    }
    section
}

/// Every number of every run at full length.
fn data(loaded: &Loaded) -> Value {
    let run = |run: &Run| {
        let finished = run.finished();
        json!({
            "run": run.planned.folder,
            "state": word(&run.state),
            "settings": run.planned.settings,
            "outcome": finished.map(|run| &run.outcome),
            "metrics": finished.map(|run| &run.metrics),
            "measured": finished.map(|run| &run.measured),
        })
    };
    let set = |(name, set): &(String, Result<_, String>)| json!({ "data": name, "samples": set.as_ref().ok(), "error": set.as_ref().err() });
    json!({
        "experiment": loaded.experiment,
        "learning_rates": loaded.rates,
        "sets": loaded.sets.iter().map(set).collect::<Vec<_>>(),
        "runs": loaded.runs.iter().map(run).collect::<Vec<_>>(),
    })
}
