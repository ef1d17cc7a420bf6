#!/usr/bin/env python3
"""Checks that an experiment's folder holds what the main job promises. usage: check_results.py OUT_DIR"""
import glob, json, sys

experiments = glob.glob(sys.argv[1] + "/*/experiment.json")
assert len(experiments) == 1, f"expected one experiment.json below {sys.argv[1]}, found {experiments}"
root = experiments[0].rsplit("/", 1)[0]
runs = glob.glob(root + "/runs/*/*/run.json")
assert len(runs) >= 2, f"expected at least 2 committed runs, found {len(runs)}"
replies = scored = nonzero = 0
for run in runs:
    kernels = json.load(open(run))["kernel_set"]
    assert kernels.rpartition("/")[2].isdigit(), f"{run}: kernels {kernels!r} without the revision of their arithmetic"
    for log in glob.glob(run.rsplit("/", 1)[0] + "/steps.*.jsonl"):
        for line in open(log):
            row = json.loads(line)
            replies += bool(row.get("reply"))
            errors = [pair.get("error", 0) for pair in row.get("pe_pairs", [])]
            scored += bool(errors)
            nonzero += any(errors)
assert replies, "no row holds a reply of the model"
assert scored, "no card was scored"
assert nonzero, "every prediction error is zero"
print(f"{len(runs)} runs, {replies} replies, {scored} steps with a scored card, {nonzero} of them not zero")
