//! Tests of optional settings.

use super::*;

#[test]
fn settings_given_as_options_are_the_same_settings() {
    let default = PartialSettings::default;
    for partial in [
        default(),
        PartialSettings {
            cell: Some("convdeep".to_owned()),
            pool: Some(PoolName::Sum),
            combine: Some(48),
            ..default()
        },
        PartialSettings { cell: Some("shallow".to_owned()), ..default() },
        PartialSettings {
            cell: Some("r-lstm-sd".to_owned()),
            dataset: Some("synth-maj".to_owned()),
            folds: Some(7),
            fold: Some(6),
            leaky: Some(true),
            ..default()
        },
        PartialSettings {
            encoder: text_of("conv3x4,sum-pool,24"),
            core: Some(Setting::Text("rnn:16:8".to_owned())),
            ..default()
        },
        PartialSettings {
            cell: Some("mine".to_owned()),
            encoder: text_of("250"),
            core: Some(Setting::Text("rnn:16:8".to_owned())),
            seed: Some(u64::MAX),
            limit_train: Some(5),
            ..default()
        },
    ] {
        let settings = partial.complete().unwrap();
        assert_eq!(PartialSettings::of(settings.clone()).complete().unwrap(), settings);
    }
}

fn text_of(text: &str) -> Option<Setting<Vec<EncoderLayer>>> {
    Some(Setting::Text(text.to_owned()))
}

#[test]
fn the_command_line_overrides_the_file_and_the_file_the_defaults() {
    let file: PartialSettings = toml::from_str("cell = \"shallow\"\nseq-len = 4\nepochs = 9").unwrap();
    let line = PartialSettings { epochs: Some(2), ..PartialSettings::default() };
    let settings = line.over(file).complete().unwrap();
    assert_eq!((settings.cell.as_str(), settings.seq_len, settings.epochs), ("shallow", 4, 2));
    assert_eq!((settings.batch, settings.dropout), (50, 0.0));
}

#[test]
fn an_unknown_or_mistyped_key_is_refused_by_name() {
    for (text, name) in [("epoch = 3", "epoch"), ("batch = \"many\"", "batch")] {
        let error = toml::from_str::<PartialSettings>(text).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn parts_replace_those_of_the_preset_and_name_the_architecture() {
    let complete = |text: &str| toml::from_str::<PartialSettings>(text).unwrap().complete().unwrap();
    let named = |text: &str| {
        let settings = complete(text);
        (settings.cell.clone(), settings.title(), settings.dropout)
    };
    let other = "encoder = \"250\"\ncore = \"rnn:128:256\"\nhead = [32]\n";
    assert_eq!(named("seq-len = 4"), ("deep".to_owned(), "Deep-4".to_owned(), 0.5));
    let (cell, title) = ("dense250-rnn128_256-head32".to_owned(), "dense250-rnn128:256-head32-7".to_owned());
    assert_eq!(named(other), (cell.clone(), title.clone(), 0.5));
    assert_eq!(named(&format!("cell = \"convdeep\"\n{other}")), (cell, title, 0.5));
    assert_eq!(named(&format!("cell = \"mine\"\n{other}")), ("mine".to_owned(), "mine-7".to_owned(), 0.5));
    let (title, dropout) = ("rnn48:24-7".to_owned(), 0.0);
    let narrow = "cell = \"shallow\"\ncombine = 48\nrecurrent = 24";
    assert_eq!(named(narrow), ("shallow".to_owned(), title, dropout));
    assert_eq!(named("encoder = [{ dense = 512 }]").0, "deep");
    let sum = complete("cell = \"convdeep\"\npool = \"sum\"");
    assert!(sum.title().contains("sum-pool") && sum.preset().is_none());
    assert_eq!(complete("encoder = \"none\"\ncore = \"rnn:768:128\"\nhead = []").preset(), Some("shallow"));
}

#[test]
fn a_kind_of_pool_needs_a_pool() {
    let complete = |text: &str| toml::from_str::<PartialSettings>(text).unwrap().complete();
    for cell in ["shallow", "deep", "r-lstm"] {
        let refused = complete(&format!("cell = \"{cell}\"\npool = \"sum\"")).unwrap_err().to_string();
        assert!(refused.contains("--pool") && refused.contains(cell), "{refused}");
    }
    assert!(complete("cell = \"convdeep\"\npool = \"sum\"").is_ok());
    assert!(complete("encoder = [{ dense = 32 }]\npool = \"max\"").is_err());
}

#[test]
fn a_cell_with_the_suffix_is_the_same_as_the_setting() {
    let complete = |text: &str| toml::from_str::<PartialSettings>(text).unwrap().complete();
    let named = complete("cell = \"r-lstm-sd\"\ndropout-profile = \"final\"").unwrap();
    let set = complete("cell = \"r-lstm\"\nstationary = true\ndropout-profile = \"final\"").unwrap();
    assert_eq!(named, set);
    assert_eq!((&named.title()[..], &named.cell_name()[..]), ("R-LSTM-SD-7", "r-lstm-sd"));
    assert!(named.train_options().dropout.stationary);
    assert_eq!(complete("cell = \"final-deep-sd\"").unwrap().title(), "Deep-SD (final)-7");
    assert!(!complete("cell = \"final-deep\"").unwrap().train_options().dropout.stationary);
    let error = complete("cell = \"deep-sd\"\nstationary = false").unwrap_err().to_string();
    assert!(error.contains("deep-sd"), "{error}");
}

#[test]
fn invalid_settings_are_refused() {
    for partial in [
        PartialSettings { batch: Some(0), ..PartialSettings::default() },
        PartialSettings { lr: Some(f32::NAN), ..PartialSettings::default() },
        PartialSettings { dropout: Some(1.0), ..PartialSettings::default() },
        PartialSettings { cell: Some("lstm".to_owned()), ..PartialSettings::default() },
        PartialSettings { core: Some(Setting::Text("lstm:3".to_owned())), ..PartialSettings::default() },
    ] {
        let error = partial.complete().unwrap_err();
        assert!(error.downcast_ref::<UsageError>().is_some(), "{error}");
    }
}
