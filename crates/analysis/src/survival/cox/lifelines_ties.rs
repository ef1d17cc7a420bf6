//! Robust errors of lifelines, whose residuals take tied events one after the other, in the order
//! of rows. R's, and those here, are those of the likelihood that is maximized.

use nalgebra::DMatrix;
use serde_json::Value;

use super::super::estimate::{RobustErrors, sandwich, standard_errors};
use super::super::risk_data::{Covariates, RiskData};
use super::design::CoxDesign;
use super::model::{CoxFit, CoxOptions};

const NAMES: [&str; 7] = ["fin", "age", "race", "wexp", "mar", "paro", "prio"];

fn column(data: &Value, name: &str) -> Vec<f64> {
    data[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// The errors of a fit, from score residuals in which each row has a time of its own.
fn errors_by_row_order(
    fit: &CoxFit,
    rows: &RiskData,
    covariates: &Covariates,
    clusters: (&[usize], usize),
) -> Vec<f64> {
    let mut order: Vec<usize> = (0..rows.rows()).collect();
    order.sort_by(|&a, &b| {
        let causes = || rows.cause[a].cmp(&rows.cause[b]);
        rows.stop[a].total_cmp(&rows.stop[b]).then_with(causes)
    });
    let mut untied = rows.clone();
    for (rank, row) in order.iter().enumerate() {
        untied.stop[*row] = rank as f64 + 1.0;
    }
    let event: Vec<bool> = rows.cause.iter().map(|cause| *cause != 0).collect();
    let mut fitted = fit.fitted.clone();
    fitted.design = CoxDesign::new(&untied, &event, covariates).unwrap();
    let scales = &fitted.design.scales;
    let point: Vec<f64> = fit.coefficients.iter().zip(scales).map(|(c, s)| c.coef * s).collect();
    fitted.risks = fitted.design.risks(&point);
    let mut scores: DMatrix<f64> = fitted.standardized_scores();
    for (column, scale) in scales.iter().enumerate() {
        scores.column_mut(column).scale_mut(*scale);
    }
    let covariance = sandwich(&scores, &fit.covariance, clusters, RobustErrors::Plain).unwrap();
    standard_errors(&covariance)
}

#[test]
fn rossi_robust_errors_as_reviewed() {
    let path = "/tests/known_answers/survival_lifelines.json";
    let text = std::fs::read_to_string(format!("{}{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let rossi = &serde_json::from_str::<Value>(&text).unwrap()["rossi"];
    let data = &rossi["data"];
    let causes: Vec<u32> = column(data, "arrest").iter().map(|event| *event as u32).collect();
    let mut rows = RiskData::from_durations(&column(data, "week"), &causes).unwrap();
    let columns = NAMES.map(|name| (name.to_owned(), column(data, name)));
    let covariates = Covariates::from_columns(columns.to_vec()).unwrap();
    let options = CoxOptions { robust: RobustErrors::Plain, ..CoxOptions::default() };
    let fit = super::fit(&rows, &covariates, &options).unwrap();
    let robust = |fit: &CoxFit| -> Vec<f64> {
        fit.coefficients.iter().map(|coefficient| coefficient.robust_se.unwrap()).collect()
    };
    let assert_close = |found: &[f64], expected: &[f64], tolerance: f64| {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < tolerance, "found {found}, expected {expected}");
        }
    };

    let each: Vec<usize> = (0..432).collect();
    let by_order = errors_by_row_order(&fit, &rows, &covariates, (&each, 432));
    assert_close(&by_order, &column(&rossi["answers"]["robust"], "se"), 1e-8);
    // The review's are of a fit with lifelines' default precision.
    let review = [0.191918, 0.025144, 0.281993, 0.215930, 0.376007, 0.196915, 0.028513];
    assert_close(&by_order, &review, 3e-6);
    // coxph(Surv(week, arrest) ~ ... + cluster(id)) of R's survival 3.5-3.
    let r = [
        0.1955417788806,
        0.0253361463208,
        0.2923285551089,
        0.2180603151861,
        0.3802444653861,
        0.1992008295657,
        0.0289745948116,
    ];
    assert_close(&robust(&fit), &r, 1e-11);

    rows.clusters = (0..432).map(|row| row / 8).collect();
    let fit = super::fit(&rows, &covariates, &options).unwrap();
    let (clusters, count) = rows.dense_clusters();
    let by_order = errors_by_row_order(&fit, &rows, &covariates, (&clusters, count));
    assert_close(&by_order, &column(&rossi["answers"]["clusters_of_8"], "se"), 1e-8);
    let review = [0.217035, 0.029891, 0.279799, 0.214010, 0.350501, 0.210769, 0.022629];
    assert_close(&by_order, &review, 3e-6);
    let r = [
        0.2207480341173,
        0.0292009403463,
        0.2841370402401,
        0.2175620217825,
        0.3556042118974,
        0.2178387215695,
        0.0227674923434,
    ];
    assert_close(&robust(&fit), &r, 1e-9);
}
