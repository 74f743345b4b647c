//! `harness data`: generates, downloads, finds and verifies data sets.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use crate::context::GlobalOptions;
use crate::dataset::checksum::{self, State};
use crate::dataset::fetch::Download;
use crate::dataset::files::{FILES, KINDS, MASK_FILES, canonical_name};
use crate::dataset::locate::{Located, SearchPath};
use crate::dataset::{Dataset, gz, maj, synth};
use crate::io::bounds::{GENERATED_SAMPLES, bounded};
use crate::io::ending::folder;
use crate::io::idx::Header;
use crate::io::output::{note, outln, status, write_pretty_json_result};
use crate::io::show::{escape, json_path, serialize_path, shown};
use crate::signal::stop_on_signals;

/// Arguments of `harness data`.
#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Generate the synthetic handwritten digits: no download, the same seed gives the same bytes
    Synth {
        /// Seed
        #[arg(long, default_value_t = synth::DEFAULT_SEED)]
        seed: u64,
        /// Number of training samples
        #[arg(long, default_value_t = synth::DEFAULT_TRAIN)]
        train: usize,
        /// Number of test samples
        #[arg(long, default_value_t = synth::DEFAULT_TEST)]
        test: usize,
        /// Folder to write the four IDX files into [default: `synth` in the cache folder, where `--dataset synth` finds it]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Replace existing files
        #[arg(long)]
        overwrite: bool,
    },
    /// Generate the majority problem: two images of one class and one of another, side by side; same seed, same bytes
    Maj {
        /// mnist, fashion-mnist, kmnist, synth, the name of another set, or the folder that holds its four files
        #[arg(long, value_name = "SET")]
        from: String,
        /// Seed
        #[arg(long, default_value_t = maj::DEFAULT_SEED)]
        seed: u64,
        /// Folder to write into: four IDX files and two of masks [default: `SET-maj` in the cache folder, where
        /// `--dataset SET-maj` finds it]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Replace files that are there
        #[arg(long)]
        overwrite: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Download a published data set from its mirrors, verified by checksum
    Fetch {
        /// mnist, fashion-mnist or kmnist
        name: String,
        /// URL of a folder with the four files as .gz, instead of the known mirrors
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
        /// Folder to download to, as DIR/NAME [default: the cache folder]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Compare the files of a data set with the published checksums
    Verify {
        /// mnist, fashion-mnist, kmnist, synth, one of these with -maj, or the name of a folder
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Print the folder of a data set
    Path {
        /// mnist, fashion-mnist, kmnist, synth, one of these with -maj, or the name of a folder
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// List all data sets with folder and size
    List {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Folder to search first; then RELEVANCE_DATA_DIR, ./data and the cache folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn places(&self) -> anyhow::Result<SearchPath> {
        SearchPath::new(self.data_dir.as_deref())
    }
}

/// Runs `harness data`: results on stdout.
///
/// # Errors
/// If a data set is not found, differs from the published one, or cannot be written.
pub fn run(args: &DataArgs, options: &GlobalOptions) -> anyhow::Result<()> {
    let json = options.json;
    match &args.action {
        Action::Synth { seed, train, test, out, overwrite } => {
            out.as_deref().map_or(Ok(()), |out| folder("--out", out))?;
            let dir = match out {
                Some(dir) => dir.clone(),
                None => SearchPath::new(None)?.cache()?.join("synth"),
            };
            generate(&dir, *seed, [*train, *test], *overwrite, json)
        }
        Action::Maj { from, seed, out, overwrite, place } => {
            out.as_deref().map_or(Ok(()), |out| folder("--out", out))?;
            let base = match is_folder(from) {
                true => Dataset::open_folder(Path::new(from))?,
                false => Dataset::open(from, place.data_dir.as_deref())?,
            };
            let dir = match out {
                Some(dir) => dir.clone(),
                None => SearchPath::new(None)?.cache()?.join(format!("{}{}", base.name, maj::SUFFIX)),
            };
            draw_majority(&base, &dir, *seed, *overwrite, json)
        }
        Action::Fetch { name, mirror, data_dir } => {
            stop_on_signals()?;
            data_dir.as_deref().map_or(Ok(()), |dir| folder("--data-dir", dir))?;
            let name = canonical_name(name)?;
            let root = match data_dir {
                Some(dir) => dir.clone(),
                None => SearchPath::new(None)?.cache()?.to_owned(),
            };
            let download = Download::new(&name, &root.join(&name), mirror.as_deref())?;
            let files = download.fetch(&options.progress())?;
            if json {
                return print_json(
                    &json!({ "name": name, "folder": json_path(&download.folder), "files": json_paths(&files) }),
                );
            }
            outln!("{}", shown(&download.folder))
        }
        Action::Verify { name, place } => verify(&canonical_name(name)?, &place.places()?, json),
        Action::Path { name, place } => path(&canonical_name(name)?, &place.places()?, json),
        Action::List { place } => list(&place.places()?, json),
    }
}

fn json_paths(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| json_path(path)).collect()
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    write_pretty_json_result(value)
}

/// Whether a set is given by its folder, not by its name.
fn is_folder(set: &str) -> bool {
    set.contains(['/', '\\']) || set == "." || set == ".."
}

/// Refuses to replace a file unless `overwrite` is set.
fn check_free<'a>(
    dir: &Path,
    files: impl IntoIterator<Item = &'a &'static str>,
    overwrite: bool,
) -> anyhow::Result<()> {
    if let Some(there) = files.into_iter().map(|file| dir.join(file)).find(|path| path.exists() && !overwrite)
    {
        bail!(
            "{}: already exists; give --overwrite to replace it or --out for another folder",
            there.display()
        );
    }
    Ok(())
}

fn draw_majority(base: &Dataset, dir: &Path, seed: u64, overwrite: bool, json: bool) -> anyhow::Result<()> {
    check_free(dir, FILES.iter().chain(&MASK_FILES), overwrite)?;
    let (train, test) = (base.train.len(), base.test.len());
    note!("generating the majority problem of {}: {train} + {test} samples with seed {seed}", base.name);
    let halves = maj::majority(&[base.train.clone(), base.test.clone()], seed)
        .with_context(|| format!("cannot generate the majority problem of {}", base.name))?;
    maj::write(dir, &halves)?;
    base.unchanged()?;
    if json {
        return print_json(
            &json!({ "folder": json_path(dir), "from": base.name, "seed": seed, "train": train, "test": test }),
        );
    }
    outln!("{}", shown(dir))
}

fn generate(
    dir: &Path,
    seed: u64,
    [train, test]: [usize; 2],
    overwrite: bool,
    json: bool,
) -> anyhow::Result<()> {
    bounded("--train", train, GENERATED_SAMPLES)?;
    bounded("--test", test, GENERATED_SAMPLES)?;
    check_free(dir, &FILES, overwrite)?;
    note!("generating {train} + {test} digits with seed {seed}");
    synth::write(dir, seed, train, test)?;
    if json {
        return print_json(&json!({ "folder": json_path(dir), "seed": seed, "train": train, "test": test }));
    }
    outln!("{}", shown(dir))
}

fn verify(name: &str, places: &SearchPath, json: bool) -> anyhow::Result<()> {
    let (folder, files) = places.find_some(name).ok_or_else(|| places.not_found(name))?;
    let reports = checksum::verify(name, &files);
    if json {
        print_json(&json!({ "name": name, "folder": json_path(&folder), "files": reports }))?;
    } else {
        for report in &reports {
            let path = report.path.clone().unwrap_or_else(|| folder.join(report.file));
            outln!("{:8} {}  ({})", report.state.name(), shown(&path), escape(&report.note))?;
        }
    }
    let bad = reports.iter().filter(|report| matches!(report.state, State::Differs | State::Missing)).count();
    if bad > 0 {
        bail!("{name}: {bad} of 4 files in {} differ or are missing; fetch them again", folder.display());
    }
    Ok(())
}

fn path(name: &str, places: &SearchPath, json: bool) -> anyhow::Result<()> {
    let set = places.find(name).ok_or_else(|| places.not_found(name))?;
    if json {
        return print_json(
            &json!({ "name": set.name, "folder": json_path(&set.folder), "files": json_paths(&set.files) }),
        );
    }
    outln!("{}", shown(&set.folder))
}

/// One line of `harness data list`.
#[derive(Serialize)]
struct Listed {
    name: String,
    #[serde(serialize_with = "serialize_path")]
    folder: PathBuf,
    #[serde(flatten)]
    sizes: Option<Sizes>,
    packed: bool,
    /// Whether opening the name opens this set.
    opens: bool,
    problem: Option<String>,
}

#[derive(Serialize)]
struct Sizes {
    train: usize,
    test: usize,
    rows: usize,
    cols: usize,
}

impl Listed {
    fn new(set: Located, places: &SearchPath) -> Self {
        let header = |i: usize| {
            let source =
                gz::reader(&set.files[i]).with_context(|| format!("{}: cannot open", set.files[i].display()));
            Header::read(source?, KINDS[i], &set.files[i])
        };
        let sizes = header(0).and_then(|train| Ok((train, header(2)?)));
        let sizes = sizes.map(|(train, test)| Sizes {
            train: train.count,
            test: test.count,
            rows: train.rows,
            cols: train.cols,
        });
        let (sizes, problem) = match sizes {
            Ok(sizes) => (Some(sizes), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let opens = places.find(&set.name).is_some_and(|first| first.folder == set.folder);
        let packed = set.files.iter().any(|file| gz::is_gz(file));
        Self { name: set.name, folder: set.folder, sizes, packed, opens, problem }
    }
}

fn list(places: &SearchPath, json: bool) -> anyhow::Result<()> {
    let found: Vec<Listed> = places.list().into_iter().map(|set| Listed::new(set, places)).collect();
    if json {
        return print_json(&json!({ "searched": json_paths(places.roots()), "found": found }));
    }
    if found.is_empty() {
        let roots: Vec<_> = places.roots().iter().map(|root| root.display().to_string()).collect();
        status!("no data set in {}; generate one without a download: harness data synth", roots.join(", "));
    }
    let width = found.iter().map(|set| escape(&set.name).chars().count()).max().unwrap_or(0);
    for set in &found {
        let sizes = match (&set.sizes, &set.problem) {
            (Some(s), _) => format!("{} + {} of {}x{}", s.train, s.test, s.rows, s.cols),
            (None, problem) => problem.clone().unwrap_or_default(),
        };
        let packed = if set.packed { ", compressed" } else { "" };
        let hidden = if set.opens { "" } else { ", hidden by an earlier one" };
        outln!("{:width$}  {}  {}{packed}{hidden}", escape(&set.name), shown(&set.folder), escape(&sizes))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_set_is_overwritten_only_with_the_option() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("mine");
        generate(&out, 1, [3, 2], false, false).unwrap();
        let before = std::fs::read(out.join(FILES[0])).unwrap();
        let message = generate(&out, 2, [3, 2], false, false).unwrap_err().to_string();
        assert!(message.contains("--overwrite"), "{message}");
        assert_eq!(std::fs::read(out.join(FILES[0])).unwrap(), before);
        generate(&out, 2, [3, 2], true, false).unwrap();
        assert_ne!(std::fs::read(out.join(FILES[0])).unwrap(), before);
    }

    #[test]
    fn a_generated_set_is_listed_and_differs_from_the_default() {
        let dir = tempfile::tempdir().unwrap();
        generate(&dir.path().join("synth"), 7, [3, 2], false, true).unwrap();
        let places = SearchPath::new(Some(dir.path())).unwrap();
        let set = places.list().into_iter().find(|set| set.folder == dir.path().join("synth")).unwrap();
        let listed = Listed::new(set, &places);
        let sizes = listed.sizes.unwrap();
        assert_eq!((sizes.train, sizes.test, sizes.rows, sizes.cols), (3, 2, 28, 28));
        assert!(listed.opens && !listed.packed && listed.problem.is_none());
        let message = verify("synth", &places, false).unwrap_err().to_string();
        assert!(message.contains("4 of 4 files"), "{message}");
    }
}
