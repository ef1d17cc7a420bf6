//! Models of the hazard, as rows of a table.

use super::context::Findings;
use super::sheet::table;
use crate::AnalysisError;
use crate::document::{Format, Severity, Table, Value};
use crate::survival::cox::CoxFit;

/// A fitted model with what the tables say about it.
pub struct HazardModel {
    pub name: String,
    pub lag: Option<u64>,
    pub fit: Result<CoxFit, AnalysisError>,
    /// Units in which hazard ratios are given, one for each coefficient: value and words.
    pub units: Vec<(f64, String)>,
}

pub fn warn_of_fit(findings: &mut Findings, of: &str, fit: &CoxFit) {
    for warning in &fit.warnings {
        let severity = match warning.code {
            "separation" | "not_converged" => Severity::Error,
            _ => Severity::Warning,
        };
        let what = format!("The estimate of {of} is not to be relied on.");
        findings.refuse(warning.code, severity, &what, warning.text.clone());
    }
}

/// One row a coefficient.
pub fn model_table(id: &str, caption: &str, models: &[HazardModel]) -> Table {
    let columns = [
        ("model", "model", Format::Text),
        ("lag", "lag", Format::Whole),
        ("covariate", "covariate", Format::Text),
        ("coef", "log HR of one unit", Format::Digits(4)),
        ("se", "s.e.", Format::Digits(3)),
        ("robust_se", "robust s.e.", Format::Digits(3)),
        ("p", "p", Format::P),
        ("unit", "HR is of", Format::Text),
        ("hr", "HR", Format::Decimals(2)),
        ("hr_lower", "lower", Format::Decimals(2)),
        ("hr_upper", "upper", Format::Decimals(2)),
        ("events", "events", Format::Whole),
        ("worlds", "worlds", Format::Whole),
        ("concordance", "concordance", Format::Decimals(3)),
    ];
    let mut sheet = table(id, caption, &columns);
    for model in models {
        let head = || [Value::from(model.name.clone()), model.lag.into()];
        let fit = match &model.fit {
            Ok(fit) => fit,
            Err(error) => {
                let mut row: Vec<Value> = head().to_vec();
                row.push(format!("not estimable: {error}").into());
                row.resize(columns.len(), Value::None);
                sheet.rows.push(row);
                continue;
            }
        };
        for (coefficient, (unit, words)) in fit.coefficients.iter().zip(&model.units) {
            let mut row: Vec<Value> = head().to_vec();
            row.extend([
                coefficient.name.clone().into(),
                coefficient.coef.into(),
                coefficient.se.into(),
                coefficient.robust_se.into(),
                coefficient.p.into(),
                words.clone().into(),
                (coefficient.coef * unit).exp().into(),
                (coefficient.lower * unit).exp().into(),
                (coefficient.upper * unit).exp().into(),
                fit.events.into(),
                fit.clusters.into(),
                fit.concordance.as_ref().map(|c| c.value).into(),
            ]);
            sheet.rows.push(row);
        }
    }
    sheet
}
