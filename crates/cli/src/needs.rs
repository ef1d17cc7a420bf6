//! The models that an experiment needs on the machines that will run it, checked before it starts
//! because compute nodes have no internet.

use crate::args::PlacementArgs;
use crate::failure::Failure;
use crate::{machine, session};
use checkpoint::{Checkpoint, SearchPaths};
use error_kind::ErrorKind;
use experiment::Config;
use experiment::slurm::{Site, TaskResources};
use placement::{Tier, bytes_text};
use serde::Serialize;
use std::path::Path;
use text::{ChatTemplate, Tokenizer};

/// A model that an experiment needs, in a cache or on a server.
#[derive(Debug, Serialize)]
pub struct Need {
    pub model: String,
    /// The model's path, or the server's address.
    pub place: Option<String>,
    /// Resources that one task needs; zeros for a model on a server.
    #[serde(flatten)]
    pub fit: TaskResources,
    /// What is missing and how to provide it; `None` if the model can be used.
    pub problem: Option<String>,
    /// The error kind of `problem`; meaningless without one.
    #[serde(skip)]
    pub kind: ErrorKind,
}

/// Checks every model of a configuration, even after a model with a problem.
pub fn needs(config: &Config, jobs: usize, site: &Site) -> Vec<Need> {
    let search = search(site);
    config.model_names().into_iter().map(|name| need(config, name, jobs, site, &search)).collect()
}

/// Fails if any model has a problem. The message names all problems; the error kind is that of the
/// first.
///
/// # Errors
/// `NotFound` for a missing model, `BadInput` for a damaged one, `Unavailable` for a missing key of
/// a server, `OutOfMemory` for a model that does not fit.
pub fn check_all(needs: &[Need]) -> Result<(), Failure> {
    let missing: Vec<&Need> = needs.iter().filter(|need| need.problem.is_some()).collect();
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

fn need(config: &Config, model: String, jobs: usize, site: &Site, search: &SearchPaths) -> Need {
    let mut need = Need {
        model,
        place: None,
        fit: TaskResources::default(),
        problem: None,
        kind: ErrorKind::Bug,
    };
    if let Err(failure) = check(config, &mut need, jobs, site, search) {
        (need.kind, need.problem) = (failure.kind, Some(failure.text));
    }
    need
}

fn check(
    config: &Config,
    need: &mut Need,
    jobs: usize,
    site: &Site,
    search: &SearchPaths,
) -> Result<(), Failure> {
    if let Some(server) = config.model_settings(&need.model, jobs).server {
        need.place = Some(server.base_url);
        return check_key(&server.api_key_env);
    }
    let with_remedy = |failure: Failure| {
        if failure.kind == ErrorKind::Io {
            // Fetching a model again does not open a closed cache.
            return failure;
        }
        let home = site.hf_home.as_ref().map_or(String::new(), |home| format!("HF_HOME={home} "));
        let model = &need.model;
        let remedy = format!("On a machine with internet: {home}vendomini fetch {model}");
        Failure::new(
            failure.kind,
            format!("{}. {remedy}", failure.text.trim_end_matches(['.', '\n'])),
        )
    };
    let path = checkpoint::locate(&need.model, search).map_err(|e| with_remedy(e.into()))?;
    need.place = Some(path.display().to_string());
    let checkpoint = Checkpoint::open(&path).map_err(|e| with_remedy(e.into()))?;
    let missing = |what: &str| {
        let text = format!("{}: expected a {what}, found none", path.display());
        with_remedy(Failure::new(ErrorKind::NotFound, text))
    };
    Tokenizer::from_checkpoint(&checkpoint)?.ok_or_else(|| missing("tokenizer"))?;
    ChatTemplate::from_checkpoint(&checkpoint)?.ok_or_else(|| missing("chat template"))?;
    need.fit = fit(config, &need.model, &checkpoint, jobs, site)?;
    Ok(())
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

/// The resources of one task: the fewest GPUs of the site's node that hold the whole model (all of
/// them if it does not fit on them), and the bytes of host memory that the plan uses besides.
fn fit(
    config: &Config,
    name: &str,
    checkpoint: &Checkpoint,
    jobs: usize,
    site: &Site,
) -> Result<TaskResources, Failure> {
    let mut machine = match &site.machine {
        Some(file) => machine::described(Path::new(file))?,
        None => machine::probed(checkpoint)?,
    };
    let settings = config.model_settings(name, jobs);
    let args = PlacementArgs {
        model: name.to_string(),
        machine: None,
        max_memory: settings.max_memory,
        device_map: settings.device_map.unwrap_or_else(|| "auto".into()),
        dtype: settings.dtype,
        kv_dtype: settings.kv_dtype,
        context: Some(checkpoint.config.max_positions.min(settings.context_length as usize)),
        concurrency: jobs,
        devices: None,
        fallback: "keep".into(),
    };
    let all = std::mem::take(&mut machine.gpus);
    let mut last = None;
    for gpus in usize::from(!all.is_empty())..=all.len() {
        machine.gpus = all[..gpus].to_vec();
        let planned = session::plan_on(&args, checkpoint, &machine);
        let fits = planned.as_ref().is_ok_and(|ladder| ladder.plan.spill.is_none());
        last = Some((gpus, planned));
        if fits {
            break;
        }
    }
    let (gpus, ladder) = last.ok_or_else(|| Failure::software("no plan was tried"))?;
    let plan =
        ladder.map_err(|f| Failure::new(f.kind, format!("on {gpus} GPUs: {}", f.text)))?.plan;
    let host = plan.tiers.iter().filter(|tier| tier.tier == Tier::Cpu);
    Ok(TaskResources { gpus: gpus as u64, host_bytes: host.map(|tier| tier.total_bytes()).sum() })
}

/// Reads a site file; returns the default settings if there is none.
///
/// # Errors
/// `NotFound` if the file cannot be read, `Usage` for an invalid key or value.
pub fn read_site(file: Option<&Path>) -> Result<Site, Failure> {
    let Some(file) = file else { return Ok(Site::default()) };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::new(ErrorKind::NotFound, format!("site file {name}: {e}")))?;
    Ok(Site::from_yaml(&name, &text).map_err(experiment::ExperimentError::from)?)
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
