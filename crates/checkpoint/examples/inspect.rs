//! Opens checkpoints and prints their contents.
//!
//! `cargo run -p checkpoint --example inspect -- MODEL...`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example")]

use checkpoint::{Checkpoint, SearchPaths, locate};
use std::time::Instant;

fn main() -> std::process::ExitCode {
    for model in std::env::args().skip(1) {
        let begun = Instant::now();
        let opened =
            locate(&model, &SearchPaths::from_env()).and_then(|path| Checkpoint::open(&path));
        let ms = begun.elapsed().as_secs_f64() * 1e3;
        match opened {
            Ok(checkpoint) => describe(&checkpoint, ms),
            Err(error) => {
                eprintln!("{error}");
                return std::process::ExitCode::FAILURE;
            }
        }
    }
    std::process::ExitCode::SUCCESS
}

fn describe(checkpoint: &Checkpoint, ms: f64) {
    let inventory = &checkpoint.inventory;
    println!("{} {:?} in {ms:.1} ms", checkpoint.root.display(), checkpoint.format);
    println!(
        "{} shards, {} tensors, {} bytes",
        inventory.shards.len(),
        inventory.tensors.len(),
        inventory.weights_bytes()
    );
    println!("{:?}", checkpoint.config);
    println!("{:?}", checkpoint.generation);
    let begun = Instant::now();
    match checkpoint.identity() {
        Ok(id) => println!(
            "{:?} {} in {:.1} ms",
            id.basis,
            id.digest,
            begun.elapsed().as_secs_f64() * 1e3
        ),
        Err(error) => println!("{error}"),
    }
    for note in &checkpoint.notes {
        println!("note: {note}");
    }
}
