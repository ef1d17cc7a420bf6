//! The agent's side with a model: what it is asked, how replies are read, what failures become.

mod common;
#[path = "common/speaker.rs"]
mod speaker;

use common::{folder_options, quiet, steps_of};
use error_kind::{ErrorKind, HasKind};
use experiment::{
    Config, ExperimentError, ExperimentSummary, Finish, NoModels, ProviderError, ReplayProvider,
    ReplyMode, RunEvent, read_reply, replay_all, run_experiment,
};
use results::{StepRow, Store};
use serde_json::json;
use speaker::{Speaker, babble, inbox};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const STUDY: &str = "experiment:\n  name: spoken\n  replications: 2\nenv:\n  max_steps: 24\n  complexity_level: 0\ncrash_detector:\n  \
                     continue_after_crash: 1000\ndemand:\n  max_failures: 1000\nmodel:\n  name: speaker\n  max_tokens_per_call: 50\ngrid:\n  \
                     pe_induction.p_shock: [0.2, 0.4]\n";

fn study(sets: &[&str]) -> Config {
    Config::parse(STUDY, "study.yaml", &sets.iter().map(|set| set.to_string()).collect::<Vec<_>>())
        .unwrap()
}

fn run(
    config: &Config,
    speaker: &Speaker,
    folder: &Path,
    jobs: usize,
) -> Result<ExperimentSummary, ExperimentError> {
    run_experiment(config, speaker, &folder_options(config, folder, jobs), &quiet, &|| false)
}

fn rows(folder: &Path) -> Vec<StepRow> {
    Store::open(folder)
        .unwrap()
        .runs()
        .unwrap()
        .iter()
        .flat_map(|folder| folder.rows().unwrap())
        .collect()
}

fn one_run(sets: &[&str], speaker: &Speaker) -> Vec<StepRow> {
    let folder = tempfile::tempdir().unwrap();
    let sets: Vec<&str> =
        [&["experiment.replications=1", "grid.pe_induction.p_shock=[0.3]"], sets].concat();
    let summary =
        run(&study(&sets), speaker, folder.path(), 1).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((summary.done_now, summary.failed), (1, vec![]));
    assert_eq!(
        replay_all(&Store::open(folder.path()).unwrap())
            .unwrap_or_else(|error| panic!("{error}"))
            .len(),
        1
    );
    rows(folder.path())
}

#[test]
fn replies_of_every_kind_are_recorded_resumed_and_replayed() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = study(&[]);
    let speaker = Speaker::new(babble);
    assert_eq!(run(&config, &speaker, whole.path(), 3).unwrap().done_now, 4);
    let kinds: BTreeSet<String> =
        rows(whole.path()).into_iter().filter_map(|row| Some(row.parse_failure?.kind)).collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["cut_off", "invalid_json", "schema_mismatch"]
    );
    assert!(
        rows(whole.path()).iter().all(|row| row.parse_failure.is_some() == row.action.is_none())
    );
    let steps = AtomicUsize::new(0);
    let count = |event: &RunEvent| {
        if matches!(event, RunEvent::StepDone(_)) {
            steps.fetch_add(1, Ordering::SeqCst);
        }
    };
    while steps.load(Ordering::SeqCst) < 96 {
        let stop_at = steps.load(Ordering::SeqCst) + 13;
        let stop = || steps.load(Ordering::SeqCst) >= stop_at;
        run_experiment(&config, &speaker, &folder_options(&config, parts.path(), 2), &count, &stop)
            .unwrap();
    }
    assert_eq!(steps_of(whole.path()), steps_of(parts.path()));
    assert_eq!(replay_all(&Store::open(whole.path()).unwrap()).unwrap().len(), 4);
    // The recording gives the same rows without the model.
    let played = tempfile::tempdir().unwrap();
    let recorded = ReplayProvider::open(&Store::open(whole.path()).unwrap()).unwrap();
    let options = folder_options(&config, played.path(), 2);
    let summary = run_experiment(&config, &recorded, &options, &quiet, &|| false).unwrap();
    assert_eq!((summary.done_now, summary.failed), (4, vec![]));
    assert_eq!(steps_of(whole.path()), steps_of(played.path()));
}

/// Defect 1: the error is computed against an observation that lacks the actual values.
#[test]
fn defect_01_errors_are_scored_against_what_happened() {
    let rows = one_run(&[], &Speaker::new(|_, _| Ok(inbox())));
    let first = &rows[0];
    let cash = first.state.value()["budget"].as_f64().unwrap();
    let pair = first.pe_pairs.iter().find(|pair| pair.field == "budget_after").unwrap();
    assert_eq!((pair.predicted, pair.actual), (9000.0, cash));
    assert!(
        (first.pe["cost"].unwrap() - (cash - 9000.0).abs() / cash / 2.0).abs() < 1e-9,
        "{:?}",
        first.pe
    );
    assert_eq!(first.pe["temporal"], None, "nothing was ordered: missing, not 0");
}

/// Defect 2: tool results are dropped.
#[test]
fn defect_02_the_agent_sees_the_result_of_each_call() {
    let speaker = Speaker::new(|_, before| {
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
    let rows = one_run(&[], &speaker);
    assert!(rows[1].prompt[0].content.contains("unit_price"), "{}", rows[1].prompt[0].content);
    assert!(
        rows[2].prompt[0].content.contains("no offer of \"S9\""),
        "{}",
        rows[2].prompt[0].content
    );
    let asked = speaker.asked.lock().unwrap();
    let last = asked.last().unwrap();
    assert_eq!(
        last.messages.len(),
        2 * asked.len(),
        "system, then observations and replies in turn"
    );
    assert_eq!(last.messages[2].content, rows[0].reply);
}

/// Defect 3: mode, format, memory and recovery settings do not reach the prompt.
#[test]
fn defect_03_every_setting_of_the_interface_reaches_prompt_and_schema() {
    let asked = |sets: &[&str]| {
        let speaker = Speaker::new(|_, _| Ok(inbox()));
        one_run(&[&["env.max_steps=1"], sets].concat(), &speaker);
        let asked = speaker.asked.lock().unwrap()[0].clone();
        (asked.messages[0].content.clone(), asked.schema.unwrap().to_string())
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
            let (prompt, schema) = asked(&[&mode, &format]);
            prompts.insert(prompt.clone());
            schemas.insert(schema.clone());
            assert_eq!(prompt.contains("required"), !mode.contains("optional"), "{mode} {prompt}");
            let may_be_null = schema.contains(r##"{"$ref":"#/$defs/card"},{"type":"null"}"##);
            assert_eq!(may_be_null, mode.contains("optional"), "{mode}: {schema}");
        }
    }
    assert_eq!((prompts.len(), schemas.len()), (15, 15), "each pair asks for something else");
    let (mut prompts, mut schemas) = (BTreeSet::new(), BTreeSet::new());
    for memory in ["none", "basic", "full"] {
        for recovery in ["none", "reset", "audit", "help", "all"] {
            let (memory, recovery) = (
                format!("interface.memory_tools={memory}"),
                format!("interface.recovery_tools={recovery}"),
            );
            let (prompt, schema) = asked(&[&memory, &recovery]);
            prompts.insert(prompt);
            schemas.insert(schema);
        }
    }
    assert_eq!((prompts.len(), schemas.len()), (15, 15));
}

/// Defect 6: API errors come back as text, are parsed as an action and become a "looping crash".
#[test]
fn defect_06_a_providers_failure_is_a_failed_run_and_never_data() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(&["experiment.retries=1"]);
    let broken = Speaker::new(|_, before| match before {
        0..3 => Ok(inbox()),
        _ => Err(ProviderError::Unavailable("503 from the server".into())),
    });
    let summary = run(&config, &broken, folder.path(), 1).unwrap();
    assert_eq!((summary.done_now, summary.failed.len(), summary.exit_code()), (0, 4, 1));
    assert!(summary.failed[0].1.contains("503"));
    let store = Store::open(folder.path()).unwrap();
    let status = results::status(&store).unwrap();
    assert_eq!((status.done, status.failed), (0, 4));
    let begun = &store
        .runs()
        .unwrap()
        .into_iter()
        .filter_map(|run| run.longest_attempt().unwrap())
        .collect::<Vec<_>>();
    assert_eq!(
        begun.iter().map(|attempt| attempt.rows.len()).sum::<usize>(),
        3,
        "no row holds the error"
    );
    // The same line again, the server being back: the rows are those of a run that never failed.
    let healthy = Speaker::new(|_, _| Ok(inbox()));
    assert_eq!(run(&config, &healthy, folder.path(), 2).unwrap().done_now, 4);
    let undisturbed = tempfile::tempdir().unwrap();
    run(&config, &healthy, undisturbed.path(), 2).unwrap();
    assert_eq!(steps_of(folder.path()), steps_of(undisturbed.path()));
}

#[test]
fn failures_are_retried_within_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let flaky = Speaker::new(|_, before| match before % 20 {
        7 => Err(ProviderError::Late { seconds: "1".into(), what: "a reply".into() }),
        _ => Ok(inbox()),
    });
    let summary = run(&study(&["experiment.retries=9"]), &flaky, folder.path(), 2).unwrap();
    assert_eq!((summary.done_now, summary.failed), (4, vec![]));
}

#[test]
fn limits_on_tokens_hours_and_failures_stop_and_can_be_gone_on_from() {
    let (folder, undisturbed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let speaker = Speaker::new(|_, _| Ok(inbox()));
    run(&study(&[]), &speaker, undisturbed.path(), 1).unwrap();
    let limited = |sets: &[&str]| run(&study(sets), &speaker, folder.path(), 1).unwrap();
    let tokens = limited(&["limits.tokens=4000"]);
    assert!(tokens.limited && tokens.left > 0 && tokens.failed.is_empty(), "{tokens:?}");
    assert_eq!(tokens.limit.as_deref(), Some("limits.tokens: 4000 is reached"));
    let hours = limited(&["limits.hours=0.000001"]);
    assert!(hours.limit.is_some_and(|limit| limit.starts_with("limits.hours")) && hours.left > 0);
    // A limit of a run makes it failed, without another try, and its rows stay.
    let run_tokens = limited(&["limits.run_tokens=3000"]);
    assert_eq!(
        (run_tokens.failed.len(), run_tokens.done_now),
        (run_tokens.left, 0),
        "{run_tokens:?}"
    );
    assert!(run_tokens.failed[0].1.contains("limits.run_tokens: 3000"));
    let run_hours = limited(&["limits.run_hours=0.000001"]);
    assert!(run_hours.failed[0].1.contains("limits.run_hours"), "{run_hours:?}");
    let rest = limited(&[]);
    assert_eq!((rest.left, rest.limit), (0, None));
    assert_eq!(steps_of(folder.path()), steps_of(undisturbed.path()));
    let (broken, gone) = (
        tempfile::tempdir().unwrap(),
        Speaker::new(|_, _| Err(ProviderError::Unavailable("gone".into()))),
    );
    let config = study(&["experiment.replications=50", "limits.failures=5"]);
    let failures = run(&config, &gone, broken.path(), 1).unwrap();
    assert_eq!(
        (gone.asked.lock().unwrap().len(), failures.exit_code()),
        (5, 1),
        "{:?}",
        failures.limit
    );
}

#[test]
fn a_provider_that_always_fails_ends_the_command_soon() {
    let folder = tempfile::tempdir().unwrap();
    let dead = Speaker::new(|_, _| Err(ProviderError::Unavailable("gone".into())));
    let config = study(&["experiment.replications=200"]);
    let summary = run(&config, &dead, folder.path(), 4).unwrap();
    assert!(summary.failed.len() + summary.left > 0 && summary.exit_code() == 1);
    assert!(dead.asked.lock().unwrap().len() < 60, "400 runs, but the command gave up");
}

/// Defect 9: no token counts, no provenance.
#[test]
fn defect_09_tokens_and_provenance_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    run(&study(&[]), &Speaker::new(|_, _| Ok(inbox())), folder.path(), 2).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let record = store.runs().unwrap()[0].committed().unwrap().unwrap();
    let rows = store.runs().unwrap()[0].rows().unwrap();
    assert_eq!(record.prompt_tokens, rows.iter().map(|row| row.prompt_tokens).sum::<u64>());
    assert!(
        record.prompt_tokens > 1000
            && record.reply_tokens > 0
            && record.timing.cached_prompt_tokens > 0
    );
    assert_eq!(
        (record.model.as_str(), record.model_identity.as_str(), record.dtype.as_str()),
        ("speaker", "speaker", "f32")
    );
    assert_eq!(store.model("speaker").unwrap().unwrap().kernel_set, "k");
    assert_eq!(
        store.experiment().configuration["env.max_steps"],
        json!(24),
        "the resolved configuration is saved"
    );
    assert_eq!(store.experiment().runs.len(), 4);
    assert!(record.cell.contains_key("demand.due_days"), "with every default");
}

/// Defect 10: an echoed placeholder is accepted as an action; lower case, markdown and apostrophes
/// break the parser.
#[test]
fn defect_10_replies_are_read_for_what_they_are() {
    let read = |text: &str| read_reply(text, Finish::Stop, ReplyMode::Text);
    let kind = |text: &str| read(text).unwrap_err().kind;
    let tool = |text: &str| read(text).unwrap_or_else(|failure| panic!("{text}: {failure:?}")).tool;
    assert_eq!(
        tool("Let's see, I'd wait.\n```json\n{\"tool\": \"Wait\", \"arguments\": {}}\n```"),
        "wait"
    );
    assert_eq!(
        tool("<tool_call>{\"name\": \"order\", \"arguments\": {\"sku\": \"P1\"}}</tool_call>"),
        "order"
    );
    assert_eq!(tool("{\"function\": {\"name\": \"wait\", \"arguments\": \"{}\"}}"), "wait");
    assert_eq!(tool("<think>{\"tool\":\"order\"} perhaps</think>{\"tool\":\"wait\"}"), "wait");
    assert_eq!(tool("{\"tool\":\"wait\"} {\"tool\":\"wait\"}"), "wait");
    assert_eq!(kind("{\"tool\":\"wait\"} {\"tool\":\"order\"}"), "several_calls");
    assert_eq!(kind("I'm sorry, but I can\u{2019}t help with that."), "refusal");
    assert_eq!(kind("The day is fine."), "no_call");
    assert_eq!(kind("<tool_call>{\"tool\": oops}</tool_call>"), "invalid_json");
    assert_eq!(kind("{\"tool\": 7}"), "schema_mismatch");
    assert_eq!(kind("{\"tool\": \"order\", \"arguments\": [1]}"), "schema_mismatch");
    assert_eq!(
        kind("<think>{\"tool\":\"wait\"}"),
        "no_call",
        "a thought without an end is no call"
    );
    assert_eq!(
        read_reply("{\"tool\": \"order\", \"arg", Finish::Length, ReplyMode::Text)
            .unwrap_err()
            .kind,
        "cut_off"
    );
    assert_eq!(
        read_reply("{\"tool\":\"wait\"}", Finish::Stop, ReplyMode::Json).unwrap().tool,
        "wait"
    );
    assert_eq!(
        read_reply("Sure! {\"tool\":\"wait\"}", Finish::Stop, ReplyMode::Json).unwrap_err().kind,
        "invalid_json"
    );
    let carded = read("{\"name\":\"wait\",\"arguments\":{\"card\":{\"success\":true}}}").unwrap();
    assert_eq!((carded.card, carded.arguments.len()), (Some(json!({"success": true})), 0));
    // An echoed placeholder names no tool: the world refuses it, and nothing else is done in its
    // place.
    let echo = r#"{"tool": "<tool name>", "arguments": {}, "card": null}"#;
    let rows = one_run(
        &["env.max_steps=3"],
        &Speaker::new(move |_, _| Ok((echo.to_string(), Finish::Stop))),
    );
    assert!(rows.iter().all(|row| !row.result.success), "{:?}", rows[0].result);
    assert!(rows[0].result.failure.as_ref().unwrap().contains("there is no tool"));
}

/// The forms in which models' own templates write a call.
#[test]
fn calls_in_the_forms_of_models_own_templates_are_read() {
    for (family, text) in [
        (
            "Qwen, Hermes",
            "<tool_call>\n{\"name\": \"quote\", \"arguments\": {\"sku\": \"P1\"}}\n</tool_call>",
        ),
        ("Llama 3.1", "{\"name\": \"quote\", \"parameters\": {\"sku\": \"P1\"}}"),
        ("Llama 3.1, custom", "<function=quote>{\"sku\": \"P1\"}</function>"),
        (
            "gpt-oss",
            "analysisNeed a price.assistantcommentary to=functions.quote json{\"sku\": \"P1\"}",
        ),
        ("DeepSeek", "function quote\n```json\n{\"sku\": \"P1\"}\n```"),
        ("Mistral", "[TOOL_CALLS] [{\"name\": \"quote\", \"arguments\": {\"sku\": \"P1\"}}]"),
        (
            "OpenAI",
            "{\"type\": \"function\", \"function\": {\"name\": \"quote\", \"arguments\": \"{\\\"sku\\\": \\\"P1\\\"}\"}}",
        ),
    ] {
        let call = read_reply(text, Finish::Stop, ReplyMode::Text)
            .unwrap_or_else(|failure| panic!("{family}: {failure:?}"));
        assert_eq!(
            (call.tool.as_str(), &call.arguments["sku"]),
            ("quote", &json!("P1")),
            "{family}"
        );
    }
    let prose = "Its function is unclear, see {\"sku\": \"P1\"}";
    assert_eq!(read_reply(prose, Finish::Stop, ReplyMode::Text).unwrap_err().kind, "no_call");
}

#[test]
fn a_failure_to_parse_is_shown_back_and_counted() {
    let speaker = Speaker::new(|_, before| match before {
        0 => Ok(("I'm sorry, no.".to_string(), Finish::Stop)),
        _ => Ok(("{\"tool\":\"wait\"}".to_string(), Finish::Stop)),
    });
    let rows = one_run(&["agent.reply_mode=text", "env.max_steps=4"], &speaker);
    assert_eq!(rows[0].parse_failure.as_ref().unwrap().kind, "refusal");
    assert_eq!((&rows[0].action, rows[0].card_problem.as_deref()), (&None, Some("absent")));
    assert!(
        rows[1].prompt[0]
            .content
            .contains("Your last reply was not used: expected a tool call, found a refusal")
    );
    let asked = speaker.asked.lock().unwrap();
    assert!(asked[0].schema.is_none(), "text mode is not constrained");
    assert!(
        asked[0].tools.as_ref().unwrap()[0]["function"]["parameters"]["properties"]["card"]
            .is_object()
    );
    assert!(asked[0].messages[0].content.contains("<tool_call>"));
    assert!(
        !asked[0].messages[0].content.contains("Reply with one JSON object"),
        "one form is asked for, not two"
    );
    assert!(!asked[1].messages.last().unwrap().content.contains("Failed:"), "said once");
    assert_eq!(rows[1].parse_failure, None);
}

#[test]
fn an_optional_card_may_be_absent_and_a_required_one_is_missed() {
    let bare = || {
        Speaker::new(|_, _| {
            Ok((r#"{"tool":"wait","arguments":{},"card":null}"#.to_string(), Finish::Stop))
        })
    };
    let required = one_run(&["env.max_steps=5"], &bare());
    assert!(required.iter().all(|row| row.card_problem.as_deref() == Some("absent")));
    let optional = one_run(&["env.max_steps=5", "interface.prediction_mode=optional"], &bare());
    assert!(
        optional
            .iter()
            .all(|row| row.card_problem.is_none() && row.pe.values().all(Option::is_none))
    );
}

#[test]
fn history_stays_within_the_context_and_its_prompts_share_a_beginning() {
    let mut speaker = Speaker::new(|_, _| Ok(inbox()));
    speaker.context = Some(900);
    let rows = one_run(&["env.max_steps=40", "crash_detector.continue_after_crash=1000"], &speaker);
    assert_eq!(rows.len(), 40);
    let asked = speaker.asked.lock().unwrap();
    let mut shared = 0;
    for (row, pair) in rows.iter().skip(1).zip(asked.windows(2)) {
        assert!(
            row.prompt_tokens + pair[1].max_tokens <= 900,
            "step {}: {}",
            row.step,
            row.prompt_tokens
        );
        shared += usize::from(pair[1].messages.starts_with(&pair[0].messages));
    }
    assert!(rows.last().unwrap().history_dropped > 5, "something had to go");
    assert!(shared >= 28, "only {shared} of 39 prompts begin with the one before");
    let mut tiny = Speaker::new(|_, _| Ok(inbox()));
    tiny.context = Some(100);
    let folder = tempfile::tempdir().unwrap();
    let summary = run(&study(&["experiment.retries=0"]), &tiny, folder.path(), 1).unwrap();
    assert!(summary.failed[0].1.contains("model.context_length"), "{:?}", summary.failed);
}

#[test]
fn history_policies_show_what_they_say() {
    for (policy, most) in [("window", 6), ("none", 0)] {
        let speaker = Speaker::new(|_, _| Ok(inbox()));
        let policy = format!("agent.history={policy}");
        one_run(&[&policy, "agent.history_window=6"], &speaker);
        let asked = speaker.asked.lock().unwrap();
        assert!(asked.iter().all(
            |asked| asked.messages[0].role == "system" && asked.messages.len() <= 2 + 2 * most
        ));
        assert_eq!(asked.iter().map(|asked| asked.messages.len()).max(), Some(2 + 2 * most));
        assert!(asked.iter().all(|asked| asked.messages.last().unwrap().role == "user"));
        let market = |asked: &speaker::Asked| {
            let told = asked
                .messages
                .iter()
                .map(|message| message.content.matches("suppliers with price").count());
            (told.sum::<usize>(), asked.messages[1].content.starts_with("SKUs: "))
        };
        assert!(
            asked.iter().all(|asked| market(asked) == (1, true)),
            "prices do not leave with the past, and come once"
        );
    }
}

/// Resetting leaves out what was said before, from then on, live and in the replay that each run
/// here ends with.
#[test]
fn resetting_beliefs_begins_the_conversation_anew() {
    let speaker = Speaker::new(|_, before| match before {
        5 => {
            Ok((r#"{"tool":"reset_beliefs","arguments":{},"card":null}"#.to_string(), Finish::Stop))
        }
        _ => Ok(inbox()),
    });
    let rows = one_run(&["interface.recovery_tools=reset", "env.max_steps=10"], &speaker);
    let lengths: Vec<usize> =
        speaker.asked.lock().unwrap().iter().map(|asked| asked.messages.len()).collect();
    assert_eq!(lengths, [2, 4, 6, 8, 10, 12, 2, 4, 6, 8]);
    assert_eq!(
        rows.iter().map(|row| row.history_dropped).collect::<Vec<_>>(),
        [0, 0, 0, 0, 0, 0, 6, 6, 6, 6]
    );
    let asked = speaker.asked.lock().unwrap();
    let afresh = &asked[6].messages[1].content;
    assert!(
        afresh.starts_with("SKUs: ")
            && afresh.contains("left out")
            && afresh.contains("present_state"),
        "{afresh}"
    );
}

/// What a card lacks is in the row, and what it has is scored.
#[test]
fn an_incomplete_card_is_recorded_as_what_it_is() {
    let reply =
        r#"{"tool":"wait","arguments":{},"card":{"success":true,"cost":"none","confidence":70}}"#;
    let speaker = Speaker::new(move |_, _| Ok((reply.to_string(), Finish::Stop)));
    let rows =
        one_run(&["env.max_steps=2", "interface.prediction_mode=required+confidence"], &speaker);
    let problem = rows[0].card_problem.as_deref().unwrap();
    for part in [
        "cost: expected integer, found a string",
        "storage_after is missing",
        "confidence: expected 0 to 1, found 70",
    ] {
        assert!(problem.contains(part), "{problem}");
    }
    assert_eq!((rows[0].pe["causal"], rows[0].pe["cost"]), (Some(0.0), None));
}

#[test]
fn confidence_is_scored_for_calibration() {
    let sure = r#"{"tool":"order","arguments":{"supplier_id":"S99","sku":"P1","quantity":1},"card":{"success":true,"confidence":0.9}}"#;
    let folder = tempfile::tempdir().unwrap();
    let speaker = Speaker::new(move |_, _| Ok((sure.to_string(), Finish::Stop)));
    run(&study(&["interface.prediction_mode=required+confidence"]), &speaker, folder.path(), 2)
        .unwrap();
    let record =
        Store::open(folder.path()).unwrap().runs().unwrap()[0].committed().unwrap().unwrap();
    let calibration = &record.extra["calibration"];
    assert!((calibration["brier"].as_f64().unwrap() - 0.81).abs() < 1e-9, "{calibration}");
    assert_eq!(calibration["reliability"][9]["right"], json!(0.0));
}

/// An agent whose talk drifts away from how it began: the similarities are in the rows with their
/// embedder, the detector fires on them, and nothing of it depends on stopping, replaying or
/// playing a recording.
#[test]
fn slow_divergence_is_seen_in_the_embeddings_of_the_agents_own_words() {
    let drifting = |request: &experiment::ReplyRequest<'_>, _: usize| {
        let step = request.messages.len() / 2;
        let tool = ["check_inbox", "check_storage", "check_budget"][step % 3];
        Ok((
            format!("Step {step}: all goes its way. {{\"tool\":\"{tool}\",\"card\":null}}"),
            Finish::Stop,
        ))
    };
    let mut speaker = Speaker::new(drifting);
    speaker.embed = Some(std::sync::Arc::new(|text: &str| {
        let step: f32 = text.split([' ', ':']).nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
        vec![(step / 20.0).cos(), (step / 20.0).sin(), 0.0]
    }));
    let sets = [
        "agent.reply_mode=text",
        "env.max_steps=60",
        "experiment.replications=1",
        "crash_detector.threshold=lenient",
    ];
    let config = study(&sets);
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(run(&config, &speaker, whole.path(), 1).unwrap().done_now, 2);
    let rows = rows(whole.path());
    assert!(
        rows[..8].iter().all(|row| row.similarity.is_none()),
        "the first eight are what others are compared with"
    );
    let similarities: Vec<_> =
        rows[8..60].iter().map(|row| row.similarity.clone().unwrap()).collect();
    assert!(similarities.iter().all(|similarity| similarity.embedder == "speaker"));
    assert!(similarities.windows(2).all(|pair| pair[1].cosine < pair[0].cosine));
    let kinds: Vec<_> =
        rows[..60].iter().flat_map(|row| &row.crashes).map(|crash| crash.kind.as_str()).collect();
    assert!(kinds.contains(&"slow_divergence"), "{kinds:?}");
    let store = Store::open(whole.path()).unwrap();
    assert_eq!(replay_all(&store).unwrap().len(), 2);
    for run in experiment::rerun_detectors(&store, &[]).unwrap() {
        assert_eq!(run.crashes, run.recorded);
    }
    // StopReason every few steps, within the first eight and after them.
    let steps = AtomicUsize::new(0);
    let count = |event: &RunEvent| {
        if matches!(event, RunEvent::StepDone(_)) {
            steps.fetch_add(1, Ordering::SeqCst);
        }
    };
    while steps.load(Ordering::SeqCst) < 120 {
        let stop_at = steps.load(Ordering::SeqCst) + 5;
        let stop = || steps.load(Ordering::SeqCst) >= stop_at;
        run_experiment(&config, &speaker, &folder_options(&config, parts.path(), 1), &count, &stop)
            .unwrap();
    }
    assert_eq!(steps_of(whole.path()), steps_of(parts.path()));
    let played = tempfile::tempdir().unwrap();
    let recorded = ReplayProvider::open(&store).unwrap();
    run_experiment(&config, &recorded, &folder_options(&config, played.path(), 1), &quiet, &|| {
        false
    })
    .unwrap();
    assert_eq!(steps_of(whole.path()), steps_of(played.path()));
}

/// Decoupling sees both: a card that the action contradicts, and words that announce another tool.
#[test]
fn an_action_that_contradicts_its_card_or_its_words_is_marked() {
    let contradicts = |mode: &str, reply: &str| {
        let reply = reply.to_string();
        let speaker = Speaker::new(move |_, _| Ok((reply.clone(), Finish::Stop)));
        let rows = one_run(&["env.max_steps=2", &format!("agent.reply_mode={mode}")], &speaker);
        rows[0].detector.value()["contradicts"].clone()
    };
    let call =
        |card: &str| format!("{{\"tool\":\"check_inbox\",\"arguments\":{{}},\"card\":{card}}}");
    assert_eq!(contradicts("json", &call("null")), json!(null), "neither says anything");
    assert_eq!(contradicts("json", &call("{\"success\":true,\"cost\":0}")), json!(false));
    assert_eq!(contradicts("json", &call("{\"success\":false}")), json!(true));
    assert_eq!(
        contradicts("json", &call("{\"success\":true,\"cost\":40}")),
        json!(true),
        "looking costs nothing"
    );
    assert_eq!(
        contradicts("json", &call("{\"reasoning\":\"best to order(S1, P2) now\"}")),
        json!(true)
    );
    assert_eq!(contradicts("text", &format!("I use check_inbox. {}", call("null"))), json!(false));
    assert_eq!(contradicts("text", &format!("I use check_storage. {}", call("null"))), json!(true));
}

#[test]
fn a_request_to_stop_is_heard_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let slow = Speaker::new(|request, _| {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            if (request.canceled)() {
                return Err(ProviderError::Canceled);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(inbox())
    });
    let begun = Instant::now();
    let stop = || begun.elapsed() > Duration::from_millis(300);
    let config = study(&[]);
    let summary =
        run_experiment(&config, &slow, &folder_options(&config, folder.path(), 2), &quiet, &stop)
            .unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1300), "{:?}", begun.elapsed());
    assert_eq!((summary.interrupted, summary.exit_code(), summary.failed.len()), (true, 130, 0));
}

#[test]
fn nothing_is_loaded_when_all_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let (config, speaker) = (study(&[]), Speaker::new(|_, _| Ok(inbox())));
    run(&config, &speaker, folder.path(), 2).unwrap();
    run(&config, &speaker, folder.path(), 2).unwrap();
    assert_eq!(speaker.opened.load(Ordering::SeqCst), 1);
}

#[test]
fn another_kernel_set_is_refused_or_marked() {
    let folder = tempfile::tempdir().unwrap();
    let (config, mut speaker) = (study(&[]), Speaker::new(|_, _| Ok(inbox())));
    let mut options = folder_options(&config, folder.path(), 1);
    options.runs_max = Some(1);
    run_experiment(&config, &speaker, &options, &quiet, &|| false).unwrap();
    speaker.kernels = "other".into();
    let error = run_experiment(&config, &speaker, &options, &quiet, &|| false).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Usage && error.to_string().contains("--accept-mixed"),
        "{error}"
    );
    options.accept_mixed = true;
    run_experiment(&config, &speaker, &options, &quiet, &|| false).unwrap();
    let marked = rows(folder.path())
        .iter()
        .filter(|row| row.mixed_kernels.as_deref() == Some("other"))
        .count();
    assert_eq!((marked, rows(folder.path()).len()), (24, 48));
    replay_all(&Store::open(folder.path()).unwrap()).unwrap();
}

#[test]
fn a_model_that_cannot_be_had_says_which() {
    let (config, folder) = (study(&[]), tempfile::tempdir().unwrap());
    let options = folder_options(&config, folder.path(), 1);
    let error = run_experiment(&config, &NoModels, &options, &quiet, &|| false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("speaker"), "{error}");
}

/// Seeds of sampling differ from step to step and between replicates, and are the same on a resumed
/// run.
#[test]
fn each_step_samples_with_a_seed_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let speaker = Speaker::new(|_, _| Ok(inbox()));
    run(&study(&["grid.pe_induction.p_shock=[0.1]"]), &speaker, folder.path(), 1).unwrap();
    let asked = speaker.asked.lock().unwrap();
    assert_eq!(asked.iter().map(|asked| asked.seed).collect::<BTreeSet<_>>().len(), asked.len());
    assert!(asked.iter().all(|asked| asked.temperature == 0.3 && asked.max_tokens == 50));
}

proptest::proptest! {
    /// Whatever a model writes is read as a call or as a failure with a reason.
    #[test]
    fn any_text_is_a_call_or_a_failure_with_a_reason(text in "\\PC{0,80}|[{}\\[\\]\",:a-z0-9<>/_ \\n]{0,200}", cut in proptest::bool::ANY) {
        for mode in [ReplyMode::Json, ReplyMode::Text] {
            let finish = if cut { Finish::Length } else { Finish::Stop };
            match read_reply(&text, finish, mode) {
                Ok(call) => proptest::prop_assert!(call.tool.trim() == call.tool),
                Err(failure) => proptest::prop_assert!(!failure.kind.is_empty() && !failure.detail.is_empty()),
            }
        }
    }
}
