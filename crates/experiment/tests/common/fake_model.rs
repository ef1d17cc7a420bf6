//! A provider for tests whose replies are a function of the request, and a small study to run with
//! it.
#![allow(dead_code, reason = "each test file uses a part")]

use crate::common::{folder_options, quiet};
use experiment::{
    Config, ExperimentError, ExperimentSummary, Finish, ModelSettings, ModelThinking, Provider,
    ProviderError, ProviderFactory, ProviderInfo, Reply, ReplyRequest, replay_all, run_experiment,
};
use results::{PromptMessage, StepRow, Store};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type EmbedFn = dyn Fn(&str) -> Vec<f32> + Send + Sync;
type ReplyFn =
    dyn Fn(&ReplyRequest<'_>, usize) -> Result<(String, Finish), ProviderError> + Send + Sync;

/// The parts of a request that tests compare.
#[derive(Clone)]
pub struct RecordedRequest {
    pub messages: Vec<PromptMessage>,
    pub schema: Option<Value>,
    pub tools: Option<Value>,
    pub seed: u64,
    pub temperature: f64,
    pub max_tokens: u64,
}

#[derive(Clone)]
pub struct FakeModel {
    reply: Arc<ReplyFn>,
    /// Embeds a text; `None` if the model offers no embeddings.
    pub embed: Option<Arc<EmbedFn>>,
    pub requests: Arc<Mutex<Vec<RecordedRequest>>>,
    pub opened: Arc<AtomicUsize>,
    pub context: Option<u64>,
    pub kernels: String,
}

impl FakeModel {
    /// `reply` is called with a request and the number of earlier requests.
    pub fn new(
        reply: impl Fn(&ReplyRequest<'_>, usize) -> Result<(String, Finish), ProviderError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        FakeModel {
            reply: Arc::new(reply),
            embed: None,
            requests: Arc::default(),
            opened: Arc::default(),
            context: None,
            kernels: "k".into(),
        }
    }
}

/// Number of tokens of the messages: one per word, and four per message.
fn tokens(messages: &[PromptMessage]) -> u64 {
    messages.iter().map(|message| message.content.split_whitespace().count() as u64 + 4).sum()
}

/// The thinking before a reply, a word per token: seven words, or as many as the budget allows.
fn thinking(request: &ReplyRequest<'_>) -> (String, u64) {
    let tokens = request.thinking.budget().unwrap_or(u64::MAX).min(7);
    let words: Vec<String> = (0..tokens).map(|n| format!("thought{n}")).collect();
    (words.join(" "), tokens)
}

impl Provider for FakeModel {
    fn describe(&self) -> ProviderInfo {
        ProviderInfo {
            identity: String::from("fake"),
            dtype: String::from("f32"),
            rung: String::new(),
            kernel_set: self.kernels.clone(),
            context_length: self.context,
        }
    }

    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        _: Option<&Value>,
        _: ModelThinking,
    ) -> Result<u64, ProviderError> {
        Ok(tokens(messages))
    }

    fn embed(&self, text: &str) -> Result<Option<Vec<f32>>, ProviderError> {
        Ok(self.embed.as_ref().map(|embed| embed(text)))
    }

    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError> {
        let before = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(RecordedRequest {
                messages: request.messages.to_vec(),
                schema: request.schema.cloned(),
                tools: request.tools.cloned(),
                seed: request.seed,
                temperature: request.temperature,
                max_tokens: request.max_tokens,
            });
            requests.len() - 1
        };
        let (text, finish) = (self.reply)(request, before)?;
        let (reasoning, reasoning_tokens) = thinking(request);
        let reply_tokens = text.split_whitespace().count() as u64 + reasoning_tokens;
        let prompt_tokens = tokens(request.messages);
        Ok(Reply {
            text,
            reasoning,
            finish,
            prompt_tokens,
            reply_tokens,
            reasoning_tokens,
            cached_prompt_tokens: before as u64,
            seconds: 0.001,
        })
    }
}

impl ProviderFactory for FakeModel {
    fn identify(&self, _: &ModelSettings) -> Result<ProviderInfo, ProviderError> {
        Ok(self.describe())
    }

    fn open(&self, _: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(self.clone()))
    }
}

/// A valid reply: checks the inbox, and forecasts success on its card.
pub fn valid_reply() -> (String, Finish) {
    (r#"{"tool":"check_inbox","arguments":{},"card":{"success":true,"delivery_days":null,"quantity":null,"cost":0,"storage_after":100,"budget_after":9000}}"#.to_string(), Finish::Stop)
}

/// A valid, invalid or truncated reply, selected by the request's seed.
pub fn random_reply(
    request: &ReplyRequest<'_>,
    _: usize,
) -> Result<(String, Finish), ProviderError> {
    let order = |quantity: u64| {
        format!(
            r#"{{"tool":"order","arguments":{{"supplier_id":"S1","sku":"P1","quantity":{quantity}}},"card":{{"success":true,"delivery_days":2,"quantity":{quantity},"cost":123.4,"storage_after":100,"budget_after":9000.5,"confidence":0.7}}}}"#
        )
    };
    Ok(match request.seed % 8 {
        0 => ("{\"tool\": \"order\", \"argu".to_string(), Finish::Length),
        1 => ("It's {broken".to_string(), Finish::Stop),
        2 => valid_reply(),
        3 => (r#"{"tool":"wait","arguments":{},"card":null}"#.to_string(), Finish::Stop),
        4 => (r#"{"tool":"teleport","arguments":{"é":-1e308}}"#.to_string(), Finish::Stop),
        5 => ("[1,2]".to_string(), Finish::Stop),
        seed => (order(seed * 3), Finish::Stop),
    })
}

const STUDY: &str = "experiment:\n  name: fake\n  replications: 2\nenv:\n  max_steps: 24\n  complexity_level: 0\ncrash_detector:\n  \
                     continue_after_crash: 1000\ndemand:\n  max_lost_share: 1\nmodel:\n  name: fake\n  max_tokens_per_call: 50\ngrid:\n  \
                     pe_induction.p_shock: [0.2, 0.4]\n";

pub fn study(sets: &[&str]) -> Config {
    Config::parse(STUDY, "study.yaml", &sets.iter().map(|set| set.to_string()).collect::<Vec<_>>())
        .unwrap()
}

pub fn run(
    config: &Config,
    model: &FakeModel,
    folder: &Path,
    jobs: usize,
) -> Result<ExperimentSummary, ExperimentError> {
    run_experiment(config, model, &folder_options(folder, jobs), &quiet, &|| false)
}

/// Rows of all runs of an experiment.
pub fn rows(folder: &Path) -> Vec<StepRow> {
    Store::open(folder)
        .unwrap()
        .runs()
        .unwrap()
        .iter()
        .flat_map(|folder| folder.rows().unwrap())
        .collect()
}

/// Runs one replicate of a single cell, replays it, and returns its rows.
pub fn one_run(sets: &[&str], model: &FakeModel) -> Vec<StepRow> {
    let folder = tempfile::tempdir().unwrap();
    let sets: Vec<&str> =
        [&["experiment.replications=1", "grid.pe_induction.p_shock=[0.3]"], sets].concat();
    let summary =
        run(&study(&sets), model, folder.path(), 1).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((summary.done_now, summary.failed), (1, vec![]));
    assert_eq!(
        replay_all(&Store::open(folder.path()).unwrap())
            .unwrap_or_else(|error| panic!("{error}"))
            .len(),
        1
    );
    rows(folder.path())
}
