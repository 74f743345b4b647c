//! The array script of a plan for Slurm.

use crate::error::UsageError;
use crate::io::show::shown;
use std::fmt::Write;
use std::path::Path;

/// The script in the folder of a plan.
pub const SCRIPT: &str = "submit.sh";
/// The folder of its logs.
pub const LOGS: &str = "logs";
/// The shortest time limit, in minutes.
const MIN_MINUTES: u64 = 10;
/// The least memory: the shell of the script and `srun` need some too.
const MIN_MEMORY_MIB: u64 = 256;
/// Time limit and memory by the estimates: CPUs differ, and a limit that is too low costs a requeue.
const TIME_FACTOR: f64 = 3.0;
const MEMORY_FACTOR: f64 = 1.5;

/// What the script of a plan needs.
#[derive(Clone, Copy, Debug)]
pub struct ArrayJob<'a> {
    /// Name of the experiment.
    pub name: &'a str,
    /// The program, an absolute path.
    pub program: &'a Path,
    /// The folder of the plan, an absolute path.
    pub out: &'a Path,
    /// The folder that is searched for data first, an absolute path.
    pub data_dir: Option<&'a Path>,
    /// Number of tasks.
    pub tasks: usize,
    /// Tasks that run at once, at most.
    pub at_once: usize,
    /// Threads of a task.
    pub threads: usize,
    /// The largest estimate of a task's seconds.
    pub seconds: f64,
    /// The largest estimate of a task's memory.
    pub memory_mib: u64,
}

impl ArrayJob<'_> {
    /// The text of the script.
    ///
    /// # Errors
    /// [`UsageError`] if a path cannot stand in a script.
    pub fn script(&self) -> Result<String, UsageError> {
        let out = plain("--out", self.out)?;
        let program = plain("the program", self.program)?;
        let data_dir = self.data_dir.map(|path| plain("--data-dir", path)).transpose()?;
        let minutes = ((self.seconds * TIME_FACTOR / 60.0).ceil() as u64).max(MIN_MINUTES);
        let memory = ((self.memory_mib as f64 * MEMORY_FACTOR).ceil() as u64).max(MIN_MEMORY_MIB);
        let name: String =
            self.name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
        let mut text = format!(
            "#!/bin/bash\n\
             # {} tasks, one an array index: sbatch {SCRIPT}\n\
             #SBATCH --job-name={name}\n\
             #SBATCH --array=0-{}%{}\n\
             #SBATCH --output=\"{}/{LOGS}/%A_%a.log\"\n\
             #SBATCH --open-mode=append\n\
             #SBATCH --ntasks=1\n\
             #SBATCH --cpus-per-task={}\n\
             #SBATCH --mem={memory}M\n\
             #SBATCH --time={minutes}\n\
             #SBATCH --signal=TERM@120\n\
             #SBATCH --requeue\n\n",
            self.tasks,
            self.tasks.saturating_sub(1),
            self.at_once,
            out.replace('%', "%%"),
            self.threads,
        );
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "export RELEVANCE_THREADS=\"${{SLURM_CPUS_PER_TASK:-1}}\"\n\
             # srun, so that the signal before the time limit reaches the program.\n\
             srun --ntasks=1 --cpus-per-task=\"$RELEVANCE_THREADS\" \\\n    \"${{HARNESS:-{program}}}\" run \"{out}\" \
             --index \"$SLURM_ARRAY_TASK_ID\" --quiet{}\n\
             status=$?\n\
             # Stopped in order before the time limit: queued again, and continued from its last epoch.\n\
             if [ $status -eq 143 ] && [ \"$(squeue --noheader --jobs \"$SLURM_JOB_ID\" --format %T)\" = RUNNING ]; then\n    \
             scontrol requeue \"$SLURM_JOB_ID\"\n\
             fi\n\
             exit $status\n",
            data_dir.map(|path| format!(" --data-dir \"{path}\"")).unwrap_or_default(),
        );
        Ok(text)
    }
}

/// A path that a double-quoted word of a shell, and of an `#SBATCH` line, takes as it is.
fn plain<'a>(what: &str, path: &'a Path) -> Result<&'a str, UsageError> {
    let special = |c: char| c.is_control() || "\"$`\\!".contains(c);
    path.to_str().filter(|text| !text.contains(special)).ok_or_else(|| {
        UsageError(format!(
            "{what} {}: cannot stand in a script; choose a path without \" $ ` \\ !",
            shown(path)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(out: &Path) -> ArrayJob<'_> {
        ArrayJob {
            name: "full",
            program: Path::new("/opt/harness"),
            out,
            data_dir: Some(Path::new("/data/sets")),
            tasks: 236,
            at_once: 64,
            threads: 4,
            seconds: 7000.0,
            memory_mib: 301,
        }
    }

    #[test]
    fn the_script_is_an_ordinary_array_script() {
        let text = job(Path::new("/home/me/50% of it")).script().unwrap();
        for line in [
            "#!/bin/bash",
            "#SBATCH --array=0-235%64",
            "#SBATCH --output=\"/home/me/50%% of it/logs/%A_%a.log\"",
            "#SBATCH --cpus-per-task=4",
            "#SBATCH --mem=452M",
            "#SBATCH --time=350",
            "#SBATCH --signal=TERM@120",
            "#SBATCH --requeue",
            "export RELEVANCE_THREADS=\"${SLURM_CPUS_PER_TASK:-1}\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(text.contains("run \"/home/me/50% of it\" --index \"$SLURM_ARRAY_TASK_ID\""), "{text}");
        assert!(text.contains("--data-dir \"/data/sets\""), "{text}");
    }

    #[test]
    fn a_path_that_a_shell_would_change_is_refused() {
        for path in ["/a\"b", "/a$b", "/a`b", "/a\\b", "/a\nb"] {
            let error = job(Path::new(path)).script().unwrap_err().0;
            assert!(error.starts_with("--out /a") && !error.contains('\n'), "{error}");
        }
    }
}
