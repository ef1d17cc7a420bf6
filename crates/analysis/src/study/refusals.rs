//! What a study cannot show by its design, whatever its numbers are.

use super::context::{Findings, StudyContext};
use super::headline::Headline;
use super::run::ObservedRun;
use crate::document::Severity::{Error, Warning};
use std::collections::BTreeSet;

/// Worlds below which robust errors are not to be trusted, and below which nothing can be tested.
const WORLDS_WANTED: usize = 20;
const WORLDS_MIN: usize = 6;
/// Crashes below which a coefficient is not to be trusted.
const EVENTS_MIN: usize = 10;
/// Share of runs that may be no evidence before the rest is a selection.
const FLOOR_MAX: f64 = 0.2;
/// Steps of a detector's window: errors must come before what a detector reads.
const WINDOW_STEPS: u64 = 20;

/// What holds for any use of the studies: mixed designs, missing runs.
pub fn of_studies(context: &StudyContext<'_>, findings: &mut Findings) {
    designs(context, findings);
    completeness(context, findings);
}

pub fn check(context: &StudyContext<'_>, headline: &Headline, findings: &mut Findings) {
    of_studies(context, findings);
    if context.cohort.runs.is_empty() {
        let runs = context.studies.iter().map(|study| study.runs.len()).sum::<usize>();
        findings.refuse("nothing_at_risk", Error, "Nothing can be concluded about crashes.", format!(
            "None of {runs} runs was ever at risk: no agent was competent for twenty steps with a \
             delivered order. `vendomini qualify MODEL` tells which models can play."
        ));
        return;
    }
    evidence(context, findings);
    contrast(context, findings);
    controls(context, headline, findings);
    if context.options.lag < WINDOW_STEPS {
        findings.refuse("short_lag", Warning, "Errors may be part of the crash that they explain.", format!(
            "The lag of {} steps is shorter than a detector's window of {WINDOW_STEPS}: a crash \
             that has begun and is not yet detected raises the errors.",
            context.options.lag
        ));
    }
}

fn designs(context: &StudyContext<'_>, findings: &mut Findings) {
    let designs: BTreeSet<&str> = context.studies.iter().map(|s| s.design.as_str()).collect();
    if designs.len() > 1 {
        findings.refuse("mixed_designs", Error, "Runs of several designs are not comparable.", format!(
            "The folders hold designs {}: shocks, exposure and crashes mean different things in \
             each. Report them apart.",
            designs.iter().copied().collect::<Vec<_>>().join(" and ")
        ));
    }
    if designs.contains("v1") {
        findings.refuse(
            "design_v1",
            Error,
            "Accumulated errors have no estimate.",
            "Design v1 records no exposure and no entry: runs are taken to be at risk from the \
             start, and crashes at the floor count. Run the study with experiment.design v2."
                .into(),
        );
    }
}

fn completeness(context: &StudyContext<'_>, findings: &mut Findings) {
    let unreadable: usize = context.studies.iter().map(|study| study.unreadable.len()).sum();
    if unreadable > 0 {
        findings.refuse("unreadable", Warning, "Some runs are left out.", format!(
            "{unreadable} runs cannot be read; the table in the section on the flow of runs has the \
             reasons. Run the study again to replace them."
        ));
    }
    let repeated: usize = context.studies.iter().map(|study| study.repeated).sum();
    if repeated > 0 {
        findings.refuse(
            "repeated",
            Warning,
            "Some runs are in several folders.",
            format!(
                "{repeated} runs have the id of a run in an earlier folder, and are counted once."
            ),
        );
    }
    let (planned, done) = context.studies.iter().fold((0, 0), |(planned, done), study| {
        (planned + study.planned, done + study.runs.len() + study.repeated)
    });
    if done + unreadable < planned {
        findings.refuse("unfinished", Warning, "The study is not finished.", format!(
            "{done} of {planned} planned runs are done. If long runs are the missing ones, the rest \
             are a selection. The same command resumes the study."
        ));
    }
}

fn evidence(context: &StudyContext<'_>, findings: &mut Findings) {
    let runs: Vec<&ObservedRun> = context.studies.iter().flat_map(|study| &study.runs).collect();
    let floor = runs.iter().filter(|run| !run.is_at_risk()).count() as f64 / runs.len() as f64;
    if floor > FLOOR_MAX {
        findings.refuse("floor", Warning, "The runs at risk are a selection.", format!(
            "{:.0}% of the runs were never competent (at most {:.0}% expected): what holds for the \
             rest need not hold for the model.",
            100.0 * floor,
            100.0 * FLOOR_MAX
        ));
    }
    let worlds = context.cohort.worlds_count;
    if worlds < WORLDS_WANTED {
        let severity = if worlds < WORLDS_MIN { Error } else { Warning };
        findings.refuse(
            "few_worlds",
            severity,
            "Intervals and p-values are not reliable.",
            format!(
                "{worlds} worlds are at risk, and worlds are the independent observations; \
             {WORLDS_WANTED} or more are wanted. Add worlds (experiment.replications), not doses."
            ),
        );
    }
    let crashes = context.cohort.crashes();
    if crashes == 0 {
        findings.refuse(
            "no_events",
            Error,
            "Nothing can be concluded about what brings crashes on.",
            format!(
                "None of {} runs at risk crashed. That is a finding about how robust the agent is; \
             effects on the hazard have no estimate.",
                context.cohort.runs.len()
            ),
        );
    } else if crashes < EVENTS_MIN {
        findings.refuse(
            "few_events",
            Error,
            "Effects on the hazard are not reliable.",
            format!("{crashes} crashes; a coefficient needs {EVENTS_MIN} or more."),
        );
    } else if crashes == context.cohort.runs.len() {
        findings.refuse(
            "all_crash",
            Warning,
            "Shares of runs that crash say nothing.",
            format!("All {crashes} runs at risk crashed; only the time until then can differ."),
        );
    }
}

fn contrast(context: &StudyContext<'_>, findings: &mut Findings) {
    let doses = context.doses();
    if doses.len() < 2 {
        findings.refuse(
            "one_dose",
            Error,
            "The assigned dose has no effect to estimate.",
            format!(
                "All runs at risk have p_shock {}: there is nothing to compare with.",
                doses.first().copied().unwrap_or(0.0)
            ),
        );
    } else if doses[0] > 0.0 {
        findings.refuse(
            "no_control",
            Warning,
            "There are no runs without shocks.",
            format!(
                "The lowest dose is {}: effects are against it, and not against no shocks.",
                doses[0]
            ),
        );
    }
}

/// Scripted operators whose effect is known.
fn controls(context: &StudyContext<'_>, headline: &Headline, findings: &mut Findings) {
    let known: BTreeSet<Option<u64>> =
        context.cohort.runs.iter().map(|run| run.known_effect.map(f64::to_bits)).collect();
    let (Some(Some(bits)), 1) = (known.first().copied(), known.len()) else { return };
    let truth = f64::from_bits(bits);
    let Some(exposure) = &headline.exposure_now else { return };
    if truth < exposure.lower || truth > exposure.upper {
        findings.refuse(
            "control_failed",
            Error,
            "The control study does not find what is known.",
            format!(
                "The operator's log hazard grows by {truth} for a unit of accumulated errors, and the \
             estimate without lag is {:.4} ({:.4} to {:.4}). One of twenty such studies misses by chance; more \
             say that the analysis is wrong.",
                exposure.coef, exposure.lower, exposure.upper
            ),
        );
    }
}
