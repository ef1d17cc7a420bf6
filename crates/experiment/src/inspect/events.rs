//! The transcript of a run: a span for each step, with the call of the model, the call of the tool,
//! errors of predictions, shocks, crashes, and the changes of the world's figures.

use super::messages::{RunMessages, call_error, call_id};
use super::usage::TokenUsage;
use results::StepRow;
use serde_json::{Map, Value, json};

/// How the model of a run is called.
pub(super) struct ModelCalls<'a> {
    pub model: &'a str,
    /// Temperature, top_p and the limit of tokens.
    pub config: Map<String, Value>,
    /// Definitions of tools that each request has; empty if replies are JSON by a schema.
    pub tools: Vec<Value>,
    /// Whether the replies are those of a scripted operator, which has no tokens.
    pub scripted: bool,
}

/// Events of a run, in the order of their steps.
pub(super) struct Transcript<'a> {
    run_id: &'a str,
    /// Time of the events that follow. It is that of the run's begin for all steps: rows do not
    /// depend on the clock, and hold none.
    time: &'a str,
    events: Vec<Value>,
    /// Open spans, the outer first.
    spans: Vec<String>,
    /// Figures of the world after the last step.
    state: Map<String, Value>,
}

impl<'a> Transcript<'a> {
    /// `sample`: the sample as it is before the run.
    pub fn new(run_id: &'a str, time: &'a str, sample: Value) -> Transcript<'a> {
        let (events, spans, state) = (Vec::new(), Vec::new(), Map::new());
        let mut transcript = Transcript { run_id, time, events, spans, state };
        transcript.push("sample_init", json!({"sample": sample}));
        transcript
    }

    /// Adds the events of all steps.
    pub fn add_steps(&mut self, rows: &[StepRow], messages: &RunMessages, calls: &ModelCalls<'_>) {
        for (at, row) in rows.iter().enumerate() {
            self.begin_span("step", &format!("step {}, day {}", row.step, row.day));
            let event = model_event(row, &messages.prompts[at], &messages.replies[at], calls);
            self.push("model", event);
            if let Some(event) = tool_event(row, messages.answers[at].as_ref()) {
                self.push("tool", event);
            }
            self.add_infos(row);
            self.add_state(row);
            self.end_span();
        }
    }

    fn add_infos(&mut self, row: &StepRow) {
        let mut info =
            |source: &str, data: Value| self.push("info", json!({"source": source, "data": data}));
        if let Some(failure) = &row.parse_failure {
            info("parse_failure", json!(failure));
        }
        if let Some(problem) = &row.card_problem {
            info("card_problem", json!(problem));
        }
        if !row.pe_pairs.is_empty() {
            info("prediction_errors", json!(row.pe_pairs));
        }
        row.shocks.iter().for_each(|shock| info("shock", json!(shock)));
        row.crashes.iter().for_each(|crash| info("crash", json!(crash)));
        if let Some(ending) = &row.ending {
            info("ending", json!(ending));
        }
    }

    /// Figures of the world that the step changed.
    fn add_state(&mut self, row: &StepRow) {
        let Value::Object(mut figures) = row.state.value() else { return };
        if let Some(exposure) = row.exposure {
            figures.insert("exposure".into(), exposure.total().into());
        }
        if let Some(dose) = row.dose {
            figures.insert("dose".into(), dose.applied.iter().sum::<u64>().into());
        }
        let mut changes = Vec::new();
        for (name, value) in &figures {
            let path = format!("/{name}");
            match self.state.get(name) {
                Some(before) if before == value => {}
                Some(before) => changes.push(json!({
                    "op": "replace", "path": path, "value": value, "replaced": before,
                })),
                None => changes.push(json!({"op": "add", "path": path, "value": value})),
            }
        }
        self.state.extend(figures);
        if !changes.is_empty() {
            self.push("store", json!({"changes": changes}));
        }
    }

    /// Adds the scores. `time`: the end of the run, since viewers sort spans by time.
    pub fn add_scores(&mut self, time: &'a str, scores: &Map<String, Value>) {
        self.time = time;
        self.begin_span("scorers", "scorers");
        for (scorer, score) in scores {
            self.begin_span("scorer", scorer);
            self.push("score", json!({"score": score, "scorer": scorer, "intermediate": false}));
            self.end_span();
        }
        self.end_span();
    }

    pub fn add_error(&mut self, error: &Value) {
        self.push("error", json!({"error": error}));
    }

    /// All events, and the world's figures at the end.
    pub fn finish(self) -> (Vec<Value>, Map<String, Value>) {
        (self.events, self.state)
    }

    fn begin_span(&mut self, kind: &str, name: &str) {
        let id = format!("{}.s{}", self.run_id, self.events.len());
        let mut begin = json!({"id": id, "type": kind, "name": name});
        if let Some(parent) = self.spans.last() {
            begin["parent_id"] = json!(parent);
        }
        self.spans.push(id);
        self.push("span_begin", begin);
    }

    fn end_span(&mut self) {
        self.push("span_end", json!({"id": self.spans.last()}));
        self.spans.pop();
    }

    fn push(&mut self, kind: &str, fields: Value) {
        let mut event = Map::from_iter([
            ("uuid".to_string(), json!(format!("{}.e{}", self.run_id, self.events.len()))),
            ("timestamp".to_string(), json!(self.time)),
            ("working_start".to_string(), json!(0.0)),
            ("event".to_string(), json!(kind)),
        ]);
        if let Some(span) = self.spans.last() {
            event.insert("span_id".into(), json!(span));
        }
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        self.events.push(Value::Object(event));
    }
}

fn model_event(
    row: &StepRow,
    prompt: &[[usize; 2]],
    reply: &Value,
    calls: &ModelCalls<'_>,
) -> Value {
    let mut config = calls.config.clone();
    if !calls.scripted {
        config.insert("seed".into(), row.sampling_seed.into());
    }
    // Tools are the same in each request of a run, and stand in the first alone: repeated, they
    // would be most of a log.
    let tools = if row.step == 1 { calls.tools.as_slice() } else { &[] };
    let mut event = json!({
        "model": calls.model,
        "input": [],
        "input_refs": prompt,
        "tools": tools,
        "tool_choice": if calls.tools.is_empty() { "none" } else { "auto" },
        "config": config,
        "output": output(row, reply, calls),
    });
    if row.history_dropped > 0 || row.mixed_kernels.is_some() {
        event["metadata"] = json!({
            "history_dropped": row.history_dropped,
            "mixed_kernels": row.mixed_kernels,
        });
    }
    event
}

/// The output of the model in a step.
pub(super) fn output(row: &StepRow, reply: &Value, calls: &ModelCalls<'_>) -> Value {
    let stop = match (&*row.finish, &row.action) {
        ("length", _) => "max_tokens",
        (_, Some(_)) => "tool_calls",
        (_, None) => "stop",
    };
    let mut output = json!({
        "model": calls.model,
        "choices": [{"message": reply, "stop_reason": stop}],
        "completion": row.reply,
    });
    if !calls.scripted {
        output["usage"] = TokenUsage::of_step(row).document();
    }
    output
}

/// The call of the tool; `answer`: id and text of the message that told its result.
fn tool_event(row: &StepRow, answer: Option<&(String, String)>) -> Option<Value> {
    let action = row.action.as_ref()?;
    let mut event = json!({
        "id": call_id(row),
        "type": "function",
        "function": action.tool,
        "arguments": action.arguments,
        "result": answer.map_or("", |(_, text)| text),
        "events": [],
    });
    if let Some((id, _)) = answer {
        event["message_id"] = json!(id);
    }
    if let Some(error) = call_error(row) {
        event["error"] = error;
    }
    Some(event)
}
