//! Experiments of design v1 give the same bytes as before there was another design.
#![allow(missing_docs)]

mod common;

use common::run_to_end;
use experiment::{Config, replay_all};
use results::{RunRecord, Store, Timing};
use sha2::{Digest, Sha256};
use std::path::Path;

const CONFIG: &str = "
experiment: {name: v1, replications: 2, seed: 4242, design: v1}
env: {max_steps: 150, complexity_level: 2}
interface: {recovery_tools: all, prediction_mode: required+confidence}
grid:
  agent.policy: [careful, greedy, random]
  pe_induction.p_shock: [0.0, 0.5]
  pe_induction.observability: [full, delayed]
";

/// Hashes of the logs and of the records, without times, of all runs of a folder, in the order of
/// their ids.
fn digests(root: &Path) -> [String; 2] {
    let (mut logs, mut records) = (Sha256::new(), Sha256::new());
    for folder in Store::open(root).unwrap().runs().unwrap() {
        logs.update(std::fs::read(folder.path().join("steps.1.jsonl")).unwrap());
        let record = folder.committed().unwrap().expect("a committed run");
        let record = RunRecord { timing: Timing::default(), ..record };
        records.update(serde_json::to_string(&record).unwrap());
    }
    let hex = |hash: Sha256| hash.finalize().iter().map(|b| format!("{b:02x}")).collect::<String>();
    [hex(logs), hex(records)]
}

#[test]
fn the_bytes_of_version_0_2_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::parse(CONFIG, "v1", &[]).unwrap();
    assert_eq!(run_to_end(&config, folder.path(), 2).total, 18);
    let expected = [
        "d397bab1f41e8ed21cae2a80bccc500117922fedc9ab321c440448fe1209ed6e",
        "29f442e4ea4ca0b921b3c85f68ed173443d84bff5ee08c76ced9e145d289a61d",
    ];
    assert_eq!(digests(folder.path()), expected);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.experiment().provenance.design, "v1");
    assert_eq!(replay_all(&store).unwrap().len(), 18);
}
