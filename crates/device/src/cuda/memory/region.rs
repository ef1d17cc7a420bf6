use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::CardBytes;
use super::block::Block;
use crate::cuda::{Card, CudaError};

/// Card memory on its way to become [`CardBytes`]: cut into [`CardPart`]s that threads fill independently.
pub struct CardRegion {
    card: Card,
    block: Arc<Block>,
    offset: usize,
    len: usize,
    /// Bytes given out as parts so far.
    cut: usize,
    arrivals: Arc<Arrivals>,
}

/// What is on its way into a region.
#[derive(Default)]
struct Arrivals {
    /// Bytes whose copy or kernel was queued.
    queued: AtomicUsize,
    /// Some were queued on the stream of copies.
    copied: AtomicBool,
    /// Some were queued on the stream of kernels.
    computed: AtomicBool,
}

impl CardRegion {
    /// The caller promises that `offset..offset + len` of `block` belongs to nobody else.
    pub(super) fn new(card: Card, block: Arc<Block>, offset: usize, len: usize) -> Self {
        Self { card, block, offset, len, cut: 0, arrivals: Arc::default() }
    }

    /// Bytes of the region.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next `len` bytes of the region that were not cut yet.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`] where fewer are left.
    pub fn part(&mut self, len: usize) -> Result<CardPart, CudaError> {
        let range = self.cut..self.cut.saturating_add(len);
        super::inside("a region of a card's arena, in bytes,", &range, self.len)?;
        let offset = self.offset + self.cut;
        self.cut += len;
        let (card, block, arrivals) =
            (self.card.clone(), self.block.clone(), self.arrivals.clone());
        Ok(CardPart { card, block, offset, len, arrivals })
    }

    /// All bytes that were not cut yet, as one part.
    ///
    /// # Errors
    /// None at present; fallible like [`Self::part`].
    pub fn whole(&mut self) -> Result<CardPart, CudaError> {
        self.part(self.len - self.cut)
    }

    /// Consecutive parts of the given lengths.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`] where they are longer than what is left.
    pub fn parts(&mut self, lens: &[usize]) -> Result<Vec<CardPart>, CudaError> {
        lens.iter().map(|&len| self.part(len)).collect()
    }

    /// The filled region, once every copy and kernel that fills it is done. What was queued on the card in between is waited for too:
    /// finish regions late, not one by one.
    ///
    /// # Errors
    /// [`CudaError::Unfilled`] unless every byte was part of a successful [`CardPart::fill`] or was copied to; [`CudaError::Timeout`]; or
    /// what the work failed with.
    pub fn finish(self, deadline: Instant) -> Result<CardBytes, CudaError> {
        let filled = self.arrivals.queued.load(Ordering::Acquire);
        if filled != self.len {
            let (filled_bytes, expected_bytes) = (filled as u64, self.len as u64);
            return Err(CudaError::Unfilled {
                card: self.card.ordinal(),
                filled_bytes,
                expected_bytes,
            });
        }
        if self.arrivals.copied.load(Ordering::Acquire) {
            self.card.await_copies("the copy of weights to it", deadline)?;
        }
        if self.arrivals.computed.load(Ordering::Acquire) {
            self.card.await_kernels("the making of weights on it", deadline)?;
        }
        Ok(CardBytes::filled(self.card, self.block, self.offset, self.len))
    }
}

/// Exclusive, owned access to some bytes of a [`CardRegion`] until they are filled: by [`Self::fill`], or by a
/// [`PinnedBytes`](crate::cuda::PinnedBytes), which copies to it.
pub struct CardPart {
    card: Card,
    block: Arc<Block>,
    offset: usize,
    len: usize,
    arrivals: Arc<Arrivals>,
}

impl CardPart {
    /// Bytes of the part.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Lets `fill` queue kernels that write every byte. The bytes count as filled if it returns `Ok`.
    ///
    /// # Errors
    /// What `fill` returned.
    pub fn fill<E>(self, fill: impl FnOnce(&mut CardSpan<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut span = CardSpan {
            card: &self.card,
            address: self.address(),
            len: self.len,
            region: PhantomData,
        };
        fill(&mut span)?;
        self.arrivals.computed.store(true, Ordering::Release);
        self.arrivals.queued.fetch_add(self.len, Ordering::Release);
        Ok(())
    }

    pub(in crate::cuda) fn address(&self) -> u64 {
        self.block.address() + self.offset as u64
    }

    /// All bytes' copies were queued on the stream of copies.
    pub(in crate::cuda) fn copied(self) {
        self.arrivals.copied.store(true, Ordering::Release);
        self.arrivals.queued.fetch_add(self.len, Ordering::Release);
    }
}

/// Card memory that a kernel is about to write, all of it.
pub struct CardSpan<'a> {
    card: &'a Card,
    address: u64,
    len: usize,
    region: PhantomData<&'a mut ()>,
}

impl CardSpan<'_> {
    /// The card.
    pub fn card(&self) -> &Card {
        self.card
    }

    /// The first byte on the card.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
