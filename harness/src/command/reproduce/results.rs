//! What a reproduction says: tables, figures, `results.json`.

use super::{CLASS, Chosen, Finished, ReproduceArgs, test_len};
use crate::cli::Common;
use crate::dataset::Dataset;
use crate::images::Scaled;
use crate::report::colormap::{Colormap, Norm};
use crate::report::panel::{HeatRow, Style, heat_grid};
use crate::report::share::{cosine, figure_4_9, jensen_shannon_distance, normalised, per_step};
use crate::report::table::Table;
use crate::run::training::write_json;
use anyhow::{Context, Result};
use model::Samples;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

/// Accuracies of the draft (Table 4.5, MNIST test).
const TABLE_4_5: [(&str, [(usize, f64); 3]); 2] =
    [("shallow", [(1, 0.9813), (4, 0.9830), (7, 0.9807)]), ("deep", [(1, 0.9788), (4, 0.9861), (7, 0.9852)])];

/// The draft's accuracy of a network, where it prints one.
fn draft_accuracy(cell: &str, seq_len: usize) -> Option<f64> {
    let (_, row) = TABLE_4_5.iter().find(|(name, _)| *name == cell)?;
    row.iter().find(|(t, _)| *t == seq_len).map(|&(_, accuracy)| accuracy)
}

#[derive(Serialize)]
struct Shares {
    network: String,
    share: Vec<f64>,
    last_step: f64,
    cosine: f64,
    jensen_shannon_distance: f64,
}

/// Share of the pixels' intensity in each step, over the class's test samples.
fn pixel_share(dataset: &Dataset, args: &ReproduceArgs, seq_len: usize) -> Vec<f64> {
    let mut sums = vec![0.0; seq_len];
    for i in (0..test_len(dataset, args)).filter(|&i| usize::from(dataset.test.label(i)) == CLASS) {
        let image: Vec<f32> = dataset.test.image(i).iter().map(|&byte| f32::from(byte)).collect();
        let steps = per_step(&image, dataset.rows, dataset.cols, seq_len);
        sums.iter_mut().zip(steps).for_each(|(sum, step)| *sum += step);
    }
    normalised(&sums)
}

pub(super) fn report(
    args: &ReproduceArgs,
    common: &Common,
    dataset: &Dataset,
    chosen: &Chosen,
    finished: &[Finished],
    out: &Path,
) -> Result<()> {
    let accuracy = accuracy_table(dataset, finished);
    let conservation = conservation_table(finished);
    let mut lengths: Vec<usize> =
        finished.iter().map(|run| run.settings.seq_len).filter(|&t| t > 1).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let mut shares = Vec::new();
    for &seq_len in &lengths {
        let pixels = pixel_share(dataset, args, seq_len);
        let of = |run: &&Finished| run.settings.seq_len == seq_len;
        let found: Vec<Shares> = finished.iter().filter(of).map(|run| share_of(run, &pixels)).collect();
        shares.push((seq_len, pixels, found));
    }
    let written = figures(args, dataset, chosen, finished, &shares, out)?;
    let shares_json: Vec<Value> = shares
        .iter()
        .map(|(t, pixels, networks)| json!({ "seq_len": t, "class": CLASS, "pixels": pixels, "networks": networks }))
        .collect();
    let results = json!({
        "dataset": dataset.name,
        "epochs": args.epochs,
        "seed": args.seed,
        "accuracy": accuracy.to_json(),
        "shares": shares_json,
        "conservation": conservation.to_json(),
        "runs": finished.iter().map(|run| json!({
            "settings": run.settings, "outcome": run.outcome, "explanations": run.explained.summary,
        })).collect::<Vec<_>>(),
        "figures": written,
    });
    write_json(&out.join("results.json"), &results)?;
    if common.json {
        println!("{results}");
        return Ok(());
    }
    println!("Test accuracy on {} after {} epochs, seed {}", dataset.name, args.epochs, args.seed);
    println!("{accuracy}");
    for (seq_len, pixels, networks) in &shares {
        println!(
            "Class {CLASS}, T = {seq_len}: share of relevance (deep Taylor) and of pixel intensity in each step"
        );
        println!("{}", share_table(pixels, networks));
    }
    println!("Conservation of deep Taylor over the test set: |f − ΣR − lost| / |f|, and lost / |f|");
    println!("{conservation}");
    for figure in written {
        println!("{}", out.join(figure).display());
    }
    Ok(())
}

fn share_of(run: &Finished, pixels: &[f64]) -> Shares {
    let share = normalised(&run.explained.class_steps);
    Shares {
        network: run.settings.title(),
        last_step: share.last().copied().unwrap_or(0.0),
        cosine: cosine(&share, pixels),
        jensen_shannon_distance: jensen_shannon_distance(&share, pixels),
        share,
    }
}

fn accuracy_table(dataset: &Dataset, finished: &[Finished]) -> Table {
    let mnist = dataset.is_mnist();
    let mut columns = vec!["network", "variables", "validation", "test"];
    if mnist {
        columns.extend(["Table 4.5", "difference"]);
    }
    let mut table = Table::new(&columns);
    for Finished { settings, outcome, .. } in finished {
        let mut row = vec![
            outcome.title.clone(),
            outcome.variables.to_string(),
            format!("{:.4}", outcome.validation_accuracy),
            format!("{:.4}", outcome.test_accuracy),
        ];
        if mnist {
            let draft = draft_accuracy(&settings.cell, settings.seq_len);
            let shown = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.4}"));
            row.extend([shown(draft), shown(draft.map(|draft| outcome.test_accuracy - draft))]);
        }
        table.row(row);
    }
    table
}

fn share_table(pixels: &[f64], networks: &[Shares]) -> Table {
    let steps: Vec<String> = (1..=pixels.len()).map(|t| t.to_string()).collect();
    let mut columns = vec!["share in step"];
    columns.extend(steps.iter().map(String::as_str));
    columns.extend(["cosine", "JS distance"]);
    let mut table = Table::new(&columns);
    let cells = |shares: &[f64]| shares.iter().map(|share| format!("{share:.3}")).collect::<Vec<_>>();
    let row = |name: &str, shares: &[f64], rest: [String; 2]| {
        [vec![name.to_owned()], cells(shares), rest.to_vec()].concat()
    };
    table.row(row("pixels", pixels, [String::new(), String::new()]));
    for network in networks {
        let rest = [format!("{:.3}", network.cosine), format!("{:.3}", network.jensen_shannon_distance)];
        table.row(row(&network.network, &network.share, rest));
    }
    table
}

fn conservation_table(finished: &[Finished]) -> Table {
    let mut table = Table::new(&["network", "error mean", "error max", "lost mean", "lost max", "f ≤ 0"]);
    for run in finished {
        let s = &run.explained.summary;
        let small = |value: f64| format!("{value:.1e}");
        table.row(vec![
            run.outcome.title.clone(),
            small(s.conservation_error_mean),
            small(s.conservation_error_max),
            small(s.lost_share_mean),
            small(s.lost_share_max),
            s.not_positive.to_string(),
        ]);
    }
    table
}

fn figures(
    args: &ReproduceArgs,
    dataset: &Dataset,
    chosen: &Chosen,
    finished: &[Finished],
    shares: &[(usize, Vec<f64>, Vec<Shares>)],
    out: &Path,
) -> Result<Vec<String>> {
    let Some(any) = finished.first() else { return Ok(Vec::new()) };
    let range = any.settings.input_range;
    let samples = Scaled::new(&dataset.test, range.0, range.1);
    let style = Style {
        rows: dataset.rows,
        cols: dataset.cols,
        low: range.0,
        high: range.1,
        cmap: Colormap::Bwr,
        norm: Norm::Symmetric,
        scale: 3,
    };
    let images = |indices: &[usize]| -> Vec<Vec<f32>> {
        let mut x = vec![0.0; dataset.rows * dataset.cols];
        let image = |&i: &usize| {
            samples.pixels(i, &mut x);
            x.clone()
        };
        indices.iter().map(image).collect()
    };
    let classes = chosen.each_class.len();
    let draw = |title: &str,
                caption: &str,
                labels: Vec<String>,
                indices: &[usize],
                runs: &[&Finished],
                from: usize| {
        let inputs = images(indices);
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let rows: Vec<HeatRow> = runs
            .iter()
            .map(|run| HeatRow {
                label: run.settings.title(),
                seq_len: run.settings.seq_len,
                maps: run.explained.maps[from..from + indices.len()].iter().map(Vec::as_slice).collect(),
            })
            .collect();
        heat_grid(title, caption, &labels, &inputs, &rows, &style).draw()
    };
    let mut written = Vec::new();
    let all: Vec<&Finished> = finished.iter().collect();
    let labels = chosen.each_class.iter().map(|&i| dataset.test.label(i).to_string()).collect();
    let title = format!("Deep Taylor heatmaps, {} ({} epochs)", dataset.name, args.epochs);
    let caption =
        "One test sample a class. Red: evidence for the predicted class; ticks: the steps of the sequence.";
    draw(&title, caption, labels, &chosen.each_class, &all, 0).save_png(&out.join("figure-4.7.png"))?;
    written.push("figure-4.7.png".to_owned());
    // The draft shows T = 7; where it is not among the runs, the longest is.
    let longest = shares.iter().map(|(t, ..)| *t).max();
    if let Some(seq_len) =
        longest.map(|longest| if shares.iter().any(|(t, ..)| *t == 7) { 7 } else { longest })
    {
        let runs: Vec<&Finished> = finished.iter().filter(|run| run.settings.seq_len == seq_len).collect();
        let labels = chosen.population.iter().map(|i| format!("#{i}")).collect();
        let title =
            format!("{} random test samples of class {CLASS}, T = {seq_len}", chosen.population.len());
        let caption =
            "A network that can be explained puts its relevance where the stroke is, not in the last steps.";
        draw(&title, caption, labels, &chosen.population, &runs, classes)
            .save_png(&out.join("figure-4.8.png"))?;
        written.push("figure-4.8.png".to_owned());
    }
    for (seq_len, pixels, networks) in shares {
        let name = format!("figure-4.9-t{seq_len}.svg");
        let series: Vec<(String, Vec<f64>)> =
            networks.iter().map(|network| (network.network.clone(), network.share.clone())).collect();
        let title =
            format!("Class {CLASS}, {}: relevance against pixel intensity, T = {seq_len}", dataset.name);
        figure_4_9(&out.join(&name), &title, pixels, &series).with_context(|| name.clone())?;
        written.push(name);
    }
    Ok(written)
}
