//! One run as a pure machine: replies in, rows out. Living, resuming and replaying are the same
//! machine, fed from a provider or from a log.

use crate::agent::conversation::{Conversation, PromptBudget};
use crate::agent::summary::{announced_tool, summary};
use crate::agent::{AgentAction, HistoryPolicy, ReplyMode, prompt, read_reply};
use crate::config::Cell;
use crate::config::world_config;
use crate::error::{ConfigProblem, ExperimentError};
use crate::identity::sampling_seed;
use crate::provider::{Finish, ProviderError, Reply};
use crate::run::record::crash_record;
use results::{
    ActionRow, PairRow, ParseFailure, PromptMessage, RawJson, ResultRow, SimilarityRow, StepRow,
};
use serde_json::{Map, Value};
use std::borrow::Cow;
use warehouse::{
    Card, CardProblem, CardValidator, Operator, PredictionMode, StepRecord, ToolCall, Totals, Turn,
    World,
};

/// All that comes from outside in one step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepInput {
    pub text: String,
    pub finish: Finish,
    pub prompt_tokens: u64,
    pub reply_tokens: u64,
    /// Exchanges that were left out of the prompt.
    pub left_out: u64,
    /// Of the agent's summary to its first ones.
    pub similarity: Option<SimilarityRow>,
    /// The call that a scripted operator made; reading its text would give the same.
    pub made: Option<AgentAction>,
}

/// A run between two steps.
pub(crate) struct Episode {
    run_id: String,
    seed: u64,
    mode: ReplyMode,
    world: World,
    conversation: Conversation,
    operator: Option<Box<dyn Operator>>,
    step: u64,
    tool_names: Vec<&'static str>,
    form: CardValidator,
    mixed_kernels: Option<String>,
    /// Decodes replies, in JSON mode.
    pub schema: Option<Value>,
    /// For the chat template, in text mode.
    pub tools: Option<Value>,
}

impl Episode {
    pub fn new(run_id: &str, cell: &Cell, seed: u64) -> Result<Episode, ExperimentError> {
        let config = world_config(cell);
        let mut world =
            World::new(&config, seed).map_err(|error| ConfigProblem::Contradiction {
                key: error.key.to_string(),
                why: format!("expected {}, found {}", error.expected, error.found),
            })?;
        let mode =
            if cell.text("agent.reply_mode") == "text" { ReplyMode::Text } else { ReplyMode::Json };
        let operator = warehouse::operator(cell.text("agent.policy"), seed);
        let scripted = operator.is_some();
        let history = if scripted { HistoryPolicy::None } else { cell.history() };
        let (market, observation) = (world.market(), world.first_observation());
        let system = prompt::system_prompt(&config, mode);
        let asks = |wanted| !scripted && mode == wanted;
        Ok(Episode {
            run_id: run_id.to_string(),
            seed,
            mode,
            conversation: Conversation::new(system, market, &observation, history, !scripted),
            operator,
            step: 0,
            tool_names: warehouse::tool_specs(&config).iter().map(|spec| spec.name).collect(),
            form: CardValidator::new(&config),
            mixed_kernels: None,
            schema: asks(ReplyMode::Json).then(|| prompt::reply_schema(&config)),
            tools: asks(ReplyMode::Text).then(|| prompt::template_tools(&config)),
            world,
        })
    }

    /// Rows from here on are marked as computed with these kernels, if they are not the folder's.
    pub fn mark_from_here(&mut self, mixed_kernels: Option<String>) {
        self.mixed_kernels = mixed_kernels;
    }

    /// How the world ended, if it has.
    pub fn ending(&self) -> Option<&'static str> {
        self.world.ending().map(warehouse::EpisodeEnd::label)
    }

    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The world in figures.
    pub fn totals(&self) -> Totals {
        self.world.totals()
    }

    /// All crashes so far, with severity.
    pub fn crashes(&self) -> Vec<warehouse::Crash> {
        self.world.crashes()
    }

    /// The scripted operator's reply, in the form in which a model would give it. `None` where a
    /// model acts.
    pub fn scripted_answer(&mut self) -> Option<StepInput> {
        let turn = self.operator.as_mut()?.act(&self.world);
        let left_out = self.conversation.left_out_by_policy();
        let spoken = |text, made| {
            Some(StepInput {
                text,
                finish: Finish::Stop,
                prompt_tokens: 0,
                reply_tokens: 0,
                left_out,
                similarity: None,
                made,
            })
        };
        let call = match turn.call {
            Ok(ToolCall { tool, arguments }) => {
                AgentAction { tool, arguments, card: turn.card.ok().map(|card| card.to_json()) }
            }
            Err(kind) => return spoken(kind, None),
        };
        let text = scripted_text(&call);
        debug_assert_eq!(read_reply(&text, Finish::Stop, self.mode).as_ref(), Ok(&call), "{text}");
        spoken(text, Some(call))
    }

    /// What to leave out of the next prompt so that it fits.
    pub fn fit(&self, room: &PromptBudget<'_>) -> Result<u64, ProviderError> {
        self.conversation.fit(room)
    }

    /// The next prompt, with so many exchanges left out.
    pub fn prompt(&self, left_out: u64) -> Cow<'_, [PromptMessage]> {
        self.conversation.request(left_out)
    }

    /// What the agent says of the state in a reply, beside its call.
    pub fn summary(&self, text: &str, finish: Finish) -> Option<String> {
        summary(text, read_reply(text, finish, self.mode).ok().as_ref(), self.mode)
    }

    /// The same of a recorded reply; `None` where a scripted operator acts.
    pub fn summary_of(&self, row: &StepRow) -> Option<String> {
        let answer = StepInput::of(row);
        if self.operator.is_some() { None } else { self.summary(&answer.text, answer.finish) }
    }

    /// The seed of the next reply.
    pub fn sampling_seed(&self) -> u64 {
        sampling_seed(self.seed, self.step + 1)
    }

    /// Takes a reply: the world moves on by one step, and this is its row.
    pub fn take(&mut self, answer: StepInput) -> StepRow {
        let sampling_seed = self.sampling_seed();
        self.step += 1;
        let read = match answer.made {
            Some(call) => Ok(call),
            None => read_reply(&answer.text, answer.finish, self.mode),
        };
        let plan = match self.operator {
            Some(_) => None,
            None => summary(&answer.text, read.as_ref().ok(), self.mode)
                .and_then(|said| announced_tool(&said, &self.tool_names)),
        };
        let (mut turn, given) = turn(read);
        (turn.plan, turn.similarity) =
            (plan, answer.similarity.as_ref().map(|similarity| similarity.cosine));
        let card_problem = self.card_problem(&turn.card);
        let mut record = self.world.step(&turn);
        let prompt = self.conversation.take_news();
        let observation =
            with_failure(std::mem::take(&mut record.observation), given.failure.as_ref());
        self.conversation.add(&answer.text, observation, answer.left_out);
        if record.success && matches!(&turn.call, Ok(call) if call.tool == "reset_beliefs") {
            self.conversation.forget();
        }
        let mut row = row_of(record);
        row.run_id = self.run_id.clone();
        row.prompt = prompt;
        row.history_dropped = answer.left_out;
        row.sampling_seed = sampling_seed;
        row.reply = answer.text;
        row.finish = answer.finish.word().into();
        row.action =
            turn.call.ok().map(|ToolCall { tool, arguments }| ActionRow { tool, arguments });
        row.card = given.odd_card.or_else(|| turn.card.ok().map(|card| card.raw));
        row.parse_failure = given.failure;
        row.card_problem = card_problem;
        (row.prompt_tokens, row.reply_tokens) = (answer.prompt_tokens, answer.reply_tokens);
        row.similarity = answer.similarity;
        row.mixed_kernels = self.mixed_kernels.clone();
        row
    }

    /// What is wrong with a card, or that there is none where one was required.
    fn card_problem(&self, card: &Result<Card, CardProblem>) -> Option<String> {
        let optional = self.world.config().prediction_mode == PredictionMode::Optional;
        match card {
            Err(CardProblem::Absent) => (!optional).then(|| "absent".to_string()),
            Err(CardProblem::Malformed(why)) => Some(why.clone()),
            // Scripted operators know one form of card.
            Ok(_) if self.operator.is_some() => None,
            Ok(card) => self.form.problem(&card.raw),
        }
    }
}

/// What of a reply is no part of the world's turn.
struct Given {
    /// Why it is no action.
    failure: Option<ParseFailure>,
    /// A card that is no object.
    odd_card: Option<Value>,
}

/// The world's turn of a reply.
fn turn(read: Result<AgentAction, ParseFailure>) -> (Turn, Given) {
    match read {
        Ok(AgentAction { tool, arguments, card }) => {
            let odd_card = card.as_ref().filter(|card| !card.is_object()).cloned();
            let turn = Turn::new(
                Ok(ToolCall { tool, arguments }),
                Card::from_value(card.unwrap_or(Value::Null)),
            );
            (turn, Given { failure: None, odd_card })
        }
        Err(failure) => {
            let turn = Turn::new(Err(failure.kind.clone()), Err(CardProblem::Absent));
            (turn, Given { failure: Some(failure), odd_card: None })
        }
    }
}

/// A call in the form in which a model would write it.
fn scripted_text(call: &AgentAction) -> String {
    #[derive(serde::Serialize)]
    struct Written<'a> {
        tool: &'a str,
        arguments: &'a Map<String, Value>,
        card: Option<&'a Value>,
    }
    let written =
        Written { tool: &call.tool, arguments: &call.arguments, card: call.card.as_ref() };
    let mut text = Vec::with_capacity(512);
    // Texts and numbers alone: nothing in it can fail to be written.
    let written = serde_json::to_writer(&mut text, &written).ok();
    written.and_then(|()| String::from_utf8(text).ok()).unwrap_or_default()
}

/// What the agent is shown after a reply that was no action: why, and then the world as it is.
fn with_failure(observation: String, failure: Option<&ParseFailure>) -> String {
    match failure {
        // In place of the world's first line, which knows the kind alone.
        Some(failure) => {
            let rest = observation.split_once('\n').map_or("", |(_, rest)| rest);
            format!("Your last reply was not used: {}.\n{rest}", failure.detail)
        }
        None => observation,
    }
}

/// The world's part of a row.
fn row_of(record: StepRecord) -> StepRow {
    StepRow {
        run_id: String::new(),
        step: record.step,
        day: record.day,
        prompt: Vec::new(),
        history_dropped: 0,
        sampling_seed: 0,
        reply: String::new(),
        finish: Cow::Borrowed(""),
        parse_failure: None,
        action: None,
        card: None,
        card_problem: None,
        result: ResultRow {
            success: record.success,
            failure: record.failure,
            answer: record.result,
        },
        pe: record.pe.iter().map(|(kind, error)| (kind.label().into(), *error)).collect(),
        pe_pairs: record.pairs.iter().map(pair_row).collect(),
        pe_scales: RawJson::of(&record.scales),
        shocks: record.shocks.iter().map(RawJson::of).collect(),
        crashes: record.crashes.into_iter().map(crash_record).collect(),
        detector: RawJson::of(&record.detector),
        state: RawJson::of(&record.totals),
        ending: record.ending.map(|ending| ending.label().to_string()),
        prompt_tokens: 0,
        reply_tokens: 0,
        similarity: None,
        mixed_kernels: None,
    }
}

fn pair_row(pair: &warehouse::PredictionPair) -> PairRow {
    PairRow {
        card_step: pair.card_step,
        field: pair.field.label().into(),
        kind: pair.kind.label().into(),
        predicted: pair.predicted,
        actual: pair.actual,
        error: pair.error,
        error_published: pair.error_published,
    }
}

impl StepInput {
    /// What came from outside in a recorded step.
    pub fn of(row: &StepRow) -> StepInput {
        StepInput {
            text: row.reply.clone(),
            finish: if row.finish == Finish::Length.word() { Finish::Length } else { Finish::Stop },
            prompt_tokens: row.prompt_tokens,
            reply_tokens: row.reply_tokens,
            left_out: row.history_dropped,
            similarity: row.similarity.clone(),
            made: None,
        }
    }

    pub fn new(reply: &Reply, left_out: u64) -> StepInput {
        StepInput {
            text: reply.text.clone(),
            finish: reply.finish,
            prompt_tokens: reply.prompt_tokens,
            reply_tokens: reply.reply_tokens,
            left_out,
            similarity: None,
            made: None,
        }
    }
}
