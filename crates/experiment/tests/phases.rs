//! The worlds of the study's phases can be won, their shocks arrive, and more of them are more
//! error.
#![allow(missing_docs)]

use experiment::{CellPlay, Config, play_cells};
use std::collections::BTreeMap;
use std::path::Path;

/// The dose in a cell's label, and the label without it.
fn split(cell: &CellPlay) -> (f64, String) {
    let levels = cell.cell.split(' ');
    let dose = levels.clone().find_map(|level| level.strip_prefix("p_shock=")).expect("a dose");
    let others =
        levels.filter(|level| !level.starts_with("p_shock=") && !level.starts_with("name="));
    (dose.parse().expect("a number"), others.collect::<Vec<_>>().join(" "))
}

fn check(phase: u32) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../../configs/phases/phase{phase}_small.yaml"));
    let one_model = ["grid.model.name=[a-7B]".to_string()];
    let cells = play_cells(&Config::load(&file, &one_model).unwrap()).unwrap();
    let mut arms: BTreeMap<String, Vec<(f64, &CellPlay)>> = BTreeMap::new();
    let mut controls: Vec<(&CellPlay, String)> = Vec::new();
    for cell in &cells {
        assert_eq!(cell.worlds, 20);
        let (dose, others) = split(cell);
        match dose {
            0.0 => controls.push((cell, others)),
            _ => arms.entry(others).or_default().push((dose, cell)),
        }
    }
    for (control, others) in &controls {
        assert!(control.careful >= 0.95, "phase {phase}, {others}: {control:?}");
    }
    assert!(!arms.is_empty());
    for (arm, doses) in arms {
        // A control cell has no levels of the factors that are dead without shocks.
        let of_arm =
            |others: &str| others.split(' ').all(|level| level.is_empty() || arm.contains(level));
        let (control, _) = controls.iter().find(|(_, others)| of_arm(others)).expect("a control");
        let case = |cell: &CellPlay| format!("phase {phase}, {arm}: {cell:?}");
        let (_, highest) = doses.last().expect("doses");
        if arm.contains("observability=sham") {
            assert!(highest.net_worth == control.net_worth, "{}", case(highest));
            continue;
        }
        assert!(highest.adaptive.is_some_and(|share| share >= 0.7), "{}", case(highest));
        assert!(highest.net_worth < control.net_worth, "{}", case(highest));
        for (_, cell) in &doses {
            assert!(cell.applied.is_some_and(|share| share > 0.95), "{}", case(cell));
        }
        // Causal shocks break the success of orders, and no delivery.
        if !arm.contains("causal_only") {
            let exposure = |cell: &CellPlay| cell.exposure.unwrap_or(0.0);
            let mut all = vec![exposure(control)];
            all.extend(doses.iter().map(|(_, cell)| exposure(cell)));
            assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{arm}: {all:?}");
        }
    }
}

#[test]
fn phase_1_is_playable() {
    check(1);
}

#[test]
fn phase_2_is_playable() {
    check(2);
}

#[test]
fn phase_3_is_playable() {
    check(3);
}

#[test]
fn phase_4_is_playable() {
    check(4);
}

#[test]
fn phase_5_is_playable() {
    check(5);
}
