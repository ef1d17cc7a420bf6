//! The step function: executes a turn of the agent, ends the day if it is over, and records the
//! step.

use crate::catalog::{Catalog, money};
use crate::config::{ConfigError, Design, WorldConfig};
use crate::crash_detectors::{Crash, CrashMonitor, DetectorStep, detect, newly_fired};
use crate::exposure::Exposure;
use crate::news::News;
use crate::orders::{CustomerOrder, SupplierOrder};
use crate::prediction_error::{CallFacts, CallTerms, PeScales, PerKind, PredictionPair, Truth};
use crate::shock_event::{ShockDose, ShockEvent};
use crate::state::{Arrival, PastCard, WorldState};
use crate::step_record::{EpisodeEnd, StepRecord, Totals};
use crate::terms::Terms;
use crate::tool_call::ToolCall;
use crate::tool_specs::ToolName;
use crate::tools::{self, CallOutcome};
use crate::turn::Turn;
use serde_json::json;

/// Maximum number of cards that `audit_predictions` shows.
const CARDS_SHOWN_MAX: usize = 10;
/// Cash in cents below which an episode ends as ruin if there is no stock and no supplier order in
/// transit.
const RUIN_CENTS: i64 = 500;
/// Number of lost customer orders within the last days below which their share is no ending.
const LOSSES_MIN: usize = 10;

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
    detectors: Detectors,
    /// Length of the last observation in bytes, by which the next one's capacity is estimated.
    observation_bytes: usize,
    ending: Option<EpisodeEnd>,
}

/// The crash detectors of a design, with the steps and crashes so far.
#[derive(Debug, Clone)]
enum Detectors {
    /// The steps, and the first crash of each detector, without severity.
    First(Vec<DetectorStep>, Vec<Crash>),
    All(Box<CrashMonitor>),
}

impl Detectors {
    fn new(config: &WorldConfig) -> Detectors {
        match config.design {
            Design::V1 => Detectors::First(Vec::new(), Vec::new()),
            Design::V2 => Detectors::All(Box::new(CrashMonitor::new(&config.crash_detector))),
        }
    }

    /// Adds a step; returns the crashes detected in it.
    fn push(&mut self, step: DetectorStep, config: &WorldConfig) -> Vec<Crash> {
        match self {
            Detectors::First(steps, crashes) => {
                steps.push(step);
                let new = newly_fired(steps, &config.crash_detector, crashes);
                crashes.extend(new.iter().cloned());
                new
            }
            Detectors::All(monitor) => monitor.push(step),
        }
    }

    fn last(&self) -> Option<&DetectorStep> {
        match self {
            Detectors::First(steps, _) => steps.last(),
            Detectors::All(monitor) => monitor.last(),
        }
    }

    /// The step in which the crash was detected that may end the run.
    fn ending_crash_step(&self) -> Option<u64> {
        match self {
            Detectors::First(_, crashes) => crashes.iter().map(|c| c.detected_step).min(),
            Detectors::All(monitor) => monitor.first_event().map(|(_, crash)| crash.detected_step),
        }
    }
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
        Ok(World { state, detectors: Detectors::new(config), observation_bytes: 0, ending: None })
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
            drawn: self.state.drawn,
            dose: self.since_v2(self.state.dose),
            exposure: self.since_v2(self.state.pe.exposure()),
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

    /// The value, if the design is v2 or later.
    fn since_v2<T>(&self, value: T) -> Option<T> {
        (self.state.config.design != Design::V1).then_some(value)
    }

    fn apply(&mut self, turn: &Turn) -> StepEffects {
        let state = &mut self.state;
        state.step += 1;
        let day = state.day;
        (state.drawn, state.fees_paid_cents) = (None, None);
        state.arrivals.clear();
        match state.config.design {
            Design::V1 => state.shocks = state.immediate_shock().into_iter().collect(),
            Design::V2 => state.waiting_shocks(),
        }
        let before = state.fingerprint();
        let told = state.shocks.len();
        state.news.extend(state.shocks.iter().filter_map(|s| s.notice.clone()).map(News::Notice));
        let outcome = match &turn.call {
            Ok(call) => tools::execute(state, call),
            Err(kind) => CallOutcome::failed(format!("your reply was no valid action ({kind})")),
        };
        let during = state.shocks[told..].iter();
        state.news.extend(during.filter_map(|s| s.notice.clone()).map(News::Notice));
        let changed = state.fingerprint() != before;
        self.score(turn, &outcome);
        let mut step = self.detector_step(turn, &outcome, changed);
        let state = &mut self.state;
        state.traded_today |= step.traded;
        state.actions_left = state.actions_left.saturating_sub(1);
        if state.actions_left == 0 || outcome.ends_day {
            state.evening();
            state.morning();
        }
        if state.config.design != Design::V1 {
            (step.day, step.idle_days) = (day, state.idle_days);
            step.delivered = state.arrivals.len() as u64;
        }
        let crashes = self.detectors.push(step, &state.config);
        let pairs = std::mem::take(&mut state.pairs);
        let (pe, scales) = state.pe.close(state.step, &pairs);
        for past in &mut state.cards {
            past.truths.extend(pairs.iter().filter(|pair| pair.card_step == past.step).cloned());
        }
        let shocks = std::mem::take(&mut state.shocks);
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
            terms: match state.config.design {
                Design::V1 => None,
                Design::V2 => Some(call_terms(state, outcome)),
            },
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
                expected: json!(card),
                succeeded: outcome.success,
                truths: Vec::new(),
            });
        }
    }

    fn detector_step(&self, turn: &Turn, outcome: &CallOutcome, changed: bool) -> DetectorStep {
        let traded = outcome.success
            && matches!(&turn.call, Ok(call) if ToolName::parse(&call.tool).is_some_and(ToolName::trades));
        let (tool, call) = match &turn.call {
            Ok(call) => (call.tool.clone(), call.canonical()),
            Err(kind) => (kind.clone(), String::new()),
        };
        DetectorStep {
            tool,
            call,
            failed: !outcome.success,
            changed: changed || outcome.ends_day,
            traded,
            unaffordable: outcome.unaffordable,
            contradicts: turn.contradicts(),
            tools_available: self.state.tools.len(),
            similarity: turn.similarity,
            ..DetectorStep::default()
        }
    }

    fn find_ending(&self) -> Option<EpisodeEnd> {
        let state = &self.state;
        let patience = state.config.crash_detector.continue_after_crash;
        let idle = state.stock_units() == 0 && state.inbound.is_empty();
        if too_many_losses(state) {
            Some(EpisodeEnd::Expired)
        } else if state.cash_cents < 0 || (idle && state.cash_cents < RUIN_CENTS) {
            Some(EpisodeEnd::Ruin)
        } else if state.step >= state.config.max_steps {
            Some(EpisodeEnd::Horizon)
        } else {
            let last = self.detectors.ending_crash_step()?.checked_add(patience?)?;
            (state.step >= last).then_some(EpisodeEnd::Crash)
        }
    }

    /// How the episode ended, if it has.
    pub fn ending(&self) -> Option<EpisodeEnd> {
        self.ending
    }

    /// The crashes so far, with severity where known; in design v1 the first one of each detector.
    pub fn crashes(&self) -> Vec<Crash> {
        match &self.detectors {
            Detectors::First(steps, _) => detect(steps, &self.state.config.crash_detector),
            Detectors::All(monitor) => monitor.crashes(),
        }
    }

    /// The crashes and the time at risk so far; `None` in design v1.
    pub fn monitor(&self) -> Option<&CrashMonitor> {
        match &self.detectors {
            Detectors::First(..) => None,
            Detectors::All(monitor) => Some(monitor),
        }
    }

    /// Accumulated delivery errors so far.
    pub fn exposure(&self) -> Exposure {
        self.state.pe.exposure()
    }

    /// Shocks so far; all 0 in design v1.
    pub fn dose(&self) -> ShockDose {
        self.state.dose
    }

    /// Supplier orders that were delivered after the last call.
    pub fn arrivals(&self) -> &[Arrival] {
        &self.state.arrivals
    }

    /// Input of the crash detectors in the last step; `None` before the first step.
    pub fn last_detector_step(&self) -> Option<&DetectorStep> {
        self.detectors.last()
    }

    /// Whether the last call failed.
    pub(crate) fn last_call_failed(&self) -> bool {
        self.last_detector_step().is_some_and(|step| step.failed)
    }

    /// Published fees of a day in cents, with this number of units in storage.
    pub(crate) fn published_fees_cents(&self, stock_units: u64) -> i64 {
        self.state.published_terms.fees_cents(stock_units)
    }

    /// Supplier, SKU and units that an order asks for; `None` for other and for invalid calls.
    pub(crate) fn requested(&self, call: &ToolCall) -> Option<(usize, usize, i64)> {
        if ToolName::parse(&call.tool) != Some(ToolName::Order) {
            return None;
        }
        let (supplier, sku) =
            (call.text_argument("supplier_id").ok()?, call.text_argument("sku").ok()?);
        let (supplier, sku, _) = self.state.published().find(supplier, sku)?;
        Some((supplier, sku, i64::from(call.quantity_argument().ok()?)))
    }

    /// Fees of the day that ended with the last call; `None` if none ended.
    pub fn fees_paid(&self) -> Option<f64> {
        self.state.fees_paid_cents.map(money)
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
        &self.state.terms.catalog
    }

    /// The catalog of the first morning, which the agent was shown.
    pub fn published_catalog(&self) -> &Catalog {
        self.state.published()
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

    /// Number of steps left in the current day.
    pub fn actions_left(&self) -> u32 {
        self.state.actions_left
    }

    /// The answer of `check_inbox`: open customer orders, and supplier orders on their way.
    pub fn inbox(&self) -> serde_json::Value {
        self.state.inbox()
    }

    /// The tools that are available to the agent.
    pub(crate) fn tools(&self) -> &[ToolName] {
        &self.state.tools
    }
}

/// Whether the losses of customer orders end the episode.
fn too_many_losses(state: &WorldState) -> bool {
    let demand = &state.config.demand;
    match state.config.design {
        Design::V1 => state.expired >= u64::from(demand.max_failures),
        Design::V2 => {
            let (lost, shipped) = (state.recent_losses.len(), state.recent_shipments.len());
            lost >= LOSSES_MIN && lost as f64 > demand.max_lost_share * (lost + shipped) as f64
        }
    }
}

/// The terms of a call in design v2, for scoring its card.
fn call_terms(state: &WorldState, outcome: &CallOutcome) -> CallTerms {
    let fees = |terms: &Terms| money(terms.fees_cents(state.stock_units()));
    CallTerms {
        refused: outcome.refused,
        added_cost: money(outcome.added_cost_cents),
        unit_price: outcome.unit_price,
        fees_today: Truth {
            actual: fees(&state.terms),
            without_shocks: fees(&state.published_terms),
        },
    }
}
