//! The runs of a data set grouped by network: runs of a group differ in the seed only.

use crate::experiment::folder::{Finished, Loaded};
use crate::measure::intervals;
use crate::measure::numbers::mean_and_deviation;
use crate::measure::samples::SampleSelection;
use crate::report::colormap::Look;
use crate::run::settings::{OptimiserName, Settings};
use model::measure::Interval;
use model::measure::shares::{cosine, jensen_shannon_distance, normalised};

/// A network of an experiment and its finished runs, by seed.
#[derive(Clone, Debug)]
pub struct Net<'a> {
    /// `Deep-7`, `Deep-7 (SGD)`
    pub title: &'a str,
    /// Its settings; the seed is that of the first run.
    pub settings: &'a Settings,
    /// Its finished runs, at least one.
    pub runs: Vec<&'a Finished>,
}

/// Mean and deviation over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the sample, where there is more than one seed.
    pub deviation: Option<f64>,
}

/// A number and its 95 % interval: over samples, and with several seeds from the lowest end to the highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Mean over seeds.
    pub value: f64,
    /// Both ends; none where no interval was measured.
    pub interval: Option<(f64, f64)>,
}

impl Estimate {
    /// `0.981 [0.978, 0.984]`, or the value alone.
    pub fn text(self, decimals: usize) -> String {
        let Estimate { value, interval } = self;
        match interval {
            Some((low, high)) => format!("{value:.decimals$} [{low:.decimals$}, {high:.decimals$}]"),
            None => format!("{value:.decimals$}"),
        }
    }
}

impl Spread {
    /// `0.9813 ± 0.0012`, or the mean alone.
    pub fn text(self, decimals: usize) -> String {
        let Spread { mean, deviation } = self;
        match deviation {
            Some(deviation) => format!("{mean:.decimals$} ± {deviation:.decimals$}"),
            None => format!("{mean:.decimals$}"),
        }
    }
}

/// The text of a value, or a dash.
pub fn text(value: Option<Spread>, decimals: usize) -> String {
    value.map_or("–".to_owned(), |value| value.text(decimals))
}

/// A data set with its networks.
#[derive(Clone, Debug)]
pub struct Set<'a> {
    /// The name of its folder.
    pub name: &'a str,
    /// Its samples.
    pub selection: &'a SampleSelection,
    /// Its networks with at least one finished run, in the order of the plan.
    pub nets: Vec<Net<'a>>,
    /// The value of the logits that is explained.
    pub value: &'a str,
    /// How its heatmaps are drawn.
    pub look: Look,
}

impl<'a> Set<'a> {
    /// The readable data sets of an experiment.
    pub fn of(loaded: &'a Loaded) -> Vec<Set<'a>> {
        let readable = loaded.sets.iter().filter_map(|(name, set)| Some((&name[..], set.as_ref().ok()?)));
        let value = &loaded.experiment.measure.value;
        let set = |(name, selection)| Set {
            name,
            selection,
            nets: nets(loaded, name),
            value,
            look: Look::default(),
        };
        readable.map(set).collect()
    }

    /// Its name in texts.
    pub fn title(&self) -> &str {
        match self.published() {
            "mnist" => "MNIST",
            "fashion-mnist" => "Fashion-MNIST",
            "" if self.name == "synth" => "the synthetic digits",
            _ => self.name,
        }
    }

    /// Its name in tables and charts.
    pub fn label(&self) -> &str {
        if self.published().is_empty() { self.name } else { self.title() }
    }

    /// The name of the published set with these files, or empty.
    pub fn published(&self) -> &str {
        self.selection.published.as_deref().unwrap_or_default()
    }

    /// The networks trained by Adam, as in the thesis.
    pub fn adam(&self) -> impl Iterator<Item = &Net<'a>> {
        self.nets.iter().filter(|net| net.settings.optimiser == OptimiserName::Adam)
    }

    /// The networks trained by Adam on sequences of this length.
    pub fn of_length(&self, seq_len: usize) -> Vec<&Net<'a>> {
        self.adam().filter(|net| net.settings.seq_len == seq_len).collect()
    }

    /// The same network, trained by SGD.
    pub fn by_sgd(&self, of: &Net) -> Option<&Net<'a>> {
        let same = |net: &&Net| {
            net.settings.architecture == of.settings.architecture
                && net.settings.seq_len == of.settings.seq_len
        };
        self.nets.iter().filter(|net| net.settings.optimiser == OptimiserName::Sgd).find(same)
    }

    /// Lengths of the sequences, ascending.
    pub fn lengths(&self) -> Vec<usize> {
        let mut lengths: Vec<usize> = self.adam().map(|net| net.settings.seq_len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    /// The length of the main results: 7, or else the longest.
    pub fn main_length(&self) -> Option<usize> {
        let lengths = self.lengths();
        lengths.iter().copied().find(|&t| t == 7).or(lengths.last().copied())
    }

    /// Share of the class's pixel intensity in each step.
    pub fn pixel_share(&self, seq_len: usize) -> Vec<f64> {
        steps(&self.selection.class_columns, seq_len)
    }
}

fn nets<'a>(loaded: &'a Loaded, dataset: &str) -> Vec<Net<'a>> {
    let mut nets: Vec<(&str, Net)> = Vec::new();
    for run in loaded.runs.iter().filter(|run| run.planned.settings.data_name() == dataset) {
        let Some(finished) = run.finished() else { continue };
        match nets.iter_mut().find(|(group, _)| *group == run.planned.group) {
            Some((_, net)) => net.runs.push(finished),
            None => {
                let planned = &run.planned;
                let net = Net { title: &planned.title, settings: &planned.settings, runs: vec![finished] };
                nets.push((&planned.group, net));
            }
        }
    }
    nets.into_iter().map(|(_, net)| net).collect()
}

/// Sums of columns as shares of `seq_len` steps.
fn steps(columns: &[f64], seq_len: usize) -> Vec<f64> {
    let width = (columns.len() / seq_len.max(1)).max(1);
    normalised(&columns.chunks(width).map(|step| step.iter().sum()).collect::<Vec<f64>>())
}

impl Net<'_> {
    /// Whether the network encodes each step before the recurrent core; otherwise the core reads the pixels.
    pub fn has_encoder(&self) -> bool {
        !self.settings.architecture.encoder.is_empty()
    }

    /// The run whose figures are shown.
    pub fn first(&self) -> &Finished {
        self.runs[0]
    }

    /// Mean and deviation over the seeds of a number of each run.
    pub fn spread(&self, of: impl Fn(&Finished) -> Option<f64>) -> Option<Spread> {
        let values: Vec<f64> = self.runs.iter().filter_map(|run| of(run)).filter(|v| v.is_finite()).collect();
        mean_and_deviation(&values).map(|(mean, deviation)| Spread { mean, deviation })
    }

    /// The largest over the seeds.
    pub fn largest(&self, of: impl Fn(&Finished) -> f64) -> f64 {
        self.runs.iter().map(|run| of(run)).fold(f64::NEG_INFINITY, f64::max)
    }

    /// A number with the interval of each run, where all have one.
    pub fn estimate(
        &self,
        value: Option<f64>,
        interval: impl Fn(&Finished) -> Option<Interval>,
    ) -> Option<Estimate> {
        let found: Option<Vec<Interval>> = self.runs.iter().map(|run| interval(run)).collect();
        let ends = found.map(|found| {
            let low = found.iter().map(|of| of.low).fold(f64::INFINITY, f64::min);
            (low, found.iter().map(|of| of.high).fold(f64::NEG_INFINITY, f64::max))
        });
        value.map(|value| Estimate { value, interval: ends })
    }

    /// Mean |cosine| between the heatmaps of all pairs of classes, by a method and one of `Value::NAMES`.
    pub fn class_dependence(&self, method: &str, value: usize) -> Option<Estimate> {
        let of = |run: &Finished| run.measured.classes.iter().find(|of| of.method == method).cloned();
        let mean = self.spread(|run| *of(run)?.cosine.get(value)?).map(|spread| spread.mean);
        self.estimate(mean, |run| *of(run)?.intervals.get(value)?)
    }

    /// Test accuracy with Wilson's interval over the test samples.
    pub fn accuracy_estimate(&self) -> Option<Estimate> {
        let interval =
            |run: &Finished| intervals::of_share(run.outcome.test_accuracy, run.manifest.samples[2]);
        self.estimate(self.accuracy().map(|spread| spread.mean), interval)
    }

    /// Test accuracy.
    pub fn accuracy(&self) -> Option<Spread> {
        self.spread(|run| Some(run.outcome.test_accuracy))
    }

    /// Share of a method's relevance in each of `seq_len` steps, by run, over the class's test samples.
    pub fn shares_in(&self, method: &str, seq_len: usize) -> Vec<Vec<f64>> {
        let of = |run: &&Finished| run.measured.method(method).map(|of| steps(&of.class_columns, seq_len));
        self.runs.iter().filter_map(of).collect()
    }

    /// The same, in the steps of the network.
    pub fn shares(&self, method: &str) -> Vec<Vec<f64>> {
        self.shares_in(method, self.settings.seq_len)
    }

    /// Their mean over the runs.
    pub fn share(&self, method: &str) -> Vec<f64> {
        let shares = self.shares(method);
        let sum = |t: usize| shares.iter().map(|share| share[t]).sum::<f64>() / shares.len().max(1) as f64;
        (0..self.settings.seq_len).map(sum).collect()
    }

    /// Cosine of a method's share per step with the pixels', over `seq_len` steps.
    pub fn cosine(&self, method: &str, pixels: &[f64]) -> Option<Spread> {
        spread_of(self.shares_in(method, pixels.len()).iter().map(|share| cosine(share, pixels)))
    }

    /// Jensen–Shannon distance of the two.
    pub fn distance(&self, method: &str, pixels: &[f64]) -> Option<Spread> {
        let shares = self.shares_in(method, pixels.len());
        spread_of(shares.iter().map(|share| jensen_shannon_distance(share, pixels)))
    }

    /// Share of the last `count` steps.
    pub fn last_steps(&self, method: &str, count: usize) -> Option<Spread> {
        let tail = |share: &Vec<f64>| share.iter().rev().take(count).sum();
        spread_of(self.shares(method).iter().map(tail))
    }
}

fn spread_of(values: impl Iterator<Item = f64>) -> Option<Spread> {
    let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    mean_and_deviation(&values).map(|(mean, deviation)| Spread { mean, deviation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_shares_of_steps() {
        assert_eq!(steps(&[1.0, 1.0, 0.0, 2.0], 2), [0.5, 0.5]);
        assert_eq!(steps(&[1.0, 1.0, 0.0, 2.0], 1), [1.0]);
        assert_eq!(Spread { mean: 0.5, deviation: Some(0.25) }.text(2), "0.50 ± 0.25");
        assert_eq!(text(None, 2), "–");
    }
}
