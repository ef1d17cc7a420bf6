"""Least seconds of a time-varying Cox model of 100,000 intervals, beside lifelines.

    pip install lifelines==0.30.3
    python crates/analysis/benches/cox_speed.py [ROWS]

lifelines takes time proportional to rows times different event times, which grow with the length of
runs; the sweep of the crate `analysis` takes time proportional to rows.
"""

import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd
from lifelines import CoxTimeVaryingFitter


def intervals(rows, steps):
    """Runs of up to 100 intervals of so many steps; an event ends a run."""
    generator = np.random.default_rng(11)
    runs = rows // 75
    id = np.repeat(np.arange(runs), 100)
    start = np.tile(np.arange(100.0) * steps, runs)
    exposure = np.cumsum(generator.exponential(0.04, (runs, 100)), axis=1).ravel()
    dose = np.repeat(generator.integers(0, 5, runs) / 4, 100)
    noise = generator.normal(size=len(id))
    event = generator.random(len(id)) < 0.004 * np.exp(0.3 * exposure + 0.5 * dose)
    stop = start + np.where(event, generator.integers(1, steps + 1, len(id)), steps)
    data = pd.DataFrame(
        {"id": id, "start": start, "stop": stop, "event": event.astype(int)}
        | {"exposure": exposure, "dose": dose, "noise": noise}
    )
    before = data.groupby("id")["event"].cumsum() - data["event"]
    return data[before == 0].reset_index(drop=True)


def vendomini(data):
    with tempfile.TemporaryDirectory() as folder:
        data.to_csv(f"{folder}/intervals.csv", index=False)
        command = "cargo run --release -q -p analysis --example cox_speed --"
        subprocess.run([*command.split(), f"{folder}/intervals.csv"], check=True)


def lifelines(data):
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        fitter = CoxTimeVaryingFitter().fit(
            data, id_col="id", event_col="event", start_col="start", stop_col="stop"
        )
        seconds.append(time.perf_counter() - began)
    print(f"lifelines CoxTimeVaryingFitter: {min(seconds):.3f} s")
    for name, coef in fitter.params_.items():
        print(f"  {name}: {coef:.8f}")


for steps in (10, 50):
    data = intervals(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, steps)
    times = data["stop"][data["event"] == 1].nunique()
    print(f"{len(data)} intervals of {steps} steps, {times} different event times", flush=True)
    vendomini(data)
    lifelines(data)
