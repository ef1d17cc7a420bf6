//! Tables of the specimen.

use crate::simulated::{DOSES, Ending, SimulatedRun};
use analysis::document::{Format, Table, TableColumn, Value};
use base::SplitMix64;

fn column(name: &str, label: &str, format: Format) -> TableColumn {
    TableColumn { name: name.into(), label: label.into(), format }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

pub fn flow(runs: &[SimulatedRun]) -> Table {
    let mut rows = Vec::new();
    for dose in DOSES {
        let of_dose: Vec<&SimulatedRun> = runs.iter().filter(|run| run.dose == dose).collect();
        let ended = |ending| of_dose.iter().filter(|run| run.ending == ending).count() as f64;
        let planned = of_dose.len() as f64;
        let crashed = ended(Ending::Crashed);
        rows.push(vec![
            text(&format!("p = {dose}")),
            Value::Number(planned),
            Value::Number(planned),
            Value::Number(0.0),
            Value::Number(crashed),
            Value::Number(ended(Ending::Ruined)),
            Value::Number(ended(Ending::Horizon)),
            Value::Number(crashed / planned),
        ]);
    }
    Table {
        id: "t1_flow".into(),
        caption: "Runs from the plan to their ends".into(),
        columns: vec![
            column("cell", "Cell", Format::Text),
            column("planned", "Planned", Format::Whole),
            column("entered", "Entered", Format::Whole),
            column("failed", "Failed", Format::Whole),
            column("crashed", "Crashed", Format::Whole),
            column("ruined", "Ruined", Format::Whole),
            column("horizon", "Horizon", Format::Whole),
            column("share_crashed", "Share crashed", Format::Percent),
        ],
        rows,
        notes: vec!["A run enters at the first step after a healthy window of 20 steps.".into()],
    }
}

pub fn cox() -> Table {
    let row = |name: &str, b: f64, se: f64, p: f64, ph: Value| {
        vec![
            text(name),
            Value::Number(b),
            Value::Number(se),
            Value::Number(b.exp()),
            Value::Number((b - 2.0 * se).exp()),
            Value::Number((b + 2.0 * se).exp()),
            Value::Number(p),
            ph,
        ]
    };
    let reference = vec![
        text("Level 1"),
        text("reference"),
        Value::None,
        Value::Number(1.0),
        Value::None,
        Value::None,
        Value::None,
        Value::None,
    ];
    Table {
        id: "t5_cox".into(),
        caption: "Time-varying Cox model: delivery error, dose and strata of worlds".into(),
        columns: vec![
            column("term", "Term", Format::Text),
            column("coef", "Coefficient", Format::Decimals(3)),
            column("robust_se", "Robust s.e.", Format::Decimals(3)),
            column("hr", "Hazard ratio", Format::Decimals(2)),
            column("low", "95% low", Format::Decimals(2)),
            column("high", "95% high", Format::Decimals(2)),
            column("p", "p", Format::P),
            column("p_ph", "p (PH test)", Format::P),
        ],
        rows: vec![
            row("Delivery error, per 10 of E", 0.41, 0.06, 1.2e-9, Value::Number(0.31)),
            row("Effective shocks, per 10", 0.08, 0.05, 0.118, Value::Number(0.0472)),
            reference,
            row("Level 3", 0.57, 0.15, 0.00041, Value::Number(0.9997)),
            row("Rule shocks only", 0.9, 0.74, 0.229, Value::None),
        ],
        notes: vec![
            "412 runs, 233 crashes, 60 worlds; concordance .71.".into(),
            "Standard errors clustered by world; intervals from t with 59 degrees of freedom."
                .into(),
        ],
    }
}

/// A long and wide table: one row a run.
pub fn every_run(runs: &[SimulatedRun]) -> Table {
    let mut random = SplitMix64(3);
    let row = |(at, run): (usize, &SimulatedRun)| {
        let (ending, detector) = match run.ending {
            Ending::Crashed => ("crashed", Some("exploration_collapse")),
            Ending::Ruined => ("ruined", None),
            Ending::Horizon => ("horizon", None),
        };
        vec![
            text(&format!("run_{:05}", at + 1)),
            Value::Number(run.dose),
            Value::Number((at % 60) as f64),
            Value::Number(run.end),
            text(ending),
            detector.map_or(Value::None, text),
            Value::Number(*run.exposure.last().unwrap_or(&0.0)),
            Value::Number(20_000.0 + 15_000.0 * random.next_f64()),
            Value::Number(random.next_f64() * 1e-5),
        ]
    };
    Table {
        id: "a1_runs".into(),
        caption: "Every run".into(),
        columns: vec![
            column("run_id", "Run", Format::Text),
            column("p_shock", "p", Format::Digits(2)),
            column("world", "World", Format::Whole),
            column("end", "Last step", Format::Whole),
            column("ending", "Ending", Format::Text),
            column("detector", "Detector", Format::Text),
            column("exposure", "Delivery error E", Format::Digits(3)),
            column("net_worth", "Net worth", Format::Whole),
            column("hazard", "Hazard a step", Format::Digits(3)),
        ],
        rows: runs.iter().enumerate().map(row).collect(),
        notes: Vec::new(),
    }
}

pub fn sensitivity() -> Table {
    let row = |name: &str, detail: &str, hr: f64, p: f64| {
        vec![text(name), text(detail), Value::Number(hr), Value::Number(p)]
    };
    Table {
        id: "t6_sensitivity".into(),
        caption: "The headline under other definitions".into(),
        columns: vec![
            column("analysis", "Analysis", Format::Text),
            column("definition", "What differs", Format::Text),
            column("hr", "Hazard ratio", Format::Decimals(2)),
            column("p", "p", Format::P),
        ],
        rows: vec![
            row("Detection", "The event is when the detector fires, not the onset", 1.48, 2e-8),
            row("Days", "Time in days of the simulated world instead of steps", 1.51, 1e-8),
            row("Lag 1", "The exposure one step before the event", 1.62, 1e-12),
            row("Lag 50", "The exposure 50 steps before the event", 1.29, 0.0031),
            row("All detectors", "Includes detectors that read the forecast itself", 1.83, 1e-16),
        ],
        notes: vec!["Hazard ratios per 10 units of E.".into()],
    }
}
