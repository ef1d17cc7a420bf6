//! What a chat template renders, determined by rendering small conversations. A template does not
//! declare which roles it knows: it raises an error for the others, or omits their messages.
use super::ChatTemplate;
use serde::Serialize;
use serde_json::{Value, json};

/// Text that is searched for in the renderings.
const MARK: &str = "probe_of_the_template";

/// Which parts of a conversation a template renders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TemplateFeatures {
    /// Messages with the role `user`. A template without them makes its prompt from something else
    /// than the conversation.
    #[serde(skip)]
    pub user: bool,
    /// Definitions of tools, and calls of tools in earlier replies.
    pub tools: bool,
    /// Messages with the role `tool`, the results of calls.
    pub tool_results: bool,
    /// Messages with the role `system`.
    pub system: bool,
}

impl TemplateFeatures {
    pub(super) fn of(template: &ChatTemplate) -> TemplateFeatures {
        let renders = |messages: &[Value], tools: Option<&Value>| {
            template.render(messages, tools, true).is_ok_and(|text| text.contains(MARK))
        };
        let [user, system] =
            [("user", "Hello"), ("system", MARK)].map(|(role, text)| message(role, text));
        let has_user = renders(&[message("user", MARK)], None);
        let marked_tools = tools(MARK);
        let has_tools = renders(std::slice::from_ref(&user), Some(&marked_tools));
        let (other_tools, call) = (tools("f"), call("f"));
        let given_tools = Some(&other_tools).filter(|_| has_tools);
        let calls = match has_tools {
            true => json!({"role": "assistant", "content": "", "tool_calls": [call]}),
            false => message("assistant", &call["function"].to_string()),
        };
        let result =
            json!({"role": "tool", "content": MARK, "name": "f", "tool_call_id": call["id"]});
        TemplateFeatures {
            user: has_user,
            tools: has_tools,
            tool_results: renders(&[user.clone(), calls, result], given_tools),
            system: renders(&[system, user], None),
        }
    }
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn tools(name: &str) -> Value {
    let parameters = json!({"type": "object", "properties": {}});
    let function = json!({"name": name, "description": name, "parameters": parameters});
    json!([{"type": "function", "function": function}])
}

/// A call with an id of nine letters and digits, the only form that Mistral's templates accept.
fn call(name: &str) -> Value {
    json!({"id": "abc123def", "type": "function", "function": {"name": name, "arguments": {}}})
}
