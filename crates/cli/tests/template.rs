//! Tests of chat templates and tokenizers on the command line: `template`, `--chat-template`, and
//! which commands a malformed file stops.

use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const TEMPLATE: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

/// A copy of the golden checkpoint with a tokenizer whose ids are ASCII codes, and a chat template.
struct Model(tempfile::TempDir);

impl Model {
    fn new() -> Model {
        let model = Model(tempfile::tempdir().expect("a folder"));
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/llama-gqa");
        for entry in std::fs::read_dir(golden).expect("golden data") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), model.file(&entry.file_name().to_string_lossy()))
                .expect("a copy");
        }
        model.write("tokenizer.json", &tokenizer().to_string());
        model.write("chat_template.jinja", TEMPLATE);
        model
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.file(name), text).expect("a file");
        self.file(name).display().to_string()
    }

    /// Runs a command on the model, whose path is the first argument after the command's name.
    fn run(&self, command: &str, arguments: &[&str]) -> Output {
        self.run_with_stdin(command, arguments, "")
    }

    fn run_with_stdin(&self, command: &str, arguments: &[&str], stdin: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vendomini"))
            .arg(command)
            .arg(self.0.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // Fails if the program does not read its input, which is no failure of the test.
        drop(child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()));
        #[expect(clippy::disallowed_methods, reason = "the program supervises itself")]
        child.wait_with_output().expect("an output")
    }
}

/// A byte-level tokenizer in which a character's id is its ASCII code.
fn tokenizer() -> Value {
    let letter = |code: u32| match code {
        0x21..=0x7e => code,
        0..=0x20 => 0x100 + code,
        _ => 0x121,
    };
    let vocab: Map<String, Value> = (0..128)
        .map(|code| (char::from_u32(letter(code)).expect("a letter").to_string(), code.into()))
        .collect();
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": true, "vocab": vocab, "merges": [],
        },
    })
}

fn vendomini(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vendomini"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn assert_code(output: &Output, code: i32, text: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(text), "{text:?} in {stderr}");
}

#[test]
fn a_conversation_becomes_text_and_ids() {
    let model = Model::new();
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let file = model.write("messages.json", &messages.to_string());
    let output = model.run("template", &[&file]);
    let text = "[user]Hi[assistant]";
    let ids: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
    assert_eq!(stdout(&output), format!("{text}\n{} tokens: {}\n", ids.len(), ids.join(",")));
    let request = json!({"messages": messages, "max_tokens": 7}).to_string();
    let output = model.run_with_stdin("template", &["--json", "--no-generation-prompt"], &request);
    let document: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(document["text"], "[user]Hi");
    assert_eq!(document["tokens"], json!("[user]Hi".bytes().collect::<Vec<u8>>()));
    assert_eq!(document["renders"], json!({"tools": false, "tool_results": true, "system": true}));
    let other = model.write("other.jinja", "{{ messages[0].content }}!");
    let output = model.run("template", &[&file, "--chat-template", &other]);
    assert!(stdout(&output).starts_with("Hi!\n"), "{}", stdout(&output));
}

#[test]
fn conversations_that_cannot_be_rendered_are_refused() {
    let model = Model::new();
    for (conversation, text) in [
        ("{", "EOF"),
        ("7", "found 7"),
        ("[]", "at least one message"),
        ("[{\"role\": \"king\", \"content\": \"x\"}]", "king"),
        ("{\"messages\": 1}", "invalid type"),
    ] {
        assert_code(&model.run_with_stdin("template", &[], conversation), 65, text);
    }
    assert_code(&model.run("template", &["/no/such.json"]), 66, "/no/such.json");
    let arguments = ["-", "--chat-template", "/no/such.jinja"];
    let conversation = "[{\"role\": \"user\", \"content\": \"x\"}]";
    let missing = model.run_with_stdin("template", &arguments, conversation);
    assert_code(&missing, 66, "/no/such.jinja");
}

#[test]
fn a_malformed_template_stops_only_what_needs_it() {
    let model = Model::new();
    let good = model.write("good.jinja", TEMPLATE);
    let bad = model.write("chat_template.jinja", "{% for %}");
    let warning = "warning: chat template of";
    assert_code(&model.run("load", &[]), 0, warning);
    assert_code(&model.run("score", &["--tokens", "65,66"]), 0, warning);
    assert_code(&model.run("score", &["-p", "AB"]), 0, warning);
    let generate = |more: &[&str]| {
        model.run("generate", &[&["-p", "A", "--max-new-tokens", "2"], more].concat())
    };
    assert_code(&generate(&[]), 0, warning);
    assert_code(&generate(&["--chat"]), 65, "chat_template.jinja");
    assert_code(&generate(&["--chat", "--chat-template", &good]), 0, warning);
    assert_code(&generate(&["--chat", "--chat-template", &bad]), 65, "chat_template.jinja");
    let conversation = "[{\"role\": \"user\", \"content\": \"A\"}]";
    assert_code(&model.run_with_stdin("template", &[], conversation), 65, "chat_template.jinja");
    let arguments = ["-", "--chat-template", &good];
    assert_code(&model.run_with_stdin("template", &arguments, conversation), 0, "");
}

/// Runs a study of one step on the model; returns its row.
fn study(model: &Model, name: &str, more: &[&str]) -> Value {
    let folder = model.0.path().display();
    let config = model.write(
        "study.yaml",
        &format!(
            "experiment: {{name: {name}, replications: 1, output_dir: {folder}/out}}\n\
             env: {{max_steps: 1, complexity_level: 0}}\n\
             model: {{name: {folder}, max_tokens_per_call: 4, context_length: 30000}}\n"
        ),
    );
    let out = model.file("out").join(name);
    let table = out.join("steps.jsonl");
    assert_code(&vendomini(&[&["run", "--config", &config], more].concat()), 0, "");
    let table_name = table.display().to_string();
    assert_code(
        &vendomini(&[
            "export",
            &out.display().to_string(),
            "--table",
            "steps",
            "--with-text",
            "--out",
            &table_name,
        ]),
        0,
        "",
    );
    let table = std::fs::read_to_string(&table).expect("a table");
    serde_json::from_str(table.lines().next().expect("a row")).expect("JSON")
}

/// The model with a context that holds the experiment's prompts.
fn with_long_context() -> Model {
    let model = Model::new();
    let config = std::fs::read(model.file("config.json")).expect("a file");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    config["max_position_embeddings"] = json!(30_000);
    model.write("config.json", &config.to_string());
    model
}

/// Thinking is limited to its budget, counted and stored apart from the answer, and changes the
/// prompt; the answer follows the schema.
#[test]
fn a_study_of_a_model_that_thinks() {
    let model = with_long_context();
    let template = format!(
        "{TEMPLATE}{{% if add_generation_prompt %}}<think>{{% if enable_thinking is defined and not enable_thinking %}}</think>{{% endif %}}{{% endif %}}"
    );
    model.write("chat_template.jinja", &template);
    // Two codes that no prompt holds become the marks.
    let mut tokenizer = tokenizer();
    for (code, mark) in [(1, "<think>"), (2, "</think>")] {
        let vocab = tokenizer["model"]["vocab"].as_object_mut().expect("a map");
        vocab.retain(|_, id| *id != code);
        vocab.insert(mark.to_owned(), code.into());
        tokenizer["added_tokens"].as_array_mut().expect("a list").push(json!({
            "id": code, "content": mark, "special": false, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false
        }));
    }
    model.write("tokenizer.json", &tokenizer.to_string());
    let thinks = |name: &str, thinking: &str| {
        let thinking = format!("model.thinking={thinking}");
        study(&model, name, &["--set", &thinking, "--set", "model.max_tokens_per_call=60"])
    };
    let off = thinks("without", "off");
    assert_eq!((&off["reasoning"], &off["reasoning_tokens"]), (&Value::Null, &json!(0)));
    for budget in [1u64, 7] {
        let row = thinks(&format!("budget{budget}"), &format!("{{budget: {budget}}}"));
        assert_eq!(row["reasoning_tokens"], json!(budget));
        assert!(!row["reasoning"].as_str().expect("a text").is_empty());
        assert_ne!(row["run_id"], off["run_id"]);
        // Without thinking the prompt ends with </think>, one token.
        assert_eq!(row["prompt_tokens"].as_u64(), off["prompt_tokens"].as_u64().map(|n| n - 1));
        let reply = row["reply"].as_str().or(row["raw_reply"].as_str()).expect("a reply");
        assert!(reply.trim_start().starts_with('{'), "{reply}");
    }
}

#[test]
fn a_study_renders_prompts_with_the_template_that_it_names() {
    let model = with_long_context();
    let longer = model.write("longer.jinja", &format!("{TEMPLATE}12345"));
    let own = study(&model, "own", &[]);
    let flag = study(&model, "flag", &["--chat-template", &longer]);
    let key = study(&model, "key", &["--set", &format!("model.chat_template={longer}")]);
    let tokens = |row: &Value| row["prompt_tokens"].as_u64().expect("a number");
    assert_eq!((&flag["run_id"], tokens(&flag)), (&key["run_id"], tokens(&key)));
    assert_eq!(tokens(&flag), tokens(&own) + 5);
    assert_ne!(flag["run_id"], own["run_id"]);
}

#[test]
fn a_malformed_tokenizer_stops_only_what_needs_it() {
    let model = Model::new();
    model.write("tokenizer.json", "{\"version\": \"1.0\", \"model\": {");
    assert_code(&model.run("load", &[]), 0, "warning: ");
    assert_code(&model.run("score", &["--tokens", "65,66"]), 0, "tokenizer.json");
    assert_code(&model.run("score", &["-p", "AB"]), 65, "tokenizer.json");
    assert_code(&model.run("generate", &["-p", "A"]), 65, "tokenizer.json");
}

#[test]
fn a_schema_beyond_the_limits_is_refused() {
    let model = Model::new();
    let generate = |links: usize| {
        let mut definitions: Map<String, Value> = (0..links)
            .map(|i| {
                let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
                (format!("d{i}"), json!({"type": "object", "properties": {"a": next}}))
            })
            .collect();
        definitions.insert(format!("d{links}"), json!({"type": "integer"}));
        let schema = json!({"$ref": "#/$defs/d0", "$defs": definitions});
        let file = model.write("schema.json", &schema.to_string());
        model.run("generate", &["-p", "A", "--max-new-tokens", "3", "--json-schema", &file])
    };
    assert_code(&generate(1_000), 0, "");
    assert_code(&generate(1_001), 2, "1000 deep");
    assert_code(&generate(100_000), 2, "1000 deep");
}

/// `doctor --for` says what `run` would refuse: a model that cannot think, or has no template.
#[test]
fn doctor_checks_the_template_that_a_configuration_names() {
    let model = Model::new();
    let doctor = |keys: &str| {
        let config = format!(
            "model: {{name: {}, context_length: 128, max_tokens_per_call: 8{keys}}}\n",
            model.0.path().display()
        );
        let file = model.write("experiment.yaml", &config);
        let output = Command::new(env!("CARGO_BIN_EXE_vendomini"))
            .args(["doctor", "--for", &file])
            .output()
            .expect("the program starts");
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.code(), text)
    };
    assert_eq!(doctor("").0, Some(0), "{}", doctor("").1);
    for thinking in ["on", "{budget: 5}"] {
        let (code, text) = doctor(&format!(", thinking: {thinking}"));
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("model.thinking of") && text.contains("expected off"), "{text}");
        assert!(!text.contains("vendomini fetch"), "a folder is not on the hub: {text}");
    }
    std::fs::remove_file(model.file("chat_template.jinja")).expect("removed");
    let (code, text) = doctor("");
    assert_eq!(code, Some(66), "{text}");
    assert!(text.contains("expected a chat template"), "{text}");
    let template = model.write("own.jinja", TEMPLATE);
    let (code, text) = doctor(&format!(", chat_template: {template}"));
    assert_eq!(code, Some(0), "{text}");
}
