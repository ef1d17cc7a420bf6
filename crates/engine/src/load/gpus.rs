//! The GPUs of a plan: the driver is started, then all are opened at the same time, each by a
//! thread that reports to the watch.

use std::sync::OnceLock;

use device::cpu::Cpu;
use device::cuda::{CudaError, Driver, Gpu, GpuRopeTable};
use placement::{Plan, Tier};
use watch::{Stage, Watch};

use super::layout::Layout;
use super::{LoadError, LoadRequest};
use crate::compute::{GpuSlot, Sites, gpu_deadline};
use crate::layers::Rope;

/// Opens the GPUs that the layout uses, in its order.
pub(crate) fn open(request: &LoadRequest, layout: &Layout) -> Result<Vec<GpuSlot>, LoadError> {
    let (plan, watch) = (request.plan, request.watch);
    let Some(&first) = layout.gpus.first() else { return Ok(Vec::new()) };
    let driver = start(watch).map_err(|cause| no_gpu(plan, first, cause))?;
    let rope = Rope::new(&request.checkpoint.config.rope, plan.context);
    let opened: Vec<OnceLock<_>> = layout.gpus.iter().map(|_| OnceLock::new()).collect();
    std::thread::scope(|scope| {
        for (&gpu_index, slot) in layout.gpus.iter().zip(&opened) {
            let (driver, rope) = (&driver, &rope);
            scope.spawn(move || slot.get_or_init(|| open_one(driver, request, gpu_index, rope)));
        }
    });
    let ended = |slot: OnceLock<_>| slot.into_inner().unwrap_or_else(|| Err(defect()));
    opened.into_iter().map(ended).collect()
}

/// The devices of the model together, once the ways between the GPUs were tried.
pub(crate) fn join(
    cpu: Cpu,
    gpus: Vec<GpuSlot>,
    layout: &Layout,
    watch: &Watch,
) -> Result<Sites, LoadError> {
    let progress = watch.thread("gpus");
    progress.at(Stage::Allocate, "the ways between the GPUs, over which a copy is tried", 0);
    let failed = |cause| LoadError::Device { what: "the ways between the GPUs".to_owned(), cause };
    let sites = Sites::new(cpu, gpus, &layout.route).map_err(failed)?;
    progress.item_done();
    sites.ways().for_each(|way| watch.note(format!("hidden states go {way}")));
    Ok(sites)
}

fn start(watch: &Watch) -> Result<Driver, CudaError> {
    let progress = watch.thread("driver");
    progress.at(Stage::Allocate, "starting the CUDA driver", 0);
    let driver = Driver::open()?;
    progress.item_done();
    Ok(driver)
}

fn open_one(
    driver: &Driver,
    request: &LoadRequest,
    gpu_index: usize,
    rope: &Rope,
) -> Result<GpuSlot, LoadError> {
    let LoadRequest { plan, watch, .. } = *request;
    let ordinal = request.gpu_ordinals.get(gpu_index).copied().unwrap_or(gpu_index);
    let progress = watch.thread(&format!("GPU {gpu_index}"));
    let refused = |cause| match cause {
        CudaError::NoSuchDevice { .. } | CudaError::Unusable { .. } => {
            no_gpu(plan, gpu_index, cause)
        }
        cause => {
            LoadError::Device { what: format!("opening GPU {gpu_index}"), cause: cause.into() }
        }
    };
    progress.at(Stage::Allocate, "its context", 0);
    let gpu = Gpu::for_copies(driver, ordinal, quota_bytes(plan, gpu_index)).map_err(refused)?;
    progress.item_done();
    progress.at(Stage::Allocate, "its kernels, which the driver compiles the first time", 0);
    gpu.load_kernels().map_err(refused)?;
    progress.item_done();
    progress.at(Stage::Allocate, "the table of positions", 0);
    let failed = |cause| LoadError::Device {
        what: format!("the table of positions on GPU {gpu_index}"),
        cause,
    };
    let rope = GpuRopeTable::new(&gpu, &rope.table(), gpu_deadline()).map_err(failed)?;
    watch.note(format!(
        "GPU {gpu_index}: CUDA device {ordinal} of the driver, {}, {}",
        gpu.info().name,
        gpu.info().uuid
    ));
    Ok(GpuSlot { gpu_index, gpu, rope, watch: watch.clone() })
}

/// What the plan takes of a GPU but for what the driver keeps for itself, and a hundredth and 4 MiB
/// more: tensors start at multiples of 256 bytes, and vectors are f32.
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

fn defect() -> LoadError {
    LoadError::Defect { what: "the thread that opens a GPU".to_owned() }
}
