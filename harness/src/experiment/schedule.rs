//! Trainings in parallel: the long ones first; a failure does not stop the others.

use super::plan::Planned;
use crate::io::progress::Progress;
use anyhow::{Result, anyhow};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs `work` on every training, `jobs` at a time; results in the given order.
pub fn in_parallel<R: Send>(
    runs: &[Planned],
    jobs: usize,
    progress: &Progress,
    work: impl Fn(&Planned) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(runs[i].settings.seq_len));
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<R>>>> = runs.iter().map(|_| Mutex::new(None)).collect();
    let all = progress.job("all", runs.len() as u64);
    let (begin, done) = (Instant::now(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let worker = || {
            while let Some(&i) = order.get(next.fetch_add(1, Ordering::SeqCst)) {
                let result = work(&runs[i]);
                if let Ok(mut slot) = results[i].lock() {
                    *slot = Some(result);
                }
                all.advance(1);
                let done = done.fetch_add(1, Ordering::SeqCst) + 1;
                let left = left(begin.elapsed(), done, runs.len());
                all.message(&format!("{done} of {} runs, {left}", runs.len()));
            }
        };
        // This thread is the first of them, so that all runs are done even where the system allows no other.
        for job in 1..jobs {
            if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, worker) {
                progress.line(&format!(
                    "warning: {job} of {jobs} trainings in parallel, no more threads can be started: {error}"
                ));
                break;
            }
        }
        worker();
    });
    all.finish();
    let take = |slot: Mutex<Option<Result<R>>>| {
        let result = slot.into_inner().ok().flatten();
        result.unwrap_or_else(|| Err(anyhow!("the run did not finish")))
    };
    results.into_iter().map(take).collect()
}

/// Estimate of the remaining time.
fn left(elapsed: Duration, done: usize, all: usize) -> String {
    let seconds = elapsed.as_secs_f64() / done.max(1) as f64 * (all - done) as f64;
    match seconds {
        s if s < 0.5 => "none left".to_owned(),
        s if s < 90.0 => format!("about {s:.0} s left"),
        s if s < 5400.0 => format!("about {:.0} min left", s / 60.0),
        s => format!("about {:.1} h left", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{definition::Experiment, rates::Rates};

    #[test]
    fn one_failure_does_not_stop_the_others_and_results_are_in_order() {
        let runs = Experiment::by_name("quick").unwrap().plan(&Rates::default()).unwrap();
        let found = in_parallel(&runs, 2, &Progress::new(true), |run| match run.settings.seq_len {
            4 => Err(anyhow!("no")),
            _ => Ok(run.title.clone()),
        });
        let found: Vec<Option<String>> = found.into_iter().map(Result::ok).collect();
        let title = |title: &str| Some(title.to_owned());
        assert_eq!(
            found,
            [title("Shallow-1"), None, title("Shallow-7"), title("Deep-1"), None, title("Deep-7")]
        );
    }

    #[test]
    fn the_estimate_is_a_proportion() {
        assert_eq!(left(Duration::from_secs(60), 1, 3), "about 2 min left");
        assert_eq!(left(Duration::from_secs(60), 3, 3), "none left");
    }
}
