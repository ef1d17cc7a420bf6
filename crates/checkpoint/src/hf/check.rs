//! Checks that hyper-parameters are within bounds and consistent with each other. Later code relies
//! on these checks.
use super::keys::{ConfigKeys, Result};
use crate::config::{ExpertStorage, ModelConfig};
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::family::Family;

pub(super) const LAYERS_MAX: usize = 1 << 12;
const WIDTH_MAX: usize = 1 << 20;
const VOCAB_MAX: usize = 1 << 24;
const HEADS_MAX: usize = 1 << 14;
/// Maximum total number of experts in all layers.
const EXPERTS_MAX: usize = 1 << 22;

pub(super) fn check(
    keys: &ConfigKeys,
    config: &ModelConfig,
    notes: &mut Vec<String>,
) -> Result<()> {
    bounds(keys, config)?;
    relations(keys, config)?;
    experts(keys, config)?;
    for (name, id) in config
        .eos
        .iter()
        .map(|id| ("eos_token_id", id))
        .chain(config.pad.iter().map(|id| ("pad_token_id", id)))
    {
        if *id as usize >= config.vocab_size {
            notes.push(format!(
                "{}: {name} {id} is outside of the vocabulary of {}",
                keys.file.display(),
                config.vocab_size
            ));
        }
    }
    Ok(())
}

fn bounds(keys: &ConfigKeys, c: &ModelConfig) -> Result<()> {
    let limits = [
        ("num_hidden_layers", c.layers, LAYERS_MAX),
        ("hidden_size", c.hidden_size, WIDTH_MAX),
        ("intermediate_size", c.intermediate_size, WIDTH_MAX),
        ("vocab_size", c.vocab_size, VOCAB_MAX),
        ("num_attention_heads", c.heads, HEADS_MAX),
        ("head_dim", c.head_dim, WIDTH_MAX),
        ("max_position_embeddings", c.max_positions, 1 << 31),
    ];
    match limits.iter().find(|(_, value, max)| value > max) {
        Some((key, value, max)) => Err(keys.defect(key, format!("at most {max}"), value).into()),
        None => Ok(()),
    }
}

fn relations(keys: &ConfigKeys, c: &ModelConfig) -> Result<()> {
    if !c.heads.is_multiple_of(c.kv_heads) {
        return Err(keys
            .defect("num_key_value_heads", format!("a divisor of {} heads", c.heads), c.kv_heads)
            .into());
    }
    if !c.rope.rotary_dim.is_multiple_of(2)
        || c.rope.rotary_dim == 0
        || c.rope.rotary_dim > c.head_dim
    {
        let expected = format!("an even number of rotating dimensions, at most {}", c.head_dim);
        return Err(keys.defect("head_dim", expected, c.rope.rotary_dim).into());
    }
    if matches!(c.rope.scaling, crate::RopeScaling::Dynamic { .. }) && c.rope.rotary_dim <= 2 {
        return Err(keys
            .defect("head_dim", "above 2 under dynamic scaling", c.rope.rotary_dim)
            .into());
    }
    if c.family == Family::Olmoe && keys.get("clip_qkv").is_some() {
        return Err(unsupported(keys, "clip_qkv", "null", "a number"));
    }
    if c.family == Family::Qwen2Moe && c.sliding_window.is_some() {
        return Err(unsupported(keys, "use_sliding_window", "false", "true"));
    }
    if c.family == Family::Phi && keys.flag("qk_layernorm", false)? {
        return Err(unsupported(keys, "qk_layernorm", "false", "true"));
    }
    Ok(())
}

fn experts(keys: &ConfigKeys, c: &ModelConfig) -> Result<()> {
    let Some(moe) = &c.moe else { return Ok(()) };
    if moe.experts.saturating_mul(c.layers) > EXPERTS_MAX
        || moe.intermediate_size > WIDTH_MAX
        || moe.shared_size > WIDTH_MAX
    {
        return Err(keys
            .defect("num_experts", format!("at most {EXPERTS_MAX} in all layers"), moe.experts)
            .into());
    }
    if moe.experts_per_token > moe.experts {
        return Err(keys
            .defect(
                "num_experts_per_tok",
                format!("at most {}", moe.experts),
                moe.experts_per_token,
            )
            .into());
    }
    if let Some((groups, kept)) = moe.routing.groups
        && (!moe.experts.is_multiple_of(groups)
            || kept > groups
            || moe.experts / groups * kept < moe.experts_per_token)
    {
        let expected =
            format!("groups that divide {} experts and hold enough of them", moe.experts);
        return Err(keys
            .defect("n_group", expected, format!("{groups} groups, {kept} kept"))
            .into());
    }
    let whole = c.hidden_size.is_multiple_of(32) && moe.intermediate_size.is_multiple_of(32);
    if moe.storage == ExpertStorage::Mxfp4 && !whole {
        return Err(unsupported(
            keys,
            "hidden_size",
            "a multiple of 32 under MXFP4",
            c.hidden_size,
        ));
    }
    Ok(())
}

fn unsupported(
    keys: &ConfigKeys,
    key: &str,
    expected: &str,
    found: impl std::fmt::Display,
) -> CheckpointError {
    Defect { kind: DefectKind::Unsupported, ..keys.defect(key, expected, found) }.into()
}
