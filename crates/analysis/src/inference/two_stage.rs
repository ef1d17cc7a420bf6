//! Instrumental variables: two-stage least squares with cluster-robust errors.

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::clusters::ClusterIndex;
use crate::inference::design::{DesignMatrix, cluster_meat, cr1_factor, inverse_gram, to_rows};
use crate::inference::interval::{check_finite, check_lengths, not_estimable};
use crate::inference::linear::{LeastSquares, check_spread};
use crate::inference::terms::{RegressionTerm, terms, wald_f};
use crate::numeric::distribution::check_level;
use crate::numeric::distribution::f_p;
use crate::survival::Covariates;
use nalgebra::{DMatrix, DVector};
use serde::Serialize;

/// A first-stage F below this makes the instrument weak (Staiger and Stock 1997).
const FIRST_STAGE_F_MIN: f64 = 10.0;
/// Instruments that explain less than this share are none.
const PARTIAL_R_SQUARED_MIN: f64 = 1e-10;

/// The first stage of two-stage least squares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FirstStage {
    /// Coefficients of the instruments.
    pub instruments: Vec<RegressionTerm>,
    /// Cluster-robust F of the instruments. Below 10 the instrument is weak (Staiger and Stock
    /// 1997).
    pub f: f64,
    /// Degrees of freedom: instruments, clusters - 1.
    pub df: (usize, usize),
    pub p: f64,
    /// Share of the endogenous variable's variance, left by the other covariates, that the
    /// instruments explain.
    pub partial_r_squared: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TwoStageFit {
    /// The intercept, the endogenous variable, then the exogenous covariates.
    pub terms: Vec<RegressionTerm>,
    /// Cluster-robust covariance of the coefficients, in the order of `terms`.
    pub covariance: Vec<Vec<f64>>,
    pub rows: usize,
    pub clusters: usize,
    pub first_stage: FirstStage,
    /// p that the endogenous variable has no effect, from the instruments in the reduced form
    /// (Anderson and Rubin 1949): valid with weak instruments too.
    pub p_anderson_rubin: f64,
    pub warnings: Vec<FitWarning>,
}

/// Two-stage least squares of the outcome on one endogenous variable (the effective dose) and
/// exogenous covariates; `instruments` (`p_shock`) have no effect but through the former. Errors as
/// in [`crate::inference::ols`].
///
/// # Errors
/// As [`crate::inference::ols`]; no instrument; instruments without any relation to the endogenous
/// variable; fewer clusters than instruments + 1.
pub fn two_stage_least_squares(
    outcome: &[f64],
    endogenous: (&str, &[f64]),
    instruments: &Covariates,
    exogenous: &Covariates,
    clusters: &[u32],
    level: f64,
) -> Result<TwoStageFit, AnalysisError> {
    check_level(level)?;
    check_finite(endogenous.0, endogenous.1)?;
    check_lengths((endogenous.0, endogenous.1.len()), ("the outcome", outcome.len()))?;
    let q = instruments.names.len();
    if q == 0 {
        return Err(AnalysisError::Usage("expected at least one instrument".to_owned()));
    }
    let excluded: Vec<usize> = (1 + exogenous.names.len()..1 + exogenous.names.len() + q).collect();
    let all = joined(exogenous, instruments, outcome.len())?;
    let first = LeastSquares::new(endogenous.1, &all, clusters)?;
    let first_stage = first_stage(&first, endogenous.1, &excluded, level)?;
    let second = SecondStage::new(outcome, endogenous, exogenous, &first)?;

    let to_given = second.design.to_given_units();
    let estimates = &to_given * &second.coefficients;
    let covariance = &to_given * &second.covariance * to_given.transpose();
    let classical = &to_given * &second.classical * to_given.transpose();
    let groups = first.clusters.len();
    let reduced = LeastSquares::new(outcome, &all, clusters)?;
    let reduced_f = wald_f(&reduced.coefficients, &reduced.covariance, &excluded, groups)
        .ok_or_else(|| too_few(groups, q))?;
    let mut warnings: Vec<FitWarning> = FitWarning::few_worlds(groups).into_iter().collect();
    if first_stage.f < FIRST_STAGE_F_MIN {
        let text = format!(
            "first-stage F is {:.1}: below {FIRST_STAGE_F_MIN} the estimate is biased toward that \
             of least squares and its interval is too short; the Anderson-Rubin p holds",
            first_stage.f
        );
        warnings.push(FitWarning { code: "weak_instrument", text });
    }
    Ok(TwoStageFit {
        terms: terms(&second.design.names, &estimates, &covariance, &classical, groups, level)?,
        covariance: to_rows(&covariance),
        rows: outcome.len(),
        clusters: groups,
        first_stage,
        p_anderson_rubin: f_p(reduced_f, q as f64, groups as f64 - 1.0),
        warnings,
    })
}

fn too_few(clusters: usize, q: usize) -> AnalysisError {
    let text = format!("{clusters} worlds for {q} instruments: their F test needs more worlds");
    not_estimable(text)
}

/// The covariates of both, side by side.
fn joined(left: &Covariates, right: &Covariates, rows: usize) -> Result<Covariates, AnalysisError> {
    for covariates in [left, right] {
        let found = ("the covariates (values)", covariates.values.len());
        let expected = rows * covariates.names.len();
        check_lengths(found, ("the outcome (times covariates)", expected))?;
    }
    let (k, q) = (left.names.len(), right.names.len());
    let mut values = Vec::with_capacity(rows * (k + q));
    for row in 0..rows {
        values.extend_from_slice(&left.values[row * k..][..k]);
        values.extend_from_slice(&right.values[row * q..][..q]);
    }
    Ok(Covariates { names: [&left.names[..], &right.names[..]].concat(), values })
}

fn first_stage(
    first: &LeastSquares,
    endogenous: &[f64],
    excluded: &[usize],
    level: f64,
) -> Result<FirstStage, AnalysisError> {
    let groups = first.clusters.len();
    let to_given = first.design.to_given_units();
    let all = terms(
        &first.design.names,
        &(&to_given * &first.coefficients),
        &(&to_given * &first.covariance * to_given.transpose()),
        &(&to_given * &first.classical * to_given.transpose()),
        groups,
        level,
    )?;
    // Residual squares without the instruments, which are the last columns.
    let included = first.design.z.columns(0, excluded[0]).into_owned();
    let d = DVector::from_column_slice(endogenous);
    let restricted = &d - &included * (inverse_gram(&included)? * (included.transpose() * &d));
    let partial_r_squared = 1.0 - first.residual_squares / restricted.norm_squared();
    if partial_r_squared < PARTIAL_R_SQUARED_MIN {
        return Err(not_estimable("the instruments have no relation to the endogenous variable"));
    }
    let f = wald_f(&first.coefficients, &first.covariance, excluded, groups)
        .ok_or_else(|| too_few(groups, excluded.len()))?;
    let df = (excluded.len(), groups - 1);
    Ok(FirstStage {
        instruments: all[excluded[0]..].to_vec(),
        f,
        df,
        p: f_p(f, df.0 as f64, df.1 as f64),
        partial_r_squared,
    })
}

/// Least squares on the fitted endogenous variable, with residuals of the true one.
struct SecondStage {
    design: DesignMatrix,
    coefficients: DVector<f64>,
    covariance: DMatrix<f64>,
    classical: DMatrix<f64>,
}

impl SecondStage {
    fn new(
        outcome: &[f64],
        endogenous: (&str, &[f64]),
        exogenous: &Covariates,
        first: &LeastSquares,
    ) -> Result<SecondStage, AnalysisError> {
        let rows = outcome.len();
        let own =
            Covariates { names: vec![endogenous.0.to_owned()], values: endogenous.1.to_vec() };
        let design = DesignMatrix::new(&joined(&own, exogenous, rows)?, rows)?;
        let mut fitted = design.z.clone();
        // The fit of the first stage, in the units of the standardized endogenous variable.
        let d = &first.design.z * &first.coefficients;
        let mean = d.mean();
        for row in 0..rows {
            fitted[(row, 1)] = (d[row] - mean) / design.scale(0);
        }
        let clusters: &ClusterIndex = &first.clusters;
        let bread = inverse_gram(&fitted)?;
        let y = DVector::from_column_slice(outcome);
        let coefficients = &bread * (fitted.transpose() * &y);
        let residuals = &y - &design.z * &coefficients;
        let squares = residuals.norm_squared();
        let mean = y.mean();
        check_spread(squares, y.iter().map(|value| (value - mean).powi(2)).sum(), mean)?;
        let meat = cluster_meat(&fitted, residuals.as_slice(), clusters);
        let covariance =
            &bread * meat * &bread * cr1_factor(clusters.len(), rows, design.columns());
        let classical = bread * (squares / (rows - design.columns()) as f64);
        Ok(SecondStage { design, coefficients, covariance, classical })
    }
}
