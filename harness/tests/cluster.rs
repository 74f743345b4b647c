//! Plans, tasks in processes of their own, and their report.
#![allow(clippy::unwrap_used)]

mod cluster_support;

use cluster_support::{BINARY, Sandbox, fails, stdout, succeeds};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const FOUR: &str = "seeds = [1, 2, 3, 4]";

fn wait_for(path: &Path, child: &mut Child) {
    while !path.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(500));
    }
}

#[test]
fn tasks_that_xargs_runs_give_the_files_of_reproduce() {
    let sandbox = Sandbox::new("seeds = [1, 2, 3, 4]\nlr = \"search\"", 2);
    let planned = sandbox.plan("tasks", &["--threads", "2", "--at-once", "3"]);
    succeeds(&planned);
    assert!(stdout(&planned).starts_with("6 tasks, about "), "{}", stdout(&planned));
    let script = fs::read_to_string(sandbox.at("tasks/submit.sh")).unwrap();
    for line in ["#SBATCH --array=0-5%3", "#SBATCH --cpus-per-task=2"] {
        assert!(script.lines().any(|found| found == line), "{script}");
    }
    let bash = Command::new("bash").arg("-n").arg(sandbox.at("tasks/submit.sh")).output().unwrap();
    succeeds(&bash);
    // Runs before the candidates of their rate: each trains what is missing.
    let mut xargs = Command::new("xargs");
    xargs.args(["-P", "3", "-n", "1", BINARY, "run", "--quiet", "--threads", "1"]).arg(sandbox.at("tasks"));
    xargs.arg("--index").env("RELEVANCE_DATA_DIR", sandbox.at("data"));
    let mut child =
        xargs.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"5\n4\n3\n2\n").unwrap();
    let output = child.wait_with_output().unwrap();
    succeeds(&output);
    assert_eq!(stdout(&output).matches(" done\n").count(), 4, "{}", stdout(&output));
    // The candidates are finished by then.
    let output = sandbox.run("run @tasks --shard 0/1 --quiet --json");
    succeeds(&output);
    assert!(stdout(&output).contains("\"finished_before\":[0,1,2,3,4,5]"), "{}", stdout(&output));
    succeeds(&sandbox.run("collect @tasks --quiet"));
    succeeds(&sandbox.reproduce("alone", &["--jobs", "2"]));
    sandbox.same("tasks", "alone");
    // Collecting again changes nothing.
    let report = fs::read(sandbox.at("tasks/report.json")).unwrap();
    succeeds(&sandbox.run("collect @tasks --quiet"));
    assert!(fs::read(sandbox.at("tasks/report.json")).unwrap() == report);
}

/// As on a file system without locks between machines, and on one with them.
#[test]
fn a_task_belongs_to_one_of_two_processes() {
    let sandbox = Sandbox::new(FOUR, 80);
    for lock in ["flock", "claim"] {
        let out = format!("two-{lock}");
        succeeds(&sandbox.plan(&out, &[]));
        let run = |which: &str| {
            let mut command = sandbox.command(&format!("run @{out} {which} --threads 1 --quiet"));
            command.env("RELEVANCE_LOCK", lock);
            command
        };
        let mut first = run("--index 0").spawn().unwrap();
        wait_for(&sandbox.at(&format!("{out}/synth/narrow-4-seed1/resume.safetensors")), &mut first);
        let busy = run("--index 0").output().unwrap();
        let mut command = sandbox.command(&format!("collect @{out} --quiet"));
        let collected = command.env("RELEVANCE_LOCK", lock).output().unwrap();
        assert!(first.try_wait().unwrap().is_none(), "the task is too short to be shared");
        fails(&busy, 1, &["narrow-4-seed1", "another process is using it"]);
        assert!(stdout(&collected).contains("\nrunning --array=0\n"), "{}", stdout(&collected));
        succeeds(&first.wait_with_output().unwrap());
        // Two machines with one folder: whoever comes first has a task; in the end each finds all of them finished, or the
        // last one with the other.
        let both: Vec<Child> = (0..2).map(|_| run("--shard 0/1").spawn().unwrap()).collect();
        let ended: Vec<_> = both.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        let done: usize = ended.iter().map(|output| stdout(output).matches(" done\n").count()).sum();
        assert_eq!(done, 3, "each of the other three was trained once: {ended:?}");
        assert!(ended.iter().any(|output| output.status.success()), "{ended:?}");
        succeeds(&sandbox.run(&format!("collect @{out} --quiet")));
    }
    succeeds(&sandbox.reproduce("alone", &["--jobs", "2"]));
    sandbox.same("two-flock", "alone");
    sandbox.same("two-claim", "alone");
}

#[test]
fn a_task_that_is_killed_or_stopped_is_continued_to_the_same_bits() {
    let sandbox = Sandbox::new(FOUR, 20);
    succeeds(&sandbox.plan("tasks", &[]));
    for (first, signal) in [(0, Signal::SIGKILL), (2, Signal::SIGTERM)] {
        for (i, lock) in [(first, "flock"), (first + 1, "claim")] {
            let mut command = sandbox.command(&format!("run @tasks --index {i} --threads 1 --quiet"));
            let mut child = command.env("RELEVANCE_LOCK", lock).spawn().unwrap();
            let folder = sandbox.at(&format!("tasks/synth/narrow-4-seed{}", i + 1));
            wait_for(&folder.join("resume.safetensors"), &mut child);
            kill(Pid::from_raw(child.id() as i32), signal).unwrap();
            let output = child.wait_with_output().unwrap();
            match signal {
                Signal::SIGTERM => fails(&output, 143, &["interrupted"]),
                _ => assert!(output.status.code().is_none(), "{output:?}"),
            }
        }
    }
    let collected = sandbox.run("collect @tasks --quiet");
    fails(&collected, 1, &["4 of 4 tasks are not finished", "missing --array=0-3"]);
    assert!(stdout(&collected).contains("\nmissing --array=0-3\n"), "{}", stdout(&collected));
    // Slurm's variable instead of --index.
    for i in ["0", "1", "2", "3"] {
        let mut command = sandbox.command("run @tasks --threads 1 --quiet");
        succeeds(&command.env("SLURM_ARRAY_TASK_ID", i).env("RELEVANCE_LOCK", "claim").output().unwrap());
    }
    succeeds(&sandbox.run("collect @tasks --quiet"));
    succeeds(&sandbox.reproduce("alone", &[]));
    sandbox.same("tasks", "alone");
}

#[test]
fn what_is_missing_or_failed_is_listed_and_a_changed_plan_is_refused() {
    let sandbox = Sandbox::new("seeds = [1, 2, 3, 4, 5]", 1);
    succeeds(&sandbox.plan("tasks", &[]));
    let collect = || sandbox.run("collect @tasks --quiet");
    succeeds(&sandbox.run("run @tasks --index 1 --quiet"));
    fails(&collect(), 1, &["4 of 5 tasks", "missing --array=0,2-4"]);
    // A model that was changed after it was measured.
    let model = sandbox.at("tasks/synth/narrow-4-seed2/last.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    // A task that fails: its folder holds another program's file.
    let foreign = sandbox.at("tasks/synth/narrow-4-seed3");
    fs::create_dir_all(&foreign).unwrap();
    fs::write(foreign.join("last.safetensors"), "mine").unwrap();
    fails(&sandbox.run("run @tasks --index 2 --quiet"), 1, &["cannot be continued"]);
    fails(&collect(), 1, &["missing --array=0,3-4, failed --array=1-2", "task 1", "last.safetensors"]);
    let page = fs::read_to_string(sandbox.at("tasks/report.html")).unwrap();
    assert!(page.contains("damaged"));
    fs::remove_file(foreign.join("last.safetensors")).unwrap();
    succeeds(&sandbox.run("run @tasks --shard 0/2 --quiet"));
    assert!(!foreign.join("failed.txt").exists());
    fails(&collect(), 1, &["missing --array=3, failed --array=1"]);
    // The experiment is changed behind the plan's back.
    let file = sandbox.at("tasks/experiment.toml");
    let text = fs::read_to_string(&file).unwrap();
    let changed = text.replace("epochs = 1", "epochs = 3").replace("batch = 20", "batch = 25");
    fs::write(&file, &changed).unwrap();
    let keys = ["task 0", "batch was 20, is 25", "epochs was 1, is 3"];
    fails(&collect(), 2, &keys);
    fails(&sandbox.run("run @tasks --index 0 --quiet"), 2, &keys);
    assert_eq!(fs::read_to_string(&file).unwrap(), changed);
}

#[test]
fn bad_input_is_one_line_and_nothing_is_written() {
    let sandbox = Sandbox::new(FOUR, 1);
    succeeds(&sandbox.plan("tasks", &[]));
    let listing = || {
        let mut all = Vec::new();
        let mut folders = vec![sandbox.at("")];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                let length = path.metadata().unwrap().len();
                if path.is_dir() {
                    folders.push(path.clone());
                }
                all.push((path, length));
            }
        }
        all.sort();
        all
    };
    let before = listing();
    let refuse = |line: &str, words: &[&str]| {
        fails(&sandbox.run(line), 2, words);
        assert!(listing() == before, "{line}");
    };
    for (line, words) in [
        ("run @tasks --quiet", &["which task", "--index", "SLURM_ARRAY_TASK_ID"][..]),
        ("run @tasks --index 4", &["--index 4", "0 to 3"]),
        ("run @tasks --shard 4/5", &["--shard 4/5", "no task"]),
        ("run @tasks --index 0 --jobs 0", &["--jobs is 0"]),
        ("run @tasks --index 0 --threads 0", &["--threads is 0"]),
        ("run @tasks --index 0 --kernels magic", &["magic"]),
        ("run @data --index 0", &["data", "no plan", "harness plan"]),
        ("run @absent --index 0", &["absent", "no plan"]),
        ("collect @data", &["no plan"]),
        ("plan @tiny.toml --out @new --at-once 0", &["--at-once is 0"]),
        ("plan @tiny.toml --out @new --threads 0", &["--threads is 0"]),
        ("plan @tiny.toml --out @new --cells lstm", &["lstm"]),
        ("plan @tiny.toml --out @new.json", &["new.json", "without that ending"]),
        ("plan @tiny.toml --out @a$b", &["a$b", "script"]),
        ("plan quik --out @new", &["quik"]),
        ("reproduce @tiny.toml --out @new --jobs 0", &["--jobs is 0"]),
    ] {
        refuse(line, words);
    }
    let mut command = sandbox.command("run @tasks");
    fails(&command.env("SLURM_ARRAY_TASK_ID", "x").output().unwrap(), 2, &["SLURM_ARRAY_TASK_ID is \"x\""]);
    let mut command = sandbox.command("run @tasks --index 0");
    fails(
        &command.env("RELEVANCE_LOCK", "magic").output().unwrap(),
        2,
        &["RELEVANCE_LOCK", "flock or claim"],
    );
    let clap = [
        "run @tasks --shard 3",
        "run @tasks --shard 4/4",
        "run @tasks --shard -1/4",
        "run @tasks --index x",
        "run @tasks --index 0 --shard 0/1",
        "run --index 0",
        "collect",
        "plan @tiny.toml",
        "plan --out @new",
        "plan @tiny.toml --out @new --resume --overwrite",
    ];
    for line in clap {
        assert_eq!(sandbox.run(line).status.code(), Some(2), "{line}");
        assert!(listing() == before, "{line}");
    }
    fails(&sandbox.run("plan @tiny.toml --out @tasks"), 1, &["already holds", "--resume"]);
    assert!(listing() == before);
    // Damaged plans: each is refused by line.
    let file = sandbox.at("tasks/plan.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    for (from, to, words) in [
        ("\"index\":1", "\"index\":2", &["line 2", "index"][..]),
        ("\"seed\":2", "\"seed\":3", &["line 2", "id"]),
        ("narrow-4-seed2\"", "narrow-4-seed9\"", &["seed9", "experiment.toml"]),
        ("{\"index\":0", "[", &["line 1"]),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
        fails(&sandbox.run("run @tasks --index 0 --quiet"), 2, words);
        fails(&sandbox.run("collect @tasks --quiet"), 2, words);
    }
    fs::write(&file, "").unwrap();
    fails(&sandbox.run("collect @tasks"), 2, &["plan.jsonl"]);
    fs::write(&file, text).unwrap();
    // Other data on this machine than on the one that planned.
    harness::dataset::synth::write(&sandbox.at("other/synth"), 4, 400, 100).unwrap();
    let other = sandbox.run("run @tasks --index 0 --data-dir @other");
    fails(&other, 2, &["synth", "other ones than those of the plan", "--data-dir"]);
}

#[test]
fn a_plan_is_continued_with_more_epochs_and_a_reproduction_with_tasks() {
    let sandbox = Sandbox::new("seeds = [1, 2]", 1);
    succeeds(&sandbox.reproduce("out", &[]));
    succeeds(&sandbox.run("collect @out --quiet"));
    fails(&sandbox.plan("out", &["--resume", "--batch", "10"]), 2, &["batch is 20 there, 10"]);
    succeeds(&sandbox.plan("out", &["--resume", "--epochs", "3"]));
    fails(&sandbox.run("collect @out --quiet"), 1, &["missing --array=0-1"]);
    succeeds(&sandbox.run("run @out --shard 0/1 --jobs 2 --threads 3 --pin --quiet"));
    succeeds(&sandbox.run("collect @out --quiet"));
    succeeds(&sandbox.reproduce("alone", &["--epochs", "3", "--jobs", "1"]));
    sandbox.same("out", "alone");
}

/// Three jobs with seven threads: three threads that run jobs, four workers, each of one job, and all of them work.
#[test]
fn each_job_has_threads_of_its_own_and_there_are_no_more() {
    let sandbox = Sandbox::new("seeds = [1, 2, 3]", 4000);
    let mut command =
        sandbox.command("reproduce @tiny.toml --out @out --threads 7 --jobs 3 --batch 200 --quiet");
    let mut child = command.spawn().unwrap();
    for seed in [1, 2, 3] {
        wait_for(&sandbox.at(&format!("out/synth/narrow-4-seed{seed}/run.json")), &mut child);
    }
    let tasks = format!("/proc/{}/task", child.id());
    let names = || -> Vec<String> {
        let all = fs::read_dir(&tasks).unwrap().flatten();
        all.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok()).collect()
    };
    let names = names();
    let workers = names.iter().filter(|name| name.starts_with("kernels-")).count();
    // Teams of 3, 2 and 2: the second and third have one worker each.
    assert_eq!(workers, 4, "{names:?}");
    assert_eq!(names.iter().filter(|name| name.trim() == "kernels-1").count(), 3, "{names:?}");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    fails(&child.wait_with_output().unwrap(), 143, &["interrupted"]);
}
