use super::*;

#[test]
fn properties_are_read_as_java_reads_them() {
    let text =
        "# comment\n! too\na=1\nb : two words \n c\tthree\nd=x\\\n   y\ne\\ f=g\\u0041\\t\nempty\n";
    let settings = Settings::from_properties(text);
    let get = |name: &str| settings.get(name).unwrap();
    assert_eq!(get("a"), "1");
    assert_eq!(get("b"), "two words ");
    assert_eq!(get("c"), "three");
    assert_eq!(get("d"), "xy");
    assert_eq!(get("e f"), "gA\t");
    assert_eq!(get("empty"), "");
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let settings = Settings::bootstrap("a:1").with("linger.mss", 1);
    let error = settings.producer_options().unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown setting linger.mss (is linger.ms meant?)"
    );
    let mut settings = settings;
    assert_eq!(settings.retain_known(Scope::Producer), ["linger.mss"]);
    assert!(settings.producer_options().is_ok());
}

#[test]
fn values_are_checked() {
    let with = |name: &str, value: &str| {
        Settings::bootstrap("a:1")
            .with(name, value)
            .producer_options()
            .map_err(|e| e.to_string())
    };
    assert_eq!(
        with("acks", "7").unwrap_err(),
        "Invalid value 7 for configuration acks: String must be one of: all, -1, 0, 1"
    );
    assert!(with("compression.type", "zstd").is_ok());
    assert!(
        with("security.protocol", "SSL")
            .unwrap_err()
            .contains("TLS")
    );
    assert!(!with("acks", "1").unwrap().enable_idempotence);
    assert!(with("delivery.timeout.ms", "100").is_err());
}

#[test]
fn addresses() {
    let settings = Settings::bootstrap("PLAINTEXT://a:9092, [::1]:9093");
    let hosts = settings.cluster_options().unwrap().bootstrap;
    assert_eq!(
        hosts[0],
        Endpoint {
            host: "a".into(),
            port: 9092
        }
    );
    assert_eq!(hosts[1].to_string(), "[::1]:9093");
    assert!(Settings::bootstrap("nohost").cluster_options().is_err());
}
