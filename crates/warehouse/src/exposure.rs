//! Exposure: the accumulated prediction error of deliveries. No crash detector reads it.

use serde::Serialize;

/// Maximum of the error of one field of one order.
pub const ERROR_MAX: f64 = 2.0;
/// Steps after which the leaky sum keeps half of an error.
const HALF_LIFE_STEPS: f64 = 50.0;

/// A sum of errors, and the same with a half-life of 50 steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ErrorSum {
    pub cum: f64,
    pub leaky: f64,
}

impl ErrorSum {
    fn close(&mut self, new: f64) {
        self.cum += new;
        self.leaky = self.leaky * (-std::f64::consts::LN_2 / HALF_LIFE_STEPS).exp() + new;
    }
}

/// Errors of the predicted days and units of supplier orders that have arrived or are overdue, each
/// at most 2, up to a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Exposure {
    pub days: ErrorSum,
    pub quantity: ErrorSum,
    /// The part of the errors that shocks caused: the error minus the error that the same
    /// prediction would have had without them. Negative where a shock corrected a prediction.
    pub induced_days: f64,
    pub induced_quantity: f64,
}

impl Exposure {
    /// Accumulated error of days and units.
    pub fn total(&self) -> f64 {
        self.days.cum + self.quantity.cum
    }

    /// Accumulated part of [`Exposure::total`] that shocks caused.
    pub fn induced(&self) -> f64 {
        self.induced_days + self.induced_quantity
    }

    /// Adds what became known in a step.
    pub(crate) fn close(&mut self, new: NewErrors) {
        self.days.close(new.days);
        self.quantity.close(new.quantity);
        self.induced_days += new.induced_days;
        self.induced_quantity += new.induced_quantity;
    }
}

/// Errors that became known in one step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct NewErrors {
    pub days: f64,
    pub quantity: f64,
    pub induced_days: f64,
    pub induced_quantity: f64,
}

/// |value - reference| / max(|reference|, 1).
pub(crate) fn relative_error(value: f64, reference: f64) -> f64 {
    (value - reference).abs() / reference.abs().max(1.0)
}
