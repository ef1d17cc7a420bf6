//! Shocks: with chance `p_shock` a step, the world breaks a prediction. Each is recorded with what it changed.
use crate::catalog::{money, supplier_name};
use crate::world::World;
use crate::{Magnitude, Observability, TypeMix};
use serde::Serialize;

/// Days until a delayed notice.
const NOTICE_DELAY_DAYS: u64 = 3;
/// Days for which one supplier's orders hold up another's.
const LINK_DAYS: u64 = 10;

/// One shock.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShockEvent {
    /// temporal, quantity, causal, rule.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The day.
    pub day: u64,
    /// What it changed; none where there was nothing to change.
    pub effect: Option<String>,
    /// What the agent was told at once.
    pub told: Option<String>,
}

impl World {
    /// The shock of this step, if there is one.
    pub(crate) fn shock(&mut self) -> Option<ShockEvent> {
        let at = [self.step];
        if self.streams.shocks.unit(&at) >= self.config.shocks.p_shock {
            return None;
        }
        let kind = self.shock_kind();
        let effect = match kind {
            "temporal" => self.delay_a_delivery(),
            "quantity" => self.change_a_quantity(),
            "causal" => self.link_suppliers(),
            _ => self.change_a_rule(),
        };
        let told = self.tell(kind, effect.as_deref());
        Some(ShockEvent { kind, day: self.day, effect, told })
    }

    fn shock_kind(&self) -> &'static str {
        let weights = match self.config.shocks.pe_type_mix {
            TypeMix::Realistic => [0.4, 0.3, 0.2, 0.1],
            TypeMix::Uniform => [0.25; 4],
            TypeMix::TemporalOnly => [1.0, 0.0, 0.0, 0.0],
            TypeMix::QuantityOnly => [0.0, 1.0, 0.0, 0.0],
            TypeMix::CausalOnly => [0.0, 0.0, 1.0, 0.0],
            TypeMix::RuleOnly => [0.0, 0.0, 0.0, 1.0],
        };
        let mut left = self.streams.shock_types.unit(&[self.step]);
        for (kind, weight) in ["temporal", "quantity", "causal", "rule"].into_iter().zip(weights) {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        "rule"
    }

    fn tell(&mut self, kind: &str, effect: Option<&str>) -> Option<String> {
        let effect = effect?;
        match self.config.shocks.observability {
            Observability::Full => Some(format!("{kind} disturbance: {effect}")),
            Observability::Partial => Some("something in the supply chain has changed".to_owned()),
            Observability::Delayed => {
                let notice = format!("{kind} disturbance on day {}: {effect}", self.day);
                self.notices.push((self.day + NOTICE_DELAY_DAYS, notice));
                None
            }
            Observability::Hidden => None,
        }
    }

    fn draw(&self, salt: u64, low: i64, high: i64) -> i64 {
        self.streams.shock_effects.within(&[self.step, salt], low, high)
    }

    fn in_transit(&self) -> Option<usize> {
        let last = self.inbound.len().checked_sub(1)?;
        Some(self.draw(0, 0, last as i64) as usize)
    }

    /// +0.5, +1 or +2 to 3 days; half a day is a day in every second case.
    fn delay_a_delivery(&mut self) -> Option<String> {
        let order = self.in_transit()?;
        let days = match self.config.shocks.pe_mag {
            Magnitude::Low => self.draw(1, 0, 1),
            Magnitude::Medium => 1,
            Magnitude::High => self.draw(1, 2, 3),
        };
        let order = &mut self.inbound[order];
        order.arrives_day += days as u64;
        (days > 0).then(|| format!("order O{} comes {days} days later", order.id))
    }

    fn change_a_quantity(&mut self) -> Option<String> {
        let order = self.in_transit()?;
        let (low, high) = match self.config.shocks.pe_mag {
            Magnitude::Low => (90, 110),
            Magnitude::Medium => (70, 130),
            Magnitude::High => (50, 200),
        };
        let percent = self.draw(2, low, high) as u64;
        let order = &mut self.inbound[order];
        let arriving = (u64::from(order.arriving) * percent).div_ceil(100).min(u64::from(u32::MAX)) as u32;
        let changed = arriving != order.arriving;
        order.arriving = arriving;
        changed.then(|| format!("order O{} will bring {arriving} units", order.id))
    }

    /// Orders to one supplier hold up what is on its way from another.
    fn link_suppliers(&mut self) -> Option<String> {
        let count = self.config.suppliers() as i64;
        let from = self.draw(3, 0, count - 1);
        let to = (from + self.draw(4, 1, count - 1)) % count;
        let days = self.magnitude_days();
        self.link = Some((from as usize, to as usize, days, self.day + LINK_DAYS));
        let (from, to) = (supplier_name(from as usize), supplier_name(to as usize));
        Some(format!("for {LINK_DAYS} days each order to {from} delays deliveries of {to} by {days} days"))
    }

    /// Lead times or the storage fee change for good.
    fn change_a_rule(&mut self) -> Option<String> {
        let days = self.magnitude_days();
        if self.draw(5, 0, 1) == 0 {
            let supplier = self.draw(6, 0, self.config.suppliers() as i64 - 1) as usize;
            self.catalog.offers[supplier].iter_mut().for_each(|offer| offer.lead_days += days as i64);
            return Some(format!("{} now takes {days} days longer", supplier_name(supplier)));
        }
        let fee = self.storage_fee_cents.max(1) * (1 + days as i64);
        self.storage_fee_cents = fee.min(500);
        Some(format!("storage now costs {} a unit and day", money(self.storage_fee_cents)))
    }

    fn magnitude_days(&self) -> u64 {
        match self.config.shocks.pe_mag {
            Magnitude::Low => 1,
            Magnitude::Medium => 2,
            Magnitude::High => 3,
        }
    }

    /// A new order to a supplier that others are linked to.
    pub(crate) fn follow_link(&mut self, supplier: usize) {
        let Some((from, to, days, until)) = self.link else { return };
        if from == supplier && self.day <= until {
            let linked = self.inbound.iter_mut().filter(|o| o.supplier == to);
            linked.for_each(|order| order.arrives_day += days);
        }
    }
}
