//! An OpenAI-compatible server over the engine's scheduler.
//!
//! [`Server::bind`] takes an address before a model is loaded; [`Server::run`] answers with a
//! [`ServedModel`] model until it is told to end. The way of a request: `app` checks its key, gives it a
//! place and reads its body; `chat`, `completions` or `embeddings` turn it into tokens, with
//! `messages` and `tools`; `generation` hands it to the engine and waits for what comes;
//! `parts` and `calls` read the reply, and `stream` tells it as it grows. A client that goes away
//! drops its generation, and so its request in the engine.
//!
//! All errors have OpenAI's form (`api_error`).

mod api_error;
mod app;
mod chat;
mod completions;
mod embeddings;
mod error;
mod generation;
mod messages;
mod metrics;
mod models;
mod options;
mod params;
mod reply_parts;
mod served_model;
mod server;
mod stream;
mod tools;

pub use error::ServeError;
pub use options::ServeOptions;
pub use served_model::ServedModel;
pub use server::Server;
