//! NUMA nodes: on which cores the compute threads run, and over which nodes memory is interleaved.
//!
//! With several nodes, each helper thread is confined to the cores of one node, by turns over the
//! nodes, and arenas are interleaved page by page, so that weights are read with the bandwidth of
//! all nodes whichever threads multiply them. Threads are confined to nodes instead of cores, since
//! two processes on one machine would choose the same cores.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

/// Upper limit of node numbers: the most that Linux can be built for.
const NODES_MAX: usize = 1024;

/// The nodes on which this process may compute: those with memory and with cores of its affinity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumaLayout {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    number: usize,
    cores: Vec<usize>,
}

impl NumaLayout {
    /// The layout of this machine for this process, found at the first call.
    pub fn system() -> &'static NumaLayout {
        static LAYOUT: OnceLock<NumaLayout> = OnceLock::new();
        LAYOUT.get_or_init(|| match cfg!(miri) {
            true => NumaLayout::default(),
            false => Self::find(Path::new("/sys"), &affinity()),
        })
    }

    /// The layout that the folder `sys` (`/sys`) describes, for a process that may use the cores
    /// `allowed`.
    fn find(sys: &Path, allowed: &[usize]) -> NumaLayout {
        let node = |number: usize| {
            let folder = sys.join(format!("devices/system/node/node{number}"));
            let list = std::fs::read_to_string(folder.join("cpulist")).ok()?;
            let ranges: Vec<Range<usize>> = list_ranges(&list).collect();
            let is_in_node = |core: &usize| ranges.iter().any(|range| range.contains(core));
            let cores: Vec<usize> = allowed.iter().copied().filter(is_in_node).collect();
            (!cores.is_empty() && number < NODES_MAX).then_some(Node { number, cores })
        };
        NumaLayout { nodes: node_numbers(sys).into_iter().filter_map(node).collect() }
    }

    /// The cores of the node to which thread `index` is confined; `None` if there are not several
    /// nodes. Nodes take turns while they have cores left, so that each gets threads in proportion
    /// to its cores.
    pub fn cores_of_thread(&self, index: usize) -> Option<&[usize]> {
        if self.nodes.len() < 2 {
            return None;
        }
        let most = self.nodes.iter().map(|node| node.cores.len()).max().unwrap_or(0);
        let turns: Vec<&Node> = (0..most)
            .flat_map(|turn| self.nodes.iter().filter(move |node| turn < node.cores.len()))
            .collect();
        turns.get(index % turns.len().max(1)).map(|node| node.cores.as_slice())
    }

    /// Interleaves the pages of a mapping, which nothing has touched yet, over the nodes. Does
    /// nothing with a single node or if the process was given a memory policy, as by `numactl`.
    /// Returns false if the kernel refused, which affects speed only.
    pub(crate) fn interleave(&self, start: *mut u8, len: usize) -> bool {
        self.nodes.len() < 2 || len == 0 || has_memory_policy() || self.bind(start, len).is_ok()
    }

    /// Calls `mbind` (mbind(2)) with the nodes as mask.
    #[cfg(target_os = "linux")]
    fn bind(&self, start: *mut u8, len: usize) -> io::Result<()> {
        let mut mask = [0u64; NODES_MAX / 64];
        for node in &self.nodes {
            mask[node.number / 64] |= 1 << (node.number % 64);
        }
        // SAFETY: the mask is readable for NODES_MAX bits; the kernel reads one bit fewer than the
        // number passed. The policy of a mapping does not change its contents.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                start,
                len,
                libc::MPOL_INTERLEAVE,
                mask.as_ptr(),
                NODES_MAX + 1,
                0,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    #[cfg(not(target_os = "linux"))]
    fn bind(&self, _: *mut u8, _: usize) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

/// The numbers of the NUMA nodes that the folder `sys` describes, sorted.
pub(crate) fn node_numbers(sys: &Path) -> Vec<usize> {
    let entries =
        std::fs::read_dir(sys.join("devices/system/node")).into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| {
        entry.file_name().to_str()?.strip_prefix("node")?.parse::<usize>().ok()
    };
    let mut numbers: Vec<usize> = entries.filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// The ranges of a list such as `0-3,8`, as `/sys` and cgroups have them.
pub(crate) fn list_ranges(list: &str) -> impl Iterator<Item = Range<usize>> {
    list.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(first..last.checked_add(1)?)
    })
}

/// Whether this thread has a memory policy other than the default (get_mempolicy(2)).
#[cfg(target_os = "linux")]
fn has_memory_policy() -> bool {
    let mut mode: libc::c_int = libc::MPOL_DEFAULT;
    let none = std::ptr::null_mut::<libc::c_ulong>();
    // SAFETY: `mode` is writable; without a mask, an address or flags nothing else is accessed.
    let result = unsafe { libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, none, 0, 0, 0) };
    result == 0 && mode != libc::MPOL_DEFAULT
}

#[cfg(not(target_os = "linux"))]
fn has_memory_policy() -> bool {
    false
}

/// The cores on which this thread may run; empty if unknown.
#[cfg(target_os = "linux")]
fn affinity() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: pointer and length are those of `set`; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } != 0 {
        return Vec::new();
    }
    // SAFETY: CPU_ISSET reads only the set, since the numbers are below CPU_SETSIZE.
    (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

#[cfg(not(target_os = "linux"))]
fn affinity() -> Vec<usize> {
    Vec::new()
}

/// Confines the calling thread to `cores`.
#[cfg(target_os = "linux")]
pub(crate) fn confine_this_thread(cores: &[usize]) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for core in cores.iter().filter(|core| **core < libc::CPU_SETSIZE as usize) {
        // SAFETY: CPU_SET accesses only the set, since core < CPU_SETSIZE.
        unsafe { libc::CPU_SET(*core, &mut set) };
    }
    // SAFETY: pointer and length are those of `set`; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Confining threads is supported on Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) fn confine_this_thread(_: &[usize]) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Arena;

    fn layout(nodes: &[(usize, &[usize])]) -> NumaLayout {
        let node =
            |(number, cores): &(usize, &[usize])| Node { number: *number, cores: cores.to_vec() };
        NumaLayout { nodes: nodes.iter().map(node).collect() }
    }

    #[test]
    fn threads_are_spread_in_proportion_to_cores() {
        let two = layout(&[(0, &[0, 1, 2, 3]), (1, &[4, 5])]);
        let first = |index| two.cores_of_thread(index).map(|cores| cores[0]);
        let found: Vec<_> = (0..8).filter_map(first).collect();
        assert_eq!(found, [0, 4, 0, 4, 0, 0, 0, 4]);
    }

    #[test]
    fn nodes_without_allowed_cores_are_left_out() {
        let sys = tempfile::tempdir().expect("a folder");
        for (node, cores) in [(0, "0-3,8"), (1, "4-7"), (2, ""), (10, "9")] {
            let folder = sys.path().join(format!("devices/system/node/node{node}"));
            std::fs::create_dir_all(&folder).expect("made");
            std::fs::write(folder.join("cpulist"), format!("{cores}\n")).expect("written");
        }
        let found = NumaLayout::find(sys.path(), &[0, 2, 8, 9]);
        assert_eq!(found, layout(&[(0, &[0, 2, 8]), (10, &[9])]));
        assert_eq!(NumaLayout::find(&sys.path().join("absent"), &[0]), NumaLayout::default());
    }

    #[test]
    fn threads_of_one_node_are_not_confined() {
        assert_eq!(layout(&[(0, &[0, 1])]).cores_of_thread(1), None);
        assert_eq!(NumaLayout::default().cores_of_thread(0), None);
    }

    /// A layout that names this machine's first node twice, so that the call is made everywhere.
    #[test]
    fn the_kernel_takes_the_policy() {
        if has_memory_policy() {
            return;
        }
        let node = NumaLayout::system().nodes.first().map_or(0, |node| node.number);
        let twice = layout(&[(node, &[0]), (node, &[0])]);
        let bytes = 4 << 20;
        let arena = Arena::new(bytes).expect("address space");
        let mut zeroed = arena.zeroed(bytes).expect("memory");
        let start = zeroed.as_mut_ptr();
        assert!(twice.interleave(start, bytes));
        // A mask of nodes that do not exist is refused.
        let absent = layout(&[(NODES_MAX - 1, &[0]), (NODES_MAX - 2, &[0])]);
        assert!(!absent.interleave(start, bytes));
    }

    #[test]
    fn a_thread_is_confined() {
        let allowed = affinity();
        let Some(last) = allowed.last().copied() else { return };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                confine_this_thread(&[last]).expect("permitted");
                assert_eq!(affinity(), [last]);
            });
        });
        assert_eq!(affinity(), allowed, "only the thread itself");
    }
}
