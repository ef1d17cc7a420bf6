//! The record of a run, accumulated from its rows.

use super::episode::Episode;
use crate::config::{AgentModelConfig, PlannedRun};
use crate::measures::{CalibrationSums, MetricSums};
use crate::provider::ProviderInfo;
use results::{
    CrashRecord, PairRow, RiskRecord, RowsRecord, RunRecord, RunTotals, SCHEMA_VERSION, StepRow,
    Timing,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use warehouse::{CardField, Design, PredictionPair, Truth};

/// The member of [`RunRecord::extra`] with the tokens of the thinking.
pub(crate) const REASONING_TOKENS: &str = "reasoning_tokens";

/// Sums over the rows of a run, from which its record is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunAccumulator {
    totals: RunTotals,
    metrics: MetricSums,
    calibration: CalibrationSums,
    /// By error kind, since design v2 by field: sum and count of prediction errors by the published
    /// definition, which divides by the predicted value.
    published: BTreeMap<String, (f64, u64)>,
}

impl RunAccumulator {
    pub fn add(&mut self, row: &StepRow) {
        self.totals.add(row);
        self.calibration.add(row);
        self.metrics.add(row);
        for pair in &row.pe_pairs {
            let name = pair.kind.as_ref().unwrap_or(&pair.field);
            let error = error_published(pair);
            match self.published.get_mut(&**name) {
                Some((sum, count)) => (*sum, *count) = (*sum + error, *count + 1),
                None => drop(self.published.insert(name.to_string(), (error, 1))),
            }
        }
    }

    /// Number of tokens of all prompts and replies.
    pub fn tokens(&self) -> u64 {
        self.totals.prompt_tokens + self.totals.reply_tokens
    }

    /// The record of a run that has ended. The commit fills in its field `rows`.
    pub fn record(
        &self,
        run: &PlannedRun,
        episode: &Episode,
        info: &ProviderInfo,
        timing: Timing,
    ) -> RunRecord {
        let (figures, totals) = (episode.totals(), &self.totals);
        let crashes: Vec<CrashRecord> = episode.crashes().into_iter().map(crash_record).collect();
        let first =
            crashes.iter().min_by_key(|crash| (crash.detected_step, crash.onset_step)).cloned();
        let published: BTreeMap<&String, f64> =
            self.published.iter().map(|(kind, (sum, n))| (kind, sum / *n as f64)).collect();
        let values = run.cell.values().iter();
        let since_v2 = run.cell.config().design != Design::V1;
        let risk = episode.risk();
        RunRecord {
            schema_version: SCHEMA_VERSION,
            run_id: run.run_id.clone(),
            cell: values.map(|(key, value)| (key.to_string(), value.clone())).collect(),
            replicate: run.replicate,
            seed: run.seed,
            model: run.cell.actor_name().to_string(),
            model_identity: info.identity.clone(),
            dtype: info.dtype.clone(),
            kernel_set: info.kernel_set.clone(),
            design: since_v2.then(|| run.cell.config().design.label().to_string()),
            draw: run.draw,
            outcome: outcome(episode, risk.as_ref()).to_string(),
            risk,
            steps: totals.steps,
            days: totals.days,
            orders_shipped: figures.orders_shipped,
            net_worth: figures.net_worth,
            mean_pe: totals.mean_pe(),
            crash: first,
            crashes,
            shocks: totals.shocks,
            dose: totals.dose,
            exposure: totals.exposure,
            metrics: since_v2.then(|| {
                self.metrics.finish(run.cell.config().env.initial_budget - figures.budget)
            }),
            context_length: match &run.cell.config().model {
                Some(model) if since_v2 => Some(context_length(model, info)),
                _ => None,
            },
            parse_failures: totals.parse_failures.clone(),
            cards_missing: totals.cards_missing,
            prompt_tokens: totals.prompt_tokens,
            reply_tokens: totals.reply_tokens,
            extra: with_reasoning(
                totals.reasoning_tokens,
                json!({
                    "orders_expired": figures.orders_expired,
                    "mean_pe_published": published,
                    "calibration": self.calibration.finish(),
                }),
            ),
            rows: RowsRecord { lines: 0, bytes: 0, chain: String::new() },
            timing,
        }
    }
}

/// Adds the tokens of the thinking, which only runs that think have.
fn with_reasoning(tokens: u64, mut extra: Value) -> Value {
    if tokens > 0 {
        extra[REASONING_TOKENS] = tokens.into();
    }
    extra
}

/// What happened first; see [`RunRecord::outcome`].
fn outcome<'a>(episode: &'a Episode, risk: Option<&'a RiskRecord>) -> &'a str {
    match risk {
        Some(risk) if risk.entry_time.is_none() => "never_competent",
        Some(risk) if risk.event_type.starts_with("crash") => "crash",
        _ => episode.ending().unwrap_or("unfinished"),
    }
}

/// The error of a pair by the published definition, which rows since design v2 do not hold.
pub(crate) fn error_published(pair: &PairRow) -> f64 {
    pair.error_published.unwrap_or_else(|| {
        let truth = Truth::undisturbed(pair.actual);
        CardField::parse(&pair.field).map_or(f64::NAN, |field| {
            PredictionPair::capped(pair.card_step, field, pair.predicted, truth).error_published
        })
    })
}

/// Maximum number of tokens of prompt and reply: the configured number, or the model's limit.
pub(super) fn context_length(model: &AgentModelConfig, info: &ProviderInfo) -> u64 {
    info.context_length.map_or(model.context_length, |limit| limit.min(model.context_length))
}

pub(crate) fn crash_record(crash: warehouse::Crash) -> CrashRecord {
    CrashRecord {
        kind: crash.kind.label().to_string(),
        onset_step: crash.onset_step,
        detected_step: crash.detected_step,
        recovered_step: crash.recovered_step,
        severity: crash.severity.map(|severity| severity.label().to_string()),
    }
}
