//! What the program says: results on stdout, remarks on stderr. Nothing else writes to either.
//!
//! A reader that has seen enough (`harness kernels | head -1`) ends nothing: what is still said goes nowhere, and the
//! command keeps its work and its exit status. Any other failure to write results, a full disk say, is an error.

use anyhow::{Context, Result};
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Results, without a line end.
macro_rules! out {
    ($($text:tt)*) => { $crate::io::output::results(format_args!($($text)*)) };
}

/// A line of results.
macro_rules! outln {
    ($($text:tt)*) => { $crate::io::output::results(format_args!("{}\n", format_args!($($text)*))) };
}

/// A remark that stays for itself: one line on stderr, or none where nobody listens.
macro_rules! status {
    ($($text:tt)*) => { $crate::io::output::say(format_args!($($text)*)) };
}

pub(crate) use {out, outln, status};

/// Whether this process is the program. A test that runs a command shares its streams with other tests: there `print!`
/// does, which is what a test's output is captured by.
static PROGRAM: AtomicBool = AtomicBool::new(false);

/// From now on results go to stdout itself.
pub(crate) fn of_program() {
    PROGRAM.store(true, Relaxed);
}

/// Writes to stdout, at once.
///
/// # Errors
/// As [`settle`].
#[expect(clippy::print_stdout, reason = "in tests only, see `PROGRAM`")]
pub(crate) fn results(text: fmt::Arguments) -> Result<()> {
    if !PROGRAM.load(Relaxed) {
        print!("{text}");
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    settle(stdout.write_fmt(text).and_then(|()| stdout.flush()))
}

/// Has clap print its help on stdout, or what is wrong with the arguments on stderr.
///
/// # Errors
/// As [`settle`].
pub(crate) fn help(usage: &clap::Error) -> Result<()> {
    settle(usage.print().and_then(|()| io::stdout().flush()))
}

/// What a write to stdout came to: a reader that has gone is no error.
///
/// # Errors
/// If stdout cannot be written for any other reason.
fn settle(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write results to stdout; files under --out are complete"),
    }
}

/// Writes a line to stderr; if that fails there is no better place to say so.
#[expect(clippy::print_stderr, reason = "in tests only, see `PROGRAM`")]
pub(crate) fn say(text: fmt::Arguments) {
    if !PROGRAM.load(Relaxed) {
        return eprintln!("{text}");
    }
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_has_gone_is_forgiven() {
        assert!(settle(Ok(())).is_ok());
        assert!(settle(Err(ErrorKind::BrokenPipe.into())).is_ok());
        let error = format!("{:#}", settle(Err(ErrorKind::StorageFull.into())).unwrap_err());
        assert!(error.starts_with("cannot write results to stdout") && error.contains("storage"), "{error}");
    }
}
