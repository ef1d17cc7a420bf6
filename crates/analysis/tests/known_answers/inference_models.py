"""Known answers of models: variance components, lognormal times, dose-response curves, clusters.

python3 -m venv V; V/bin/pip install statsmodels lifelines kmedoids scikit-learn
V/bin/python inference_models.py > inference_models.json
"""

import json
import math
import warnings

import kmedoids
import numpy as np
import pandas as pd
import statsmodels.api as sm
from lifelines import LogNormalAFTFitter
from scipy import integrate, optimize, special, stats
from sklearn import metrics
from statsmodels.stats import anova
import statsmodels.formula.api as smf

warnings.simplefilter("ignore")
rng = np.random.default_rng(11)


def icc_continuous():
    world = np.repeat(np.arange(8), [3, 4, 5, 3, 6, 2, 4, 1])
    values = np.round(rng.normal(0, 1.2, 8)[world] + rng.normal(5, 1, len(world)), 4)
    table = anova.anova_lm(smf.ols("y ~ C(w)", {"y": values, "w": world}).fit())
    between, within = table["mean_sq"]
    sizes = np.bincount(world)
    n0 = (len(world) - (sizes**2).sum() / len(world)) / (len(sizes) - 1)
    variance = (between - within) / n0
    return {
        "world": world.tolist(),
        "values": values.tolist(),
        "f": table["F"].iloc[0],
        "p": table["PR(>F)"].iloc[0],
        "between_sd": math.sqrt(variance),
        "within_sd": math.sqrt(within),
        "icc": variance / (variance + within),
    }


def icc_binary():
    """The likelihood by adaptive integration, its maximum by Nelder and Mead."""
    world = np.repeat(np.arange(24), 8)
    odds = rng.normal(-0.4, 1.8, 24)[world]
    crash = rng.uniform(0, 1, len(world)) < special.expit(odds)
    events, runs = np.bincount(world, crash), np.bincount(world)

    def log_likelihood(parameters):
        intercept, sd = parameters
        total = 0.0
        for y, n in zip(events, runs):
            def integrand(u):
                eta = intercept + sd * u
                return math.exp(y * eta - n * np.logaddexp(0, eta) + 30) * stats.norm.pdf(u)

            value = integrate.quad(integrand, -12, 12, epsabs=0, epsrel=1e-13, limit=400)[0]
            total += math.log(value) - 30
        return total

    best = optimize.minimize(
        lambda p: -log_likelihood(p), [0, 1], method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 2000},
    )
    intercept, sd = best.x
    share = crash.mean()
    without = len(crash) * (share * math.log(share) + (1 - share) * math.log(1 - share))
    ratio = 2 * (-best.fun - without)
    return {
        "world": world.tolist(),
        "crash": crash.tolist(),
        "intercept": intercept,
        "sd": abs(sd),
        "log_likelihood": -best.fun,
        "p": stats.chi2.sf(ratio, 1) / 2,
    }


def lognormal():
    n = 90
    parameters = rng.choice([1.35e8, 3.6e8, 1.7e9, 7e9], n)
    world = np.arange(n) % 15
    log_time = 1.0 + 0.25 * np.log(parameters) + rng.normal(0, 0.5, 15)[world]
    time = np.exp(log_time + rng.normal(0, 0.8, n))
    limit = np.quantile(time, 0.7)
    observed = time <= limit
    time = np.round(np.minimum(time, limit), 4)
    frame = pd.DataFrame({"time": time, "observed": observed, "x": np.log(parameters) - 20})
    fit = LogNormalAFTFitter()
    fit._scipy_fit_options = {"ftol": 1e-14, "gtol": 1e-10, "maxiter": 5000}
    fit.fit(frame, "time", "observed")
    b = fit.params_["mu_"]
    # lifelines stops early: Nelder and Mead's method on the same likelihood goes on.
    y, x = np.log(time), frame["x"].to_numpy()

    def negative(p):
        z = (y - p[0] - p[1] * x) / math.exp(p[2])
        density = stats.norm.logpdf(z) - p[2] - y
        return -np.where(observed, density, stats.norm.logsf(z)).sum()

    start = [b["Intercept"], b["x"], fit.params_[("sigma_", "Intercept")]]
    best = optimize.minimize(
        negative, start, method="Nelder-Mead",
        options={"xatol": 1e-11, "fatol": 1e-13, "maxiter": 9999},
    )
    assert np.allclose(best.x, start, atol=1e-4), (best.x, start)
    return {
        "time": time.tolist(),
        "observed": observed.tolist(),
        "parameters": parameters.tolist(),
        "world": world.tolist(),
        "intercept": best.x[0],
        "slope": best.x[1],
        "sigma": math.exp(best.x[2]),
        "se": [fit.standard_errors_[("mu_", "Intercept")], fit.standard_errors_[("mu_", "x")]],
        "log_likelihood": -best.fun,
        "lifelines_log_likelihood": fit.log_likelihood_,
    }


def spline(x, knots):
    """Harrell's restricted cubic spline, written out."""
    t, k = np.asarray(knots, float), len(knots)
    cube = lambda u: np.maximum(u, 0) ** 3
    columns = [x]
    for j in range(k - 2):
        columns.append(
            (
                cube(x - t[j])
                - cube(x - t[-2]) * (t[-1] - t[j]) / (t[-1] - t[-2])
                + cube(x - t[-1]) * (t[-2] - t[j]) / (t[-1] - t[-2])
            )
            / (t[-1] - t[0]) ** 2
        )
    return np.column_stack(columns)


def dose_response():
    worlds, doses = 25, np.array([0, 2, 4, 6, 8, 10, 12.0])
    world = np.repeat(np.arange(worlds), len(doses))
    dose = np.tile(doses, worlds)
    odds = -3.2 + 6 * special.expit(1.1 * (dose - 6)) + rng.normal(0, 0.6, worlds)[world]
    crash = (rng.uniform(0, 1, len(dose)) < special.expit(odds)).astype(float)
    number = np.round(odds + rng.normal(0, 1, len(dose)), 5)
    knots = np.quantile(dose, [0.05, 0.35, 0.65, 0.95])
    x = sm.add_constant(spline(dose, knots))
    grid = np.linspace(0, 12, 7)
    points = sm.add_constant(spline(grid, knots))
    out = {"world": world.tolist(), "dose": dose.tolist(), "crash": crash.tolist()}
    out |= {"number": number.tolist(), "knots": knots.tolist()}
    fine = np.linspace(0, 12, 200001)
    fine_x = sm.add_constant(spline(fine, knots))
    n, k, g = len(dose), 4, worlds
    for name, y, link in [("probability", crash, special.expit), ("mean", number, lambda v: v)]:
        kwds = {"cov_type": "cluster", "cov_kwds": {"groups": world}}
        if name == "probability":
            fit = sm.Logit(y, x).fit(disp=0, tol=1e-14, **kwds)
            scale = (n - k) / (n - 1)
        else:
            fit, scale = sm.OLS(y, x).fit(**kwds), 1.0
        covariance = fit.cov_params() * scale
        center = points @ fit.params
        half = stats.t.ppf(0.975, g - 1) * np.sqrt(
            np.einsum("ij,jk,ik->i", points, covariance, points)
        )
        response = link(fine_x @ fit.params)
        steepest = fine[np.argmax(np.gradient(response, fine))]
        halfway = fine[np.argmax(response >= (response.min() + response.max()) / 2)]
        wald = lambda rows: fit.params[rows] @ np.linalg.solve(
            covariance[np.ix_(rows, rows)], fit.params[rows]
        ) / len(rows)
        out[name] = {
            "response": link(center).tolist(),
            "low": link(center - half).tolist(),
            "high": link(center + half).tolist(),
            "steepest": steepest,
            "halfway": halfway,
            "p_flat": stats.f.sf(wald([1, 2, 3]), 3, g - 1),
            "p_straight": stats.f.sf(wald([2, 3]), 2, g - 1),
        }
    return out


def pam(distances, k):
    """PAM as Kaufman and Rousseeuw describe it: BUILD, then the best swap until none helps."""
    n = len(distances)
    cost = lambda medoids: distances[:, medoids].min(1).sum()
    medoids = []
    for _ in range(k):
        rest = [row for row in range(n) if row not in medoids]
        medoids.append(min(rest, key=lambda row: cost(medoids + [row])))
    while True:
        best = (cost(medoids), None)
        for at in range(k):
            for row in set(range(n)) - set(medoids):
                swapped = medoids[:at] + [row] + medoids[at + 1 :]
                if cost(swapped) < best[0] - 1e-12:
                    best = (cost(swapped), swapped)
        if best[1] is None:
            return sorted(medoids), best[0]
        medoids = best[1]


def clusters():
    centers = np.array([[0, 0, 0], [4, 1, 0], [0, 5, 2], [3, 4, 6.0]])
    rows = np.concatenate([rng.normal(c, 1.0, (m, 3)) for c, m in zip(centers, [14, 9, 11, 6])])
    rows = np.round(rows * [1, 100, 0.01], 5)
    z = (rows - rows.mean(0)) / rows.std(0, ddof=1)
    distances = metrics.pairwise_distances(z)
    noise = np.round(rng.uniform(0, 1, (40, 3)), 5)
    noise_distances = metrics.pairwise_distances((noise - noise.mean(0)) / noise.std(0, ddof=1))
    out = {"rows": rows.tolist(), "noise": noise.tolist(), "by_k": {}, "noise_by_k": {}}
    for name, d in [("by_k", distances), ("noise_by_k", noise_distances)]:
        for k in range(2, 7):
            medoids, cost = pam(d, k)
            labels = d[:, medoids].argmin(1)
            theirs = kmedoids.fasterpam(d, k, random_state=1).loss
            assert cost <= theirs * 1.1
            out[name][str(k)] = {
                "medoids": medoids,
                "cost": cost,
                "silhouette": metrics.silhouette_score(d, labels, metric="precomputed"),
            }
    return out


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


print(
    json.dumps(
        plain(
            {
                "icc_continuous": icc_continuous(),
                "icc_binary": icc_binary(),
                "lognormal": lognormal(),
                "dose_response": dose_response(),
                "clusters": clusters(),
            }
        ),
        indent=1,
    )
)
