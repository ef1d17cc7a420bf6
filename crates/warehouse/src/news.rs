//! Events to report to the agent, stored as data and formatted only when an observation is written.

use crate::decimal::{push_all, push_money};

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

impl News {
    /// Appends the news as the agent reads it.
    pub fn write(&self, text: &mut String) {
        match self {
            News::Notice(notice) => text.push_str(notice),
            News::CustomerOrder { id, sku, quantity, price_cents } => {
                push_all(text, [("new customer order C", *id), (": ", u64::from(*quantity))]);
                push_all(text, [(" of P", *sku as u64 + 1)]);
                text.push_str(" at ");
                push_money(text, *price_cents);
                text.push_str(" each");
            }
            News::DayEnded { day, fees_cents } => {
                push_all(text, [("day ", *day)]);
                text.push_str(" ended: fees ");
                push_money(text, *fees_cents);
            }
            News::Expired { id } => {
                push_all(text, [("customer order C", *id)]);
                text.push_str(" expired");
            }
            News::Arrived { id, sku, quantity, sent_back, spilled, late_cents } => {
                push_all(text, [("order O", *id), (" arrived: ", u64::from(*quantity))]);
                push_all(text, [(" of P", *sku as u64 + 1)]);
                if *sent_back > 0 {
                    push_all(text, [(", ", u64::from(*sent_back))]);
                    text.push_str(" too many sent back");
                }
                if *spilled > 0 {
                    push_all(text, [(", ", u64::from(*spilled))]);
                    text.push_str(" did not fit");
                }
                if *late_cents != 0 {
                    text.push_str(", late: fee ");
                    push_money(text, *late_cents);
                }
            }
        }
    }
}
