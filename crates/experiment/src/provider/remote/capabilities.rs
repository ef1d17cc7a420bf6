//! Capabilities of a server, probed with small requests before the first run.

use super::retry::RequestDeadline;
use super::{RemoteProvider, wire};
use crate::provider::ModelThinking;
use crate::provider::{ProviderError, ReplyRequest};
use results::PromptMessage;
use serde_json::{Value, json};

/// How strictly a server can constrain a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ReplyConstraint {
    /// Replies match a JSON schema with `anyOf` at its root and `$defs`, as the agent's schema has
    /// them.
    JsonSchema,
    /// Replies are JSON objects of any shape.
    JsonObject,
    #[default]
    Unconstrained,
}

/// How a request to a server can ask for thinking, or for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ThinkingControl {
    /// `chat_template_kwargs: {enable_thinking}`, as of vLLM, SGLang, llama.cpp and this program.
    TemplateVariables,
    /// `reasoning_effort`, as of OpenAI's models that may answer without thinking.
    Effort,
    #[default]
    Absent,
}

/// Optional features that requests to a server may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ServerCapabilities {
    pub constraint: ReplyConstraint,
    pub tools: bool,
    pub thinking: ThinkingControl,
    /// Whether the server accepts only `max_completion_tokens`, the newer name of `max_tokens`.
    pub max_completion_tokens: bool,
}

impl ServerCapabilities {
    /// Description of the capabilities. Provenance records it in place of a kernel set, so that
    /// rows of servers with different capabilities are not mixed unnoticed.
    pub fn label(&self) -> String {
        let constraint = match self.constraint {
            ReplyConstraint::JsonSchema => "json_schema",
            ReplyConstraint::JsonObject => "json_object",
            ReplyConstraint::Unconstrained => "free",
        };
        format!("server {constraint}{}", if self.tools { " tools" } else { "" })
    }
}

/// Probes a server with a plain request, which must succeed, and then with one request for each
/// optional feature.
pub(super) fn probe(
    provider: &RemoteProvider,
    deadline_s: f64,
    canceled: &(dyn Fn() -> bool + Sync),
) -> Result<ServerCapabilities, ProviderError> {
    let probe = CapabilityProbe { provider, deadline_s, canceled };
    let mut found = ServerCapabilities::default();
    if let Err(why) = probe.accepts(&found, Feature::Constraint)? {
        found.max_completion_tokens = true;
        if probe.accepts(&found, Feature::Constraint)?.is_err() {
            return Err(ProviderError::Unavailable(format!(
                "{} refuses a plain request: {why}",
                provider.client.address()
            )));
        }
    }
    for constraint in [ReplyConstraint::JsonSchema, ReplyConstraint::JsonObject] {
        let constrained = ServerCapabilities { constraint, ..found };
        if found.constraint == ReplyConstraint::Unconstrained
            && probe.accepts(&constrained, Feature::Constraint)?.is_ok()
        {
            found.constraint = constraint;
        }
    }
    let with_tools = ServerCapabilities { tools: true, ..found };
    found.tools = probe.accepts(&with_tools, Feature::Tools)?.is_ok();
    for thinking in [ThinkingControl::TemplateVariables, ThinkingControl::Effort] {
        let controlled = ServerCapabilities { thinking, ..found };
        if found.thinking == ThinkingControl::Absent
            && probe.accepts(&controlled, Feature::Thinking)?.is_ok()
        {
            found.thinking = thinking;
        }
    }
    Ok(found)
}

/// The optional part of a probing request.
#[derive(Clone, Copy, PartialEq)]
enum Feature {
    /// The assumed constraint on the reply: a JSON schema, any JSON object, or none.
    Constraint,
    Tools,
    /// No thinking, requested in the assumed way.
    Thinking,
}

struct CapabilityProbe<'a> {
    provider: &'a RemoteProvider,
    deadline_s: f64,
    canceled: &'a (dyn Fn() -> bool + Sync),
}

impl CapabilityProbe<'_> {
    /// Sends a request that uses these capabilities. The inner error is the server's message if it
    /// rejects the request.
    ///
    /// # Errors
    /// The server cannot be reached, does not respond in time, or the command was canceled.
    fn accepts(
        &self,
        capabilities: &ServerCapabilities,
        feature: Feature,
    ) -> Result<Result<(), String>, ProviderError> {
        let (schema, tools) = (schema(), tools());
        let content = "Reply with {\"tool\": \"wait\"} as JSON.".to_string();
        let request = ReplyRequest {
            session: "offers",
            messages: &[PromptMessage { role: "user".into(), content }],
            tools: Some(&tools).filter(|_| feature == Feature::Tools),
            schema: Some(&schema).filter(|_| feature == Feature::Constraint),
            thinking: ModelThinking::Off,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            max_tokens: 16,
            deadline_s: self.deadline_s,
            canceled: self.canceled,
        };
        let deadline = RequestDeadline::new(self.deadline_s, request.session, 0, self.canceled);
        let body = wire::request_body(&self.provider.model, &request, capabilities);
        match self.provider.complete(&body, &deadline) {
            Ok(_) => Ok(Ok(())),
            Err(ProviderError::Refused(why)) => Ok(Err(why)),
            Err(other) => Err(other),
        }
    }
}

/// A schema with the features of the agent's schema: `anyOf` at the root, constants, definitions.
fn schema() -> Value {
    let call = json!({
        "type": "object",
        "properties": {"tool": {"const": "wait"}, "card": {"$ref": "#/$defs/card"}},
        "required": ["tool"],
        "additionalProperties": false,
    });
    json!({"anyOf": [call], "$defs": {"card": {"type": ["integer", "null"]}}})
}

fn tools() -> Value {
    let parameters =
        json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false});
    json!([{"type": "function", "function": {"name": "wait", "description": "end the day", "parameters": parameters}}])
}
