//! Files of text: settings and experiments.

use super::{Change, Reader, change};
use harness::experiment::definition::Experiment;
use harness::experiment::rates::Rates;
use harness::run::settings::{PartialSettings, Settings};
use std::path::{Component, Path};

/// Settings of a training.
pub const SETTINGS: Reader =
    Reader { name: "settings", sound: sound_settings, change: change_text, read: read_settings };

fn sound_settings() -> Vec<u8> {
    b"cell = \"deep\"\nseq-len = 7\ndataset = \"synth\"\nepochs = 6\nbatch = 50\nlr = 5e-4\n\
        optimiser = \"adam\"\nmomentum = 0.9\ndropout = 0.5\nseed = 1\nvalidation = 100\nlimit-train = 600\n\
        limit-test = 50\ninput-range = [-1.0, 1.0]\npool = \"max\"\ncombine = 256\nrecurrent = 128\n"
        .to_vec()
}

fn change_text(text: &mut Vec<u8>, change: Change) {
    change::lines(text, change);
}

fn read_settings(path: &Path) -> anyhow::Result<()> {
    consistent(&PartialSettings::default().over_file(Some(path))?.complete()?);
    Ok(())
}

fn consistent(settings: &Settings) {
    assert!(settings.lr.is_finite() && settings.lr > 0.0, "{settings:?}");
    assert!(settings.batch > 0 && settings.epochs > 0 && settings.seq_len > 0, "{settings:?}");
    assert!((0.0..1.0).contains(&settings.momentum) && (0.0..1.0).contains(&settings.dropout));
}

/// Experiments, up to the plan of their trainings.
pub const EXPERIMENT: Reader =
    Reader { name: "experiment", sound: sound_experiment, change: change_text, read: read_experiment };

fn sound_experiment() -> Vec<u8> {
    b"name = \"mine\"\ndatasets = [\"synth\", \"mnist\"]\ncells = [\"shallow\", \"deep\"]\nseq-lens = [1, 4, 7]\n\
        seeds = [1, 2]\nlr = \"search\"\n[train]\nepochs = 3\nbatch = 50\nlimit-train = 600\nlimit-test = 60\n\
        [[also]]\ncell = \"deep\"\nseq-len = 7\noptimiser = \"sgd\"\nlr = 0.01\n[[also]]\ncell = \"convdeep\"\n\
        seq-len = 4\ndataset = \"mnist\"\nseed = 2\npool = \"sum\"\n[search]\nrates = [1e-3, 5e-4]\nepochs = 2\n\
        [measure]\nsamples = 50\npopulation = 60\nregion = 4\nmethods = [\"deep-taylor\"]\n"
        .to_vec()
}

fn read_experiment(path: &Path) -> anyhow::Result<()> {
    let experiment = Experiment::read(path)?;
    let plan = experiment.plan(&Rates::default())?;
    assert!(!plan.is_empty());
    for planned in &plan {
        consistent(&planned.settings);
        let inside = Path::new(&planned.folder).components().all(|part| matches!(part, Component::Normal(_)));
        assert!(inside, "{} is not within the experiment's folder", planned.folder);
    }
    // An experiment's folder keeps it as a file.
    let again = toml::to_string(&experiment)?;
    assert_eq!(toml::from_str::<Experiment>(&again)?, experiment, "{again}");
    Ok(())
}
