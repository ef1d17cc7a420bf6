//! Memory limit of a Slurm job. The environment variables are in MiB; 0 means the whole node.

use placement::LimitFound;

use super::roots::Roots;

/// Memory limit of the job on this node, as requested for each node, CPU or GPU.
pub(super) fn memory(roots: &Roots, notes: &mut Vec<String>) -> Option<LimitFound> {
    let times = |each: Option<u64>, count: Option<u64>| each?.checked_mul(count?);
    let cpus =
        || count(roots, "SLURM_CPUS_ON_NODE").or_else(|| count(roots, "SLURM_CPUS_PER_TASK"));
    let gpus = || count(roots, "SLURM_GPUS_ON_NODE");
    let candidates = [
        ("SLURM_MEM_PER_NODE", size(roots, "SLURM_MEM_PER_NODE", notes)),
        ("SLURM_MEM_PER_CPU", times(size(roots, "SLURM_MEM_PER_CPU", notes), cpus())),
        ("SLURM_MEM_PER_GPU", times(size(roots, "SLURM_MEM_PER_GPU", notes), gpus())),
    ];
    let (name, bytes) = candidates.into_iter().find_map(|(name, bytes)| Some((name, bytes?)))?;
    let job = roots.variable("SLURM_JOB_ID").map_or_else(String::new, |id| format!(" of job {id}"));
    Some(LimitFound { what: format!("the Slurm allocation{job} ({name})"), bytes, used_bytes: 0 })
}

fn count(roots: &Roots, name: &str) -> Option<u64> {
    roots.variable(name)?.trim().parse().ok().filter(|count| *count > 0)
}

/// Bytes from a variable in MiB or with a unit letter (K, M, G or T).
fn size(roots: &Roots, name: &str, notes: &mut Vec<String>) -> Option<u64> {
    let text = roots.variable(name)?.trim();
    let (number, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        Some((at, 'T' | 't')) => (&text[..at], 40),
        _ => (text, 20),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    if bytes.is_none() {
        notes.push(format!("{name}={text} is not a size and is ignored"));
    }
    bytes.filter(|bytes| *bytes > 0)
}
