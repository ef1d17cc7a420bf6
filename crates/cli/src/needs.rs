//! The models that an experiment needs on the machines that will run it, checked before it starts
//! because compute nodes have no internet.

use crate::failure::Failure;
use crate::machine;
use crate::machine_fit::{self, MachineFit};
use crate::provider::thinking_marks;
use crate::session;
use checkpoint::{Checkpoint, SearchPaths};
use error_kind::ErrorKind;
use experiment::slurm::{Site, TaskResources};
use experiment::{Config, ModelSettings};
use placement::{Machine, bytes_text};
use serde::Serialize;
use std::path::Path;

/// Begins the remedy for an absent model, which ends the text of its problem.
pub const REMEDY: &str = "On a machine with internet: ";

/// Where the shape of a model without valid files is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShapeSource {
    /// The published configuration, by the model's name.
    Published,
    /// The name is not known, so the model is not planned.
    Unknown,
}

/// A model that an experiment needs, in a cache or on a server.
#[derive(Debug, Serialize)]
pub struct Need {
    pub model: String,
    /// The model's path, or the server's address.
    pub place: Option<String>,
    /// Resources that one task needs; zeros for a model on a server.
    #[serde(flatten)]
    pub fit: TaskResources,
    /// Whether the model's files are there and valid, or its server's key is set.
    pub available: bool,
    /// Whether the model is on a server.
    #[serde(skip)]
    pub on_server: bool,
    /// Whether `fit` is a plan of the model's files.
    #[serde(skip)]
    pub planned: bool,
    /// Where the shape in `machines` is from; `None`: from the model's files, or there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<ShapeSource>,
    /// Where the model fits; also for a model without valid files, if its shape is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<MachineFit>,
    /// What is missing and how to provide it; `None` if the model can be used.
    pub problem: Option<String>,
    /// The error kind of `problem`; meaningless without one.
    #[serde(skip)]
    pub kind: ErrorKind,
}

/// Checks every model of a configuration, even after a model with a problem.
pub fn needs(config: &Config, jobs: usize, site: &Site) -> Vec<Need> {
    let names = config.model_names().into_iter();
    names.map(|name| need(config, name, jobs, site).0).collect()
}

/// [`needs`], where a model without valid files is planned from its published shape, if that is
/// known.
///
/// # Errors
/// A defect in a published shape.
pub fn needs_or_published(config: &Config, jobs: usize, site: &Site) -> Result<Vec<Need>, Failure> {
    let mut needs = needs(config, jobs, site);
    for need in needs.iter_mut().filter(|need| !need.available && !need.on_server) {
        let Some(checkpoint) = checkpoint::preset_checkpoint(&need.model)? else {
            need.shape = Some(ShapeSource::Unknown);
            continue;
        };
        match of_machine(config, &need.model, &checkpoint, jobs, &of_model(site, &need.model)?) {
            Ok(fit) => (need.fit, need.shape) = (fit, Some(ShapeSource::Published)),
            Err(failure) => {
                let problem = need.problem.take().unwrap_or_default();
                need.kind = failure.kind;
                need.problem = Some(format!("{problem}. By its published shape: {}", failure.text));
            }
        }
    }
    Ok(needs)
}

/// The site's settings of one model.
///
/// # Errors
/// `Usage` if entries of the site's `models` contradict each other.
pub fn of_model(site: &Site, model: &str) -> Result<Site, Failure> {
    site.for_model(model).map_err(|why| Failure::usage(format!("the site file: {why}")))
}

/// [`needs`], and where each model fits: on this machine, and on those of the machine files
/// `files`, by their names.
///
/// # Errors
/// `Unavailable` if this machine cannot be probed.
pub fn needs_with_machines(
    config: &Config,
    jobs: usize,
    site: &Site,
    files: &[(String, Machine)],
) -> Result<Vec<Need>, Failure> {
    let mut needs = Vec::new();
    for name in config.model_names() {
        let (mut need, found) = need(config, name, jobs, site);
        let planned = match found {
            Some(checkpoint) => Some(checkpoint),
            None if need.on_server => None,
            None => {
                let published = checkpoint::preset_checkpoint(&need.model)?;
                let known = published.is_some();
                need.shape =
                    Some(if known { ShapeSource::Published } else { ShapeSource::Unknown });
                published
            }
        };
        if let Some(checkpoint) = planned {
            let here = ("this machine".to_owned(), machine::probed(&checkpoint)?);
            for (label, machine) in std::iter::once(&here).chain(files) {
                let fit = MachineFit::of(config, &need.model, &checkpoint, jobs, label, machine);
                need.machines.push(fit);
            }
        }
        needs.push(need);
    }
    Ok(needs)
}

/// Fails if any model has a problem. The message names all problems; the error kind is that of the
/// first.
///
/// # Errors
/// `NotFound` for a missing model, `BadInput` for a damaged one, `Unavailable` for a missing key of
/// a server, `OutOfMemory` for a model that does not fit.
pub fn check_all<'a>(needs: impl IntoIterator<Item = &'a Need>) -> Result<(), Failure> {
    let missing: Vec<&Need> = needs.into_iter().filter(|need| need.problem.is_some()).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let problems = missing
        .iter()
        .filter_map(|need| Some(format!("{}: {}", need.model, need.problem.as_ref()?)));
    let problems = problems.collect::<Vec<_>>().join("\n  ");
    Err(Failure::new(
        first.kind,
        format!("the experiment cannot run on nodes without internet:\n  {problems}"),
    ))
}

/// The caches in which the nodes will look: those of this process, but with the `HF_HOME` of the
/// site file, which the batch scripts export.
fn search(site: &Site) -> SearchPaths {
    SearchPaths::from_variables(&|key| match (key, &site.hf_home) {
        ("HF_HOME", Some(home)) => Some(home.into()),
        _ => std::env::var_os(key),
    })
}

/// What is needed of one model, and the model if it is there.
fn need(config: &Config, model: String, jobs: usize, site: &Site) -> (Need, Option<Checkpoint>) {
    let mut need = Need {
        model,
        place: None,
        fit: TaskResources::default(),
        available: false,
        on_server: false,
        planned: false,
        shape: None,
        machines: Vec::new(),
        problem: None,
        kind: ErrorKind::Bug,
    };
    let mut found = None;
    let checked = of_model(site, &need.model)
        .and_then(|site| check(config, &mut need, &mut found, jobs, &site));
    if let Err(failure) = checked {
        (need.kind, need.problem) = (failure.kind, Some(failure.text));
    }
    (need, found)
}

/// Fills in `need`, and `found` if the model is in a cache.
fn check(
    config: &Config,
    need: &mut Need,
    found: &mut Option<Checkpoint>,
    jobs: usize,
    site: &Site,
) -> Result<(), Failure> {
    let settings = config.model_settings(&need.model, jobs);
    if let Some(server) = settings.server {
        need.on_server = true;
        need.place = Some(server.base_url);
        check_key(&server.api_key_env)?;
        need.available = true;
        return Ok(());
    }
    let path = checkpoint::locate(&need.model, &search(site));
    let path = path.map_err(|error| with_remedy(&need.model, site, error.into()))?;
    need.place = Some(path.display().to_string());
    let opened = Checkpoint::open(&path);
    let checkpoint =
        found.insert(opened.map_err(|error| with_remedy(&need.model, site, error.into()))?);
    check_text(&settings, checkpoint).map_err(|failure| match failure.kind {
        ErrorKind::NotFound => with_remedy(&need.model, site, failure),
        _ => failure,
    })?;
    need.available = true;
    need.fit = of_machine(config, &need.model, checkpoint, jobs, site)?;
    need.planned = true;
    Ok(())
}

/// What one task of a model needs on the site's machine.
fn of_machine(
    config: &Config,
    model: &str,
    checkpoint: &Checkpoint,
    jobs: usize,
    site: &Site,
) -> Result<TaskResources, Failure> {
    let machine = match &site.machine {
        Some(file) => machine::described(Path::new(file))?,
        None => machine::probed(checkpoint)?,
    };
    Ok(machine_fit::smallest(config, model, checkpoint, jobs, &machine)?.0)
}

/// Checks a model's tokenizer and chat template, and that it thinks if a cell does.
fn check_text(settings: &ModelSettings, checkpoint: &Checkpoint) -> Result<(), Failure> {
    let tokenizer = session::tokenizer(checkpoint)?;
    let file = settings.chat_template.as_deref().map(Path::new);
    let template = session::template(checkpoint, file)?;
    thinking_marks(settings, &template, &tokenizer).map(drop)
}

/// `failure` with the command that fetches the model.
fn with_remedy(model: &str, site: &Site, failure: Failure) -> Failure {
    // Fetching a model again does not open a closed cache, and a folder is not on the hub.
    if failure.kind == ErrorKind::Io || Path::new(model).exists() {
        return failure;
    }
    let home = site.hf_home.as_ref().map_or(String::new(), |home| format!("HF_HOME={home} "));
    let remedy = format!("{REMEDY}{home}vendomini fetch {model}");
    let text = failure.text.trim_end_matches(['.', '\n']);
    Failure::new(failure.kind, format!("{text}. {remedy}"))
}

fn check_key(variable: &str) -> Result<(), Failure> {
    if variable.is_empty() || std::env::var_os(variable).is_some_and(|key| !key.is_empty()) {
        return Ok(());
    }
    let remedy = format!(
        "export {variable}, or set provider.api_key_env to another name, or to \"\" for a server without keys"
    );
    Err(Failure::new(
        ErrorKind::Unavailable,
        format!("the server's key is not in {variable}: {remedy}"),
    ))
}

/// Reads a site file; returns the default settings if there is none.
///
/// # Errors
/// `NotFound` if the file cannot be read, `Usage` for an invalid key or value.
pub fn read_site(file: Option<&Path>) -> Result<Site, Failure> {
    let Some(file) = file else { return Ok(Site::default()) };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => {
            Failure::usage(format!("site file {name}: expected a text in UTF-8"))
        }
        _ => Failure::new(ErrorKind::NotFound, format!("site file {name}: {error}")),
    })?;
    Ok(Site::from_yaml(&name, &text).map_err(experiment::ExperimentError::from)?)
}

impl Need {
    /// Resources that one task needs; `None` if the model was not planned.
    pub fn resources(&self) -> Option<TaskResources> {
        let known = self.on_server || self.planned || self.shape == Some(ShapeSource::Published);
        known.then_some(self.fit)
    }

    /// Whether the problem is only that something must be provided before the nodes can use the
    /// model, whose resources are known.
    pub fn is_only_absent(&self) -> bool {
        let absent = matches!(self.kind, ErrorKind::NotFound | ErrorKind::Unavailable);
        absent && self.resources().is_some()
    }
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = self.place.as_deref().unwrap_or("no cache");
        match &self.problem {
            Some(problem) => write!(f, "{}: {problem}", self.model),
            None if place.starts_with("http") => {
                write!(f, "{}: on {place}, which was not contacted", self.model)
            }
            None => write!(
                f,
                "{}: in {place}, needs {} GPUs and {} of host memory",
                self.model,
                self.fit.gpus,
                bytes_text(self.fit.host_bytes)
            ),
        }
    }
}
