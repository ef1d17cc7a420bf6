//! Runs a server in the test process, with a tiny Llama model of random weights, a real tokenizer
//! and a chat template.
#![allow(dead_code)] // each test file uses some of these helpers

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use checkpoint::{Checkpoint, Fill, SynthRequest, SynthSource, synth};
use engine::{Engine, EngineOptions};
use engine::{LoadRequest, load};
use placement::{DeviceMapMode, DtypeChoice, Host, Limits, Machine, MaxMemory, plan};
use serde_json::{Value, json};
use serve::{ServeError, ServeOptions, ServedModel, Server};
use tempfile::TempDir;
use text::{ChatTemplate, Tokenizer};
use watch::Watch;

/// Model configuration. The vocabulary size is that of the tokenizer; the token `<|im_end|>` ends a
/// reply.
const CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "bfloat16",
    "vocab_size": 386, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": false, "bos_token_id": 380, "eos_token_id": 381
}"#;

/// A chat template that renders tools and the tool calls of earlier messages.
pub const TEMPLATE: &str = "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n{% endif %}\
    {% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}\
    {% for call in message.tool_calls or [] %}<tool_call>{{ call.function.arguments.id }}</tool_call>{% endfor %}<|im_end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Context length: most tokens of a prompt and its reply together.
pub const CONTEXT: usize = 20_000;
pub const MODEL: &str = "tiny";

/// A running server; dropping a `TestServer` stops it.
pub struct TestServer {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    agent: ureq::Agent,
    _folder: TempDir,
}

impl TestServer {
    pub fn new() -> Self {
        TestServer::with(|_| ())
    }

    /// Starts a server after `change` has modified the default options.
    pub fn with(change: impl FnOnce(&mut ServeOptions)) -> Self {
        let (folder, served) = served(TEMPLATE);
        TestServer::of(folder, served, change)
    }

    /// Starts a server with this chat template.
    pub fn with_template(template: &str) -> Self {
        let (folder, served) = served(template);
        TestServer::of(folder, served, |_| ())
    }

    fn of(folder: TempDir, served: ServedModel, change: impl FnOnce(&mut ServeOptions)) -> Self {
        let mut options = ServeOptions::new("127.0.0.1:0".parse().expect("an address"));
        change(&mut options);
        let server = Server::bind(options).expect("a free port");
        let address = server.address().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::spawn(move || server.run(served, || !stopped.load(Ordering::SeqCst)));
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)))
            .build();
        TestServer { address, stop, thread: Some(thread), agent: config.into(), _folder: folder }
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let mut response = self.agent.get(self.url(path)).call().expect("an answer");
        (response.status().as_u16(), response.body_mut().read_to_string().expect("a body"))
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_with(path, body, &[])
    }

    pub fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> (u16, Value) {
        let request = self.agent.post(self.url(path)).header("content-type", "application/json");
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut response = request.send(body.to_string()).expect("an answer");
        let text = response.body_mut().read_to_string().expect("a body");
        (response.status().as_u16(), serde_json::from_str(&text).expect("JSON"))
    }

    /// Sends bytes as the body of a request; returns the status.
    pub fn post_bytes(&self, path: &str, body: &[u8]) -> u16 {
        let request = self.agent.post(self.url(path)).header("content-type", "application/json");
        let mut response = request.send(body).expect("an answer");
        let _body = response.body_mut().read_to_string().expect("a body");
        response.status().as_u16()
    }

    /// Sends a streaming request; returns the JSON documents of its events, and whether the stream
    /// ended with `[DONE]`.
    pub fn stream(&self, path: &str, body: &Value) -> (Vec<Value>, bool) {
        let request = self.agent.post(self.url(path)).header("content-type", "application/json");
        let response = request.send(body.to_string()).expect("an answer");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let (mut documents, mut done) = (Vec::new(), false);
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let line = line.expect("a line");
            match line.strip_prefix("data: ") {
                Some("[DONE]") => done = true,
                Some(document) => documents.push(serde_json::from_str(document).expect("JSON")),
                None => assert!(line.is_empty() || line.starts_with(':'), "{line}"),
            }
        }
        (documents, done)
    }

    /// The current value of a metric in `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.get("/metrics");
        let line = page.lines().find(|line| line.split(' ').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{page}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    /// Waits until a metric has this value.
    pub fn await_metric(&self, name: &str, value: f64) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.metric(name) != value {
            assert!(Instant::now() < until, "{name} is {} and not {value}", self.metric(name));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Stops the server; returns how long the shutdown took.
    pub fn end(&mut self) -> Duration {
        let since = Instant::now();
        self.request_stop();
        let Some(thread) = self.thread.take() else { return Duration::ZERO };
        while !thread.is_finished() {
            assert!(since.elapsed() < Duration::from_secs(20), "the server does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
        since.elapsed()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

fn served(template: &str) -> (TempDir, ServedModel) {
    let folder = TempDir::new().expect("a temporary folder");
    let model = folder.path().join("model");
    write(folder.path(), "shape.json", CONFIG);
    let like = SynthSource::Config(folder.path().join("shape.json"));
    let request = SynthRequest {
        like,
        shards: Some(1),
        fill: Fill::Random { seed: 7 },
        folder: model.clone(),
    };
    synth(&request, &|_| true).expect("a synthetic checkpoint");
    let tokenizer =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/text/tokenizer.json");
    std::fs::copy(tokenizer, model.join("tokenizer.json")).expect("a tokenizer");
    write(&model, "chat_template.jinja", template);
    let served = load_served(&model);
    (folder, served)
}

fn load_served(model: &Path) -> ServedModel {
    let checkpoint = Checkpoint::open(model).expect("a good checkpoint");
    let limits = Limits {
        max_memory: MaxMemory::default(),
        mode: DeviceMapMode::Cpu,
        context: CONTEXT,
        concurrency: 2,
        dtype: DtypeChoice::Auto,
        kv_dtype: None,
        disk: false,
    };
    let machine =
        Machine { host: Host { total_bytes: 8 << 30, ..Host::default() }, ..Machine::default() };
    let plan = plan(&checkpoint.config, &checkpoint.inventory, &machine, &limits).expect("a plan");
    let watch = Watch::silent();
    let request = LoadRequest { threads: Some(1), ..LoadRequest::new(&checkpoint, &plan, &watch) };
    let loaded = load(request).expect("it loads");
    let tokenizer =
        Tokenizer::from_checkpoint(&checkpoint).expect("a good tokenizer").expect("a tokenizer");
    let template = ChatTemplate::from_checkpoint(&checkpoint)
        .expect("a good template")
        .ok_or_else(|| "no chat template".to_owned());
    let options = EngineOptions {
        tokenizer: Some(tokenizer.clone()),
        eos: checkpoint.generation.eos.clone(),
        ..EngineOptions::new(watch.clone())
    };
    let engine = Engine::start_loaded(loaded, options).expect("an engine");
    let (name, fingerprint) = (MODEL.to_owned(), "test".to_owned());
    ServedModel { name, aliases: Vec::new(), engine, tokenizer, template, fingerprint }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file");
}

/// The body of a chat request with one message and additional JSON fields.
pub fn chat(more: Value) -> Value {
    let mut body = json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "seed": 7, "max_tokens": 24});
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body
}

/// The concatenated content of a stream's chunks.
pub fn content(chunks: &[Value]) -> String {
    let text = |chunk: &Value| {
        chunk.pointer("/choices/0/delta/content").and_then(Value::as_str).map(str::to_owned)
    };
    chunks.iter().filter_map(text).collect()
}
