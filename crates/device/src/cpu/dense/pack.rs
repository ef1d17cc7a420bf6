//! Rows copied to where vectors begin at cache lines, for products that read them many times.

use std::cell::RefCell;

use super::Block;
use crate::memory::Scratch;

/// Tokens from which on rows are copied first: each tile of tokens reads them again.
pub(super) const TOKENS_MIN: usize = 48;

/// Most bytes of a copy: it stays in the second-level cache.
const BYTES: usize = 640 << 10;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Rows come in multiples of a tile's.
const ROWS: usize = 4;

thread_local! {
    static ROOM: RefCell<Scratch<u8>> = const { RefCell::new(Scratch::new()) };
}

/// Calls `multiply` for a few rows of `block` at a time, copied. A file's tensors begin anywhere, and a tile's rows a power of two apart
/// would compete for the same sets of the first-level cache.
///
/// # Safety
/// As for `multiply`, whose rows have `row_bytes` bytes of weights.
pub(super) unsafe fn in_copies(block: &Block, row_bytes: usize, multiply: impl Fn(&Block)) {
    let stride = row_bytes.next_multiple_of(LINE) + LINE;
    let rows_max = (BYTES / stride / ROWS * ROWS).max(ROWS);
    ROOM.with_borrow_mut(|room| {
        for first in (0..block.rows).step_by(rows_max) {
            let rows = rows_max.min(block.rows - first);
            let room = room.resize(rows * stride);
            for (row, to) in room.chunks_exact_mut(stride).enumerate() {
                // SAFETY: the row is the block's, by the caller's promise, and `to` is longer than a row.
                unsafe {
                    let from = block.weights.add((first + row) * block.row_bytes);
                    std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), row_bytes);
                }
            }
            multiply(&Block {
                weights: room.as_ptr(),
                row_bytes: stride,
                rows,
                next: block.next.wrapping_add(first * block.row_bytes),
                bias: if block.bias.is_null() { block.bias } else { block.bias.wrapping_add(first) },
                out: block.out.wrapping_add(first),
                ..*block
            });
        }
    });
}
