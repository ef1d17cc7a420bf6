#!/usr/bin/env python3
"""Writes `embeddings.json`: texts' embeddings by transformers, over checkpoints of this folder.

usage: make_embeddings.py        needs: pip install torch transformers

An embedding is the mean over all positions of the last hidden states, after the final norm (`last_hidden_state`).
"""
import json, os
import torch
import transformers
from transformers import AutoModel

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = ["llama-gqa", "mistral-sliding", "olmo2", "phi2"]
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def main():
    expected = {"made_by": f"tests/golden/make_embeddings.py, transformers {transformers.__version__}, torch {torch.__version__}"}
    for name in MODELS:
        folder = os.path.join(HERE, name)
        with open(os.path.join(folder, "expected.json")) as f:
            tokens = json.load(f)["tokens"]
        expected[name] = {"tokens": tokens, **{word: embedding(folder, dtype, tokens) for word, dtype in DTYPES.items()}}
    lines = [f" {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in expected.items()]
    with open(os.path.join(HERE, "embeddings.json"), "w") as f:
        f.write("{\n" + ",\n".join(lines) + "\n}\n")


def embedding(folder, dtype, tokens):
    model = AutoModel.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    with torch.no_grad():
        hidden = model(torch.tensor([tokens]), use_cache=False).last_hidden_state[0]
    return [round(float(x), 6) for x in hidden.double().mean(0)]


if __name__ == "__main__":
    main()
