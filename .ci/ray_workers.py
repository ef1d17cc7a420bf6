"""Runs the null control study by 4 Ray workers on one folder, and checks the folder.

Usage: ray_workers.py FOLDER
"""

import json
import os
import pathlib
import subprocess
import sys

import ray

WORKERS = 4
REPLICATIONS = 4
# Seconds. The study takes a few on one core.
TIME_LEFT = 120
DEADLINE = 300

program = os.environ["VENDOMINI"]
out = os.path.join(sys.argv[1], "results")
study = ["--config", os.path.abspath("configs/controls/null.yaml"), "--out", out]
study += ["--set", f"experiment.replications={REPLICATIONS}", "--set", "env.max_steps=400"]


@ray.remote(num_cpus=1)
def work(worker):
    line = [program, "--plain", "run", *study, "--shared", "--time-left", str(TIME_LEFT), "-j", "1", "--threads", "1"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=DEADLINE, check=False)
    return worker, ended.returncode, ended.stderr


def expect(truth, what):
    if not truth:
        sys.exit(f"ray_workers.py: {what}")


# The workers are counted, not the cores: this must also run where there are two.
temporary = os.path.join(sys.argv[1], "ray")
ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, _temp_dir=temporary)
done = ray.get([work.remote(worker) for worker in range(WORKERS)], timeout=2 * DEADLINE)
for worker, code, stderr in done:
    expect(code == 0, f"worker {worker} ended with {code}: {stderr}")
ray.shutdown()

(folder,) = (entry for entry in pathlib.Path(out).iterdir() if entry.is_dir())
status = json.loads(subprocess.check_output([program, "status", folder, "--json"], timeout=DEADLINE))
total = status["total"]
expect(total > WORKERS, f"{total} runs are too few for {WORKERS} workers")
expect(status["done"] == total, f"{status['done']} of {total} runs are done")

# Each run has one committed record and one attempt, and each worker wrote a journal.
records = list(folder.glob("runs/**/run.json"))
expect(len(records) == total, f"{len(records)} records of {total} runs")
for record in records:
    attempts = [path.name for path in record.parent.iterdir() if path.name.startswith("steps.")]
    expect(len(attempts) == 1, f"{record.parent}: expected one attempt, found {attempts}")
journals = [path.read_text().splitlines() for path in folder.glob("journals/*.jsonl")]
expect(len(journals) == WORKERS, f"{len(journals)} journals of {WORKERS} workers")
finished = [entry["run_id"] for lines in journals for entry in map(json.loads, lines) if entry["deed"] == "finished"]
expect(len(finished) == len(set(finished)) == total, f"{len(finished)} runs were finished, {len(set(finished))} of them once")

rows = subprocess.check_output([program, "export", folder, "--table", "runs"], text=True, timeout=DEADLINE)
runs = [json.loads(line)["run_id"] for line in rows.splitlines()]
expect(sorted(runs) == sorted(finished), "the table of runs differs from the finished runs")
shares = sorted(sum(json.loads(line)["deed"] == "finished" for line in lines) for lines in journals)
print(f"{total} runs by {WORKERS} Ray workers, each run once; runs by worker: {shares}")
