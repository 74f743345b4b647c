//! The command line: parse, run, print one error, choose the exit code.

use crate::command::kernels as kernels_command;
use crate::command::{check, compare, data, eval, explain, profile, prototype, report, reproduce, train};
use crate::output::{self, remark};
use crate::progress::Progress;
use crate::run::Interrupted;
use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use kernels::{Backend, Kernels, Threads};
use std::ffi::OsString;
use std::process::ExitCode;

/// Train small recurrent networks that can be explained, and explain them down to the pixel.
///
/// Without a command, `reproduce` runs: it trains Shallow and Deep cells and explains the test set.
#[derive(Debug, Parser)]
#[command(
    name = "harness",
    version,
    about,
    after_help = "exit status: 0 done, 1 failed, 2 misused, 130 or 143 interrupted"
)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Kernel set: reference, portable, avx2 or avx512 [default: the fastest this CPU has]
    #[arg(long, value_name = "NAME", global = true, env = "RELEVANCE_KERNELS")]
    pub kernels: Option<String>,
    /// Threads in all [default: one a core]
    #[arg(long, value_name = "N", global = true, env = "RELEVANCE_THREADS")]
    pub threads: Option<usize>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress, results only
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train the networks of an experiment, measure them, write the report of the thesis (the default)
    Reproduce(reproduce::ReproduceArgs),
    /// Rebuild the report of a reproduction from its finished runs
    Report(report::ReportArgs),
    /// Two reproductions side by side
    Compare(compare::CompareArgs),
    /// Train one network
    Train(train::TrainArgs),
    /// Loss and accuracy of a model
    Eval(eval::EvalArgs),
    /// Relevance of every pixel for a decision
    Explain(explain::ExplainArgs),
    /// The image that a class is surest of, by activation maximisation
    Prototype(prototype::PrototypeArgs),
    /// Draw, find and verify data sets
    Data(data::DataArgs),
    /// See on this machine that results do not depend on kernels or threads
    Check(check::CheckArgs),
    /// Where the time of a training step or of a batch of explanations goes, kernel by kernel
    Profile(profile::ProfileArgs),
    /// The kernel sets of this CPU and its fused multiply-add peak
    Kernels,
}

const COMMANDS: [&str; 12] = [
    "reproduce",
    "report",
    "compare",
    "train",
    "eval",
    "explain",
    "prototype",
    "data",
    "check",
    "profile",
    "kernels",
    "help",
];

/// More threads than any of these networks can use.
const MAX_THREADS: usize = 1024;

impl Common {
    /// How many threads there are to use.
    ///
    /// # Errors
    /// If none is asked for.
    pub fn thread_count(&self) -> Result<usize> {
        match self.threads {
            Some(0) => bail!(Misuse("--threads is 0; it must be at least 1".to_owned())),
            Some(n) if n > MAX_THREADS => {
                bail!(Misuse(format!("--threads is {n}; it must be at most {MAX_THREADS}")))
            }
            Some(n) => Ok(n),
            None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
        }
    }

    /// The chosen kernel set on `threads` threads.
    ///
    /// # Errors
    /// If this CPU does not have it, with the names of those it has, or if a thread cannot be started.
    pub fn kernels(&self, threads: usize) -> Result<Kernels> {
        let threads = Threads::new(threads).context("cannot start the threads")?;
        let name = self.kernels.as_deref().unwrap_or(Backend::best().name());
        let Some(kernels) = Kernels::by_name(name, threads) else {
            let known = Backend::NAMES.contains(&name);
            let why = if known { "this CPU does not have it" } else { "no such kernel set" };
            let here = Kernels::names().join(", ");
            bail!(Misuse(format!("--kernels {name}: {why}; choose one of {here}")));
        };
        Ok(kernels)
    }

    /// Where progress goes.
    pub fn progress(&self) -> Progress {
        Progress::new(self.quiet)
    }
}

/// An error of the command line itself: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

/// Options that take no value: what follows them may be a command.
const FLAGS: [&str; 5] = ["--json", "--quiet", "-q", "--resume", "--overwrite"];

/// Whether the arguments name a command, or ask for help; else they are those of `reproduce`.
fn names_a_command(args: &[OsString]) -> bool {
    let text = |i: usize| args.get(i).and_then(|arg| arg.to_str()).unwrap_or_default();
    (1..args.len()).any(|i| {
        let before = if i == 1 { "" } else { text(i - 1) };
        let is_value = before.starts_with('-') && !before.contains('=') && !FLAGS.contains(&before);
        let asks = matches!(text(i), "-h" | "--help" | "-V" | "--version");
        asks || COMMANDS.contains(&text(i)) && !is_value
    })
}

/// Parses and runs.
///
/// # Errors
/// Whatever the command says; [`clap::Error`] for arguments that do not parse, and for `--help`.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if !names_a_command(&args) {
        args.insert(1.min(args.len()), "reproduce".into());
    }
    let cli = Cli::try_parse_from(args)?;
    let common = &cli.common;
    match &cli.command {
        Command::Reproduce(args) => reproduce::run(args, common),
        Command::Report(args) => report::run(args, common),
        Command::Compare(args) => compare::run(args, common),
        Command::Train(args) => train::run(args, common),
        Command::Eval(args) => eval::run(args, common),
        Command::Explain(args) => explain::run(args, common),
        Command::Prototype(args) => prototype::run(args, common),
        Command::Data(args) => data::run(args, common),
        Command::Check(args) => check::run(args, common),
        Command::Profile(args) => profile::run(args, common),
        Command::Kernels => kernels_command::run(common),
    }
}

/// An error with its causes as the one line that is printed: a name in a file may hold a line break, or what a
/// terminal takes for a command.
pub fn told(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
        line
    })
}

/// Runs the process's own arguments and prints what went wrong in one line.
pub fn main() -> ExitCode {
    output::of_program();
    let Err(error) = run(std::env::args_os()) else { return ExitCode::SUCCESS };
    let error = match error.downcast::<clap::Error>() {
        // Help and version are no failures; clap prints each to its own stream.
        Ok(usage) => match (output::help(&usage), usage.use_stderr()) {
            (_, true) => return ExitCode::from(2),
            (Ok(()), false) => return ExitCode::SUCCESS,
            (Err(error), false) => error,
        },
        Err(error) => error,
    };
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        remark!("{interrupted}");
        return ExitCode::from(interrupted.status);
    }
    remark!("error: {}", told(&error));
    ExitCode::from(if error.downcast_ref::<Misuse>().is_some() { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_line_break_is_told_in_one_line() {
        let error = anyhow::anyhow!("tensor `\nco\u{1b}[2Jder` é").context("x.safetensors: is not sound");
        assert_eq!(told(&error), r"x.safetensors: is not sound: tensor `\nco\u{1b}[2Jder` é");
    }

    #[test]
    fn a_command_is_told_from_the_value_of_an_option() {
        let named = |line: &str| names_a_command(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        for line in
            ["harness train", "harness --quiet train", "harness --kernels avx2 data list", "harness -h"]
        {
            assert!(named(line), "{line}");
        }
        for line in
            ["harness", "harness --out data", "harness --dataset train --quiet", "harness --threads 2"]
        {
            assert!(!named(line), "{line}");
        }
    }
}
