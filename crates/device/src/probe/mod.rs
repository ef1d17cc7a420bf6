//! Probing of the machine, as a [`placement::Machine`]: memory and its limits, cores, NUMA nodes,
//! huge pages, GPUs, and the checkpoint's disk.
//!
//! Everything is read from files (`/proc`, `/sys`) and environment variables under [`Roots`], so
//! that tests can probe a fabricated machine. Rates are measured only on request, by
//! [`measure_disk`], [`measure_memory`] and [`measure_links`].

mod cgroup;
mod cpu;
mod devices;
mod error;
mod limits;
mod memory;
mod mount;
mod numa;
mod pcie;
mod rates;
mod roots;
mod slurm;
#[cfg(test)]
mod tests;

pub use devices::{DeviceSpec, measure_links};
pub use error::ProbeError;
pub use rates::{ReadRate, measure_disk, measure_memory};
pub use roots::Roots;

use std::path::Path;

use placement::{Host, Machine};

/// Probes the machine. `checkpoint` selects the disk: the checkpoint's folder, or preferably one of
/// its shards, which may be a link to another disk.
///
/// # Errors
/// [`ProbeError`] only if the memory size is unknown. Other unknown values are reported in notes.
pub fn probe(
    roots: &Roots,
    checkpoint: &Path,
    devices: &DeviceSpec,
) -> Result<Machine, ProbeError> {
    let mut notes = Vec::new();
    let memory = memory::read(roots)?;
    let cgroups = cgroup::Cgroups::find(roots);
    let mut limits = cgroup::memory_limits(roots, &cgroups, memory.total_bytes);
    limits.extend(limits::address_space(roots));
    limits.extend(slurm::memory(roots, &mut notes));
    let host = Host {
        total_bytes: memory.total_bytes,
        available_bytes: memory.available_bytes,
        limit_bytes: None,
        limits,
        cores: cpu::cores(roots, &cgroups),
        cpu_model: cpu::model(roots),
        cpu_flags: cpu::flags(roots),
        numa_nodes: numa::nodes(roots),
        huge_pages: memory::huge_pages(roots, &memory),
        read_bytes_per_s: None,
    };
    let disk = mount::disk(roots, checkpoint, &mut notes);
    let gpus = devices.gpus(roots, &mut notes);
    Ok(Machine { name: cpu::host_name(roots), gpus, host, disk, notes, described: false })
}
