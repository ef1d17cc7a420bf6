//! Writes a synthetic checkpoint.
//!
//! `cargo run --release -p checkpoint --example synth -- LIKE DIR [SHARDS|-] [SEED]`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example")]

use checkpoint::{Fill, SynthRequest, SynthSource, synth};

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let [_, like, folder, rest @ ..] = args.as_slice() else {
        eprintln!("usage: synth LIKE DIR [SHARDS|-] [SEED]");
        return 2.into();
    };
    let request = SynthRequest {
        like: SynthSource::parse(like),
        shards: rest.first().and_then(|n| n.parse().ok()),
        fill: rest
            .get(1)
            .and_then(|n| n.parse().ok())
            .map_or(Fill::Sparse, |seed| Fill::Random { seed }),
        folder: folder.into(),
    };
    match synth(&request, &|_| true) {
        Ok(report) => {
            println!("{report:?}, {:.2} GB/s", report.weights_bytes as f64 / report.seconds / 1e9)
        }
        Err(error) => {
            eprintln!("{error}");
            return std::process::ExitCode::FAILURE;
        }
    }
    std::process::ExitCode::SUCCESS
}
