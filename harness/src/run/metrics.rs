//! `metrics.csv`: one line per epoch, readable during the run.
//!
//! It holds no times, so that the same run gives the same bytes; `run.json` has the seconds.

use crate::io::atomic::write_atomically;
use anyhow::{Context, Result};
use model::Evaluation;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The file and its lines.
pub struct Metrics {
    file: File,
    path: PathBuf,
    lines: String,
}

impl Metrics {
    /// Opens the file and writes the lines of earlier epochs.
    ///
    /// They come from the checkpoint, not from the file: a killed process may have left an incomplete line, or one of an
    /// epoch that will be run again.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn open(path: &Path, steps: usize, lines: String) -> Result<Metrics> {
        let at = || format!("{}: the metrics cannot be written", path.display());
        let mut text = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,test_loss,test_accuracy,test_dead"
            .to_owned();
        for t in 1..=steps {
            write!(text, ",gradient_norm_{t}")?;
        }
        text.push('\n');
        text.push_str(&lines);
        write_atomically(path, |file| Ok(file.write_all(text.as_bytes())?)).with_context(at)?;
        let file = File::options().append(true).open(path).with_context(at)?;
        Ok(Metrics { file, path: path.to_owned(), lines })
    }

    /// The lines of all epochs so far, without the header.
    pub fn lines(&self) -> &str {
        &self.lines
    }

    /// Adds an epoch: results on training, validation and test samples, and the gradient norm at each time step.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, epoch: u64, parts: [Evaluation; 3], norms: &[f64]) -> Result<()> {
        let mut line = epoch.to_string();
        for part in parts {
            write!(line, ",{:.6},{:.6}", part.mean_loss(), part.accuracy())?;
        }
        write!(line, ",{}", parts[2].dead)?;
        for norm in norms {
            write!(line, ",{norm:.6e}")?;
        }
        line.push('\n');
        self.lines.push_str(&line);
        let written = self.file.write_all(line.as_bytes());
        written.with_context(|| format!("{}: the metrics cannot be written", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_file_is_restored_from_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let read = || std::fs::read_to_string(&path).unwrap();
        let mut metrics = Metrics::open(&path, 2, String::new()).unwrap();
        let part = Evaluation { samples: 4, correct: 3, loss: 2.0, dead: 1 };
        metrics.add(1, [part; 3], &[1.0, 0.25]).unwrap();
        let lines = metrics.lines().to_owned();
        assert_eq!(
            lines,
            "1,0.500000,0.750000,0.500000,0.750000,0.500000,0.750000,1,1.000000e0,2.500000e-1\n"
        );
        let whole = read();
        assert!(whole.ends_with(&lines) && whole.lines().count() == 2, "{whole}");
        for incomplete in [&whole[..whole.len() - 9], &format!("{whole}{lines}2,0."), ""] {
            std::fs::write(&path, incomplete).unwrap();
            let again = Metrics::open(&path, 2, lines.clone()).unwrap();
            assert_eq!((read().as_str(), again.lines()), (whole.as_str(), lines.as_str()));
        }
    }
}
