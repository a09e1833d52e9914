use bytes::Bytes;

use super::*;

fn written(write: impl FnOnce(&mut Writer)) -> Bytes {
    let mut writer = Writer::new();
    write(&mut writer);
    writer.into_bytes()
}

#[test]
fn variable_length_numbers_round_trip() {
    for value in [0, 1, -1, 63, 64, -64, -65, i32::MAX, i32::MIN] {
        let bytes = written(|writer| writer.write_varint(value));
        assert_eq!(Reader::new(bytes).read_varint(), Ok(value));
        let wide = i64::from(value) << 31;
        let bytes = written(|writer| writer.write_varlong(wide));
        assert_eq!(Reader::new(bytes).read_varlong(), Ok(wide));
    }
    for value in [0, 0x7f, 0x80, 0x3fff, 0x4000, u32::MAX] {
        let bytes = written(|writer| writer.write_unsigned_varint(value));
        assert_eq!(Reader::new(bytes).read_unsigned_varint(), Ok(value));
    }
    assert_eq!(&written(|writer| writer.write_varint(-1))[..], [1]);
    assert_eq!(
        &written(|writer| writer.write_unsigned_varint(300))[..],
        [0xac, 0x02]
    );
    let endless = Bytes::from_static(&[0xff; 12]);
    let error = DecodeError::VarintTooLong { bytes_max: 5 };
    assert_eq!(
        Reader::new(endless.clone()).read_unsigned_varint(),
        Err(error)
    );
    let error = DecodeError::VarintTooLong { bytes_max: 10 };
    assert_eq!(Reader::new(endless).read_unsigned_varlong(), Err(error));
}

#[test]
fn strings_have_a_two_byte_or_a_compact_length() {
    let bytes = written(|writer| writer.write_string(false, Some("ab")).unwrap());
    assert_eq!(&bytes[..], [0, 2, b'a', b'b']);
    assert_eq!(Reader::new(bytes).read_string(false), Ok(Some("ab".into())));
    let bytes = written(|writer| writer.write_string(true, Some("ab")).unwrap());
    assert_eq!(&bytes[..], [3, b'a', b'b']);
    assert_eq!(Reader::new(bytes).read_string(true), Ok(Some("ab".into())));
    assert_eq!(
        &written(|writer| writer.write_string(true, None).unwrap())[..],
        [0]
    );
    assert_eq!(
        &written(|writer| writer.write_string(false, None).unwrap())[..],
        [0xff, 0xff]
    );
    let long = "x".repeat(STRING_LENGTH_MAX + 1);
    assert!(Writer::new().write_string(true, Some(&long)).is_err());
}

#[test]
fn a_length_beyond_the_bytes_is_an_error_before_anything_is_reserved() {
    let claim = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    let array = Reader::new(claim.clone()).read_array(false, Reader::read_i64);
    assert!(matches!(
        array,
        Err(DecodeError::UnexpectedEnd { remaining: 0, .. })
    ));
    assert!(Reader::new(claim).read_bytes(false).is_err());
}

#[test]
fn a_tagged_field_of_any_size_has_its_size_in_front() {
    for size in [0, 1, 127, 128, 16_383, 16_384] {
        let value = vec![7; size];
        let put = |mut writer: Writer| {
            writer
                .write_tagged_field(5, &mut |writer| {
                    writer.put(&value);
                    Ok(())
                })
                .unwrap();
            writer
        };
        let bytes = put(Writer::new()).into_bytes();
        assert_eq!(put(Writer::counting()).len(), bytes.len());
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.read_unsigned_varint(), Ok(5));
        assert_eq!(
            reader.read_unsigned_varint(),
            Ok(u32::try_from(size).unwrap())
        );
        assert_eq!(&reader.into_rest()[..], &value[..]);
    }
}

#[test]
fn unknown_tagged_fields_come_in_the_order_of_their_tags() {
    let field = |tag| RawTaggedField {
        tag,
        data: Bytes::from_static(b"x"),
    };
    let mut writer = Writer::new();
    writer
        .write_unknown_tagged_fields(&[field(1), field(3)])
        .unwrap();
    let fields = Reader::new(writer.into_bytes()).read_unknown_tagged_fields();
    assert_eq!(fields, Ok(vec![field(1), field(3)]));
    let disorder = Writer::new().write_unknown_tagged_fields(&[field(3), field(1)]);
    assert_eq!(disorder, Err(EncodeError::TagOutOfOrder { tag: 3 }));
}

#[test]
fn a_tagged_field_must_take_exactly_its_size() {
    let bytes = Bytes::from_static(&[1, 0, 2, 0, 0]);
    let outcome = Reader::new(bytes).read_tagged_fields(&mut |reader, _| {
        reader.read_i8()?;
        Ok(true)
    });
    assert_eq!(
        outcome,
        Err(DecodeError::TaggedFieldSize {
            tag: 0,
            size: 2,
            taken: 1
        })
    );
}
