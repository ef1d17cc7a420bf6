//! Tests of how thinking is found in chat templates, begun and ended in prompts, and marked by
//! tokens.
mod support;

use serde_json::{Map, Value, json};
use std::path::Path;
use support::{folder, golden_json};
use text::thinking::{
    PromptOptions, ThinkingChoice, ThinkingMark, ThinkingMarks, ThinkingPrompt, ThinkingStage,
    ThinkingStart,
};
use text::{ChatTemplate, TemplateMessage, TemplateSource, TextError, Tokenizer};

/// Of Qwen3's form: the model thinks unless it is asked not to.
const QWEN3: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}\
    <think>\n\n</think>\n\n{% endif %}{% endif %}";
/// Of the form of DeepSeek-R1 and QwQ: the prompt begins the thinking.
const OPENED: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
    {% if add_generation_prompt %}<assistant><think>\n{% endif %}";
/// Of DeepSeek-V3.1's form: no thinking unless it is requested.
const V31: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
    {% if add_generation_prompt %}<assistant>{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}";
/// Of the form of R1's first templates: the thinking of earlier replies is cut.
const UNSAID: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}{% endfor %}\
    {% if add_generation_prompt %}<assistant>{% endif %}";
/// Of gpt-oss's form.
const HARMONY: &str = "<|start|>system<|message|>Reasoning: {{ reasoning_effort or 'medium' }}<|end|>{% for m in messages %}\
    <|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}<|message|>{{ m.content }}<|end|>{% endfor %}\
    {% if add_generation_prompt %}<|start|>assistant{% endif %}";
const PLAIN: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
    {% if add_generation_prompt %}<assistant>{% endif %}";

fn template(source: &str) -> ChatTemplate {
    let source = TemplateSource { default: source.to_owned(), ..TemplateSource::default() };
    ChatTemplate::new(Path::new("chat_template.jinja"), source).expect("a valid template")
}

fn prompt(
    source: &str,
    thinking: ThinkingChoice,
    is_constrained: bool,
) -> Result<ThinkingPrompt, TextError> {
    let options = PromptOptions { thinking, is_constrained, variables: Map::new() };
    template(source).thinking_prompt(&[TemplateMessage::new("user", "Hi")], None, &options)
}

/// The end of the prompt behind the user's message, and how thinking begins.
fn ending(
    source: &str,
    thinking: ThinkingChoice,
    is_constrained: bool,
) -> (String, Option<ThinkingStart>) {
    let ThinkingPrompt { text, start } =
        prompt(source, thinking, is_constrained).expect("a prompt");
    (text.rsplit_once("Hi").expect("the message").1.to_owned(), start)
}

#[test]
fn templates_tell_whether_and_when_their_models_think() {
    for (source, expected) in [
        (QWEN3, Some((true, false))),
        (OPENED, Some((true, false))),
        (V31, Some((false, false))),
        (UNSAID, Some((false, false))),
        (HARMONY, Some((true, true))),
        (PLAIN, None),
    ] {
        let template = template(source);
        let found = template.thinking().map(|syntax| (syntax.by_default(), syntax.has_effort()));
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn thinking_that_is_on_begins_in_the_prompt() {
    let opened = Some(ThinkingStart::Opened);
    for (source, text) in [
        (QWEN3, "<|im_end|>\n<|im_start|>assistant\n<think>\n"),
        (OPENED, "<assistant><think>\n"),
        (V31, "<assistant><think>"),
        (UNSAID, "<assistant><think>\n"),
        (HARMONY, "<|end|><|start|>assistant<|channel|>analysis<|message|>"),
    ] {
        for is_constrained in [false, true] {
            assert_eq!(ending(source, ThinkingChoice::On, is_constrained), (text.into(), opened));
        }
    }
}

#[test]
fn thinking_that_is_off_ends_in_the_prompt() {
    for (source, text) in [
        (QWEN3, "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        (OPENED, "<assistant><think>\n\n</think>\n\n"),
        (V31, "<assistant></think>"),
        (UNSAID, "<assistant><think>\n\n</think>\n\n"),
        (HARMONY, "<|end|><|start|>assistant<|channel|>final<|message|>"),
        (PLAIN, "<assistant>"),
    ] {
        assert_eq!(ending(source, ThinkingChoice::Off, true), (text.into(), None), "{source}");
    }
}

#[test]
fn the_template_decides_by_default_and_the_model_where_the_template_does_not() {
    use ThinkingStart::{ByModel, Opened};
    for (source, free, constrained) in [
        (QWEN3, Some(ByModel), Some(Opened)),
        (OPENED, Some(Opened), Some(Opened)),
        (V31, None, None),
        (UNSAID, Some(ByModel), None),
        (HARMONY, Some(ByModel), Some(Opened)),
        (PLAIN, None, None),
    ] {
        let start = |is_constrained| ending(source, ThinkingChoice::Default, is_constrained).1;
        assert_eq!((start(false), start(true)), (free, constrained), "{source}");
    }
}

#[test]
fn thinking_is_refused_where_the_template_has_none() {
    let error = prompt(PLAIN, ThinkingChoice::On, false).expect_err("no thinking").to_string();
    assert!(error.contains("expected") && error.contains("this model does not think"), "{error}");
    let closed = OPENED.replace("<think>\n", "<think></think>");
    let error = prompt(&closed, ThinkingChoice::On, false).expect_err("it is closed").to_string();
    assert!(error.contains("although thinking is on"), "{error}");
}

#[test]
fn variables_reach_the_template_except_those_of_the_conversation() {
    let harmony = template(HARMONY);
    let variables = json!({"reasoning_effort": "high", "messages": [], "add_generation_prompt": 7});
    let variables: &Map<String, Value> = variables.as_object().expect("an object");
    let messages = [TemplateMessage::new("user", "Hi")];
    let text = harmony.prompt_with(&messages, None, false, variables).expect("a prompt");
    assert!(text.starts_with("<|start|>system<|message|>Reasoning: high<|end|>"), "{text}");
    assert!(text.ends_with("<|start|>user<|message|>Hi<|end|>"), "{text}");
    assert!(harmony.reads("reasoning_effort") && !harmony.reads("messages"));
}

#[test]
fn tags_are_tokens() {
    let tokenizer = tokenizer(&[]);
    let marks = template(QWEN3).thinking().expect("thinking").marks(&tokenizer).expect("marks");
    let ids = |text: &str| tokenizer.encode(text, false).expect("ids");
    assert_eq!((marks.begin, marks.end), (vec![383], vec![384]));
    assert_eq!((marks.before_end, marks.behind_end), (ids("\n"), ids("\n\n")));
}

#[test]
fn channels_are_headers_of_messages() {
    let tokenizer = tokenizer(&["<|start|>", "<|channel|>", "<|message|>", "<|end|>"]);
    let marks = template(HARMONY).thinking().expect("thinking").marks(&tokenizer).expect("marks");
    let ids = |text: &str| tokenizer.encode(text, false).expect("ids");
    assert_eq!(marks.begin, ids("<|channel|>analysis<|message|>"));
    assert_eq!(marks.end, ids("<|end|><|start|>assistant<|channel|>final<|message|>"));
    let mark = |text: &str, leads_to| ThinkingMark { tokens: ids(text), leads_to };
    let ThinkingMarks { at_start, within, .. } = marks;
    assert!(at_start.contains(&mark("<|channel|>final<|message|>", ThinkingStage::Answer)));
    let again = "<|end|><|start|>assistant<|channel|>analysis<|message|>";
    assert!(within.contains(&mark(again, ThinkingStage::Thinking)));
}

#[test]
fn a_tokenizer_without_the_marks_is_refused() {
    let syntax = template(HARMONY);
    let error = syntax.thinking().expect("thinking").marks(&tokenizer(&[])).expect_err("no token");
    assert!(error.to_string().contains("<|start|>"), "{error}");
}

/// The small tokenizer, with further special tokens.
fn tokenizer(special: &[&str]) -> Tokenizer {
    let mut json = golden_json("text/tokenizer.json");
    let added = json["added_tokens"].as_array_mut().expect("added tokens");
    for (id, token) in (386..).zip(special) {
        let mut entry = added[0].clone();
        (entry["id"], entry["content"]) = (id.into(), (*token).into());
        added.push(entry);
    }
    let folder = folder(&[("tokenizer.json", &json.to_string())]);
    let family = checkpoint::Family::Llama;
    Tokenizer::from_folder(folder.path(), family).expect("valid").expect("a tokenizer")
}
