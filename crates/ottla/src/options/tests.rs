use super::*;

const LINE: CommandLine = CommandLine {
    about: "A tool for tests.",
    commands: &[],
    options: &[
        flag(&["list"], "Lists."),
        flag(&["help", "h"], "Helps."),
        text(&["topic"], "topic", "Names a topic."),
        text(&["topics-file"], "file", "Names a file."),
        integer(&["partitions"], "count", "Counts.").or("3"),
        text(&["state"], "states", "Filters.").optional(),
        text(&["props"], "k=v", "Properties.").many(),
        text(
            &["command-config", "producer.config"],
            "file",
            "Reads settings.",
        ),
    ],
};

fn parse(arguments: &[&str]) -> Result<Options, OptionError> {
    let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    LINE.parse(&arguments)
}

#[test]
fn values_follow_or_are_joined_by_an_equals_sign() {
    let options = parse(&["--topic", "a", "--partitions=7", "-list"]).unwrap();
    assert_eq!(options.value("topic"), Ok(Some("a")));
    assert_eq!(options.number::<i32>("partitions"), Ok(Some(7)));
    assert!(options.has("list"));
    let options = parse(&["--topic", "--list"]).unwrap();
    assert_eq!(options.value("topic"), Ok(Some("--list")));
    assert!(!options.has("list"));
    let options = parse(&["--list=yes", "--topic="]).unwrap();
    assert!(options.has("list"));
    assert_eq!(options.value("topic"), Ok(Some("")));
}

#[test]
fn a_beginning_names_an_option_if_only_one_begins_so() {
    assert!(parse(&["--li"]).unwrap().has("list"));
    assert_eq!(
        parse(&["--topi", "x"]),
        Err(OptionError::Unrecognized("topi".into()))
    );
    assert!(parse(&["--topic", "x"]).unwrap().has("topic"));
    assert!(
        parse(&["--producer.config", "x"])
            .unwrap()
            .has("command-config")
    );
}

#[test]
fn optional_values_stop_at_the_next_option() {
    let options = parse(&["--state", "--list"]).unwrap();
    assert!(options.has("state") && options.has("list"));
    assert_eq!(options.value("state"), Ok(None));
    assert_eq!(
        parse(&["--state", "stable"]).unwrap().value("state"),
        Ok(Some("stable"))
    );
    let options = parse(&["--props", "a=1", "b=2", "--list"]).unwrap();
    assert_eq!(options.values("props"), ["a=1", "b=2"]);
}

#[test]
fn what_is_wrong_is_named_as_kafka_names_it() {
    let message = |arguments: &[&str]| parse(arguments).unwrap_err().to_string();
    assert_eq!(message(&["--bogus"]), "bogus is not a recognized option");
    assert_eq!(message(&["--topic"]), "Option topic requires an argument");
    let unparsable = parse(&["--partitions", "abc"]).unwrap();
    assert_eq!(
        unparsable
            .number::<i32>("partitions")
            .unwrap_err()
            .to_string(),
        "Cannot parse argument 'abc' of option partitions"
    );
    let twice = parse(&["--topic", "a", "--topic", "b"]).unwrap();
    assert_eq!(
        twice.value("topic").unwrap_err().to_string(),
        "Found multiple arguments for option topic, but you asked for only one"
    );
}

#[test]
fn defaults_and_operands() {
    let options = parse(&["a", "--list", "b", "--", "--topic"]).unwrap();
    assert_eq!(options.operands, ["a", "b", "--topic"]);
    assert_eq!(options.number::<i32>("partitions"), Ok(Some(3)));
    assert_eq!(options.given_value("partitions"), Ok(None));
}

#[test]
fn usage_lists_every_option() {
    let usage = LINE.usage();
    for spec in LINE.options {
        assert!(usage.contains(spec.help), "{usage}");
    }
    assert!(usage.lines().all(|line| line.len() <= 100));
}
