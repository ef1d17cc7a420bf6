//! Numbers change their form while they stream through: to bf16, f16, f32 or 32-blocks of int8.

use checkpoint::Dtype;
use device::DeviceError;
use device::cpu::Cpu;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// What happens to a tensor's numbers on their way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conversion {
    /// As stored in the file.
    pub from: Dtype,
    /// As kept in memory.
    pub to: Dtype,
}

impl Conversion {
    /// Whether we know how. Block formats are never converted: they are computed in their own form.
    pub fn is_known(self) -> bool {
        let from = matches!(self.from, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16);
        from && matches!(self.to, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::Q8_0)
    }

    /// Converts whole rows on the calling thread: `source` holds `numbers.len()` numbers as `from`,
    /// `target` room for as many as `to`. `numbers` is scratch space.
    ///
    /// # Errors
    /// Those of the kernel: lengths that do not go together.
    pub fn run(
        self,
        cpu: &Cpu,
        source: &[u8],
        numbers: &mut [f32],
        target: &mut [u8],
    ) -> Result<(), DeviceError> {
        if self.to == Dtype::Q8_0 && self.from != Dtype::F64 {
            return cpu.quantize_int8(self.from, source, target);
        }
        widen(self.from, source, numbers);
        match self.to {
            Dtype::BF16 => narrow(numbers, target, |x| bf16::from_f32(x).to_le_bytes()),
            Dtype::F16 => narrow(numbers, target, |x| f16::from_f32(x).to_le_bytes()),
            Dtype::Q8_0 => {
                let narrowed: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                cpu.quantize_int8(Dtype::F32, &narrowed, target)?;
            }
            _ => narrow(numbers, target, f32::to_le_bytes),
        }
        Ok(())
    }
}

/// Numbers of a plain dtype as f32.
pub(crate) fn widen(from: Dtype, source: &[u8], numbers: &mut [f32]) {
    match from {
        Dtype::BF16 => each(source, numbers, |b: [u8; 2]| {
            f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)
        }),
        Dtype::F16 => widen_f16(source, numbers),
        Dtype::F64 => each(source, numbers, |b: [u8; 8]| f64::from_le_bytes(b) as f32),
        _ => each(source, numbers, f32::from_le_bytes),
    }
}

fn each<const N: usize>(source: &[u8], numbers: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    let (chunks, rest) = source.as_chunks::<N>();
    debug_assert!(rest.is_empty() && chunks.len() == numbers.len());
    for (number, &bytes) in numbers.iter_mut().zip(chunks) {
        *number = value(bytes);
    }
}

fn widen_f16(source: &[u8], numbers: &mut [f32]) {
    // A small aligned window, so that the vectorized conversion of `half` can be used on bytes of
    // any alignment.
    let mut window = [f16::ZERO; 256];
    for (bytes, numbers) in source.chunks(512).zip(numbers.chunks_mut(256)) {
        for (half, &pair) in window.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = f16::from_le_bytes(pair);
        }
        window[..numbers.len()].convert_to_f32_slice(numbers);
    }
}

fn narrow<const N: usize>(numbers: &[f32], target: &mut [u8], bytes: impl Fn(f32) -> [u8; N]) {
    for (out, &number) in target.as_chunks_mut::<N>().0.iter_mut().zip(numbers) {
        *out = bytes(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use device::pool::PoolOptions;
    use proptest::prelude::*;

    fn convert(from: Dtype, to: Dtype, source: &[u8], elements: usize) -> Vec<u8> {
        let bytes = to.bytes_for(elements as u64).expect("whole blocks") as usize;
        let (mut numbers, mut target) = (vec![0.0; elements], vec![0; bytes]);
        let cpu = Cpu::new(&PoolOptions { threads: Some(1), cores: Vec::new() }).expect("a pool");
        Conversion { from, to }
            .run(&cpu, source, &mut numbers, &mut target)
            .expect("lengths that go together");
        target
    }

    proptest! {
        #[test]
        fn halves_convert_as_half_does(bits in proptest::collection::vec(any::<u16>(), 700)) {
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
        fn int8_is_off_by_at_most_half_a_step(values in proptest::collection::vec(-9.0f32..9.0, 64)) {
            let source: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            let target = convert(Dtype::F32, Dtype::Q8_0, &source, 64);
            for (block, out) in values.chunks(32).zip(target.chunks(34)) {
                let scale = f16::from_le_bytes([out[0], out[1]]).to_f32();
                let largest = block.iter().fold(0f32, |m, x| m.max(x.abs()));
                for (x, code) in block.iter().zip(&out[2..]) {
                    // Half a step, and what the f16 scale loses over 127 steps.
                    let limit = largest / 127.0 * 0.5 + largest / 1000.0;
                    prop_assert!((f32::from(*code as i8) * scale - x).abs() <= limit);
                }
            }
        }
    }

    #[test]
    fn a_nan_stays_visible_in_int8() {
        let mut values = [1.0f32; 32];
        values[7] = f32::NAN;
        let source: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let target = convert(Dtype::F32, Dtype::Q8_0, &source, 32);
        assert!(f16::from_le_bytes([target[0], target[1]]).is_nan());
    }

    #[test]
    fn f64_goes_the_same_way() {
        let values: Vec<f64> = (0..64).map(|i| f64::from(i) * 0.37 - 9.0).collect();
        let wide: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let narrow: Vec<u8> = values.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect();
        assert_eq!(
            convert(Dtype::F64, Dtype::Q8_0, &wide, 64),
            convert(Dtype::F32, Dtype::Q8_0, &narrow, 64)
        );
    }
}
