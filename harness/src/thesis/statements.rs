//! The claims of the thesis, each with a value, a threshold and a verdict.

use super::networks::{Net, Set};
use super::printed;
use crate::experiment::definition::Experiment;
use crate::experiment::folder::Finished;
use crate::experiment::rates::Rates;
use crate::measure::flipping::{Flipped, Order};
use crate::measure::heatmaps::MAIN;
use crate::measure::numbers::mean;
use crate::measure::result::Measured;
use crate::report::table::Table;
use crate::run::settings::{OptimiserName, Settings};

/// The largest difference of accuracies that counts as equal. The thesis calls .9807 and .9852 equal.
const EQUAL_ACCURACY: f64 = 0.01;
/// Share of relevance in the last quarter of the steps from which it "mostly concentrates on the right".
const CONCENTRATED: f64 = 0.5;
/// Cosine to the share of the pixels from which relevance "follows the digit"; Deep-7 of the thesis has .943.
const FOLLOWS: f64 = 0.9;
/// Conservation error due to rounding to f32.
const CONSERVED: f64 = 1e-4;

/// Cosine from which two heatmaps are practically equal.
const ALIKE: f64 = 0.95;
/// Rank correlation above which a heatmap hardly depends on the weights.
const UNLEARNT: f64 = 0.5;

/// One claim about one network or pair.
#[derive(Clone, Debug, PartialEq)]
struct Statement {
    claim: &'static str,
    of: String,
    number: &'static str,
    value: Option<f64>,
    below: bool,
    threshold: f64,
}

impl Statement {
    fn verdict(&self) -> &'static str {
        match self.value {
            None => "not measured",
            Some(value) if self.below && value <= self.threshold => "holds",
            Some(value) if !self.below && value >= self.threshold => "holds",
            Some(_) => "fails",
        }
    }
}

/// The claims as a table.
pub fn table(sets: &[Set], experiment: &Experiment) -> Table {
    let mut table = Table::new(&["claim", "data", "network", "verdict", "value", "threshold", "number"]);
    for set in sets {
        for statement in all(set, experiment) {
            let sign = if statement.below { "≤" } else { "≥" };
            table.row(vec![
                statement.claim.to_owned(),
                set.label().to_owned(),
                statement.of.clone(),
                statement.verdict().to_owned(),
                statement.value.map_or("–".to_owned(), number),
                format!("{sign} {}", number(statement.threshold)),
                statement.number.to_owned(),
            ]);
        }
    }
    table
}

/// The verdicts on a data set as text: the claims that hold for all networks, for some, for none.
pub fn summary(set: &Set, experiment: &Experiment) -> String {
    sentence(set.title(), &all(set, experiment))
}

fn sentence(title: &str, statements: &[Statement]) -> String {
    let mut claims: Vec<(&str, usize, usize)> = Vec::new();
    for statement in statements.iter().filter(|statement| statement.value.is_some()) {
        let holds = usize::from(statement.verdict() == "holds");
        match claims.iter_mut().find(|(claim, ..)| *claim == statement.claim) {
            Some((_, held, tested)) => (*held, *tested) = (*held + holds, *tested + 1),
            None => claims.push((statement.claim, holds, 1)),
        }
    }
    let list = |wanted: fn(usize, usize) -> bool, counted: bool| {
        let shown = |&(claim, held, tested): &(&str, usize, usize)| match counted {
            true => format!("{claim} ({held} of {tested})"),
            false => claim.to_owned(),
        };
        let of = claims.iter().filter(|&&(_, held, tested)| wanted(held, tested)).map(shown);
        let of = of.collect::<Vec<_>>().join("; ");
        if of.is_empty() { "none".to_owned() } else { of }
    };
    format!(
        "On {title}, these claims hold for all networks: {}. These hold for some: {}. These fail: {}.",
        list(|held, tested| held == tested, false),
        list(|held, tested| held > 0 && held < tested, true),
        list(|held, _| held == 0, false)
    )
}

/// A number with four decimals, or in scientific notation if it is small.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1e-3 => format!("{value:.1e}"),
        _ => format!("{value:.4}"),
    }
}

fn all(set: &Set, experiment: &Experiment) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut say = |claim, of: &str, number, value, below, threshold| {
        found.push(Statement { claim, of: of.to_owned(), number, value, below, threshold });
    };
    let accuracy = |net: &Net| net.accuracy().map(|spread| spread.mean);
    if let Some(criterion) = printed::criterion(set.published()) {
        for net in set.adam() {
            let claim = "accurate enough to be explained (Table 4.4)";
            say(claim, net.title, "test accuracy", accuracy(net), false, criterion);
        }
    }
    for t in set.lengths() {
        let (encoded, plain): (Vec<&Net>, Vec<&Net>) =
            set.of_length(t).into_iter().partition(|net| net.has_encoder());
        for (a, b) in plain.iter().flat_map(|a| encoded.iter().map(move |b| (a, b))) {
            let gap = accuracy(a).zip(accuracy(b)).map(|(a, b)| (a - b).abs());
            let of = format!("{} and {}", a.title, b.title);
            let claim = "networks with and without an encoder are equally accurate";
            say(claim, &of, "difference", gap, true, EQUAL_ACCURACY);
        }
    }
    for net in set.of_length(1) {
        let number = "AOPC of most relevant first, above a random order's";
        say("the heatmaps of T = 1 find the evidence", net.title, number, gain(net), false, 0.0);
    }
    let follows = match set.published() {
        "fashion-mnist" => "relevance with an encoder follows the garment, of which the thesis is not sure",
        _ => "relevance with an encoder follows the digit",
    };
    for t in set.lengths().into_iter().filter(|&t| t > 1) {
        let pixels = set.pixel_share(t);
        let quarter = t.div_ceil(4);
        for net in set.of_length(t).into_iter().filter(|net| !net.has_encoder()) {
            let value = net.last_steps(MAIN, quarter).map(|spread| spread.mean);
            let claim = "relevance without an encoder concentrates on the last steps";
            let number = "share of relevance in the last quarter of the steps";
            say(claim, net.title, number, value, false, CONCENTRATED);
        }
        for net in set.of_length(t).into_iter().filter(|net| net.has_encoder()) {
            let value = net.cosine(MAIN, &pixels).map(|spread| spread.mean);
            let number = "cosine of relevance and pixels, by step";
            say(follows, net.title, number, value, false, FOLLOWS);
        }
    }
    optimisers(set, experiment, &mut say);
    for net in set.adam() {
        let value = net.largest(|run| run.measured.test.conservation_error_max);
        let number = "largest |f − ΣR − absorbed| / |f| on the test set";
        say("relevance is conserved (Eq. 3.8)", net.title, number, Some(value), true, CONSERVED);
    }
    for net in set.adam().filter(|net| net.settings.seq_len > 1 && net.has_encoder()) {
        let number = "AOPC of most relevant first, above a random order's";
        say("heatmaps with an encoder find the evidence", net.title, number, gain(net), false, 0.0);
    }
    for net in set.adam() {
        let value = net.spread(|run| run.measured.method(MAIN)?.runner_up_cosine).map(|spread| spread.mean);
        let number = "mean |cosine| of the heatmaps of the true class and of the largest other logit";
        say("check: heatmaps depend on the class", net.title, number, value, true, ALIKE);
    }
    for net in set.adam() {
        let last = |run: &Finished| run.measured.method(MAIN)?.randomised.last()?.rank_correlation;
        let value = net.spread(last).map(|spread| spread.mean);
        let number = "rank correlation of |R| with that of a network with random weights";
        say("check: heatmaps depend on the learnt weights", net.title, number, value, true, UNLEARNT);
    }
    found
}

/// AOPC of removing the most relevant regions first, above that of a random order, mean over the fills.
fn gain(net: &Net) -> Option<f64> {
    let aopc = |curves: &[Flipped], order| {
        mean(curves.iter().filter(|of| of.order == order).map(|of| Some(of.aopc)))
    };
    let of = |measured: &Measured| {
        let main = aopc(&measured.method(MAIN)?.flipped, Order::MostFirst)?;
        Some(main - aopc(&measured.random_order, Order::Random)?)
    };
    net.spread(|run| of(&run.measured)).map(|spread| spread.mean)
}

/// Section 4.4: heatmaps of networks trained by Adam are less noisy. Tested where both were trained.
fn optimisers(
    set: &Set,
    experiment: &Experiment,
    say: &mut impl FnMut(&'static str, &str, &'static str, Option<f64>, bool, f64),
) {
    let claim = "Adam's heatmaps are less noisy than SGD's";
    let number = "noise with Adam over noise with SGD";
    let noise = |net: &Net| net.spread(|run| run.measured.method(MAIN)?.noise).map(|spread| spread.mean);
    let pairs: Vec<(&Net, &Net)> = set.adam().filter_map(|net| Some((net, set.by_sgd(net)?))).collect();
    for (adam, sgd) in &pairs {
        let ratio = noise(adam).zip(noise(sgd)).map(|(adam, sgd)| adam / sgd);
        say(claim, adam.title, number, ratio, true, 1.0);
    }
    if pairs.is_empty() {
        let with_sgd = |settings: &Settings| settings.optimiser == OptimiserName::Sgd;
        let planned = experiment.plan(&Rates::default());
        let of = match planned.is_ok_and(|runs| runs.iter().any(|run| with_sgd(&run.settings))) {
            true => "no pair has finished",
            false => "none trained by SGD",
        };
        say(claim, of, number, None, true, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_follows_from_value_and_threshold() {
        let verdict = |value, below| {
            Statement { claim: "", of: String::new(), number: "", value, below, threshold: 0.5 }.verdict()
        };
        assert_eq!((verdict(Some(0.5), true), verdict(Some(0.5), false)), ("holds", "holds"));
        assert_eq!((verdict(Some(0.6), true), verdict(Some(0.6), false)), ("fails", "holds"));
        assert_eq!((verdict(Some(f64::NAN), true), verdict(None, false)), ("fails", "not measured"));
    }

    #[test]
    fn a_claim_is_counted_over_its_networks() {
        let of = |claim, value| Statement {
            claim,
            of: String::new(),
            number: "",
            value,
            below: false,
            threshold: 0.5,
        };
        let tested =
            [of("a", Some(1.0)), of("b", Some(1.0)), of("b", Some(0.0)), of("c", Some(0.0)), of("d", None)];
        assert_eq!(
            sentence("MNIST", &tested),
            "On MNIST, these claims hold for all networks: a. These hold for some: b (1 of 2). These fail: c."
        );
    }

    #[test]
    fn numbers_of_every_size_are_readable() {
        assert_eq!([0.0, 1e-4, 0.98, 1.25e-7].map(number), ["0", "1.0e-4", "0.9800", "1.2e-7"]);
    }
}
