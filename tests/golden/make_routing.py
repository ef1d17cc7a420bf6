#!/usr/bin/env python3
"""Writes `routing.json`: the experts that transformers' routers choose for random logits, and their weights.

usage: make_routing.py        needs: pip install torch transformers

The routers' own code runs with an identity matrix as the router's weights, so that the hidden states are the logits.
"""
import json, os
import torch
from transformers import DeepseekV2Config, GptOssConfig, MixtralConfig, Qwen2MoeConfig, Qwen3MoeConfig
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssTopKRouter
from transformers.models.mixtral.modeling_mixtral import MixtralTopKRouter
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeTopKRouter
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS, EXPERTS, CHOSEN = 6, 16, 4
SIZES = {"hidden_size": EXPERTS, "num_experts_per_tok": CHOSEN, "num_attention_heads": 4}
DEEPSEEK = {**SIZES, "n_routed_experts": EXPERTS, "routed_scaling_factor": 16.0}
ROUTERS = {
    "qwen3-moe": Qwen3MoeTopKRouter(Qwen3MoeConfig(**SIZES, num_experts=EXPERTS, norm_topk_prob=True)),
    "qwen2-moe": Qwen2MoeTopKRouter(Qwen2MoeConfig(**SIZES, num_experts=EXPERTS, norm_topk_prob=False)),
    "mixtral": MixtralTopKRouter(MixtralConfig(**SIZES, num_local_experts=EXPERTS)),
    "gpt-oss": GptOssTopKRouter(GptOssConfig(**SIZES, num_local_experts=EXPERTS)),
    "deepseek-v2-lite": DeepseekV2TopkRouter(DeepseekV2Config(**DEEPSEEK, topk_method="greedy", n_group=1, topk_group=1)),
    "deepseek-v2": DeepseekV2TopkRouter(DeepseekV2Config(**DEEPSEEK, topk_method="group_limited_greedy", n_group=8, topk_group=3)),
}


def main():
    torch.manual_seed(22)
    logits = torch.randn(ROWS, EXPERTS) * 2
    cases = {}
    for name, router in ROUTERS.items():
        with torch.no_grad():
            router.weight.copy_(torch.eye(EXPERTS))
            if getattr(router, "bias", None) is not None:
                router.bias.zero_()
            _, weights, chosen = router(logits)
        rows = [sorted(zip(w.tolist(), c.tolist()), reverse=True) for w, c in zip(weights, chosen)]
        cases[name] = {"chosen": [[c for _, c in row] for row in rows], "weights": [[w for w, _ in row] for row in rows]}
    content = {"experts": EXPERTS, "experts_per_token": CHOSEN, "logits": logits.tolist(), "routers": cases}
    with open(os.path.join(HERE, "routing.json"), "w") as f:
        json.dump(content, f)
        f.write("\n")


main()
