//! The command line: parse, run, print one error, choose the exit code.

use crate::command::kernels as kernels_command;
use crate::command::run as run_command;
use crate::command::{
    check, collect, compare, data, eval, explain, measure, plan, profile, prototype, report, reproduce, runs,
    train, unused,
};
use crate::context::GlobalOptions;
use crate::error::UsageError;
use crate::io::output::{self, status};
use crate::io::show::format_error;
use crate::signal::Interrupted;
use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use kernels::MatmulBackend;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

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
    /// List the trainings of an experiment as tasks, with an array script for Slurm
    Plan(plan::PlanArgs),
    /// Train and measure tasks of a plan
    Run(run_command::RunArgs),
    /// Write the report of a plan from its finished tasks, and list the others
    Collect(collect::CollectArgs),
    /// Rebuild the report of a reproduction from its finished runs, without training
    Report(report::ReportArgs),
    /// Compare reproductions: what differs, tables, curves and pictures
    Compare(compare::CompareArgs),
    /// List the trainings below a folder: state, epochs, accuracy
    Runs(runs::RunsArgs),
    /// Train one network
    Train(train::TrainArgs),
    /// Loss and accuracy of a model
    Eval(eval::EvalArgs),
    /// Relevance of every input pixel for a decision
    Explain(explain::args::ExplainArgs),
    /// Reliability of the heatmaps of a model: pixel flipping, randomisation, dependence on the class, noise
    Measure(measure::MeasureArgs),
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

const COMMANDS: [&str; 17] = [
    "reproduce",
    "plan",
    "run",
    "collect",
    "report",
    "compare",
    "runs",
    "train",
    "eval",
    "explain",
    "measure",
    "prototype",
    "data",
    "check",
    "profile",
    "kernels",
    "help",
];

/// Options without a value; a command may follow them.
const FLAGS: [&str; 7] = ["--json", "--quiet", "-q", "--resume", "--overwrite", "--pin", "--watch"];

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
    run_with(args, &[])
}

/// As [`run`], with more GEMM backends for `--kernels NAME`.
///
/// # Errors
/// As [`run`].
pub fn run_with(args: impl IntoIterator<Item = OsString>, backends: &[Arc<dyn MatmulBackend>]) -> Result<()> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if !names_a_command(&args) {
        args.insert(1.min(args.len()), "reproduce".into());
    }
    let matches = Cli::command().try_get_matches_from(args)?;
    let cli = Cli::from_arg_matches(&matches)?;
    unused::check(&matches)?;
    let options = &GlobalOptions { backends: backends.to_vec(), ..cli.options };
    if options.quiet {
        output::be_quiet();
    }
    match &cli.command {
        Command::Reproduce(args) => reproduce::run(args, options),
        Command::Plan(args) => plan::run(args, options),
        Command::Run(args) => run_command::run(args, options),
        Command::Collect(args) => collect::run(args, options),
        Command::Report(args) => report::run(args, options),
        Command::Compare(args) => compare::run(args, options),
        Command::Runs(args) => runs::run(args, options),
        Command::Measure(args) => measure::run(args, options),
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

/// Runs the arguments of the process and prints an error in one line.
pub fn main() -> ExitCode {
    main_with(&[])
}

/// The `main` of a program with more GEMM backends, see `kernels/examples/plugin`.
pub fn main_with(backends: &[Arc<dyn MatmulBackend>]) -> ExitCode {
    output::use_process_streams();
    let Err(error) = run_with(std::env::args_os(), backends) else { return ExitCode::SUCCESS };
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// The commands and their subcommands.
    fn commands() -> Vec<clap::Command> {
        let mut all = vec![Cli::command()];
        let mut at = 0;
        while at < all.len() {
            let inner: Vec<clap::Command> = all[at].get_subcommands().cloned().collect();
            all.extend(inner);
            at += 1;
        }
        all
    }

    /// The words of a text that are long options.
    fn options(text: &str) -> impl Iterator<Item = &str> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        words.filter(|word| {
            word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        })
    }

    /// The texts of README and docs, with their names.
    fn documents() -> Vec<(String, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let all = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
        let all = all.chain(["README.md", "data/README.md", "ARCHITECTURE.md"].map(|name| root.join(name)));
        all.map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())).collect()
    }

    /// Options that take a whole number, and what bounds it. A new one belongs here and to a bound.
    const BOUNDED: [(&str, &[&str]); 5] = [
        (
            "io::bounds",
            &[
                "threads", "jobs", "batch", "epochs", "seq-len", "seq-lens", "steps", "samples", "region",
                "train", "test", "folds", "at-once", "rounds", "points",
            ],
        ),
        ("the sizes of a network", &["combine", "recurrent"]),
        ("the plan", &["index"]),
        ("the data", &["validation", "limit-train", "limit-test", "class", "fold", "experiment"]),
        ("nothing, any will do", &["seed", "seeds", "noise-seed"]),
    ];

    #[test]
    fn every_number_that_an_option_takes_is_bounded() {
        use std::any::TypeId;
        let whole = [TypeId::of::<usize>(), TypeId::of::<u64>(), TypeId::of::<u32>(), TypeId::of::<u8>()];
        let mut seen = BTreeSet::new();
        for command in commands() {
            for arg in command.get_arguments() {
                let kind = arg.get_value_parser().type_id();
                let Some(long) = arg.get_long().filter(|_| whole.iter().any(|of| kind == *of)) else {
                    continue;
                };
                let listed = BOUNDED.iter().any(|(_, options)| options.contains(&long));
                assert!(listed, "{} --{long}", command.get_name());
                seen.insert(long.to_owned());
            }
        }
        let listed: usize = BOUNDED.iter().map(|(_, options)| options.len()).sum();
        assert_eq!(seen.len(), listed, "{seen:?}");
    }

    /// What goes round the modules that write files and show names.
    #[test]
    fn no_source_writes_a_file_or_shows_a_path_in_a_way_of_its_own() {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                if path.extension().is_none_or(|ending| ending != "rs") || path.ends_with("io/atomic.rs") {
                    continue;
                }
                seen += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                let code = code.replace("AtomicFile::open(", "");
                if path.ends_with("dataset/testing.rs") {
                    continue;
                }
                // Reading: `io::file` refuses a pipe, which would block, and a device, which may be endless. An
                // estimate reads `/proc`.
                let reads = [
                    "/io/",
                    "dataset/gz.rs",
                    "dataset/checksum.rs",
                    "dataset/fetch/transfer.rs",
                    "experiment/estimate.rs",
                ];
                if !reads.iter().any(|own| path.to_string_lossy().contains(own)) {
                    for word in ["fs::read(", "read_to_string(", "File::open("] {
                        assert!(!code.contains(word), "{}: {word}", path.display());
                    }
                }
                for word in ["fs::write(", "File::create(", "process::id(", "AtomicWriteFile", "hard_link("] {
                    assert!(!code.contains(word), "{}: {word}", path.display());
                }
                for (at, _) in code.match_indices("outln!(") {
                    let call = code[at..].split(';').next().and_then(|call| call.split("\n}").next());
                    let call = call.unwrap_or_default();
                    assert!(!call.contains(".display()"), "{}: {call}", path.display());
                }
            }
        }
        assert!(seen > 80, "{seen}");
    }

    #[test]
    fn every_option_that_help_names_exists() {
        let all = commands();
        let known: BTreeSet<String> = all
            .iter()
            .flat_map(|command| {
                command.get_arguments().filter_map(|arg| arg.get_long()).map(|long| format!("--{long}"))
            })
            .chain(["--help", "--version"].map(str::to_owned))
            .collect();
        let mut seen = 0;
        for mut command in all {
            let help = command.render_long_help().to_string();
            for option in options(&help) {
                seen += 1;
                assert!(known.contains(option), "{}: {option}", command.get_name());
            }
        }
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn every_command_line_of_the_documents_is_parsed() {
        let mut seen = 0;
        for (file, text) in documents() {
            for line in text.lines() {
                let Some(words) = line
                    .strip_prefix("harness ")
                    .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
                else {
                    continue;
                };
                let words = words.split('#').next().unwrap_or_default().split_whitespace();
                let args: Vec<OsString> =
                    std::iter::once("harness").chain(words).map(OsString::from).collect();
                if let Err(error) = Cli::try_parse_from(&args) {
                    panic!("{file}: {line}: {error}");
                }
                seen += 1;
            }
            // Lines in running text have placeholders: their options must exist at least.
            let known = Cli::command();
            for snippet in
                text.split('`').skip(1).step_by(2).filter(|snippet| snippet.starts_with("harness "))
            {
                let mut command = &known;
                for word in snippet.split_whitespace().skip(1) {
                    command = command.find_subcommand(word).unwrap_or(command);
                }
                for option in options(snippet) {
                    let of = |command: &clap::Command| {
                        command.get_arguments().any(|arg| arg.get_long() == Some(&option[2..]))
                    };
                    assert!(of(command) || of(&known), "{file}: {snippet}: {option}");
                }
            }
        }
        assert!(seen >= 10, "{seen}");
    }

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
