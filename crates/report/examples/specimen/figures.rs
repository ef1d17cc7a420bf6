//! Figures of the specimen about doses and survival.

use crate::simulated::{DOSES, Ending, HORIZON, SimulatedRun, kaplan_meier};
use analysis::document::{AtRisk, Axis, Figure, Layer, Scale};

pub fn axis(label: &str) -> Axis {
    Axis { label: label.into(), scale: Scale::Linear, range: None, categories: Vec::new() }
}

pub fn categories(label: &str, names: impl IntoIterator<Item = String>) -> Axis {
    Axis { categories: names.into_iter().collect(), ..axis(label) }
}

pub fn command(figure: &str) -> String {
    format!("vendomini report results/phase2_realistic --primary delivery --figure {figure}")
}

fn dose_name(dose: f64) -> String {
    if dose == 0.0 { "no shocks".into() } else { format!("p = {dose}") }
}

fn at_dose(runs: &[SimulatedRun], dose: f64) -> Vec<&SimulatedRun> {
    runs.iter().filter(|run| run.dose == dose).collect()
}

pub fn km_by_dose(runs: &[SimulatedRun]) -> Figure {
    let mut layers = Vec::new();
    let times: Vec<f64> = (0..=10).map(|i| f64::from(i) * 50.0).collect();
    let mut at_risk = Vec::new();
    for dose in DOSES {
        let runs = at_dose(runs, dose);
        let (curve, marks) = kaplan_meier(&runs);
        let series = dose_name(dose);
        let band = curve.iter().map(|[x, _, low, high]| (*x, *low, *high)).collect();
        layers.push(Layer::Band { series: series.clone(), points: band, stepped: true });
        let points = curve.iter().map(|[x, s, ..]| (*x, *s)).collect();
        layers.push(Layer::Steps { series: series.clone(), points });
        layers.push(Layer::Points { series: series.clone(), points: marks });
        let left = |time: &f64| runs.iter().filter(|run| run.end >= *time).count() as u64;
        at_risk.push((series, times.iter().map(left).collect()));
    }
    Figure {
        id: "km_by_dose".into(),
        title: "Runs without a crash, by dose".into(),
        caption: "Kaplan-Meier estimates of the time to the onset of the first crash by a primary \
                  detector; shaded: 95% log-log bands. Ticks mark runs that ended otherwise."
            .into(),
        alt: "Five falling step curves. At step 500 about three quarters of the runs without \
              shocks have not crashed, and about one in ten at p = 1; the curves keep their order."
            .into(),
        x: Axis { range: Some((0.0, HORIZON)), ..axis("Step") },
        y: Axis { range: Some((0.0, 1.0)), ..axis("Share without a crash") },
        layers,
        at_risk: Some(AtRisk { times, rows: at_risk }),
        command: command("km_by_dose"),
    }
}

/// Cumulative incidence by cause, stacked: shares of runs that ended so far.
pub fn incidence(runs: &[SimulatedRun]) -> Figure {
    // Crashes are dealt out to three detectors by the length of the run.
    let causes = [
        ("looping", Some(0)),
        ("exploration collapse", Some(1)),
        ("abandonment", Some(2)),
        ("ruin", None),
    ];
    let cause_of = |run: &SimulatedRun| match run.ending {
        Ending::Crashed => Some(Some(run.exposure.len() % 3)),
        Ending::Ruined => Some(None),
        Ending::Horizon => None,
    };
    let times: Vec<f64> = (0..=100).map(|i| f64::from(i) * 5.0).collect();
    let mut below = vec![0.0; times.len()];
    let mut layers = Vec::new();
    for (name, cause) in causes {
        let mut points = Vec::new();
        for (at, time) in times.iter().enumerate() {
            let ended = |run: &&SimulatedRun| cause_of(run) == Some(cause) && run.end <= *time;
            let share = runs.iter().filter(ended).count() as f64 / runs.len() as f64;
            points.push((*time, below[at], below[at] + share));
            below[at] += share;
        }
        layers.push(Layer::Band { series: name.into(), points, stepped: true });
    }
    Figure {
        id: "incidence".into(),
        title: "How runs end".into(),
        caption:
            "Aalen-Johansen estimates of the cumulative incidence of each ending, stacked; the \
                  rest has not ended."
                .into(),
        alt: "Stacked areas that grow with time: looping, exploration collapse and abandonment in \
              about equal shares, ruin less."
            .into(),
        x: Axis { range: Some((0.0, HORIZON)), ..axis("Step") },
        y: Axis { range: Some((0.0, 1.0)), ..axis("Cumulative incidence") },
        layers,
        at_risk: None,
        command: command("incidence"),
    }
}

/// Accumulated error of runs that crash, aligned at the onset, and of comparable others.
pub fn spaghetti(runs: &[SimulatedRun], most: usize, window: usize) -> Figure {
    let mut layers = Vec::new();
    let mut sums = vec![(0.0, 0.0); window + 1];
    for run in runs.iter().filter(|run| run.exposure.len() > 20).take(most) {
        let crashed = run.ending == Ending::Crashed;
        let series = if crashed { "crashed" } else { "did not crash" };
        let from = run.exposure.len().saturating_sub(window + 1);
        let last = run.exposure.len() - 1;
        let point = |at: usize| (at as f64 - last as f64, run.exposure[at]);
        let points: Vec<(f64, f64)> = (from..run.exposure.len()).map(point).collect();
        if crashed {
            for at in from..run.exposure.len() {
                let sum = &mut sums[window - (last - at)];
                *sum = (sum.0 + run.exposure[at], sum.1 + 1.0);
            }
        }
        layers.push(Layer::Line { series: series.into(), points, dashed: false });
    }
    let mean = |(at, (sum, count)): (usize, &(f64, f64))| (at as f64 - window as f64, sum / count);
    layers.push(Layer::Line {
        series: "mean of the crashed".into(),
        points: sums.iter().enumerate().filter(|(_, sum)| sum.1 > 20.0).map(mean).collect(),
        dashed: false,
    });
    layers.push(Layer::Rule { at: 0.0, vertical: true, label: "onset or end".into() });
    layers.push(Layer::Rule { at: -20.0, vertical: true, label: "lag".into() });
    Figure {
        id: "exposure_at_onset".into(),
        title: "Accumulated delivery error before the onset".into(),
        caption: "Each line is a run: E(t), aligned at the onset of its crash or at its end. The \
                  covariate of the model is lagged by 20 steps."
            .into(),
        alt: "Rising lines. Runs that crashed have accumulated more error than runs that did not, \
              and the mean of the crashed rises steadily up to the onset."
            .into(),
        x: axis("Steps before the onset"),
        y: axis("Accumulated delivery error E"),
        layers,
        at_risk: None,
        command: command("exposure_at_onset"),
    }
}

pub fn hazard(seed: u64) -> Figure {
    let mut random = base::SplitMix64(seed);
    let at = |i: usize| i as f64 * 0.6;
    let log_hazard = |x: f64| 0.045 * x - 0.00025 * x * x + 0.06 * (x / 9.0).sin();
    let width = |x: f64| 0.10 + 0.0004 * (x - 22.0).powi(2);
    let curve = (0..=100).map(|i| (at(i), log_hazard(at(i)).exp())).collect();
    let bounds = |x: f64| ((log_hazard(x) - width(x)).exp(), (log_hazard(x) + width(x)).exp());
    let band = (0..=100).map(|i| (at(i), bounds(at(i)).0, bounds(at(i)).1)).collect();
    let linear = (0..=100).map(|i| (at(i), (0.041 * at(i)).exp())).collect();
    let mut rug = Vec::new();
    for _ in 0..120 {
        let u: f64 = random.next_f64();
        rug.push((60.0 * u * u, 0.62 + 0.02 * random.next_f64()));
    }
    Figure {
        id: "hazard_by_exposure".into(),
        title: "Hazard against accumulated error".into(),
        caption:
            "Hazard ratio against E = 0: a natural spline with three degrees of freedom and its \
                  95% band, the log-linear model dashed, one dot a crash."
                .into(),
        alt:
            "The hazard rises about tenfold between E = 0 and E = 60; the spline stays within its \
              band of the straight line."
                .into(),
        x: axis("Accumulated delivery error E, 20 steps before"),
        y: Axis { scale: Scale::Log, ..axis("Hazard ratio") },
        layers: vec![
            Layer::Band { series: "spline".into(), points: band, stepped: false },
            Layer::Line { series: "spline".into(), points: curve, dashed: false },
            Layer::Line { series: "log-linear".into(), points: linear, dashed: true },
            Layer::Rule { at: 1.0, vertical: false, label: "as without error".into() },
            Layer::Points { series: "crashes".into(), points: rug },
        ],
        at_risk: None,
        command: command("hazard_by_exposure"),
    }
}

pub fn log_cumulative_hazard(runs: &[SimulatedRun]) -> Figure {
    let of_dose = |dose: f64| {
        let (curve, _) = kaplan_meier(&at_dose(runs, dose));
        let point = |[x, s, ..]: &[f64; 4]| (*x, (-s.ln()).ln());
        let points = curve.iter().filter(|[_, s, ..]| *s < 1.0).map(point).collect();
        Layer::Steps { series: dose_name(dose), points }
    };
    Figure {
        id: "log_cumulative_hazard".into(),
        title: "Proportional hazards: log cumulative hazards".into(),
        caption: "Parallel curves would agree with proportional hazards in p.".into(),
        alt: "Five rising step curves that fan out: hazards are not proportional in p.".into(),
        x: Axis { scale: Scale::Log, ..axis("Step") },
        y: axis("log(\u{2212}log S)"),
        layers: DOSES.map(of_dose).to_vec(),
        at_risk: None,
        command: command("log_cumulative_hazard"),
    }
}
