//! Converts the placement arguments to the planner's limits.

use crate::args::PlacementArgs;
use crate::failure::Failure;
use checkpoint::Checkpoint;
use placement::{DeviceMapMode, DtypeChoice, KvDtype, Limits, MaxMemory};
use serde_json::{Map, Value};
use std::path::Path;

/// The planner's limits for a checkpoint, parsed from the arguments.
///
/// # Errors
/// `Usage` for an invalid argument; the message names the argument.
pub fn limits(args: &PlacementArgs, checkpoint: &Checkpoint) -> Result<Limits, Failure> {
    let context_max = checkpoint.config.max_positions;
    let context = args.context.unwrap_or(context_max.min(placement::CONTEXT_DEFAULT_MAX));
    if context == 0 || context > context_max {
        return Err(Failure::usage(format!(
            "--context: expected 1 to {context_max} (the model's), found {context}"
        )));
    }
    if args.concurrency == 0 {
        return Err(Failure::usage("--concurrency: expected 1 or more, found 0"));
    }
    Ok(Limits {
        max_memory: MaxMemory::parse(args.max_memory.as_deref().unwrap_or(""))?,
        mode: device_map_mode(&args.device_map)?,
        context,
        concurrency: args.concurrency,
        dtype: DtypeChoice::parse(&args.dtype)?,
        kv_dtype: KvDtype::parse(&args.kv_dtype)?,
        disk: false,
    })
}

/// Parses a device map: the name of a mode, or a JSON file with an explicit map of module -> tier.
fn device_map_mode(text: &str) -> Result<DeviceMapMode, Failure> {
    let is_file =
        Path::new(text).extension().is_some_and(|e| e == "json") || Path::new(text).exists();
    let named = DeviceMapMode::parse(text);
    if named.is_ok() || !is_file {
        return Ok(named?);
    }
    let json = std::fs::read_to_string(text)
        .map_err(|e| Failure::usage(format!("--device-map: cannot read {text}: {e}")))?;
    let map: Map<String, Value> = serde_json::from_str(&json).map_err(|e| {
        Failure::usage(format!(
            "--device-map {text}: expected an object of module -> tier, found: {e}"
        ))
    })?;
    let tier_text = |tier: &Value| tier.as_str().map_or_else(|| tier.to_string(), str::to_owned);
    let entries: Vec<(String, String)> =
        map.into_iter().map(|(module, tier)| (module, tier_text(&tier))).collect();
    Ok(DeviceMapMode::explicit(
        entries.iter().map(|(module, tier)| (module.as_str(), tier.as_str())),
    )?)
}
