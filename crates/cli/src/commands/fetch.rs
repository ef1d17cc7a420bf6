use crate::args::FetchArgs;
use crate::failure::Failure;
use crate::output;
use checkpoint::SearchPaths;
use serde::Serialize;
use watch::{Stage, Watch};

#[derive(Serialize)]
struct Document {
    model: String,
    path: String,
}

/// `vendomini fetch`: brings a model into the cache.
pub fn run(args: &FetchArgs, watch: &Watch) -> Result<u8, Failure> {
    let search = SearchPaths::from_env();
    let name = checkpoint::hub_name(&args.model).to_string();
    let path = match checkpoint::locate(&args.model, &search) {
        Ok(path) => path,
        Err(missing) => {
            let Some(models) = search.model_folders.first() else { return Err(missing.into()) };
            let _stage = watch.enter(Stage::Fetch);
            let seat = watch.seat("fetch");
            seat.at(Stage::Fetch, &name, 0);
            fetch::fetch(&name, models, &|| watch.cancelled())?
        }
    };
    let path = path.display().to_string();
    match args.json {
        true => output::json(&Document { model: name, path })?,
        false => output::line(&path)?,
    }
    Ok(0)
}
