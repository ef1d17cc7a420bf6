//! The agent's tools: names, descriptions and argument schemas. The agent reads these descriptions,
//! so changing them changes the experiment.

use crate::catalog::{sku_name, supplier_name};
use crate::config::{MemoryTools, RecoveryTools, WorldConfig};
use crate::labels::labeled_enum;
use serde::Serialize;
use serde_json::{Map, Value, json};

labeled_enum!(/// The tools, in the order in which agents see them.
ToolName {
    ShipCustomerOrder = "ship_customer_order",
    Order = "order",
    Quote = "quote",
    CheckInbox = "check_inbox",
    CheckStorage = "check_storage",
    CheckBudget = "check_budget",
    CancelOrder = "cancel_order",
    Wait = "wait",
    Expedite = "expedite",
    WriteScratchpad = "write_scratchpad",
    ReadScratchpad = "read_scratchpad",
    DeleteScratchpad = "delete_scratchpad",
    ResetBeliefs = "reset_beliefs",
    AuditPredictions = "audit_predictions",
    AskHelp = "ask_help",
});

impl ToolName {
    /// Number of the tools that every configuration offers.
    pub(crate) const COMMON: usize = 8;

    /// Whether every configuration offers the tool.
    pub(crate) fn is_common(self) -> bool {
        (self as usize) < ToolName::COMMON
    }

    /// Whether a successful call moves goods or money.
    pub(crate) fn trades(self) -> bool {
        use ToolName::{CancelOrder, Expedite, Order, ShipCustomerOrder};
        matches!(self, Order | ShipCustomerOrder | CancelOrder | Expedite)
    }

    /// Whether the tool only reads: it costs nothing and orders nothing. Recovery tools are not
    /// included.
    pub(crate) fn only_reads(self) -> bool {
        use ToolName::{CheckBudget, CheckInbox, CheckStorage, Quote, ReadScratchpad};
        matches!(self, Quote | CheckInbox | CheckStorage | CheckBudget | ReadScratchpad)
    }

    /// The tool of this name; `None` if there is none.
    pub(crate) fn parse(name: &str) -> Option<ToolName> {
        ToolName::ALL.iter().copied().find(|tool| tool.label() == name)
    }

    /// Whether a world of this configuration has the tool.
    fn available(self, config: &WorldConfig) -> bool {
        let recovers =
            |kind| config.recovery_tools == kind || config.recovery_tools == RecoveryTools::All;
        match self {
            ToolName::Expedite => config.complexity_level >= 2,
            ToolName::WriteScratchpad | ToolName::ReadScratchpad => {
                config.memory_tools != MemoryTools::None
            }
            ToolName::DeleteScratchpad => config.memory_tools == MemoryTools::Full,
            ToolName::ResetBeliefs => recovers(RecoveryTools::Reset),
            ToolName::AuditPredictions => recovers(RecoveryTools::Audit),
            ToolName::AskHelp => recovers(RecoveryTools::Help),
            _ => true,
        }
    }

    fn description(self) -> &'static str {
        match self {
            ToolName::ShipCustomerOrder => "ship a customer order from stock; you are paid at once",
            ToolName::Order => {
                "buy units from a supplier; paid at once, delivered after the lead time"
            }
            ToolName::Quote => "price, lead time and reliability of a supplier for a SKU",
            ToolName::CheckInbox => "open customer orders and supplier orders on their way",
            ToolName::CheckStorage => "units in stock",
            ToolName::CheckBudget => "cash and daily costs",
            ToolName::CancelOrder => "cancel a supplier order for a fee of 10%",
            ToolName::Wait => "end the day",
            ToolName::Expedite => "a supplier order comes up to 2 days sooner for 50% of its value",
            ToolName::WriteScratchpad => "keep a note",
            ToolName::ReadScratchpad => "read your notes",
            ToolName::DeleteScratchpad => "delete a note",
            ToolName::ResetBeliefs => {
                "forget the conversation so far and start afresh from the present state"
            }
            ToolName::AuditPredictions => "your past cards beside what happened",
            ToolName::AskHelp => "advice on what is most urgent",
        }
    }

    /// Names and JSON schemas of the arguments, in the order in which agents see them.
    fn arguments(self, config: &WorldConfig) -> Vec<(&'static str, Value)> {
        let id =
            |letter: &str| json!({"type": "string", "pattern": format!("^{letter}[0-9]{{1,6}}$")});
        let text = |max: usize| json!({"type": "string", "minLength": 1, "maxLength": max});
        match self {
            ToolName::ShipCustomerOrder => vec![("customer_order_id", id("C"))],
            ToolName::Order | ToolName::Quote => {
                let suppliers: Vec<String> = (0..config.suppliers()).map(supplier_name).collect();
                let skus: Vec<String> = (0..config.skus()).map(sku_name).collect();
                vec![
                    ("supplier_id", json!({"enum": suppliers})),
                    ("sku", json!({"enum": skus})),
                    ("quantity", json!({"type": "integer", "minimum": 1, "maximum": 999})),
                ]
            }
            ToolName::CancelOrder | ToolName::Expedite => vec![("order_id", id("O"))],
            ToolName::WriteScratchpad => vec![("key", text(40)), ("text", text(200))],
            ToolName::DeleteScratchpad => vec![("key", text(40))],
            _ => Vec::new(),
        }
    }
}

/// A tool as it is described to the agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolSpec {
    pub name: &'static str,
    pub description: &'static str,
    /// JSON schema of the arguments.
    pub arguments: Value,
}

/// The tools that are available under this configuration.
pub(crate) fn available_tools(config: &WorldConfig) -> Vec<ToolName> {
    ToolName::ALL.iter().copied().filter(|tool| tool.available(config)).collect()
}

/// Descriptions of the tools that are available under this configuration.
pub fn tool_specs(config: &WorldConfig) -> Vec<ToolSpec> {
    let spec = |tool: ToolName| ToolSpec {
        name: tool.label(),
        description: tool.description(),
        arguments: schema(tool.arguments(config)),
    };
    available_tools(config).into_iter().map(spec).collect()
}

fn schema(fields: Vec<(&'static str, Value)>) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
}
