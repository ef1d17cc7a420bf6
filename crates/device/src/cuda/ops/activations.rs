use std::time::Instant;

use checkpoint::Dtype;

use super::{on, over};
use crate::DeviceError;
use crate::backend::Precision;
use crate::cpu::expect;
use crate::cuda::args::{EpilogueArgs, PackArgs};
use crate::cuda::{Buffer, Gpu, Kernel};

/// The forms of the activations that products on a GPU need: f32, or rounded to bf16.
///
/// [`Precision::Native`] rounds to bf16 for bf16 weights and keeps f32 for all others, quantized
/// ones too, which the CPU meets with whole numbers. [`Precision::Int8`] is as `Native` here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuActivationDtypes {
    precision: Precision,
    exact: bool,
    rounded: bool,
}

impl GpuActivationDtypes {
    /// Those that weights of these dtypes need.
    pub fn for_weights(precision: Precision, dtypes: impl IntoIterator<Item = Dtype>) -> Self {
        dtypes.into_iter().fold(Self { precision, exact: false, rounded: false }, Self::and)
    }

    /// Also the one that weights of `dtype` need.
    #[must_use]
    pub fn and(mut self, dtype: Dtype) -> Self {
        if self.rounds(dtype) {
            self.rounded = true;
        } else {
            self.exact = true;
        }
        self
    }

    /// The precision asked for.
    pub fn precision(self) -> Precision {
        self.precision
    }

    /// Whether f32 is one of them.
    pub fn is_exact(self) -> bool {
        self.exact
    }

    /// Whether bf16 is one of them.
    pub fn is_rounded(self) -> bool {
        self.rounded
    }

    /// Whether activations are rounded for weights of `dtype`.
    pub(super) fn rounds(self, dtype: Dtype) -> bool {
        dtype == Dtype::BF16 && self.precision != Precision::F32
    }
}

/// Activations, `[tokens, cols]`, in the forms that weights need: prepared once, multiplied several
/// times.
///
/// Keeps its buffers from one `prepare` to the next.
pub struct GpuPackedActivations {
    forms: GpuActivationDtypes,
    tokens: usize,
    cols: usize,
    /// `[tokens, stride]` each, zeros from `cols` on.
    exact: Buffer<f32>,
    rounded: Buffer<u16>,
}

impl GpuPackedActivations {
    /// No activations yet, and room for `exact` numbers in f32 and `rounded` in bf16: more take
    /// memory when they come.
    ///
    /// # Errors
    /// Those of [`Buffer::new`].
    pub fn new(gpu: &Gpu, exact: usize, rounded: usize) -> Result<Self, DeviceError> {
        let forms = GpuActivationDtypes::for_weights(Precision::F32, []);
        let (exact, rounded) = (Buffer::new(gpu, exact)?, Buffer::new(gpu, rounded)?);
        Ok(Self { forms, tokens: 0, cols: 0, exact, rounded })
    }

    /// Numbers that one form of `[tokens, cols]` takes.
    pub fn numbers(tokens: usize, cols: usize) -> usize {
        tokens * stride_for(cols)
    }

    /// Takes `x`, [tokens, cols], in the given forms.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or those of [`Buffer::resize`].
    pub fn prepare(
        &mut self,
        gpu: &Gpu,
        x: &Buffer<f32>,
        tokens: usize,
        cols: usize,
        forms: GpuActivationDtypes,
    ) -> Result<(), DeviceError> {
        expect("inputs: x is [tokens, cols]", tokens * cols, x.len())?;
        on(gpu, x)?;
        let (to, stride) = (self.begin(gpu, tokens, cols, forms)?, stride_for(cols));
        let args = PackArgs {
            x: x.address(),
            out_bf16: to.out_bf16,
            out_f32: to.out_f32,
            tokens: tokens as i64,
            cols: cols as i64,
            stride: stride as i64,
        };
        // SAFETY: x is [tokens, cols] and the forms [tokens, stride], on this GPU, as was checked
        // and made so.
        Ok(unsafe { gpu.launch(Kernel::PackActivations, over(tokens * stride / 8), &args) }?)
    }

    /// Becomes `[tokens, cols]` in the given forms, all of which somebody is about to write: where
    /// they are.
    fn begin(
        &mut self,
        gpu: &Gpu,
        tokens: usize,
        cols: usize,
        forms: GpuActivationDtypes,
    ) -> Result<EpilogueArgs, DeviceError> {
        on(gpu, &self.exact)?;
        (self.forms, self.tokens, self.cols) = (forms, tokens, cols);
        let to = |wanted: bool| if wanted { tokens * stride_for(cols) } else { 0 };
        self.exact.resize(to(forms.exact))?;
        self.rounded.resize(to(forms.rounded))?;
        let address = |wanted: bool, address: u64| if wanted { address } else { 0 };
        let (rounded, exact) = (self.rounded.address(), self.exact.address());
        Ok(EpilogueArgs {
            out_bf16: address(forms.rounded, rounded),
            out_f32: address(forms.exact, exact),
        })
    }

    /// What they hold, on the host: exact, and rounded.
    pub(in crate::cuda) fn downloaded(
        &self,
        deadline: Instant,
    ) -> Result<(Vec<f32>, Vec<u16>), DeviceError> {
        let (mut exact, mut rounded) = (vec![0.0; self.exact.len()], vec![0; self.rounded.len()]);
        self.exact.download(0..exact.len(), &mut exact, deadline)?;
        self.rounded.download(0..rounded.len(), &mut rounded, deadline)?;
        Ok((exact, rounded))
    }

    /// Tokens prepared.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Their features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The forms prepared.
    pub fn forms(&self) -> GpuActivationDtypes {
        self.forms
    }

    /// Bytes held for reuse.
    pub fn capacity_bytes(&self) -> usize {
        4 * self.exact.capacity() + 2 * self.rounded.capacity()
    }

    /// Numbers from one token to the next.
    pub(super) fn stride(&self) -> usize {
        stride_for(self.cols)
    }

    /// Where the form for weights of `dtype` starts.
    pub(super) fn address(&self, gpu: &Gpu, dtype: Dtype) -> Result<u64, DeviceError> {
        on(gpu, &self.exact)?;
        let rounds = self.forms.rounds(dtype);
        let (there, form) =
            if rounds { (self.forms.rounded, "bf16") } else { (self.forms.exact, "f32") };
        if !there {
            return Err(DeviceError::ActivationDtypeMissing {
                activations: form,
                dtype: dtype.name(),
            });
        }
        Ok(if rounds { self.rounded.address() } else { self.exact.address() })
    }
}

/// Inputs of products that the kernel which makes them writes as well: what comes out is as after
/// [`GpuPackedActivations::prepare`] of its result.
pub struct GpuEpilogue<'a> {
    /// What is written.
    pub inputs: &'a mut GpuPackedActivations,
    /// Rows of the result.
    pub tokens: usize,
    /// Their features.
    pub cols: usize,
    /// The forms wanted.
    pub forms: GpuActivationDtypes,
}

impl GpuEpilogue<'_> {
    /// Has `launch` queue the kernel that makes `out`, and the inputs with it. Inputs whose rows
    /// are padded are prepared afterwards.
    pub(super) fn fill(
        epilogue: Option<Self>,
        gpu: &Gpu,
        out: &Buffer<f32>,
        launch: impl FnOnce(EpilogueArgs) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let Some(Self { inputs, tokens, cols, forms }) = epilogue else {
            return launch(EpilogueArgs::default());
        };
        expect("a result that is multiplied next: [tokens, cols]", tokens * cols, out.len())?;
        if stride_for(cols) == cols {
            return launch(inputs.begin(gpu, tokens, cols, forms)?);
        }
        launch(EpilogueArgs::default())?;
        inputs.prepare(gpu, out, tokens, cols, forms)
    }
}

/// Whole eights: loads of 16 bytes are then aligned, and need no check at the end of a row.
fn stride_for(cols: usize) -> usize {
    cols.next_multiple_of(8)
}
