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
    "deepseek2-dense-fp8": ({**DEEPSEEK, "hidden_size": 144, "intermediate_size": 136, "q_lora_rank": 40, "kv_lora_rank": 132, "qk_nope_head_dim": 20,
                            "tie_word_embeddings": True, "rope_scaling": DEEPSEEK_YARN, "quantization_config": FP8}, "bf16", 1, None),
}
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
            write_weights(folder, config, DTYPES[stored], shards, seed_of(name))
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
    model = AutoModelForCausalLM.from_config(load_config(folder), dtype=torch.float32)
    random = np.random.default_rng(seed)
    tied = config["tie_word_embeddings"]
    tensors = {}
    for name, parameter in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        tensors[name] = torch.from_numpy(sample(random, name, tuple(parameter.shape), tied)).to(dtype).contiguous()
    if "quantization_config" in config:
        tensors = {stored: part for name, tensor in tensors.items() for stored, part in in_block_fp8(name, tensor)}
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


def sample(random, name, shape, tied):
    normal = random.standard_normal(shape)
    if name.endswith("bias"):
        x = 0.3 * normal
    elif "norm" in name:
        x = 1 + 0.25 * normal
    elif "embed_tokens" in name:
        x = normal * (2.5 / shape[1] ** 0.5 if tied else 1.0)
    elif "lm_head" in name:
        x = normal * 2.5 / shape[1] ** 0.5
    elif "q_b_proj" in name or "kv_b_proj" in name:
        x = normal * 1.5 / shape[1] ** 0.5
    elif "q_proj" in name or "k_proj" in name or "qkv_proj" in name:
        x = normal * 1.3 / shape[1] ** 0.5
    else:
        x = normal / shape[1] ** 0.5
    return x.astype(np.float32)


def load_config(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return config


def in_block_fp8(name, tensor):
    """The tensors that store one: its E4M3 elements and the factor of each block, for matrices of layers."""
    if ".layers." not in name or tensor.dim() != 2:
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
    with open(os.path.join(folder, "config.json")) as f:
        quantized = "quantization_config" in json.load(f)
    if quantized:
        copy = dequantized(folder)
        try:
            return run(copy, dtype, tokens)
        finally:
            shutil.rmtree(copy)
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
