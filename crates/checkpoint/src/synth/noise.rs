//! Seeded random weights that do not depend on the number of threads.
use crate::Dtype;
use crate::expected_tensors::TensorContent;
use base::{GOLDEN_GAMMA, SplitMix64, mix64};

/// Bytes of one stream of random numbers. Each stream has its own seed, so that threads can
/// generate streams independently.
pub(super) const STREAM_BYTES: usize = 240 << 10;
const TABLE_BITS: u32 = 12;

/// Precomputed random values of one dtype, since a table look-up is faster than a conversion.
pub(super) struct NoiseTable {
    /// Entries of `width` bytes, little-endian.
    entries: Vec<u8>,
    width: usize,
}

impl NoiseTable {
    /// Creates a table of 4096 approximately normal values with a standard deviation of 0.02 and a
    /// mean of 0, or of 1 for norms.
    pub fn new(dtype: Dtype, content: TensorContent, seed: u64) -> Self {
        let mean = if content == TensorContent::NormWeight { 1.0 } else { 0.0 };
        let mut random = NoiseRng::new(&[seed, 0x7AB1E]);
        let mut entries = Vec::new();
        for _ in 0..1usize << TABLE_BITS {
            let normal = (0..12).map(|_| random.unit()).sum::<f64>() - 6.0;
            push(&mut entries, dtype, content, &mut random, mean + 0.02 * normal);
        }
        let width = entries.len() >> TABLE_BITS;
        NoiseTable { entries, width }
    }

    /// Fills `out` with the values of one stream; `out` has at most [`STREAM_BYTES`] bytes.
    pub fn fill(&self, out: &mut [u8], seed: u64, tensor: u64, stream: u64) {
        let mut random = NoiseRng::new(&[seed, tensor, stream]);
        match self.width {
            1 => self.fill_width::<1>(out, &mut random),
            2 => self.fill_width::<2>(out, &mut random),
            _ => self.fill_width::<4>(out, &mut random),
        }
    }

    fn fill_width<const W: usize>(&self, out: &mut [u8], random: &mut NoiseRng) {
        let (entries, _) = self.entries.as_chunks::<W>();
        let (elements, _) = out.as_chunks_mut::<W>();
        let mask = (1u64 << TABLE_BITS) - 1;
        for five in elements.chunks_mut(5) {
            let mut bits = random.next();
            for element in five {
                *element = entries[(bits & mask) as usize];
                bits >>= TABLE_BITS;
            }
        }
    }
}

fn push(
    entries: &mut Vec<u8>,
    dtype: Dtype,
    content: TensorContent,
    random: &mut NoiseRng,
    value: f64,
) {
    match (content, dtype) {
        (TensorContent::BlockScales, _) => {
            let scale = (1.0 + value) * 0.02 / FP8_DEVIATION;
            entries.extend((scale as f32).to_le_bytes());
        }
        (_, Dtype::F8E4M3) => entries.push(nearest_e4m3(value / 0.02 * FP8_DEVIATION)),
        (TensorContent::Fp4Blocks, _) => entries.push(random.next() as u8),
        // Scales from 2^-8 to 2^-6; the 4-bit elements that they multiply have magnitudes up to 6.
        (TensorContent::Fp4Scales, _) => entries.push(119 + (random.next() % 3) as u8),
        (_, Dtype::F32) => entries.extend((value as f32).to_le_bytes()),
        (_, Dtype::F16) => entries.extend(half::f16::from_f64(value).to_le_bytes()),
        _ => entries.extend(half::bf16::from_f64(value).to_le_bytes()),
    }
}

/// Standard deviation of random FP8 elements, whose magnitudes are up to 448.
const FP8_DEVIATION: f64 = 80.0;

/// The nearest finite value in E4M3: sign, 4 bits of exponent with a bias of 7, 3 of mantissa.
fn nearest_e4m3(value: f64) -> u8 {
    let magnitude = |code: u8| {
        let (exponent, mantissa) = (i32::from(code >> 3), f64::from(code & 7) / 8.0);
        match exponent {
            0 => mantissa * 2f64.powi(-6),
            _ => (1.0 + mantissa) * 2f64.powi(exponent - 7),
        }
    };
    let distance = |code: &u8| (magnitude(*code) - value.abs()).abs();
    let nearest = (0..0x7fu8).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0);
    nearest | if value < 0.0 { 0x80 } else { 0 }
}

/// SplitMix64, seeded with a sequence of numbers.
pub(super) struct NoiseRng(SplitMix64);

impl NoiseRng {
    pub fn new(parts: &[u64]) -> Self {
        let mix = |state: u64, part: &u64| mix64(state ^ mix64(part.wrapping_add(GOLDEN_GAMMA)));
        NoiseRng(SplitMix64(parts.iter().fold(0, mix)))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn unit(&mut self) -> f64 {
        self.0.next_f64()
    }
}
