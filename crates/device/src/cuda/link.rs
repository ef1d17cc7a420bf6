use std::time::Instant;

use super::{Card, CardBuffer, CudaError};
use crate::memory::Plain;

/// How bytes go from one card to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkPath {
    /// From card to card.
    Direct,
    /// Through pinned host memory.
    Staged {
        /// Why not directly.
        why: String,
    },
}

/// A way from one card to another, or to itself.
pub struct CardLink {
    from: Card,
    to: Card,
    path: LinkPath,
}

impl CardLink {
    /// Finds the way.
    ///
    /// # Errors
    /// What the driver says.
    pub fn open(from: &Card, to: &Card, deadline: Instant) -> Result<CardLink, CudaError> {
        let _ = deadline;
        Ok(CardLink { from: from.clone(), to: to.clone(), path: LinkPath::Staged { why: String::new() } })
    }

    /// The way.
    pub fn path(&self) -> &LinkPath {
        &self.path
    }

    /// Copies the numbers of `range` of `from` to those of `to` from `at` on, in order with both cards' kernels.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`], [`CudaError::WrongCard`], [`CudaError::Timeout`], or what the driver says.
    pub fn copy<T: Plain>(
        &self,
        from: &CardBuffer<T>,
        range: std::ops::Range<usize>,
        to: &mut CardBuffer<T>,
        at: usize,
        deadline: Instant,
    ) -> Result<(), CudaError> {
        self.from.same("the source of a copy", from.card())?;
        self.to.same("the target of a copy", to.card())?;
        let mut through = vec![T::default(); range.len()];
        from.download(range, &mut through, deadline)?;
        to.upload(at, &through, deadline)
    }
}
