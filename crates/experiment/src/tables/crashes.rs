//! The table `crashes`: one row per crash, from the record of its run.

use super::CommittedRun;
use super::columns::{ExportColumn, IN_V1};
use crate::error::ExperimentError;
use results::{CrashRecord, RiskRecord};
use warehouse::{CrashSeverity, CrashType};

/// A crash of a run.
pub(super) struct CrashFacts {
    crash: CrashRecord,
    primary: bool,
    /// `None` in design v1, as `is_event`.
    after_entry: Option<bool>,
    is_event: Option<bool>,
}

pub(super) fn rows(run: &CommittedRun) -> Result<Vec<CrashFacts>, ExperimentError> {
    let risk = run.record.risk.as_ref();
    let event = risk.and_then(|risk| event_of(risk, &run.record.crashes));
    let facts = |(at, crash): (usize, &CrashRecord)| CrashFacts {
        primary: is_primary(crash),
        after_entry: risk.map(|risk| is_after_entry(risk, crash)),
        is_event: risk.map(|_| event == Some(at)),
        crash: crash.clone(),
    };
    Ok(run.record.crashes.iter().enumerate().map(facts).collect())
}

/// Index of the crash that is the run's event: as in [`warehouse::CrashMonitor::first_event`], of
/// the primary crashes after the entry the one with the first onset, then the first detection.
fn event_of(risk: &RiskRecord, crashes: &[CrashRecord]) -> Option<usize> {
    let entry = risk.entry_time?;
    let kind = risk.event_type.strip_prefix("crash:")?;
    let fits = |crash: &CrashRecord| {
        crash.kind == kind
            && is_primary(crash)
            && is_after_entry(risk, crash)
            && crash.onset_step.max(entry + 1) == risk.event_time
    };
    let fitting = crashes.iter().enumerate().filter(|(_, crash)| fits(crash));
    fitting.min_by_key(|(_, crash)| crash.detected_step).map(|(at, _)| at)
}

fn is_primary(crash: &CrashRecord) -> bool {
    CrashType::ALL.iter().any(|kind| kind.label() == crash.kind && kind.is_primary())
}

fn is_after_entry(risk: &RiskRecord, crash: &CrashRecord) -> bool {
    risk.entry_time.is_some_and(|entry| crash.detected_step > entry)
}

pub(super) fn columns() -> Vec<ExportColumn<CrashFacts>> {
    type C = ExportColumn<CrashFacts>;
    let severities: Vec<&str> = CrashSeverity::ALL.iter().map(|s| s.label()).collect();
    vec![
        C::text("type", "The detector that fired.", |c| c.crash.kind.as_str().into()),
        C::flag("primary", "Whether the detector reads neither cards nor failed calls.", |c| {
            c.primary.into()
        }),
        C::whole("onset_step", "First step of the crash.", |c| c.crash.onset_step.into())
            .unit("steps"),
        C::whole("detected_step", "The step in which the detector fired.", |c| {
            c.crash.detected_step.into()
        })
        .unit("steps"),
        C::whole("recovered_step", "The first step in which it no longer fired.", |c| {
            c.crash.recovered_step.into()
        })
        .unit("steps")
        .null("if it fired to the end, and in design v1"),
        C::text("severity", format!("How long it lasted: {}.", severities.join(", ")), |c| {
            c.crash.severity.as_deref().into()
        })
        .null("if the run ended before it was known"),
        C::flag("after_entry", "Whether it was detected after the run's entry_time.", |c| {
            c.after_entry.into()
        })
        .null(IN_V1),
        C::flag("is_event", "Whether it is the run's event.", |c| c.is_event.into()).null(IN_V1),
    ]
}
