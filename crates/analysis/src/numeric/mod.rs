//! Numerical methods that several statistics share.

pub mod distribution;
pub mod exact_sum;
pub mod newton;
pub mod quantile;
pub mod spline;
