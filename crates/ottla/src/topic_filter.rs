//! Patterns of topics' names, as Kafka's tools take them.

use regex::Regex;

use crate::tool::Failure;

/// A pattern that a whole name must match; commas part alternatives.
pub(crate) fn pattern(text: &str) -> Result<Regex, Failure> {
    let plain: String = text.trim().replace(',', "|").replace(' ', "");
    let plain = plain
        .trim_start_matches(['"', '\''])
        .trim_end_matches(['"', '\'']);
    Regex::new(&format!("^(?:{plain})$"))
        .map_err(|_| Failure::Message(format!("{text} is an invalid regex.")))
}
