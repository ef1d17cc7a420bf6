//! The choice of experts.
use std::cell::RefCell;

use super::super::logits::row_softmax;
use super::super::shared::SharedMut;
use super::super::{Cpu, expect};
use super::ExpertRoutes;
use crate::DeviceError;
use crate::backend::RouterOptions;

/// Added to the sum that weights are divided by, as in DeepSeek's code: below the rounding error of
/// every sum of probabilities.
const SUM_MIN: f32 = 1e-20;

impl Cpu {
    /// Chooses the experts of each row of `logits`, `[rows, experts]`. Experts with equal scores
    /// are chosen in ascending order.
    ///
    /// A row with a NaN or an infinity gets weights of NaN, which makes its results NaN and leaves
    /// those of other rows unchanged.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn route(
        &self,
        logits: &[f32],
        router: &RouterOptions,
        routes: &mut ExpertRoutes,
    ) -> Result<(), DeviceError> {
        let RouterOptions { experts, experts_per_token, .. } = *router;
        let per_row = experts_per_token.min(experts);
        expect("route: experts of a token", experts_per_token, per_row.max(1))?;
        let rows = logits.len() / experts.max(1);
        expect("route: logits are [rows, experts]", rows * experts, logits.len())?;
        (routes.rows, routes.per_row, routes.experts) = (rows, per_row, experts);
        routes.chosen.resize(rows * per_row, 0);
        routes.weights.resize(rows * per_row, 0.0);
        let chosen = SharedMut::new(&mut routes.chosen);
        let weights = SharedMut::new(&mut routes.weights);
        self.over_rows(rows, 8 * experts, &|range| {
            for row in range {
                // SAFETY: rows are disjoint, and each is computed by one thread.
                let (chosen, weights) = unsafe {
                    let range = row * per_row..(row + 1) * per_row;
                    (chosen.slice(range.clone()), weights.slice(range))
                };
                self.route_row(
                    &logits[row * experts..(row + 1) * experts],
                    router,
                    chosen,
                    weights,
                );
            }
        })?;
        routes.assign_slots();
        Ok(())
    }

    fn route_row(
        &self,
        logits: &[f32],
        router: &RouterOptions,
        chosen: &mut [u32],
        weights: &mut [f32],
    ) {
        if !logits.iter().all(|logit| logit.is_finite()) {
            weights.fill(f32::NAN);
            (0..).zip(chosen).for_each(|(expert, chosen)| *chosen = expert);
            return;
        }
        thread_local! {
            static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
        }
        let routing = &router.routing;
        SCORES.with_borrow_mut(|scores| {
            scores.clear();
            scores.extend_from_slice(logits);
            if !routing.softmax_after_choice {
                self.softmax_of(scores);
            }
            if let Some((groups, kept)) = routing.groups {
                exclude_groups(scores, groups, kept);
            }
            choose(scores, chosen, weights);
        });
        if routing.softmax_after_choice {
            self.softmax_of(weights);
        }
        if routing.normalize {
            let sum: f32 = weights.iter().sum::<f32>() + SUM_MIN;
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        if routing.scale != 1.0 {
            weights.iter_mut().for_each(|weight| *weight *= routing.scale as f32);
        }
    }

    /// `x = softmax(x)`.
    fn softmax_of(&self, x: &mut [f32]) {
        // SAFETY: `Cpu` checked at construction that the CPU supports this kernel set.
        unsafe { row_softmax(self.set, x) };
    }
}

/// Replaces the scores outside of the `kept` groups with the best experts by minus infinity.
fn exclude_groups(scores: &mut [f32], groups: usize, kept: usize) {
    let size = scores.len() / groups.max(1);
    let best = |group: &[f32]| group.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut group_scores: Vec<f32> = scores.chunks_exact(size.max(1)).map(best).collect();
    let (mut kept_groups, mut unused) = (vec![0; kept], vec![0.0; kept]);
    choose(&mut group_scores, &mut kept_groups, &mut unused);
    for (group, scores) in (0..).zip(scores.chunks_exact_mut(size.max(1))) {
        if !kept_groups.contains(&group) {
            scores.fill(f32::NEG_INFINITY);
        }
    }
}

/// The indices of the greatest scores and these scores, in descending order; equal scores in the
/// order of their indices. Replaces the chosen scores by minus infinity.
fn choose(scores: &mut [f32], chosen: &mut [u32], chosen_scores: &mut [f32]) {
    for (index, score) in chosen.iter_mut().zip(chosen_scores) {
        let mut best = 0;
        for (at, candidate) in scores.iter().enumerate() {
            if *candidate > scores[best] {
                best = at;
            }
        }
        (*index, *score) = (best as u32, scores[best]);
        scores[best] = f32::NEG_INFINITY;
    }
}
