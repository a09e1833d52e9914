//! Zigzag variable-length integers, as records have them.

fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

fn zigzag_long(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) fn size_of_varint(value: i32) -> usize {
    size_of_bits(u32::BITS - zigzag(value).leading_zeros())
}

pub(super) fn size_of_varlong(value: i64) -> usize {
    size_of_bits(u64::BITS - zigzag_long(value).leading_zeros())
}

/// Seven bits to a byte, and at least one byte.
fn size_of_bits(bits: u32) -> usize {
    usize::try_from(bits.div_ceil(7).max(1)).unwrap_or(1)
}

pub(super) fn put_varint(output: &mut Vec<u8>, value: i32) {
    put(output, u64::from(zigzag(value)));
}

pub(super) fn put_varlong(output: &mut Vec<u8>, value: i64) {
    put(output, zigzag_long(value));
}

fn put(output: &mut Vec<u8>, mut rest: u64) {
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            output.push(low & 0x7f);
            return;
        }
        output.push(low | 0x80);
    }
}
