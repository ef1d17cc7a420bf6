//! Available cores and CPU model.

use super::cgroup::{Cgroups, cpu_quota};
use super::roots::{Roots, list_len};

/// Cores of the affinity mask, limited by CPU quotas; at least one.
pub(super) fn cores(roots: &Roots, groups: &Cgroups) -> usize {
    let status = roots.proc("self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let online = || roots.sys("devices/system/cpu/online").map_or(1, |list| list_len(&list));
    let cores = allowed.map(list_len).filter(|cores| *cores > 0).unwrap_or_else(online);
    // Rounded down: a thread on a fraction of a core would be throttled.
    let quota = cpu_quota(groups).map_or(usize::MAX, |quota| quota.floor() as usize);
    cores.min(quota).max(1)
}

/// Model name of the CPU.
pub(super) fn model(roots: &Roots) -> String {
    line(roots, &["model name", "Model", "cpu model"]).unwrap_or_default()
}

/// CPU feature flags, sorted.
pub(super) fn flags(roots: &Roots) -> Vec<String> {
    let flags = line(roots, &["flags", "Features"]).unwrap_or_default();
    let mut flags: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
    flags.sort_unstable();
    flags
}

pub(super) fn host_name(roots: &Roots) -> String {
    roots.proc("sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

fn line(roots: &Roots, keys: &[&str]) -> Option<String> {
    let text = roots.proc("cpuinfo")?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        keys.contains(&key.trim()).then(|| value.trim().to_owned())
    })
}
