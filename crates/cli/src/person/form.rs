//! A decision of a person, question by question: the tool, its arguments, the prediction card, and
//! whether to commit. Until then nothing has happened in the world; after it nothing can be undone.

use super::Stop;
use super::field::Field;
use super::input::{Answer, Input};
use super::screen::Screen;
use crate::failure::Failure;
use results::PromptMessage;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use warehouse::ToolSpec;

/// Fields of a card that by its rules are null for every call but an order.
const OF_AN_ORDER: [&str; 3] = ["delivery_days", "quantity", "unit_price"];
/// The only tool whose card has them.
const ORDER: &str = "order";

const HELP: &str = "\
NUMBER or NAME     choose a tool; its arguments may follow: 2 S1 P3 20
{...}              a whole reply as JSON: {\"tool\": ..., \"arguments\": {...}, \"card\": {...}}
tools              what the tools do
look               the observation of this step again
history [N]        what happened before, or the last N steps of it
market             prices and suppliers of the first morning
rules              the rules, and what the fields of a card mean
back               within a decision: start it again
quit               keep the run for later (also Ctrl-D and Ctrl-C)";

/// A tool with the fields that a person fills in.
pub struct ToolForm {
    pub name: &'static str,
    pub description: &'static str,
    arguments: Vec<Field>,
    card: Vec<Field>,
    /// Whether the card may be left out.
    optional: bool,
}

/// What a person decided.
pub enum Decision {
    /// A reply as a model would write it.
    Reply(String),
    Stop(Stop),
}

/// Why a question has no answer.
enum NoAnswer {
    /// The person begins the decision again.
    Back,
    /// A line that cannot be used; the person was told why.
    Unusable,
    Stop(Stop),
    Failed(Failure),
}

impl From<Failure> for NoAnswer {
    fn from(failure: Failure) -> Self {
        NoAnswer::Failed(failure)
    }
}

impl ToolForm {
    pub fn new(tool: &ToolSpec, card: &Value, optional: bool) -> ToolForm {
        ToolForm {
            name: tool.name,
            description: tool.description,
            arguments: Field::of_schema(&tool.arguments),
            card: Field::of_schema(card),
            optional,
        }
    }

    /// Name and arguments: `order(supplier_id, sku, quantity)`.
    pub fn signature(&self) -> String {
        let names: Vec<&str> = self.arguments.iter().map(|field| field.name.as_str()).collect();
        format!("{}({})", self.name, names.join(", "))
    }

    /// Whether a field of the card is asked for; the others are null.
    fn asks(&self, field: &Field) -> bool {
        self.name == ORDER || !OF_AN_ORDER.contains(&field.name.as_str())
    }

    fn reply(&self, arguments: &Map<String, Value>, card: &Value) -> String {
        json!({"tool": self.name, "arguments": arguments, "card": card}).to_string()
    }
}

/// The questions and answers of one decision.
struct Desk<'a> {
    screen: &'a Screen,
    input: &'a mut Input,
    tools: &'a [ToolForm],
    messages: &'a [PromptMessage],
}

/// Asks until a decision is made.
///
/// # Errors
/// Input or output fails.
pub fn decide(
    screen: &Screen,
    input: &mut Input,
    tools: &[ToolForm],
    messages: &[PromptMessage],
) -> Result<Decision, Failure> {
    let mut desk = Desk { screen, input, tools, messages };
    // The rules describe the tools.
    screen.tool_names(tools)?;
    loop {
        match desk.decision() {
            Ok(reply) => return Ok(Decision::Reply(reply)),
            Err(NoAnswer::Back) => screen.note("nothing was done; choose again")?,
            Err(NoAnswer::Unusable) => {}
            Err(NoAnswer::Stop(stop)) => return Ok(Decision::Stop(stop)),
            Err(NoAnswer::Failed(failure)) => return Err(failure),
        }
    }
}

impl Desk<'_> {
    fn decision(&mut self) -> Result<String, NoAnswer> {
        let line = self.tool_line()?;
        if line.starts_with('{') {
            return match self.whole_reply(&line) {
                Ok(reply) => Ok(reply),
                Err(problem) => {
                    self.screen.problem(&problem)?;
                    Err(NoAnswer::Unusable)
                }
            };
        }
        let mut words = line.split_whitespace();
        let tools = self.tools;
        let tool = match self.tool(words.next().unwrap_or_default()) {
            Ok(index) => &tools[index],
            Err(problem) => {
                self.screen.problem(&problem)?;
                return Err(NoAnswer::Unusable);
            }
        };
        let mut given: VecDeque<&str> = words.collect();
        let mut arguments = Map::new();
        for (at, field) in tool.arguments.iter().enumerate() {
            let is_last = at + 1 == tool.arguments.len();
            let word = match given.pop_front() {
                // A text at the end of the line may have several words.
                Some(word) if is_last && field.is_text() => {
                    let words: Vec<&str> = std::iter::once(word).chain(given.drain(..)).collect();
                    Some(words.join(" "))
                }
                word => word.map(str::to_string),
            };
            let value = match word {
                Some(word) => match field.read(&word) {
                    Ok(value) => value,
                    Err(problem) => {
                        self.screen.problem(&problem)?;
                        self.value(field)?
                    }
                },
                None => self.value(field)?,
            };
            arguments.insert(field.name.clone(), value);
        }
        if !given.is_empty() {
            let text = format!("{} takes no more arguments than that", tool.signature());
            self.screen.problem(&text)?;
            return Err(NoAnswer::Unusable);
        }
        let card = self.card(tool)?;
        self.commit(tool, &arguments, &card)?;
        Ok(tool.reply(&arguments, &card))
    }

    /// A line that begins a decision, after any number of commands.
    fn tool_line(&mut self) -> Result<String, NoAnswer> {
        let mut words: Vec<String> = self.tools.iter().map(|tool| tool.name.to_string()).collect();
        words.extend(
            ["help", "tools", "look", "history", "market", "rules", "quit"].map(String::from),
        );
        loop {
            let line = self.line("tool> ", words.clone())?;
            let mut parts = line.split_whitespace();
            match (parts.next(), parts.next()) {
                (None, _) => {}
                (Some("help" | "?"), _) => self.screen.text(HELP, 19)?,
                (Some("tools"), _) => self.screen.tools(self.tools)?,
                (Some("look"), _) => self.look()?,
                (Some("history"), count) => {
                    let count =
                        count.and_then(|count| count.parse().ok()).unwrap_or(usize::MAX / 2);
                    self.screen.history(self.messages, count)?;
                }
                (Some("market"), _) => self.screen.market(self.messages)?,
                (Some("rules"), _) => self.screen.rules(self.messages)?,
                _ => return Ok(line),
            }
        }
    }

    fn look(&self) -> Result<(), Failure> {
        self.screen.text(self.messages.last().map_or("", |message| &message.content), 2)
    }

    /// Asks for a line; `quit` and `back` are no answers.
    fn line(&mut self, question: &str, words: Vec<String>) -> Result<String, NoAnswer> {
        let nothing_came = self.input.is_empty_script();
        match self.input.ask(question, words)? {
            Answer::End if nothing_came => Err(NoAnswer::Stop(Stop::NoInput)),
            Answer::End => Err(NoAnswer::Stop(Stop::Quit)),
            Answer::Interrupted => Err(NoAnswer::Stop(Stop::Interrupted)),
            Answer::Line(line) => match line.trim() {
                "quit" | "exit" => Err(NoAnswer::Stop(Stop::Quit)),
                "back" => Err(NoAnswer::Back),
                line => Ok(line.to_string()),
            },
        }
    }

    /// Index of the tool of a number, a name or the beginning of one name.
    fn tool(&self, word: &str) -> Result<usize, String> {
        let count = self.tools.len();
        if let Ok(number) = word.parse::<usize>() {
            return match number {
                1.. if number <= count => Ok(number - 1),
                _ => Err(format!("tool: expected 1 to {count}, found {number}")),
            };
        }
        if let Some(exact) = self.tools.iter().position(|tool| tool.name == word) {
            return Ok(exact);
        }
        let begun = |tool: &&ToolForm| tool.name.starts_with(word);
        let mut begun = self.tools.iter().filter(begun);
        match (begun.next(), begun.next()) {
            (Some(one), None) => {
                Ok(self.tools.iter().position(|tool| tool.name == one.name).unwrap_or(0))
            }
            (Some(_), Some(_)) => {
                Err(format!("tool: {word} begins several names: write more of one"))
            }
            (None, _) => {
                let word: String = word.chars().take(40).collect();
                Err(format!(
                    "tool: expected a number or a name of the list, found {word}; see help"
                ))
            }
        }
    }

    /// Asks for a field until the answer fits.
    fn value(&mut self, field: &Field) -> Result<Value, NoAnswer> {
        loop {
            let question = format!("  {} ({})> ", field.name, field.hint());
            let line = self.line(&question, field.completions())?;
            if line == "?" {
                self.screen
                    .note("rules says what the fields mean; back begins the decision again")?;
                self.look()?;
                continue;
            }
            if line == "rules" {
                self.screen.rules(self.messages)?;
                continue;
            }
            match field.read(&line) {
                Ok(value) => return Ok(value),
                Err(problem) => self.screen.problem(&problem)?,
            }
        }
    }

    fn yes(&mut self, question: &str) -> Result<bool, NoAnswer> {
        loop {
            match self.line(question, vec!["yes".into(), "no".into()])?.to_lowercase().as_str() {
                "" | "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                other => self.screen.problem(&format!("expected yes or no, found {other}"))?,
            }
        }
    }

    fn card(&mut self, tool: &ToolForm) -> Result<Value, NoAnswer> {
        self.screen.note("your prediction for this call:")?;
        if tool.optional && !self.yes("  give a card? (yes or no; Enter: yes)> ")? {
            return Ok(Value::Null);
        }
        let mut card = Map::new();
        for field in &tool.card {
            let value = if tool.asks(field) { self.value(field)? } else { Value::Null };
            card.insert(field.name.clone(), value);
        }
        Ok(Value::Object(card))
    }

    /// Shows the decision; `Back` unless it is confirmed.
    fn commit(
        &mut self,
        tool: &ToolForm,
        arguments: &Map<String, Value>,
        card: &Value,
    ) -> Result<(), NoAnswer> {
        let list = |map: &Map<String, Value>| {
            let members: Vec<String> =
                map.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect();
            members.join(", ")
        };
        let call = match arguments.is_empty() {
            true => tool.name.to_string(),
            false => format!("{}: {}", tool.name, list(arguments)),
        };
        self.screen.text(&call, 2)?;
        let card = card.as_object().map_or("none".to_string(), list);
        self.screen.text(&format!("card: {card}"), 2)?;
        match self.yes("commit? (yes or no; Enter: yes)> ")? {
            true => Ok(()),
            false => Err(NoAnswer::Back),
        }
    }

    /// A reply that the person wrote as JSON, if it holds to the schema.
    fn whole_reply(&self, line: &str) -> Result<String, String> {
        let reply: Map<String, Value> = serde_json::from_str(line)
            .map_err(|error| format!("expected a JSON object: {error}"))?;
        if let Some(other) =
            reply.keys().find(|key| !["tool", "arguments", "card"].contains(&key.as_str()))
        {
            return Err(format!("expected tool, arguments and card, found {other}"));
        }
        let name = reply.get("tool").and_then(Value::as_str).unwrap_or_default();
        let tool = self.tools.iter().find(|tool| tool.name == name);
        let tool =
            tool.ok_or_else(|| format!("tool: expected a name of the list, found {name:?}"))?;
        let empty = Map::new();
        let arguments = match reply.get("arguments") {
            None => &empty,
            Some(given) => given.as_object().ok_or("arguments: expected an object")?,
        };
        check(&tool.arguments, arguments)?;
        let card = reply.get("card").unwrap_or(&Value::Null);
        match card {
            Value::Object(fields) => check(&tool.card, fields)?,
            Value::Null if tool.optional => {}
            _ => return Err("card: expected an object".into()),
        }
        Ok(tool.reply(arguments, card))
    }
}

/// Checks the members of an object against its fields.
fn check(fields: &[Field], given: &Map<String, Value>) -> Result<(), String> {
    for field in fields {
        field.check(given.get(&field.name).unwrap_or(&Value::Null))?;
    }
    match given.keys().find(|name| fields.iter().all(|field| field.name != **name)) {
        Some(other) => Err(format!("expected no member {other}")),
        None => Ok(()),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_string(),
        other => other.to_string(),
    }
}
