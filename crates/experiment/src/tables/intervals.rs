//! The table `intervals`: time at risk in counting-process form, with covariates that vary in time.

use super::CommittedRun;
use super::columns::ExportColumn;
use super::series::{Accumulated, context_share};
use crate::error::ExperimentError;
use results::{RiskRecord, StepRow};

/// Lag of the lagged covariates.
const LAG_STEPS: u64 = 20;
/// Longest interval. The leaky sum decays in every step, and a prompt grows in every step.
const INTERVAL_STEPS_MAX: u64 = 10;

/// The steps from `start` + 1 to `stop`, with the covariates after step `start`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RiskInterval {
    start: u64,
    stop: u64,
    /// What ended the time at risk; only in the last interval.
    end: Option<String>,
    at: IntervalCovariates,
}

/// IntervalCovariates after a step.
#[derive(Debug, Clone, Copy, PartialEq)]
struct IntervalCovariates {
    watched: Watched,
    exposure_leaky: f64,
    context_share: Option<f64>,
}

/// IntervalCovariates whose change begins a new interval.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Watched {
    exposure_days: f64,
    exposure_quantity: f64,
    exposure_induced: f64,
    exposure_lagged: f64,
    dose: u64,
    dose_lagged: u64,
    history_dropped: u64,
}

pub(super) fn rows(run: &CommittedRun) -> Result<Vec<RiskInterval>, ExperimentError> {
    match &run.record.risk {
        Some(RiskRecord { entry_time: Some(entry), event_time, event_type, .. })
            if entry < event_time =>
        {
            let covariates = covariates(&run.steps()?, run.record.context_length);
            Ok(intervals(&covariates, (*entry, *event_time), event_type))
        }
        _ => Ok(Vec::new()),
    }
}

/// The covariates after each step; the first element is before the first step.
fn covariates(rows: &[StepRow], context_length: Option<u64>) -> Vec<IntervalCovariates> {
    let mut accumulated = Accumulated::at_start(true);
    let mut after = vec![accumulated];
    for row in rows {
        accumulated.add(row);
        after.push(accumulated);
    }
    let total = |at: usize| after[at].exposure.unwrap_or_default().total();
    let dose = |at: usize| after[at].applied().unwrap_or(0);
    let covariates = |step: usize| {
        let (lagged, exposure) =
            (step.saturating_sub(LAG_STEPS as usize), after[step].exposure.unwrap_or_default());
        let row = step.checked_sub(1).map(|before| &rows[before]);
        IntervalCovariates {
            watched: Watched {
                exposure_days: exposure.days[0],
                exposure_quantity: exposure.quantity[0],
                exposure_induced: exposure.induced[0] + exposure.induced[1],
                exposure_lagged: total(lagged),
                dose: dose(step),
                dose_lagged: dose(lagged),
                history_dropped: row.map_or(0, |row| row.history_dropped),
            },
            exposure_leaky: exposure.days[1] + exposure.quantity[1],
            context_share: row.and_then(|row| context_share(row, context_length)),
        }
    };
    (0..after.len()).map(covariates).collect()
}

/// The intervals from the entry to the event, `at_risk`; `after` has the covariates by step.
fn intervals(
    after: &[IntervalCovariates],
    at_risk: (u64, u64),
    event_type: &str,
) -> Vec<RiskInterval> {
    let (entry, event_time) = at_risk;
    let mut intervals = Vec::new();
    let mut start = entry;
    while start < event_time {
        let at = after[start as usize];
        let begins = |step: &u64| {
            *step == start + INTERVAL_STEPS_MAX || after[*step as usize].watched != at.watched
        };
        let stop = (start + 1..event_time).find(begins).unwrap_or(event_time);
        let end = (stop == event_time).then(|| event_type.to_string());
        intervals.push(RiskInterval { start, stop, end, at });
        start = stop;
    }
    intervals
}

pub(super) fn columns() -> Vec<ExportColumn<RiskInterval>> {
    type C = ExportColumn<RiskInterval>;
    let watched = |name: &str, meaning: &str, value: fn(&Watched) -> f64| {
        let meaning = format!("Accumulated delivery errors after step start: {meaning}.");
        C::number(name, meaning, move |i| value(&i.at.watched).into())
    };
    vec![
        C::whole("start", "The step after which the interval begins.", |i| i.start.into())
            .unit("steps"),
        C::whole("stop", "The last step of the interval.", |i| i.stop.into()).unit("steps"),
        C::whole("event", "1 if a primary crash ends the interval, otherwise 0.", |i| {
            let crash = i.end.as_ref().is_some_and(|end| end.starts_with("crash:"));
            i64::from(crash).into()
        }),
        C::text("end", "What ended the time at risk: the run's event_type.", |i| {
            i.end.as_deref().into()
        })
        .null("except in the last interval of a run"),
        watched("exposure", "of days and units", |w| w.exposure_days + w.exposure_quantity),
        watched("exposure_days", "of days", |w| w.exposure_days),
        watched("exposure_quantity", "of units", |w| w.exposure_quantity),
        watched("exposure_induced", "the part that shocks caused", |w| w.exposure_induced),
        C::number(
            "exposure_leaky",
            "Delivery errors after step start, with a half-life of 50 steps; they decay within the \
             interval.",
            |i| i.at.exposure_leaky.into(),
        ),
        C::number("exposure_lag20", "exposure after step start - 20; 0 before the first.", |i| {
            i.at.watched.exposure_lagged.into()
        }),
        C::whole("dose", "Shocks up to step start that changed something.", |i| {
            i.at.watched.dose.into()
        })
        .unit("shocks"),
        C::whole("dose_lag20", "dose after step start - 20; 0 before the first.", |i| {
            i.at.watched.dose_lagged.into()
        })
        .unit("shocks"),
        C::whole(
            "history_dropped",
            "Oldest exchanges that the prompt of step start left out.",
            |i| i.at.watched.history_dropped.into(),
        )
        .unit("exchanges"),
        C::number(
            "context_share",
            "Tokens of prompt and reply of step start by the context length; its change begins no \
             interval.",
            |i| i.at.context_share.into(),
        )
        .null("without a model"),
    ]
}
