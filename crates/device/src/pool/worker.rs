use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::gate::Shared;
use super::{IN_JOB, pin};

/// Starts helper `index`, pinned to `core` if one is given and the system agrees.
pub(super) fn spawn(
    shared: Arc<Shared>,
    index: usize,
    core: Option<usize>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(format!("kernel-{index}")).spawn(move || {
        if let Some(core) = core {
            // Refused pinning (a container, a core that went away) costs speed alone.
            let _ = pin::this_thread(core);
        }
        IN_JOB.set(true);
        shared.help(index);
    })
}
