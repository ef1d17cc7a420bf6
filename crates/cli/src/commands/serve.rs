//! `vendomini serve`: serves clients of the OpenAI API until it is stopped.

use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::output;
use crate::session::{self, Session, TextNeed};
use device::cpu::provenance;
use engine::{Engine, EngineOptions};
use placement::ByteSize;
use serve::{ServeOptions, ServedModel, Server};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use watch::{Stage, Watch};

pub fn run(args: &ServeArgs, watch: &Watch) -> Result<u8, Failure> {
    // Checked first: a port in use or a missing key must not be noticed only after a load of
    // minutes.
    let server = Server::bind(options(args)?)?;
    let address = server.address()?;
    let mut session = session::bring_up(&args.bring_up, TextNeed::Tokenizer, watch)?;
    session.replace_template(args.chat_template.as_deref())?;
    // Held until the server ends: it keeps the copy from which the engine reads.
    let _staged = session.staged.take();
    let model = served_model(args, session, watch)?;
    let _stage = watch.enter(Stage::Serve);
    warn_if_open(args, watch);
    watch.note(format!(
        "serving {} at http://{address}/v1, context {}",
        model.name,
        model.engine.context()
    ));
    output::line(&format!("http://{address}"))?;
    server.run(model, || !watch.canceled())?;
    Ok(0)
}

fn options(args: &ServeArgs) -> Result<ServeOptions, Failure> {
    let body = ByteSize::parse(&args.body_limit)
        .map_err(|why| Failure::usage(format!("--body-limit: {why}")))?;
    let reply_timeout = Duration::try_from_secs_f64(args.reply_timeout)
        .ok()
        .filter(|limit| !limit.is_zero() && limit.as_secs() <= DAYS_30_S)
        .ok_or_else(|| {
            Failure::usage(format!(
                "--reply-timeout: expected above 0 and at most {DAYS_30_S}, found {}",
                args.reply_timeout
            ))
        })?;
    if args.queue_limit == 0 || args.reply_limit == Some(0) {
        return Err(Failure::usage("--queue-limit and --reply-limit: expected 1 or more, found 0"));
    }
    Ok(ServeOptions {
        api_key: args.api_key_env.as_deref().map(api_key).transpose()?,
        body_bytes_max: usize::try_from(body.bytes).unwrap_or(usize::MAX),
        requests_max: args.queue_limit,
        reply_tokens_max: args.reply_limit,
        reply_timeout,
        ..ServeOptions::new(SocketAddr::new(args.host, args.port))
    })
}

/// Upper limit of `--reply-timeout`, in seconds.
const DAYS_30_S: u64 = 30 * 24 * 3600;

fn api_key(name: &str) -> Result<String, Failure> {
    match std::env::var(name) {
        Ok(key) if !key.trim().is_empty() => Ok(key.trim().to_owned()),
        _ => Err(Failure::usage(format!(
            "--api-key-env: expected a key in the environment variable {name}, found none"
        ))),
    }
}

fn served_model(args: &ServeArgs, session: Session, watch: &Watch) -> Result<ServedModel, Failure> {
    let tokenizer = session.tokenizer()?.clone();
    let report = &session.loaded.report;
    let kernels = provenance(&report.kernel_set);
    let fingerprint =
        format!("vendomini-{}-{}-{kernels}", env!("CARGO_PKG_VERSION"), report.precision);
    let typed = &args.bring_up.placement.model;
    let name = args.model_name.clone().unwrap_or_else(|| short_name(typed));
    let options = EngineOptions {
        tokenizer: Some(tokenizer.clone()),
        eos: session.checkpoint.generation.eos.clone(),
        queue_limit: args.queue_limit,
        prompt_lookup: args.prompt_lookup,
        ..EngineOptions::new(watch.clone())
    };
    let Session { loaded, template, .. } = session;
    let template = template.map_err(|failure| failure.text);
    if template.is_err() {
        watch.note("warning: no chat template; requests to /v1/chat/completions fail");
    }
    let engine = Engine::start_loaded(loaded, options)?;
    watch.verbose(format!("constrained decoding: {}", engine.grammar_settings()));
    Ok(ServedModel { name, aliases: vec![typed.clone()], engine, tokenizer, template, fingerprint })
}

/// The name of a model's folder, or of its `.gguf` file without the extension; a hub name is
/// returned unchanged.
fn short_name(typed: &str) -> String {
    let path = Path::new(typed);
    let file = if typed.ends_with(".gguf") { path.file_stem() } else { path.file_name() };
    match file.and_then(|name| name.to_str()) {
        Some(name) if path.exists() => name.to_owned(),
        _ => typed.to_owned(),
    }
}

fn warn_if_open(args: &ServeArgs, watch: &Watch) {
    if !args.host.is_loopback() && args.api_key_env.is_none() {
        watch.note(format!(
            "warning: {} is not a loopback address and there is no --api-key-env: anyone on the network can use the model",
            args.host
        ));
    }
}
