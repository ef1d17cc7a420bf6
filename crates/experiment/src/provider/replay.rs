//! A provider that plays a log back.

use crate::provider::{
    Finish, ModelSettings, Provider, ProviderError, ProviderFactory, ProviderInfo, Reply,
    ReplyRequest,
};
use results::{PromptMessage, ResultsError, RunFolder, StepRow, Store};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Replies of recorded runs, found by run and step. Asked for anything else than what was recorded,
/// it fails: a recording is no model.
#[derive(Debug, Clone)]
pub struct ReplayProvider {
    info: ProviderInfo,
    /// (run, sampling seed) -> row.
    rows: BTreeMap<(String, u64), StepRow>,
}

impl ReplayProvider {
    /// The replies of all committed runs of an experiment.
    pub fn open(store: &Store) -> Result<ReplayProvider, ResultsError> {
        let mut recorded = ReplayProvider {
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
            recorded.add(folder)?;
        }
        Ok(recorded)
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

    /// A recording has no tokenizer: this is the fewest tokens that the messages could be.
    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        _tools: Option<&Value>,
    ) -> Result<u64, ProviderError> {
        Ok(messages.len() as u64)
    }

    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError> {
        let asked = request.messages.last().map_or("", |message| message.content.as_str());
        let step = request.messages.iter().filter(|message| message.role == "assistant").count()
            as u64
            + 1;
        let absent = |why: &str| ProviderError::NotRecorded { step, why: why.to_string() };
        let key = (request.session.to_string(), request.seed);
        let row =
            self.rows.get(&key).ok_or_else(|| absent("no such run, or no such step in it"))?;
        let recorded = row.prompt.last().map_or("", |message| message.content.as_str());
        if recorded != asked {
            return Err(absent("the observation before it is another one"));
        }
        Ok(Reply {
            text: row.reply.clone(),
            finish: if row.finish == Finish::Length.word() { Finish::Length } else { Finish::Stop },
            prompt_tokens: row.prompt_tokens,
            reply_tokens: row.reply_tokens,
            cached_prompt_tokens: 0,
            seconds: 0.0,
        })
    }

    fn recorded(&self, session: &str, seed: u64) -> Option<&StepRow> {
        self.rows.get(&(session.to_string(), seed))
    }
}

/// A recording stands for every model that is asked for.
impl ProviderFactory for ReplayProvider {
    fn identify(&self, _model: &ModelSettings) -> Result<ProviderInfo, ProviderError> {
        Ok(self.describe())
    }

    fn open(&self, _model: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(self.clone()))
    }
}
