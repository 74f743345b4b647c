//! Tasks in parallel, each job with a team of threads of its own; a failure does not stop the others.

use crate::io::cores::{Cores, pin, team_sizes};
use crate::io::progress::Progress;
use crate::io::show::duration;
use anyhow::{Result, anyhow};
use kernels::Kernels;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The threads of one job: the one that runs it and its workers.
#[derive(Debug)]
pub struct Team {
    kernels: Kernels,
    /// The CPUs that it is kept on; all of the process if there are none.
    place: Option<Vec<usize>>,
}

/// Teams for `jobs` jobs with `threads` threads in all; each has at least one. With `pinned`, each is kept on
/// neighbouring CPUs. `make` makes a kernel set on a number of threads.
///
/// # Errors
/// If `make` fails, or threads cannot be pinned.
pub fn teams(
    jobs: usize,
    threads: usize,
    pinned: bool,
    make: impl Fn(usize) -> Result<Kernels>,
) -> Result<Vec<Team>> {
    let sizes = team_sizes(threads, jobs);
    let cores = Cores::here().filter(|_| pinned);
    let mut places = cores.as_ref().map_or(Vec::new(), |cores| cores.places(&sizes)).into_iter();
    let mut all = Vec::new();
    for size in sizes {
        let place = places.next().flatten();
        // Threads inherit where they may run from the one that starts them.
        if let Some(place) = &place {
            pin(place)?;
        }
        let kernels = make(size);
        if let Some(cores) = &cores {
            pin(&cores.all())?;
        }
        all.push(Team { kernels: kernels?, place });
    }
    Ok(all)
}

impl Team {
    /// The CPUs that it is kept on.
    pub fn place(&self) -> Option<&[usize]> {
        self.place.as_deref()
    }
}

/// Runs `work` on every item, in this order, one at a time on each team; results in the same order.
pub fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    teams: &[Team],
    progress: &Progress,
    work: impl Fn(&T, &Kernels) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<R>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let all = progress.job("all", items.len() as u64);
    let (begin, done) = (Instant::now(), AtomicUsize::new(0));
    let everywhere = Cores::here();
    let worker = |team: &Team| {
        // It was possible when the team was made.
        let _ = team.place.as_deref().map(pin);
        loop {
            let i = next.fetch_add(1, Ordering::SeqCst);
            let Some(item) = items.get(i) else { break };
            let result = work(item, &team.kernels);
            if let Ok(mut slot) = results[i].lock() {
                *slot = Some(result);
            }
            all.advance(1);
            let done = done.fetch_add(1, Ordering::SeqCst) + 1;
            let left = left(begin.elapsed(), done, items.len());
            all.message(&format!("{done} of {} runs, {left}", items.len()));
        }
    };
    let worker = &worker;
    std::thread::scope(|scope| {
        let Some((own, others)) = teams.split_first() else { return };
        // This thread is the first of them, so that all runs are done even where the system allows no other.
        for (job, team) in others.iter().enumerate() {
            if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, move || worker(team)) {
                progress.line(&format!(
                    "warning: {} of {} trainings in parallel, no more threads can be started: {error}",
                    job + 1,
                    teams.len()
                ));
                break;
            }
        }
        worker(own);
        if let (Some(_), Some(cores)) = (&own.place, &everywhere) {
            let _ = pin(&cores.all());
        }
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
    if seconds < 0.5 { "none left".to_owned() } else { format!("about {} left", duration(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::{Backend, Threads};

    fn two_teams() -> Vec<Team> {
        teams(2, 3, false, |n| Ok(Kernels::new(Backend::best(), Threads::new(n)?))).unwrap()
    }

    #[test]
    fn one_failure_does_not_stop_the_others_and_results_are_in_order() {
        let found = in_parallel(&[1, 4, 7, 4, 1], &two_teams(), &Progress::new(true), |&n, _| match n {
            4 => Err(anyhow!("no")),
            n => Ok(10 * n),
        });
        let found: Vec<Option<i32>> = found.into_iter().map(Result::ok).collect();
        assert_eq!(found, [Some(10), None, Some(70), None, Some(10)]);
    }

    #[test]
    fn each_job_has_threads_of_its_own() {
        let seen = Mutex::new(std::collections::HashMap::new());
        in_parallel(&[(); 20], &two_teams(), &Progress::new(true), |(), kernels| {
            std::thread::sleep(Duration::from_millis(5));
            seen.lock().unwrap().insert(std::thread::current().id(), kernels.threads().count());
            Ok(())
        });
        let mut counts: Vec<usize> = seen.into_inner().unwrap().into_values().collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2], "three threads in all");
    }

    #[test]
    fn pinned_teams_run_where_they_were_put_and_this_thread_is_free_again() {
        let before = Cores::here();
        let made = teams(1, 1, true, |n| Ok(Kernels::new(Backend::best(), Threads::new(n)?))).unwrap();
        let Some(place) = made[0].place() else { return };
        let found = in_parallel(&[()], &made, &Progress::new(true), |(), _| {
            Ok(Cores::here().map(|cores| cores.all()))
        });
        assert_eq!(found.into_iter().next().unwrap().unwrap().as_deref(), Some(place));
        assert_eq!(Cores::here(), before);
    }

    #[test]
    fn the_estimate_is_a_proportion() {
        assert_eq!(left(Duration::from_secs(60), 1, 3), "about 2 min left");
        assert_eq!(left(Duration::from_secs(60), 3, 3), "none left");
    }
}
