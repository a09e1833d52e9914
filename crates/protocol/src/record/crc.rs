/// The CRC-32C (Castagnoli) of `bytes`, the checksum of message format v2.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}
