//! Shocks: changes in the world that invalidate predictions, drawn with probability `p_shock` per
//! step. Each shock is recorded with its effect.

mod immediate;
mod terms;
mod waiting;

use crate::config::{Magnitude, Observability, TypeMix};
use crate::shock_event::{DelayedNotice, ShockType};
use crate::state::WorldState;

/// Days between a shock and its delayed notice.
const NOTICE_DELAY_DAYS: u64 = 3;

impl WorldState {
    /// Draws whether this step has a shock, and of which type.
    fn draw_shock(&self) -> Option<ShockType> {
        let drawn = self.streams.shocks.unit(&[self.step]) < self.config.shocks.p_shock;
        drawn.then(|| self.draw_shock_type())
    }

    fn draw_shock_type(&self) -> ShockType {
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

    /// Returns the notice of a shock for this step, or schedules one for a later day, as the
    /// observability setting demands.
    fn notify(&mut self, kind: ShockType, effect: &str) -> Option<String> {
        let notice = match self.config.shocks.observability {
            Observability::Full | Observability::Sham => format!("{kind} disturbance: {effect}"),
            Observability::Partial => "something has changed".to_owned(),
            Observability::Delayed => {
                let text = format!("{kind} disturbance on day {}: {effect}", self.day);
                let day = self.day + NOTICE_DELAY_DAYS;
                self.notices.push(DelayedNotice { day, kind, text });
                return None;
            }
            Observability::Hidden => return None,
        };
        self.dose.told[kind as usize] += 1;
        Some(notice)
    }

    /// 1, 2 or 3 by magnitude.
    fn magnitude_days(&self) -> u64 {
        match self.config.shocks.pe_mag {
            Magnitude::Low => 1,
            Magnitude::Medium => 2,
            Magnitude::High => 3,
        }
    }
}

fn in_days(days: u64) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}
