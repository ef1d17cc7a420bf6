//! The engine as the experiment's provider.

use crate::args::{BringUpArgs, PlacementArgs, TimeArgs};
use crate::commands;
use crate::failure::Failure;
use crate::session::{self, Session};
use checkpoint::{Checkpoint, SearchPaths};
use device::cpu::KernelSet;
use engine::constrain::Grammars;
use engine::sample::Sampling;
use engine::schedule::{Engine, EngineOptions, Finish as EngineFinish, Refused, Request};
use experiment::{Finish, ModelSettings, Provider, ProviderError, ProviderFactory, ProviderInfo, Reply, ReplyRequest};
use results::PromptMessage;
use serde_json::Value;
use std::sync::Arc;
use text::{ChatTemplate, Message, Tokenizer};
use watch::Watch;

/// Opens models in this process. One that is in no cache is fetched.
pub struct Engines<'a> {
    /// How long things may take.
    pub time: TimeArgs,
    /// Fallbacks that are allowed.
    pub fallback: String,
    /// Overrides the configuration's dtype.
    pub dtype: Option<String>,
    /// Overrides the configuration's limits.
    pub max_memory: Option<String>,
    /// Threads to compute with.
    pub threads: Option<usize>,
    /// Who is told.
    pub watch: &'a Watch,
}

impl Engines<'_> {
    fn bring_up_args(&self, model: &ModelSettings) -> BringUpArgs {
        BringUpArgs {
            placement: PlacementArgs {
                model: model.name.clone(),
                machine: None,
                max_memory: self.max_memory.clone().or(model.max_memory.clone()),
                device_map: model.device_map.clone().unwrap_or_else(|| "auto".into()),
                dtype: self.dtype.clone().unwrap_or_else(|| model.dtype.clone()),
                context: None,
                concurrency: model.concurrency.max(1),
                devices: None,
                fallback: self.fallback.clone(),
            },
            time: self.time.clone(),
            threads: self.threads,
        }
    }

    /// Headers only; fetches a model that is in no cache.
    fn checkpoint(&self, name: &str) -> Result<Checkpoint, Failure> {
        let path = commands::fetch::find_or_bring(name, &SearchPaths::from_env(), self.watch)?;
        Ok(Checkpoint::open(&path)?)
    }
}

impl ProviderFactory for Engines<'_> {
    fn identify(&self, model: &ModelSettings) -> Result<ProviderInfo, ProviderError> {
        let checkpoint = self.checkpoint(&model.name).map_err(other)?;
        let kernel_set = KernelSet::best().map_err(|e| other(e.into()))?;
        let dtype = self.dtype.clone().unwrap_or_else(|| model.dtype.clone());
        info(&checkpoint, dtype, kernel_set.name()).map_err(other)
    }

    fn open(&self, model: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        let mut args = self.bring_up_args(model);
        let checkpoint = self.checkpoint(&model.name).map_err(other)?;
        args.placement.context = Some(checkpoint.config.max_positions.min(model.context_length as usize));
        let session = session::bring_up(&args, self.watch).map_err(other)?;
        let provider = EngineProvider::new(session, args.placement.dtype, args.placement.concurrency, self.watch);
        Ok(Arc::new(provider.map_err(other)?))
    }
}

fn other(failure: Failure) -> ProviderError {
    ProviderError::Other { text: failure.text, exit: failure.exit }
}

fn info(checkpoint: &Checkpoint, dtype: String, kernel_set: &str) -> Result<ProviderInfo, Failure> {
    let identity = checkpoint.identity()?.digest;
    let context_length = Some(checkpoint.config.max_positions as u64);
    Ok(ProviderInfo { identity, dtype, kernel_set: kernel_set.to_owned(), context_length })
}

/// A loaded model that answers conversations.
struct EngineProvider {
    engine: Engine,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    info: ProviderInfo,
    stop_tokens: Vec<u32>,
}

impl EngineProvider {
    fn new(session: Session, dtype: String, running_max: usize, watch: &Watch) -> Result<Self, Failure> {
        let tokenizer = session.tokenizer()?.clone();
        session.template()?;
        let stop_tokens = session.checkpoint.generation.eos.clone();
        let eos = stop_tokens.first().copied().unwrap_or(0);
        let vocab = session.checkpoint.config.vocab_size;
        let grammars = Grammars::new(&tokenizer, vocab, eos).map_err(|e| Failure::new(65, e.to_string()))?;
        let mut info = info(&session.checkpoint, dtype, session.loaded.model.kernel_set())?;
        info.context_length = Some(session.loaded.model.context() as u64);
        let Session { loaded, template, .. } = session;
        let template = template.ok_or_else(|| Failure::software("the template was there a moment ago"))?;
        let options = EngineOptions { running_max, waiting_max: 4096 };
        let engine = Engine::start(loaded, Some(grammars), options, watch);
        let engine = engine.map_err(|e| Failure::io("cannot start the engine's thread", &e))?;
        Ok(EngineProvider { engine, tokenizer, template, info, stop_tokens })
    }

    fn prompt(&self, messages: &[PromptMessage], tools: Option<&Value>) -> Result<Vec<u32>, ProviderError> {
        let messages: Vec<Message> = messages.iter().map(|m| Message::new(&m.role, &m.content)).collect();
        let refused = |e: text::TextError| ProviderError::Refused(e.to_string());
        let text = self.template.render(&messages, tools, true).map_err(refused)?;
        self.tokenizer.encode(&text, false).map_err(refused)
    }
}

impl Provider for EngineProvider {
    fn describe(&self) -> ProviderInfo {
        self.info.clone()
    }

    fn count_tokens(&self, messages: &[PromptMessage], tools: Option<&Value>) -> Result<u64, ProviderError> {
        self.prompt(messages, tools).map(|tokens| tokens.len() as u64)
    }

    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError> {
        let prompt = self.prompt(request.messages, request.tools)?;
        let sampling = Sampling {
            temperature: request.temperature as f32,
            top_p: request.top_p as f32,
            seed: request.seed,
            ..Sampling::default()
        };
        let ticket = self.engine.submit(Request {
            prompt,
            sampling,
            schema: request.schema.cloned(),
            stop_tokens: self.stop_tokens.clone(),
            max_new_tokens: request.max_tokens as usize,
            deadline_s: request.deadline_s,
        });
        let end = ticket.and_then(|ticket| ticket.wait(request.cancelled)).map_err(|refused| match refused {
            Refused::TooLong { tokens, context } => ProviderError::Context {
                tokens: tokens as u64,
                limit: context as u64,
                remedy: "use history: window, or a longer context_length".into(),
            },
            Refused::Invalid(why) => ProviderError::Refused(why),
            other => ProviderError::Unavailable(other.to_string()),
        })?;
        let finish = match end.finish {
            EngineFinish::Stop => Finish::Stop,
            EngineFinish::Length => Finish::Length,
            EngineFinish::Cancelled => return Err(ProviderError::Cancelled),
            EngineFinish::Deadline => {
                let what = format!("{} tokens of a reply were done", end.tokens.len());
                return Err(ProviderError::Late { seconds: request.deadline_s.to_string(), what });
            }
        };
        let text = self.tokenizer.decode(&end.tokens, true).map_err(|e| ProviderError::Refused(e.to_string()))?;
        Ok(Reply {
            text,
            finish,
            prompt_tokens: end.prompt_tokens as u64,
            reply_tokens: end.tokens.len() as u64,
            cached_prompt_tokens: end.cached_prompt_tokens as u64,
            seconds: end.seconds,
        })
    }
}
