//! `vendomini synth`: writes a synthetic checkpoint with the shapes of a known model.

use crate::args::SynthArgs;
use crate::failure::Failure;
use crate::output;
use checkpoint::{Fill, SynthRequest, SynthSource, synth};
use watch::{Stage, Watch};

pub fn run(args: &SynthArgs, watch: &Watch) -> Result<u8, Failure> {
    let request = SynthRequest {
        like: SynthSource::parse(&args.like),
        shards: Some(args.shards),
        fill: match args.random {
            None => Fill::Sparse,
            Some(seed) if args.sparse => Fill::RandomRoutes { seed },
            Some(seed) => Fill::Random { seed },
        },
        folder: args.dir.clone(),
    };
    let _stage = watch.enter(Stage::Store);
    let report = synth(&request, &|_bytes| {
        watch.beat();
        !watch.canceled()
    })?;
    output::line(&format!(
        "{}: {}, {} tensors in {} shards, {} bytes, {:.2} s",
        report.folder.display(),
        report.class_name,
        report.tensors,
        report.shards,
        report.weights_bytes,
        report.seconds
    ))?;
    Ok(0)
}
