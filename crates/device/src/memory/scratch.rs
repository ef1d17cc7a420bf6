//! Reusable kernel buffers.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Number types for which every bit pattern is a valid value.
pub trait Plain: Copy + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! plain {
    ($($t:ty),*) => { $(impl sealed::Sealed for $t {} impl Plain for $t {})* };
}
plain!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, half::f16, half::bf16);

/// Growable buffer, aligned to a cache line. Kernels reuse it from call to call instead of
/// allocating.
pub struct Scratch<T: Plain> {
    lines: Vec<CacheLine>,
    len: usize,
    kind: PhantomData<T>,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct CacheLine([u8; 64]);

impl<T: Plain> Scratch<T> {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { lines: Vec::new(), len: 0, kind: PhantomData }
    }

    /// Sets the length. The contents are unspecified: old values or zeros.
    pub fn resize(&mut self, len: usize) -> &mut [T] {
        let lines = (len * size_of::<T>()).div_ceil(64);
        if lines > self.lines.len() {
            // The exact size, because memory plans count these bytes.
            self.lines.reserve_exact(lines - self.lines.len());
            self.lines.resize(lines, CacheLine([0; 64]));
        }
        self.len = len;
        self
    }

    /// Bytes of allocated memory.
    pub fn capacity_bytes(&self) -> usize {
        self.lines.capacity() * 64
    }
}

impl<T: Plain> Default for Scratch<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Plain> Deref for Scratch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `lines` holds at least len * size_of::<T>() initialized bytes (resize), aligned
        // to 64, and every bit pattern is a valid T (Plain is sealed to such types).
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
