//! The answer in three sentences: whether, how strongly, and when.

use super::cohort::DOSE_UNIT;
use super::context::StudyContext;
use super::headline::Headline;
use super::survival::p_text;
use crate::document::{Refusal, Severity};
use crate::survival::SurvivalCurve;

pub fn sentences(
    context: &StudyContext<'_>,
    headline: &Headline,
    refusals: &[Refusal],
) -> Vec<String> {
    vec![question(headline, refusals), assigned(context, headline), when(context)]
}

/// Whether accumulated error brings crashes on.
fn question(headline: &Headline, refusals: &[Refusal]) -> String {
    let serious = refusals.iter().find(|refusal| refusal.severity == Severity::Error);
    let Some(exposure) = &headline.exposure else {
        let why = serious.map_or("there is no estimate", |refusal| refusal.what.as_str());
        return format!(
            "Whether accumulated prediction error brings crashes on cannot be said: {}",
            lower_first(why)
        );
    };
    let ratio = |coef: f64| (coef * headline.exposure_sd).exp();
    let estimate = format!(
        "a standard deviation more of errors ({:.1}) multiplies the hazard of a crash by {:.2} (95% \
         interval {:.2} to {:.2}, p {})",
        headline.exposure_sd,
        ratio(exposure.coef),
        ratio(exposure.lower),
        ratio(exposure.upper),
        p_text(exposure.p)
    );
    let verdict = match (exposure.lower > 0.0, exposure.upper < 0.0) {
        (true, _) => "Crashes follow accumulated prediction error",
        (_, true) => "Crashes are rarer after accumulated prediction error",
        _ => "There is no sign that accumulated prediction error brings crashes on",
    };
    match serious {
        Some(_) => format!("{verdict}: {estimate}; but read first what cannot be concluded."),
        None => format!("{verdict}: {estimate}."),
    }
}

/// The effect of the assigned dose, with shares.
fn assigned(context: &StudyContext<'_>, headline: &Headline) -> String {
    let shares = shares(context);
    let at = |(dose, share): &(f64, f64), what: &str| {
        format!("{:.0}%{what} at p(shock) {dose}", 100.0 * share)
    };
    let crash = " of the runs crash by the horizon";
    let of_shares = match (shares.first(), shares.last()) {
        (Some(low), Some(high)) if shares.len() > 1 => {
            format!("{}, and {}", at(low, crash), at(high, ""))
        }
        (Some(only), _) => at(only, crash),
        _ => "no share of runs that crash can be given".to_owned(),
    };
    match &headline.assigned {
        Some(dose) => format!(
            "As assigned (intention to treat), {DOSE_UNIT} more of p(shock) multiplies the hazard by \
             {:.2} ({:.2} to {:.2}, p {}): {of_shares}.",
            dose.hazard_ratio,
            dose.hazard_ratio_lower,
            dose.hazard_ratio_upper,
            p_text(dose.p)
        ),
        None => format!("The assigned dose has no estimate of its effect: {of_shares}."),
    }
}

/// Kaplan-Meier share crashed by dose, at the end of each curve.
fn shares(context: &StudyContext<'_>) -> Vec<(f64, f64)> {
    let share = |dose: f64| {
        let survival = curve(context, dose)?.survival.last().copied()?;
        Some((dose, 1.0 - survival))
    };
    context.doses().into_iter().filter_map(share).collect()
}

fn curve(context: &StudyContext<'_>, dose: f64) -> Option<SurvivalCurve> {
    context.cohort.of_dose(dose).survival_curve(context.options.level).ok()
}

/// When runs crash at the highest dose.
fn when(context: &StudyContext<'_>) -> String {
    let Some(dose) = context.doses().last().copied() else {
        return "No run was at risk, so that there is no time to a crash.".to_owned();
    };
    let runs = context.cohort.runs.len();
    let of = format!(
        "{runs} runs at risk in {} worlds, {} crashes",
        context.cohort.worlds_count,
        context.cohort.crashes()
    );
    match curve(context, dose).map(|curve| curve.median()) {
        Some(median) if median.time.is_some() => {
            let limit = |limit: Option<f64>| limit.map_or("no limit".to_owned(), |t| t.to_string());
            format!(
                "At p(shock) {dose} half of the runs have crashed by step {} (95% interval {} to \
                 {}); the study has {of}.",
                median.time.unwrap_or_default(),
                limit(median.lower),
                limit(median.upper)
            )
        }
        _ => format!(
            "Even at p(shock) {dose} fewer than half of the runs crash by the horizon; the study \
             has {of}."
        ),
    }
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
