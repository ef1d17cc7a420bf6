use crate::briefing::{CARDS_SHOWN, PastCard};
use crate::catalog::{Catalog, money};
use crate::detect::{Crash, DetectorStep, fired_now};
use crate::news::News;
use crate::orders::{CustomerOrder, SupplierOrder};
use crate::pe::{PeScales, PeTracker, PerKind};
use crate::random::RandomStream;
use crate::record::{EpisodeEnd, StepRecord, Totals, Turn};
use crate::shock::{CausalLink, LateLedger, ShockEvent};
use crate::tools::{self, CallOutcome};
use crate::{ConfigError, WorldConfig, tool_specs};
use std::collections::{BTreeMap, VecDeque};

/// The draws of a run, each from a stream of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streams {
    pub demand: RandomStream,
    pub quantities: RandomStream,
    pub deliveries: RandomStream,
    pub shocks: RandomStream,
    pub shock_types: RandomStream,
    pub shock_effects: RandomStream,
}

/// What a step did, as facts.
struct StepEffects {
    day: u64,
    outcome: CallOutcome,
    shocks: Vec<ShockEvent>,
    crashes: Vec<Crash>,
    pairs: Vec<crate::PredictionPair>,
    pe: PerKind<Option<f64>>,
    scales: PerKind<PeScales>,
}

/// A warehouse and its market, at one instant.
#[derive(Debug, Clone)]
pub struct World {
    pub(crate) config: WorldConfig,
    pub(crate) catalog: Catalog,
    /// The catalogue of the first morning: what agents were shown.
    pub(crate) published: Catalog,
    pub(crate) streams: Streams,
    pub(crate) day: u64,
    pub(crate) step: u64,
    pub(crate) actions_left: u32,
    pub(crate) cash_cents: i64,
    pub(crate) storage_fee_cents: i64,
    pub(crate) stock: Vec<u32>,
    pub(crate) inbound: Vec<SupplierOrder>,
    pub(crate) customers: Vec<CustomerOrder>,
    pub(crate) next_id: u64,
    pub(crate) shipped: u64,
    pub(crate) expired: u64,
    pub(crate) scratchpad: BTreeMap<String, String>,
    /// Day -> what the agent is told then.
    pub(crate) notices: Vec<(u64, String)>,
    pub(crate) link: Option<CausalLink>,
    pub(crate) late_ledger: Option<LateLedger>,
    /// (the day on which the ledger shows it, cents); what it shows by now is dropped.
    pub(crate) unposted: Vec<(u64, i64)>,
    pub(crate) news: Vec<News>,
    /// Bytes of the last observation.
    pub(crate) told_bytes: usize,
    pub(crate) pe: PeTracker,
    /// The latest, for agents that can look at them.
    pub(crate) cards: VecDeque<PastCard>,
    pub(crate) detector_steps: Vec<DetectorStep>,
    pub(crate) crashes: Vec<Crash>,
    pub(crate) pairs: Vec<crate::PredictionPair>,
    /// Names of the tools that the agent has.
    pub(crate) tools: Vec<&'static str>,
    ending: Option<EpisodeEnd>,
}

impl World {
    /// The world of a run on its first morning.
    ///
    /// # Errors
    /// The first key of the configuration that is out of its range.
    pub fn new(config: &WorldConfig, seed: u64) -> Result<World, ConfigError> {
        config.validate()?;
        let stream = |name| RandomStream::new(seed, name);
        let streams = Streams {
            demand: stream("demand"),
            quantities: stream("quantities"),
            deliveries: stream("deliveries"),
            shocks: stream("shocks"),
            shock_types: stream("shock types"),
            shock_effects: stream("shock effects"),
        };
        let mut world = World {
            catalog: Catalog::new(config, seed),
            published: Catalog::new(config, seed),
            streams,
            day: 1,
            step: 0,
            actions_left: config.actions_in_a_day(),
            cash_cents: (config.initial_budget * 100.0).round() as i64,
            storage_fee_cents: (config.storage_fee * 100.0).round() as i64,
            stock: vec![config.initial_stock(); config.skus()],
            inbound: Vec::new(),
            customers: Vec::new(),
            next_id: 1,
            shipped: 0,
            expired: 0,
            scratchpad: BTreeMap::new(),
            notices: Vec::new(),
            link: None,
            late_ledger: None,
            unposted: Vec::new(),
            news: Vec::new(),
            told_bytes: 0,
            pe: PeTracker::default(),
            cards: VecDeque::new(),
            detector_steps: Vec::new(),
            crashes: Vec::new(),
            pairs: Vec::new(),
            ending: None,
            tools: tool_specs(config).iter().map(|spec| spec.name).collect(),
            config: config.clone(),
        };
        world.morning();
        Ok(world)
    }

    /// One action of the agent, and all that follows from it.
    pub fn step(&mut self, turn: &Turn) -> StepRecord {
        let done = self.go(turn);
        let observation = self.observation(&done.outcome);
        StepRecord {
            step: self.step,
            day: done.day,
            success: done.outcome.success,
            failure: done.outcome.failure,
            result: done.outcome.result,
            observation,
            pe: done.pe,
            pairs: done.pairs,
            scales: done.scales,
            shocks: done.shocks,
            detector: self.detector_steps.last().cloned().unwrap_or_default(),
            crashes: done.crashes,
            ending: self.ending,
            totals: self.totals(),
        }
    }

    /// The same step without a record: nothing is written down, and what there is to tell the agent
    /// is forgotten.
    pub fn advance(&mut self, turn: &Turn) -> Option<EpisodeEnd> {
        let _unread = self.go(turn);
        self.news.clear();
        self.ending
    }

    fn go(&mut self, turn: &Turn) -> StepEffects {
        self.step += 1;
        let day = self.day;
        let shocks: Vec<_> = self.shock().into_iter().collect();
        self.news.extend(shocks.iter().filter_map(|s| s.told.clone()).map(News::Told));
        let before = self.fingerprint();
        let outcome = match &turn.call {
            Ok(call) => tools::call(self, call),
            Err(kind) => CallOutcome::failed(format!("your reply was no valid action ({kind})")),
        };
        let changed = self.fingerprint() != before;
        self.score(turn, &outcome);
        self.remember(turn, &outcome, changed);
        self.actions_left = self.actions_left.saturating_sub(1);
        if self.actions_left == 0 || outcome.ends_day {
            self.evening();
            self.morning();
        }
        let crashes = fired_now(&self.detector_steps, &self.config.crash_detector, &self.crashes);
        self.crashes.extend(crashes.iter().cloned());
        let pairs = std::mem::take(&mut self.pairs);
        let (pe, scales) = self.pe.close(self.step, &pairs);
        self.note_truths(&pairs);
        self.ending = self.find_ending();
        StepEffects { day, outcome, shocks, crashes, pairs, pe, scales }
    }

    fn score(&mut self, turn: &Turn, outcome: &CallOutcome) {
        let Ok(card) = &turn.card else { return };
        let (stock, budget) = (self.stock_units() as f64, money(self.ledger_cents()));
        let now = self.pe.score_now(
            self.step,
            card,
            outcome.success,
            money(outcome.cost_cents),
            stock,
            budget,
        );
        self.pairs.extend(now);
        if let Some(order) = outcome.ordered {
            self.pe.wait_for(order, self.step, card);
        }
        if let Ok(call) = &turn.call
            && self.tools.contains(&"audit_predictions")
        {
            self.cards.truncate(CARDS_SHOWN - 1);
            self.cards.push_front(PastCard {
                step: self.step,
                call: call.canonical(),
                expected: card.to_json(),
                succeeded: outcome.success,
                truths: Vec::new(),
            });
        }
    }

    /// Truths, late ones too, go beside the cards that they belong to.
    fn note_truths(&mut self, pairs: &[crate::PredictionPair]) {
        for past in &mut self.cards {
            past.truths.extend(pairs.iter().filter(|pair| pair.card_step == past.step).cloned());
        }
    }

    fn remember(&mut self, turn: &Turn, outcome: &CallOutcome, changed: bool) {
        let traded = outcome.success
            && matches!(&turn.call, Ok(call) if tools::TRADES.contains(&call.tool.as_str()));
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
            tools_available: self.tools.len(),
            similarity: turn.similarity,
        });
    }

    fn find_ending(&self) -> Option<EpisodeEnd> {
        let first_crash = self.crashes.iter().map(|c| c.detected_step).min();
        let patience = self.config.crash_detector.continue_after_crash;
        let idle = self.stock_units() == 0 && self.inbound.is_empty();
        if self.expired >= u64::from(self.config.demand.max_failures) {
            Some(EpisodeEnd::Expired)
        } else if self.cash_cents < 0 || (idle && self.cash_cents < 500) {
            Some(EpisodeEnd::Ruin)
        } else if self.step >= self.config.max_steps {
            Some(EpisodeEnd::Horizon)
        } else {
            first_crash.filter(|at| self.step >= at + patience).map(|_| EpisodeEnd::Crash)
        }
    }

    /// How the world ended, if it has.
    pub fn ending(&self) -> Option<EpisodeEnd> {
        self.ending
    }

    /// All crashes so far, with their severity.
    pub fn crashes(&self) -> Vec<Crash> {
        crate::detect(&self.detector_steps, &self.config.crash_detector)
    }

    /// The world in figures.
    pub fn totals(&self) -> Totals {
        let at_cost = |sku: usize, units: u32| self.catalog.cheapest_cents(sku) * i64::from(units);
        let stock: i64 =
            self.stock.iter().enumerate().map(|(sku, units)| at_cost(sku, *units)).sum();
        let coming: i64 = self.inbound.iter().map(|o| at_cost(o.sku, o.quantity)).sum();
        Totals {
            day: self.day,
            budget: money(self.cash_cents),
            ledger: money(self.ledger_cents()),
            stock_units: self.stock_units(),
            net_worth: money(self.cash_cents + stock + coming),
            orders_shipped: self.shipped,
            orders_expired: self.expired,
            orders_open: self.customers.len() as u64,
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// Who sells what, as of now.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Who sells what, as the agent was told on the first morning.
    pub fn published_catalog(&self) -> &Catalog {
        &self.published
    }

    /// Units of each SKU in storage.
    pub fn stock(&self) -> &[u32] {
        &self.stock
    }

    /// Customer orders that wait, oldest first.
    pub fn customer_orders(&self) -> &[CustomerOrder] {
        &self.customers
    }

    /// Supplier orders on their way. What agents may know of them is in the observation.
    pub fn supplier_orders(&self) -> &[SupplierOrder] {
        &self.inbound
    }

    /// The day, from 1.
    pub fn day(&self) -> u64 {
        self.day
    }

    /// Income, or a payment: the bank has it at once, the ledger perhaps later.
    pub(crate) fn book(&mut self, cents: i64) {
        self.cash_cents += cents;
        if let Some(late) = self.late_ledger.filter(|late| self.day <= late.until_day) {
            self.unposted.push((self.day + late.days, cents));
        }
    }

    /// Cash as the ledger shows it: all that an agent sees of it.
    pub(crate) fn ledger_cents(&self) -> i64 {
        self.cash_cents - self.unposted.iter().map(|(_, cents)| cents).sum::<i64>()
    }

    pub(crate) fn stock_units(&self) -> u64 {
        self.stock.iter().map(|units| u64::from(*units)).sum()
    }

    /// Changes when a call changes anything that matters; the clock does not count.
    fn fingerprint(&self) -> (i64, u64, u64, u64, u64, usize) {
        let inbound = self
            .inbound
            .iter()
            .fold(0u64, |h, o| h.wrapping_mul(31).wrapping_add(o.id * 7 + u64::from(o.expedited)));
        let pad = self.scratchpad.iter().map(|(k, v)| k.len() + v.len()).sum();
        (self.cash_cents, self.stock_units(), self.shipped, self.next_id, inbound, pad)
    }
}
