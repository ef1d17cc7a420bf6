//! Input ([`Batch`]) and output ([`Logits`]) of a forward pass.

use std::ops::Range;

use crate::kv::{BLOCK_TOKENS, BlockId};

/// The rows of a batch that belong to one sequence, at consecutive positions.
#[derive(Clone, Debug)]
pub struct SequenceSpan<'a> {
    /// Range of rows of [`Batch::tokens`], not empty.
    pub rows: Range<usize>,
    /// Position of the first row in its sequence; the KV pool already has the keys and values of
    /// all earlier positions.
    pub first_position: usize,
    /// KV blocks of the sequence: entry `i` holds the positions from `i * BLOCK_TOKENS` on. Long
    /// enough for the position of the last row.
    pub block_table: &'a [BlockId],
}

/// Tokens of any number of sequences, computed in one forward pass.
///
/// The spans in `sequences` cover `tokens` in order and without gaps, and no two spans write to the
/// same KV block.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// Token ids, grouped by span in the order of `sequences`.
    pub tokens: &'a [u32],
    pub sequences: &'a [SequenceSpan<'a>],
    /// Indices of the rows whose logits are computed; may be empty.
    pub logits_for: &'a [usize],
}

/// An invalid batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the batch holds no tokens; a forward pass needs at least one")]
    Empty,
    #[error(
        "row {row}: token {token} is outside the vocabulary of {vocab}; the tokenizer and the model do not belong together"
    )]
    Token { row: usize, token: u32, vocab: usize },
    #[error(
        "span {span}: rows {start}..{end} found, but it must start at row {expected} and end at most at row {rows}"
    )]
    Rows {
        /// Index of the span.
        span: usize,
        start: usize,
        end: usize,
        /// The row where the span must start.
        expected: usize,
        /// Rows in the batch.
        rows: usize,
    },
    #[error(
        "span {span}: position {position} found, but this load holds {positions} positions; shorten the text or raise --context"
    )]
    Position {
        span: usize,
        /// The last position of the span.
        position: usize,
        /// Length of the loaded context, in tokens.
        positions: usize,
    },
    #[error(
        "span {span}: a block table of {found} blocks, but positions up to {last} need {expected}"
    )]
    Table {
        span: usize,
        found: usize,
        expected: usize,
        /// The last position of the span.
        last: usize,
    },
    #[error(
        "span {span}: block {block} is not held (the pool has {blocks}); it was released too early"
    )]
    Block {
        span: usize,
        block: BlockId,
        /// Blocks in the pool.
        blocks: usize,
    },
    #[error("logits requested for row {row}, but the batch has {rows} rows")]
    LogitsRow { row: usize, rows: usize },
    #[error("{what}: {found} rows, but the scratch was made for {limit}; split the batch")]
    TooLarge {
        /// `tokens` or `logits`.
        what: &'static str,
        found: usize,
        limit: usize,
    },
}

/// The limits of a loaded model on a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    pub vocab: usize,
    pub positions: usize,
    pub rows: usize,
    pub logits_rows: usize,
}

impl Batch<'_> {
    /// Checks rows, token ids, positions and block tables. `held` returns whether a KV block has a
    /// reference; `blocks` is the number of blocks in the pool.
    pub(crate) fn check(
        &self,
        limits: &BatchLimits,
        blocks: usize,
        held: impl Fn(BlockId) -> bool,
    ) -> Result<(), BatchError> {
        self.check_sizes(limits)?;
        let mut expected = 0;
        for (span, sequence) in self.sequences.iter().enumerate() {
            self.check_rows(span, sequence, expected)?;
            check_positions(span, sequence, limits.positions)?;
            let unheld =
                sequence.block_table[..sequence.blocks()].iter().find(|&&block| !held(block));
            if let Some(&block) = unheld {
                return Err(BatchError::Block { span, block, blocks });
            }
            expected = sequence.rows.end;
        }
        if expected != self.tokens.len() {
            let rows = self.tokens.len();
            return Err(BatchError::Rows {
                span: self.sequences.len(),
                start: rows,
                end: rows,
                expected,
                rows,
            });
        }
        Ok(())
    }

    fn check_sizes(&self, limits: &BatchLimits) -> Result<(), BatchError> {
        let rows = self.tokens.len();
        if rows == 0 {
            return Err(BatchError::Empty);
        }
        if rows > limits.rows {
            return Err(BatchError::TooLarge { what: "tokens", found: rows, limit: limits.rows });
        }
        if self.logits_for.len() > limits.logits_rows {
            let (found, limit) = (self.logits_for.len(), limits.logits_rows);
            return Err(BatchError::TooLarge { what: "logits", found, limit });
        }
        let outside = self.tokens.iter().position(|&token| token as usize >= limits.vocab);
        if let Some(row) = outside {
            return Err(BatchError::Token { row, token: self.tokens[row], vocab: limits.vocab });
        }
        match self.logits_for.iter().find(|&&row| row >= rows) {
            Some(&row) => Err(BatchError::LogitsRow { row, rows }),
            None => Ok(()),
        }
    }

    fn check_rows(
        &self,
        span: usize,
        sequence: &SequenceSpan,
        expected: usize,
    ) -> Result<(), BatchError> {
        let Range { start, end } = sequence.rows;
        let rows = self.tokens.len();
        if start != expected || end <= start || end > rows {
            return Err(BatchError::Rows { span, start, end, expected, rows });
        }
        Ok(())
    }
}

impl SequenceSpan<'_> {
    /// The last position of the span.
    pub fn last_position(&self) -> usize {
        self.first_position + self.rows.len() - 1
    }

    /// Number of KV blocks for the positions up to the last one.
    pub fn blocks(&self) -> usize {
        self.last_position() / BLOCK_TOKENS + 1
    }
}

fn check_positions(
    span: usize,
    sequence: &SequenceSpan,
    positions: usize,
) -> Result<(), BatchError> {
    let fits = sequence
        .first_position
        .checked_add(sequence.rows.len())
        .is_some_and(|end| end <= positions);
    if !fits {
        let position = sequence.first_position.saturating_add(sequence.rows.len() - 1);
        return Err(BatchError::Position { span, position, positions });
    }
    let (found, expected) = (sequence.block_table.len(), sequence.blocks());
    if found < expected {
        return Err(BatchError::Table { span, found, expected, last: sequence.last_position() });
    }
    Ok(())
}

/// Logits of the rows [`Batch::logits_for`], `[rows, vocab]`, borrowed from the forward scratch
/// until the next pass. A sampler may modify them.
#[derive(Debug)]
pub struct Logits<'a> {
    values: &'a mut [f32],
    vocab: usize,
}

impl<'a> Logits<'a> {
    pub(crate) fn new(values: &'a mut [f32], vocab: usize) -> Self {
        debug_assert_eq!(values.len() % vocab, 0);
        Logits { values, vocab }
    }

    /// Number of rows: one for each entry of [`Batch::logits_for`], in the same order.
    pub fn rows(&self) -> usize {
        self.values.len() / self.vocab
    }

    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Logits of row `logits_for[index]`, `[vocab]`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.vocab..][..self.vocab]
    }

    /// [`Self::row`], mutable.
    pub fn row_mut(&mut self, index: usize) -> &mut [f32] {
        &mut self.values[index * self.vocab..][..self.vocab]
    }

    /// All rows, mutable.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.values.chunks_exact_mut(self.vocab)
    }

    /// Whether row `logits_for[index]` has no NaN and no infinity. Checked row by row, so that one
    /// bad row does not fail the other sequences of the batch.
    pub fn is_finite(&self, index: usize) -> bool {
        // `value * 0` is NaN for NaN and infinity, so the sum is zero if and only if all values are
        // finite. The loop vectorizes.
        self.row(index).iter().map(|value| value * 0.0).sum::<f32>() == 0.0
    }
}
