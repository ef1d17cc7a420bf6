//! What a chat request asks of the model's thinking: the switches of several servers, resolved to
//! one choice, the template's variables and a budget.

use std::sync::Arc;

use engine::Thinking;
use serde_json::{Map, Value};
use text::thinking::{PromptOptions, ThinkingChoice, ThinkingStart, ThinkingSyntax};
use text::{ChatTemplate, Tokenizer};

use crate::api_error::ApiError;

/// The fields of a chat request about thinking.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThinkingParams<'a> {
    /// `chat_template_kwargs`, as of vLLM and SGLang.
    pub variables: Option<&'a Map<String, Value>>,
    pub enable_thinking: Option<bool>,
    /// OpenAI's `reasoning_effort`.
    pub effort: Option<&'a str>,
    /// `thinking_budget`: maximum number of tokens of thinking, as of Qwen's service.
    pub budget: Option<u64>,
}

/// The resolved fields. The choice is in `options`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ThinkingPlan {
    pub options: PromptOptions,
    pub budget: Option<usize>,
}

const VARIABLES: &str = "chat_template_kwargs";
const ENABLE: &str = "enable_thinking";
const EFFORT: &str = "reasoning_effort";
const BUDGET: &str = "thinking_budget";
/// OpenAI's values of `reasoning_effort`, beside `none`.
const EFFORTS: [&str; 5] = ["minimal", "low", "medium", "high", "xhigh"];
/// Those that templates know.
const TEMPLATE_EFFORTS: [&str; 3] = ["low", "medium", "high"];

/// Variables of templates that follow from the request's other fields and from the model.
const OWN_VARIABLES: [&str; 5] =
    ["messages", "tools", "add_generation_prompt", "bos_token", "eos_token"];

impl ThinkingParams<'_> {
    /// Resolves the fields for a template. `model`: its name, for errors.
    pub fn resolve(&self, template: &ChatTemplate, model: &str) -> Result<ThinkingPlan, ApiError> {
        let mut asked = Asked { choice: None, model, syntax: template.thinking() };
        let (mut variables, mut effort) = (Map::new(), self.effort.map(|text| (EFFORT, text)));
        if let Some(on) = self.enable_thinking {
            asked.switch(ENABLE, on)?;
        }
        for (name, value) in self.variables.into_iter().flatten().filter(|(_, v)| !v.is_null()) {
            match value {
                Value::Bool(on) if ThinkingSyntax::is_switch(name) => {
                    asked.switch(VARIABLES, *on)?;
                }
                _ if ThinkingSyntax::is_switch(name) => {
                    let text = format!("{name}: expected true or false, found {value}");
                    return Err(ApiError::field(VARIABLES, text));
                }
                _ if OWN_VARIABLES.contains(&name.as_str()) => {
                    let text = format!("{name}: expected no variable that the server sets itself");
                    return Err(ApiError::field(VARIABLES, text));
                }
                Value::String(text) if name == EFFORT && effort.is_none() => {
                    effort = Some((VARIABLES, text));
                }
                _ if template.reads(name) => drop(variables.insert(name.clone(), value.clone())),
                // A variable that is off has no effect anywhere.
                Value::Bool(false) => {}
                _ => {
                    let text = format!(
                        "{name}: expected variables that the chat template of '{model}' reads"
                    );
                    return Err(ApiError::field(VARIABLES, text));
                }
            }
        }
        if let Some((field, effort)) = effort {
            asked.effort(field, effort, &mut variables)?;
        }
        let budget = self.budget.map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX));
        if let Some(budget) = budget {
            asked.switch(BUDGET, budget > 0)?;
        }
        let thinking = match asked.choice {
            None => ThinkingChoice::Default,
            Some((_, false)) => ThinkingChoice::Off,
            Some((_, true)) => ThinkingChoice::On,
        };
        let options = PromptOptions { thinking, variables, is_constrained: false };
        Ok(ThinkingPlan { options, budget })
    }
}

impl ThinkingPlan {
    /// How the engine's response to a prompt thinks.
    pub fn of_reply(
        &self,
        start: Option<ThinkingStart>,
        template: &ChatTemplate,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Thinking>, ApiError> {
        let Some((start, syntax)) = start.zip(template.thinking()) else { return Ok(None) };
        match syntax.marks(tokenizer) {
            Ok(marks) => Ok(Some(Thinking { marks: Arc::new(marks), start, budget: self.budget })),
            // The template only seems to be one of a model that thinks.
            Err(_) if self.options.thinking == ThinkingChoice::Default => Ok(None),
            Err(error) => Err(ApiError::bad_request(error.to_string())),
        }
    }
}

/// The choice so far.
struct Asked<'a> {
    /// The field that asked first, and whether thinking is on.
    choice: Option<(&'static str, bool)>,
    model: &'a str,
    syntax: Option<&'a ThinkingSyntax>,
}

impl Asked<'_> {
    /// Records that a field switches thinking on or off.
    fn switch(&mut self, field: &'static str, on: bool) -> Result<(), ApiError> {
        if on && self.syntax.is_none() {
            let text = format!(
                "expected no thinking of '{}', whose chat template has none; leave {field} out",
                self.model
            );
            return Err(ApiError::field(field, text));
        }
        match self.choice {
            Some((other, before)) if before != on => {
                let named = |on| if on { "on" } else { "off" };
                let (before, now) = (named(before), named(on));
                let text = format!(
                    "expected one choice, found that {other} turns thinking {before} and {field} {now}"
                );
                Err(ApiError::field(field, text))
            }
            _ => {
                self.choice = Some((field, on));
                Ok(())
            }
        }
    }

    fn effort(
        &mut self,
        field: &'static str,
        effort: &str,
        variables: &mut Map<String, Value>,
    ) -> Result<(), ApiError> {
        if matches!(effort, "none" | "off") {
            return self.switch(field, false);
        }
        let refused = |text: String| Err(ApiError::field(field, text));
        if !EFFORTS.contains(&effort) {
            let expected = EFFORTS.join(", ");
            return refused(format!("{EFFORT}: expected none, {expected}, found \"{effort}\""));
        }
        // An effort advises the model: one without efforts answers as it does, here as elsewhere.
        if !self.syntax.is_some_and(ThinkingSyntax::has_effort) {
            return Ok(());
        }
        if !TEMPLATE_EFFORTS.contains(&effort) {
            let expected = TEMPLATE_EFFORTS.join(", ");
            return refused(format!(
                "{EFFORT}: expected none, {expected}, which '{}' knows, found \"{effort}\"",
                self.model
            ));
        }
        if let Some((other, false)) = self.choice {
            let text = format!("{EFFORT}: expected none, as {other} turns thinking off");
            return refused(text);
        }
        variables.insert(EFFORT.to_owned(), effort.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;
    use text::TemplateSource;

    const SWITCHED: &str = "{% if enable_thinking %}<think>{% else %}<think></think>{% endif %}";
    const EFFORTS: &str =
        "<|channel|><|message|>{{ reasoning_effort }}{{ color }}<|start|>assistant";
    const PLAIN: &str = "{{ messages[0].content }}";

    fn resolve(source: &str, fields: Value) -> Result<ThinkingPlan, String> {
        let source = TemplateSource { default: source.to_owned(), ..TemplateSource::default() };
        let template = ChatTemplate::new(Path::new("t"), source).unwrap();
        let params = ThinkingParams {
            variables: fields[VARIABLES].as_object(),
            enable_thinking: fields[ENABLE].as_bool(),
            effort: fields[EFFORT].as_str(),
            budget: fields[BUDGET].as_u64(),
        };
        params.resolve(&template, "tiny").map_err(|error| error.to_string())
    }

    fn choice(source: &str, fields: Value) -> ThinkingChoice {
        resolve(source, fields).unwrap().options.thinking
    }

    #[test]
    fn each_switch_makes_the_same_choice() {
        use ThinkingChoice::{Default, Off, On};
        for (fields, expected) in [
            (json!({}), Default),
            (json!({"enable_thinking": true}), On),
            (json!({"enable_thinking": false, "thinking_budget": 0}), Off),
            (json!({"chat_template_kwargs": {"enable_thinking": true}}), On),
            (json!({"chat_template_kwargs": {"thinking": false}}), Off),
            (json!({"reasoning_effort": "none"}), Off),
            (json!({"reasoning_effort": "high"}), Default),
            (json!({"thinking_budget": 5}), On),
            (json!({"thinking_budget": 0}), Off),
        ] {
            assert_eq!(choice(SWITCHED, fields.clone()), expected, "{fields}");
        }
        assert_eq!(resolve(SWITCHED, json!({"thinking_budget": 5})).unwrap().budget, Some(5));
        for fields in [
            json!({"enable_thinking": false}),
            json!({"reasoning_effort": "none"}),
            json!({"reasoning_effort": "low"}),
            json!({"chat_template_kwargs": {"enable_thinking": false, "color": false, "x": null}}),
        ] {
            assert!(resolve(PLAIN, fields.clone()).is_ok(), "{fields}");
        }
    }

    #[test]
    fn variables_and_efforts_reach_a_template_that_reads_them() {
        let fields = json!({"reasoning_effort": "high", "chat_template_kwargs": {"color": [1]}});
        let plan = resolve(EFFORTS, fields).unwrap();
        let expected = json!({"color": [1], "reasoning_effort": "high"});
        assert_eq!(Value::Object(plan.options.variables), expected);
        let fields = json!({"chat_template_kwargs": {"reasoning_effort": "low"}});
        let plan = resolve(EFFORTS, fields).unwrap();
        assert_eq!(plan.options.variables["reasoning_effort"], "low");
    }

    #[test]
    fn what_the_model_cannot_do_is_refused() {
        for (source, fields, part) in [
            (PLAIN, json!({"enable_thinking": true}), "no thinking of 'tiny'"),
            (PLAIN, json!({"thinking_budget": 5}), "leave thinking_budget out"),
            (PLAIN, json!({"chat_template_kwargs": {"color": 1}}), "color: expected variables"),
            (PLAIN, json!({"chat_template_kwargs": {"messages": []}}), "messages: expected"),
            (SWITCHED, json!({"chat_template_kwargs": {"enable_thinking": "no"}}), "found \"no\""),
            (SWITCHED, json!({"chat_template_kwargs": {"enable_thinking": 0}}), "true or false"),
            (
                SWITCHED,
                json!({"chat_template_kwargs": {"add_generation_prompt": false}}),
                "add_generation_prompt: expected no variable",
            ),
            (PLAIN, json!({"reasoning_effort": "much"}), "found \"much\""),
            (EFFORTS, json!({"reasoning_effort": "xhigh"}), "expected none, low, medium, high"),
            (EFFORTS, json!({"reasoning_effort": "much"}), "found \"much\""),
            (SWITCHED, json!({"enable_thinking": false, "thinking_budget": 5}), "one choice"),
            (EFFORTS, json!({"enable_thinking": false, "reasoning_effort": "low"}), "turns"),
            (
                SWITCHED,
                json!({"enable_thinking": true, "chat_template_kwargs": {"enable_thinking": false}}),
                "one choice",
            ),
        ] {
            let error = resolve(source, fields.clone()).expect_err("a refusal");
            assert!(error.contains(part), "{fields}: {error}");
        }
    }
}
