//! Morning and evening of a simulated day: the events before the agent's first action and after its
//! last, in a fixed order.

use crate::config::{Design, LATE_FEE_PERCENT, LOSS_DAYS};
use crate::news::News;
use crate::orders::{CustomerOrder, SupplierOrder};
use crate::prediction_error::{DeliveryFacts, Truth};
use crate::state::{Arrival, WorldState};

impl WorldState {
    /// Processes deliveries, then new customer orders, then the ledger postings and delayed notices
    /// that are due.
    pub(crate) fn morning(&mut self) {
        self.deliver();
        self.demand();
        let day = self.day;
        self.unposted.retain(|(post_day, _)| *post_day > day);
        for notice in self.notices.extract_if(.., |notice| notice.day <= day) {
            self.dose.told[notice.kind as usize] += 1;
            self.news.push(News::Notice(notice.text));
        }
        if self.config.design != Design::V1 {
            self.update_terms();
            self.pe.add_overdue(day, &self.inbound);
        }
    }

    /// Charges the fees, then expires customer orders and begins the next day.
    pub(crate) fn evening(&mut self) {
        let fees_cents = self.terms.fees_cents(self.stock_units());
        self.cash_cents -= fees_cents;
        self.fees_paid_cents = Some(fees_cents);
        if self.config.design != Design::V1 {
            self.count_idle_day();
        }
        let day = self.day;
        self.news.push(News::DayEnded { day, fees_cents });
        let lost = self.customers.extract_if(.., |order| order.expires_day <= day);
        let before = self.news.len();
        self.news.extend(lost.map(|order| News::Expired { id: order.id }));
        let lost = self.news.len() - before;
        self.expired += lost as u64;
        if self.config.design != Design::V1 {
            self.recent_losses.extend(std::iter::repeat_n(day, lost));
            for days in [&mut self.recent_losses, &mut self.recent_shipments] {
                while days.front().is_some_and(|first| first + LOSS_DAYS <= day) {
                    days.pop_front();
                }
            }
        }
        self.day += 1;
        self.actions_left = self.config.actions_in_a_day();
    }

    fn count_idle_day(&mut self) {
        let idle = !self.traded_today && self.can_serve();
        self.idle_days = if idle { self.idle_days + 1 } else { 0 };
        self.traded_today = false;
    }

    /// Units of an arriving order that are sent back: in design v2 those beyond the ordered ones, so
    /// that no shock is a gift.
    fn sent_back_units(&self, order: &SupplierOrder) -> u32 {
        match self.config.design {
            Design::V1 => 0,
            Design::V2 => order.arriving.saturating_sub(order.quantity),
        }
    }

    /// The fee for a delivery that comes after the promised day, in cents. Without it a delay would
    /// pay, since goods on their way cost no storage.
    fn late_fee_cents(&self, order: &SupplierOrder) -> i64 {
        let days_late = self.day.saturating_sub(order.promised_day) as i64;
        match self.config.design {
            Design::V1 => 0,
            Design::V2 => order.paid_cents * LATE_FEE_PERCENT * days_late / 100,
        }
    }

    fn deliver(&mut self) {
        let day = self.day;
        while let Some(index) = self.inbound.iter().position(|order| order.arrives_day <= day) {
            let order = self.inbound.remove(index);
            let room = u64::from(self.config.storage_capacity).saturating_sub(self.stock_units());
            let sent_back = self.sent_back_units(&order);
            let units = (order.arriving - sent_back).min(room.min(u64::from(u32::MAX)) as u32);
            self.stock[order.sku] += units;
            let days = self.day - order.placed_day;
            let facts = DeliveryFacts {
                days: Truth {
                    actual: days as f64,
                    without_shocks: (order.undisturbed_day - order.placed_day) as f64,
                },
                units: Truth {
                    actual: f64::from(order.arriving),
                    without_shocks: f64::from(order.undisturbed_units),
                },
            };
            self.pairs.extend(self.pe.score_delivery(order.id, &facts));
            self.arrivals.push(Arrival { id: order.id, days, units: order.arriving });
            let late_cents = self.late_fee_cents(&order);
            self.cash_cents -= late_cents;
            self.news.push(News::Arrived {
                id: order.id,
                sku: order.sku,
                quantity: order.arriving,
                sent_back,
                spilled: order.arriving - sent_back - units,
                late_cents,
            });
        }
    }

    fn demand(&mut self) {
        for sku in 0..self.config.skus() {
            let at = [self.day, sku as u64];
            if self.streams.demand.unit(&at) >= self.config.demand.p_customer_order {
                continue;
            }
            let quantity = self.streams.quantities.within(&at, 1, 20) as u32;
            let id = self.take_id();
            self.customers.push(CustomerOrder {
                id,
                sku,
                quantity,
                placed_day: self.day,
                due_day: self.day + u64::from(self.config.demand.due_days),
                expires_day: self.day + u64::from(self.config.demand.expire_after_days),
            });
            let price_cents = self.published().sale_cents(sku, self.config.demand.sale_markup);
            self.news.push(News::CustomerOrder { id, sku, quantity, price_cents });
        }
    }
}
