//! The tables, figures and claims of the thesis, from the finished runs of an experiment.

mod accuracy;
pub mod compare;
mod final_thesis;
mod front;
mod heatmaps;
mod networks;
mod numbers;
mod printed;
mod setup;
mod statements;

use crate::experiment::definition::{Rate, ReportKind};
use crate::experiment::folder::{Loaded, Run, State};
use crate::report::colormap::Look;
use crate::report::document::{Report, Section};
use crate::report::table::Table;
use anyhow::Result;
use networks::Set;
use serde_json::{Value, json};

/// The report of an experiment's folder. It depends on the content of the folder and on how heatmaps are drawn only.
///
/// # Errors
/// If a figure cannot be drawn.
pub fn report(loaded: &Loaded, look: Look) -> Result<Report> {
    if loaded.experiment.report == ReportKind::Final {
        return final_thesis::report(loaded, look, runs(loaded), data(loaded));
    }
    let mut sets = Set::of(loaded);
    sets.iter_mut().for_each(|set| set.look = look);
    let experiment = &loaded.experiment;
    let names: Vec<&str> = sets.iter().map(Set::title).collect();
    let names = if names.is_empty() { "no data".to_owned() } else { names.join(" and ") };
    let mut statements = Section::new("Claims of the thesis");
    statements.text(
        "The claims of the thesis, tested on this reproduction. Each has a fixed threshold, and a value with its 95 % interval over \
         samples where it comes from samples: it holds or fails if the whole interval does, and is unsure if the threshold lies in \
         it. Claims named check are sanity checks that are not in the thesis: heatmaps that fail them are not reliable \
         explanations.",
    );
    sets.iter().for_each(|set| statements.text(statements::summary(set, experiment)));
    let caption = "Every claim on every network; claimed: whether the thesis claims it of this network.";
    statements.table("statements", caption, statements::table(&sets, experiment));
    let mut sections = vec![front::section(loaded, &sets)?, statements];
    let first = front::main_set(&sets).map(|(set, _)| set.name);
    for set in sets.iter().filter(|set| !set.nets.is_empty()) {
        sections.push(heatmaps::section(set, first == Some(set.name))?);
        sections.push(numbers::section(set)?);
    }
    sections.push(accuracy::section(&sets)?);
    sections.push(runs(loaded));
    sections.push(setup::data(experiment, &sets)?);
    sections.push(setup::cells(experiment, &sets)?);
    sections.push(setup::background(experiment, &sets)?);
    let mut lead = vec![front::ran(loaded, &sets)];
    for set in sets.iter().filter(|set| !set.nets.is_empty()) {
        lead.push(front::verdict(set));
    }
    Ok(Report {
        title: format!("{} on {names}", experiment.name),
        warning: front::warning(loaded, &sets),
        lead,
        sections,
        data: data(loaded),
        ..Report::default()
    })
}

/// The state of a run in words.
fn state_text(state: &State) -> String {
    match state {
        State::Done(_) => "done".to_owned(),
        State::Missing => "missing".to_owned(),
        State::Unfinished(why) => format!("unfinished: {why}"),
        State::Damaged(why) => format!("damaged: {why}"),
    }
}

fn runs(loaded: &Loaded) -> Section {
    let mut section = Section::new("Runs");
    section.text(
        "A reproduction of P. Chormai, Designing Recurrent Neural Networks for Explainability (TU Berlin, 2018): relu networks that \
         read an image strip by strip, and layer-wise relevance propagation (LRP, deep Taylor decomposition), which attributes each \
         decision to the input pixels. Numbers with ± are mean and standard deviation over seeds; figures show the first seed.",
    );
    let mut table = Table::new(&[
        "run",
        "state",
        "epochs",
        "batch",
        "learning rate",
        "seed",
        "train",
        "validation",
        "test",
        "seconds",
    ]);
    let row = |run: &Run| {
        let settings = &run.planned.settings;
        let finished = run.finished();
        let shown = |of: Option<String>| of.unwrap_or_default();
        vec![
            run.planned.folder.clone(),
            state_text(&run.state),
            settings.epochs.to_string(),
            settings.batch.to_string(),
            settings.lr.to_string(),
            settings.seed.to_string(),
            shown(finished.map(|run| run.manifest.samples[0].to_string())),
            shown(finished.map(|run| run.manifest.samples[1].to_string())),
            shown(finished.map(|run| run.manifest.samples[2].to_string())),
            shown(finished.map(|run| format!("{:.0}", run.outcome.seconds))),
        ]
    };
    loaded.runs.iter().for_each(|run| {
        table.row(row(run));
    });
    for (name, error) in loaded.sets.iter().filter_map(|(name, set)| Some((name, set.as_ref().err()?))) {
        section.text(format!("The samples of {name} cannot be read: {error}."));
    }
    let caption = "The runs and their state. Train, validation, test: samples. Seconds: run time of the last process of \
                   the training, which may have shared the CPU with others.";
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
            "Learning rates were searched for each data set, network and T: every candidate is trained for a few epochs, and \
             the one with the best validation accuracy is used, the smaller rate of equals. The test set is not used.",
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
        section.table(
            "learning-rates",
            "Candidates of the learning rate and their validation accuracy.",
            table,
        );
    }
    section
}

/// Every number of every run at full precision.
fn data(loaded: &Loaded) -> Value {
    let run = |run: &Run| {
        let finished = run.finished();
        json!({
            "run": run.planned.folder,
            "state": state_text(&run.state),
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
