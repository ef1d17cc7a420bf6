"""Compares logs as Inspect reads them with the tables `steps` and `runs` of the same study.

usage: inspect_logs.py LOGS STEPS.jsonl RUNS.jsonl STATUS
"""

import json
import sys
from collections import defaultdict

from inspect_ai.analysis import evals_df, messages_df, samples_df
from inspect_ai.log import (
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample,
    read_eval_log_sample_summaries,
)
from inspect_ai.model import ContentReasoning

logs_dir, steps_file, runs_file, status = sys.argv[1:]


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


steps = defaultdict(list)
for row in lines(steps_file):
    steps[row["run_id"]].append(row)
runs = {row["run_id"]: row for row in lines(runs_file)}
models = {row["model"] for row in runs.values()}


def same(what, found, expected):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


def reasoning(message):
    parts = message.content if isinstance(message.content, list) else []
    return next((part.reasoning for part in parts if isinstance(part, ContentReasoning)), None)


def texts(message):
    return message.content if isinstance(message.content, str) else message.text


def check_messages(sample, rows):
    """Replies, calls and observations of the conversation."""
    replies = [message for message in sample.messages if message.role == "assistant"]
    same("replies", len(replies), len(rows))
    for message, row in zip(replies, rows):
        same("reply", texts(message), row["reply"])
        same("thinking", reasoning(message), row["reasoning"])
        calls = message.tool_calls or []
        same("calls", len(calls), int(row["tool"] is not None))
        if calls:
            same("tool", calls[0].function, row["tool"])
            same("arguments", calls[0].arguments, row["action_arguments"])
        same("card", (message.metadata or {}).get("card"), row["card"])
    others = [message for message in sample.messages if message.role != "assistant"]
    sent = [(m["role"], m["content"]) for row in rows for m in row["prompt"]]
    same("observations", [texts(message) for message in others], [text for _, text in sent])
    same("system", others[0].role, "system")
    answered = {c.id for message in replies for c in message.tool_calls or []}
    answers = [message for message in others if message.role == "tool"]
    same("answers", len(answers), sum(row["tool"] is not None for row in rows[:-1]))
    for message in answers:
        assert message.tool_call_id in answered


def expected_prompts(rows, scripted):
    """The prompts, made of the messages that were new in each step."""
    news = [[(m["role"], m["content"]) for m in row["prompt"]] for row in rows]
    if scripted:
        return news
    prompts = []
    for at, row in enumerate(rows):
        past, dropped = [], row["history_dropped"]
        for before in range(dropped, at):
            past += [*news[before][-1:], ("assistant", rows[before]["reply"])]
        prompt = [news[0][0], *past, news[at][-1]]
        if dropped:
            first = news[0][1][1]
            market = first[: first.index("News: ") if "News: " in first else first.index("Day 1,")]
            prompt[1] = ("user", f"{market}(What was said before is left out.)\n{prompt[1][1]}")
        prompts.append(prompt)
    return prompts


def check_events(sample, rows, run):
    by_kind = defaultdict(list)
    for event in sample.events:
        by_kind[event.event].append(event)
    scripted = not any(row["prompt_tokens"] for row in rows)
    same("model events", len(by_kind["model"]), len(rows))
    prompts = expected_prompts(rows, scripted)
    for event, row, prompt in zip(by_kind["model"], rows, prompts):
        same("prompt", [(m.role, texts(m)) for m in event.input], prompt)
        same("output", event.output.completion, row["reply"])
        stop = {"length": "max_tokens"}.get(row["finish"], "tool_calls" if row["tool"] else "stop")
        same("stop reason", event.output.stop_reason, stop)
        if not scripted:
            usage = event.output.usage
            same("prompt tokens", usage.input_tokens, row["prompt_tokens"])
            same("reply tokens", usage.output_tokens, row["reply_tokens"])
            same("seed", event.config.seed, row["sampling_seed"])
    calls = [row for row in rows if row["tool"] is not None]
    same("tool events", len(by_kind["tool"]), len(calls))
    for event, row in zip(by_kind["tool"], calls):
        same("tool", (event.function, event.arguments), (row["tool"], row["action_arguments"]))
        same("failure", event.error and event.error.message, row["failure"])
    infos = defaultdict(int)
    for event in by_kind["info"]:
        infos[event.source] += 1
    same("parse failures", infos["parse_failure"], sum(row["parse_failure"] is not None for row in rows))
    same("card problems", infos["card_problem"], sum(row["card_problem"] is not None for row in rows))
    acted = [e.data for e in by_kind["info"] if e.source == "shock" and e.data.get("effect")]
    same("shocks", len(acted), sum(row["shocks"] for row in rows))
    crashes = sum(len((row["crashes"] or "").split(",")) if row["crashes"] else 0 for row in rows)
    same("crashes", infos["crash"], crashes)
    same("budget", sample.store["budget"], rows[-1]["state.budget"])
    same("steps", sample.turn_count, run["steps"])


def check_scores(sample, run):
    value = {name: score.value for name, score in sample.scores.items()}
    crashed = run["outcome"] == "crash"
    same("outcome", value["outcome"], run["outcome"])
    same("at risk", "crash" in value, run["outcome"] != "never_competent")
    if "crash" in value:
        same("crash", value["crash"], int(crashed))
    same("type", value.get("crash_type"), run["event_type"][len("crash:"):] if crashed else None)
    same("onset", value.get("onset"), run["event_time"] if crashed else None)
    last = steps[run["run_id"]][-1]
    same("exposure", value["exposure"], last["exposure.total"])
    same("net worth", value["net_worth"], run["net_worth"])


def check_usage(usage, rows, model):
    prompt, reply, thinking = (
        sum(row[name] for row in rows)
        for name in ["prompt_tokens", "reply_tokens", "reasoning_tokens"]
    )
    if prompt + reply == 0:
        same("usage", usage, {})
        return
    used = usage[model]
    found = (used.input_tokens, used.output_tokens, used.total_tokens, used.reasoning_tokens or 0)
    same("usage", found, (prompt, reply, prompt + reply, thinking))


infos = list_eval_logs(logs_dir)
same("logs", len(infos), len(models))
seen = set()
for info in infos:
    log = read_eval_log(info)
    same("status", log.status, status)
    same("task", log.eval.task, next(iter(runs.values()))["study"])
    assert log.eval.model in models
    rows_of_model = [row for id, run in runs.items() if run["model"] == log.eval.model for row in steps[id]]
    check_usage(log.stats.model_usage, rows_of_model, log.eval.model)
    same("committed", log.results.completed_samples, len(log.samples))
    same("unfinished", log.results.total_samples - len(log.samples), log.eval.metadata["runs_unfinished"])
    assert ("note" in log.eval.metadata) == (status != "success")
    for sample in log.samples:
        run_id = sample.metadata["run_id"]
        run, rows = runs[run_id], steps[run_id]
        seen.add(run_id)
        same("draw", sample.epoch, run["draw"] + 1)
        same("seed", sample.metadata["seed"], run["seed"])
        same("dose", sample.metadata["pe_induction.p_shock"], run["p_shock"])
        check_messages(sample, rows)
        check_events(sample, rows, run)
        check_scores(sample, run)
        check_usage(sample.model_usage, rows, log.eval.model)
    one = log.samples[-1]
    alone = read_eval_log_sample(info, id=one.id, epoch=one.epoch)
    same("a sample read alone", alone.model_dump_json(), one.model_dump_json())
    summaries = {(s.id, s.epoch): s for s in read_eval_log_sample_summaries(info)}
    for sample in log.samples:
        # Inspect's own summary of the sample, where ours has the same fields.
        summary, expected = summaries[sample.id, sample.epoch], sample.summary()
        for name in ["scores", "model_usage", "uuid", "message_count", "turn_count", "total_time",
                     "completed_at", "input", "target", "completed", "retries"]:
            same(f"summary: {name}", getattr(summary, name), getattr(expected, name))
    headline = log.results.scores[0]
    at_risk = [run for run in runs.values() if run["model"] == log.eval.model and run["outcome"] != "never_competent"]
    if headline.name == "crash":
        share = sum(run["outcome"] == "crash" for run in at_risk) / len(at_risk)
        assert abs(headline.metrics["mean"].value - share) < 1e-12
same("samples", seen, set(runs))

evals, samples = evals_df(logs_dir, quiet=True), samples_df(logs_dir, quiet=True)
same("rows of evals_df", len(evals), len(models))
same("rows of samples_df", len(samples), len(runs))
by_run = samples.set_index("metadata_run_id")
for run_id, run in runs.items():
    same("samples_df", by_run.loc[run_id, "score_outcome"], run["outcome"])
messages = messages_df(logs_dir, quiet=True)
same("rows of messages_df", len(messages), sum(len(row["prompt"]) + 1 for rows in steps.values() for row in rows))
print(f"{len(runs)} runs in {len(infos)} logs are as their tables")
