//! The grammar masks of one step. Mask threads compute the masks during the forward pass; the
//! engine waits for them after the pass.

use std::time::{Duration, Instant};

use crate::grammar::{GrammarError, MaskPool, TokenMask};
use crate::scheduler::{SampleTarget, Scheduler, SequenceOutput};

/// Masks of one sample target.
pub(super) enum TargetMasks {
    /// The sequence has no grammar: all tokens are allowed.
    Unconstrained,
    /// A mask thread has the matcher and computes the masks.
    Pending,
    /// The mask after the sequence's last token, then the masks after the draft's segments, of
    /// which the last ones may be missing.
    Ready(Vec<TokenMask>),
    Failed(GrammarError),
}

/// Masks of a step, one entry for each sample target.
pub(super) struct StepMasks<'a> {
    pool: &'a mut MaskPool,
    seq_ids: Vec<u64>,
    masks: Vec<TargetMasks>,
}

impl<'a> StepMasks<'a> {
    /// Sends the matchers of the targets to the mask threads.
    pub fn start<O: SequenceOutput>(
        pool: &'a mut MaskPool,
        scheduler: &mut Scheduler<O>,
        targets: &mut [SampleTarget],
    ) -> Self {
        let mut start = |target: &mut SampleTarget| {
            let Some(matcher) = scheduler.take_matcher(target.seq_id) else {
                return TargetMasks::Unconstrained;
            };
            match pool.start(target.seq_id, matcher, target.draft.path.take()) {
                Ok(()) => TargetMasks::Pending,
                Err(cause) => TargetMasks::Failed(cause),
            }
        };
        let masks = targets.iter_mut().map(&mut start).collect();
        let seq_ids = targets.iter().map(|target| target.seq_id).collect();
        StepMasks { pool, seq_ids, masks }
    }

    /// Waits for the masks and returns the matchers to their sequences. Cancels computations that
    /// take longer than `timeout`.
    pub fn wait<O: SequenceOutput>(
        mut self,
        timeout: Duration,
        scheduler: &mut Scheduler<O>,
    ) -> Vec<TargetMasks> {
        let until = Instant::now() + timeout;
        while self.masks.iter().any(TargetMasks::is_pending) {
            let left = until.saturating_duration_since(Instant::now());
            let Some(result) = self.pool.next(left) else { break };
            // A result without a pending target is from an earlier step that timed out: its
            // sequence has ended.
            let index = self.seq_ids.iter().position(|&seq_id| seq_id == result.seq_id);
            let Some(masks) = index.map(|index| &mut self.masks[index]) else { continue };
            if masks.is_pending() {
                scheduler.return_matcher(result.seq_id, result.matcher);
                *masks = match result.masks {
                    Ok(masks) => TargetMasks::Ready(masks),
                    Err(cause) => TargetMasks::Failed(cause),
                };
            }
        }
        for (masks, &seq_id) in self.masks.iter_mut().zip(&self.seq_ids) {
            if masks.is_pending() {
                if let Some(cancellation) = scheduler.mask_cancellation(seq_id) {
                    cancellation.cancel();
                }
                *masks = TargetMasks::Failed(GrammarError::Slow { limit_s: timeout.as_secs() });
            }
        }
        self.masks
    }
}

impl TargetMasks {
    fn is_pending(&self) -> bool {
        matches!(self, TargetMasks::Pending)
    }
}
