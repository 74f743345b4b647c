//! Downloads published data sets; only `harness data fetch` does, in a program with the cargo feature `fetch`.

#[cfg(feature = "fetch")]
mod transfer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use super::published::{MIRRORS, Published, published};
use crate::error::UsageError;

/// A download: data set, mirrors, target folder.
#[derive(Clone, Debug)]
pub struct Download {
    /// Canonical name of the set.
    pub name: String,
    /// Folder for its files.
    pub folder: PathBuf,
    /// Server folders, tried in turn.
    pub mirrors: Vec<String>,
    /// The expected files, in the order of [`FILES`](super::files::FILES).
    pub files: [Published; 4],
    /// Timeout of a connection and of each read.
    pub timeout: Duration,
    /// Whether the proxy of the environment is used.
    pub proxy: bool,
}

impl Download {
    /// A published set into `folder`, only from `mirror` if one is given.
    ///
    /// # Errors
    /// [`UsageError`] if no published data set has that name, or the mirror is not a URL.
    pub fn new(name: &str, folder: &Path, mirror: Option<&str>) -> Result<Download> {
        let known = MIRRORS.iter().find(|(known, _)| *known == name);
        let (Some((_, mirrors)), Some(&files)) = (known, published(name)) else {
            let names: Vec<_> = MIRRORS.iter().map(|(name, _)| *name).collect();
            bail!(UsageError(format!(
                "{name} is not a published data set; it must be {}, or generate one: harness data synth",
                names.join(", ")
            )));
        };
        let mirrors = match mirror {
            Some(url) if !(url.starts_with("http://") || url.starts_with("https://")) => {
                bail!(UsageError(format!("--mirror {url}: it must begin with http:// or https://")))
            }
            Some(url) => vec![url.to_owned()],
            None => mirrors.iter().map(|&url| url.to_owned()).collect(),
        };
        let (name, folder) = (name.to_owned(), folder.to_owned());
        Ok(Download { name, folder, mirrors, files, timeout: Duration::from_secs(30), proxy: true })
    }

    /// What a program without the feature `fetch` answers.
    ///
    /// # Errors
    /// [`UsageError`]: the command that builds one that can, the files to copy and where to.
    #[cfg(not(feature = "fetch"))]
    pub fn fetch(&self, _: &crate::io::progress::Progress) -> Result<[PathBuf; 4]> {
        bail!(UsageError(format!(
            "this program was built without downloads; use cargo run --release --features fetch -- data fetch {}, or copy {} from {} into {}",
            self.name,
            super::files::FILES.map(|file| format!("{file}.gz")).join(", "),
            self.mirrors[0],
            self.folder.display(),
        )))
    }
}
