//! Figures of the specimen with rows: a forest plot, runs in time, matrices.

use crate::figures::{axis, categories, command};
use crate::simulated::{Ending, SimulatedRun};
use analysis::document::{Axis, Figure, Layer, Scale};
use base::SplitMix64;

pub fn forest() -> Figure {
    let rows: [(&str, f64, f64); 9] = [
        ("Delivery error, per 10 units of E", 0.41, 0.06),
        ("Effective shocks, per 10", 0.08, 0.05),
        ("Late notices told, against hidden", -0.31, 0.17),
        ("Memory tools: full, against none", 0.22, 0.21),
        ("Recovery tools: all, against none", -0.12, 0.20),
        ("Complexity level 3, against level 1", 0.57, 0.15),
        ("Pressure high, against low", 0.11, 0.14),
        ("Rule shocks only", 0.9, 0.74),
        ("Error of the cost forecast", 0.02, 0.04),
    ];
    let interval = |(at, (_, b, se)): (usize, &(&str, f64, f64))| {
        ((b - 1.96 * se).exp(), b.exp(), (b + 1.96 * se).exp(), at as f64)
    };
    let points = rows.iter().enumerate().map(interval).collect();
    Figure {
        id: "forest".into(),
        title: "Hazard ratios".into(),
        caption: "Cox model with time-varying covariates, strata of worlds; 95% intervals from \
                  cluster-robust standard errors and t with 59 degrees of freedom. An arrow: the \
                  interval goes on."
            .into(),
        alt: "Delivery error raises the hazard by half for each ten units; the interval of \
              effective shocks includes one."
            .into(),
        x: Axis { scale: Scale::Log, range: Some((0.4, 5.0)), ..axis("Hazard ratio") },
        y: categories("", rows.map(|row| row.0.to_string())),
        layers: vec![
            Layer::Rule { at: 1.0, vertical: true, label: "no effect".into() },
            Layer::Intervals { series: String::new(), points },
        ],
        at_risk: None,
        command: command("forest"),
    }
}

/// The same estimates from two models, beside each other.
pub fn two_models() -> Figure {
    let names = ["p = 0.1", "p = 0.3", "p = 0.6", "p = 1"];
    let points = |shift: f64, se: f64| {
        let point = move |i: usize| {
            let b = 0.35 * (i as f64 + 1.0) + shift;
            (b - 1.96 * se, b, b + 1.96 * se, i as f64)
        };
        (0..4).map(point).collect::<Vec<_>>()
    };
    Figure {
        id: "two_models".into(),
        title: "Log hazard ratio by dose, two models".into(),
        caption: "Against runs without shocks.".into(),
        alt: "Estimates rise with the dose in both models.".into(),
        x: axis("Log hazard ratio"),
        y: categories("", names.map(String::from)),
        layers: vec![
            Layer::Rule { at: 0.0, vertical: true, label: String::new() },
            Layer::Intervals { series: "smollm2-360m-instruct".into(), points: points(0.0, 0.2) },
            Layer::Intervals { series: "qwen2.5-1.5b-instruct".into(), points: points(-0.2, 0.3) },
        ],
        at_risk: None,
        command: command("two_models"),
    }
}

pub fn swimlane(runs: &[SimulatedRun]) -> Figure {
    let mut random = SplitMix64(5);
    let mut chosen: Vec<&SimulatedRun> = runs.iter().step_by((runs.len() / 60).max(1)).collect();
    chosen.truncate(60);
    chosen.sort_by(|a, b| b.end.total_cmp(&a.end));
    let (mut learning, mut healthy, mut failing) = (Vec::new(), Vec::new(), Vec::new());
    let (mut crashes, mut ruins) = (Vec::new(), Vec::new());
    for (row, run) in chosen.iter().enumerate() {
        let row = row as f64;
        let entry = (10.0 + 25.0 * random.next_f64()).min(run.end);
        learning.push((0.0, entry, row));
        let late = match run.ending {
            Ending::Crashed => (run.end - 10.0 - 40.0 * random.next_f64()).max(entry),
            _ => run.end,
        };
        healthy.push((entry, late, row));
        match run.ending {
            Ending::Crashed => {
                failing.push((late, run.end, row));
                crashes.push((run.end, row));
            }
            Ending::Ruined => ruins.push((run.end, row)),
            Ending::Horizon => {}
        }
    }
    let names = (1..=chosen.len()).map(|i| format!("run {:03}", i * 7));
    Figure {
        id: "swimlane".into(),
        title: "Sixty runs".into(),
        caption: "One row a run, in the order of their lengths: before the first healthy window, \
                  healthy, and between the begin of a detector's window and its firing."
            .into(),
        alt: "About half of the runs end in a crash, most of them after step 200.".into(),
        x: axis("Step"),
        y: categories("", names),
        layers: vec![
            Layer::Bars { series: "healthy".into(), points: healthy },
            Layer::Bars { series: "before entry".into(), points: learning },
            Layer::Bars { series: "failing".into(), points: failing },
            Layer::Points { series: "crash".into(), points: crashes },
            Layer::Points { series: "ruin".into(), points: ruins },
        ],
        at_risk: None,
        command: command("swimlane"),
    }
}

const DETECTORS: [&str; 6] = [
    "looping",
    "invalid burst",
    "budget denial",
    "decoupling",
    "exploration collapse",
    "slow divergence",
];

pub fn cofiring() -> Figure {
    let mut random = SplitMix64(11);
    let mut points = Vec::new();
    for i in 0..6usize {
        for j in 0..6usize {
            let value = match i.abs_diff(j) {
                0 => 120.0 - 18.0 * i as f64,
                d => (40.0 * random.next_f64() / d as f64).floor(),
            };
            points.push((j as f64, i as f64, value));
        }
    }
    points[35].2 = f64::NAN;
    Figure {
        id: "cofiring".into(),
        title: "Detectors that fire together".into(),
        caption:
            "Runs in which both detectors fired within 20 steps; on the diagonal, runs in which \
                  the detector fired."
                .into(),
        alt: "Looping fires most often, alone; exploration collapse comes with decoupling.".into(),
        x: categories("", DETECTORS.map(String::from)),
        y: categories("", DETECTORS.map(String::from)),
        layers: vec![Layer::Cells { series: "Runs".into(), points }],
        at_risk: None,
        command: command("cofiring"),
    }
}

/// A matrix with many columns, whose names are turned and whose values do not fit.
pub fn wide_matrix() -> Figure {
    let mut random = SplitMix64(12);
    let mut points = Vec::new();
    for row in 0..4usize {
        for column in 0..24usize {
            points.push((column as f64, row as f64, random.next_f64()));
        }
    }
    Figure {
        id: "share_by_cell".into(),
        title: "Share crashed, by cell of the design".into(),
        caption: "Columns are combinations of complexity, memory and observability.".into(),
        alt: "No pattern: a random matrix.".into(),
        x: categories("Cell", (0..24).map(|i| format!("level {} / memory {}", i / 4, i % 4))),
        y: categories("", ["low", "medium", "high", "extreme"].map(String::from)),
        layers: vec![Layer::Cells { series: "Share crashed".into(), points }],
        at_risk: None,
        command: command("share_by_cell"),
    }
}

/// Shares of shocks, stacked along rows.
pub fn wasted() -> Figure {
    let names = ["temporal", "quantity", "causal", "rule"];
    let shares = [[0.62, 0.21, 0.17], [0.48, 0.33, 0.19], [0.88, 0.02, 0.10], [0.41, 0.5, 0.09]];
    let series = ["effective", "no order on its way", "no such supplier"];
    let layer = |at: usize| {
        let bar = |(row, shares): (usize, &[f64; 3])| {
            let from: f64 = shares[..at].iter().sum();
            (100.0 * from, 100.0 * (from + shares[at]), row as f64)
        };
        let points = shares.iter().enumerate().map(bar).collect();
        Layer::Bars { series: series[at].into(), points }
    };
    Figure {
        id: "wasted".into(),
        title: "Dose asked and dose given".into(),
        caption: "What became of the shocks drawn, by type.".into(),
        alt: "Nine in ten causal shocks are effective, four in ten rule shocks.".into(),
        x: Axis { range: Some((0.0, 100.0)), ..axis("Shocks drawn (%)") },
        y: categories("", names.map(String::from)),
        layers: (0..3).map(layer).collect(),
        at_risk: None,
        command: command("wasted"),
    }
}
