//! What happens in a day without the agent, in its fixed order.
use crate::catalog::money;
use crate::orders::CustomerOrder;
use crate::world::World;

impl World {
    /// Deliveries, then demand, then what was to be told today.
    pub(crate) fn morning(&mut self) {
        self.deliver();
        self.demand();
        let (today, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.notices).into_iter().partition(|n| n.0 <= self.day);
        self.notices = later;
        self.news.extend(today.into_iter().map(|(_, text)| text));
    }

    /// Fees, expiry, and the day's end.
    pub(crate) fn evening(&mut self) {
        let storage = self.stock_units() as i64 * self.storage_fee_cents;
        self.cash_cents -= storage + self.config.daily_fee_cents();
        let day = self.day;
        let (lost, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.customers).into_iter().partition(|o| o.expires_day <= day);
        self.customers = open;
        self.expired += lost.len() as u64;
        self.news.extend(lost.iter().map(|o| format!("customer order C{} expired", o.id)));
        self.day += 1;
        self.actions_left = self.config.actions_in_a_day();
    }

    fn deliver(&mut self) {
        let day = self.day;
        let (due, coming): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.inbound).into_iter().partition(|o| o.arrives_day <= day);
        self.inbound = coming;
        for order in due {
            let room = u64::from(self.config.storage_capacity).saturating_sub(self.stock_units());
            let units = order.arriving.min(room.min(u64::from(u32::MAX)) as u32);
            self.stock[order.sku] += units;
            let days = (self.day - order.placed_day) as f64;
            let known = self.pe.delivered(order.id, days, f64::from(order.arriving));
            self.pairs.extend(known);
            let what = World::units_of(order.sku, order.arriving);
            let lost = if units < order.arriving {
                format!(", {} did not fit", order.arriving - units)
            } else {
                String::new()
            };
            self.news.push(format!("order O{} arrived: {what}{lost}", order.id));
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
            let price = money(self.catalog.sale_cents(sku, self.config.demand.sale_markup));
            self.news.push(format!("new customer order C{id}: {} at {price:.2}", World::units_of(sku, quantity)));
        }
    }

    pub(crate) fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }
}
