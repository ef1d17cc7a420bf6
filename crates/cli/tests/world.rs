//! Tests of `vendomini world --stdio`: the same rows as `run`, and JSON-RPC errors.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vendomini"))
}

/// A server, ended when dropped.
struct Server {
    process: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    id: u64,
}

impl Server {
    fn start(arguments: &[&str]) -> Server {
        let mut process = program()
            .args(["world", "--stdio"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let to = process.stdin.take();
        let from = BufReader::new(process.stdout.take().expect("its stdout"));
        Server { process, to, from, id: 0 }
    }

    fn write(&mut self, line: &str) {
        let to = self.to.as_mut().expect("an open stdin");
        to.write_all(line.as_bytes())
            .and_then(|()| to.write_all(b"\n"))
            .expect("write to the server");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("an answer");
        line
    }

    /// The text of the answer to a request.
    fn ask_text(&mut self, method: &str, params: &Value) -> String {
        self.id += 1;
        let request = json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params});
        self.write(&request.to_string());
        self.line()
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let answer: Value = serde_json::from_str(&self.ask_text(method, &params)).expect("JSON");
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(self.id)));
        answer
    }

    fn error(&mut self, method: &str, params: Value) -> (i64, String) {
        let error = self.ask(method, params)["error"].clone();
        (error["code"].as_i64().expect("a code"), error["message"].as_str().unwrap().to_string())
    }

    /// The exit code after the end of its input.
    fn end(mut self) -> Option<i32> {
        self.to = None;
        self.exit()
    }

    fn exit(&mut self) -> Option<i32> {
        let since = Instant::now();
        loop {
            match self.process.try_wait().expect("its state") {
                Some(status) => return status.code(),
                None if since.elapsed() > Duration::from_secs(20) => panic!("the server goes on"),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.process.kill();
    }
}

const STUDY: &str = "experiment:\n  name: study\n  replications: 2\n  seed: 3\nenv:\n  max_steps: 120\n  complexity_level: 1\npe_induction:\n  observability: full\nagent:\n  policy: careful\ngrid:\n  pe_induction.p_shock: [0.0, 0.3]\n";

/// The folders of an experiment's committed runs.
fn run_folders(experiment: &Path) -> Vec<PathBuf> {
    let folders = |path: &Path| {
        let names = std::fs::read_dir(path).expect("a folder").map(|entry| entry.unwrap().path());
        names.collect::<Vec<_>>()
    };
    let mut runs: Vec<PathBuf> =
        folders(&experiment.join("runs")).iter().flat_map(|fan| folders(fan)).collect();
    runs.sort();
    runs
}

/// Plays a stored run through the server, and compares each row with the stored one, byte by byte.
/// Returns the number of rows.
fn compare(server: &mut Server, run: &Path, sets: &[&str]) -> usize {
    let record: Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("run.json")).unwrap()).unwrap();
    let begun = server.ask(
        "reset",
        json!({
            "rows": true,
            "sets": sets,
            "levels": {"pe_induction.p_shock": record["cell"]["pe_induction.p_shock"]},
            "replicate": record["replicate"],
            "run_id": record["run_id"],
        }),
    );
    assert_eq!(begun["result"]["seed"], record["seed"], "{begun}");
    let log = std::fs::read_to_string(run.join("steps.1.jsonl")).expect("a log");
    let mut net_worth = begun["result"]["state"]["figures"]["net_worth"].as_f64().unwrap();
    for line in log.lines() {
        let stored = format!("{}}}", line.rsplit_once(",\"chain\":").expect("a sealed row").0);
        let row: Value = serde_json::from_str(&stored).unwrap();
        let reply: Value = serde_json::from_str(row["reply"].as_str().unwrap()).unwrap_or_default();
        let params = match reply.is_object() {
            true => reply,
            false => json!({"reply": row["reply"]}),
        };
        let answer = server.ask_text("step", &params);
        let found = answer.split_once(",\"row\":").expect("a row").1;
        let found = found.rsplit_once("},\"id\":").expect("an id").0;
        assert!(found == stored, "expected the stored row\n{stored}\nfound\n{found}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let reward = answer["result"]["reward"].as_f64().unwrap();
        let now = row["state"]["net_worth"].as_f64().unwrap();
        assert!((now - net_worth - reward).abs() < 0.006, "reward {reward} at {now}");
        net_worth = now;
    }
    let ended = server.ask("state", json!({}))["result"]["ending"].clone();
    let last = log.lines().last().expect("a row");
    let last: Value = serde_json::from_str(last).unwrap();
    assert!(ended == last["ending"] && ended.is_string(), "{ended} as it was recorded");
    log.lines().count()
}

#[test]
fn the_same_replies_give_the_same_bytes_as_a_run() {
    for sets in [
        vec!["agent.policy=careful"],
        vec!["agent.policy=random", "interface.recovery_tools=all"],
        vec!["agent.policy=adaptive", "interface.prediction_format=rich", "env.complexity_level=3"],
        vec!["agent.policy=careful", "experiment.design=v1"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("study.yaml");
        std::fs::write(&config, STUDY).unwrap();
        let config = config.to_str().unwrap();
        let out = folder.path().join("out");
        let mut command = program();
        command.args(["run", "--quiet", "--config", config, "--out", out.to_str().unwrap()]);
        command.args(sets.iter().flat_map(|set| ["--set", set]));
        command.args(["--set", "experiment.compress_logs=false"]);
        assert!(command.status().unwrap().success());
        let mut server = Server::start(&["--config", config]);
        let runs = run_folders(&out.join("study"));
        let rows: usize = runs.iter().map(|run| compare(&mut server, run, &sets)).sum();
        assert!(runs.len() == 4 && rows > 100, "{} runs, {rows} rows", runs.len());
        let (code, text) = server.error("step", json!({"tool": "wait"}));
        assert!(code == -32_001 && text.contains("reset"), "{code} {text}");
        assert_eq!(server.end(), Some(0));
    }
}

#[test]
fn the_same_seed_and_actions_give_the_same_answers_in_one_process_and_in_two() {
    let play = |server: &mut Server| -> Vec<String> {
        server.id = 0;
        let mut answers = vec![server.ask_text("reset", &json!({"seed": 11, "rows": true}))];
        for quantity in 1..20 {
            let order = json!({"supplier_id": "S1", "sku": "P1", "quantity": quantity});
            let card = json!({"success": true, "cost": 10});
            let action = json!({"tool": "order", "arguments": order, "card": card});
            answers.push(server.ask_text("step", &action));
        }
        answers
    };
    let (mut one, mut two) = (Server::start(&[]), Server::start(&[]));
    let first = play(&mut one);
    assert!(first == play(&mut one) && first == play(&mut two));
    assert!(first.iter().all(|answer| answer.contains("\"result\"")), "{}", first[1]);
}

#[test]
fn errors_say_what_was_expected_and_the_server_goes_on() {
    let mut server = Server::start(&["--set", "grid.pe_induction.p_shock=[0.0, 0.3]"]);
    assert_eq!(server.error("state", json!({})).0, -32_000);
    assert_eq!(server.error("step", json!({"tool": "wait"})).0, -32_000);
    let (code, text) = server.error("reset", json!({}));
    assert!(code == -32_602 && text.contains("pe_induction.p_shock"), "{text}");
    for (params, named) in [
        (json!({"cell": 3}), "expected 1 to 2, found 3"),
        (json!({"cell": 0}), "expected 1 to 2, found 0"),
        (json!({"cell": -1}), "cell: "),
        (json!({"sed": 1}), "unknown field `sed`"),
        (json!({"cell": 1, "seed": 1, "replicate": 1}), "found both"),
        (json!({"cell": 1, "run_id": "../../x"}), "20 hexadecimal digits"),
        (json!({"levels": {"p_shock": 1}}), "no such key"),
        (json!({"config": "/nowhere.yaml"}), "/nowhere.yaml"),
        (json!({"sets": ["env.max_stepz=1"]}), "env.max_steps"),
    ] {
        let (code, text) = server.error("reset", params.clone());
        assert!(code == -32_602 && text.contains(named), "{params}: {code} {text}");
    }
    let begun = server.ask("reset", json!({"levels": {"pe_induction.p_shock": 0}}));
    assert_eq!(begun["result"]["cell"], 1, "0 and 0.0 are equal");
    for params in [
        json!({}),
        json!({"tool": "wait", "reply": "x"}),
        json!({"reply": "x", "card": {}}),
        json!({"tool": 1}),
        json!({"tool": "wait", "arguments": []}),
        json!({"tool": "wait", "finish": "maybe"}),
    ] {
        assert_eq!(server.error("step", params.clone()).0, -32_602, "{params}");
    }
    // What a model may write wrongly is an outcome and no error.
    let failed = server.ask("step", json!({"tool": "fly", "card": 7}))["result"]["info"].clone();
    assert!(failed["success"] == false && failed["card_problem"].is_string(), "{failed}");
    let failed = server.ask("step", json!({"reply": "I am sorry"}))["result"]["info"].clone();
    assert_eq!(failed["parse_failure"]["kind"], "refusal");
    assert_eq!(server.error("fly", json!({})).0, -32_601);
    server.write(&"x".repeat(3 << 20));
    assert!(server.line().contains("-32600"));
    server.write(&"[".repeat(100_000));
    assert!(server.line().contains("-32700"));
    server.write("\u{0}\n\n{\"jsonrpc\":\"2.0\",\"method\":\"state\"}");
    assert!(server.line().contains("-32700"), "and no answer to the notification");
    server.write("[{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"state\"}]");
    let batch: Value = serde_json::from_str(&server.line()).unwrap();
    assert_eq!((&batch[0]["id"], &batch[0]["result"]["step"]), (&json!("a"), &json!(2)));
    assert_eq!(server.ask("close", json!({}))["result"], Value::Null);
    assert_eq!(server.end(), Some(0));
}

#[test]
fn the_description_tells_tools_schemas_and_cells() {
    let mut server = Server::start(&[]);
    let sets = json!(["grid.env.complexity_level=[0, 2]"]);
    let told = server.ask("initialize", json!({"sets": sets, "cell": 2}))["result"].clone();
    assert_eq!((&told["design"], &told["cell"]), (&json!("v2"), &json!(2)));
    assert_eq!(told["cells"][1], json!({"cell": 2, "levels": {"env.complexity_level": 2}}));
    assert_eq!(told["skus"].as_array().unwrap().len(), 15);
    let tools: Vec<&str> = told["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert!(tools.contains(&"expedite") && tools.contains(&"order"), "{tools:?}");
    assert!(told["card_schema"]["properties"]["success"].is_object());
    assert!(told["system_prompt"].as_str().unwrap().starts_with("You run a warehouse"));
    // The configuration of `initialize` is that of later resets, that of `describe` is not.
    server.ask("describe", json!({"sets": []}));
    assert_eq!(server.ask("reset", json!({"cell": 2, "seed": 1}))["result"]["cell"], 2);
}

#[test]
fn sigterm_ends_the_server_with_its_code() {
    let mut server = Server::start(&[]);
    server.ask("reset", json!({"seed": 1}));
    let pid = rustix::process::Pid::from_child(&server.process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(server.exit(), Some(143));
}
