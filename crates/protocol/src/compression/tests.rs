use proptest::prelude::*;

use super::*;

fn compressed(compression: Compression, input: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    Workspace::new()
        .compress(compression, input, &mut output)
        .unwrap();
    output
}

fn decompressed(codec: Codec, input: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut output = Vec::new();
    Workspace::new()
        .decompress(codec, input, limit, &mut output)
        .map(|()| output)
}

/// Bytes that compress somewhat, as records do.
fn text(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| b"an offset of a partition"[i * i / 7 % 23])
        .collect()
}

#[test]
fn every_codec_gives_back_what_it_took() {
    for codec in Codec::ALL {
        for length in [0, 1, 100, 32 << 10, (64 << 10) + 1, 300_000] {
            let input = text(length);
            let output = compressed(Compression::new(codec), &input);
            assert_eq!(
                decompressed(codec, &output, length),
                Ok(input),
                "{codec} {length}"
            );
        }
    }
}

#[test]
fn every_level_can_be_read() {
    let input = text(70_000);
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let (smallest, largest) = codec.levels();
        for level in smallest.max(-3)..=largest.min(12) {
            let compression = Compression::with_level(codec, level).unwrap();
            assert_eq!(
                decompressed(codec, &compressed(compression, &input), input.len()).as_ref(),
                Ok(&input)
            );
        }
        assert!(Compression::with_level(codec, largest + 1).is_err());
        assert!(Compression::with_level(codec, smallest - 3).is_err());
    }
    assert!(Compression::with_level(Codec::Gzip, 0).is_err());
    assert!(Compression::with_level(Codec::Gzip, -1).is_ok());
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let bomb = vec![0; 64 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let packed = compressed(Compression::new(codec), &bomb);
        let mut output = Vec::new();
        let outcome = Workspace::new().decompress(codec, &packed, 1 << 20, &mut output);
        assert_eq!(
            outcome,
            Err(CompressionError::LimitExceeded { limit: 1 << 20 }),
            "{codec}"
        );
        assert!(
            output.capacity() <= 4 << 20,
            "{codec}: {}",
            output.capacity()
        );
    }
}

#[test]
fn exactly_the_limit_is_not_too_much() {
    let input = text(1000);
    for codec in Codec::ALL {
        let packed = compressed(Compression::new(codec), &input);
        assert!(decompressed(codec, &packed, 1000).is_ok(), "{codec}");
        let limit = CompressionError::LimitExceeded { limit: 999 };
        assert_eq!(decompressed(codec, &packed, 999), Err(limit), "{codec}");
    }
}

#[test]
fn raw_snappy_is_read_too() {
    let input = text(5000);
    let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert_eq!(decompressed(Codec::Snappy, &raw, 5000), Ok(input));
}

#[test]
fn a_snappy_block_that_claims_much_reserves_nothing() {
    // A raw block whose preamble says 4 GiB - 1.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    assert!(matches!(
        decompressed(Codec::Snappy, &claim, usize::MAX - 1),
        Err(CompressionError::Corrupt { .. })
    ));
}

#[test]
fn lz4_frames_of_another_encoder_are_read() {
    use std::io::Write;
    let input = text(200_000);
    for checksum in [false, true] {
        let info = lz4_flex::frame::FrameInfo::new()
            .block_size(lz4_flex::frame::BlockSize::Max256KB)
            .block_checksums(checksum)
            .content_checksum(checksum)
            .content_size(checksum.then_some(200_000));
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&input).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(
            decompressed(Codec::Lz4, &packed, 200_000).as_ref(),
            Ok(&input)
        );
    }
    let mut decoder = Vec::new();
    let packed = compressed(Compression::new(Codec::Lz4), &input);
    std::io::Read::read_to_end(
        &mut lz4_flex::frame::FrameDecoder::new(packed.as_slice()),
        &mut decoder,
    )
    .unwrap();
    assert_eq!(decoder, input);
}

#[test]
fn message_format_v0_may_have_a_wrong_lz4_header_checksum() {
    let input = text(100);
    let mut packed = compressed(Compression::new(Codec::Lz4), &input);
    packed[6] ^= 1;
    assert!(decompressed(Codec::Lz4, &packed, 100).is_err());
    let mut output = Vec::new();
    Decompressor::for_message_format_v0(Codec::Lz4, &packed, 100)
        .read_into(&mut output)
        .unwrap();
    assert_eq!(output, input);
}

#[test]
fn a_workspace_goes_on_after_an_error() {
    let mut workspace = Workspace::new();
    let mut output = Vec::new();
    let packed = compressed(Compression::new(Codec::Zstd), &text(100_000));
    for _ in 0..3 {
        let cut = packed.get(..packed.len() / 2).unwrap();
        assert!(
            workspace
                .decompress(Codec::Zstd, cut, 1 << 20, &mut output)
                .is_err()
        );
        output.clear();
        workspace
            .decompress(Codec::Zstd, &packed, 1 << 20, &mut output)
            .unwrap();
        assert_eq!(output, text(100_000));
        output.clear();
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for codec in Codec::ALL {
            let _ = decompressed(codec, &bytes, 1 << 16);
        }
    }

    #[test]
    fn damage_never_panics(
        length in 0_usize..5000,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for codec in Codec::ALL {
            let mut packed = compressed(Compression::new(codec), &text(length));
            for (at, flip) in &flips {
                if !packed.is_empty() {
                    let at = at.index(packed.len());
                    packed[at] ^= flip;
                }
            }
            packed.truncate(cut.index(packed.len() + 1));
            let _ = decompressed(codec, &packed, 1 << 16);
        }
    }

    #[test]
    fn round_trip(input in prop::collection::vec(0_u8..8, 0..3000)) {
        for codec in Codec::ALL {
            let packed = compressed(Compression::new(codec), &input);
            let unpacked = decompressed(codec, &packed, input.len());
            prop_assert_eq!(unpacked.as_ref(), Ok(&input));
        }
    }
}
