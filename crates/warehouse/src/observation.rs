//! The text that the agent reads after each call. Changing its bytes changes the experiment.

use crate::catalog::{Offer, money, sku_name, supplier_name};
use crate::decimal::{push_all, push_money};
use crate::state::WorldState;
use crate::tools::CallOutcome;
use std::fmt::Write;

/// Appends the items separated by commas, or "none" if there are none.
fn push_list<T>(text: &mut String, items: impl Iterator<Item = T>, one: impl Fn(&mut String, T)) {
    let start = text.len();
    for item in items {
        if text.len() > start {
            text.push_str(", ");
        }
        one(text, item);
    }
    if text.len() == start {
        text.push_str("none");
    }
}

impl WorldState {
    /// The published catalog as text. It precedes the first observation and stays in the prompt for
    /// the whole episode.
    pub fn market(&self) -> String {
        let mut text = String::from(
            "SKUs: what customers pay a unit; suppliers with price and days to delivery, as of day 1:\n",
        );
        for sku in 0..self.config.skus() {
            let offers = self.published().offers.iter().enumerate();
            let offer = |(s, offers): (usize, &Vec<Offer>)| {
                format!(
                    "{} {:.2} {}d",
                    supplier_name(s),
                    money(offers[sku].price_cents),
                    offers[sku].lead_days
                )
            };
            let offers: Vec<String> = offers.map(offer).collect();
            let sale = money(self.published().sale_cents(sku, self.config.demand.sale_markup));
            let _infallible = writeln!(text, "{} {sale:.2}: {}", sku_name(sku), offers.join(", "));
        }
        text
    }

    /// The observation after a call: the tool's answer, the news and the state. `capacity_bytes`
    /// are reserved in advance, since a growing text would be copied repeatedly.
    pub(crate) fn observation(&mut self, outcome: &CallOutcome, capacity_bytes: usize) -> String {
        let mut text = String::with_capacity(capacity_bytes);
        let _infallible = match &outcome.failure {
            Some(reason) => writeln!(text, "Failed: {reason}"),
            None => writeln!(text, "Result: {}", outcome.result),
        };
        self.write_state(&mut text);
        text
    }

    /// Writes the news and clears it, then writes the state.
    pub(crate) fn write_state(&mut self, text: &mut String) {
        for news in self.news.drain(..) {
            text.push_str("News: ");
            news.write(text);
            text.push('\n');
        }
        push_all(text, [("Day ", self.day), (", ", u64::from(self.actions_left))]);
        text.push_str(" actions left. Cash ");
        push_money(text, self.ledger_cents());
        push_all(text, [(". Stock (", self.stock_units())]);
        text.push_str("): ");
        push_list(text, self.stock.iter().enumerate(), |text, (k, n)| {
            push_all(text, [("P", k as u64 + 1), (" ", u64::from(*n))])
        });
        text.push_str(". Customer orders: ");
        push_list(text, self.customers.iter(), |text, o| {
            push_all(text, [("C", o.id), (" ", u64::from(o.quantity)), ("xP", o.sku as u64 + 1)]);
        });
        text.push_str(". On their way: ");
        push_list(text, self.inbound.iter(), |text, o| {
            push_all(
                text,
                [
                    ("O", o.id),
                    (" ", u64::from(o.quantity)),
                    ("xP", o.sku as u64 + 1),
                    (" day ", o.promised_day),
                ],
            );
        });
        text.push('.');
    }
}
