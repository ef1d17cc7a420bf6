"""SmolLM2's tokenizer as transformers has it, out of vocab.json and merges.txt.

The model's own tokenizer.json (on the hub) names: BPE; single digits apart, then byte-level with GPT-2's pattern;
no normalizer, no post-processor; the first 17 ids are special.
"""
import json, os
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = 17


def load(folder):
    with open(os.path.join(folder, "vocab.json"), encoding="utf-8") as f:
        vocab = json.load(f)
    with open(os.path.join(folder, "merges.txt"), encoding="utf-8") as f:
        merges = [tuple(line.split(" ")) for line in f.read().split("\n") if line]
    core = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    core.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    core.decoder = decoders.ByteLevel()
    names = sorted(vocab, key=vocab.get)[:SPECIAL]
    core.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<|im_start|>", eos_token="<|im_end|>",
                                        unk_token="<|endoftext|>", pad_token="<|im_end|>", clean_up_tokenization_spaces=False)
    with open(os.path.join(folder, "chat_template.jinja"), encoding="utf-8") as f:
        tokenizer.chat_template = f.read()
    return tokenizer
