//! One run as a pure state machine: its inputs are replies, its outputs rows. New runs, resumed
//! runs and replays use the same machine, with replies from a provider or from a log.

use crate::agent::conversation::{Conversation, PromptBudget};
use crate::agent::summary::{announced_tool, summary};
use crate::agent::{AgentAction, HistoryPolicy, ReplyMode, prompt, read_reply};
use crate::config::{AgentConfig, CellConfig, PlannedRun};
use crate::error::{ConfigProblem, ExperimentError};
use crate::identity::{operator_seed, sampling_seed};
use crate::provider::{Finish, ProviderError, Reply};
use crate::run::record::crash_record;
use results::{
    ActionRow, DoseRow, ExposureRow, PairRow, ParseFailure, PromptMessage, RawJson, ResultRow,
    RiskRecord, SimilarityRow, StepRow,
};
use serde_json::{Map, Value};
use std::borrow::Cow;
use warehouse::{
    Card, CardProblem, CardValidator, Design, EpisodeEnd, Exposure, Operator, OperatorSettings,
    PredictionMode, ShockDose, StepRecord, ToolCall, Totals, Turn, World,
};

/// All inputs of one step that the episode does not compute itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepInput {
    pub text: String,
    /// The thinking before it; empty without one.
    pub reasoning: String,
    pub finish: Finish,
    pub prompt_tokens: u64,
    pub reply_tokens: u64,
    pub reasoning_tokens: u64,
    /// Number of exchanges left out of the prompt.
    pub left_out: u64,
    /// Similarity of the agent's summary to its first summaries.
    pub similarity: Option<SimilarityRow>,
    /// The turn of a scripted operator, equal to the turn that parsing `text` would give.
    pub scripted: Option<ScriptedTurn>,
}

/// A turn of a scripted operator with a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScriptedTurn {
    turn: Turn,
    /// The card as it is in the reply; `None` if there is none.
    card: Option<RawJson>,
}

/// The end of a game of a scripted operator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ScriptedEnd {
    pub reached_horizon: bool,
    pub net_worth: f64,
    /// Numbers of shocks drawn and applied; 0 in design v1.
    pub drawn: u64,
    pub applied: u64,
    /// Accumulated delivery errors.
    pub exposure: f64,
}

/// The state of a run between two steps.
pub(crate) struct Episode {
    run_id: String,
    design: Design,
    /// Seed of the world.
    seed: u64,
    /// Whether the run is the first draw of its world, which shares its sampling seeds with those
    /// of other cells.
    first_draw: bool,
    mode: ReplyMode,
    world: World,
    conversation: Conversation,
    operator: Option<Box<dyn Operator>>,
    /// Number of steps taken.
    step: u64,
    tool_names: Vec<&'static str>,
    card_validator: CardValidator,
    mixed_kernels: Option<String>,
    /// Shocks up to the last row.
    dose: DoseRow,
    /// Reply schema for constrained decoding; only in JSON mode.
    pub schema: Option<Value>,
    /// Tool definitions for the chat template; only in text mode.
    pub tools: Option<Value>,
}

impl Episode {
    /// Creates the world of a cell, before its first step.
    ///
    /// # Errors
    /// The cell has settings of the world that contradict each other.
    pub fn new(run: &PlannedRun) -> Result<Episode, ExperimentError> {
        let mut episode = Episode::of_cell(&run.run_id, run.cell.config(), run.seed)?;
        episode.first_draw = run.draw == 0;
        Ok(episode)
    }

    /// The first draw of a cell in the world of this seed.
    ///
    /// # Errors
    /// As for [`Episode::new`].
    pub fn of_cell(run_id: &str, cell: &CellConfig, seed: u64) -> Result<Episode, ExperimentError> {
        let config = cell.world();
        let mut world =
            World::new(&config, seed).map_err(|error| ConfigProblem::Contradiction {
                key: error.key.to_string(),
                why: format!("expected {}, found {}", error.expected, error.found),
            })?;
        let mode = cell.agent.reply_mode;
        let operator = operator(run_id, cell, seed);
        let scripted = operator.is_some();
        let history = if scripted { HistoryPolicy::None } else { cell.agent.history };
        let (market, observation) = (world.market(), world.first_observation());
        let system = prompt::system_prompt(&config, mode);
        let model_in = |wanted| !scripted && mode == wanted;
        Ok(Episode {
            run_id: run_id.to_string(),
            design: cell.design,
            seed,
            first_draw: true,
            mode,
            conversation: Conversation::new(system, market, &observation, history, !scripted),
            operator,
            step: 0,
            tool_names: warehouse::tool_specs(&config).iter().map(|spec| spec.name).collect(),
            card_validator: CardValidator::new(&config),
            mixed_kernels: None,
            dose: DoseRow::default(),
            schema: model_in(ReplyMode::Json).then(|| prompt::reply_schema(&config)),
            tools: model_in(ReplyMode::Text).then(|| prompt::template_tools(&config)),
            world,
        })
    }

    /// Plays a whole game of the cell's scripted operator without records.
    ///
    /// # Errors
    /// As for [`Episode::new`]; a cell whose agent is a model is a bug and plays no step.
    pub fn play_scripted(cell: &CellConfig, seed: u64) -> Result<ScriptedEnd, ExperimentError> {
        let mut episode = Episode::of_cell("scripted", cell, seed)?;
        if let Some(operator) = &mut episode.operator {
            let world = &mut episode.world;
            while world.ending().is_none() {
                let turn = operator.act(world);
                world.advance(&turn);
            }
        }
        let world = &episode.world;
        Ok(ScriptedEnd {
            reached_horizon: world.ending() == Some(EpisodeEnd::Horizon),
            net_worth: world.totals().net_worth,
            drawn: world.dose().drawn.iter().sum(),
            applied: world.dose().total(),
            exposure: world.exposure().total(),
        })
    }

    /// Takes a step of a scripted operator without writing an observation: a row with the dose and
    /// the exposure alone. `None` if the world has ended or the agent is a model.
    pub fn advance_scripted(&mut self) -> Option<StepRow> {
        let operator = self.operator.as_mut().filter(|_| self.world.ending().is_none())?;
        let (turn, day) = (operator.act(&self.world), self.world.day());
        self.world.advance(&turn);
        self.step += 1;
        Some(StepRow {
            design: Some(self.design.label().into()),
            run_id: self.run_id.clone(),
            step: self.step,
            day,
            dose: self.changed_dose(self.world.dose()),
            exposure: Some(exposure_row(self.world.exposure())),
            ..StepRow::default()
        })
    }

    /// The shocks so far, if they are others than at the last row.
    fn changed_dose(&mut self, dose: ShockDose) -> Option<DoseRow> {
        let ShockDose { drawn, applied, told } = dose;
        let dose = DoseRow { drawn, applied, told };
        (std::mem::replace(&mut self.dose, dose) != dose).then_some(dose)
    }

    /// Marks the following rows with a kernel set that differs from the one recorded in the
    /// experiment's folder; `None` ends the marking.
    pub fn set_mixed_kernels(&mut self, mixed_kernels: Option<String>) {
        self.mixed_kernels = mixed_kernels;
    }

    /// How the world ended; `None` if it has not ended.
    pub fn ending(&self) -> Option<&'static str> {
        self.world.ending().map(warehouse::EpisodeEnd::label)
    }

    /// Whether a scripted operator is the agent.
    pub fn is_scripted(&self) -> bool {
        self.operator.is_some()
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// Number of steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Current figures of the world, such as budget, stock and the number of shipped orders.
    pub fn totals(&self) -> Totals {
        self.world.totals()
    }

    /// All crashes detected so far, with their severity.
    pub fn crashes(&self) -> Vec<warehouse::Crash> {
        self.world.crashes()
    }

    /// When the run was at risk so far; `None` in design v1.
    pub fn risk(&self) -> Option<RiskRecord> {
        let monitor = self.world.monitor()?;
        let ending = self.ending().unwrap_or("unfinished");
        let (event_time, event_type) = match monitor.first_event() {
            Some((onset, crash)) => (onset, format!("crash:{}", crash.kind)),
            None => (self.step, ending.to_string()),
        };
        Some(RiskRecord {
            ending: ending.to_string(),
            entry_time: monitor.entry_step(),
            event_time,
            event_type,
        })
    }

    /// The next reply of a scripted operator, in the format of a model's reply. `None` if the agent
    /// is a model.
    pub fn scripted_input(&mut self) -> Option<StepInput> {
        let turn = self.operator.as_mut()?.act(&self.world);
        let left_out = self.conversation.left_out_by_policy();
        let input = |text, scripted| {
            Some(StepInput {
                text,
                reasoning: String::new(),
                finish: Finish::Stop,
                prompt_tokens: 0,
                reply_tokens: 0,
                reasoning_tokens: 0,
                left_out,
                similarity: None,
                scripted,
            })
        };
        let call = match &turn.call {
            Ok(call) => call,
            Err(kind) => return input(kind.clone(), None),
        };
        let card = turn.card.as_ref().ok().map(RawJson::of);
        let text = action_text(call, card.as_ref());
        debug_assert!(
            read_reply(&text, Finish::Stop, self.mode).is_ok_and(|action| {
                let read = ParsedTurn::of(Ok(action));
                read.card == card && read.turn.call == turn.call && same_card(&read.turn, &turn)
            }),
            "a scripted turn must survive its text: {text}"
        );
        input(text, Some(ScriptedTurn { turn, card }))
    }

    /// Number of exchanges to leave out so that the next prompt fits its budget.
    ///
    /// # Errors
    /// No prompt fits, or the provider fails to count tokens.
    pub fn fit(&self, budget: &PromptBudget<'_>) -> Result<u64, ProviderError> {
        self.conversation.fit(budget)
    }

    /// Number of exchanges that the history policy leaves out of the next prompt.
    pub fn left_out_by_policy(&self) -> u64 {
        self.conversation.left_out_by_policy()
    }

    /// The next prompt; it leaves out the first `left_out` exchanges.
    pub fn prompt(&self, left_out: u64) -> Cow<'_, [PromptMessage]> {
        self.conversation.request(left_out)
    }

    /// The conversation so far.
    pub fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// The agent's summary in the text of a reply.
    pub fn summary(&self, text: &str, finish: Finish) -> Option<String> {
        summary(text, read_reply(text, finish, self.mode).ok().as_ref(), self.mode)
    }

    /// The summary in a recorded reply; `None` for scripted operators.
    pub fn recorded_summary(&self, row: &StepRow) -> Option<String> {
        match self.operator {
            Some(_) => None,
            None => self.summary(&row.reply, Finish::from_label(&row.finish)),
        }
    }

    /// Seed for sampling the next reply.
    pub fn sampling_seed(&self) -> u64 {
        let of_run = (!self.first_draw).then_some(self.run_id.as_str());
        sampling_seed(self.seed, of_run, self.step + 1)
    }

    /// Applies a reply: the world advances by one step. Returns the row of the step.
    pub fn take(&mut self, input: StepInput) -> StepRow {
        let sampling_seed = self.sampling_seed();
        self.step += 1;
        let ParsedTurn { mut turn, failure, card } = match input.scripted {
            Some(ScriptedTurn { turn, card }) => ParsedTurn { turn, failure: None, card },
            None => self.read_turn(&input.text, input.finish),
        };
        turn.similarity = input.similarity.as_ref().and_then(|row| row.cosine.or(row.centered));
        let card_problem = self.card_problem(&turn.card);
        let mut record = self.world.step(&turn);
        let prompt = self.conversation.take_news();
        let observation = with_failure(std::mem::take(&mut record.observation), failure.as_ref());
        self.conversation.add(&input.text, observation, input.left_out);
        if record.success && matches!(&turn.call, Ok(call) if call.tool == "reset_beliefs") {
            self.conversation.forget();
        }
        let row = StepRow {
            run_id: self.run_id.clone(),
            step: record.step,
            day: record.day,
            prompt,
            history_dropped: input.left_out,
            sampling_seed,
            reply: input.text,
            reasoning: Some(input.reasoning).filter(|text| !text.is_empty()),
            finish: input.finish.label().into(),
            parse_failure: failure,
            action: turn.call.ok().map(action_row),
            card,
            card_problem,
            pe_pairs: record.pairs.iter().map(pair_row).collect(),
            shocks: record.shocks.iter().map(RawJson::of).collect(),
            crashes: std::mem::take(&mut record.crashes).into_iter().map(crash_record).collect(),
            similarity: input.similarity,
            state: RawJson::of(&record.totals),
            ending: record.ending.map(|ending| ending.label().to_string()),
            prompt_tokens: input.prompt_tokens,
            reply_tokens: input.reply_tokens,
            reasoning_tokens: input.reasoning_tokens,
            mixed_kernels: self.mixed_kernels.clone(),
            ..StepRow::default()
        };
        match self.design {
            Design::V1 => self.with_v1_fields(row, record),
            Design::V2 => self.with_v2_fields(row, record),
        }
    }

    /// Parses the reply of a model.
    fn read_turn(&self, text: &str, finish: Finish) -> ParsedTurn {
        let parsed = read_reply(text, finish, self.mode);
        let plan = self.announced_tool(text, parsed.as_ref().ok());
        let mut read = ParsedTurn::of(parsed);
        read.turn.plan = plan;
        read
    }

    fn with_v1_fields(&self, row: StepRow, record: StepRecord) -> StepRow {
        StepRow {
            result: ResultRow {
                success: record.success,
                failure: record.failure,
                answer: record.result,
            },
            pe: record.pe.iter().map(|(kind, error)| (kind.label().into(), *error)).collect(),
            pe_scales: RawJson::of(&record.scales),
            detector: self.world.last_detector_step().map(RawJson::of).unwrap_or_default(),
            ..row
        }
    }

    fn with_v2_fields(&mut self, row: StepRow, record: StepRecord) -> StepRow {
        let changed = record.dose.and_then(|dose| self.changed_dose(dose));
        StepRow {
            design: Some(self.design.label().into()),
            result: ResultRow {
                success: record.success,
                failure: record.failure,
                answer: Value::Null,
            },
            drawn: record.drawn.map(|kind| kind.label().into()),
            dose: changed,
            exposure: record.exposure.map(exposure_row),
            detector: self
                .world
                .last_detector_step()
                .map(|step| RawJson::of(&step.flags()))
                .unwrap_or_default(),
            ..row
        }
    }

    /// The tool that a model's summary announces; `None` for scripted operators.
    fn announced_tool(&self, text: &str, action: Option<&AgentAction>) -> Option<String> {
        match self.operator {
            Some(_) => None,
            None => announced_tool(&summary(text, action, self.mode)?, &self.tool_names),
        }
    }

    /// Why a prediction card is invalid, or missing although it is required.
    fn card_problem(&self, card: &Result<Card, CardProblem>) -> Option<String> {
        let optional = self.world.config().prediction_mode == PredictionMode::Optional;
        match card {
            Err(CardProblem::Absent) => (!optional).then(|| "absent".to_string()),
            Err(CardProblem::Malformed(why)) => Some(why.clone()),
            // Cards of scripted operators are not validated: they have the same fields in every
            // prediction format.
            Ok(_) if self.operator.is_some() => None,
            Ok(card) => self.card_validator.problem(&card.raw),
        }
    }
}

/// The scripted operator of a cell; `None` for a model. In design v1 its random numbers depend on
/// the world alone, since then on the run.
fn operator(run_id: &str, cell: &CellConfig, seed: u64) -> Option<Box<dyn Operator>> {
    let AgentConfig { policy, hazard, beta, .. } = cell.agent;
    let seed = match cell.design {
        Design::V1 => seed,
        Design::V2 => operator_seed(run_id),
    };
    warehouse::operator(policy.name(), &OperatorSettings { seed, hazard, beta })
}

fn exposure_row(exposure: Exposure) -> ExposureRow {
    ExposureRow {
        days: [exposure.days.cum, exposure.days.leaky],
        quantity: [exposure.quantity.cum, exposure.quantity.leaky],
        induced: [exposure.induced_days, exposure.induced_quantity],
    }
}

/// A parsed reply: the turn for the world, and the parts that a turn cannot represent.
struct ParsedTurn {
    turn: Turn,
    /// Why the reply contains no action.
    failure: Option<ParseFailure>,
    /// The card as the agent gave it, well-formed or not.
    card: Option<RawJson>,
}

impl ParsedTurn {
    fn of(parsed: Result<AgentAction, ParseFailure>) -> ParsedTurn {
        match parsed {
            Ok(AgentAction { tool, arguments, card }) => {
                let given = card.as_ref().map(RawJson::of);
                let card = Card::from_value(card.unwrap_or(Value::Null));
                let turn = Turn::new(Ok(ToolCall { tool, arguments }), card);
                ParsedTurn { turn, failure: None, card: given }
            }
            Err(failure) => {
                let turn = Turn::new(Err(failure.kind.clone()), Err(CardProblem::Absent));
                ParsedTurn { turn, failure: Some(failure), card: None }
            }
        }
    }
}

/// A scripted operator's action as the JSON that a model would write.
fn action_text(call: &ToolCall, card: Option<&RawJson>) -> String {
    #[derive(serde::Serialize)]
    struct ActionText<'a> {
        tool: &'a str,
        arguments: &'a Map<String, Value>,
        card: Option<&'a RawJson>,
    }
    let action = ActionText { tool: &call.tool, arguments: &call.arguments, card };
    let mut text = Vec::with_capacity(512);
    // Serializing strings and JSON values does not fail.
    let written = serde_json::to_writer(&mut text, &action).ok();
    written.and_then(|()| String::from_utf8(text).ok()).unwrap_or_default()
}

/// Whether two turns have the same card, but for the JSON text, which a scripted one lacks.
fn same_card(read: &Turn, scripted: &Turn) -> bool {
    match (&read.card, &scripted.card) {
        (Ok(read), Ok(scripted)) => *scripted == Card { raw: Value::Null, ..read.clone() },
        (read, scripted) => read == scripted,
    }
}

/// The observation after a reply without an action: why the reply was not used, then the state of
/// the world.
fn with_failure(observation: String, failure: Option<&ParseFailure>) -> String {
    match failure {
        // The failure replaces the first line of the world's observation, which has only the kind
        // of the failure.
        Some(failure) => {
            let rest = observation.split_once('\n').map_or("", |(_, rest)| rest);
            format!("Your last reply was not used: {}.\n{rest}", failure.detail)
        }
        None => observation,
    }
}

fn action_row(ToolCall { tool, arguments }: ToolCall) -> ActionRow {
    ActionRow { tool, arguments }
}

fn pair_row(pair: &warehouse::PredictionPair) -> PairRow {
    PairRow {
        card_step: pair.card_step,
        field: pair.field.label().into(),
        kind: pair.induced.is_none().then(|| pair.kind.label().into()),
        predicted: pair.predicted,
        actual: pair.actual,
        error: pair.error,
        error_published: pair.induced.is_none().then_some(pair.error_published),
        induced: pair.induced,
    }
}

impl StepInput {
    /// The input of a recorded step.
    pub fn of_row(row: &StepRow) -> StepInput {
        StepInput {
            text: row.reply.clone(),
            reasoning: row.reasoning.clone().unwrap_or_default(),
            finish: Finish::from_label(&row.finish),
            prompt_tokens: row.prompt_tokens,
            reply_tokens: row.reply_tokens,
            reasoning_tokens: row.reasoning_tokens,
            left_out: row.history_dropped,
            similarity: row.similarity.clone(),
            scripted: None,
        }
    }

    pub fn of_reply(reply: Reply, left_out: u64, similarity: Option<SimilarityRow>) -> StepInput {
        StepInput {
            text: reply.text,
            reasoning: reply.reasoning,
            finish: reply.finish,
            prompt_tokens: reply.prompt_tokens,
            reply_tokens: reply.reply_tokens,
            reasoning_tokens: reply.reasoning_tokens,
            left_out,
            similarity,
            scripted: None,
        }
    }
}
