/// An output that several threads write, each its own elements.
///
/// Kernels write tiles of a row-major result: disjoint, but not contiguous, so slices cannot
/// express it.
#[derive(Clone, Copy)]
pub(super) struct SharedMut<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: only disjoint elements are written (a promise of `rows` and `pointer`'s callers), so
// sharing is like sharing sub-slices.
unsafe impl<T: Send> Send for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    pub(super) fn new(slice: &mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// The elements `range`.
    ///
    /// # Safety
    /// No other thread touches them while the slice lives, and the slice given to `new` is still
    /// borrowed.
    #[allow(clippy::mut_from_ref)] // the type stands for a mutable borrow that is split at run time
    pub(super) unsafe fn slice(&self, range: std::ops::Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds as just checked; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The first element's address, for kernels that write strided tiles.
    pub(super) fn pointer(&self) -> *mut T {
        self.start
    }
}
