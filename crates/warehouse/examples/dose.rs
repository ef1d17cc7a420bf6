//! Measures the effect of shocks on scripted operators, without a model: how games end, by
//! magnitude and rate of shocks, how many of the drawn shocks acted, and the errors that they
//! caused. A study needs rates (doses) at which the world can still be won.
//!
//! `cargo run --release -p warehouse --example dose [LEVEL STEPS MIX OPERATOR GAMES]`
#![allow(clippy::print_stdout, reason = "an example")]

use std::collections::BTreeMap;
use warehouse::{CardField, Magnitude, OperatorSettings, TypeMix, World, WorldConfig, operator};

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let text =
        |at: usize, default: &str| given.get(at).cloned().unwrap_or_else(|| default.to_owned());
    let number = |at: usize, default: u64| text(at, "").parse().unwrap_or(default);
    let (mix, name, games) = (text(2, "realistic"), text(3, "careful"), number(4, 100));
    let mix = TypeMix::ALL
        .iter()
        .copied()
        .find(|known| known.label() == mix)
        .unwrap_or(TypeMix::Realistic);
    println!(
        "{games} games of the {name} operator, level {}, {} steps, {mix}",
        number(0, 1),
        number(1, 500)
    );
    for magnitude in Magnitude::ALL {
        for p_shock in [0.0, 0.05, 0.1, 0.2, 0.3, 0.5] {
            let mut config = WorldConfig {
                complexity_level: number(0, 1) as u8,
                max_steps: number(1, 500),
                ..WorldConfig::default()
            };
            (config.shocks.p_shock, config.shocks.pe_mag, config.shocks.pe_type_mix) =
                (p_shock, *magnitude, mix);
            println!("{magnitude:>6} {p_shock:.2}: {}", endings(&config, &name, games));
        }
    }
}

/// Plays the games of one configuration. Returns the counts of endings and crashes, and means, as
/// text.
fn endings(config: &WorldConfig, name: &str, games: u64) -> String {
    let (mut counts, mut errors) = (BTreeMap::new(), BTreeMap::new());
    let (mut steps, mut entered) = (0, 0);
    let (mut worth, mut exposure, mut induced) = (0.0, 0.0, 0.0);
    let (mut drawn, mut applied) = (0, 0);
    for seed in 0..games {
        let mut world = World::new(config, seed).expect("a valid configuration");
        let settings = OperatorSettings { seed, hazard: 0.002, beta: 0.05 };
        let mut player = operator(name, &settings).expect("a known operator");
        while world.ending().is_none() {
            let turn = player.act(&world);
            let record = world.step(&turn);
            for pair in record.pairs {
                let (sum, count) = errors.entry(pair.field).or_insert((0.0, 0.0));
                (*sum, *count) = (*sum + pair.error, *count + 1.0);
            }
            steps += 1;
        }
        let dose = world.dose();
        (drawn, applied) = (drawn + dose.drawn.iter().sum::<u64>(), applied + dose.total());
        worth += world.totals().net_worth;
        (exposure, induced) =
            (exposure + world.exposure().total(), induced + world.exposure().induced());
        entered += u64::from(world.monitor().is_some_and(|m| m.entry_step().is_some()));
        *counts
            .entry(world.ending().map_or("none", warehouse::EpisodeEnd::label).to_owned())
            .or_insert(0) += 1;
        for crash in world.crashes() {
            *counts.entry(format!("crash:{}", crash.kind)).or_insert(0) += 1;
        }
    }
    let mean = |sum: f64| sum / games as f64;
    let error = |field: &CardField| match errors.get(field) {
        Some((sum, count)) => format!("{field} {:.3}", sum / count),
        None => format!("{field} -"),
    };
    let errors: Vec<String> = CardField::ALL.iter().map(error).collect();
    format!(
        "{counts:?}; entered {entered}, {:.0} steps, net worth {:.0}, {:.1} shocks of which {:.1}% acted, \
         exposure {:.1} of which {:.1} induced; errors: {}",
        mean(steps as f64),
        mean(worth),
        mean(drawn as f64),
        100.0 * applied as f64 / drawn.max(1) as f64,
        mean(exposure),
        mean(induced),
        errors.join(", ")
    )
}
