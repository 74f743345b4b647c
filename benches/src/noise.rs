//! How busy the machine is: printed around every bench, because figures of a busy machine are not to be compared.

use std::fs::read_to_string;
use std::hint::black_box;
use std::time::Instant;

/// CPU time since some start, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    all: u64,
    idle: u64,
    /// Taken by the hypervisor for other guests.
    stolen: u64,
    /// Used by this process.
    own: u64,
}

impl Ticks {
    /// From the texts of `/proc/stat` and `/proc/self/stat`.
    fn parse(machine: &str, process: &str) -> Option<Ticks> {
        let cpu = machine.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let cpu: Vec<u64> = cpu.split_whitespace().map_while(|ticks| ticks.parse().ok()).collect();
        let [user, nice, system, idle, waiting, irq, soft_irq, stolen, ..] = cpu[..] else { return None };
        // The name of the process may hold spaces; it ends with the last bracket.
        let fields: Vec<&str> = process.rsplit_once(')')?.1.split_whitespace().collect();
        let of = |field: usize| fields.get(field)?.parse::<u64>().ok();
        let all = user + nice + system + idle + waiting + irq + soft_irq + stolen;
        Some(Ticks { all, idle: idle + waiting, stolen, own: of(11)? + of(12)? })
    }

    /// None where there is no `/proc`.
    fn now() -> Option<Ticks> {
        Ticks::parse(&read_to_string("/proc/stat").ok()?, &read_to_string("/proc/self/stat").ok()?)
    }
}

/// What disturbed a measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Share of the machine's CPU time that other processes used, and that the hypervisor took; none where it is unknown.
    pub others: Option<[f64; 2]>,
    /// How much longer than the least time the median and the longest of a fixed loop took, before and after.
    pub spread: [f64; 2],
}

/// From these shares on the machine counts as busy: time of other processes or the hypervisor, and median of the loop.
const BUSY: [f64; 2] = [0.05, 0.05];

impl Noise {
    fn between(before: Option<Ticks>, after: Option<Ticks>, spread: [f64; 2]) -> Noise {
        let others = before.zip(after).and_then(|(before, after)| {
            let of = |ticks: fn(&Ticks) -> u64| ticks(&after).saturating_sub(ticks(&before)) as f64;
            let all = of(|ticks| ticks.all);
            let used = all - of(|ticks| ticks.idle) - of(|ticks| ticks.stolen) - of(|ticks| ticks.own);
            (all > 0.0).then(|| [used.max(0.0) / all, of(|ticks| ticks.stolen) / all])
        });
        Noise { others, spread }
    }

    /// Whether figures of this measurement should not be compared with others.
    pub fn is_busy(&self) -> bool {
        self.spread[0] >= BUSY[1] || self.others.is_some_and(|[used, stolen]| used + stolen >= BUSY[0])
    }
}

impl std::fmt::Display for Noise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [median, most] = self.spread.map(|share| 100.0 * share);
        write!(
            f,
            "noise: a fixed loop takes {median:.0} % more than its least time in the median, {most:.0} % at most"
        )?;
        if let Some([used, stolen]) = self.others.map(|of| of.map(|share| 100.0 * share)) {
            write!(
                f,
                "; other processes used {used:.0} % of the CPU time, the hypervisor took {stolen:.0} %"
            )?;
        }
        if self.is_busy() {
            write!(
                f,
                "\nthe machine is busy: do not compare these figures with those of another run; interleave the runs"
            )?;
        }
        Ok(())
    }
}

/// Times of a fixed loop of about a millisecond, in seconds.
fn loop_times() -> Vec<f64> {
    let work = |_| {
        let start = Instant::now();
        let sum = (0..1_000_000u32).fold(1u32, |sum, x| black_box(sum.wrapping_mul(3) ^ x));
        black_box(sum);
        start.elapsed().as_secs_f64()
    };
    (0..40).map(work).collect()
}

/// How much longer than the least the median and the longest are.
fn spread(mut times: Vec<f64>) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    let (Some(&least), Some(&most)) = (times.first(), times.last()) else { return [0.0; 2] };
    [times[times.len() / 2] / least - 1.0, most / least - 1.0]
}

/// Runs `work` and prints on stderr what disturbed it. It fails nothing: a busy machine is no error.
pub fn watch(work: impl FnOnce()) {
    let ((), noise) = during(work);
    eprintln!("{noise}");
}

/// Runs `work` and says what disturbed it.
pub fn during<T>(work: impl FnOnce() -> T) -> (T, Noise) {
    let mut times = loop_times();
    let before = Ticks::now();
    let result = work();
    let after = Ticks::now();
    times.extend(loop_times());
    (result, Noise::between(before, after, spread(times)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_from_the_texts_of_the_kernel() {
        let machine = "cpu  10 20 30 400 5 1 2 7 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let process = "42 (a (strange) name) R 1 2 3 4 5 6 7 8 9 10 33 44 0 0 20 0";
        let found = Ticks::parse(machine, process).expect("both are whole");
        assert_eq!(found, Ticks { all: 475, idle: 405, stolen: 7, own: 77 });
        assert_eq!(Ticks::parse("cpu  1 2 3", process), None);
        assert_eq!(Ticks::parse(machine, "42 (cut"), None);
    }

    #[test]
    fn a_machine_is_busy_by_its_own_account_or_by_the_loop() {
        let at = |all, idle, stolen, own| Some(Ticks { all, idle, stolen, own });
        let (start, quiet) = (at(0, 0, 0, 0), [0.01, 0.2]);
        let found = Noise::between(start, at(200, 99, 0, 99), quiet);
        assert_eq!(found.others, Some([0.01, 0.0]));
        assert!(!found.is_busy() && !found.to_string().contains("busy"));
        let found = Noise::between(start, at(200, 20, 10, 100), quiet);
        assert_eq!(found.others, Some([0.35, 0.05]));
        assert!(found.to_string().contains("35 %") && found.to_string().contains("machine is busy"));
        assert!(Noise::between(None, None, [0.3, 2.0]).is_busy());
        assert!(!Noise::between(None, None, quiet).is_busy());
    }

    #[test]
    fn the_spread_is_relative_to_the_least_time() {
        let [median, most] = spread(vec![2.0, 1.0, 4.0]);
        assert!((median - 1.0).abs() < 1e-12 && (most - 3.0).abs() < 1e-12);
    }
}
