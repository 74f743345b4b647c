//! What Python does while this thread computes: it handles signals and shows progress.

use pyo3::prelude::*;
use std::time::{Duration, Instant};

/// How often Python is let in: Ctrl-C works within this time and that of one batch.
const INTERVAL: Duration = Duration::from_millis(50);

/// Lets Python in now and then; to be called between batches, without the GIL.
pub struct Watch {
    report: Option<Py<PyAny>>,
    last: Instant,
}

impl Watch {
    /// `report(done)` is called with the parts that are done.
    pub fn new(report: Option<Py<PyAny>>) -> Watch {
        Watch { report, last: Instant::now() }
    }

    /// Handles signals and reports progress, if the last time was long enough ago.
    ///
    /// # Errors
    /// What a signal handler raises, such as `KeyboardInterrupt`, or the report.
    pub fn tick(&mut self, done: usize) -> PyResult<()> {
        if self.last.elapsed() < INTERVAL {
            return Ok(());
        }
        let told = self.tell(done);
        self.last = Instant::now();
        told
    }

    /// Handles signals and reports progress.
    ///
    /// # Errors
    /// As [`Watch::tick`].
    pub fn tell(&self, done: usize) -> PyResult<()> {
        Python::attach(|py| {
            py.check_signals()?;
            self.report.as_ref().map_or(Ok(()), |report| report.call1(py, (done,)).map(drop))
        })
    }
}
