//! Conversion of weights while they are read: to bf16, f16, f32 or Q8_0.

use checkpoint::Dtype;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Cpu;
use crate::DeviceError;

/// The dtype in which a tensor is stored, and the dtype in which it is kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtypeConversion {
    /// Dtype in the file.
    pub from: Dtype,
    /// Dtype in memory.
    pub to: Dtype,
}

impl DtypeConversion {
    /// Whether [`Self::convert`] supports this pair of dtypes. Quantized formats are never
    /// converted: kernels read them as stored.
    pub fn is_supported(self) -> bool {
        let from = matches!(self.from, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16);
        from && matches!(self.to, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::Q8_0)
    }

    /// Converts whole rows on the calling thread. `source` holds `values.len()` elements of `from`,
    /// `target` has space for as many of `to`; `values` is a scratch buffer.
    ///
    /// # Errors
    /// [`DeviceError::Shape`] for lengths that do not match.
    pub fn convert(
        self,
        cpu: &Cpu,
        source: &[u8],
        values: &mut [f32],
        target: &mut [u8],
    ) -> Result<(), DeviceError> {
        if self.to == Dtype::Q8_0 && self.from != Dtype::F64 {
            return cpu.quantize_int8(self.from, source, target);
        }
        widen(self.from, source, values);
        match self.to {
            Dtype::BF16 => narrow(values, target, |x| bf16::from_f32(x).to_le_bytes()),
            Dtype::F16 => narrow(values, target, |x| f16::from_f32(x).to_le_bytes()),
            Dtype::Q8_0 => {
                let narrowed: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                cpu.quantize_int8(Dtype::F32, &narrowed, target)?;
            }
            _ => narrow(values, target, f32::to_le_bytes),
        }
        Ok(())
    }
}

/// Converts f64, f32, f16 or bf16 to f32. `source` holds `values.len()` elements.
pub fn widen(from: Dtype, source: &[u8], values: &mut [f32]) {
    match from {
        Dtype::BF16 => each(source, values, |b: [u8; 2]| {
            f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)
        }),
        Dtype::F16 => widen_f16(source, values),
        Dtype::F64 => each(source, values, |b: [u8; 8]| f64::from_le_bytes(b) as f32),
        _ => each(source, values, f32::from_le_bytes),
    }
}

fn each<const N: usize>(source: &[u8], values: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    let (chunks, rest) = source.as_chunks::<N>();
    debug_assert!(rest.is_empty() && chunks.len() == values.len());
    for (value, &bytes) in values.iter_mut().zip(chunks) {
        *value = decode(bytes);
    }
}

fn widen_f16(source: &[u8], values: &mut [f32]) {
    // Copied to an aligned buffer, since the vectorized conversion of `half` does not accept
    // unaligned bytes.
    let mut window = [f16::ZERO; 256];
    for (bytes, values) in source.chunks(512).zip(values.chunks_mut(256)) {
        for (half, &pair) in window.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = f16::from_le_bytes(pair);
        }
        window[..values.len()].convert_to_f32_slice(values);
    }
}

fn narrow<const N: usize>(values: &[f32], target: &mut [u8], encode: impl Fn(f32) -> [u8; N]) {
    for (out, &value) in target.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        *out = encode(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::PoolOptions;
    use proptest::prelude::*;

    fn convert(from: Dtype, to: Dtype, source: &[u8], elements: usize) -> Vec<u8> {
        let bytes =
            to.bytes_for(elements as u64).expect("a whole number of quantization blocks") as usize;
        let (mut values, mut target) = (vec![0.0; elements], vec![0; bytes]);
        let cpu = Cpu::new(&PoolOptions { threads: Some(1) }).expect("start a thread pool");
        DtypeConversion { from, to }
            .convert(&cpu, source, &mut values, &mut target)
            .expect("lengths match");
        target
    }

    proptest! {
        #[test]
        fn f16_and_bf16_widen_as_the_half_crate_does(bits in proptest::collection::vec(any::<u16>(), 700)) {
            let source: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
            for (to, from) in [(Dtype::F32, Dtype::F16), (Dtype::F32, Dtype::BF16)] {
                let target = convert(from, to, &source, 700);
                for (out, &b) in target.as_chunks::<4>().0.iter().zip(&bits) {
                    let expected = if from == Dtype::F16 { f16::from_bits(b).to_f32() } else { bf16::from_bits(b).to_f32() };
                    let found = f32::from_le_bytes(*out);
                    prop_assert!(found == expected || (found.is_nan() && expected.is_nan()));
                }
            }
        }

        #[test]
        fn int8_error_is_at_most_half_a_quantization_step(values in proptest::collection::vec(-9.0f32..9.0, 64)) {
            let source: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            let target = convert(Dtype::F32, Dtype::Q8_0, &source, 64);
            for (block, out) in values.chunks(32).zip(target.chunks(34)) {
                let scale = f16::from_le_bytes([out[0], out[1]]).to_f32();
                let largest = block.iter().fold(0f32, |m, x| m.max(x.abs()));
                for (x, code) in block.iter().zip(&out[2..]) {
                    // Half a quantization step, plus the rounding error of the f16 scale times a
                    // code of up to 127.
                    let limit = largest / 127.0 * 0.5 + largest / 1000.0;
                    prop_assert!((f32::from(*code as i8) * scale - x).abs() <= limit);
                }
            }
        }
    }

    #[test]
    fn nan_is_kept_as_a_nan_scale_in_int8() {
        let mut values = [1.0f32; 32];
        values[7] = f32::NAN;
        let source: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let target = convert(Dtype::F32, Dtype::Q8_0, &source, 32);
        assert!(f16::from_le_bytes([target[0], target[1]]).is_nan());
    }

    #[test]
    fn f64_converts_as_the_same_values_in_f32() {
        let values: Vec<f64> = (0..64).map(|i| f64::from(i) * 0.37 - 9.0).collect();
        let wide: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let narrow: Vec<u8> = values.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect();
        assert_eq!(
            convert(Dtype::F64, Dtype::Q8_0, &wide, 64),
            convert(Dtype::F32, Dtype::Q8_0, &narrow, 64)
        );
    }
}
