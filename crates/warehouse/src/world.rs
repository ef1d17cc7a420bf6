//! The step function: executes a turn of the agent, ends the day if it is over, and records the
//! step.

use crate::catalog::{Catalog, money};
use crate::config::{ConfigError, WorldConfig};
use crate::crash_detectors::{Crash, DetectorStep, detect, newly_fired};
use crate::news::News;
use crate::orders::{CustomerOrder, SupplierOrder};
use crate::prediction_error::{CallFacts, PeScales, PerKind, PredictionPair};
use crate::shock_event::ShockEvent;
use crate::state::{PastCard, WorldState};
use crate::step_record::{EpisodeEnd, StepRecord, Totals};
use crate::tool_specs::ToolName;
use crate::tools::{self, CallOutcome};
use crate::turn::Turn;

/// Maximum number of cards that `audit_predictions` shows.
const CARDS_SHOWN_MAX: usize = 10;
/// Cash in cents below which an episode ends as ruin if there is no stock and no supplier order in
/// transit.
const RUIN_CENTS: i64 = 500;

/// Effects of a step, from which its record is made.
struct StepEffects {
    day: u64,
    outcome: CallOutcome,
    shocks: Vec<ShockEvent>,
    crashes: Vec<Crash>,
    pairs: Vec<PredictionPair>,
    pe: PerKind<Option<f64>>,
    scales: PerKind<PeScales>,
}

/// A warehouse and its market, advanced by an agent's turns.
#[derive(Debug, Clone)]
pub struct World {
    state: WorldState,
    detector_steps: Vec<DetectorStep>,
    /// Crashes so far, without severity.
    crashes: Vec<Crash>,
    /// Length of the last observation in bytes, by which the next one's capacity is estimated.
    observation_bytes: usize,
    ending: Option<EpisodeEnd>,
}

impl World {
    /// Creates the world of a run on its first morning.
    ///
    /// # Errors
    /// [`ConfigError`] for the first value that is out of its range.
    pub fn new(config: &WorldConfig, seed: u64) -> Result<World, ConfigError> {
        config.validate()?;
        let mut state = WorldState::new(config, seed);
        state.morning();
        Ok(World {
            state,
            detector_steps: Vec::new(),
            crashes: Vec::new(),
            observation_bytes: 0,
            ending: None,
        })
    }

    /// Executes one turn of the agent, and the evening and next morning if the day ends with it.
    pub fn step(&mut self, turn: &Turn) -> StepRecord {
        let effects = self.apply(turn);
        let capacity_bytes = self.observation_bytes + self.observation_bytes / 4 + 512;
        let observation = self.state.observation(&effects.outcome, capacity_bytes);
        self.observation_bytes = observation.len();
        StepRecord {
            step: self.state.step,
            day: effects.day,
            success: effects.outcome.success,
            failure: effects.outcome.failure,
            result: effects.outcome.result,
            observation,
            pe: effects.pe,
            pairs: effects.pairs,
            scales: effects.scales,
            shocks: effects.shocks,
            detector: self.detector_steps.last().cloned().unwrap_or_default(),
            crashes: effects.crashes,
            ending: self.ending,
            totals: self.totals(),
        }
    }

    /// The same as [`World::step`] without a record: no observation is written, and the news is
    /// discarded. Returns how the episode ended, if it has.
    pub fn advance(&mut self, turn: &Turn) -> Option<EpisodeEnd> {
        let _unread = self.apply(turn);
        self.state.news.clear();
        self.ending
    }

    fn apply(&mut self, turn: &Turn) -> StepEffects {
        let state = &mut self.state;
        state.step += 1;
        let day = state.day;
        let shocks: Vec<_> = state.shock().into_iter().collect();
        state.news.extend(shocks.iter().filter_map(|s| s.notice.clone()).map(News::Notice));
        let before = state.fingerprint();
        let outcome = match &turn.call {
            Ok(call) => tools::execute(state, call),
            Err(kind) => CallOutcome::failed(format!("your reply was no valid action ({kind})")),
        };
        let changed = state.fingerprint() != before;
        self.score(turn, &outcome);
        self.log_detector_step(turn, &outcome, changed);
        let state = &mut self.state;
        state.actions_left = state.actions_left.saturating_sub(1);
        if state.actions_left == 0 || outcome.ends_day {
            state.evening();
            state.morning();
        }
        let crashes =
            newly_fired(&self.detector_steps, &state.config.crash_detector, &self.crashes);
        self.crashes.extend(crashes.iter().cloned());
        let pairs = std::mem::take(&mut state.pairs);
        let (pe, scales) = state.pe.close(state.step, &pairs);
        for past in &mut state.cards {
            past.truths.extend(pairs.iter().filter(|pair| pair.card_step == past.step).cloned());
        }
        self.ending = self.find_ending();
        StepEffects { day, outcome, shocks, crashes, pairs, pe, scales }
    }

    /// Scores the fields of the card whose outcome is known right after the call, stores a
    /// predicted delivery until it can be scored, and keeps the card for `audit_predictions`.
    fn score(&mut self, turn: &Turn, outcome: &CallOutcome) {
        let Ok(card) = &turn.card else { return };
        let state = &mut self.state;
        let facts = CallFacts {
            success: outcome.success,
            cost: money(outcome.cost_cents),
            stock_units: state.stock_units() as f64,
            budget: money(state.ledger_cents()),
        };
        state.pairs.extend(state.pe.score_call(state.step, card, &facts));
        if let Some(order) = outcome.ordered {
            state.pe.await_delivery(order, state.step, card);
        }
        if let Ok(call) = &turn.call
            && state.tools.contains(&ToolName::AuditPredictions)
        {
            state.cards.truncate(CARDS_SHOWN_MAX - 1);
            state.cards.push_front(PastCard {
                step: state.step,
                call: call.canonical(),
                expected: card.to_json(),
                succeeded: outcome.success,
                truths: Vec::new(),
            });
        }
    }

    fn log_detector_step(&mut self, turn: &Turn, outcome: &CallOutcome, changed: bool) {
        let traded = outcome.success
            && matches!(&turn.call, Ok(call) if ToolName::parse(&call.tool).is_some_and(ToolName::trades));
        let (tool, call) = match &turn.call {
            Ok(call) => (call.tool.clone(), call.canonical()),
            Err(kind) => (kind.clone(), String::new()),
        };
        self.detector_steps.push(DetectorStep {
            tool,
            call,
            failed: !outcome.success,
            changed: changed || outcome.ends_day,
            traded,
            unaffordable: outcome.unaffordable,
            contradicts: turn.contradicts(),
            tools_available: self.state.tools.len(),
            similarity: turn.similarity,
        });
    }

    fn find_ending(&self) -> Option<EpisodeEnd> {
        let state = &self.state;
        let first_crash = self.crashes.iter().map(|c| c.detected_step).min();
        let patience = state.config.crash_detector.continue_after_crash;
        let idle = state.stock_units() == 0 && state.inbound.is_empty();
        if state.expired >= u64::from(state.config.demand.max_failures) {
            Some(EpisodeEnd::Expired)
        } else if state.cash_cents < 0 || (idle && state.cash_cents < RUIN_CENTS) {
            Some(EpisodeEnd::Ruin)
        } else if state.step >= state.config.max_steps {
            Some(EpisodeEnd::Horizon)
        } else {
            first_crash.filter(|step| state.step >= step + patience).map(|_| EpisodeEnd::Crash)
        }
    }

    /// How the episode ended, if it has.
    pub fn ending(&self) -> Option<EpisodeEnd> {
        self.ending
    }

    /// The first crash of each detector so far, with severity where known.
    pub fn crashes(&self) -> Vec<Crash> {
        detect(&self.detector_steps, &self.state.config.crash_detector)
    }

    pub fn totals(&self) -> Totals {
        self.state.totals()
    }

    /// The published catalog as text. It precedes the first observation and stays in the prompt for
    /// the whole episode.
    pub fn market(&self) -> String {
        self.state.market()
    }

    /// The observation before the first call: news of the first morning, and the state. Clears the
    /// news.
    pub fn first_observation(&mut self) -> String {
        let mut text = String::new();
        self.state.write_state(&mut text);
        text
    }

    pub fn config(&self) -> &WorldConfig {
        &self.state.config
    }

    /// The present catalog, with the changes made by shocks.
    pub fn catalog(&self) -> &Catalog {
        &self.state.catalog
    }

    /// The catalog of the first morning, which the agent was shown.
    pub fn published_catalog(&self) -> &Catalog {
        &self.state.published
    }

    /// Units in storage, indexed by SKU.
    pub fn stock(&self) -> &[u32] {
        &self.state.stock
    }

    /// Open customer orders, oldest first.
    pub fn customer_orders(&self) -> &[CustomerOrder] {
        &self.state.customers
    }

    /// Supplier orders in transit. Agents see only the fields that observations and `check_inbox`
    /// show.
    pub fn supplier_orders(&self) -> &[SupplierOrder] {
        &self.state.inbound
    }

    /// The current day, counted from 1.
    pub fn day(&self) -> u64 {
        self.state.day
    }

    /// The tools that are available to the agent.
    pub(crate) fn tools(&self) -> &[ToolName] {
        &self.state.tools
    }
}
