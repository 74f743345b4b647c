//! Shared code of the targets. They need no corpus: their mutators start from a valid file.

pub use libfuzzer_sys;
use tests::targets::Reader;

/// A target that passes files to a reader.
#[macro_export]
macro_rules! reader {
    ($reader:expr) => {
        use $crate::libfuzzer_sys;
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            $reader.takes(bytes);
        });
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
            $crate::mutate(&$reader, data, size, most, seed)
        });
    };
}

/// Alternates between our mutations, which depend on the format, and those of libFuzzer.
pub fn mutate(reader: &Reader, data: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    if size >= 2 && seed & 1 == 1 {
        return libfuzzer_sys::fuzzer_mutate(data, size, most);
    }
    let file = reader.mutated(&data[..size], seed >> 1);
    let size = file.len().min(most);
    data[..size].copy_from_slice(&file[..size]);
    size
}
