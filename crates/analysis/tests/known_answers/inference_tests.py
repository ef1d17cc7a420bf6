"""Known answers of paired tests, tables, proportions, calibration.

Made with scipy, statsmodels and scikit-learn:

python3 -m venv V; V/bin/pip install scipy statsmodels scikit-learn
V/bin/python inference_tests.py > inference_tests.json
"""

import itertools
import json
import math

import numpy as np
from scipy import stats
from scipy.stats import contingency
from sklearn import metrics
from statsmodels.stats import contingency_tables, multitest, proportion

rng = np.random.default_rng(20240611)


def signed_rank_p(d, zeros):
    """All signs, one by one: scipy refuses exact p-values with ties or zeros."""
    d = np.asarray(d, float)
    if zeros == "drop":
        d = d[d != 0]
    ranks = stats.rankdata(np.abs(d))[d != 0]
    d = d[d != 0]
    observed = abs(ranks[d > 0].sum() - ranks.sum() / 2)
    extreme = 0
    for signs in itertools.product([0, 1], repeat=len(d)):
        extreme += abs(ranks @ np.array(signs) - ranks.sum() / 2) >= observed - 1e-9
    return extreme / 2 ** len(d)


def hodges_lehmann(d, level):
    d = np.sort(np.asarray(d, float))
    n = len(d)
    walsh = np.sort([(d[i] + d[j]) / 2 for i in range(n) for j in range(i, n)])
    counts = np.array([1.0])
    for rank in range(1, n + 1):
        bigger = np.zeros(len(counts) + rank)
        bigger[: len(counts)] += counts
        bigger[rank:] += counts
        counts = bigger
    below = np.cumsum(counts) / 2.0**n
    k = int(np.sum(below <= (1 - level) / 2))
    result = {"estimate": float(np.median(walsh)), "median": float(np.median(d))}
    if k == 0:
        return result | {"low": None, "high": None, "coverage": 0.0}
    return result | {
        "low": walsh[k - 1],
        "high": walsh[len(walsh) - k],
        "coverage": 1 - 2 * below[k - 1],
    }


def paired():
    cases = {
        "untied": np.round(rng.normal(0.4, 1, 14), 6),
        "ties_and_zeros": np.array([0, 0, 1, 1, -1, 2, 2, 2, -2, 3, 3, -4, 5, 0, 6.0]),
        "half_ranks": np.array([0.5, 0.5, -0.5, 1.5, 1.5, 2.5, -2.5, 2.5, 4]),
        "five": np.array([1.0, 2, 3, 4, 5]),
        "four_mixed": np.array([-1.0, 2, 3, 0]),
    }
    out = {}
    for name, d in cases.items():
        nonzero = d[d != 0]
        positive = int((d > 0).sum())
        t = stats.ttest_1samp(d, 0)
        interval = t.confidence_interval(0.95)
        ranks = stats.rankdata(np.abs(nonzero))
        out[name] = {
            "differences": d.tolist(),
            "sign_p": stats.binomtest(positive, len(nonzero), 0.5).pvalue,
            "wilcoxon_drop_p": signed_rank_p(d, "drop"),
            "wilcoxon_pratt_p": signed_rank_p(d, "pratt"),
            "positive_ranks": float(ranks[nonzero > 0].sum()),
            "hodges_lehmann": hodges_lehmann(d, 0.95),
            "hodges_lehmann_80": hodges_lehmann(d, 0.8),
            "t": t.statistic,
            "t_p": t.pvalue,
            "t_low": interval.low,
            "t_high": interval.high,
        }
    # scipy's own exact p, without ties.
    untied = cases["untied"]
    scipy = stats.wilcoxon(untied, method="exact").pvalue
    assert math.isclose(scipy, signed_rank_p(untied, "drop"))
    big = np.round(rng.normal(0.08, 1, 400), 6)
    assert len(np.unique(np.abs(big))) == len(big)
    tied = np.round(rng.normal(0.1, 1.5, 900))
    out["big_untied"] = {
        "differences": big.tolist(),
        "wilcoxon_exact_p": stats.wilcoxon(big, method="exact").pvalue,
        "wilcoxon_normal_p": stats.wilcoxon(big, method="approx").pvalue,
    }
    out["big_tied"] = {
        "differences": tied.tolist(),
        "wilcoxon_normal_p": stats.wilcoxon(tied, method="approx").pvalue,
        "wilcoxon_pratt_normal_p": stats.wilcoxon(
            tied, zero_method="pratt", method="approx"
        ).pvalue,
        "sign_p": stats.binomtest(int((tied > 0).sum()), int((tied != 0).sum())).pvalue,
    }
    return out


def freeman_halton(table):
    """All tables of the same margins, row by row."""
    table = np.asarray(table)
    columns = table.sum(0)

    def rows(total, left):
        if len(left) == 1:
            if total <= left[0]:
                yield (total,)
            return
        for cell in range(min(total, left[0]) + 1):
            for rest in rows(total - cell, left[1:]):
                yield (cell, *rest)

    def tables(totals, left):
        if len(totals) == 1:
            yield [tuple(left)]
            return
        for row in rows(totals[0], left):
            remaining = [a - b for a, b in zip(left, row)]
            for rest in tables(totals[1:], remaining):
                yield [row, *rest]

    def weight(cells):
        product = 1
        for cell in cells:
            product *= math.factorial(cell)
        return product

    # Probabilities are proportional to 1 / (product of cell factorials): exact in fractions.
    observed = weight(table.flatten().tolist())
    extreme, total, count = 0.0, 0.0, 0
    for one in tables(table.sum(1).tolist(), columns.tolist()):
        product = weight([int(cell) for row in one for cell in row])
        count += 1
        total += 1 / product
        if product >= observed:
            extreme += 1 / product
    return extreme / total, count


def tables():
    cases = {
        "two_by_two_small": [[8, 2], [1, 5]],
        "two_by_two_big": [[30, 14], [19, 37]],
        "three_by_four": [[12, 5, 9, 14], [7, 16, 11, 6], [10, 9, 13, 12]],
        "three_by_three_sparse": [[4, 1, 0], [1, 5, 2], [0, 2, 6]],
        "two_by_five_sparse": [[1, 2, 0, 4, 3], [3, 0, 5, 0, 1]],
        "job_satisfaction": [[1, 2, 1, 0], [3, 3, 6, 1], [10, 10, 14, 9], [6, 7, 12, 11]],
    }
    out = {}
    for name, counts in cases.items():
        counts = np.array(counts)
        chi = stats.chi2_contingency(counts, correction=False)
        case = {
            "counts": counts.tolist(),
            "chi_square": chi.statistic,
            "df": int(chi.dof),
            "p_chi_square": chi.pvalue,
            "expected": chi.expected_freq.tolist(),
            "cramers_v": contingency.association(counts, method="cramer"),
            "residuals": contingency_tables.Table(
                counts, shift_zeros=False
            ).standardized_resids.tolist(),
        }
        # Bergsma 2013, written out.
        n = counts.sum()
        r, c = counts.shape
        phi = max(0, chi.statistic / n - (r - 1) * (c - 1) / (n - 1))
        rr, cc = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
        case["cramers_v_corrected"] = math.sqrt(phi / min(rr - 1, cc - 1))
        if name != "job_satisfaction" and chi.expected_freq.min() < 5:
            case["p_exact"], case["tables"] = freeman_halton(counts)
        if counts.shape == (2, 2):
            case["p_fisher"] = stats.fisher_exact(counts).pvalue
        out[name] = case
    # R: fisher.test(Job)$p.value of the help page of fisher.test.
    out["job_satisfaction"]["p_exact"] = 0.7826849389665325
    return out


def proportions():
    wilson = []
    for k, n, level in [(0, 10, 0.95), (10, 10, 0.95), (3, 11, 0.95), (40, 160, 0.9), (1, 1, 0.99)]:
        low, high = proportion.proportion_confint(k, n, 1 - level, "wilson")
        wilson.append({"successes": k, "total": n, "level": level, "low": low, "high": high})
    newcombe = []
    for a, n, b, m in [(56, 70, 48, 80), (0, 10, 0, 20), (10, 10, 0, 20), (3, 30, 12, 28)]:
        low, high = proportion.confint_proportions_2indep(
            b, m, a, n, method="newcomb", compare="diff", correction=False
        )
        newcombe.append({"first": [a, n], "second": [b, m], "low": low, "high": high})
    return {"wilson": wilson, "newcombe": newcombe}


def holm():
    cases = [[0.01, 0.04, 0.03, 0.005], [0.5, 0.6, 0.001], [0.02], [0.2, 0.2, 0.2, 0.01, 0.01]]
    return [
        {"p": p, "adjusted": multitest.multipletests(p, method="holm")[1].tolist()} for p in cases
    ]


def calibration():
    truth = rng.uniform(0, 1, 200)
    outcomes = rng.uniform(0, 1, 200) < truth
    forecasts = np.round(np.clip(truth * 0.7 + 0.25 + rng.normal(0, 0.1, 200), 0, 1), 1)
    out = {"forecasts": forecasts.tolist(), "outcomes": outcomes.tolist()}
    out["brier"] = metrics.brier_score_loss(outcomes, forecasts)
    out["auc"] = metrics.roc_auc_score(outcomes, forecasts)
    # Forecasts are tenths: a bin each, and the decomposition has no further term.
    n, base = len(outcomes), outcomes.mean()
    reliability = resolution = ece = 0.0
    for value in np.unique(forecasts):
        rows = forecasts == value
        share = outcomes[rows].mean()
        reliability += rows.sum() * (value - share) ** 2 / n
        resolution += rows.sum() * (share - base) ** 2 / n
        ece += rows.sum() * abs(value - share) / n
    out |= {"reliability": reliability, "resolution": resolution}
    out |= {"uncertainty": base * (1 - base), "ece": ece}
    # Bins of width .2, right-open.
    edges = np.minimum((forecasts * 5 + 1e-12).astype(int), 4)
    out["ece_width"] = sum(
        abs(forecasts[edges == bin].sum() - outcomes[edges == bin].sum())
        for bin in np.unique(edges)
    ) / n
    return out


def permutation():
    doses = np.array([0, 0, 1, 1, 0, 1, 1, 2, 0, 2, 1, 0.0])
    blocks = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    outcome = np.array([1.2, 0.7, 2.9, 1.4, 0.3, 1.9, 2.4, 2.2, 1.1, 2.6, 0.4, 1.0])

    def arrangements(rows):
        return sorted(set(itertools.permutations(doses[rows])))

    by_block = [arrangements(slice(4 * b, 4 * b + 4)) for b in range(3)]
    statistics = []
    for choice in itertools.product(*by_block):
        statistics.append(np.dot(np.concatenate(choice), outcome))
    statistics = np.array(statistics)
    observed = np.dot(doses, outcome)
    greater = np.mean(statistics >= observed - 1e-9)
    less = np.mean(statistics <= observed + 1e-9)
    # scipy permutes rows of equal dose too, with the same p: two groups, one block.
    a, b = outcome[:5], outcome[5:11]
    scipy = stats.permutation_test(
        (b, a), lambda x, y: np.mean(x) - np.mean(y), n_resamples=np.inf, vectorized=False
    )
    return {
        "doses": doses.tolist(),
        "blocks": blocks,
        "outcome": outcome.tolist(),
        "arrangements": len(statistics),
        "statistic": observed,
        "greater": greater,
        "less": less,
        "two_sided": min(1, 2 * min(greater, less)),
        "mean": statistics.mean(),
        "two_groups_p": scipy.pvalue,
    }


def distributions():
    t = [
        (t, df, 2 * stats.t.sf(t, df))
        for t in (0.001, 0.5, 2.0, 7.5)
        for df in (1, 4, 19, 300, 1e5)
    ]
    f = [
        (f, a, b, stats.f.sf(f, a, b))
        for f in (0.1, 1.0, 4.2, 60.0)
        for a in (1, 3)
        for b in (4, 19, 500)
    ]
    chi = [(x, df, stats.chi2.sf(x, df)) for x in (0.01, 1.0, 9.0, 80.0) for df in (1, 2, 9)]
    critical = [
        (level, df, stats.t.ppf((1 + level) / 2, df))
        for level in (0.5, 0.8, 0.95, 0.999)
        for df in (1, 2, 4, 19, 300, 1e5)
    ]
    z = [(level, stats.norm.ppf((1 + level) / 2)) for level in (0.1, 0.5, 0.9, 0.95, 0.9999)]
    return {"t": t, "f": f, "chi_square": chi, "t_critical": critical, "normal_critical": z}


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
                "paired": paired(),
                "tables": tables(),
                "proportions": proportions(),
                "holm": holm(),
                "calibration": calibration(),
                "permutation": permutation(),
                "distributions": distributions(),
            }
        ),
        indent=1,
    )
)
