//! What external GEMM backends make of packed weights, once per version of the weights.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The form in which one backend keeps packed weights: any type of its own.
///
/// ```
/// use kernels::Prepacked;
/// let mut form = Prepacked::default();
/// form.get_or_default::<Vec<u8>>().push(7);
/// assert_eq!(form.get::<Vec<u8>>(), Some(&vec![7]));
/// assert_eq!(form.get::<String>(), None);
/// ```
#[derive(Default)]
pub struct Prepacked(Option<Box<dyn Any + Send + Sync>>);

impl Prepacked {
    /// The form, if it is of this type.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.as_deref().and_then(|form| form.downcast_ref())
    }

    /// The form of the version before, to be overwritten without a new allocation; a default value if there is none.
    ///
    /// # Panics
    /// Never: a form of another type is replaced.
    pub fn get_or_default<T: Any + Send + Sync + Default>(&mut self) -> &mut T {
        if self.get::<T>().is_none() {
            self.0 = Some(Box::new(T::default()));
        }
        self.0.as_deref_mut().and_then(|form| form.downcast_mut()).expect("it has this type now")
    }
}

impl fmt::Debug for Prepacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Prepacked" } else { "Prepacked(none)" })
    }
}

/// The forms of one version of packed weights. It belongs to the owner of the weights, who calls
/// [`PrepackCache::renew`] whenever they change; [`Panels::cached`](crate::Panels::cached) passes it to products.
///
/// Forms are made when a backend first multiplies by the weights. Kernel sets of this crate make none.
#[derive(Default)]
pub struct PrepackCache(Mutex<Vec<Entry>>);

struct Entry {
    /// The number of the kernel set's backend.
    backend: u64,
    /// Rows of the weights.
    rows: Range<usize>,
    /// Whether the form is of the present version.
    current: bool,
    form: Arc<Prepacked>,
}

impl PrepackCache {
    /// The weights have changed: forms are made anew when they are next needed. Those that the last version did not
    /// need are dropped.
    pub fn renew(&mut self) {
        let entries = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.current);
        entries.iter_mut().for_each(|entry| entry.current = false);
    }

    /// The form of these rows for a backend; `make` is called if there is none of the present version.
    pub(crate) fn form(
        &self,
        backend: u64,
        rows: Range<usize>,
        make: impl FnOnce(&mut Prepacked),
    ) -> Arc<Prepacked> {
        // A form is marked as current only after it has been made, so a panic of a backend leaves none behind.
        let mut entries: MutexGuard<Vec<Entry>> = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries.iter().position(|entry| entry.backend == backend && entry.rows == rows);
        let at = found.unwrap_or_else(|| {
            entries.push(Entry { backend, rows, current: false, form: Arc::default() });
            entries.len() - 1
        });
        let entry = &mut entries[at];
        if !entry.current {
            if Arc::get_mut(&mut entry.form).is_none() {
                entry.form = Arc::default();
            }
            make(Arc::get_mut(&mut entry.form).expect("no product uses a form of an older version"));
            entry.current = true;
        }
        Arc::clone(&entry.form)
    }
}

/// A copy of the weights makes its own forms.
impl Clone for PrepackCache {
    fn clone(&self) -> Self {
        PrepackCache::default()
    }
}

impl fmt::Debug for PrepackCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrepackCache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_form_is_made_once_per_version_backend_and_rows() {
        let mut cache = PrepackCache::default();
        let mut made = 0;
        let mut form = |cache: &PrepackCache, backend, rows| {
            cache.form(backend, rows, |form| {
                made += 1;
                form.get_or_default::<Vec<usize>>().push(made);
            })
        };
        for _ in 0..2 {
            assert_eq!(form(&cache, 1, 0..4).get::<Vec<usize>>(), Some(&vec![1]));
            assert_eq!(form(&cache, 1, 4..6).get::<Vec<usize>>(), Some(&vec![2]));
            assert_eq!(form(&cache, 2, 0..4).get::<Vec<usize>>(), Some(&vec![3]));
        }
        cache.renew();
        assert_eq!(form(&cache, 1, 0..4).get::<Vec<usize>>(), Some(&vec![1, 4]), "the memory is used again");
        cache.renew();
        assert_eq!(
            form(&cache, 2, 0..4).get::<Vec<usize>>(),
            Some(&vec![5]),
            "not needed by the last version"
        );
    }

    #[test]
    fn a_backend_that_panics_leaves_no_form() {
        let cache = PrepackCache::default();
        assert!(catch_unwind(AssertUnwindSafe(|| cache.form(1, 0..1, |_| panic!("no form")))).is_err());
        let form = cache.form(1, 0..1, |form| *form.get_or_default::<u8>() = 7);
        assert_eq!(form.get::<u8>(), Some(&7));
    }
}
