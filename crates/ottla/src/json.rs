//! JSON in and out, as Kafka's tools have it.

use std::fmt::Write as _;

use ottla_client::{TopicPartition, java_order};
use serde_json::Value;

use crate::tool::Failure;

/// An object's members in the order in which Java's `HashMap` has them.
pub(crate) fn object(members: &[(&str, String)]) -> String {
    let mut members: Vec<(&str, &str)> = members
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    java_order::sort_by_hash(&mut members, |(name, _)| java_order::string_hash(name));
    ordered_object(&members)
}

/// An object's members in the order given.
pub(crate) fn ordered_object(members: &[(&str, &str)]) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{}:{value}", string(name)))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// An array of what is JSON already.
pub(crate) fn array(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    format!("[{}]", items.join(","))
}

/// A string with its quotation marks.
pub(crate) fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A file of JSON that a user wrote.
pub(crate) struct File {
    path: String,
    /// All of it.
    pub(crate) value: Value,
}

impl File {
    /// Reads it.
    pub(crate) fn read(path: &str) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Message(format!("{path}: {error}")))?;
        let value = serde_json::from_str(&text).map_err(|error| {
            Failure::Message(format!(
                "{path}: The input string is not a valid JSON: {error}"
            ))
        })?;
        Ok(Self {
            path: path.to_owned(),
            value,
        })
    }

    /// What is wrong with it.
    pub(crate) fn wrong(&self, what: impl std::fmt::Display) -> Failure {
        Failure::Message(format!("{}: {what}", self.path))
    }

    /// The objects in an array of the outermost object.
    pub(crate) fn items(&self, name: &str) -> Result<&[Value], Failure> {
        let array = self.value.get(name).and_then(Value::as_array);
        let array = array.ok_or_else(|| self.wrong(format!("Missing {name} field")))?;
        Ok(array)
    }

    /// Refuses any version but 1; without one it is 1.
    pub(crate) fn check_version(&self) -> Result<(), Failure> {
        match self.value.get("version").map(Value::as_i64) {
            None | Some(Some(1)) => Ok(()),
            Some(other) => Err(self.wrong(format!(
                "Not supported version field value {}",
                other.map_or("that is no number".to_owned(), |version| version
                    .to_string())
            ))),
        }
    }

    /// A member of an item.
    pub(crate) fn text<'a>(&self, item: &'a Value, name: &str) -> Result<&'a str, Failure> {
        let text = item.get(name).and_then(Value::as_str);
        text.ok_or_else(|| self.wrong(format!("an entry has no text \"{name}\": {item}")))
    }

    /// A member of an item.
    pub(crate) fn number(&self, item: &Value, name: &str) -> Result<i64, Failure> {
        let number = item.get(name).and_then(Value::as_i64);
        number.ok_or_else(|| self.wrong(format!("an entry has no number \"{name}\": {item}")))
    }

    /// The partition that an item's `topic` and `partition` name.
    pub(crate) fn partition(&self, item: &Value) -> Result<TopicPartition, Failure> {
        let index = self.number(item, "partition")?;
        let index = i32::try_from(index)
            .map_err(|_| self.wrong(format!("{index} is no number of a partition")))?;
        Ok(TopicPartition::new(self.text(item, "topic")?, index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let text = object(&[
            ("version", "1".into()),
            ("brokers", array([string("a\"\n\\")])),
        ]);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["brokers"][0], "a\"\n\\");
        assert_eq!(value["version"], 1);
    }
}
