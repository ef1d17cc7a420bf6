//! Options of sbatch as users type them, and the options that the program keeps for itself.

use std::fmt;

/// An option of sbatch, which is safe in a line `#SBATCH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SbatchOption {
    /// The long name without dashes. A short name that is not known stays a letter.
    name: String,
    value: Option<String>,
}

/// Options that the program sets itself: long name, letter, and what to use instead.
const RESERVED: &[(&str, Option<char>, &str)] = &[
    ("array", Some('a'), "the key tasks_max or --tasks, and the key array_throttle"),
    ("output", Some('o'), "the folder slurm in the results' folder, where the logs are"),
    ("signal", None, "the key signal_lead_s"),
    ("job-name", Some('J'), "experiment.name of the configuration"),
    ("requeue", None, "the key requeue"),
    ("no-requeue", None, "the key requeue"),
    ("time", Some('t'), "the keys hours and hours_max"),
    ("mem", None, "the keys memory_gb and memory_per_node_gb"),
    ("mem-per-cpu", None, "the keys memory_gb and memory_per_node_gb"),
    ("mem-per-gpu", None, "the keys memory_gb and memory_per_node_gb"),
    ("gpus", Some('G'), "the keys gpu_type and gpu_option; the model's plan has their number"),
    ("gpus-per-node", None, "the keys gpu_type and gpu_option; the model's plan has their number"),
    ("gpus-per-task", None, "the keys gpu_type and gpu_option; the model's plan has their number"),
    (
        "gpus-per-socket",
        None,
        "the keys gpu_type and gpu_option; the model's plan has their number",
    ),
    ("nodes", Some('N'), "the key tasks_max: a task runs on one node"),
    ("ntasks", Some('n'), "the key tasks_max: a job runs one task"),
    ("ntasks-per-node", None, "the key tasks_max: a job runs one task"),
    ("ntasks-per-core", None, "the key tasks_max: a job runs one task"),
    ("ntasks-per-gpu", None, "the key tasks_max: a job runs one task"),
    ("ntasks-per-socket", None, "the key tasks_max: a job runs one task"),
    ("tasks-per-node", None, "the key tasks_max: a job runs one task"),
    ("cpus-per-task", Some('c'), "the key cpus_per_task"),
    ("cpus-per-gpu", None, "the key cpus_per_task"),
    ("open-mode", None, "no option: logs are appended, since a job may be requeued"),
    ("export", None, "the key setup with lines export NAME=value"),
    ("export-file", None, "the key setup with lines export NAME=value"),
    ("clusters", Some('M'), "the variable SLURM_CLUSTERS, which status and cancel see too"),
    ("cluster", None, "the variable SLURM_CLUSTERS, which status and cancel see too"),
    ("test-only", None, "submit --check"),
    ("wait", Some('W'), "status --watch"),
    ("wrap", None, "the key setup"),
    ("parsable", None, "submit, which prints the job ids"),
    ("help", Some('h'), "sbatch --help in a terminal"),
    ("usage", Some('u'), "sbatch --usage in a terminal"),
    ("version", Some('V'), "sbatch --version in a terminal"),
];

/// Options with keys of their own in a site file, which are refused if the key is given too.
const WITH_KEY: &[(&str, Option<char>)] = &[
    ("account", Some('A')),
    ("partition", Some('p')),
    ("qos", Some('q')),
    ("constraint", Some('C')),
    ("reservation", None),
    ("exclude", Some('x')),
    ("nodelist", Some('w')),
    ("nodefile", Some('F')),
    ("mail-user", None),
    ("mail-type", None),
    ("gres", None),
    ("dependency", Some('d')),
];

/// Short options without a value. getopt(3) takes several of them in one word.
const FLAGS: &[(char, &str)] = &[
    ('H', "hold"),
    ('h', "help"),
    ('k', "no-kill"),
    ('O', "overcommit"),
    ('Q', "quiet"),
    ('s', "oversubscribe"),
    ('u', "usage"),
    ('v', "verbose"),
    ('V', "version"),
    ('W', "wait"),
];

impl SbatchOption {
    /// Parses one option as it is typed after `#SBATCH`: `--exclusive`, `--licenses=matlab:2`,
    /// `-L matlab:2`. Quotes and backslashes mean what they mean in a shell.
    ///
    /// # Errors
    /// What to write instead, if the text is not one option or is one that the program sets itself.
    pub fn parse(text: &str) -> Result<SbatchOption, String> {
        let words = split(text).map_err(|why| format!("{text:?}: {why}"))?;
        let (first, second) = match words.as_slice() {
            [first] => (first, None),
            [first, second] if !second.starts_with('-') => (first, Some(second.clone())),
            _ => {
                return Err(format!(
                    "expected one option an entry, such as --exclusive, found {text:?}. Put a value with spaces in quotes: --comment=\"two words\""
                ));
            }
        };
        let option = match first.strip_prefix("--") {
            Some(long) => Self::long(long, second, text)?,
            None => Self::short(first, second, text)?,
        };
        option.refuse_reserved(text)?;
        Ok(option)
    }

    /// The long name without dashes, if it is known.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn long(long: &str, second: Option<String>, text: &str) -> Result<SbatchOption, String> {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!("expected an option such as --exclusive, found {text:?}"));
        }
        if value.is_some() && second.is_some() {
            return Err(format!(
                "expected one value, found {text:?}. Put a value with spaces in quotes: --comment=\"two words\""
            ));
        }
        let name = name.to_ascii_lowercase();
        let reserved = RESERVED.iter().map(|(name, _, _)| *name);
        let known = || reserved.clone().chain(WITH_KEY.iter().map(|(name, _)| *name));
        // sbatch also takes the beginning of a name, if no other option begins so.
        if !known().any(|long| long == name)
            && let Some(long) = known().find(|long| long.starts_with(&name))
        {
            return Err(format!("--{name} may mean --{long}: write the whole name of the option"));
        }
        Ok(SbatchOption { name, value: value.or(second) })
    }

    fn short(first: &str, second: Option<String>, text: &str) -> Result<SbatchOption, String> {
        let expected = || format!("expected an option such as --exclusive, found {text:?}");
        let mut rest = first.strip_prefix('-').ok_or_else(expected)?.chars();
        let letter = rest.next().filter(char::is_ascii_alphabetic).ok_or_else(expected)?;
        let joined = Some(rest.as_str().to_owned()).filter(|rest| !rest.is_empty());
        if let Some((_, name)) = FLAGS.iter().find(|(flag, _)| *flag == letter) {
            return match (joined, second) {
                (None, None) => Ok(SbatchOption { name: (*name).to_owned(), value: None }),
                _ => Err(format!(
                    "expected one option an entry, found {text:?}: -{letter} has no value"
                )),
            };
        }
        if joined.is_some() && second.is_some() {
            return Err(format!("expected one value, found {text:?}"));
        }
        let named = RESERVED.iter().map(|(name, short, _)| (*name, *short));
        let mut named = named.chain(WITH_KEY.iter().copied());
        let name = named.find(|(_, short)| *short == Some(letter));
        let name = name.map_or_else(|| letter.to_string(), |(name, _)| name.to_owned());
        Ok(SbatchOption { name, value: joined.or(second) })
    }

    fn refuse_reserved(&self, text: &str) -> Result<(), String> {
        if let Some((_, _, instead)) = RESERVED.iter().find(|(name, _, _)| *name == self.name) {
            return Err(format!("{} is set by vendomini: use {instead}", text.trim()));
        }
        let asks_gpus = |value: &String| {
            let resources = value.split(',').map(|one| one.trim().to_ascii_lowercase());
            resources.into_iter().any(|one| {
                let one = one.strip_prefix("gres/").or(one.strip_prefix("gres:")).unwrap_or(&one);
                one.split([':', '=', '/']).next() == Some("gpu")
            })
        };
        let resources = matches!(self.name.as_str(), "gres" | "tres-per-task" | "tres-per-node");
        if resources && self.value.as_ref().is_some_and(asks_gpus) {
            let instead =
                "the keys gpu_type and gpu_option; the model's plan has the number of GPUs";
            return Err(format!("{} is set by vendomini: use {instead}", text.trim()));
        }
        Ok(())
    }
}

impl fmt::Display for SbatchOption {
    /// The option as sbatch reads it in a script.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_deref();
        match (self.name.len(), value) {
            (1, None) => write!(f, "-{}", self.name),
            (1, Some(value)) => write!(f, "-{} {}", self.name, sbatch_word(value)),
            (_, None) => write!(f, "--{}", self.name),
            (_, Some(value)) => write!(f, "--{}={}", self.name, sbatch_word(value)),
        }
    }
}

/// A value as sbatch reads it in a line `#SBATCH`. There a `#` begins a comment and spaces end the
/// value, except in quotes; a backslash before a character takes away its meaning, also in quotes.
pub(super) fn sbatch_word(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+&|*[]()!~^".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\'' | '\\' | '#') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

/// Splits a line into words at spaces outside of quotes.
fn split(line: &str) -> Result<Vec<String>, &'static str> {
    if line.contains(char::is_control) {
        return Err("expected one line without control characters");
    }
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                let next = rest.next().ok_or("ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('#', None) => return Err("put a value with # in quotes"),
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_written_as_sbatch_reads_them() {
        for (typed, written) in [
            ("--exclusive", "--exclusive"),
            ("--mail-type=END", "--mail-type=END"),
            ("--licenses matlab:2", "--licenses=matlab:2"),
            ("-L matlab:2", "-L matlab:2"),
            ("-Lmatlab:2", "-L matlab:2"),
            ("-p gpu", "--partition=gpu"),
            ("--gres-flags=enforce-binding", "--gres-flags=enforce-binding"),
            ("--time-min=10", "--time-min=10"),
            ("--gres=lscratch:100", "--gres=lscratch:100"),
            ("--comment=\"two words\"", "--comment=\"two words\""),
            ("--comment='a # \"b\"'", "--comment=\"a \\# \\\"b\\\"\""),
            ("--comment=$(rm -rf)", ""),
            ("--comment=$(id);`id`", "--comment=\"$(id);`id`\""),
            ("-H", "--hold"),
        ] {
            match SbatchOption::parse(typed) {
                Ok(option) => assert_eq!(option.to_string(), written, "{typed}"),
                Err(why) => assert!(written.is_empty(), "{typed}: {why}"),
            }
        }
    }

    #[test]
    fn contradicting_options_are_refused_in_all_spellings() {
        for (typed, instead) in [
            ("--array=0-3", "array_throttle"),
            ("-a0-3", "array_throttle"),
            ("--arr=0-3", "write the whole name"),
            ("--output x.log", "slurm"),
            ("-o x.log", "slurm"),
            ("--signal=USR1", "signal_lead_s"),
            ("-J name", "experiment.name"),
            ("--no-requeue", "requeue"),
            ("-t 10", "hours"),
            ("--time=10", "hours"),
            ("--mem=4G", "memory_gb"),
            ("--mem-per-cpu=4G", "memory_gb"),
            ("--gres=gpu:2", "gpu_type"),
            ("--gres=lscratch:1,gpu:a100:2", "gpu_type"),
            ("--gres=gres/gpu:1", "gpu_type"),
            ("--tres-per-task=gres/gpu=1", "gpu_type"),
            ("--gpus=2", "gpu_option"),
            ("-G2", "gpu_option"),
            ("--gpu=2", "write the whole name"),
            ("--gpus-per-node=2", "gpu_option"),
            ("-N 2", "tasks_max"),
            ("-n4", "tasks_max"),
            ("-c8", "cpus_per_task"),
            ("--open-mode=truncate", "appended"),
            ("--export=NONE", "setup"),
            ("-HN2", "one option an entry"),
            ("--exclusive --array=2", "one option an entry"),
            ("--comment=a b", "in quotes"),
            ("--comment=a\n#SBATCH --array=9", "one line"),
            ("--comment=\"a", "not closed"),
            ("--comment=a#b", "in quotes"),
            ("exclusive", "an option such as"),
            ("#SBATCH --exclusive", "in quotes"),
            ("", "one option"),
            ("--", "an option such as"),
            ("-", "an option such as"),
            ("--a;b", "an option such as"),
        ] {
            let why = SbatchOption::parse(typed).expect_err(typed);
            assert!(why.contains(instead), "{typed}: {why}");
        }
    }
}
