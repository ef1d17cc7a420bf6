//! A provider for tests: it answers from a function of the request, and can be told to fail.

use experiment::{
    Finish, ModelSettings, Provider, ProviderError, ProviderFactory, ProviderInfo, Reply,
    ReplyRequest,
};
use results::PromptMessage;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type Embed = dyn Fn(&str) -> Vec<f32> + Send + Sync;
type Say =
    dyn Fn(&ReplyRequest<'_>, usize) -> Result<(String, Finish), ProviderError> + Send + Sync;

/// What was asked, as far as tests look at it.
#[derive(Clone)]
pub struct Asked {
    pub messages: Vec<PromptMessage>,
    pub schema: Option<Value>,
    pub tools: Option<Value>,
    pub seed: u64,
    pub temperature: f64,
    pub max_tokens: u64,
}

#[derive(Clone)]
pub struct Speaker {
    say: Arc<Say>,
    /// Its embeddings, if it has any.
    pub embed: Option<Arc<Embed>>,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    pub opened: Arc<AtomicUsize>,
    pub context: Option<u64>,
    pub kernels: String,
}

impl Speaker {
    /// `say` gets the request and how many came before it.
    pub fn new(
        say: impl Fn(&ReplyRequest<'_>, usize) -> Result<(String, Finish), ProviderError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Speaker {
            say: Arc::new(say),
            embed: None,
            asked: Arc::default(),
            opened: Arc::default(),
            context: None,
            kernels: "k".into(),
        }
    }
}

/// One token a word.
fn tokens(messages: &[PromptMessage]) -> u64 {
    messages.iter().map(|message| message.content.split_whitespace().count() as u64 + 4).sum()
}

impl Provider for Speaker {
    fn describe(&self) -> ProviderInfo {
        let words = |text: &str| text.to_string();
        ProviderInfo {
            identity: words("speaker"),
            dtype: words("f32"),
            rung: String::new(),
            kernel_set: self.kernels.clone(),
            context_length: self.context,
        }
    }

    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        _: Option<&Value>,
    ) -> Result<u64, ProviderError> {
        Ok(tokens(messages))
    }

    fn embed(&self, text: &str) -> Result<Option<Vec<f32>>, ProviderError> {
        Ok(self.embed.as_ref().map(|embed| embed(text)))
    }

    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError> {
        let before = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(Asked {
                messages: request.messages.to_vec(),
                schema: request.schema.cloned(),
                tools: request.tools.cloned(),
                seed: request.seed,
                temperature: request.temperature,
                max_tokens: request.max_tokens,
            });
            asked.len() - 1
        };
        let (text, finish) = (self.say)(request, before)?;
        let reply_tokens = text.split_whitespace().count() as u64;
        let prompt_tokens = tokens(request.messages);
        Ok(Reply {
            text,
            finish,
            prompt_tokens,
            reply_tokens,
            cached_prompt_tokens: before as u64,
            seconds: 0.001,
        })
    }
}

impl ProviderFactory for Speaker {
    fn identify(&self, _: &ModelSettings) -> Result<ProviderInfo, ProviderError> {
        Ok(self.describe())
    }

    fn open(&self, _: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(self.clone()))
    }
}

/// A valid reply: looks into the inbox and expects success.
pub fn inbox() -> (String, Finish) {
    (r#"{"tool":"check_inbox","arguments":{},"card":{"success":true,"delivery_days":null,"quantity":null,"cost":0,"storage_after":100,"budget_after":9000}}"#.to_string(), Finish::Stop)
}

/// Replies of every kind, from the request's seed alone.
pub fn babble(request: &ReplyRequest<'_>, _: usize) -> Result<(String, Finish), ProviderError> {
    let order = |quantity: u64| {
        format!(
            r#"{{"tool":"order","arguments":{{"supplier_id":"S1","sku":"P1","quantity":{quantity}}},"card":{{"success":true,"delivery_days":2,"quantity":{quantity},"cost":123.4,"storage_after":100,"budget_after":9000.5,"confidence":0.7}}}}"#
        )
    };
    Ok(match request.seed % 8 {
        0 => ("{\"tool\": \"order\", \"argu".to_string(), Finish::Length),
        1 => ("It's {broken".to_string(), Finish::Stop),
        2 => inbox(),
        3 => (r#"{"tool":"wait","arguments":{},"card":null}"#.to_string(), Finish::Stop),
        4 => (r#"{"tool":"teleport","arguments":{"é":-1e308}}"#.to_string(), Finish::Stop),
        5 => ("[1,2]".to_string(), Finish::Stop),
        seed => (order(seed * 3), Finish::Stop),
    })
}
