//! Tests of probing, on a fabricated machine.

use error_kind::{ErrorKind, HasKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use placement::{LimitFound, Pcie, Tier};
use tempfile::TempDir;

use super::*;
use crate::cuda::{CudaError, GpuInfo};

/// A fabricated machine: its `/proc` and `/sys`.
struct FakeMachine {
    folder: TempDir,
    roots: Roots,
}

impl FakeMachine {
    fn new() -> FakeMachine {
        let folder = tempfile::tempdir().expect("a folder");
        let (proc, sys) = (folder.path().join("proc"), folder.path().join("sys"));
        let fake = FakeMachine { roots: Roots { proc, sys, environment: BTreeMap::new() }, folder };
        fake.put("proc/meminfo", "MemTotal:       32768000 kB\nMemFree: 1 kB\nMemAvailable:   24576000 kB\nHugePages_Free:        3\nHugepagesize:       2048 kB\n");
        fake.put(
            "proc/self/status",
            "Name:\tx\nVmSize:\t  2048 kB\nVmData:\t 1024 kB\nCpus_allowed_list:\t0-3,8\n",
        );
        fake.put(
            "proc/cpuinfo",
            "processor : 0\nmodel name\t: Fake 9000\nflags\t\t: fpu avx2 avx512f\n",
        );
        fake.put("proc/sys/kernel/hostname", "node17\n");
        fake.put("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
        fake
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn set(&mut self, name: &str, value: &str) {
        self.roots.environment.insert(name.to_owned(), value.to_owned());
    }

    fn mounts(&self, lines: &[&str]) {
        self.put("proc/self/mountinfo", &lines.join("\n"));
    }

    fn probe(&self) -> placement::Machine {
        probe(&self.roots, self.folder.path(), &DeviceSpec::None).expect("a machine")
    }

    fn limits(&self) -> Vec<LimitFound> {
        self.probe().host.limits
    }
}

fn limit(what: &str, bytes: u64, used_bytes: u64) -> LimitFound {
    LimitFound { what: what.to_owned(), bytes, used_bytes }
}

const V2: &str = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
const V1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";

#[test]
fn a_host_without_limits() {
    let machine = FakeMachine::new().probe();
    assert_eq!(machine.name, "node17");
    assert_eq!(machine.host.total_bytes, 32_768_000 * 1024);
    assert_eq!(machine.host.available_bytes, Some(24_576_000 * 1024));
    assert_eq!(machine.host.cores, 5);
    assert_eq!(machine.host.cpu_model, "Fake 9000");
    assert_eq!(machine.host.cpu_flags, ["avx2", "avx512f", "fpu"]);
    assert_eq!(machine.host.huge_pages.transparent, "madvise");
    assert_eq!(
        (machine.host.huge_pages.reserved_free, machine.host.huge_pages.page_bytes),
        (3, 2 << 20)
    );
    assert_eq!(machine.host.limits, []);
    assert_eq!(machine.host.really_available(), (24_576_000 * 1024, "available memory".to_owned()));
}

#[test]
fn an_unknown_memory_size_is_an_error() {
    let fake = FakeMachine::new();
    std::fs::remove_file(fake.roots.proc.join("meminfo")).expect("gone");
    let error = probe(&fake.roots, fake.folder.path(), &DeviceSpec::None).expect_err("no memory");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains("MemTotal") && error.to_string().contains("--machine"),
        "{error}"
    );
}

#[test]
fn cgroup_v2_limits_include_ancestors_and_exclude_file_cache() {
    let fake = FakeMachine::new();
    fake.mounts(&[V2]);
    fake.put("proc/self/cgroup", "0::/slurm/job_7/step_0\n");
    fake.put("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n");
    fake.put("sys/fs/cgroup/slurm/job_7/memory.max", "17179869184\n");
    fake.put("sys/fs/cgroup/slurm/job_7/memory.current", "5000000000\n");
    fake.put(
        "sys/fs/cgroup/slurm/job_7/memory.stat",
        "anon 1\ninactive_file 2000000000\nactive_file 1000000000\nslab_reclaimable 500\n",
    );
    fake.put("sys/fs/cgroup/slurm/memory.high", "8589934592\n");
    let expected = [
        limit("memory.max of /sys/fs/cgroup/slurm/job_7", 17_179_869_184, 1_999_999_500),
        limit("memory.high of /sys/fs/cgroup/slurm", 8_589_934_592, 0),
    ];
    assert_eq!(fake.limits(), expected);
    let (bytes, name) = fake.probe().host.really_available();
    assert_eq!((bytes, name.as_str()), (8_589_934_592, "memory.high of /sys/fs/cgroup/slurm"));
}

#[test]
fn cgroup_v1_limits_include_hidden_ancestors() {
    let fake = FakeMachine::new();
    fake.mounts(&[V1]);
    fake.put("proc/self/cgroup", "4:memory:/jobs/a\n1:cpu:/\n0::/\n");
    fake.put("sys/fs/cgroup/memory/jobs/a/memory.limit_in_bytes", "9223372036854771712\n");
    fake.put("sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "10000000000\n");
    fake.put("sys/fs/cgroup/memory/jobs/memory.usage_in_bytes", "4000000000\n");
    fake.put(
        "sys/fs/cgroup/memory/jobs/memory.stat",
        "total_inactive_file 1000000000\ntotal_active_file 500000000\n",
    );
    fake.put("sys/fs/cgroup/memory/jobs/a/memory.stat", "hierarchical_memory_limit 6000000000\n");
    fake.put("sys/fs/cgroup/memory/jobs/a/memory.usage_in_bytes", "1000000000\n");
    let expected = [
        limit("memory.limit_in_bytes of /sys/fs/cgroup/memory/jobs", 10_000_000_000, 2_500_000_000),
        limit("the memory limit of an ancestor cgroup", 6_000_000_000, 1_000_000_000),
    ];
    assert_eq!(fake.limits(), expected);
}

#[test]
fn in_a_container_the_mount_starts_at_the_group() {
    let fake = FakeMachine::new();
    fake.mounts(&["35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory"]);
    fake.put("proc/self/cgroup", "4:memory:/docker/abc\n");
    fake.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000000\n");
    assert_eq!(
        fake.limits(),
        [limit("memory.limit_in_bytes of /sys/fs/cgroup/memory", 1_000_000_000, 0)]
    );
    // A cgroup path in another namespace is not visible, but its mount is.
    fake.put("proc/self/cgroup", "4:memory:/../../elsewhere\n");
    assert_eq!(fake.limits().len(), 1);
}

#[test]
fn limits_above_the_hosts_memory_are_ignored() {
    let fake = FakeMachine::new();
    fake.mounts(&[V2]);
    fake.put("proc/self/cgroup", "0::/\n");
    fake.put("sys/fs/cgroup/memory.max", "99999999999999\n");
    assert_eq!(fake.limits(), []);
}

#[test]
fn rlimits_are_reported_with_their_use() {
    let fake = FakeMachine::new();
    fake.put(
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n\
         Max data size             unlimited            unlimited            bytes     \n\
         Max address space         4294967296           unlimited            bytes     \n",
    );
    assert_eq!(fake.limits(), [limit("the limit on address space (ulimit -v)", 4 << 30, 2 << 20)]);
}

#[test]
fn slurm_limits_are_in_mib() {
    let mut fake = FakeMachine::new();
    fake.set("SLURM_JOB_ID", "42");
    fake.set("SLURM_MEM_PER_NODE", "16384");
    assert_eq!(
        fake.limits(),
        [limit("the Slurm allocation of job 42 (SLURM_MEM_PER_NODE)", 16 << 30, 0)]
    );
    fake.set("SLURM_MEM_PER_NODE", "0");
    assert_eq!(fake.limits(), []);
    fake.set("SLURM_MEM_PER_CPU", "2G");
    fake.set("SLURM_CPUS_ON_NODE", "8");
    assert_eq!(
        fake.limits(),
        [limit("the Slurm allocation of job 42 (SLURM_MEM_PER_CPU)", 16 << 30, 0)]
    );
    fake.set("SLURM_MEM_PER_NODE", "lots");
    fake.set("SLURM_CPUS_ON_NODE", "");
    let machine = fake.probe();
    assert_eq!(machine.host.limits, []);
    assert!(
        machine.notes.iter().any(|note| note.contains("SLURM_MEM_PER_NODE=lots")),
        "{:?}",
        machine.notes
    );
}

#[test]
fn cpu_quotas_limit_the_cores() {
    let fake = FakeMachine::new();
    fake.mounts(&[V2, "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"]);
    fake.put("proc/self/cgroup", "1:cpu:/a\n0::/b\n");
    fake.put("sys/fs/cgroup/b/cpu.max", "max 100000\n");
    assert_eq!(fake.probe().host.cores, 5);
    fake.put("sys/fs/cgroup/b/cpu.max", "350000 100000\n");
    assert_eq!(fake.probe().host.cores, 3);
    fake.put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
    fake.put("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
    assert_eq!(fake.probe().host.cores, 3);
    fake.put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "50000\n");
    assert_eq!(fake.probe().host.cores, 1);
}

#[test]
fn numa_nodes_are_sorted() {
    let fake = FakeMachine::new();
    for (node, total, cpus) in [(10, 1000, "4-7"), (2, 2000, "0-3")] {
        fake.put(
            &format!("sys/devices/system/node/node{node}/meminfo"),
            &format!("Node {node} MemTotal: {total} kB\nNode {node} MemFree: 1 kB\n"),
        );
        fake.put(&format!("sys/devices/system/node/node{node}/cpulist"), cpus);
    }
    fake.put("sys/devices/system/node/possible", "0-10");
    let nodes = fake.probe().host.numa_nodes;
    let found: Vec<(usize, u64, usize)> =
        nodes.iter().map(|node| (node.node, node.total_bytes, node.cores)).collect();
    assert_eq!(found, [(2, 2000 * 1024, 4), (10, 1000 * 1024, 4)]);
}

#[test]
fn the_checkpoints_own_mount_is_found_through_links() {
    let fake = FakeMachine::new();
    let real = std::fs::canonicalize(fake.folder.path()).expect("a path");
    let blobs = real.join("lustre blobs");
    std::fs::create_dir(&blobs).expect("made");
    std::fs::write(blobs.join("blob"), "x").expect("written");
    std::os::unix::fs::symlink(blobs.join("blob"), real.join("model.safetensors")).expect("linked");
    let escaped = blobs.display().to_string().replace(' ', "\\040");
    fake.mounts(&[
        "1 0 8:1 / / rw - ext4 /dev/sda rw",
        &format!("2 1 0:5 / {escaped} rw - xfs /dev/sdb rw"),
        &format!("3 1 0:6 / {escaped} rw - lustre mds:/fs rw"),
    ]);
    let disk_of =
        |path: PathBuf| probe(&fake.roots, &path, &DeviceSpec::None).expect("a machine").disk;
    let disk = disk_of(real.join("model.safetensors"));
    assert_eq!(
        (disk.file_system.as_str(), disk.network, disk.mount.as_str()),
        ("lustre", true, blobs.to_str().expect("text"))
    );
    assert!(disk.free_bytes.is_some_and(|bytes| bytes > 0));
    let disk = disk_of(real.join("proc"));
    assert_eq!((disk.file_system.as_str(), disk.network), ("ext4", false));
    let machine =
        probe(&fake.roots, Path::new("/nowhere/at/all"), &DeviceSpec::None).expect("a machine");
    assert!(
        machine.notes.iter().any(|note| note.contains("/nowhere/at/all"))
            && machine.disk.free_bytes.is_none()
    );
}

#[test]
fn network_file_systems_are_recognized() {
    for (kind, network) in [
        ("nfs4", true),
        ("gpfs", true),
        ("beegfs_nodev", true),
        ("fuse.sshfs", true),
        ("fuseblk", true),
        ("ext4", false),
        ("xfs", false),
        ("tmpfs", false),
        ("overlay", false),
        ("btrfs", false),
        ("zfs", false),
    ] {
        let fake = FakeMachine::new();
        fake.mounts(&[&format!("1 0 8:1 / / rw - {kind} source rw")]);
        assert_eq!(fake.probe().disk.network, network, "{kind}");
    }
}

#[test]
fn virtual_devices_are_parsed() {
    let spec = DeviceSpec::parse("virtual:4GiB,512MiB").expect("two devices");
    let fake = FakeMachine::new();
    let machine = probe(&fake.roots, fake.folder.path(), &spec).expect("a machine");
    let sizes: Vec<(u64, bool)> =
        machine.gpus.iter().map(|gpu| (gpu.total_bytes, gpu.is_virtual)).collect();
    assert_eq!(sizes, [(4 << 30, true), (512 << 20, true)]);
    assert_eq!(
        (machine.gpus[0].name.as_str(), machine.gpus[1].name.as_str()),
        ("virtual:0", "virtual:1")
    );
    assert_eq!((DeviceSpec::Found.given(), DeviceSpec::None.given()), (None, Some(Vec::new())));
    for text in ["virtual:", "virtual:4Gb", "cuda:0", "virtual:0", "virtual:1GiB,,1GiB", ""] {
        let error = DeviceSpec::parse(text).expect_err(text);
        assert!(
            error.kind() == ErrorKind::Usage && error.to_string().contains("virtual:4GiB,4GiB"),
            "{error}"
        );
    }
}

fn gpu(ordinal: usize) -> GpuInfo {
    GpuInfo {
        ordinal,
        name: "NVIDIA A100-SXM4-80GB".to_owned(),
        uuid: format!("GPU-{ordinal}"),
        total_bytes: 80 << 30,
        free_bytes: Some(79 << 30),
        compute: (8, 0),
        multiprocessors: 108,
        shared_bytes_max: 163 << 10,
        pci_bus_id: format!("0000:1{ordinal}:00.0"),
        peers: vec![1 - ordinal],
        unusable: None,
    }
}

#[test]
fn gpus_are_listed_with_their_pcie_links() {
    let fake = FakeMachine::new();
    for (file, text) in [
        ("max_link_speed", "16.0 GT/s PCIe\n"),
        ("current_link_width", "16\n"),
        ("numa_node", "-1\n"),
    ] {
        fake.put(&format!("sys/bus/pci/devices/0000:10:00.0/{file}"), text);
    }
    let mut notes = Vec::new();
    let gpus = devices::found(&fake.roots, Ok(vec![gpu(0), gpu(1)]), &mut notes);
    assert_eq!((gpus.len(), &notes), (2, &vec![]));
    let first = &gpus[0];
    assert_eq!((first.total_bytes, first.free(), first.ordinal), (80 << 30, 79 << 30, Some(0)));
    assert_eq!(
        (first.compute.as_str(), first.uuid.as_str(), first.peers.as_slice()),
        ("8.0", "GPU-0", &[1][..])
    );
    assert_eq!(first.pcie, Some(Pcie { generation: 4, lanes: 16, numa_node: None }));
    assert_eq!((gpus[1].pcie, gpus[1].bus.as_str()), (None, "0000:11:00.0"));
}

#[test]
fn unusable_gpus_and_driver_errors_are_notes() {
    let (fake, mut notes) = (FakeMachine::new(), Vec::new());
    let broken = GpuInfo { unusable: Some("its memory is broken".to_owned()), ..gpu(0) };
    let gpus = devices::found(&fake.roots, Ok(vec![broken, gpu(1)]), &mut notes);
    assert_eq!((gpus.len(), gpus[0].ordinal), (1, Some(1)));
    assert!(
        notes[0].contains("CUDA device 0") && notes[0].contains("its memory is broken"),
        "{notes:?}"
    );
    for (error, words) in [
        (
            CudaError::NoDriver {
                looked_for: "libcuda.so.1",
                module: Some("NVRM version: 580.1".to_owned()),
                loader_message: None,
            },
            "580.1",
        ),
        (
            CudaError::NoDriver { looked_for: "libcuda.so.1", module: None, loader_message: None },
            "install NVIDIA's driver",
        ),
        (
            CudaError::DevicesHidden { value: "-1".to_owned(), why: "hides every GPU" },
            "CUDA_VISIBLE_DEVICES",
        ),
    ] {
        notes.clear();
        assert_eq!(devices::found(&fake.roots, Err(error), &mut notes), []);
        assert!(notes.len() == 1 && notes[0].contains(words), "{notes:?}");
    }
}

#[test]
fn pcie_links_are_parsed() {
    let fake = FakeMachine::new();
    let link = |speed: &str, width: &str, node: &str| {
        for (file, text) in
            [("max_link_speed", speed), ("current_link_width", width), ("numa_node", node)]
        {
            fake.put(&format!("sys/bus/pci/devices/0000:3b:00.0/{file}"), text);
        }
        pcie::link(&fake.roots.sys, "0000:3B:00.0")
    };
    assert_eq!(
        link("32.0 GT/s PCIe\n", "8\n", "1\n"),
        Some(Pcie { generation: 5, lanes: 8, numa_node: Some(1) })
    );
    assert_eq!(
        link("2.5 GT/s PCIe", "1", ""),
        Some(Pcie { generation: 1, lanes: 1, numa_node: None })
    );
    assert_eq!((link("Unknown", "16", "0"), link("16.0 GT/s", "0", "0")), (None, None));
    assert_eq!(
        (pcie::link(&fake.roots.sys, ""), pcie::link(&fake.roots.sys, "../x")),
        (None, None)
    );
}

#[test]
fn this_machine_can_be_probed() {
    let machine = probe(&Roots::system(), Path::new("."), &DeviceSpec::Found).expect("a machine");
    let (available, limit) = machine.host.really_available();
    assert!(
        available > 100 << 20 && available <= machine.host.total_bytes,
        "{available} under {limit}"
    );
    assert!((1..=4096).contains(&machine.host.cores));
    assert!(!machine.disk.file_system.is_empty() && machine.disk.free_bytes.is_some());
    assert!(
        !machine.gpus.is_empty() || machine.notes.iter().any(|note| note.contains("GPU")),
        "{:?}",
        machine.notes
    );
    assert_eq!(Tier::parse("cpu"), Some(Tier::Cpu));
}

#[test]
fn rates_are_measured_within_their_limits() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("shard");
    std::fs::write(&file, vec![7u8; 20 << 20]).expect("written");
    let reported = std::cell::Cell::new(0);
    let progress = |bytes| reported.set(reported.get() + bytes);
    let rate = measure_disk(&file, 1 << 30, Duration::from_secs(20), &progress).expect("a rate");
    assert_eq!((rate.bytes, reported.get()), (20 << 20, 20 << 20));
    assert!(rate.bytes_per_s() > 0);
    let none = measure_disk(&file, 1 << 30, Duration::ZERO, &progress).expect("a rate");
    assert_eq!(none.bytes, 0);
    assert!(measure_disk(&folder.path().join("gone"), 1, Duration::ZERO, &progress).is_err());
    let memory = measure_memory(2, 32 << 20, Duration::from_millis(20));
    assert!(memory.bytes >= 32 << 20 && memory.bytes_per_s() > 10_000_000, "{memory:?}");
}
