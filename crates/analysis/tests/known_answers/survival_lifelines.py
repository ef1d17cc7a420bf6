"""Writes survival_lifelines.json: answers of lifelines on data sets that it ships (MIT license).

    pip install lifelines==0.30.3
    python survival_lifelines.py > survival_lifelines.json
"""

import json
import sys
import warnings

import numpy as np
import pandas as pd
from lifelines import (
    AalenJohansenFitter,
    CoxPHFitter,
    CoxTimeVaryingFitter,
    KaplanMeierFitter,
    NelsonAalenFitter,
)
from lifelines.datasets import (
    load_lung,
    load_multicenter_aids_cohort_study,
    load_regression_dataset,
    load_rossi,
    load_stanford_heart_transplants,
    load_waltons,
)
from lifelines.statistics import multivariate_logrank_test, proportional_hazard_test
from lifelines.utils import median_survival_times, restricted_mean_survival_time

warnings.simplefilter("ignore")
EXACT = {"fit_options": {"precision": 1e-12, "r_precision": 1e-12}}


def columns(frame):
    return {name: frame[name].tolist() for name in frame.columns}


def kaplan_meier(fitter):
    bands = fitter.confidence_interval_survival_function_
    table = fitter.event_table
    kept = (table["observed"] + table["censored"] > 0).to_numpy()
    medians = median_survival_times(bands)
    return {
        "times": table.index[kept].tolist(),
        "at_risk": table["at_risk"][kept].tolist(),
        "events": table["observed"][kept].tolist(),
        "survival": fitter.survival_function_.iloc[kept, 0].tolist(),
        "lower": bands.iloc[kept, 0].tolist(),
        "upper": bands.iloc[kept, 1].tolist(),
        "median": [fitter.median_survival_time_, medians.iloc[0, 0], medians.iloc[0, 1]],
    }


def cox(fitter):
    return {
        "coef": fitter.params_.tolist(),
        "se": fitter.standard_errors_.tolist(),
        "lower": fitter.confidence_intervals_.iloc[:, 0].tolist(),
        "upper": fitter.confidence_intervals_.iloc[:, 1].tolist(),
        "p": fitter.summary["p"].tolist(),
        "log_likelihood": fitter.log_likelihood_,
    }


def cox_fixed(fitter):
    test = fitter.log_likelihood_ratio_test()
    return cox(fitter) | {
        "covariance": fitter.variance_matrix_.to_numpy().tolist(),
        "concordance": fitter.concordance_index_,
        "aic": fitter.AIC_partial_,
        "likelihood_ratio": [test.test_statistic, test.p_value],
    }


def waltons():
    data = load_waltons()
    fitter = KaplanMeierFitter().fit(data["T"], data["E"])
    hazard = lambda smooth: (
        NelsonAalenFitter(nelson_aalen_smoothing=smooth)
        .fit(data["T"], data["E"])
        .cumulative_hazard_.iloc[1:, 0]
        .tolist()
    )
    test = multivariate_logrank_test(data["T"], data["group"], data["E"])
    return columns(data), {
        "kaplan_meier": kaplan_meier(fitter),
        "simultaneous": hazard(False),
        "successive": hazard(True),
        "log_rank": [test.test_statistic, test.p_value],
        "restricted_mean_50": restricted_mean_survival_time(fitter, t=50),
    }


def rossi():
    data = load_rossi()
    model = lambda **options: CoxPHFitter().fit(data, "week", "arrest", **EXACT, **options)
    plain = model()
    clustered = CoxPHFitter().fit(
        data.assign(cluster=np.arange(len(data)) // 8),
        "week",
        "arrest",
        cluster_col="cluster",
        **EXACT,
    )
    tests = {
        transform: proportional_hazard_test(plain, data, transform).test_statistic.tolist()
        for transform in ("rank", "identity", "log")
    }
    groups = pd.cut(data["age"], [0, 20, 25, 30, 99], labels=False)
    test = multivariate_logrank_test(data["week"], groups, data["arrest"])
    return columns(data), {
        "efron": cox_fixed(plain),
        "robust": cox(model(robust=True)),
        "clusters_of_8": cox(clustered),
        "stratified_by_race": cox_fixed(model(strata=["race"])),
        "proportional_hazards": tests,
        "log_rank_age": [test.test_statistic, test.p_value],
    }


def stanford():
    data = load_stanford_heart_transplants()
    fitter = CoxTimeVaryingFitter().fit(
        data, id_col="id", event_col="event", start_col="start", stop_col="stop"
    )
    names = ["age", "year", "surgery", "transplant"]
    answer = cox(fitter)
    order = [fitter.params_.index.get_loc(name) for name in names]
    for key in ("coef", "se", "lower", "upper", "p"):
        answer[key] = [answer[key][index] for index in order]
    return columns(data), answer | {"names": names}


def lung():
    data = load_lung()[["time", "status", "age", "sex", "ph.ecog", "wt.loss"]].dropna()
    # Residuals and robust errors of lifelines break ties by the order of rows.
    data["time"] += np.arange(len(data)) / 1000
    data["cluster"] = np.arange(len(data)) % 25
    model = lambda **options: CoxPHFitter().fit(
        data.drop(columns=[] if "cluster_col" in options else ["cluster"]),
        "time",
        "status",
        **EXACT,
        **options,
    )
    fitter = model()
    residuals = lambda kind: (
        fitter.compute_residuals(data.drop(columns="cluster"), kind).sort_index()
    )
    return columns(data), {
        "fixed": cox_fixed(fitter),
        "robust": cox(model(robust=True)),
        "clusters": cox(model(cluster_col="cluster")),
        "stratified_by_sex": cox_fixed(model(strata=["sex"])),
        "martingale": residuals("martingale")["martingale"].tolist(),
        "schoenfeld": residuals("schoenfeld").to_numpy().tolist(),
    }


def multicenter():
    data = load_multicenter_aids_cohort_study()
    # Entry W is the time from infection to enrollment, T that to AIDS or the end.
    data = data[data["W"] < data["T"]]
    # Curves of lifelines count those who enter at a time as at risk at that time, its Cox models do
    # not. Entries between the times make no difference.
    data = data.assign(W=data["W"] + 0.0005)
    fitter = KaplanMeierFitter().fit(data["T"], data["D"], entry=data["W"])
    hazard = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(
        data["T"], data["D"], entry=data["W"]
    )
    kept = (fitter.event_table["observed"] + fitter.event_table["censored"] > 0).to_numpy()
    return columns(data[["W", "T", "D", "AIDSY"]]), {
        "kaplan_meier": kaplan_meier(fitter),
        "hazard": hazard.cumulative_hazard_.iloc[kept, 0].tolist(),
        "cox_of_year": cox(
            CoxPHFitter().fit(
                data[["W", "T", "D", "AIDSY"]], "T", "D", entry_col="W", **EXACT
            )
        ),
    }


def regression():
    data = load_regression_dataset()
    return columns(data), cox_fixed(CoxPHFitter().fit(data, "T", "E", **EXACT))


def incidence():
    times, causes = np.arange(1.0, 9.0), np.array([1, 2, 0, 1, 2, 0, 1, 2])
    generator = np.random.default_rng(5)
    # Without ties, which lifelines breaks by jitter.
    many = generator.permutation(np.arange(1.0, 121.0))
    many_causes = generator.integers(0, 4, 120)
    answers = {}
    for name, t, e in (("small", times, causes), ("many", many, many_causes)):
        for cause in (1, 2):
            fitter = AalenJohansenFitter().fit(t, e, event_of_interest=cause)
            band = fitter.confidence_interval_
            answers[f"{name}_{cause}"] = {
                "incidence": fitter.cumulative_density_.iloc[1:, 0].tolist(),
                "variance": fitter.variance_.iloc[1:].tolist(),
                # lifelines names the limits the other way round.
                "lower": band.iloc[1:].min(axis=1).tolist(),
                "upper": band.iloc[1:].max(axis=1).tolist(),
            }
    data = {
        "small": [times.tolist(), causes.tolist()],
        "many": [many.tolist(), many_causes.tolist()],
    }
    return data, answers


def without_nan(value):
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


answers = {}
for function in (waltons, rossi, stanford, lung, multicenter, regression, incidence):
    data, answer = function()
    answers[function.__name__] = {"data": data, "answers": answer}
json.dump(without_nan(answers), sys.stdout, separators=(",", ":"))
