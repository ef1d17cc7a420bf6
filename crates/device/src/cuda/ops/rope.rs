//! Rotary position embedding.

use std::time::Instant;

use checkpoint::Pairing;

use super::{AttentionMetadata, on, over, size};
use crate::DeviceError;
use crate::cpu::{RopeTable, expect};
use crate::cuda::args::RopeArgs;
use crate::cuda::{Buffer, Gpu, Kernel};

/// Cosines and sines by position, each [positions, rotary_dim / 2], on a GPU.
pub struct GpuRopeTable {
    cos: Buffer<f32>,
    sin: Buffer<f32>,
    rotary_dim: usize,
    pairing: Pairing,
}

impl GpuRopeTable {
    /// The CPU's table on `gpu`.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or those of [`Buffer::new`] and [`Buffer::upload`].
    pub fn new(gpu: &Gpu, table: &RopeTable, deadline: Instant) -> Result<Self, DeviceError> {
        expect("rope: rotary_dim is even", table.rotary_dim / 2 * 2, table.rotary_dim)?;
        expect("rope: sines", table.cos.len(), table.sin.len())?;
        let upload = |numbers: &[f32]| -> Result<Buffer<f32>, DeviceError> {
            let mut buffer = Buffer::new(gpu, numbers.len())?;
            buffer.upload(0, numbers, deadline)?;
            Ok(buffer)
        };
        let (cos, sin) = (upload(table.cos)?, upload(table.sin)?);
        Ok(Self { cos, sin, rotary_dim: table.rotary_dim, pairing: table.pairing })
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> usize {
        self.cos.bytes() + self.sin.bytes()
    }
}

impl Gpu {
    /// Rotates queries and keys, [tokens, heads, head_dim] each, in place; rows stand at the
    /// positions of the pass.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], [`DeviceError::Index`] for a position past the table, or the
    /// driver's error.
    pub fn rope(
        &self,
        x: [&mut Buffer<f32>; 2],
        head_dim: usize,
        pass: &AttentionMetadata,
        table: &GpuRopeTable,
    ) -> Result<(), DeviceError> {
        let (tokens, half) = (pass.tokens(), table.rotary_dim / 2);
        expect(
            "rope: rotary_dim within the head",
            table.rotary_dim.min(head_dim),
            table.rotary_dim,
        )?;
        let heads = x.each_ref().map(|x| x.len() / tokens.max(1) / head_dim.max(1));
        for (x, heads) in x.iter().zip(heads) {
            expect("rope: x is [tokens, heads, head_dim]", tokens * heads * head_dim, x.len())?;
            on(self, x)?;
        }
        on(self, &table.cos)?;
        if half == 0 || tokens == 0 {
            return Ok(());
        }
        let len = table.cos.len() / half;
        if pass.positions() > len {
            return Err(DeviceError::Index {
                what: "rope position",
                index: pass.positions() - 1,
                len,
            });
        }
        let args = RopeArgs {
            x: x.each_ref().map(|x| x.address()),
            positions: pass.position_numbers(self)?,
            cos: table.cos.address(),
            sin: table.sin.address(),
            tokens: tokens as i64,
            heads: [size("rope: heads", heads[0])?, size("rope: heads", heads[1])?],
            head_dim: size("rope: head_dim", head_dim)?,
            half: half as i32,
            interleaved: i32::from(table.pairing == Pairing::Interleaved),
            unused: 0,
        };
        // SAFETY: x and the table are as long as was checked; the pass has a position for each
        // token, all within the table.
        Ok(unsafe {
            self.launch(Kernel::Rope, over(tokens * (heads[0] + heads[1]) * half), &args)
        }?)
    }
}
