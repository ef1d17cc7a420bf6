//! GPUs that were allotted to this process according to environment variables and the driver's
//! files, and whether they agree with the GPUs that can be used. Works even if the driver cannot be
//! opened.

use serde::Serialize;
use std::path::Path;

/// Evidence that this machine or job has GPUs. It does not prove that a GPU can be used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GpusSeen {
    /// The variable that names the GPUs allotted to a job, and its value: `("SLURM_JOB_GPUS",
    /// "0,1")`.
    pub allotted: Option<(String, String)>,
    /// The value of `CUDA_VISIBLE_DEVICES`, which limits the GPUs that the driver shows; an empty
    /// value hides all.
    pub cuda_visible_devices: Option<String>,
    /// All GPUs of the node that the driver lists, allotted or not, ordered by bus address.
    pub driver: Vec<DriverGpu>,
    /// Contradictions between the evidence and the usable GPUs, as messages.
    pub problems: Vec<String>,
}

/// A GPU that the driver lists in `/proc/driver/nvidia/gpus`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DriverGpu {
    /// PCI bus address.
    pub bus: String,
    /// Name of the GPU's model.
    pub name: String,
    pub uuid: String,
    /// The number N of the device file `/dev/nvidiaN`.
    pub minor: Option<u32>,
}

/// Variables with which the versions of Slurm list or count a job's GPUs, the most specific first.
const ALLOTTED: [&str; 4] =
    ["SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "GPU_DEVICE_ORDINAL", "SLURM_GPUS_ON_NODE"];

/// Collects the evidence from `proc` (normally `/proc`) and from environment variables. `usable`:
/// the number of GPUs that can be used through the driver.
pub fn gpus_seen(
    proc: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
    usable: usize,
) -> GpusSeen {
    let value = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let mut seen = GpusSeen {
        allotted: ALLOTTED.iter().find_map(|name| Some(((*name).to_owned(), value(name)?))),
        cuda_visible_devices: variable("CUDA_VISIBLE_DEVICES"),
        driver: driver_gpus(proc),
        problems: Vec::new(),
    };
    seen.problems = problems(&seen, usable);
    seen
}

impl GpusSeen {
    /// The number of GPUs that this process should have; `None` without evidence.
    pub fn expected(&self) -> Option<usize> {
        let listed = |list: &str| {
            list.split(',').filter(|word| !word.trim().is_empty() && word.trim() != "-1").count()
        };
        match (&self.cuda_visible_devices, &self.allotted) {
            (Some(visible), _) => Some(if visible == "NoDevFiles" { 0 } else { listed(visible) }),
            (None, Some((name, count))) if name == "SLURM_GPUS_ON_NODE" => {
                count.trim().parse().ok()
            }
            (None, Some((_, list))) => Some(listed(list)),
            (None, None) if self.driver.is_empty() => None,
            (None, None) => Some(self.driver.len()),
        }
    }
}

fn driver_gpus(proc: &Path) -> Vec<DriverGpu> {
    let folders =
        std::fs::read_dir(proc.join("driver/nvidia/gpus")).into_iter().flatten().flatten();
    let mut gpus: Vec<DriverGpu> = folders
        .map(|folder| {
            let text =
                std::fs::read_to_string(folder.path().join("information")).unwrap_or_default();
            let field = |key: &str| {
                let line = text
                    .lines()
                    .find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'));
                line.map_or_else(String::new, |value| value.trim().to_owned())
            };
            DriverGpu {
                bus: folder.file_name().to_string_lossy().into_owned(),
                name: field("Model"),
                uuid: field("GPU UUID"),
                minor: field("Device Minor").parse().ok(),
            }
        })
        .collect();
    gpus.sort_by(|a, b| a.bus.cmp(&b.bus));
    gpus
}

fn problems(seen: &GpusSeen, usable: usize) -> Vec<String> {
    let mut problems = Vec::new();
    if let (Some((by, list)), Some(0)) = (&seen.allotted, seen.expected()) {
        problems.push(format!("{by} says {list}, and CUDA_VISIBLE_DEVICES hides every GPU"));
    }
    if let (Some(expected @ 1..), 0, 0) = (seen.expected(), seen.driver.len(), usable) {
        let plural = if expected == 1 { "GPU was" } else { "GPUs were" };
        problems.push(format!(
            "{expected} {plural} allotted, and this node has no NVIDIA driver (/proc/driver/nvidia does not exist)"
        ));
    }
    if let Some(expected) =
        seen.expected().filter(|n| *n > seen.driver.len() && !seen.driver.is_empty())
    {
        problems.push(format!(
            "{expected} GPUs were allotted, and the driver lists {}",
            seen.driver.len()
        ));
    }
    let allotted = seen.allotted.is_some() || seen.cuda_visible_devices.is_some();
    if let Some(expected) = seen.expected().filter(|n| *n > usable && usable > 0 && allotted) {
        problems.push(format!("{expected} GPUs were allotted, and {usable} can be used"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(gpus: u32) -> tempfile::TempDir {
        let proc = tempfile::tempdir().expect("a folder");
        for minor in 0..gpus {
            let folder =
                proc.path().join(format!("driver/nvidia/gpus/0000:{:02x}:00.0", 0x17 + minor));
            std::fs::create_dir_all(&folder).expect("a folder");
            let text = format!(
                "Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   \t\t 255\nGPU UUID: \t GPU-{minor}\nBus Type: \t PCIe\nDevice Minor: \t {minor}\n"
            );
            std::fs::write(folder.join("information"), text).expect("a file");
        }
        proc
    }

    fn seen(proc: &tempfile::TempDir, variables: &[(&str, &str)], usable: usize) -> GpusSeen {
        let variable =
            |name: &str| variables.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned());
        gpus_seen(proc.path(), &variable, usable)
    }

    #[test]
    fn the_gpus_allotted_by_slurm_count_and_not_those_of_the_node() {
        let seen = seen(&node(4), &[("SLURM_JOB_GPUS", "2,3"), ("CUDA_VISIBLE_DEVICES", "2,3")], 2);
        assert_eq!((seen.expected(), seen.driver.len(), &seen.problems), (Some(2), 4, &vec![]));
        assert_eq!(seen.driver[1].bus, "0000:18:00.0");
        assert_eq!(
            (seen.driver[1].name.as_str(), seen.driver[1].minor),
            ("NVIDIA A100-SXM4-80GB", Some(1))
        );
        assert_eq!(seen.allotted, Some(("SLURM_JOB_GPUS".into(), "2,3".into())));
    }

    #[test]
    fn contradictions_are_reported() {
        let problems =
            |gpus, variables: &[(&str, &str)]| seen(&node(gpus), variables, 0).problems.join("; ");
        assert!(
            problems(0, &[("SLURM_JOB_GPUS", "0"), ("CUDA_VISIBLE_DEVICES", "0")])
                .contains("no NVIDIA driver")
        );
        assert!(
            problems(4, &[("SLURM_JOB_GPUS", "0"), ("CUDA_VISIBLE_DEVICES", "")])
                .contains("hides every GPU")
        );
        assert!(
            problems(4, &[("SLURM_JOB_GPUS", "0"), ("CUDA_VISIBLE_DEVICES", "NoDevFiles")])
                .contains("hides")
        );
        assert!(problems(1, &[("SLURM_GPUS_ON_NODE", "2")]).contains("the driver lists 1"));
        assert_eq!(problems(2, &[]), "");
        assert_eq!(problems(0, &[]), "");
    }

    #[test]
    fn usable_gpus_count_more_than_the_drivers_files() {
        let problems = |gpus, variables: &[(&str, &str)], usable| {
            seen(&node(gpus), variables, usable).problems.join("; ")
        };
        // A WSL machine has GPUs but no `/proc/driver/nvidia`.
        assert_eq!(problems(0, &[("CUDA_VISIBLE_DEVICES", "0")], 1), "");
        assert!(
            problems(4, &[("CUDA_VISIBLE_DEVICES", "0,1")], 1)
                .contains("2 GPUs were allotted, and 1 can be used")
        );
        assert_eq!(
            (problems(4, &[("SLURM_JOB_GPUS", "0,1")], 2), problems(4, &[], 2)),
            (String::new(), String::new())
        );
    }
}
