//! Warnings beside a result.

use serde::Serialize;

/// Why a result is to be read with care, under a condition that the text names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FitWarning {
    /// A stable name: `separation`, `few_events`, `few_worlds`, `weak_instrument`.
    pub code: &'static str,
    pub text: String,
}

/// Events a coefficient below which a fit is warned about.
const EVENTS_PER_COEFFICIENT: usize = 10;
/// Below this number of clusters, cluster-robust errors are too small even with t(G - 1).
const CLUSTERS_MIN: usize = 20;

impl FitWarning {
    pub(crate) fn few_events(events: usize, coefficients: usize) -> Option<FitWarning> {
        let text = || {
            format!(
                "{events} events for {coefficients} coefficients; fewer than \
                 {EVENTS_PER_COEFFICIENT} a coefficient make estimates and intervals unreliable"
            )
        };
        (events < EVENTS_PER_COEFFICIENT * coefficients)
            .then(|| FitWarning { code: "few_events", text: text() })
    }

    pub(crate) fn few_clusters(clusters: usize) -> Option<FitWarning> {
        let text = || {
            format!(
                "{clusters} clusters; with fewer than {CLUSTERS_MIN} robust errors are unreliable"
            )
        };
        (clusters < CLUSTERS_MIN).then(|| FitWarning { code: "few_clusters", text: text() })
    }

    /// The warning for a number of clusters on which robust errors and bootstraps rely, if it is
    /// low.
    pub(crate) fn few_worlds(clusters: usize) -> Option<FitWarning> {
        (clusters < CLUSTERS_MIN).then(|| FitWarning {
            code: "few_worlds",
            text: format!(
                "{clusters} worlds: errors are uncertain below {CLUSTERS_MIN}; more worlds help, \
                 more runs of the same worlds do not"
            ),
        })
    }

    /// The warning for resamples that gave no statistic, if there are any.
    pub(crate) fn failed_resamples(failed: usize, replicates: usize) -> Option<FitWarning> {
        (failed > 0).then(|| FitWarning {
            code: "failed_resamples",
            text: format!(
                "{failed} of {replicates} resamples do not determine the statistic; the interval \
                 is that of the others"
            ),
        })
    }
}
