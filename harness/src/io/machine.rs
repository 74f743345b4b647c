//! The CPU and the commit, for manifests; the threads of a data set's generation.

use rayon::ThreadPoolBuilder;
use std::sync::Once;

/// The commit that the program was built from; none if it was not built in its repository.
pub fn commit() -> Option<String> {
    option_env!("HARNESS_COMMIT").filter(|commit| !commit.is_empty()).map(str::to_owned)
}

/// Starts the threads of rayon; the current thread alone where the system allows no more. Without this call, rayon
/// panics there.
pub fn start_rayon() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        // Tried with threads of their own: rayon remembers a failure of the global ones.
        if ThreadPoolBuilder::new().build().is_err() {
            // An error means that the global ones have been started elsewhere.
            let _ = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global();
        }
    });
}

/// The CPU's name, if the system reports it.
pub fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("model name"));
    line.and_then(|line| line.split_once(':'))
        .map_or("unknown".to_owned(), |(_, name)| name.trim().to_owned())
}
