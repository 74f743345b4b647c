//! Every kernel with its operands at the edge of what may be touched: the last byte of each is the last
//! of a page, or the first the first, and the page beyond is not mapped. A read or write too far ends
//! the test process; the results must have the bits that ordinary memory gives.
//!
//! The runs are those of [`crate::bits`]. While one of them runs, the allocator of the tests puts
//! whatever its thread asks for at the edge: operands, packed weights, outputs and scratch alike.

use crate::bits::{self, Batch, Results};
use crate::conv::im2col::im2col;
use crate::exec::Kernels;
use crate::gemm::pack;
use crate::image::ConvShape;
use crate::panels::Panels;
use crate::pool::PoolKind;
use crate::testing::{floats, kernel_sets, shapes};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// At least a page, whatever the CPU.
const PAGE: usize = 16 * 1024;
/// Pages of the largest allocation that is put at an edge.
const MOST: usize = 64;
/// Addresses that are set aside for them.
const RESERVED: usize = 1 << 30;

/// Which side of an allocation has no page.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Edge {
    Neither,
    Before,
    Behind,
}

thread_local! {
    static EDGE: Cell<Edge> = const { Cell::new(Edge::Neither) };
}

/// Runs of readable pages, an unmapped one between any two, as offsets from [`BASE`].
struct Runs {
    /// Up to where there are runs.
    end: usize,
    /// The first free run of each length; it holds the offset of the next. 0 is none.
    free: [usize; MOST + 1],
}

static RUNS: Mutex<Runs> = Mutex::new(Runs { end: 0, free: [0; MOST + 1] });
static BASE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

impl Runs {
    /// The first byte of a run of pages, null if there is none to be had.
    fn take(&mut self, pages: usize) -> *mut u8 {
        let mut base = BASE.load(Ordering::Acquire);
        if base.is_null() {
            let len = const { NonZeroUsize::new(RESERVED).expect("not 0") };
            let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
            // SAFETY: fresh addresses that nothing uses.
            let Ok(map) = (unsafe { mmap_anonymous(None, len, ProtFlags::PROT_NONE, flags) }) else {
                return ptr::null_mut();
            };
            base = map.as_ptr().cast();
            BASE.store(base, Ordering::Release);
        }
        let at = self.free[pages];
        if at > 0 {
            let run = base.wrapping_add(at);
            // SAFETY: a free run begins with the offset of the next.
            self.free[pages] = unsafe { run.cast::<usize>().read() };
            return run;
        }
        let (at, len) = (self.end + PAGE, pages * PAGE);
        if at + len + PAGE > RESERVED {
            return ptr::null_mut();
        }
        let run = base.wrapping_add(at);
        // SAFETY: pages of the reserved addresses that no run has had yet.
        let Some(Ok(())) = NonNull::new(run.cast())
            .map(|run| unsafe { mprotect(run, len, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE) })
        else {
            return ptr::null_mut();
        };
        self.end = at + len;
        run
    }
}

/// The system's allocator, but at the edge of a page for threads that ask for it.
struct AtEdges;

#[global_allocator]
static ALLOCATOR: AtEdges = AtEdges;

fn runs() -> std::sync::MutexGuard<'static, Runs> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: a run is handed out once until it comes back, is as long as was asked for, and what is at
// its end is moved down to the alignment; all else is the system's, told apart by its address.
unsafe impl GlobalAlloc for AtEdges {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let edge = EDGE.try_with(Cell::get).unwrap_or(Edge::Neither);
        let pages = layout.size().div_ceil(PAGE);
        if edge == Edge::Neither || pages > MOST || layout.align() > PAGE {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        }
        let run = runs().take(pages);
        let unused = (pages * PAGE - layout.size()) & !(layout.align() - 1);
        if run.is_null() || edge == Edge::Before { run } else { run.wrapping_add(unused) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        let base = BASE.load(Ordering::Acquire);
        let at = p.addr().wrapping_sub(base.addr());
        if base.is_null() || at >= RESERVED {
            // SAFETY: the caller's promise; no run has this address, so the system gave it.
            return unsafe { System.dealloc(p, layout) };
        }
        // At either edge an allocation begins in the first page of its run.
        let at = at - at % PAGE;
        let mut runs = runs();
        let next = &mut runs.free[layout.size().div_ceil(PAGE)];
        // SAFETY: nothing uses the run from here on, and at least a page.
        unsafe { base.wrapping_add(at).cast::<usize>().write(*next) };
        *next = at;
    }
}

/// What `run` gives where all that it allocates is at that edge: on a thread of its own, so that it
/// begins without scratch. What another thread allocates for its part of the work is not at an edge.
fn at<R: Send>(edge: Edge, run: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            EDGE.set(edge);
            let result = run();
            EDGE.set(Edge::Neither);
            result
        });
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs each case on every backend, on one thread and on two, at both edges and at neither.
fn check<C: Debug + Sync>(cases: &[C], run: impl Fn(&Kernels, &C) -> Results + Sync) {
    let sets: Vec<Kernels> = kernel_sets().into_iter().filter(|set| set.threads().count() <= 2).collect();
    let cases = || cases.iter().step_by(cases.len().div_ceil(shapes(cases.len())));
    for (kernels, case) in sets.iter().flat_map(|set| cases().map(move |case| (set, case))) {
        let want = run(kernels, case);
        for edge in [Edge::Behind, Edge::Before] {
            let found = at(edge, || run(kernels, case));
            assert_eq!(want.len(), found.len());
            for ((name, want), (_, found)) in want.iter().zip(&found) {
                let same = want.iter().map(|x| x.to_bits()).eq(found.iter().map(|x| x.to_bits()));
                let (set, threads) = (kernels.name(), kernels.threads().count());
                assert!(same, "{name}, {case:?}: {set} on {threads} threads with no page {edge:?}");
            }
        }
    }
}

/// Columns on both sides of one register and of two.
const COLUMNS: std::ops::RangeInclusive<usize> = 1..=33;

#[test]
fn products_and_dense_rules_stay_on_their_pages() {
    let rows = (1..=15).chain([29, 49, 70]);
    let mut cases: Vec<[usize; 3]> =
        rows.flat_map(|n| COLUMNS.map(move |k| [n, (7 * k + n) % 33 + 1, k])).collect();
    // More than a block of rows, and strips that are copied before they are read.
    cases.extend([[260, 5, 33], [300, 3, 7], [3, 230, 257], [5, 200, 273], [2, 17, 280]]);
    check(&cases, |kernels, &sizes| bits::dense(kernels, sizes, 1));
}

#[test]
fn convolutions_pools_and_their_rules_stay_on_their_pages() {
    let mut cases = Vec::new();
    for c in COLUMNS {
        for (size, outputs) in [(1, 34 - c), (3, 7 * c % 33 + 1), (3, 1), (5, c % 3 + 1)] {
            let (rows, cols) = (1 + c % 4, 1 + (c + size) % 3);
            let shape = ConvShape { rows, cols, size, inputs: c, outputs };
            let kind = if c % 2 == 0 { PoolKind::Max } else { PoolKind::Sum };
            cases.push(Batch { shape, images: 1 + c % 2, pool: (kind, 1 + c % 3) });
        }
    }
    check(&cases, |kernels, batch| bits::images(kernels, batch, 1));
}

#[test]
fn functions_of_elements_stay_on_their_pages() {
    let rows = [1, 2, 7, 65, 130];
    let cases: Vec<[usize; 3]> = rows.into_iter().flat_map(|n| COLUMNS.map(move |k| [n, k, n % 3])).collect();
    check(&cases, |kernels, &sizes| bits::elements(kernels, sizes, 1));
}

/// What no kernel set runs.
#[test]
fn packing_and_patches_stay_on_their_pages() {
    for (k, n) in COLUMNS.flat_map(|k| COLUMNS.map(move |n| (k, n))) {
        let run = || {
            let packed = pack::pack(&floats(k * n, 1), k, n);
            let shape = ConvShape { rows: 1 + k % 3, cols: 1 + n % 3, size: 3, inputs: k, outputs: n };
            let x = shape.input().padded(&floats(shape.input().pixels() * k, 2), 1);
            let mut patches = vec![0.0; shape.input().pixels() * shape.patch()];
            im2col(&shape, &x, 1, &mut patches);
            vec![pack::unpack(Panels::new(&packed, k, n)), packed, patches]
        };
        let want = run();
        for edge in [Edge::Behind, Edge::Before] {
            assert_eq!(want, at(edge, run), "[{k}, {n}] with no page {edge:?}");
        }
    }
}

/// Asks the system's list of pages: a processor would end the process.
#[test]
#[cfg(target_os = "linux")]
fn beyond_the_edge_there_is_no_page() {
    let readable = |p: *const f32| {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("a list of pages");
        maps.lines().any(|line| {
            // `from-to rwxp …`, in hexadecimal.
            let number = |n: &str| usize::from_str_radix(n, 16).expect("an address");
            let (range, rest) = line.split_once(' ').expect("columns");
            let (from, to) = range.split_once('-').expect("a range");
            rest.starts_with('r') && (number(from)..number(to)).contains(&p.addr())
        })
    };
    for len in [1, 17, PAGE / 4, PAGE / 4 + 1] {
        for edge in [Edge::Behind, Edge::Before] {
            let floats = at(edge, || vec![1.0f32; len]);
            let (first, last) = (floats.as_ptr(), floats.as_ptr().wrapping_add(len - 1));
            assert!(readable(first) && readable(last), "{len}");
            assert!(edge == Edge::Before || !readable(last.wrapping_add(1)), "{len}");
            assert!(edge == Edge::Behind || !readable(first.wrapping_sub(1)), "{len}");
        }
    }
}
