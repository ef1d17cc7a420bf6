#!/usr/bin/env python3
"""Fits simulated studies of the control operators with lifelines: the known effect is found, and no
other.

usage: controls.py fit TABLE ESTIMATES
       controls.py check FOLDER STUDIES

fit: TABLE (fragile.parquet, null.parquet or random.parquet) is the table `intervals` of a
configuration in configs/controls; twenty successive worlds are one study. Their estimates are
appended to ESTIMATES, one row a study.

check: FOLDER has fragile.csv, null.csv and random.csv, the estimates of STUDIES studies each.
"""
import sys
import warnings
from multiprocessing import Pool
from pathlib import Path

import pandas as pd
from lifelines import CoxTimeVaryingFitter
from scipy.stats import binom

WORLDS = 20
ENTERED_MIN, EVENTS_MIN = 200, 50
BETA = 0.05
# Exposure of the random operator is lagged by a window: an order is a trade, which abandonment
# reads.
COVARIATES = {"fragile": "exposure", "null": "exposure", "random": "exposure_lag20"}


def fit(study):
    """Estimate, standard error, number of runs that entered, number of events."""
    covariate, table = study
    fitter = CoxTimeVaryingFitter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitter.fit(table, id_col="run_id", event_col="event", start_col="start", stop_col="stop")
    return (
        fitter.params_[covariate],
        fitter.standard_errors_[covariate],
        table["run_id"].nunique(),
        int(table["event"].sum()),
    )


def studies(path, covariate):
    columns = ["run_id", "replicate", "start", "stop", "event", covariate]
    table = pd.read_parquet(path, columns=columns)
    table["study"] = table.pop("replicate") // WORLDS
    for _, study in table.groupby("study"):
        yield covariate, study.drop(columns="study").reset_index(drop=True)


def coverage_limits(count):
    """95% within 2%; of fewer than 1,000 studies, within chance of it (p < .001)."""
    low, high = 0.93, 0.97
    if count < 1000:
        low = min(low, binom.ppf(0.0005, count, 0.95) / count)
        high = max(high, binom.ppf(0.9995, count, 0.95) / count)
    return low, high


def fit_all(path, estimates):
    """Appends the estimates of the studies of one table."""
    with Pool() as pool:
        fits = pool.map(fit, studies(path, COVARIATES[path.stem]), chunksize=4)
    rows = pd.DataFrame(fits, columns=["coef", "se", "entered", "events"])
    rows.to_csv(estimates, mode="a", header=not estimates.exists(), index=False)


def check(folder, count):
    """Prints the figures of each control; returns what is outside its limits."""
    failures = []
    for name, covariate in COVARIATES.items():
        fits = pd.read_csv(folder / f"{name}.csv")
        if len(fits) != count:
            failures.append(f"{name}: expected {count} studies, found {len(fits)}")
        uninformative = (fits["entered"] < ENTERED_MIN) | (fits["events"] < EVENTS_MIN)
        if uninformative.any():
            failures.append(f"{name}: {uninformative.sum()} studies are uninformative")
        truth = BETA if name == "fragile" else 0.0
        covered = ((fits["coef"] - truth).abs() <= 1.959964 * fits["se"]).mean()
        low, high = coverage_limits(count)
        print(
            f"{name}: {len(fits)} studies, {fits['entered'].mean():.0f} runs entered (least {fits['entered'].min()}), "
            f"{fits['events'].mean():.0f} events (least {fits['events'].min()}); mean coefficient of {covariate} "
            f"{fits['coef'].mean():.5f} (true {truth}), mean se {fits['se'].mean():.5f}, sd {fits['coef'].std():.5f}; "
            f"95% limits cover in {100 * covered:.1f}% (expected {100 * low:.0f} to {100 * high:.0f})"
        )
        if not low <= covered <= high:
            failures.append(f"{name}: coverage {covered}")
        mean_error = abs(fits["coef"].mean() - truth)
        chance = 3.3 * fits["coef"].std() / len(fits) ** 0.5 if count < 1000 else 0.0
        if name == "fragile" and mean_error > max(0.05 * BETA, chance):
            failures.append(f"fragile: mean estimate {fits['coef'].mean()} is not within 5% of {BETA}")
    return failures


def main():
    match sys.argv[1:]:
        case ["fit", table, estimates]:
            fit_all(Path(table), Path(estimates))
        case ["check", folder, count]:
            failures = check(Path(folder), int(count))
            for failure in failures:
                print(f"FAILED {failure}")
            sys.exit(bool(failures))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
