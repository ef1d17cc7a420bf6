//! Helper threads.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::gate::PoolState;
use super::{IN_JOB, pin};

/// Starts helper `index`, pinned to `core` if given and permitted.
pub(super) fn spawn(
    state: Arc<PoolState>,
    index: usize,
    core: Option<usize>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(format!("kernel-{index}")).spawn(move || {
        if let Some(core) = core {
            // Errors are ignored: without pinning (which a container may forbid), the pool is only
            // slower.
            let _ = pin::this_thread(core);
        }
        IN_JOB.set(true);
        state.help(index);
    })
}
