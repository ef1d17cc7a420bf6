//! An OpenAI-compatible HTTP server over the engine, built on axum.
//!
//! [`Server::bind`] binds the address before a model is loaded; [`Server::run`] serves a
//! [`ServedModel`] until it is stopped. The path of a chat request: `router` checks the API key;
//! `chat` takes a permit and the JSON body (`admission`), renders messages and tools with the chat
//! template (`messages`, `tools`) and tokenizes the text; `generation` submits the request to the
//! engine and awaits its events; `reply_parts` splits the reply into content and tool calls, which
//! `sse` streams to the client. A client that disconnects drops its `Generation`, which cancels the
//! request in the engine.
//!
//! Each of these modules imports only modules further down the list: `server`, `router`, endpoints
//! (`chat`, `completions`, `embeddings`, `models`, `metrics`), `sse`, `generation`, `admission`,
//! `state`, `api_error`.

mod admission;
mod api_error;
mod chat;
mod completions;
mod embeddings;
mod error;
mod generation;
mod metrics;
mod model;
mod models;
mod options;
mod params;
mod prompt_input;
mod reply_parts;
mod request_fields;
mod router;
mod server;
mod sse;
mod state;
mod template_messages;
mod thinking;
mod tools;
mod usage;

pub use chat::render_chat;
pub use error::ServeError;
pub use model::ServedModel;
pub use options::ServeOptions;
pub use server::Server;
