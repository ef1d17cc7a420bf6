//! OperandRng operands, on the host and on a GPU.

use std::time::{Duration, Instant};

use checkpoint::Dtype;
use half::{bf16, f16};

use super::CheckReport;
use crate::DeviceError;
use crate::backend::Precision;
use crate::cpu::plain;
use crate::cuda::{
    Buffer, Gpu, GpuActivationDtypes, GpuArena, GpuBytes, GpuEpilogue, GpuMatrix,
    GpuPackedActivations, PinnedRing,
};
use crate::memory::Plain;

/// All dtypes of weights.
pub(super) const DTYPES: [Dtype; 11] = [
    Dtype::F32,
    Dtype::F16,
    Dtype::BF16,
    Dtype::Q8_0,
    Dtype::Q4_0,
    Dtype::Q4_1,
    Dtype::Q5_0,
    Dtype::Q5_1,
    Dtype::Q4K,
    Dtype::Q5K,
    Dtype::Q6K,
];

/// How long anything on a GPU may take here.
pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// SplitMix64: the same numbers in every run.
pub(super) struct OperandRng(pub u64);

impl OperandRng {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// About normal, deviation 1.
    pub fn normal(&mut self) -> f32 {
        let uniform = |bits: u64| (bits >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
        (0..4).map(|_| uniform(self.bits())).sum::<f32>() * 1.732
    }

    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal()).collect()
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }
}

/// The bytes of random weights: every code is possible, scales are small.
pub(super) fn weights(random: &mut OperandRng, dtype: Dtype, count: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; count / dtype.block_elements() * dtype.block_bytes()];
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        block.iter_mut().for_each(|byte| *byte = random.bits() as u8);
        let small =
            |random: &mut OperandRng| f16::from_f32(0.02 + 0.02 * random.normal()).to_le_bytes();
        match dtype {
            Dtype::F32 => block.copy_from_slice(&random.normal().to_le_bytes()),
            Dtype::F16 => block.copy_from_slice(&f16::from_f32(random.normal()).to_le_bytes()),
            Dtype::BF16 => block.copy_from_slice(&bf16::from_f32(random.normal()).to_le_bytes()),
            Dtype::Q6K => block[208..210].copy_from_slice(&small(random)),
            Dtype::Q8_0 | Dtype::Q4_0 | Dtype::Q5_0 => block[..2].copy_from_slice(&small(random)),
            _ => {
                block[..2].copy_from_slice(&small(random));
                block[2..4].copy_from_slice(&small(random));
            }
        }
    }
    bytes
}

/// A matrix on the host and on a GPU. On the GPU its last byte is the last of its memory.
pub(super) struct TestMatrix {
    pub gpu: GpuMatrix,
    pub bytes: Vec<u8>,
}

impl TestMatrix {
    pub fn random(
        gpu: &Gpu,
        random: &mut OperandRng,
        dtype: Dtype,
        rows: usize,
        cols: usize,
    ) -> Result<Self, DeviceError> {
        let bytes = weights(random, dtype, rows * cols);
        let data = bytes_on_gpu(gpu, &bytes)?;
        Ok(Self { gpu: GpuMatrix::new(dtype, rows, cols, data)?, bytes })
    }

    /// Its numbers, row by row, by the plain decoder.
    pub fn decoded(&self) -> Vec<Vec<f64>> {
        let GpuMatrix { dtype, cols, .. } = self.gpu;
        let rows = self.bytes.chunks_exact(self.gpu.row_bytes().max(1));
        rows.filter_map(|row| plain::decode_row(dtype, row, cols)).collect()
    }
}

/// `bytes` on the GPU, in memory of their own, by way of a pinned buffer.
pub(super) fn bytes_on_gpu(gpu: &Gpu, bytes: &[u8]) -> Result<GpuBytes, DeviceError> {
    let ring = PinnedRing::new(gpu, 1, bytes.len())?;
    let mut buffer = ring.acquire(soon())?;
    buffer.copy_from_slice(bytes);
    let mut region = GpuArena::new(gpu, bytes.len())?.region(bytes.len())?;
    buffer.filled().copy(0..bytes.len(), region.whole()?)?;
    Ok(region.finish(soon())?)
}

/// A buffer with these numbers.
pub(super) fn uploaded<T: Plain>(gpu: &Gpu, numbers: &[T]) -> Result<Buffer<T>, DeviceError> {
    let mut buffer = Buffer::new(gpu, numbers.len())?;
    buffer.upload(0, numbers, soon())?;
    Ok(buffer)
}

/// All numbers of a buffer.
pub(super) fn downloaded(buffer: &Buffer<f32>) -> Result<Vec<f32>, DeviceError> {
    let mut numbers = vec![0.0; buffer.len()];
    buffer.download(0..numbers.len(), &mut numbers, soon())?;
    Ok(numbers)
}

/// A buffer for results, full of NaNs: a number that no kernel writes is found.
pub(super) fn unwritten(gpu: &Gpu, len: usize) -> Result<Buffer<f32>, DeviceError> {
    uploaded(gpu, &vec![f32::NAN; len])
}

/// Inputs of products, in both forms, that an operation writes beside its result.
pub(super) struct EpilogueCheck(GpuPackedActivations);

impl EpilogueCheck {
    pub fn new(gpu: &Gpu) -> Result<Self, DeviceError> {
        Ok(Self(GpuPackedActivations::new(gpu, 0, 0)?))
    }

    /// For a result of rows of `cols` numbers.
    pub fn epilogue(&mut self, tokens: usize, cols: usize) -> Option<GpuEpilogue<'_>> {
        let forms = GpuActivationDtypes::for_weights(Precision::Native, [Dtype::F32, Dtype::BF16]);
        Some(GpuEpilogue { inputs: &mut self.0, tokens, cols, forms })
    }

    /// They are the result, bit for bit, and the result rounded.
    pub fn compare(
        &self,
        report: &mut CheckReport,
        result: &[f32],
        cols: usize,
    ) -> Result<(), DeviceError> {
        let (exact, rounded) = self.0.downloaded(soon())?;
        let padded = |row: &[f32]| -> Vec<f32> {
            let zeros = std::iter::repeat_n(0.0, cols.next_multiple_of(8) - cols);
            row.iter().copied().chain(zeros).collect()
        };
        let expected: Vec<f32> = result.chunks_exact(cols).flat_map(padded).collect();
        report.same_bits(&exact, &expected);
        let bytes =
            |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>();
        let nearest: Vec<u16> = expected.iter().map(|x| bf16::from_f32(*x).to_bits()).collect();
        report.same_bytes(&bytes(&rounded), &bytes(&nearest));
        Ok(())
    }
}
