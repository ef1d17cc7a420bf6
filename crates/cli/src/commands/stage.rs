//! `vendomini stage`: copies a model to the node's local disk before a load does, or removes such
//! copies.

use crate::args::StageCommandArgs;
use crate::failure::Failure;
use crate::output;
use crate::session;
use crate::stage::{self, StagedPlace};
use placement::short_text;
use serde::Serialize;
use watch::Watch;

/// The JSON document that `--json` prints for a model.
#[derive(Serialize)]
struct StageDocument {
    model: String,
    /// The copy, which can be loaded like any model.
    staged: String,
    bytes: u64,
    copied_bytes: u64,
    verified: bool,
}

/// The JSON document that `--clean --json` prints.
#[derive(Serialize)]
struct CleanDocument {
    removed: Vec<RemovedDocument>,
    /// Copies that stayed, since processes use them.
    in_use: usize,
}

#[derive(Serialize)]
struct RemovedDocument {
    model: String,
    bytes: u64,
}

pub fn run(args: &StageCommandArgs, watch: &Watch) -> Result<u8, Failure> {
    let place = StagedPlace::of(args.to.as_deref())?;
    match &args.model {
        Some(model) => copy(args, model, &place, watch),
        None => clean(args, &place),
    }
}

fn copy(
    args: &StageCommandArgs,
    model: &str,
    place: &StagedPlace,
    watch: &Watch,
) -> Result<u8, Failure> {
    let source = session::open(model, watch)?;
    let (_, staged) = stage::stage_at(place, &source, watch)?;
    if args.verify {
        staged.verify(watch)?;
    }
    let staged_root = staged.root.display().to_string();
    if !args.json {
        return output::line(&staged_root).map(|()| 0);
    }
    output::json(&StageDocument {
        model: source.root.display().to_string(),
        staged: staged_root,
        bytes: staged.bytes,
        copied_bytes: staged.copied_bytes,
        verified: args.verify,
    })?;
    Ok(0)
}

fn clean(args: &StageCommandArgs, place: &StagedPlace) -> Result<u8, Failure> {
    let (removed, in_use) = staging::remove_unused(place.folder())?;
    if args.json {
        let removed = removed.into_iter();
        let removed = removed.map(|copy| RemovedDocument { model: copy.source, bytes: copy.bytes });
        output::json(&CleanDocument { removed: removed.collect(), in_use })?;
        return Ok(0);
    }
    for copy in &removed {
        output::line(&format!("removed the copy of {}, {}", copy.source, short_text(copy.bytes)))?;
    }
    if removed.is_empty() {
        output::line(&format!("no unused copies in {}", place.folder().display()))?;
    }
    if in_use > 0 {
        output::line(&format!("{in_use} in use stay"))?;
    }
    Ok(0)
}
