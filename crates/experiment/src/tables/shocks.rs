//! The table `shocks`: one row per drawn shock, whether it acted or still waited at the end.

use super::CommittedRun;
use super::columns::ExportColumn;
use crate::error::ExperimentError;
use results::{RunRecord, StepRow};
use serde::Deserialize;
use warehouse::Observability;

/// A drawn shock.
pub(super) struct ShockFacts {
    kind: String,
    drawn_step: u64,
    /// The step in which it changed something.
    applied_step: Option<u64>,
    /// Day on which it acted, or was announced as a sham.
    day: Option<u64>,
    effect: Option<String>,
    nothing: Option<String>,
    told: Option<bool>,
    notice: Option<String>,
}

/// A shock in a row; see [`warehouse::ShockEvent`].
#[derive(Deserialize)]
struct StoredShock {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    drawn_step: Option<u64>,
    day: u64,
    effect: Option<String>,
    nothing: Option<String>,
    told: Option<String>,
}

impl ShockFacts {
    /// A shock that acted in a step. `delayed`: notices follow later, and rows do not tell of which
    /// shock.
    fn acted(shock: StoredShock, step: u64, delayed: bool) -> ShockFacts {
        let told = match shock.told {
            Some(_) => Some(true),
            None if delayed && shock.effect.is_some() => None,
            None => Some(false),
        };
        ShockFacts {
            kind: shock.kind,
            drawn_step: shock.drawn_step.unwrap_or(step),
            applied_step: shock.effect.is_some().then_some(step),
            day: Some(shock.day),
            effect: shock.effect,
            nothing: shock.nothing,
            told,
            notice: shock.told,
        }
    }

    /// A drawn shock that still waited at the end.
    fn pending(kind: &str, drawn_step: u64) -> ShockFacts {
        ShockFacts {
            kind: kind.to_string(),
            drawn_step,
            applied_step: None,
            day: None,
            effect: None,
            nothing: None,
            told: Some(false),
            notice: None,
        }
    }
}

pub(super) fn rows(run: &CommittedRun) -> Result<Vec<ShockFacts>, ExperimentError> {
    let steps = run.steps()?;
    let mut shocks = Vec::new();
    for row in steps.iter() {
        shocks.extend(acted_in(run, row)?);
    }
    let known: Vec<(u64, String)> =
        shocks.iter().map(|shock| (shock.drawn_step, shock.kind.clone())).collect();
    let drawn = steps.iter().filter_map(|row| Some((row.step, row.drawn.as_deref()?)));
    let waiting = drawn.filter(|(step, kind)| {
        !known.iter().any(|(known_step, known)| known_step == step && known == kind)
    });
    shocks.extend(waiting.map(|(step, kind)| ShockFacts::pending(kind, step)));
    shocks.sort_by_key(|shock| shock.drawn_step);
    Ok(shocks)
}

fn acted_in(run: &CommittedRun, row: &StepRow) -> Result<Vec<ShockFacts>, ExperimentError> {
    let delayed = is_delayed(&run.record);
    let shock = |raw: &results::RawJson| match raw.read::<StoredShock>() {
        Ok(shock) => Ok(ShockFacts::acted(shock, row.step, delayed)),
        Err(error) => Err(run.bad_row(row.step, "shocks", &error)),
    };
    row.shocks.iter().map(shock).collect()
}

fn is_delayed(record: &RunRecord) -> bool {
    let observability = record.cell.get("pe_induction.observability");
    observability.is_some_and(|level| level == Observability::Delayed.label())
}

pub(super) fn columns() -> Vec<ExportColumn<ShockFacts>> {
    type C = ExportColumn<ShockFacts>;
    let pending = "if it still waited at the end";
    vec![
        C::text("type", "What it changes: temporal, quantity, causal or rule.", |s| {
            s.kind.as_str().into()
        }),
        C::whole("drawn_step", "The step in which it was drawn.", |s| s.drawn_step.into())
            .unit("steps"),
        C::whole("applied_step", "The step in which it changed something.", |s| {
            s.applied_step.into()
        })
        .unit("steps")
        .null("if it still waited at the end, is a sham, or changed nothing (design v1)"),
        C::whole("day", "Day on which it acted, or was announced as a sham.", |s| s.day.into())
            .unit("days")
            .null(pending),
        C::text("effect", "What it changed.", |s| s.effect.as_deref().into())
            .null("if it changed nothing"),
        C::text("nothing", "Why it changed nothing.", |s| s.nothing.as_deref().into())
            .null("if it changed something, or still waited at the end"),
        C::flag("told", "Whether the agent was told in the step in which it acted.", |s| {
            s.told.into()
        })
        .null("if notices are delayed by three days and it changed something"),
        C::text("notice", "What the agent was told.", |s| s.notice.as_deref().into())
            .null("if it was not told in that step"),
    ]
}
