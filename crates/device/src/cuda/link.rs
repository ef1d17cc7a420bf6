use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::call;
use super::event::Event;
use super::memory::{Allocation, inside};
use super::stream::Stream;
use super::{Buffer, CudaError, Gpu, PinnedBuffer};
use crate::memory::Plain;

/// Bytes that are sent to see whether they arrive.
const CANARY_BYTES: usize = 1 << 20;

/// How long they may take: a thousand times as long as over the slowest link.
const CANARY_LIMIT: Duration = Duration::from_secs(2);

/// How bytes go from one GPU to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkPath {
    /// From GPU to GPU.
    Direct,
    /// Through pinned host memory.
    Staged {
        /// Why not directly.
        why: String,
    },
}

/// A way from one GPU to another. Whoever copies need not know which.
#[derive(Debug)]
pub struct PeerLink {
    from: Gpu,
    to: Gpu,
    path: LinkPath,
}

impl PeerLink {
    /// Finds the way: direct where the driver says that the GPUs reach each other and a copy
    /// between them arrives, unchanged and soon. On some machines it says so and copies never
    /// end, or bring something else.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`] where a MiB on each GPU is not to be had, [`CudaError::Timeout`]
    /// where even copies to and from the host do not end, or what the driver says.
    pub fn open(from: &Gpu, to: &Gpu, deadline: Instant) -> Result<PeerLink, CudaError> {
        let path = match Self::doubt(from, to, deadline)? {
            None => LinkPath::Direct,
            Some(why) => LinkPath::Staged { why },
        };
        Ok(PeerLink { from: from.clone(), to: to.clone(), path })
    }

    /// What speaks against the direct way.
    fn doubt(from: &Gpu, to: &Gpu, deadline: Instant) -> Result<Option<String>, CudaError> {
        if from.same("the gpu", to).is_ok() {
            return Ok(None);
        }
        if !from.info().peers.contains(&to.ordinal()) {
            return Ok(Some("the driver says that the GPUs do not reach each other".to_owned()));
        }
        // SAFETY: both contexts are alive.
        match unsafe { call!(from.context(), cuCtxEnablePeerAccess(to.context().handle, 0)) } {
            Ok(())
            | Err(CudaError::Failed {
                code: super::api::code::PEER_ACCESS_ALREADY_ENABLED, ..
            }) => {}
            Err(refused @ CudaError::Failed { .. }) => return Ok(Some(refused.to_string())),
            Err(lost) => return Err(lost),
        }
        canary(from, to, deadline)
    }

    /// The way.
    pub fn path(&self) -> &LinkPath {
        &self.path
    }

    /// Copies the numbers of `range` of `from` to those of `to` from `at` on, in order with both
    /// GPUs' kernels. Where it is staged, it waits for what was queued on the first GPU before.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`], [`CudaError::WrongGpu`], [`CudaError::Timeout`], or what the
    /// driver says.
    pub fn copy<T: Plain>(
        &self,
        from: &Buffer<T>,
        range: Range<usize>,
        to: &mut Buffer<T>,
        at: usize,
        deadline: Instant,
    ) -> Result<(), CudaError> {
        self.from.same("the source of a copy", from.gpu())?;
        self.to.same("the target of a copy", to.gpu())?;
        inside("a GPU's buffer", &range, from.len())?;
        inside("a GPU's buffer", &(at..at.saturating_add(range.len())), to.len())?;
        let bytes = range.len() * size_of::<T>();
        let (source, target) = (from.address_of(range.start)?, to.address_of(at)?);
        // SAFETY: both ranges lie inside of buffers that are alive, `to` borrowed exclusively; all
        // uses of them are in the GPUs' streams of kernels, which both ways keep in order.
        unsafe {
            match self.path {
                LinkPath::Direct => self.direct(target, source, bytes),
                LinkPath::Staged { .. } => self.staged(target, source, bytes, deadline),
            }
        }
    }

    /// The second GPU's earlier work, then the copy, then the second GPU's later work.
    ///
    /// # Safety
    /// The ranges must be memory of the two GPUs that only their queued work uses.
    unsafe fn direct(&self, to: u64, from: u64, bytes: usize) -> Result<(), CudaError> {
        if bytes == 0 {
            return Ok(());
        }
        let ready = Event::new(self.to.context())?;
        ready.record(self.to.compute())?;
        self.from.compute().wait_for(&ready)?;
        // SAFETY: the caller's promise.
        unsafe { send(&self.from, self.from.compute(), from, &self.to, to, bytes) }?;
        let sent = Event::new(self.from.context())?;
        sent.record(self.from.compute())?;
        self.to.compute().wait_for(&sent)
    }

    /// Piece by piece through the first GPU's pinned buffers; while one goes up, the next come
    /// down.
    ///
    /// # Safety
    /// As for [`Self::direct`].
    unsafe fn staged(
        &self,
        to: u64,
        from: u64,
        bytes: usize,
        deadline: Instant,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise; the buffer has at least `len` bytes.
        let mut pass_on = |at: usize, len: usize, buffer: PinnedBuffer| unsafe {
            buffer.filled().copy_to_kernels(&self.to, to + at as u64, 0..len)
        };
        // SAFETY: the caller's promise.
        unsafe { self.from.bring_down(from, bytes, deadline, &mut pass_on) }
    }
}

/// Queues a copy between two GPUs.
///
/// # Safety
/// The ranges must be memory of the two GPUs that nobody else uses until the copy is done.
unsafe fn send(
    from: &Gpu,
    stream: &Stream,
    address: u64,
    to: &Gpu,
    target: u64,
    bytes: usize,
) -> Result<(), CudaError> {
    let (source, destination) = (from.context(), to.context());
    // SAFETY: the caller's promise; both contexts are alive.
    unsafe {
        call!(
            source,
            cuMemcpyPeerAsync(
                target,
                destination.handle,
                address,
                source.handle,
                bytes,
                stream.handle
            )
        )
    }
}

/// Sends a pattern on a stream of its own, and looks whether it arrives; else says what happened.
fn canary(from: &Gpu, to: &Gpu, deadline: Instant) -> Result<Option<String>, CudaError> {
    let pattern: Vec<u8> =
        (0..CANARY_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let source = Arc::new(Allocation::beside_quota(from.context(), CANARY_BYTES)?);
    let target = Arc::new(Allocation::beside_quota(to.context(), CANARY_BYTES)?);
    let stream = Stream::new(from.context())?;
    let sent = Event::new(from.context())?;
    // SAFETY: both blocks are of that size and nobody else's; each step is waited for before the
    // next.
    unsafe {
        from.upload_bytes(source.address(), &pattern, deadline)?;
        from.await_kernels("an upload to it", deadline)?;
        to.compute().zero(target.address(), CANARY_BYTES)?;
        to.await_kernels("the clearing of memory on it", deadline)?;
        send(from, &stream, source.address(), to, target.address(), CANARY_BYTES)?;
    }
    sent.record(&stream)?;
    match sent.wait("a copy to another GPU", deadline.min(Instant::now() + CANARY_LIMIT)) {
        Err(CudaError::Timeout { waited, .. }) => {
            // It may still arrive: nobody else must get this memory, and giving it back would wait
            // for the copy.
            std::mem::forget(target);
            return Ok(Some(format!(
                "a copy between them was not done after {:.1} s",
                waited.as_secs_f64()
            )));
        }
        done => done?,
    }
    let mut arrived = vec![0; CANARY_BYTES];
    // SAFETY: the block is of that size and alive.
    unsafe { to.download_bytes(target.address(), &mut arrived, deadline) }?;
    let changed = pattern.iter().zip(&arrived).position(|(sent, arrived)| sent != arrived);
    Ok(changed.map(|at| {
        format!("a copy between them brought other bytes (from byte {at} of {CANARY_BYTES} on)")
    }))
}
