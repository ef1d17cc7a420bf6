//! Memory limits and CPU quotas of the process's control groups (versions 1 and 2) and their
//! ancestors.

use std::path::{Path, PathBuf};

use placement::LimitFound;

use super::mount::{Mount, mounts};
use super::roots::{Roots, field};

/// Version 1 reports "no limit" as the largest multiple of the page size.
const UNLIMITED_V1: u64 = 1 << 62;

/// A control group: its folder and the root folder of its hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    folder: PathBuf,
    top: PathBuf,
}

impl Cgroup {
    /// The group and its visible ancestors.
    fn ancestors(&self) -> impl Iterator<Item = &Path> {
        self.folder.ancestors().take_while(|folder| folder.starts_with(&self.top))
    }
}

/// Control groups of the process.
#[derive(Debug, Clone, Default)]
pub(super) struct Cgroups {
    unified: Option<Cgroup>,
    memory: Option<Cgroup>,
    cpu: Option<Cgroup>,
}

impl Cgroups {
    pub fn find(roots: &Roots) -> Cgroups {
        let mounts = mounts(roots);
        let text = roots.proc("self/cgroup").unwrap_or_default();
        let mut groups = Cgroups::default();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let has = |name: &str| controllers.split(',').any(|controller| controller == name);
            if controllers.is_empty() {
                groups.unified = group(roots, &mounts, path, |mount| mount.kind == "cgroup2");
            }
            let of = |name: &'static str| {
                group(roots, &mounts, path, move |mount| {
                    mount.kind == "cgroup" && mount.has_option(name)
                })
            };
            if has("memory") {
                groups.memory = of("memory");
            }
            if has("cpu") {
                groups.cpu = of("cpu");
            }
        }
        groups
    }
}

/// Finds the folder of a control group. A mount shows the hierarchy from the mount's root, which in
/// a container is the group itself.
fn group(
    roots: &Roots,
    mounts: &[Mount],
    path: &str,
    is: impl Fn(&Mount) -> bool,
) -> Option<Cgroup> {
    let mount = mounts.iter().rfind(|mount| is(mount))?;
    let top = roots.resolve(&mount.point);
    let below = Path::new(path).strip_prefix(&mount.root).unwrap_or(Path::new(""));
    // Paths above the mount's root ("/..") or in another cgroup namespace are not visible.
    let visible = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let folder = top.join(below);
    let folder = if visible && folder.is_dir() { folder } else { top.clone() };
    Some(Cgroup { folder, top })
}

/// All memory limits that are lower than the host's memory.
pub(super) fn memory_limits(roots: &Roots, groups: &Cgroups, total_bytes: u64) -> Vec<LimitFound> {
    let unified = groups.unified.iter().flat_map(|group| limits_v2(roots, group));
    let old = groups.memory.iter().flat_map(|group| limits_v1(roots, group));
    unified.chain(old).filter(|limit| limit.bytes < total_bytes).collect()
}

fn limits_v2(roots: &Roots, group: &Cgroup) -> Vec<LimitFound> {
    let mut limits = Vec::new();
    for folder in group.ancestors() {
        // Above `high`, a group is throttled and its pages are reclaimed, so it counts as a limit.
        for name in ["memory.max", "memory.high"] {
            if let Some(bytes) = number(&folder.join(name)) {
                let cache = ["inactive_file", "active_file", "slab_reclaimable"];
                let used_bytes = used(folder, "memory.current", &cache);
                limits.push(LimitFound {
                    what: what(roots, name, folder, group),
                    bytes,
                    used_bytes,
                });
            }
        }
    }
    limits
}

fn limits_v1(roots: &Roots, group: &Cgroup) -> Vec<LimitFound> {
    let mut limits = Vec::new();
    let cache = ["total_inactive_file", "total_active_file"];
    for folder in group.ancestors() {
        let name = "memory.limit_in_bytes";
        if let Some(bytes) = number(&folder.join(name)).filter(|bytes| *bytes < UNLIMITED_V1) {
            let used_bytes = used(folder, "memory.usage_in_bytes", &cache);
            limits.push(LimitFound { what: what(roots, name, folder, group), bytes, used_bytes });
        }
    }
    // Ancestors that are not visible in a container limit its memory too.
    let stat = std::fs::read_to_string(group.folder.join("memory.stat")).unwrap_or_default();
    let least = limits.iter().map(|limit| limit.bytes).min();
    let hidden = field(&stat, "hierarchical_memory_limit").filter(|bytes| *bytes < UNLIMITED_V1);
    if let Some(bytes) = hidden.filter(|bytes| least.is_none_or(|least| *bytes < least)) {
        let used_bytes = used(&group.folder, "memory.usage_in_bytes", &cache);
        limits.push(LimitFound {
            what: "the memory limit of an ancestor cgroup".to_owned(),
            bytes,
            used_bytes,
        });
    }
    limits
}

/// Memory in use, without reclaimable file cache, in bytes.
fn used(folder: &Path, name: &str, cache: &[&str]) -> u64 {
    let current = number(&folder.join(name)).unwrap_or(0);
    let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let reclaimable: u64 = cache.iter().filter_map(|key| field(&stat, key)).sum();
    current.saturating_sub(reclaimable)
}

/// Description of a limit, such as `memory.max of /sys/fs/cgroup`.
fn what(roots: &Roots, name: &str, folder: &Path, group: &Cgroup) -> String {
    let below = folder.strip_prefix(&group.top).unwrap_or(folder);
    let top = group
        .top
        .strip_prefix(&roots.sys)
        .map_or_else(|_| group.top.clone(), |rest| Path::new("/sys").join(rest));
    format!("{name} of {}", top.join(below).display().to_string().trim_end_matches('/'))
}

/// The number in a file; `None` for the text `max`.
fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The lowest CPU quota of all groups in cores, if any.
pub(super) fn cpu_quota(groups: &Cgroups) -> Option<f64> {
    let unified = groups.unified.iter().flat_map(|group| group.ancestors().filter_map(quota_v2));
    let old = groups.cpu.iter().flat_map(|group| group.ancestors().filter_map(quota_v1));
    unified.chain(old).reduce(f64::min)
}

fn quota_v2(folder: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(folder.join("cpu.max")).ok()?;
    let mut words = text.split_whitespace();
    let (quota, period): (f64, f64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (period > 0.0).then_some(quota / period)
}

fn quota_v1(folder: &Path) -> Option<f64> {
    // A quota of -1, which does not parse as u64, means no quota.
    let (quota, period) =
        (number(&folder.join("cpu.cfs_quota_us"))?, number(&folder.join("cpu.cfs_period_us"))?);
    (period > 0).then_some(quota as f64 / period as f64)
}
