//! Libraries in C, loaded when they are named: any with the CBLAS interface and 32-bit integers (OpenBLAS, BLIS, MKL), and
//! oneDNN.

use super::{Abilities, MatmulBackend, MatmulBlock, MatmulTask};
use crate::layout::Strided;
use libloading::Library;
use std::ffi::{c_char, c_int};

/// `cblas_sgemm`
type Sgemm = unsafe extern "C" fn(
    order: c_int,
    transpose_a: c_int,
    transpose_b: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: f32,
    a: *const f32,
    a_step: c_int,
    b: *const f32,
    b_step: c_int,
    beta: f32,
    c: *mut f32,
    c_step: c_int,
);

/// `dnnl_sgemm`, whose matrices are row-major.
type DnnlSgemm = unsafe extern "C" fn(
    transpose_a: c_char,
    transpose_b: c_char,
    m: i64,
    n: i64,
    k: i64,
    alpha: f32,
    a: *const f32,
    a_step: i64,
    b: *const f32,
    b_step: i64,
    beta: f32,
    c: *mut f32,
    c_step: i64,
) -> c_int;

/// `cblas_sgemm_pack_get_size`, `cblas_sgemm_pack` and `cblas_sgemm_compute` of MKL.
#[derive(Debug)]
struct Packing {
    size: unsafe extern "C" fn(which: c_int, m: c_int, n: c_int, k: c_int) -> usize,
    pack: unsafe extern "C" fn(
        order: c_int,
        which: c_int,
        transpose: c_int,
        m: c_int,
        n: c_int,
        k: c_int,
        alpha: f32,
        from: *const f32,
        from_step: c_int,
        to: *mut f32,
    ),
    compute: unsafe extern "C" fn(
        order: c_int,
        transpose_a: c_int,
        transpose_b: c_int,
        m: c_int,
        n: c_int,
        k: c_int,
        a: *const f32,
        a_step: c_int,
        b: *const f32,
        b_step: c_int,
        beta: f32,
        c: *mut f32,
        c_step: c_int,
    ),
}

const ROW_MAJOR: c_int = 101;
const AS_IT_IS: c_int = 111;
const TRANSPOSED: c_int = 112;
const PACKED: c_int = 151;
const MATRIX_B: c_int = 162;

#[derive(Clone, Copy, Debug)]
enum Entry {
    Cblas(Sgemm),
    Dnnl(DnnlSgemm),
}

/// Why a library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there, or cannot be loaded.
    #[error("cannot load {file}: {why}")]
    Load {
        /// The library's file name.
        file: String,
        /// The message of the dynamic linker.
        why: libloading::Error,
    },
    /// It has another interface.
    #[error("{0} has neither cblas_sgemm nor dnnl_sgemm")]
    Interface(String),
}

/// A library in C. It decides itself on how many threads it computes; its environment variables say on how many.
#[derive(Debug)]
pub struct Cblas {
    name: String,
    entry: Entry,
    packing: Option<Packing>,
    /// The functions above are valid as long as it is loaded.
    _library: Library,
}

impl Cblas {
    /// Loads a library: `name` is ours for it, `file` a path or what the dynamic linker finds.
    ///
    /// # Errors
    /// If it cannot be loaded, or has no matrix product that we know.
    pub fn open(name: &str, file: &str) -> Result<Self, OpenError> {
        // SAFETY: whoever names a library trusts its initialisers, as with every library that is linked.
        let library = unsafe { Library::new(file) };
        let library = library.map_err(|why| OpenError::Load { file: file.to_owned(), why })?;
        // SAFETY: these names have these signatures in every such library with 32-bit integers.
        let (entry, packing) = unsafe {
            let cblas = library.get::<Sgemm>(b"cblas_sgemm\0").map(|f| Entry::Cblas(*f));
            let dnnl = || library.get::<DnnlSgemm>(b"dnnl_sgemm\0").map(|f| Entry::Dnnl(*f));
            let packing = || -> Result<Packing, libloading::Error> {
                Ok(Packing {
                    size: *library.get(b"cblas_sgemm_pack_get_size\0")?,
                    pack: *library.get(b"cblas_sgemm_pack\0")?,
                    compute: *library.get(b"cblas_sgemm_compute\0")?,
                })
            };
            (cblas.or_else(|_| dnnl()), packing().ok())
        };
        let entry = entry.map_err(|_| OpenError::Interface(file.to_owned()))?;
        Ok(Cblas { name: name.to_owned(), entry, packing, _library: library })
    }

    /// The product of a block.
    ///
    /// # Panics
    /// If the operands differ in `M`, `N` or `K`.
    pub fn multiply(&self, block: MatmulBlock) {
        self.product(block, false);
    }

    fn product(&self, block: MatmulBlock, accumulate: bool) {
        let [m, n, k] = block.sizes();
        let MatmulBlock { a, b, c, c_stride } = block;
        let (a, b) = (Operand::of(a), Operand::of(b));
        let beta = if accumulate { 1.0 } else { 0.0 };
        // SAFETY: the operands hold every element of their matrices, the sizes were checked, and `c` is borrowed mutably,
        // so it overlaps neither.
        unsafe {
            match self.entry {
                Entry::Cblas(sgemm) => {
                    let transpose = |of: &Operand| if of.transposed { TRANSPOSED } else { AS_IT_IS };
                    let (m, n, k) = (int(m), int(n), int(k));
                    let (a_step, b_step, c_step) = (int(a.step), int(b.step), int(c_stride));
                    let (ta, tb, c) = (transpose(&a), transpose(&b), c.as_mut_ptr());
                    sgemm(ROW_MAJOR, ta, tb, m, n, k, 1.0, a.first, a_step, b.first, b_step, beta, c, c_step);
                }
                Entry::Dnnl(sgemm) => {
                    let transpose = |of: &Operand| if of.transposed { b'T' } else { b'N' } as c_char;
                    // Lengths of slices fit.
                    let (m, n, k) = (m as i64, n as i64, k as i64);
                    let (a_step, b_step, c_step) = (a.step as i64, b.step as i64, c_stride as i64);
                    let (ta, tb, c) = (transpose(&a), transpose(&b), c.as_mut_ptr());
                    let status =
                        sgemm(ta, tb, m, n, k, 1.0, a.first, a_step, b.first, b_step, beta, c, c_step);
                    assert_eq!(status, 0, "the status of dnnl_sgemm");
                }
            }
        }
    }

    /// `b` in the library's own form, for products with `m` rows; none if it has none.
    pub fn prepack(&self, b: Strided, m: usize) -> Option<PackedByLibrary<'_>> {
        let packing = self.packing.as_ref()?;
        let (k, n) = (b.rows(), b.cols());
        let b = Operand::of(b);
        let transpose = if b.transposed { TRANSPOSED } else { AS_IT_IS };
        let (m, n, k) = (int(m), int(n), int(k));
        // SAFETY: the operand holds every element of `b`, and there is room for what the library writes.
        unsafe {
            let len = (packing.size)(MATRIX_B, m, n, k).div_ceil(size_of::<f32>());
            let mut floats = vec![0.0f32; len + LINE];
            let skip = floats.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
            let to = floats.as_mut_ptr().add(skip);
            (packing.pack)(ROW_MAJOR, MATRIX_B, transpose, m, n, k, 1.0, b.first, int(b.step), to);
            Some(PackedByLibrary { floats, skip, sizes: [m, n, k], packing })
        }
    }
}

/// Floats of a cache line.
const LINE: usize = 16;

/// A right operand in the form of its library.
#[derive(Debug)]
pub struct PackedByLibrary<'a> {
    floats: Vec<f32>,
    /// Floats in front of the first cache line.
    skip: usize,
    sizes: [c_int; 3],
    packing: &'a Packing,
}

impl PackedByLibrary<'_> {
    /// `c = a·b`, row-major, without gaps.
    ///
    /// # Panics
    /// If `a` or `c` do not have the sizes that `b` was packed for.
    pub fn multiply(&self, a: Strided, c: &mut [f32]) {
        let [m, n, k] = self.sizes;
        let sizes = [a.rows(), a.cols(), c.len()].map(int);
        assert_eq!(sizes, [m, k, m * n], "M, K and the floats of c");
        let a = Operand::of(a);
        let transpose = if a.transposed { TRANSPOSED } else { AS_IT_IS };
        // SAFETY: the sizes are those of packing, `a` holds every element, and `c` is borrowed mutably.
        unsafe {
            let b = self.floats.as_ptr().add(self.skip);
            let compute = self.packing.compute;
            let (a_step, c) = (int(a.step), c.as_mut_ptr());
            compute(ROW_MAJOR, transpose, PACKED, m, n, k, a.first, a_step, b, n, 0.0, c, n);
        }
    }
}

impl MatmulBackend for Cblas {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&self, task: MatmulTask) {
        let abilities = Abilities { accumulate: true, ..Abilities::default() };
        task.each_block_with(abilities, |block, ends| self.product(block, ends.accumulate));
    }
}

/// A matrix as BLAS takes it: adjacent columns, or adjacent rows.
struct Operand {
    first: *const f32,
    step: usize,
    transposed: bool,
    /// A copy of a matrix that has neither.
    _copy: Vec<f32>,
}

impl Operand {
    fn of(matrix: Strided) -> Self {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let (row, col) = (matrix.row_stride(), matrix.col_stride());
        // One row or one column may have any stride; BLAS wants one that is not shorter than the line.
        let by_rows = (col == 1 || cols <= 1) && (row >= cols || rows <= 1);
        let by_cols = (row == 1 || rows <= 1) && (col >= rows || cols <= 1);
        match (by_rows, by_cols) {
            (true, _) => Operand {
                first: matrix.as_ptr(),
                step: row.max(cols).max(1),
                transposed: false,
                _copy: Vec::new(),
            },
            (false, true) => Operand {
                first: matrix.as_ptr(),
                step: col.max(rows).max(1),
                transposed: true,
                _copy: Vec::new(),
            },
            (false, false) => {
                let copy: Vec<f32> =
                    (0..rows).flat_map(|i| (0..cols).map(move |j| matrix.at(i, j))).collect();
                Operand { first: copy.as_ptr(), step: cols.max(1), transposed: false, _copy: copy }
            }
        }
    }
}

/// # Panics
/// If the library's 32-bit integers cannot hold it.
fn int(n: usize) -> c_int {
    c_int::try_from(n).expect("a size below 2³¹")
}
