//! What depends on the CPU in a matrix product: how far ahead packed rows are prefetched, how wide a tile is, how many
//! terms are summed at a time, and when a plain matrix is packed. No choice changes a bit of the result.
//!
//! A table by microarchitecture gives the values; the vendor and the caches of the CPU select the row.
//! [`Tuning::parse`] overrides single values (the program reads them from `KERNELS_TUNE`), and the benches binary
//! `tune` measures candidates and prints the row to add.

use crate::error::TuningError;
use std::fmt::{Display, Formatter};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The choices of one row.
///
/// ```
/// use kernels::Tuning;
/// let tuning = Tuning::chosen().parse("prefetch=16,k-block=256")?;
/// assert_eq!((tuning.prefetch, tuning.k_block), (16, 256));
/// assert!(tuning.parse("prefetch=many").is_err());
/// # Ok::<(), kernels::TuningError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Rows of packed weights between the row that is multiplied and the row that is prefetched; 0: none.
    pub prefetch: usize,
    /// Most strips of 16 columns in a tile; the instruction set may have only narrower ones.
    pub strips: usize,
    /// Terms that are summed over all tiles of a block of rows before the next terms; 0: all.
    pub k_block: usize,
    /// The strips of a plain matrix are packed before they are read if at least this many tiles of rows multiply them,
    /// twice as many if its rows are not a multiple of 64 floats apart,
    pub pack_tiles: usize,
    /// and if its rows are at least this many floats apart.
    pub pack_step: usize,
    /// The rows of a transposed matrix are packed if a sum has at least this many terms, whose cache lines would not stay in
    /// the first cache from tile to tile; 0: never.
    pub pack_terms: usize,
    /// Floats that the tiles of a convolution read from the first cache: longer sums are cut between lines or images, and
    /// all tiles of a block of rows sum one part before the next; 0: sums are not cut.
    pub l1: usize,
}

/// Keys of [`Tuning::parse`], in the order of [`Tuning::values`].
const KEYS: [&str; 7] = ["prefetch", "strips", "k-block", "pack-tiles", "pack-step", "pack-terms", "l1"];

/// The largest value of each key.
const MOST: [usize; 7] = [1024, 4, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20];

/// A CPU, as far as it selects a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// `GenuineIntel`, `AuthenticAMD` or another vendor
    pub intel: bool,
    /// Bytes of a core's first and second data cache; 0 if unknown
    pub caches: [usize; 2],
}

/// A row of the table: the first whose conditions hold is chosen.
struct Row {
    name: &'static str,
    intel: Option<bool>,
    /// At least so many bytes of L2.
    l2: usize,
    tuning: Tuning,
}

const DEFAULT: Tuning =
    Tuning { prefetch: 0, strips: 4, k_block: 0, pack_tiles: 8, pack_step: 256, pack_terms: 0, l1: 3072 };

/// The first row was measured on Emerald Rapids (48 KB L1d, 2 MB L2; benches/record), the second on Zen 3. The last is
/// what every CPU had before there was a table.
const ROWS: [Row; 3] = [
    Row {
        name: "Intel with 1 MB of L2 or more",
        intel: Some(true),
        l2: 1 << 20,
        tuning: Tuning { prefetch: 16, ..DEFAULT },
    },
    Row {
        name: "AMD",
        intel: Some(false),
        l2: 0,
        tuning: Tuning { prefetch: 32, pack_step: 64, pack_terms: 128, ..DEFAULT },
    },
    Row { name: "other", intel: None, l2: 0, tuning: DEFAULT },
];

impl Cpu {
    /// The CPU of this process.
    pub fn detect() -> Cpu {
        #[cfg(target_arch = "x86_64")]
        {
            let id = raw_cpuid::CpuId::new();
            let vendor = id.get_vendor_info();
            let mut caches = [0; 2];
            for cache in id.get_cache_parameters().into_iter().flatten() {
                let level = usize::from(cache.level());
                let holds_data = cache.cache_type() != raw_cpuid::CacheType::Instruction;
                if holds_data && (1..=2).contains(&level) {
                    let bytes = cache.associativity() * cache.coherency_line_size() * cache.sets();
                    caches[level - 1] = bytes * cache.physical_line_partitions();
                }
            }
            Cpu { intel: vendor.is_some_and(|vendor| vendor.as_str() == "GenuineIntel"), caches }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Cpu { intel: false, caches: [0; 2] }
    }

    /// The name and the values of its row.
    pub fn row(&self) -> (&'static str, Tuning) {
        let fits = |row: &&Row| row.intel.is_none_or(|intel| intel == self.intel) && self.caches[1] >= row.l2;
        // The last row has no conditions.
        let row = ROWS.iter().find(fits).unwrap_or(&ROWS[ROWS.len() - 1]);
        (row.name, row.tuning)
    }
}

/// The chosen values; the first is [`UNSET`] until a product or [`Tuning::chosen`] asks for them.
static CHOSEN: [AtomicUsize; 7] = [const { AtomicUsize::new(UNSET) }; 7];
const UNSET: usize = usize::MAX;

impl Tuning {
    /// The values that products use: those of this CPU's row unless [`Tuning::choose`] has set others.
    pub fn chosen() -> Tuning {
        // The values were stored before the first one. A mixture of two choices would be a choice as well.
        let first = CHOSEN[0].load(std::sync::atomic::Ordering::Acquire);
        if first == UNSET {
            let tuning = Cpu::detect().row().1;
            tuning.choose();
            return tuning;
        }
        let [_, strips, k_block, pack_tiles, pack_step, pack_terms, l1] =
            CHOSEN.each_ref().map(|value| value.load(Relaxed));
        Tuning { prefetch: first, strips, k_block, pack_tiles, pack_step, pack_terms, l1 }
    }

    /// Makes all products of this process use these values.
    pub fn choose(self) {
        for (chosen, value) in CHOSEN.iter().zip(self.values()).skip(1) {
            chosen.store(value, Relaxed);
        }
        CHOSEN[0].store(self.prefetch, std::sync::atomic::Ordering::Release);
    }

    /// The rows of the table by name.
    pub fn rows() -> impl DoubleEndedIterator<Item = (&'static str, Tuning)> {
        ROWS.iter().map(|row| (row.name, row.tuning))
    }

    fn values(self) -> [usize; 7] {
        [self.prefetch, self.strips, self.k_block, self.pack_tiles, self.pack_step, self.pack_terms, self.l1]
    }

    /// These values with some of them replaced: `key=value,…` with the keys `prefetch`, `strips`, `k-block`,
    /// `pack-tiles`, `pack-step`, `pack-terms` and `l1`.
    ///
    /// # Errors
    /// [`TuningError`] if a key is unknown, or a value is not a number within its bounds.
    pub fn parse(self, text: &str) -> Result<Tuning, TuningError> {
        let mut values = self.values();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let wrong = || TuningError { entry: entry.to_owned(), keys: KEYS.join(", ") };
            let (key, value) = entry.split_once('=').ok_or_else(wrong)?;
            let i = KEYS.iter().position(|known| *known == key.trim()).ok_or_else(wrong)?;
            let value: usize = value.trim().parse().map_err(|_| wrong())?;
            let least = if KEYS[i] == "strips" { 1 } else { 0 };
            if !(least..=MOST[i]).contains(&value) {
                return Err(wrong());
            }
            values[i] = value;
        }
        let [prefetch, strips, k_block, pack_tiles, pack_step, pack_terms, l1] = values;
        Ok(Tuning { prefetch, strips, k_block, pack_tiles, pack_step, pack_terms, l1 })
    }
}

impl Display for Tuning {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let entries: Vec<String> =
            KEYS.iter().zip(self.values()).map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&entries.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_has_a_row_and_intel_with_a_small_second_cache_does_not_prefetch() {
        for (intel, l2, row) in
            [(true, 2 << 20, 0), (true, 256 << 10, 2), (false, 512 << 10, 1), (false, 0, 1)]
        {
            let found = Cpu { intel, caches: [32 << 10, l2] }.row();
            assert_eq!(found.0, ROWS[row].name, "intel {intel}, {l2} bytes");
            assert_eq!(found.1.prefetch > 0, row < 2);
        }
    }

    #[test]
    fn what_is_shown_can_be_parsed_and_what_is_wrong_is_named() {
        for (_, tuning) in Tuning::rows() {
            let other = Tuning {
                prefetch: 7,
                strips: 1,
                k_block: 3,
                pack_tiles: 2,
                pack_step: 5,
                pack_terms: 8,
                l1: 9,
            };
            assert_eq!(other.parse(&tuning.to_string()), Ok(tuning));
            assert_eq!(tuning.parse(""), Ok(tuning));
        }
        for bad in
            ["prefetch", "k-block=-1", "fast=1", "strips=0", "strips=5", "prefetch=1025", "pack-step=1e3"]
        {
            let error = DEFAULT.parse(&format!("prefetch=1,{bad}")).expect_err(bad).to_string();
            assert!(error.contains(&format!("`{bad}`")) && error.contains("pack-tiles"), "{error}");
        }
    }
}
