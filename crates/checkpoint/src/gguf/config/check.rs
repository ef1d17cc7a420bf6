//! Rejects unsupported model variants and hyper-parameters that are out of bounds.
use super::keys::{GgufKeys, Result};
use crate::config::ModelConfig;
use crate::error::{Defect, DefectKind};
use crate::family::Family;

impl GgufKeys<'_> {
    pub fn refuse_unsupported(&self) -> Result<()> {
        let (tensor, fused_here) =
            ("blk.0.attn_qkv.weight", matches!(self.family, Family::Phi | Family::Phi3));
        if self.has(tensor) && !fused_here {
            let defect = Defect::new(
                DefectKind::Unsupported,
                self.file,
                "the tensors of the architecture",
                "fused q, k and v",
            );
            return Err(defect
                .tensor(tensor)
                .remedy("Use the safetensors form of the model")
                .into());
        }
        let split = self.metadata.get_u64("split.count").unwrap_or(1);
        if split > 1 {
            let defect = Defect::new(
                DefectKind::Unsupported,
                self.file,
                "one file",
                format!("one of {split} parts"),
            );
            return Err(defect
                .key("split.count")
                .remedy("Join the parts with `llama-gguf-split --merge`")
                .into());
        }
        Ok(())
    }

    pub fn check_bounds(&self, c: &ModelConfig) -> Result<()> {
        let limits = [
            ("block_count", c.layers, 1 << 12),
            ("embedding_length", c.hidden_size, 1 << 20),
            ("feed_forward_length", c.intermediate_size, 1 << 20),
            ("attention.head_count", c.heads, 1 << 14),
            ("attention.key_length", c.head_dim, 1 << 20),
            ("expert_count", c.moe.map_or(0, |moe| moe.experts), 1 << 12),
            (
                "expert_feed_forward_length",
                c.moe.map_or(0, |moe| moe.intermediate_size.max(moe.shared_size)),
                1 << 20,
            ),
            (
                "expert_used_count",
                c.moe.map_or(0, |moe| moe.experts_per_token),
                c.moe.map_or(0, |moe| moe.experts),
            ),
        ];
        if let Some((name, value, max)) = limits.iter().find(|(_, value, max)| value > max) {
            return Err(self.bad(name, format!("at most {max}"), value));
        }
        if !c.heads.is_multiple_of(c.kv_heads) {
            return Err(self.bad(
                "attention.head_count_kv",
                format!("a divisor of {} heads", c.heads),
                c.kv_heads,
            ));
        }
        if c.rope.rotary_dim < 2
            || !c.rope.rotary_dim.is_multiple_of(2)
            || c.rope.rotary_dim > c.head_dim
        {
            return Err(self.bad(
                "rope.dimension_count",
                format!("an even number up to {}", c.head_dim),
                c.rope.rotary_dim,
            ));
        }
        if let Some((groups, kept)) = c.moe.and_then(|moe| moe.routing.groups)
            && let Some(moe) = c.moe
            && (!moe.experts.is_multiple_of(groups)
                || kept > groups
                || moe.experts / groups * kept < moe.experts_per_token)
        {
            let expected =
                format!("groups that divide {} experts and hold enough of them", moe.experts);
            let found = format!("{groups} groups, {kept} kept");
            return Err(self.bad("expert_group_count", expected, found));
        }
        if c.rope.theta <= 1.0 {
            return Err(self.bad("rope.freq_base", "a number above 1", c.rope.theta));
        }
        Ok(())
    }
}
