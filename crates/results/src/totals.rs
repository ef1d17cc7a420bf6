//! Sums over the rows of a run.

use crate::accumulated::{DoseRow, ExposureRow};
use crate::row::{ParseFailure, StepRow};
use std::collections::BTreeMap;

/// Sums over the rows of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunTotals {
    pub steps: u64,
    /// Day of the last row.
    pub days: u64,
    /// Shocks that acted; in design v1 all that were drawn.
    pub shocks: u64,
    /// Shocks by type up to the last row; `None` in design v1.
    pub dose: Option<DoseRow>,
    /// Accumulated delivery errors up to the last row; `None` in design v1.
    pub exposure: Option<ExposureRow>,
    /// Number of replies without a valid action, by kind.
    pub parse_failures: BTreeMap<String, u64>,
    /// Number of rows with a card problem: a required card is absent, or a card is malformed or has
    /// invalid fields.
    pub cards_missing: u64,
    pub prompt_tokens: u64,
    pub reply_tokens: u64,
    /// Those of the thinking.
    pub reasoning_tokens: u64,
    pe: BTreeMap<String, (f64, u64)>,
}

impl RunTotals {
    pub fn add(&mut self, row: &StepRow) {
        self.steps += 1;
        self.days = row.day;
        self.shocks += row.shocks.len() as u64;
        self.dose = row.dose.or(self.dose);
        self.exposure = row.exposure.or(self.exposure);
        if let Some(ParseFailure { kind, .. }) = &row.parse_failure {
            *self.parse_failures.entry(kind.clone()).or_default() += 1;
        }
        self.cards_missing += u64::from(row.card_problem.is_some());
        self.prompt_tokens += row.prompt_tokens;
        self.reply_tokens += row.reply_tokens;
        self.reasoning_tokens += row.reasoning_tokens;
        match row.design {
            None => row.pe.iter().for_each(|(kind, error)| self.add_error(kind, *error)),
            Some(_) => row.pe_pairs.iter().for_each(|p| self.add_error(&p.field, Some(p.error))),
        }
    }

    fn add_error(&mut self, name: &str, error: Option<f64>) {
        let (new_sum, new_count) = (error.unwrap_or(0.0), u64::from(error.is_some()));
        // `entry` would clone the key for each row.
        match self.pe.get_mut(name) {
            Some((sum, count)) => (*sum, *count) = (*sum + new_sum, *count + new_count),
            None => drop(self.pe.insert(name.to_string(), (new_sum, new_count))),
        }
    }

    /// Mean prediction error: in design v1 by kind, over the steps in which an error of that kind
    /// became known, since then by field, over its errors. `None`, not 0, for kinds without a known
    /// error.
    pub fn mean_pe(&self) -> BTreeMap<String, Option<f64>> {
        let mean = |&(sum, count): &(f64, u64)| (count > 0).then(|| sum / count as f64);
        self.pe.iter().map(|(kind, parts)| (kind.clone(), mean(parts))).collect()
    }
}
