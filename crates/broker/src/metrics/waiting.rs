//! Who waits on the node: parked requests, connections, groups.

use std::collections::BTreeMap;
use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Metrics;
use super::exposition::{gauge, labelled, signed};
use super::gauges::NodeGauges;
use crate::coordinator::GroupSizes;
use crate::net::ListenerConnections;

const CLASSIC_STATES: [&str; 5] = [
    "PreparingRebalance",
    "CompletingRebalance",
    "Stable",
    "Dead",
    "Empty",
];
/// The other types of groups, with the states that each can be in.
const TYPES: [(&str, &[&str]); 3] = [
    (
        "consumer",
        &["Empty", "Assigning", "Reconciling", "Stable", "Dead"],
    ),
    ("share", &["Empty", "Stable", "Dead"]),
    (
        "streams",
        &[
            "Empty",
            "NotReady",
            "Assigning",
            "Reconciling",
            "Stable",
            "Dead",
        ],
    ),
];

pub(super) fn purgatories(
    encoder: &mut DescriptorEncoder<'_>,
    node: &NodeGauges,
) -> Result<(), Error> {
    type Size = fn(&(&'static str, u64, u64)) -> u64;
    let families: [(&str, &str, Size); 2] = [
        (
            "purgatorysize",
            "Watches set by requests that wait",
            |(_, _, watches)| *watches,
        ),
        (
            "numdelayedoperations",
            "Requests that wait for something",
            |(_, operations, _)| *operations,
        ),
    ];
    for (last, help, size) in families {
        labelled(
            encoder,
            &format!("kafka_server_delayedoperationpurgatory_{last}"),
            help,
            node.purgatory_sizes
                .iter()
                .map(|sizes| ([("delayedOperation", sizes.0)], signed(size(sizes)))),
        )?;
    }
    Ok(())
}

/// Sockets have no processors of their own here: what Kafka shows by processor stands under the first.
fn of_listener(listener: &str) -> [(&'static str, &str); 2] {
    [("listener", listener), ("networkProcessor", "0")]
}

pub(super) fn connections(
    encoder: &mut DescriptorEncoder<'_>,
    node: &NodeGauges,
    metrics: &Metrics,
) -> Result<(), Error> {
    const NAME: &str = "kafka_server_socket_server_metrics_connection";
    labelled(
        encoder,
        &format!("{NAME}_count"),
        "Open connections",
        node.connections.iter().map(|(listener, connections)| {
            let open = connections.opened.saturating_sub(connections.closed);
            (of_listener(listener), signed(open))
        }),
    )?;
    type Total = fn(&ListenerConnections) -> u64;
    let families: [(&str, &str, Total); 2] = [
        ("creation", "Connections taken in", |connections| {
            connections.opened
        }),
        ("close", "Connections ended", |connections| {
            connections.closed
        }),
    ];
    for (last, help, total) in families {
        let name = format!("{NAME}_{last}");
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (listener, connections) in &node.connections {
            family
                .encode_family(&of_listener(listener))?
                .encode_counter::<NoLabelSet, _, u64>(&total(connections), None)?;
        }
        let name = format!("{name}_rate");
        let mut family =
            encoder.encode_descriptor(&name, "By the second, of late", None, MetricType::Gauge)?;
        for (listener, connections) in &node.connections {
            let rate = metrics.rate(format!("{last} {listener}"), total(connections));
            family
                .encode_family(&of_listener(listener))?
                .encode_gauge(&rate)?;
        }
    }
    Ok(())
}

pub(super) fn groups(encoder: &mut DescriptorEncoder<'_>, sizes: &GroupSizes) -> Result<(), Error> {
    const MANAGER: &str = "kafka_coordinator_group_groupmetadatamanager";
    const METRICS: &str = "kafka_server_group_coordinator_metrics";
    let of_type = |wanted: &str| -> BTreeMap<&str, u64> {
        let of_type = sizes.groups.iter().filter(|((name, _), _)| name == wanted);
        of_type
            .map(|((_, state), count)| (state.as_str(), *count))
            .collect()
    };
    let total = |wanted: &str| signed(of_type(wanted).values().sum());
    let help = "Committed offsets of groups coordinated here";
    gauge(
        encoder,
        &format!("{MANAGER}_numoffsets"),
        help,
        signed(sizes.offsets),
    )?;
    let help = "Classic groups coordinated here";
    gauge(
        encoder,
        &format!("{MANAGER}_numgroups"),
        help,
        total("classic"),
    )?;
    let classic = of_type("classic");
    for state in CLASSIC_STATES {
        let name = format!("{MANAGER}_numgroups{}", state.to_ascii_lowercase());
        let count = classic.get(state).copied().unwrap_or(0);
        gauge(
            encoder,
            &name,
            "Classic groups in this state",
            signed(count),
        )?;
    }
    let types = ["classic", "consumer", "share", "streams"];
    labelled(
        encoder,
        &format!("{METRICS}_group_count"),
        "Groups coordinated here",
        types.map(|name| ([("protocol", name)], total(name))),
    )?;
    for (name, states) in TYPES {
        let counts = of_type(name);
        labelled(
            encoder,
            &format!("{METRICS}_{name}_group_count"),
            "Groups of this type by state",
            states.iter().map(|state| {
                let count = counts.get(state).copied().unwrap_or(0);
                ([("state", *state)], signed(count))
            }),
        )?;
    }
    super::coordinators::partitions(encoder, "group", &sizes.partitions)
}
