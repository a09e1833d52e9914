//! Scripts of Apache Kafka's that there is nothing to do for here, and what to use instead.

use std::process::ExitCode;

/// A script's name without `.sh`, and what to do.
const SCRIPTS: &[(&str, &str)] = &[
    (
        "kafka-jmx",
        "Ottla has no JMX; its metrics are at the node's metrics listener, in Prometheus' format, and \
         any tool that reads those shows them.",
    ),
    (
        "connect-distributed",
        "this release of Ottla has no Connect worker; run Apache Kafka's connect-distributed.sh \
         against the cluster, it works with Ottla's brokers unchanged.",
    ),
    (
        "connect-standalone",
        "this release of Ottla has no Connect worker; run Apache Kafka's connect-standalone.sh \
         against the cluster, it works with Ottla's brokers unchanged.",
    ),
    (
        "connect-mirror-maker",
        "this release of Ottla has no MirrorMaker; run Apache Kafka's connect-mirror-maker.sh, with \
         Ottla's brokers as source or target.",
    ),
    (
        "connect-plugin-path",
        "plugins of Connect are Java's; run Apache Kafka's connect-plugin-path.sh.",
    ),
    (
        "trogdor",
        "Trogdor tests Apache Kafka itself; to put load on a cluster use ottla producer-perf-test and \
         ottla consumer-perf-test.",
    ),
    (
        "kafka-run-class",
        "there are no Java classes here; each tool is a command: see ottla --help.",
    ),
    (
        "kafka-streams-application-reset",
        "groups of the streams protocol are reset by ottla streams-groups --reset-offsets, those of the \
         classic one by ottla consumer-groups --reset-offsets; internal topics are deleted by ottla \
         topics --delete.",
    ),
];

/// The names of the scripts, without `.sh`.
pub(crate) fn scripts() -> impl Iterator<Item = &'static str> {
    SCRIPTS.iter().map(|(name, _)| *name)
}

/// Says what to use instead, if this is the name of such a script.
pub(crate) fn answer(called: &str) -> Option<ExitCode> {
    let name = called.rsplit('/').next().unwrap_or(called);
    let name = name.strip_suffix(".sh").unwrap_or(name);
    let (script, text) = SCRIPTS
        .iter()
        .find(|(script, _)| *script == name || script.strip_prefix("kafka-") == Some(name))?;
    eprintln!("{script}: {text}");
    Some(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_known_by_both_names() {
        for name in [
            "/opt/kafka/bin/kafka-jmx.sh",
            "jmx",
            "trogdor.sh",
            "run-class",
        ] {
            assert!(answer(name).is_some(), "{name}");
        }
        assert!(answer("topics").is_none());
    }
}
