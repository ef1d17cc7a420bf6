//! Design v2: a shock waits until there is something that it can change, and is never redrawn as
//! another type. Each type breaks its own kind of prediction: temporal shocks the day of a
//! delivery, quantity shocks its units, causal shocks the success of a legal order, rule shocks the
//! terms of trade ([`super::terms`]).

use super::in_days;
use crate::catalog::supplier_name;
use crate::config::{Magnitude, Observability};
use crate::orders::SupplierOrder;
use crate::shock_event::{PendingShock, ShockEvent, ShockType};
use crate::state::WorldState;

/// Limits of the arriving units, as multiples of the ordered ones.
const UNITS_FACTORS: (f64, f64) = (0.25, 4.0);
/// Why a sham shock changes nothing.
const SHAM: &str = "sham: announced, and nothing changed";

impl WorldState {
    /// Draws this step's shock, and applies the pending ones that find something to change.
    /// Causal shocks wait for an order: [`WorldState::refusal`].
    pub(crate) fn waiting_shocks(&mut self) {
        if let Some(kind) = self.draw_shock() {
            self.dose.drawn[kind as usize] += 1;
            self.drawn = Some(kind);
            self.pending.push(PendingShock { kind, drawn_step: self.step });
        }
        let mut index = 0;
        while let Some(shock) = self.pending.get(index).copied() {
            match self.apply_pending(shock) {
                Some(effect) => {
                    self.pending.remove(index);
                    self.record_shock(shock, effect);
                }
                None => index += 1,
            }
        }
    }

    /// Whether shocks are only announced.
    pub(super) fn is_sham(&self) -> bool {
        self.config.shocks.observability == Observability::Sham
    }

    /// What the shock changes, or would change if it were no sham; `None` if it must wait.
    fn apply_pending(&mut self, shock: PendingShock) -> Option<String> {
        match shock.kind {
            ShockType::Temporal => self.delay_one_order(shock),
            ShockType::Quantity => self.change_units(shock),
            ShockType::Causal => None,
            ShockType::Rule => self.change_terms(shock),
        }
    }

    fn record_shock(&mut self, shock: PendingShock, effect: String) {
        let notice = self.notify(shock.kind, &effect);
        let sham = self.is_sham();
        self.dose.applied[shock.kind as usize] += u64::from(!sham);
        self.shocks.push(ShockEvent {
            kind: shock.kind,
            drawn_step: Some(shock.drawn_step),
            day: self.day,
            effect: (!sham).then_some(effect),
            no_effect: sham.then_some(SHAM),
            notice,
        });
    }

    /// Draws of a shock depend on the step in which it was drawn, not on when it acts.
    pub(super) fn shock_draw(&self, shock: PendingShock, salt: u64, low: i64, high: i64) -> i64 {
        self.streams.shock_effects.within(&[shock.drawn_step, salt], low, high)
    }

    /// A uniformly distributed number in [-1, 1).
    pub(super) fn shock_draw_signed(&self, shock: PendingShock, salt: u64) -> f64 {
        2.0 * self.streams.shock_effects.unit(&[shock.drawn_step, salt]) - 1.0
    }

    /// One of the supplier orders in transit for which `can` is true.
    fn drawn_order(
        &self,
        shock: PendingShock,
        can: impl Fn(&SupplierOrder) -> bool,
    ) -> Option<usize> {
        let able = || self.inbound.iter().enumerate().filter(|(_, order)| can(order));
        let last = able().count().checked_sub(1)?;
        let chosen = self.shock_draw(shock, 0, 0, last as i64) as usize;
        able().nth(chosen).map(|(index, _)| index)
    }

    /// Delays an order in transit: low 1 day, medium 1 or 2, high 2 or 3. All delays of an order
    /// together are at most as long as its promised lead time.
    fn delay_one_order(&mut self, shock: PendingShock) -> Option<String> {
        let days = match self.config.shocks.pe_mag {
            Magnitude::Low => 1,
            Magnitude::Medium => self.shock_draw(shock, 1, 1, 2),
            Magnitude::High => self.shock_draw(shock, 1, 2, 3),
        };
        let room = |order: &SupplierOrder| {
            order.lead_days.saturating_sub(order.arrives_day.saturating_sub(order.undisturbed_day))
        };
        let index = self.drawn_order(shock, |order| room(order) > 0)?;
        let days = room(&self.inbound[index]).min(days as u64);
        if !self.is_sham() {
            self.inbound[index].arrives_day += days;
        }
        Some(format!("order O{} comes {} later", self.inbound[index].id, in_days(days)))
    }

    /// Multiplies the arriving units of an order in transit by a factor that is symmetric in its
    /// logarithm, at most 1.1 / 1.35 / 2 by magnitude, and at least by one unit. All factors of an
    /// order together are within 0.25 to 4.
    fn change_units(&mut self, shock: PendingShock) -> Option<String> {
        let spread = match self.config.shocks.pe_mag {
            Magnitude::Low => 1.1_f64.ln(),
            Magnitude::Medium => 1.35_f64.ln(),
            Magnitude::High => 2.0_f64.ln(),
        };
        let log_factor = self.shock_draw_signed(shock, 2) * spread;
        let changed = |order: &SupplierOrder| {
            let (units, ordered) = (f64::from(order.arriving), f64::from(order.quantity));
            let moved = (units * log_factor.exp()).round();
            let moved =
                if log_factor < 0.0 { moved.min(units - 1.0) } else { moved.max(units + 1.0) };
            let (least, most) = (ordered * UNITS_FACTORS.0, ordered * UNITS_FACTORS.1);
            moved.clamp(least.ceil(), most.floor()) as u32
        };
        let index = self.drawn_order(shock, |order| changed(order) != order.arriving)?;
        let units = changed(&self.inbound[index]);
        if !self.is_sham() {
            self.inbound[index].arriving = units;
        }
        Some(format!("order O{} will bring {units} units", self.inbound[index].id))
    }

    /// Why the supplier refuses a legal order, if a causal shock makes it: while goods of another
    /// supplier are on their way, one order, or two at magnitude high.
    pub(crate) fn refusal(&mut self, supplier: usize) -> Option<String> {
        let other = self.inbound.iter().find(|order| order.supplier != supplier)?.supplier;
        let (supplier, other) = (supplier_name(supplier), supplier_name(other));
        if self.refusals_left > 0 {
            self.refusals_left -= 1;
        } else {
            let index = self.pending.iter().position(|shock| shock.kind == ShockType::Causal)?;
            let shock = self.pending.remove(index);
            let effect =
                format!("{supplier} takes no order while goods of {other} are on their way");
            self.record_shock(shock, effect);
            if self.is_sham() {
                return None;
            }
            self.refusals_left = u64::from(self.config.shocks.pe_mag == Magnitude::High);
        }
        Some(format!("{supplier} does not take the order now"))
    }
}
