//! Measures the effect of shocks on scripted operators, without a model: how 100 games end, by
//! magnitude and rate of shocks. A study needs rates (doses) at which the world can still be won.
//!
//! `cargo run --release -p warehouse --example dose [LEVEL STEPS MIX OPERATOR]`
#![allow(clippy::print_stdout, reason = "an example")]

use std::collections::BTreeMap;
use warehouse::{Magnitude, TypeMix, World, WorldConfig, operator};

const GAMES: u64 = 100;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let text =
        |at: usize, default: &str| given.get(at).cloned().unwrap_or_else(|| default.to_owned());
    let number = |at: usize, default: u64| text(at, "").parse().unwrap_or(default);
    let (mix, name) = (text(2, "realistic"), text(3, "careful"));
    let mix = TypeMix::ALL
        .iter()
        .copied()
        .find(|known| known.label() == mix)
        .unwrap_or(TypeMix::Realistic);
    println!(
        "{GAMES} games of the {name} operator, level {}, {} steps, {mix}",
        number(0, 1),
        number(1, 500)
    );
    for magnitude in Magnitude::ALL {
        for tenths in [0, 1, 2, 3, 5, 7, 10] {
            let mut config = WorldConfig {
                complexity_level: number(0, 1) as u8,
                max_steps: number(1, 500),
                ..WorldConfig::default()
            };
            (config.shocks.p_shock, config.shocks.pe_mag, config.shocks.pe_type_mix) =
                (f64::from(tenths) / 10.0, *magnitude, mix);
            config.crash_detector.continue_after_crash = config.max_steps;
            println!("{magnitude:>6} {:.1}: {}", config.shocks.p_shock, endings(&config, &name));
        }
    }
}

/// Plays the games of one configuration. Returns the counts of endings and crashes, and the means
/// of steps, orders and net worth, as text.
fn endings(config: &WorldConfig, name: &str) -> String {
    let (mut counts, mut steps, mut shipped, mut expired, mut worth) =
        (BTreeMap::new(), 0, 0, 0, 0.0);
    for seed in 0..GAMES {
        let mut world = World::new(config, seed).expect("a valid configuration");
        let mut player = operator(name, seed).expect("a known operator");
        while world.ending().is_none() {
            let turn = player.act(&world);
            world.advance(&turn);
            steps += 1;
        }
        let totals = world.totals();
        (shipped, expired, worth) = (
            shipped + totals.orders_shipped,
            expired + totals.orders_expired,
            worth + totals.net_worth,
        );
        *counts
            .entry(world.ending().map_or("none", warehouse::EpisodeEnd::label).to_owned())
            .or_insert(0) += 1;
        for crash in world.crashes() {
            *counts.entry(format!("crash:{}", crash.kind)).or_insert(0) += 1;
        }
    }
    let mean = |sum: u64| sum / GAMES;
    format!(
        "{counts:?}; means: {} steps, {} shipped, {} expired, net worth {:.0}",
        mean(steps),
        mean(shipped),
        mean(expired),
        worth / GAMES as f64
    )
}
