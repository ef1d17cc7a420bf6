//! Measures of an agent's calls over a run.

use results::{ActionRow, RunMetrics, StepRow};
use std::collections::BTreeMap;

/// Tools that work on notes.
const SCRATCHPAD: [&str; 3] = ["write_scratchpad", "read_scratchpad", "delete_scratchpad"];
/// Tools that only read the state of the warehouse.
pub(crate) const MONITORING: [&str; 4] = ["quote", "check_inbox", "check_storage", "check_budget"];

/// Sums over the rows of a run, from which its measures are computed.
#[derive(Debug, Clone, Default)]
pub(crate) struct MetricSums {
    steps: u64,
    days: u64,
    scratchpad: u64,
    monitoring: u64,
    switches: u64,
    streak: u64,
    streak_max: u64,
    tools: BTreeMap<String, u64>,
    /// The last step's call; `None` if it had none.
    last: Option<ActionRow>,
}

impl MetricSums {
    pub fn add(&mut self, row: &StepRow) {
        if row.design.is_none() {
            return;
        }
        self.steps += 1;
        self.days = row.day;
        let Some(action) = &row.action else {
            (self.last, self.streak) = (None, 0);
            return;
        };
        let tool = action.tool.as_str();
        self.scratchpad += u64::from(SCRATCHPAD.contains(&tool));
        self.monitoring += u64::from(MONITORING.contains(&tool));
        self.switches += u64::from(self.last.as_ref().is_some_and(|last| last.tool != tool));
        self.streak = if self.last.as_ref() == Some(action) { self.streak + 1 } else { 1 };
        self.streak_max = self.streak_max.max(self.streak);
        match self.tools.get_mut(tool) {
            Some(count) => *count += 1,
            None => drop(self.tools.insert(tool.to_string(), 1)),
        }
        match &mut self.last {
            // Reuses the memory of the call before.
            Some(last) => {
                last.tool.clone_from(&action.tool);
                last.arguments.clone_from(&action.arguments);
            }
            None => self.last = Some(action.clone()),
        }
    }

    /// The measures; `cash_lost` is the cash at the start minus that at the end, in currency units.
    pub fn finish(&self, cash_lost: f64) -> RunMetrics {
        let steps = self.steps.max(1) as f64;
        let calls = self.tools.values().sum::<u64>().max(1) as f64;
        let shares = self.tools.values().map(|count| *count as f64 / calls);
        RunMetrics {
            scratchpad_use: self.scratchpad as f64 / steps,
            repeat_streak: self.streak_max,
            // `Iterator::sum` is not used, since it returns -0 for an empty iterator.
            tool_diversity: shares.fold(0.0, |sum, share| sum - share * share.ln()),
            switching_rate: self.switches as f64 / (steps - 1.0).max(1.0),
            monitoring_rate: self.monitoring as f64 / steps,
            budget_burn: cash_lost / self.days.max(1) as f64,
        }
    }
}
