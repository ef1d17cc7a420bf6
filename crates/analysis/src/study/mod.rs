//! The analysis of a study: from its runs to the document of a report.
//!
//! Each section has a file. `run` has what is read, `cohort` the runs at risk, `context` what
//! sections share. The definitions of event, exposure and dose are in `docs/experiment.md`.

mod accumulated;
mod answer;
mod assigned;
pub mod cohort;
mod compare;
mod context;
mod cost;
mod crash_types;
mod dose;
mod families;
mod flow;
mod hazard_model;
mod headline;
mod incidence;
mod pairs;
mod refusals;
mod repeated;
mod robustness;
mod run;
mod sheet;
mod survival;
mod trajectories;
mod world_differences;
mod worlds;

pub use cohort::{Cohort, EXPOSURE, PathCovariate, stratum_name};
pub use compare::{Side, compare};
pub use context::{AnalysisOptions, TEST_GROUPS};
pub use repeated::leave_out_repeated;
pub use run::{
    Behavior, ObservedBin, ObservedCrash, ObservedRun, ObservedStudy, PathPoint, RunEnd,
    SHOCK_TYPES, ShockCounts,
};

use crate::document::Document;
use context::{Findings, StudyContext};
pub use headline::Headline;

/// The estimates of a report's answer alone, for studies that are simulated by the thousand.
pub fn headline(studies: &[ObservedStudy], options: &AnalysisOptions) -> Headline {
    Headline::of(&StudyContext { studies, cohort: Cohort::of(studies), options }).0
}

/// Analyzes one or several studies, whose runs are taken together. The document is always complete:
/// what cannot be computed is said in it.
pub fn analyze(studies: &[ObservedStudy], options: &AnalysisOptions) -> Document {
    let context = StudyContext { studies, cohort: Cohort::of(studies), options };
    let mut findings = Findings::default();
    findings.sections.push(flow::section(studies));
    let mut headline = Headline::default();
    if !context.cohort.runs.is_empty() {
        dose::section(&context, &mut findings);
        survival::section(&context, &mut findings);
        let (estimates, fits) = Headline::of(&context);
        assigned::section(&context, &mut findings, &estimates, fits.assigned);
        accumulated::section(&context, &mut findings, &estimates, fits.exposure);
        headline = estimates;
        incidence::section(&context, &mut findings);
        pairs::section(&context, &mut findings);
        crash_types::section(&context, &mut findings);
        trajectories::section(&context, &mut findings);
        robustness::section(&context, &mut findings);
        worlds::section(&context, &mut findings);
        families::section(&context, &mut findings);
    }
    cost::section(&context, &mut findings);
    refusals::check(&context, &headline, &mut findings);
    findings.refusals.sort_by_key(|refusal| refusal.severity);
    let names: Vec<&str> = studies.iter().map(|study| study.name.as_str()).collect();
    Document {
        title: names.join(", "),
        subtitle: subtitle(studies, &context),
        answer: answer::sentences(&context, &headline, &findings.refusals),
        refusals: findings.refusals,
        sections: findings.sections,
    }
}

fn subtitle(studies: &[ObservedStudy], context: &StudyContext<'_>) -> String {
    let done: usize = studies.iter().map(|study| study.runs.len()).sum();
    let planned: usize = studies.iter().map(|study| study.planned).sum();
    format!(
        "{done} of {planned} runs done, {} at risk in {} worlds",
        context.cohort.runs.len(),
        context.cohort.worlds_count
    )
}
