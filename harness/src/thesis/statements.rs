//! The claims of the thesis, each with a value, its interval, a threshold and a verdict.
//!
//! Every network is tested on every claim; whether the claim is about it is said beside the verdict.

use super::networks::{Estimate, Net, Set};
use super::printed;
use crate::experiment::definition::Experiment;
use crate::experiment::folder::Finished;
use crate::experiment::rates::Rates;
use crate::measure::flipping::{Flipped, Order};
use crate::measure::heatmaps::MAIN;
use crate::measure::intervals::{Intervals, last_quarter};
use crate::measure::numbers::mean;
use crate::measure::result::Measured;
use crate::report::matrix::{Cell, Matrix, Row, Verdict};
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
pub(super) const ALIKE: f64 = 0.95;
/// Rank correlation above which a heatmap hardly depends on the weights.
const UNLEARNT: f64 = 0.5;

/// A claim, the number that is measured for it, and the side of the threshold that it is on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Claim {
    /// In words.
    pub claim: &'static str,
    number: &'static str,
    below: bool,
    threshold: f64,
}

pub(super) const ACCURATE: Claim = Claim {
    claim: "accurate enough to be explained (Table 4.4)",
    number: "test accuracy",
    below: false,
    threshold: f64::NAN,
};
pub(super) const EQUAL: Claim = Claim {
    claim: "networks with and without an encoder are equally accurate",
    number: "difference of the test accuracies",
    below: true,
    threshold: EQUAL_ACCURACY,
};
pub(super) const LAST: Claim = Claim {
    claim: "without an encoder, relevance concentrates on the last steps",
    number: "share of relevance in the last quarter of the steps",
    below: false,
    threshold: CONCENTRATED,
};
pub(super) const DIGIT: Claim = Claim {
    claim: "with an encoder, relevance follows the digit",
    number: "cosine of relevance and pixels, by step",
    below: false,
    threshold: FOLLOWS,
};
const GARMENT: Claim = Claim {
    claim: "with an encoder, relevance follows the garment, of which the thesis is not sure",
    ..DIGIT
};
const EVIDENCE: Claim = Claim {
    claim: "at T = 1 and with an encoder, heatmaps find the evidence",
    number: "AOPC of most relevant first, above a random order's",
    below: false,
    threshold: 0.0,
};
const ADAM: Claim = Claim {
    claim: "Adam's heatmaps are less noisy than SGD's",
    number: "noise with Adam over noise with SGD",
    below: true,
    threshold: 1.0,
};
const CONSERVES: Claim = Claim {
    claim: "relevance is conserved (Eq. 3.8)",
    number: "largest |f − ΣR − absorbed| / |f| on the test set",
    below: true,
    threshold: CONSERVED,
};
const BY_CLASS: Claim = Claim {
    claim: "check: heatmaps depend on the class",
    number: "mean |cosine| of the heatmaps of the true class and of the largest other logit",
    below: true,
    threshold: ALIKE,
};
const LEARNT: Claim = Claim {
    claim: "check: heatmaps depend on the learnt weights",
    number: "rank correlation of |R| with that of a network with random weights",
    below: true,
    threshold: UNLEARNT,
};

impl Claim {
    /// The same claim with another threshold.
    pub fn at(self, threshold: f64) -> Claim {
        Claim { threshold, ..self }
    }

    /// What becomes of the claim at a value: its interval decides, or the value where it has none.
    pub fn verdict(&self, value: Option<Estimate>) -> Verdict {
        let Some(Estimate { value, interval }) = value else { return Verdict::NotMeasured };
        let (low, high) = interval.unwrap_or((value, value));
        let on_side = |x: f64| if self.below { x <= self.threshold } else { x >= self.threshold };
        match (on_side(low), on_side(high)) {
            _ if !value.is_finite() => Verdict::NotMeasured,
            (true, true) => Verdict::Holds,
            (false, false) => Verdict::Fails,
            _ => Verdict::Unsure,
        }
    }

    fn sign(&self) -> char {
        if self.below { '≤' } else { '≥' }
    }
}

/// One claim about one network or pair.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Statement<'a> {
    claim: Claim,
    /// The network, or why there is none.
    of: &'a str,
    /// The network that it is compared with.
    with: Option<&'a str>,
    value: Option<Estimate>,
    /// Whether the claim is about this network.
    claimed: bool,
}

impl Statement<'_> {
    fn verdict(&self) -> Verdict {
        self.claim.verdict(self.value)
    }

    /// The network, or both.
    fn name(&self) -> String {
        self.with.map_or(self.of.to_owned(), |other| format!("{other} and {}", self.of))
    }
}

/// The claims as a table.
pub fn table(sets: &[Set], experiment: &Experiment) -> Table {
    let columns = ["claim", "data", "network", "claimed", "verdict", "value", "threshold", "number"];
    let mut table = Table::new(&columns);
    for set in sets {
        for statement in all(set, experiment) {
            let claim = &statement.claim;
            table.row(vec![
                claim.claim.to_owned(),
                set.label().to_owned(),
                statement.name(),
                if statement.claimed { "yes" } else { "no" }.to_owned(),
                statement.verdict().text().to_owned(),
                statement.value.map_or("–".to_owned(), shown),
                format!("{} {}", claim.sign(), number(claim.threshold)),
                claim.number.to_owned(),
            ]);
        }
    }
    table
}

/// The claims and networks of a set.
pub fn matrix(set: &Set, experiment: &Experiment) -> Matrix {
    let networks: Vec<&str> = set.adam().map(|net| net.title).collect();
    let mut rows: Vec<Row> = Vec::new();
    for statement in all(set, experiment) {
        let claim = &statement.claim;
        let detail = format!(
            "{}{} {}; the claim needs {} {}.{}",
            statement.with.map_or(String::new(), |other| format!("with {other}, ")),
            claim.number,
            statement.value.map_or("not measured".to_owned(), shown),
            claim.sign(),
            number(claim.threshold),
            if statement.claimed { "" } else { " The thesis does not claim it of this network." }
        );
        let at = rows.iter().position(|row| row.claim == claim.claim).unwrap_or_else(|| {
            rows.push(Row { claim: claim.claim.to_owned(), cells: vec![None; networks.len()] });
            rows.len() - 1
        });
        for (cell, network) in rows[at].cells.iter_mut().zip(&networks) {
            // A claim that was not tested names no network: it was tested on none of them.
            if statement.of == *network || !networks.contains(&statement.of) {
                let (network, verdict, claimed) =
                    ((*network).to_owned(), statement.verdict(), statement.claimed);
                *cell = Some(Cell { network, verdict, claimed, detail: detail.clone() });
            }
        }
    }
    Matrix {
        name: format!("claims-{}", set.name),
        title: format!("Claims of the thesis on {}", set.title()),
        rows,
    }
}

/// The verdicts on a data set as text: the claims that hold for all networks they are about, for some, for none.
pub fn summary(set: &Set, experiment: &Experiment) -> String {
    sentence(set.title(), &all(set, experiment))
}

fn sentence(title: &str, statements: &[Statement]) -> String {
    /// A claim, its networks, those for which it holds, and those for which it is unsure.
    struct Count(&'static str, usize, usize, usize);
    let mut claims: Vec<Count> = Vec::new();
    for statement in statements.iter().filter(|statement| statement.claimed && statement.value.is_some()) {
        let verdict = statement.verdict();
        let found = claims.iter().position(|Count(claim, ..)| *claim == statement.claim.claim);
        let at = found.unwrap_or_else(|| {
            claims.push(Count(statement.claim.claim, 0, 0, 0));
            claims.len() - 1
        });
        claims[at].1 += 1;
        claims[at].2 += usize::from(verdict == Verdict::Holds);
        claims[at].3 += usize::from(verdict == Verdict::Unsure);
    }
    let list = |wanted: fn(&Count) -> bool, counted: bool| {
        let shown = |Count(claim, tested, held, unsure): &Count| match (counted, unsure) {
            (true, 0) => format!("{claim} ({held} of {tested})"),
            (true, _) => format!("{claim} ({held} of {tested}, {unsure} unsure)"),
            (false, _) => (*claim).to_owned(),
        };
        let of = claims.iter().filter(|count| wanted(count)).map(shown).collect::<Vec<_>>().join("; ");
        if of.is_empty() { "none".to_owned() } else { of }
    };
    format!(
        "On {title}, these claims hold for all networks they are about: {}. These hold for some or are unsure: {}. These \
         fail: {}.",
        list(|Count(_, tested, held, _)| held == tested, false),
        list(|Count(_, tested, held, unsure)| held < tested && held + unsure > 0, true),
        list(|Count(_, _, held, unsure)| held + unsure == 0, false)
    )
}

/// A number with four decimals, or in scientific notation if it is small.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1e-3 => format!("{value:.1e}"),
        _ => format!("{value:.4}"),
    }
}

/// A number and its interval: `0.9740 [0.9701, 0.9772]`.
pub(super) fn shown(of: Estimate) -> String {
    match of.interval {
        Some((low, high)) => format!("{} [{}, {}]", number(of.value), number(low), number(high)),
        None => number(of.value),
    }
}

/// The difference of the accuracies of two networks; its interval takes them as independent.
pub(super) fn difference(a: &Net, b: &Net) -> Option<Estimate> {
    let (a, b) = (a.accuracy_estimate()?, b.accuracy_estimate()?);
    let difference = a.value - b.value;
    let interval = a.interval.zip(b.interval).map(|(a, b)| {
        let half = ((a.1 - a.0).powi(2) + (b.1 - b.0).powi(2)).sqrt() / 2.0;
        let (low, high) = (difference - half, difference + half);
        let least = if low <= 0.0 && high >= 0.0 { 0.0 } else { low.abs().min(high.abs()) };
        (least, low.abs().max(high.abs()))
    });
    Some(Estimate { value: difference.abs(), interval })
}

/// Share of the relevance in the last quarter of the steps.
pub(super) fn last_steps(net: &Net) -> Option<Estimate> {
    let value = net.last_steps(MAIN, last_quarter(net.settings.seq_len)).map(|spread| spread.mean);
    net.estimate(value, |run| intervals(run)?.last_steps)
}

/// Cosine of relevance and pixels, by step.
pub(super) fn follows(set: &Set, net: &Net) -> Option<Estimate> {
    let value = net.cosine(MAIN, &set.pixel_share(net.settings.seq_len)).map(|spread| spread.mean);
    net.estimate(value, |run| intervals(run)?.cosine)
}

fn intervals(run: &Finished) -> Option<Intervals> {
    run.measured.method(MAIN).map(|of| of.intervals)
}

fn all<'a>(set: &'a Set, experiment: &Experiment) -> Vec<Statement<'a>> {
    let mut found = Vec::new();
    let mut say = |claim: Claim, of: &'a str, claimed: bool, value: Option<Estimate>| {
        found.push(Statement { claim, of, with: None, value, claimed });
    };
    if let Some(threshold) = printed::criterion(set.published()) {
        for net in set.adam() {
            say(ACCURATE.at(threshold), net.title, true, net.accuracy_estimate());
        }
    }
    pairs(set, &mut found);
    let mut say = |claim: Claim, of: &'a str, claimed: bool, value: Option<Estimate>| {
        found.push(Statement { claim, of, with: None, value, claimed });
    };
    let long = || set.adam().filter(|net| net.settings.seq_len > 1);
    for net in long() {
        say(LAST, net.title, !net.has_encoder(), last_steps(net));
    }
    let shape = if set.published() == "fashion-mnist" { GARMENT } else { DIGIT };
    for net in long() {
        say(shape, net.title, net.has_encoder(), follows(set, net));
    }
    for net in set.adam() {
        let value = net.estimate(gain(net), |run| intervals(run)?.gain);
        say(EVIDENCE, net.title, net.settings.seq_len == 1 || net.has_encoder(), value);
    }
    optimisers(set, experiment, &mut say);
    for net in set.adam() {
        let value = net.largest(|run| run.measured.test.conservation_error_max);
        say(CONSERVES, net.title, true, Some(Estimate { value, interval: None }));
    }
    for net in set.adam() {
        let value = net.spread(|run| run.measured.method(MAIN)?.runner_up_cosine).map(|spread| spread.mean);
        say(BY_CLASS, net.title, true, net.estimate(value, |run| intervals(run)?.other_class));
    }
    for net in set.adam() {
        let last = |run: &Finished| run.measured.method(MAIN)?.randomised.last()?.rank_correlation;
        let value = net.spread(last).map(|spread| spread.mean);
        say(LEARNT, net.title, true, net.estimate(value, |run| intervals(run)?.randomised));
    }
    found
}

/// Section 4.5: every network with an encoder and every one without, on the same length.
fn pairs<'a>(set: &'a Set, found: &mut Vec<Statement<'a>>) {
    for t in set.lengths() {
        let (encoded, plain): (Vec<&Net>, Vec<&Net>) =
            set.of_length(t).into_iter().partition(|net| net.has_encoder());
        for (a, b) in plain.iter().flat_map(|a| encoded.iter().map(move |b| (*a, *b))) {
            let value = difference(a, b);
            found.push(Statement { claim: EQUAL, of: b.title, with: Some(a.title), value, claimed: true });
        }
    }
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
fn optimisers<'a>(
    set: &'a Set,
    experiment: &Experiment,
    say: &mut impl FnMut(Claim, &'a str, bool, Option<Estimate>),
) {
    let noise = |net: &Net| {
        let value = net.spread(|run| run.measured.method(MAIN)?.noise).map(|spread| spread.mean);
        net.estimate(value, |run| intervals(run)?.noise)
    };
    let pairs: Vec<(&Net, &Net)> = set.adam().filter_map(|net| Some((net, set.by_sgd(net)?))).collect();
    for (adam, sgd) in &pairs {
        let ratio = noise(adam).zip(noise(sgd)).map(|(adam, sgd)| Estimate {
            value: adam.value / sgd.value,
            interval: adam.interval.zip(sgd.interval).map(|(adam, sgd)| (adam.0 / sgd.1, adam.1 / sgd.0)),
        });
        say(ADAM, adam.title, true, ratio);
    }
    if pairs.is_empty() {
        let with_sgd = |settings: &Settings| settings.optimiser == OptimiserName::Sgd;
        let planned = experiment.plan(&Rates::default());
        let of = match planned.is_ok_and(|runs| runs.iter().any(|run| with_sgd(&run.settings))) {
            true => "no pair has finished",
            false => "none trained by SGD",
        };
        say(ADAM, of, true, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_LEAST: Claim = Claim { claim: "a", number: "", below: false, threshold: 0.5 };
    const AT_MOST: Claim = Claim { below: true, ..AT_LEAST };

    #[test]
    fn a_verdict_follows_from_interval_and_threshold() {
        let of = |value, interval| Some(Estimate { value, interval });
        let both = |value| (AT_LEAST.verdict(value), AT_MOST.verdict(value));
        assert_eq!(both(of(0.5, None)), (Verdict::Holds, Verdict::Holds));
        assert_eq!(both(of(0.6, None)), (Verdict::Holds, Verdict::Fails));
        assert_eq!(both(of(0.6, Some((0.55, 0.7)))), (Verdict::Holds, Verdict::Fails));
        assert_eq!(both(of(0.6, Some((0.45, 0.7)))), (Verdict::Unsure, Verdict::Unsure));
        assert_eq!(both(of(f64::NAN, None)), (Verdict::NotMeasured, Verdict::NotMeasured));
        assert_eq!(both(None), (Verdict::NotMeasured, Verdict::NotMeasured));
    }

    #[test]
    fn a_claim_is_counted_over_the_networks_it_is_about() {
        let of = |claim, value: f64, claimed| Statement {
            claim: Claim { claim, ..AT_LEAST },
            of: "",
            with: None,
            value: Some(Estimate { value, interval: (value == 0.5).then_some((0.4, 0.6)) }),
            claimed,
        };
        let tested = [
            of("a", 1.0, true),
            of("a", 0.0, false),
            of("b", 1.0, true),
            of("b", 0.5, true),
            of("c", 0.0, true),
            Statement { value: None, ..of("d", 0.0, true) },
        ];
        assert_eq!(
            sentence("MNIST", &tested),
            "On MNIST, these claims hold for all networks they are about: a. These hold for some or are unsure: b (1 of 2, 1 \
             unsure). These fail: c."
        );
    }

    #[test]
    fn numbers_of_every_size_are_readable() {
        assert_eq!([0.0, 1e-4, 0.98, 1.25e-7].map(number), ["0", "1.0e-4", "0.9800", "1.2e-7"]);
        let of = Estimate { value: 0.97, interval: Some((0.5, 1.0)) };
        assert_eq!(shown(of), "0.9700 [0.5000, 1.0000]");
    }
}
