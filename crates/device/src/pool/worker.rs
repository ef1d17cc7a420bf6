//! Helper threads.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::IN_JOB;
use super::gate::PoolState;
use crate::numa::confine_this_thread;

/// Starts helper `index`, confined to `cores` if given and permitted.
pub(super) fn spawn(
    state: Arc<PoolState>,
    index: usize,
    cores: Option<&'static [usize]>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(format!("kernel-{index}")).spawn(move || {
        if let Some(cores) = cores {
            // Errors are ignored: where a container forbids it, the pool is only slower.
            let _ = confine_this_thread(cores);
        }
        IN_JOB.set(true);
        state.help(index);
    })
}
