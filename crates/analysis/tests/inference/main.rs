//! Tests of `analysis::inference`: known answers of other programs (made by the scripts in
//! `known_answers`), properties, degenerate inputs, and error rates of simulated data.

mod calibration;
mod degenerate;
mod known;
mod models;
mod paired;
mod permutation;
mod regression;
mod tables;
