//! The log-rank test of k groups (Mantel 1966), stratified, with late entries.

use nalgebra::{DMatrix, DVector};
use serde::Serialize;

use super::risk_data::{EventsPerSubject, RiskData, dense};
use crate::error::AnalysisError;
use crate::numeric::distribution::chi_squared_p;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogRank {
    pub chi2: f64,
    /// Groups minus one; less if groups are never at risk together.
    pub df: usize,
    pub p: f64,
    /// The groups, sorted; `observed` and `expected` have one element for each.
    pub groups: Vec<u32>,
    pub observed: Vec<f64>,
    pub expected: Vec<f64>,
}

/// Tests that within strata the hazards of all groups are equal at all times. `groups` has one
/// element a row.
///
/// # Errors
/// The data are not valid (see [`RiskData::check`]), there are fewer than two groups, or at no
/// event are two groups at risk.
pub fn log_rank(data: &RiskData, groups: &[u32]) -> Result<LogRank, AnalysisError> {
    data.check(EventsPerSubject::One)?;
    if groups.len() != data.rows() {
        let (rows, found) = (data.rows(), groups.len());
        return Err(AnalysisError::Usage(format!("groups: expected {rows} rows, found {found}")));
    }
    let (group, count) = dense(groups);
    if count < 2 {
        let text = format!("log-rank test: expected two or more groups, found {count}");
        return Err(AnalysisError::NotEstimable(text));
    }
    let mut sums = LogRankSums {
        observed: DVector::zeros(count),
        expected: DVector::zeros(count),
        variance: DMatrix::zeros(count, count),
    };
    let mut order: Vec<usize> = (0..data.rows()).collect();
    order.sort_by_key(|row| data.stratum(*row));
    for stratum in order.chunk_by(|a, b| data.stratum(*a) == data.stratum(*b)) {
        sums.add_stratum(data, &group, stratum);
    }
    let (chi2, df) = sums.quadratic_form();
    if df == 0 {
        let text = "log-rank test: at no event are two groups at risk".to_owned();
        return Err(AnalysisError::NotEstimable(text));
    }
    let mut labels = groups.to_vec();
    labels.sort_unstable();
    labels.dedup();
    Ok(LogRank {
        chi2,
        df,
        p: chi_squared_p(chi2, df as f64),
        groups: labels,
        observed: sums.observed.as_slice().to_vec(),
        expected: sums.expected.as_slice().to_vec(),
    })
}

/// Events by group, those expected if the hazards are equal, and the covariance of the former.
struct LogRankSums {
    observed: DVector<f64>,
    expected: DVector<f64>,
    variance: DMatrix<f64>,
}

impl LogRankSums {
    /// Adds the event times of a stratum, with the rows of which it consists.
    fn add_stratum(&mut self, data: &RiskData, group: &[usize], rows: &[usize]) {
        let mut by_start = rows.to_vec();
        by_start.sort_by(|&a, &b| data.start[a].total_cmp(&data.start[b]));
        let mut by_stop = rows.to_vec();
        by_stop.sort_by(|&a, &b| data.stop[a].total_cmp(&data.stop[b]));
        let mut at_risk = DVector::<f64>::zeros(self.observed.len());
        let mut entered = 0;
        for leaving in by_stop.chunk_by(|&a, &b| data.stop[a] == data.stop[b]) {
            let time = data.stop[leaving[0]];
            while entered < by_start.len() && data.start[by_start[entered]] < time {
                at_risk[group[by_start[entered]]] += 1.0;
                entered += 1;
            }
            let mut events = 0.0;
            for &row in leaving.iter().filter(|row| data.cause[**row] != 0) {
                self.observed[group[row]] += 1.0;
                events += 1.0;
            }
            if events > 0.0 {
                self.add_time(&at_risk, events);
            }
            for &row in leaving {
                at_risk[group[row]] -= 1.0;
            }
        }
    }

    fn add_time(&mut self, at_risk: &DVector<f64>, events: f64) {
        let total = at_risk.sum();
        self.expected.axpy(events / total, at_risk, 1.0);
        if total > 1.0 {
            let factor = events * (total - events) / (total - 1.0);
            let shares = at_risk / total;
            self.variance.ger(-factor, &shares, &shares, 1.0);
            for (group, share) in shares.iter().enumerate() {
                self.variance[(group, group)] += factor * share;
            }
        }
    }

    /// The squared distance of observed and expected in units of their covariance, which is
    /// singular, and its rank.
    fn quadratic_form(&self) -> (f64, usize) {
        let difference = &self.observed - &self.expected;
        let eigen = self.variance.clone().symmetric_eigen();
        let largest = eigen.eigenvalues.amax();
        let (mut chi2, mut rank) = (0.0, 0);
        for (index, value) in eigen.eigenvalues.iter().enumerate() {
            if *value > 1e-10 * largest && largest > 0.0 {
                chi2 += eigen.eigenvectors.column(index).dot(&difference).powi(2) / value;
                rank += 1;
            }
        }
        (chi2, rank)
    }
}
