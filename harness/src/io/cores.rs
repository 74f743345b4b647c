//! The cores that this process may use, and where teams of threads are put on them.
//!
//! `--pin` keeps the threads of each training on neighbouring cores of one NUMA node, so that they share its caches and its
//! memory. Nodes, cores and hyperthreads are those of Linux's `/sys`.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::path::Path;

/// The logical CPUs that this process may use, by NUMA node; within a node, one of each core first, then the second
/// hyperthreads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(Vec<Vec<usize>>);

impl Cores {
    /// Those of this process; none if the system does not say.
    pub fn here() -> Option<Cores> {
        let set = sched_getaffinity(Pid::from_raw(0)).ok()?;
        let allowed: Vec<usize> = (0..CpuSet::count()).filter(|&i| set.is_set(i).unwrap_or(false)).collect();
        let cores = Cores::read(Path::new("/sys/devices/system"), &allowed);
        (!cores.0.is_empty()).then_some(cores)
    }

    fn read(sys: &Path, allowed: &[usize]) -> Cores {
        let list = |path: &Path| cpus(&std::fs::read_to_string(path).unwrap_or_default());
        // A core is known by its first hyperthread.
        let core = |cpu: usize| {
            let siblings = list(&sys.join(format!("cpu/cpu{cpu}/topology/thread_siblings_list")));
            let rank = siblings.iter().filter(|other| **other < cpu).count();
            (rank, siblings.first().copied().unwrap_or(cpu), cpu)
        };
        let mut nodes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for entry in std::fs::read_dir(sys.join("node")).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("node")?.parse().ok());
            if let Some(number) = number {
                nodes.insert(number, list(&entry.path().join("cpulist")));
            }
        }
        let known: Vec<usize> = nodes.values().flatten().copied().collect();
        // Without nodes, as on systems with a single one, all are in one.
        let rest = allowed.iter().copied().filter(|cpu| !known.contains(cpu)).collect();
        let all = nodes.into_values().chain([rest]).map(|mut cpus| {
            cpus.retain(|cpu| allowed.contains(cpu));
            cpus.sort_by_key(|&cpu| core(cpu));
            cpus
        });
        Cores(all.filter(|cpus| !cpus.is_empty()).collect())
    }

    /// All of them.
    pub fn all(&self) -> Vec<usize> {
        self.0.concat()
    }

    /// Places for teams of these sizes: neighbouring CPUs of the node that has most CPUs left, so that the teams are spread
    /// over the nodes; of several nodes, next to each other, where no node has enough. A team for which no CPUs are left
    /// has no place.
    pub fn places(&self, teams: &[usize]) -> Vec<Option<Vec<usize>>> {
        let mut left = self.0.clone();
        let place = |&size: &usize| {
            let total: usize = left.iter().map(Vec::len).sum();
            if size > total {
                return None;
            }
            // Of equal nodes, the first.
            let most = (0..left.len()).rev().max_by_key(|&i| left[i].len())?;
            let order = (most..left.len()).chain(0..most);
            let mut place = Vec::new();
            for node in order {
                let take = left[node].len().min(size - place.len());
                place.extend(left[node].drain(..take));
            }
            Some(place)
        };
        teams.iter().map(place).collect()
    }
}

/// Sizes of `teams` teams that have `threads` threads in all; each has at least one.
pub fn team_sizes(threads: usize, teams: usize) -> Vec<usize> {
    let more = threads % teams.max(1);
    (0..teams).map(|i| (threads / teams + usize::from(i < more)).max(1)).collect()
}

/// Keeps this thread, and all threads that it starts from now on, on these CPUs.
///
/// # Errors
/// If the system refuses.
pub fn pin(place: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for &cpu in place {
        set.set(cpu).with_context(|| format!("CPU {cpu}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).context("threads cannot be pinned")
}

/// The numbers of a list such as `0-3,8,10-11`.
fn cpus(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::atomic::write_atomically;

    /// Two nodes of four cores with two hyperthreads each, numbered as Linux usually does.
    fn two_nodes() -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = sys.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_atomically(&path, |file| Ok(file.write_all(text.as_bytes())?)).unwrap();
        };
        put("node/node0/cpulist", "0-3,8-11\n");
        put("node/node1/cpulist", "4-7,12-15\n");
        put("node/possible", "0-1\n");
        for cpu in 0..16 {
            let first = cpu % 8;
            put(&format!("cpu/cpu{cpu}/topology/thread_siblings_list"), &format!("{first},{}\n", first + 8));
        }
        sys
    }

    #[test]
    fn cores_come_by_node_and_hyperthreads_last() {
        let sys = two_nodes();
        let all: Vec<usize> = (0..16).collect();
        let cores = Cores::read(sys.path(), &all);
        assert_eq!(cores.0, [vec![0, 1, 2, 3, 8, 9, 10, 11], vec![4, 5, 6, 7, 12, 13, 14, 15]]);
        // What a scheduler allows, and a system without nodes.
        assert_eq!(Cores::read(sys.path(), &[2, 3, 5]).0, [vec![2, 3], vec![5]]);
        assert_eq!(Cores::read(&sys.path().join("no"), &[2, 3, 5]).0, [vec![2, 3, 5]]);
        assert!(Cores::here().is_none_or(|cores| !cores.0.is_empty()));
    }

    #[test]
    fn teams_are_spread_over_nodes_and_do_not_overlap() {
        let cores = Cores::read(two_nodes().path(), &(0..16).collect::<Vec<_>>());
        assert_eq!(
            cores.places(&[3, 3, 3, 3]),
            [vec![0, 1, 2], vec![4, 5, 6], vec![3, 8, 9], vec![7, 12, 13]].map(Some)
        );
        // Ten do not fit into one node; one more team than there are CPUs has no place.
        let found = cores.places(&[10, 6, 1]);
        assert_eq!(found[0].as_deref().map(<[usize]>::len), Some(10));
        assert_eq!(found[1], Some(vec![6, 7, 12, 13, 14, 15]));
        assert_eq!(found[2], None);
    }

    #[test]
    fn all_threads_are_given_to_teams_and_no_more() {
        assert_eq!(team_sizes(64, 6), [11, 11, 11, 11, 10, 10]);
        assert_eq!(team_sizes(2, 2), [1, 1]);
        assert_eq!(team_sizes(2, 3), [1, 1, 1]);
        assert_eq!(team_sizes(7, 1), [7]);
    }

    #[test]
    fn a_pinned_thread_and_those_it_starts_stay_where_they_are() {
        let Some(first) = Cores::here().and_then(|cores| cores.places(&[1]).remove(0)) else { return };
        let allowed = || Cores::here().expect("cores").all();
        let (own, inner) = std::thread::scope(|scope| {
            let pinned = scope.spawn(|| {
                pin(&first).unwrap();
                (allowed(), std::thread::spawn(allowed).join().unwrap())
            });
            pinned.join().unwrap()
        });
        assert_eq!((&own, &inner), (&first, &first));
    }
}
