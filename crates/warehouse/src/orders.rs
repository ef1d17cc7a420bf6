//! Customer orders and supplier orders. Customer orders have ids such as `C7`, supplier orders
//! `O3`, from one sequence.

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
    /// The day of arrival that the agent knows.
    pub promised_day: u64,
    /// The day of arrival, shocks included.
    pub arrives_day: u64,
    /// Units that will arrive, shocks included.
    pub arriving: u32,
    pub expedited: bool,
}
