//! Configurations and inventories of known models, without files.
#![allow(dead_code)]
use checkpoint::{
    Dtype, FileIdentity, Inventory, ModelConfig, Requirement, Shard, TensorContent, TensorEntry,
    expected_tensors, parse_config, preset,
};
use std::path::{Path, PathBuf};

/// The configuration of a model that `synth --like` accepts by name.
pub fn config(name: &str) -> ModelConfig {
    let text = preset(name).expect("a known model");
    parse_config(Path::new("config.json"), text, &mut Vec::new()).expect("a valid configuration")
}

/// All tensors of a model in bf16 (MXFP4 tensors in U8), in one file that does not exist.
pub fn inventory(config: &ModelConfig) -> Inventory {
    let identity = FileIdentity { device: 0, inode: 0, modified_ns: 0 };
    let mut offset = 0;
    let mut tensors = Vec::new();
    for expected in
        expected_tensors(config).into_iter().filter(|t| t.requirement != Requirement::Tied)
    {
        let dtype =
            if matches!(expected.content, TensorContent::Fp4Blocks | TensorContent::Fp4Scales) {
                Dtype::U8
            } else {
                Dtype::BF16
            };
        let elements: u64 = expected.shape.iter().map(|d| *d as u64).product();
        let bytes = dtype.bytes_for(elements).expect("whole elements");
        tensors.push(TensorEntry {
            name: expected.name,
            dtype,
            shape: expected.shape,
            shard: 0,
            offset,
            bytes,
        });
        offset += bytes;
    }
    let shard = Shard {
        path: PathBuf::from("/nowhere/model.safetensors"),
        bytes: offset,
        identity,
        blob_id: None,
    };
    Inventory::new(vec![shard], tensors)
}

/// Parses the text of a machine file.
pub fn machine(text: &str) -> placement::Machine {
    placement::Machine::from_yaml("test.yaml", text).expect("a valid machine")
}

/// Reads one of the machine files in `machines/`.
pub fn shipped(name: &str) -> placement::Machine {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../machines").join(format!("{name}.yaml"));
    let text = std::fs::read_to_string(&path).expect("a shipped machine file");
    placement::Machine::from_yaml(name, &text).expect("a valid machine")
}
