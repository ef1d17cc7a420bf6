//! How rows are written and read: design v1 with every field, later designs without what is empty,
//! 0 or derivable from another field.

use crate::accumulated::{DoseRow, ExposureRow};
use crate::raw_json::{EscapedText, RawJson};
use crate::row::{
    ActionRow, PairRow, ParseFailure, PromptMessage, ResultRow, SimilarityRow, StepRow,
};
use crate::run_record::CrashRecord;
use serde::de::Deserializer;
use serde::ser::{SerializeSeq, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Finish reason that rows since design v2 do not write.
const STOP: &str = "stop";

/// A row as it is read, of any design.
#[derive(Deserialize)]
struct StoredRow {
    #[serde(default)]
    design: Option<Cow<'static, str>>,
    run_id: String,
    step: u64,
    day: u64,
    prompt: Vec<PromptMessage>,
    #[serde(default)]
    history_dropped: u64,
    sampling_seed: u64,
    reply: String,
    #[serde(default)]
    reasoning: Option<String>,
    #[serde(default = "stop")]
    finish: Cow<'static, str>,
    #[serde(default)]
    parse_failure: Option<ParseFailure>,
    #[serde(default)]
    action: Option<ActionRow>,
    #[serde(default)]
    card: Option<RawJson>,
    #[serde(default)]
    card_problem: Option<String>,
    result: ResultRow,
    #[serde(default)]
    pe: BTreeMap<Cow<'static, str>, Option<f64>>,
    #[serde(default)]
    pe_pairs: Vec<StoredPair>,
    #[serde(default)]
    pe_scales: RawJson,
    #[serde(default)]
    shocks: Vec<RawJson>,
    #[serde(default)]
    drawn: Option<Cow<'static, str>>,
    #[serde(default)]
    dose: Option<DoseRow>,
    #[serde(default)]
    exposure: Option<ExposureRow>,
    #[serde(default)]
    crashes: Vec<CrashRecord>,
    #[serde(default)]
    detector: RawJson,
    #[serde(default)]
    similarity: Option<SimilarityRow>,
    #[serde(default)]
    state: RawJson,
    #[serde(default)]
    ending: Option<String>,
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    reply_tokens: u64,
    #[serde(default)]
    reasoning_tokens: u64,
    #[serde(default)]
    mixed_kernels: Option<String>,
}

fn stop() -> Cow<'static, str> {
    STOP.into()
}

/// A scored field as it is read, of any design.
#[derive(Deserialize)]
struct StoredPair {
    /// `None`: the step of the row.
    #[serde(default)]
    card_step: Option<u64>,
    field: Cow<'static, str>,
    #[serde(default)]
    kind: Option<Cow<'static, str>>,
    predicted: f64,
    /// `None`: as predicted.
    #[serde(default)]
    actual: Option<f64>,
    #[serde(default)]
    error: f64,
    #[serde(default)]
    error_published: Option<f64>,
    #[serde(default)]
    induced: Option<f64>,
}

impl From<StoredRow> for StepRow {
    fn from(row: StoredRow) -> StepRow {
        let (step, since_v2) = (row.step, row.design.is_some());
        let pair = |pair: StoredPair| PairRow {
            card_step: pair.card_step.unwrap_or(step),
            field: pair.field,
            kind: pair.kind,
            predicted: pair.predicted,
            actual: pair.actual.unwrap_or(pair.predicted),
            error: pair.error,
            error_published: pair.error_published,
            induced: pair.induced.or(since_v2.then_some(0.0)),
        };
        StepRow {
            design: row.design,
            run_id: row.run_id,
            step,
            day: row.day,
            prompt: row.prompt,
            history_dropped: row.history_dropped,
            sampling_seed: row.sampling_seed,
            reply: row.reply,
            reasoning: row.reasoning,
            finish: row.finish,
            parse_failure: row.parse_failure,
            action: row.action,
            card: row.card,
            card_problem: row.card_problem,
            result: row.result,
            pe: row.pe,
            pe_pairs: row.pe_pairs.into_iter().map(pair).collect(),
            pe_scales: row.pe_scales,
            shocks: row.shocks,
            drawn: row.drawn,
            dose: row.dose,
            exposure: row.exposure,
            crashes: row.crashes,
            detector: row.detector,
            similarity: row.similarity,
            state: row.state,
            ending: row.ending,
            prompt_tokens: row.prompt_tokens,
            reply_tokens: row.reply_tokens,
            reasoning_tokens: row.reasoning_tokens,
            mixed_kernels: row.mixed_kernels,
        }
    }
}

impl<'de> Deserialize<'de> for StepRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StepRow, D::Error> {
        StoredRow::deserialize(deserializer).map(StepRow::from)
    }
}

impl Serialize for StepRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.design {
            None => self.write_all(serializer),
            Some(_) => self.write_changes(serializer),
        }
    }
}

impl StepRow {
    /// Writes a row of design v1.
    fn write_all<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("StepRow", 27)?;
        row.serialize_field("run_id", &self.run_id)?;
        row.serialize_field("step", &self.step)?;
        row.serialize_field("day", &self.day)?;
        row.serialize_field("prompt", &self.prompt)?;
        row.serialize_field("history_dropped", &self.history_dropped)?;
        row.serialize_field("sampling_seed", &self.sampling_seed)?;
        row.serialize_field("reply", &EscapedText(&self.reply))?;
        write_some(&mut row, "reasoning", &self.reasoning)?;
        row.serialize_field("finish", &self.finish)?;
        row.serialize_field("parse_failure", &self.parse_failure)?;
        row.serialize_field("action", &self.action)?;
        row.serialize_field("card", &self.card)?;
        row.serialize_field("card_problem", &self.card_problem)?;
        row.serialize_field("result", &self.result)?;
        row.serialize_field("pe", &self.pe)?;
        row.serialize_field("pe_pairs", &self.pe_pairs)?;
        row.serialize_field("pe_scales", &self.pe_scales)?;
        row.serialize_field("shocks", &self.shocks)?;
        row.serialize_field("crashes", &self.crashes)?;
        row.serialize_field("detector", &self.detector)?;
        write_some(&mut row, "similarity", &self.similarity)?;
        row.serialize_field("state", &self.state)?;
        row.serialize_field("ending", &self.ending)?;
        row.serialize_field("prompt_tokens", &self.prompt_tokens)?;
        row.serialize_field("reply_tokens", &self.reply_tokens)?;
        write_nonzero(&mut row, "reasoning_tokens", self.reasoning_tokens)?;
        write_some(&mut row, "mixed_kernels", &self.mixed_kernels)?;
        row.end()
    }

    /// Writes a row since design v2.
    fn write_changes<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("StepRow", 27)?;
        row.serialize_field("design", &self.design)?;
        row.serialize_field("run_id", &self.run_id)?;
        row.serialize_field("step", &self.step)?;
        row.serialize_field("day", &self.day)?;
        row.serialize_field("prompt", &self.prompt)?;
        write_nonzero(&mut row, "history_dropped", self.history_dropped)?;
        row.serialize_field("sampling_seed", &self.sampling_seed)?;
        row.serialize_field("reply", &EscapedText(&self.reply))?;
        write_some(&mut row, "reasoning", &self.reasoning)?;
        write_some(&mut row, "finish", &(self.finish != STOP).then_some(&self.finish))?;
        write_some(&mut row, "parse_failure", &self.parse_failure)?;
        write_some(&mut row, "action", &self.action)?;
        write_some(&mut row, "card", &self.card)?;
        write_some(&mut row, "card_problem", &self.card_problem)?;
        row.serialize_field("result", &OutcomeOnly(&self.result))?;
        if !self.pe_pairs.is_empty() {
            row.serialize_field("pe_pairs", &PairsOf(self))?;
        }
        if !self.shocks.is_empty() {
            row.serialize_field("shocks", &self.shocks)?;
        }
        write_some(&mut row, "drawn", &self.drawn)?;
        write_some(&mut row, "dose", &self.dose)?;
        write_some(&mut row, "exposure", &self.exposure)?;
        if !self.crashes.is_empty() {
            row.serialize_field("crashes", &self.crashes)?;
        }
        row.serialize_field("detector", &self.detector)?;
        write_some(&mut row, "similarity", &self.similarity)?;
        row.serialize_field("state", &self.state)?;
        write_some(&mut row, "ending", &self.ending)?;
        write_nonzero(&mut row, "prompt_tokens", self.prompt_tokens)?;
        write_nonzero(&mut row, "reply_tokens", self.reply_tokens)?;
        write_nonzero(&mut row, "reasoning_tokens", self.reasoning_tokens)?;
        write_some(&mut row, "mixed_kernels", &self.mixed_kernels)?;
        row.end()
    }
}

fn write_some<R: SerializeStruct>(
    row: &mut R,
    name: &'static str,
    value: &Option<impl Serialize>,
) -> Result<(), R::Error> {
    match value {
        Some(value) => row.serialize_field(name, value),
        None => row.skip_field(name),
    }
}

fn write_nonzero<R: SerializeStruct>(
    row: &mut R,
    name: &'static str,
    count: u64,
) -> Result<(), R::Error> {
    if count == 0 { row.skip_field(name) } else { row.serialize_field(name, &count) }
}

/// A result without the tool's answer.
struct OutcomeOnly<'a>(&'a ResultRow);

impl Serialize for OutcomeOnly<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut result = serializer.serialize_struct("ResultRow", 2)?;
        result.serialize_field("success", &self.0.success)?;
        write_some(&mut result, "failure", &self.0.failure)?;
        result.end()
    }
}

/// The scored fields of a row, each without an error of 0, an actual value as predicted, and the
/// row's own step.
struct PairsOf<'a>(&'a StepRow);

impl Serialize for PairsOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let StepRow { step, pe_pairs, .. } = self.0;
        let mut pairs = serializer.serialize_seq(Some(pe_pairs.len()))?;
        for pair in pe_pairs {
            pairs.serialize_element(&ShortPair {
                card_step: (pair.card_step != *step).then_some(pair.card_step),
                field: &pair.field,
                predicted: pair.predicted,
                actual: (pair.actual != pair.predicted).then_some(pair.actual),
                error: (pair.error != 0.0).then_some(pair.error),
                induced: pair.induced.filter(|induced| *induced != 0.0),
            })?;
        }
        pairs.end()
    }
}

#[derive(Serialize)]
struct ShortPair<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    card_step: Option<u64>,
    field: &'a str,
    predicted: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    actual: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    induced: Option<f64>,
}
