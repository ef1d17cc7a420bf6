//! Provides the engine's replies to the experiment.

use crate::args::{BringUpArgs, PlacementArgs, StageArgs, TimeArgs};
use crate::failure::Failure;
use crate::load_text;
use crate::model_cache;
use crate::session::{self, Session, TextNeed};
use checkpoint::{Checkpoint, SearchPaths};
use device::cpu::{KernelSet, provenance};
use engine::grammar::Constraint;
use engine::sampling::SamplingParams;
use engine::{
    Completion, EmbedError, Engine, EngineOptions, FinishReason, Request, RequestError,
    ResponseHandle, SubmitError, Thinking, WaitError,
};
use error_kind::ErrorKind;
use experiment::{
    Finish, ModelSettings, ModelThinking, Provider, ProviderError, ProviderFactory, ProviderInfo,
    Reply, ReplyRequest,
};
use placement::{DtypeChoice, Fallback, KvDtype, short_text};
use results::PromptMessage;
use serde_json::{Map, Value};
use staging::StagedCheckpoint;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use text::thinking::{PromptOptions, ThinkingChoice, ThinkingMarks};
use text::{ChatTemplate, TemplateMessage, Tokenizer};
use watch::{TierFigures, Watch};

/// Interval at which a run that waits for a reply checks whether it was canceled.
const POLL: Duration = Duration::from_millis(50);

/// Loads models in this process; downloads those that are not in a cache.
pub struct Engines<'a> {
    pub time: TimeArgs,
    /// The fallback policy, as typed for `--fallback`.
    pub fallback: String,
    /// The dtype; `None`: that of the configuration.
    pub dtype: Option<String>,
    /// The dtype of the KV cache; `None`: that of the configuration.
    pub kv_dtype: Option<String>,
    /// The memory limits of the devices; `None`: those of the configuration.
    pub max_memory: Option<String>,
    /// The file of the chat template; `None`: that of the configuration, or the model's.
    pub chat_template: Option<PathBuf>,
    pub threads: Option<usize>,
    pub stage: StageArgs,
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
                kv_dtype: self.kv_dtype.clone().unwrap_or_else(|| model.kv_dtype.clone()),
                context: None,
                concurrency: model.concurrency.max(1),
                devices: None,
                fallback: self.fallback.clone(),
            },
            stage: self.stage.clone(),
            time: self.time.clone(),
            threads: self.threads,
        }
    }

    fn chat_template(&self, model: &ModelSettings) -> Option<PathBuf> {
        self.chat_template.clone().or(model.chat_template.as_ref().map(PathBuf::from))
    }

    /// The dtype in which the model will be computed. It depends on the machine only if a fallback
    /// to another dtype is allowed, because then the plan decides.
    fn dtype_of(&self, model: &ModelSettings, checkpoint: &Checkpoint) -> Result<String, Failure> {
        let args = self.bring_up_args(model).placement;
        let ladder = match Fallback::parse(&self.fallback)?.int8 {
            true => Some(session::plan_here(&args, checkpoint)?),
            false => None,
        };
        let dtype = ladder.as_ref().map_or(args.dtype.as_str(), |ladder| ladder.plan.dtype);
        dtype_label(dtype, &args.kv_dtype, checkpoint)
    }

    /// Reads the headers of a model; downloads it first if it is not in a cache.
    fn checkpoint(&self, name: &str) -> Result<Checkpoint, Failure> {
        let path = model_cache::find_or_fetch(name, &SearchPaths::from_env(), self.watch)?;
        Ok(Checkpoint::open(&path)?)
    }
}

impl ProviderFactory for Engines<'_> {
    fn identify(&self, model: &ModelSettings) -> Result<ProviderInfo, ProviderError> {
        let checkpoint = self.checkpoint(&model.name).map_err(other)?;
        let kernel_set = KernelSet::best().map_err(|e| other(e.into()))?;
        let dtype = self.dtype_of(model, &checkpoint).map_err(other)?;
        let template = self.chat_template(model);
        if model.thinks {
            // A model that does not think is refused before it is loaded.
            let rendered = session::template(&checkpoint, template.as_deref()).map_err(other)?;
            let tokenizer = session::tokenizer(&checkpoint).map_err(other)?;
            thinking_marks(model, &rendered, &tokenizer).map_err(other)?;
        }
        info(&checkpoint, template.as_deref(), dtype, kernel_set.name()).map_err(other)
    }

    fn open(&self, model: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        let mut args = self.bring_up_args(model);
        let checkpoint = self.checkpoint(&model.name).map_err(other)?;
        args.placement.context =
            Some(checkpoint.config.max_positions.min(model.context_length as usize));
        let template = self.chat_template(model);
        let need = match template {
            Some(_) => TextNeed::Tokenizer,
            None => TextNeed::ChatTemplate,
        };
        let mut session = session::bring_up(&args, need, self.watch).map_err(other)?;
        session.replace_template(template.as_deref()).map_err(other)?;
        self.watch.figures(|figures| figures.tiers = tier_figures(&session));
        let provider = EngineProvider::new(session, model, template.as_deref(), self.watch);
        Ok(Arc::new(provider.map_err(other)?))
    }
}

/// The bytes that the model uses on each tier; unused tiers are left out.
fn tier_figures(session: &Session) -> Vec<TierFigures> {
    let tiers = session.loaded.report.tiers.iter().map(|tier| TierFigures {
        tier: tier.tier.to_string(),
        weights_bytes: tier.weights_bytes,
        kv_bytes: tier.kv_bytes,
        activations_bytes: tier.activations_bytes,
    });
    tiers.filter(|tier| tier.weights_bytes + tier.kv_bytes + tier.activations_bytes > 0).collect()
}

fn other(failure: Failure) -> ProviderError {
    ProviderError::Other { text: failure.text, kind: failure.kind }
}

/// `template`: the file of the chat template, if it is not the checkpoint's.
fn info(
    checkpoint: &Checkpoint,
    template: Option<&Path>,
    dtype: String,
    kernel_set: &str,
) -> Result<ProviderInfo, Failure> {
    let mut identity = checkpoint.identity()?.digest;
    // Prompts, and with them replies, depend on the template.
    if let Some(file) = template {
        identity = format!("{identity}+template:{}", checkpoint::file_sha256(file)?);
    }
    let context_length = Some(checkpoint.config.max_positions as u64);
    // The kernel set is part of the identity, so that resuming a results folder that was started
    // with other kernels is noticed.
    Ok(ProviderInfo {
        identity,
        dtype,
        rung: String::new(),
        kernel_set: provenance(kernel_set),
        context_length,
    })
}

/// The dtype label stored with the results: the model's dtype, followed by the KV cache's if that
/// is not the default for the model's dtype.
fn dtype_label(dtype: &str, kv_dtype: &str, checkpoint: &Checkpoint) -> Result<String, Failure> {
    let dtype = DtypeChoice::parse(dtype)?;
    let name = dtype.name_for(&checkpoint.inventory);
    let other =
        KvDtype::parse(kv_dtype)?.filter(|kv| *kv != KvDtype::for_model(dtype, &checkpoint.config));
    Ok(other.map_or(name.clone(), |kv| format!("{name}, {} keys and values", kv.name())))
}

/// The tokens of the model's thinking; `None` if no cell thinks.
///
/// # Errors
/// A cell thinks and the model does not.
pub fn thinking_marks(
    model: &ModelSettings,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
) -> Result<Option<ThinkingMarks>, Failure> {
    if !model.thinks {
        return Ok(None);
    }
    let Some(syntax) = template.thinking() else {
        let text = format!(
            "model.thinking of {}: expected off, since the model's chat template has neither <think> \
             nor the channels of gpt-oss; found on or a budget",
            model.name
        );
        return Err(Failure::new(ErrorKind::Usage, text));
    };
    Ok(Some(syntax.marks(tokenizer)?))
}

/// A loaded model that generates replies to conversations.
struct EngineProvider {
    engine: Engine,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    /// `None` if no cell thinks.
    thinking_marks: Option<Arc<ThinkingMarks>>,
    info: ProviderInfo,
    watch: Watch,
    /// Keeps the copy from which the engine reads from being removed.
    _staged: Option<StagedCheckpoint>,
}

impl Drop for EngineProvider {
    /// Reports the engine's token counts and times.
    fn drop(&mut self) {
        let stats = self.engine.stats();
        self.watch.verbose(format!(
            "engine: {} reply tokens in {} steps ({} forced by the grammar; {} of {} draft tokens accepted); {} prompt tokens computed, \
             {} found in the KV cache; {:.1} s in steps, {:.1} s of it in forward passes",
            stats.reply_tokens,
            stats.steps,
            stats.forced_tokens,
            stats.accepted_draft_tokens,
            stats.draft_tokens,
            stats.prefill_tokens,
            stats.prefix_hit_tokens,
            stats.step_s,
            stats.forward_s
        ));
        if let Some(cache) = stats.expert_cache.and_then(|cache| cache.report()) {
            let bytes = short_text(cache.used_bytes);
            self.watch.note(load_text::expert_cache_line(&cache, bytes));
        }
    }
}

impl EngineProvider {
    /// `template_file`: the file of the session's chat template, if it is not the checkpoint's.
    fn new(
        session: Session,
        model: &ModelSettings,
        template_file: Option<&Path>,
        watch: &Watch,
    ) -> Result<Self, Failure> {
        let tokenizer = session.tokenizer()?.clone();
        session.template()?;
        let plan = &session.ladder.plan;
        let dtype = dtype_label(plan.dtype, plan.kv_dtype, &session.checkpoint)?;
        let kernel_set = session.loaded.model.kernel_set();
        let mut info = info(&session.checkpoint, template_file, dtype, kernel_set)?;
        info.rung = session.ladder.rung.name().to_owned();
        info.context_length = Some(session.loaded.model.context() as u64);
        let options = EngineOptions {
            tokenizer: Some(tokenizer.clone()),
            eos: session.checkpoint.generation.eos.clone(),
            running_max: model.concurrency,
            prompt_lookup: model.prompt_lookup,
            ..EngineOptions::new(watch.clone())
        };
        let Session { loaded, template, staged, .. } = session;
        let template = template?;
        let thinking_marks = thinking_marks(model, &template, &tokenizer)?.map(Arc::new);
        let engine = Engine::start_loaded(loaded, options)?;
        watch.verbose(format!("constrained decoding: {}", engine.grammar_settings()));
        Ok(EngineProvider {
            engine,
            tokenizer,
            template,
            thinking_marks,
            info,
            watch: watch.clone(),
            _staged: staged,
        })
    }

    fn prompt(
        &self,
        messages: &[PromptMessage],
        tools: Option<&Value>,
        thinking: ModelThinking,
        is_constrained: bool,
    ) -> Result<(Vec<u32>, Option<Thinking>), ProviderError> {
        let messages: Vec<TemplateMessage> =
            messages.iter().map(|m| TemplateMessage::new(&*m.role, &m.content)).collect();
        let invalid = |e: text::TextError| ProviderError::Refused(e.to_string());
        let choice = match thinking {
            ModelThinking::Off => ThinkingChoice::Off,
            ModelThinking::On | ModelThinking::Budget(_) => ThinkingChoice::On,
        };
        let options = PromptOptions { thinking: choice, variables: Map::new(), is_constrained };
        let prompt = self.template.thinking_prompt(&messages, tools, &options).map_err(invalid)?;
        let tokens = self.tokenizer.encode(&prompt.text, false).map_err(invalid)?;
        let budget = thinking.budget().and_then(|tokens| usize::try_from(tokens).ok());
        let of_reply = |(start, marks)| Thinking { marks: Arc::clone(marks), start, budget };
        Ok((tokens, prompt.start.zip(self.thinking_marks.as_ref()).map(of_reply)))
    }
}

impl Provider for EngineProvider {
    fn describe(&self) -> ProviderInfo {
        self.info.clone()
    }

    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        tools: Option<&Value>,
        thinking: ModelThinking,
    ) -> Result<u64, ProviderError> {
        // Whether the answer is constrained changes no prompt that is on or off.
        self.prompt(messages, tools, thinking, false).map(|(tokens, _)| tokens.len() as u64)
    }

    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError> {
        let is_constrained = request.schema.is_some();
        let (prompt, thinking) =
            self.prompt(request.messages, request.tools, request.thinking, is_constrained)?;
        let sampling = SamplingParams {
            temperature: request.temperature as f32,
            top_p: request.top_p as f32,
            seed: request.seed,
            ..SamplingParams::default()
        };
        let response = self.engine.submit(Request {
            sampling,
            thinking,
            constraint: request.schema.cloned().map(Constraint::JsonSchema),
            deadline: deadline(request.deadline_s),
            ..Request::new(prompt, request.max_tokens as usize)
        });
        let response = response.map_err(|error| self.submit_failed(error))?;
        let completion = wait(&response, request.canceled)?;
        let finish = match completion.reason {
            FinishReason::Eos | FinishReason::Stop | FinishReason::Grammar => Finish::Stop,
            FinishReason::Length => Finish::Length,
            FinishReason::Canceled => return Err(ProviderError::Canceled),
            FinishReason::Deadline => {
                let what = format!("{} reply tokens were done", completion.reply.tokens.len());
                return Err(ProviderError::Late { seconds: request.deadline_s.to_string(), what });
            }
            FinishReason::Error(cause) => return Err(self.request_failed(cause)),
            FinishReason::Embedded => {
                return Err(ProviderError::Unavailable("an embedding instead of a reply".into()));
            }
        };
        let reply = completion.reply;
        Ok(Reply {
            text: reply.text,
            reasoning: reply.reasoning,
            finish,
            prompt_tokens: completion.prompt_tokens as u64,
            reply_tokens: reply.tokens.len() as u64,
            reasoning_tokens: completion.reasoning_tokens as u64,
            cached_prompt_tokens: completion.cached_prompt_tokens as u64,
            seconds: completion.seconds,
        })
    }

    fn embed(&self, text: &str) -> Result<Option<Vec<f32>>, ProviderError> {
        self.embedding(text).map(Some)
    }
}

/// Longest time that an embedding may take; it waits for the replies in progress.
const EMBED_TIMEOUT: Duration = Duration::from_secs(600);

impl EngineProvider {
    fn embedding(&self, text: &str) -> Result<Vec<f32>, ProviderError> {
        let tokens =
            self.tokenizer.encode(text, true).map_err(|e| ProviderError::Refused(e.to_string()))?;
        self.engine.embed(tokens, EMBED_TIMEOUT).map_err(|cause| match cause {
            EmbedError::Submit(cause) => self.submit_failed(cause),
            EmbedError::Request(cause) => self.request_failed(cause),
            other => ProviderError::Unavailable(other.to_string()),
        })
    }

    fn submit_failed(&self, error: SubmitError) -> ProviderError {
        match error {
            SubmitError::Request(cause) => self.request_failed(cause),
            other => ProviderError::Unavailable(other.to_string()),
        }
    }

    fn request_failed(&self, cause: RequestError) -> ProviderError {
        match cause {
            RequestError::PromptTooLong { tokens, .. } => ProviderError::Context {
                tokens: tokens as u64,
                limit: self.engine.context() as u64,
                remedy: "use history: window, or a longer context_length".into(),
            },
            // The machine failed and not the request, so the run may be retried.
            RequestError::Forward { .. } | RequestError::Stuck { .. } => {
                ProviderError::Unavailable(cause.to_string())
            }
            cause => ProviderError::Refused(cause.to_string()),
        }
    }
}

/// The time at which `seconds` from now have passed; `None` if it is too far in the future to be
/// represented.
fn deadline(seconds: f64) -> Option<Instant> {
    Duration::try_from_secs_f64(seconds).ok().and_then(|limit| Instant::now().checked_add(limit))
}

/// Waits until the reply is complete or `canceled` returns true. The engine itself ends a reply at
/// its deadline.
fn wait(
    response: &ResponseHandle,
    canceled: &(dyn Fn() -> bool + Sync),
) -> Result<Completion, ProviderError> {
    loop {
        match response.wait(POLL) {
            Ok(completion) => return Ok(completion),
            Err(WaitError::Timeout { .. }) if canceled() => return Err(ProviderError::Canceled),
            Err(WaitError::Timeout { .. }) => {}
            Err(other) => return Err(ProviderError::Unavailable(other.to_string())),
        }
    }
}
