//! The table `runs`: one row per run, from its record.

use super::CommittedRun;
use super::columns::{ExportColumn, IN_V1};
use super::rows::value_of;
use crate::config::{KEYS, Scope, ValueKind, thinking_label};
use crate::error::ExperimentError;
use crate::run::record::REASONING_TOKENS;
use results::{CellValue, ColumnKind, DoseRow, RunRecord};
use serde_json::Value;
use warehouse::{CardField, CrashSeverity, Observability, PeKind, ShockType};

type C = ExportColumn<RunRecord>;

pub(super) fn rows(run: &CommittedRun) -> Result<Vec<RunRecord>, ExperimentError> {
    Ok(vec![run.record.clone()])
}

pub(super) fn columns() -> Vec<C> {
    let parts = [
        cell(),
        outcome(),
        errors(),
        first_crash(),
        shocks(),
        exposure(),
        metrics(),
        replies(),
        timing(),
        structured(),
    ];
    parts.into_iter().flatten().collect()
}

/// `cell.<key>` for each key of cells.
fn cell() -> Vec<C> {
    let column = |key: &'static crate::config::Key| {
        let kind = match key.kind {
            ValueKind::Text
            | ValueKind::OptionalText
            | ValueKind::Choice(_)
            | ValueKind::Thinking(_) => ColumnKind::Text,
            ValueKind::Whole(..) | ValueKind::OptionalWhole(..) => ColumnKind::Whole,
            ValueKind::Number(..) | ValueKind::OptionalNumber(..) => ColumnKind::Number,
            ValueKind::Flag => ColumnKind::Flag,
            ValueKind::ByLevel(..) | ValueKind::CountsByLevel | ValueKind::TestFamilies => {
                ColumnKind::Json
            }
        };
        let meaning = format!("Configuration: {}.", key.about);
        let column = C::new(kind, format!("cell.{}", key.name), meaning, move |r| {
            match thinking_label(key.name, &r.cell) {
                Some(level) => CellValue::Text(level.into()),
                None => value_of(kind, r.cell.get(key.name).unwrap_or(&Value::Null)),
            }
        });
        column.null(match key.kind {
            ValueKind::ByLevel(..) => "always: env.max_steps has the run's horizon",
            ValueKind::OptionalText
            | ValueKind::OptionalWhole(..)
            | ValueKind::OptionalNumber(..) => {
                "if it is not set, has no effect in the cell, or the design lacks the key"
            }
            _ => "if it has no effect in the cell, or the design lacks the key",
        })
    };
    KEYS.iter().filter(|key| key.scope == Scope::Cell).map(column).collect()
}

fn outcome() -> Vec<C> {
    let at_risk = "in design v1";
    vec![
        C::text("model_identity", "Hash of the weights; of a remote model, its name.", |r| {
            r.model_identity.as_str().into()
        }),
        C::text("dtype", "Dtype of the model's computation.", |r| r.dtype.as_str().into()),
        C::text("kernel_set", "Kernel set and revision of the model's arithmetic.", |r| {
            r.kernel_set.as_str().into()
        }),
        C::text(
            "outcome",
            "What happened first: horizon, ruin, expired or crash; since design v2 also \
             never_competent, and crash only for a primary crash after the entry.",
            |r| r.outcome.as_str().into(),
        ),
        C::text("ending", "How the episode ended: horizon, ruin, expired or crash.", |r| {
            r.risk.as_ref().map(|risk| risk.ending.as_str()).into()
        })
        .null(at_risk),
        C::whole("entry_time", "The step after which the run is at risk.", |r| {
            r.risk.as_ref().and_then(|risk| risk.entry_time).into()
        })
        .unit("steps")
        .null("in design v1, and if the agent never was competent"),
        C::whole("event_time", "Onset of the event, or the last step.", |r| {
            r.risk.as_ref().map(|risk| risk.event_time).into()
        })
        .unit("steps")
        .null(at_risk),
        C::text(
            "event_type",
            "crash:<type> for the first primary crash after the entry, otherwise the ending.",
            |r| r.risk.as_ref().map(|risk| risk.event_type.as_str()).into(),
        )
        .null(at_risk),
        C::whole("steps", "Number of steps.", |r| r.steps.into()).unit("steps"),
        C::whole("days", "Day of the last step.", |r| r.days.into()).unit("days"),
        C::whole("orders_shipped", "Customer orders shipped.", |r| r.orders_shipped.into())
            .unit("orders"),
        C::whole("orders_expired", "Customer orders lost.", |r| {
            r.extra.get("orders_expired").and_then(Value::as_u64).into()
        })
        .unit("orders"),
        C::number("net_worth", "Cash, stock and orders in transit at the end.", |r| {
            r.net_worth.into()
        })
        .unit("currency"),
    ]
}

/// Names of mean errors: the fields of design v2, then the kinds of design v1 that no field is
/// named after, each with what it averages and when it is null.
fn error_names() -> Vec<(&'static str, String, &'static str)> {
    let field = |field: &CardField| {
        let name = field.label();
        let of_kind = |kind: &&PeKind| PeKind::ALL[..4].contains(kind) && kind.label() == name;
        match PeKind::ALL.iter().find(of_kind) {
            Some(_) => (
                name,
                format!("of the field {name}; in design v1, of the kind {name}"),
                "without a known error",
            ),
            None => {
                (name, format!("of the field {name}"), "without a known error, and in design v1")
            }
        }
    };
    let kind = |kind: PeKind| {
        let name = kind.label();
        (name, format!("of the kind {name}"), "without a known error, and since design v2")
    };
    let kinds = [PeKind::Temporal, PeKind::Causal].map(kind);
    CardField::ALL.iter().map(field).chain(kinds).collect()
}

fn errors() -> Vec<C> {
    let names = || error_names().into_iter();
    let mean = names().map(|(name, of, null)| {
        C::number(format!("mean_pe.{name}"), format!("Mean prediction error {of}."), move |r| {
            r.mean_pe.get(name).copied().flatten().into()
        })
        .null(null)
    });
    let published = names().map(|(name, of, null)| {
        let meaning = format!("Mean error {of}, relative to the prediction (published form).");
        C::number(format!("mean_pe_published.{name}"), meaning, move |r| {
            let means = r.extra.get("mean_pe_published");
            means.and_then(|means| means.get(name)).and_then(Value::as_f64).into()
        })
        .null(null)
    });
    mean.chain(published).collect()
}

fn first_crash() -> Vec<C> {
    let none = "without a crash";
    let severities: Vec<&str> = CrashSeverity::ALL.iter().map(|s| s.label()).collect();
    vec![
        C::text(
            "crash.type",
            "Detector of the crash that was detected first, primary or not.",
            |r| r.crash.as_ref().map(|crash| crash.kind.as_str()).into(),
        )
        .null(none),
        C::whole("crash.onset_step", "Its first step.", |r| {
            r.crash.as_ref().map(|crash| crash.onset_step).into()
        })
        .unit("steps")
        .null(none),
        C::whole("crash.detected_step", "The step in which its detector fired.", |r| {
            r.crash.as_ref().map(|crash| crash.detected_step).into()
        })
        .unit("steps")
        .null(none),
        C::whole("crash.recovered_step", "The first step in which it no longer fired.", |r| {
            r.crash.as_ref().and_then(|crash| crash.recovered_step).into()
        })
        .unit("steps")
        .null("without a crash, if it lasted to the end, and in design v1"),
        C::text("crash.severity", format!("Its severity: {}.", severities.join(", ")), |r| {
            r.crash.as_ref().and_then(|crash| crash.severity.as_deref()).into()
        })
        .null("without a crash, and if the run ended before it was known"),
        C::whole(
            "crashes.count",
            "Number of crashes; in design v1 of detectors that fired.",
            |r| (r.crashes.len() as u64).into(),
        )
        .unit("crashes"),
    ]
}

/// Which of the shocks of a run a column counts.
#[derive(Clone, Copy)]
enum ShockCount {
    Drawn,
    Applied,
    Pending,
    Told,
}

impl ShockCount {
    fn by_type(self, record: &RunRecord) -> Option<[u64; 4]> {
        record.design.as_ref()?;
        // Records hold no dose if no shock was drawn.
        let DoseRow { drawn, applied, told } = record.dose.unwrap_or_default();
        let observability = record.cell.get("pe_induction.observability");
        let sham = observability.is_some_and(|level| level == Observability::Sham.label());
        let over = if sham { told } else { applied };
        Some(match self {
            ShockCount::Drawn => drawn,
            ShockCount::Applied => applied,
            ShockCount::Pending => std::array::from_fn(|i| drawn[i].saturating_sub(over[i])),
            ShockCount::Told => told,
        })
    }
}

fn shocks() -> Vec<C> {
    let counts = [
        (ShockCount::Drawn, "drawn", "drawn"),
        (ShockCount::Applied, "applied", "that changed something"),
        (
            ShockCount::Pending,
            "pending",
            "that still waited at the end: drawn, and neither applied nor announced as a sham",
        ),
        (ShockCount::Told, "told", "of which the agent was told"),
    ];
    let acted = C::whole(
        "shocks",
        "Shocks that acted, those of a sham cell included; in design v1 all drawn.",
        |r| r.shocks.into(),
    );
    let mut columns = vec![acted.unit("shocks")];
    for (count, name, that) in counts {
        let total = C::whole(format!("shocks.{name}"), format!("Shocks {that}."), move |r| {
            count.by_type(r).map(|counts| counts.iter().sum::<u64>()).into()
        });
        columns.push(total.unit("shocks").null(IN_V1));
        for (at, kind) in ShockType::ALL.iter().enumerate() {
            let name = format!("shocks.{name}.{kind}");
            let of_type = C::whole(name, format!("Shocks of type {kind} {that}."), move |r| {
                count.by_type(r).map(|counts| counts[at]).into()
            });
            columns.push(of_type.unit("shocks").null(IN_V1));
        }
    }
    columns
}

fn exposure() -> Vec<C> {
    let sum = |name: &str, meaning: &str, value: fn(&results::ExposureRow) -> f64| {
        let meaning = format!("Accumulated delivery errors at the end: {meaning}.");
        C::number(format!("exposure.{name}"), meaning, move |r| {
            r.exposure.as_ref().map(value).into()
        })
        .null(IN_V1)
    };
    vec![
        sum("days", "of days", |e| e.days[0]),
        sum("quantity", "of units", |e| e.quantity[0]),
        sum("total", "of days and units", results::ExposureRow::total),
        sum("leaky", "of days and units, with a half-life of 50 steps", |e| {
            e.days[1] + e.quantity[1]
        }),
        sum("induced", "the part of the total that shocks caused", |e| e.induced[0] + e.induced[1]),
    ]
}

fn metrics() -> Vec<C> {
    let share = |name: &str, meaning: &str, value: fn(&results::RunMetrics) -> f64| {
        C::number(format!("metrics.{name}"), meaning, move |r| r.metrics.as_ref().map(value).into())
            .null(IN_V1)
    };
    vec![
        share("scratchpad_use", "Share of steps that write, read or delete notes.", |m| {
            m.scratchpad_use
        }),
        C::whole("metrics.repeat_streak", "Largest number of identical calls in a row.", |r| {
            r.metrics.as_ref().map(|m| m.repeat_streak).into()
        })
        .unit("steps")
        .null(IN_V1),
        share("tool_diversity", "Entropy of the tools called.", |m| m.tool_diversity).unit("nats"),
        share("switching_rate", "Share of steps that call another tool than the last.", |m| {
            m.switching_rate
        }),
        share("monitoring_rate", "Share of steps that only read.", |m| m.monitoring_rate),
        share("budget_burn", "Cash lost per day; negative if it grew.", |m| m.budget_burn)
            .unit("currency per day"),
    ]
}

/// Kinds of parse failures; see [`results::ParseFailure`].
const PARSE_FAILURES: [&str; 6] =
    ["cut_off", "invalid_json", "schema_mismatch", "refusal", "no_call", "several_calls"];

fn replies() -> Vec<C> {
    let all = C::whole("parse_failures.count", "Replies without a valid action.", |r| {
        r.parse_failures.values().sum::<u64>().into()
    });
    let of_kind = |kind: &'static str| {
        let meaning = format!("Replies without a valid action, of kind {kind}.");
        C::whole(format!("parse_failures.{kind}"), meaning, move |r| {
            r.parse_failures.get(kind).copied().unwrap_or(0).into()
        })
        .unit("replies")
    };
    let rest = [
        C::whole("cards_missing", "Steps with a card problem.", |r| r.cards_missing.into())
            .unit("steps"),
        C::whole("prompt_tokens", "Tokens of all prompts.", |r| r.prompt_tokens.into())
            .unit("tokens"),
        C::whole("reply_tokens", "Tokens of all replies, thinking included.", |r| {
            r.reply_tokens.into()
        })
        .unit("tokens"),
        C::whole("reasoning_tokens", "Tokens of the thinking before all replies.", |r| {
            r.extra.get(REASONING_TOKENS).and_then(Value::as_u64).unwrap_or(0).into()
        })
        .unit("tokens"),
        C::whole("context_length", "Most tokens of a prompt and its reply.", |r| {
            r.context_length.into()
        })
        .unit("tokens")
        .null("without a model, and in design v1"),
        C::whole("calibration.cards", "Cards that state a confidence.", |r| {
            r.extra.pointer("/calibration/cards").and_then(Value::as_u64).into()
        })
        .unit("cards"),
        C::number(
            "calibration.brier",
            "Brier score: mean squared difference of confidence and correctness.",
            |r| r.extra.pointer("/calibration/brier").and_then(Value::as_f64).into(),
        )
        .null("if no card states a confidence"),
    ];
    let kinds = PARSE_FAILURES.map(of_kind);
    std::iter::once(all.unit("replies")).chain(kinds).chain(rest).collect()
}

fn timing() -> Vec<C> {
    vec![
        C::whole("timing.attempt", "Number of the committed attempt.", |r| r.timing.attempt.into()),
        C::whole("timing.steps_replayed", "Steps replayed from an earlier attempt.", |r| {
            r.timing.steps_replayed.into()
        })
        .unit("steps"),
        C::number("timing.seconds", "Wall time of the attempt.", |r| r.timing.seconds.into())
            .unit("s"),
        C::number("timing.reply_seconds", "The part of it spent waiting for replies.", |r| {
            r.timing.reply_seconds.into()
        })
        .unit("s"),
        C::whole("timing.reply_tokens", "Reply tokens generated by the attempt.", |r| {
            r.timing.reply_tokens.into()
        })
        .unit("tokens"),
        C::whole("timing.cached_prompt_tokens", "Prompt tokens from the prefix cache.", |r| {
            r.timing.cached_prompt_tokens.into()
        })
        .unit("tokens"),
        C::text("timing.host", "Host of the attempt.", |r| r.timing.host.as_str().into()),
        C::text("timing.rung", "Fallback that loaded the model; empty if none was loaded.", |r| {
            r.timing.rung.as_str().into()
        }),
        C::whole("timing.committed_unix_s", "Unix time of the commit.", |r| {
            r.timing.committed_unix_s.into()
        })
        .unit("s"),
    ]
}

/// Parts of the record as JSON; all of their values but the bins of the calibration and the hash of
/// the log are columns of their own.
fn structured() -> Vec<C> {
    vec![
        C::whole("schema_version", "Format version of the record.", |r| {
            u64::from(r.schema_version).into()
        }),
        C::json("risk", "ending, entry_time, event_time and event_type.", |r| {
            CellValue::json(&r.risk)
        })
        .null(IN_V1),
        C::json("crashes", "All crashes in the order of their detection.", |r| {
            CellValue::json(&r.crashes)
        }),
        C::json("dose", "Shocks drawn, applied and told, each by type.", |r| {
            CellValue::json(&r.dose)
        })
        .null("in design v1, and if no shock was drawn"),
        C::json("exposure", "Accumulated delivery errors at the end.", |r| {
            CellValue::json(&r.exposure)
        })
        .null(IN_V1),
        C::json("metrics", "Measures of the agent's calls.", |r| CellValue::json(&r.metrics))
            .null(IN_V1),
        C::json("parse_failures", "Replies without a valid action, by kind.", |r| {
            CellValue::json(&r.parse_failures)
        }),
        C::json(
            "extra",
            "Expired orders, published mean errors, calibration with its bins.",
            |r| CellValue::json(&r.extra),
        ),
        C::json("rows", "Log of the run: lines, bytes, chain value.", |r| CellValue::json(&r.rows)),
    ]
}
