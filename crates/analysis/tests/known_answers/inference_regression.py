"""Known answers of regressions with few clusters: statsmodels, linearmodels, and wild bootstraps by
refitting every draw.

python3 -m venv V; V/bin/pip install statsmodels linearmodels wildboottest
V/bin/python inference_regression.py > inference_regression.json
"""

import itertools
import json
import math
import warnings

import numpy as np
import pandas as pd
import statsmodels.api as sm
from linearmodels.iv import IV2SLS
from scipy import stats
from wildboottest.wildboottest import wildboottest

warnings.simplefilter("ignore")
rng = np.random.default_rng(7)


def data(worlds, runs):
    """Runs of worlds of unequal numbers, with a dose, a covariate of the world, and outcomes."""
    world = np.repeat(np.arange(worlds), runs + np.arange(worlds) % 3)
    n = len(world)
    level = rng.normal(0, 0.7, worlds)[world]
    demand = np.round(rng.uniform(1, 9, worlds), 2)[world] * 1e6
    p_shock = rng.choice([0, 0.2, 0.4, 0.8], n)
    dose = np.round(20 * p_shock + rng.normal(0, 2, n) + level, 4)
    number = np.round(0.1 * dose + 2e-7 * demand + level + rng.normal(0, 1, n), 5)
    odds = -1 + 0.12 * dose - 1e-7 * demand + level
    crash = (rng.uniform(0, 1, n) < 1 / (1 + np.exp(-odds))).astype(float)
    columns = {"world": world, "demand": demand, "p_shock": p_shock}
    return pd.DataFrame(columns | {"dose": dose, "number": number, "crash": crash})


def robust(fit, groups, scale=1.0):
    """Estimates with CR1 errors and t(G - 1)."""
    se = np.asarray(fit.bse) * math.sqrt(scale)
    params = np.asarray(fit.params)
    t = params / se
    critical = stats.t.ppf(0.975, groups - 1)
    return {
        "estimates": params.tolist(),
        "se": se.tolist(),
        "p": (2 * stats.t.sf(abs(t), groups - 1)).tolist(),
        "low": (params - critical * se).tolist(),
        "high": (params + critical * se).tolist(),
    }


def cr1(x, y, groups):
    """Least squares and CR1 covariance, written out."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    bread = np.linalg.inv(x.T @ x)
    beta = bread @ x.T @ y
    u = y - x @ beta
    labels = np.unique(groups)
    meat = sum(np.outer(s, s) for s in (x[groups == g].T @ u[groups == g] for g in labels))
    n, k, g = len(y), x.shape[1], len(labels)
    return beta, bread @ meat @ bread * g * (n - 1) / ((g - 1) * (n - k))


def wild(x, y, groups, at, value=0.0):
    """All signs, refitting each draw."""
    beta, covariance = cr1(x, y, groups)
    t = (beta[at] - value) / math.sqrt(covariance[at, at])
    others = np.delete(x, at, axis=1)
    shifted = y - value * x[:, at]
    gamma = np.linalg.lstsq(others, shifted, rcond=None)[0]
    fitted, residual = others @ gamma, shifted - others @ gamma
    labels = np.unique(groups)
    extreme = 0
    for signs in itertools.product([-1, 1], repeat=len(labels)):
        v = np.asarray(signs)[np.searchsorted(labels, groups)]
        b, c = cr1(x, fitted + v * residual, groups)
        extreme += abs(b[at] / math.sqrt(c[at, at])) >= abs(t) * (1 - 1e-9)
    return extreme / 2 ** len(labels)


def score_bootstrap(frame):
    """Logit, null hypothesis: no effect of the dose. Signs of effective scores, one by one."""
    x = sm.add_constant(frame[["dose", "demand"]]).to_numpy()
    x[:, 2] /= 1e6
    y = frame["crash"].to_numpy()
    null = sm.Logit(y, np.delete(x, 1, axis=1)).fit(disp=0, tol=1e-14)
    p = null.predict()
    information = (x * (p * (1 - p))[:, None]).T @ x
    scores = [
        (x[frame["world"] == g] * (y - p)[frame["world"] == g, None]).sum(0)
        for g in np.unique(frame["world"])
    ]
    row = np.linalg.inv(information)[1]
    influence = np.array([row @ s for s in scores])
    extreme = 0
    for signs in itertools.product([-1, 1], repeat=len(scores)):
        extreme += abs(np.dot(signs, influence)) >= abs(influence.sum()) * (1 - 1e-9)
    return {
        "scores": [s.tolist() for s in scores],
        "information": information.tolist(),
        "which": 1,
        "one_step": influence.sum(),
        "statistic": influence.sum() / math.sqrt((influence**2).sum()),
        "p": extreme / 2 ** len(scores),
    }


frame = data(10, 6)
groups = frame["world"].to_numpy()
n, g = len(frame), 10
x = sm.add_constant(frame[["dose", "demand"]])
ols = sm.OLS(frame["number"], x).fit(
    cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
)
out = {"data": {name: frame[name].tolist() for name in frame}}
out["ols"] = robust(ols, g) | {
    "r_squared": ols.rsquared,
    "residual_sd": math.sqrt(ols.ssr / (n - 3)),
    "covariance": np.asarray(ols.cov_params()).tolist(),
}
rows = sm.OLS(frame["number"], x).fit(cov_type="HC1")
out["ols_rows"] = {"se": np.asarray(rows.bse).tolist()}

# statsmodels multiplies a logit's sandwich by (n - 1) / (n - k) too.
scaled = frame[["dose", "demand"]] / [1, 1e6]
logit = sm.Logit(frame["crash"], sm.add_constant(scaled)).fit(
    disp=0, tol=1e-14, cov_type="cluster", cov_kwds={"groups": groups}
)
out["logit"] = robust(logit, g, (n - 3) / (n - 1)) | {
    "log_likelihood": logit.llf,
    # statsmodels' own llnull stops at 1e-10.
    "log_likelihood_null": float(
        np.log(np.where(frame["crash"], frame["crash"].mean(), 1 - frame["crash"].mean())).sum()
    ),
}

iv = IV2SLS(
    frame["number"],
    sm.add_constant(scaled[["demand"]]),
    frame["dose"],
    pd.DataFrame({"p_shock": frame["p_shock"], "square": frame["p_shock"] ** 2}),
).fit(cov_type="clustered", clusters=groups, debiased=True)
# linearmodels: const, demand, dose. Its correction is G (n - 1) / ((G - 1) (n - k)).
order = ["const", "dose", "demand"]
out["iv"] = {
    "estimates": [iv.params[name] for name in order],
    "se": [iv.std_errors[name] for name in order],
}
first = sm.add_constant(
    pd.DataFrame(
        {"demand": scaled["demand"], "p_shock": frame["p_shock"], "square": frame["p_shock"] ** 2}
    )
)
for name, outcome in [("first_stage", "dose"), ("reduced_form", "number")]:
    b, c = cr1(first, frame[outcome], groups)
    f = b[2:] @ np.linalg.solve(c[2:, 2:], b[2:]) / 2
    out["iv"][name] = {"f": f, "p": stats.f.sf(f, 2, g - 1), "b": b[2:].tolist()}
full = sm.OLS(frame["dose"], first).fit().ssr
less = sm.OLS(frame["dose"], first[["const", "demand"]]).fit().ssr
out["iv"]["partial_r_squared"] = 1 - full / less

matrix = sm.add_constant(scaled).to_numpy()
y = frame["number"].to_numpy() - 0.075 * frame["dose"].to_numpy()
out["wild"] = {
    "outcome": y.tolist(),
    "p": wild(matrix, y, groups, 1),
    "p_of_world_covariate": wild(matrix, y, groups, 2),
    "p_at": [[value, wild(matrix, y, groups, 1, value)] for value in (-0.03, 0.02, 0.05, 0.09)],
}
# More draws than sign vectors: wildboottest enumerates too.
theirs = wildboottest(
    sm.OLS(y, matrix), param="x1", cluster=pd.Series(groups), B=99999, seed=3, show=False,
    bootstrap_type="11", impose_null=True,
)
out["wild"]["wildboottest_p"] = float(np.ravel(theirs["p-value"])[0])
out["score"] = score_bootstrap(frame)


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


print(json.dumps(plain(out), indent=1))
