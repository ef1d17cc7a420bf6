//! Activations packed in the dtypes that the linear kernels read.

use std::time::Instant;

use checkpoint::Dtype;

use super::{check_gpu, grid_over};
use crate::DeviceError;
use crate::backend::{Epilogue, Precision};
use crate::cpu::expect;
use crate::cuda::args::{EpilogueArgs, PackArgs};
use crate::cuda::{Buffer, Gpu, Kernel};

/// The dtypes in which matrix multiplications on a GPU read their activations: f32, bf16 (rounded),
/// or both.
///
/// [`Precision::Native`] rounds activations to bf16 for bf16 weights and keeps f32 for all other
/// weights, also for quantized weights, for which the CPU uses integer activations. On a GPU,
/// [`Precision::Int8`] equals `Native`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuActivationDtypes {
    precision: Precision,
    f32: bool,
    bf16: bool,
}

impl GpuActivationDtypes {
    /// The activation dtypes that weights of the given dtypes require.
    pub fn for_weights(precision: Precision, dtypes: impl IntoIterator<Item = Dtype>) -> Self {
        dtypes.into_iter().fold(Self { precision, f32: false, bf16: false }, Self::and)
    }

    /// Adds the activation dtype for weights of `dtype`.
    #[must_use]
    pub fn and(mut self, dtype: Dtype) -> Self {
        if self.rounds_for(dtype) {
            self.bf16 = true;
        } else {
            self.f32 = true;
        }
        self
    }

    pub fn precision(self) -> Precision {
        self.precision
    }

    pub fn includes_f32(self) -> bool {
        self.f32
    }

    pub fn includes_bf16(self) -> bool {
        self.bf16
    }

    /// Whether activations are rounded to bf16 for weights of `dtype`.
    pub(super) fn rounds_for(self, dtype: Dtype) -> bool {
        dtype == Dtype::BF16 && self.precision != Precision::F32
    }
}

/// Activations, `[tokens, cols]`, in the dtypes that the weights require: packed once and
/// multiplied with several weights. The next [`Self::pack`] reuses the buffers.
pub struct GpuPackedActivations {
    dtypes: GpuActivationDtypes,
    tokens: usize,
    cols: usize,
    /// `[tokens, stride]`, with zeros from column `cols` on; `bf16` has the same layout.
    f32: Buffer<f32>,
    bf16: Buffer<u16>,
}

impl GpuPackedActivations {
    /// Allocates buffers for `f32_len` elements in f32 and `bf16_len` in bf16; they grow on demand.
    ///
    /// # Errors
    /// Those of [`Buffer::new`].
    pub fn new(gpu: &Gpu, f32_len: usize, bf16_len: usize) -> Result<Self, DeviceError> {
        let dtypes = GpuActivationDtypes::for_weights(Precision::F32, []);
        let (f32, bf16) = (Buffer::new(gpu, f32_len)?, Buffer::new(gpu, bf16_len)?);
        Ok(Self { dtypes, tokens: 0, cols: 0, f32, bf16 })
    }

    /// Number of elements that `[tokens, cols]` occupies in one dtype, padding included.
    pub fn elements(tokens: usize, cols: usize) -> usize {
        tokens * stride_of(cols)
    }

    /// Packs `x`, `[tokens, cols]`, in the given dtypes.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or those of [`Buffer::resize`].
    pub fn pack(
        &mut self,
        gpu: &Gpu,
        x: &Buffer<f32>,
        tokens: usize,
        cols: usize,
        dtypes: GpuActivationDtypes,
    ) -> Result<(), DeviceError> {
        expect("pack: x is [tokens, cols]", tokens * cols, x.len())?;
        check_gpu(gpu, x)?;
        let (out, stride) = (self.resize(gpu, tokens, cols, dtypes)?, stride_of(cols));
        let args = PackArgs {
            x: x.address(),
            out_bf16: out.out_bf16,
            out_f32: out.out_f32,
            tokens: tokens as i64,
            cols: cols as i64,
            stride: stride as i64,
        };
        // SAFETY: x is [tokens, cols] and the outputs are [tokens, stride], on this GPU, as checked
        // and resized above.
        Ok(unsafe { gpu.launch(Kernel::PackActivations, grid_over(tokens * stride / 8), &args) }?)
    }

    /// Resizes to `[tokens, cols]` and returns the device addresses that a kernel must write.
    fn resize(
        &mut self,
        gpu: &Gpu,
        tokens: usize,
        cols: usize,
        dtypes: GpuActivationDtypes,
    ) -> Result<EpilogueArgs, DeviceError> {
        check_gpu(gpu, &self.f32)?;
        (self.dtypes, self.tokens, self.cols) = (dtypes, tokens, cols);
        let len = |included: bool| if included { Self::elements(tokens, cols) } else { 0 };
        self.f32.resize(len(dtypes.f32))?;
        self.bf16.resize(len(dtypes.bf16))?;
        let address = |included: bool, address: u64| if included { address } else { 0 };
        Ok(EpilogueArgs {
            out_bf16: address(dtypes.bf16, self.bf16.address()),
            out_f32: address(dtypes.f32, self.f32.address()),
        })
    }

    /// Copies the packed f32 and bf16 elements to the host.
    pub(in crate::cuda) fn download(
        &self,
        deadline: Instant,
    ) -> Result<(Vec<f32>, Vec<u16>), DeviceError> {
        let (mut f32, mut bf16) = (vec![0.0; self.f32.len()], vec![0; self.bf16.len()]);
        self.f32.download(0..f32.len(), &mut f32, deadline)?;
        self.bf16.download(0..bf16.len(), &mut bf16, deadline)?;
        Ok((f32, bf16))
    }

    pub fn tokens(&self) -> usize {
        self.tokens
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn dtypes(&self) -> GpuActivationDtypes {
        self.dtypes
    }

    /// Bytes of GPU memory that the buffers occupy, unused capacity included.
    pub fn capacity_bytes(&self) -> usize {
        4 * self.f32.capacity() + 2 * self.bf16.capacity()
    }

    /// Number of elements from one token to the next, padding included.
    pub(super) fn stride(&self) -> usize {
        stride_of(self.cols)
    }

    /// Device address of the activations for weights of `dtype`.
    pub(super) fn address(&self, gpu: &Gpu, dtype: Dtype) -> Result<u64, DeviceError> {
        check_gpu(gpu, &self.f32)?;
        let rounds = self.dtypes.rounds_for(dtype);
        let (packed, activations) =
            if rounds { (self.dtypes.bf16, "bf16") } else { (self.dtypes.f32, "f32") };
        if !packed {
            return Err(DeviceError::ActivationDtypeMissing { activations, dtype: dtype.name() });
        }
        Ok(if rounds { self.bf16.address() } else { self.f32.address() })
    }
}

/// Queues a kernel that computes `out`, with `epilogue` fused into it. If rows need padding, a
/// second kernel packs them instead.
pub(super) fn with_epilogue(
    gpu: &Gpu,
    epilogue: Option<Epilogue<'_, Gpu>>,
    out: &Buffer<f32>,
    launch: impl FnOnce(EpilogueArgs) -> Result<(), DeviceError>,
) -> Result<(), DeviceError> {
    let Some(Epilogue { packed, rows, cols, dtypes }) = epilogue else {
        return launch(EpilogueArgs::default());
    };
    expect("epilogue: the result is [rows, cols]", rows * cols, out.len())?;
    if stride_of(cols) == cols {
        return launch(packed.resize(gpu, rows, cols, dtypes)?);
    }
    launch(EpilogueArgs::default())?;
    packed.pack(gpu, out, rows, cols, dtypes)
}

/// Elements per packed row: padded to a multiple of 8, so that 16-byte loads are aligned and need
/// no check at the end of a row.
fn stride_of(cols: usize) -> usize {
    cols.next_multiple_of(8)
}
