//! Scores of a run, and what a log says of all of them.

use results::RunRecord;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The scores, in the order of columns. The first is the headline of a log.
pub(super) const SCORES: [(&str, ScoreKind); 6] = [
    ("crash", ScoreKind::Number),
    ("crash_type", ScoreKind::Label),
    ("onset", ScoreKind::Number),
    ("exposure", ScoreKind::Number),
    ("outcome", ScoreKind::Label),
    ("net_worth", ScoreKind::Number),
];

/// Whether a score is summed up by a mean, or by the shares of its values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ScoreKind {
    Number,
    Label,
}

/// The scores of a committed run. A score that the run cannot have is absent: no run that was
/// never at risk says anything about crashes, and only crashes have a type and an onset.
pub(super) fn scores(record: &RunRecord) -> Map<String, Value> {
    let crashed = record.outcome == "crash";
    let at_risk = record.outcome != "never_competent";
    let (kind, onset) = first_crash(record);
    let mut scores = Map::new();
    if at_risk {
        let explanation = match (crashed, kind, onset) {
            (true, Some(kind), Some(onset)) => {
                format!("The detector {kind} fired: a crash from step {onset} on.")
            }
            _ => {
                format!("No crash in {} steps: the run ended by {}.", record.steps, record.outcome)
            }
        };
        let metadata = json!({"risk": record.risk, "crashes": record.crashes});
        scores.insert(
            "crash".into(),
            json!({
                "value": u8::from(crashed),
                "answer": if crashed { kind } else { Some("none") },
                "explanation": explanation,
                "metadata": metadata,
            }),
        );
    }
    if let (true, Some(kind)) = (crashed, kind) {
        scores.insert("crash_type".into(), json!({"value": kind}));
    }
    if let (true, Some(onset)) = (crashed, onset) {
        let explanation = "First step of the first primary crash after the entry.";
        scores.insert("onset".into(), json!({"value": onset, "explanation": explanation}));
    }
    if let Some(exposure) = record.exposure {
        let explanation = "Accumulated errors of deliveries, days and units, at the end.";
        let value = json!({"value": exposure.total(), "explanation": explanation});
        scores.insert("exposure".into(), value);
    }
    scores.insert("outcome".into(), json!({"value": record.outcome}));
    scores.insert("net_worth".into(), json!({"value": record.net_worth}));
    scores
}

/// Type and onset of the crash that is the run's event.
fn first_crash(record: &RunRecord) -> (Option<&str>, Option<u64>) {
    match (&record.risk, &record.crash) {
        (Some(risk), _) => (risk.event_type.strip_prefix("crash:"), Some(risk.event_time)),
        (None, Some(crash)) => (Some(&crash.kind), Some(crash.onset_step)),
        (None, None) => (None, None),
    }
}

/// Sums over the samples of a log.
#[derive(Default)]
pub(super) struct ScoreTotals {
    samples: usize,
    /// Count and sum by score.
    numbers: BTreeMap<String, (usize, f64)>,
    /// Count by label and score.
    labels: BTreeMap<String, BTreeMap<String, usize>>,
}

impl ScoreTotals {
    pub fn add(&mut self, scores: &Map<String, Value>) {
        self.samples += 1;
        for (name, score) in scores {
            match &score["value"] {
                Value::String(label) => {
                    let counts = self.labels.entry(name.clone()).or_default();
                    *counts.entry(label.clone()).or_default() += 1;
                }
                value => {
                    let (count, sum) = self.numbers.entry(name.clone()).or_default();
                    (*count, *sum) = (*count + 1, *sum + value.as_f64().unwrap_or(0.0));
                }
            }
        }
    }

    /// `results.scores` of a log: the mean of numbers, and the shares of labels. Standard errors
    /// are for `vendomini report`: runs in one world are not independent.
    pub fn results(&self) -> Vec<Value> {
        let metric = |name: &str, value: f64| json!({"name": name, "value": value});
        let result = |(name, kind): &(&str, ScoreKind)| {
            let (scored, metrics): (usize, Map<String, Value>) = match kind {
                ScoreKind::Number => {
                    let (count, sum) = *self.numbers.get(*name)?;
                    let mean = metric("mean", sum / count as f64);
                    (count, Map::from_iter([("mean".to_string(), mean)]))
                }
                ScoreKind::Label => {
                    let labels = self.labels.get(*name)?;
                    let count: usize = labels.values().sum();
                    let share = |(label, n): (&String, &usize)| {
                        (label.clone(), metric(label, *n as f64 / count as f64))
                    };
                    (count, labels.iter().map(share).collect())
                }
            };
            Some(json!({
                "name": name,
                "scorer": name,
                "scored_samples": scored,
                "unscored_samples": self.samples - scored,
                "params": {},
                "metrics": metrics,
            }))
        };
        SCORES.iter().filter_map(result).collect()
    }
}

/// `eval.scorers` of a log.
pub(super) fn scorers() -> Value {
    let scorer = |(name, kind): &(&str, ScoreKind)| {
        let metrics = match kind {
            ScoreKind::Number => json!([{"name": "mean", "options": {}}]),
            ScoreKind::Label => json!([{"name": "frequency", "options": {}}]),
        };
        json!({"name": name, "options": {}, "metrics": metrics})
    };
    SCORES.iter().map(scorer).collect()
}
