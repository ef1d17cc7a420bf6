//! An opened GPU: context, kernels and streams.

use std::ffi::c_int;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::context::Context;
use super::event::Event;
use super::info::GpuInfo;
use super::module::KernelModule;
use super::pinned::PinnedRing;
use super::stream::Stream;
use super::{CudaError, Driver};

/// Number of pinned staging buffers of each GPU, for small uploads and downloads.
pub(super) const STAGING_BUFFERS: usize = 8;
/// Bytes of one staging buffer.
pub(super) const STAGING_BYTES: usize = 512 << 10;

/// One opened GPU: its primary context, its kernels and two streams. Cheap to clone, usable from
/// any number of threads.
///
/// Kernels, uploads, downloads and copies between buffers run in the order in which they are
/// queued, on the compute stream. Copies from a [`PinnedRing`] to regions are queued on a separate
/// stream, so that loading overlaps with computing.
#[derive(Clone)]
pub struct Gpu {
    resources: Arc<GpuResources>,
}

/// Fields are dropped in this order: the context last, since all other fields use it.
struct GpuResources {
    compute: Stream,
    copies: Stream,
    /// The kernels, loaded on first use.
    module: OnceLock<KernelModule>,
    staging: PinnedRing,
    info: GpuInfo,
    context: Arc<Context>,
}

/// Memory of a GPU, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuMemory {
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// Bytes that arenas and buffers of this [`Gpu`] have reserved from the driver. The driver's
    /// own memory (context, kernels) is not included.
    pub reserved_bytes: u64,
    /// Highest value of `reserved_bytes` so far.
    pub peak_reserved_bytes: u64,
    /// Bytes allocated from the reserved bytes, padding for alignment included.
    pub allocated_bytes: u64,
    /// Limit of `reserved_bytes`.
    pub quota_bytes: u64,
}

impl Gpu {
    /// Opens a GPU: creates its context, loads the kernels and pins 4 MiB of host memory for
    /// staging. On the first use on a machine the driver compiles the kernels, which takes seconds.
    /// `quota_bytes` limits the GPU memory that arenas and buffers can reserve.
    ///
    /// # Errors
    /// [`CudaError::NoSuchDevice`], [`CudaError::Unusable`], [`CudaError::Image`], or the driver's
    /// error.
    pub fn open(driver: &Driver, ordinal: usize, quota_bytes: u64) -> Result<Gpu, CudaError> {
        let gpu = Gpu::for_copies(driver, ordinal, quota_bytes)?;
        gpu.load_kernels()?;
        Ok(gpu)
    }

    /// Loads the kernels unless they are already loaded.
    ///
    /// # Errors
    /// [`CudaError::Image`], or the driver's error.
    pub fn load_kernels(&self) -> Result<(), CudaError> {
        self.module().map(|_| ())
    }

    /// Opens a GPU as [`Self::open`] does, except that the kernels are loaded only on the first
    /// launch or by [`Self::load_kernels`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn for_copies(driver: &Driver, ordinal: usize, quota_bytes: u64) -> Result<Gpu, CudaError> {
        let info = driver.gpu(ordinal)?;
        if let Some(why) = info.unusable {
            return Err(CudaError::Unusable { ordinal, name: info.name, why });
        }
        let device = driver.device(ordinal)?;
        let context = Arc::new(Context::open(driver, device, ordinal, quota_bytes)?);
        let resources = GpuResources {
            compute: Stream::new(&context)?,
            copies: Stream::new(&context)?,
            module: OnceLock::new(),
            staging: PinnedRing::in_context(&context, STAGING_BUFFERS, STAGING_BYTES)?,
            info,
            context,
        };
        Ok(Gpu { resources: Arc::new(resources) })
    }

    /// CUDA device ordinal.
    pub fn ordinal(&self) -> usize {
        self.resources.context.ordinal
    }

    /// Properties of the GPU, queried when it was opened.
    pub fn info(&self) -> &GpuInfo {
        &self.resources.info
    }

    /// Current memory use of the GPU.
    ///
    /// # Errors
    /// The driver's error.
    pub fn memory(&self) -> Result<GpuMemory, CudaError> {
        let (free_bytes, total_bytes) = self.resources.context.memory()?;
        let account = &self.resources.context.account;
        let (reserved_bytes, allocated_bytes) = account.bytes();
        let (peak_reserved_bytes, quota_bytes) = (account.peak_bytes(), account.quota_bytes);
        Ok(GpuMemory {
            total_bytes,
            free_bytes,
            reserved_bytes,
            peak_reserved_bytes,
            allocated_bytes,
            quota_bytes,
        })
    }

    /// Waits for all queued work: kernels and copies on both streams.
    ///
    /// # Errors
    /// [`CudaError::Timeout`], or the error of the work.
    pub fn synchronize(&self, deadline: Instant) -> Result<(), CudaError> {
        self.resources.copies.synchronize("copies", deadline)?;
        self.resources.compute.synchronize("kernels", deadline)
    }

    /// Checks that `other` is this GPU; `what` names the operand in the error.
    ///
    /// # Errors
    /// [`CudaError::WrongGpu`].
    pub fn same(&self, what: &'static str, other: &Gpu) -> Result<(), CudaError> {
        if Arc::ptr_eq(&self.resources.context, &other.resources.context) {
            return Ok(());
        }
        Err(CudaError::WrongGpu { what, expected: self.ordinal(), found: other.ordinal() })
    }

    /// Waits for the work queued so far on the copy stream.
    pub(super) fn await_copies(
        &self,
        doing: &'static str,
        deadline: Instant,
    ) -> Result<(), CudaError> {
        self.await_stream(&self.resources.copies, doing, deadline)
    }

    /// Waits for the work queued so far on the compute stream.
    pub(super) fn await_kernels(
        &self,
        doing: &'static str,
        deadline: Instant,
    ) -> Result<(), CudaError> {
        self.await_stream(&self.resources.compute, doing, deadline)
    }

    /// Waits for the work queued so far on `stream`. Unlike [`Stream::synchronize`], it does not
    /// wait for work that other threads queue during the wait.
    fn await_stream(
        &self,
        stream: &Stream,
        doing: &'static str,
        deadline: Instant,
    ) -> Result<(), CudaError> {
        let event = Event::new(&self.resources.context)?;
        event.record(stream)?;
        event.wait(doing, deadline)
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.resources.context
    }

    pub(super) fn compute(&self) -> &Stream {
        &self.resources.compute
    }

    /// The stream for copies from pinned rings to regions.
    pub(super) fn copies(&self) -> &Stream {
        &self.resources.copies
    }

    pub(super) fn module(&self) -> Result<&KernelModule, CudaError> {
        if let Some(module) = self.resources.module.get() {
            return Ok(module);
        }
        let module = KernelModule::load(&self.resources.context)?;
        Ok(self.resources.module.get_or_init(|| module))
    }

    /// Pinned buffers for uploads and downloads.
    pub(super) fn staging(&self) -> &PinnedRing {
        &self.resources.staging
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({}: {})", self.ordinal(), self.resources.info.name)
    }
}

impl Driver {
    /// The driver's device handle of the GPU with this CUDA device ordinal.
    pub(super) fn device(&self, ordinal: usize) -> Result<c_int, CudaError> {
        let devices = self.count()?;
        let number = c_int::try_from(ordinal).ok().filter(|_| ordinal < devices);
        let number = number.ok_or(CudaError::NoSuchDevice { ordinal, devices })?;
        let mut device = 0;
        // SAFETY: the output pointer refers to a local variable.
        let got = unsafe { (self.api.cuDeviceGet)(&raw mut device, number) };
        self.checked(Some(ordinal), "cuDeviceGet", got)?;
        Ok(device)
    }
}
