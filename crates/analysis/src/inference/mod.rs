//! Tests and regressions beside survival models: paired tests, permutations, bootstraps,
//! contingency tables, corrections for several tests, dose-response curves.
//!
//! Conventions: a cluster is a world, the independent unit; cluster labels are any numbers, one a
//! row. A confidence level is a share such as .95. Results hold finite numbers only; what the data
//! do not determine is [`crate::AnalysisError::NotEstimable`], what they determine badly is a
//! [`FitWarning`](crate::FitWarning) beside the result.

mod bootstrap;
mod calibration;
mod censored_lognormal;
mod clustering;
mod clusters;
mod contingency;
mod design;
mod dose_response;
mod draws;
mod exact_table;
mod holm;
mod icc;
mod interval;
mod latent_icc;
mod linear;
mod logit;
mod medoids;
mod paired;
mod permutation;
mod proportion;
mod random_intercept;
mod scaling;
mod score_bootstrap;
mod signed_ranks;
mod spline;
mod terms;
mod tipping;
mod two_stage;
mod wild_bootstrap;
mod wild_weights;

pub use bootstrap::{
    BootstrapEstimate, BootstrapOptions, Resample, cluster_bootstrap, cluster_bootstrap_many,
};
pub use calibration::{ForecastBins, ForecastCalibration, ReliabilityBin, forecast_calibration};
pub use censored_lognormal::{CensoredTimes, LognormalFit, censored_lognormal};
pub use clustering::{Taxonomy, taxonomy};
pub use contingency::{ContingencyTest, contingency_test};
pub use dose_response::{
    DosePoint, DoseResponse, DoseResponseOptions, TippingPoint, dose_response,
};
pub use exact_table::{ContingencyMethod, ContingencyOptions};
pub use holm::{FamilyTest, HolmAdjusted, holm, holm_by_family};
pub use icc::{VarianceComponents, icc_continuous};
pub use interval::ConfidenceInterval;
pub use latent_icc::{LatentIcc, icc_binary};
pub use linear::{LinearFit, demean_within, ols};
pub use logit::{LogitFit, logit};
pub use medoids::{MedoidClustering, k_medoids};
pub use paired::{
    HodgesLehmann, MeanDifference, SignTest, WilcoxonTest, hodges_lehmann, mean_difference,
    sign_test, wilcoxon_signed_rank,
};
pub use permutation::{Alternative, PermutationOptions, PermutationTest, permutation_test};
pub use proportion::{
    ClusteredDifference, Proportion, ProportionDifference, clustered_difference,
    newcombe_difference, wilson,
};
pub use scaling::{ScalingFit, scaling_law};
pub use score_bootstrap::{ScoreBootstrap, score_wild_bootstrap};
pub use signed_ranks::Zeros;
pub use terms::RegressionTerm;
pub use tipping::ResponseKind;
pub use two_stage::{FirstStage, TwoStageFit, two_stage_least_squares};
pub use wild_bootstrap::{WildBootstrap, WildOptions, wild_cluster_bootstrap};
pub use wild_weights::WildWeights;
