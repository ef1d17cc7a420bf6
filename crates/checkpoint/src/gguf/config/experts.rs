//! Reads the hyper-parameters of latent attention and of mixtures of experts from a GGUF file.
use super::keys::{GgufKeys, Result};
use crate::config::{ClampedSwiglu, ExpertStorage, Mla, Moe, Routing};
use crate::family::Family;

impl GgufKeys<'_> {
    pub fn mla(&self) -> Result<Mla> {
        let rope = self.required("rope.dimension_count")?;
        // Files with split kv_b state the dimensions of the cache under the plain names and those
        // of a head under the names with `_mla`.
        let dimension = |plain: &'static str, of_head: &'static str| match self.count(of_head)? {
            Some(count) => Ok((of_head, count)),
            None => self.required(plain).map(|count| (plain, count)),
        };
        let (key, query) = dimension("attention.key_length", "attention.key_length_mla")?;
        let (_, v_head_dim) = dimension("attention.value_length", "attention.value_length_mla")?;
        if query <= rope {
            let expected = format!("more than the {rope} rotating dimensions");
            return Err(self.bad(key, expected, query));
        }
        Ok(Mla {
            q_lora_rank: self
                .count("attention.q_lora_rank")?
                .filter(|_| self.has("blk.0.attn_q_a.weight")),
            kv_lora_rank: self.required("attention.kv_lora_rank")?,
            qk_nope_head_dim: query - rope,
            qk_rope_head_dim: rope,
            v_head_dim,
            split_kv_b: self.has("blk.0.attn_k_b.weight"),
        })
    }

    /// For each layer, whether it has a mixture of experts instead of a dense MLP.
    pub fn sparse_layers(&self, layers: usize) -> Vec<bool> {
        let sparse = self.family.traits().experts;
        let dense = self.metadata.get_u64(&self.key("leading_dense_block_count")).unwrap_or(0);
        (0..layers.min(1 << 12)).map(|i| sparse && i as u64 >= dense).collect()
    }

    pub fn moe(&self) -> Result<Option<Moe>> {
        if !self.family.traits().experts {
            return Ok(None);
        }
        // llama.cpp normalizes the expert weights of every qwen3moe model and of Mixtral.
        let normalizes = matches!(self.family, Family::Qwen3Moe | Family::Mixtral);
        let intermediate_size = match self.count("expert_feed_forward_length")? {
            Some(width) => width,
            None if matches!(self.family, Family::Mixtral | Family::Olmoe) => {
                self.required("feed_forward_length")?
            }
            None => return Err(self.absent("expert_feed_forward_length")),
        };
        let shared = self.metadata.get_u64(&self.key("expert_shared_count")).unwrap_or(0);
        let gpt_oss = self.family == Family::GptOss;
        let shared_gate = self.family == Family::Qwen2Moe;
        Ok(Some(Moe {
            experts: self.required("expert_count")?,
            experts_per_token: self.required("expert_used_count")?,
            intermediate_size,
            shared_size: match self.count("expert_shared_feed_forward_length")? {
                Some(width) => width,
                None => shared.min(1 << 10) as usize * intermediate_size,
            },
            shared_gate,
            biases: gpt_oss,
            storage: ExpertStorage::Separate,
            routing: Routing {
                softmax_after_choice: gpt_oss,
                normalize: normalizes
                    || self.metadata.get_bool(&self.key("expert_weights_norm")).unwrap_or(false),
                scale: self.number("expert_weights_scale")?.filter(|s| *s != 0.0).unwrap_or(1.0),
                groups: self.groups()?,
            },
            // The parameters of the published models; no key has them.
            clamped: gpt_oss.then_some(ClampedSwiglu { alpha: 1.702, limit: 7.0 }),
        }))
    }

    fn groups(&self) -> Result<Option<(usize, usize)>> {
        Ok(match (self.count("expert_group_count")?, self.count("expert_group_used_count")?) {
            (Some(groups), Some(kept)) if groups > 1 => Some((groups, kept)),
            _ => None,
        })
    }
}
