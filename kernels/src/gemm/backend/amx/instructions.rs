//! The tiles as instructions of Intel CPUs since Sapphire Rapids: detection, permission, configuration, the product, and
//! the splitting. The bodies are those of a prototype that was verified on hardware, see `docs/amx.md`.

use super::line::Line;
use super::split::{Range, Source};
use super::tile::{Model, Operands, Shape, Tile};
use std::arch::asm;
use std::arch::x86_64::*;
use std::arch::x86_64::{__cpuid_count, __m512, __m512i};

/// Proof that this CPU has AMX-BF16 and AVX-512-BF16 and that the process may use tiles; only [`Amx::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Amx(());

impl Amx {
    /// CPUID says what the CPU has, XCR0 what the kernel switches, and the kernel must be asked once a process (threads
    /// and forks inherit the answer) before the first tile instruction, which would die of SIGILL otherwise.
    pub fn detect() -> Result<Amx, String> {
        const BF16: u32 = 1 << 22;
        const TILE: u32 = 1 << 24;
        // `avx512f` also says that the operating system uses XSAVE.
        let vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        if !vectors || __cpuid_count(7, 0).edx & (BF16 | TILE) != BF16 | TILE {
            return Err("this CPU does not have it".to_owned());
        }
        // SAFETY: a CPU with AVX-512 that the system has enabled has XGETBV.
        if unsafe { xcr0() } & (3 << 17) != 3 << 17 {
            return Err("the operating system does not save its tiles".to_owned());
        }
        match permission() {
            0 => Ok(Amx(())),
            error => Err(format!("the operating system does not permit it (error {})", -error)),
        }
    }
}

/// # Safety
/// The CPU has XGETBV.
unsafe fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller's promise; it reads a register.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`: 0 or a negative errno (EINVAL before Linux 5.16, EPERM or
/// ENOSYS under a seccomp filter, ENOSPC if some thread's alternate signal stack is too small for the larger frame).
fn permission() -> i64 {
    const ARCH_PRCTL: i64 = 158;
    let result;
    // SAFETY: a system call that changes nothing but what this process may use; the kernel overwrites RCX and R11.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") 0x1023i64, in("rsi") 18i64,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// The 64 bytes that LDTILECFG reads: palette 1 has eight tiles of up to 16 rows of up to 64 bytes.
#[repr(C, align(64))]
#[derive(Clone)]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    colsb: [u16; 16],
    rows: [u8; 16],
}

impl Config {
    /// Tiles 0 to 7 as `[rows, bytes a row]`.
    fn new(tiles: [[usize; 2]; 8]) -> Config {
        let mut config =
            Config { palette: 1, start_row: 0, reserved: [0; 14], colsb: [0; 16], rows: [0; 16] };
        for (i, [rows, bytes]) in tiles.into_iter().enumerate() {
            assert!((1..=16).contains(&rows) && (1..=16).contains(&(bytes / 4)) && bytes.is_multiple_of(4));
            (config.rows[i], config.colsb[i]) = (rows as u8, bytes as u16);
        }
        config
    }

    /// Four tiles of sums, two of the left factor, two of the right one.
    fn of(shape: &Shape) -> Config {
        let (r0, r1, p) = (shape.rows.r0, shape.rows.r1, shape.blocks.pairs);
        Config::new([[r0, 64], [r0, 64], [r1, 64], [r1, 64], [r0, 4 * p], [r1, 4 * p], [p, 64], [p, 64]])
    }

    fn load(&self, _: Amx) {
        // SAFETY: the token proves that the process may use tiles; rows and bytes are those of palette 1, as checked.
        unsafe { asm!("ldtilecfg [{}]", in(reg) self, options(nostack, readonly, preserves_flags)) }
    }
}

/// Operands of [`kernel`]; strides in bytes.
struct Call {
    a: *const Line,
    b: *const Line,
    c0: *mut f32,
    c1: *mut f32,
    c_row: usize,
    a_tile: usize,
    b_tile: usize,
    blocks: usize,
    /// Whether sums go on from what stands in `c`.
    add: bool,
}

/// The next tile of the left factor.
macro_rules! a {
    ($t:literal) => {
        concat!("tileloadd tmm", $t, ", [{a} + {s}*1]\n add {a}, {at}\n")
    };
}
/// The next tile of the right factor.
macro_rules! b {
    ($t:literal) => {
        concat!("tileloadd tmm", $t, ", [{b} + {s}*1]\n add {b}, {bt}\n")
    };
}
/// `tmm{c} += tmm{a}·tmm{b}`.
macro_rules! dot {
    ($c:literal, $a:literal, $b:literal) => {
        concat!("tdpbf16ps tmm", $c, ", tmm", $a, ", tmm", $b, "\n")
    };
}

// Four products, one for each tile of sums, so that pairs share the right tile: a TDPBF16PS takes max(rows, pairs) cycles
// after a change of it, rows + 1 else. They take new tiles of both factors, of the left one, or of the right one.
macro_rules! both {
    () => {
        concat!(a!(4), b!(6), dot!(0, 4, 6), a!(5), dot!(2, 5, 6), b!(7), dot!(3, 5, 7), dot!(1, 4, 7))
    };
}
macro_rules! left {
    () => {
        concat!(a!(4), dot!(1, 4, 7), a!(5), dot!(3, 5, 7), dot!(2, 5, 6), dot!(0, 4, 6))
    };
}
macro_rules! right {
    () => {
        concat!(b!(6), dot!(0, 4, 6), dot!(2, 5, 6), b!(7), dot!(3, 5, 7), dot!(1, 4, 7))
    };
}

/// The whole life of four tiles of sums in one `asm!`: tile registers cannot be operands, and a block may rely on
/// nothing that another left in them.
macro_rules! kernel { ($call:expr, $($block:expr),+) => { asm!(
    "test {add:e}, {add:e}", "jnz 3f",
    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", "jmp 2f",
    "3:",
    "tileloadd tmm0, [{c0} + {cs}*1]", "tileloadd tmm1, [{c0} + {cs}*1 + 64]",
    "tileloadd tmm2, [{c1} + {cs}*1]", "tileloadd tmm3, [{c1} + {cs}*1 + 64]",
    "2:", $($block),+, "dec {n}", "jnz 2b",
    "tilestored [{c0} + {cs}*1], tmm0", "tilestored [{c0} + {cs}*1 + 64], tmm1",
    "tilestored [{c1} + {cs}*1], tmm2", "tilestored [{c1} + {cs}*1 + 64], tmm3",
    add = in(reg) u32::from($call.add), a = inout(reg) $call.a => _, b = inout(reg) $call.b => _,
    n = inout(reg) $call.blocks => _,
    c0 = in(reg) $call.c0, c1 = in(reg) $call.c1, cs = in(reg) $call.c_row, at = in(reg) $call.a_tile,
    bt = in(reg) $call.b_tile,
    s = in(reg) 64usize, out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _,
    out("tmm6") _, out("tmm7") _, options(nostack),
) } }

/// Products in the order in which each sum sees them, for each block of K: l·h, h·h, h·l; or l·h, m·h, m·m, h·m, h·l, h·h,
/// the last with right tiles that are taken once more.
///
/// # Safety
/// [`Config::of`] the shape is loaded, and the pointers have what the shape says.
#[inline(never)]
unsafe fn kernel<const P: usize>(call: &Call) {
    const { assert!(P == 2 || P == 3, "two or three parts") };
    // SAFETY: the caller's promise. The last `lea` of three parts turns back and forth by multiples of the tile's size, so
    // that every load is inside the right factor's lines.
    unsafe {
        match P {
            2 => kernel!(call, both!(), left!(), right!()),
            _ => kernel!(
                call,
                both!(),
                left!(),
                right!(),
                left!(),
                right!(),
                "lea {b}, [{b} + {bt}*2]",
                "neg {bt}",
                "lea {b}, [{b} + {bt}*8]",
                "neg {bt}",
                right!(),
                "lea {b}, [{b} + {bt}*4]"
            ),
        }
    }
}

impl Tile for Amx {
    const IS_MODEL: bool = false;

    fn begin(self, shape: &Shape) {
        Config::of(shape).load(self);
    }

    fn multiply<const P: usize>(self, shape: &Shape, operands: Operands) {
        operands.check::<P>(shape);
        let Operands { a, b, c, c_start: [c0, c1], c_row } = operands;
        let c = c.as_mut_ptr();
        let call = Call {
            a: a.as_ptr(),
            b: b.as_ptr(),
            c0: c.wrapping_add(c0),
            c1: c.wrapping_add(c1),
            c_row: 4 * c_row,
            a_tile: 64 * shape.rows.r0,
            b_tile: 64 * shape.blocks.pairs,
            blocks: shape.blocks.count,
            add: false,
        };
        // SAFETY: `begin` has loaded the configuration of this shape; the check above compares the lengths of the
        // operands with what the shape makes the tiles read and write.
        unsafe { kernel::<P>(&call) };
    }

    /// Puts the tiles back into their initial state, so that switching threads does not save 8 KiB.
    fn end(self) {
        // SAFETY: the token proves that the process may use tiles.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
    }

    fn split_left<const P: usize>(self, source: &Source, range: Range, at: [usize; P], out: &mut [Line]) {
        match Memory::of(source, range) {
            // SAFETY: the token proves the instructions; `Memory` has checked that the range lies in the source.
            Some(Memory::Along(memory)) => unsafe {
                tile::<P, true, false>(&memory, range.lines, slots(out, at, range.lines))
            },
            // SAFETY: as above.
            Some(Memory::Across(memory)) => unsafe {
                tile::<P, false, true>(&memory, range.lines, slots(out, at, range.lines))
            },
            None => Model.split_left::<P>(source, range, at, out),
        }
    }

    fn split_right<const P: usize>(
        self,
        source: &Source,
        range: Range,
        pairs: usize,
        at: [usize; P],
        out: &mut [Line],
    ) {
        match Memory::of(source, range) {
            // SAFETY: as for the left factor.
            Some(Memory::Along(memory)) => unsafe {
                tile::<P, true, true>(&memory, pairs, slots(out, at, pairs))
            },
            // SAFETY: as above.
            Some(Memory::Across(memory)) => unsafe {
                tile::<P, false, false>(&memory, pairs, slots(out, at, pairs))
            },
            None => Model.split_right::<P>(source, range, pairs, at, out),
        }
    }
}

/// The first lines of the tile of each part.
///
/// # Panics
/// If `out` has no room for them.
fn slots<const P: usize>(out: &mut [Line], at: [usize; P], lines: usize) -> [*mut Line; P] {
    assert!(lines <= 16 && at.iter().all(|at| at + lines <= out.len()), "room for a tile of each part");
    at.map(|at| out.as_mut_ptr().wrapping_add(at))
}

/// A tile's rows in memory, `rows` of `cols` adjacent floats, `row` floats apart.
struct InMemory {
    first: *const f32,
    row: usize,
    rows: usize,
    cols: usize,
}

/// How a tile lies in memory.
enum Memory {
    /// Its terms are adjacent: at most 16 rows of at most 32.
    Along(InMemory),
    /// Its lines are adjacent, at most 16: at most 32 rows.
    Across(InMemory),
}

impl Memory {
    /// None if neither is adjacent, or there is nothing to read.
    ///
    /// # Panics
    /// If the range is not inside the source.
    fn of(source: &Source, range: Range) -> Option<Memory> {
        let Source { data, line: line_step, term: term_step, strip } = *source;
        let Range { line, lines, term, terms } = range;
        if lines == 0 || terms == 0 {
            return None;
        }
        let straight = strip == 16 * line_step;
        let in_strip = line % 16 + lines <= 16;
        let first = line / 16 * strip + line % 16 * line_step + term * term_step;
        let last = first + (lines - 1) * line_step + (terms - 1) * term_step;
        if !straight && !in_strip {
            return None;
        }
        assert!(lines <= 16 && terms <= 32 && last < data.len(), "a tile inside its source");
        let first = data[first..].as_ptr();
        match (term_step, line_step) {
            (1, row) => Some(Memory::Along(InMemory { first, row, rows: lines, cols: terms })),
            (row, 1) => Some(Memory::Across(InMemory { first, row, rows: terms, cols: lines })),
            _ => None,
        }
    }
}

fn mask(lanes: usize) -> u16 {
    if lanes >= 16 { u16::MAX } else { (1 << lanes) - 1 }
}

/// Words 2i ← `even·i`, 2i+1 ← `odd + i`.
const fn words(even: u16, odd: u16) -> [u16; 32] {
    let mut words = [0; 32];
    let mut i = 0;
    while i < 16 {
        (words[2 * i], words[2 * i + 1]) = (even * i as u16, odd + i as u16);
        i += 1;
    }
    words
}
/// Two rows of 16, side by side, become pairs.
const INTERLEAVE: [u16; 32] = words(1, 16);
/// bf16 number i of the lower or upper 16 becomes the upper half of float i.
const WIDEN: [[u16; 32]; 2] = [words(0, 0), words(0, 16)];

/// The parts of 32 floats as 16 pairs: neighbours of `[x, y]` (`ALONG`), or `(x[i], y[i])`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn parts<const P: usize, const ALONG: bool>(mut x: __m512, mut y: __m512) -> [__m512i; P] {
    let [interleave, lower, upper] = [&INTERLEAVE, &WIDEN[0], &WIDEN[1]].map(|words| {
        // SAFETY: 64 readable bytes; no alignment is needed.
        unsafe { _mm512_loadu_epi16(words.as_ptr().cast()) }
    });
    let mut parts = [_mm512_setzero_si512(); P];
    for part in &mut parts {
        // SAFETY: both types are 64 bytes of any content.
        let both: __m512i = unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(y, x)) };
        *part = if ALONG { both } else { _mm512_permutexvar_epi16(interleave, both) };
        let (xh, yh) = if ALONG {
            let widen = |words| _mm512_maskz_permutexvar_epi16(0xaaaa_aaaa, words, both);
            (widen(lower), widen(upper))
        } else {
            (
                _mm512_slli_epi32::<16>(*part),
                _mm512_and_si512(*part, _mm512_set1_epi32(0xffff_0000u32 as i32)),
            )
        };
        x = _mm512_sub_ps(x, _mm512_castsi512_ps(xh));
        y = _mm512_sub_ps(y, _mm512_castsi512_ps(yh));
    }
    parts
}

#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(x: [__m512i; 16]) -> [__m512i; 16] {
    let (mut a, mut b, mut out) = (x, x, x);
    for i in 0..8 {
        a[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
    }
    for i in [0, 1, 4, 5, 8, 9, 12, 13] {
        let to = i / 4 * 4 + i % 2 * 2;
        b[to] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[to + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    }
    for j in 0..4 {
        let (p, q, r, s) = (b[j], b[4 + j], b[8 + j], b[12 + j]);
        let even = [_mm512_shuffle_i32x4::<0x88>(p, q), _mm512_shuffle_i32x4::<0x88>(r, s)];
        let odd = [_mm512_shuffle_i32x4::<0xdd>(p, q), _mm512_shuffle_i32x4::<0xdd>(r, s)];
        for (to, [pq, rs]) in [(j, even), (4 + j, odd)] {
            out[to] = _mm512_shuffle_i32x4::<0x88>(pq, rs);
            out[8 + to] = _mm512_shuffle_i32x4::<0xdd>(pq, rs);
        }
    }
    out
}

/// Fills one tile of each part, highest first, from its rows in memory; what is beyond is zero. `TURN`: lines are columns
/// in memory.
///
/// # Safety
/// The rows are readable, at most 16 lines and 32 terms; each `out` has `lines` lines, at most 16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[allow(clippy::needless_range_loop)] // lines and parts index several arrays at once
unsafe fn tile<const P: usize, const ALONG: bool, const TURN: bool>(
    memory: &InMemory,
    lines: usize,
    out: [*mut Line; P],
) {
    let InMemory { first, row, rows, cols } = *memory;
    // SAFETY: the mask leaves out what is beyond the columns of a row; the caller promises the rest.
    let load = |i: usize, col: usize, lanes: usize| unsafe {
        _mm512_maskz_loadu_ps(mask(lanes), first.wrapping_add(i * row + col))
    };
    // SAFETY: the caller promises these lines; they are aligned as their type says.
    let store = |part: usize, i: usize, x: __m512i| unsafe { _mm512_store_si512(out[part].add(i).cast(), x) };
    // Vectors of pairs in the order of memory.
    let vector = |i: usize| {
        if ALONG {
            if i >= rows {
                return [_mm512_setzero_si512(); P];
            }
            parts::<P, true>(load(i, 0, cols), load(i, 16, cols.saturating_sub(16)))
        } else {
            let first = if 2 * i < rows { load(2 * i, 0, cols) } else { _mm512_setzero_ps() };
            let second = if 2 * i + 1 < rows { load(2 * i + 1, 0, cols) } else { _mm512_setzero_ps() };
            parts::<P, false>(first, second)
        }
    };
    if TURN {
        let mut all = [[_mm512_setzero_si512(); 16]; P];
        for i in 0..16 {
            let parts = vector(i);
            for p in 0..P {
                all[p][i] = parts[p];
            }
        }
        for p in 0..P {
            let turned = transpose(all[p]);
            for i in 0..lines {
                store(p, i, turned[i]);
            }
        }
    } else {
        for i in 0..lines {
            let parts = vector(i);
            for p in 0..P {
                store(p, i, parts[p]);
            }
        }
    }
}
