#!/usr/bin/env python3
"""Writes the tiny checkpoints of this folder and what transformers computes from them.

usage: make_models.py [NAME ...]        needs: pip install torch transformers safetensors numpy

Each folder NAME holds a `config.json` as it is spelt in the wild, weights (a link where several configurations share
them) and `expected.json`, see README.md. Weights are random but not small: heads look at few positions and the
distributions are uneven, so that a wrong rotation, bias or norm shows in every log-probability.
"""
import hashlib, json, os, shutil, sys, tempfile
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENS = 56
ROWS = 8
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
LONG_NAMES = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}


def llama(**changes):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128, "hidden_size": 48,
              "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1,
              "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2}
    return edit(config, changes)


def edit(config, changes):
    """`None` takes a key away."""
    merged = {**config, **changes}
    return {key: value for key, value in merged.items() if value is not None}


# The RoPE variants share its weights: two chunks of 32 in every product over `hidden_size`.
GQA = llama(hidden_size=64, intermediate_size=72, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
YARN = {"factor": 4.0, "original_max_position_embeddings": 64}
EXPLICIT_YARN = {**YARN, "beta_fast": 8.0, "beta_slow": 0.5, "attention_factor": 1.25, "truncate": False}
MSCALE_YARN = {**YARN, "mscale": 0.8, "mscale_all_dim": 1.3}
PHI3 = edit(llama(), {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "num_key_value_heads": 3, "pad_token_id": 0,
            "tie_word_embeddings": False, "original_max_position_embeddings": 256, "sliding_window": 20})
# Per rotated pair, longer for slower ones, as the published factors are.
SHORT = [1.0, 1.02, 1.05, 1.1, 1.2, 1.35, 1.5, 1.8]
LONG = [1.0, 1.3, 2.0, 3.5, 5.5, 7.0, 7.5, 8.0]
LONGROPE = {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}
QWEN2 = edit(llama(), {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "rope_theta": 1000000.0, "use_sliding_window": False,
             "sliding_window": 12, "max_window_layers": 1, "rms_norm_eps": 1e-6})
MISTRAL = edit(llama(), {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 16, "tie_word_embeddings": False})

# Latent attention without experts: the published models have them from the second layer on.
DEEPSEEK = edit(llama(), {"architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 64, "intermediate_size": 72,
                "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": None, "kv_lora_rank": 32, "qk_nope_head_dim": 16,
                "qk_rope_head_dim": 8, "v_head_dim": 12, "attention_bias": False, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
                "first_k_dense_replace": 2, "moe_layer_freq": 1, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2,
                "moe_intermediate_size": 32, "n_group": 1, "topk_group": 1, "topk_method": "greedy", "scoring_func": "softmax",
                "norm_topk_prob": False, "routed_scaling_factor": 1.0})
DEEPSEEK_YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32, "beta_slow": 1,
                 "mscale": 0.707, "mscale_all_dim": 0.707}

FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
MOE = llama(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)
QWEN3_MOE = edit(MOE, {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "head_dim": 16, "num_experts": 8,
                 "num_experts_per_tok": 3, "moe_intermediate_size": 32, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
                 "use_sliding_window": False, "sliding_window": None, "rms_norm_eps": 1e-6})

GPT_OSS = edit(MOE, {"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "head_dim": 16, "intermediate_size": 32,
               "num_local_experts": 6, "num_experts_per_tok": 3, "attention_bias": True, "sliding_window": 12, "swiglu_limit": 7.0,
               "layer_types": ["sliding_attention", "full_attention"], "rope_theta": 150000.0, "rope_scaling": {"rope_type": "yarn",
               "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False, "original_max_position_embeddings": 32},
               "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn",
               "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}})
FP4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]

# name: (configuration, stored dtype, shards, whose weights)
MODELS = {
    "llama-gqa": (GQA, "bf16", 1, None),
    "llama-rope-linear": (edit(GQA, {"rope_scaling": {"type": "linear", "factor": 4.0}}), "bf16", 1, "llama-gqa"),
    "llama-rope-linear-params": (edit(GQA, {"rope_theta": None, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}}), "bf16", 1, "llama-gqa"),
    "llama-rope-dynamic": (edit(GQA, {"max_position_embeddings": 32, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}), "bf16", 1, "llama-gqa"),
    "llama-rope-llama3": (edit(GQA, {"rope_scaling": {"rope_type": "llama3", **LLAMA3}}), "bf16", 1, "llama-gqa"),
    "llama-rope-llama3-params": (edit(GQA, {"rope_theta": None, "rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, **LLAMA3}}), "bf16", 1, "llama-gqa"),
    "llama-rope-yarn": (edit(GQA, {"rope_scaling": {"type": "yarn", **YARN}}), "bf16", 1, "llama-gqa"),
    "llama-rope-yarn-params": (edit(GQA, {"rope_theta": None, "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, **EXPLICIT_YARN}}), "bf16", 1, "llama-gqa"),
    "llama-rope-yarn-mscale": (edit(GQA, {"rope_scaling": {"rope_type": "yarn", **MSCALE_YARN}}), "bf16", 1, "llama-gqa"),
    "llama-mha-f32-sharded": (llama(num_key_value_heads=3, tie_word_embeddings=False), "f32", 3, None),
    "llama-tied-f16": (llama(), "f16", 1, None),
    "llama-head-dim": (llama(num_attention_heads=4, num_key_value_heads=2, head_dim=24), "bf16", 1, None),
    "llama-biases": (llama(attention_bias=True, mlp_bias=True), "bf16", 1, None),
    "mistral-sliding": (MISTRAL, "bf16", 1, None),
    "mistral-full": ({**MISTRAL, "sliding_window": None}, "bf16", 1, "mistral-sliding"),
    "qwen2": (QWEN2, "bf16", 1, None),
    "qwen2-sliding": ({**QWEN2, "use_sliding_window": True}, "bf16", 1, "qwen2"),
    "qwen3": (edit(llama(), {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 24, "num_attention_heads": 4,
              "num_key_value_heads": 2, "rope_theta": 1000000.0, "use_sliding_window": False, "max_window_layers": 2}), "bf16", 1, None),
    "olmo2": (edit(llama(), {"architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2", "num_key_value_heads": 3, "rope_theta": 500000.0,
              "tie_word_embeddings": False, "pad_token_id": 0}), "bf16", 1, None),
    "phi2": (edit(llama(), {"architectures": ["PhiForCausalLM"], "model_type": "phi", "num_attention_heads": 3, "num_key_value_heads": 3,
             "hidden_act": "gelu_new", "partial_rotary_factor": 0.5, "layer_norm_eps": 1e-5, "rms_norm_eps": None,
             "qk_layernorm": False, "tie_word_embeddings": False, "intermediate_size": 96}), "f16", 1, None),
    "phi3": (PHI3, "bf16", 1, None),
    # 56 tokens exceed the original 32, so the long factors apply; 24 tokens use the short ones.
    "phi3-longrope-long": ({**PHI3, "original_max_position_embeddings": 32, "rope_scaling": LONGROPE}, "bf16", 1, "phi3"),
    "phi3-longrope-short": ({**PHI3, "original_max_position_embeddings": 32, "rope_scaling": LONGROPE}, "bf16", 1, "phi3"),
    # A null `q_lora_rank`, as DeepSeek-V2-Lite has it: one query matrix.
    "deepseek2-dense-lite": ({**DEEPSEEK, "q_lora_rank": None, "rope_scaling": DEEPSEEK_YARN}, "bf16", 1, None),
    "deepseek2-dense": ({**DEEPSEEK, "q_lora_rank": 24}, "bf16", 1, None),
    "deepseek2-dense-mscale": ({**DEEPSEEK, "q_lora_rank": 24, "rope_scaling": {**DEEPSEEK_YARN, "mscale": 0.8, "mscale_all_dim": 1.3}}, "bf16", 1, "deepseek2-dense"),
    # Block FP8, of shapes that are no multiples of a block.
    "qwen3-fp8": (edit(llama(), {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 24, "num_attention_heads": 4, "num_key_value_heads": 2,
                  "hidden_size": 160, "intermediate_size": 144, "rope_theta": 1000000.0, "quantization_config": FP8}), "bf16", 1, None),
    "deepseek2-fp8": ({**DEEPSEEK, "hidden_size": 144, "intermediate_size": 48, "q_lora_rank": 32, "kv_lora_rank": 132, "qk_nope_head_dim": 16,
                      "first_k_dense_replace": 1, "n_routed_experts": 3, "num_experts_per_tok": 1, "moe_intermediate_size": 16,
                      "quantization_config": FP8}, "bf16", 1, None),
    "deepseek2": ({**DEEPSEEK, "q_lora_rank": 24, "first_k_dense_replace": 1, "n_routed_experts": 12, "n_shared_experts": 2, "num_experts_per_tok": 3,
                  "n_group": 4, "topk_group": 2, "topk_method": "group_limited_greedy", "routed_scaling_factor": 2.5,
                  "rope_scaling": DEEPSEEK_YARN}, "bf16", 1, None),
    "qwen3-moe": (QWEN3_MOE, "bf16", 1, None),
    # As transformers 5 keeps experts in memory, and as some programs save them.
    "qwen3-moe-fused": (QWEN3_MOE, "bf16", 1, None),
    # The first layer is dense.
    "qwen2-moe": (edit(MOE, {"architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "num_experts": 8, "num_experts_per_tok": 2,
                  "moe_intermediate_size": 32, "shared_expert_intermediate_size": 96, "norm_topk_prob": False, "decoder_sparse_step": 1,
                  "mlp_only_layers": [0], "use_sliding_window": False, "rms_norm_eps": 1e-6}), "bf16", 1, None),
    "mixtral": (edit(MOE, {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": 5, "num_experts_per_tok": 2,
                "intermediate_size": 40, "sliding_window": None, "rope_theta": 1000000.0}), "bf16", 1, None),
    "olmoe": (edit(MOE, {"architectures": ["OlmoeForCausalLM"], "model_type": "olmoe", "num_experts": 8, "num_experts_per_tok": 3,
              "num_key_value_heads": 4, "intermediate_size": 32, "norm_topk_prob": False, "clip_qkv": None, "attention_bias": False}), "bf16", 1, None),
    "gpt-oss": (GPT_OSS, "bf16", 1, None),
}
# Models with the same weights as another one, in another form.
FORM_OF = {"qwen3-moe-fused": "qwen3-moe"}
LENGTHS = {"phi3-longrope-short": 24}


def main():
    for name in sys.argv[1:] or MODELS:
        config, stored, shards, owner = MODELS[name]
        folder = os.path.join(HERE, name)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump({**config, "torch_dtype": LONG_NAMES[stored]}, f, indent=1)
            f.write("\n")
        if owner is None:
            write_weights(folder, config, DTYPES[stored], shards, seed_of(FORM_OF.get(name, name)))
        else:
            link(os.path.join("..", owner, "model.safetensors"), os.path.join(folder, "model.safetensors"))
        expected = expect(folder, config, stored, LENGTHS.get(name, TOKENS))
        write_expected(os.path.join(folder, "expected.json"), expected)
        low = expected["low_precision"]
        print(f"{name}: entropy {expected.pop('mean_entropy'):.2f}, {low['dtype']} KL {low['mean_kl']:.1e}, worst {low['max_abs_error']:.1e}")


def seed_of(name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def link(target, at):
    if os.path.lexists(at):
        os.remove(at)
    os.symlink(target, at)


def write_weights(folder, config, dtype, shards, seed):
    unquantized = load_config(folder)
    if hasattr(unquantized, "quantization_config"):
        del unquantized.quantization_config
    model = AutoModelForCausalLM.from_config(unquantized, dtype=torch.float32)
    random = np.random.default_rng(seed)
    tied = config["tie_word_embeddings"]
    tensors = {}
    for name, parameter in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        values = torch.from_numpy(sample(random, name, tuple(parameter.shape), tied, config["model_type"] == "gpt_oss")).to(dtype)
        fused = folder.endswith("-fused")
        for published, part in publish(config, name, values, fused):
            tensors.update(in_block_fp8(published, part.contiguous()) if is_fp8(config) else [(published, part.contiguous())])
    for old in os.listdir(folder):
        if old.startswith("model"):
            os.remove(os.path.join(folder, old))
    if shards == 1:
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        return
    names, weight_map = sorted(tensors), {}
    for i in range(shards):
        part = names[i * len(names) // shards:(i + 1) * len(names) // shards]
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file({n: tensors[n] for n in part}, os.path.join(folder, file), metadata={"format": "pt"})
        weight_map.update({n: file for n in part})
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, f, indent=1)
        f.write("\n")


def publish(config, name, values, fused):
    """The tensors of a checkpoint for one parameter: published checkpoints have a matrix for each expert."""
    if config["model_type"] == "gpt_oss":
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            blocks, scales = mxfp4(values.float().transpose(1, 2))
            return [(f"{name}_blocks", blocks), (f"{name}_scales", scales)]
        return [(name, values)]
    mixtral = config["model_type"] == "mixtral"
    if mixtral and not fused:
        name = name.replace(".mlp.", ".block_sparse_moe.")
    layer, experts, part = name.partition(".experts.")
    if fused or not experts:
        return [(name, values)]
    names = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"} if mixtral else {}
    matrices = []
    for expert, matrix in enumerate(values):
        half = len(matrix) // 2
        parts = {"gate_proj": matrix[:half], "up_proj": matrix[half:]} if part == "gate_up_proj" else {"down_proj": matrix}
        matrices += [(f"{layer}.experts.{expert}.{names.get(key, key)}.weight", value) for key, value in parts.items()]
    return matrices


def mxfp4(matrices):
    """Blocks [..., out, in / 32, 16] and scales [..., out, in / 32] of the nearest MXFP4 values."""
    blocks = matrices.reshape(*matrices.shape[:-1], -1, 32)
    exponent = torch.floor(torch.log2(blocks.abs().amax(-1))) - 2
    scaled = blocks / torch.exp2(exponent)[..., None]
    codes = (scaled[..., None] - torch.tensor(FP4)).abs().argmin(-1).to(torch.uint8)
    return codes[..., ::2] | codes[..., 1::2] << 4, (exponent + 127).to(torch.uint8)


def from_mxfp4(blocks, scales):
    codes = torch.stack([blocks & 15, blocks >> 4], -1).flatten(-2).long()
    return (torch.tensor(FP4)[codes] * torch.exp2(scales.float() - 127)[..., None]).flatten(-2)


def load_mxfp4(folder, dtype):
    """The model with its experts dequantized: transformers' own kernels for MXFP4 need a GPU."""
    config = load_config(folder)
    del config.quantization_config
    stored = load_file(os.path.join(folder, "model.safetensors"))
    state = {}
    for name, values in stored.items():
        if name.endswith("_blocks"):
            name = name.removesuffix("_blocks")
            state[name] = from_mxfp4(values, stored[f"{name}_scales"]).transpose(1, 2).contiguous()
        elif not name.endswith("_scales"):
            state[name] = values.float()
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    model.load_state_dict(state)
    return model.to(dtype)


def sample(random, name, shape, tied, gpt_oss=False):
    normal = random.standard_normal(shape)
    if name.endswith("bias"):
        x = 0.3 * normal
    elif name.endswith("sinks"):
        x = normal
    elif ".experts." in name:
        # gpt-oss's experts are [experts, in, out], others [experts, out, in].
        x = normal * 1.5 / shape[1 if gpt_oss else 2] ** 0.5
    elif name.endswith(("mlp.gate.weight", "mlp.router.weight")):
        x = normal * 2.0 / shape[1] ** 0.5
    elif "norm" in name:
        x = 1 + 0.25 * normal
    elif "embed_tokens" in name:
        x = normal * (2.5 / shape[1] ** 0.5 if tied else 1.0)
    elif "lm_head" in name:
        x = normal * 2.5 / shape[1] ** 0.5
    elif "q_proj" in name or "k_proj" in name or "qkv_proj" in name:
        x = normal * 1.3 / shape[1] ** 0.5
    else:
        x = normal / shape[1] ** 0.5
    return x.astype(np.float32)


def load_config(folder):
    return transformers.AutoConfig.from_pretrained(folder)


def stored_config(folder):
    with open(os.path.join(folder, "config.json")) as f:
        return json.load(f)


def is_fp8(config):
    return config.get("quantization_config", {}).get("quant_method") == "fp8"


def in_block_fp8(name, tensor):
    """The tensors that store one: its E4M3 elements and the factor of each block, for matrices of layers."""
    if ".layers." not in name or tensor.dim() != 2 or name.endswith("mlp.gate.weight"):
        return [(name, tensor)]
    factors = torch.empty([-(-n // 128) for n in tensor.shape])
    elements = torch.empty(tensor.shape, dtype=torch.float8_e4m3fn)
    for (i, j), rows, cols in blocks(tensor.shape):
        block = tensor[rows, cols].float()
        factors[i, j] = block.abs().max() / 448
        elements[rows, cols] = (block / factors[i, j]).to(torch.float8_e4m3fn)
    return [(name, elements), (name + "_scale_inv", factors)]


def blocks(shape):
    for i in range(0, shape[0], 128):
        for j in range(0, shape[1], 128):
            yield (i // 128, j // 128), slice(i, i + 128), slice(j, j + 128)


def dequantized(folder):
    """A copy of a checkpoint in block FP8 with its weights in float32: transformers has no FP8 kernel for the CPU."""
    copy = tempfile.mkdtemp()
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    del config["quantization_config"]
    with open(os.path.join(copy, "config.json"), "w") as f:
        json.dump(config, f)
    stored = load_file(os.path.join(folder, "model.safetensors"))
    tensors = {}
    for name, tensor in stored.items():
        if name.endswith("_scale_inv"):
            continue
        tensors[name] = tensor.float()
        if tensor.dtype == torch.float8_e4m3fn:
            for index, rows, cols in blocks(tensor.shape):
                tensors[name][rows, cols] *= stored[name + "_scale_inv"][index]
    save_file(tensors, os.path.join(copy, "model.safetensors"), metadata={"format": "pt"})
    return copy


def run(folder, dtype, tokens):
    """Logits of every position in float64: the arithmetic itself is in `dtype`."""
    if is_fp8(stored_config(folder)):
        copy = dequantized(folder)
        try:
            return run(copy, dtype, tokens)
        finally:
            shutil.rmtree(copy)
    if hasattr(load_config(folder), "quantization_config"):
        model = load_mxfp4(folder, dtype).eval()
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0].double()


def expect(folder, config, stored, count):
    random = np.random.default_rng(seed_of("tokens"))
    tokens = [config["bos_token_id"]] + [int(t) for t in random.integers(3, config["vocab_size"], count - 1)]
    exact = run(folder, torch.float32, tokens)
    low_name = "f16" if stored == "f16" else "bf16"
    low = torch.log_softmax(run(folder, DTYPES[low_name], tokens), -1)
    logprobs = torch.log_softmax(exact, -1)
    kl = (logprobs.exp() * (logprobs - low)).sum(-1)
    rows = sorted({round(i * (count - 1) / (ROWS - 1)) for i in range(ROWS)})
    return {
        "made_by": f"tests/golden/make_models.py, transformers {transformers.__version__}, torch {torch.__version__}",
        "stored_dtype": stored,
        "context": count,
        "tokens": tokens,
        "logprobs": forced(logprobs, tokens),
        "last_logits": rounded(exact[-1]),
        "rows": [{"position": p, "logprobs": rounded(logprobs[p])} for p in rows],
        "low_precision": {
            "dtype": low_name,
            "logprobs": forced(low, tokens),
            "mean_kl": float(f"{kl.mean():.4g}"),
            "mean_kl_rows": float(f"{kl[rows].mean():.4g}"),
            "max_abs_logprob_error": float(f"{max(abs(a - b) for a, b in zip(forced(low, tokens)[1:], forced(logprobs, tokens)[1:])):.4g}"),
            "max_abs_error": float(f"{(low - logprobs).abs().max():.4g}"),
        },
        "mean_entropy": float(-(logprobs.exp() * logprobs).sum(-1).mean()),
    }


def forced(logprobs, tokens):
    """The log-probability of each token after those before it; nothing is before the first."""
    return [None] + [round(float(logprobs[i, t]), 6) for i, t in enumerate(tokens[1:])]


def rounded(row):
    return [round(float(x), 5) for x in row]


def write_expected(path, expected):
    """One line a key: readable, and small in a diff."""
    kept = {k: v for k, v in expected.items() if k != "mean_entropy"}
    lines = [f" {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in kept.items()]
    with open(path, "w") as f:
        f.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
