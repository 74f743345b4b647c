//! The command line: parse, run, print one error, choose the exit code.

use crate::command::kernels as kernels_command;
use crate::command::{check, compare, data, eval, explain, profile, prototype, report, reproduce, train};
use crate::context::GlobalOptions;
use crate::error::{UsageError, format_error};
use crate::io::output::{self, status};
use crate::signal::Interrupted;
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Train small recurrent networks and explain their decisions by layer-wise relevance propagation.
///
/// Without a command, `reproduce` runs: it trains Shallow and Deep networks and explains the test set.
#[derive(Debug, Parser)]
#[command(
    name = "harness",
    version,
    about,
    after_help = "exit status: 0 success, 1 failure, 2 usage error, 130 or 143 interrupted"
)]
pub struct Cli {
    #[command(flatten)]
    options: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train the networks of an experiment, evaluate their explanations, write the report (the default)
    Reproduce(reproduce::ReproduceArgs),
    /// Rebuild the report of a reproduction from its finished runs, without training
    Report(report::ReportArgs),
    /// Compare the tables of two reproductions
    Compare(compare::CompareArgs),
    /// Train one network
    Train(train::TrainArgs),
    /// Loss and accuracy of a model
    Eval(eval::EvalArgs),
    /// Relevance of every input pixel for a decision
    Explain(explain::args::ExplainArgs),
    /// The prototype image of a class, by activation maximisation
    Prototype(prototype::PrototypeArgs),
    /// Generate, download, find and verify data sets
    Data(data::DataArgs),
    /// Check that results on this machine do not depend on kernel set or threads
    Check(check::CheckArgs),
    /// Time of a training step or of a batch of explanations, kernel by kernel
    Profile(profile::args::ProfileArgs),
    /// List the kernel sets of this CPU and measure its fused multiply-add peak
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

/// Options without a value, which a command may follow.
const FLAGS: [&str; 5] = ["--json", "--quiet", "-q", "--resume", "--overwrite"];

/// Whether the arguments have a command or a help option; otherwise they are those of `reproduce`.
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
/// The error of the command; [`clap::Error`] for arguments that do not parse, and for `--help`.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if !names_a_command(&args) {
        args.insert(1.min(args.len()), "reproduce".into());
    }
    let cli = Cli::try_parse_from(args)?;
    let options = &cli.options;
    match &cli.command {
        Command::Reproduce(args) => reproduce::run(args, options),
        Command::Report(args) => report::run(args, options),
        Command::Compare(args) => compare::run(args, options),
        Command::Train(args) => train::run(args, options),
        Command::Eval(args) => eval::run(args, options),
        Command::Explain(args) => explain::run(args, options),
        Command::Prototype(args) => prototype::run(args, options),
        Command::Data(args) => data::run(args, options),
        Command::Check(args) => check::run(args, options),
        Command::Profile(args) => profile::run(args, options),
        Command::Kernels => kernels_command::run(options),
    }
}

/// Runs the process's own arguments and prints what went wrong in one line.
pub fn main() -> ExitCode {
    output::use_process_streams();
    let Err(error) = run(std::env::args_os()) else { return ExitCode::SUCCESS };
    let error = match error.downcast::<clap::Error>() {
        // Help and version are not failures; clap prints each to its own stream.
        Ok(usage) => match (output::help(&usage), usage.use_stderr()) {
            (_, true) => return ExitCode::from(2),
            (Ok(()), false) => return ExitCode::SUCCESS,
            (Err(error), false) => error,
        },
        Err(error) => error,
    };
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        status!("{interrupted}");
        return ExitCode::from(interrupted.status);
    }
    status!("error: {}", format_error(&error));
    ExitCode::from(if error.downcast_ref::<UsageError>().is_some() { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_distinguished_from_the_value_of_an_option() {
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
