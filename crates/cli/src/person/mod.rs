//! A person as the agent: the prompts that a model would be sent are printed, and the person's
//! answers make a reply that holds to the same schema.

mod field;
mod form;
mod input;
mod screen;

use crate::failure::Failure;
use crate::output;
use base::unpoisoned;
use experiment::{
    Finish, ModelSettings, ModelThinking, Provider, ProviderError, ProviderFactory, ProviderInfo,
    Reply, ReplyRequest,
};
use form::{Decision, ToolForm};
use input::Input;
use results::PromptMessage;
use screen::Screen;
use serde_json::Value;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use warehouse::ToolSpec;

/// Why a person stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// `quit`, Ctrl-D or the end of the input.
    Quit = 1,
    /// Ctrl-C.
    Interrupted = 2,
    /// The input ended before its first line.
    NoInput = 3,
    /// Input or output failed; see [`Person::failure`].
    Failed = 4,
}

/// The person at the terminal, or a script of their answers.
pub struct Person {
    console: Mutex<PersonConsole>,
    /// The [`Stop`] as a number; 0 while the person plays.
    stopped: AtomicU8,
    failure: Mutex<Option<Failure>>,
}

/// What the person sees and where they write.
struct PersonConsole {
    screen: Screen,
    input: Input,
    tools: Vec<ToolForm>,
    /// Whether the rules were printed.
    welcomed: bool,
}

impl Person {
    /// Asks at the terminal, or reads answers from stdin if that is none.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub fn new(tools: &[ToolSpec], card: &Value, optional: bool) -> Result<Arc<Self>, Failure> {
        let forms = tools.iter().map(|tool| ToolForm::new(tool, card, optional)).collect();
        let console = PersonConsole {
            screen: Screen::of_stdout(),
            input: Input::open()?,
            tools: forms,
            welcomed: false,
        };
        Ok(Arc::new(Person {
            console: Mutex::new(console),
            stopped: AtomicU8::new(0),
            failure: Mutex::default(),
        }))
    }

    /// Why the person stopped; `None` while they play.
    pub fn stopped(&self) -> Option<Stop> {
        match self.stopped.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Stop::Quit),
            2 => Some(Stop::Interrupted),
            3 => Some(Stop::NoInput),
            _ => Some(Stop::Failed),
        }
    }

    /// Why input or output failed.
    pub fn failure(&self) -> Option<Failure> {
        unpoisoned(self.failure.lock()).clone()
    }

    fn stop(&self, stop: Stop) -> ProviderError {
        self.stopped.store(stop as u8, Ordering::Relaxed);
        ProviderError::Canceled
    }

    /// Ends the game: another attempt would fail likewise.
    fn fail(&self, failure: Failure) -> ProviderError {
        *unpoisoned(self.failure.lock()) = Some(failure);
        self.stop(Stop::Failed)
    }
}

impl PersonConsole {
    /// Prints what a model would be sent and the person has not seen.
    fn show(&mut self, messages: &[PromptMessage]) -> Result<(), Failure> {
        let replies = messages.iter().filter(|message| message.role == "assistant").count();
        if !self.welcomed {
            self.welcomed = true;
            self.screen.welcome(messages)?;
        }
        let last = messages.last().map_or("", |message| &message.content);
        self.screen.observation(replies + 1, last)
    }
}

impl Provider for Person {
    fn describe(&self) -> ProviderInfo {
        ProviderInfo {
            identity: "human".into(),
            dtype: "none".into(),
            rung: String::new(),
            kernel_set: "none".into(),
            context_length: None,
        }
    }

    fn count_tokens(
        &self,
        _messages: &[PromptMessage],
        _tools: Option<&Value>,
        _thinking: ModelThinking,
    ) -> Result<u64, ProviderError> {
        Ok(0)
    }

    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError> {
        let mut console = unpoisoned(self.console.lock());
        let since = Instant::now();
        console.show(request.messages).map_err(|failure| self.fail(failure))?;
        let PersonConsole { screen, input, tools, .. } = &mut *console;
        match form::decide(screen, input, tools, request.messages)
            .map_err(|failure| self.fail(failure))?
        {
            Decision::Reply(text) => Ok(Reply {
                text,
                reasoning: String::new(),
                finish: Finish::Stop,
                prompt_tokens: 0,
                reply_tokens: 0,
                reasoning_tokens: 0,
                cached_prompt_tokens: 0,
                seconds: since.elapsed().as_secs_f64(),
            }),
            Decision::Stop(stop) => Err(self.stop(stop)),
        }
    }
}

/// Opens no model: only the person plays.
pub struct PersonFactory(pub Arc<Person>);

impl PersonFactory {
    fn no_model(model: &ModelSettings) -> ProviderError {
        ProviderError::Unavailable(format!("expected only people, found the model {}", model.name))
    }
}

impl ProviderFactory for PersonFactory {
    /// An identity by name: the runs of models are planned, and not carried out.
    fn identify(&self, model: &ModelSettings) -> Result<ProviderInfo, ProviderError> {
        Ok(ProviderInfo { identity: model.name.clone(), ..self.0.describe() })
    }

    fn open(&self, model: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        Err(Self::no_model(model))
    }

    fn person(&self) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(self.0.clone())
    }
}

/// Prints text for the person on stdout.
fn print(text: &str) -> Result<(), Failure> {
    output::part(text)
}
