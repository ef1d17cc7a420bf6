//! `--model cox`: hazard ratios of covariates.

use super::input::SurvivalInput;
use super::text::{limits, number, optional, p, print_table};
use super::{Fitted, ModelResult};
use crate::args::{RobustKind, SurvivalArgs, TiesKind, TimeFunction};
use crate::failure::Failure;
use crate::output;
use analysis::AnalysisError;
use analysis::survival::cox::{
    self, CoxOptions, CoxTest, ProportionalHazardsMethod, ProportionalHazardsTest, Ties,
    TimeTransform, proportional_hazards_test,
};
use analysis::survival::{Coefficient, RobustErrors};
use serde::Serialize;

#[derive(Serialize)]
pub struct CoxResult {
    ties: &'static str,
    robust: &'static str,
    coefficients: Vec<Coefficient>,
    references: Vec<ReferenceLevel>,
    log_likelihood: f64,
    null_log_likelihood: f64,
    aic: f64,
    /// Null if no two rows are comparable.
    concordance: Option<f64>,
    clusters: usize,
    strata: usize,
    iterations: usize,
    likelihood_ratio: CoxTest,
    wald: CoxTest,
    score: CoxTest,
    robust_wald: Option<CoxTest>,
    proportional_hazards: Option<SchoenfeldTests>,
}

/// The level of a categorical covariate with hazard ratio 1.
#[derive(Serialize)]
pub struct ReferenceLevel {
    column: String,
    level: String,
}

#[derive(Serialize)]
struct SchoenfeldTests {
    function: &'static str,
    coefficients: Vec<SchoenfeldTestOf>,
    global: CoxTest,
}

#[derive(Serialize)]
struct SchoenfeldTestOf {
    name: String,
    #[serde(flatten)]
    test: CoxTest,
}

pub fn fit(args: &SurvivalArgs, input: &SurvivalInput) -> Result<Fitted, AnalysisError> {
    let (robust, robust_name) = robust(args);
    let (ties, ties_name) = match args.ties {
        None | Some(TiesKind::Efron) => (Ties::Efron, "efron"),
        Some(TiesKind::Breslow) => (Ties::Breslow, "breslow"),
    };
    let recurrent = args.recurrent;
    let options =
        CoxOptions { level: args.level, ties, robust, recurrent, ..CoxOptions::default() };
    let fit = cox::fit(&input.data, &input.covariates.covariates, &options)?;
    let proportional_hazards = args.ph_test.map(|function| {
        let (transform, function) = transform(function);
        let method = ProportionalHazardsMethod::default();
        let test = proportional_hazards_test(&fit, transform, method)?;
        Ok(SchoenfeldTests::of(function, test))
    });
    let proportional_hazards = proportional_hazards.transpose()?;
    let result = CoxResult {
        ties: ties_name,
        robust: robust_name,
        coefficients: fit.coefficients,
        references: references(input),
        log_likelihood: fit.log_likelihood,
        null_log_likelihood: fit.null_log_likelihood,
        aic: fit.aic,
        concordance: fit.concordance.map(|concordance| concordance.value),
        clusters: fit.clusters,
        strata: input.data.strata.iter().max().map_or(1, |last| *last as usize + 1),
        iterations: fit.iterations,
        likelihood_ratio: fit.likelihood_ratio,
        wald: fit.wald,
        score: fit.score,
        robust_wald: fit.robust_wald,
        proportional_hazards,
    };
    Ok((ModelResult::Cox(Box::new(result)), fit.warnings))
}

/// The errors requested, and their name. Clusters, and several events of a subject, call for robust
/// ones.
pub fn robust(args: &SurvivalArgs) -> (RobustErrors, &'static str) {
    let is_dependent = args.cluster.is_some() || args.recurrent;
    let default = if is_dependent { RobustKind::SmallSample } else { RobustKind::None };
    match args.robust.unwrap_or(default) {
        RobustKind::None => (RobustErrors::None, "none"),
        RobustKind::Plain => (RobustErrors::Plain, "plain"),
        RobustKind::SmallSample => (RobustErrors::SmallSample, "small-sample"),
    }
}

fn transform(function: TimeFunction) -> (TimeTransform, &'static str) {
    match function {
        TimeFunction::Rank => (TimeTransform::Rank, "rank"),
        TimeFunction::Km => (TimeTransform::Km, "km"),
        TimeFunction::Identity => (TimeTransform::Identity, "identity"),
        TimeFunction::Log => (TimeTransform::Log, "log"),
    }
}

pub fn references(input: &SurvivalInput) -> Vec<ReferenceLevel> {
    let of = |(column, level): &(String, String)| ReferenceLevel {
        column: column.clone(),
        level: level.clone(),
    };
    input.covariates.references.iter().map(of).collect()
}

impl SchoenfeldTests {
    fn of(function: &'static str, test: ProportionalHazardsTest) -> SchoenfeldTests {
        let each = test.by_coefficient.into_iter();
        let coefficients = each.map(|(name, test)| SchoenfeldTestOf { name, test }).collect();
        SchoenfeldTests { function, coefficients, global: test.global }
    }

    fn print(&self) -> Result<(), Failure> {
        let row = |name: &str, CoxTest { chi2, df, p: value }: CoxTest| {
            vec![name.to_owned(), number(chi2), df.to_string(), p(value)]
        };
        let mut rows: Vec<Vec<String>> =
            self.coefficients.iter().map(|of| row(&of.name, of.test)).collect();
        rows.push(row("all", self.global));
        output::line("")?;
        output::line(&format!(
            "proportional hazards, by Schoenfeld residuals against time ({}); a small p speaks \
             against them:",
            self.function
        ))?;
        print_table(1, &["covariate", "chi2", "df", "p"], rows)
    }
}

impl CoxResult {
    pub fn print(&self, percent: &str) -> Result<(), Failure> {
        let mut about = vec![format!("ties {}", self.ties)];
        if self.strata > 1 {
            about.push(format!("{} strata", self.strata));
        }
        if self.robust != "none" {
            about.push(format!("robust errors of {} clusters ({})", self.clusters, self.robust));
        }
        output::line(&about.join(", "))?;
        output::line(&format!(
            "log-likelihood {:.4} (without covariates {:.4}), AIC {:.4}, concordance {}",
            self.log_likelihood,
            self.null_log_likelihood,
            self.aic,
            optional(self.concordance, number)
        ))?;
        print_coefficients(&self.coefficients, percent)?;
        print_references(&self.references)?;
        self.print_tests()?;
        if let Some(tests) = &self.proportional_hazards {
            tests.print()?;
            if self.robust != "none" {
                output::line("these p-values are of the model's errors: with clusters, too small")?;
            }
        }
        Ok(())
    }

    fn print_tests(&self) -> Result<(), Failure> {
        let text = |name: &str, test: CoxTest| {
            format!("{name} chi2 {}, df {}, p {}", number(test.chi2), test.df, p(test.p))
        };
        let mut tests =
            vec![text("likelihood ratio", self.likelihood_ratio), text("score", self.score)];
        tests.push(match self.robust_wald {
            Some(test) => text("robust Wald", test),
            None => text("Wald", self.wald),
        });
        output::line(&format!("no effect of any covariate: {}", tests.join("; ")))
    }
}

/// A table of coefficients.
pub fn print_coefficients(coefficients: &[Coefficient], percent: &str) -> Result<(), Failure> {
    let is_robust = coefficients.iter().any(|coefficient| coefficient.robust_se.is_some());
    let (from, to) = limits(percent);
    let mut head = vec!["covariate", "coef", "se"];
    if is_robust {
        head.push("robust se");
    }
    head.extend(["hazard ratio", &from, &to, "p"]);
    let row = |of: &Coefficient| {
        let mut row = vec![of.name.clone(), number(of.coef), number(of.se)];
        if is_robust {
            row.push(optional(of.robust_se, number));
        }
        let ratios = [of.hazard_ratio, of.hazard_ratio_lower, of.hazard_ratio_upper];
        row.extend(ratios.map(number));
        row.push(p(of.p));
        row
    };
    print_table(1, &head, coefficients.iter().map(row).collect())
}

pub fn print_references(references: &[ReferenceLevel]) -> Result<(), Failure> {
    if references.is_empty() {
        return Ok(());
    }
    let text = |of: &ReferenceLevel| format!("{}={}", of.column, of.level);
    let texts: Vec<String> = references.iter().map(text).collect();
    output::line(&format!("hazard ratios of categories are relative to {}", texts.join(", ")))
}
