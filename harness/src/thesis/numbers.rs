//! Quantitative evaluation of the heatmaps: shares, conservation, pixel flipping, class dependence, randomisation.

use super::accuracy::chart;
use super::networks::{Net, Set, Spread, text};
use super::printed::{self, PrintedShare};
use crate::experiment::folder::Finished;
use crate::measure::classes;
use crate::measure::flipping::{Fill, Flipped, Order};
use crate::measure::heatmaps::MAIN;
use crate::measure::result::{Measured, OfMethod};
use crate::report::curve::{Line, LineChart};
use crate::report::document::Section;
use crate::report::table::Table;
use anyhow::Result;
use model::explain::Value;
use model::measure::shares::{cosine, jensen_shannon_distance};

pub(super) fn section(set: &Set) -> Result<Section> {
    let mut section = Section::new(&format!("Quantitative evaluation of the heatmaps of {}", set.title()));
    let selection = set.selection;
    for t in set.lengths().into_iter().filter(|&t| t > 1) {
        let caption = format!(
            "Share of each step over the test samples of class {}, T = {t}, deep Taylor, as drawn in Figure 4.9. \
             Cosine (1 is best) and Jensen–Shannon distance (0 is best) are to the share of the pixels.",
            selection.class
        );
        section.table(format!("shares-{}-t{t}", set.name), caption, shares(set, t));
    }
    let caption = "Conservation of deep Taylor on the whole test set: error is |f − ΣR − absorbed| / |f|; absorbed is the relevance \
                   that units with an empty denominator do not propagate, as a share of |f|; f ≤ 0 counts explained logits \
                   that are not positive. Maxima are over all seeds.";
    section.table(format!("conservation-{}", set.name), caption, conservation(set));
    let caption = "Values of the predicted class on the test set, mean and smallest; f ≤ 0 counts those that are not positive, over \
                   all seeds. Softmax does not see a common shift of the logits; centred, runner-up and contrast do not \
                   depend on it.";
    section.table(format!("values-{}", set.name), caption, values(set));
    let caption = format!(
        "Class dependence: mean |cosine| between the heatmaps of all pairs of classes, by method and explained value, on at most \
         {} test samples, with 95 % intervals over the samples. 1: the heatmaps of all classes are the same but for a factor, so they say where, not why this \
         class. AOPC as in the table of pixel flipping, background, where the method is measured.",
        classes::SAMPLES
    );
    section.table(format!("class-dependence-{}", set.name), caption, class_dependence(set));
    if let Some(t) = set.main_length() {
        let nets = set.of_length(t);
        let pixels = set.pixel_share(t);
        let caption = format!(
            "All methods at T = {t}. Last step, cosine and JS distance: share of relevance per step, class {}, compared \
             with the pixels. Then, on {} test samples of all classes: share of negative relevance; conservation error and \
             absorbed share, mean and maximum; noise, Σ|R_i − R_j| / Σ|R| over adjacent pixels; other class, the mean |cosine| \
             between the heatmaps of the true class and of the largest other logit: near 1, the method does not depend on \
             the class.",
            selection.class,
            selection.measured.len()
        );
        section.table(format!("methods-{}", set.name), caption, methods(&nets, &pixels));
        let caption = format!(
            "Share of each step by method over the test samples of class {}, T = {t}. The control random is uniform.",
            selection.class
        );
        section.table(format!("method-shares-{}", set.name), caption, method_shares(&nets, t));
        let caption = "AOPC by pixel flipping: the mean drop of P(class) as regions are removed, most relevant first (higher is \
                       better), least relevant first (lower is better), or in random order, and filled with background or \
                       noise. random is the control: a method below it has found no evidence.";
        section.table(format!("aopc-{}", set.name), caption, flipping(&nets));
        for net in &nets {
            let at = net.settings;
            let name = format!("flipping-{}-{}-{}", at.cell_name(), at.seq_len, set.name);
            section.figure(chart(name, flipping_caption(net), &flipping_chart(net))?);
        }
        let caption = "Cascading randomisation: mean rank correlation of |R| with the original heatmaps once the weights \
                       from the logits down to a layer are random (1: unchanged). A high value shows that the heatmaps do not \
                       depend on what was learnt; the control random does not depend on the network, so it stays 1.";
        section.table(
            format!("randomisation-{}", set.name),
            caption,
            randomisation(&nets, |of| of.rank_correlation),
        );
        let caption = "The same check by the mean cosine of the heatmaps.";
        section.table(
            format!("randomisation-cosine-{}", set.name),
            caption,
            randomisation(&nets, |of| of.cosine),
        );
    }
    Ok(section)
}

fn shares(set: &Set, t: usize) -> Table {
    let steps: Vec<String> = (1..=t).map(|t| t.to_string()).collect();
    let mut columns = vec!["share in step"];
    columns.extend(steps.iter().map(String::as_str));
    columns.extend(["last step", "cosine", "JS distance"]);
    let mut table = Table::new(&columns);
    let pixels = set.pixel_share(t);
    let mut add = |name: String, share: &[f64], rest: [String; 3]| {
        let cells = share.iter().map(|share| format!("{share:.3}"));
        table.row(std::iter::once(name).chain(cells).chain(rest).collect());
    };
    let last = |share: &[f64]| share.last().map_or(String::new(), |last| format!("{last:.3}"));
    add("pixels".to_owned(), &pixels, [last(&pixels), String::new(), String::new()]);
    let mut sources: Vec<PrintedShare> = Vec::new();
    for net in set.of_length(t) {
        let rest = [
            text(net.last_steps(MAIN, 1), 3),
            text(net.cosine(MAIN, &pixels), 3),
            text(net.distance(MAIN, &pixels), 3),
        ];
        add(net.title.to_owned(), &net.share(MAIN), rest);
        let name = net.settings.architecture.name();
        if let Some(printed) = printed::share(set.published(), set.selection.class, t, &name) {
            let share = &printed.network;
            let to = [cosine(share, &printed.pixels), jensen_shannon_distance(share, &printed.pixels)];
            let [cosine, distance] = to.map(|value| format!("{value:.3}"));
            add(format!("{}, {}", net.title, printed.source), share, [last(share), cosine, distance]);
            if sources.iter().all(|other| other.source != printed.source) {
                sources.push(printed);
            }
        }
    }
    for PrintedShare { source, pixels, .. } in sources {
        add(format!("pixels, {source}"), &pixels, [last(&pixels), String::new(), String::new()]);
    }
    table
}

fn small(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") }
}

fn conservation(set: &Set) -> Table {
    let columns = [
        "network",
        "explained",
        "error mean",
        "error max",
        "absorbed mean",
        "absorbed max",
        "negative share",
        "f ≤ 0",
    ];
    let mut table = Table::new(&columns);
    for net in &set.nets {
        let mean = |of: fn(&Measured) -> f64| {
            net.spread(|run| Some(of(&run.measured))).map_or(String::new(), |spread| small(spread.mean))
        };
        let test = &net.first().measured.test;
        table.row(vec![
            net.title.to_owned(),
            test.explanations.to_string(),
            mean(|of| of.test.conservation_error_mean),
            small(net.largest(|run| run.measured.test.conservation_error_max)),
            mean(|of| of.test.absorbed_share_mean),
            small(net.largest(|run| run.measured.test.absorbed_share_max)),
            text(net.spread(|run| Some(run.measured.test.negative_share)), 4),
            net.runs.iter().map(|run| run.measured.test.not_positive).sum::<usize>().to_string(),
        ]);
    }
    table
}

fn values(set: &Set) -> Table {
    let mut table = Table::new(&["network", "value", "mean", "smallest", "f ≤ 0"]);
    for net in &set.nets {
        for (i, name) in Value::NAMES.iter().enumerate() {
            let of = |run: &Finished| run.measured.values.get(i).cloned();
            let sum = net.runs.iter().filter_map(|run| of(run)).map(|of| of.not_positive).sum::<usize>();
            let least = net.runs.iter().filter_map(|run| of(run)).map(|of| of.least).fold(f64::NAN, f64::min);
            table.row(vec![
                net.title.to_owned(),
                (*name).to_owned(),
                text(net.spread(|run| Some(of(run)?.mean)), 3),
                if least.is_nan() { String::new() } else { format!("{least:.3}") },
                sum.to_string(),
            ]);
        }
    }
    table
}

fn class_dependence(set: &Set) -> Table {
    let columns: Vec<&str> = ["network", "method"].into_iter().chain(Value::NAMES).chain(["AOPC"]).collect();
    let mut table = Table::new(&columns);
    for net in &set.nets {
        for of in &net.first().measured.classes {
            let cosine = |value: usize| {
                let found = net.class_dependence(&of.method, value);
                found.map_or("–".to_owned(), |found| found.text(3))
            };
            let flipped = |of: &OfMethod| aopc(&of.flipped, Fill::Background, Order::MostFirst);
            let head = [net.title.to_owned(), of.method.clone()];
            let cells = (0..Value::NAMES.len()).map(cosine);
            let last = text(spread(net, &of.method, flipped), 3);
            table.row(head.into_iter().chain(cells).chain([last]).collect());
        }
    }
    table
}

/// The methods that a network was explained by.
fn names<'a>(net: &'a Net) -> impl Iterator<Item = &'a str> {
    net.first().measured.methods.iter().map(|of| &of.method[..])
}

fn spread(net: &Net, method: &str, of: impl Fn(&OfMethod) -> Option<f64>) -> Option<Spread> {
    net.spread(|run| run.measured.method(method).and_then(&of))
}

fn methods(nets: &[&Net], pixels: &[f64]) -> Table {
    let mut table = Table::new(&[
        "network",
        "method",
        "last step",
        "cosine",
        "JS distance",
        "negative",
        "error mean",
        "error max",
        "absorbed mean",
        "absorbed max",
        "noise",
        "other class",
    ]);
    for net in nets {
        for method in names(net) {
            let of = |of: fn(&OfMethod) -> f64| {
                spread(net, method, |method| Some(of(method)))
                    .map_or(String::new(), |spread| small(spread.mean))
            };
            let largest = |of: fn(&OfMethod) -> f64| {
                small(net.largest(|run| run.measured.method(method).map_or(f64::NEG_INFINITY, of)))
            };
            table.row(vec![
                net.title.to_owned(),
                method.to_owned(),
                text(net.last_steps(method, 1), 3),
                text(net.cosine(method, pixels), 3),
                text(net.distance(method, pixels), 3),
                text(spread(net, method, |of| Some(of.summary.negative_share)), 3),
                of(|of| of.summary.conservation_error_mean),
                largest(|of| of.summary.conservation_error_max),
                of(|of| of.summary.absorbed_share_mean),
                largest(|of| of.summary.absorbed_share_max),
                text(spread(net, method, |of| of.noise), 2),
                text(spread(net, method, |of| of.runner_up_cosine), 3),
            ]);
        }
    }
    table
}

fn method_shares(nets: &[&Net], t: usize) -> Table {
    let steps: Vec<String> = (1..=t).map(|t| t.to_string()).collect();
    let columns = ["network", "method"].into_iter().chain(steps.iter().map(String::as_str));
    let mut table = Table::new(&columns.collect::<Vec<_>>());
    for net in nets {
        for method in names(net) {
            let head = [net.title.to_owned(), method.to_owned()];
            let share = net.share(method).into_iter().map(|share| format!("{share:.3}"));
            table.row(head.into_iter().chain(share).collect());
        }
    }
    table
}

fn aopc(curves: &[Flipped], fill: Fill, order: Order) -> Option<f64> {
    curves.iter().find(|of| of.fill == fill && of.order == order).map(|of| of.aopc)
}

fn flipping(nets: &[&Net]) -> Table {
    let mut columns = vec!["network".to_owned(), "method".to_owned()];
    for fill in Fill::ALL {
        columns.extend(["most", "least", "random"].map(|order| format!("{}: {order}", fill.name())));
    }
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut table = Table::new(&columns);
    for net in nets {
        for method in names(net) {
            let mut row = vec![net.title.to_owned(), method.to_owned()];
            for fill in Fill::ALL {
                for order in [Order::MostFirst, Order::LeastFirst] {
                    row.push(text(spread(net, method, |of| aopc(&of.flipped, fill, order)), 3));
                }
                row.push(text(net.spread(|run| aopc(&run.measured.random_order, fill, Order::Random)), 3));
            }
            table.row(row);
        }
    }
    table
}

fn flipping_chart(net: &Net) -> LineChart {
    let measured = &net.first().measured;
    let line = |label: &str, curves: &[Flipped], order: Order, dashed: bool| {
        let found = curves.iter().find(|of| of.fill == Fill::Background && of.order == order);
        let points = found.map_or(Vec::new(), |of| {
            of.curve.iter().enumerate().map(|(i, &p)| (i as f64, p)).collect::<Vec<(f64, f64)>>()
        });
        Line { label: label.to_owned(), points, dashed }
    };
    let methods = measured.methods.iter().filter(|of| of.method != "random");
    let mut lines: Vec<Line> =
        methods.map(|of| line(&of.method, &of.flipped, Order::MostFirst, false)).collect();
    lines.push(line("random order", &measured.random_order, Order::Random, true));
    LineChart {
        title: format!("{}: pixel flipping, most relevant first, background", net.title),
        x_label: "regions removed".to_owned(),
        y_label: "mean P(class) (1 = certain)".to_owned(),
        from_zero: true,
        lines,
        ..LineChart::default()
    }
}

fn flipping_caption(net: &Net) -> String {
    format!(
        "Pixel flipping on {}: regions are set to background, most relevant first, and the probability of the class \
         predicted for the original image is measured. A line that falls faster than the dashed one has found evidence.",
        net.title
    )
}

fn randomisation(nets: &[&Net], of: impl Fn(&crate::measure::randomise::Similarity) -> Option<f64>) -> Table {
    let mut layers: Vec<&str> = Vec::new();
    let cascades = nets.iter().filter_map(|net| net.first().measured.methods.first());
    let mut longest: Vec<&OfMethod> = cascades.collect();
    longest.sort_by_key(|of| std::cmp::Reverse(of.randomised.len()));
    for layer in longest.iter().flat_map(|of| &of.randomised).map(|of| &of.layer[..]) {
        if !layers.contains(&layer) {
            layers.push(layer);
        }
    }
    let titles: Vec<String> = layers.iter().map(|layer| format!("to {layer}")).collect();
    let columns = ["network", "method"].into_iter().chain(titles.iter().map(String::as_str));
    let mut table = Table::new(&columns.collect::<Vec<_>>());
    for net in nets {
        for method in names(net) {
            let cell = |layer: &&str| {
                let found = spread(net, method, |of_method| {
                    of(of_method.randomised.iter().find(|similarity| similarity.layer == *layer)?)
                });
                text(found, 3)
            };
            let head = [net.title.to_owned(), method.to_owned()];
            table.row(head.into_iter().chain(layers.iter().map(cell)).collect());
        }
    }
    table
}
