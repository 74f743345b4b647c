//! The winners of a few images, filter by filter: what each filter has to visit.

use super::{MOST_WINDOW, PooledConv};
use crate::shape::{MatRef, STRIP};
use std::ops::Range;

/// A window whose maximum has something to hand on.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Entry {
    /// Where the winner's patch starts, in floats from the first image.
    pub patch: u32,
    /// What it hands on; not zero.
    pub value: f32,
    /// The window, counted from the first image's first.
    pub window: u32,
}

/// Floats that an entry takes.
const ENTRY: usize = size_of::<Entry>() / size_of::<f32>();

/// For each filter, the windows of some images in which it has something to hand on.
pub(crate) struct Lists<'a> {
    /// `[outputs][room]`
    entries: &'a mut [Entry],
    counts: &'a mut [u32],
    room: usize,
}

/// Floats of images that stay in L1 while the filters pass over them.
const IN_L1: usize = 6 * 1024;

/// How many images are listed at a time.
pub(crate) fn images_a_block(shape: &PooledConv) -> usize {
    (IN_L1 / shape.conv.input().len().max(1)).max(1)
}

impl<'a> Lists<'a> {
    /// Floats of scratch for lists of so many images and filters.
    pub fn scratch(shape: &PooledConv, images: usize, filters: usize) -> usize {
        filters * (images * shape.windows() * ENTRY + ENTRY + 1)
    }

    /// Lists the winners of `images` in the windows of `v`, of some filters.
    pub fn new(
        shape: &PooledConv,
        places: &[f32],
        v: &MatRef,
        images: Range<usize>,
        filters: Range<usize>,
        scratch: &'a mut [f32],
    ) -> Self {
        let (windows, outputs) = (shape.windows(), shape.conv.outputs);
        // An entry is written in any case, and kept where its value is not zero: one more must have room.
        let room = images.len() * windows + 1;
        let (counts, entries) = scratch[..filters.len() * (room * ENTRY + 1)].split_at_mut(filters.len());
        // SAFETY: integers and entries have the size and alignment of as many floats, of which any bits are
        // such a number.
        let (counts, entries) = unsafe {
            (
                std::slice::from_raw_parts_mut(counts.as_mut_ptr().cast::<u32>(), filters.len()),
                std::slice::from_raw_parts_mut(entries.as_mut_ptr().cast::<Entry>(), filters.len() * room),
            )
        };
        counts.fill(0);
        let plane = shape.conv.input();
        assert!(images.len() * plane.len() <= u32::MAX as usize, "images of 4 G floats");
        let offsets: [u32; MOST_WINDOW * MOST_WINDOW] = shape.offsets();
        let lines = shape.out_rows();
        let mut window = 0;
        for line in images.start * lines..images.end * lines {
            let first = line * shape.out_cols();
            let v_first = v.map.offset(first);
            let image = (line / lines - images.start) * plane.len();
            let top = image + line % lines * shape.window * plane.line();
            for col in 0..shape.out_cols() {
                let patch = (top + col * shape.window * plane.channels) as u32;
                let places = &places[(first + col) * outputs..][filters.clone()];
                let v = &v.data[v_first + col * v.map.step..][filters.clone()];
                let lists = entries.chunks_exact_mut(room).zip(&mut *counts);
                for ((&place, &value), (list, count)) in places.iter().zip(v).zip(lists) {
                    // SAFETY: a place is a small whole number, below the square of the largest window, and a
                    // list has room for one more entry than there are windows.
                    unsafe {
                        let place = place.to_int_unchecked::<u32>() as usize;
                        let patch = patch + *offsets.get_unchecked(place);
                        *list.get_unchecked_mut(*count as usize) = Entry { patch, value, window };
                    }
                    *count += u32::from(value != 0.0);
                }
                window += 1;
            }
        }
        Lists { entries, counts, room }
    }

    /// The list of a filter, counted from the first.
    #[inline(always)]
    pub fn of(&self, filter: usize) -> &[Entry] {
        &self.entries[filter * self.room..][..self.counts[filter] as usize]
    }
}

/// The images again, with room behind each patch for loads of whole registers: those at the end of `x`
/// are copied.
pub(crate) struct Padded<'a> {
    x: &'a [f32],
    /// The last images, and a register's room.
    tail: &'a [f32],
    /// The first image of the tail.
    first: usize,
    plane: usize,
    images: usize,
}

impl<'a> Padded<'a> {
    fn tail(plane: usize, images: usize) -> usize {
        STRIP.div_ceil(plane.max(1)).min(images)
    }

    /// Floats of scratch.
    pub fn scratch(shape: &PooledConv, images: usize) -> usize {
        let plane = shape.conv.input().len();
        Self::tail(plane, images) * plane + STRIP
    }

    /// Over `images` planes `x`.
    pub fn new(shape: &PooledConv, x: &'a [f32], images: usize, scratch: &'a mut [f32]) -> Self {
        let plane = shape.conv.input().len();
        assert_eq!(x.len(), images * plane, "images");
        let first = images - Self::tail(plane, images);
        let (copy, room) = scratch.split_at_mut((images - first) * plane);
        copy.copy_from_slice(&x[first * plane..]);
        room[..STRIP].fill(0.0);
        Padded { x, tail: scratch, first, plane, images }
    }

    /// The images of a range in blocks of at most `most`, with their floats and a register's more.
    pub fn blocks(&self, range: Range<usize>, most: usize) -> impl Iterator<Item = (Range<usize>, &[f32])> {
        let mut from = range.start;
        std::iter::from_fn(move || {
            let end = if from < self.first { range.end.min(self.first) } else { range.end.min(self.images) };
            if from >= end {
                return None;
            }
            let block = from..end.min(from + most);
            let floats = if from < self.first {
                &self.x[from * self.plane..]
            } else {
                &self.tail[(from - self.first) * self.plane..]
            };
            from = block.end;
            let len = block.len() * self.plane + STRIP;
            Some((block, &floats[..len]))
        })
    }
}
