//! Bandwidths: measured, described in a machine file, or from a GPU's data sheet.
use super::{GpuSpec, Machine};
use crate::Tier;
use serde::Serialize;

/// Pairs of a part of a GPU's name and the memory bandwidth in its data sheet, in bytes per second.
/// The first match applies.
const GPUS: [(&str, u64); 20] = [
    ("B200", 8_000_000_000_000),
    ("GH200", 4_900_000_000_000),
    ("H200", 4_800_000_000_000),
    ("H100 PCIE", 2_000_000_000_000),
    ("H100-PCIE", 2_000_000_000_000),
    ("H100 NVL", 3_938_000_000_000),
    ("H100", 3_350_000_000_000),
    ("H800", 3_350_000_000_000),
    ("A100-40", 1_555_000_000_000),
    ("A100-SXM4-40", 1_555_000_000_000),
    ("A100-PCIE-40", 1_555_000_000_000),
    ("A100 80GB PCIE", 1_935_000_000_000),
    ("A100", 2_039_000_000_000),
    ("L40", 864_000_000_000),
    ("A40", 696_000_000_000),
    ("L4", 300_000_000_000),
    ("V100", 900_000_000_000),
    ("4090", 1_008_000_000_000),
    ("3090", 936_000_000_000),
    ("T4", 320_000_000_000),
];

/// The memory bandwidth in a GPU's data sheet, in bytes per second.
pub fn described_gpu(name: &str) -> Option<u64> {
    let name = name.to_ascii_uppercase();
    GPUS.iter().find(|(part, _)| name.contains(part)).map(|(_, rate)| *rate)
}

/// A bandwidth and its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// Bytes per second.
    pub bytes_per_s: u64,
    pub source: RateSource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateSource {
    /// Measured on this machine.
    Measured,
    /// Stated in a machine file.
    Described,
    /// From the data sheet of GPUs with this name, not measured.
    Default,
}

impl RateSource {
    pub fn name(self) -> &'static str {
        match self {
            RateSource::Measured => "measured",
            RateSource::Described => "described",
            RateSource::Default => "default for the GPU's name",
        }
    }
}

impl Machine {
    /// The read bandwidth of a tier, if known. A virtual GPU has that of host memory unless the
    /// machine states another.
    pub fn rate(&self, tier: Tier) -> Option<Rate> {
        match tier {
            Tier::Cpu => self.found(self.host.read_bytes_per_s),
            Tier::Disk => self.found(self.disk.read_bytes_per_s),
            Tier::Gpu(gpu) => {
                let gpu = self.gpus.get(gpu)?;
                self.found(gpu.read_bytes_per_s).or_else(|| match gpu.is_virtual {
                    true => self.rate(Tier::Cpu),
                    false => gpu.default_rate(),
                })
            }
        }
    }

    /// The bandwidth of copies from the host to a GPU, if known.
    pub fn link_rate(&self, gpu: usize) -> Option<Rate> {
        self.found(self.gpus.get(gpu)?.link_bytes_per_s)
    }

    fn found(&self, rate: Option<u64>) -> Option<Rate> {
        let source = if self.described { RateSource::Described } else { RateSource::Measured };
        rate.map(|bytes_per_s| Rate { bytes_per_s, source })
    }
}

impl GpuSpec {
    fn default_rate(&self) -> Option<Rate> {
        described_gpu(&self.name)
            .map(|bytes_per_s| Rate { bytes_per_s, source: RateSource::Default })
    }
}

/// Bandwidths for comparing placements if a rate is unknown. Predictions never use them.
#[derive(Debug, Clone, Copy)]
pub struct DefaultRates {
    /// Memory bandwidth of a GPU.
    pub gpu_bytes_per_s: u64,
    /// Bandwidth of host memory.
    pub host_bytes_per_s: u64,
    /// Bandwidth of a disk.
    pub disk_bytes_per_s: u64,
}

impl DefaultRates {
    /// Bandwidths of an ordinary node.
    pub const ORDINARY: DefaultRates = DefaultRates {
        gpu_bytes_per_s: 1_500_000_000_000,
        host_bytes_per_s: 50_000_000_000,
        disk_bytes_per_s: 1_000_000_000,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_names_are_recognized() {
        assert_eq!(described_gpu("NVIDIA A100-SXM4-80GB"), Some(2_039_000_000_000));
        assert_eq!(described_gpu("NVIDIA A100 80GB PCIe"), Some(1_935_000_000_000));
        assert_eq!(described_gpu("NVIDIA H100 PCIe"), Some(2_000_000_000_000));
        assert_eq!(described_gpu("NVIDIA H100 80GB HBM3"), Some(3_350_000_000_000));
        assert_eq!(described_gpu("NVIDIA H200"), Some(4_800_000_000_000));
        assert_eq!(described_gpu("NVIDIA L40S"), Some(864_000_000_000));
        assert_eq!(described_gpu("A100-80GB"), Some(2_039_000_000_000));
        assert_eq!(described_gpu("abacus"), None);
    }

    #[test]
    fn a_rate_says_where_it_is_from() {
        let text = "gpus: [{name: H200, memory: 1GiB, link: 5}, {name: H200, memory: 1GiB, read: 1TB/s}, {name: v, memory: 1GiB, virtual: true}]\n\
                    host: {memory: 1GiB, read: 70GB/s}\n";
        let mut machine = Machine::from_yaml("m.yaml", text).unwrap();
        let rate = |bytes_per_s, source| Some(Rate { bytes_per_s, source });
        assert_eq!(machine.rate(Tier::Gpu(0)), rate(4_800_000_000_000, RateSource::Default));
        assert_eq!(machine.rate(Tier::Gpu(1)), rate(1_000_000_000_000, RateSource::Described));
        assert_eq!(machine.rate(Tier::Gpu(2)), rate(70_000_000_000, RateSource::Described));
        assert_eq!(machine.rate(Tier::Disk), None);
        assert_eq!(
            (machine.link_rate(0), machine.link_rate(1), machine.link_rate(3)),
            (rate(5, RateSource::Described), None, None)
        );
        machine.described = false;
        assert_eq!(machine.rate(Tier::Cpu), rate(70_000_000_000, RateSource::Measured));
    }
}
