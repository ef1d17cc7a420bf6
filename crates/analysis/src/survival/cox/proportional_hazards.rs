//! Tests of proportional hazards (Grambsch and Therneau 1994).

use nalgebra::{DMatrix, DVector};
use serde::Serialize;

use super::super::estimate::CoxTest;
use super::likelihood::add_covariance;
use super::model::{CoxFit, FittedDesign};
use super::sweep::{gone, sweep};
use crate::error::AnalysisError;
use crate::numeric::distribution::chi_squared_p;
use crate::numeric::newton::inverse;

/// The function of time against which a coefficient may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeTransform {
    /// Rank of the event among events, the mean one of events at the same time.
    #[default]
    Rank,
    /// Rank of the event among events, those at the same time in the order of their rows, as
    /// lifelines' "rank". The result depends on that order.
    OrdinalRank,
    /// One minus the Kaplan-Meier curve of all rows just before the event.
    Km,
    Identity,
    Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProportionalHazardsMethod {
    /// Correlation of scaled Schoenfeld residuals with time, as if the covariance of covariates
    /// were the same in all risk sets; as lifelines and R's survival before 3.0.
    #[default]
    Average,
    /// The score test that the coefficient of covariate times transformed time is 0; as R's
    /// survival since 3.0.
    Score,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProportionalHazardsTest {
    /// By coefficient, one degree of freedom each.
    pub by_coefficient: Vec<(String, CoxTest)>,
    /// Of all coefficients at once.
    pub global: CoxTest,
}

/// Tests that coefficients do not change with time. Both methods use the model's covariance, not
/// the robust one: with dependent rows, p-values are too small.
///
/// # Errors
/// All events are at one time, or with [`TimeTransform::Log`] an event time is not above 0.
pub fn proportional_hazards_test(
    fit: &CoxFit,
    transform: TimeTransform,
    method: ProportionalHazardsMethod,
) -> Result<ProportionalHazardsTest, AnalysisError> {
    let times = fit.schoenfeld_residuals().times;
    let mut function = transformed(&fit.fitted, &times, transform)?;
    let mean = function.iter().sum::<f64>() / function.len() as f64;
    function.iter_mut().for_each(|value| *value -= mean);
    let spread: f64 = function.iter().map(|value| value * value).sum();
    if times.first() == times.last() || spread.sqrt() <= 1e-12 * mean.abs() {
        let text = "test of proportional hazards: all events are at the same time".to_owned();
        return Err(AnalysisError::NotEstimable(text));
    }
    let (by_coefficient, global) = match method {
        ProportionalHazardsMethod::Average => average(fit, &function),
        ProportionalHazardsMethod::Score => score(&fit.fitted, &times, &function)?,
    };
    let test = |chi2: f64, df: usize| CoxTest { chi2, df, p: chi_squared_p(chi2, df as f64) };
    let names = fit.coefficients.iter().map(|coefficient| coefficient.name.clone());
    Ok(ProportionalHazardsTest {
        global: test(global, by_coefficient.len()),
        by_coefficient: names.zip(by_coefficient.iter().map(|chi2| test(*chi2, 1))).collect(),
    })
}

/// The function of time at each event.
fn transformed(
    fitted: &FittedDesign,
    times: &[f64],
    transform: TimeTransform,
) -> Result<Vec<f64>, AnalysisError> {
    let before = |time: f64| times.partition_point(|other| *other < time);
    let up_to = |time: f64| times.partition_point(|other| *other <= time);
    Ok(match transform {
        TimeTransform::Identity => times.to_vec(),
        TimeTransform::OrdinalRank => (1..=times.len()).map(|rank| rank as f64).collect(),
        TimeTransform::Rank => {
            times.iter().map(|time| (before(*time) + 1 + up_to(*time)) as f64 / 2.0).collect()
        }
        TimeTransform::Log => {
            if let Some(time) = times.iter().find(|time| **time <= 0.0) {
                let text = format!("log of event times: expected times above 0, found {time}");
                return Err(AnalysisError::Usage(text));
            }
            times.iter().map(|time| time.ln()).collect()
        }
        TimeTransform::Km => {
            let at_risk = fitted.times.at_risk(times);
            let mut values = Vec::with_capacity(times.len());
            let mut survival = 1.0;
            while values.len() < times.len() {
                let first = values.len();
                let end = up_to(times[first]);
                values.resize(end, 1.0 - survival);
                survival *= 1.0 - (end - first) as f64 / at_risk[first] as f64;
            }
            values
        }
    })
}

/// Statistics by coefficient, and of all, from the residuals.
fn average(fit: &CoxFit, function: &[f64]) -> (Vec<f64>, f64) {
    let residuals = fit.schoenfeld_residuals().residuals;
    let function = DVector::from_column_slice(function);
    let events = function.len() as f64;
    let sums = residuals.tr_mul(&function);
    let scaled = &fit.covariance * &sums;
    let factor = events / function.norm_squared();
    let by_coefficient = (0..sums.len())
        .map(|column| scaled[column].powi(2) / fit.covariance[(column, column)] * factor);
    (by_coefficient.collect(), sums.dot(&scaled) * factor)
}

/// Score statistics of coefficients of covariates times the function of time, given the fitted
/// coefficients.
fn score(
    fitted: &FittedDesign,
    times: &[f64],
    function: &[f64],
) -> Result<(Vec<f64>, f64), AnalysisError> {
    let FittedDesign { design, risks, ties, .. } = fitted;
    let width = design.width;
    let mut gradient = DVector::<f64>::zeros(width);
    // Information of coefficients, of the new ones, and between both.
    let mut own = DMatrix::zeros(width, width);
    let mut between = own.clone();
    let mut new = own.clone();
    let mut means = vec![0.0; width];
    sweep(design, risks, true, |index, sums| {
        let event = &design.order.events[index];
        let same = times.partition_point(|time| *time < event.time)
            ..times.partition_point(|time| *time <= event.time);
        let count = same.len() as f64;
        let value = function[same].iter().sum::<f64>() / count;
        for (column, sum) in sums.covariates.iter().enumerate() {
            gradient[column] += value * sum;
        }
        for share in gone(*ties, event.deaths) {
            for (column, mean) in means.iter_mut().enumerate() {
                *mean = sums.mean(share, column);
                gradient[column] -= value * *mean;
            }
            add_covariance(sums, share, &means, 1.0, &mut own);
            add_covariance(sums, share, &means, value, &mut between);
            add_covariance(sums, share, &means, value * value, &mut new);
        }
    });
    own.fill_lower_triangle_with_upper_triangle();
    between.fill_lower_triangle_with_upper_triangle();
    new.fill_lower_triangle_with_upper_triangle();
    let not_estimable = || {
        let text = "test of proportional hazards: the score has no finite covariance".to_owned();
        AnalysisError::NotEstimable(text)
    };
    let covariance = inverse(&own).ok_or_else(not_estimable)?;
    let left = new - &between * covariance * &between;
    let by_coefficient = (0..width).map(|i| gradient[i].powi(2) / left[(i, i)]).collect();
    let global = gradient.dot(&(inverse(&left).ok_or_else(not_estimable)? * &gradient));
    Ok((by_coefficient, global))
}
