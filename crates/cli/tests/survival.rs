//! `vendomini survival` on tables of CSV, JSONL and Parquet: answers of lifelines and R, the same
//! numbers from each format, and errors.

#[path = "survival/known.rs"]
mod known;

use known::{Tables, answers, assert_near, assert_refused, document, members, survival};
use serde_json::{Map, Value, json};
use std::path::Path;

const LIFELINES: &str = "survival_lifelines.json";
const ROSSI: &str = "--time week --event arrest --covariates fin,age,race,wexp,mar,paro,prio \
                     --model cox";

fn data(file: &str, path: &str) -> Map<String, Value> {
    answers(file, path).as_object().expect("columns").clone()
}

#[test]
fn a_cox_model_of_each_format_agrees_with_lifelines() {
    let tables = Tables::new();
    let rossi = data(LIFELINES, "/rossi/data");
    let expected = answers(LIFELINES, "/rossi/answers");
    let mut documents = Vec::new();
    for name in ["rossi.csv", "rossi.jsonl", "rossi.parquet"] {
        let table = tables.of_columns(name, &rossi);
        let mut found = document(&table, &format!("{ROSSI} --ph-test=identity"));
        let coefficients = &found["coefficients"];
        for key in ["coef", "se", "lower", "upper", "p"] {
            assert_near(&members(coefficients, key), &expected["efron"][key], key);
        }
        assert_near(&found["log_likelihood"], &json!(-658.7476594), "log-likelihood");
        assert_near(&found["aic"], &json!(1331.4953189), "AIC");
        assert_near(&found["concordance"], &json!(0.6403292), "concordance");
        let tests = &found["proportional_hazards"];
        let chi2 = members(&tests["coefficients"], "chi2");
        let identity = &expected["proportional_hazards"]["identity"];
        assert_near(&chi2, identity, "proportional hazards");
        assert_eq!((&found["rows"], &found["events"]), (&json!(432), &json!(114)));
        assert_eq!(found["schema_version"], json!(2));
        found["table"] = Value::Null;
        documents.push(found);
    }
    assert_eq!(documents[0], documents[1], "CSV and JSONL");
    assert_eq!(documents[0], documents[2], "CSV and Parquet");
}

#[test]
fn clusters_give_robust_errors_and_strata_their_own_baselines() {
    let tables = Tables::new();
    let mut rossi = data(LIFELINES, "/rossi/data");
    rossi.insert("block".to_owned(), (0..432).map(|row| format!("b{}", row / 8)).collect());
    let table = tables.of_columns("rossi.csv", &rossi);
    let expected = answers(LIFELINES, "/rossi/answers");
    let plain = document(&table, &format!("{ROSSI} --cluster block --robust plain"));
    // From R: sqrt(diag(coxph(..., cluster = block)$var)). Those of lifelines ignore ties.
    let errors = json!([
        0.2207480341173,
        0.0292009403463,
        0.2841370402401,
        0.2175620217825,
        0.3556042118974,
        0.2178387215695,
        0.0227674923434
    ]);
    assert_near(&members(&plain["coefficients"], "robust_se"), &errors, "robust se");
    assert_eq!(plain["clusters"], json!(54));
    let small = document(&table, &format!("{ROSSI} --cluster block"));
    assert_eq!(small["robust"], json!("small-sample"));
    let ratio = small["coefficients"][0]["robust_se"].as_f64().expect("a number")
        / plain["coefficients"][0]["robust_se"].as_f64().expect("a number");
    assert!((ratio - (54.0_f64 / 53.0).sqrt()).abs() < 1e-9, "{ratio}");
    let without_race = ROSSI.replace("race,", "");
    let strata = document(&table, &format!("{without_race} --strata race"));
    let coefs = members(&strata["coefficients"], "coef");
    assert_near(&coefs, &expected["stratified_by_race"]["coef"], "strata");
    assert_eq!(strata["strata"], json!(2));
}

#[test]
fn covariates_that_vary_in_time_agree_with_lifelines() {
    let table = Tables::new();
    let table = table.of_columns("heart.parquet", &data(LIFELINES, "/stanford/data"));
    let options = "--model cox --start start --time stop --event event --subject id --covariates \
                   age,year,surgery,transplant";
    let found = document(&table, options);
    assert_near(&found["log_likelihood"], &json!(-290.5656162), "log-likelihood");
    let coefs = json!([0.027167, -0.146346, -0.637210, -0.010251]);
    let found_coefs = members(&found["coefficients"], "coef");
    for (found, expected) in known::numbers(&found_coefs).iter().zip(known::numbers(&coefs)) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    assert_eq!((&found["rows"], &found["subjects"]), (&json!(172), &json!(103)));
}

#[test]
fn survival_curves_and_the_log_rank_test_agree_with_lifelines() {
    let tables = Tables::new();
    let waltons = data(LIFELINES, "/waltons/data");
    let expected = answers(LIFELINES, "/waltons/answers");
    let table = tables.of_columns("waltons.csv", &waltons);
    let all = document(&table, "--model km --time T --event E --times 20,56 --horizon 50");
    let group = &all["groups"][0];
    assert_near(&group["at"][0]["survival"], &json!(0.9136503067), "S(20)");
    assert_near(&group["at"][1]["survival"], &json!(0.42990265), "S(56)");
    assert_near(&group["at"][1]["lower"], &json!(0.3526890), "lower");
    assert_near(&group["at"][1]["upper"], &json!(0.5046796), "upper");
    assert_eq!(group["median"], json!({"time": 56.0, "lower": 53.0, "upper": 58.0}));
    let mean = &group["restricted_mean"];
    assert_near(&mean["value"], &expected["restricted_mean_50"], "mean");
    let hazard = document(&table, "--model nelson-aalen --time T --event E");
    let curve = &hazard["groups"][0]["curve"];
    let step = curve["times"].as_array().expect("times").iter().position(|t| *t == json!(56.0));
    assert_near(&curve["hazard"][step.expect("56")], &json!(0.8051926409), "H(56)");
    let test = document(&table, "--model logrank --time T --event E --group group");
    assert_near(&json!([test["chi2"], test["p"]]), &expected["log_rank"], "log-rank");
    let labels = members(&test["groups"], "group");
    assert_eq!(labels, json!(["control", "miR-137"]));
    let by_group = document(&table, "--model km --time T --event E --group group");
    let difference = &by_group["restricted_mean_differences"][0];
    assert_eq!(difference["reference"], json!("control"));
    assert!(difference["value"].as_f64().expect("a number") < 0.0, "{difference}");
}

#[test]
fn competing_causes_are_numbers_or_words() {
    let tables = Tables::new();
    let numbers = "T,E,g\n1,1,a\n2,2,a\n3,0,a\n4,1,a\n5,2,a\n6,0,a\n7,1,a\n8,2,a\n";
    let words =
        "T,E,g\n1,crash,a\n2,ruin,a\n3,horizon,a\n4,crash,a\n5,ruin,a\n6,,a\n7,crash,a\n8,ruin,a\n";
    for (name, text) in [("numbers.csv", numbers), ("words.csv", words)] {
        let table = tables.text(name, text);
        let found = document(&table, "--model aj --time T --event E --times 1,4,7");
        let of = &found["groups"][0]["incidences"][0];
        assert_near(&members(&of["at"], "incidence"), &json!([0.125, 0.275, 0.5]), name);
        let at = |time: f64| (time - 1.0) as usize;
        let variance =
            json!([of["variance"][at(1.0)], of["variance"][at(4.0)], of["variance"][at(7.0)]]);
        assert_near(&variance, &json!([0.013671875, 0.027921875, 0.044375]), name);
        assert_eq!(members(&found["causes"], "events"), json!([3, 3]));
    }
    let table = tables.text("words.csv", words);
    let cause = document(&table, "--model km --time T --event E --cause crash");
    assert_eq!(cause["events"], json!(3));
    assert_eq!(cause["warnings"][0]["code"], json!("competing_causes"));
    let any = document(&table, "--model km --time T --event E --cause any");
    assert_eq!(any["events"], json!(6));
    let causes = ["crash (3), ruin (3)", "--cause"];
    assert_refused(&table, "--model km --time T --event E", 2, &causes);
    let ending = "--model aj --time T --event E --censored horizon";
    assert_refused(&table, ending, 65, &["row 6", "--drop-missing"]);
    let found = document(&table, &format!("{ending} --drop-missing"));
    assert_eq!((&found["rows"], &found["rows_left_out"]), (&json!(7), &json!(1)));
}

#[test]
fn hazards_of_grouped_time_agree_with_r() {
    let tables = Tables::new();
    let table = tables.of_columns("recurrent.csv", &data("survival_r.json", "/recurrent"));
    let options = "--model cloglog --start start --time stop --event event --subject id \
                   --recurrent --covariates dose,exposure --bins 0,10,20,40,60 --cluster world \
                   --robust plain";
    let found = document(&table, options);
    assert_eq!(found["step"], json!(1.0));
    let expected = answers("survival_r.json", "/discrete/within_step");
    let mut coefs: Vec<f64> = known::numbers(&members(&found["bins"], "hazard"));
    coefs.iter_mut().for_each(|hazard| *hazard = hazard.ln());
    coefs.extend(known::numbers(&members(&found["coefficients"], "coef")));
    assert_near(&json!(coefs), &expected["coef"], "coef");
    let mut errors = known::numbers(&members(&found["bins"], "log_se"));
    errors.extend(known::numbers(&members(&found["coefficients"], "robust_se")));
    assert_near(&json!(errors), &expected["robust_se"], "robust se");
    assert_near(&found["log_likelihood"], &expected["log_likelihood"][0], "log-likelihood");
    let bins = document(&table, &options.replace("0,10,20,40,60", "4"));
    assert_eq!(bins["bins"].as_array().map(Vec::len), Some(4));
}

#[test]
fn categories_are_compared_with_their_first_level() {
    let tables = Tables::new();
    let mut rossi = data(LIFELINES, "/rossi/data");
    let aid = rossi["fin"].as_array().expect("fin").iter();
    let aid: Value = aid.map(|fin| if fin.as_f64() == Some(1.0) { "yes" } else { "no" }).collect();
    rossi.insert("aid".to_owned(), aid);
    let table = tables.of_columns("rossi.csv", &rossi);
    let words = document(&table, &ROSSI.replace("fin,", "aid,"));
    assert_eq!(words["coefficients"][0]["name"], json!("aid=yes"));
    assert_eq!(words["references"], json!([{"column": "aid", "level": "no"}]));
    let numbers = document(&table, &format!("{ROSSI} --categorical fin"));
    assert_eq!(numbers["coefficients"][0]["coef"], words["coefficients"][0]["coef"]);
    let interaction = "--model cox --time week --event arrest --covariates aid,age,aid:age";
    let names = members(&document(&table, interaction)["coefficients"], "name");
    assert_eq!(names, json!(["aid=yes", "age", "aid=yes:age"]));
}

#[test]
fn people_read_an_aligned_table() {
    let tables = Tables::new();
    let table = tables.of_columns("rossi.csv", &data(LIFELINES, "/rossi/data"));
    let output = survival(&table, ROSSI);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for line in [
        "rossi.csv: 432 rows, 114 events\n",
        "log-likelihood -658.7477 (without covariates -675.3806), AIC 1331.4953, concordance 0.6403\n",
        "covariate      coef       se  hazard ratio  95% from      to       p\n",
        "fin         -0.3794   0.1914        0.6843    0.4702  0.9957  0.0474\n",
        "prio        0.09150  0.02865         1.096     1.036   1.159  0.0014\n",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
}

#[test]
fn options_without_effect_and_bad_values_are_refused() {
    let tables = Tables::new();
    let table = tables.text("t.csv", "t,e,x,c\n1,1,2,5\n2,0,3,5\n3,1,,5\n4,1,9,5\n");
    for (options, code, texts) in [
        ("--model cox --time t --event e", 2, &["expected --covariates"][..]),
        ("--model logrank --time t --event e", 2, &["expected --group"]),
        ("--model km --time t --event e --ties efron", 2, &["--ties has no effect on --model km"]),
        ("--model aj --time t --event e --cause 1", 2, &["--cause has no effect on --model aj"]),
        ("--model kaplan --time t --event e", 2, &["nelson-aalen"]),
        ("--model km --time t --event e --level 95", 2, &["--level", "0.95", "95"]),
        ("--model km --time tt --event e", 2, &["column tt not found", "did you mean t?"]),
        ("--model km --time e --event t", 2, &["4 causes"]),
        ("--model km --time e --event e --cause 2", 2, &["found \"2\"; causes: 1 (3)"]),
        ("--model cox --time t --event e --covariates x", 65, &["x lacks 1 (first in row 3)"]),
        ("--model cox --time t --event e --covariates c", 65, &["t.csv", "c (5 in all rows)"]),
        ("--model cox --time t --event e --covariates c,c", 2, &["given twice"]),
        (
            "--model km --start x --time t --event e --drop-missing",
            65,
            &["row 1", "after that of x"],
        ),
        ("--model km --time t --event e --subject c", 65, &["row 2", "one row for each subject"]),
        ("--model cox --time t --event e --covariates x --recurrent", 2, &["--subject"]),
        ("--model cloglog --time t --event e --bins 0,2", 2, &["--bins", "from 0 to 4"]),
    ] {
        assert_refused(&table, options, code, texts);
    }
    let missing = Path::new("/no/such.csv");
    assert_refused(missing, "--model km --time t --event e", 66, &["/no/such.csv"]);
    let text = tables.text("bad.csv", "t,e\n1,1\nsoon,0\n");
    let found = ["bad.csv", "\"t\", row 2: expected a finite number", "the text \"soon\""];
    assert_refused(&text, "--model km --time t --event e", 65, &found);
}

#[test]
fn the_commands_document_names_each_key() {
    fn collect(value: &Value, keys: &mut std::collections::BTreeSet<String>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| collect(value, keys)),
            Value::Object(members) => members.iter().for_each(|(key, value)| {
                keys.insert(key.clone());
                collect(value, keys);
            }),
            _ => {}
        }
    }
    let tables = Tables::new();
    let table = tables.of_columns("waltons.csv", &data(LIFELINES, "/waltons/data"));
    let mut keys = std::collections::BTreeSet::new();
    for options in [
        "--model km --group group --times 20",
        "--model nelson-aalen",
        "--model logrank --group group",
        "--model cox --covariates group --ph-test",
        "--model aj --times 20",
        "--model cloglog --covariates group",
    ] {
        collect(&document(&table, &format!("--time T --event E {options}")), &mut keys);
    }
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let unnamed: Vec<&String> =
        keys.iter().filter(|key| !guide.contains(&format!("`{key}`"))).collect();
    assert!(unnamed.is_empty(), "{unnamed:?}");
}

#[test]
fn a_covariate_that_separates_events_is_warned_of() {
    let tables = Tables::new();
    let rows = (1..=20).map(|time| format!("{time},1,{}\n", u8::from(time <= 10)));
    let table = tables.text("t.csv", &format!("t,e,x\n{}", rows.collect::<String>()));
    let found = document(&table, "--model cox --time t --event e --covariates x");
    let codes = members(&found["warnings"], "code");
    assert!(codes.as_array().expect("codes").contains(&json!("separation")), "{codes}");
}
