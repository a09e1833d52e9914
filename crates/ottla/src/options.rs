//! Command-line options as the users of Kafka's tools write them.
//!
//! The rules are those of the option parser behind Kafka's scripts: `--name value` and
//! `--name=value`, one or two dashes, flags that ignore a value, options whose value may be left
//! out, several spellings of one option, and everything after `--` an operand. One table per tool
//! holds names, values and help, and both the parser and the usage text read it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

#[cfg(test)]
mod tests;

/// Whether an option takes a value, and what it is called in the usage text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arity {
    /// No value; one given by `=` is ignored.
    Flag,
    /// Exactly one value for each time the option is given.
    Value(&'static str),
    /// A value unless the next argument looks like an option.
    OptionalValue(&'static str),
    /// One value or more, up to the next option.
    Values(&'static str),
}

/// What a value must parse as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Long,
}

/// One option of a tool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OptionSpec {
    /// Every spelling without its dashes; the first is the one that messages use.
    pub(crate) names: &'static [&'static str],
    pub(crate) arity: Arity,
    pub(crate) kind: Kind,
    pub(crate) default: Option<&'static str>,
    pub(crate) help: &'static str,
}

/// A flag.
pub(crate) const fn flag(names: &'static [&'static str], help: &'static str) -> OptionSpec {
    OptionSpec {
        names,
        arity: Arity::Flag,
        kind: Kind::Text,
        default: None,
        help,
    }
}

/// An option with a text value.
pub(crate) const fn text(
    names: &'static [&'static str],
    value: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec {
        names,
        arity: Arity::Value(value),
        kind: Kind::Text,
        default: None,
        help,
    }
}

/// An option with a 32-bit value.
pub(crate) const fn integer(
    names: &'static [&'static str],
    value: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec {
        names,
        arity: Arity::Value(value),
        kind: Kind::Integer,
        default: None,
        help,
    }
}

/// An option with a 64-bit value.
pub(crate) const fn long(
    names: &'static [&'static str],
    value: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec {
        names,
        arity: Arity::Value(value),
        kind: Kind::Long,
        default: None,
        help,
    }
}

impl OptionSpec {
    /// The same option with a value to fall back on.
    pub(crate) const fn or(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }

    /// The same option, with a value that may be left out.
    pub(crate) const fn optional(self) -> Self {
        match self.arity {
            Arity::Value(value) => Self {
                arity: Arity::OptionalValue(value),
                ..self
            },
            _ => self,
        }
    }

    /// The same option, taking all values up to the next option.
    pub(crate) const fn many(self) -> Self {
        match self.arity {
            Arity::Value(value) => Self {
                arity: Arity::Values(value),
                ..self
            },
            _ => self,
        }
    }

    fn accepts(&self, value: &str) -> bool {
        match self.kind {
            Kind::Text => true,
            Kind::Integer => value.parse::<i32>().is_ok(),
            Kind::Long => value.parse::<i64>().is_ok(),
        }
    }
}

/// The command line of one tool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommandLine {
    /// What the tool does, in one line.
    pub(crate) about: &'static str,
    /// What it does, each by the name that stands before its own options; none if it does one thing.
    pub(crate) commands: &'static [SubCommand],
    pub(crate) options: &'static [OptionSpec],
}

/// One command of a tool that has several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubCommand {
    pub(crate) name: &'static str,
    /// What it does, in one line.
    pub(crate) about: &'static str,
    /// Its own options; those of the tool may stand after its name too.
    pub(crate) options: &'static [OptionSpec],
}

/// Why a command line is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum OptionError {
    #[error("{0} is not a recognized option")]
    Unrecognized(String),
    #[error("Option {0} requires an argument")]
    MissingArgument(String),
    #[error("Cannot parse argument '{value}' of option {option}")]
    Unparsable { option: String, value: String },
    #[error("Found multiple arguments for option {0}, but you asked for only one")]
    Multiple(String),
    #[error("there is no command {name} (choose from {known})")]
    UnknownCommand { name: String, known: String },
}

/// What was given on the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    given: BTreeMap<&'static str, Vec<String>>,
    defaults: BTreeMap<&'static str, &'static str>,
    /// The options in the order given, each as often as it was given.
    pub(crate) sequence: Vec<&'static str>,
    /// The command, if the tool has several and one was given.
    pub(crate) command: Option<&'static str>,
    /// Arguments that belong to no option.
    pub(crate) operands: Vec<String>,
}

impl CommandLine {
    /// Reads the arguments after the tool's name.
    pub(crate) fn parse(&self, arguments: &[String]) -> Result<Options, OptionError> {
        let mut options = Options::default();
        options.default_to(self.options);
        let mut own: &'static [OptionSpec] = &[];
        let mut rest = arguments.iter().map(String::as_str).peekable();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                options.operands.extend(rest.map(str::to_owned));
                break;
            }
            if !looks_like_option(argument) {
                if self.commands.is_empty() || options.command.is_some() {
                    options.operands.push(argument.to_owned());
                } else {
                    let command = self.command(argument)?;
                    options.command = Some(command.name);
                    options.default_to(command.options);
                    own = command.options;
                }
                continue;
            }
            let body = argument.trim_start_matches('-');
            let (name, inline) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let spec = self
                .find(name, own)
                .ok_or_else(|| OptionError::Unrecognized(name.to_owned()))?;
            take_values(spec, (name, inline), &mut rest, &mut options)?;
        }
        Ok(options)
    }

    fn command(&self, name: &str) -> Result<&'static SubCommand, OptionError> {
        let found = self.commands.iter().find(|command| command.name == name);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.commands.iter().map(|command| command.name).collect();
            OptionError::UnknownCommand {
                name: name.to_owned(),
                known: known.join(", "),
            }
        })
    }

    /// An option by its name, or by the beginning of one if no other begins so.
    fn find(&self, name: &str, own: &'static [OptionSpec]) -> Option<&'static OptionSpec> {
        let all = || own.iter().chain(self.options);
        let exact = all().find(|spec| spec.names.contains(&name));
        if exact.is_some() || name.is_empty() {
            return exact;
        }
        let mut beginning =
            all().filter(|spec| spec.names.iter().any(|known| known.starts_with(name)));
        match (beginning.next(), beginning.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    /// The text that `--help` and a wrong command line print.
    pub(crate) fn usage(&self) -> String {
        let mut text = usage_of(self.options);
        if self.commands.is_empty() {
            return text;
        }
        text.push_str("\nCommands, given after the options above or before them:\n");
        for command in self.commands {
            let _ = writeln!(text, "\n{}: {}", command.name, command.about);
            if !command.options.is_empty() {
                text.push_str(&usage_of(command.options));
            }
        }
        text
    }
}

fn usage_of(options: &[OptionSpec]) -> String {
    let left: Vec<String> = options.iter().map(synopsis).collect();
    let width = left
        .iter()
        .map(String::len)
        .filter(|length| *length <= 36)
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let _ = writeln!(text, "{:width$}  Description", "Option");
    let _ = writeln!(text, "{:width$}  -----------", "------");
    let mut rows: Vec<(&String, &OptionSpec)> = left.iter().zip(options).collect();
    rows.sort_by_key(|(_, spec)| spec.names.first());
    for (synopsis, spec) in rows {
        let mut help = spec.help.to_owned();
        if let Some(default) = spec.default {
            let _ = write!(help, " (default: {default})");
        }
        let mut column = synopsis.as_str();
        if column.len() > width {
            let _ = writeln!(text, "{column}");
            column = "";
        }
        for line in wrap(&help, 78usize.saturating_sub(width).max(38)) {
            let _ = writeln!(text, "{column:width$}  {line}");
            column = "";
        }
    }
    text
}

fn take_values<'a>(
    spec: &OptionSpec,
    (name, inline): (&str, Option<&str>),
    rest: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    options: &mut Options,
) -> Result<(), OptionError> {
    let Some(canonical) = spec.names.first() else {
        return Ok(());
    };
    options.sequence.push(canonical);
    let values = options.given.entry(canonical).or_default();
    let mut push = |value: &str| {
        values.push(value.to_owned());
        Ok(())
    };
    match (spec.arity, inline) {
        (Arity::Flag, _) => Ok(()),
        (_, Some(value)) => push(value),
        (Arity::Value(_), None) => match rest.next() {
            Some(value) => push(value),
            None => Err(OptionError::MissingArgument(name.to_owned())),
        },
        (Arity::OptionalValue(_), None) => match rest.peek() {
            Some(value) if !looks_like_option(value) && spec.accepts(value) => {
                let value = *value;
                rest.next();
                push(value)
            }
            _ => Ok(()),
        },
        (Arity::Values(_), None) => {
            let mut any = false;
            while let Some(value) = rest.next_if(|value| !looks_like_option(value)) {
                push(value)?;
                any = true;
            }
            if any {
                Ok(())
            } else {
                Err(OptionError::MissingArgument(name.to_owned()))
            }
        }
    }
}

fn looks_like_option(argument: &str) -> bool {
    argument.starts_with('-') && argument.len() > 1
}

fn synopsis(spec: &OptionSpec) -> String {
    let names: Vec<String> = spec
        .names
        .iter()
        .map(|name| {
            if name.len() == 1 {
                format!("-{name}")
            } else {
                format!("--{name}")
            }
        })
        .collect();
    let names = names.join(", ");
    match spec.arity {
        Arity::Flag => names,
        Arity::Value(value) => format!("{names} <{value}>"),
        Arity::OptionalValue(value) => format!("{names} [{value}]"),
        Arity::Values(value) => format!("{names} <{value}>..."),
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !last.is_empty() {
            last.push(' ');
        }
        last.push_str(word);
    }
    lines
}

impl Options {
    fn default_to(&mut self, specs: &'static [OptionSpec]) {
        for spec in specs {
            if let (Some(default), Some(name)) = (spec.default, spec.names.first()) {
                self.defaults.insert(name, default);
            }
        }
    }

    /// Whether the option was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The names among `candidates` that were given.
    pub(crate) fn given_of(&self, candidates: &[&'static str]) -> Vec<&'static str> {
        candidates
            .iter()
            .copied()
            .filter(|name| self.has(name))
            .collect()
    }

    /// The option's only value, or its default.
    pub(crate) fn value(&self, name: &str) -> Result<Option<&str>, OptionError> {
        match self.given.get(name).map(Vec::as_slice) {
            None | Some([]) => Ok(self.defaults.get(name).copied()),
            Some([only]) => Ok(Some(only)),
            Some(_) => Err(OptionError::Multiple(name.to_owned())),
        }
    }

    /// The value that was given, leaving the default aside.
    pub(crate) fn given_value(&self, name: &str) -> Result<Option<&str>, OptionError> {
        if self
            .given
            .get(name)
            .is_some_and(|values| !values.is_empty())
        {
            self.value(name)
        } else {
            Ok(None)
        }
    }

    /// All values in the order given.
    pub(crate) fn values(&self, name: &str) -> &[String] {
        self.given.get(name).map_or(&[], Vec::as_slice)
    }

    /// The option's number.
    pub(crate) fn number<T: std::str::FromStr>(
        &self,
        name: &str,
    ) -> Result<Option<T>, OptionError> {
        let Some(value) = self.value(name)? else {
            return Ok(None);
        };
        let unparsable = || OptionError::Unparsable {
            option: name.to_owned(),
            value: value.to_owned(),
        };
        value.parse().map(Some).map_err(|_| unparsable())
    }
}
