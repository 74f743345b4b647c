//! The transfer of the files of a data set.
//!
//! A file is downloaded under a temporary name and renamed once its checksum is verified. A partial download is kept and
//! continued, from the same mirror or another.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail, ensure};
use ureq::Agent;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};

use super::{Download, Published};
use crate::dataset::checksum::{self, State};
use crate::dataset::files::FILES;
use crate::dataset::locate::file_in;
use crate::io::atomic::advice;
use crate::io::lock;
use crate::io::progress::{Job, Progress};
use crate::signal::check_stop;

/// Twice the largest published file.
const MAX_BYTES: u64 = 64 << 20;
/// Number of interrupted transfers after which a mirror is skipped.
const MAX_INTERRUPTIONS: usize = 4;

/// Why a transfer failed.
enum Failure {
    /// The mirror does not have the file.
    Unavailable(String),
    /// The transfer was interrupted; the partial file is kept.
    Interrupted(String),
    /// Another mirror would not help.
    Stop(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Stop(error)
    }
}

impl Download {
    fn agent(&self) -> Agent {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(self.timeout))
            .timeout_recv_response(Some(self.timeout))
            .timeout_per_read(Some(self.timeout));
        let config = if self.proxy { config } else { config.proxy(None) };
        config.build().into()
    }

    /// Downloads the missing files; returns the path of each, `.gz` as published or as it was before.
    ///
    /// # Errors
    /// If no mirror serves a file: one line with the answer of each and how to get the file by hand. If another process
    /// uses the folder, or an existing file is not the published one.
    pub fn fetch(&self, progress: &Progress) -> Result<[PathBuf; 4]> {
        let folder = self.folder.display();
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("{folder}: the folder cannot be created"))?;
        let _lock = lock::hold(&self.folder)?;
        let agent = self.agent();
        let mut paths: [PathBuf; 4] = Default::default();
        for (i, path) in paths.iter_mut().enumerate() {
            *path = self.file(&agent, i, progress)?;
        }
        Ok(paths)
    }

    fn file(&self, agent: &Agent, i: usize, progress: &Progress) -> Result<PathBuf> {
        let (file, known) = (format!("{}.gz", FILES[i]), &self.files[i]);
        let target = self.folder.join(&file);
        if let Some(there) = file_in(&self.folder, FILES[i]) {
            let (state, _, note) =
                checksum::verify_file(&self.name, &there, Some(known)).with_context(|| {
                    format!("{}: cannot be read; remove it to fetch it again", there.display())
                })?;
            ensure!(
                state != State::Differs,
                "{}: exists and is not the published file ({note}); remove it to fetch it again",
                there.display()
            );
            return Ok(there);
        }
        let part = self.folder.join(format!(".{}.part.gz", FILES[i]));
        let mut answers = Vec::new();
        for mirror in &self.mirrors {
            let url = format!("{}/{file}", mirror.trim_end_matches('/'));
            progress.line(&format!("fetching {url}"));
            match self.fill_from(agent, &url, &part, known, progress) {
                Ok(()) => {
                    let renamed = fs::rename(&part, &target);
                    renamed.with_context(|| format!("{}: cannot be written", target.display()))?;
                    return Ok(target);
                }
                Err(Failure::Stop(error)) => return Err(error),
                Err(Failure::Unavailable(why) | Failure::Interrupted(why)) => {
                    answers.push(format!("{url} {why}"))
                }
            }
        }
        let all: Vec<_> = FILES.iter().map(|file| format!("{file}.gz")).collect();
        bail!(
            "{file} cannot be fetched: {}; try again, or copy {} into {} and check with harness data verify {}",
            answers.join("; "),
            all.join(", "),
            self.folder.display(),
            self.name
        )
    }

    /// Downloads into `part` and verifies it.
    fn fill_from(
        &self,
        agent: &Agent,
        url: &str,
        part: &Path,
        known: &Published,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let mut interruptions = 0;
        loop {
            let before = fs::metadata(part).map_or(0, |meta| meta.len());
            match transfer(agent, url, part, before, progress) {
                Err(Failure::Interrupted(why)) => {
                    interruptions += 1;
                    if interruptions == MAX_INTERRUPTIONS {
                        return Err(Failure::Interrupted(why));
                    }
                    continue;
                }
                result => result?,
            }
            match wrong(&self.name, part, known) {
                None => return Ok(()),
                Some(why) => {
                    fs::remove_file(part)
                        .with_context(|| format!("{}: cannot be removed", part.display()))?;
                    // The partial file of an earlier download may be wrong.
                    if before == 0 {
                        return Err(Failure::Unavailable(why));
                    }
                }
            }
        }
    }
}

/// The defect of a complete file, if it has one.
fn wrong(name: &str, part: &Path, known: &Published) -> Option<String> {
    let mut start = Vec::new();
    let read = File::open(part).and_then(|file| file.take(16).read_to_end(&mut start));
    if read.is_ok() && !start.starts_with(&[0x1f, 0x8b]) {
        let text = String::from_utf8_lossy(&start);
        let kind = if text.trim_start().starts_with('<') { "a web page" } else { "another kind of file" };
        return Some(format!("serves {kind} ({:?}…), expected a gzip file", text.trim()));
    }
    match checksum::verify_file(name, part, Some(known)) {
        Ok((State::Ok, ..)) => None,
        Ok((_, found, note)) => Some(format!(
            "serves a file other than the published one (sha256 {}, {note})",
            found.unwrap_or_default()
        )),
        Err(error) => Some(format!("serves a damaged file ({error})")),
    }
}

/// Downloads what follows the first `offset` bytes, or the whole file if the server does not support ranges.
fn transfer(agent: &Agent, url: &str, part: &Path, offset: u64, progress: &Progress) -> Result<(), Failure> {
    let request = agent.get(url);
    let request = match offset {
        0 => request,
        _ => request.header(RANGE, format!("bytes={offset}-")),
    };
    let response = request.call().map_err(|error| match error {
        ureq::Error::Timeout(_) | ureq::Error::Io(_) => {
            Failure::Interrupted(format!("was interrupted ({error})"))
        }
        error => Failure::Unavailable(format!("cannot be reached ({error})")),
    })?;
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let status = response.status().as_u16();
    let start = match status {
        200 => 0,
        206 if header(CONTENT_RANGE).is_some_and(|range| range.starts_with(&format!("bytes {offset}-"))) => {
            offset
        }
        206 | 416 if offset > 0 => {
            // The partial file is not a prefix of the file on the server.
            fs::remove_file(part).with_context(|| format!("{}: cannot be removed", part.display()))?;
            return Err(Failure::Interrupted(format!("answers {status} for the bytes from {offset} on")));
        }
        _ => return Err(Failure::Unavailable(format!("answers {status}"))),
    };
    let length = header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BYTES) {
        return Err(Failure::Unavailable(format!(
            "announces {} bytes, expected at most {MAX_BYTES}",
            length.unwrap_or(0)
        )));
    }
    let writing = |error: std::io::Error| {
        let context = format!("{}: cannot be written{}", part.display(), advice(&error));
        Failure::Stop(Error::new(error).context(context))
    };
    let mut options = File::options();
    let file = if start > 0 { options.append(true) } else { options.create(true).write(true).truncate(true) };
    let mut file = file.open(part).map_err(writing)?;
    let job = progress.job(url.rsplit('/').next().unwrap_or(url), length.unwrap_or(0));
    let mut body = response.into_body().into_reader();
    let copied = copy(&mut body, start, &mut file, &writing, &job);
    job.finish();
    if matches!(copied, Err(Failure::Unavailable(_))) {
        fs::remove_file(part).with_context(|| format!("{}: cannot be removed", part.display()))?;
    }
    copied?;
    file.sync_all().map_err(writing)?;
    Ok(())
}

fn copy(
    body: &mut impl Read,
    start: u64,
    file: &mut File,
    writing: &impl Fn(std::io::Error) -> Failure,
    job: &Job,
) -> Result<(), Failure> {
    let (mut found, mut block) = (start, vec![0; 1 << 16]);
    loop {
        check_stop().map_err(Error::from)?;
        let n = body.read(&mut block).map_err(|error| {
            Failure::Interrupted(format!("was interrupted after {found} bytes ({error})"))
        })?;
        if n == 0 {
            return Ok(());
        }
        found += n as u64;
        if found > MAX_BYTES {
            return Err(Failure::Unavailable(format!("serves more than {MAX_BYTES} bytes")));
        }
        file.write_all(&block[..n]).map_err(writing)?;
        job.advance(n as u64);
    }
}
