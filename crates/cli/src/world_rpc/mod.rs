//! The methods of `vendomini world --stdio`: describe, reset, step, state, close.

mod documents;
mod params;

use crate::failure::Failure;
use crate::rpc::{Methods, RpcError, code};
use documents::{DescribeDocument, ResetDocument, StateDocument, StepDocument};
use error_kind::{ErrorKind, HasKind};
use experiment::{Config, ExperimentError, ExternalRun};
use params::{DescribeParams, ResetParams, StepParams, read};
use results::RawJson;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// A method needs an episode, and there is none.
const NO_EPISODE: i64 = -32_000;
/// A step was asked of an episode that has ended.
const EPISODE_ENDED: i64 = -32_001;

const METHODS: [&str; 6] = ["initialize", "describe", "reset", "step", "state", "close"];

/// A configuration file, or `None` for the defaults of all keys, and its settings.
type Source = (Option<PathBuf>, Vec<String>);

/// The world server: a configuration, and the episode in progress.
pub struct WorldMethods {
    default: Source,
    /// The configuration read last. It is read once as long as requests name the same one.
    loaded: (Source, Config),
    episode: Option<EpisodeInProgress>,
    closed: bool,
}

struct EpisodeInProgress {
    run: ExternalRun,
    /// Whether answers contain rows as `run` stores them.
    rows: bool,
}

impl WorldMethods {
    /// A server whose requests mean this configuration unless they name another.
    ///
    /// # Errors
    /// The configuration cannot be read, or is wrong.
    pub fn new(config: Option<PathBuf>, sets: Vec<String>) -> Result<Self, Failure> {
        let default = (config, sets);
        let loaded = (default.clone(), load(&default)?);
        Ok(WorldMethods { default, loaded, episode: None, closed: false })
    }

    /// Makes the configuration of a request the loaded one.
    fn load(&mut self, config: Option<PathBuf>, sets: Option<Vec<String>>) -> Result<(), RpcError> {
        let source = match (config, sets) {
            (None, None) => self.default.clone(),
            (None, Some(sets)) => (self.default.0.clone(), sets),
            (Some(config), sets) => (Some(config), sets.unwrap_or_default()),
        };
        if source != self.loaded.0 {
            let config = load(&source).map_err(invalid)?;
            self.loaded = (source, config);
        }
        Ok(())
    }

    fn describe(&mut self, params: DescribeParams) -> Result<RawJson, RpcError> {
        self.load(params.config, params.sets)?;
        let config = &self.loaded.1;
        let cell = params.cell.choice();
        let cell = match cell == experiment::CellChoice::default() {
            true => config.distinct_cells()[0],
            false => config.choose_cell(&cell).map_err(invalid)?,
        };
        Ok(RawJson::of(&DescribeDocument::new(config, cell)))
    }

    fn reset(&mut self, params: ResetParams) -> Result<RawJson, RpcError> {
        let ResetParams { config, sets, rows, choice } = params;
        self.load(config, sets)?;
        let config = &self.loaded.1;
        let run = ExternalRun::new(config, &choice).map_err(invalid)?;
        let answer = RawJson::of(&ResetDocument::new(config, &run));
        self.episode = Some(EpisodeInProgress { run, rows });
        Ok(answer)
    }

    fn step(&mut self, params: StepParams) -> Result<RawJson, RpcError> {
        let EpisodeInProgress { run, rows } = self.episode.as_mut().ok_or_else(no_episode)?;
        let (text, finish) = params.reply()?;
        let net_worth = run.world().totals().net_worth;
        match run.step(text, finish).map_err(invalid)? {
            Some(row) => Ok(RawJson::of(&StepDocument::new(run, row, net_worth, *rows))),
            None => {
                let text = format!(
                    "expected an episode in progress, found one that ended ({}) after {} steps: \
                     reset",
                    run.ending().unwrap_or_default(),
                    run.steps()
                );
                Err(RpcError::new(EPISODE_ENDED, text))
            }
        }
    }

    fn state(&self) -> Result<RawJson, RpcError> {
        let episode = self.episode.as_ref().ok_or_else(no_episode)?;
        Ok(RawJson::of(&StateDocument::of(&episode.run)))
    }
}

impl Methods for WorldMethods {
    fn call(&mut self, method: &str, params: Map<String, Value>) -> Result<RawJson, RpcError> {
        match method {
            "initialize" => {
                let params: DescribeParams = read(params)?;
                let described = self.describe(params)?;
                self.default.clone_from(&self.loaded.0);
                Ok(described)
            }
            "describe" => self.describe(read(params)?),
            "reset" => self.reset(ResetParams::read(params)?),
            "step" => self.step(read(params)?),
            "state" => {
                params::none(&params)?;
                self.state()
            }
            "close" => {
                params::none(&params)?;
                self.closed = true;
                Ok(RawJson::default())
            }
            other => {
                let text = format!("expected one of {}, found {other:?}", METHODS.join(", "));
                Err(RpcError::new(code::METHOD_NOT_FOUND, text))
            }
        }
    }

    fn closed(&self) -> bool {
        self.closed
    }
}

fn load((file, sets): &Source) -> Result<Config, ExperimentError> {
    match file {
        Some(file) => Config::load(file, sets),
        None => Config::parse("", "the defaults", sets),
    }
}

fn no_episode() -> RpcError {
    RpcError::new(NO_EPISODE, "expected an episode in progress, found none: reset")
}

/// The error of a request with a configuration or a choice that cannot be used.
fn invalid(error: ExperimentError) -> RpcError {
    let code = match error.kind() {
        ErrorKind::Usage | ErrorKind::NotFound | ErrorKind::BadInput => code::INVALID_PARAMS,
        _ => code::INTERNAL_ERROR,
    };
    RpcError::new(code, error.to_string())
}
