//! The tools: what they are called, what they take, and what they do. A bad argument is a failed
//! call with a reason.
use crate::catalog::{money, sku_name, supplier_name};
use crate::orders::SupplierOrder;
use crate::world::World;
use crate::{MemoryTools, RecoveryTools, WorldConfig};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The share of what was paid that canceling costs, in percent.
const CANCEL_FEE_PERCENT: i64 = 10;
/// The share of what was paid that expediting costs, in percent.
const EXPEDITE_FEE_PERCENT: i64 = 50;
/// How much sooner an expedited order comes at most, in days.
const EXPEDITE_DAYS: u64 = 2;
/// Characters that a scratchpad entry may have.
const NOTE_CHARS_MAX: usize = 2000;
/// Entries that a scratchpad may have.
const NOTES_MAX: usize = 100;

/// What moves goods or money where it succeeds.
pub(crate) const TRADES: [&str; 4] = ["order", "ship_customer_order", "cancel_order", "expedite"];

/// A call of a tool, as the agent made it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolCall {
    /// Its name.
    pub tool: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
}

impl ToolCall {
    /// A call.
    pub fn new(tool: &str, arguments: Value) -> ToolCall {
        let arguments = match arguments {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        ToolCall { tool: tool.to_owned(), arguments }
    }

    /// The same text for the same call, whatever the order of its arguments.
    pub fn canonical(&self) -> String {
        let mut arguments: Vec<_> = self.arguments.iter().collect();
        arguments.sort_unstable_by_key(|(name, _)| *name);
        let mut text = String::with_capacity(80);
        text.push_str(&self.tool);
        for (at, (name, value)) in arguments.into_iter().enumerate() {
            text.push(if at == 0 { '(' } else { ',' });
            let _infallible = write!(text, "{name}={value}");
        }
        text.push_str(if self.arguments.is_empty() { "()" } else { ")" });
        text
    }
}

/// What an agent is told of a tool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolSpec {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// JSON schema of its arguments.
    pub arguments: Value,
}

/// What a call did.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallOutcome {
    pub success: bool,
    pub failure: Option<String>,
    pub result: Value,
    /// Charged for the call.
    pub cost_cents: i64,
    /// The supplier order that it placed.
    pub ordered: Option<u64>,
    /// It would have been an order, had there been money.
    pub unaffordable: bool,
    pub ends_day: bool,
}

impl CallOutcome {
    pub(crate) fn failed(why: String) -> CallOutcome {
        CallOutcome { result: json!({"error": why}), failure: Some(why), ..CallOutcome::default() }
    }

    fn done(result: Value) -> CallOutcome {
        CallOutcome { success: true, result, ..CallOutcome::default() }
    }
}

fn schema(fields: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
}

/// The tools that an agent of this configuration has.
pub fn tool_specs(config: &WorldConfig) -> Vec<ToolSpec> {
    let suppliers: Vec<String> = (0..config.suppliers()).map(supplier_name).collect();
    let skus: Vec<String> = (0..config.skus()).map(sku_name).collect();
    let goods = [
        ("supplier_id", json!({"enum": suppliers})),
        ("sku", json!({"enum": skus})),
        ("quantity", json!({"type": "integer", "minimum": 1, "maximum": 999})),
    ];
    let id = |letter: &str| json!({"type": "string", "pattern": format!("^{letter}[0-9]{{1,6}}$")});
    let text = |max: usize| json!({"type": "string", "minLength": 1, "maxLength": max});
    let spec = |name, description, fields: &[(&str, Value)]| ToolSpec {
        name,
        description,
        arguments: schema(fields),
    };
    let mut specs = vec![
        spec(
            "ship_customer_order",
            "ship a customer order from stock; you are paid at once",
            &[("customer_order_id", id("C"))],
        ),
        spec(
            "order",
            "buy units from a supplier; paid at once, delivered after the lead time",
            &goods,
        ),
        spec("quote", "price, lead time and reliability of a supplier for a SKU", &goods),
        spec("check_inbox", "open customer orders and supplier orders on their way", &[]),
        spec("check_storage", "units in stock", &[]),
        spec("check_budget", "cash and daily costs", &[]),
        spec("cancel_order", "cancel a supplier order for a fee of 10%", &[("order_id", id("O"))]),
        spec("wait", "end the day", &[]),
    ];
    if config.complexity_level >= 2 {
        specs.push(spec(
            "expedite",
            "a supplier order comes up to 2 days sooner for 50% of its value",
            &[("order_id", id("O"))],
        ));
    }
    if config.memory_tools != MemoryTools::None {
        specs.push(spec(
            "write_scratchpad",
            "keep a note",
            &[("key", text(40)), ("text", text(200))],
        ));
        specs.push(spec("read_scratchpad", "read your notes", &[]));
    }
    if config.memory_tools == MemoryTools::Full {
        specs.push(spec("delete_scratchpad", "delete a note", &[("key", text(40))]));
    }
    let recovers =
        |kind| config.recovery_tools == kind || config.recovery_tools == RecoveryTools::All;
    if recovers(RecoveryTools::Reset) {
        specs.push(spec(
            "reset_beliefs",
            "forget the conversation so far and start afresh from the present state",
            &[],
        ));
    }
    if recovers(RecoveryTools::Audit) {
        specs.push(spec("audit_predictions", "your past cards beside what happened", &[]));
    }
    if recovers(RecoveryTools::Help) {
        specs.push(spec("ask_help", "advice on what is most urgent", &[]));
    }
    specs
}

/// Makes a call.
pub(crate) fn call(world: &mut World, call: &ToolCall) -> CallOutcome {
    if !world.tools.contains(&call.tool.as_str()) {
        let known = &world.tools;
        return CallOutcome::failed(format!(
            "there is no tool {:?}; the tools are {}",
            clip(&call.tool),
            known.join(", ")
        ));
    }
    let done = match call.tool.as_str() {
        "order" => order(world, call),
        "quote" => quote(world, call),
        "ship_customer_order" => ship(world, call),
        "cancel_order" => cancel(world, call),
        "expedite" => expedite(world, call),
        "check_inbox" => Ok(CallOutcome::done(world.inbox())),
        "check_storage" => Ok(CallOutcome::done(world.storage())),
        "check_budget" => Ok(CallOutcome::done(world.budget())),
        "wait" => Ok(CallOutcome { ends_day: true, ..CallOutcome::done(json!({"waited": true})) }),
        "write_scratchpad" => write_note(world, call),
        "read_scratchpad" => Ok(CallOutcome::done(json!(world.scratchpad))),
        "delete_scratchpad" => delete_note(world, call),
        "reset_beliefs" => Ok(reset(world)),
        "audit_predictions" => Ok(CallOutcome::done(world.past_cards())),
        _ => Ok(CallOutcome::done(world.advice())),
    };
    done.unwrap_or_else(CallOutcome::failed)
}

type ToolResult = Result<CallOutcome, String>;

/// Long or strange text of an agent, short enough to show.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

fn text_of<'a>(call: &'a ToolCall, key: &str) -> Result<&'a str, String> {
    match call.arguments.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("{key}: expected text, found {}", clip(&other.to_string()))),
        None => Err(format!("{key} is missing")),
    }
}

fn quantity(call: &ToolCall) -> Result<u32, String> {
    let Some(value) = call.arguments.get("quantity") else {
        return Err("quantity is missing".into());
    };
    let whole = value
        .as_u64()
        .or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64));
    match whole {
        Some(n @ 1..=999) => Ok(n as u32),
        _ => Err(format!(
            "quantity: expected a whole number from 1 to 999, found {}",
            clip(&value.to_string())
        )),
    }
}

fn number_of(call: &ToolCall, key: &str, letter: char) -> Result<u64, String> {
    let text = match call.arguments.get(key) {
        Some(Value::Number(n)) => n.to_string(),
        _ => text_of(call, key)?.to_owned(),
    };
    let text = text.trim();
    let digits = text.strip_prefix([letter, letter.to_ascii_lowercase()]).unwrap_or(text);
    digits
        .parse()
        .map_err(|_| format!("{key}: expected an id such as {letter}7, found {:?}", clip(text)))
}

type Goods = (usize, usize, crate::Offer, u32);

fn goods(world: &World, call: &ToolCall) -> Result<Goods, String> {
    let (supplier, sku) = (text_of(call, "supplier_id")?, text_of(call, "sku")?);
    let found = world.catalog.find(supplier, sku);
    let (s, k, offer) = found.ok_or_else(|| {
        let (suppliers, skus) =
            (supplier_name(world.config.suppliers() - 1), sku_name(world.config.skus() - 1));
        format!(
            "no offer of {:?} for {:?}: suppliers are S1 to {suppliers}, SKUs P1 to {skus}",
            clip(supplier),
            clip(sku)
        )
    })?;
    Ok((s, k, offer, quantity(call)?))
}

fn quote(world: &mut World, call: &ToolCall) -> ToolResult {
    let (_, _, offer, units) = goods(world, call)?;
    let total = offer.price_cents * i64::from(units);
    Ok(CallOutcome::done(
        json!({"unit_price": money(offer.price_cents), "total": money(total), "lead_days": offer.lead_days, "reliability": (offer.reliability * 100.0).round() / 100.0}),
    ))
}

fn order(world: &mut World, call: &ToolCall) -> ToolResult {
    let (supplier, sku, offer, units) = goods(world, call)?;
    let cost_cents = offer.price_cents * i64::from(units);
    if let Some(why) = too_dear(world, cost_cents) {
        // Denial is ordering against what one can see.
        let unaffordable = cost_cents > world.ledger_cents();
        return Ok(CallOutcome { unaffordable, ..CallOutcome::failed(why) });
    }
    let coming: u64 = world.inbound.iter().map(|o| u64::from(o.quantity)).sum();
    let space =
        u64::from(world.config.storage_capacity).saturating_sub(world.stock_units() + coming);
    if u64::from(units) > space {
        return Err(format!(
            "storage has room for {space} more units, goods on their way included"
        ));
    }
    world.book(-cost_cents);
    world.follow_link(supplier);
    let id = world.take_id();
    let (late, arriving) = luck(world, id, offer.reliability, units);
    let promised_day = world.day + offer.lead_days as u64;
    world.inbound.push(SupplierOrder {
        id,
        supplier,
        sku,
        quantity: units,
        paid_cents: cost_cents,
        placed_day: world.day,
        promised_day,
        arrives_day: promised_day + late,
        arriving,
        expedited: false,
    });
    let result = json!({"order_id": format!("O{id}"), "paid": money(cost_cents), "expected_in_days": offer.lead_days});
    Ok(CallOutcome { cost_cents, ordered: Some(id), ..CallOutcome::done(result) })
}

/// Why a sum cannot be paid: the bank decides, whatever the ledger shows.
fn too_dear(world: &World, cents: i64) -> Option<String> {
    let (cost, shown) = (money(cents), money(world.ledger_cents()));
    match cents > world.cash_cents {
        false => None,
        true if cents <= world.ledger_cents() => Some(format!(
            "it costs {cost:.2}; the ledger shows {shown:.2}, but the bank refuses the payment"
        )),
        true => Some(format!("it costs {cost:.2}, your cash is {shown:.2}")),
    }
}

/// An unreliable delivery is a day late or a fifth short.
fn luck(world: &World, id: u64, reliability: f64, units: u32) -> (u64, u32) {
    let draws = world.streams.deliveries;
    if draws.unit(&[id, 0]) < reliability {
        (0, units)
    } else if draws.unit(&[id, 1]) < 0.5 {
        (1, units)
    } else {
        (0, units - units / 5)
    }
}

fn ship(world: &mut World, call: &ToolCall) -> ToolResult {
    let id = number_of(call, "customer_order_id", 'C')?;
    let at = world.customers.iter().position(|o| o.id == id);
    let at = at.ok_or_else(|| format!("there is no open customer order C{id}"))?;
    let order = world.customers[at].clone();
    let (sku, held) = (sku_name(order.sku), world.stock[order.sku]);
    if held < order.quantity {
        return Err(format!("C{id} wants {} of {sku}, in stock are {held}", order.quantity));
    }
    let fee = (world.config.delivery_cost * 100.0).round() as i64;
    let price = world.catalog.sale_cents(order.sku, world.config.demand.sale_markup)
        * i64::from(order.quantity);
    let late = world.day > order.due_day;
    let penalty = if late { (world.config.demand.late_penalty * 100.0).round() as i64 } else { 0 };
    world.stock[order.sku] -= order.quantity;
    world.book(price - fee - penalty);
    world.shipped += 1;
    world.customers.remove(at);
    let result = json!({"shipped": format!("C{id}"), "income": money(price), "late": late});
    Ok(CallOutcome { cost_cents: fee + penalty, ..CallOutcome::done(result) })
}

fn own_order(world: &World, call: &ToolCall) -> Result<usize, String> {
    let id = number_of(call, "order_id", 'O')?;
    let at = world.inbound.iter().position(|o| o.id == id);
    at.ok_or_else(|| format!("there is no supplier order O{id} on its way"))
}

fn cancel(world: &mut World, call: &ToolCall) -> ToolResult {
    let at = own_order(world, call)?;
    let order = world.inbound.remove(at);
    let fee = order.paid_cents * CANCEL_FEE_PERCENT / 100;
    world.book(order.paid_cents - fee);
    world.pe.canceled(order.id);
    let result =
        json!({"canceled": format!("O{}", order.id), "refund": money(order.paid_cents - fee)});
    Ok(CallOutcome { cost_cents: fee, ..CallOutcome::done(result) })
}

fn expedite(world: &mut World, call: &ToolCall) -> ToolResult {
    let at = own_order(world, call)?;
    let fee = world.inbound[at].paid_cents * EXPEDITE_FEE_PERCENT / 100;
    if world.inbound[at].expedited {
        return Err("it is expedited already".into());
    }
    if let Some(why) = too_dear(world, fee) {
        return Err(why);
    }
    world.book(-fee);
    let (tomorrow, order) = (world.day + 1, &mut world.inbound[at]);
    order.expedited = true;
    order.arrives_day = order.arrives_day.saturating_sub(EXPEDITE_DAYS).max(tomorrow);
    order.promised_day = order.promised_day.saturating_sub(EXPEDITE_DAYS).max(tomorrow);
    let days = order.promised_day - world.day;
    let result =
        json!({"expedited": format!("O{}", order.id), "fee": money(fee), "expected_in_days": days});
    Ok(CallOutcome { cost_cents: fee, ..CallOutcome::done(result) })
}

/// Past cards go; the conversation's past goes too, where the agent is asked for its next action.
fn reset(world: &mut World) -> CallOutcome {
    world.cards.clear();
    CallOutcome::done(
        json!({"present_state": {"budget": world.budget(), "storage": world.storage(), "inbox": world.inbox()}}),
    )
}

fn write_note(world: &mut World, call: &ToolCall) -> ToolResult {
    let (key, text) = (text_of(call, "key")?, text_of(call, "text")?);
    if text.chars().count() > NOTE_CHARS_MAX || key.chars().count() > NOTE_CHARS_MAX {
        return Err(format!("a note has at most {NOTE_CHARS_MAX} characters"));
    }
    if world.scratchpad.len() >= NOTES_MAX && !world.scratchpad.contains_key(key) {
        return Err(format!("there are {NOTES_MAX} notes already; delete one"));
    }
    world.scratchpad.insert(key.to_owned(), text.to_owned());
    Ok(CallOutcome::done(json!({"kept": key})))
}

fn delete_note(world: &mut World, call: &ToolCall) -> ToolResult {
    let key = text_of(call, "key")?;
    match world.scratchpad.remove(key) {
        Some(_) => Ok(CallOutcome::done(json!({"deleted": key}))),
        None => Err(format!("there is no note {:?}", clip(key))),
    }
}
