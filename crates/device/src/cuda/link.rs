//! Copies between two GPUs: peer to peer, or staged through the host.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::call;
use super::event::Event;
use super::memory::{Allocation, check_range};
use super::stream::Stream;
use super::{Buffer, CudaError, Gpu, PinnedBuffer};
use crate::memory::Plain;

/// Bytes of the test copy that verifies peer access.
const TEST_COPY_BYTES: usize = 1 << 20;

/// Time limit of the test copy: a thousand times its duration on the slowest link.
const TEST_COPY_TIMEOUT: Duration = Duration::from_secs(2);

/// How data is copied between two GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkPath {
    /// Directly from one GPU's memory to the other's (peer to peer).
    Direct,
    /// Through pinned host memory.
    Staged {
        /// Why the direct path is not used.
        why: String,
    },
}

/// A link for copies from one GPU to another. Calls are the same for both paths.
#[derive(Debug)]
pub struct PeerLink {
    from: Gpu,
    to: Gpu,
    path: LinkPath,
}

impl PeerLink {
    /// Opens a link and chooses its path: direct if the driver reports peer access and a test copy
    /// arrives unchanged and in time. On some machines (IOMMU or ACS settings) the driver reports
    /// peer access, but copies never complete or corrupt data.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`] if 1 MiB per GPU is not free, [`CudaError::Timeout`] if even
    /// copies to and from the host do not complete, or the driver's error.
    pub fn open(from: &Gpu, to: &Gpu, deadline: Instant) -> Result<PeerLink, CudaError> {
        let path = match Self::peer_access_problem(from, to, deadline)? {
            None => LinkPath::Direct,
            Some(why) => LinkPath::Staged { why },
        };
        Ok(PeerLink { from: from.clone(), to: to.clone(), path })
    }

    /// Why the direct path cannot be used; `None` if it can.
    fn peer_access_problem(
        from: &Gpu,
        to: &Gpu,
        deadline: Instant,
    ) -> Result<Option<String>, CudaError> {
        if from.same("the GPU", to).is_ok() {
            return Ok(None);
        }
        if !from.info().peers.contains(&to.ordinal()) {
            return Ok(Some("the driver reports no peer access between the GPUs".to_owned()));
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
        test_copy(from, to, deadline)
    }

    pub fn path(&self) -> &LinkPath {
        &self.path
    }

    /// Copies elements `range` of `from` to the elements of `to` that start at index `at`, ordered
    /// with the kernels of both GPUs. A staged copy waits for all work queued earlier on the source
    /// GPU.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`], [`CudaError::WrongGpu`], [`CudaError::Timeout`], or the driver's
    /// error.
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
        check_range("a GPU buffer", &range, from.len())?;
        check_range("a GPU buffer", &(at..at.saturating_add(range.len())), to.len())?;
        let bytes = range.len() * size_of::<T>();
        let (source, target) = (from.address_of(range.start)?, to.address_of(at)?);
        // SAFETY: both ranges lie inside live buffers, and `to` is borrowed exclusively. Both
        // buffers are accessed only by work on the compute streams, with which both paths are
        // ordered.
        unsafe {
            match self.path {
                LinkPath::Direct => self.direct(target, source, bytes),
                LinkPath::Staged { .. } => self.staged(target, source, bytes, deadline),
            }
        }
    }

    /// Queues the copy on the source GPU's compute stream. It runs after all work queued so far and
    /// before all work queued later on the target GPU's compute stream.
    ///
    /// # Safety
    /// Both addresses must be those of `bytes` bytes of live memory of their GPUs that only work on
    /// the compute streams accesses.
    unsafe fn direct(&self, to: u64, from: u64, bytes: usize) -> Result<(), CudaError> {
        if bytes == 0 {
            return Ok(());
        }
        let ready = Event::new(self.to.context())?;
        ready.record(self.to.compute())?;
        self.from.compute().wait_for(&ready)?;
        // SAFETY: guaranteed by the caller.
        unsafe {
            let from = GpuAddress { gpu: &self.from, address: from };
            let to = GpuAddress { gpu: &self.to, address: to };
            queue_peer_copy(self.from.compute(), from, to, bytes)
        }?;
        let sent = Event::new(self.from.context())?;
        sent.record(self.from.compute())?;
        self.to.compute().wait_for(&sent)
    }

    /// Copies in pieces through the source GPU's pinned buffers; the upload of a piece overlaps
    /// with the download of the next ones.
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
        // SAFETY: guaranteed by the caller; the buffer has at least `len` bytes.
        let mut upload = |at: usize, len: usize, buffer: PinnedBuffer| unsafe {
            buffer.filled().copy_to_kernels(&self.to, to + at as u64, 0..len)
        };
        // SAFETY: guaranteed by the caller.
        unsafe { self.from.download_pieces(from, bytes, deadline, &mut upload) }
    }
}

/// An address in the memory of a GPU.
struct GpuAddress<'a> {
    gpu: &'a Gpu,
    address: u64,
}

/// Queues a peer copy on `stream`, a stream of the source GPU.
///
/// # Safety
/// Both ranges must be live memory of their GPUs that nothing else accesses until the copy is done.
unsafe fn queue_peer_copy(
    stream: &Stream,
    from: GpuAddress<'_>,
    to: GpuAddress<'_>,
    bytes: usize,
) -> Result<(), CudaError> {
    let (source, target) = (from.gpu.context(), to.gpu.context());
    // SAFETY: guaranteed by the caller; both contexts are alive.
    unsafe {
        call!(
            source,
            cuMemcpyPeerAsync(
                to.address,
                target.handle,
                from.address,
                source.handle,
                bytes,
                stream.handle
            )
        )
    }
}

/// Copies a test pattern on a separate stream and verifies it; returns a description of the
/// problem, if any.
fn test_copy(from: &Gpu, to: &Gpu, deadline: Instant) -> Result<Option<String>, CudaError> {
    let pattern: Vec<u8> =
        (0..TEST_COPY_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let source = Arc::new(Allocation::outside_quota(from.context(), TEST_COPY_BYTES)?);
    let target = Arc::new(Allocation::outside_quota(to.context(), TEST_COPY_BYTES)?);
    let stream = Stream::new(from.context())?;
    let sent = Event::new(from.context())?;
    // SAFETY: both allocations have `TEST_COPY_BYTES` bytes and are used only in this function;
    // each step is awaited before the next.
    unsafe {
        from.upload_bytes(source.address(), &pattern, deadline)?;
        from.await_kernels("an upload", deadline)?;
        to.compute().zero(target.address(), TEST_COPY_BYTES)?;
        to.await_kernels("clearing memory", deadline)?;
        let from = GpuAddress { gpu: from, address: source.address() };
        let to = GpuAddress { gpu: to, address: target.address() };
        queue_peer_copy(&stream, from, to, TEST_COPY_BYTES)?;
    }
    sent.record(&stream)?;
    match sent.wait("a copy to another GPU", deadline.min(Instant::now() + TEST_COPY_TIMEOUT)) {
        Err(CudaError::Timeout { waited, .. }) => {
            // The copy may still complete, so the target memory is leaked: it must not be reused,
            // and freeing it would wait for the copy.
            std::mem::forget(target);
            return Ok(Some(format!(
                "a test copy between them did not complete within {:.1} s",
                waited.as_secs_f64()
            )));
        }
        done => done?,
    }
    let mut arrived = vec![0; TEST_COPY_BYTES];
    // SAFETY: the target allocation is alive and has the length of `arrived`.
    unsafe { to.download_bytes(target.address(), &mut arrived, deadline) }?;
    let changed = pattern.iter().zip(&arrived).position(|(sent, arrived)| sent != arrived);
    Ok(changed.map(|at| {
        format!("a test copy between them was corrupted (from byte {at} of {TEST_COPY_BYTES} on)")
    }))
}
