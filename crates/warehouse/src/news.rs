//! Events to report to the agent, stored as data and formatted only when an observation is written.

use crate::catalog::{money, sku_name};
use std::fmt::{Display, Formatter, Result};

/// One event to report.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum News {
    /// The notice of a shock.
    Notice(String),
    CustomerOrder {
        id: u64,
        sku: usize,
        quantity: u32,
        price_cents: i64,
    },
    /// A day ended, and its fees were paid.
    DayEnded {
        day: u64,
        fees_cents: i64,
    },
    /// A customer order expired.
    Expired {
        id: u64,
    },
    /// A supplier order arrived; `spilled` units exceeded the storage capacity.
    Arrived {
        id: u64,
        sku: usize,
        quantity: u32,
        spilled: u32,
    },
}

impl Display for News {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            News::Notice(text) => f.write_str(text),
            News::CustomerOrder { id, sku, quantity, price_cents } => {
                let price = money(*price_cents);
                write!(
                    f,
                    "new customer order C{id}: {quantity} of {} at {price:.2} each",
                    sku_name(*sku)
                )
            }
            News::DayEnded { day, fees_cents } => {
                write!(f, "day {day} ended: fees {:.2}", money(*fees_cents))
            }
            News::Expired { id } => write!(f, "customer order C{id} expired"),
            News::Arrived { id, sku, quantity, spilled } => {
                write!(f, "order O{id} arrived: {quantity} of {}", sku_name(*sku))?;
                if *spilled > 0 { write!(f, ", {spilled} did not fit") } else { Ok(()) }
            }
        }
    }
}
