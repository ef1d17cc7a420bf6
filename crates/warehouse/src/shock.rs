//! ShockConfig: with chance `p_shock` a step, the world breaks a prediction. Each is recorded with what
//! it changed.
use crate::catalog::{money, supplier_name};
use crate::labels::labeled_enum;
use crate::world::World;
use crate::{Magnitude, Observability, TypeMix};
use serde::Serialize;

/// Days until a delayed notice.
const NOTICE_DELAY_DAYS: u64 = 3;
/// Days for which one supplier's orders hold up another's, or the ledger posts late.
const CAUSAL_DAYS: u64 = 10;
/// How often a lasting change of the same thing can be made anew: beyond, no operator could win,
/// and the world would measure itself.
const LASTING_CHANGES_MAX: u64 = 3;

/// Orders to one supplier hold up what is on its way from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CausalLink {
    from: usize,
    to: usize,
    days: u64,
    until_day: u64,
}

/// The ledger shows income and payments some days later.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LateLedger {
    pub days: u64,
    pub until_day: u64,
}

labeled_enum!(/// What a shock disturbs.
    ShockType { Temporal = "temporal", Quantity = "quantity", Causal = "causal", Rule = "rule" });

/// What a shock changed, or why there was nothing to change.
type Effect = Result<String, &'static str>;

/// One shock.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShockEvent {
    /// What it disturbs.
    #[serde(rename = "type")]
    pub kind: ShockType,
    /// The day.
    pub day: u64,
    /// What it changed; none where there was nothing to change.
    pub effect: Option<String>,
    /// Why there was nothing to change.
    pub nothing: Option<&'static str>,
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
            ShockType::Temporal => self.delay_a_delivery(),
            ShockType::Quantity => self.change_a_quantity(),
            ShockType::Causal => self.entangle(),
            ShockType::Rule => self.change_a_rule(),
        };
        let told = self.tell(kind, effect.as_deref().ok());
        let nothing = effect.as_ref().err().copied();
        Some(ShockEvent { kind, day: self.day, effect: effect.ok(), nothing, told })
    }

    fn shock_kind(&self) -> ShockType {
        let weights = match self.config.shocks.pe_type_mix {
            TypeMix::Realistic => [0.4, 0.3, 0.2, 0.1],
            TypeMix::Uniform => [0.25; 4],
            TypeMix::TemporalOnly => [1.0, 0.0, 0.0, 0.0],
            TypeMix::QuantityOnly => [0.0, 1.0, 0.0, 0.0],
            TypeMix::CausalOnly => [0.0, 0.0, 1.0, 0.0],
            TypeMix::RuleOnly => [0.0, 0.0, 0.0, 1.0],
        };
        let mut left = self.streams.shock_types.unit(&[self.step]);
        for (&kind, weight) in ShockType::ALL.iter().zip(weights) {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        ShockType::Rule
    }

    fn tell(&mut self, kind: ShockType, effect: Option<&str>) -> Option<String> {
        let effect = effect?;
        match self.config.shocks.observability {
            Observability::Full => Some(format!("{kind} disturbance: {effect}")),
            Observability::Partial => Some("something has changed".to_owned()),
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

    fn in_transit(&self) -> Result<usize, &'static str> {
        let last = self.inbound.len().checked_sub(1).ok_or("no supplier order was on its way")?;
        Ok(self.draw(0, 0, last as i64) as usize)
    }

    /// +0.5, +1 or +2 to 3 days; half a day is a day in every second case.
    fn delay_a_delivery(&mut self) -> Effect {
        let order = self.in_transit()?;
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

    fn change_a_quantity(&mut self) -> Effect {
        let order = self.in_transit()?;
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

    /// What happens here shows elsewhere: in another supplier's deliveries, or in the ledger some
    /// days later.
    fn entangle(&mut self) -> Effect {
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
        self.link = Some(CausalLink { from, to, days, until_day });
        let (from, to, days) = (supplier_name(from), supplier_name(to), in_days(days));
        Ok(format!(
            "for {CAUSAL_DAYS} days each order to {from} delays deliveries of {to} by {days}"
        ))
    }

    /// Lead times or the storage fee change for good.
    fn change_a_rule(&mut self) -> Effect {
        let days = self.magnitude_days();
        if self.draw(5, 0, 1) == 0 {
            let supplier = self.draw(6, 0, self.config.suppliers() as i64 - 1) as usize;
            let more = self.catalog.offers[supplier][0].lead_days
                - self.published.offers[supplier][0].lead_days;
            if more as u64 >= LASTING_CHANGES_MAX * days {
                return Err("the supplier's lead times were as long as they can get");
            }
            self.catalog.offers[supplier]
                .iter_mut()
                .for_each(|offer| offer.lead_days += days as i64);
            return Ok(format!("{} now takes {} longer", supplier_name(supplier), in_days(days)));
        }
        // Once more the published fee for each day of magnitude: low .1, medium .2, high .3 on .1.
        let published = ((self.config.storage_fee * 100.0).round() as i64).max(1);
        let fee = self.storage_fee_cents + published * days as i64;
        if fee > published * (1 + (LASTING_CHANGES_MAX * days) as i64) {
            return Err("the storage fee was as high as it can get");
        }
        self.storage_fee_cents = fee;
        Ok(format!("storage now costs {:.2} a unit and day", money(fee)))
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
        let Some(link) =
            self.link.filter(|link| link.from == supplier && self.day <= link.until_day)
        else {
            return;
        };
        let linked = self.inbound.iter_mut().filter(|order| order.supplier == link.to);
        linked.for_each(|order| order.arrives_day += link.days);
    }
}

fn in_days(days: u64) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}
