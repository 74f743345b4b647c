//! Timing: each round takes a short sample of every candidate; results are medians over the rounds, or the least.

use kernels::{Backend, Kernels, Threads, peak};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A candidate to time: makes this many calls on a kernel set and returns the time they took.
pub type Candidate<'a> = Box<dyn FnMut(&Kernels, usize) -> Duration + Send + 'a>;

/// Calls of ours, one after the other, as in a training step.
pub fn ours<'a>(mut work: impl FnMut(&Kernels) + Send + 'a) -> Candidate<'a> {
    Box::new(move |kernels, calls| timed(calls, || work(kernels)))
}

/// Calls of another library.
pub fn theirs<'a>(mut work: impl FnMut() + Send + 'a) -> Candidate<'a> {
    Box::new(move |_, calls| timed(calls, &mut work))
}

/// Calls of another library, inside its rayon pool.
pub fn theirs_inside<'a>(pool: &'a Option<ThreadPool>, mut work: impl FnMut() + Send + 'a) -> Candidate<'a> {
    Box::new(move |_, calls| match pool {
        Some(pool) => pool.install(|| timed(calls, &mut work)),
        None => timed(calls, &mut work),
    })
}

fn timed(calls: usize, mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        work();
    }
    start.elapsed()
}

/// What is taken of the times of all rounds.
#[derive(Clone, Copy, PartialEq)]
pub enum Statistic {
    Median,
    /// For a machine with other load, where most samples are interrupted.
    Least,
}

impl Statistic {
    fn of(self, seconds: Vec<f64>) -> f64 {
        match self {
            Statistic::Median => median(seconds),
            Statistic::Least => seconds.into_iter().fold(f64::INFINITY, f64::min),
        }
    }
}

/// The kernel sets and the rounds of a run.
pub struct Bench {
    /// One thread of the same backend.
    one: Kernels,
    /// The kernel set that is measured.
    many: Kernels,
    /// The rayon pool of the peers that use rayon.
    pub pool: Option<ThreadPool>,
    rounds: usize,
    sample: Duration,
    statistic: Statistic,
}

/// Medians over all rounds, or the least.
pub struct Times {
    /// FMA peak in FLOP/s, all threads together.
    pub peak: f64,
    /// Seconds of a call of each candidate.
    pub seconds: Vec<f64>,
    /// Seconds of the first candidate on one thread, if the others used several.
    pub alone: Option<f64>,
    /// Half of the first candidate's samples lie within this share of their median.
    pub spread: f64,
}

impl Times {
    /// The table entries of the first candidate, whose call takes this many FLOP.
    pub fn row(&self, flop: f64) -> serde_json::Map<String, Value> {
        let speed = flop / self.seconds[0];
        let mut row = serde_json::Map::new();
        row.insert("peak".into(), json!(self.peak / 1e9));
        row.insert("microseconds".into(), json!(self.seconds[0] * 1e6));
        row.insert("ours".into(), json!(speed / 1e9));
        row.insert("percent".into(), json!(100.0 * speed / self.peak));
        row.insert("spread".into(), json!(100.0 * self.spread));
        if let Some(alone) = self.alone {
            row.insert("times_one_thread".into(), json!(alone / self.seconds[0]));
        }
        row
    }
}

impl Bench {
    /// `sample` is the duration of one sample.
    pub fn new(
        backend: Backend,
        threads: usize,
        rounds: usize,
        (sample, statistic): (Duration, Statistic),
    ) -> anyhow::Result<Self> {
        let pool =
            (threads > 1).then(|| ThreadPoolBuilder::new().num_threads(threads).build()).transpose()?;
        let many = Kernels::new(backend, Threads::new(threads)?);
        Ok(Bench { one: Kernels::new(backend, Threads::one()), many, pool, rounds, sample, statistic })
    }

    /// The kernel set that is measured.
    pub fn kernels(&self) -> &Kernels {
        &self.many
    }

    /// Threads of that set.
    pub fn threads(&self) -> usize {
        self.many.threads().count()
    }

    /// Times the peak and every candidate once per round, each after a call that warms up caches and threads.
    /// With several threads the first candidate is timed on one as well.
    pub fn measure(&self, mut candidates: Vec<Candidate>) -> Times {
        let mut runs: Vec<(usize, &Kernels)> = (0..candidates.len()).map(|i| (i, &self.many)).collect();
        if self.threads() > 1 {
            runs.push((0, &self.one));
        }
        let calls: Vec<usize> =
            runs.iter().map(|(i, kernels)| self.calls(kernels, &mut candidates[*i])).collect();
        let mut peaks = Vec::new();
        let mut times = vec![Vec::new(); runs.len()];
        for round in 0..self.rounds {
            peaks.push(peak::measure_all(&self.many, 1e-3));
            for run in (0..runs.len()).map(|run| (run + round) % runs.len()) {
                let (i, kernels) = runs[run];
                if calls[run] > 1 {
                    candidates[i](kernels, 1);
                }
                times[run].push(candidates[i](kernels, calls[run]).as_secs_f64() / calls[run] as f64);
            }
        }
        let spread = spread(&times[0]);
        let mut seconds: Vec<f64> = times.into_iter().map(|times| self.statistic.of(times)).collect();
        let alone = if self.threads() > 1 { seconds.pop() } else { None };
        // A peak is a speed: its least time is its largest value.
        let peak = 1.0 / self.statistic.of(peaks.into_iter().map(|peak| 1.0 / peak).collect());
        Times { peak, seconds, alone, spread }
    }

    /// The number of calls in a sample.
    fn calls(&self, kernels: &Kernels, candidate: &mut Candidate) -> usize {
        candidate(kernels, 1);
        let mut calls = 1;
        loop {
            let took = candidate(kernels, calls);
            if 4 * took >= self.sample || calls >= 1 << 20 {
                let share = self.sample.as_secs_f64() / took.as_secs_f64().max(1e-9);
                return ((calls as f64 * share) as usize).max(1);
            }
            calls *= 2;
        }
    }
}

/// The median; of an even count, the mean of the middle two.
pub fn median(mut xs: Vec<f64>) -> f64 {
    xs.sort_by(f64::total_cmp);
    let middle = xs.len() / 2;
    if xs.len() % 2 == 1 { xs[middle] } else { (xs[middle - 1] + xs[middle]) / 2.0 }
}

/// The median distance from the median, as a share of it.
fn spread(xs: &[f64]) -> f64 {
    let middle = median(xs.to_vec());
    median(xs.iter().map(|x| (x - middle).abs()).collect()) / middle
}

/// The geometric mean.
pub fn geometric_mean(xs: &[f64]) -> f64 {
    (xs.iter().map(|x| x.ln()).sum::<f64>() / xs.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 100.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 100.0, 2.0]), 3.0);
        assert_eq!(median(vec![5.0]), 5.0);
    }

    #[test]
    fn the_spread_holds_half_of_the_samples() {
        assert_eq!(spread(&[1.0, 2.0, 4.0, 1.5, 9.0]), 0.5);
        assert_eq!(spread(&[2.0; 4]), 0.0);
    }

    #[test]
    fn the_least_is_no_median() {
        assert_eq!(Statistic::Least.of(vec![3.0, 1.0, 2.0]), 1.0);
        assert_eq!(Statistic::Median.of(vec![3.0, 1.0, 2.0]), 2.0);
    }

    #[test]
    fn a_geometric_mean_gives_no_weight_to_a_unit() {
        assert!((geometric_mean(&[0.5, 2.0]) - 1.0).abs() < 1e-12);
        assert!((geometric_mean(&[1.0, 10.0, 100.0]) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn every_candidate_is_timed_in_every_round() {
        let bench = Bench::new(Backend::best(), 2, 3, (Duration::from_micros(50), Statistic::Median))
            .expect("threads");
        let nap = |ms| theirs(move || std::thread::sleep(Duration::from_millis(ms)));
        let found = bench.measure(vec![nap(4), nap(2)]);
        assert!(found.seconds[0] >= 4e-3 && found.seconds[1] >= 2e-3, "{:?}", found.seconds);
        assert!(found.alone.expect("two threads") >= 4e-3 && found.peak > 0.0);
        assert!(found.row(8e9)["spread"].as_f64().expect("a number") >= 0.0);
        assert!(found.row(8e9)["times_one_thread"].as_f64().expect("a number") > 0.0);
    }
}
