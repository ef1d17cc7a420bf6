//! The text that the agent reads after each call. Changing its bytes changes the experiment.

use crate::catalog::{Offer, money, sku_name, supplier_name};
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

/// Appends pairs of a text and a number. Each step appends about a hundred, and with `std::fmt`
/// this would take longer than everything else in the step.
fn push_all<const N: usize>(text: &mut String, parts: [(&str, u64); N]) {
    for (label, number) in parts {
        text.push_str(label);
        push_number(text, number);
    }
}

fn push_number(text: &mut String, mut number: u64) {
    let (mut buffer, mut start) = ([0; 20], 20);
    loop {
        start -= 1;
        buffer[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.push_str(std::str::from_utf8(&buffer[start..]).unwrap_or_default());
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
        for news in std::mem::take(&mut self.news) {
            let _infallible = writeln!(text, "News: {news}");
        }
        let (cash, units) = (money(self.ledger_cents()), self.stock_units());
        let _infallible = write!(
            text,
            "Day {}, {} actions left. Cash {cash:.2}. Stock ({units}): ",
            self.day, self.actions_left
        );
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
