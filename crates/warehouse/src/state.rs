//! The state of a world, with the operations that several modules use: ids, bookings, stock,
//! totals.

use crate::catalog::{Catalog, money};
use crate::config::WorldConfig;
use crate::news::News;
use crate::orders::{CustomerOrder, SupplierOrder};
use crate::prediction_error::{PeTracker, PredictionPair};
use crate::random::RandomStream;
use crate::shock_event::{CausalLink, LateLedger};
use crate::step_record::Totals;
use crate::tool_specs::{ToolName, available_tools};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

/// The random streams of a run. A factor that changes the draws of one stream does not affect the
/// others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorldStreams {
    pub demand: RandomStream,
    pub quantities: RandomStream,
    pub deliveries: RandomStream,
    pub shocks: RandomStream,
    pub shock_types: RandomStream,
    pub shock_effects: RandomStream,
}

impl WorldStreams {
    fn new(seed: u64) -> WorldStreams {
        let stream = |name| RandomStream::new(seed, name);
        WorldStreams {
            demand: stream("demand"),
            quantities: stream("quantities"),
            deliveries: stream("deliveries"),
            shocks: stream("shocks"),
            shock_types: stream("shock types"),
            shock_effects: stream("shock effects"),
        }
    }
}

/// A card of an earlier step, as `audit_predictions` shows it.
#[derive(Debug, Clone)]
pub(crate) struct PastCard {
    pub step: u64,
    pub call: String,
    pub expected: Value,
    pub succeeded: bool,
    /// Fields of the card that have been scored so far.
    pub truths: Vec<PredictionPair>,
}

/// A warehouse and its market between two calls.
#[derive(Debug, Clone)]
pub(crate) struct WorldState {
    pub config: WorldConfig,
    pub catalog: Catalog,
    /// The catalog of the first morning, which the agent was shown.
    pub published: Catalog,
    pub streams: WorldStreams,
    /// The current day, counted from 1.
    pub day: u64,
    /// Number of steps so far.
    pub step: u64,
    pub actions_left: u32,
    pub cash_cents: i64,
    /// Storage fee per unit and day.
    pub storage_fee_cents: i64,
    /// Units in storage, indexed by SKU.
    pub stock: Vec<u32>,
    /// Supplier orders in transit.
    pub inbound: Vec<SupplierOrder>,
    /// Open customer orders, oldest first.
    pub customers: Vec<CustomerOrder>,
    pub next_id: u64,
    pub shipped: u64,
    pub expired: u64,
    pub scratchpad: BTreeMap<String, String>,
    /// Delayed notices: (day on which the agent is shown the notice, text).
    pub notices: Vec<(u64, String)>,
    pub causal_link: Option<CausalLink>,
    pub late_ledger: Option<LateLedger>,
    /// Bookings that the ledger does not show yet: (day of posting, cents).
    pub unposted: Vec<(u64, i64)>,
    /// Events that the next observation reports.
    pub news: Vec<News>,
    pub pe: PeTracker,
    /// Card fields scored in this step.
    pub pairs: Vec<PredictionPair>,
    /// The latest cards, newest first; kept for agents that have `audit_predictions`.
    pub cards: VecDeque<PastCard>,
    pub tools: Vec<ToolName>,
}

impl WorldState {
    /// The state before the first morning; `config` must be valid.
    pub fn new(config: &WorldConfig, seed: u64) -> WorldState {
        WorldState {
            catalog: Catalog::new(config, seed),
            published: Catalog::new(config, seed),
            streams: WorldStreams::new(seed),
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
            causal_link: None,
            late_ledger: None,
            unposted: Vec::new(),
            news: Vec::new(),
            pe: PeTracker::default(),
            pairs: Vec::new(),
            cards: VecDeque::new(),
            tools: available_tools(config),
            config: config.clone(),
        }
    }

    /// Takes the next id of the sequence that customer and supplier orders share.
    pub fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Books income (positive cents) or a payment (negative). Cash changes at once; a late ledger
    /// shows the entry some days later.
    pub fn book(&mut self, cents: i64) {
        self.cash_cents += cents;
        if let Some(late) = self.late_ledger.filter(|late| self.day <= late.until_day) {
            self.unposted.push((self.day + late.days, cents));
        }
    }

    /// Cash in cents that the ledger shows. Agents see only this balance.
    pub fn ledger_cents(&self) -> i64 {
        self.cash_cents - self.unposted.iter().map(|(_, cents)| cents).sum::<i64>()
    }

    /// Units in storage, all SKUs together.
    pub fn stock_units(&self) -> u64 {
        self.stock.iter().map(|units| u64::from(*units)).sum()
    }

    /// A value that shows whether a call changed the state: cash, stock, orders or the length of
    /// the notes. The day and the remaining actions are not part of it.
    pub fn fingerprint(&self) -> (i64, u64, u64, u64, u64, usize) {
        let inbound = self
            .inbound
            .iter()
            .fold(0u64, |h, o| h.wrapping_mul(31).wrapping_add(o.id * 7 + u64::from(o.expedited)));
        let notes = self.scratchpad.iter().map(|(k, v)| k.len() + v.len()).sum();
        (self.cash_cents, self.stock_units(), self.shipped, self.next_id, inbound, notes)
    }

    /// Summary figures of the state.
    pub fn totals(&self) -> Totals {
        let at_cost = |sku: usize, units: u32| self.catalog.cheapest_cents(sku) * i64::from(units);
        let stock: i64 =
            self.stock.iter().enumerate().map(|(sku, units)| at_cost(sku, *units)).sum();
        let in_transit: i64 = self.inbound.iter().map(|o| at_cost(o.sku, o.quantity)).sum();
        Totals {
            day: self.day,
            budget: money(self.cash_cents),
            ledger: money(self.ledger_cents()),
            stock_units: self.stock_units(),
            net_worth: money(self.cash_cents + stock + in_transit),
            orders_shipped: self.shipped,
            orders_expired: self.expired,
            orders_open: self.customers.len() as u64,
        }
    }
}
