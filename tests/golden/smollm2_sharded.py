#!/usr/bin/env python3
"""Writes SmolLM2-135M-Instruct, out of its GGUF file, as a sharded Hugging Face checkpoint of real weights.

usage: smollm2_sharded.py GGUF OUT_DIR [--dtype bf16|f32]        needs: pip install gguf numpy

The quantized weights become numbers (bf16: rounded to nearest even; f32: exactly what the file stands for). Shards hold
about 60 MB each. The tokenizer becomes vocab.json and merges.txt: byte-level BPE that splits single digits first.
"""
import argparse, json, os, struct
import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

SHARD_BYTES = 60_000_000
BLOCK_PARTS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
               "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
               "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
TOP_LEVEL = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def convert(gguf, out, dtype="bf16"):
    """Writes the checkpoint into the folder `out`."""
    reader = GGUFReader(gguf)
    os.makedirs(out, exist_ok=True)
    tensors = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        tensors[hf_name(tensor.name)] = stored(unpermuted(reader, tensor.name, values), dtype)
    write_shards(out, tensors, dtype)
    write_texts(reader, out, dtype)


def field(reader, key):
    return reader.fields[key].contents()


def hf_name(name):
    if name in TOP_LEVEL:
        return TOP_LEVEL[name]
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{BLOCK_PARTS[part]}.weight"


def unpermuted(reader, name, values):
    """GGUF puts the rows of a head that rotate together next to each other; Hugging Face has them half a head apart."""
    if ".attn_q." in name:
        heads = field(reader, "llama.attention.head_count")
    elif ".attn_k." in name:
        heads = field(reader, "llama.attention.head_count_kv")
    else:
        return values
    pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, values.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)


def stored(values, dtype):
    if dtype == "f32":
        return values
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_shards(out, tensors, dtype):
    shards, size = [[]], 0
    for name in sorted(tensors):
        if size and size + tensors[name].nbytes > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensors[name].nbytes
    weight_map = {}
    for i, names in enumerate(shards, 1):
        file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        write_shard(os.path.join(out, file), {name: tensors[name] for name in names}, dtype)
        weight_map.update({name: file for name in names})
    total = sum(t.nbytes for t in tensors.values())
    dump(out, "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def write_shard(path, tensors, dtype):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": dtype.upper(), "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            f.write(values.tobytes())


def write_texts(reader, out, dtype):
    get = lambda key: field(reader, key)
    dump(out, "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "dtype": "bfloat16" if dtype == "bf16" else "float32",
        "vocab_size": get("llama.vocab_size"), "hidden_size": get("llama.embedding_length"),
        "intermediate_size": get("llama.feed_forward_length"), "num_hidden_layers": get("llama.block_count"),
        "num_attention_heads": get("llama.attention.head_count"), "num_key_value_heads": get("llama.attention.head_count_kv"),
        "max_position_embeddings": get("llama.context_length"), "rms_norm_eps": float(get("llama.attention.layer_norm_rms_epsilon")),
        "rope_theta": float(get("llama.rope.freq_base")), "tie_word_embeddings": True,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    dump(out, "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    dump(out, "vocab.json", {token: i for i, token in enumerate(get("tokenizer.ggml.tokens"))})
    with open(os.path.join(out, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("\n".join(get("tokenizer.ggml.merges")) + "\n")
    with open(os.path.join(out, "chat_template.jinja"), "w", encoding="utf-8") as f:
        f.write(get("tokenizer.chat_template"))


def dump(out, name, value):
    with open(os.path.join(out, name), "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf")
    parser.add_argument("out")
    parser.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    given = parser.parse_args()
    convert(given.gguf, given.out, given.dtype)
