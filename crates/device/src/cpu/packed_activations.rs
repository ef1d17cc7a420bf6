#![allow(unsafe_op_in_unsafe_fn)]

use super::activation_dtypes::ActivationDtype;
use super::dense::{self, Activations, CHUNK_BYTES, LANE_ORDER, Layout, Order, token_bytes};
use super::dispatch::kernel;
use super::quant::{BLOCK, CodeRows, CodeView};
use super::shared::SharedMut;
use super::simd::{LANES, Simd};
use super::{ActivationDtypes, Cpu, KernelSet, Precision, expect};
use crate::DeviceError;
use crate::memory::Scratch;

/// Activations, `[tokens, cols]`, in the forms that weights need: prepared once, multiplied several
/// times.
///
/// Keeps its buffers from one `prepare` to the next.
pub struct PackedActivations {
    forms: ActivationDtypes,
    tokens: usize,
    cols: usize,
    /// How the float forms lie, which have zeros after `cols` up to whole chunks.
    layout: Layout,
    f32: Scratch<u8>,
    /// Rounded; stored as f32 for kernel sets that have no bf16 instruction.
    bf16: Scratch<u8>,
    /// Of 8 or 16 bits: a precision has one of them.
    codes: CodeRows,
}

impl Default for PackedActivations {
    fn default() -> Self {
        Self::new()
    }
}

impl PackedActivations {
    /// No activations yet.
    pub fn new() -> Self {
        Self {
            forms: ActivationDtypes::new(Precision::F32),
            tokens: 0,
            cols: 0,
            layout: Layout::default(),
            f32: Scratch::new(),
            bf16: Scratch::new(),
            codes: CodeRows::default(),
        }
    }

    /// Takes `x`, [tokens, cols], in the given forms.
    ///
    /// # Errors
    /// [`DeviceError::Shape`]; the int8 and int16 forms need whole blocks of 32 columns.
    pub fn pack(
        &mut self,
        cpu: &Cpu,
        x: &[f32],
        tokens: usize,
        cols: usize,
        forms: ActivationDtypes,
    ) -> Result<(), DeviceError> {
        expect("inputs: x is [tokens, cols]", tokens * cols, x.len())?;
        (self.forms, self.tokens, self.cols) = (forms, tokens, cols);
        self.layout = dense::layout(cpu.set, tokens);
        let layout = self.layout;
        let lay_out = |form: ActivationDtype, room: &mut Scratch<u8>| {
            let (stored, token_bytes) = stored(cpu.set, form, cols);
            let out = SharedMut::new(room.resize(tokens * token_bytes));
            cpu.over_rows(layout.tiles(), cols * layout.widest(), &|tiles| {
                for tokens in tiles.map(|tile| layout.tile(tile)) {
                    // SAFETY: a tile's tokens lie together, and nobody else has them.
                    let to =
                        unsafe { out.slice(tokens.start * token_bytes..tokens.end * token_bytes) };
                    let x = Rows { x: &x[tokens.start * cols..tokens.end * cols], cols };
                    // SAFETY: the set was checked by Cpu; `to` has whole chunks of all tokens.
                    unsafe { lay(cpu.set, stored, layout.order(), x, to) };
                }
            })
        };
        if forms.f32 {
            lay_out(ActivationDtype::F32, &mut self.f32)?;
        }
        if forms.bf16 {
            lay_out(ActivationDtype::Bf16, &mut self.bf16)?;
        }
        if forms.int8 || forms.int16 {
            expect("inputs: columns of quantized weights", cols.next_multiple_of(BLOCK), cols)?;
            self.codes.fill(cpu, x, tokens, cols, forms.int16)?;
        }
        Ok(())
    }

    /// Tokens prepared.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Their features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The forms prepared.
    pub fn forms(&self) -> ActivationDtypes {
        self.forms
    }

    /// Bytes held for reuse.
    pub fn capacity_bytes(&self) -> usize {
        self.f32.capacity_bytes() + self.bf16.capacity_bytes() + self.codes.capacity_bytes()
    }

    pub(super) fn has(&self, form: ActivationDtype) -> bool {
        match form {
            ActivationDtype::F32 => self.forms.f32,
            ActivationDtype::Bf16 => self.forms.bf16,
            ActivationDtype::Int8 => self.forms.int8,
            ActivationDtype::Int16 => self.forms.int16,
        }
    }

    pub(super) fn float(&self, set: KernelSet, form: ActivationDtype) -> Activations {
        let room = if form == ActivationDtype::Bf16 { &self.bf16 } else { &self.f32 };
        Activations {
            start: room.as_ptr(),
            token_bytes: stored(set, form, self.cols).1,
            layout: self.layout,
        }
    }

    pub(super) fn codes(&self) -> CodeView<'_> {
        self.codes.view()
    }
}

/// How a float form is stored.
#[derive(Clone, Copy)]
enum Stored {
    F32,
    /// Rounded to bf16, as f32.
    Rounded,
    Bf16,
}

/// How a form is stored, and the bytes of a token of `cols` numbers.
fn stored(set: KernelSet, form: ActivationDtype, cols: usize) -> (Stored, usize) {
    match form {
        ActivationDtype::Bf16 if set == KernelSet::Avx512Bf16 => {
            (Stored::Bf16, token_bytes(cols, 2 * LANES))
        }
        ActivationDtype::Bf16 => (Stored::Rounded, token_bytes(cols, LANES)),
        ActivationDtype::F32 | ActivationDtype::Int8 | ActivationDtype::Int16 => {
            (Stored::F32, token_bytes(cols, LANES))
        }
    }
}

/// [tokens, cols]
#[derive(Clone, Copy)]
struct Rows<'a> {
    x: &'a [f32],
    cols: usize,
}

kernel! {
    /// Writes a tile.
    unsafe fn lay(stored: Stored, order: Order, rows: Rows<'_>, to: &mut [u8]) = lay_body
}

#[inline(always)]
unsafe fn lay_body<S: Simd>(stored: Stored, order: Order, rows: Rows, to: &mut [u8]) {
    let Some(tokens) = rows.x.len().checked_div(rows.cols) else { return };
    let chunks = to.len() / CHUNK_BYTES / tokens.max(1);
    let to = to.as_mut_ptr().cast::<f32>();
    for chunk in 0..chunks {
        if order == Order::Chunks {
            for token in 0..tokens {
                S::store(
                    to.add((chunk * tokens + token) * LANES),
                    numbers::<S>(stored, rows, token, chunk),
                );
            }
        } else {
            let mut all = [S::splat(0.0); LANES];
            for (token, of_token) in all.iter_mut().enumerate().take(tokens) {
                *of_token = numbers::<S>(stored, rows, token, chunk);
            }
            S::transpose(&mut all);
            for (lane, numbers) in all.into_iter().enumerate() {
                S::store_part(
                    to.add((LANE_ORDER[lane] * chunks + chunk) * tokens),
                    numbers,
                    tokens,
                );
            }
        }
    }
}

/// A token's chunk: 16 numbers of 4 bytes.
#[inline(always)]
unsafe fn numbers<S: Simd>(stored: Stored, rows: Rows, token: usize, chunk: usize) -> S::F {
    let some = |first: usize| {
        let at = first.min(rows.cols);
        S::load_part(rows.x.as_ptr().add(token * rows.cols + at), (rows.cols - at).min(LANES))
    };
    let mut halves = [0u16; 2 * LANES];
    match stored {
        Stored::F32 => some(chunk * LANES),
        Stored::Rounded => {
            S::store_bf16(halves.as_mut_ptr(), some(chunk * LANES));
            S::load_bf16(halves.as_ptr())
        }
        Stored::Bf16 => {
            S::store_bf16(halves.as_mut_ptr(), some(chunk * 2 * LANES));
            S::store_bf16(halves.as_mut_ptr().add(LANES), some((chunk * 2 + 1) * LANES));
            S::load(halves.as_ptr().cast())
        }
    }
}
