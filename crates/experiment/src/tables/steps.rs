//! The table `steps`: one row per step.

use super::CommittedRun;
use super::columns::{ExportColumn, IN_V1};
use super::series::{ALPHAS, Accumulated, ErrorAverages, context_share};
use crate::error::ExperimentError;
use results::{CellValue, ExposureRow, PairRow, StepRow};
use serde::Deserialize;
use warehouse::{CardField, DetectorFlags, ShockType};

type C = ExportColumn<StepFacts>;

/// A row, and what the rows before it tell.
pub(super) struct StepFacts {
    row: StepRow,
    state: StateFigures,
    detector: DetectorFlags,
    /// Mean error by field.
    errors: [Option<f64>; CardField::ALL.len()],
    averages: [[Option<f64>; 3]; AVERAGED.len()],
    accumulated: Accumulated,
    /// Type of the shock that was drawn in the step.
    drawn: Option<String>,
    /// Number of shocks that changed something in the step.
    acted: u64,
    /// Detectors that fired in the step.
    crashes: Option<String>,
    context_share: Option<f64>,
}

/// Fields of which averages are columns: the delivery errors, and the success.
const AVERAGED: [CardField; 3] = [CardField::DeliveryDays, CardField::Quantity, CardField::Success];

/// Figures of the world in a row; see [`warehouse::Totals`].
#[derive(Debug, Clone, Copy, Deserialize)]
struct StateFigures {
    day: u64,
    budget: f64,
    ledger: f64,
    stock_units: u64,
    net_worth: f64,
    orders_shipped: u64,
    orders_expired: u64,
    orders_open: u64,
}

/// The parts of a stored shock that the table reads.
#[derive(Deserialize)]
struct ShockSummary {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    effect: Option<String>,
}

pub(super) fn rows(run: &CommittedRun) -> Result<Vec<StepFacts>, ExperimentError> {
    let mut accumulated = Accumulated::at_start(run.record.design.is_some());
    let mut averages = [ErrorAverages::default(); AVERAGED.len()];
    let facts = |row: StepRow| {
        let errors = mean_errors(&row.pe_pairs);
        accumulated.add(&row);
        for (average, field) in averages.iter_mut().zip(AVERAGED) {
            average.add(errors[field as usize]);
        }
        let mut facts = StepFacts::of(run, row, errors)?;
        facts.accumulated = accumulated;
        facts.averages = averages.map(|average| average.values());
        Ok(facts)
    };
    run.steps()?.into_owned().into_iter().map(facts).collect()
}

/// Mean error by field, of the pairs that became known in a step.
fn mean_errors(pairs: &[PairRow]) -> [Option<f64>; CardField::ALL.len()] {
    let mut sums = [(0.0, 0_u32); CardField::ALL.len()];
    for pair in pairs {
        if let Some(field) = CardField::parse(&pair.field) {
            let (sum, count) = &mut sums[field as usize];
            (*sum, *count) = (*sum + pair.error, *count + 1);
        }
    }
    sums.map(|(sum, count)| (count > 0).then(|| sum / f64::from(count)))
}

impl StepFacts {
    fn of(
        run: &CommittedRun,
        row: StepRow,
        errors: [Option<f64>; CardField::ALL.len()],
    ) -> Result<StepFacts, ExperimentError> {
        let bad = |part, error| run.bad_row(row.step, part, &error);
        let state = row.state.read().map_err(|error| bad("state", error))?;
        let detector = row.detector.read().map_err(|error| bad("detector", error))?;
        let shocks = row.shocks.iter().map(|shock| shock.read::<ShockSummary>());
        let shocks: Vec<ShockSummary> =
            shocks.collect::<Result<_, _>>().map_err(|error| bad("shocks", error))?;
        let drawn = match row.design {
            Some(_) => row.drawn.as_deref().map(str::to_string),
            // In design v1 a shock acts in the step in which it is drawn.
            None => shocks.first().map(|shock| shock.kind.clone()),
        };
        let crashes: Vec<&str> = row.crashes.iter().map(|crash| crash.kind.as_str()).collect();
        Ok(StepFacts {
            state,
            detector,
            errors,
            averages: Default::default(),
            accumulated: Accumulated::default(),
            drawn,
            acted: shocks.iter().filter(|shock| shock.effect.is_some()).count() as u64,
            crashes: (!crashes.is_empty()).then(|| crashes.join(",")),
            context_share: context_share(&row, run.record.context_length),
            row,
        })
    }
}

pub(super) fn columns() -> Vec<C> {
    let parts = [call(), state(), errors(), exposure(), shocks(), detector(), exchange()];
    parts.into_iter().flatten().collect()
}

fn call() -> Vec<C> {
    vec![
        C::whole("step", "Number of the step, from 1.", |s| s.row.step.into()).unit("steps"),
        C::whole("day", "Day on which the step was taken, from 1.", |s| s.row.day.into())
            .unit("days"),
        C::text("tool", "The tool called.", |s| {
            s.row.action.as_ref().map(|action| action.tool.as_str()).into()
        })
        .null("if the reply holds no valid action"),
        C::flag("call_success", "Whether the call succeeded.", |s| s.row.result.success.into()),
        C::text("failure", "Why the call failed.", |s| s.row.result.failure.as_deref().into())
            .null("if the call succeeded"),
        C::text(
            "parse_failure",
            "Why the reply holds no valid action: cut_off, invalid_json, schema_mismatch, refusal, \
             no_call or several_calls.",
            |s| s.row.parse_failure.as_ref().map(|failure| failure.kind.as_str()).into(),
        )
        .null("if the reply holds one"),
        C::text("card_problem", "Why the card is invalid, or absent.", |s| {
            s.row.card_problem.as_deref().into()
        })
        .null("without a problem"),
    ]
}

fn state() -> Vec<C> {
    vec![
        C::whole("state.day", "Day after the step.", |s| s.state.day.into()).unit("days"),
        C::number("state.budget", "Cash after the step.", |s| s.state.budget.into())
            .unit("currency"),
        C::number("state.ledger", "Cash that the ledger shows the agent.", |s| {
            s.state.ledger.into()
        })
        .unit("currency"),
        C::whole("state.stock_units", "Units in storage.", |s| s.state.stock_units.into())
            .unit("units"),
        C::number("state.net_worth", "Cash, stock and orders in transit.", |s| {
            s.state.net_worth.into()
        })
        .unit("currency"),
        C::whole("state.orders_shipped", "Customer orders shipped so far.", |s| {
            s.state.orders_shipped.into()
        })
        .unit("orders"),
        C::whole("state.orders_expired", "Customer orders lost so far.", |s| {
            s.state.orders_expired.into()
        })
        .unit("orders"),
        C::whole("state.orders_open", "Customer orders that are open.", |s| {
            s.state.orders_open.into()
        })
        .unit("orders"),
    ]
}

fn errors() -> Vec<C> {
    let mean = |field: &CardField| {
        let at = *field as usize;
        let meaning = format!("Mean error of the values of {field} that became known in the step.");
        C::number(format!("pe.{field}"), meaning, move |s| s.errors[at].into())
            .null("if none became known")
    };
    let average = |(at, field): (usize, CardField)| {
        ALPHAS.iter().enumerate().map(move |(which, alpha)| {
            let meaning =
                format!("Average of pe.{field} so far, with weight {alpha} of the newest.");
            C::number(format!("ewma.{field}.{alpha}"), meaning, move |s| {
                s.averages[at][which].into()
            })
            .null("before the first known error")
        })
    };
    let averages = AVERAGED.into_iter().enumerate().flat_map(average);
    CardField::ALL.iter().map(mean).chain(averages).collect()
}

fn exposure() -> Vec<C> {
    let sum = |name: &str, meaning: &str, value: fn(&ExposureRow) -> f64| {
        let meaning = format!("Accumulated delivery errors: {meaning}.");
        C::number(format!("exposure.{name}"), meaning, move |s| {
            s.accumulated.exposure.as_ref().map(value).into()
        })
        .null(IN_V1)
    };
    vec![
        sum("days", "of days", |e| e.days[0]),
        sum("days_leaky", "of days, with a half-life of 50 steps", |e| e.days[1]),
        sum("quantity", "of units", |e| e.quantity[0]),
        sum("quantity_leaky", "of units, with a half-life of 50 steps", |e| e.quantity[1]),
        sum("total", "of days and units", ExposureRow::total),
        sum("induced_days", "the part of days that shocks caused", |e| e.induced[0]),
        sum("induced_quantity", "the part of units that shocks caused", |e| e.induced[1]),
    ]
}

fn shocks() -> Vec<C> {
    let dose = C::whole("dose", "Shocks so far that changed something.", |s| {
        s.accumulated.applied().into()
    });
    let of_type = |(at, kind): (usize, &ShockType)| {
        let meaning = format!("Shocks of type {kind} so far that changed something.");
        C::whole(format!("dose.{kind}"), meaning, move |s| {
            s.accumulated.dose.map(|dose| dose.applied[at]).into()
        })
        .unit("shocks")
        .null(IN_V1)
    };
    let rest = [
        C::text("drawn", "Type of the shock drawn in the step.", |s| s.drawn.as_deref().into())
            .null("without one"),
        C::whole("shocks", "Shocks that changed something in the step.", |s| s.acted.into())
            .unit("shocks"),
    ];
    let doses = ShockType::ALL.iter().enumerate().map(of_type);
    std::iter::once(dose.unit("shocks").null(IN_V1)).chain(doses).chain(rest).collect()
}

fn detector() -> Vec<C> {
    vec![
        C::flag("failed", "Whether the call failed or was missing.", |s| s.detector.failed.into()),
        C::flag("changed", "Whether the call changed the state or ended the day.", |s| {
            s.detector.changed.into()
        }),
        C::flag("traded", "Whether the call moved goods or money.", |s| s.detector.traded.into()),
        C::flag("unaffordable", "Whether the call was an order beyond the cash.", |s| {
            s.detector.unaffordable.into()
        }),
        C::flag(
            "contradicts",
            "Whether the call contradicts its card or the announced plan.",
            |s| s.detector.contradicts.into(),
        )
        .null("if neither card nor plan determines it"),
        C::whole(
            "idle_days",
            "Days so far without a trade although an order could be served.",
            |s| s.row.design.is_some().then_some(s.detector.idle_days).into(),
        )
        .unit("days")
        .null(IN_V1),
        C::number("similarity", "Similarity of the agent's summary to its first summaries.", |s| {
            s.detector.similarity.into()
        })
        .null("for the first summaries, and without summary or embedding"),
        C::text("crashes", "Detectors that fired in the step, separated by commas.", |s| {
            s.crashes.as_deref().into()
        })
        .null("if none fired"),
    ]
}

fn exchange() -> Vec<C> {
    vec![
        C::whole("history_dropped", "Oldest exchanges that the prompt leaves out.", |s| {
            s.row.history_dropped.into()
        })
        .unit("exchanges"),
        C::number("context_share", "Tokens of prompt and reply by the context length.", |s| {
            s.context_share.into()
        })
        .null("without a model, and in design v1"),
        C::whole("prompt_tokens", "Tokens of the prompt.", |s| s.row.prompt_tokens.into())
            .unit("tokens"),
        C::whole("reply_tokens", "Tokens of the reply, thinking included.", |s| {
            s.row.reply_tokens.into()
        })
        .unit("tokens"),
        C::whole("reasoning_tokens", "Tokens of the thinking before the reply.", |s| {
            s.row.reasoning_tokens.into()
        })
        .unit("tokens"),
        C::text("ending", "How the episode ended.", |s| s.row.ending.as_deref().into())
            .null("except in the last step of a run"),
    ]
}

/// The columns of `--with-text`.
pub(super) fn text_columns() -> Vec<C> {
    let with_text = |column: C| {
        let mut column = column;
        column.doc.meaning.push_str(" Only with --with-text.");
        column
    };
    let columns = [
        C::text("reply", "The complete reply, without the thinking before it.", |s| {
            s.row.reply.as_str().into()
        }),
        C::text("reasoning", "The thinking before the reply.", |s| {
            s.row.reasoning.as_deref().into()
        })
        .null("without thinking"),
        C::json("action_arguments", "Arguments of the call.", |s| {
            s.row
                .action
                .as_ref()
                .map_or(CellValue::Null, |action| CellValue::json(&action.arguments))
        })
        .null("if the reply holds no valid action"),
        C::json("card", "The prediction card as given.", |s| CellValue::json(&s.row.card))
            .null("without a card"),
        C::json("prompt", "Messages added since the last reply, each with role, content.", |s| {
            CellValue::json(&s.row.prompt)
        }),
        C::text("finish", "Why the reply ended: stop or length.", |s| (&*s.row.finish).into()),
        C::whole("sampling_seed", "Seed for sampling the reply.", |s| s.row.sampling_seed.into()),
    ];
    columns.into_iter().map(with_text).collect()
}
