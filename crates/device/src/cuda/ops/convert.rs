//! Conversion of weights between dtypes, and random weights and activations.

use checkpoint::Dtype;

use super::{check_gpu, grid_over};
use crate::DeviceError;
use crate::cpu::expect;
use crate::cuda::args::{ConvertArgs, ElementType, FillArgs};
use crate::cuda::{Buffer, CudaError, FillSpan, Gpu, Kernel};

impl Gpu {
    /// Converts weights at load time. `from` contains elements in f32, f16 or bf16; `to` receives
    /// the same number of elements in `dtype`, which is one of these dtypes or Q8_0. Q8_0 requires
    /// whole blocks of 32 elements and gives the same bytes as the CPU's `quantize_int8`.
    ///
    /// # Errors
    /// [`DeviceError::DtypeUnsupported`], [`DeviceError::Shape`], or the driver's error.
    pub fn convert(
        &self,
        from_dtype: Dtype,
        from: &Buffer<u8>,
        dtype: Dtype,
        to: &mut FillSpan<'_>,
    ) -> Result<(), DeviceError> {
        let from_type = element_type(from_dtype)?;
        let count = from.len() / from_dtype.block_bytes();
        expect("convert: whole elements", count * from_dtype.block_bytes(), from.len())?;
        expect("convert: whole blocks", count.next_multiple_of(dtype.block_elements()), count)?;
        expect("convert: to", count / dtype.block_elements() * dtype.block_bytes(), to.len())?;
        expect("convert: misalignment in bytes", 0, (to.address() % alignment(dtype)) as usize)?;
        check_gpu(self, from)?;
        self.same("the target of a conversion", to.gpu())?;
        let (kernel, to_type) = match dtype {
            Dtype::Q8_0 => (Kernel::QuantizeQ8_0, ElementType::Int8),
            dtype => (Kernel::Convert, element_type(dtype)?),
        };
        let args = ConvertArgs {
            from: from.address(),
            to: to.address(),
            count: count as i64,
            from_type: from_type as i32,
            to_type: to_type as i32,
        };
        // SAFETY: `from` and `to` have `count` elements in their dtypes, on this GPU, as checked
        // above.
        Ok(unsafe { self.launch(kernel, grid_over(count), &args) }?)
    }

    /// Fills `to` with random weights in any dtype that kernels read. Unquantized weights are
    /// approximately normal with this standard deviation; quantized weights have random codes and
    /// this root mean square. The same seed gives the same bytes.
    ///
    /// # Errors
    /// [`DeviceError::DtypeUnsupported`], [`DeviceError::Shape`], or the driver's error.
    pub fn fill_random(
        &self,
        dtype: Dtype,
        to: &mut FillSpan<'_>,
        deviation: f32,
        seed: u64,
    ) -> Result<(), DeviceError> {
        let count = to.len() / dtype.block_bytes();
        expect("fill_random: whole blocks", count * dtype.block_bytes(), to.len())?;
        let misaligned = (to.address() % alignment(dtype)) as usize;
        expect("fill_random: misalignment in bytes", 0, misaligned)?;
        self.same("the target of random weights", to.gpu())?;
        let unquantized = dtype.block_elements() == 1;
        // Byte offset and number of the f16 scales in a block, and the root mean square of elements
        // with uniform random codes and scales of 1.
        let (scales_at, scales, spread) = match dtype {
            Dtype::Q8_0 => (0, 1, 74.0),
            Dtype::Q4_0 => (0, 1, 4.6),
            Dtype::Q4_1 => (0, 2, 9.7),
            Dtype::Q5_0 => (0, 1, 9.2),
            Dtype::Q5_1 => (0, 2, 18.9),
            Dtype::Q4K => (0, 2, 300.0),
            Dtype::Q5K => (0, 2, 636.0),
            Dtype::Q6K => (208, 1, 1366.0),
            _ => (0, 0, 1.0),
        };
        let args = FillArgs {
            to: to.address(),
            count: count as i64,
            seed,
            deviation: deviation / spread,
            element_type: if unquantized { element_type(dtype)? } else { ElementType::Int8 } as i32,
            block_bytes: dtype.block_bytes() as i32,
            scales_at,
            scales,
            unused: 0,
        };
        let (kernel, threads) =
            if unquantized { (Kernel::FillNormal, count) } else { (Kernel::FillBlocks, to.len()) };
        // SAFETY: `to` consists of `count` whole blocks and is on this GPU.
        Ok(unsafe { self.launch(kernel, grid_over(threads), &args) }?)
    }

    /// Fills `to` with approximately normal elements with this standard deviation. The same seed
    /// gives the same elements.
    ///
    /// # Errors
    /// The driver's error.
    pub fn fill_activations(
        &self,
        to: &mut Buffer<f32>,
        deviation: f32,
        seed: u64,
    ) -> Result<(), CudaError> {
        self.same("the target of random activations", to.gpu())?;
        let args = FillArgs {
            to: to.address(),
            count: to.len() as i64,
            seed,
            deviation,
            element_type: ElementType::F32 as i32,
            block_bytes: 4,
            scales_at: 0,
            scales: 0,
            unused: 0,
        };
        // SAFETY: `to` has `count` elements and is on this GPU.
        unsafe { self.launch(Kernel::FillNormal, grid_over(to.len()), &args) }
    }
}

fn element_type(dtype: Dtype) -> Result<ElementType, DeviceError> {
    match dtype {
        Dtype::F32 => Ok(ElementType::F32),
        Dtype::F16 => Ok(ElementType::F16),
        Dtype::BF16 => Ok(ElementType::Bf16),
        dtype => Err(DeviceError::DtypeUnsupported { dtype: dtype.name() }),
    }
}

/// Alignment that kernels need for blocks of a dtype, in bytes.
fn alignment(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F32 => 4,
        Dtype::F16 | Dtype::BF16 => 2,
        _ => 1,
    }
}
