//! Reference implementations in f64, with which kernels are compared. They follow the definitions
//! of the formats and share no code with the kernels.

use checkpoint::Dtype;
use half::{bf16, f16};

/// Decodes a stored row of `cols` elements; `None` for a dtype that kernels do not read.
pub fn decode_row(dtype: Dtype, bytes: &[u8], cols: usize) -> Option<Vec<f64>> {
    let f16_at = |b: &[u8], i: usize| f16::from_le_bytes([b[i], b[i + 1]]).to_f64();
    let mut out = Vec::with_capacity(cols);
    for block in bytes.chunks_exact(dtype.block_bytes()).take(cols / dtype.block_elements()) {
        match dtype {
            Dtype::F32 => {
                out.push(f64::from(f32::from_le_bytes([block[0], block[1], block[2], block[3]])))
            }
            Dtype::F16 => out.push(f16_at(block, 0)),
            Dtype::BF16 => out.push(bf16::from_le_bytes([block[0], block[1]]).to_f64()),
            Dtype::Q8_0 => {
                out.extend(block[2..34].iter().map(|&c| f16_at(block, 0) * f64::from(c as i8)))
            }
            Dtype::Q4_0 => {
                out.extend((0..32).map(|i| f16_at(block, 0) * (nibble(&block[2..], i) - 8.0)))
            }
            Dtype::Q4_1 => out.extend(
                (0..32).map(|i| f16_at(block, 0) * nibble(&block[4..], i) + f16_at(block, 2)),
            ),
            Dtype::Q5_0 => out.extend((0..32).map(|i| {
                f16_at(block, 0) * (nibble(&block[6..], i) + fifth(&block[2..], i) - 16.0)
            })),
            Dtype::Q5_1 => {
                out.extend((0..32).map(|i| {
                    f16_at(block, 0) * (nibble(&block[8..], i) + fifth(&block[4..], i))
                        + f16_at(block, 2)
                }));
            }
            Dtype::Q4K | Dtype::Q5K => out.extend((0..256).map(|i| {
                let sub = i / 32;
                let (scale, min) = six_bit(&block[4..16], sub);
                let nibbles = if dtype == Dtype::Q4K { &block[16..] } else { &block[48..] };
                let byte = nibbles[sub / 2 * 32 + i % 32];
                let mut code = if sub % 2 == 0 { byte & 15 } else { byte >> 4 };
                if dtype == Dtype::Q5K && block[16 + i % 32] >> sub & 1 == 1 {
                    code += 16;
                }
                f16_at(block, 0) * scale * f64::from(code) - f16_at(block, 2) * min
            })),
            Dtype::Q6K => out.extend((0..256).map(|i| {
                let (half, quarter, index) = (i / 128, i % 128 / 32, i % 32);
                let byte = block[64 * half + 32 * (quarter % 2) + index];
                let low = if quarter < 2 { byte & 15 } else { byte >> 4 };
                let high = block[128 + 32 * half + index] >> (2 * quarter) & 3;
                f16_at(block, 208)
                    * f64::from(block[192 + i / 16] as i8)
                    * (f64::from(low | high << 4) - 32.0)
            })),
            Dtype::Mxfp4 => out.extend((0..32).map(|i| {
                let code = nibble(&block[1..], i) as usize;
                const MAGNITUDES: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
                let sign = if code < 8 { 1.0 } else { -1.0 };
                sign * MAGNITUDES[code % 8] * 2f64.powi(i32::from(block[0]) - 127)
            })),
            _ => return None,
        }
    }
    Some(out)
}

/// The i-th of the 32 nibbles in 16 bytes: the low nibbles of all bytes precede the high ones.
fn nibble(bytes: &[u8], i: usize) -> f64 {
    f64::from(if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
}

/// Contribution of the fifth bit to code i: 16 if bit i of the four bytes is set, else 0.
fn fifth(bytes: &[u8], i: usize) -> f64 {
    f64::from((bytes[i / 8] >> (i % 8) & 1) * 16)
}

/// The j-th six-bit scale and minimum, from the twelve bytes of a Q4_K or Q5_K block.
fn six_bit(b: &[u8], j: usize) -> (f64, f64) {
    let (scale, min) = if j < 4 {
        (b[j] & 63, b[j + 4] & 63)
    } else {
        (b[j + 4] & 15 | b[j - 4] >> 6 << 4, b[j + 4] >> 4 | b[j] >> 6 << 4)
    };
    (f64::from(scale), f64::from(min))
}

/// y[t, r] = x[t, :] . w[r, :]
pub fn linear(x: &[Vec<f64>], w: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum();
    x.iter().map(|x| w.iter().map(|w| dot(x, w)).collect()).collect()
}

/// x rounded to bf16.
pub fn round_bf16(x: f32) -> f64 {
    bf16::from_f32(x).to_f64()
}

/// x rounded as in an int8 cache: each group of 32 elements (the last may be shorter) becomes
/// integers in -127..=127 times a scale, the smallest bf16 not below max |x| / 127. The quotient is
/// computed in f32, as in [`round_blocks`].
pub fn round_int8_kv(x: &[f32]) -> Vec<f64> {
    let group = |group: &[f32]| {
        let max_abs = group.iter().fold(0f32, |m, x| m.max(x.abs()));
        let down = f32::from_bits((max_abs / 127.0).to_bits() & 0xffff_0000);
        let up = f32::from_bits(down.to_bits() + 0x1_0000);
        let scale = if down == max_abs / 127.0 { down } else { up };
        let code = |x: &f32| {
            if max_abs == 0.0 { 0.0 } else { f64::from((x * (1.0 / scale)).round_ties_even()) }
        };
        group.iter().map(|x| f64::from(scale) * code(x).clamp(-127.0, 127.0)).collect::<Vec<_>>()
    };
    x.chunks(32).flat_map(group).collect()
}

/// x rounded in blocks of 32 to integers in -`code_max`..=`code_max` times a scale, such that max
/// |x| becomes `code_max`. The factor is an f32, since it decides how values near a tie are
/// rounded.
pub fn round_blocks(x: &[f32], code_max: f32) -> Vec<f64> {
    let block = |block: &[f32]| {
        let max_abs = block.iter().fold(0f32, |m, x| m.max(x.abs()));
        let code = move |x: f32| {
            if max_abs > 0.0 { f64::from(x * (code_max / max_abs)).round_ties_even() } else { 0.0 }
        };
        block.iter().map(|&x| code(x) * f64::from(max_abs / code_max)).collect::<Vec<_>>()
    };
    x.chunks(32).flat_map(block).collect()
}

/// x / sqrt(mean(x^2) + eps) * weight
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f64) -> Vec<f64> {
    let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean + eps).sqrt();
    x.iter().zip(weight).map(|(&x, &w)| f64::from(x) * scale * f64::from(w)).collect()
}

/// (x - mean) / sqrt(variance + eps) * weight + bias
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    let one = |((&x, &w), &b): ((&f32, &f32), &f32)| {
        (f64::from(x) - mean) / (variance + eps).sqrt() * f64::from(w) + f64::from(b)
    };
    x.iter().zip(weight).zip(bias).map(one).collect()
}

/// Attention of one query: softmax(q . k * scale) v, with an optional sink in the denominator.
pub fn attention(
    q: &[f64],
    keys: &[Vec<f64>],
    values: &[Vec<f64>],
    scale: f64,
    sink: Option<f64>,
) -> Vec<f64> {
    let scores: Vec<f64> =
        keys.iter().map(|k| k.iter().zip(q).map(|(k, q)| k * q).sum::<f64>() * scale).collect();
    let max = scores.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let total = weights.iter().sum::<f64>() + sink.map_or(0.0, |s| (s - max).exp());
    let dim = values.first().map_or(0, Vec::len);
    (0..dim)
        .map(|d| weights.iter().zip(values).map(|(w, v)| w * v[d]).sum::<f64>() / total)
        .collect()
}
