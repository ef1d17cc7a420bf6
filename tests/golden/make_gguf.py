#!/usr/bin/env python3
"""Writes checkpoints of this folder again as GGUF files, beside links to their expected results.

usage: make_gguf.py        needs: pip install gguf torch safetensors numpy

`deepseek2-gguf` has `attn_kv_b`, as files of 2024 have it; `deepseek2-gguf-split` has `attn_k_b`, transposed for each head,
and `attn_v_b`, as newer files do.
"""
import json, os
import gguf
import numpy as np
import torch
from safetensors.torch import load_file

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.q_a_proj": "attn_q_a",
         "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b", "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
         "self_attn.kv_a_layernorm": "attn_kv_a_norm", "self_attn.kv_b_proj": "attn_kv_b", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def main():
    write("deepseek2-gguf", "deepseek2-dense", split=False)
    write("deepseek2-gguf-split", "deepseek2-dense-lite", split=True)


def write(name, source, split):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(HERE, source, "config.json")) as f:
        c = json.load(f)
    writer = gguf.GGUFWriter(os.path.join(folder, "model.gguf"), "deepseek2")
    add_keys(writer, c, split)
    for hf_name, tensor in load_file(os.path.join(HERE, source, "model.safetensors")).items():
        for gguf_name, part in tensors(hf_name, tensor, c, split):
            add(writer, gguf_name, part)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    link = os.path.join(folder, "expected.json")
    if os.path.lexists(link):
        os.remove(link)
    os.symlink(os.path.join("..", source, "expected.json"), link)


def add_keys(writer, c, split):
    query = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
    numbers = {"context_length": c["max_position_embeddings"], "embedding_length": c["hidden_size"], "block_count": c["num_hidden_layers"],
               "feed_forward_length": c["intermediate_size"], "attention.head_count": c["num_attention_heads"],
               "attention.head_count_kv": 1 if split else c["num_attention_heads"], "attention.kv_lora_rank": c["kv_lora_rank"],
               "rope.dimension_count": c["qk_rope_head_dim"], "leading_dense_block_count": c["first_k_dense_replace"],
               "expert_count": c["n_routed_experts"], "expert_used_count": c["num_experts_per_tok"], "expert_shared_count": c["n_shared_experts"],
               "expert_feed_forward_length": c["moe_intermediate_size"]}
    if c.get("q_lora_rank"):
        numbers["attention.q_lora_rank"] = c["q_lora_rank"]
    of_head = {"attention.key_length": query, "attention.value_length": c["v_head_dim"]}
    if split:
        of_cache = {"attention.key_length": c["kv_lora_rank"] + c["qk_rope_head_dim"], "attention.value_length": c["kv_lora_rank"]}
        of_head = {**of_cache, **{key + "_mla": value for key, value in of_head.items()}}
    for key, value in {**numbers, **of_head}.items():
        writer.add_uint32("deepseek2." + key, value)
    floats = {"attention.layer_norm_rms_epsilon": c["rms_norm_eps"], "rope.freq_base": c["rope_theta"], "expert_weights_scale": c["routed_scaling_factor"]}
    yarn = c.get("rope_scaling")
    if yarn:
        writer.add_string("deepseek2.rope.scaling.type", "yarn")
        writer.add_uint32("deepseek2.rope.scaling.original_context_length", yarn["original_max_position_embeddings"])
        floats.update({"rope.scaling.factor": yarn["factor"], "rope.scaling.yarn_log_multiplier": 0.1 * yarn["mscale_all_dim"]})
    for key, value in floats.items():
        writer.add_float32("deepseek2." + key, value)


def tensors(name, tensor, c, split):
    top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    if name in top:
        return [(top[name], tensor)]
    layer, part = name.removeprefix("model.layers.").split(".", 1)
    part = part.removesuffix(".weight")
    prefix = f"blk.{layer}."
    if part == "self_attn.kv_b_proj" and split:
        heads = tensor.view(c["num_attention_heads"], -1, c["kv_lora_rank"])
        keys, values = heads.split([c["qk_nope_head_dim"], c["v_head_dim"]], dim=1)
        return [(prefix + "attn_k_b.weight", keys.transpose(1, 2).contiguous()), (prefix + "attn_v_b.weight", values.contiguous())]
    return [(prefix + NAMES[part] + ".weight", tensor)]


def add(writer, name, tensor):
    if tensor.dim() == 1:
        writer.add_tensor(name, tensor.float().numpy())
        return
    raw = tensor.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
    writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)


if __name__ == "__main__":
    main()
