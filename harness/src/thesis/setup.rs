//! Chapters 3 and 4 up to the results: root points of the rules, data, architectures, hyper-parameters.

use super::networks::Set;
use super::printed;
use crate::experiment::definition::Experiment;
use crate::experiment::rates::Rates;
use crate::measure::heatmaps::MAIN;
use crate::report::architecture;
use crate::report::colour_bar::ColourBar;
use crate::report::document::{Figure, Picture, Section};
use crate::report::panel::{Grid, GridRow};
use crate::report::picture::{heatmap, input};
use crate::report::root_point::{self, Neuron, Rule};
use crate::report::table::Table;
use crate::run::settings::Settings;
use anyhow::Result;
use model::{Architecture, Network, Task};
use serde_json::{Value, json};

/// Figures 3.2 and 3.4 to 3.6.
pub(super) fn background(experiment: &Experiment, sets: &[Set]) -> Result<Section> {
    let mut section = Section::new("Explanation methods (chapter 3)");
    if let Some(figure) = sets.first().map(global_and_local).transpose()?.flatten() {
        section.figure(figure);
    }
    let settings = &experiment.measure.neuron;
    let neuron = Neuron { w: settings.weights, b: settings.bias, a: settings.activations };
    let pictures = [
        (
            "3.4",
            "Root points of the three rules",
            &Rule::ALL[..],
            "Each rule searches from the point a in its own direction for the root point on the line R = 0. w² takes the \
          steepest direction, which may leave the input domain; the root points of z⁺ and zᵝ are inside their domains.",
        ),
        (
            "3.5",
            "z⁺: activations are not negative",
            &[Rule::ZPlus][..],
            "The dashed frame is the domain a ≥ 0. z⁺ only decreases inputs with a positive weight, so the root point \
          keeps the other activation and stays in the domain.",
        ),
        (
            "3.6",
            "zᵝ: pixels lie in −1…1",
            &[Rule::ZBeta][..],
            "The dashed frame is the domain −1 ≤ a ≤ 1. zᵝ searches towards the corner of the domain that excites the neuron \
          least, so the root point stays in the domain.",
        ),
    ];
    for (number, title, rules, caption) in pictures {
        let term = |x: f64| format!("{} {:.2}", if x < 0.0 { '−' } else { '+' }, x.abs());
        let [w2, b] = [neuron.w[1], neuron.b].map(term);
        let of = format!("R = max(0, {:.2}·a₁ {w2}·a₂ {b})", neuron.w[0]);
        section.figure(Figure {
            name: format!("figure-{number}"),
            caption: format!("Figure {number}. {of} over its two activations, with contour lines of R. {caption}"),
            picture: Picture::Svg(root_point::svg(title, neuron, rules)?),
            data: json!({ "neuron": settings, "rules": rules.iter().map(|rule| rule.name()).collect::<Vec<_>>() }),
        });
    }
    let mut table = Table::new(&["rule", "v₁", "v₂", "ã₁", "ã₂", "R(ã)", "R₁", "R₂", "R₁ + R₂"]);
    for rule in Rule::ALL {
        let (v, root, r) = (rule.direction(neuron), rule.root(neuron), rule.relevance(neuron));
        let numbers = [v[0], v[1], root[0], root[1], neuron.value(root), r[0], r[1], r[0] + r[1]];
        let texts = numbers.iter().map(|x| format!("{:.3}", if x.abs() < 5e-4 { 0.0 } else { *x }));
        table.row(std::iter::once(rule.name().to_owned()).chain(texts).collect());
    }
    let caption = "Table to Figures 3.4–3.6: search direction v, root point ã and the relevance each rule gives the two \
                   inputs. The sum is R(a) for every rule.";
    section.table("figure-3.4-numbers", caption, table);
    Ok(section)
}

/// Figure 3.2: global analysis (prototype of a class) against local analysis (heatmap of a sample).
fn global_and_local(set: &Set) -> Result<Option<Figure>> {
    let Some(net) = set.main_length().and_then(|t| set.of_length(t).pop()) else { return Ok(None) };
    let selection = set.selection;
    let (rows, cols, size) = (selection.rows, selection.cols, selection.size());
    let prototypes = net.first().group("prototypes", size);
    let maps = net.first().group(&format!("{MAIN}/each-class"), size);
    let Some(at) = selection.labels.iter().position(|&label| usize::from(label) == selection.class) else {
        return Ok(None);
    };
    let (Some(prototype), Some(map)) = (prototypes.get(selection.class), maps.get(at)) else {
        return Ok(None);
    };
    let image = selection.each_class_images()[at];
    let range = set.look.ranges(&[map])[0];
    let cells = vec![
        input(rows, cols, prototype, 0.0, 1.0, 1),
        input(rows, cols, image, 0.0, 1.0, 1),
        heatmap(rows, cols, map, set.look, range),
    ];
    let grid = Grid {
        column_labels: ["global", "input", "local"].map(str::to_owned).to_vec(),
        rows: vec![GridRow { label: net.title.to_owned(), cells, ..GridRow::default() }],
        bar: Some(ColourBar::new(set.look, Some(range), range.low < 0.0)),
        note: format!("local: {MAIN}, value {}; {}", set.value, set.look.text()),
    };
    let caption = format!(
        "Figure 3.2. Global against local analysis of class {} by {}. Left: prototype by activation \
         maximisation, regularised towards the mean image. Middle: one test sample. Right: its deep Taylor heatmap.",
        selection.class, net.title
    );
    Ok(Some(Figure {
        name: "figure-3.2".to_owned(),
        caption,
        picture: Picture::Svg(grid.svg()?),
        data: Value::Null,
    }))
}

/// Figures 4.1 and 4.2, Table 4.1.
pub(super) fn data(experiment: &Experiment, sets: &[Set]) -> Result<Section> {
    let mut section = Section::new("Data (section 4.1)");
    for set in sets {
        let selection = set.selection;
        let number = match set.published() {
            "mnist" => "Figure 4.1. ",
            "fashion-mnist" => "Figure 4.2. ",
            _ => "",
        };
        let per_class = selection.gallery.iter().map(Vec::len).max().unwrap_or(0);
        let mut columns: Vec<Vec<&[f32]>> = Vec::new();
        let mut from = 0;
        for of in &selection.gallery {
            columns.push((from..from + of.len()).map(|i| selection.image(i)).collect());
            from += of.len();
        }
        let draw = |image: &&[f32]| input(selection.rows, selection.cols, image, 0.0, 1.0, 1);
        let row = |i: usize| GridRow {
            cells: columns.iter().filter_map(|column| column.get(i)).map(draw).collect(),
            ..GridRow::default()
        };
        let grid = Grid {
            column_labels: selection.labels.iter().map(u8::to_string).collect(),
            rows: (0..per_class).map(row).collect(),
            ..Grid::default()
        };
        let used = set.nets.first().map_or(String::new(), |net| {
            let [train, validation, _] = net.first().manifest.samples;
            format!(", of which {train} are trained on and {validation} held out")
        });
        let caption = format!(
            "{number}Test samples of each class of {}: one column per class, labelled above. The set has {} training samples{}; \
             {} test samples are used. Images of {}×{} pixels.",
            set.title(),
            selection.train,
            used,
            selection.test,
            selection.rows,
            selection.cols
        );
        let name = format!("samples-{}", set.name);
        section.figure(Figure {
            name,
            caption,
            picture: Picture::Svg(grid.svg()?),
            data: json!(selection.gallery),
        });
    }
    let mut table = Table::new(&["data", "T", "rows", "columns", "rows, thesis", "columns, thesis"]);
    for set in sets {
        for &t in &lengths(experiment) {
            let thesis = printed::LENGTHS.iter().position(|&of| of == t).map(|i| printed::DIMENSIONS[i]);
            let thesis = thesis.filter(|_| !set.published().is_empty());
            let ours = [set.selection.rows, set.selection.cols / t.max(1)];
            let sizes = [Some(ours), thesis]
                .map(|of| of.map_or(["–".to_owned(), "–".to_owned()], |of| of.map(|n| n.to_string())));
            table.row([set.label().to_owned(), t.to_string()].into_iter().chain(sizes.concat()).collect());
        }
    }
    section.table("table-4.1", "Table 4.1. Rows and columns of one step for each sequence length T.", table);
    Ok(section)
}

/// The lengths of the experiment.
fn lengths(experiment: &Experiment) -> Vec<usize> {
    let mut lengths = experiment.seq_lens.clone();
    lengths.sort_unstable();
    lengths
}

/// Figures 4.4 to 4.6, Tables 4.2 to 4.4.
pub(super) fn cells(experiment: &Experiment, sets: &[Set]) -> Result<Section> {
    let mut section = Section::new("Architectures and hyper-parameters (sections 4.3, 4.4)");
    let t = sets.first().and_then(Set::main_length).or(lengths(experiment).last().copied()).unwrap_or(1);
    let task = Task { seq_len: t, ..Task::default() };
    let plan = experiment.plan(&Rates::default())?;
    let mut drawn: Vec<&Settings> = Vec::new();
    for settings in plan.iter().map(|planned| &planned.settings) {
        if drawn.iter().any(|other| other.architecture == settings.architecture) {
            continue;
        }
        drawn.push(settings);
        let (layers, recurrent) = architecture::layers(&settings.architecture, &task);
        let widths: Vec<Value> = layers
            .iter()
            .chain(&recurrent)
            .map(|layer| json!({ "layer": layer.number, "shape": layer.shape, "neurons": layer.width }))
            .collect();
        let title = Settings { seq_len: t, ..settings.clone() }.title();
        let (name, number) = match settings.preset() {
            Some(preset) => {
                let number = printed::figure(preset);
                (format!("figure-{number}-{preset}"), format!("Figures {number} and 4.6. "))
            }
            None => (format!("architecture-{}", settings.cell), String::new()),
        };
        section.figure(Figure {
            name,
            caption: format!(
                "{number}{title}: numbers are neurons, the height of a box grows with their square root. Layer 4 \
                 (orange) combines the encoding of a step with the output of layer 5 (green) from the previous step."
            ),
            picture: Picture::Svg(architecture::svg(&title, &settings.architecture, &task)?),
            data: json!(widths),
        });
    }
    let mut table = Table::new(&["hyper-parameter", "thesis", "ours"]);
    if let Some(net) = sets.iter().find_map(|set| set.adam().next()) {
        let settings = net.settings;
        let dropout = sets.iter().flat_map(Set::adam).map(|net| net.settings.dropout).fold(0.0, f32::max);
        let optimiser = serde_json::to_value(settings.optimiser)?;
        let ours = [
            optimiser.as_str().map_or(String::new(), capital),
            settings.epochs.to_string(),
            dropout.to_string(),
            settings.batch.to_string(),
        ];
        for ((name, thesis), ours) in printed::HYPER_PARAMETERS.iter().zip(ours) {
            table.row(vec![(*name).to_owned(), (*thesis).to_owned(), ours]);
        }
    }
    section.table("table-4.2", "Table 4.2. Hyper-parameters. Networks without an encoder are trained without dropout unless it is set.", table);
    let mut table = Table::new(&["cell", "T", "thesis", "ours", "equal"]);
    let trained = |name: &str, seq_len: usize| {
        let mut of = sets.iter().flat_map(|set| &set.nets).map(|net| net.settings);
        of.any(|settings| settings.preset() == Some(name) && settings.seq_len == seq_len)
    };
    for (name, row) in printed::VARIABLES {
        let preset = Architecture::preset(name)?;
        for (seq_len, thesis) in printed::LENGTHS.into_iter().zip(row).filter(|&(t, _)| trained(name, t)) {
            let ours = Network::new(preset.clone(), Task { seq_len, ..Task::default() }, 0)?.variables();
            let equal = if ours == thesis { "yes" } else { "no" };
            let title = preset.title();
            let texts = [seq_len.to_string(), thesis.to_string(), ours.to_string(), equal.to_owned()];
            table.row(std::iter::once(title).chain(texts).collect());
        }
    }
    section.table(
        "table-4.3",
        "Table 4.3. Variables of the presets that were trained here, for 28×28 images and 10 classes.",
        table,
    );
    let mut table = Table::new(&["data", "criterion", "networks", "met by", "verdict"]);
    for set in sets {
        let Some(criterion) = printed::criterion(set.published()) else { continue };
        let reached = |net: &&super::networks::Net| net.accuracy().is_some_and(|of| of.mean >= criterion);
        let (all, met) = (set.adam().count(), set.adam().filter(reached).count());
        table.row(vec![
            set.label().to_owned(),
            criterion.to_string(),
            all.to_string(),
            met.to_string(),
            if all > 0 && met == all { "met" } else { "not met" }.to_owned(),
        ]);
    }
    let caption = "Table 4.4. The least test accuracy at which heatmaps are compared, and how many networks reach it; each \
                   network's own verdict is in Table 4.5.";
    section.table("table-4.4", caption, table);
    Ok(section)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
