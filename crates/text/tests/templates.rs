//! Tests that chat templates render as by transformers' `apply_chat_template`
//! (`tests/golden/make_texts.py`).
mod support;

use error_kind::{ErrorKind, HasKind};
use serde_json::Value;
use std::path::Path;
use support::{golden, golden_json, list, smollm2, text};
use text::{ChatTemplate, TemplateMessage, TemplateSource, TextError};

fn check(template: &ChatTemplate, name: &str, golden: &Value, renderings: &[Value]) {
    let conversations = list(golden, "conversations");
    assert!(renderings.len() >= 15, "{name}: {} renderings", renderings.len());
    for rendering in renderings {
        let index = rendering["conversation"].as_u64().expect("a conversation") as usize;
        let messages = conversations[index].as_array().expect("messages").iter();
        let word = |v: &Value| v.as_str().expect("text").to_owned();
        let messages: Vec<TemplateMessage> =
            messages.map(|m| TemplateMessage::new(word(&m[0]), word(&m[1]))).collect();
        let tools = (rendering["tools"] == true).then_some(&golden["tools"]);
        let found = template.render(&messages, tools, rendering["add_generation_prompt"] == true);
        let asked = format!("{name}, conversation {index}, tools {}", tools.is_some());
        match (text(rendering, "text"), found) {
            (Some(expected), Ok(found)) => assert_eq!(found, expected, "{asked}"),
            (None, Err(error)) => {
                let why = text(rendering, "error").expect("an error");
                assert!(
                    error.to_string().contains(why) && error.kind() == ErrorKind::BadInput,
                    "{asked}: {error}, not {why}"
                );
            }
            (expected, found) => panic!("{asked}: expected {expected:?}, found {found:?}"),
        }
    }
}

fn template(source: &str) -> Result<ChatTemplate, TextError> {
    let source = TemplateSource { default: source.to_owned(), ..TemplateSource::default() };
    ChatTemplate::new(Path::new("chat_template.jinja"), source)
}

fn render(source: &str) -> Result<String, TextError> {
    template(source)?.render(&[TemplateMessage::new("user", "Hi")], None, true)
}

#[test]
fn smollm2s_template_renders_as_in_transformers() {
    let Some(checkpoint) = smollm2("the_real_models_template_renders_as_in_transformers") else {
        return;
    };
    let golden = golden_json("text/templates.json");
    let template = ChatTemplate::from_checkpoint(&checkpoint).expect("valid").expect("a template");
    check(&template, "SmolLM2", &golden, list(&golden, "smollm2"));
}

#[test]
fn jinja_features_render_as_in_transformers() {
    let golden = golden_json("text/templates.json");
    let special = ["bos_token", "eos_token"]
        .map(|n| (n.to_owned(), text(&golden, n).expect("a token").to_owned()));
    let templates = golden
        .as_object()
        .expect("an object")
        .iter()
        .filter(|(name, _)| name.starts_with("template "));
    let mut count = 0;
    for (name, entry) in templates {
        let default = text(entry, "template").expect("a template").to_owned();
        let source = TemplateSource { default, tool_use: None, special: special.clone().into() };
        let template = ChatTemplate::new(Path::new("golden"), source).expect("a valid template");
        check(&template, name, &golden, list(entry, "renderings"));
        count += 1;
    }
    assert_eq!(count, 6);
}

#[test]
fn a_folders_template_is_found_where_transformers_finds_it() {
    let folder = support::folder(&[]);
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("llama-tied-f16").join(file), folder.path().join(file))
            .expect("a copy");
    }
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    let checkpoint = checkpoint::Checkpoint::open(folder.path()).expect("a checkpoint");
    let found = |tools: Option<&Value>| {
        let template = ChatTemplate::from_checkpoint(&checkpoint).expect("valid")?;
        Some(template.render::<TemplateMessage>(&[], tools, false).expect("a text"))
    };
    let tools = serde_json::json!([]);
    assert_eq!(found(None), None);
    let text = "string {{ bos_token }}{{ eos_token }}{{ pad_token is defined }}";
    let string = serde_json::json!({"chat_template": text, "bos_token": {"content": "<b>"}, "pad_token": null});
    write("tokenizer_config.json", &string.to_string());
    write("special_tokens_map.json", r#"{"eos_token": "<e>", "bos_token": "<c>"}"#);
    assert_eq!(found(None).as_deref(), Some("string <c><e>False"));
    let listed =
        serde_json::json!({"chat_template": text, "bos_token": "<b>", "added_tokens_decoder": {}});
    write("tokenizer_config.json", &listed.to_string());
    assert_eq!(found(None).as_deref(), Some("string <b>False"));
    write(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "default"}]}"#,
    );
    assert_eq!(found(None).as_deref(), Some("default"));
    assert_eq!(found(Some(&tools)).as_deref(), Some("tools"));
    write("chat_template.jinja", "file");
    assert_eq!(found(Some(&tools)).as_deref(), Some("file"));
    write("additional_chat_templates/tool_use.jinja", "tools from a file");
    assert_eq!(found(Some(&tools)).as_deref(), Some("tools from a file"));
    write("chat_template.jinja", "{% for %}");
    let refused = |words: &str| {
        let error = ChatTemplate::from_checkpoint(&checkpoint).expect_err("malformed");
        assert_eq!(error.kind(), ErrorKind::BadInput, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    refused("chat_template.jinja");
    std::fs::remove_file(folder.path().join("chat_template.jinja")).expect("removed");
    for wrong in [
        r#"{"chat_template": [{"name": "x", "template": "y"}]}"#,
        r#"{"chat_template": 1}"#,
        "{",
        "[1]{",
        "7",
    ] {
        write("tokenizer_config.json", wrong);
        refused("tokenizer_config.json");
    }
}

#[test]
fn a_template_that_fails_or_does_not_end_is_an_error() {
    let cases = [
        "{{ raise_exception('no such role') }}",
        "{{ messages[0].nothing.more }}",
        "{{ no_such_function() }}",
        "{{ 1 / 0 }}",
        "{{ strftime_now('%Q') }}",
        "{{ strftime_now('%') }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
        "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
        "{% for a in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
        "{{ missing | tojson }}",
        "{{ messages | tojson(separators=['x']) }}",
        "{% include 'x' %}",
    ];
    for source in cases {
        let error = render(source).expect_err(source);
        assert_eq!(error.kind(), ErrorKind::BadInput, "{source}: {error}");
        assert!(error.to_string().contains("chat_template.jinja"), "{error}");
    }
    let deep = [
        format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)),
        "{% if 1 %}".repeat(50_000),
    ];
    for source in ["{% if %}", "{{", "{% endfor %}", "{% generation %}", "{%", &deep[0], &deep[1]] {
        assert_eq!(
            template(source).expect_err("malformed").kind(),
            ErrorKind::BadInput,
            "{}",
            &source[..source.len().min(20)]
        );
    }
}

#[test]
fn tests_of_values_are_those_of_jinja2() {
    let values = "[none, undefined_value, 'text', '', [], [1], {}, {'a': 1}, 1, true]";
    let test = |name: &str| {
        render(&format!("{{% for v in {values} %}}{{{{ 1 if v is {name} else 0 }}}}{{% endfor %}}"))
            .expect("a text")
    };
    assert_eq!(test("iterable"), "0111111100");
    assert_eq!(test("sequence"), "0111111100");
    assert_eq!(
        render("{{ tools is iterable }}{{ tools is sequence }}{{ none is iterable }}")
            .expect("a text"),
        "FalseFalseFalse"
    );
}

#[test]
fn macros_nest_200_deep() {
    let simple =
        "{% macro m(n) %}x{% if n > 1 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(200) }}";
    assert_eq!(render(simple).expect("a text"), "x".repeat(200));
    let blocks = "{% macro m(n) %}{% for a in [1] %}{% for b in [1] %}{% with c = 1 %}{% if n > 1 %}x{{ m(n - 1) }}\
        {% endif %}{% endwith %}{% endfor %}{% endfor %}{% endmacro %}{{ m(200) }}";
    assert_eq!(render(blocks).expect("a text"), "x".repeat(199));
    let endless = "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}";
    let error = render(endless).expect_err("endless").to_string();
    assert!(error.contains("200 deep"), "{error}");
}

#[test]
fn a_value_as_deep_as_the_fuel_allows_is_dropped() {
    let deep = "{% set ns = namespace(x=1) %}{% for i in range(1000) %}{% for j in range(100000) %}{% set ns.x = [ns.x] %}\
        {% endfor %}{% endfor %}";
    let error = render(deep).expect_err("out of fuel");
    assert!(error.to_string().contains("fuel"), "{error}");
    for filter in ["tojson", "string", "length"] {
        let source = format!("{}{{{{ ns.x | {filter} }}}}", deep.replace("1000)", "1)"));
        drop(render(&source));
    }
}

#[test]
fn tojson_equals_pythons_json_dumps() {
    let python =
        "{{ ['ü', '😀', '\\u007f', 1e16, 0.1, 1e-5, -0.0, true] | tojson(ensure_ascii=true) }}";
    assert_eq!(
        render(python).expect("a text"),
        "[\"\\u00fc\", \"\\ud83d\\ude00\", \"\u{7f}\", 1e+16, 0.1, 1e-05, -0.0, true]"
    );
    assert_eq!(
        render("{{ '<a href=\"x\">&amp;</a>' }}{{ messages | tojson }}").expect("a text"),
        "<a href=\"x\">&amp;</a>[{\"role\": \"user\", \"content\": \"Hi\"}]"
    );
}
