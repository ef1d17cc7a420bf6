//! `vendomini score`: prints log-probabilities of a text or of token ids under the model.

use crate::args::ScoreArgs;
use crate::failure::Failure;
use crate::output;
use crate::session::{self, TextNeed};
use watch::{Stage, Watch};

pub fn run(args: &ScoreArgs, watch: &Watch) -> Result<u8, Failure> {
    let typed = args.tokens.as_deref().map(parse_ids).transpose()?;
    let need = if typed.is_some() { TextNeed::Nothing } else { TextNeed::Tokenizer };
    let mut session = session::bring_up(&args.bring_up, need, watch)?;
    let tokens = match (typed, &args.prompt) {
        (Some(tokens), _) => tokens,
        (None, Some(text)) => session.tokenizer()?.encode(text, true)?,
        (None, None) => return Err(Failure::usage("expected --tokens or --prompt, found neither")),
    };
    let _stage = watch.enter(Stage::Score);
    let loaded = &mut session.loaded;
    let score = engine::score(&loaded.model, &mut loaded.kv, &mut loaded.scratch, &tokens)?;
    if args.json {
        output::json(&score)?;
        return Ok(0);
    }
    for (token, logprob) in score.tokens.iter().zip(&score.logprobs) {
        output::line(
            &logprob.map_or_else(|| format!("{token}\t-"), |l| format!("{token}\t{l:.6}")),
        )?;
    }
    for (token, logprob) in &score.last_top {
        output::line(&format!("next\t{token}\t{logprob:.6}"))?;
    }
    Ok(0)
}

fn parse_ids(text: &str) -> Result<Vec<u32>, Failure> {
    let id = |text: &str| {
        text.trim().parse().map_err(|_| {
            Failure::usage(format!("--tokens: expected ids such as 1,2,3, found {text:?}"))
        })
    };
    text.split(',').map(id).collect()
}
