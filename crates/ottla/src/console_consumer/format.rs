//! From a record to a line.

use std::io::Write as _;

use ottla_client::{ConsumerRecord, Settings};
use ottla_protocol::Uuid;
use ottla_protocol::record::TimestampType;

use crate::options::Options;
use crate::tool::{self, Failure, Out};

/// How a field's bytes are shown: as they are, or as the number that they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deserializer {
    Bytes,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Boolean,
    Uuid,
}

impl Deserializer {
    fn from_class(class: &str) -> Result<Self, Failure> {
        let short = class.rsplit('.').next().unwrap_or(class);
        Ok(match short.strip_suffix("Deserializer") {
            Some("String" | "ByteArray" | "Bytes" | "ByteBuffer") => Self::Bytes,
            Some("Short") => Self::Short,
            Some("Integer") => Self::Integer,
            Some("Long") => Self::Long,
            Some("Float") => Self::Float,
            Some("Double") => Self::Double,
            Some("Boolean") => Self::Boolean,
            Some("UUID") => Self::Uuid,
            _ => {
                let message = format!("The deserializer {class} is Java's own and not known here.");
                return Err(Failure::Message(message));
            }
        })
    }

    fn show(self, bytes: &[u8], out: &mut Out) -> Result<(), Failure> {
        fn sized<const N: usize>(bytes: &[u8], name: &str) -> Result<[u8; N], Failure> {
            bytes.try_into().map_err(|_| {
                Failure::Message(format!(
                    "Size of data received by {name}Deserializer is not {N}"
                ))
            })
        }
        match self {
            Self::Bytes => out.write_all(bytes)?,
            Self::Short => write!(out, "{}", i16::from_be_bytes(sized(bytes, "Short")?))?,
            Self::Integer => write!(out, "{}", i32::from_be_bytes(sized(bytes, "Integer")?))?,
            Self::Long => write!(out, "{}", i64::from_be_bytes(sized(bytes, "Long")?))?,
            Self::Float => write!(out, "{:?}", f32::from_be_bytes(sized(bytes, "Float")?))?,
            Self::Double => write!(out, "{:?}", f64::from_be_bytes(sized(bytes, "Double")?))?,
            Self::Boolean => write!(out, "{}", sized::<1>(bytes, "Boolean")? != [0])?,
            Self::Uuid => {
                let text = String::from_utf8_lossy(bytes);
                match text.parse::<Uuid>() {
                    Ok(uuid) => write!(out, "{uuid}")?,
                    Err(_) => write!(out, "{text}")?,
                }
            }
        }
        Ok(())
    }
}

/// What is shown of records; the names are those of Kafka's properties.
#[derive(Debug)]
pub(crate) struct Formatter {
    kind: Kind,
    print_timestamp: bool,
    print_key: bool,
    print_value: bool,
    print_partition: bool,
    print_offset: bool,
    print_delivery: bool,
    print_epoch: bool,
    print_headers: bool,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null_literal: Vec<u8>,
    key_deserializer: Deserializer,
    value_deserializer: Deserializer,
    headers_deserializer: Deserializer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Default,
    NoOp,
}

impl Formatter {
    pub(crate) fn new(options: &Options) -> Result<Self, Failure> {
        let mut properties = match options.value("formatter-config")? {
            Some(path) => tool::properties_file(path)?,
            None => Settings::new(),
        };
        for option in ["property", "formatter-property"] {
            for (name, value) in tool::key_values(options.values(option), true)? {
                properties.set(&name, value);
            }
        }
        for option in ["key-deserializer", "value-deserializer"] {
            if let Some(class) = options.value(option)? {
                properties.set(&option.replace('-', "."), class);
            }
        }
        let class = options.value("formatter")?.unwrap_or_default();
        let kind = match class.rsplit('.').next().unwrap_or(class) {
            "DefaultMessageFormatter" | "LoggingMessageFormatter" => Kind::Default,
            "NoOpMessageFormatter" => Kind::NoOp,
            _ => {
                let message = format!("The formatter {class} is Java's own and not known here.");
                return Err(Failure::Message(message));
            }
        };
        Self::with(kind, &properties)
    }

    fn with(kind: Kind, properties: &Settings) -> Result<Self, Failure> {
        let is_set = |name: &str, default: bool| {
            properties
                .get(name)
                .map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
        };
        let bytes =
            |name: &str, default: &str| properties.get(name).unwrap_or(default).as_bytes().to_vec();
        let deserializer = |name: &str| match properties.get(name) {
            Some(class) => Deserializer::from_class(class),
            None => Ok(Deserializer::Bytes),
        };
        Ok(Self {
            kind,
            print_timestamp: is_set("print.timestamp", false),
            print_key: is_set("print.key", false),
            print_value: is_set("print.value", true),
            print_partition: is_set("print.partition", false),
            print_offset: is_set("print.offset", false),
            print_delivery: is_set("print.delivery", false),
            print_epoch: is_set("print.epoch", false),
            print_headers: is_set("print.headers", false),
            key_separator: bytes("key.separator", "\t"),
            line_separator: bytes("line.separator", "\n"),
            headers_separator: bytes("headers.separator", ","),
            null_literal: bytes("null.literal", "null"),
            key_deserializer: deserializer("key.deserializer")?,
            value_deserializer: deserializer("value.deserializer")?,
            headers_deserializer: deserializer("headers.deserializer")?,
        })
    }

    /// Writes a record: the fields asked for, a separator between them, a line's end at last. How often
    /// it was delivered is known of records of share groups.
    pub(crate) fn write(
        &self,
        record: &ConsumerRecord,
        delivery_count: Option<i16>,
        out: &mut Out,
    ) -> Result<(), Failure> {
        if self.kind == Kind::NoOp {
            return Ok(());
        }
        let fields: [(bool, Field); 8] = [
            (self.print_timestamp, Field::Timestamp),
            (self.print_partition, Field::Partition),
            (self.print_offset, Field::Offset),
            (self.print_delivery, Field::Delivery(delivery_count)),
            (self.print_epoch, Field::Epoch),
            (self.print_headers, Field::Headers),
            (self.print_key, Field::Key),
            (self.print_value, Field::Value),
        ];
        let mut wanted = fields.into_iter().filter(|(wanted, _)| *wanted).peekable();
        while let Some((_, field)) = wanted.next() {
            self.write_field(record, field, out)?;
            let separator = if wanted.peek().is_some() {
                &self.key_separator
            } else {
                &self.line_separator
            };
            out.write_all(separator)?;
        }
        Ok(())
    }

    fn write_field(
        &self,
        record: &ConsumerRecord,
        field: Field,
        out: &mut Out,
    ) -> Result<(), Failure> {
        match field {
            Field::Timestamp if record.timestamp < 0 => write!(out, "NO_TIMESTAMP")?,
            Field::Timestamp => {
                let name = match record.timestamp_type {
                    TimestampType::CreateTime => "CreateTime",
                    TimestampType::LogAppendTime => "LogAppendTime",
                };
                write!(out, "{name}:{}", record.timestamp)?;
            }
            Field::Partition => write!(out, "Partition:{}", record.partition)?,
            Field::Offset => write!(out, "Offset:{}", record.offset)?,
            Field::Delivery(None) => write!(out, "Delivery:NOT_PRESENT")?,
            Field::Delivery(Some(count)) => write!(out, "Delivery:{count}")?,
            // Kafka's tool drops the epoch before it formats a record.
            Field::Epoch => write!(out, "Epoch:NOT_PRESENT")?,
            Field::Headers if record.headers.is_empty() => write!(out, "NO_HEADERS")?,
            Field::Headers => {
                for (index, (key, value)) in record.headers.iter().enumerate() {
                    if index > 0 {
                        out.write_all(&self.headers_separator)?;
                    }
                    out.write_all(key)?;
                    out.write_all(b":")?;
                    self.show(self.headers_deserializer, value.as_deref(), out)?;
                }
            }
            Field::Key => self.show(self.key_deserializer, record.key.as_deref(), out)?,
            Field::Value => self.show(self.value_deserializer, record.value.as_deref(), out)?,
        }
        Ok(())
    }

    fn show(
        &self,
        deserializer: Deserializer,
        bytes: Option<&[u8]>,
        out: &mut Out,
    ) -> Result<(), Failure> {
        match bytes {
            Some(bytes) => deserializer.show(bytes, out),
            None => Ok(out.write_all(&self.null_literal)?),
        }
    }
}

#[derive(Clone, Copy)]
enum Field {
    Timestamp,
    Partition,
    Offset,
    Delivery(Option<i16>),
    Epoch,
    Headers,
    Key,
    Value,
}
