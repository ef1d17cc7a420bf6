//! Tests the choice of experts against the routers of transformers, whose results are committed in
//! `tests/golden/routing.json`.

use std::path::Path;

use checkpoint::Routing;
use device::backend::RouterOptions;
use device::cpu::{Cpu, ExpertRoutes};
use device::pool::PoolOptions;
use serde_json::Value;

const PLAIN: Routing =
    Routing { softmax_after_choice: false, normalize: false, scale: 1.0, groups: None };

fn cpu() -> Cpu {
    Cpu::new(&PoolOptions { threads: Some(2) }).expect("start a thread pool")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|n| n.as_f64().expect("a number")).collect()
}

#[test]
fn experts_and_weights_are_those_of_transformers() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/routing.json");
    let text = std::fs::read_to_string(file).expect("read routing.json");
    let golden: Value = serde_json::from_str(&text).expect("valid JSON");
    let count = |key: &str| golden[key].as_u64().expect("a number") as usize;
    let rows = golden["logits"].as_array().expect("logits");
    let logits: Vec<f32> = rows.iter().flat_map(numbers).map(|x| x as f32).collect();
    let routings = [
        ("qwen3-moe", Routing { normalize: true, ..PLAIN }),
        ("qwen2-moe", PLAIN),
        ("mixtral", Routing { normalize: true, ..PLAIN }),
        ("gpt-oss", Routing { softmax_after_choice: true, ..PLAIN }),
        ("deepseek-v2-lite", Routing { scale: 16.0, ..PLAIN }),
        ("deepseek-v2", Routing { scale: 16.0, groups: Some((8, 3)), ..PLAIN }),
    ];
    assert_eq!(golden["routers"].as_object().map(serde_json::Map::len), Some(routings.len()));
    for (name, routing) in routings {
        let router = RouterOptions {
            experts: count("experts"),
            experts_per_token: count("experts_per_token"),
            routing,
        };
        let mut routes = ExpertRoutes::default();
        cpu().route(&logits, &router, &mut routes).expect("route");
        let expected = &golden["routers"][name];
        for row in 0..rows.len() {
            let chosen: Vec<f64> = routes.chosen(row).iter().map(|&e| f64::from(e)).collect();
            assert_eq!(chosen, numbers(&expected["chosen"][row]), "{name}, row {row}");
            let weights = numbers(&expected["weights"][row]);
            for (found, expected) in routes.weights(row).iter().zip(weights) {
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= 2e-6 * expected.abs().max(1.0), "{name}: {found}, {expected}");
            }
        }
    }
}

#[test]
fn equal_logits_go_to_the_lower_index() {
    let logits = [0.5, 2.0, 1.0, 2.0, 1.0, 1.0, 0.0, 2.0];
    let router = RouterOptions { experts: 8, experts_per_token: 5, routing: PLAIN };
    let mut routes = ExpertRoutes::default();
    cpu().route(&logits, &router, &mut routes).expect("route");
    assert_eq!(routes.chosen(0), [1, 3, 7, 2, 4]);
    let grouped = Routing { groups: Some((4, 2)), ..PLAIN };
    let router = RouterOptions { experts: 8, experts_per_token: 3, routing: grouped };
    // Groups of two experts: the best of groups 0, 1 and 3 are equal, so 0 and 1 are kept.
    cpu().route(&logits, &router, &mut routes).expect("route");
    assert_eq!(routes.chosen(0), [1, 3, 2]);
}

#[test]
fn a_row_with_nan_gets_weights_of_nan_and_leaves_the_others() {
    let good = [0.1, 0.9, 0.3, 0.2];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let logits: Vec<f32> = good.into_iter().chain([0.0, bad, 0.0, 0.0]).chain(good).collect();
        for routing in [PLAIN, Routing { softmax_after_choice: true, ..PLAIN }] {
            let router = RouterOptions { experts: 4, experts_per_token: 2, routing };
            let mut routes = ExpertRoutes::default();
            cpu().route(&logits, &router, &mut routes).expect("route");
            assert!(routes.weights(1).iter().all(|weight| weight.is_nan()));
            for row in [0, 2] {
                assert_eq!(routes.chosen(row), [1, 2]);
                assert!(routes.weights(row).iter().all(|weight| weight.is_finite()));
            }
        }
    }
}

#[test]
fn more_experts_of_a_token_than_experts_are_refused() {
    let router = RouterOptions { experts: 4, experts_per_token: 5, routing: PLAIN };
    let mut routes = ExpertRoutes::default();
    assert!(cpu().route(&[0.0; 4], &router, &mut routes).is_err());
}
