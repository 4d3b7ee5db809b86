//! A pool of memory for feature maps and scratch.
//!
//! A layer's feature maps take megabytes, and it writes all of them: clearing new memory for each layer, or getting it
//! from the operating system, would cost a tenth of the time.

use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};

/// A cache line: vectors that are loaded from a multiple of their length never cross one.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// The pool: buffers that are not in use.
#[derive(Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<Line>>>>);

/// Values that start at a cache line. When it is dropped, its memory goes back to its pool.
#[derive(Debug)]
pub(super) struct Buffer<T> {
    lines: Vec<Line>,
    length: usize,
    pool: Buffers,
    values: PhantomData<T>,
}

impl Buffers {
    /// A buffer of `length` values: what was in that memory before, or zeros if the memory is new. A new pool has only
    /// new memory.
    pub(super) fn take<T: Pod>(&self, length: usize) -> Buffer<T> {
        let needed = (length * size_of::<T>()).div_ceil(size_of::<Line>());
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = match best_fit(&spare, needed) {
            Some(best) => spare.swap_remove(best),
            None => Vec::new(),
        };
        if lines.len() < needed {
            lines = vec![Line::zeroed(); needed];
        }
        Buffer { lines, length, pool: Self(Arc::clone(&self.0)), values: PhantomData }
    }
}

/// Index of the spare buffer to use: the smallest that is large enough, or else the largest, which the caller replaces
/// by a larger one. So there are never more buffers than were in use at one time, and small ones stay small.
fn best_fit(spare: &[Vec<Line>], needed: usize) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (candidate, lines) in spare.iter().enumerate() {
        let better = match best.map(|best| spare[best].len()) {
            None => true,
            Some(best_len) if lines.len() >= needed => best_len < needed || lines.len() < best_len,
            Some(best_len) => best_len < needed && lines.len() > best_len,
        };
        if better {
            best = Some(candidate);
        }
    }
    best
}

/// A new, empty pool, so that threads do not wait for each other.
impl Clone for Buffers {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<T> Buffer<T> {
    /// Another buffer from the same pool.
    pub(super) fn take_from_pool<U: Pod>(&self, length: usize) -> Buffer<U> {
        self.pool.take(length)
    }
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let bytes: &[u8] = bytemuck::cast_slice(&self.lines);
        bytemuck::cast_slice(&bytes[..self.length * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        bytemuck::cast_slice_mut(&mut bytes[..self.length * size_of::<T>()])
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        let mut spare = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
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
            let (small, large) = (buffers.take::<f32>(10), buffers.take::<f32>(10_000));
            let panel = small.take_from_pool::<[f32; 4]>(25);
            assert_eq!([small.len(), large.len(), panel.len()], [10, 10_000, 25]);
            drop((large, panel, small));
            drop(buffers.take::<u8>(360));
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
