//! The instruction sets of this CPU, and the one place that selects between them.

use super::{Kernel, Simd, portable::Portable, scalar::Scalar};
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};

/// A proof token of the chosen instruction set.
#[derive(Clone, Copy)]
enum Token {
    Scalar(Scalar),
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// An instruction set that this CPU has.
///
/// ```
/// use kernels::Backend;
/// let best = Backend::best();
/// assert!(Backend::available().contains(&best));
/// assert_eq!(Backend::by_name(best.name()), Some(best));
/// ```
#[derive(Clone, Copy)]
pub struct Backend(Token);

impl Backend {
    /// The names of all backends of this build, whether or not this CPU supports them.
    pub const NAMES: [&'static str; 4] = ["reference", "portable", "avx2", "avx512"];

    /// The backends this CPU has, slowest first.
    pub fn available() -> Vec<Backend> {
        Self::NAMES.iter().filter_map(|name| Self::by_name(name)).collect()
    }

    /// The fastest backend this CPU has.
    pub fn best() -> Backend {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(token) = Avx512::detect() {
                return Backend(Token::Avx512(token));
            }
            if let Some(token) = Avx2::detect() {
                return Backend(Token::Avx2(token));
            }
        }
        Backend(Token::Portable(Portable))
    }

    /// The backend with that name, if this CPU has it.
    pub fn by_name(name: &str) -> Option<Backend> {
        match name {
            "reference" => Some(Backend(Token::Scalar(Scalar))),
            "portable" => Some(Backend(Token::Portable(Portable))),
            #[cfg(target_arch = "x86_64")]
            "avx2" => Avx2::detect().map(|token| Backend(Token::Avx2(token))),
            #[cfg(target_arch = "x86_64")]
            "avx512" => Avx512::detect().map(|token| Backend(Token::Avx512(token))),
            _ => None,
        }
    }

    /// `reference`, `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Token::Scalar(_) => "reference",
            Token::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => "avx512",
        }
    }

    /// Whether its results have the bits that every backend but `portable` shares.
    pub fn promises_bits(self) -> bool {
        !matches!(self.0, Token::Portable(_)) || cfg!(target_feature = "fma")
    }

    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Token::Scalar(token) => token.enter(kernel),
            Token::Portable(token) => token.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(token) => token.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(token) => token.enter(kernel),
        }
    }
}

impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Backend {}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
