//! What a long run with a model's conversation holds in memory. Alone in its file: the peak is the
//! process's.
#![allow(missing_docs)]

mod common;

use common::{folder_options, quiet};
use experiment::{
    Config, Finish, ModelSettings, Provider, ProviderError, ProviderFactory, ProviderInfo, Reply,
    ReplyRequest, run_experiment,
};
use results::PromptMessage;
use serde_json::Value;
use std::sync::Arc;

/// Says the same each time and remembers nothing.
struct Terse;

const REPLY: &str = r#"{"tool":"check_inbox","arguments":{},"card":{"success":true,"reasoning":"I look into the inbox before anything else."}}"#;

impl Provider for Terse {
    fn describe(&self) -> ProviderInfo {
        let words = |text: &str| text.to_string();
        ProviderInfo {
            identity: words("terse"),
            dtype: words("f32"),
            rung: String::new(),
            kernel_set: words("k"),
            context_length: Some(8000),
        }
    }

    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        _: Option<&Value>,
    ) -> Result<u64, ProviderError> {
        Ok(messages.iter().map(|message| message.content.len() as u64 / 4 + 4).sum())
    }

    fn embed(&self, _: &str) -> Result<Option<Vec<f32>>, ProviderError> {
        Ok(None)
    }

    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError> {
        let prompt_tokens = self.count_tokens(request.messages, None)?;
        assert!(prompt_tokens <= 8000, "{prompt_tokens}");
        Ok(Reply {
            text: REPLY.into(),
            finish: Finish::Stop,
            prompt_tokens,
            reply_tokens: 30,
            cached_prompt_tokens: 0,
            seconds: 0.0,
        })
    }
}

impl ProviderFactory for Terse {
    fn identify(&self, _: &ModelSettings) -> Result<ProviderInfo, ProviderError> {
        Ok(self.describe())
    }

    fn open(&self, _: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(Terse))
    }
}

/// Peak of resident memory since it was last reset, in bytes.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[test]
fn five_thousand_steps_of_a_conversation_take_less_than_20_mb() {
    let text = "env: {max_steps: 5000, complexity_level: 4, initial_budget: 1000000}\ndemand: {max_failures: 1000000}\n\
                model: {name: terse, max_tokens_per_call: 100}\ncrash_detector: {continue_after_crash: 1000000}\n";
    let config = Config::parse(text, "long.yaml", &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // 5 resets the peak to what is resident now.
    let Some(before) =
        std::fs::write("/proc/self/clear_refs", "5").ok().and_then(|()| peak_bytes())
    else {
        eprintln!("SKIPPED: this system does not tell the peak of resident memory");
        return;
    };
    let options = folder_options(&config, folder.path(), 1);
    let summary = run_experiment(&config, &Terse, &options, &quiet, &|| false).unwrap();
    let used = peak_bytes().unwrap() - before;
    assert_eq!((summary.failed, summary.closing[0].steps), (vec![], 5000));
    eprintln!("{:.1} MB", used as f64 / 1e6);
    assert!(used < 20_000_000, "{used} bytes");
}
