//! Design v1: a shock acts in the step in which it is drawn, or changes nothing.

use super::in_days;
use crate::catalog::{money, supplier_name};
use crate::config::Magnitude;
use crate::shock_event::{CausalLink, LateLedger, ShockEvent, ShockType};
use crate::state::WorldState;

/// Days for which a causal link or a late ledger lasts.
const CAUSAL_DAYS: u64 = 10;
/// Maximum number of changes of one rule: the lead times of one supplier, or the storage fee. With
/// more changes no policy could win, and the experiment would measure the world instead of the
/// agent.
const LASTING_CHANGES_MAX: u64 = 3;

/// Description of what a shock changed, or the reason why it changed nothing.
type ShockEffect = Result<String, &'static str>;

impl WorldState {
    /// Draws this step's shock and applies it; `None` if there is none.
    pub(crate) fn immediate_shock(&mut self) -> Option<ShockEvent> {
        let kind = self.draw_shock()?;
        let effect = match kind {
            ShockType::Temporal => self.delay_delivery(),
            ShockType::Quantity => self.change_quantity(),
            ShockType::Causal => self.add_causal_effect(),
            ShockType::Rule => self.change_rule(),
        };
        let notice = effect.as_deref().ok().and_then(|effect| self.notify(kind, effect));
        let no_effect = effect.as_ref().err().copied();
        let drawn_step = None;
        Some(ShockEvent { kind, drawn_step, day: self.day, effect: effect.ok(), no_effect, notice })
    }

    fn draw(&self, salt: u64, low: i64, high: i64) -> i64 {
        self.streams.shock_effects.within(&[self.step, salt], low, high)
    }

    fn draw_order_in_transit(&self) -> Result<usize, &'static str> {
        let last = self.inbound.len().checked_sub(1).ok_or("no supplier order was on its way")?;
        Ok(self.draw(0, 0, last as i64) as usize)
    }

    /// Delays a random supplier order in transit, by magnitude: low 0 or 1 day with equal chance,
    /// medium 1 day, high 2 or 3 days.
    fn delay_delivery(&mut self) -> ShockEffect {
        let order = self.draw_order_in_transit()?;
        let days = match self.config.shocks.pe_mag {
            Magnitude::Low => self.draw(1, 0, 1),
            Magnitude::Medium => 1,
            Magnitude::High => self.draw(1, 2, 3),
        };
        let order = &mut self.inbound[order];
        order.arrives_day += days as u64;
        match days {
            0 => Err("the delay of half a day came out as none"),
            _ => Ok(format!("order O{} comes {} later", order.id, in_days(days as u64))),
        }
    }

    fn change_quantity(&mut self) -> ShockEffect {
        let order = self.draw_order_in_transit()?;
        let (low, high) = match self.config.shocks.pe_mag {
            Magnitude::Low => (90, 110),
            Magnitude::Medium => (70, 130),
            Magnitude::High => (50, 200),
        };
        let percent = self.draw(2, low, high) as u64;
        let order = &mut self.inbound[order];
        let arriving =
            (u64::from(order.arriving) * percent).div_ceil(100).min(u64::from(u32::MAX)) as u32;
        let before = std::mem::replace(&mut order.arriving, arriving);
        match before == arriving {
            true => Err("the factor left the units as they were"),
            false => Ok(format!("order O{} will bring {arriving} units", order.id)),
        }
    }

    /// Starts a causal link, by which each order to one supplier delays deliveries of another, or
    /// starts a late ledger.
    fn add_causal_effect(&mut self) -> ShockEffect {
        let (days, until_day) = (self.magnitude_days(), self.day + CAUSAL_DAYS);
        if self.draw(7, 0, 1) == 0 {
            self.late_ledger = Some(LateLedger { days, until_day });
            return Ok(format!(
                "for {CAUSAL_DAYS} days the ledger shows income and payments {} late",
                in_days(days)
            ));
        }
        let count = self.config.suppliers() as i64;
        let from = self.draw(3, 0, count - 1);
        let to = (from + self.draw(4, 1, count - 1)) % count;
        let (from, to) = (from as usize, to as usize);
        self.causal_link = Some(CausalLink { from, to, days, until_day });
        let (from, to, days) = (supplier_name(from), supplier_name(to), in_days(days));
        Ok(format!(
            "for {CAUSAL_DAYS} days each order to {from} delays deliveries of {to} by {days}"
        ))
    }

    /// Raises a supplier's lead times or the storage fee permanently.
    fn change_rule(&mut self) -> ShockEffect {
        let days = self.magnitude_days();
        if self.draw(5, 0, 1) == 0 {
            let supplier = self.draw(6, 0, self.config.suppliers() as i64 - 1) as usize;
            let added = self.terms.catalog.offers[supplier][0].lead_days
                - self.published_terms.catalog.offers[supplier][0].lead_days;
            if added as u64 >= LASTING_CHANGES_MAX * days {
                return Err("the supplier's lead times were as long as they can get");
            }
            self.terms.catalog.offers[supplier]
                .iter_mut()
                .for_each(|offer| offer.lead_days += days as i64);
            return Ok(format!("{} now takes {} longer", supplier_name(supplier), in_days(days)));
        }
        // The fee rises by a multiple of the published fee: 1 for magnitude low, 2 for medium, 3
        // for high.
        let published = ((self.config.storage_fee * 100.0).round() as i64).max(1);
        let fee = self.terms.storage_fee_cents + published * days as i64;
        if fee > published * (1 + (LASTING_CHANGES_MAX * days) as i64) {
            return Err("the storage fee was as high as it can get");
        }
        self.terms.storage_fee_cents = fee;
        Ok(format!("storage now costs {:.2} a unit and day", money(fee)))
    }

    /// Delays the deliveries that the causal link connects with a new order to `supplier`.
    pub(crate) fn delay_linked_deliveries(&mut self, supplier: usize) {
        let Some(link) =
            self.causal_link.filter(|link| link.from == supplier && self.day <= link.until_day)
        else {
            return;
        };
        let linked = self.inbound.iter_mut().filter(|order| order.supplier == link.to);
        linked.for_each(|order| order.arrives_day += link.days);
    }
}
