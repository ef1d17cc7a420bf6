//! Keys of site files: which there are, which values they take, and which contradict each other.

use super::{GpuOption, Mail, Site};
use crate::config::{ValueKind, describe};
use crate::slurm::sbatch_option::SbatchOption;
use serde_json::Value;

/// A key of a site file.
pub(super) struct SiteKey {
    pub name: &'static str,
    /// Whether the key may be given for some models only.
    pub of_models: bool,
}

const fn key(name: &'static str, of_models: bool) -> SiteKey {
    SiteKey { name, of_models }
}

pub(super) const KEYS: &[SiteKey] = &[
    key("account", true),
    key("partition", true),
    key("qos", true),
    key("constraint", true),
    key("reservation", true),
    key("exclude", true),
    key("nodelist", true),
    key("mail", true),
    key("sbatch", true),
    key("modules", true),
    key("setup", true),
    key("teardown", true),
    key("hf_home", true),
    key("gpu_type", true),
    key("gpu_option", true),
    key("machine", true),
    key("cpus_per_task", true),
    key("memory_gb", true),
    key("memory_per_node_gb", true),
    key("hours", true),
    key("hours_max", true),
    key("tasks_max", true),
    key("array_throttle", true),
    key("submit_jobs_max", false),
    key("array_size_max", false),
    key("requeue", true),
    key("signal_lead_s", true),
    key("models", false),
];

/// Types of mails that Slurm sends.
const MAIL_TYPES: [&str; 13] = [
    "NONE",
    "BEGIN",
    "END",
    "FAIL",
    "REQUEUE",
    "ALL",
    "INVALID_DEPEND",
    "STAGE_OUT",
    "TIME_LIMIT",
    "TIME_LIMIT_90",
    "TIME_LIMIT_80",
    "TIME_LIMIT_50",
    "ARRAY_TASKS",
];
/// Largest count of tasks, jobs or cores.
const COUNT_MAX: i64 = 10_000_000;
/// Hours of a year.
const HOURS_MAX: f64 = 8760.0;

/// A setting that contradicts another one.
pub(super) struct WrongSetting {
    pub key: &'static str,
    /// The other setting.
    pub other: &'static str,
    pub why: String,
}

impl Site {
    /// Sets a key of [`KEYS`] other than `models`. Lists of `sbatch` and `setup` are added to those
    /// that are there, `teardown` is put before them.
    ///
    /// # Errors
    /// What the key takes, and what was found.
    pub(super) fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key {
            "account" => self.account = word(value)?,
            "partition" => self.partition = word(value)?,
            "qos" => self.qos = word(value)?,
            "constraint" => self.constraint = word(value)?,
            "reservation" => self.reservation = word(value)?,
            "exclude" => self.exclude = word(value)?,
            "nodelist" => self.nodelist = word(value)?,
            "mail" => self.mail = mail(value)?,
            "sbatch" => self.sbatch.extend(sbatch_options(value)?),
            "modules" => self.modules = words(value)?,
            "setup" => self.setup.extend(shell_lines(value)?),
            "teardown" => {
                let mut lines = shell_lines(value)?;
                lines.append(&mut self.teardown);
                self.teardown = lines;
            }
            "hf_home" => self.hf_home = path(value)?,
            "gpu_type" => self.gpu_type = gpu_type(value)?,
            "gpu_option" => self.gpu_option = gpu_option(value)?,
            "machine" => self.machine = path(value)?,
            "cpus_per_task" => self.cpus_per_task = count(value)?,
            "memory_gb" => self.memory_gb = amount(value, 1e6, "GB")?,
            "memory_per_node_gb" => self.memory_per_node_gb = amount(value, 1e6, "GB")?,
            "hours" => self.hours = amount(value, HOURS_MAX, "hours")?,
            "hours_max" => {
                let hours = amount(value, HOURS_MAX, "hours")?;
                self.hours_max = hours.unwrap_or(Site::default().hours_max);
            }
            "tasks_max" => self.tasks_max = count(value)? as usize,
            "array_throttle" => self.array_throttle = optional_count(value)?,
            "submit_jobs_max" => self.submit_jobs_max = optional_count(value)?.map(|n| n as usize),
            "array_size_max" => self.array_size_max = optional_count(value)?.map(|n| n as usize),
            "requeue" => {
                let flag = value.as_bool();
                self.requeue = flag.ok_or_else(|| unexpected("true or false", value))?;
            }
            "signal_lead_s" => self.signal_lead_s = whole(value, 0, 65_535)?,
            other => return Err(format!("{other} is not a key of one model")),
        }
        Ok(())
    }

    /// Finds settings that contradict each other.
    pub(super) fn check(&self) -> Result<(), WrongSetting> {
        let wrong = |key, other, why| Err(WrongSetting { key, other, why });
        if let (Some(gb), Some(node)) = (self.memory_gb, self.memory_per_node_gb)
            && gb > node
        {
            return wrong(
                "memory_gb",
                "memory_per_node_gb",
                format!("expected at most memory_per_node_gb, which is {node}, found {gb}"),
            );
        }
        if let Some(hours) = self.hours
            && hours > self.hours_max
        {
            return wrong(
                "hours",
                "hours_max",
                format!("expected at most hours_max, which is {}, found {hours}", self.hours_max),
            );
        }
        for option in &self.sbatch {
            // Of two --gres, sbatch takes the last.
            if option.name() == "gres" && self.gpu_option == GpuOption::Gres {
                return wrong(
                    "sbatch",
                    "gpu_option",
                    format!(
                        "{option} would replace the --gres of the GPUs: set gpu_option to gpus-per-node or gpus"
                    ),
                );
            }
            if let Some(key) = self.key_given_too(option.name()) {
                return wrong(
                    "sbatch",
                    key,
                    format!("{option} contradicts the key {key} of this file: keep one"),
                );
            }
        }
        Ok(())
    }

    /// The key of this site that sets the same option of sbatch.
    fn key_given_too(&self, option: &str) -> Option<&'static str> {
        let mail = self.mail.as_ref();
        let (key, given) = match option {
            "account" => ("account", self.account.is_some()),
            "partition" => ("partition", self.partition.is_some()),
            "qos" => ("qos", self.qos.is_some()),
            "constraint" => ("constraint", self.constraint.is_some()),
            "reservation" => ("reservation", self.reservation.is_some()),
            "exclude" => ("exclude", self.exclude.is_some()),
            "nodelist" | "nodefile" => ("nodelist", self.nodelist.is_some()),
            "mail-user" => ("mail", mail.is_some_and(|mail| mail.user.is_some())),
            "mail-type" => ("mail", mail.is_some_and(|mail| !mail.types.is_empty())),
            _ => return None,
        };
        given.then_some(key)
    }
}

fn unexpected(expected: &str, found: &Value) -> String {
    format!("expected {expected}, found {}", describe(found))
}

/// A text in one line; a whole number is taken as its digits, since names of accounts may be
/// numbers. `None` for null.
fn text(value: &Value, expected: &str) -> Result<Option<String>, String> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() => number.to_string(),
        _ => return Err(unexpected(expected, value)),
    };
    if text.trim().is_empty() || text.contains(char::is_control) {
        return Err(unexpected(expected, value));
    }
    Ok(Some(text))
}

fn word(value: &Value) -> Result<Option<String>, String> {
    const EXPECTED: &str = "a word without spaces";
    let text = text(value, EXPECTED)?;
    if text.as_ref().is_some_and(|text| text.contains(char::is_whitespace)) {
        return Err(unexpected(EXPECTED, value));
    }
    Ok(text)
}

fn path(value: &Value) -> Result<Option<String>, String> {
    text(value, "a path in one line")
}

/// The items of a list; none for null.
fn items<'a>(value: &'a Value, expected: &str) -> Result<&'a [Value], String> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err(unexpected(expected, value)),
    }
}

fn words(value: &Value) -> Result<Vec<String>, String> {
    const EXPECTED: &str = "a list of words without spaces, such as [gcc/13]";
    let one = |item: &Value| word(item)?.ok_or_else(|| unexpected(EXPECTED, item));
    items(value, EXPECTED)?.iter().map(one).collect()
}

fn shell_lines(value: &Value) -> Result<Vec<String>, String> {
    const EXPECTED: &str = "a list of lines of bash, such as [\"source env.sh\"]";
    let one = |item: &Value| {
        let text = item.as_str().ok_or_else(|| unexpected(EXPECTED, item))?;
        let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        match text.contains(control) {
            true => Err(unexpected("lines of bash without control characters", item)),
            false => Ok(text.trim_end_matches('\n').to_owned()),
        }
    };
    items(value, EXPECTED)?.iter().map(one).collect()
}

fn sbatch_options(value: &Value) -> Result<Vec<SbatchOption>, String> {
    const EXPECTED: &str = "a list of sbatch's options, such as [--exclusive, --mail-type=END]";
    let mut options: Vec<SbatchOption> = Vec::new();
    for item in items(value, EXPECTED)? {
        let text = item.as_str().ok_or_else(|| unexpected(EXPECTED, item))?;
        let option = SbatchOption::parse(text)?;
        if options.iter().any(|other| other.name() == option.name()) {
            return Err(format!("--{} is given twice: keep one", option.name()));
        }
        options.push(option);
    }
    Ok(options)
}

fn mail(value: &Value) -> Result<Option<Mail>, String> {
    const EXPECTED: &str = "a mapping such as {user: me@example.org, types: [END, FAIL]}";
    let map = match value {
        Value::Null => return Ok(None),
        Value::Object(map) => map,
        _ => return Err(unexpected(EXPECTED, value)),
    };
    let mut mail = Mail::default();
    for (key, value) in map {
        let of_key = |why| format!("{key}: {why}");
        match key.as_str() {
            "user" => mail.user = word(value).map_err(of_key)?,
            "types" => mail.types = mail_types(value).map_err(of_key)?,
            _ => return Err(format!("unknown key {key}. The keys here are user, types")),
        }
    }
    Ok(Some(mail))
}

fn mail_types(value: &Value) -> Result<Vec<String>, String> {
    let expected = format!("a list of {}", MAIL_TYPES.join(", "));
    let one = |item: &Value| {
        let name = item.as_str().map(str::to_ascii_uppercase);
        name.filter(|name| MAIL_TYPES.contains(&name.as_str()))
            .ok_or_else(|| unexpected(&expected, item))
    };
    items(value, &expected)?.iter().map(one).collect()
}

fn gpu_type(value: &Value) -> Result<Option<String>, String> {
    const EXPECTED: &str = "Slurm's name of a GPU type, such as a100";
    let text = text(value, EXPECTED)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match text.as_ref().is_some_and(|text| !text.chars().all(plain)) {
        true => Err(unexpected(EXPECTED, value)),
        false => Ok(text),
    }
}

fn gpu_option(value: &Value) -> Result<GpuOption, String> {
    match value.as_str() {
        Some("gres") => Ok(GpuOption::Gres),
        Some("gpus-per-node") => Ok(GpuOption::GpusPerNode),
        Some("gpus") => Ok(GpuOption::Gpus),
        _ => Err(unexpected("one of gres, gpus-per-node, gpus", value)),
    }
}

fn whole(value: &Value, min: i64, max: i64) -> Result<u64, String> {
    let kind = ValueKind::Whole(min, max);
    let number = kind.check(value).ok().and_then(|number| number.as_u64());
    number.ok_or_else(|| unexpected(&kind.expected(), value))
}

fn count(value: &Value) -> Result<u64, String> {
    whole(value, 1, COUNT_MAX)
}

fn optional_count(value: &Value) -> Result<Option<u64>, String> {
    if value.is_null() { Ok(None) } else { count(value).map(Some) }
}

/// A number above 0; `None` for null.
fn amount(value: &Value, max: f64, unit: &str) -> Result<Option<f64>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let number = value.as_f64().filter(|number| *number > 0.0 && *number <= max);
    let expected = || unexpected(&format!("{unit}, more than 0 and at most {max}"), value);
    number.map(Some).ok_or_else(expected)
}
