//! Shared mutable output of parallel kernels.

/// An output whose elements are divided among threads.
///
/// Kernels write tiles of a row-major result, which are disjoint but not contiguous, so sub-slices
/// cannot express them.
#[derive(Clone, Copy)]
pub(super) struct SharedMut<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: callers of `slice` and `pointer` guarantee that threads access disjoint elements, as with
// sub-slices.
unsafe impl<T: Send> Send for SharedMut<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    pub(super) fn new(slice: &mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// The elements in `range`.
    ///
    /// # Safety
    /// No other thread accesses these elements while the slice lives, and the slice given to `new`
    /// is still borrowed.
    #[allow(clippy::mut_from_ref)] // the type is a mutable borrow that is split at run time
    pub(super) unsafe fn slice(&self, range: std::ops::Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds as just checked; the caller guarantees exclusive access.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Address of the first element, for kernels that write strided tiles.
    pub(super) fn pointer(&self) -> *mut T {
        self.start
    }
}
