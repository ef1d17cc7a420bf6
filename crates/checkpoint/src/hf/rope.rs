//! Reads the parameters of RoPE from `config.json`: from the object `rope_parameters`, or from the
//! object `rope_scaling` and the top-level key `rope_theta`.
use super::keys::{ConfigKeys, Result};
use super::reader::HfConfigReader;
use crate::config::Mla;
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::family::Family;
use crate::rope::{RopeConfig, RopeScaling};
use serde_json::{Map, Value, json};

/// The dimensions of the model that RoPE depends on.
#[derive(Clone, Copy)]
pub(super) struct RopeShape {
    pub head_dim: usize,
    pub max_positions: usize,
    pub mla: Option<Mla>,
}

pub(super) fn read(reader: &mut HfConfigReader, shape: RopeShape) -> Result<RopeConfig> {
    let map = parameters(reader)?;
    let inner = ConfigKeys { file: reader.keys.file, map: &map, within: "rope_scaling." };
    let theta = match inner.positive("rope_theta")? {
        Some(theta) => theta,
        None => reader.keys.positive("rope_theta")?.unwrap_or(reader.defaults.rope_theta),
    };
    if theta <= 1.0 {
        return Err(reader.keys.defect("rope_theta", "a number above 1", theta).into());
    }
    let kind = kind(&inner, reader.family)?;
    let rotary_dim = rotary_dim(reader, &inner, shape, kind)?;
    let scaling =
        ScalingReader { outer: reader.keys, inner, family: reader.family, shape, rotary_dim }
            .read(kind)?;
    let pairing = reader.family.traits().hf_pairing;
    Ok(RopeConfig { theta, rotary_dim, pairing, scaling })
}

/// The object with the parameters of RoPE. As in transformers, `rope_scaling` takes precedence over
/// `rope_parameters`, and an empty object is treated as absent.
fn parameters(reader: &HfConfigReader) -> Result<Map<String, Value>> {
    for key in ["rope_scaling", "rope_parameters"] {
        match reader.keys.get(key) {
            None => {}
            Some(Value::Object(map)) if map.is_empty() => {}
            Some(Value::Object(map)) => {
                if map.contains_key("full_attention") || map.contains_key("sliding_attention") {
                    let defect = reader.keys.defect(
                        key,
                        "one set of parameters for all layers",
                        "one for each kind of layer",
                    );
                    return Err(Defect { kind: DefectKind::Unsupported, ..defect }.into());
                }
                return Ok(map.clone());
            }
            Some(other) => return Err(reader.keys.defect(key, "an object", other).into()),
        }
    }
    Ok(if reader.family == Family::GptOss { gpt_oss_default() } else { Map::new() })
}

/// The default RoPE parameters of `GptOssConfig` in transformers.
fn gpt_oss_default() -> Map<String, Value> {
    let value = json!({
        "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false,
        "original_max_position_embeddings": 4096
    });
    value.as_object().cloned().unwrap_or_default()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RopeType {
    Default,
    Linear,
    Dynamic,
    Llama3,
    Yarn,
    LongRope,
}

fn kind(inner: &ConfigKeys, family: Family) -> Result<RopeType> {
    let word = inner.text("rope_type")?.or(inner.text("type")?).unwrap_or("default");
    // Early Phi-3 configurations name LongRoPE "su" or "yarn".
    let phi3 = family == Family::Phi3;
    match word {
        "default" => Ok(RopeType::Default),
        "longrope" => Ok(RopeType::LongRope),
        "su" | "yarn" if phi3 => Ok(RopeType::LongRope),
        "linear" if !phi3 => Ok(RopeType::Linear),
        "dynamic" if !phi3 => Ok(RopeType::Dynamic),
        "llama3" if !phi3 => Ok(RopeType::Llama3),
        "yarn" => Ok(RopeType::Yarn),
        other => {
            let known = if phi3 {
                "default or longrope"
            } else {
                "default, linear, dynamic, llama3, yarn or longrope"
            };
            Err(Defect::new(DefectKind::UnknownRope, inner.file, known, other)
                .key("rope_scaling.rope_type")
                .into())
        }
    }
}

fn rotary_dim(
    reader: &mut HfConfigReader,
    inner: &ConfigKeys,
    shape: RopeShape,
    kind: RopeType,
) -> Result<usize> {
    if let Some(mla) = shape.mla {
        return Ok(mla.qk_rope_head_dim);
    }
    let default = if reader.family == Family::Phi { 0.5 } else { 1.0 };
    let key = "partial_rotary_factor";
    let partial = inner.positive(key)?.or(reader.keys.positive(key)?).unwrap_or(default);
    if !matches!(reader.family, Family::Phi | Family::Phi3) && partial != 1.0 {
        if kind != RopeType::Default {
            let defect =
                reader.keys.defect(key, "1, since this family rotates whole heads", partial);
            return Err(Defect { kind: DefectKind::Unsupported, ..defect }.into());
        }
        let file = reader.keys.file.display();
        reader
            .notes
            .push(format!("{file}: {key} {partial} is not used: this family rotates whole heads"));
        return Ok(shape.head_dim);
    }
    Ok((shape.head_dim as f64 * partial) as usize)
}

struct ScalingReader<'a> {
    outer: ConfigKeys<'a>,
    inner: ConfigKeys<'a>,
    family: Family,
    shape: RopeShape,
    rotary_dim: usize,
}

impl ScalingReader<'_> {
    fn read(&self, kind: RopeType) -> Result<RopeScaling> {
        Ok(match kind {
            RopeType::Default => RopeScaling::None,
            RopeType::Linear => RopeScaling::Linear { factor: self.required("factor")? },
            RopeType::Dynamic => RopeScaling::Dynamic {
                factor: self.required("factor")?,
                original_max_positions: self.shape.max_positions,
            },
            RopeType::Llama3 => RopeScaling::Llama3 {
                factor: self.required("factor")?,
                low_freq_factor: self.required("low_freq_factor")?,
                high_freq_factor: self.required("high_freq_factor")?,
                original_max_positions: self.original()?,
            },
            RopeType::Yarn => self.yarn()?,
            RopeType::LongRope => self.long_rope()?,
        })
    }

    fn required(&self, key: &str) -> Result<f64> {
        self.inner.positive(key)?.ok_or_else(|| self.missing(key))
    }

    fn missing(&self, key: &str) -> CheckpointError {
        self.inner.missing(key, "a number above 0, which this rope_type requires")
    }

    /// The context length of pre-training. As in transformers, the key at the top level takes
    /// precedence over the key inside the RoPE object.
    fn original(&self) -> Result<usize> {
        let key = "original_max_position_embeddings";
        if let Some(n) = self.outer.count(key)? {
            return Ok(n);
        }
        if self.family == Family::Phi3 {
            return Ok(4096);
        }
        Ok(self.inner.count(key)?.unwrap_or(self.shape.max_positions))
    }

    fn ratio(&self, original: usize) -> f64 {
        self.shape.max_positions as f64 / original as f64
    }

    fn yarn(&self) -> Result<RopeScaling> {
        let original = self.original()?;
        // Zero and null both select the default, as `or` does in the Python code of transformers.
        let or = |key: &str, default: f64| {
            Ok::<_, CheckpointError>(
                self.inner.number(key)?.filter(|n| *n != 0.0).unwrap_or(default),
            )
        };
        Ok(RopeScaling::Yarn {
            factor: self.inner.positive("factor")?.unwrap_or_else(|| self.ratio(original)),
            original_max_positions: original,
            beta_fast: or("beta_fast", 32.0)?,
            beta_slow: or("beta_slow", 1.0)?,
            attention_factor: self.inner.number("attention_factor")?,
            mscale: self.inner.number("mscale")?,
            mscale_all_dim: self.inner.number("mscale_all_dim")?,
            truncate: self.inner.flag("truncate", true)?,
        })
    }

    fn long_rope(&self) -> Result<RopeScaling> {
        let original = self.original()?;
        let factor = self.inner.positive("factor")?.unwrap_or_else(|| self.ratio(original));
        let derived =
            if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
        Ok(RopeScaling::LongRope {
            short_factor: self.inner.positive_list("short_factor", self.rotary_dim / 2)?,
            long_factor: self.inner.positive_list("long_factor", self.rotary_dim / 2)?,
            original_max_positions: original,
            attention_factor: Some(self.inner.number("attention_factor")?.unwrap_or(derived)),
        })
    }
}
