//! Log-probabilities of a given text under the model.

use error_kind::{ErrorKind, HasKind};
use serde::Serialize;

use crate::batch::{Batch, SequenceSpan};
use crate::kv::{BLOCK_TOKENS, BlockId, KvError, KvPool};
use crate::models::{ForwardError, ForwardScratch, Model};

/// Number of likeliest next tokens in [`TextScore::last_top`].
const TOP: usize = 5;

/// The log-probabilities of a text under the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextScore {
    /// Token ids of the text.
    pub tokens: Vec<u32>,
    /// Natural logarithm of each token's probability given the tokens before it; `None` for the
    /// first.
    pub logprobs: Vec<Option<f32>>,
    /// The likeliest tokens after the text with their log-probabilities, best first.
    pub last_top: Vec<(u32, f32)>,
}

/// An error of [`score`].
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    #[error("no tokens to score; give at least one")]
    Empty,
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(
        "the logits after token {position} are not finite; the weights hold NaN or infinity, or --dtype is too narrow"
    )]
    NotFinite { position: usize },
}

impl HasKind for ScoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            ScoreError::Empty => ErrorKind::Usage,
            ScoreError::Forward(error) => error.kind(),
            ScoreError::Kv(error) => error.kind(),
            ScoreError::NotFinite { .. } => ErrorKind::WrongResult,
        }
    }
}

/// Computes the log-probability of each of `tokens`, in chunks of at most the rows that `scratch`
/// allows. The blocks allocated from `kv` are released, also on an error.
///
/// # Errors
/// See [`ScoreError`].
pub fn score(
    model: &Model,
    kv: &mut KvPool,
    scratch: &mut ForwardScratch,
    tokens: &[u32],
) -> Result<TextScore, ScoreError> {
    if tokens.is_empty() {
        return Err(ScoreError::Empty);
    }
    let table = kv.alloc_many(tokens.len().div_ceil(BLOCK_TOKENS))?;
    let scored = score_with(model, kv, scratch, tokens, &table);
    for block in table {
        kv.release(block);
    }
    scored
}

fn score_with(
    model: &Model,
    kv: &mut KvPool,
    scratch: &mut ForwardScratch,
    tokens: &[u32],
    table: &[BlockId],
) -> Result<TextScore, ScoreError> {
    let mut logprobs = vec![None];
    let mut last_top = Vec::new();
    let chunk = scratch.rows_max().min(scratch.logits_rows_max());
    let rows: Vec<usize> = (0..chunk).collect();
    for first in (0..tokens.len()).step_by(chunk) {
        let part = &tokens[first..tokens.len().min(first + chunk)];
        let span = SequenceSpan { rows: 0..part.len(), first_position: first, block_table: table };
        let batch = Batch { tokens: part, sequences: &[span], logits_for: &rows[..part.len()] };
        let logits = model.forward(&batch, kv, scratch)?;
        for index in 0..logits.rows() {
            let (row, position) = (logits.row(index), first + index);
            if !logits.is_finite(index) {
                return Err(ScoreError::NotFinite { position });
            }
            let norm = log_sum_exp(row);
            match tokens.get(position + 1) {
                Some(&next) => logprobs.push(Some((f64::from(row[next as usize]) - norm) as f32)),
                None => last_top = top(row, norm),
            }
        }
    }
    Ok(TextScore { tokens: tokens.to_vec(), logprobs, last_top })
}

/// `ln(sum(e^x))` in f64. The maximum is subtracted first to avoid overflow.
pub(crate) fn log_sum_exp(row: &[f32]) -> f64 {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + row.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln()
}

/// The [`TOP`] likeliest tokens with their log-probabilities, ties in ascending order of ids.
/// `norm` is the [`log_sum_exp`] of `row`.
fn top(row: &[f32], norm: f64) -> Vec<(u32, f32)> {
    let mut ids: Vec<u32> = (0..row.len() as u32).collect();
    let order = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
    let count = TOP.min(ids.len());
    if count < ids.len() {
        ids.select_nth_unstable_by(count, order);
        ids.truncate(count);
    }
    ids.sort_unstable_by(order);
    ids.into_iter().map(|id| (id, (f64::from(row[id as usize]) - norm) as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_sum_exp_of_n_equal_values_adds_ln_n() {
        assert!((log_sum_exp(&[3.0; 8]) - (3.0 + 8f64.ln())).abs() < 1e-12);
        assert!((log_sum_exp(&[1000.0, 1000.0]) - (1000.0 + 2f64.ln())).abs() < 1e-9);
    }

    #[test]
    fn top_is_sorted_and_breaks_ties_by_smaller_id() {
        let row = [0.0, 5.0, 1.0, 5.0, -1.0, 2.0, 0.5];
        let ids: Vec<u32> = top(&row, 0.0).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [1, 3, 5, 2, 6]);
        assert_eq!(top(&[1.0, 2.0], 0.0).len(), 2);
    }
}
