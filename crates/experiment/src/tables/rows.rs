//! The table `rows`: the rows of the logs as stored, with structured values.

use super::CommittedRun;
use super::columns::{ExportColumn, NEVER};
use crate::error::ExperimentError;
use results::{CellValue, ColumnKind, ResultsError};
use serde_json::{Map, Value};

/// A row as stored, by the names of its fields.
type StoredFields = Map<String, Value>;

pub(super) fn rows(run: &CommittedRun) -> Result<Vec<StoredFields>, ExperimentError> {
    let fields = |row| match serde_json::to_value(&row) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Ok(Map::from_iter([("value".to_string(), other)])),
        Err(source) => Err(ResultsError::Unwritable { what: "a row", source }.into()),
    };
    run.steps()?.into_owned().into_iter().map(fields).collect()
}

const WITHOUT: &str = "without one";
const SINCE_V2: &str = "since design v2";
const IN_V1_OR_NONE: &str = "in design v1, and without one";
const ZERO: &str = "since design v2 if it is 0";
const NONE: &str = "since design v2 if there are none";

use ColumnKind::{Json, Text, Whole};

/// Type, name, meaning, null rule: the columns of version 0.2 in their order, then later ones.
const FIELDS: [(ColumnKind, &str, &str, &str); 31] = [
    (Text, "run_id", "Hash of the run's cell, model, dtype, seed and draw.", NEVER),
    (Whole, "step", "Number of the step, from 1.", NEVER),
    (Whole, "day", "Day of the step, from 1.", NEVER),
    (Text, "reply", "The complete reply, without the thinking before it.", NEVER),
    (Json, "parse_failure", "Why the reply holds no valid action: kind, detail.", WITHOUT),
    (Json, "action", "The call: tool, arguments.", WITHOUT),
    (Json, "card", "The prediction card as given.", WITHOUT),
    (Json, "result", "Result of the call: success, failure, in design v1 answer.", NEVER),
    (Json, "pe", "Mean of the errors that became known, by kind.", SINCE_V2),
    (
        Json,
        "shocks",
        "Shocks that acted: type, drawn_step (since design v2), day, effect, nothing, told.",
        NONE,
    ),
    (
        Json,
        "crashes",
        "Crashes detected in the step: type, onset_step, detected_step, severity.",
        NONE,
    ),
    (Whole, "prompt_tokens", "Tokens of the prompt.", ZERO),
    (Whole, "reply_tokens", "Tokens of the reply, thinking included.", ZERO),
    (Json, "prompt", "Messages added since the last reply, each with role, content.", NEVER),
    (Whole, "history_dropped", "Oldest exchanges that the prompt leaves out.", ZERO),
    (Whole, "sampling_seed", "Seed for sampling the reply.", NEVER),
    (Text, "finish", "Why the reply ended: stop or length.", "since design v2 if it is stop"),
    (Text, "card_problem", "Why the card is invalid, or absent.", WITHOUT),
    (
        Json,
        "pe_pairs",
        "Scored fields: field, predicted; actual, card_step, error, induced (since design v2 \
         unless as predicted, the row's step, 0, 0); kind, error_published (design v1).",
        NONE,
    ),
    (Json, "pe_scales", "EWMA and window means of the errors, by kind.", SINCE_V2),
    (Json, "detector", "Input of the crash detectors.", NEVER),
    (Json, "state", "Figures of the world after the step.", NEVER),
    (Text, "ending", "How the episode ended.", "except in the last row of a run"),
    (Text, "mixed_kernels", "Kernel set of the reply, if not that of the model's record.", WITHOUT),
    (Json, "similarity", "Similarity of the summary to the first summaries.", WITHOUT),
    (Text, "design", "Version of the experiment's design.", "in design v1"),
    (Text, "drawn", "Type of the shock drawn in the step.", IN_V1_OR_NONE),
    (
        Json,
        "dose",
        "Shocks so far: drawn, applied, told, each by type (temporal, quantity, causal, rule).",
        "in design v1, and if it is that of the row before",
    ),
    (
        Json,
        "exposure",
        "Accumulated delivery errors: days and quantity, each with sum and leaky sum; induced.",
        "in design v1",
    ),
    (Text, "reasoning", "The thinking before the reply.", WITHOUT),
    (Whole, "reasoning_tokens", "Tokens of the thinking.", "if it is 0"),
];

pub(super) fn columns() -> Vec<ExportColumn<StoredFields>> {
    let column = |(kind, name, meaning, null): (ColumnKind, &'static str, &str, &str)| {
        let unit = match name {
            "step" => "steps",
            "day" => "days",
            "prompt_tokens" | "reply_tokens" | "reasoning_tokens" => "tokens",
            _ => "",
        };
        ExportColumn::new(kind, name, meaning, move |row: &StoredFields| {
            value_of(kind, row.get(name).unwrap_or(&Value::Null))
        })
        .unit(unit)
        .null(null)
    };
    FIELDS.into_iter().map(column).collect()
}

/// A stored value as a value of a column.
pub(super) fn value_of(kind: ColumnKind, value: &Value) -> CellValue<'_> {
    match kind {
        ColumnKind::Whole => value.as_i64().into(),
        ColumnKind::Number => value.as_f64().into(),
        ColumnKind::Flag => value.as_bool().into(),
        ColumnKind::Text => value.as_str().into(),
        ColumnKind::Json => CellValue::json(value),
    }
}
