//! Residuals of a Cox model.

use nalgebra::DMatrix;

use super::model::{CoxFit, FittedDesign};
use super::sweep::{gone, sweep};
use crate::numeric::exact_sum::ExactSum;

/// Schoenfeld's (1982) residuals: covariates of each event minus their expectation.
#[derive(Debug, Clone, PartialEq)]
pub struct Schoenfeld {
    /// Event times, ascending, and the row of each event.
    pub times: Vec<f64>,
    pub rows: Vec<usize>,
    /// Events by coefficients.
    pub residuals: DMatrix<f64>,
    /// Scaled by the covariance (Grambsch and Therneau 1994), with the coefficient added: their
    /// smoothed course in time is that of the coefficient.
    pub scaled: DMatrix<f64>,
}

impl CoxFit {
    /// Observed minus expected events, by row.
    pub fn martingale_residuals(&self) -> Vec<f64> {
        let FittedDesign { design, risks, .. } = &self.fitted;
        let hazards = SummedHazards::new(&self.fitted);
        let mut residuals = vec![0.0; self.fitted.rows];
        let mut weighted = vec![0.0; design.width];
        for (position, &row) in design.order.rows.iter().enumerate() {
            let (dying, expected) = hazards.of_row(&self.fitted, position, &mut weighted);
            residuals[row] = f64::from(u8::from(dying)) - risks[position] * expected;
        }
        residuals
    }

    /// Score residuals: rows by coefficients.
    pub fn score_residuals(&self) -> DMatrix<f64> {
        let mut scores = self.fitted.standardized_scores();
        for (column, scale) in self.fitted.design.scales.iter().enumerate() {
            scores.column_mut(column).scale_mut(*scale);
        }
        scores
    }

    pub fn schoenfeld_residuals(&self) -> Schoenfeld {
        let FittedDesign { design, risks, ties, .. } = &self.fitted;
        let mut found: Vec<(f64, usize, Vec<f64>)> = Vec::new();
        sweep(design, risks, false, |index, sums| {
            let event = &design.order.events[index];
            let count = event.deaths as f64;
            let mean = |column| {
                gone(*ties, event.deaths).map(|share| sums.mean(share, column)).sum::<f64>() / count
            };
            let means: Vec<f64> = (0..design.width).map(mean).collect();
            for position in event.dying() {
                let columns = design.x(position).iter().zip(means.iter().zip(&design.scales));
                let residual = columns.map(|(x, (mean, scale))| (x - mean) * scale).collect();
                found.push((event.time, design.order.rows[position], residual));
            }
        });
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let residuals =
            DMatrix::from_fn(found.len(), design.width, |event, column| found[event].2[column]);
        let mut scaled = &residuals * &self.covariance * found.len() as f64;
        for (column, coefficient) in self.coefficients.iter().enumerate() {
            scaled.column_mut(column).add_scalar_mut(coefficient.coef);
        }
        Schoenfeld {
            times: found.iter().map(|event| event.0).collect(),
            rows: found.iter().map(|event| event.1).collect(),
            residuals,
            scaled,
        }
    }
}

impl FittedDesign {
    /// Score residuals of standardized coefficients: rows of the data by coefficients.
    pub(super) fn standardized_scores(&self) -> DMatrix<f64> {
        let hazards = SummedHazards::new(self);
        let mut scores = DMatrix::zeros(self.rows, self.design.width);
        let mut weighted = vec![0.0; self.design.width];
        for (position, &row) in self.design.order.rows.iter().enumerate() {
            let (dying, expected) = hazards.of_row(self, position, &mut weighted);
            let x = self.design.x(position);
            for column in 0..self.design.width {
                let mut score = -self.risks[position] * (x[column] * expected - weighted[column]);
                if dying {
                    let event = self.design.order.spans[position].start;
                    score += x[column] - hazards.means[event * self.design.width + column];
                }
                scores[(row, column)] = score;
            }
        }
        scores
    }
}

/// Increments of the baseline hazard, and of the baseline hazard times the mean covariates of the
/// risk set, summed in the order of the sweep.
struct SummedHazards {
    width: usize,
    /// Sums before each event time, and after the last: 1 + `width` each.
    sums: Vec<ExactSum>,
    /// What those who die at an event time do not experience of its increments, as they are no
    /// longer at risk at all of its events; 1 + `width` each.
    spared: Vec<f64>,
    /// Mean covariates of the risk sets of each event time, `width` each.
    means: Vec<f64>,
}

impl SummedHazards {
    fn new(fitted: &FittedDesign) -> SummedHazards {
        let FittedDesign { design, risks, ties, .. } = fitted;
        let width = design.width;
        let mut running = vec![ExactSum::default(); width + 1];
        let mut hazards =
            SummedHazards { width, sums: running.clone(), spared: Vec::new(), means: Vec::new() };
        sweep(design, risks, false, |index, sums| {
            let deaths = design.order.events[index].deaths;
            let mut spared = vec![0.0; width + 1];
            let mut means = vec![0.0; width];
            for share in gone(*ties, deaths) {
                let increment = 1.0 / sums.hazard(share);
                running[0].add(increment);
                spared[0] += share * increment;
                for column in 0..width {
                    let mean = sums.mean(share, column);
                    running[column + 1].add(mean * increment);
                    spared[column + 1] += share * mean * increment;
                    means[column] += mean / deaths as f64;
                }
            }
            hazards.sums.extend_from_slice(&running);
            hazards.spared.extend_from_slice(&spared);
            hazards.means.extend_from_slice(&means);
        });
        hazards
    }

    /// Whether the row of the design ends in an event, and its increment of the hazard; that of the
    /// hazard times mean covariates goes to `weighted`.
    fn of_row(&self, fitted: &FittedDesign, position: usize, weighted: &mut [f64]) -> (bool, f64) {
        let entries = self.width + 1;
        let span = &fitted.design.order.spans[position];
        let before = &self.sums[span.start * entries..][..entries];
        let after = &self.sums[span.end * entries..][..entries];
        let spared = &self.spared[span.start * entries..][..entries];
        let dying = position < fitted.design.order.events[span.start].dying().end;
        let increment = |entry: usize| {
            let all = after[entry].minus(before[entry]);
            if dying { all - spared[entry] } else { all }
        };
        weighted.iter_mut().enumerate().for_each(|(i, weighted)| *weighted = increment(i + 1));
        (dying, increment(0))
    }
}
