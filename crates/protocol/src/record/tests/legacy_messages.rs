//! Messages of the old formats that Apache Kafka's own builder made.

use super::golden::bytes_of;
use super::*;
use crate::record::legacy::*;

const MESSAGES: &str = include_str!("../../../testdata/kafka-4.3.1/records/legacy.txt");

/// What the golden file says of a record.
fn message_line(record: &LegacyRecord<'_>) -> String {
    let hex = |bytes: Option<&[u8]>| match bytes {
        None => "null".to_owned(),
        Some([]) => "-".to_owned(),
        Some(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    format!(
        "message {} {} {} {}",
        record.offset,
        record.timestamp,
        hex(record.key),
        hex(record.value)
    )
}

/// All of a buffer, as the golden file says it; `Err` if anything cannot be read.
fn describe(buffer: &[u8]) -> Result<Vec<String>, RecordError> {
    let (mut messages, mut lines) = (Vec::new(), Vec::new());
    for entry in entries(buffer) {
        let Entry::Legacy(message) = entry? else {
            return Err(RecordError::UnexpectedMagic(2));
        };
        assert!(message.is_valid_crc());
        let inner = message.decompressed(1 << 20)?;
        let mut first = None;
        for record in message.records_in(inner.as_deref())? {
            let record = record?;
            first.get_or_insert(record.offset);
            messages.push(message_line(&record));
        }
        let timestamp_type = match message.timestamp_type() {
            None => -1,
            Some(TimestampType::CreateTime) => 0,
            Some(TimestampType::LogAppendTime) => 1,
        };
        lines.push(format!(
            "entry {} {} {} {timestamp_type} {} {}",
            first.unwrap(),
            message.offset(),
            message.timestamp(),
            message.codec()?.id(),
            message.size_in_bytes()
        ));
    }
    messages.extend(lines);
    Ok(messages)
}

fn golden() -> Vec<(&'static str, Vec<&'static str>, Vec<u8>)> {
    MESSAGES
        .split("messages ")
        .skip(1)
        .map(|set| {
            let mut lines: Vec<_> = set.lines().collect();
            let bytes = bytes_of(lines.pop().unwrap().strip_prefix("bytes ").unwrap()).unwrap();
            (lines.remove(0), lines, bytes)
        })
        .collect()
}

#[test]
fn old_formats_are_read_as_apache_kafka_reads_them() {
    let sets = golden();
    assert_eq!(sets.len(), 2 * 4 * 6);
    for (name, lines, bytes) in sets {
        assert_eq!(describe(&bytes).unwrap(), lines, "{name}");
    }
}

#[test]
fn entries_may_be_of_any_format() {
    let (_, _, old) = golden().remove(0);
    let new = build(
        &[OwnedRecord {
            offset: 42,
            timestamp: 1,
            key: None,
            value: None,
            headers: vec![],
        }],
        Codec::None,
    );
    let mixed = [old.clone(), new.clone(), old.clone()].concat();
    let kinds: Vec<_> = entries(&mixed)
        .map(|entry| matches!(entry, Ok(Entry::Batch(_))))
        .collect();
    assert_eq!(kinds.iter().filter(|is_batch| **is_batch).count(), 1);
    let total: usize = entries(&mixed)
        .map(|entry| entry.unwrap().size_in_bytes())
        .sum();
    assert_eq!(total, mixed.len());
    let mut walk = entries(&mixed[..mixed.len() - 1]);
    assert!(walk.all(|entry| entry.is_ok()));
}

#[test]
fn a_field_beyond_its_message_is_an_error_and_not_a_tail() {
    let (_, _, mut bytes) = golden().remove(0);
    // The length of the first message's key.
    bytes[18..22].copy_from_slice(&1000_i32.to_be_bytes());
    let mut walk = entries(&bytes);
    assert!(walk.next().unwrap().is_err());
    assert!(walk.next().is_none());
}

proptest! {
    #[test]
    fn damage_never_panics(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let sets = golden();
        let (_, _, mut bytes) = sets[which.index(sets.len())].clone();
        for (at, flip) in &flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        for entry in entries(&bytes) {
            let Ok(Entry::Legacy(message)) = entry else {
                continue;
            };
            let _ = message.is_valid_crc();
            let Ok(inner) = message.decompressed(1 << 16) else {
                continue;
            };
            if let Ok(records) = message.records_in(inner.as_deref()) {
                records.for_each(drop);
            }
        }
    }
}
