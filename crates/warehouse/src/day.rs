//! Morning and evening of a simulated day: the events before the agent's first action and after its
//! last, in a fixed order.

use crate::news::News;
use crate::orders::CustomerOrder;
use crate::state::WorldState;

impl WorldState {
    /// Processes deliveries, then new customer orders, then the ledger postings and delayed notices
    /// that are due.
    pub(crate) fn morning(&mut self) {
        self.deliver();
        self.demand();
        let day = self.day;
        self.unposted.retain(|(post_day, _)| *post_day > day);
        let today = self.notices.extract_if(.., |notice| notice.0 <= day);
        self.news.extend(today.map(|(_, text)| News::Notice(text)));
    }

    /// Charges the fees, then expires customer orders and begins the next day.
    pub(crate) fn evening(&mut self) {
        let fees_cents =
            self.stock_units() as i64 * self.storage_fee_cents + self.config.daily_fee_cents();
        self.cash_cents -= fees_cents;
        let day = self.day;
        self.news.push(News::DayEnded { day, fees_cents });
        let lost = self.customers.extract_if(.., |order| order.expires_day <= day);
        let before = self.news.len();
        self.news.extend(lost.map(|order| News::Expired { id: order.id }));
        self.expired += (self.news.len() - before) as u64;
        self.day += 1;
        self.actions_left = self.config.actions_in_a_day();
    }

    fn deliver(&mut self) {
        let day = self.day;
        while let Some(index) = self.inbound.iter().position(|order| order.arrives_day <= day) {
            let order = self.inbound.remove(index);
            let capacity =
                u64::from(self.config.storage_capacity).saturating_sub(self.stock_units());
            let units = order.arriving.min(capacity.min(u64::from(u32::MAX)) as u32);
            self.stock[order.sku] += units;
            let days = (self.day - order.placed_day) as f64;
            self.pairs.extend(self.pe.score_delivery(order.id, days, f64::from(order.arriving)));
            let spilled = order.arriving - units;
            self.news.push(News::Arrived {
                id: order.id,
                sku: order.sku,
                quantity: order.arriving,
                spilled,
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
            let price_cents = self.catalog.sale_cents(sku, self.config.demand.sale_markup);
            self.news.push(News::CustomerOrder { id, sku, quantity, price_cents });
        }
    }
}
