//! What the tests and the libFuzzer targets in `tests/fuzz` share; the tests themselves are in `main.rs` and `fuzz.rs`.

pub mod targets;
