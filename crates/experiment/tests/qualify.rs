//! Tests of the qualification of models, and of the comparison of paired replies.
#![allow(missing_docs)]

mod common;
#[path = "common/fake_model.rs"]
mod fake_model;

use experiment::{
    Config, Finish, PairedReplies, paired_replies, qualification, qualification_name,
    qualifying_config,
};
use fake_model::{FakeModel, run};
use results::Store;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A model that only looks at its inbox does not qualify, and it is said why.
#[test]
fn a_model_that_repeats_one_call_does_not_qualify() {
    let name = "some/model-7B";
    assert_eq!(qualification_name(name), "qualify-some--model-7B");
    let sets = ["pe_induction.p_shock=0.9".to_string(), "model.max_tokens_per_call=50".to_string()];
    let config = qualifying_config(name, None, &sets).unwrap();
    let values = |key: &str| config.cells()[0].values()[key].clone();
    assert_eq!((values("pe_induction.p_shock"), values("env.max_steps")), (0.0.into(), 100.into()));
    let folder = tempfile::tempdir().unwrap();
    let reply = r#"{"tool":"check_inbox","arguments":{},"card":null}"#;
    let model = FakeModel::new(move |_, _| Ok((reply.to_string(), Finish::Stop)));
    assert_eq!(run(&config, &model, folder.path(), 4).unwrap().done_now, 5);
    let found = qualification(&Store::open(folder.path()).unwrap(), name, 5).unwrap();
    assert!(!found.qualified && found.runs.len() == 5);
    assert!(found.runs.iter().all(|run| run.ended == "crash:looping @ 1"), "{:?}", found.runs);
    assert_eq!(found.divergence_below, None, "the replies have no summaries");
}

#[test]
fn paired_replies_differ_if_the_model_reads_its_prompt() {
    let text = "experiment: {replications: 2}\nenv: {max_steps: 12, complexity_level: 0}\n\
                pe_induction: {pe_type_mix: rule_only, observability: full}\n\
                model: {name: fake, max_tokens_per_call: 50}\ngrid: {pe_induction.p_shock: [0.0, 0.8]}\n";
    let config = Config::parse(text, "paired.yaml", &[]).unwrap();
    let compare = |model: &FakeModel| {
        let folder = tempfile::tempdir().unwrap();
        run(&config, model, folder.path(), 2).unwrap();
        paired_replies(&Store::open(folder.path()).unwrap()).unwrap().unwrap()
    };
    let deaf = FakeModel::new(|_, _| {
        Ok((r#"{"tool":"check_budget","arguments":{},"card":null}"#.to_string(), Finish::Stop))
    });
    let PairedReplies { compared, differing } = compare(&deaf);
    assert!(compared >= 16 && differing == 0, "{differing} of {compared}");
    let reader = FakeModel::new(|request, _| {
        let mut hash = DefaultHasher::new();
        request.messages.iter().for_each(|message| message.content.hash(&mut hash));
        let quantity = hash.finish() % 999 + 1;
        Ok((
            format!(
                r#"{{"tool":"quote","arguments":{{"supplier_id":"S1","sku":"P1","quantity":{quantity}}},"card":null}}"#
            ),
            Finish::Stop,
        ))
    });
    let PairedReplies { compared, differing } = compare(&reader);
    assert!(compared >= 16 && differing * 10 >= compared * 9, "{differing} of {compared}");
}
