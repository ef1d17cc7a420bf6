//! Risk sets of simulated crashes, and sums over them.
//!
//! Runs with the same entry and covariate are one row of a table. Within a stretch of steps the
//! covariate is constant, so that the sums of a risk set are those of the next one, which is later
//! in the order, and what joined since: from the last event to the first, risk sets grow.

use super::covariate::CovariateTable;
use super::cox::SimulatedCrashes;
use super::design::PowerDesign;

/// A run at risk.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunAtRisk {
    stratum: u32,
    stop: u32,
    pub crashed: bool,
    /// Row of the covariate.
    pub row: u32,
    pub world: u32,
}

/// The events of a stratum at one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventGroup {
    pub step: u32,
    /// Runs of the stratum up to this one are at risk, unless they enter later.
    pub end: usize,
    /// The runs that crash: `deaths_from..deaths_to`.
    pub deaths_from: usize,
    pub deaths_to: usize,
    /// Sums over the risk set, and over the runs that crash.
    pub risk: RiskTerms,
    pub tied: RiskTerms,
}

/// A stratum: its first run and the end of its runs, and those of its events.
#[derive(Debug, Clone, Copy)]
pub(super) struct StratumSpan {
    pub runs_from: usize,
    pub runs_to: usize,
    pub groups_from: usize,
    pub groups_to: usize,
    /// After this step all its runs have entered.
    latest_entry: u32,
}

/// exp(b x), and that times x and x squared; and sums of them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct RiskTerms(pub [f64; 3]);

impl RiskTerms {
    fn of(coefficient: f64, x: f64) -> RiskTerms {
        let weight = (coefficient * x).exp();
        RiskTerms([weight, weight * x, weight * x * x])
    }

    fn add(&mut self, other: RiskTerms, times: f64) {
        for (sum, term) in self.0.iter_mut().zip(other.0) {
            *sum += times * term;
        }
    }

    /// This without a share of the terms of tied deaths.
    pub fn without(self, tied: RiskTerms, share: f64) -> RiskTerms {
        RiskTerms(std::array::from_fn(|i| self.0[i] - share * tied.0[i]))
    }

    pub fn mean(self) -> f64 {
        self.0[1] / self.0[0]
    }
}

/// The risk sets of one simulated study. Its buffers are used again for the next one.
#[derive(Debug, Default)]
pub(super) struct RiskSets {
    /// By stratum, then from the last to the first that ends: the risk set of an event is the
    /// beginning of its stratum.
    pub runs: Vec<RunAtRisk>,
    pub strata: Vec<StratumSpan>,
    /// By stratum, then from the last to the first.
    pub groups: Vec<EventGroup>,
    /// Terms of the values of the table.
    pub terms: Vec<RiskTerms>,
    /// Number of runs of each row in the current risk set, without regard to entries.
    counts: Vec<f64>,
    /// Rows of the current stratum.
    rows: Vec<u32>,
}

impl RiskSets {
    /// Sorts the runs at risk, and finds their events.
    pub fn sort(
        &mut self,
        design: &PowerDesign,
        table: &CovariateTable,
        crashes: &SimulatedCrashes,
    ) {
        self.runs.clear();
        for (index, run) in design.runs().iter().enumerate() {
            let (stop, crashed) = (crashes.stop[index], crashes.crashed[index]);
            let row = table.row_of_run[index];
            if table.entries[row as usize] < stop {
                let (stratum, world) = (run.stratum, run.world);
                self.runs.push(RunAtRisk { stratum, stop, crashed, row, world });
            }
        }
        // The order of runs that end at the same step is that of the design.
        let order = |run: &RunAtRisk| (run.stratum, std::cmp::Reverse(run.stop), !run.crashed);
        self.runs.sort_by_key(order);
        self.groups.clear();
        self.strata.clear();
        let mut from = 0;
        for stratum in self.runs.chunk_by(|a, b| a.stratum == b.stratum) {
            let (runs_from, groups_from) = (from, self.groups.len());
            for ending in stratum.chunk_by(|a, b| a.stop == b.stop) {
                let deaths = ending.iter().filter(|run| run.crashed).count();
                let end = from + ending.len();
                if deaths > 0 {
                    self.groups.push(EventGroup {
                        step: ending[0].stop,
                        end,
                        deaths_from: from,
                        deaths_to: from + deaths,
                        risk: RiskTerms::default(),
                        tied: RiskTerms::default(),
                    });
                }
                from = end;
            }
            let entries = stratum.iter().map(|run| table.entries[run.row as usize]);
            self.strata.push(StratumSpan {
                runs_from,
                runs_to: from,
                groups_from,
                groups_to: self.groups.len(),
                latest_entry: entries.max().unwrap_or(0),
            });
        }
    }

    /// Computes the sums of all events at a coefficient.
    pub fn sum(&mut self, table: &CovariateTable, coefficient: f64) {
        self.terms.clear();
        self.terms.extend(table.values.iter().map(|x| RiskTerms::of(coefficient, *x)));
        self.counts.resize(table.rows, 0.0);
        for index in 0..self.strata.len() {
            self.sum_stratum(table, self.strata[index]);
        }
    }

    fn sum_stratum(&mut self, table: &CovariateTable, stratum: StratumSpan) {
        self.counts.fill(0.0);
        self.rows.clear();
        let (mut joined, mut risk, mut last_offset) =
            (stratum.runs_from, RiskTerms::default(), None);
        for group in &mut self.groups[stratum.groups_from..stratum.groups_to] {
            let offset = table.offset(group.step);
            for run in &self.runs[joined..group.end] {
                let count = &mut self.counts[run.row as usize];
                if *count == 0.0 {
                    self.rows.push(run.row);
                }
                *count += 1.0;
                risk.add(self.terms[offset + run.row as usize], 1.0);
            }
            joined = group.end;
            let some_enter_later = group.step <= stratum.latest_entry;
            if some_enter_later || last_offset != Some(offset) {
                risk = RiskTerms::default();
                for row in self.rows.iter().map(|row| *row as usize) {
                    if table.entries[row] < group.step {
                        risk.add(self.terms[offset + row], self.counts[row]);
                    }
                }
            }
            last_offset = Some(offset);
            group.risk = risk;
            group.tied = RiskTerms::default();
            for run in &self.runs[group.deaths_from..group.deaths_to] {
                group.tied.add(self.terms[offset + run.row as usize], 1.0);
            }
        }
    }

    /// Rows of the runs of a stratum that are at risk at some event.
    pub fn rows_of(&mut self, stratum: StratumSpan) -> &[u32] {
        self.rows.clear();
        self.counts.fill(0.0);
        for run in &self.runs[stratum.runs_from..stratum.runs_to] {
            if std::mem::replace(&mut self.counts[run.row as usize], 1.0) == 0.0 {
                self.rows.push(run.row);
            }
        }
        &self.rows
    }
}
