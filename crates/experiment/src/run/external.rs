//! A run whose replies come from outside of this program, step by step, and of which nothing is
//! stored: the same episode as in [`super::run_experiment`], so that the same replies give the same
//! rows.

use super::episode::{Episode, StepInput};
use crate::agent::prompt;
use crate::config::{Cell, CellChoice, Config, PlannedRun};
use crate::error::{ConfigProblem, ExperimentError};
use crate::measures::SummarySimilarity;
use crate::provider::{
    Finish, ModelThinking, Provider, ProviderError, ProviderInfo, Reply, ReplyRequest,
};
use results::{PromptMessage, SimilarityRow, StepRow};
use serde_json::Value;
use warehouse::{ToolSpec, World, WorldConfig};

/// What an external run plays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExternalRunChoice {
    pub cell: CellChoice,
    /// Number of the replicate, counted from 0.
    pub replicate: u64,
    /// Seed of the world in place of the replicate's.
    pub seed: Option<u64>,
    /// The rows' run id in place of the one of an external agent, to compare rows with those of a
    /// stored run.
    pub run_id: Option<String>,
}

/// A run in progress.
pub struct ExternalRun {
    run: PlannedRun,
    episode: Episode,
    similarity: SummarySimilarity,
    /// Number of exchanges that the current prompt leaves out.
    left_out: u64,
}

impl ExternalRun {
    /// The chosen run, before its first step. A run of a model, a scripted operator or a person has
    /// the id of an external agent, which no stored run has.
    ///
    /// # Errors
    /// No cell is chosen, or several are, or the run id is none.
    pub fn new(config: &Config, choice: &ExternalRunChoice) -> Result<Self, ExperimentError> {
        let cell = config.choose_cell(&choice.cell)?;
        let mut run = config.run_of(cell, choice.replicate, choice.seed, &external_info());
        if let Some(id) = &choice.run_id {
            if id.len() != run.run_id.len() || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
                let why = format!("expected {} hexadecimal digits, found {id}", run.run_id.len());
                return Err(ConfigProblem::Contradiction { key: "run_id".into(), why }.into());
            }
            run.run_id.clone_from(id);
        }
        let episode = Episode::new(&run)?;
        Ok(ExternalRun { run, episode, similarity: SummarySimilarity::default(), left_out: 0 })
    }

    /// Takes a step with this reply, and returns its row. `None` if the world has ended.
    ///
    /// # Errors
    /// A violated assumption of the program.
    pub fn step(
        &mut self,
        text: String,
        finish: Finish,
    ) -> Result<Option<StepRow>, ExperimentError> {
        if self.ending().is_some() {
            return Ok(None);
        }
        let similarity = self.similarity_of(&text, finish)?;
        let reply = Reply {
            text,
            reasoning: String::new(),
            finish,
            prompt_tokens: 0,
            reply_tokens: 0,
            reasoning_tokens: 0,
            cached_prompt_tokens: 0,
            seconds: 0.0,
        };
        let input = StepInput::of_reply(reply, self.left_out, similarity);
        let row = self.episode.take(input);
        self.left_out = self.episode.left_out_by_policy();
        Ok(Some(row))
    }

    /// Replies of scripted operators have no similarity, as in stored runs.
    fn similarity_of(
        &mut self,
        text: &str,
        finish: Finish,
    ) -> Result<Option<SimilarityRow>, ExperimentError> {
        if self.episode.is_scripted() {
            return Ok(None);
        }
        let Some(summary) = self.episode.summary(text, finish) else { return Ok(None) };
        let design = self.run.cell.config().design;
        Ok(self.similarity.with_reference(&summary, &NoEmbeddings, "external", design)?)
    }

    pub fn run(&self) -> &PlannedRun {
        &self.run
    }

    /// The present state of the world. An agent sees only a part of it.
    pub fn world(&self) -> &World {
        self.episode.world()
    }

    /// How the world ended; `None` if it has not ended.
    pub fn ending(&self) -> Option<&'static str> {
        self.episode.ending()
    }

    /// Number of steps taken.
    pub fn steps(&self) -> u64 {
        self.episode.step()
    }

    /// The messages that a model would be sent for its next reply.
    pub fn messages(&self) -> Vec<PromptMessage> {
        self.episode.prompt(self.left_out).into_owned()
    }

    /// The last observation, with the market before the first one.
    pub fn observation(&self) -> String {
        self.messages().pop().map(|message| message.content).unwrap_or_default()
    }
}

/// What an agent of a cell is told before it plays.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentInterface {
    pub system_prompt: String,
    pub tools: Vec<ToolSpec>,
    /// JSON schema of the prediction card.
    pub card: Value,
    /// JSON schema of a reply.
    pub reply: Value,
    pub world: WorldConfig,
}

impl Cell {
    /// What the agent of a cell is told before it plays.
    pub fn interface(&self) -> AgentInterface {
        let world = self.config().world();
        AgentInterface {
            system_prompt: prompt::system_prompt(&world, self.config().agent.reply_mode),
            tools: warehouse::tool_specs(&world),
            card: warehouse::card_schema(&world),
            reply: prompt::reply_schema(&world),
            world,
        }
    }
}

/// The identity of agents outside of this program, which is part of their run ids.
fn external_info() -> ProviderInfo {
    ProviderInfo {
        identity: "external".into(),
        dtype: "none".into(),
        rung: String::new(),
        kernel_set: "none".into(),
        context_length: None,
    }
}

/// An agent without embeddings: the local embedder takes their place.
struct NoEmbeddings;

impl Provider for NoEmbeddings {
    fn describe(&self) -> ProviderInfo {
        external_info()
    }

    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        _tools: Option<&Value>,
        _thinking: ModelThinking,
    ) -> Result<u64, ProviderError> {
        Ok(messages.len() as u64)
    }

    fn reply(&self, _request: &ReplyRequest<'_>) -> Result<Reply, ProviderError> {
        Err(ProviderError::Unavailable("replies come from outside of this program".into()))
    }
}
