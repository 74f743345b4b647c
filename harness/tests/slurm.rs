//! A plan on a real Slurm: three nodes on the loopback address, one of which dies, a task that is requeued, one that is
//! stopped. Skipped where the programs are not installed.
#![allow(clippy::unwrap_used)]

mod cluster_support;

use cluster_support::{BINARY, Sandbox, say, stdout, succeeds};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/slurm/cluster.sh");
const PROGRAMS: [&str; 6] = ["slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "munged"];
/// The array, from its submission to the end of the last task.
const LONGEST: Duration = Duration::from_secs(400);

struct Cluster(PathBuf);

impl Cluster {
    fn script(&self, words: &[&str]) -> Output {
        Command::new(SCRIPT).arg(words[0]).arg(&self.0).args(&words[1..]).output().unwrap()
    }

    fn call(&self, program: &str, words: &[&str]) -> String {
        let output =
            Command::new(program).args(words).env("SLURM_CONF", self.0.join("slurm.conf")).output().unwrap();
        stdout(&output)
    }

    /// Index, state and node of each task of the queue.
    fn queue(&self) -> Vec<(usize, String, String)> {
        let text = self.call("squeue", &["--noheader", "--array", "--states=all", "--format=%K %T %N"]);
        let task = |line: &str| {
            let mut words = line.split_whitespace();
            let index = words.next()?.parse().ok()?;
            Some((index, words.next()?.to_owned(), words.next().unwrap_or_default().to_owned()))
        };
        text.lines().filter_map(task).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.script(&["stop"]);
    }
}

fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).chain(["/usr/sbin".into()]).any(|folder| folder.join(program).exists())
}

fn has_checkpoint(folder: &Path) -> bool {
    folder.join("resume.safetensors").exists()
}

#[test]
fn an_array_on_a_cluster_that_loses_a_node_gives_the_bits_of_one_machine() {
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| !is_installed(program)).collect();
    if !missing.is_empty() || std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        say(&format!("skipped: no Slurm for a test, which needs {} and root", missing.join(", ")));
        return;
    }
    let sandbox = Sandbox::new("seeds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]", 250);
    succeeds(&sandbox.plan("cluster", &[]));
    let cluster = Cluster(sandbox.at("slurm"));
    succeeds(&cluster.script(&["start"]));
    let begin = Instant::now();
    let script = sandbox.at("cluster/submit.sh");
    say(&cluster.call("sbatch", &[script.to_str().unwrap()]));
    let folder = |i: usize| sandbox.at(&format!("cluster/synth/narrow-4-seed{}", i + 1));
    let (mut killed, mut requeued, mut stopped) = (Vec::new(), None, None);
    loop {
        let queue = cluster.queue();
        let running = |node: &str| -> Vec<usize> {
            let on = queue.iter().filter(|(_, state, on)| state == "RUNNING" && on == node);
            on.map(|(i, ..)| *i).filter(|&i| has_checkpoint(&folder(i))).collect()
        };
        let job = |i: usize| {
            let text = cluster.call("squeue", &["--noheader", "--array", "--format=%K %A"]);
            text.lines().find_map(|line| line.trim().strip_prefix(&format!("{i} ")).map(str::to_owned))
        };
        if killed.is_empty() {
            killed = running("n2");
            if !killed.is_empty() {
                succeeds(&cluster.script(&["kill-node", "n2"]));
            }
        } else if requeued.is_none() {
            if let Some((i, job)) = running("n1").first().and_then(|&i| Some((i, job(i)?))) {
                cluster.call("scontrol", &["requeue", &job]);
                requeued = Some(i);
            }
        } else if stopped.is_none() {
            let other = running("n3").into_iter().find(|&i| Some(i) != requeued);
            if let Some((i, job)) = other.and_then(|i| Some((i, job(i)?))) {
                // As `--signal=TERM@120` before the time limit: the steps get it, not the script.
                cluster.call("scancel", &["--signal=TERM", &job]);
                stopped = Some(i);
            }
        }
        let ended = ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"];
        if queue.iter().all(|(_, state, _)| ended.contains(&&state[..])) && killed.len() + queue.len() > 0 {
            break;
        }
        if begin.elapsed() > LONGEST {
            let logs = std::fs::read_dir(sandbox.at("cluster/logs")).unwrap();
            for log in logs.map(|entry| entry.unwrap().path()) {
                say(&format!("{}: {}", log.display(), std::fs::read_to_string(&log).unwrap()));
            }
            panic!("the array has not ended: {queue:?}");
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    let (requeued, stopped) = (requeued.expect("a task was requeued"), stopped.expect("a task was stopped"));
    say(&format!(
        "12 tasks in {:.0} s; killed with their node: {killed:?}, requeued: {requeued}, stopped by SIGTERM: {stopped}",
        begin.elapsed().as_secs_f64()
    ));
    succeeds(&Command::new(BINARY).arg("collect").arg(sandbox.at("cluster")).output().unwrap());
    succeeds(&sandbox.reproduce("alone", &[]));
    sandbox.same("cluster", "alone");
}
