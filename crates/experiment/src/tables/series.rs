//! What accumulates over the rows of a run: doses and exposures, carried forward where a row does
//! not repeat them, and exponential averages of errors.

use results::{DoseRow, ExposureRow, StepRow};

/// Doses and exposures after a step; `None` in design v1.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Accumulated {
    pub dose: Option<DoseRow>,
    pub exposure: Option<ExposureRow>,
}

impl Accumulated {
    /// Before the first step.
    pub fn at_start(since_v2: bool) -> Accumulated {
        Accumulated {
            dose: since_v2.then(DoseRow::default),
            exposure: since_v2.then(ExposureRow::default),
        }
    }

    pub fn add(&mut self, row: &StepRow) {
        self.dose = row.dose.or(self.dose);
        self.exposure = row.exposure.or(self.exposure);
    }

    /// Number of shocks that changed something; `None` in design v1.
    pub fn applied(&self) -> Option<u64> {
        self.dose.map(|dose| dose.applied.iter().sum())
    }
}

/// Weights of the newest error, the same as of the averages by kind in rows of design v1.
pub(super) const ALPHAS: [f64; 3] = [0.3, 0.1, 0.01];

/// Exponential averages of the errors of one field, over the steps in which one became known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ErrorAverages(Option<[f64; 3]>);

impl ErrorAverages {
    /// Adds the mean error of a step; the first one starts each average.
    pub fn add(&mut self, error: Option<f64>) {
        let Some(error) = error else { return };
        let averages = self.0.get_or_insert([error; 3]);
        for (average, alpha) in averages.iter_mut().zip(ALPHAS) {
            *average = alpha * error + (1.0 - alpha) * *average;
        }
    }

    /// The averages, one for each of [`ALPHAS`]; `None` before the first error.
    pub fn values(&self) -> [Option<f64>; 3] {
        self.0.map_or([None; 3], |averages| averages.map(Some))
    }
}

/// Share of the context that a step's prompt and reply take; `None` without a context length.
pub(super) fn context_share(row: &StepRow, context_length: Option<u64>) -> Option<f64> {
    let tokens = row.prompt_tokens + row.reply_tokens;
    context_length.map(|length| tokens as f64 / length as f64)
}
