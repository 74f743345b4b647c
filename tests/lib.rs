//! Shared code of the tests and the libFuzzer targets in `tests/fuzz`; the tests themselves are in `main.rs`
//! and `fuzz.rs`.

pub mod targets;
