//! Prefetching spread over the iterations of a kernel.

use super::super::simd::{LINE, Simd};

/// Consecutive cache lines to prefetch.
pub(super) struct Prefetch {
    pub from: *const u8,
    pub lines: usize,
}

impl Prefetch {
    /// Prefetches at once the lines that the next `calls` calls of [`PrefetchCursor::step`] will
    /// not, since each call prefetches one line.
    #[inline(always)]
    pub(super) unsafe fn start<S: Simd>(self, calls: usize) -> PrefetchCursor {
        let now = self.lines.saturating_sub(calls);
        for line in 0..now {
            S::prefetch_far(self.from.wrapping_add(line * LINE));
        }
        PrefetchCursor {
            from: self.from.wrapping_add(now * LINE),
            stride: if self.lines > 0 { LINE } else { 0 },
        }
    }
}

/// Prefetches one cache line per call of `step`.
pub(super) struct PrefetchCursor {
    from: *const u8,
    /// Bytes per step: one cache line, or 0 if there are no lines to prefetch.
    stride: usize,
}

impl PrefetchCursor {
    #[inline(always)]
    pub(super) unsafe fn step<S: Simd>(&mut self) {
        S::prefetch_far(self.from);
        self.from = self.from.wrapping_add(self.stride);
    }
}
