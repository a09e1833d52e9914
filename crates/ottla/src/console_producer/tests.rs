use super::*;
use ottla_client::ProducerRecord;

fn read(properties: &[(&str, &str)], line: &'static str) -> Result<ProducerRecord, String> {
    let mut settings = Settings::new();
    for (name, value) in properties {
        settings.set(name, value);
    }
    let mut reader = LineReader::new("t", &settings).unwrap();
    reader
        .record(&Bytes::from_static(line.as_bytes()))
        .map_err(|failure| match failure {
            Failure::Message(message) => message,
            other => panic!("{other:?}"),
        })
}

fn bytes(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

#[test]
fn a_line_is_a_value() {
    let record = read(&[], "a\tb").unwrap();
    assert_eq!((record.key, record.value), (None, bytes("a\tb")));
    assert_eq!(read(&[], "").unwrap().value, bytes(""));
}

#[test]
fn keys_and_headers_come_before() {
    let all = [
        ("parse.key", "true"),
        ("parse.headers", "true"),
        ("null.marker", "NULL"),
    ];
    let record = read(&all, "h1:v1,h2:NULL,h3:\tk\tv\tw").unwrap();
    assert_eq!((record.key, record.value), (bytes("k"), bytes("v\tw")));
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|(key, value)| (key.as_ref(), value.as_deref()))
        .collect();
    let expected: [(&[u8], Option<&[u8]>); 3] =
        [(b"h1", Some(b"v1")), (b"h2", None), (b"h3", Some(b""))];
    assert_eq!(headers, expected);
    let record = read(&all, "NULL\tNULL\tNULL").unwrap();
    assert_eq!(
        (record.key, record.value, record.headers),
        (None, None, Vec::new())
    );
}

#[test]
fn a_missing_separator_is_an_error_unless_ignored() {
    let error = read(&[("parse.key", "true"), ("key.separator", "::")], "a:b").unwrap_err();
    assert!(
        error.ends_with("No key separator found on line number 1: 'a:b'"),
        "{error}"
    );
    let record = read(&[("parse.key", "true"), ("ignore.error", "true")], "ab").unwrap();
    assert_eq!((record.key, record.value), (None, bytes("ab")));
}

#[test]
fn line_ends_are_taken_off() {
    assert_eq!(without_line_end(&Bytes::from_static(b"a\r\n")), "a");
    assert_eq!(without_line_end(&Bytes::from_static(b"a")), "a");
    assert_eq!(without_line_end(&Bytes::from_static(b"\n")), "");
}
