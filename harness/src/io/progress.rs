//! Progress on stderr: bars on a terminal that can draw them, plain lines elsewhere, nothing with `--quiet`.

use crate::io::output::status;
use crate::io::show::escape;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// Where progress is shown.
#[derive(Clone, Debug)]
pub struct Progress {
    bars: Option<MultiProgress>,
    lines: bool,
    run: Option<String>,
    /// Whether pictures of characters are shown beside the bars.
    watched: bool,
}

/// The progress of one job.
#[derive(Debug)]
pub struct Job {
    bar: Option<ProgressBar>,
    name: String,
    lines: bool,
}

impl Progress {
    /// Bars or lines, or neither if `quiet`.
    pub fn new(quiet: bool) -> Progress {
        if quiet {
            return Progress { bars: None, lines: false, run: None, watched: false };
        }
        // A terminal may be unable to move its cursor, as with `TERM=dumb`; bars are not drawn there.
        let target = ProgressDrawTarget::stderr();
        let drawn = std::io::stderr().is_terminal() && !target.is_hidden();
        let bars = drawn.then(|| MultiProgress::with_draw_target(target));
        Progress { bars, lines: !drawn, run: None, watched: false }
    }

    /// The same display, with room for a picture beside each training if `watched`. Where there is no terminal, one line says
    /// so.
    #[must_use]
    pub fn watched(self, watched: bool) -> Progress {
        if watched && self.bars.is_none() {
            self.line("--watch: stderr is no terminal, so curves are not drawn; loss and accuracy are printed by epoch");
        }
        Progress { watched, ..self }
    }

    /// Room for a picture of characters below the bars that exist; none unless [`Progress::watched`] on a terminal.
    pub fn picture(&self) -> Option<Picture> {
        let bars = self.bars.as_ref().filter(|_| self.watched)?;
        let bar = bars.add(ProgressBar::new_spinner());
        let name = self.run.as_deref().map_or(String::new(), |name| format!("{}\n", escape(name)));
        bar.set_style(ProgressStyle::with_template("{msg}").ok()?);
        Some(Picture { bar, bars: bars.clone(), name })
    }

    /// The same display for runs in parallel: every job has the name of its run.
    #[must_use]
    pub fn of_run(&self, name: &str) -> Progress {
        Progress { run: Some(name.to_owned()), ..self.clone() }
    }

    /// A job of `total` equal parts.
    pub fn job(&self, name: &str, total: u64) -> Job {
        let name = &*escape(self.run.as_deref().unwrap_or(name));
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(total));
            if let Ok(style) =
                ProgressStyle::with_template("{prefix:>12} {bar:30} {percent:>3}% {eta:>5} {msg}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar
        });
        Job { bar, name: name.to_owned(), lines: self.lines }
    }

    /// A line that stays on the screen.
    pub fn line(&self, text: &str) {
        let text = &*escape(text);
        match &self.bars {
            // A failure to write to stderr is ignored.
            Some(bars) => drop(bars.println(text)),
            None if self.lines => status!("{text}"),
            None => {}
        }
    }
}

/// A picture of characters that is replaced as a training goes on.
#[derive(Debug)]
pub struct Picture {
    bar: ProgressBar,
    bars: MultiProgress,
    name: String,
}

impl Picture {
    /// Shows this picture instead of the one before. It holds no text from outside.
    pub fn show(&self, text: &str) {
        self.bar.set_message(format!("{}{text}", self.name));
        self.bar.tick();
    }

    /// Leaves the last picture on the screen, above the bars.
    pub fn finish(self) {
        let last = self.bar.message();
        self.bar.finish_and_clear();
        // A failure to write to stderr is ignored.
        let _ = self.bars.println(last);
    }
}

impl Job {
    /// Advances the job by `parts`.
    pub fn advance(&self, parts: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(parts);
        }
    }

    /// Shows a result of the job.
    pub fn message(&self, text: &str) {
        let text = &*escape(text);
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
        if self.lines {
            status!("{}: {text}", self.name);
        }
    }

    /// Ends the job and removes its bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
