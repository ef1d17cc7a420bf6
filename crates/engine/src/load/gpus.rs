//! Opens the GPUs of a plan: starts the driver, then opens all GPUs in parallel, each on a watched
//! thread.

use base::in_parallel;
use device::cpu::Cpu;
use device::cuda::{CudaError, Driver, Gpu, GpuRopeTable};
use placement::{Plan, Tier};
use watch::{Stage, Watch};

use super::plan::LoadPlan;
use super::{LoadError, LoadRequest};
use crate::devices::{DeviceSet, GpuSlot, gpu_deadline};
use crate::layers::Rope;

/// Opens the GPUs that the plan uses, in the order of [`LoadPlan::gpus`].
pub(crate) fn open_gpus(
    request: &LoadRequest,
    load_plan: &LoadPlan,
) -> Result<Vec<GpuSlot>, LoadError> {
    let (plan, watch) = (request.plan, request.watch);
    let Some(&first) = load_plan.gpus.first() else { return Ok(Vec::new()) };
    let driver = start_driver(watch).map_err(|cause| no_gpu(plan, first, cause))?;
    let rope = Rope::new(&request.checkpoint.config.rope, plan.context);
    let open = |&gpu_index: &usize| open_gpu(&driver, request, gpu_index, &rope);
    in_parallel(load_plan.gpus.len(), &load_plan.gpus, open).into_iter().collect()
}

/// Combines the CPU and the GPUs into a [`DeviceSet`]; opens and tests the links between the GPUs.
pub(crate) fn join_devices(
    cpu: Cpu,
    gpus: Vec<GpuSlot>,
    plan: &LoadPlan,
    watch: &Watch,
) -> Result<DeviceSet, LoadError> {
    let progress = watch.thread("gpus");
    progress.at(Stage::Allocate, "a test copy over the links between the GPUs", 0);
    let devices = DeviceSet::new(cpu, gpus, &plan.placement)
        .map_err(|cause| LoadError::device("the links between the GPUs", cause))?;
    progress.item_done();
    devices.describe_links().for_each(|link| watch.note(format!("hidden states go {link}")));
    Ok(devices)
}

fn start_driver(watch: &Watch) -> Result<Driver, CudaError> {
    let progress = watch.thread("driver");
    progress.at(Stage::Allocate, "starting the CUDA driver", 0);
    let driver = Driver::open()?;
    progress.item_done();
    Ok(driver)
}

fn open_gpu(
    driver: &Driver,
    request: &LoadRequest,
    gpu_index: usize,
    rope: &Rope,
) -> Result<GpuSlot, LoadError> {
    let LoadRequest { plan, watch, .. } = *request;
    let ordinal = request.gpu_ordinals.get(gpu_index).copied().unwrap_or(gpu_index);
    let progress = watch.thread(&format!("GPU {gpu_index}"));
    let failed = |cause| match cause {
        CudaError::NoSuchDevice { .. } | CudaError::Unusable { .. } => {
            no_gpu(plan, gpu_index, cause)
        }
        cause => LoadError::device(format!("opening GPU {gpu_index}"), cause.into()),
    };
    progress.at(Stage::Allocate, "its context", 0);
    let gpu = Gpu::for_copies(driver, ordinal, quota_bytes(plan, gpu_index)).map_err(failed)?;
    progress.item_done();
    progress.at(Stage::Allocate, "its kernels, which the driver compiles the first time", 0);
    gpu.load_kernels().map_err(failed)?;
    progress.item_done();
    progress.at(Stage::Allocate, "the RoPE table", 0);
    let rope = GpuRopeTable::new(&gpu, &rope.table(), gpu_deadline())
        .map_err(|cause| LoadError::device(format!("the RoPE table on GPU {gpu_index}"), cause))?;
    watch.verbose(format!(
        "GPU {gpu_index}: CUDA device {ordinal} of the driver, {}, {}",
        gpu.info().name,
        gpu.info().uuid
    ));
    Ok(GpuSlot { gpu_index, gpu, rope, watch: watch.clone() })
}

/// Limit on the bytes that the load may allocate on a GPU: the planned bytes without the reserve
/// for the driver, plus 1% and 4 MiB for padding (tensors are aligned to 256 bytes) and for
/// vectors, which are stored as f32.
fn quota_bytes(plan: &Plan, gpu_index: usize) -> u64 {
    let tier = plan.tiers.iter().find(|tier| tier.tier == Tier::Gpu(gpu_index));
    let planned = tier.map_or(0, |tier| tier.total_bytes().saturating_sub(tier.reserve_bytes));
    planned + planned / 100 + (4 << 20)
}

fn no_gpu(plan: &Plan, gpu_index: usize, cause: CudaError) -> LoadError {
    let module = plan.device_map.iter().find(|(_, tier)| *tier == Tier::Gpu(gpu_index));
    LoadError::NoGpu {
        module: module.map_or_else(String::new, |(module, _)| module.clone()),
        gpu_index,
        cause,
    }
}
