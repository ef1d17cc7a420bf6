//! Tests of the summary of a plan, which the command line prints when it loads a model.
mod common;

use common::{config, inventory, shipped};
use placement::{Limits, MaxMemory, Plan, plan};

fn planned(model: &str, on: &str, max_memory: &str) -> Plan {
    let config = config(model);
    let limits = Limits {
        max_memory: MaxMemory::parse(max_memory).unwrap(),
        disk: true,
        ..Limits::for_model(&config)
    };
    plan(&config, &inventory(&config), &shipped(on), &limits).unwrap()
}

#[test]
fn a_summary_names_each_limit_what_left_the_gpus_and_the_remedy() {
    let summary = planned("llama-3.3-70b", "a100-80gb-x2", "0=67GB,1=67GB").summary();
    let text = summary.join("\n");
    for expected in [
        "limit of GPU 0: 62.40 GiB for weights (max_memory of 0)",
        "limit of GPU 1: 62.40 GiB for weights",
        "limit of cpu: ",
        "warning: the unit alone",
        "4 modules off the GPUs: 7.10 GiB",
        "the smallest change that avoids this: --max-memory 0=67GiB,1=67GiB",
    ] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
    assert!(!text.contains("note:"), "{text}");
}

#[test]
fn the_device_map_takes_two_lines_of_at_most_96_columns() {
    for (model, on) in [
        ("llama-3.1-8b", "laptop"),
        ("llama-3.1-8b", "h100"),
        ("llama-3.3-70b", "a100-80gb-x4"),
        ("llama-3.3-70b", "l40s"),
    ] {
        let summary = planned(model, on, "").summary();
        let at = summary.iter().position(|line| line.starts_with("device map (auto): "));
        let at = at.unwrap_or_else(|| panic!("{model} on {on}: {summary:?}"));
        assert!(summary[at + 1].starts_with("  ") && summary[at + 1].contains("module"));
        assert!(summary[at..at + 2].iter().all(|line| line.chars().count() <= 96), "{summary:?}");
    }
}
