//! Numbers from one stored form to another, and random ones.

use checkpoint::Dtype;

use super::{on, over};
use crate::DeviceError;
use crate::cpu::expect;
use crate::cuda::args::{ConvertArgs, ElementType, FillArgs};
use crate::cuda::{Buffer, CudaError, Gpu, GpuSpan, Kernel};

impl Gpu {
    /// Converts weights while they are loaded: `from`, bytes of F32, F16 or BF16 numbers, into
    /// `to`, which takes as many numbers of `dtype`: one of these, or Q8_0 (a whole number of
    /// blocks of 32; the same bytes as the CPU's `quantize_int8`).
    ///
    /// # Errors
    /// [`DeviceError::DtypeUnsupported`], [`DeviceError::Shape`], or the driver's error.
    pub fn convert(
        &self,
        from_dtype: Dtype,
        from: &Buffer<u8>,
        dtype: Dtype,
        to: &mut GpuSpan<'_>,
    ) -> Result<(), DeviceError> {
        let from_type = element_type(from_dtype)?;
        let count = from.len() / from_dtype.block_bytes();
        expect("convert: whole numbers", count * from_dtype.block_bytes(), from.len())?;
        expect("convert: whole blocks", count.next_multiple_of(dtype.block_elements()), count)?;
        expect("convert: to", count / dtype.block_elements() * dtype.block_bytes(), to.len())?;
        expect(
            "convert: the place on the GPU, in numbers' sizes",
            0,
            (to.address() % unit(dtype)) as usize,
        )?;
        on(self, from)?;
        self.same("the place of converted weights", to.gpu())?;
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
        // SAFETY: both sides are `count` numbers long in their dtypes, on this GPU.
        Ok(unsafe { self.launch(kernel, over(count), &args) }?)
    }

    /// Fills `to` with weights of any dtype that kernels read, about normal with the given
    /// deviation, the same for the same seed. Quantized ones are of random codes.
    ///
    /// # Errors
    /// [`DeviceError::DtypeUnsupported`], [`DeviceError::Shape`], or the driver's error.
    pub fn fill_random(
        &self,
        dtype: Dtype,
        to: &mut GpuSpan<'_>,
        deviation: f32,
        seed: u64,
    ) -> Result<(), DeviceError> {
        let count = to.len() / dtype.block_bytes();
        expect("fill_random: whole blocks", count * dtype.block_bytes(), to.len())?;
        expect(
            "fill_random: the place on the GPU, in numbers' sizes",
            0,
            (to.address() % unit(dtype)) as usize,
        )?;
        self.same("the place of random weights", to.gpu())?;
        let numbers = dtype.block_elements() == 1;
        // What numbers of evenly spread codes come to, in the mean of squares, with scales of 1.
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
            element_type: if numbers { element_type(dtype)? } else { ElementType::Int8 } as i32,
            block_bytes: dtype.block_bytes() as i32,
            scales_at,
            scales,
            unused: 0,
        };
        let kernel = if numbers { Kernel::FillNormal } else { Kernel::FillBlocks };
        // SAFETY: `to` is `count` whole blocks, on this GPU.
        Ok(unsafe { self.launch(kernel, over(if numbers { count } else { to.len() }), &args) }?)
    }

    /// Fills activations with about normal numbers, the same for the same seed.
    ///
    /// # Errors
    /// The driver's error.
    pub fn fill_activations(
        &self,
        to: &mut Buffer<f32>,
        deviation: f32,
        seed: u64,
    ) -> Result<(), CudaError> {
        self.same("the place of random numbers", to.gpu())?;
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
        // SAFETY: `to` is that long, and on this GPU.
        unsafe { self.launch(Kernel::FillNormal, over(to.len()), &args) }
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

/// What addresses of a dtype's blocks are multiples of.
fn unit(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F32 => 4,
        Dtype::F16 | Dtype::BF16 => 2,
        _ => 1,
    }
}
