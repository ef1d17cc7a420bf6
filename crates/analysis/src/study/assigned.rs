//! T4: how the hazard of a crash depends on the assigned dose and the other assigned factors.

use super::cohort::{DOSE_UNIT, short};
use super::context::{ANY_CRASH, DOSES, FACTORS, Findings, StudyContext};
use super::hazard_model::{HazardModel, model_table, warn_of_fit};
use super::headline::Headline;
use super::run::{ObservedRun, RunColumn};
use super::survival::p_text;
use crate::AnalysisError;
use crate::document::{Axis, Figure, Layer, Section, Severity};
use crate::survival::cox::{self, CoxFit};
use crate::survival::{Covariates, RiskData};
use std::collections::BTreeSet;

/// The intention-to-treat analysis. `fit`: that of the headline.
pub fn section(
    context: &StudyContext<'_>,
    findings: &mut Findings,
    headline: &Headline,
    fit: Result<CoxFit, AnalysisError>,
) {
    let linear = HazardModel {
        name: "assigned dose, linear".into(),
        lag: None,
        units: vec![(1.0, format!("{DOSE_UNIT} of p(shock)"))],
        fit,
    };
    match &linear.fit {
        Ok(fit) => warn_of_fit(findings, "the effect of the assigned dose", fit),
        Err(error) => findings.refuse(
            "assigned_dose",
            Severity::Error,
            "The effect of the assigned dose on the hazard cannot be estimated.",
            error.to_string(),
        ),
    }
    let mut models = vec![linear];
    models.extend(dose_contrasts(context));
    models.extend(factor_contrasts(context));
    for model in &models[1..] {
        let family = if model.name.starts_with("factor") { FACTORS } else { DOSES };
        let Ok(fit) = &model.fit else {
            findings.test(family, model.name.clone(), None);
            continue;
        };
        for coefficient in fit.coefficients.iter().filter(|c| c.name != "p_shock") {
            findings.test(family, coefficient.name.clone(), Some(coefficient.p));
        }
    }
    let mut text = vec![
        "Intention to treat: the hazard of a crash against the assigned probability of shocks, \
         whatever shocks did. Cox models with Efron's ties, stratified by model and interface; \
         errors are robust, by world, with the correction for few clusters and t intervals."
            .to_owned(),
    ];
    if let Some(p) = headline.proportional_p {
        text.push(format!(
            "Proportional hazards (Grambsch and Therneau, ranked time): p {}. {}",
            p_text(p),
            if p < 0.05 {
                "The ratio changes over time, as it must where errors accumulate: the model below, \
                 on accumulated errors, is the one to read."
            } else {
                "No sign that the ratio changes over time."
            }
        ));
    }
    findings.sections.push(Section {
        id: "dose-effect".into(),
        title: "Effect of the assigned dose".into(),
        text,
        tables: vec![model_table("t4_cox", "Cox models of assigned factors", &models)],
        figures: vec![forest(context, &models)],
    });
}

/// Each dose against the control.
fn dose_contrasts(context: &StudyContext<'_>) -> Option<HazardModel> {
    let doses = context.doses();
    let [control, doses @ ..] = doses.as_slice() else { return None };
    if doses.is_empty() {
        return None;
    }
    let names: Vec<String> =
        doses.iter().map(|dose| format!("p_shock {dose} v {control}")).collect();
    let is_at = |dose: f64| move |run: &ObservedRun| f64::from(u8::from(run.p_shock == dose));
    let levels: Vec<_> = doses.iter().map(|dose| is_at(*dose)).collect();
    let columns: Vec<RunColumn<'_>> =
        names.iter().map(String::as_str).zip(levels.iter().map(|level| level as _)).collect();
    let cohort = &context.cohort;
    Some(HazardModel {
        name: "assigned dose, by level".into(),
        lag: None,
        fit: cox::fit(&cohort.crash_risk(), &cohort.covariates(&columns), &context.cox()),
        units: vec![(1.0, "level".into()); names.len()],
    })
}

/// The levels of each other factor, at the same dose: of factors of shocks among runs with shocks,
/// of others among all.
fn factor_contrasts(context: &StudyContext<'_>) -> Vec<HazardModel> {
    let keys: BTreeSet<&String> = context.studies.iter().flat_map(|study| &study.factors).collect();
    let others = keys.into_iter().filter(|key| {
        !matches!(key.as_str(), "pe_induction.p_shock" | "model.name" | "agent.policy")
    });
    others.filter_map(|key| factor_contrast(context, key)).collect()
}

fn factor_contrast(context: &StudyContext<'_>, key: &str) -> Option<HazardModel> {
    let of_shocks = key.starts_with("pe_induction.");
    let cohort = context
        .cohort
        .filter(|run| run.levels.contains_key(key) && (!of_shocks || run.p_shock > 0.0));
    let levels: BTreeSet<&String> =
        cohort.runs.iter().filter_map(|run| run.levels.get(key)).collect();
    let mut levels = levels.into_iter();
    let reference = levels.next()?;
    let others: Vec<&String> = levels.collect();
    if others.is_empty() {
        return None;
    }
    let names: Vec<String> =
        others.iter().map(|level| format!("{} {level} v {reference}", short(key))).collect();
    let mut columns = vec![("p_shock".to_owned(), Vec::new())];
    columns.extend(names.iter().map(|name| (name.clone(), Vec::new())));
    for run in &cohort.runs {
        columns[0].1.push(run.p_shock / DOSE_UNIT);
        for (column, level) in columns[1..].iter_mut().zip(&others) {
            column.1.push(f64::from(u8::from(run.levels.get(key) == Some(level))));
        }
    }
    if cohort.runs.iter().all(|run| run.p_shock == cohort.runs[0].p_shock) {
        columns.remove(0);
    }
    // Strata hold all factors of the interface, so that this one must be left out of them.
    let risk = RiskData { strata: cohort.strata_without(key), ..cohort.crash_risk() };
    let units = columns.iter().map(|(name, _)| match name.as_str() {
        "p_shock" => (1.0, format!("{DOSE_UNIT} of p(shock)")),
        _ => (1.0, "level".to_owned()),
    });
    let units = units.collect();
    let fit = Covariates::from_columns(columns)
        .and_then(|covariates| cox::fit(&risk, &covariates, &context.cox()));
    Some(HazardModel { name: format!("factor {}", short(key)), lag: None, fit, units })
}

/// Hazard ratios with their intervals.
fn forest(context: &StudyContext<'_>, models: &[HazardModel]) -> Figure {
    let (mut categories, mut points) = (Vec::new(), Vec::new());
    for model in models {
        let Ok(fit) = &model.fit else { continue };
        for (coefficient, (unit, words)) in fit.coefficients.iter().zip(&model.units) {
            // A linear dose stands beside each factor only to adjust for it.
            if model.name.starts_with("factor") && coefficient.name == "p_shock" {
                continue;
            }
            let ratio = |coef: f64| (coef * unit).exp();
            let row = categories.len() as f64;
            let estimate =
                (ratio(coefficient.lower), ratio(coefficient.coef), ratio(coefficient.upper), row);
            if [estimate.0, estimate.1, estimate.2].iter().all(|x| x.is_finite() && *x > 0.0) {
                points.push(estimate);
                categories.push(match words.as_str() {
                    "level" => coefficient.name.clone(),
                    _ => format!("{} ({words})", coefficient.name),
                });
            }
        }
    }
    let alt = match points.first() {
        Some((low, ratio, high, _)) => format!(
            "Hazard ratios with intervals. {}: {ratio:.2} ({low:.2} to {high:.2}).",
            categories[0]
        ),
        None => "No hazard ratio can be estimated.".to_owned(),
    };
    Figure {
        id: "forest".into(),
        title: "Hazard ratios of assigned factors".into(),
        caption: "Ratios of the hazard of a crash with 95% intervals; right of 1, more crashes."
            .into(),
        alt,
        x: Axis::log("hazard ratio"),
        y: Axis::of_categories("", categories),
        layers: vec![
            Layer::Rule { at: 1.0, vertical: true, label: String::new() },
            Layer::Intervals { series: String::new(), points },
        ],
        at_risk: None,
        command: context.command(
            "runs",
            &format!(
                "{ANY_CRASH} --covariates p_shock --strata stratum --cluster seed --model cox"
            ),
        ),
    }
}
