use super::frame_reader::FrameReader;

fn fill(reader: &mut FrameReader, bytes: &[u8]) {
    reader.room().extend_from_slice(bytes);
}

#[test]
fn frames_are_cut_out_however_the_bytes_arrive() {
    let mut reader = FrameReader::new(100);
    for byte in [0, 0, 0, 3, b'a', b'b'] {
        fill(&mut reader, &[byte]);
        assert!(reader.next_frame().unwrap().is_none());
        assert!(reader.is_partial());
    }
    fill(&mut reader, b"c\x00\x00\x00\x01d\x00\x00");
    assert_eq!(&reader.next_frame().unwrap().unwrap()[..], b"abc");
    assert_eq!(&reader.next_frame().unwrap().unwrap()[..], b"d");
    assert!(reader.next_frame().unwrap().is_none());
    assert!(reader.is_partial());
}

#[test]
fn sizes_that_are_not_allowed_are_errors() {
    for size in [101_i32, -1, i32::MAX, i32::MIN] {
        let mut reader = FrameReader::new(100);
        fill(&mut reader, &size.to_be_bytes());
        assert!(reader.next_frame().is_err(), "{size}");
    }
}

#[test]
fn a_claimed_size_reserves_in_proportion_to_what_is_there() {
    let mut reader = FrameReader::new(1 << 30);
    fill(&mut reader, &(1_i32 << 29).to_be_bytes());
    assert!(reader.next_frame().unwrap().is_none());
    assert!(reader.room().capacity() < 64 * 1024);
    for _ in 0..20 {
        let present = reader.room().len();
        fill(&mut reader, &[0; 10_000]);
        assert!(reader.room().capacity() <= 4 * (present + 10_000).max(16 * 1024));
    }
}
