//! Reads the options of one command as Kafka's tool does, and refuses with the same words.

use std::collections::BTreeMap;

/// An option of a command.
pub(super) struct Opt {
    pub(super) long: &'static str,
    pub(super) short: &'static str,
    pub(super) takes_value: bool,
    pub(super) required: bool,
}

impl Opt {
    pub(super) const fn value(long: &'static str, short: &'static str) -> Self {
        Self {
            long,
            short,
            takes_value: true,
            required: false,
        }
    }

    pub(super) const fn required(long: &'static str, short: &'static str) -> Self {
        Self {
            long,
            short,
            takes_value: true,
            required: true,
        }
    }

    pub(super) const fn flag(long: &'static str, short: &'static str) -> Self {
        Self {
            long,
            short,
            takes_value: false,
            required: false,
        }
    }
}

/// What was given: each option's values, by its long name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given(BTreeMap<&'static str, Vec<String>>);

impl Given {
    pub(super) fn has(&self, long: &str) -> bool {
        self.0.contains_key(long)
    }

    pub(super) fn last(&self, long: &str) -> Option<&str> {
        self.0.get(long)?.last().map(String::as_str)
    }

    pub(super) fn all(&self, long: &str) -> &[String] {
        self.0.get(long).map_or(&[], Vec::as_slice)
    }
}

/// Reads the arguments; of `exclusive` options at most one may be given.
pub(super) fn read(
    arguments: &[String],
    options: &'static [Opt],
    exclusive: &[&'static str],
) -> Result<Given, String> {
    let mut given = Given::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let (name, attached) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        let option =
            find(name, options)?.ok_or_else(|| format!("unrecognized arguments: '{argument}'"))?;
        let clashes = |other: &&&str| **other != option.long && given.has(other);
        let clash = exclusive
            .iter()
            .find(clashes)
            .filter(|_| exclusive.contains(&option.long));
        if let Some(other) = clash {
            let other = options.iter().find(|known| known.long == *other);
            return Err(format!(
                "argument {}: not allowed with argument {}",
                shown(option),
                other.map(shown).unwrap_or_default()
            ));
        }
        let value = match (option.takes_value, attached) {
            (true, Some(value)) => value,
            (true, None) => arguments
                .next()
                .cloned()
                .ok_or_else(|| format!("argument {}: expected one argument", shown(option)))?,
            (false, _) => String::new(),
        };
        given.0.entry(option.long).or_default().push(value);
    }
    match options
        .iter()
        .find(|option| option.required && !given.has(option.long))
    {
        Some(missing) => Err(format!("argument {} is required", shown(missing))),
        None => Ok(given),
    }
}

/// By its name, or by any beginning of its long name that no other shares.
fn find(name: &str, options: &'static [Opt]) -> Result<Option<&'static Opt>, String> {
    if let Some(exact) = options
        .iter()
        .find(|option| option.long == name || option.short == name)
    {
        return Ok(Some(exact));
    }
    if !name.starts_with("--") {
        return Ok(None);
    }
    let candidates: Vec<&Opt> = options
        .iter()
        .filter(|option| option.long.starts_with(name))
        .collect();
    match candidates.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let names: Vec<&str> = several.iter().map(|option| option.long).collect();
            Err(format!(
                "ambiguous option: {name} could match {}",
                names.join(", ")
            ))
        }
    }
}

fn shown(option: &Opt) -> String {
    format!("{}/{}", option.long, option.short)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[Opt] = &[
        Opt::required("--config", "-c"),
        Opt::flag("--standalone", "-s"),
        Opt::flag("--no-initial-controllers", "-N"),
    ];

    fn parse(text: &str) -> Result<Given, String> {
        let arguments: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        read(
            &arguments,
            OPTIONS,
            &["--standalone", "--no-initial-controllers"],
        )
    }

    #[test]
    fn options_are_read_in_every_form() {
        for text in ["--config f -s", "-c f --standalone", "--config=f --stand"] {
            let given = parse(text).unwrap();
            assert_eq!(given.last("--config"), Some("f"), "{text}");
            assert!(given.has("--standalone"), "{text}");
        }
    }

    #[test]
    fn refusals_have_kafkas_words() {
        assert_eq!(parse("-s").unwrap_err(), "argument --config/-c is required");
        assert_eq!(
            parse("-c f --bogus").unwrap_err(),
            "unrecognized arguments: '--bogus'"
        );
        assert_eq!(
            parse("-c f -s -N").unwrap_err(),
            "argument --no-initial-controllers/-N: not allowed with argument --standalone/-s"
        );
    }
}
