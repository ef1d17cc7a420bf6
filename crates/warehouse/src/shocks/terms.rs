//! Rule shocks of design v2: the prices or lead times of a supplier, or the fees, change for five
//! days and then are as published again.

use super::{NOTICE_DELAY_DAYS, in_days};
use crate::catalog::supplier_name;
use crate::config::{Magnitude, Observability};
use crate::news::News;
use crate::shock_event::PendingShock;
use crate::state::WorldState;
use crate::terms::{Terms, TermsChange, TermsTarget};

/// Days for which a change lasts.
const TERMS_DAYS: u64 = 5;

impl WorldState {
    /// Changes the prices or the lead times of a supplier, or the fees. A change of the same terms
    /// is replaced. `None` if the change is none, as for fees of 0.
    pub(super) fn change_terms(&mut self, shock: PendingShock) -> Option<String> {
        let supplier = self.shock_draw(shock, 6, 0, self.config.suppliers() as i64 - 1) as usize;
        // Lead times are drawn less often: they change the days of all deliveries, which are the
        // own field of temporal shocks.
        let target = match self.shock_draw(shock, 5, 0, 4) {
            0 | 1 => TermsTarget::Prices(supplier),
            2 | 3 => TermsTarget::Fees,
            _ => TermsTarget::LeadTimes(supplier),
        };
        let up = self.shock_draw(shock, 7, 0, 1) == 1;
        let sizes = if up { [true, false] } else { [false, true] };
        sizes.into_iter().find_map(|up| self.change_target(shock, target, up))
    }

    fn change_target(
        &mut self,
        shock: PendingShock,
        target: TermsTarget,
        up: bool,
    ) -> Option<String> {
        let size = self.terms_change_size(shock, target, up);
        let shown_from_day = match self.config.shocks.observability {
            Observability::Full => Some(self.day),
            Observability::Delayed => Some(self.day + NOTICE_DELAY_DAYS),
            Observability::Partial | Observability::Hidden | Observability::Sham => None,
        };
        let until_day = self.day + TERMS_DAYS;
        let change = TermsChange { target, size, until_day, shown_from_day };
        let others = || self.changes.iter().filter(|known| known.target != target);
        let mut changes: Vec<TermsChange> = others().copied().collect();
        changes.push(change);
        let terms = |changes: &[TermsChange]| Terms::changed(&self.published_terms, changes.iter());
        let changed = terms(&changes);
        if changed == terms(&self.changes) {
            return None;
        }
        // The changes of a sham are kept too, since their ends are announced.
        self.changes = changes;
        if !self.is_sham() {
            self.terms = changed;
            self.show_terms();
        }
        Some(describe(&change))
    }

    /// Prices change by a factor of 1.1 to 1.2 / 1.2 to 1.5 / 1.4 to 2 by magnitude or its
    /// reciprocal, fees by the same, lead times by 1 / 1 / 2 days.
    fn terms_change_size(&self, shock: PendingShock, target: TermsTarget, up: bool) -> f64 {
        if let TermsTarget::LeadTimes(_) = target {
            let days = if self.config.shocks.pe_mag == Magnitude::High { 2.0 } else { 1.0 };
            return if up { days } else { -days };
        }
        let spread = match self.config.shocks.pe_mag {
            Magnitude::Low => 1.2_f64.ln(),
            Magnitude::Medium => 1.5_f64.ln(),
            Magnitude::High => 2.0_f64.ln(),
        };
        let log_factor = spread * (0.75 + 0.25 * self.shock_draw_signed(shock, 8));
        if up { log_factor.exp() } else { (-log_factor).exp() }
    }

    /// Reverses the changes that are over, and shows those that are due to be shown.
    pub(crate) fn update_terms(&mut self) {
        if self.changes.is_empty() {
            return;
        }
        let day = self.day;
        let over: Vec<TermsChange> = self.changes.extract_if(.., |c| c.until_day < day).collect();
        let sham = self.is_sham();
        let told = over.iter().filter(|change| sham || change.shown_from_day.is_some());
        self.news.extend(told.map(|change| News::Notice(describe_end(change))));
        if !over.is_empty() && !sham {
            self.terms = Terms::changed(&self.published_terms, self.changes.iter());
        }
        self.show_terms();
    }

    fn show_terms(&mut self) {
        let day = self.day;
        let shown = |change: &&TermsChange| change.shown_from_day.is_some_and(|from| from <= day);
        self.shown_terms = Terms::changed(&self.published_terms, self.changes.iter().filter(shown));
    }
}

fn describe(change: &TermsChange) -> String {
    let terms = match change.target {
        TermsTarget::Prices(supplier) => {
            format!(
                "prices of {} are {:.2} times the published ones",
                supplier_name(supplier),
                change.size
            )
        }
        TermsTarget::LeadTimes(supplier) => {
            let days = in_days(change.size.abs() as u64);
            let direction = if change.size > 0.0 { "longer" } else { "less" };
            format!("{} takes {days} {direction} than published", supplier_name(supplier))
        }
        TermsTarget::Fees => format!("fees are {:.2} times the published ones", change.size),
    };
    format!("for {TERMS_DAYS} days {terms}")
}

fn describe_end(change: &TermsChange) -> String {
    match change.target {
        TermsTarget::Prices(supplier) => {
            format!("prices of {} are as published again", supplier_name(supplier))
        }
        TermsTarget::LeadTimes(supplier) => {
            format!("lead times of {} are as published again", supplier_name(supplier))
        }
        TermsTarget::Fees => "fees are as published again".to_owned(),
    }
}
