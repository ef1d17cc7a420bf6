//! A toy model in integer arithmetic. It has its own KV cache, which it accesses through the block
//! tables of the engine's pool.

use std::time::Duration;

use device::DeviceError;
use device::cuda::CudaError;
use watch::Watch;

use crate::batch::{Batch, BatchLimits, Logits};
use crate::engine::{
    Completion, Engine, EngineOptions, FinishReason, Forward, ForwardLimits, Request,
};
use crate::kv::{BLOCK_TOKENS, KvLayout, KvPool};
use crate::models::ForwardError;
use crate::sampling::{SampleBuffers, SampleInput, SamplingParams, SeenTokens, sample};

pub const VOCAB: usize = 61;
/// A token after which the logits are NaN.
pub const POISON: u32 = 60;
/// A token whose forward pass fails.
pub const FAILURE: u32 = 59;
/// A token whose forward pass panics, on the engine's thread.
pub const PANIC: u32 = 58;
/// A token whose forward pass returns the error of a GPU that hangs.
pub const LOST: u32 = 56;
/// Tokens below this id cause no failure.
pub const SAFE: u32 = 56;
/// The token that ends a reply.
pub const EOS: u32 = 0;
/// A sequence that begins with this token is a Markov chain: each token's logits depend only on the
/// preceding token, so the sequence repeats itself.
pub const MARKOV: u32 = 57;
pub const WAIT: Duration = Duration::from_secs(120);

pub struct Toy {
    pub limits: ForwardLimits,
    /// `[block][position in the block]`: a hash of all tokens up to a position, in place of the
    /// position's keys and values.
    cells: Vec<[u64; BLOCK_TOKENS]>,
    logits: Vec<f32>,
    hidden: Vec<f32>,
    /// Duration of a forward pass.
    pub pass: Duration,
}

impl Toy {
    pub fn new(blocks: usize) -> Self {
        let limits =
            ForwardLimits { vocab: VOCAB, context: 400, rows_max: 512, logits_rows_max: 64 };
        Toy {
            limits,
            cells: vec![[0; BLOCK_TOKENS]; blocks],
            logits: Vec::new(),
            hidden: Vec::new(),
            pass: Duration::ZERO,
        }
    }

    /// Writes the cells of all rows. Returns, for each row in `logits_for`, a hash of the cells of
    /// all positions up to the row's.
    fn run(&mut self, batch: &Batch, kv: &KvPool) -> Result<Vec<u64>, ForwardError> {
        let ForwardLimits { vocab, context, rows_max, logits_rows_max } = self.limits;
        let limits =
            BatchLimits { vocab, positions: context, rows: rows_max, logits_rows: logits_rows_max };
        batch.check(&limits, kv.blocks(), |block| kv.references(block) > 0)?;
        std::thread::sleep(self.pass);
        assert!(!batch.tokens.contains(&PANIC), "the toy panics");
        if batch.tokens.contains(&FAILURE) {
            return Err(ForwardError::DiskTimeout {
                module: "the toy's block".to_owned(),
                limit_s: 1,
            });
        }
        if batch.tokens.contains(&LOST) {
            let hangs = CudaError::Timeout {
                ordinal: 3,
                doing: "the toy's pass",
                waited: Duration::from_secs(9),
            };
            return Err(DeviceError::Cuda(hangs).into());
        }
        let mut read = vec![0; batch.tokens.len()];
        for span in batch.sequences {
            let cell = |position: usize| {
                (span.block_table[position / BLOCK_TOKENS] as usize, position % BLOCK_TOKENS)
            };
            for (offset, row) in span.rows.clone().enumerate() {
                let position = span.first_position + offset;
                let (block, offset_in_block) = cell(position);
                assert_eq!(
                    kv.references(block as u32),
                    1,
                    "the shared block {block} is written to"
                );
                let previous = position
                    .checked_sub(1)
                    .map_or(START, |previous| self.cells[cell(previous).0][cell(previous).1]);
                self.cells[block][offset_in_block] = next_cell(previous, batch.tokens[row]);
                if batch.logits_for.contains(&row) {
                    read[row] = (0..=position).fold(11, |sum, position| {
                        read_cell(sum, self.cells[cell(position).0][cell(position).1])
                    });
                }
            }
        }
        Ok(batch
            .logits_for
            .iter()
            .map(|&row| if batch.tokens[row] == POISON { u64::MAX } else { read[row] })
            .collect())
    }
}

impl Forward for Toy {
    fn limits(&self) -> ForwardLimits {
        self.limits
    }

    fn forward(&mut self, batch: &Batch, kv: &mut KvPool) -> Result<Logits<'_>, ForwardError> {
        let read = self.run(batch, kv)?;
        self.logits = read.iter().flat_map(|&sum| logits_of(sum)).collect();
        Ok(Logits::new(&mut self.logits, VOCAB))
    }

    fn hidden(&mut self, batch: &Batch, kv: &mut KvPool) -> Result<&[f32], ForwardError> {
        let read = self.run(batch, kv)?;
        self.hidden = read
            .iter()
            .flat_map(|&sum| [(sum % 1000) as f32, (sum / 1000 % 1000) as f32])
            .collect();
        Ok(&self.hidden)
    }
}

fn mix(a: u64, b: u64) -> u64 {
    let mut x = (a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0xD1B5_4A32_D192_ED03);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The value used as the cell before the first position.
const START: u64 = 7;
/// Bit that marks the cells of a Markov chain.
const MARKOV_BIT: u64 = 1 << 63;

/// The cell of a token, given the cell of the preceding position.
fn next_cell(previous: u64, token: u32) -> u64 {
    if previous & MARKOV_BIT != 0 || (previous == START && token == MARKOV) {
        MARKOV_BIT | u64::from(token)
    } else {
        mix(previous, u64::from(token)) & !MARKOV_BIT
    }
}

/// Adds a cell to `sum`, the hash of the preceding cells.
fn read_cell(sum: u64, cell: u64) -> u64 {
    mix(if cell & MARKOV_BIT == 0 { sum } else { 0 }, cell)
}

fn logits_of(sum: u64) -> Vec<f32> {
    if sum == u64::MAX {
        return vec![f32::NAN; VOCAB];
    }
    let logit = |id: u64| {
        if id >= u64::from(SAFE) { -50.0 } else { (mix(sum, id) >> 40) as f32 / (1 << 22) as f32 }
    };
    (0..VOCAB as u64).map(logit).collect()
}

/// The hash from which the toy model computes its output at each token, computed without KV blocks
/// or an engine.
pub fn sums(tokens: &[u32]) -> Vec<u64> {
    let (mut cell, mut sum) = (START, 11);
    let mut all = Vec::new();
    for &token in tokens {
        cell = next_cell(cell, token);
        sum = read_cell(sum, cell);
        all.push(sum);
    }
    all
}

/// The only correct response to a request, computed without an engine.
pub fn expected(request: &Request) -> (Vec<u32>, FinishReason) {
    let (mut tokens, mut seen) = (request.prompt.clone(), SeenTokens::default());
    let (mut cell, mut sum, mut reply) = (START, 11, Vec::new());
    let mut done = 0;
    loop {
        for &token in &tokens[done..] {
            cell = next_cell(cell, token);
            sum = read_cell(sum, cell);
        }
        seen.extend(&tokens[done..]);
        done = tokens.len();
        let (sampling, position) = (&request.sampling, tokens.len());
        let input =
            SampleInput { sampling, allowed: None, seen: Some(&seen), position, logprob: false };
        let token = sample(&mut logits_of(sum), &input, &mut SampleBuffers::default())
            .expect("a token")
            .token;
        if token == EOS && !request.ignore_eos {
            return (reply, FinishReason::Eos);
        }
        if request.stop_tokens.contains(&token) {
            return (reply, FinishReason::Stop);
        }
        tokens.push(token);
        reply.push(token);
        if reply.len() == request.max_new_tokens {
            return (reply, FinishReason::Length);
        }
    }
}

pub fn pool(blocks: usize) -> KvPool {
    KvPool::new(
        KvLayout {
            layers: 1,
            kv_heads: 1,
            head_dim: 4,
            latent_dim: None,
            dtype: placement::KvDtype::F32,
        },
        blocks,
    )
    .expect("a small pool")
}

pub fn options() -> EngineOptions {
    EngineOptions { eos: vec![EOS], ..EngineOptions::new(Watch::silent()) }
}

pub fn engine(blocks: usize, options: EngineOptions) -> Engine {
    Engine::start(Toy::new(blocks), pool(blocks), options).expect("an engine")
}

pub fn check(request: &Request, completion: &Completion) {
    let (tokens, reason) = expected(request);
    assert_eq!(completion.reason, reason);
    assert_eq!(completion.reply.tokens, tokens);
    assert_eq!(completion.prompt_tokens, request.prompt.len());
}

/// Seeded random number generator.
pub struct TestRng(pub u64);

impl TestRng {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = mix(self.0, 1);
        (self.0 >> 33) as usize % limit
    }
}

/// Random requests: half of them share a prefix of 0 to 6 KV blocks, a third are Markov chains.
pub fn workload(seed: u64, count: usize) -> Vec<Request> {
    let mut numbers = TestRng(seed);
    let shared: Vec<u32> = (0..200).map(|_| 1 + numbers.below(SAFE as usize - 1) as u32).collect();
    (0..count).map(|_| random_request(&mut numbers, &shared)).collect()
}

fn random_request(numbers: &mut TestRng, shared: &[u32]) -> Request {
    let mut prompt = shared[..numbers.below(2) * numbers.below(shared.len())].to_vec();
    prompt.extend((0..1 + numbers.below(70)).map(|_| 1 + numbers.below(SAFE as usize - 1) as u32));
    if numbers.below(3) == 0 {
        prompt[0] = MARKOV;
    }
    let sampling = match numbers.below(3) {
        0 => SamplingParams::greedy(),
        1 => SamplingParams::at(1.0, numbers.0),
        _ => SamplingParams {
            top_k: Some(9),
            top_p: 0.9,
            min_p: 0.02,
            repetition_penalty: 1.3,
            ..SamplingParams::at(0.7, numbers.0)
        },
    };
    let mut request = Request::new(prompt, 1 + numbers.below(90));
    request.sampling = sampling;
    request.ignore_eos = numbers.below(2) == 0;
    request.stop_tokens =
        (0..numbers.below(2)).map(|_| 1 + numbers.below(SAFE as usize - 1) as u32).collect();
    request
}
