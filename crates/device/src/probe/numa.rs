//! NUMA nodes.

use placement::NumaNode;

use super::roots::{Roots, field, list_len};
use crate::numa::node_numbers;

/// All nodes with memory, by number.
pub(super) fn nodes(roots: &Roots) -> Vec<NumaNode> {
    node_numbers(&roots.sys).into_iter().filter_map(|number| node(roots, number)).collect()
}

fn node(roots: &Roots, node: usize) -> Option<NumaNode> {
    let text = roots.sys(&format!("devices/system/node/node{node}/meminfo"))?;
    let bytes =
        |key: &str| field(&text, &format!("Node {node} {key}")).map(|kib| kib.saturating_mul(1024));
    let cores = roots
        .sys(&format!("devices/system/node/node{node}/cpulist"))
        .map_or(0, |list| list_len(&list));
    let total_bytes = bytes("MemTotal").filter(|bytes| *bytes > 0)?;
    Some(NumaNode { node, total_bytes, free_bytes: bytes("MemFree").unwrap_or(0), cores })
}
