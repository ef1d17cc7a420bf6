//! The state of a world, with the operations that several modules use: ids, bookings, stock,
//! totals.

use crate::catalog::{Catalog, money};
use crate::config::{Design, WorldConfig};
use crate::news::News;
use crate::orders::{CustomerOrder, SupplierOrder};
use crate::prediction_error::{PeTracker, PredictionPair};
use crate::random::RandomStream;
use crate::shock_event::{
    CausalLink, DelayedNotice, LateLedger, PendingShock, ShockDose, ShockEvent, ShockType,
};
use crate::step_record::Totals;
use crate::terms::{Terms, TermsChange};
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

/// A delivery of a supplier order, as the agent's news report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub id: u64,
    /// Days from the order to the delivery.
    pub days: u64,
    /// Units that came.
    pub units: u32,
}

/// A warehouse and its market between two calls.
#[derive(Debug, Clone)]
pub(crate) struct WorldState {
    pub config: WorldConfig,
    /// The terms of trade that apply.
    pub terms: Terms,
    /// The terms of the first morning, which the agent was shown.
    pub published_terms: Terms,
    /// The terms that quotes and confirmations show in design v2; see [`WorldState::shown`].
    pub shown_terms: Terms,
    pub streams: WorldStreams,
    /// The current day, counted from 1.
    pub day: u64,
    /// Number of steps so far.
    pub step: u64,
    pub actions_left: u32,
    pub cash_cents: i64,
    /// Units in storage, indexed by SKU.
    pub stock: Vec<u32>,
    /// Supplier orders in transit.
    pub inbound: Vec<SupplierOrder>,
    /// Open customer orders, oldest first.
    pub customers: Vec<CustomerOrder>,
    pub next_id: u64,
    pub shipped: u64,
    pub expired: u64,
    /// Days of the customer orders lost and shipped in the last days; design v2 only.
    pub recent_losses: VecDeque<u64>,
    pub recent_shipments: VecDeque<u64>,
    /// Whether a call of this day moved goods or money.
    pub traded_today: bool,
    /// Days up to now that ended without a trade although a customer order could be served.
    pub idle_days: u64,
    pub scratchpad: BTreeMap<String, String>,
    pub notices: Vec<DelayedNotice>,
    pub dose: ShockDose,
    /// Shocks that wait for something to change, oldest first.
    pub pending: Vec<PendingShock>,
    /// The type of the shock drawn in this step.
    pub drawn: Option<ShockType>,
    /// Shocks that acted in this step.
    pub shocks: Vec<ShockEvent>,
    /// Number of legal orders that suppliers will still refuse because of the last causal shock.
    pub refusals_left: u64,
    /// Changes of the terms that are not over.
    pub changes: Vec<TermsChange>,
    pub causal_link: Option<CausalLink>,
    pub late_ledger: Option<LateLedger>,
    /// Bookings that the ledger does not show yet: (day of posting, cents).
    pub unposted: Vec<(u64, i64)>,
    /// Events that the next observation reports.
    pub news: Vec<News>,
    /// Supplier orders delivered since the last call.
    pub arrivals: Vec<Arrival>,
    /// Fees in cents of the day that ended since the last call.
    pub fees_paid_cents: Option<i64>,
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
        let terms = Terms::published(config, seed);
        WorldState {
            terms: terms.clone(),
            published_terms: terms.clone(),
            shown_terms: terms,
            streams: WorldStreams::new(seed),
            day: 1,
            step: 0,
            actions_left: config.actions_in_a_day(),
            cash_cents: (config.initial_budget * 100.0).round() as i64,
            stock: vec![config.initial_stock(); config.skus()],
            inbound: Vec::new(),
            customers: Vec::new(),
            next_id: 1,
            shipped: 0,
            expired: 0,
            recent_losses: VecDeque::new(),
            recent_shipments: VecDeque::new(),
            traded_today: false,
            idle_days: 0,
            scratchpad: BTreeMap::new(),
            notices: Vec::new(),
            dose: ShockDose::default(),
            pending: Vec::new(),
            drawn: None,
            shocks: Vec::new(),
            refusals_left: 0,
            changes: Vec::new(),
            causal_link: None,
            late_ledger: None,
            unposted: Vec::new(),
            news: Vec::new(),
            arrivals: Vec::new(),
            fees_paid_cents: None,
            pe: PeTracker::new(config.design),
            pairs: Vec::new(),
            cards: VecDeque::new(),
            tools: available_tools(config),
            config: config.clone(),
        }
    }

    /// The terms that quotes and confirmations show. In design v1 they are always those that apply.
    pub fn shown(&self) -> &Terms {
        match self.config.design {
            Design::V1 => &self.terms,
            Design::V2 => &self.shown_terms,
        }
    }

    /// The catalog of the first morning.
    pub fn published(&self) -> &Catalog {
        &self.published_terms.catalog
    }

    /// Units of a SKU on their way, as ordered.
    pub fn units_in_transit(&self, sku: usize) -> u32 {
        self.inbound.iter().filter(|order| order.sku == sku).map(|order| order.quantity).sum()
    }

    /// Units that can still be ordered: room in storage, goods on their way included.
    pub fn room_units(&self) -> u64 {
        let in_transit: u64 = self.inbound.iter().map(|o| u64::from(o.quantity)).sum();
        u64::from(self.config.storage_capacity).saturating_sub(self.stock_units() + in_transit)
    }

    /// Whether some customer order can be served now: stock covers it, or stock and goods on their
    /// way do not and its units can be bought.
    pub fn can_serve(&self) -> bool {
        let mut room = None;
        self.customers.iter().any(|order| {
            let stock = self.stock[order.sku];
            let missing = order.quantity.saturating_sub(stock);
            let price = self.published().cheapest_cents(order.sku);
            missing == 0
                || stock + self.units_in_transit(order.sku) < order.quantity
                    && i64::from(missing) * price <= self.cash_cents
                    && u64::from(missing) <= *room.get_or_insert_with(|| self.room_units())
        })
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
        let at_cost =
            |sku: usize, units: u32| self.published().cheapest_cents(sku) * i64::from(units);
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
