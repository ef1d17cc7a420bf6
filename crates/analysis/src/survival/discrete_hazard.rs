//! Hazards of grouped time: complementary log-log regression (Prentice and Gloeckler 1978).

use crate::fit_warning::FitWarning;
use nalgebra::{DMatrix, DVector};

use super::estimate::{
    Coefficient, ReferenceDistribution, RobustErrors, sandwich, standard_errors,
};
use super::risk_data::{Covariates, EventsPerSubject, RiskData};
use super::separation::fit_warnings;
use super::trials::{Trial, trials};
use crate::error::AnalysisError;
use crate::numeric::newton::{Expansion, dependent, inverse, maximize};

/// What is known of the time of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EventTime {
    /// The event is in (stop - width, stop]: time comes in steps of one width. Edges of bins should
    /// be at steps.
    Within(f64),
    /// The event is in the bin of `stop`, after the start of its row.
    InBin,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DiscreteOptions {
    /// Of intervals.
    pub level: f64,
    pub event_time: EventTime,
    pub robust: RobustErrors,
    /// The cause whose hazard is modelled, others are censored; `None`: any.
    pub cause: Option<u32>,
    /// Rows of a subject may follow its events.
    pub recurrent: bool,
    pub max_iterations: usize,
}

impl Default for DiscreteOptions {
    fn default() -> DiscreteOptions {
        DiscreteOptions {
            level: 0.95,
            event_time: EventTime::Within(1.0),
            robust: RobustErrors::SmallSample,
            cause: None,
            recurrent: false,
            max_iterations: 50,
        }
    }
}

/// Fitted hazard per unit of time `exp(bin + x' coef)`.
#[derive(Debug, Clone)]
pub struct DiscreteFit {
    /// Log of the hazard per unit of time of each bin, at covariates of 0; `hazard_ratio` is the
    /// hazard itself.
    pub bins: Vec<Coefficient>,
    pub coefficients: Vec<Coefficient>,
    /// Of bins, then coefficients, from the observed information.
    pub covariance: DMatrix<f64>,
    pub robust_covariance: Option<DMatrix<f64>>,
    pub log_likelihood: f64,
    pub iterations: usize,
    pub rows: usize,
    pub events: usize,
    pub clusters: usize,
    pub warnings: Vec<FitWarning>,
}

/// Fits hazards that are constant within bins but for the covariates, which act on the log hazard,
/// to what is known of grouped time: that a row survives a time, or has an event within it. Bin k
/// is `(edges[k], edges[k + 1]]`; rows are cut at the edges. The log of the length of each time is
/// an offset. Strata are ignored.
///
/// # Errors
/// The data are not valid, edges do not cover the time at risk, a bin has no event, a covariate is
/// constant or a combination of others.
pub fn discrete_hazard(
    data: &RiskData,
    covariates: &Covariates,
    edges: &[f64],
    options: &DiscreteOptions,
) -> Result<DiscreteFit, AnalysisError> {
    let per = if options.recurrent { EventsPerSubject::Many } else { EventsPerSubject::One };
    data.check(per)?;
    covariates.check(data.rows())?;
    let model = GroupedModel::new(data, covariates, edges, options)?;
    let (clusters, cluster_count) = data.dense_clusters();
    let reference = ReferenceDistribution::new(options.level, options.robust, cluster_count)?;

    let start = model.start();
    let null = model.expand(&start);
    if let Some((column, _)) = dependent(&null.information, model.events as f64 * 1e-3) {
        let name = model.name(&covariates.names, column);
        let text = format!("{name} is a linear combination of the bins and covariates before it");
        return Err(AnalysisError::NotEstimable(text));
    }
    let maximum =
        maximize(start, null.clone(), options.max_iterations, |point| model.expand(point));
    let no_covariance = || {
        let names = covariates.names.join(", ");
        let text = format!("discrete hazard: no finite covariance of the bins and {names}");
        AnalysisError::NotEstimable(text)
    };
    let null_covariance = inverse(&null.information).ok_or_else(no_covariance)?;
    let covariance = inverse(&maximum.at.information).ok_or_else(no_covariance)?;
    let scores = model.scores(&maximum.point, data.rows());
    let robust = sandwich(&scores, &covariance, (&clusters, cluster_count), options.robust);

    let mut warnings = fit_warnings(&covariates.names, &maximum, &covariance, &null_covariance);
    warnings.extend(FitWarning::few_events(model.events, model.parameters()));
    if options.robust != RobustErrors::None {
        warnings.extend(FitWarning::few_clusters(cluster_count));
    }
    let back = model.to_original_units();
    let coefs = &back * &maximum.point;
    let covariance = &back * covariance * back.transpose();
    let robust = robust.map(|robust| &back * robust * back.transpose());
    let errors = standard_errors(&covariance);
    let robust_errors = robust.as_ref().map(standard_errors);
    let all = (0..model.parameters()).map(|column| {
        let robust_se = robust_errors.as_ref().map(|errors| errors[column]);
        let name = model.name(&covariates.names, column);
        reference.coefficient(&name, coefs[column], errors[column], robust_se)
    });
    let mut bins: Vec<Coefficient> = all.collect();
    let coefficients = bins.split_off(model.bins());
    Ok(DiscreteFit {
        bins,
        coefficients,
        covariance,
        robust_covariance: robust,
        log_likelihood: maximum.at.value,
        iterations: maximum.iterations,
        rows: data.rows(),
        events: model.events,
        clusters: cluster_count,
        warnings,
    })
}

/// Trials with standardized covariates. Parameters are the bins, then the covariates.
struct GroupedModel<'a> {
    edges: &'a [f64],
    trials: Vec<Trial>,
    /// By row of the data.
    x: Vec<f64>,
    means: Vec<f64>,
    scales: Vec<f64>,
    events: usize,
}

impl<'a> GroupedModel<'a> {
    fn new(
        data: &RiskData,
        covariates: &Covariates,
        edges: &'a [f64],
        options: &DiscreteOptions,
    ) -> Result<GroupedModel<'a>, AnalysisError> {
        let trials = trials(data, edges, options.event_time, |cause| {
            options.cause.map_or(cause != 0, |only| cause == only)
        })?;
        let (means, scales) = covariates.standardization()?;
        let mut events = vec![0; edges.len() - 1];
        trials.iter().filter(|trial| trial.event).for_each(|trial| events[trial.bin] += 1);
        if let Some(bin) = events.iter().position(|events| *events == 0) {
            let (from, to) = (edges[bin], edges[bin + 1]);
            let text = format!("bin ({from}, {to}] has no event; join it with another");
            return Err(AnalysisError::NotEstimable(text));
        }
        let x = covariates.standardized(&means, &scales);
        Ok(GroupedModel { edges, trials, x, means, scales, events: events.iter().sum() })
    }

    fn bins(&self) -> usize {
        self.edges.len() - 1
    }

    fn parameters(&self) -> usize {
        self.bins() + self.means.len()
    }

    fn name(&self, covariates: &[String], parameter: usize) -> String {
        match parameter.checked_sub(self.bins()) {
            Some(covariate) => covariates[covariate].clone(),
            None => format!("({}, {}]", self.edges[parameter], self.edges[parameter + 1]),
        }
    }

    fn x(&self, trial: &Trial) -> &[f64] {
        &self.x[trial.row * self.means.len()..][..self.means.len()]
    }

    /// Events per time of each bin, without effects of covariates.
    fn start(&self) -> DVector<f64> {
        let (mut events, mut time) = (vec![0.0; self.bins()], vec![0.0; self.bins()]);
        for trial in &self.trials {
            events[trial.bin] += f64::from(u8::from(trial.event));
            time[trial.bin] += trial.length;
        }
        let mut start = DVector::zeros(self.parameters());
        for bin in 0..self.bins() {
            start[bin] = f64::ln(events[bin] / time[bin]);
        }
        start
    }

    /// The log-likelihood of a trial, its derivative by the log hazard, and minus its second one.
    fn terms(&self, trial: &Trial, point: &DVector<f64>) -> (f64, f64, f64) {
        let coefs = point.iter().skip(self.bins());
        let effect: f64 = self.x(trial).iter().zip(coefs).map(|(x, coef)| x * coef).sum();
        // The hazard accumulated over the trial; the probability of an event is 1 - exp(-mean).
        let mean = (point[trial.bin] + effect).exp() * trial.length;
        if !trial.event {
            return (-mean, -mean, mean);
        }
        let probability = -(-mean).exp_m1();
        let slope = mean * (-mean).exp() / probability;
        (probability.ln(), slope, slope * (mean / probability - 1.0))
    }

    fn expand(&self, point: &DVector<f64>) -> Expansion {
        let (bins, count) = (self.bins(), self.parameters());
        let mut value = 0.0;
        let mut gradient = DVector::zeros(count);
        let mut information = DMatrix::zeros(count, count);
        for trial in &self.trials {
            let (log_likelihood, slope, curvature) = self.terms(trial, point);
            let x = self.x(trial);
            value += log_likelihood;
            gradient[trial.bin] += slope;
            information[(trial.bin, trial.bin)] += curvature;
            for i in 0..x.len() {
                gradient[bins + i] += slope * x[i];
                information[(trial.bin, bins + i)] += curvature * x[i];
                for j in i..x.len() {
                    information[(bins + i, bins + j)] += curvature * x[i] * x[j];
                }
            }
        }
        information.fill_lower_triangle_with_upper_triangle();
        Expansion { value, gradient, information }
    }

    /// Gradients of the log-likelihood by row of the data.
    fn scores(&self, point: &DVector<f64>, rows: usize) -> DMatrix<f64> {
        let mut scores = DMatrix::zeros(rows, self.parameters());
        for trial in &self.trials {
            let slope = self.terms(trial, point).1;
            scores[(trial.row, trial.bin)] += slope;
            for (column, x) in self.x(trial).iter().enumerate() {
                scores[(trial.row, self.bins() + column)] += slope * x;
            }
        }
        scores
    }

    /// The matrix from parameters of standardized covariates to those of the covariates.
    fn to_original_units(&self) -> DMatrix<f64> {
        let bins = self.bins();
        let mut matrix = DMatrix::identity(self.parameters(), self.parameters());
        for (column, (mean, scale)) in self.means.iter().zip(&self.scales).enumerate() {
            matrix[(bins + column, bins + column)] = 1.0 / scale;
            for bin in 0..bins {
                matrix[(bin, bins + column)] = -mean / scale;
            }
        }
        matrix
    }
}
