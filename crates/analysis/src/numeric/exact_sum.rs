//! A sum from which terms can be taken back without loss.

/// A sum in twice the precision of f64 (Neumaier 1974). A large term that is added and taken back
/// later leaves the small ones as they were, which a plain sum loses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ExactSum {
    high: f64,
    low: f64,
}

impl ExactSum {
    #[inline(always)]
    pub fn add(&mut self, term: f64) {
        ExactSum::add_to(&mut self.high, &mut self.low, term);
    }

    /// Adds to a sum given by its parts.
    #[inline(always)]
    pub fn add_to(high: &mut f64, low: &mut f64, term: f64) {
        let sum = *high + term;
        let share = sum - *high;
        *low += (*high - (sum - share)) + (term - share);
        *high = sum;
    }

    /// The difference of two sums, such as one and what it was before.
    #[inline(always)]
    pub fn minus(self, other: ExactSum) -> f64 {
        (self.high - other.high) + (self.low - other.low)
    }

    #[inline(always)]
    pub fn value(self) -> f64 {
        self.high + self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_terms_leave_no_trace() {
        let mut sum = ExactSum::default();
        sum.add(1e-3);
        sum.add(3e20);
        sum.add(0.25);
        sum.add(-3e20);
        assert_eq!(sum.value(), 0.251);
    }
}
