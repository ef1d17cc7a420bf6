//! From the numbers of an axis to places in the drawing.

use super::ticks::{Tick, round_range, ticks};
use analysis::document::{Axis, Scale};

/// An axis with its range, before it is laid out.
#[derive(Clone)]
pub struct AxisRange {
    pub scale: Scale,
    pub low: f64,
    pub high: f64,
}

impl AxisRange {
    /// The range of an axis: the given one, or that of the data, widened to round numbers if asked.
    pub fn of(axis: &Axis, data: Option<(f64, f64)>, round: bool) -> AxisRange {
        if !axis.categories.is_empty() {
            let high = axis.categories.len() as f64 - 0.5;
            return AxisRange { scale: Scale::Linear, low: -0.5, high };
        }
        let range = |low: f64, high: f64| AxisRange { scale: axis.scale, low, high };
        let given = axis.range.map(|(a, b)| (a.min(b), a.max(b)));
        let given = given.filter(|(low, high)| low.is_finite() && high.is_finite());
        let possible = |(low, _): &(f64, f64)| axis.scale == Scale::Linear || *low > 0.0;
        let given = given.filter(possible).map(|ends| within(axis.scale, ends));
        if let Some((low, high)) = given.filter(|ends| has_length(axis.scale, *ends)) {
            return range(low, high);
        }
        let nothing = if axis.scale == Scale::Log { (1.0, 10.0) } else { (0.0, 1.0) };
        let (low, high) = within(axis.scale, data.unwrap_or(nothing));
        let (low, high) = widened(axis.scale, (low, high));
        match axis.scale {
            Scale::Linear if round => {
                let (low, high) = round_range(low, high, 6);
                range(low, high)
            }
            // A little room beyond the data, in logarithms.
            Scale::Log if round => {
                let room = ((high.ln() - low.ln()) * 0.04).exp();
                range(low / room, high * room)
            }
            _ => range(low, high),
        }
    }

    pub fn ticks(&self, most: usize) -> Vec<Tick> {
        ticks(self.scale, self.low, self.high, most)
    }

    pub fn map(&self, from: f64, to: f64) -> AxisMap {
        AxisMap { range: self.clone(), from, to }
    }
}

/// A range so far from the ends of the numbers that computations with it stay finite.
fn within(scale: Scale, (low, high): (f64, f64)) -> (f64, f64) {
    let least = if scale == Scale::Log { 1e-280 } else { -1e280 };
    (low.clamp(least, 1e280), high.clamp(least, 1e280))
}

/// Whether the ends of a range are so far apart that numbers between them can be told apart.
fn has_length(scale: Scale, (low, high): (f64, f64)) -> bool {
    match scale {
        Scale::Log => high / low > 1.0 + 1e-9,
        Scale::Linear => high - low > (high.abs().max(low.abs()) * 1e-12).max(1e-280),
    }
}

/// A range of some length, around a single value if need be.
fn widened(scale: Scale, (low, high): (f64, f64)) -> (f64, f64) {
    if has_length(scale, (low, high)) {
        return (low, high);
    }
    match scale {
        Scale::Log => (low / 2.0, high * 2.0),
        Scale::Linear if high.abs() < 1e-270 => (0.0, 1.0),
        Scale::Linear => (low - low.abs() * 0.5, high + high.abs() * 0.5),
    }
}

/// An axis laid out from a place to a place, both in units of the SVG.
#[derive(Clone)]
pub struct AxisMap {
    pub range: AxisRange,
    from: f64,
    to: f64,
}

impl AxisMap {
    /// The place of a value; NaN for a value without a place. Infinities lie far outside.
    pub fn place(&self, value: f64) -> f64 {
        let AxisRange { scale, low, high, .. } = self.range;
        let share = match scale {
            Scale::Linear => (value - low) / (high - low),
            Scale::Log if value > 0.0 => (value.ln() - low.ln()) / (high.ln() - low.ln()),
            Scale::Log => f64::NAN,
        };
        self.from + share * (self.to - self.from)
    }

    /// Whether a value lies on the axis.
    pub fn holds(&self, value: f64) -> bool {
        let slack = (self.range.high - self.range.low).abs() * 1e-9;
        value >= self.range.low - slack && value <= self.range.high + slack
    }

    /// Distance between two successive categories.
    pub fn step(&self) -> f64 {
        (self.to - self.from).abs() / (self.range.high - self.range.low)
    }

    /// The lesser and the greater place of the ends.
    pub fn ends(&self) -> (f64, f64) {
        (self.from.min(self.to), self.from.max(self.to))
    }
}
