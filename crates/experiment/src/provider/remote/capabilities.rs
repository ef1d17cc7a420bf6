//! What a server offers, found by asking for it once, before any run.

use super::retry::RequestDeadline;
use super::{RemoteProvider, wire};
use crate::provider::{ProviderError, ReplyRequest};
use results::PromptMessage;
use serde_json::{Value, json};

/// How far a server can hold a reply to a form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ReplyConstraint {
    /// To a JSON schema such as ours: a choice at the top, and definitions.
    JsonSchema,
    /// To be some JSON object.
    JsonObject,
    /// Not at all.
    #[default]
    Unconstrained,
}

/// What requests to a server may carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ServerCapabilities {
    pub form: ReplyConstraint,
    pub tools: bool,
    /// The limit of tokens has its newer name.
    pub max_completion_tokens: bool,
}

impl ServerCapabilities {
    /// In the place of a kernel set: rows of a server that offers other things are kept apart.
    pub fn words(&self) -> String {
        let form = match self.form {
            ReplyConstraint::JsonSchema => "json_schema",
            ReplyConstraint::JsonObject => "json_object",
            ReplyConstraint::Unconstrained => "free",
        };
        format!("server {form}{}", if self.tools { " tools" } else { "" })
    }
}

/// CapabilityProbe plainly first, which must work; then for each thing, which may be refused.
pub(super) fn find(
    provider: &RemoteProvider,
    deadline_s: f64,
    canceled: &(dyn Fn() -> bool + Sync),
) -> Result<ServerCapabilities, ProviderError> {
    let asks = CapabilityProbe { provider, deadline_s, canceled };
    let mut offers = ServerCapabilities::default();
    if let Err(why) = asks.granted(&offers, false)? {
        offers.max_completion_tokens = true;
        if asks.granted(&offers, false)?.is_err() {
            return Err(ProviderError::Unavailable(format!(
                "{} refuses a plain request: {why}",
                provider.line.address()
            )));
        }
    }
    for form in [ReplyConstraint::JsonSchema, ReplyConstraint::JsonObject] {
        if offers.form == ReplyConstraint::Unconstrained
            && asks.granted(&ServerCapabilities { form, ..offers }, false)?.is_ok()
        {
            offers.form = form;
        }
    }
    offers.tools = asks.granted(&ServerCapabilities { tools: true, ..offers }, true)?.is_ok();
    Ok(offers)
}

struct CapabilityProbe<'a> {
    provider: &'a RemoteProvider,
    deadline_s: f64,
    canceled: &'a (dyn Fn() -> bool + Sync),
}

impl CapabilityProbe<'_> {
    /// Inner error: the server refuses this request, in its words. Outer: no request can be made.
    fn granted(
        &self,
        offers: &ServerCapabilities,
        with_tools: bool,
    ) -> Result<Result<(), String>, ProviderError> {
        let (schema, tools) = (schema(), tools());
        let content = "Reply with {\"tool\": \"wait\"} as JSON.".to_string();
        let request = ReplyRequest {
            session: "offers",
            messages: &[PromptMessage { role: "user".into(), content }],
            tools: Some(&tools).filter(|_| with_tools),
            schema: Some(&schema).filter(|_| !with_tools),
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            max_tokens: 16,
            deadline_s: self.deadline_s,
            canceled: self.canceled,
        };
        let patience = RequestDeadline::new(self.deadline_s, request.session, 0, self.canceled);
        match self.provider.ask(&wire::body(&self.provider.model, &request, offers), &patience) {
            Ok(_) => Ok(Ok(())),
            Err(ProviderError::Refused(why)) => Ok(Err(why)),
            Err(other) => Err(other),
        }
    }
}

/// Has what ours have: a choice at the top, constants, definitions.
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
