//! Ticks of numeric axes at round numbers: 1, 2 or 5 times a power of ten.

use crate::number;
use analysis::document::Scale;

/// A tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub at: f64,
    pub label: String,
}

/// At most `most` ticks between two finite numbers, all labels with the same decimals.
pub fn ticks(scale: Scale, low: f64, high: f64, most: usize) -> Vec<Tick> {
    match scale {
        Scale::Linear => linear(low, high, most),
        Scale::Log => logarithmic(low, high, most),
    }
}

/// The steps of a linear axis: the step is `mantissa * 10^exponent`.
#[derive(Clone, Copy)]
struct RoundStep {
    mantissa: f64,
    exponent: i32,
}

impl RoundStep {
    /// The smallest round step that gives at most `most` ticks on a range of that length.
    fn of(length: f64, most: usize) -> RoundStep {
        let raw = length / most.max(1) as f64;
        let mut exponent = raw.log10().floor() as i32;
        let fraction = raw / 10f64.powi(exponent);
        let mantissa = match fraction {
            f if f <= 1.0 + 1e-9 => 1.0,
            f if f <= 2.0 + 1e-9 => 2.0,
            f if f <= 5.0 + 1e-9 => 5.0,
            _ => {
                exponent += 1;
                1.0
            }
        };
        RoundStep { mantissa, exponent }
    }

    fn size(self) -> f64 {
        self.times(1.0)
    }

    /// A multiple of the step, as exact as the decimal numeral: 3 steps of .1 are .3.
    fn times(self, count: f64) -> f64 {
        if self.exponent < 0 {
            return count * self.mantissa / 10f64.powi(-self.exponent);
        }
        count * self.mantissa * 10f64.powi(self.exponent)
    }
}

/// The range from a round number to a round number that contains the given one.
pub fn round_range(low: f64, high: f64, most: usize) -> (f64, f64) {
    let step = RoundStep::of(high - low, most);
    let size = step.size();
    (step.times((low / size + 1e-9).floor()), step.times((high / size - 1e-9).ceil()))
}

fn linear(low: f64, high: f64, most: usize) -> Vec<Tick> {
    let step = RoundStep::of(high - low, most);
    let size = step.size();
    let (first, last) = ((low / size - 1e-9).ceil(), (high / size + 1e-9).floor());
    let count = (last - first).clamp(0.0, 100.0) as usize;
    let at: Vec<f64> = (0..=count).map(|i| step.times(first + i as f64) + 0.0).collect();
    let largest = at.iter().fold(0.0, |largest: f64, at| largest.max(at.abs()));
    let label = |at: f64| {
        if largest >= 1e7 || step.exponent < -4 {
            return number::significant(at, 3);
        }
        number::fixed(at, usize::try_from(-step.exponent).unwrap_or(0))
    };
    at.into_iter().map(|at| Tick { at, label: label(at) }).collect()
}

/// Ticks at 1, 2 and 5 of each decade, at 1 and 3, at 1, or at 1 of each n-th decade: the most that
/// are allowed.
fn logarithmic(low: f64, high: f64, most: usize) -> Vec<Tick> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let inside = |at: f64| at >= low * (1.0 - 1e-9) && at <= high * (1.0 + 1e-9);
    let within_decades = |mantissas: &[f64]| {
        let of_decade = |decade: i32| mantissas.iter().map(move |m| (*m, decade));
        let all = decades.clone().flat_map(of_decade);
        all.filter(|(m, decade)| inside(times_power(*m, *decade))).collect::<Vec<_>>()
    };
    for mantissas in [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]] {
        let found = within_decades(mantissas);
        if found.len() <= most && (found.len() > 1 || mantissas.len() == 1) {
            return found.into_iter().map(log_tick).collect();
        }
    }
    let found = within_decades(&[1.0]);
    let every = found.len().div_ceil(most.max(1)) as i32;
    found.into_iter().filter(|(_, decade)| decade % every == 0).map(log_tick).collect()
}

fn times_power(mantissa: f64, decade: i32) -> f64 {
    RoundStep { mantissa, exponent: decade }.size()
}

fn log_tick((mantissa, decade): (f64, i32)) -> Tick {
    let at = times_power(mantissa, decade);
    let label = match decade {
        -3..=5 => number::fixed(at, usize::try_from(-decade).unwrap_or(0)),
        _ if mantissa == 1.0 => number::power_of_ten(decade),
        _ => format!("{mantissa} × {}", number::power_of_ten(decade)),
    };
    Tick { at, label }
}
