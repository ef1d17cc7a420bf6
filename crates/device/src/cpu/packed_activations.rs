//! Activations packed for matrix multiplications.

#![allow(unsafe_op_in_unsafe_fn)]

use super::activation_dtypes::ActivationDtype;
use super::dense::{
    self, ActivationLayout, CHUNK_BYTES, DenseActivations, LANE_ORDER, TileOrder, token_bytes,
};
use super::dispatch::kernel;
use super::quant::{BLOCK, CodeRows, CodeView};
use super::shared::SharedMut;
use super::simd::{LANES, Simd};
use super::{ActivationDtypes, Cpu, KernelSet, expect};
use crate::DeviceError;
use crate::backend::Precision;
use crate::memory::Scratch;

/// Activations, `[tokens, cols]`, in the dtypes and layouts that kernels read: packed once and
/// multiplied with several weights. The buffers are reused by every call of [`Self::pack`].
pub struct PackedActivations {
    dtypes: ActivationDtypes,
    tokens: usize,
    cols: usize,
    /// Layout of `f32` and `bf16`, which are zero-padded to whole chunks.
    layout: ActivationLayout,
    f32: Scratch<u8>,
    /// Rounded to bf16; stored as f32 for kernel sets without a bf16 dot product instruction.
    bf16: Scratch<u8>,
    /// Quantized to 8 or 16 bits, depending on the precision.
    codes: CodeRows,
}

impl Default for PackedActivations {
    fn default() -> Self {
        Self::new()
    }
}

impl PackedActivations {
    /// No activations, and no memory allocated.
    pub fn new() -> Self {
        Self {
            dtypes: ActivationDtypes::new(Precision::F32),
            tokens: 0,
            cols: 0,
            layout: ActivationLayout::default(),
            f32: Scratch::new(),
            bf16: Scratch::new(),
            codes: CodeRows::default(),
        }
    }

    /// Packs `x`, [tokens, cols], in the given dtypes.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], also if `cols` is not a multiple of 32 and a dtype is quantized.
    pub fn pack(
        &mut self,
        cpu: &Cpu,
        x: &[f32],
        tokens: usize,
        cols: usize,
        dtypes: ActivationDtypes,
    ) -> Result<(), DeviceError> {
        expect("pack: x is [tokens, cols]", tokens * cols, x.len())?;
        (self.dtypes, self.tokens, self.cols) = (dtypes, tokens, cols);
        self.layout = dense::layout(cpu.set, tokens);
        let layout = self.layout;
        let pack_floats = |dtype: ActivationDtype, buffer: &mut Scratch<u8>| {
            let (element, token_bytes) = packed_element(cpu.set, dtype, cols);
            let out = SharedMut::new(buffer.resize(tokens * token_bytes));
            cpu.over_rows(layout.tiles(), cols * layout.widest(), &|tiles| {
                for tokens in tiles.map(|tile| layout.tile(tile)) {
                    // SAFETY: the tokens of a tile are contiguous, and tiles are disjoint.
                    let to =
                        unsafe { out.slice(tokens.start * token_bytes..tokens.end * token_bytes) };
                    let rows = TokenRows { x: &x[tokens.start * cols..tokens.end * cols], cols };
                    // SAFETY: `Cpu` checked at construction that the CPU supports this kernel set;
                    // `to` has space for whole chunks of all tokens of the tile.
                    unsafe { pack_tile(cpu.set, element, layout.order(), rows, to) };
                }
            })
        };
        if dtypes.f32 {
            pack_floats(ActivationDtype::F32, &mut self.f32)?;
        }
        if dtypes.bf16 {
            pack_floats(ActivationDtype::Bf16, &mut self.bf16)?;
        }
        if dtypes.int8 || dtypes.int16 {
            expect(
                "pack: columns are whole quantization blocks",
                cols.next_multiple_of(BLOCK),
                cols,
            )?;
            self.codes.fill(cpu, x, tokens, cols, dtypes.int16)?;
        }
        Ok(())
    }

    pub fn tokens(&self) -> usize {
        self.tokens
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The dtypes in which the activations are packed.
    pub fn dtypes(&self) -> ActivationDtypes {
        self.dtypes
    }

    /// Bytes of allocated memory.
    pub fn capacity_bytes(&self) -> usize {
        self.f32.capacity_bytes() + self.bf16.capacity_bytes() + self.codes.capacity_bytes()
    }

    pub(super) fn has(&self, dtype: ActivationDtype) -> bool {
        match dtype {
            ActivationDtype::F32 => self.dtypes.f32,
            ActivationDtype::Bf16 => self.dtypes.bf16,
            ActivationDtype::Int8 => self.dtypes.int8,
            ActivationDtype::Int16 => self.dtypes.int16,
        }
    }

    pub(super) fn float(&self, set: KernelSet, dtype: ActivationDtype) -> DenseActivations {
        let buffer = if dtype == ActivationDtype::Bf16 { &self.bf16 } else { &self.f32 };
        DenseActivations {
            start: buffer.as_ptr(),
            token_bytes: packed_element(set, dtype, self.cols).1,
            layout: self.layout,
        }
    }

    pub(super) fn codes(&self) -> CodeView<'_> {
        self.codes.view()
    }
}

/// Element of packed f32 or bf16 activations.
#[derive(Clone, Copy)]
enum PackedElement {
    F32,
    /// Rounded to bf16, stored as f32.
    Rounded,
    Bf16,
}

/// Packed element of an activation dtype, and the bytes of a packed token of `cols` elements.
fn packed_element(set: KernelSet, dtype: ActivationDtype, cols: usize) -> (PackedElement, usize) {
    match dtype {
        ActivationDtype::Bf16 if set == KernelSet::Avx512Bf16 => {
            (PackedElement::Bf16, token_bytes(cols, 2 * LANES))
        }
        ActivationDtype::Bf16 => (PackedElement::Rounded, token_bytes(cols, LANES)),
        ActivationDtype::F32 | ActivationDtype::Int8 | ActivationDtype::Int16 => {
            (PackedElement::F32, token_bytes(cols, LANES))
        }
    }
}

/// Activations to pack, [tokens, cols].
#[derive(Clone, Copy)]
struct TokenRows<'a> {
    x: &'a [f32],
    cols: usize,
}

kernel! {
    /// Packs the tokens of one tile into `to`.
    unsafe fn pack_tile(element: PackedElement, order: TileOrder, rows: TokenRows<'_>, to: &mut [u8]) = pack_tile_body
}

#[inline(always)]
unsafe fn pack_tile_body<S: Simd>(
    element: PackedElement,
    order: TileOrder,
    rows: TokenRows,
    to: &mut [u8],
) {
    let Some(tokens) = rows.x.len().checked_div(rows.cols) else { return };
    let chunks = to.len() / CHUNK_BYTES / tokens.max(1);
    let to = to.as_mut_ptr().cast::<f32>();
    for chunk in 0..chunks {
        if order == TileOrder::Chunks {
            for token in 0..tokens {
                S::store(
                    to.add((chunk * tokens + token) * LANES),
                    chunk_of::<S>(element, rows, token, chunk),
                );
            }
        } else {
            let mut all = [S::splat(0.0); LANES];
            for (token, chunk_of_token) in all.iter_mut().enumerate().take(tokens) {
                *chunk_of_token = chunk_of::<S>(element, rows, token, chunk);
            }
            S::transpose(&mut all);
            for (lane, values) in all.into_iter().enumerate() {
                S::store_part(to.add((LANE_ORDER[lane] * chunks + chunk) * tokens), values, tokens);
            }
        }
    }
}

/// Converts chunk `chunk` of token `token`: 16 words of 4 bytes, zero-padded.
#[inline(always)]
unsafe fn chunk_of<S: Simd>(
    element: PackedElement,
    rows: TokenRows,
    token: usize,
    chunk: usize,
) -> S::F {
    let load = |first: usize| {
        let at = first.min(rows.cols);
        S::load_part(rows.x.as_ptr().add(token * rows.cols + at), (rows.cols - at).min(LANES))
    };
    let mut halves = [0u16; 2 * LANES];
    match element {
        PackedElement::F32 => load(chunk * LANES),
        PackedElement::Rounded => {
            S::store_bf16(halves.as_mut_ptr(), load(chunk * LANES));
            S::load_bf16(halves.as_ptr())
        }
        PackedElement::Bf16 => {
            S::store_bf16(halves.as_mut_ptr(), load(chunk * 2 * LANES));
            S::store_bf16(halves.as_mut_ptr().add(LANES), load((chunk * 2 + 1) * LANES));
            S::load(halves.as_ptr().cast())
        }
    }
}
