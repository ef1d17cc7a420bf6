"""Writes text/*.json: tokens and renderings as tokenizers, sentencepiece and transformers have them.

    python make_texts.py FOLDER     FOLDER holds SmolLM2's vocab.json, merges.txt and chat_template.jinja

Needs transformers, tokenizers, sentencepiece and jinja2. The small tokenizers are trained here on the texts below.
"""
import datetime, io, json, os, sys
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils
import smollm2_tokenizer

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "text")

TEXTS = [
    "", " ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n\n", " \n \n ", "\t\tx\t", "a", " a", "a ", "  a  b   c    d",
    "Hello, world!", "Hello world. How are you today? I'm fine, they'll say; we've done it, he'd know, it's OK.",
    "HELLO WORLD'S BIGGEST I'M I'LL THEY'RE", "The agent orders 250 units at 3.75 a unit, $1,234,567.89 in all (12%).",
    "0", "1234567890", "007 3.14159 1e-10 0xFF 1,000,000 10²", "٣٤٥ १२३ Ⅷ ½ ²³ ①",
    "line one\nline two\n\n  indented\n\ttabbed", "windows\r\nlines\r\n\r\nend\r\n", "trailing spaces   \n   leading",
    "naïve café résumé Zürich", "e\u0301 n\u0303 a\u030a\u0323 \u0301", "Ελληνικά Русский Українська", "שלום עולם", "مرحبا بالعالم",
    "你好，世界！今天天气很好。", "日本語のテキスト、カタカナ・ひらがな", "한국어 문장입니다", "ไทยไม่มีช่องว่าง", "हिन्दी में लिखा",
    "😀", "👨‍👩‍👧‍👦 family", "👍🏽 ok 🇩🇪🇫🇷", "a😀b🎉c", "\u200b zero\u200bwidth \ufeffbom \u00a0nbsp \u3000wide \u2028sep",
    "\u0000\u0001\u0007\u001b[31mred\u007f", "\u202eoverride\u202c", "𝕳𝖊𝖑𝖑𝖔 𐍈 𠜎", "\ufffd \uffff", "▁under▁ _score_ __init__",
    "supercalifragilisticexpialidocious" * 3, "a" * 100, "ab" * 40, "=" * 60, "!?!?!?...---***", " " * 30 + "x",
    "def f(x: int) -> str:\n    return f\"{x:>10}\"  # comment\n\n\nclass A(B):\n\tpass\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] * c; }", "SELECT * FROM `t` WHERE x != 'y' -- z", "{\"action\": \"order\", \"units\": [1, 2.5, null, true]}",
    "https://example.com/path?query=1&other=%20#frag", "C:\\Users\\x\\file.txt ~/.bashrc", "<html><body class=\"x\">&amp;</body></html>",
    "<|im_start|>user\nHi<|im_end|>\n", "a<|im_end|>b", "<|im_start|><|im_start|>", " <|im_end|> ", "<|im_start", "<|endoftext|>x<|endoftext|>",
    "<think>2 + 2</think> done", "x <think> y", "<s>a</s>", "<0x41>", "I don't won't 'quoted' \"double\" `tick` ’curly’",
    "$x^2 + y_1 = \\frac{1}{2}$ ∑∫√≠≤ →", "Mixed中文English混合1２３", "Ünï\u0308cödé ﬁ ﬀ ſ İı ß", "\n\n\nafter\n \n", "1\n2\r3\t4", "a\u0085b\u000bc\u000cd",
]

# llama.cpp's names of pre-tokenizers, and the pre-tokenizer of each in tokenizer.json.
PATTERNS = {
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def cut(name):
    bytes_ = lambda regex: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    if name == "gpt-2":
        return bytes_(True)
    if name == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_(True)])
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERNS[name]), "isolated"), bytes_(False)])


def write(name, value):
    path = os.path.join(HERE, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        if isinstance(value, list):
            f.write("[\n" + ",\n".join(json.dumps(v, ensure_ascii=True) for v in value) + "\n]\n")
        else:
            f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {rows(v)}" for k, v in value.items()) + "\n}\n")


def rows(value):
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(json.dumps(v) for v in value) + "\n]"
    return json.dumps(value)


def case(tokenizer, text):
    """What equals the text itself, or the ids without special tokens, is left out."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    out = {"text": text, "ids": ids}
    wrapped = tokenizer.encode(text)
    if wrapped != ids:
        out["ids_with_special"] = wrapped
    for key, skip in [("decoded", False), ("decoded_skipping", True)]:
        decoded = tokenizer.decode(ids, skip_special_tokens=skip)
        if decoded != text:
            out[key] = decoded
    return out


def small_bpe():
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = cut("gpt-2")
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=380, show_progress=False, special_tokens=[],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    core.train_from_iterator(sorted(TEXTS) + ["1234 123 12 99 100 2024 1000 'S 'LL I'M \n\n \r\n    ;\n"] * 9, trainer)
    core.add_special_tokens([AddedToken("<|begin|>", normalized=False, special=True), AddedToken("<|im_end|>", normalized=False, special=True),
                             AddedToken("<|im_start|>", normalized=False, special=True, rstrip=True)])
    core.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False, lstrip=True),
                     AddedToken("order", normalized=False, single_word=True)])
    core.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", core.token_to_id("<|begin|>"))])
    return core


def write_bpe():
    core = small_bpe()
    core.save(os.path.join(HERE, "tokenizer.json"), pretty=False)
    wrap = lambda c: PreTrainedTokenizerFast(tokenizer_object=c, clean_up_tokenization_spaces=False)
    tokenizer = wrap(core)
    texts = [case(tokenizer, t) for t in TEXTS]
    pre = {}
    for name in ["gpt-2", "smollm", "qwen2", "llama-bpe"]:
        # As a GGUF file has it: no post-processor, and added tokens without flags.
        state = json.loads(core.to_str())
        state["post_processor"] = None
        for token in state["added_tokens"]:
            token.update(lstrip=False, rstrip=False, single_word=False)
        state["model"]["ignore_merges"] = name == "llama-bpe"
        other = Tokenizer.from_str(json.dumps(state))
        other.pre_tokenizer = cut(name)
        pre[name] = [other.encode(t, add_special_tokens=False).ids for t in TEXTS]
    write("bpe.json", {"vocab_size": len(tokenizer), "texts": texts, **{f"pre {k}": v for k, v in pre.items()}})


def write_spm():
    model = io.BytesIO()
    lines = [line for t in TEXTS for line in t.split("\n") if line.isascii() and line.isprintable() and line.strip()] * 4 + ["naïve café 你好"] * 9
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines + ["the  order   of    units  in the   store"] * 30), model_writer=model, model_type="bpe", vocab_size=560,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
        character_coverage=0.98, allow_whitespace_only_pieces=True, split_digits=True, minloglevel=2)
    golden = {}
    for prefix in [True, False]:
        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(model.getvalue())
        proto.normalizer_spec.add_dummy_prefix = prefix
        sp = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        if prefix:
            golden.update(tokens=[p.piece for p in proto.pieces], scores=[p.score for p in proto.pieces], token_type=[p.type for p in proto.pieces])
        cases = []
        for text in TEXTS:
            ids = sp.encode(text)
            cases.append({"text": text, "ids": ids} | ({} if sp.decode(ids) == text else {"decoded": sp.decode(ids)}))
        golden["prefix" if prefix else "no_prefix"] = cases
        if prefix:
            byte = lambda b: sp.piece_to_id(f"<0x{b:02X}>")
            runs = [[0xE4, 0xBD, 0xA0, 0xFF], [0xE4, 0xBD], [0xFF, 0xE4, 0xBD, 0xA0], [0xF0, 0x9F, 0x98, 0x80, 0x41], [0xC3], [0xED, 0xA0, 0x80], [0x0A, 0x80, 0x0A]]
            lists = [[byte(b) for b in run] for run in runs]
            lists += [ids + sp.encode("a b") for ids in lists] + [sp.encode("x") + ids for ids in lists]
            golden["broken"] = [{"ids": ids, "decoded": sp.decode(ids)} for ids in lists]
    write("spm.json", golden)


class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


TOOLS = [
    {"type": "function", "function": {"name": "order_units", "description": "Orders \"units\" <now> & 'then' – ünits", "parameters": {
        "type": "object", "properties": {"units": {"type": "integer", "minimum": 0}, "price": {"type": "number", "default": 1.5, "maximum": 1e20},
                                         "rush": {"type": "boolean", "default": False}, "note": {"type": ["string", "null"], "default": None}}, "required": ["units"]}}},
    {"type": "function", "function": {"name": "wait", "description": "", "parameters": {"type": "object", "properties": {}}}},
]

CONVERSATIONS = [
    [("user", "Hi")],
    [("system", " Be brief. "), ("user", "What's 2 + 2?\n"), ("assistant", "<think>\nEasy.\n</think>\n\n4"), ("user", "  Thanks <b>&</b> \"bye\"  ")],
    [("user", "a"), ("assistant", "b"), ("tool", "{\"x\": 1}"), ("tool", "second"), ("user", "")],
    [("assistant", "out of order")],
    [],
]

TEMPLATES = {
    "turns": """{%- if messages and messages[0]['role'] == 'system' -%}
    {%- set system = messages[0]['content'] | trim -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set rest = messages -%}
{%- endif -%}
{{ bos_token }}
{%- for m in rest %}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) and m.role not in ['tool'] %}
        {{- raise_exception('roles must alternate, found ' + m['role']) }}
    {%- endif %}
    {%- if m.role == 'user' %}
        {{- '[U] ' + (system + '\\n\\n' if loop.first and system is defined else '') + m.content.strip() + ' [/U]' }}
    {%- elif m.role == 'assistant' %}
        {{- ' ' ~ m['content'] | trim ~ eos_token }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ ' >' }}{% endif %}
""",
    "tools": """{% if tools %}
<tools>
{% for tool in tools %}
{{ tool | tojson }}
{{ tool.function | tojson(indent=2) }}
{%- set parameters = tool.function.parameters.properties %}
{%- for name, spec in parameters.items() %}

  - {{ name }}: {{ spec.type }}{% if name in tool.function.parameters.required %} (required){% endif %}
{%- if 'default' in spec %} = {{ spec.default }}{% endif %}
{%- endfor %}

{% endfor %}
</tools>
{% endif %}
    {% for message in messages %}
{{ loop.index }}/{{ loop.length }} {{ message.role | upper }}: {{ message.content | tojson }}
    {% endfor %}
{{ {'b': [1, 2.5, none, true], 'a': 'x'} | tojson(sort_keys=true) }} {{ [1, 2] | tojson(separators=(',', ':')) }}
""",
    "state": """{%- set ns = namespace(found=false, last=-1, parts='') -%}
{%- for message in messages[::-1] -%}
    {%- set index = (messages | length - 1) - loop.index0 -%}
    {%- if message.role == 'user' and not ns.found -%}
        {%- set ns.found = true -%}{%- set ns.last = index -%}
    {%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {%- if message.role == 'tool' and loop.index0 > 0 and messages[loop.index0 - 1].role == 'tool' -%}{%- continue -%}{%- endif -%}
    {%- if loop.index > 6 -%}{%- break -%}{%- endif -%}
    {%- set content = message.content -%}
    {%- if message.role == 'assistant' and '</think>' in content -%}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
    {%- endif -%}
    {%- if message.content.startswith('<think>') and loop.index0 < ns.last %}(thought){% endif -%}
    {%- set ns.parts = ns.parts ~ loop.index0 ~ ',' -%}
    <{{ message.role }}{{ ' last' if loop.index0 == ns.last }}>{{ content }}</{{ message.role }}>
{{ '' }}
{%- endfor -%}
{{ ns.parts }}{{ ns.last }} {{ ns.found }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{%- if add_generation_prompt %} {{ eos_token }}{% endif %}""",
    "dated": """{%- if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}
Today: {{ date_string }}; {{ strftime_now("%Y-%m-%d") }}, {{ strftime_now("%A, %B %d, %Y %H:%M:%S %p %j %y %a %I %M %%") }}
{% if pad_token is defined %}pad{% else %}no pad{% endif %} {{ tools is none }} {{ documents is defined and documents }} {{ missing is defined }}[{{ missing }}]
{%- if tools is not none and tools %} {{ tools | map(attribute='function') | map(attribute='name') | join(', ') }}{% endif %}

""",
    "strings": """{#- a comment -#}
{% macro show(m, sep=': ') -%}
    {{ m.role | capitalize }}{{ sep }}{{ m.content | replace('a', 'A') | trim }}
{%- endmacro %}
{% for m in messages if m.role != 'system' %}
  {{ show(m) }}{{ "\\n" if not loop.last }}
{% endfor %}
{{ messages | map(attribute='role') | join('|') | title }} {{ 'a,b,,c'.split(',') | length }} {{ 'x y  z'.split() | join('+') }}
{{ 'abc'[1:] }}{{ 'abc'[-1] }}{{ 'abc'[:-1] }} {{ '%s-%03d' | format('q', 7) }} {{ 'Ab'.upper() ~ 'Ab'.lower() }} {{ ' x '.rstrip() }}| {{ 'ab'.endswith('b') }}
{{ 7 // 2 }} {{ 7 / 2 }} {{ 7 % 4 }} {{ 2 ** 5 }} {{ 1.0 }} {{ none }} {{ true and 'yes' }} {{ 'n' in 'one' }} {{ 1e-7 }} {{ 1 + 2.5 }}
{{ [1, 'two', none, true, {'k': 'v', 'it': "it's"}] }} {{ 'b' ~ true ~ none ~ 1.5 }} {{ true | string }} {{ ['a']|string }}
{{- '  kept  ' -}}
{{ range(3) | list }} {{ {'a': 1}.get('b', 'fallback') }} {{ {'a': 1, 'b': 2} | length }} {{ 'x' if none else 'y' }} {{ messages is iterable }} {{ 'x' is string }} {{ {} is mapping }}
{% generation %}made{% endgeneration %}
{%- generation -%} tight {%- endgeneration -%}

{% set a, b = 1, 2 %}{{ a + b }} {{ messages[0].role | default('nobody') if messages else 'empty' }} {{ undefined_thing | default('d') }} {{ '' | default('e', true) }}
""",
    "refusing": """{% if messages | length == 0 %}{{ raise_exception('Conversation is empty') }}{% endif %}
{% if tools is defined and tools %}{{ raise_exception("Tools aren't known") }}{% endif %}
{% for m in messages %}{% if m['role'] not in ('user', 'assistant', 'system') %}{{ raise_exception('Only user and assistant: ' ~ m['role']) }}{% endif %}
{% filter upper %}{{ m['content'] }}{% endfilter %}
{% endfor %}
""",
}


def render(tokenizer, template, conversation, tools, prompt):
    messages = [{"role": r, "content": c} for r, c in conversation]
    try:
        # As a batch of one: transformers inspects an empty conversation before it renders it.
        return tokenizer.apply_chat_template([messages], tools=tools, chat_template=template, tokenize=False, add_generation_prompt=prompt)[0], None
    except Exception as error:
        return None, str(error)


def renderings(tokenizer, template):
    out = []
    for index, conversation in enumerate(CONVERSATIONS):
        for tools, prompt in [(False, False), (False, True), (True, True)]:
            text, error = render(tokenizer, template, conversation, TOOLS if tools else None, prompt)
            out.append({"conversation": index, "tools": tools, "add_generation_prompt": prompt} | ({"text": text} if error is None else {"error": error}))
    return out


def write_templates(smollm2):
    chat_template_utils.datetime = Frozen
    plain = PreTrainedTokenizerFast(tokenizer_object=small_bpe(), bos_token="<|begin|>", eos_token="<|im_end|>")
    golden = {"tools": TOOLS, "conversations": CONVERSATIONS, "bos_token": "<|begin|>", "eos_token": "<|im_end|>",
              "smollm2": renderings(smollm2, None)}
    for name, template in TEMPLATES.items():
        golden[f"template {name}"] = {"template": template, "renderings": renderings(plain, template)}
    write("templates.json", golden)


if __name__ == "__main__":
    os.makedirs(HERE, exist_ok=True)
    smollm2 = smollm2_tokenizer.load(sys.argv[1])
    write("smollm2.json", {"texts": [case(smollm2, t) for t in TEXTS]})
    write_bpe()
    write_spm()
    write_templates(smollm2)
