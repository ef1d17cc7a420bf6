//! Activations packed for matrix multiplications.

#![allow(unsafe_op_in_unsafe_fn)]

use std::ops::Range;

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
///
/// The tokens are divided into groups, each of which is packed as if it were alone: one group, or
/// one for each expert of a mixture of experts.
pub struct PackedActivations {
    dtypes: ActivationDtypes,
    tokens: usize,
    cols: usize,
    groups: Vec<TokenGroup>,
    f32: Scratch<u8>,
    /// Rounded to bf16; stored as f32 for kernel sets without a bf16 dot product instruction.
    bf16: Scratch<u8>,
    /// Quantized to 8 or 16 bits, depending on the precision.
    codes: CodeRows,
}

/// Tokens that are multiplied with the same weights.
struct TokenGroup {
    tokens: Range<usize>,
    /// Layout of `f32` and `bf16`, which are zero-padded to whole chunks.
    layout: ActivationLayout,
}

/// Activations to pack.
#[derive(Clone, Copy)]
pub(super) struct PackSource<'a> {
    /// `[rows, cols]`
    pub x: &'a [f32],
    pub cols: usize,
    /// For each token the row of `x` that it is; `None`: token t is row t.
    pub rows: Option<&'a [u32]>,
}

impl PackSource<'_> {
    pub fn tokens(&self) -> usize {
        self.rows.map_or(self.x.len() / self.cols.max(1), <[u32]>::len)
    }

    /// First element of token `token`.
    #[inline(always)]
    pub fn start(&self, token: usize) -> usize {
        self.rows.map_or(token, |rows| rows[token] as usize) * self.cols
    }
}

/// One group of packed activations.
#[derive(Clone, Copy)]
pub(super) struct ActivationView<'a> {
    set: KernelSet,
    packed: &'a PackedActivations,
    group: &'a TokenGroup,
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
            groups: Vec::new(),
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
        let source = PackSource { x, cols, rows: None };
        self.pack_groups(cpu, source, std::iter::once(0..tokens), dtypes)
    }

    /// Packs groups of tokens. The groups are consecutive and contain all tokens of `source`.
    ///
    /// # Errors
    /// As [`Self::pack`]; [`DeviceError::Index`] for a row that `source` does not have.
    pub(super) fn pack_groups(
        &mut self,
        cpu: &Cpu,
        source: PackSource,
        groups: impl IntoIterator<Item = Range<usize>>,
        dtypes: ActivationDtypes,
    ) -> Result<(), DeviceError> {
        let (tokens, cols) = (groups_end(&mut self.groups, cpu.set, groups), source.cols);
        (self.dtypes, self.tokens, self.cols) = (dtypes, tokens, cols);
        let x_rows = source.x.len().checked_div(cols).unwrap_or(tokens);
        match source.rows {
            None => expect("pack: tokens", tokens, x_rows)?,
            Some(rows) => {
                expect("pack: tokens of the groups", tokens, rows.len())?;
                if let Some(&row) = rows.iter().find(|row| **row as usize >= x_rows) {
                    let (what, index) = ("row of activations", row as usize);
                    return Err(DeviceError::Index { what, index, len: x_rows });
                }
            }
        }
        if dtypes.int8 || dtypes.int16 {
            let whole = cols.next_multiple_of(BLOCK);
            expect("pack: columns are whole quantization blocks", whole, cols)?;
        }
        if dtypes.f32 {
            pack_floats(cpu, source, &self.groups, ActivationDtype::F32, &mut self.f32)?;
        }
        if dtypes.bf16 {
            pack_floats(cpu, source, &self.groups, ActivationDtype::Bf16, &mut self.bf16)?;
        }
        if dtypes.int8 || dtypes.int16 {
            self.codes.fill(cpu, source, dtypes.int16)?;
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

    /// All tokens, which must be packed as one group.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub(super) fn whole(&self, set: KernelSet) -> Result<ActivationView<'_>, DeviceError> {
        expect("linear: groups of tokens", 1, self.groups.len())?;
        Ok(ActivationView { set, packed: self, group: &self.groups[0] })
    }

    /// The groups of tokens.
    pub(super) fn groups(&self, set: KernelSet) -> impl Iterator<Item = ActivationView<'_>> {
        self.groups.iter().map(move |group| ActivationView { set, packed: self, group })
    }
}

/// Replaces `all` by the given groups and returns the number of tokens.
fn groups_end(
    all: &mut Vec<TokenGroup>,
    set: KernelSet,
    groups: impl IntoIterator<Item = Range<usize>>,
) -> usize {
    all.clear();
    let group = |tokens: Range<usize>| {
        let layout = dense::layout(set, tokens.len());
        TokenGroup { tokens, layout }
    };
    all.extend(groups.into_iter().map(group));
    all.last().map_or(0, |group| group.tokens.end)
}

/// Packs all groups as f32 or bf16.
fn pack_floats(
    cpu: &Cpu,
    source: PackSource,
    groups: &[TokenGroup],
    dtype: ActivationDtype,
    buffer: &mut Scratch<u8>,
) -> Result<(), DeviceError> {
    let (element, token_bytes) = packed_element(cpu.set, dtype, source.cols);
    let out = SharedMut::new(buffer.resize(source.tokens() * token_bytes));
    let tile = |group: &TokenGroup, tile| {
        let Range { start, end } = group.layout.tile(tile);
        let tokens = group.tokens.start + start..group.tokens.start + end;
        (group.layout.order(), tokens)
    };
    let tiles: Vec<(TileOrder, Range<usize>)> = groups
        .iter()
        .flat_map(|group| (0..group.layout.tiles()).map(move |index| tile(group, index)))
        .collect();
    let widest = groups.iter().map(|group| group.layout.widest()).max().unwrap_or(0);
    cpu.over_rows(tiles.len(), source.cols * widest, &|range| {
        for (order, tokens) in &tiles[range] {
            // SAFETY: the tokens of a tile are contiguous, and tiles are disjoint.
            let to = unsafe { out.slice(tokens.start * token_bytes..tokens.end * token_bytes) };
            let rows = TokenRows { source, tokens: tokens.clone() };
            // SAFETY: `Cpu` checked at construction that the CPU supports this kernel set; `to` has
            // space for whole chunks of all tokens of the tile; `pack_groups` checked the rows.
            unsafe { pack_tile(cpu.set, element, *order, &rows, to) };
        }
    })
}

impl<'a> ActivationView<'a> {
    pub fn tokens(&self) -> usize {
        self.group.tokens.len()
    }

    pub fn cols(&self) -> usize {
        self.packed.cols
    }

    pub fn dtypes(&self) -> ActivationDtypes {
        self.packed.dtypes
    }

    pub fn layout(&self) -> ActivationLayout {
        self.group.layout
    }

    pub fn float(&self, dtype: ActivationDtype) -> DenseActivations {
        let PackedActivations { f32, bf16, cols, .. } = self.packed;
        let buffer = if dtype == ActivationDtype::Bf16 { bf16 } else { f32 };
        let token_bytes = packed_element(self.set, dtype, *cols).1;
        DenseActivations {
            start: buffer.as_ptr().wrapping_add(self.group.tokens.start * token_bytes),
            token_bytes,
            layout: self.group.layout,
        }
    }

    pub fn codes(&self) -> CodeView<'a> {
        self.packed.codes.view(self.group.tokens.clone())
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

/// The tokens of a tile to pack.
struct TokenRows<'a> {
    source: PackSource<'a>,
    tokens: Range<usize>,
}

kernel! {
    /// Packs the tokens of one tile into `to`.
    unsafe fn pack_tile(element: PackedElement, order: TileOrder, rows: &TokenRows<'_>, to: &mut [u8]) = pack_tile_body
}

#[inline(always)]
unsafe fn pack_tile_body<S: Simd>(
    element: PackedElement,
    order: TileOrder,
    rows: &TokenRows,
    to: &mut [u8],
) {
    let tokens = rows.tokens.len();
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
    rows: &TokenRows,
    token: usize,
    chunk: usize,
) -> S::F {
    let PackSource { x, cols, .. } = rows.source;
    let start = rows.source.start(rows.tokens.start + token);
    let load = |first: usize| {
        let at = first.min(cols);
        S::load_part(x.as_ptr().add(start + at), (cols - at).min(LANES))
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
