//! Rotary position embedding.

use std::time::Instant;

use checkpoint::Pairing;

use super::{AttentionMetadata, check_gpu, grid_over, to_i32};
use crate::DeviceError;
use crate::cpu::{RopeTable, expect};
use crate::cuda::args::RopeArgs;
use crate::cuda::{Buffer, Gpu, Kernel};

/// Cosines and sines by position, each `[positions, rotary_dim / 2]`, on a GPU.
pub struct GpuRopeTable {
    cos: Buffer<f32>,
    sin: Buffer<f32>,
    rotary_dim: usize,
    pairing: Pairing,
}

impl GpuRopeTable {
    /// Uploads the CPU's table.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or those of [`Buffer::new`] and [`Buffer::upload`].
    pub fn new(gpu: &Gpu, table: &RopeTable, deadline: Instant) -> Result<Self, DeviceError> {
        expect("rope: rotary_dim is even", table.rotary_dim / 2 * 2, table.rotary_dim)?;
        expect("rope: sines", table.cos.len(), table.sin.len())?;
        let upload = |values: &[f32]| -> Result<Buffer<f32>, DeviceError> {
            let mut buffer = Buffer::new(gpu, values.len())?;
            buffer.upload(0, values, deadline)?;
            Ok(buffer)
        };
        let (cos, sin) = (upload(table.cos)?, upload(table.sin)?);
        Ok(Self { cos, sin, rotary_dim: table.rotary_dim, pairing: table.pairing })
    }

    /// Bytes of GPU memory that the table occupies.
    pub fn bytes(&self) -> usize {
        self.cos.bytes() + self.sin.bytes()
    }
}

/// Rotates queries and keys, `[tokens, heads, head_dim]` each, in place, by the positions in
/// `metadata`.
///
/// # Errors
/// [`DeviceError::Shape`], [`DeviceError::Index`] for a position past the end of the table, or the
/// driver's error.
pub(in crate::cuda) fn rope(
    gpu: &Gpu,
    x: [&mut Buffer<f32>; 2],
    head_dim: usize,
    metadata: &AttentionMetadata,
    table: &GpuRopeTable,
) -> Result<(), DeviceError> {
    let (tokens, rotary_dim, half) = (metadata.tokens(), table.rotary_dim, table.rotary_dim / 2);
    expect("rope: rotary_dim is at most head_dim", rotary_dim.min(head_dim), rotary_dim)?;
    let heads = x.each_ref().map(|x| x.len() / tokens.max(1) / head_dim.max(1));
    for (x, heads) in x.iter().zip(heads) {
        expect("rope: x is [tokens, heads, head_dim]", tokens * heads * head_dim, x.len())?;
        check_gpu(gpu, x)?;
    }
    check_gpu(gpu, &table.cos)?;
    if half == 0 || tokens == 0 {
        return Ok(());
    }
    let len = table.cos.len() / half;
    if metadata.positions() > len {
        let index = metadata.positions() - 1;
        return Err(DeviceError::Index { what: "rope position", index, len });
    }
    let args = RopeArgs {
        x: x.each_ref().map(|x| x.address()),
        positions: metadata.positions_address(gpu)?,
        cos: table.cos.address(),
        sin: table.sin.address(),
        tokens: tokens as i64,
        heads: [to_i32("rope: heads", heads[0])?, to_i32("rope: heads", heads[1])?],
        head_dim: to_i32("rope: head_dim", head_dim)?,
        half: half as i32,
        interleaved: i32::from(table.pairing == Pairing::Interleaved),
        unused: 0,
    };
    let grid = grid_over(tokens * (heads[0] + heads[1]) * half);
    // SAFETY: x and the table have the lengths checked above; the metadata has a position for each
    // token, all within the table.
    Ok(unsafe { gpu.launch(Kernel::Rope, grid, &args) }?)
}
