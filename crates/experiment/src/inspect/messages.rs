//! The messages of a run: those that the model got and gave, verbatim, and the conversation with
//! tool calls and their results.

use results::{PromptMessage, StepRow};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The messages of a run.
#[derive(Debug, Default)]
pub(super) struct RunMessages {
    /// Messages of prompts, as they were sent. Prompts repeat them, so that each stands here once.
    pub pool: Vec<Value>,
    /// For each step, the ranges of `pool` that make up its prompt.
    pub prompts: Vec<Vec<[usize; 2]>>,
    /// The reply of each step.
    pub replies: Vec<Value>,
    /// The conversation, in which the answer to a call is the message of a tool.
    pub conversation: Vec<Value>,
    /// For each step, id and text of the message that answered its reply; `None` for the last.
    pub answers: Vec<Option<(String, String)>>,
}

impl RunMessages {
    /// `keeps_past`: whether prompts have the exchanges before them, as those of models have.
    /// `gap`: the text that precedes the first kept message of a prompt that leaves out exchanges.
    pub fn of(run_id: &str, rows: &[StepRow], keeps_past: bool, gap: &str) -> RunMessages {
        let mut messages = RunMessages::default();
        // By step, the range in the pool of the messages that were new in its prompt.
        let mut news = Vec::new();
        let mut ids = (0..).map(|at| message_id(run_id, at));
        for row in rows {
            let first = messages.pool.len();
            messages.pool.extend(row.prompt.iter().zip(&mut ids).map(|(m, id)| sent(id, m)));
            news.push([first, messages.pool.len()]);
            let (id, content) = (ids.next(), row.reply.as_str());
            if keeps_past {
                messages.pool.push(
                    json!({"id": id, "role": "assistant", "content": content, "source": "generate"}),
                );
            }
        }
        messages.find_prompts(rows, &news, keeps_past.then_some(gap));
        messages.converse(run_id, rows);
        messages
    }

    fn find_prompts(&mut self, rows: &[StepRow], news: &[[usize; 2]], gap: Option<&str>) {
        // Pool positions of the first kept messages with the text about the gap.
        let mut after_gap: BTreeMap<usize, usize> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            let [first, end] = news[at];
            let dropped = (row.history_dropped as usize).min(at);
            let prompt = match gap {
                None => vec![[first, end]],
                Some(_) if dropped == 0 => vec![[0, end]],
                Some(gap) => {
                    let kept = news[dropped][1];
                    let extra = *after_gap.entry(dropped).or_insert_with(|| {
                        let text = rows[dropped].prompt.last().map_or("", |last| &last.content);
                        let mut first = self.pool[kept - 1].clone();
                        first["content"] = json!(format!("{gap}{text}"));
                        self.pool.push(first);
                        self.pool.len() - 1
                    });
                    vec![[0, 1], [extra, extra + 1], [kept, end]]
                }
            };
            let prompt = prompt.into_iter().filter(|[from, to]| from < to).collect();
            self.prompts.push(prompt);
        }
    }

    fn converse(&mut self, run_id: &str, rows: &[StepRow]) {
        for (at, row) in rows.iter().enumerate() {
            let before = at.checked_sub(1).map(|before| &rows[before]);
            for message in &row.prompt {
                let id = message_id(run_id, self.conversation.len());
                self.conversation.push(match before {
                    Some(before) if before.action.is_some() => answer(id, message, before),
                    _ => sent(id, message),
                });
            }
            if let (Some(_), Some(last)) = (before, row.prompt.last()) {
                let id = message_id(run_id, self.conversation.len() - 1);
                self.answers.push(Some((id, last.content.clone())));
            }
            let reply = reply(message_id(run_id, self.conversation.len()), row);
            self.replies.push(reply.clone());
            self.conversation.push(reply);
        }
        self.answers.push(None);
    }
}

/// The id of a message by its place in the conversation. It is the same in prompts, where a message
/// may have another form: Inspect counts messages by their ids.
fn message_id(run_id: &str, at: usize) -> String {
    format!("{run_id}.m{at}")
}

/// The id of the call of a step.
pub(super) fn call_id(row: &StepRow) -> String {
    format!("{}.c{}", row.run_id, row.step)
}

/// Why a call failed, as Inspect describes errors of tools.
pub(super) fn call_error(row: &StepRow) -> Option<Value> {
    let failure = row.result.failure.as_ref()?;
    (!row.result.success).then(|| json!({"type": "unknown", "message": failure}))
}

fn sent(id: String, message: &PromptMessage) -> Value {
    json!({"id": id, "role": message.role, "content": message.content, "source": "input"})
}

/// The observation after a call. It was sent as a message of the user.
fn answer(id: String, message: &PromptMessage, called: &StepRow) -> Value {
    let mut answer = json!({
        "id": id,
        "role": "tool",
        "content": message.content,
        "tool_call_id": call_id(called),
        "function": called.action.as_ref().map(|action| &action.tool),
        "metadata": {"sent_as": message.role},
    });
    if let Some(error) = call_error(called) {
        answer["error"] = error;
    }
    answer
}

fn reply(id: String, row: &StepRow) -> Value {
    let mut reply = Map::from_iter([
        ("id".to_string(), json!(id)),
        ("role".to_string(), json!("assistant")),
        ("source".to_string(), json!("generate")),
    ]);
    let content = match &row.reasoning {
        None => json!(row.reply),
        Some(reasoning) => json!([
            {"type": "reasoning", "reasoning": reasoning},
            {"type": "text", "text": row.reply},
        ]),
    };
    reply.insert("content".into(), content);
    if let Some(action) = &row.action {
        let call = json!({
            "id": call_id(row),
            "function": action.tool,
            "arguments": action.arguments,
            "type": "function",
        });
        reply.insert("tool_calls".into(), json!([call]));
    }
    let mut metadata = Map::from_iter([("step".to_string(), json!(row.step))]);
    if let Some(card) = &row.card {
        metadata.insert("card".into(), json!(card));
    }
    if let Some(failure) = &row.parse_failure {
        metadata.insert("parse_failure".into(), json!(failure));
    }
    reply.insert("metadata".into(), Value::Object(metadata));
    Value::Object(reply)
}
