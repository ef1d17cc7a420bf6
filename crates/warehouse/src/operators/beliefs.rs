//! What an operator believes about the terms of trade.

use crate::catalog::money;
use crate::world::World;

/// Beliefs about suppliers and fees, as differences from the published terms. The default is that
/// the published terms apply.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Beliefs {
    /// Indexed by supplier; a supplier beyond the end is as published.
    pub suppliers: Vec<SupplierBelief>,
    pub fee_factor: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SupplierBelief {
    /// Days by which deliveries take longer than published.
    pub added_days: f64,
    pub price_factor: f64,
    /// The day of the payment from which `price_factor` is known.
    pub price_day: u64,
}

impl Default for SupplierBelief {
    fn default() -> Self {
        SupplierBelief { added_days: 0.0, price_factor: 1.0, price_day: 0 }
    }
}

impl Default for Beliefs {
    fn default() -> Self {
        Beliefs { suppliers: Vec::new(), fee_factor: 1.0 }
    }
}

/// Days after which a price that was paid says nothing about the next one.
const PRICE_DAYS: u64 = 10;

/// An offer as an operator expects it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ExpectedOffer {
    pub price_cents: i64,
    pub lead_days: i64,
}

impl Beliefs {
    pub fn supplier(&self, supplier: usize) -> SupplierBelief {
        self.suppliers.get(supplier).copied().unwrap_or_default()
    }

    pub fn supplier_mut(&mut self, supplier: usize) -> &mut SupplierBelief {
        if self.suppliers.len() <= supplier {
            self.suppliers.resize(supplier + 1, SupplierBelief::default());
        }
        &mut self.suppliers[supplier]
    }

    pub fn offer(&self, world: &World, supplier: usize, sku: usize) -> ExpectedOffer {
        let (offer, belief) =
            (world.published_catalog().offers[supplier][sku], self.supplier(supplier));
        let known = world.day() <= belief.price_day + PRICE_DAYS;
        let factor = if known { belief.price_factor } else { 1.0 };
        ExpectedOffer {
            price_cents: (offer.price_cents as f64 * factor).round() as i64,
            lead_days: ((offer.lead_days as f64 + belief.added_days).round() as i64).max(1),
        }
    }

    /// Expected fees of the day in currency units, with this number of units in storage.
    pub fn fees(&self, world: &World, stock_units: u64) -> f64 {
        let published = money(world.published_fees_cents(stock_units));
        (published * self.fee_factor * 100.0).round() / 100.0
    }
}
