//! Token embedding on the CPU.

use device::backend::{Backend, PassInput};
use device::cpu::{Cpu, HostBuffer, Matrix};

use super::ForwardError;
use crate::weights::DiskRows;

/// The embedding table, `[vocab, hidden]`.
pub(crate) enum Embedding {
    Resident(Matrix),
    /// The table stays in the checkpoint's files; each pass reads the rows of its tokens.
    OnDisk(DiskRows),
}

impl Embedding {
    /// `out[i, :] = table[tokens[i], :]`, `[rows, hidden]`.
    pub fn forward(
        &self,
        cpu: &Cpu,
        input: &PassInput,
        out: &mut HostBuffer,
    ) -> Result<(), ForwardError> {
        match self {
            Embedding::Resident(table) => Ok(Backend::embed(cpu, table, input, out)?),
            Embedding::OnDisk(rows) => {
                let table = rows.read(cpu, input.tokens).map_err(ForwardError::disk)?;
                let tokens: Vec<u32> = (0..input.tokens.len() as u32).collect();
                Ok(Backend::embed(cpu, &table, &PassInput { tokens: &tokens, ..*input }, out)?)
            }
        }
    }
}
