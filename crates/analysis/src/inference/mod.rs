//! Tests and regressions beside survival models: paired tests, permutations, bootstraps, contingency
//! tables, corrections for several tests, dose-response curves.
