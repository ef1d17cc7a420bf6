//! The record of a run, accumulated from its rows.

use super::episode::Episode;
use crate::config::PlannedRun;
use crate::measures::CalibrationSums;
use crate::provider::ProviderInfo;
use results::{CrashRecord, RowsRecord, RunRecord, RunTotals, SCHEMA_VERSION, StepRow, Timing};
use serde_json::json;
use std::collections::BTreeMap;

/// Sums over the rows of a run, from which its record is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunAccumulator {
    totals: RunTotals,
    calibration: CalibrationSums,
    /// By error type: sum and count of prediction errors by the published definition, which divides
    /// by the predicted value.
    published: BTreeMap<String, (f64, u64)>,
}

impl RunAccumulator {
    pub fn add(&mut self, row: &StepRow) {
        self.totals.add(row);
        self.calibration.add(row);
        for pair in &row.pe_pairs {
            if !self.published.contains_key(&*pair.kind) {
                self.published.insert(pair.kind.to_string(), Default::default());
            }
            if let Some((sum, count)) = self.published.get_mut(&*pair.kind) {
                (*sum, *count) = (*sum + pair.error_published, *count + 1);
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
            outcome: episode.ending().unwrap_or("unfinished").to_string(),
            steps: totals.steps,
            days: totals.days,
            orders_shipped: figures.orders_shipped,
            net_worth: figures.net_worth,
            mean_pe: totals.mean_pe(),
            crash: first,
            crashes,
            shocks: totals.shocks,
            parse_failures: totals.parse_failures.clone(),
            cards_missing: totals.cards_missing,
            prompt_tokens: totals.prompt_tokens,
            reply_tokens: totals.reply_tokens,
            extra: json!({
                "orders_expired": figures.orders_expired,
                "mean_pe_published": published,
                "calibration": self.calibration.finish(),
            }),
            rows: RowsRecord { lines: 0, bytes: 0, chain: String::new() },
            timing,
        }
    }
}

pub(crate) fn crash_record(crash: warehouse::Crash) -> CrashRecord {
    CrashRecord {
        kind: crash.kind.label().to_string(),
        onset_step: crash.onset_step,
        detected_step: crash.detected_step,
        severity: crash.severity.map(|severity| severity.label().to_string()),
    }
}
