//! Tests of prompts: results of tool calls, interface settings, history policies, sampling seeds.

mod common;
#[path = "common/fake_model.rs"]
mod fake_model;

use experiment::Finish;
use fake_model::{FakeModel, RecordedRequest, one_run, run, study, valid_reply};
use std::collections::BTreeSet;
/// Defect 2 of the predecessor: the agent did not see the results of its tool calls.
#[test]
fn defect_02_the_agent_sees_the_result_of_each_call() {
    let model = FakeModel::new(|_, before| {
        match before % 2 {
        0 => Ok((
            r#"{"tool":"quote","arguments":{"supplier_id":"S1","sku":"P2","quantity":3},"card":null}"#.into(),
            Finish::Stop,
        )),
        _ => Ok((
            r#"{"tool":"order","arguments":{"supplier_id":"S9","sku":"P2","quantity":3},"card":null}"#.into(),
            Finish::Stop,
        )),
    }
    });
    let rows = one_run(&[], &model);
    assert!(rows[1].prompt[0].content.contains("unit_price"), "{}", rows[1].prompt[0].content);
    assert!(
        rows[2].prompt[0].content.contains("no offer of \"S9\""),
        "{}",
        rows[2].prompt[0].content
    );
    let requests = model.requests.lock().unwrap();
    let last = requests.last().unwrap();
    assert_eq!(
        last.messages.len(),
        2 * requests.len(),
        "system, then observations and replies in turn"
    );
    assert_eq!(last.messages[2].content, rows[0].reply);
}

/// Defect 3 of the predecessor: the settings of prediction mode, card format, memory tools and
/// recovery tools did not reach the prompt.
#[test]
fn defect_03_interface_settings_reach_prompt_and_schema() {
    let prompt_and_schema = |sets: &[&str]| {
        let model = FakeModel::new(|_, _| Ok(valid_reply()));
        one_run(&[&["env.max_steps=1"], sets].concat(), &model);
        let request = model.requests.lock().unwrap()[0].clone();
        (request.messages[0].content.clone(), request.schema.unwrap().to_string())
    };
    let mut prompts = BTreeSet::new();
    let mut schemas = BTreeSet::new();
    for mode in
        ["required", "optional", "required+confidence", "required+uncertainty", "required+full"]
    {
        for format in ["minimal", "structured", "rich"] {
            let (mode, format) = (
                format!("interface.prediction_mode={mode}"),
                format!("interface.prediction_format={format}"),
            );
            let (prompt, schema) = prompt_and_schema(&[&mode, &format]);
            prompts.insert(prompt.clone());
            schemas.insert(schema.clone());
            assert_eq!(prompt.contains("required"), !mode.contains("optional"), "{mode} {prompt}");
            let may_be_null = schema.contains(r##"{"$ref":"#/$defs/card"},{"type":"null"}"##);
            assert_eq!(may_be_null, mode.contains("optional"), "{mode}: {schema}");
        }
    }
    assert_eq!((prompts.len(), schemas.len()), (15, 15), "each pair has its own prompt and schema");
    let (mut prompts, mut schemas) = (BTreeSet::new(), BTreeSet::new());
    for memory in ["none", "basic", "full"] {
        for recovery in ["none", "reset", "audit", "help", "all"] {
            let (memory, recovery) = (
                format!("interface.memory_tools={memory}"),
                format!("interface.recovery_tools={recovery}"),
            );
            let (prompt, schema) = prompt_and_schema(&[&memory, &recovery]);
            prompts.insert(prompt);
            schemas.insert(schema);
        }
    }
    assert_eq!((prompts.len(), schemas.len()), (15, 15));
}

#[test]
fn full_history_fits_the_context_and_most_prompts_extend_the_last() {
    let mut model = FakeModel::new(|_, _| Ok(valid_reply()));
    model.context = Some(900);
    let rows = one_run(&["env.max_steps=40", "crash_detector.continue_after_crash=1000"], &model);
    assert_eq!(rows.len(), 40);
    let requests = model.requests.lock().unwrap();
    let mut shared = 0;
    for (row, pair) in rows.iter().skip(1).zip(requests.windows(2)) {
        assert!(
            row.prompt_tokens + pair[1].max_tokens <= 900,
            "step {}: {}",
            row.step,
            row.prompt_tokens
        );
        shared += usize::from(pair[1].messages.starts_with(&pair[0].messages));
    }
    assert!(rows.last().unwrap().history_dropped > 5, "exchanges were left out");
    assert!(shared >= 28, "only {shared} of 39 prompts extend the one before");
    let mut tiny = FakeModel::new(|_, _| Ok(valid_reply()));
    tiny.context = Some(100);
    let folder = tempfile::tempdir().unwrap();
    let summary = run(&study(&["experiment.retries=0"]), &tiny, folder.path(), 1).unwrap();
    assert!(summary.failed[0].1.contains("model.context_length"), "{:?}", summary.failed);
}

#[test]
fn history_policies_bound_the_exchanges_in_a_prompt() {
    for (policy, exchanges_max) in [("window", 6), ("none", 0)] {
        let model = FakeModel::new(|_, _| Ok(valid_reply()));
        let policy = format!("agent.history={policy}");
        one_run(&[&policy, "agent.history_window=6"], &model);
        let requests = model.requests.lock().unwrap();
        assert!(requests.iter().all(|request| request.messages[0].role == "system"
            && request.messages.len() <= 2 + 2 * exchanges_max));
        assert_eq!(
            requests.iter().map(|request| request.messages.len()).max(),
            Some(2 + 2 * exchanges_max)
        );
        assert!(requests.iter().all(|request| request.messages.last().unwrap().role == "user"));
        let market = |request: &RecordedRequest| {
            let counts = request
                .messages
                .iter()
                .map(|message| message.content.matches("suppliers with price").count());
            (counts.sum::<usize>(), request.messages[1].content.starts_with("SKUs: "))
        };
        assert!(
            requests.iter().all(|request| market(request) == (1, true)),
            "each prompt has the prices once"
        );
    }
}

/// `one_run` also replays the run, which tests that the replay leaves out the same exchanges.
#[test]
fn reset_beliefs_leaves_out_the_conversation_so_far() {
    let model = FakeModel::new(|_, before| match before {
        5 => {
            Ok((r#"{"tool":"reset_beliefs","arguments":{},"card":null}"#.to_string(), Finish::Stop))
        }
        _ => Ok(valid_reply()),
    });
    let rows = one_run(&["interface.recovery_tools=reset", "env.max_steps=10"], &model);
    let lengths: Vec<usize> =
        model.requests.lock().unwrap().iter().map(|request| request.messages.len()).collect();
    assert_eq!(lengths, [2, 4, 6, 8, 10, 12, 2, 4, 6, 8]);
    assert_eq!(
        rows.iter().map(|row| row.history_dropped).collect::<Vec<_>>(),
        [0, 0, 0, 0, 0, 0, 6, 6, 6, 6]
    );
    let requests = model.requests.lock().unwrap();
    let first = &requests[6].messages[1].content;
    assert!(
        first.starts_with("SKUs: ")
            && first.contains("left out")
            && first.contains("present_state"),
        "{first}"
    );
}

#[test]
fn every_step_has_its_own_sampling_seed() {
    let folder = tempfile::tempdir().unwrap();
    let model = FakeModel::new(|_, _| Ok(valid_reply()));
    run(&study(&["grid.pe_induction.p_shock=[0.1]"]), &model, folder.path(), 1).unwrap();
    let requests = model.requests.lock().unwrap();
    assert_eq!(
        requests.iter().map(|request| request.seed).collect::<BTreeSet<_>>().len(),
        requests.len()
    );
    assert!(requests.iter().all(|request| request.temperature == 0.3 && request.max_tokens == 50));
}
