//! Tests and regressions beside survival models: paired tests, permutations, bootstraps, contingency
//! tables, corrections for several tests, dose-response curves.
//!
//! Conventions: a cluster is a world, the independent unit; cluster labels are any numbers, one a
//! row. A confidence level is a share such as .95. Results hold finite numbers only; what the data
//! do not determine is [`crate::AnalysisError::NotEstimable`], what they determine badly is a
//! [`Caution`] beside the result.
#![allow(unused_variables)]

mod bootstrap;
mod calibration;
mod clustering;
mod contingency;
mod dose_response;
mod holm;
mod icc;
mod interval;
mod linear;
mod paired;
mod permutation;
mod proportion;
mod scaling;
mod wild_bootstrap;

pub use bootstrap::{
    BootstrapEstimate, BootstrapOptions, Resample, cluster_bootstrap, cluster_bootstrap_many,
};
pub use calibration::{ForecastBins, ForecastCalibration, ReliabilityBin, forecast_calibration};
pub use clustering::{MedoidClustering, Taxonomy, k_medoids, taxonomy};
pub use contingency::{ContingencyMethod, ContingencyOptions, ContingencyTest, contingency_test};
pub use dose_response::{
    DosePoint, DoseResponse, DoseResponseOptions, ResponseKind, TippingPoint, dose_response,
};
pub use holm::{FamilyTest, HolmAdjusted, holm, holm_by_family};
pub use icc::{LatentIcc, VarianceComponents, icc_binary, icc_continuous};
pub use interval::{Caution, ConfidenceInterval};
pub use linear::{
    FirstStage, LinearFit, LogitFit, RegressionTerm, TwoStageFit, demean_within, logit, ols,
    two_stage_least_squares,
};
pub use paired::{
    HodgesLehmann, MeanDifference, SignTest, WilcoxonTest, Zeros, hodges_lehmann, mean_difference,
    sign_test, wilcoxon_signed_rank,
};
pub use permutation::{Alternative, PermutationOptions, PermutationTest, permutation_test};
pub use proportion::{
    ClusteredDifference, Proportion, ProportionDifference, clustered_difference,
    newcombe_difference, wilson,
};
pub use scaling::{CensoredTimes, LognormalFit, ScalingFit, censored_lognormal, scaling_law};
pub use wild_bootstrap::{
    ScoreBootstrap, WildBootstrap, WildOptions, WildWeights, score_wild_bootstrap,
    wild_cluster_bootstrap,
};
