//! Tests of attention over sequences with a shared prefix.

use placement::KvDtype;

use super::*;
use crate::backend::{AttentionOptions, AttentionSequence};
use crate::cpu::attention::{KvLayer, KvShape};

/// Number of tokens of each sequence after the shared prefix, and how many of them are new.
const TAILS: [(usize, usize); 7] = [(1, 1), (9, 1), (40, 3), (16, 1), (130, 30), (70, 1), (2, 2)];

const BLOCK: usize = 16;

/// A cache with the keys and values of sequences that share their first blocks.
struct SharedPrefix {
    layer: KvLayer,
    shared_blocks: usize,
    /// Id of the copy of a shared block minus the id of the shared block.
    copy_offset: u32,
    tables: [Vec<u32>; 7],
}

impl SharedPrefix {
    fn new(random: &mut OperandRng, shape: KvShape, shared_blocks: usize) -> Self {
        let tail_blocks = TAILS.map(|(tail, _)| tail.div_ceil(BLOCK));
        let blocks = shared_blocks + tail_blocks.iter().sum::<usize>();
        let arena = Arena::new(KvLayer::bytes(&shape, blocks + shared_blocks)).unwrap();
        let layer = KvLayer::new(&arena, shape, blocks + shared_blocks).unwrap();
        let mut free = shared_blocks as u32..;
        let tables = tail_blocks
            .map(|blocks| (0..shared_blocks as u32).chain(free.by_ref().take(blocks)).collect());
        let mut prefix = Self { layer, shared_blocks, copy_offset: blocks as u32, tables };
        prefix.write(random, 0, 0, shared_blocks * BLOCK);
        for (s, (tail, _)) in TAILS.into_iter().enumerate() {
            prefix.write(random, s, shared_blocks * BLOCK, tail);
        }
        for block in 0..shared_blocks as u32 {
            prefix.layer.copy_block(block, prefix.copy_offset + block).unwrap();
        }
        prefix
    }

    /// Writes random keys and values of a sequence to `tokens` positions from `from`.
    fn write(&mut self, random: &mut OperandRng, sequence: usize, from: usize, tokens: usize) {
        let shape = *self.layer.shape();
        let k = random.normals(tokens * shape.kv_heads * shape.key_dim);
        let v = random.normals(tokens * shape.kv_heads * shape.value_dim);
        let blocks = &self.tables[sequence];
        let sequence = AttentionSequence { blocks, rows: 0..tokens, first_position: from };
        cpus()[0].write_kv(&mut self.layer, &[sequence], &k, &v).unwrap();
    }

    /// The new tokens of all sequences.
    fn sequences(&self) -> Vec<AttentionSequence<'_>> {
        let mut rows = 0;
        let mut sequences = Vec::new();
        for (blocks, (tail, new)) in self.tables.iter().zip(TAILS) {
            let first_position = self.shared_blocks * BLOCK + tail - new;
            sequences.push(AttentionSequence { blocks, rows: rows..rows + new, first_position });
            rows += new;
        }
        sequences
    }

    /// The block table of a sequence, with the shared blocks replaced by their copies.
    fn unshared(&self, table: &[u32]) -> Vec<u32> {
        let (shared, own) = table.split_at(self.shared_blocks);
        shared.iter().map(|block| block + self.copy_offset).chain(own.iter().copied()).collect()
    }
}

/// Tests that sequences with shared blocks have bit-identical results when they are computed
/// together, alone, and with copies of the shared blocks, and that a NaN in one sequence does not
/// affect the others.
#[test]
fn sequences_with_a_shared_prefix_are_bit_identical_to_each_alone() {
    for (dtype, kv_heads, group, shared_blocks, window) in [
        (KvDtype::Bf16, 2, 3, 5, None),
        (KvDtype::Bf16, 1, 8, 70, None),
        (KvDtype::F32, 1, 1, 6, Some(90)),
        (KvDtype::Int8, 3, 2, 66, Some(1050)),
    ] {
        let shape = KvShape {
            kv_heads,
            key_dim: 24,
            value_dim: 40,
            block_tokens: BLOCK,
            dtype,
            values_in_keys: false,
        };
        let mut random = OperandRng::new(6);
        let prefix = SharedPrefix::new(&mut random, shape, shared_blocks);
        let sequences = prefix.sequences();
        let rows = sequences.iter().map(|sequence| sequence.rows.len()).sum::<usize>();
        let heads = kv_heads * group;
        let (q_width, width) = (heads * shape.key_dim, heads * shape.value_dim);
        let mut q = random.normals(rows * q_width);
        q[2 * q_width] = f32::NAN; // the first new token of the third sequence
        let options = AttentionOptions { heads, scale: 0.2, window, sinks: None };
        for cpu in cpus() {
            let mut together = vec![0.0; rows * width];
            cpu.attention(&prefix.layer, &sequences, &options, &q, &mut together).unwrap();
            for (s, sequence) in sequences.iter().enumerate() {
                let range = sequence.rows.clone();
                let queries = &q[range.start * q_width..range.end * q_width];
                let expected = &together[range.start * width..range.end * width];
                let unshared = prefix.unshared(sequence.blocks);
                for (what, blocks) in
                    [("alone", sequence.blocks), ("with unshared blocks", &unshared)]
                {
                    let alone =
                        AttentionSequence { blocks, rows: 0..range.len(), ..sequence.clone() };
                    let mut out = vec![0.0; expected.len()];
                    cpu.attention(&prefix.layer, &[alone], &options, queries, &mut out).unwrap();
                    same_bits(expected, &out, what);
                }
                assert_eq!(expected.iter().any(|x| x.is_nan()), s == 2, "sequence {s}");
            }
        }
    }
}
