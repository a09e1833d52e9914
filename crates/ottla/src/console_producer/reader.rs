//! From a line to a record.

use bytes::Bytes;
use ottla_client::{ProducerRecord, Settings};
use ottla_protocol::KafkaString;

use crate::tool::Failure;

/// How lines are taken apart; the names are those of Kafka's properties.
#[derive(Debug)]
pub(super) struct LineReader {
    topic: KafkaString,
    parse_key: bool,
    key_separator: Vec<u8>,
    parse_headers: bool,
    headers_delimiter: Vec<u8>,
    headers_separator: Vec<u8>,
    headers_key_separator: Vec<u8>,
    ignore_error: bool,
    null_marker: Option<Vec<u8>>,
    line_number: u64,
}

impl LineReader {
    pub(super) fn new(topic: &str, properties: &Settings) -> Result<Self, Failure> {
        let is_set = |name: &str| {
            properties
                .get(name)
                .is_some_and(|v| v.trim().eq_ignore_ascii_case("true"))
        };
        let bytes =
            |name: &str, default: &str| properties.get(name).unwrap_or(default).as_bytes().to_vec();
        let reader = Self {
            topic: properties.get("topic").unwrap_or(topic).into(),
            parse_key: is_set("parse.key"),
            key_separator: bytes("key.separator", "\t"),
            parse_headers: is_set("parse.headers"),
            headers_delimiter: bytes("headers.delimiter", "\t"),
            headers_separator: bytes("headers.separator", ","),
            headers_key_separator: bytes("headers.key.separator", ":"),
            ignore_error: is_set("ignore.error"),
            null_marker: properties
                .get("null.marker")
                .map(|marker| marker.as_bytes().to_vec()),
            line_number: 0,
        };
        let names = [
            "headers.delimiter",
            "headers.separator",
            "headers.key.separator",
        ];
        let values = [
            &reader.headers_delimiter,
            &reader.headers_separator,
            &reader.headers_key_separator,
        ];
        for (i, j) in [(0, 1), (0, 2), (1, 2)] {
            if values[i] == values[j] {
                let message = format!("{} and {} may not be equal", names[i], names[j]);
                return Err(Failure::Message(message));
            }
        }
        Ok(reader)
    }

    /// The record that a line stands for.
    pub(super) fn record(&mut self, line: &Bytes) -> Result<ProducerRecord, Failure> {
        self.line_number += 1;
        let mut rest = line.clone();
        let headers = match self.parse_headers {
            true => self.take(
                &mut rest,
                line,
                &self.headers_delimiter,
                "headers delimiter",
            )?,
            false => None,
        };
        let key = match self.parse_key {
            true => self.take(&mut rest, line, &self.key_separator, "key separator")?,
            false => None,
        };
        Ok(ProducerRecord {
            topic: self.topic.clone(),
            headers: headers.map_or(Ok(Vec::new()), |headers| self.headers(&headers))?,
            key: key.filter(|key| !self.is_null(key)),
            value: Some(rest).filter(|value| !self.is_null(value)),
            ..ProducerRecord::default()
        })
    }

    fn is_null(&self, text: &[u8]) -> bool {
        self.null_marker.as_deref() == Some(text)
    }

    /// Takes what stands before the delimiter off `rest`.
    fn take(
        &self,
        rest: &mut Bytes,
        line: &[u8],
        delimiter: &[u8],
        what: &str,
    ) -> Result<Option<Bytes>, Failure> {
        match find(rest, delimiter) {
            Some(end) => {
                let taken = rest.split_to(end);
                *rest = rest.slice(delimiter.len()..);
                Ok(Some(taken))
            }
            None if self.ignore_error => Ok(None),
            None => Err(Failure::Message(format!(
                "org.apache.kafka.common.KafkaException: No {what} found on line number {}: '{}'",
                self.line_number,
                String::from_utf8_lossy(line)
            ))),
        }
    }

    fn headers(&self, text: &Bytes) -> Result<Vec<(Bytes, Option<Bytes>)>, Failure> {
        let mut headers = Vec::new();
        if self.is_null(text) {
            return Ok(headers);
        }
        let mut rest = text.clone();
        loop {
            let end = find(&rest, &self.headers_separator);
            let pair = rest.slice(..end.unwrap_or(rest.len()));
            match find(&pair, &self.headers_key_separator) {
                Some(end) => {
                    let value = pair.slice(end + self.headers_key_separator.len()..);
                    headers.push((pair.slice(..end), Some(value).filter(|v| !self.is_null(v))));
                }
                None if self.ignore_error => headers.push((pair, None)),
                None => {
                    return Err(Failure::Message(format!(
                        "org.apache.kafka.common.KafkaException: No header key separator found in \
                         pair '{}' on line number {}",
                        String::from_utf8_lossy(&pair),
                        self.line_number
                    )));
                }
            }
            let Some(end) = end else { return Ok(headers) };
            rest = rest.slice(end + self.headers_separator.len()..);
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    match part {
        [] => Some(0),
        [byte] => text.iter().position(|other| other == byte),
        part => text.windows(part.len()).position(|window| window == part),
    }
}
