//! Suppliers, SKUs and prices.

use crate::config::WorldConfig;
use crate::random::RandomStream;

/// A supplier's offer of one SKU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offer {
    /// Price of one unit, in cents.
    pub price_cents: i64,
    /// Days from order to delivery.
    pub lead_days: i64,
    /// Probability that a delivery is complete and on time if no shock changes it.
    pub reliability: f64,
}

/// All offers, drawn once from the run's seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    /// Offers, indexed `[supplier][sku]`.
    pub offers: Vec<Vec<Offer>>,
    /// Lowest price of each SKU in cents, indexed by SKU. Prices never change, so these are
    /// computed once.
    cheapest_cents: Vec<i64>,
}

impl Catalog {
    /// The catalog of a run.
    pub fn new(config: &WorldConfig, seed: u64) -> Catalog {
        let (price, lead, reliable) = (
            RandomStream::new(seed, "prices"),
            RandomStream::new(seed, "lead times"),
            RandomStream::new(seed, "reliability"),
        );
        let longest = 5 + i64::from(config.complexity_level);
        let offer = |supplier: usize, sku: usize| {
            let at = [supplier as u64, sku as u64];
            Offer {
                price_cents: price.within(&at, 500, 5000),
                lead_days: lead.within(&at, 1, longest),
                reliability: 0.85 + 0.14 * reliable.unit(&at),
            }
        };
        let offers: Vec<Vec<Offer>> = (0..config.suppliers())
            .map(|s| (0..config.skus()).map(|k| offer(s, k)).collect())
            .collect();
        let cheapest = |sku: usize| offers.iter().map(|of| of[sku].price_cents).min().unwrap_or(0);
        Catalog { cheapest_cents: (0..config.skus()).map(cheapest).collect(), offers }
    }

    /// Index of the supplier, index of the SKU and their offer, by the names that agents use (`S1`,
    /// `P7`); `None` if a name is unknown.
    pub fn find(&self, supplier: &str, sku: &str) -> Option<(usize, usize, Offer)> {
        let index = |text: &str, prefix: char| {
            let digits = text.trim().strip_prefix([prefix, prefix.to_ascii_lowercase()])?;
            let plain = !digits.is_empty()
                && digits.len() < 6
                && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<usize>().ok())??.checked_sub(1)
        };
        let (s, k) = (index(supplier, 'S')?, index(sku, 'P')?);
        Some((s, k, *self.offers.get(s)?.get(k)?))
    }

    /// Lowest price of one unit of a SKU, in cents.
    pub fn cheapest_cents(&self, sku: usize) -> i64 {
        self.cheapest_cents.get(sku).copied().unwrap_or(0)
    }

    /// Price in cents that a customer pays for one unit: the lowest supplier price times `markup`.
    pub fn sale_cents(&self, sku: usize, markup: f64) -> i64 {
        (self.cheapest_cents(sku) as f64 * markup).round() as i64
    }
}

/// Name of the supplier of this index: `S1`, `S2`, ...
pub fn supplier_name(index: usize) -> String {
    format!("S{}", index + 1)
}

/// Name of the SKU of this index: `P1`, `P2`, ...
pub fn sku_name(index: usize) -> String {
    format!("P{}", index + 1)
}

/// Converts cents to currency units.
pub fn money(cents: i64) -> f64 {
    cents as f64 / 100.0
}
