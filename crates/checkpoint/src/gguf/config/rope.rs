//! RoPE of a GGUF file: the keys under `rope.`, and the frequency factors that some files store as
//! tensors.
use super::keys::{GgufKeys, Result};
use crate::config::Mla;
use crate::error::{Defect, DefectKind};
use crate::family::Family;
use crate::rope::{RopeConfig, RopeScaling};

/// Divisors of the RoPE frequencies that a file stores as tensors.
#[derive(Default)]
pub(in crate::gguf) struct RopeFactors {
    /// `rope_freqs.weight`: Llama 3's scaling, for all context lengths.
    pub all: Option<Vec<f64>>,
    /// `rope_factors_short.weight`: LongRoPE's factors up to the original context length.
    pub short: Option<Vec<f64>>,
    /// `rope_factors_long.weight`: LongRoPE's factors beyond the original context length.
    pub long: Option<Vec<f64>>,
}

impl GgufKeys<'_> {
    pub fn rope(
        &self,
        head_dim: usize,
        max_positions: usize,
        mla: Option<Mla>,
        factors: RopeFactors,
    ) -> Result<RopeConfig> {
        let rotary_dim = match mla {
            Some(mla) => mla.qk_rope_head_dim,
            None => self.count("rope.dimension_count")?.unwrap_or(head_dim),
        };
        let pairing = self.family.traits().gguf_pairing;
        let theta = self.number("rope.freq_base")?.unwrap_or(10_000.0);
        let scaling = self.scaling(max_positions, rotary_dim, factors)?;
        Ok(RopeConfig { theta, rotary_dim, pairing, scaling })
    }

    fn scaling(
        &self,
        max_positions: usize,
        rotary_dim: usize,
        factors: RopeFactors,
    ) -> Result<RopeScaling> {
        let original = self.count("rope.scaling.original_context_length")?.unwrap_or(max_positions);
        for list in [&factors.all, &factors.short, &factors.long].into_iter().flatten() {
            if list.len() != rotary_dim / 2 || list.iter().any(|f| *f <= 0.0 || !f.is_finite()) {
                let expected = format!("{} positive rotary factors", rotary_dim / 2);
                return Err(self.bad("rope", expected, format!("{} numbers", list.len())));
            }
        }
        if let Some(all) = factors.all {
            return Ok(RopeScaling::LongRope {
                short_factor: all.clone(),
                long_factor: all,
                original_max_positions: max_positions,
                attention_factor: Some(1.0),
            });
        }
        if let (Some(short), Some(long)) = (factors.short, factors.long) {
            let factor = max_positions as f64 / original as f64;
            let derived = if factor <= 1.0 {
                1.0
            } else {
                (1.0 + factor.ln() / (original as f64).ln()).sqrt()
            };
            return Ok(RopeScaling::LongRope {
                short_factor: short,
                long_factor: long,
                original_max_positions: original,
                attention_factor: Some(self.number("rope.scaling.attn_factor")?.unwrap_or(derived)),
            });
        }
        let factor = self
            .number("rope.scaling.factor")?
            .or(self.number("rope.scale_linear")?)
            .filter(|f| *f > 0.0);
        match (self.metadata.get_str(&self.key("rope.scaling.type")), factor) {
            (None | Some("linear"), Some(factor)) if factor != 1.0 => {
                Ok(RopeScaling::Linear { factor })
            }
            (None | Some("none" | "linear"), _) => Ok(RopeScaling::None),
            (Some("yarn"), Some(factor)) => self.yarn(factor, original),
            (Some(other), _) => {
                let key = self.key("rope.scaling.type");
                Err(Defect::new(
                    DefectKind::UnknownRope,
                    self.file,
                    "none, linear, or yarn with a factor",
                    other,
                )
                .key(&key)
                .into())
            }
        }
    }

    fn yarn(&self, factor: f64, original: usize) -> Result<RopeScaling> {
        // DeepSeek-V2: the key contains 0.1 * mscale_all_dim. In the published models mscale equals
        // mscale_all_dim.
        let mscale = self.number("rope.scaling.yarn_log_multiplier")?.map(|m| m * 10.0);
        Ok(RopeScaling::Yarn {
            factor,
            original_max_positions: original,
            beta_fast: self.number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: self.number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            attention_factor: self.number("rope.scaling.attn_factor")?.filter(|f| *f != 1.0),
            mscale,
            mscale_all_dim: mscale,
            // The published gpt-oss models do not round the dimensions; no key says so.
            truncate: self.family != Family::GptOss,
        })
    }
}
