//! Random operands, on the host and on a GPU.

use std::time::{Duration, Instant};

use checkpoint::Dtype;
use half::bf16;

use super::CheckReport;
use crate::DeviceError;
use crate::backend::{Epilogue, Precision};
pub(super) use crate::cpu::random_operands::{DTYPES, OperandRng, random_weights};
use crate::cpu::reference;
use crate::cuda::{
    Buffer, Gpu, GpuActivationDtypes, GpuArena, GpuBytes, GpuMatrix, GpuPackedActivations,
    PinnedRing,
};
use crate::memory::Plain;

/// Deadline of every wait in the self-test.
pub(super) fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A matrix on the host and on a GPU. On the GPU it ends at the end of its allocation, so that
/// reads past it are detected.
pub(super) struct TestMatrix {
    pub gpu: GpuMatrix,
    pub bytes: Vec<u8>,
}

impl TestMatrix {
    pub fn random(
        gpu: &Gpu,
        rng: &mut OperandRng,
        dtype: Dtype,
        rows: usize,
        cols: usize,
    ) -> Result<Self, DeviceError> {
        let bytes = random_weights(rng, dtype, rows * cols);
        let data = bytes_on_gpu(gpu, &bytes)?;
        Ok(Self { gpu: GpuMatrix::new(dtype, rows, cols, data)?, bytes })
    }

    /// The elements of each row, decoded by the reference decoder.
    pub fn decoded(&self) -> Vec<Vec<f64>> {
        let GpuMatrix { dtype, cols, .. } = self.gpu;
        let rows = self.bytes.chunks_exact(self.gpu.row_bytes().max(1));
        rows.filter_map(|row| reference::decode_row(dtype, row, cols)).collect()
    }
}

/// Copies `bytes` to a separate GPU allocation, through a pinned buffer.
pub(super) fn bytes_on_gpu(gpu: &Gpu, bytes: &[u8]) -> Result<GpuBytes, DeviceError> {
    let ring = PinnedRing::new(gpu, 1, bytes.len())?;
    let mut buffer = ring.acquire(deadline())?;
    buffer.copy_from_slice(bytes);
    let mut region = GpuArena::new(gpu, bytes.len())?.region(bytes.len())?;
    buffer.filled().copy(0..bytes.len(), region.whole()?)?;
    Ok(region.finish(deadline())?)
}

/// A GPU buffer with these elements.
pub(super) fn upload<T: Plain>(gpu: &Gpu, elements: &[T]) -> Result<Buffer<T>, DeviceError> {
    let mut buffer = Buffer::new(gpu, elements.len())?;
    buffer.upload(0, elements, deadline())?;
    Ok(buffer)
}

/// All elements of a GPU buffer.
pub(super) fn download(buffer: &Buffer<f32>) -> Result<Vec<f32>, DeviceError> {
    let mut elements = vec![0.0; buffer.len()];
    buffer.download(0..elements.len(), &mut elements, deadline())?;
    Ok(elements)
}

/// An output buffer filled with NaNs, so that elements which a kernel does not write are detected.
pub(super) fn unwritten(gpu: &Gpu, len: usize) -> Result<Buffer<f32>, DeviceError> {
    upload(gpu, &vec![f32::NAN; len])
}

/// Checks the epilogue of an operation in both activation dtypes.
pub(super) struct EpilogueCheck(GpuPackedActivations);

impl EpilogueCheck {
    pub fn new(gpu: &Gpu) -> Result<Self, DeviceError> {
        Ok(Self(GpuPackedActivations::new(gpu, 0, 0)?))
    }

    /// The epilogue for a result of `[rows, cols]`.
    pub fn epilogue(&mut self, rows: usize, cols: usize) -> Epilogue<'_, Gpu> {
        let dtypes = GpuActivationDtypes::for_weights(Precision::Native, [Dtype::F32, Dtype::BF16]);
        Epilogue { packed: &mut self.0, rows, cols, dtypes }
    }

    /// Checks that the packed activations equal the result: bit-identical in f32, and rounded to
    /// bf16.
    pub fn compare(
        &self,
        report: &mut CheckReport,
        result: &[f32],
        cols: usize,
    ) -> Result<(), DeviceError> {
        let (f32, bf16) = self.0.download(deadline())?;
        let padded = |row: &[f32]| -> Vec<f32> {
            let zeros = std::iter::repeat_n(0.0, cols.next_multiple_of(8) - cols);
            row.iter().copied().chain(zeros).collect()
        };
        let expected: Vec<f32> = result.chunks_exact(cols).flat_map(padded).collect();
        report.same_bits(&f32, &expected);
        let bytes =
            |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>();
        let rounded: Vec<u16> = expected.iter().map(|x| bf16::from_f32(*x).to_bits()).collect();
        report.same_bytes(&bytes(&bf16), &bytes(&rounded));
        Ok(())
    }
}
