//! The terms of trade: prices, lead times and fees, as published or with changes by rule shocks.

use crate::catalog::Catalog;
use crate::config::WorldConfig;

/// Prices, lead times and fees.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terms {
    pub catalog: Catalog,
    /// Storage fee per unit and day.
    pub storage_fee_cents: i64,
    pub daily_fee_cents: i64,
}

/// A change of the terms of trade, which is reversed on the morning after `until_day`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TermsChange {
    pub target: TermsTarget,
    /// Factor of prices or fees, or days to add to lead times.
    pub size: f64,
    pub until_day: u64,
    /// The day from which quotes and confirmations show the change; `None`: never.
    pub shown_from_day: Option<u64>,
}

/// The terms that a rule shock changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TermsTarget {
    /// Prices of the supplier of this index.
    Prices(usize),
    /// Lead times of the supplier of this index.
    LeadTimes(usize),
    /// Storage and daily fees.
    Fees,
}

impl Terms {
    /// The terms of the first morning.
    pub fn published(config: &WorldConfig, seed: u64) -> Terms {
        Terms {
            catalog: Catalog::new(config, seed),
            storage_fee_cents: (config.storage_fee * 100.0).round() as i64,
            daily_fee_cents: config.daily_fee_cents(),
        }
    }

    /// The published terms with changes. A lead time is at least 1 day and at most twice the
    /// published one.
    pub fn changed<'a>(published: &Terms, changes: impl Iterator<Item = &'a TermsChange>) -> Terms {
        let mut terms = published.clone();
        for change in changes {
            let scaled = |cents: i64| ((cents as f64 * change.size).round() as i64).max(0);
            match change.target {
                TermsTarget::Prices(supplier) => {
                    let offers = terms.catalog.offers[supplier].iter_mut();
                    offers.for_each(|offer| offer.price_cents = scaled(offer.price_cents).max(1));
                }
                TermsTarget::LeadTimes(supplier) => {
                    for offer in &mut terms.catalog.offers[supplier] {
                        let longest = 2 * offer.lead_days;
                        offer.lead_days = (offer.lead_days + change.size as i64).clamp(1, longest);
                    }
                }
                TermsTarget::Fees => {
                    terms.storage_fee_cents = scaled(terms.storage_fee_cents);
                    terms.daily_fee_cents = scaled(terms.daily_fee_cents);
                }
            }
        }
        terms
    }

    /// Fees of a day in cents, for this number of units in storage.
    pub fn fees_cents(&self, stock_units: u64) -> i64 {
        stock_units as i64 * self.storage_fee_cents + self.daily_fee_cents
    }
}
