//! Arguments of `survival`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct SurvivalArgs {
    /// The table: .csv, .tsv, .jsonl or .parquet, with one row per subject, or with --start one per
    /// interval of time at risk
    pub table: PathBuf,
    /// The method
    #[arg(long, value_enum)]
    pub model: SurvivalModel,
    /// Column of times at which the time at risk ends, by an event or without one
    #[arg(long, value_name = "COLUMN")]
    pub time: String,
    /// Column of events: 0 and 1, booleans, or causes as numbers or texts
    #[arg(long, value_name = "COLUMN")]
    pub event: String,
    /// Column of times after which the time at risk begins [default: all begin at 0]
    #[arg(long, value_name = "COLUMN")]
    pub start: Option<String>,
    /// A value of the event column that means that no event was seen; repeat it for several
    /// [default: 0, false, censored, horizon, and in a column of texts no value]
    #[arg(long, value_name = "VALUE")]
    pub censored: Vec<String>,
    /// Only events of this cause count, others are censored; repeat it for several. any: all count.
    /// Needed if there are several causes, except by aj, which estimates all of them
    #[arg(long, value_name = "VALUE")]
    pub cause: Vec<String>,
    /// Columns of covariates (cox, cloglog): a,b,a:b. Texts are categories, with an indicator of
    /// each but the first in sorted order; a:b is the interaction of a and b
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub covariates: Vec<String>,
    /// Covariates whose numbers are categories
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub categorical: Vec<String>,
    /// Column of groups to describe or compare (km, nelson-aalen, aj, logrank)
    #[arg(long, value_name = "COLUMN")]
    pub group: Option<String>,
    /// Column of strata, each with its own baseline hazard (cox, logrank)
    #[arg(long, value_name = "COLUMN")]
    pub strata: Option<String>,
    /// Column of subjects, of which each has several rows [default: each row is a subject]
    #[arg(long, value_name = "COLUMN")]
    pub subject: Option<String>,
    /// Column of clusters: units that are independent of one another, such as worlds or hospitals
    /// (cox, cloglog). Standard errors are then robust
    #[arg(long, value_name = "COLUMN")]
    pub cluster: Option<String>,
    /// Robust standard errors (cox, cloglog) [default: small-sample with --cluster or
    /// --recurrent, else none]
    #[arg(long, value_enum, value_name = "KIND")]
    pub robust: Option<RobustKind>,
    /// Events at the same time (cox) [default: efron]
    #[arg(long, value_enum)]
    pub ties: Option<TiesKind>,
    /// Test of proportional hazards by Schoenfeld residuals (cox), against this function of time
    /// [default function: rank]
    #[arg(
        long,
        value_enum,
        value_name = "FUNCTION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "rank"
    )]
    pub ph_test: Option<TimeFunction>,
    /// A subject may have several events (cox, cloglog, nelson-aalen)
    #[arg(long)]
    pub recurrent: bool,
    /// Time at which survival and incidence are given, and to which the mean time without event is
    /// restricted (km, aj) [default: the longest time that all groups reach]
    #[arg(long, value_name = "TIME")]
    pub horizon: Option<f64>,
    /// Times to print (km, nelson-aalen, aj) [default: up to ten of those with events]
    #[arg(long, value_name = "TIMES", value_delimiter = ',')]
    pub times: Vec<f64>,
    /// Bins of time in which the baseline hazard is constant (cloglog): their number, or edges
    /// such as 0,100,200 [default: 5, with about as many events each]
    #[arg(long, value_name = "BINS", value_delimiter = ',')]
    pub bins: Vec<f64>,
    /// Times are in steps of this width, and an event is in the last step of its row (cloglog)
    /// [default: 1 if all times are whole numbers, else an event is somewhere in its bin]
    #[arg(long, value_name = "WIDTH")]
    pub step: Option<f64>,
    /// Level of confidence intervals and bands
    #[arg(long, value_name = "LEVEL", default_value_t = 0.95)]
    pub level: f64,
    /// Leave out rows with a missing value in a column that is used
    #[arg(long)]
    pub drop_missing: bool,
    /// Print one JSON document on stdout; docs/commands.md names its keys
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SurvivalModel {
    /// Kaplan-Meier: survival by time, median, restricted mean
    Km,
    /// Nelson-Aalen: cumulative hazard by time
    NelsonAalen,
    /// Log-rank test that groups have equal hazards
    Logrank,
    /// Cox's proportional hazards: hazard ratios of covariates, which may vary in time
    Cox,
    /// Aalen-Johansen: cumulative incidence of competing causes
    Aj,
    /// Complementary log-log: hazards in bins of time, with covariates
    Cloglog,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TiesKind {
    Efron,
    Breslow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RobustKind {
    /// The model's errors only
    None,
    /// The sandwich of Lin and Wei with normal intervals, as R
    Plain,
    /// The sandwich times G / (G - 1) for G clusters, with intervals from t with G - 1 degrees of
    /// freedom: the plain one is too narrow with few clusters
    SmallSample,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TimeFunction {
    /// The rank among the times of events; equal times have their mean rank
    Rank,
    /// One minus the Kaplan-Meier curve of all rows
    Km,
    /// The time itself
    Identity,
    /// The log of the time
    Log,
}
