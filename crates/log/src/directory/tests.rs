use super::meta_properties::MetaProperties;
use super::names::{DirectoryKind, deleted_directory_name, parse};
use super::{names, properties};
use crate::disk::RealDisk;
use crate::topic_partition::TopicPartition;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/kafka-4.3.1/clean");

#[test]
fn meta_properties_of_kafka_are_written_to_the_same_bytes() {
    let golden = std::path::Path::new(GOLDEN);
    let read = MetaProperties::read(&RealDisk, golden).unwrap().unwrap();
    assert!(read.directory_id.is_some());
    let directory = tempfile::tempdir().unwrap();
    // The time at which the folder was formatted is in its second line.
    let kafka = std::fs::read_to_string(MetaProperties::path(golden)).unwrap();
    let date = kafka.lines().nth(1).unwrap().trim_start_matches('#');
    let now_ms = (1_795_527_000..1_795_529_000)
        .map(|seconds| seconds * 1_000)
        .find(|now_ms| properties::date(*now_ms) == date)
        .unwrap();
    read.write(&RealDisk, directory.path(), now_ms).unwrap();
    let ours = std::fs::read_to_string(MetaProperties::path(directory.path())).unwrap();
    assert_eq!(ours, kafka);
}

#[test]
fn properties_are_read_as_java_reads_them() {
    let text = "# comment\n! another\n\n  a=1\nb : two words \nc\\=d=x\\:y\ne\\u0041 \\t f\n\
                g = long \\\n     line\nempty\nh=\\u00e9\u{e9}";
    let bytes: Vec<u8> = text
        .chars()
        .map(|character| u8::try_from(u32::from(character)).unwrap())
        .collect();
    let expected = [
        ("a", "1"),
        ("b", "two words "),
        ("c=d", "x:y"),
        ("eA", "\t f"),
        ("empty", ""),
        ("g", "long line"),
        ("h", "\u{e9}\u{e9}"),
    ];
    let parsed = properties::parse(&bytes);
    let parsed: Vec<(&str, &str)> = parsed
        .iter()
        .map(|(key, value)| (&**key, &**value))
        .collect();
    assert_eq!(parsed, expected);
    for (_, value) in expected {
        let line = format!("k={}", properties::escape_value(value));
        assert_eq!(properties::parse(line.as_bytes())["k"], value);
    }
}

#[test]
fn directory_names_are_told_apart() {
    let of = |name: &str| names::parse(name).map(|(partition, kind)| (partition.to_string(), kind));
    let named = |name: &str, kind| Some((name.to_owned(), kind));
    assert_eq!(of("topic-0"), named("topic-0", DirectoryKind::Current));
    assert_eq!(of("a-b.c-12"), named("a-b.c-12", DirectoryKind::Current));
    assert_eq!(of("t-1.0f-delete"), named("t-1", DirectoryKind::Deleted));
    assert_eq!(of("a.b-1.0f-future"), named("a.b-1", DirectoryKind::Future));
    assert_eq!(of("t-1.0f-stray"), named("t-1", DirectoryKind::Stray));
    for foreign in ["lost+found", "topic-", "-1", "topic-x", "t-1-delete"] {
        assert_eq!(of(foreign), None, "{foreign}");
    }
    let long = TopicPartition::new(&"x".repeat(249), 123);
    let name = deleted_directory_name(&long, u128::MAX);
    assert_eq!(name.len(), 255);
    assert_eq!(parse(&name).unwrap().1, DirectoryKind::Deleted);
}

#[test]
fn dates_are_those_of_java() {
    assert_eq!(properties::date(0), "Thu Jan 01 00:00:00 UTC 1970");
    assert_eq!(
        properties::date(1_709_210_096_000),
        "Thu Feb 29 12:34:56 UTC 2024"
    );
    assert_eq!(properties::date(-1_000), "Wed Dec 31 23:59:59 UTC 1969");
}
