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
    /// A supplier order arrived; `sent_back` units had not been ordered, and `spilled` units
    /// exceeded the storage capacity.
    Arrived {
        id: u64,
        sku: usize,
        quantity: u32,
        sent_back: u32,
        spilled: u32,
        /// Fee for a delivery after the promised day.
        late_cents: i64,
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
            News::Arrived { id, sku, quantity, sent_back, spilled, late_cents } => {
                write!(f, "order O{id} arrived: {quantity} of {}", sku_name(*sku))?;
                if *sent_back > 0 {
                    write!(f, ", {sent_back} too many sent back")?;
                }
                if *spilled > 0 {
                    write!(f, ", {spilled} did not fit")?;
                }
                match late_cents {
                    0 => Ok(()),
                    cents => write!(f, ", late: fee {:.2}", money(*cents)),
                }
            }
        }
    }
}
