//! Numerical methods that several statistics share.

pub mod spline;
