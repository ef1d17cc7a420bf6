#!/usr/bin/env python3
"""Writes smollm2.json: what transformers computes with SmolLM2-135M-Instruct, in float32, on two forms of its weights.

usage: smollm2_expected.py GGUF        needs: pip install torch transformers gguf numpy

"bf16": the weights of smollm2_sharded.py (rounded to bf16). "gguf": exactly what the GGUF's blocks stand for.
"""
import json, os, sys, tempfile
import torch
import transformers
from transformers import AutoModelForCausalLM
import smollm2_sharded
import smollm2_tokenizer
from make_models import forced, write_expected

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = """The warehouse opened at 6:45 on Monday, 3 March 2025. Two lorries were late; one carried 1,200 kettles, the other
nothing but straw. "We ordered 120," said Ana, "not ten times as many." She counted the pallets twice, wrote the number on
her hand, and rang the supplier. Nobody answered. By noon the shelves were full, the budget was gone, and every customer who
wanted a kettle had two."""
QUESTION = "Name three fruits."
TOP = 64
ROWS = 6
NEW_TOKENS = 10


def main():
    expected = {"made_by": f"tests/golden/smollm2_expected.py, transformers {transformers.__version__}, torch {torch.__version__}"}
    for form, dtype in [("bf16", "bf16"), ("gguf", "f32")]:
        with tempfile.TemporaryDirectory() as folder:
            smollm2_sharded.convert(sys.argv[1], folder, dtype)
            if "text" not in expected:
                expected.update(inputs(folder))
            expected[form] = measure(folder, expected["tokens"], expected["prompt_tokens"])
        print(form, expected[form]["greedy"], expected[form]["greedy_margin"], expected[form]["low_precision"]["mean_kl"])
    write_expected(os.path.join(HERE, "smollm2.json"), expected)


def inputs(folder):
    tokenizer = smollm2_tokenizer.load(folder)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": QUESTION}], tokenize=False, add_generation_prompt=True)
    return {"text": TEXT, "tokens": tokenizer.encode(TEXT, add_special_tokens=False),
            "question": QUESTION, "prompt": prompt, "prompt_tokens": tokenizer.encode(prompt, add_special_tokens=False)}


def measure(folder, tokens, prompt):
    exact_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    low_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager").eval()
    exact, low = logprobs(exact_model, tokens), logprobs(low_model, tokens)
    kl = (exact.exp() * (exact - low)).sum(-1)
    rows = [round(i * (len(tokens) - 1) / (ROWS - 1)) for i in range(ROWS)]
    ids, margin = greedy(exact_model, prompt)
    a, b = forced(exact, tokens), forced(low, tokens)
    return {
        "logprobs": a,
        "rows": [top(exact, position) for position in rows],
        "greedy": ids,
        "greedy_margin": margin,
        "low_precision": {"dtype": "bf16", "logprobs": b, "mean_kl": float(f"{kl.mean():.4g}"),
                          "mean_kl_rows": float(f"{kl[rows].mean():.4g}"),
                          "max_abs_logprob_error": float(f"{max(abs(x - y) for x, y in zip(a[1:], b[1:])):.4g}"),
                          "max_abs_error": float(f"{(low - exact).abs().max():.4g}"),
                          "greedy": greedy(low_model, prompt)[0]},
    }


def logprobs(model, tokens):
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([tokens]), use_cache=False).logits[0].double(), -1)


def top(exact, position):
    """The likeliest ids after `position`, likeliest first; the rest of the distribution is one minus their sum."""
    values, ids = exact[position].topk(TOP)
    return {"position": position, "ids": ids.tolist(), "logprobs": [round(v, 5) for v in values.tolist()]}


def greedy(model, prompt):
    """The first ids, each the likeliest, and by how much the closest of them led its runner-up (in nats)."""
    ids, margin = [], float("inf")
    for _ in range(NEW_TOKENS):
        values, best = logprobs(model, prompt + ids)[-1].topk(2)
        ids.append(int(best[0]))
        margin = min(margin, float(values[0] - values[1]))
    return ids, round(margin, 4)


if __name__ == "__main__":
    main()
