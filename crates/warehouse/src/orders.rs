//! Customer orders and supplier orders. Both take their ids from one sequence; agents see them as
//! `C7` for a customer order and `O3` for a supplier order.

use serde::Serialize;

/// A customer order that is not shipped yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CustomerOrder {
    pub id: u64,
    /// Index of the SKU.
    pub sku: usize,
    pub quantity: u32,
    pub placed_day: u64,
    pub due_day: u64,
    pub expires_day: u64,
}

/// A supplier order in transit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SupplierOrder {
    pub id: u64,
    /// Index of the supplier.
    pub supplier: usize,
    /// Index of the SKU.
    pub sku: usize,
    /// Units ordered.
    pub quantity: u32,
    pub paid_cents: i64,
    pub placed_day: u64,
    /// The day of arrival that the agent is shown.
    pub promised_day: u64,
    /// The actual day of arrival, with random delays and shocks.
    pub arrives_day: u64,
    /// Units that will actually arrive, with random shortfalls and shocks.
    pub arriving: u32,
    pub expedited: bool,
    /// The promised days from order to delivery, before expediting.
    pub lead_days: u64,
    /// The day of arrival that there would have been without shocks.
    pub undisturbed_day: u64,
    /// Units that would have arrived without shocks.
    pub undisturbed_units: u32,
}
