//! One experiment of a submission: its models, their tasks and scripts.

use crate::args::SubmitArgs;
use crate::commands::run::JOBS_DEFAULT;
use crate::failure::Failure;
use crate::needs::{self, Need};
use crate::submissions::SUBMISSIONS;
use experiment::slurm::{
    ModelTasks, ScriptPaths, Site, TaskRequest, TaskResources, model_tasks, script,
};
use experiment::{Config, CostRates, SCRIPTED};
use std::path::{Path, PathBuf};

/// An experiment that is to be submitted.
pub struct Phase {
    pub config: Config,
    /// The folder of the experiment's results.
    pub folder: PathBuf,
    /// Concurrent runs in each task.
    pub jobs: usize,
    pub needs: Vec<Need>,
    pub models: Vec<ModelScript>,
}

/// One model's tasks and the script that they execute.
pub struct ModelScript {
    pub tasks: ModelTasks,
    /// The site's settings for this model.
    pub site: Site,
    pub path: PathBuf,
    pub text: String,
}

impl Phase {
    /// Plans an experiment, without writing anything. With `--dry-run` and `--check`, models that
    /// are absent are planned from their published shapes.
    ///
    /// # Errors
    /// What is wrong with the configuration, the site or a model.
    pub fn plan(file: &Path, args: &SubmitArgs, site: &Site) -> Result<Phase, Failure> {
        let config = Config::load(file, &args.set)?;
        let jobs = args.jobs.unwrap_or(JOBS_DEFAULT).max(1);
        let needs = if args.submits() {
            let needs = needs::needs(&config, jobs, site);
            needs::check_all(&needs)?;
            needs
        } else {
            needs::needs_or_published(&config, jobs, site)?
        };
        let folder = absolute(&config.folder(args.out.as_deref()))?;
        let mut phase = Phase { config, folder, jobs, needs, models: Vec::new() };
        for (tasks, site) in phase.tasks(args, site)? {
            let (path, text) = phase.script(&tasks, &site, file, args)?;
            phase.models.push(ModelScript { tasks, site, path, text });
        }
        Ok(phase)
    }

    /// The tasks of each model, with the site's settings for it.
    fn tasks(&self, args: &SubmitArgs, site: &Site) -> Result<Vec<(ModelTasks, Site)>, Failure> {
        let rates = CostRates { runs_in_flight: self.jobs as f64, ..CostRates::default() };
        let estimate = experiment::estimate(&self.config, &rates)?;
        let counts = self.config.counts();
        let mut all = Vec::new();
        let mut add = |model: &str, runs, resources, estimate| -> Result<(), Failure> {
            let tasks = args.tasks.map(|n| n as usize);
            let site = needs::of_model(site, model)?;
            let request = TaskRequest { model, runs, resources, estimate, tasks, jobs: self.jobs };
            all.push((model_tasks(request, &site), site));
            Ok(())
        };
        let mut of_models = 0;
        for need in &self.needs {
            let runs = counts.models.get(&need.model).copied().unwrap_or(0);
            of_models += runs;
            add(&need.model, runs, need.resources(), estimate.models.get(&need.model))?;
        }
        // People play their runs by `vendomini play`, outside of jobs.
        let human = counts.models.get("human").copied().unwrap_or(0);
        let scripted = counts.runs - human - of_models;
        if scripted > 0 {
            add(SCRIPTED, scripted, Some(TaskResources::default()), None)?;
        }
        Ok(all)
    }

    /// The path and the text of a model's batch script.
    fn script(
        &self,
        tasks: &ModelTasks,
        site: &Site,
        config: &Path,
        args: &SubmitArgs,
    ) -> Result<(PathBuf, String), Failure> {
        let program = std::env::current_exe()
            .map_err(|e| Failure::io("cannot find this program's own path", &e))?;
        let jobs = self.folder.join("slurm");
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let model: String = tasks.model.chars().map(plain).collect();
        let at = self.models.len();
        let path = jobs.join(format!("{at}-{}.sbatch", model.trim_start_matches(['.', '-'])));
        let places = ScriptPaths {
            program: &program,
            config: &absolute(config)?,
            // The parent folder, because the script's `run` command appends the experiment's name.
            out: self.folder.parent().unwrap_or(&self.folder),
            jobs: &jobs,
            script: &path,
            submissions: &self.folder.join(SUBMISSIONS),
            sets: &args.set,
        };
        let text = script(self.config.name(), tasks, site, &places);
        Ok((path, text))
    }

    /// Fails if a script cannot be complete, or if more is wrong with a model than that it is
    /// absent.
    ///
    /// # Errors
    /// As for [`needs::check_all`].
    pub fn check_complete(&self) -> Result<(), Failure> {
        needs::check_all(self.needs.iter().filter(|need| !need.is_only_absent()))
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::io(&path.display().to_string(), &e))
}
