//! Results of the methods, as JSON.

use experiment::{Cell, Config, ExternalRun};
use results::{CrashRecord, ParseFailure, StepRow};
use serde::Serialize;
use serde_json::{Map, Value, json};
use warehouse::{Totals, World, money, sku_name, supplier_name};

const PROTOCOL_VERSION: u32 = 1;

/// Result of `initialize` and `describe`.
#[derive(Serialize)]
pub struct DescribeDocument {
    name: &'static str,
    version: &'static str,
    protocol: u32,
    design: &'static str,
    methods: [&'static str; 6],
    /// The cells of the configuration, with their numbers and levels.
    cells: Vec<Value>,
    /// The described cell.
    cell: usize,
    steps_max: u64,
    skus: Vec<String>,
    suppliers: Vec<String>,
    tools: Value,
    card_schema: Value,
    reply_schema: Value,
    system_prompt: String,
    action: &'static str,
    observation: &'static str,
}

impl DescribeDocument {
    pub fn new(config: &Config, cell: &Cell) -> Self {
        let interface = cell.interface();
        let levels = |cell: &Cell| -> Map<String, Value> {
            let factors = config.grid().iter();
            factors
                .filter_map(|(key, _)| Some((key.to_string(), cell.values().get(key)?.clone())))
                .collect()
        };
        let cells = config.distinct_cells();
        DescribeDocument {
            name: "vendomini",
            version: env!("CARGO_PKG_VERSION"),
            protocol: PROTOCOL_VERSION,
            design: config.design(),
            methods: super::METHODS,
            cell: config.cell_number(cell),
            cells: (1..)
                .zip(cells)
                .map(|(n, cell)| json!({"cell": n, "levels": levels(cell)}))
                .collect(),
            steps_max: cell.steps_max(),
            skus: (0..interface.world.skus()).map(sku_name).collect(),
            suppliers: (0..interface.world.suppliers()).map(supplier_name).collect(),
            tools: json!(interface.tools),
            card_schema: interface.card,
            reply_schema: interface.reply,
            system_prompt: interface.system_prompt,
            action: "step takes tool, arguments and card (null: none), which are checked by the \
                     world as a model's are; or reply, the text of a model's reply",
            observation: "observation is the text that a model reads; state has the same as \
                          numbers",
        }
    }
}

/// Result of `reset`.
#[derive(Serialize)]
pub struct ResetDocument {
    run_id: String,
    cell: usize,
    replicate: u64,
    seed: u64,
    step: u64,
    observation: String,
    market: Value,
    state: StateDocument,
}

impl ResetDocument {
    pub fn new(config: &Config, run: &ExternalRun) -> Self {
        let planned = run.run();
        ResetDocument {
            run_id: planned.run_id.clone(),
            cell: config.cell_number(&planned.cell),
            replicate: planned.replicate,
            seed: planned.seed,
            step: 0,
            observation: run.observation(),
            market: market(run.world()),
            state: StateDocument::of(run),
        }
    }
}

/// The published catalog: what customers pay for a unit, and the offers of each supplier.
fn market(world: &World) -> Value {
    let (catalog, config) = (world.published_catalog(), world.config());
    let markup = config.demand.sale_markup;
    let sale: Vec<f64> =
        (0..config.skus()).map(|sku| money(catalog.sale_cents(sku, markup))).collect();
    let offers = catalog.offers.iter().map(|offers| {
        let prices: Vec<f64> = offers.iter().map(|offer| money(offer.price_cents)).collect();
        let days: Vec<i64> = offers.iter().map(|offer| offer.lead_days).collect();
        json!({"prices": prices, "lead_days": days})
    });
    json!({"sale_prices": sale, "suppliers": offers.collect::<Vec<_>>()})
}

/// The state of the world as an agent sees it, and figures that measure how it does.
#[derive(Serialize)]
pub struct StateDocument {
    step: u64,
    day: u64,
    actions_left: u32,
    /// Cash as the ledger shows it.
    cash: f64,
    /// Units by SKU.
    stock: Vec<u32>,
    /// Units by SKU of open customer orders.
    demanded: Vec<u32>,
    /// Units by SKU on their way, as ordered.
    on_the_way: Vec<u32>,
    /// The answer of `check_inbox`.
    inbox: Value,
    ending: Option<&'static str>,
    figures: Totals,
}

impl StateDocument {
    pub fn of(run: &ExternalRun) -> Self {
        let world = run.world();
        let totals = world.totals();
        let (mut demanded, mut on_the_way) =
            (vec![0; world.stock().len()], vec![0; world.stock().len()]);
        world.customer_orders().iter().for_each(|order| demanded[order.sku] += order.quantity);
        world.supplier_orders().iter().for_each(|order| on_the_way[order.sku] += order.quantity);
        StateDocument {
            step: run.steps(),
            day: world.day(),
            actions_left: world.actions_left(),
            cash: totals.ledger,
            stock: world.stock().to_vec(),
            demanded,
            on_the_way,
            inbox: world.inbox(),
            ending: run.ending(),
            figures: totals,
        }
    }
}

/// Result of `step`.
#[derive(Serialize)]
pub struct StepDocument {
    step: u64,
    day: u64,
    observation: String,
    /// The change of the net worth.
    reward: f64,
    /// The world ended by its own rules: ruin, expired or crash.
    terminated: bool,
    /// The horizon was reached.
    truncated: bool,
    ending: Option<String>,
    info: StepInfo,
    state: StateDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<StepRow>,
}

#[derive(Serialize)]
struct StepInfo {
    success: bool,
    failure: Option<String>,
    parse_failure: Option<ParseFailure>,
    card_problem: Option<String>,
    /// Errors of card fields that became known: `card_step`, `field`, `predicted`, `actual`,
    /// `error`.
    errors: Vec<Value>,
    /// Notices of shocks that the agent was told at once.
    notices: Vec<Value>,
    crashes: Vec<CrashRecord>,
}

impl StepDocument {
    /// `net_worth`: that before the step.
    pub fn new(run: &ExternalRun, mut row: StepRow, net_worth: f64, with_row: bool) -> Self {
        let horizon = row.ending.as_deref() == Some("horizon");
        let errors = row.pe_pairs.iter().map(|pair| {
            json!({"card_step": pair.card_step, "field": pair.field, "predicted": pair.predicted,
                   "actual": pair.actual, "error": pair.error})
        });
        let told = |shock: Value| shock.get("told").filter(|told| !told.is_null()).cloned();
        let info = StepInfo {
            success: row.result.success,
            failure: row.result.failure.clone(),
            parse_failure: row.parse_failure.clone(),
            card_problem: row.card_problem.clone(),
            errors: errors.collect(),
            notices: row.shocks.iter().filter_map(|shock| told(shock.value())).collect(),
            crashes: row.crashes.clone(),
        };
        StepDocument {
            step: row.step,
            day: row.day,
            observation: run.observation(),
            // Differences of cents have more digits than cents.
            reward: ((run.world().totals().net_worth - net_worth) * 100.0).round() / 100.0,
            terminated: row.ending.is_some() && !horizon,
            truncated: horizon,
            ending: if with_row { row.ending.clone() } else { row.ending.take() },
            info,
            state: StateDocument::of(run),
            row: with_row.then_some(row),
        }
    }
}
