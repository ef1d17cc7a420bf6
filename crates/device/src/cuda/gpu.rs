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

/// Small pinned buffers for uploads and downloads in the course of a pass: how many, and bytes of
/// each.
pub(super) const STAGING: (usize, usize) = (8, 512 << 10);

/// One GPU, ready to work: its primary context, its kernels, and two streams. Cheap to clone; any
/// number of threads may use it.
///
/// Kernels, uploads, downloads and copies between buffers are done in the order in which they are
/// queued, on the stream of kernels. Copies from a [`PinnedRing`] to regions have a stream of their
/// own, so that loading goes on beside them.
#[derive(Clone)]
pub struct Gpu {
    resources: Arc<GpuResources>,
}

/// Dropped in this order: the context, which all others hold, goes last.
struct GpuResources {
    compute: Stream,
    copies: Stream,
    /// Loaded when it is first needed.
    module: OnceLock<KernelModule>,
    staging: PinnedRing,
    info: GpuInfo,
    context: Arc<Context>,
}

/// Bytes of a GPU's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuMemory {
    /// All of the GPU's.
    pub total_bytes: u64,
    /// Free for anybody.
    pub free_bytes: u64,
    /// Taken from the driver through this [`Gpu`]: arenas and buffers. The driver's own memory
    /// (context, kernels) is not in it.
    pub reserved_bytes: u64,
    /// The most that was taken so at a time.
    pub peak_reserved_bytes: u64,
    /// Handed out of that, padding included.
    pub allocated_bytes: u64,
    /// The most that may be reserved.
    pub quota_bytes: u64,
}

impl Gpu {
    /// Opens a GPU: makes its context, loads the kernels (the first time on a machine the driver
    /// compiles them, for seconds) and pins 4 MiB for small copies. At most `quota_bytes` will
    /// be taken of its memory.
    ///
    /// # Errors
    /// [`CudaError::NoSuchDevice`], [`CudaError::Unusable`], [`CudaError::Image`], or what the driver
    /// says.
    pub fn open(driver: &Driver, ordinal: usize, quota_bytes: u64) -> Result<Gpu, CudaError> {
        let gpu = Gpu::for_copies(driver, ordinal, quota_bytes)?;
        gpu.load_kernels()?;
        Ok(gpu)
    }

    /// Loads the kernels now, where they are not yet loaded.
    ///
    /// # Errors
    /// [`CudaError::Image`], or what the driver says.
    pub fn load_kernels(&self) -> Result<(), CudaError> {
        self.module().map(|_| ())
    }

    /// Opens a GPU as [`Self::open`] does, but loads the kernels only when one is launched, or by
    /// [`Self::load_kernels`].
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
            staging: PinnedRing::in_context(&context, STAGING.0, STAGING.1)?,
            info,
            context,
        };
        Ok(Gpu { resources: Arc::new(resources) })
    }

    /// Its number, as the driver counts.
    pub fn ordinal(&self) -> usize {
        self.resources.context.ordinal
    }

    /// What it is, as found when it was opened.
    pub fn info(&self) -> &GpuInfo {
        &self.resources.info
    }

    /// Its memory now.
    ///
    /// # Errors
    /// What the driver says.
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

    /// Waits until everything that was queued, kernels and copies, is done.
    ///
    /// # Errors
    /// [`CudaError::Timeout`], or what the work failed with.
    pub fn synchronize(&self, deadline: Instant) -> Result<(), CudaError> {
        self.resources.copies.synchronize("the copies to it", deadline)?;
        self.resources.compute.synchronize("its kernels", deadline)
    }

    /// Whether `other` is this GPU.
    ///
    /// # Errors
    /// [`CudaError::WrongGpu`] where it is not.
    pub fn same(&self, what: &'static str, other: &Gpu) -> Result<(), CudaError> {
        if Arc::ptr_eq(&self.resources.context, &other.resources.context) {
            return Ok(());
        }
        Err(CudaError::WrongGpu { what, expected: self.ordinal(), found: other.ordinal() })
    }

    /// Waits for the copies that were queued until now.
    pub(super) fn await_copies(
        &self,
        doing: &'static str,
        deadline: Instant,
    ) -> Result<(), CudaError> {
        self.await_stream(&self.resources.copies, doing, deadline)
    }

    /// Waits for the kernels that were queued until now.
    pub(super) fn await_kernels(
        &self,
        doing: &'static str,
        deadline: Instant,
    ) -> Result<(), CudaError> {
        self.await_stream(&self.resources.compute, doing, deadline)
    }

    /// Unlike [`Stream::synchronize`], not for what others queue meanwhile.
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

    /// The stream of kernels.
    pub(super) fn compute(&self) -> &Stream {
        &self.resources.compute
    }

    /// The stream of copies from rings to regions.
    pub(super) fn copies(&self) -> &Stream {
        &self.resources.copies
    }

    /// The kernels.
    pub(super) fn module(&self) -> Result<&KernelModule, CudaError> {
        if let Some(module) = self.resources.module.get() {
            return Ok(module);
        }
        let module = KernelModule::load(&self.resources.context)?;
        Ok(self.resources.module.get_or_init(|| module))
    }

    /// The pinned buffers of uploads and downloads.
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
    /// The driver's handle of a GPU.
    pub(super) fn device(&self, ordinal: usize) -> Result<c_int, CudaError> {
        let devices = self.count()?;
        let number = c_int::try_from(ordinal).ok().filter(|_| ordinal < devices);
        let number = number.ok_or(CudaError::NoSuchDevice { ordinal, devices })?;
        let mut device = 0;
        // SAFETY: the pointer is to a local.
        let got = unsafe { (self.api.cuDeviceGet)(&raw mut device, number) };
        self.checked(Some(ordinal), "cuDeviceGet", got)?;
        Ok(device)
    }
}
