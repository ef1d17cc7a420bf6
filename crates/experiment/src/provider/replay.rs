//! A provider that returns the recorded replies of committed runs.

use super::{
    Finish, ModelSettings, Provider, ProviderError, ProviderFactory, ProviderInfo, Reply,
    ReplyRequest,
};
use crate::provider::ModelThinking;
use results::{PromptMessage, ResultsError, RunFolder, StepRow, Store};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Recorded replies, looked up by run id and sampling seed. It is an error if the observation of a
/// request differs from the recorded one, since no reply to it was recorded.
#[derive(Debug, Clone)]
pub struct ReplayProvider {
    info: ProviderInfo,
    /// The recorded rows, by run id and sampling seed.
    rows: BTreeMap<(String, u64), StepRow>,
}

impl ReplayProvider {
    /// Reads the replies of all committed runs of an experiment.
    ///
    /// # Errors
    /// A record or log cannot be read.
    pub fn open(store: &Store) -> Result<ReplayProvider, ResultsError> {
        let mut provider = ReplayProvider {
            info: ProviderInfo {
                identity: String::new(),
                dtype: String::new(),
                rung: String::new(),
                kernel_set: "recorded".into(),
                context_length: None,
            },
            rows: BTreeMap::new(),
        };
        for folder in store.runs()?.iter().filter(|folder| folder.is_committed()) {
            provider.add(folder)?;
        }
        Ok(provider)
    }

    fn add(&mut self, folder: &RunFolder) -> Result<(), ResultsError> {
        if let Some(record) = folder.committed()? {
            (self.info.identity, self.info.dtype) = (record.model_identity, record.dtype);
            self.info.kernel_set = record.kernel_set;
        }
        for row in folder.rows()? {
            self.rows.insert((row.run_id.clone(), row.sampling_seed), row);
        }
        Ok(())
    }
}

impl Provider for ReplayProvider {
    fn describe(&self) -> ProviderInfo {
        self.info.clone()
    }

    /// A lower bound of the number of tokens, since a recording has no tokenizer. With it, no
    /// exchange is left out that was in the recorded prompt.
    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        _tools: Option<&Value>,
        _thinking: ModelThinking,
    ) -> Result<u64, ProviderError> {
        Ok(messages.len() as u64)
    }

    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError> {
        let step = 1 + request.messages.iter().filter(|m| m.role == "assistant").count() as u64;
        let missing = |why: &str| ProviderError::NotRecorded { step, why: why.to_string() };
        let row = self
            .recorded_row(request.session, request.seed)
            .ok_or_else(|| missing("no such run, or no such step in it"))?;
        let last_of = |messages: &[PromptMessage]| messages.last().map(|m| m.content.clone());
        if last_of(&row.prompt).unwrap_or_default() != last_of(request.messages).unwrap_or_default()
        {
            return Err(missing("the recorded observation before it differs"));
        }
        Ok(Reply {
            text: row.reply.clone(),
            reasoning: row.reasoning.clone().unwrap_or_default(),
            finish: Finish::from_label(&row.finish),
            prompt_tokens: row.prompt_tokens,
            reply_tokens: row.reply_tokens,
            reasoning_tokens: row.reasoning_tokens,
            cached_prompt_tokens: 0,
            seconds: 0.0,
        })
    }

    fn recorded_row(&self, session: &str, seed: u64) -> Option<&StepRow> {
        self.rows.get(&(session.to_string(), seed))
    }
}

/// Returns the same recording for every model.
impl ProviderFactory for ReplayProvider {
    fn identify(&self, _model: &ModelSettings) -> Result<ProviderInfo, ProviderError> {
        Ok(self.describe())
    }

    fn open(&self, _model: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(self.clone()))
    }
}
