//! Tests the peak memory of a long run whose agent is a model, with its conversation. It must be
//! the only test of its file, since the peak is measured for the whole process.
#![allow(clippy::print_stderr, reason = "a test")]

mod common;

use common::{folder_options, quiet};
use experiment::{
    Config, Finish, ModelSettings, ModelThinking, Provider, ProviderError, ProviderFactory,
    ProviderInfo, Reply, ReplyRequest, run_experiment,
};
use results::PromptMessage;
use serde_json::Value;
use std::sync::Arc;

/// A model that always gives the same reply and records no requests.
struct ConstantModel;

const REPLY: &str = r#"{"tool":"check_inbox","arguments":{},"card":{"success":true,"reasoning":"I look into the inbox before anything else."}}"#;

impl Provider for ConstantModel {
    fn describe(&self) -> ProviderInfo {
        ProviderInfo {
            identity: "constant".into(),
            dtype: "f32".into(),
            rung: String::new(),
            kernel_set: "k".into(),
            context_length: Some(8000),
        }
    }

    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        _: Option<&Value>,
        _: ModelThinking,
    ) -> Result<u64, ProviderError> {
        Ok(messages.iter().map(|message| message.content.len() as u64 / 4 + 4).sum())
    }

    fn embed(&self, _: &str) -> Result<Option<Vec<f32>>, ProviderError> {
        Ok(None)
    }

    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError> {
        let prompt_tokens = self.count_tokens(request.messages, None, request.thinking)?;
        assert!(prompt_tokens <= 8000, "{prompt_tokens}");
        Ok(Reply {
            text: REPLY.into(),
            reasoning: String::new(),
            finish: Finish::Stop,
            prompt_tokens,
            reply_tokens: 30,
            reasoning_tokens: 0,
            cached_prompt_tokens: 0,
            seconds: 0.0,
        })
    }
}

impl ProviderFactory for ConstantModel {
    fn identify(&self, _: &ModelSettings) -> Result<ProviderInfo, ProviderError> {
        Ok(self.describe())
    }

    fn open(&self, _: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(ConstantModel))
    }
}

/// Peak of the process's resident memory since the last reset, in bytes.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[test]
fn a_conversation_of_5000_steps_takes_less_than_20_mb() {
    let text = "env: {max_steps: 5000, complexity_level: 4, initial_budget: 1000000}\ndemand: {max_lost_share: 1}\n\
                model: {name: terse, max_tokens_per_call: 100}\ncrash_detector: {continue_after_crash: 1000000}\n";
    let config = Config::parse(text, "long.yaml", &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Writing 5 to `clear_refs` resets the peak to the current resident memory.
    let Some(before) =
        std::fs::write("/proc/self/clear_refs", "5").ok().and_then(|()| peak_bytes())
    else {
        eprintln!("SKIPPED: this system does not report the peak of resident memory");
        return;
    };
    let options = folder_options(folder.path(), 1);
    let summary = run_experiment(&config, &ConstantModel, &options, &quiet, &|| false).unwrap();
    let used = peak_bytes().unwrap() - before;
    assert_eq!((summary.failed, summary.closing[0].steps), (vec![], 5000));
    eprintln!("{:.1} MB", used as f64 / 1e6);
    assert!(used < 20_000_000, "{used} bytes");
}
