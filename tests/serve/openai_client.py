"""Tests a running `vendomini serve` with the `openai` Python client: `python openai_client.py http://127.0.0.1:8080 [KEY]`.

Prints a line for each check, and fails where a response is not what the client expects.
"""

import json
import sys

import openai

base = sys.argv[1].rstrip("/") + "/v1"
client = openai.OpenAI(base_url=base, api_key=sys.argv[2] if len(sys.argv) > 2 else "none", max_retries=0)
model = client.models.list().data[0].id
print("model:", model)
messages = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]

reply = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=40)
print("chat:", repr(reply.choices[0].message.content), reply.choices[0].finish_reason, reply.usage.total_tokens)

stream = client.chat.completions.create(
    model=model, messages=messages, temperature=0, max_tokens=40, stream=True, stream_options={"include_usage": True}
)
chunks = list(stream)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == reply.choices[0].message.content, (text, reply)
assert chunks[-1].usage.total_tokens == reply.usage.total_tokens
print("stream: the same text in", len(chunks), "chunks")

schema = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "in_europe": {"type": "boolean"}},
    "required": ["city", "in_europe"],
    "additionalProperties": False,
}
response_format = {"type": "json_schema", "json_schema": {"name": "capital", "schema": schema, "strict": True}}
reply = client.chat.completions.create(
    model=model, messages=messages, temperature=0, max_tokens=60, response_format=response_format
)
capital = json.loads(reply.choices[0].message.content)
assert set(capital) == {"city", "in_europe"}
print("json_schema:", capital)

parameters = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
tools = [{"type": "function", "function": {"name": "weather", "description": "The weather of a city", "parameters": parameters}}]
conversation = [{"role": "user", "content": "How is the weather in Paris?"}]
reply = client.chat.completions.create(
    model=model, messages=conversation, tools=tools, tool_choice="required", temperature=0, max_tokens=60
)
call = reply.choices[0].message.tool_calls[0]
assert call.function.name == "weather" and reply.choices[0].finish_reason == "tool_calls"
print("tool, required:", call.function.name, json.loads(call.function.arguments))

conversation += [reply.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees."}]
reply = client.chat.completions.create(model=model, messages=conversation, tools=tools, temperature=0, max_tokens=60)
message = reply.choices[0].message
print("tool, auto:", [c.function.name for c in message.tool_calls or []], repr(message.content))

with client.chat.completions.stream(
    model=model, messages=conversation[:1], tools=tools, tool_choice="required", temperature=0, max_tokens=60
) as events:
    last = [event for event in events][-1]
    final = events.get_final_completion()
assert json.loads(final.choices[0].message.tool_calls[0].function.arguments) == json.loads(call.function.arguments)
print("tool, streamed: the same call")

reply = client.completions.create(model=model, prompt="Once upon a time", temperature=0, max_tokens=12)
print("completion:", repr(reply.choices[0].text))

data = client.embeddings.create(model=model, input=["a cat", "a dog"]).data
print("embeddings:", [len(item.embedding) for item in data], round(sum(x * x for x in data[0].embedding), 4))

for name, error, wrong in [
    ("another model", openai.NotFoundError, {"model": "gpt-4o"}),
    ("logprobs", openai.BadRequestError, {"logprobs": True}),
    ("too long", openai.BadRequestError, {"messages": [{"role": "user", "content": "word " * 20000}]}),
]:
    try:
        client.chat.completions.create(**{"model": model, "messages": messages, **wrong})
    except error as caught:
        print(f"{name}: {caught.status_code} {caught.code}: {caught.body['message'][:90]}")
    else:
        raise SystemExit(f"{name} was not refused")
