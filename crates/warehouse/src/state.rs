//! The state of a world, and what every part of it needs: money, stock, ids.

use crate::catalog::{Catalog, money};
use crate::config::WorldConfig;
use crate::news::News;
use crate::orders::{CustomerOrder, SupplierOrder};
use crate::pe::{PeTracker, PredictionPair};
use crate::random::RandomStream;
use crate::shock_event::{CausalLink, LateLedger};
use crate::step_record::Totals;
use crate::tool_specs::{ToolName, available_tools};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

/// The random streams of a run. A factor that changes the draws of one leaves the others alone.
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

/// A past card, for `audit_predictions`.
#[derive(Debug, Clone)]
pub(crate) struct PastCard {
    pub step: u64,
    pub call: String,
    pub expected: Value,
    pub succeeded: bool,
    /// Its scored fields so far.
    pub truths: Vec<PredictionPair>,
}

/// A warehouse and its market between two calls.
#[derive(Debug, Clone)]
pub(crate) struct WorldState {
    pub config: WorldConfig,
    pub catalog: Catalog,
    /// The catalog of the first morning, which agents were shown.
    pub published: Catalog,
    pub streams: WorldStreams,
    /// From 1.
    pub day: u64,
    /// Calls so far.
    pub step: u64,
    pub actions_left: u32,
    pub cash_cents: i64,
    /// For a unit and day.
    pub storage_fee_cents: i64,
    /// Units by SKU.
    pub stock: Vec<u32>,
    /// Supplier orders in transit.
    pub inbound: Vec<SupplierOrder>,
    /// Open customer orders, oldest first.
    pub customers: Vec<CustomerOrder>,
    pub next_id: u64,
    pub shipped: u64,
    pub expired: u64,
    pub scratchpad: BTreeMap<String, String>,
    /// (day of the news, text) of delayed notices.
    pub notices: Vec<(u64, String)>,
    pub causal_link: Option<CausalLink>,
    pub late_ledger: Option<LateLedger>,
    /// (day of posting, cents) of entries that the ledger does not show yet.
    pub unposted: Vec<(u64, i64)>,
    /// What the next observation reports.
    pub news: Vec<News>,
    pub pe: PeTracker,
    /// Fields scored in this step.
    pub pairs: Vec<PredictionPair>,
    /// The latest cards, newest first; kept for agents that have `audit_predictions`.
    pub cards: VecDeque<PastCard>,
    pub tools: Vec<ToolName>,
}

impl WorldState {
    /// The state before the first morning; `config` is valid.
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

    /// The id of the next customer or supplier order.
    pub fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Books income (positive) or a payment (negative). Cash changes at once; a late ledger shows
    /// it some days later.
    pub fn book(&mut self, cents: i64) {
        self.cash_cents += cents;
        if let Some(late) = self.late_ledger.filter(|late| self.day <= late.until_day) {
            self.unposted.push((self.day + late.days, cents));
        }
    }

    /// Cash that the ledger shows; agents see no other.
    pub fn ledger_cents(&self) -> i64 {
        self.cash_cents - self.unposted.iter().map(|(_, cents)| cents).sum::<i64>()
    }

    /// Units in storage, all SKUs together.
    pub fn stock_units(&self) -> u64 {
        self.stock.iter().map(|units| u64::from(*units)).sum()
    }

    /// A value that differs if a call changed anything that matters; the clock does not count.
    pub fn fingerprint(&self) -> (i64, u64, u64, u64, u64, usize) {
        let inbound = self
            .inbound
            .iter()
            .fold(0u64, |h, o| h.wrapping_mul(31).wrapping_add(o.id * 7 + u64::from(o.expedited)));
        let notes = self.scratchpad.iter().map(|(k, v)| k.len() + v.len()).sum();
        (self.cash_cents, self.stock_units(), self.shipped, self.next_id, inbound, notes)
    }

    /// The state in figures.
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
