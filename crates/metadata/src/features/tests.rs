use super::*;

#[test]
fn levels_and_names_go_both_ways() {
    for version in MetadataVersion::all() {
        assert_eq!(version.name().parse(), Ok(version));
        assert_eq!(MetadataVersion::from_level(version.level()), Some(version));
    }
    assert_eq!(MetadataVersion::MINIMUM.name(), "3.3-IV3");
    assert_eq!(MetadataVersion::LATEST_PRODUCTION.name(), "4.3-IV0");
    assert_eq!(MetadataVersion::from_level(6), None);
    assert_eq!(MetadataVersion::from_level(31), None);
}

#[test]
fn a_release_stands_for_its_newest_level() {
    for (release, level) in [
        ("3.3", 7),
        ("3.5", 11),
        ("3.7", 19),
        ("3.9", 21),
        ("3.9.1", 21),
        ("4.0", 25),
        ("4.2", 29),
        ("4.3", 30),
    ] {
        let version: MetadataVersion = release.parse().unwrap();
        assert_eq!(version.level(), level, "{release}");
    }
    for unknown in ["3.2", "4.4", "4.4-IV0", "", "4", "4.3-IV9", "4.3.x"] {
        assert!(unknown.parse::<MetadataVersion>().is_err(), "{unknown}");
    }
}

/// KIP-584, KIP-853, KIP-848, KIP-966, KIP-932, KIP-1071: what a new cluster starts with.
#[test]
fn defaults_follow_the_bootstrap_level() {
    let at = |level| default_levels(MetadataVersion::from_level(level).unwrap());
    assert_eq!(at(20), BTreeMap::from([("metadata.version", 20)]));
    assert_eq!(
        at(21),
        BTreeMap::from([("metadata.version", 21), ("kraft.version", 1)])
    );
    assert_eq!(
        at(30),
        BTreeMap::from([
            ("metadata.version", 30),
            ("eligible.leader.replicas.version", 1),
            ("group.version", 1),
            ("kraft.version", 1),
            ("share.version", 1),
            ("streams.version", 1),
            ("transaction.version", 2),
        ])
    );
}

/// KIP-966: eligible leader replicas need records that have room for them.
#[test]
fn eligible_leader_replicas_depend_on_metadata_version() {
    let beside = |level| BTreeMap::from([(METADATA_VERSION.to_owned(), level)]);
    assert!(validate_level(ELIGIBLE_LEADER_REPLICAS_VERSION, 1, &beside(23)).is_ok());
    assert!(validate_level(ELIGIBLE_LEADER_REPLICAS_VERSION, 0, &beside(7)).is_ok());
    let refused = validate_level(ELIGIBLE_LEADER_REPLICAS_VERSION, 1, &beside(22)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "eligible.leader.replicas.version could not be set to 1 because it depends on \
         metadata.version level 23"
    );
    assert!(validate_level("transaction.version", 3, &beside(30)).is_err());
    assert!(validate_level("nothing.version", 1, &beside(30)).is_err());
}

#[test]
fn record_versions_follow_the_table_of_levels() {
    let at = |level| MetadataVersion::from_level(level).unwrap();
    let rows = [
        (7, 1, 0),
        (8, 2, 0),
        (16, 2, 0),
        (17, 3, 1),
        (22, 3, 1),
        (23, 3, 2),
        (30, 4, 2),
    ];
    for (level, register, partition) in rows {
        let version = at(level);
        assert_eq!(
            version.register_broker_record_version(),
            register,
            "{level}"
        );
        assert_eq!(version.partition_record_version(), partition, "{level}");
    }
    assert!(at(30).metadata_changed_between(at(29)));
    assert!(!at(29).metadata_changed_between(at(23)));
}
