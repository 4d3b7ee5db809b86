//! Memory that is used again.
//!
//! A layer's maps take megabytes, and it writes all of them: clearing new memory for each layer, or getting it from the
//! operating system, would cost a tenth of the time.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};

/// A cache line of values: vectors that are loaded from a multiple of their length never cross one.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Line {
    const VALUES: usize = size_of::<Self>() / size_of::<f32>();
}

/// Where buffers go when nobody needs them, and come from.
#[derive(Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<Line>>>>);

/// Values that start at a cache line.
#[derive(Debug)]
pub(super) struct Buffer {
    lines: Vec<Line>,
    length: usize,
    home: Buffers,
}

impl Buffers {
    /// A buffer of so many values, whatever was in it before: the smallest that is large enough, or else the largest made
    /// larger. So there are never more than were in use at one time, and small ones stay small.
    pub(super) fn take(&self, length: usize) -> Buffer {
        let needed = length.div_ceil(Line::VALUES);
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = |(_, lines): &(usize, &Vec<Line>)| lines.len() >= needed;
        let by_length = |(_, lines): &(usize, &Vec<Line>)| lines.len();
        let best = spare.iter().enumerate().filter(enough).min_by_key(by_length);
        let best = best.or_else(|| spare.iter().enumerate().max_by_key(by_length)).map(|(n, _)| n);
        let mut lines = best.map(|n| spare.swap_remove(n)).unwrap_or_default();
        if lines.len() < needed {
            lines = vec![Line::zeroed(); needed];
        }
        Buffer { lines, length, home: Self(Arc::clone(&self.0)) }
    }
}

/// Other buffers than those of the original: no two threads wait for each other.
impl Clone for Buffers {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Buffer {
    /// Another one from the same place.
    pub(super) fn another(&self, length: usize) -> Self {
        self.home.take(length)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(mem::take(&mut self.lines));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_and_small_ones_stay_small() {
        let buffers = Buffers::default();
        let work = || {
            let (small, large) = (buffers.take(10), buffers.take(10_000));
            let panel = small.another(100);
            assert_eq!([small.len(), large.len(), panel.len()], [10, 10_000, 100]);
            drop((large, panel, small));
            drop(buffers.take(90));
        };
        let lengths = || {
            let mut lengths: Vec<usize> = buffers.0.lock().unwrap().iter().map(Vec::len).collect();
            lengths.sort();
            lengths
        };
        work();
        let first = lengths();
        assert_eq!(first, [1, 7, 625]);
        (0..10).for_each(|_| work());
        assert_eq!(lengths(), first);
    }
}
