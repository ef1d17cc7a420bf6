//! PCIe links of GPUs.

use std::path::Path;

use placement::Pcie;

/// The PCIe link of the GPU at `bus_id` (`0000:17:00.0`); `None` if unknown, as in many containers.
/// The generation is the maximum of the link, since an idle GPU lowers the current one.
pub(super) fn link(sys: &Path, bus_id: &str) -> Option<Pcie> {
    if bus_id.is_empty() || bus_id.contains('/') {
        return None;
    }
    let folder = sys.join("bus/pci/devices").join(bus_id.to_ascii_lowercase());
    let file = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let lanes = file("current_link_width")?.trim().parse().ok().filter(|lanes| *lanes > 0)?;
    let generation = generation(&file("max_link_speed")?)?;
    // A node of -1, which does not parse, means no node.
    let numa_node = file("numa_node").and_then(|node| node.trim().parse().ok());
    Some(Pcie { generation, lanes, numa_node })
}

/// PCIe generation of a transfer rate such as `16.0 GT/s PCIe`.
fn generation(speed: &str) -> Option<u32> {
    let transfers: f64 = speed.split_whitespace().next()?.parse().ok()?;
    let speeds = [2.5, 5.0, 8.0, 16.0, 32.0, 64.0];
    speeds.iter().zip(1..).find(|(speed, _)| **speed == transfers).map(|(_, generation)| generation)
}
