//! As much of Kafka's protocol as the benchmark speaks: Produce 7 and Fetch 4, which every broker of today takes.

use std::io::{self, Read};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const CLIENT_ID: &[u8] = b"bench";
/// Bytes of a batch before its records.
const BATCH_OVERHEAD: usize = 61;
/// Where the part under the checksum begins.
const CRC_FROM: usize = 21;

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as i16).to_be_bytes());
    out.extend_from_slice(text);
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn begin(api_key: i16, version: i16, correlation_id: i32) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&api_key.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&correlation_id.to_be_bytes());
    put_string(&mut out, CLIENT_ID);
    out
}

fn end(mut out: Vec<u8>) -> Vec<u8> {
    let size = (out.len() - 4) as i32;
    out[..4].copy_from_slice(&size.to_be_bytes());
    out
}

/// One batch; the value of each record begins with its number, and the batch with the first one's.
pub fn batch(first: u64, count: usize, record_size: usize, timestamp_ms: i64) -> Vec<u8> {
    let mut out = vec![0; BATCH_OVERHEAD];
    let mut value = vec![b'x'; record_size.max(8)];
    for index in 0..count {
        value[..8].copy_from_slice(&(first + index as u64).to_be_bytes());
        let mut record = vec![0];
        put_varint(&mut record, 0);
        put_varint(&mut record, index as i64);
        put_varint(&mut record, -1);
        put_varint(&mut record, value.len() as i64);
        record.extend_from_slice(&value);
        put_varint(&mut record, 0);
        put_varint(&mut out, record.len() as i64);
        out.extend_from_slice(&record);
    }
    let length = (out.len() - 12) as i32;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
    out[16] = 2;
    out[23..27].copy_from_slice(&(count as i32 - 1).to_be_bytes());
    out[27..35].copy_from_slice(&timestamp_ms.to_be_bytes());
    out[35..43].copy_from_slice(&timestamp_ms.to_be_bytes());
    out[43..51].copy_from_slice(&(-1_i64).to_be_bytes());
    out[51..53].copy_from_slice(&(-1_i16).to_be_bytes());
    out[53..57].copy_from_slice(&(-1_i32).to_be_bytes());
    out[57..61].copy_from_slice(&(count as i32).to_be_bytes());
    let crc = crc32c(&out[CRC_FROM..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}

pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// A produce request of one batch, acks=all.
pub fn produce(correlation_id: i32, topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let mut out = begin(PRODUCE, 7, correlation_id);
    out.extend_from_slice(&(-1_i16).to_be_bytes());
    out.extend_from_slice(&(-1_i16).to_be_bytes());
    out.extend_from_slice(&30_000_i32.to_be_bytes());
    out.extend_from_slice(&1_i32.to_be_bytes());
    put_string(&mut out, topic.as_bytes());
    out.extend_from_slice(&1_i32.to_be_bytes());
    out.extend_from_slice(&partition.to_be_bytes());
    out.extend_from_slice(&(batch.len() as i32).to_be_bytes());
    out.extend_from_slice(batch);
    end(out)
}

/// The error of the one partition of a produce response.
pub fn produce_error(frame: &[u8]) -> Result<i16, String> {
    let mut fields = Fields(frame);
    fields.skip(4)?;
    fields.i32()?;
    fields.string()?;
    fields.i32()?;
    fields.i32()?;
    fields.i16()
}

/// A fetch that is answered as soon as there is a record.
pub fn fetch(correlation_id: i32, topic: &str, offsets: &[i64]) -> Vec<u8> {
    let mut out = begin(FETCH, 4, correlation_id);
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    out.extend_from_slice(&500_i32.to_be_bytes());
    out.extend_from_slice(&1_i32.to_be_bytes());
    out.extend_from_slice(&(50_i32 << 20).to_be_bytes());
    out.push(0);
    out.extend_from_slice(&1_i32.to_be_bytes());
    put_string(&mut out, topic.as_bytes());
    out.extend_from_slice(&(offsets.len() as i32).to_be_bytes());
    for (partition, offset) in offsets.iter().enumerate() {
        out.extend_from_slice(&(partition as i32).to_be_bytes());
        out.extend_from_slice(&offset.to_be_bytes());
        out.extend_from_slice(&(1_i32 << 20).to_be_bytes());
    }
    end(out)
}

/// Walks a fetch response: moves the offsets on, and names first record and count of each batch.
pub fn fetched(
    frame: &[u8],
    offsets: &mut [i64],
    mut found: impl FnMut(u64, usize),
) -> Result<(), String> {
    let mut fields = Fields(frame);
    fields.skip(8)?;
    for _ in 0..fields.i32()? {
        fields.string()?;
        for _ in 0..fields.i32()? {
            let partition = fields.i32()?;
            let error = fields.i16()?;
            if error != 0 {
                return Err(format!("a fetch was answered with error {error}"));
            }
            fields.skip(16)?;
            let aborted = fields.i32()?;
            fields.skip(16 * usize::try_from(aborted).unwrap_or(0))?;
            let length = usize::try_from(fields.i32()?).unwrap_or(0);
            let records = fields.take(length)?;
            let offset = usize::try_from(partition)
                .ok()
                .and_then(|partition| offsets.get_mut(partition))
                .ok_or("a partition that was not asked for")?;
            batches(records, offset, &mut found)?;
        }
    }
    Ok(())
}

fn batches(
    mut records: &[u8],
    offset: &mut i64,
    found: &mut impl FnMut(u64, usize),
) -> Result<(), String> {
    while records.len() >= BATCH_OVERHEAD {
        let mut fields = Fields(records);
        let base_offset = fields.i64()?;
        let length = usize::try_from(fields.i32()?).map_err(|_| "a batch of negative length")?;
        let Some(batch) = records.get(12..12 + length) else {
            break;
        };
        let mut fields = Fields(&batch[BATCH_OVERHEAD - 12 - 4..]);
        let count = usize::try_from(fields.i32()?).map_err(|_| "a negative count")?;
        fields.varint()?;
        fields.skip(1)?;
        for _ in 0..4 {
            fields.varint()?;
        }
        let first = u64::from_be_bytes(fields.array()?);
        if base_offset >= *offset {
            found(first, count);
            *offset = base_offset + count as i64;
        }
        records = &records[12 + length..];
    }
    Ok(())
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self
            .0
            .split_at_checked(length)
            .ok_or("an answer that ends early")?;
        self.0 = rest;
        Ok(head)
    }

    fn skip(&mut self, length: usize) -> Result<(), String> {
        self.take(length).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| "a short number".to_owned())
    }

    fn i16(&mut self) -> Result<i16, String> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, String> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, String> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn string(&mut self) -> Result<(), String> {
        let length = self.i16()?;
        self.skip(usize::try_from(length).unwrap_or(0))
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a varint without end".to_owned())
    }
}

/// Gathers frames out of a socket that does not wait.
#[derive(Default)]
pub struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    /// Reads what is there; says whether the peer has ended.
    pub fn fill(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let mut chunk = [0; 65536];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next whole frame, without its size.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let size = self.buffer.get(..4)?.try_into().map(u32::from_be_bytes);
        let end = 4 + size.ok()? as usize;
        if self.buffer.len() < end {
            return None;
        }
        let rest = self.buffer.split_off(end);
        let mut frame = std::mem::replace(&mut self.buffer, rest);
        frame.drain(..4);
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_found_again_in_a_fetch_response() {
        let batch = batch(77, 3, 100, 1);
        let mut response = vec![0; 8];
        response.extend_from_slice(&1_i32.to_be_bytes());
        put_string(&mut response, b"t");
        response.extend_from_slice(&1_i32.to_be_bytes());
        response.extend_from_slice(&0_i32.to_be_bytes());
        response.extend_from_slice(&0_i16.to_be_bytes());
        response.extend_from_slice(&[0; 16]);
        response.extend_from_slice(&(-1_i32).to_be_bytes());
        response.extend_from_slice(&(batch.len() as i32).to_be_bytes());
        response.extend_from_slice(&batch);
        let mut offsets = [0];
        let mut seen = Vec::new();
        fetched(&response, &mut offsets, |first, count| {
            seen.push((first, count));
        })
        .unwrap();
        assert_eq!((offsets, seen), ([3], vec![(77, 3)]));
    }
}
