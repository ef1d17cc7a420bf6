//! The parts of architectures that only the CPU computes.
use crate::problem::Problem;
use crate::{DeviceMapMode, Limits, Machine, PlanError, Tier};
use checkpoint::ModelConfig;
use std::borrow::Cow;

/// What a GPU has no kernel for in a model, routed experts aside; `None`: GPUs compute all layers
/// but for their routed experts.
pub fn without_gpu_kernel(config: &ModelConfig) -> Option<&'static str> {
    if config.mla.is_some() {
        Some("latent attention")
    } else if config.block_fp8 {
        Some("block FP8 weights")
    } else {
        None
    }
}

/// The machine that a model is planned on: without its GPUs, and with a note that says why, if GPUs
/// do not compute the model. Virtual GPUs stay, since the CPU computes what is on them.
///
/// # Errors
/// [`PlanError::DeviceMap`] if the device map names one of these GPUs.
pub(crate) fn usable_machine<'m>(
    config: &ModelConfig,
    machine: &'m Machine,
    limits: &Limits,
) -> Result<Cow<'m, Machine>, PlanError> {
    let is_real = |gpu: &crate::GpuSpec| !gpu.is_virtual;
    let Some(what) = without_gpu_kernel(config).filter(|_| machine.gpus.iter().any(is_real)) else {
        return Ok(Cow::Borrowed(machine));
    };
    if let DeviceMapMode::Explicit(map) = &limits.mode
        && let Some((module, tier)) = map.iter().find(|(_, tier)| tier.is_gpu())
    {
        return Err(PlanError::DeviceMap {
            module: module.clone(),
            expected: format!("cpu or disk, since no GPU kernel computes {what}"),
            found: tier.to_string(),
        });
    }
    let mut usable = machine.clone();
    usable.gpus.retain(|gpu| gpu.is_virtual);
    usable.notes.push(format!("the GPUs are not used: no GPU kernel computes {what}"));
    Ok(Cow::Owned(usable))
}

/// A note if GPUs hold layers whose routed experts they cannot hold.
pub(crate) fn experts_note(problem: &Problem, tiers: &[Tier]) -> Option<String> {
    let stays_off = |index: usize| {
        let layer_gpu = index.checked_sub(1).map(|layer| tiers[layer]);
        matches!(layer_gpu, Some(Tier::Gpu(gpu)) if !problem.may_be_on(index, gpu))
    };
    (0..tiers.len()).any(stays_off).then(|| {
        "routed experts stay off the GPUs: no GPU kernel computes them. The hidden states of these \
         layers go to the CPU and back"
            .to_owned()
    })
}
