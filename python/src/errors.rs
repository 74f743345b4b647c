//! Errors as exceptions, each with its one line.

use harness::io::show::format_error;
use harness::signal::Interrupted;
use pyo3::exceptions::{
    PyFileExistsError, PyFileNotFoundError, PyKeyboardInterrupt, PyOSError, PyPermissionError, PyValueError,
};
use pyo3::prelude::*;
use std::io;

/// An exception that Python has raised already as it is, `OSError` or a part of it for what the system refused,
/// `KeyboardInterrupt` for an interruption, `ValueError` for everything else.
pub fn exception(error: impl Into<anyhow::Error>) -> PyErr {
    let error = match error.into().downcast::<PyErr>() {
        Ok(raised) => return raised,
        Err(error) => error,
    };
    let line = as_keywords(&format_error(&error));
    if error.is::<Interrupted>() {
        return PyKeyboardInterrupt::new_err(line);
    }
    match error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind) {
        // What a file holds is no failure of the system.
        None
        | Some(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput) => {
            PyValueError::new_err(line)
        }
        Some(io::ErrorKind::NotFound) => PyFileNotFoundError::new_err(line),
        Some(io::ErrorKind::PermissionDenied) => PyPermissionError::new_err(line),
        Some(io::ErrorKind::AlreadyExists) => PyFileExistsError::new_err(line),
        Some(_) => PyOSError::new_err(line),
    }
}

/// The options that a line of the program names as the arguments that they are here: `--dropout-profile` is
/// `dropout_profile`.
pub fn as_keywords(line: &str) -> String {
    let keyword = |word: &str| match word.strip_prefix("--") {
        Some("data-dir") => "dir".to_owned(),
        Some(option) if option.starts_with(|first: char| first.is_ascii_lowercase()) => {
            option.replace('-', "_")
        }
        _ => word.to_owned(),
    };
    line.split(' ').map(keyword).collect::<Vec<_>>().join(" ")
}
