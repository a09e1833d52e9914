//! How keys and values of records are shown.

use bytes::Bytes;
use ottla_protocol::Reader;
use ottla_protocol::record::{ControlRecordKey, ControlRecordType, Record};

use super::schema::Schema;
use super::schemas;

/// Which log the records are of.
#[derive(Debug)]
pub(super) enum Decoder {
    Text,
    Metadata(Vec<Schema>),
    Coordinator(Vec<Schema>),
}

fn parsed(texts: &[&str]) -> Vec<Schema> {
    texts
        .iter()
        .filter_map(|text| Schema::parse(text))
        .collect()
}

impl Decoder {
    pub(super) fn metadata() -> Self {
        Self::Metadata(parsed(schemas::METADATA))
    }

    pub(super) fn offsets() -> Self {
        let mut schemas = parsed(schemas::GROUP);
        if let Some(group) = schemas
            .iter_mut()
            .find(|schema| schema.name == "GroupMetadataValue")
        {
            let embedded = [
                ("subscription", schemas::SUBSCRIPTION),
                ("assignment", schemas::ASSIGNMENT),
            ];
            for (field, text) in embedded {
                group
                    .embedded
                    .extend(Schema::parse(text).map(|schema| (field.to_owned(), schema)));
            }
        }
        Self::Coordinator(schemas)
    }

    pub(super) fn transactions() -> Self {
        Self::Coordinator(parsed(schemas::TRANSACTION))
    }

    pub(super) fn share_state() -> Self {
        Self::Coordinator(parsed(schemas::SHARE_STATE))
    }

    /// Key and payload as they are shown, if they are.
    pub(super) fn show(&self, record: &Record<'_>) -> (Option<String>, Option<String>) {
        match self {
            Self::Text => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (record.key.map(text), record.value.map(text))
            }
            Self::Metadata(schemas) => {
                let value = record.value.unwrap_or_default();
                let shown = metadata(schemas, value);
                (None, Some(shown.unwrap_or_else(|| undecodable("record"))))
            }
            Self::Coordinator(schemas) => coordinator(schemas, record),
        }
    }
}

fn undecodable(what: &str) -> String {
    format!("Error: the {what} can't be decoded, and is skipped.")
}

/// A record of the metadata log: a frame version, a type and a version before it.
fn metadata(schemas: &[Schema], value: &[u8]) -> Option<String> {
    let mut reader = Reader::new(Bytes::copy_from_slice(value));
    let frame_version = reader.read_unsigned_varint().ok()?;
    let api_key = i16::try_from(reader.read_unsigned_varint().ok()?).ok()?;
    let version = i16::try_from(reader.read_unsigned_varint().ok()?).ok()?;
    let schema = schemas.iter().find(|schema| schema.api_key == api_key)?;
    if frame_version != 1 {
        return None;
    }
    let data = schema.to_json(reader.into_rest(), version).ok()?;
    let name = screaming_snake_case(&schema.name);
    Some(format!(
        "{{\"type\":\"{name}\",\"version\":{version},\"data\":{data}}}"
    ))
}

fn screaming_snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_uppercase());
    }
    snake
}

/// A coordinator's record: the key begins with its type, the value with its version.
fn coordinator(schemas: &[Schema], record: &Record<'_>) -> (Option<String>, Option<String>) {
    let split = |bytes: &[u8]| {
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        Some((i16::from_be_bytes(*head), Bytes::copy_from_slice(rest)))
    };
    let find = |role: &str, api_key: i16| {
        schemas
            .iter()
            .find(move |schema| schema.role == role && schema.api_key == api_key)
    };
    let Some((api_key, key)) = record.key.and_then(split) else {
        return (Some(undecodable("key")), None);
    };
    let shown_key = find("coordinator-key", api_key)
        .and_then(|schema| schema.to_json(key, 0).ok())
        .map(|data| format!("{{\"type\":\"{api_key}\",\"data\":{data}}}"))
        .unwrap_or_else(|| undecodable("key"));
    let Some(value) = record.value else {
        return (Some(shown_key), Some("<DELETE>".to_owned()));
    };
    // The oldest type of key has the value of the newer one.
    let value_key = if api_key == 0 && find("coordinator-value", 0).is_none() {
        1
    } else {
        api_key
    };
    let shown_value = split(value)
        .and_then(|(version, value)| {
            let data = find("coordinator-value", value_key)?
                .to_json(value, version)
                .ok()?;
            Some(format!("{{\"version\":\"{version}\",\"data\":{data}}}"))
        })
        .unwrap_or_else(|| undecodable("value"));
    (Some(shown_key), Some(shown_value))
}

/// What a control record says.
pub(super) fn control(record: &Record<'_>) -> String {
    let key = record.key.and_then(|key| ControlRecordKey::parse(key).ok());
    let Some(key) = key else {
        return " controlType: UNKNOWN".to_owned();
    };
    let value = record.value.unwrap_or_default();
    let json = |name: &str| {
        let texts = schemas::CONTROL
            .iter()
            .filter_map(|text| Schema::parse(text));
        let schema = texts.into_iter().find(|schema| schema.name == name)?;
        let version = value
            .first_chunk::<2>()
            .map_or(0, |head| i16::from_be_bytes(*head));
        schema.to_json(Bytes::copy_from_slice(value), version).ok()
    };
    let shown = |label: &str, name: &str| {
        format!(
            " {label} {}",
            json(name).unwrap_or_else(|| undecodable("record"))
        )
    };
    match key.record_type {
        ControlRecordType::Abort | ControlRecordType::Commit => {
            let name = match key.record_type {
                ControlRecordType::Abort => "ABORT",
                _ => "COMMIT",
            };
            let epoch = value.get(2..6).and_then(|bytes| bytes.first_chunk::<4>());
            let epoch = epoch.map_or(-1, |bytes| i32::from_be_bytes(*bytes));
            format!(" endTxnMarker: {name} coordinatorEpoch: {epoch}")
        }
        ControlRecordType::LeaderChange => shown("LeaderChange:", "LeaderChangeMessage"),
        ControlRecordType::SnapshotHeader => shown("SnapshotHeader", "SnapshotHeaderRecord"),
        ControlRecordType::SnapshotFooter => shown("SnapshotFooter", "SnapshotFooterRecord"),
        ControlRecordType::KRaftVersion => shown("KRaftVersion", "KRaftVersionRecord"),
        ControlRecordType::KRaftVoters => shown("KRaftVoters", "VotersRecord"),
        other => format!(" controlType: {other:?}({})", other.id()),
    }
}
