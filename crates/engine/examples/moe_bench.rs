//! Prints the figures of `vendomini bench` for a model: `moe_bench MODEL [DTYPE]`. (not committed)
#![allow(clippy::print_stdout, reason = "an example")]
use checkpoint::Checkpoint;
use engine::bench::{BenchOptions, bench};
use engine::{LoadRequest, load};
use placement::{DeviceMapMode, DtypeChoice, Host, Limits, Machine, MaxMemory, plan};
use std::path::Path;
use watch::Watch;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dtype = DtypeChoice::parse(arguments.get(1).map_or("auto", String::as_str))?;
    let prompt_tokens = arguments.get(2).map_or(512, |n| n.parse().unwrap());
    let checkpoint = Checkpoint::open(Path::new(&arguments[0]))?;
    let machine =
        Machine { host: Host { total_bytes: 20 << 30, ..Host::default() }, ..Machine::default() };
    let limits = Limits {
        max_memory: MaxMemory::default(),
        mode: DeviceMapMode::Cpu,
        context: 1024,
        concurrency: 8,
        dtype,
        kv_dtype: None,
        disk: false,
    };
    let plan = plan(&checkpoint.config, &checkpoint.inventory, &machine, &limits)?;
    let watch = Watch::silent();
    let mut loaded =
        load(LoadRequest { file_maps: true, ..LoadRequest::new(&checkpoint, &plan, &watch) })?;
    println!("{:?}", loaded.report.smoke_test);
    let options = BenchOptions {
        prompt_tokens,
        new_tokens: 40,
        batches: vec![1, 8],
        rounds: 2,
        threads: None,
    };
    let report = bench(&mut loaded, &checkpoint.inventory, &options, &watch)?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
