//! From a record's bytes to JSON, by its schema.
//!
//! The schema files of the protocol crate say of each field its type, versions, and whether and
//! where it is nullable or tagged; that is all that is needed to show a record as Kafka does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use ottla_protocol::{DecodeError, Reader};

/// Versions from one to another; none is open.
#[derive(Clone, Copy, Debug)]
struct Versions {
    from: i16,
    to: Option<i16>,
}

impl Versions {
    fn parse(text: &str) -> Option<Self> {
        if let Some(from) = text.strip_suffix('+') {
            return Some(Self {
                from: from.parse().ok()?,
                to: None,
            });
        }
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        Some(Self {
            from: from.parse().ok()?,
            to: Some(to.parse().ok()?),
        })
    }

    fn contains(self, version: i16) -> bool {
        version >= self.from && self.to.is_none_or(|to| version <= to)
    }
}

#[derive(Clone, Debug)]
struct Field {
    /// The name as it stands in JSON.
    name: String,
    kind: String,
    versions: Versions,
    nullable: Option<Versions>,
    tag: Option<(u32, Versions)>,
    /// The default as JSON.
    default: String,
    /// The fields of a structure that is defined in place.
    nested: Vec<Field>,
}

/// What a schema file says.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    /// `metadata`, `coordinator-key`, `coordinator-value` or `data`.
    pub(super) role: String,
    pub(super) name: String,
    pub(super) api_key: i16,
    flexible: Option<Versions>,
    fields: Vec<Field>,
    structures: BTreeMap<String, Vec<Field>>,
    /// Schemas of what bytes fields hold, with its version before it, by the field's name.
    pub(super) embedded: BTreeMap<String, Schema>,
}

impl Schema {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut sections = text.split("\n\n");
        let mut head = sections.next()?.lines().map(|line| line.split_once(' '));
        let (role, name) = head.next()??;
        let head: BTreeMap<&str, &str> = head.flatten().collect();
        let mut schema = Self {
            role: role.to_owned(),
            name: name.to_owned(),
            api_key: head
                .get("api-key")
                .and_then(|key| key.parse().ok())
                .unwrap_or(-1),
            flexible: head
                .get("flexible")
                .and_then(|versions| Versions::parse(versions)),
            fields: Vec::new(),
            structures: BTreeMap::new(),
            embedded: BTreeMap::new(),
        };
        for section in sections {
            let mut lines = section
                .lines()
                .filter(|line| !line.trim().is_empty())
                .peekable();
            let Some(title) = lines.next() else { continue };
            let lines: Vec<&str> = lines.collect();
            let fields = fields(&lines);
            match title.split_whitespace().collect::<Vec<_>>()[..] {
                ["fields", ..] => schema.fields = fields,
                ["struct", name, ..] => {
                    schema.structures.insert(name.to_owned(), fields);
                }
                _ => {}
            }
        }
        Some(schema)
    }

    /// The record of a version as JSON, and nothing else in the bytes.
    pub(super) fn to_json(&self, bytes: Bytes, version: i16) -> Result<String, DecodeError> {
        let mut reader = Reader::new(bytes);
        let json = self.read_fields(&mut reader, &self.fields, version)?;
        reader.expect_end()?;
        Ok(json)
    }

    fn read_fields(
        &self,
        reader: &mut Reader,
        fields: &[Field],
        version: i16,
    ) -> Result<String, DecodeError> {
        let flexible = self
            .flexible
            .is_some_and(|versions| versions.contains(version));
        let mut values: Vec<Option<String>> = vec![None; fields.len()];
        for (field, value) in fields.iter().zip(&mut values) {
            let tagged = field
                .tag
                .is_some_and(|(_, versions)| versions.contains(version));
            if field.versions.contains(version) && !tagged {
                *value = Some(self.read_value(reader, field, version)?);
            }
        }
        if flexible {
            for _ in 0..reader.read_unsigned_varint()? {
                let tag = reader.read_unsigned_varint()?;
                let size = usize::try_from(reader.read_unsigned_varint()?).unwrap_or(usize::MAX);
                let mut inner = Reader::new(reader.take(size)?);
                for (field, value) in fields.iter().zip(&mut values) {
                    if field.tag.is_some_and(|(number, _)| number == tag) {
                        let read = self.read_value(&mut inner, field, version)?;
                        *value = Some(read).filter(|read| *read != field.default);
                    }
                }
            }
        }
        let members = fields
            .iter()
            .zip(values)
            .filter_map(|(field, value)| value.map(|value| format!("\"{}\":{value}", field.name)));
        Ok(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
    }

    fn read_value(
        &self,
        reader: &mut Reader,
        field: &Field,
        version: i16,
    ) -> Result<String, DecodeError> {
        let flexible = self
            .flexible
            .is_some_and(|versions| versions.contains(version));
        let nullable = field
            .nullable
            .is_some_and(|versions| versions.contains(version));
        if let Some(element) = field.kind.strip_prefix("[]") {
            let Some(count) = reader.read_array_length(flexible)? else {
                return Ok("null".to_owned());
            };
            let element = Field {
                kind: element.to_owned(),
                nullable: None,
                ..field.clone()
            };
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(self.read_value(reader, &element, version)?);
            }
            return Ok(format!("[{}]", values.join(",")));
        }
        Ok(match field.kind.as_str() {
            "bool" => reader.read_bool()?.to_string(),
            "int8" => reader.read_i8()?.to_string(),
            "int16" => reader.read_i16()?.to_string(),
            "uint16" => reader.read_u16()?.to_string(),
            "int32" => reader.read_i32()?.to_string(),
            "uint32" => reader.read_u32()?.to_string(),
            "int64" => reader.read_i64()?.to_string(),
            "float64" => format!("{:?}", reader.read_f64()?),
            "uuid" => quoted(&reader.read_uuid()?.to_string()),
            "string" => match reader.read_string(flexible)? {
                Some(text) => quoted(&text),
                None => "null".to_owned(),
            },
            "bytes" | "records" => match reader.read_bytes(flexible)? {
                Some(bytes) => {
                    let shown = self.embedded.get(&field.name).and_then(|schema| {
                        let (version, rest) = bytes.split_first_chunk::<2>()?;
                        let rest = Bytes::copy_from_slice(rest);
                        schema.to_json(rest, i16::from_be_bytes(*version)).ok()
                    });
                    shown.unwrap_or_else(|| quoted(&base64(&bytes)))
                }
                None => "null".to_owned(),
            },
            _ if nullable && reader.read_i8()? < 0 => "null".to_owned(),
            name => {
                let defined = self.structures.get(name);
                let fields = defined.map_or(field.nested.as_slice(), Vec::as_slice);
                self.read_fields(reader, fields, version)?
            }
        })
    }
}

/// Fields from their lines; deeper lines belong to the field above them.
fn fields(lines: &[&str]) -> Vec<Field> {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let mut fields: Vec<Field> = Vec::new();
    let mut rest = lines;
    while let Some((line, after)) = rest.split_first() {
        let own = depth(line);
        let below = after.iter().take_while(|line| depth(line) > own).count();
        let (nested, next) = after.split_at(below);
        if let Some(field) = field(line, self::fields(nested)) {
            fields.push(field);
        }
        rest = next;
    }
    fields
}

fn field(line: &str, nested: Vec<Field>) -> Option<Field> {
    let mut words = line.split_whitespace();
    let (name, kind, versions) = (words.next()?, words.next()?, words.next()?);
    let (mut nullable, mut tag, mut default) = (None, None, None);
    for word in words {
        match word.split_once('=') {
            Some(("nullable", versions)) => nullable = Versions::parse(versions),
            Some(("default", value)) => default = Some(value.to_owned()),
            Some(("tag", value)) => {
                let (number, versions) = value.split_once(':')?;
                tag = Some((number.parse().ok()?, Versions::parse(versions)?));
            }
            _ => {}
        }
    }
    let default = match (default, kind) {
        (Some(value), "string") if value != "null" => quoted(&value),
        (Some(value), _) => value,
        (None, "bool") => "false".to_owned(),
        (None, "string" | "bytes") => "\"\"".to_owned(),
        (None, "uuid") => quoted("AAAAAAAAAAAAAAAAAAAAAA"),
        (None, kind) if kind.starts_with("[]") => "[]".to_owned(),
        (None, kind) if kind.starts_with("int") || kind.starts_with("uint") => "0".to_owned(),
        _ => String::new(),
    };
    let (first, rest) = name.split_at(1);
    Some(Field {
        name: format!("{}{rest}", first.to_lowercase()),
        kind: kind.to_owned(),
        versions: Versions::parse(versions)?,
        nullable,
        tag,
        default,
        nested,
    })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = (bits >> (18 - 6 * place)) & 63;
            let letter = LETTERS.get(letter as usize).copied().unwrap_or(b'=');
            let known = place <= chunk.len();
            let _ = text.write_char(if known { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        assert_eq!(base64(b"Man"), "TWFu");
        assert_eq!(base64(b"Ma"), "TWE=");
        assert_eq!(base64(b"M"), "TQ==");
        assert_eq!(base64(b""), "");
    }

    #[test]
    fn every_schema_is_read() {
        use super::super::schemas;
        for text in [
            schemas::METADATA,
            schemas::GROUP,
            schemas::TRANSACTION,
            schemas::CONTROL,
        ] {
            for text in text {
                let schema = Schema::parse(text).unwrap();
                let lines = text.lines().skip_while(|line| *line != "fields").skip(1);
                let fields = lines.take_while(|line| !line.is_empty());
                let count = fields.filter(|line| !line.starts_with("   ")).count();
                assert_eq!(schema.fields.len(), count, "{}", schema.name);
            }
        }
    }
}
