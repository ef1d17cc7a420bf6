//! The table `pairs`: one row per scored field of a prediction card.

use super::CommittedRun;
use super::columns::{ExportColumn, IN_V1};
use crate::error::ExperimentError;
use crate::run::record::error_published;
use results::PairRow;
use warehouse::CardField;

/// A scored field, and the step in which its actual value became known.
pub(super) struct ScoredField {
    step: u64,
    pair: PairRow,
}

impl ScoredField {
    /// The kind of the field's value; of design v1 it is stored.
    fn kind(&self) -> &str {
        match (&self.pair.kind, CardField::parse(&self.pair.field)) {
            (Some(kind), _) => kind,
            (None, Some(field)) => field.kind().label(),
            (None, None) => "",
        }
    }
}

pub(super) fn rows(run: &CommittedRun) -> Result<Vec<ScoredField>, ExperimentError> {
    let mut scored = Vec::new();
    for row in run.steps()?.iter() {
        let step = row.step;
        scored.extend(row.pe_pairs.iter().cloned().map(|pair| ScoredField { step, pair }));
    }
    Ok(scored)
}

pub(super) fn columns() -> Vec<ExportColumn<ScoredField>> {
    type C = ExportColumn<ScoredField>;
    vec![
        C::whole("card_step", "The step in which the card was given.", |p| p.pair.card_step.into())
            .unit("steps"),
        C::whole("step", "The step in which the actual value became known.", |p| p.step.into())
            .unit("steps"),
        C::text("field", "The field of the card.", |p| (&*p.pair.field).into()),
        C::text("kind", "The kind of its value: temporal, quantity, cost, causal or rule.", |p| {
            p.kind().into()
        }),
        C::number(
            "predicted",
            "The predicted value, in the field's unit: days, units, currency; success is 0 or 1.",
            |p| p.pair.predicted.into(),
        ),
        C::number("actual", "The actual value, in the same unit.", |p| p.pair.actual.into()),
        C::number(
            "error",
            "|predicted - actual| / max(|actual|, 1), since v2 at most 2; for success 0 or 1.",
            |p| p.pair.error.into(),
        ),
        C::number("error_published", "The same divided by max(|predicted|, 1).", |p| {
            error_published(&p.pair).into()
        }),
        C::number("induced", "The error minus the error without shocks.", |p| {
            p.pair.induced.into()
        })
        .null(IN_V1),
    ]
}
