use serde::Serialize;

/// A customer's order that waits to be shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CustomerOrder {
    /// Its number; agents see `C7`.
    pub id: u64,
    /// Index of the SKU.
    pub sku: usize,
    /// Units.
    pub quantity: u32,
    /// The day it came.
    pub placed_day: u64,
    /// Days until it is due.
    pub due_day: u64,
    /// The day on which it is lost.
    pub expires_day: u64,
}

/// An order to a supplier that is on its way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SupplierOrder {
    /// Its number; agents see `O3`.
    pub id: u64,
    /// Index of the supplier.
    pub supplier: usize,
    /// Index of the SKU.
    pub sku: usize,
    /// Units ordered.
    pub quantity: u32,
    /// Paid, in cents.
    pub paid_cents: i64,
    /// The day it was placed.
    pub placed_day: u64,
    /// The day the agent was told.
    pub promised_day: u64,
    /// The day it will come, shocks included.
    pub arrives_day: u64,
    /// Units that will come, shocks included.
    pub arriving: u32,
    /// Whether it was expedited.
    pub expedited: bool,
}
