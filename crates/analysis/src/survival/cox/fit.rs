//! Fits Cox models.

use crate::fit_warning::FitWarning;
use nalgebra::{DMatrix, DVector};

use super::super::concordance::of_order;
use super::super::estimate::CoxTest;
use super::super::estimate::{ReferenceDistribution, RobustErrors, sandwich, standard_errors};
use super::super::risk_data::{Covariates, EventsPerSubject, RiskData};
use super::super::separation::fit_warnings;
use super::design::CoxDesign;
use super::likelihood::expand;
use super::model::{CoxFit, CoxOptions, FittedDesign};
use crate::error::AnalysisError;
use crate::numeric::distribution::chi_squared_p;
use crate::numeric::newton::{Maximum, dependent, inverse, maximize};

/// Fits a Cox model by Newton-Raphson. The fit keeps a copy of the sorted data, for residuals and
/// predictions.
///
/// # Errors
/// The data are not valid (see [`RiskData::check`]), there is no event, or a covariate is constant
/// in all risk sets or a combination of others.
pub fn fit(
    data: &RiskData,
    covariates: &Covariates,
    options: &CoxOptions,
) -> Result<CoxFit, AnalysisError> {
    let per = if options.recurrent { EventsPerSubject::Many } else { EventsPerSubject::One };
    data.check(per)?;
    covariates.check(data.rows())?;
    let modelled = |cause: &u32| options.cause.map_or(*cause != 0, |only| *cause == only);
    let event: Vec<bool> = data.cause.iter().map(modelled).collect();
    let design = CoxDesign::new(data, &event, covariates)?;
    let (clusters, cluster_count) = data.dense_clusters();
    let reference = ReferenceDistribution::new(options.level, options.robust, cluster_count)?;

    let start = DVector::zeros(design.width);
    let null = expand(&design, options.ties, &start);
    let events = design.order.deaths();
    if let Some((column, explained)) = dependent(&null.information, events as f64) {
        return Err(not_estimable(&covariates.names, column, explained));
    }
    let null_covariance = inverse(&null.information).ok_or_else(|| singular(covariates))?;
    let maximum = maximize(start, null.clone(), options.max_iterations, |coefficients| {
        expand(&design, options.ties, coefficients)
    });
    let covariance = inverse(&maximum.at.information).ok_or_else(|| singular(covariates))?;

    let fitted = FittedDesign {
        risks: design.risks(maximum.point.as_slice()),
        ties: options.ties,
        reference,
        rows: data.rows(),
        times: RiskData {
            start: data.start.clone(),
            stop: data.stop.clone(),
            ..RiskData::default()
        },
        design,
    };
    let scores = fitted.standardized_scores();
    let robust = sandwich(&scores, &covariance, (&clusters, cluster_count), options.robust);
    let mut warnings = fit_warnings(&covariates.names, &maximum, &covariance, &null_covariance);
    warnings.extend(FitWarning::few_events(events, covariates.names.len()));
    if options.robust != RobustErrors::None {
        warnings.extend(FitWarning::few_clusters(cluster_count));
    }

    let chi_squared = |chi2: f64| {
        let df = covariates.names.len();
        CoxTest { chi2, df, p: chi_squared_p(chi2, df as f64) }
    };
    let wald = |information: &DMatrix<f64>| maximum.point.dot(&(information * &maximum.point));
    let log_risks = fitted.design.log_risks(maximum.point.as_slice());
    let unscaled = |matrix: &DMatrix<f64>| unscaled(matrix, &fitted.design.scales);
    Ok(CoxFit {
        coefficients: coefficients(covariates, &fitted, &maximum, &covariance, robust.as_ref()),
        covariance: unscaled(&covariance),
        robust_covariance: robust.as_ref().map(unscaled),
        log_likelihood: maximum.at.value,
        null_log_likelihood: null.value,
        likelihood_ratio: chi_squared((2.0 * (maximum.at.value - null.value)).max(0.0)),
        wald: chi_squared(wald(&maximum.at.information)),
        score: chi_squared(null.gradient.dot(&(&null_covariance * &null.gradient))),
        robust_wald: robust
            .as_ref()
            .filter(|_| cluster_count > covariates.names.len())
            .and_then(inverse)
            .map(|information| reference.joint_test(wald(&information), covariates.names.len())),
        concordance: of_order(&fitted.design.order, &log_risks),
        aic: 2.0 * (covariates.names.len() as f64 - maximum.at.value),
        iterations: maximum.iterations,
        rows: data.rows(),
        subjects: data.subject_count(),
        events,
        clusters: cluster_count,
        warnings,
        fitted,
    })
}

fn coefficients(
    covariates: &Covariates,
    fitted: &FittedDesign,
    maximum: &Maximum,
    covariance: &DMatrix<f64>,
    robust: Option<&DMatrix<f64>>,
) -> Vec<super::super::estimate::Coefficient> {
    let errors = standard_errors(covariance);
    let robust_errors = robust.map(standard_errors);
    let one = |(column, name): (usize, &String)| {
        let scale = fitted.design.scales[column];
        let robust_se = robust_errors.as_ref().map(|errors| errors[column] / scale);
        let (coef, se) = (maximum.point[column] / scale, errors[column] / scale);
        fitted.reference.coefficient(name, coef, se, robust_se)
    };
    covariates.names.iter().enumerate().map(one).collect()
}

/// A covariance of standardized coefficients in the units of the covariates.
fn unscaled(matrix: &DMatrix<f64>, scales: &[f64]) -> DMatrix<f64> {
    let (rows, columns) = matrix.shape();
    DMatrix::from_fn(rows, columns, |i, j| matrix[(i, j)] / (scales[i] * scales[j]))
}

fn not_estimable(names: &[String], column: usize, explained: bool) -> AnalysisError {
    let name = &names[column];
    let text = match explained {
        false => format!("covariate {name:?} is the same for all rows at risk at each event"),
        true => format!(
            "covariate {name:?} is a linear combination of {} in all risk sets; leave one out",
            names[..column].join(", ")
        ),
    };
    AnalysisError::NotEstimable(text)
}

fn singular(covariates: &Covariates) -> AnalysisError {
    let names = covariates.names.join(", ");
    let text =
        format!("Cox model: no finite covariance of {names}; covariates separate the events");
    AnalysisError::NotEstimable(text)
}
