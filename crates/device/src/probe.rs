//! What this machine has: fills [`placement::Machine`] from `/proc`, `/sys` and the environment.

use placement::{Disk, Host, LimitFound, Machine};
use std::path::{Path, PathBuf};

/// Where the files are read from; tests give a folder of their own.
#[derive(Debug, Clone)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys/fs/cgroup`.
    pub cgroup: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into() }
    }
}

/// Looks at this machine, and at the disk that holds `path`.
pub fn probe(path: &Path) -> Machine {
    probe_at(&Roots::default(), path, &|name| std::env::var(name).ok())
}

/// The same with other roots and another environment.
pub fn probe_at(roots: &Roots, path: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Machine {
    let meminfo = std::fs::read_to_string(roots.proc.join("meminfo")).unwrap_or_default();
    let kib = |key: &str| {
        let line = meminfo.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).map(|kib| kib * 1024)
    };
    let mut limits = cgroup_limits(roots);
    limits.extend(slurm_limits(variable));
    let host = Host {
        total_bytes: kib("MemTotal").unwrap_or(0),
        available_bytes: kib("MemAvailable"),
        limits,
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        ..Host::default()
    };
    let notes = vec!["no CUDA driver is opened: GPU support is not built yet".to_owned()];
    Machine { host, disk: disk(roots, path), notes, ..Machine::default() }
}

/// Memory limits of this process's control groups, versions 1 and 2, and of all their ancestors.
fn cgroup_limits(roots: &Roots) -> Vec<LimitFound> {
    let groups = std::fs::read_to_string(roots.proc.join("self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, limit, usage, cache) = if controllers.is_empty() {
            (roots.cgroup.clone(), "memory.max", "memory.current", "inactive_file")
        } else if controllers.split(',').any(|c| c == "memory") {
            (roots.cgroup.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        } else {
            continue;
        };
        let group = Path::new(group.trim_start_matches('/'));
        for folder in group.ancestors().map(|g| root.join(g)) {
            let Some(bytes) = number(&folder.join(limit)) else { continue };
            // Version 1 writes "no limit" as a number near 2^63.
            if bytes >= 1 << 60 {
                continue;
            }
            let reclaimable = stat(&folder.join("memory.stat"), cache)
                + stat(&folder.join("memory.stat"), &cache.replace("inactive", "active"));
            let used_bytes = number(&folder.join(usage)).unwrap_or(0).saturating_sub(reclaimable);
            found.push(LimitFound { what: format!("cgroup {}", folder.join(limit).display()), bytes, used_bytes });
        }
    }
    found
}

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn stat(file: &Path, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|l| l.strip_prefix(key)?.trim().parse().ok()).unwrap_or(0)
}

/// What Slurm allots to a task on this node.
fn slurm_limits(variable: &dyn Fn(&str) -> Option<String>) -> Vec<LimitFound> {
    let mib = |name: &str| variable(name)?.trim().parse::<u64>().ok().map(|mib| mib << 20).filter(|b| *b > 0);
    let cpus = variable("SLURM_CPUS_ON_NODE").and_then(|n| n.parse::<u64>().ok()).unwrap_or(1);
    let per_node = mib("SLURM_MEM_PER_NODE").map(|bytes| ("SLURM_MEM_PER_NODE", bytes));
    let per_cpu = mib("SLURM_MEM_PER_CPU").map(|bytes| ("SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE", bytes * cpus));
    let found = per_node.into_iter().chain(per_cpu);
    found.map(|(what, bytes)| LimitFound { what: what.to_owned(), bytes, used_bytes: 0 }).collect()
}

const NETWORK: [&str; 10] = ["nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "ceph", "9p", "glusterfs"];

fn disk(roots: &Roots, path: &Path) -> Disk {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = std::fs::read_to_string(roots.proc.join("self/mounts")).unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut parts = line.split(' ').skip(1);
        Some((PathBuf::from(parts.next()?), parts.next()?.to_owned()))
    });
    let holding = mounts.filter(|(at, _)| path.starts_with(at)).max_by_key(|(at, _)| at.as_os_str().len());
    let file_system = holding.map(|(_, kind)| kind).unwrap_or_default();
    let network = NETWORK.contains(&file_system.as_str()) || file_system.starts_with("fuse");
    Disk { file_system, network, ..Disk::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_of_all_limits_counts() {
        let root = std::env::temp_dir().join(format!("vendomini-probe-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let file = root.join(file);
            std::fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
            std::fs::write(file, text).expect("a file");
        };
        write("proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable: 524288 kB\n");
        write("proc/self/cgroup", "0::/job/step\n");
        write("proc/self/mounts", "server:/x /data nfs4 rw 0 0\n/dev/vda / ext4 rw 0 0\n");
        write("cg/job/memory.max", "402653184\n");
        write("cg/job/memory.current", "209715200\n");
        write("cg/job/memory.stat", "inactive_file 104857600\nactive_file 0\n");
        write("cg/job/step/memory.max", "max\n");
        let roots = Roots { proc: root.join("proc"), cgroup: root.join("cg") };
        let machine =
            probe_at(&roots, Path::new("/data/model"), &|name| (name == "SLURM_MEM_PER_NODE").then(|| "300".into()));
        std::fs::remove_dir_all(&root).expect("clean up");
        let (available, by) = machine.host.really_available();
        assert_eq!(available, 402_653_184 - 104_857_600, "the file cache does not count: {by}");
        assert!(by.contains("job/memory.max"));
        assert!(machine.disk.network);
        assert_eq!(machine.host.limits.len(), 2);
    }
}
