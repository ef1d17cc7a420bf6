use std::path::Path;

/// A card's link to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcieLink {
    /// The generation that card and slot can do together; a card at rest runs at a lower one.
    pub generation: u32,
    /// Lanes in use.
    pub lanes: u32,
    /// The NUMA node that it hangs on, where that is known.
    pub numa_node: Option<usize>,
}

impl PcieLink {
    /// What the system says of the device at `bus_id` (`0000:17:00.0`) under `sys`, which is `/sys`; `None` where it says nothing, as in
    /// many containers.
    pub fn read(sys: &Path, bus_id: &str) -> Option<PcieLink> {
        if bus_id.is_empty() || bus_id.contains('/') {
            return None;
        }
        let folder = sys.join("bus/pci/devices").join(bus_id.to_ascii_lowercase());
        let file = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let lanes = file("current_link_width")?.trim().parse().ok().filter(|lanes| *lanes > 0)?;
        let generation = generation(&file("max_link_speed")?)?;
        let numa_node = file("numa_node").and_then(|node| node.trim().parse().ok());
        Some(PcieLink { generation, lanes, numa_node })
    }

    /// What the link carries one way at most, in bytes a second: less than 90% of it is left for data.
    pub fn bytes_per_s(&self) -> u64 {
        // Gigatransfers a second, one bit each, of which 8 in 10 and later 128 in 130 are bytes.
        let lane: u64 = match self.generation {
            1 => 250_000_000,
            2 => 500_000_000,
            3 => 984_615_384,
            4 => 1_969_230_769,
            5 => 3_938_461_538,
            _ => 7_562_500_000,
        };
        lane * u64::from(self.lanes)
    }
}

/// The generation of a speed such as `16.0 GT/s PCIe`.
fn generation(speed: &str) -> Option<u32> {
    let transfers: f64 = speed.split_whitespace().next()?.parse().ok()?;
    let speeds = [2.5, 5.0, 8.0, 16.0, 32.0, 64.0];
    speeds.iter().zip(1..).find(|(speed, _)| **speed == transfers).map(|(_, generation)| generation)
}
