//! What Kafka checks between settings before a node starts.

use ottla_metadata::config::BrokerValues;

use super::listeners::Listeners;
use super::{Error, ProcessRoles};

type Check = Result<(), Error>;

fn require(holds: bool, message: impl Into<String>) -> Check {
    if holds {
        Ok(())
    } else {
        Err(Error::Check(message.into()))
    }
}

/// A check that Apache Kafka makes in Scala's way.
fn require_in_scala(holds: bool, message: impl Into<String>) -> Check {
    if holds {
        Ok(())
    } else {
        Err(Error::Requirement(message.into()))
    }
}

/// Roles, quorum and listener names against each other.
pub(super) fn check_roles(
    values: &BrokerValues,
    roles: ProcessRoles,
    listeners: &Listeners,
) -> Check {
    let voters: Vec<i32> =
        ottla_metadata::config::parse_quorum_voters(&values.list("controller.quorum.voters"))?
            .iter()
            .map(|voter| voter.0)
            .collect();
    require(
        !voters.is_empty()
            || !values
                .list("controller.quorum.bootstrap.servers")
                .is_empty(),
        "If using process.roles, either controller.quorum.bootstrap.servers must contain the set of bootstrap \
         controllers or controller.quorum.voters must contain a parseable set of controllers.",
    )?;
    let node_id = values.int("node.id");
    let ids: Vec<String> = voters.iter().map(i32::to_string).collect();
    let shown = format!("controller.quorum.voters=Set({})", ids.join(", "));
    let is_voter = voters.contains(&node_id);
    require(
        !roles.controller || voters.is_empty() || is_voter,
        format!(
            "If process.roles contains the 'controller' role, the node id {node_id} must be included in the set of \
             voters {shown}"
        ),
    )?;
    require(
        roles.controller || !is_voter,
        format!(
            "If process.roles contains just the 'broker' role, the node id {node_id} must not be included in the set \
             of voters {shown}"
        ),
    )?;
    if roles.controller {
        check_controller_listeners(roles, listeners)?;
    } else {
        require(
            listeners.controller_listeners().next().is_none(),
            "controller.listener.names must not contain a value appearing in the 'listeners' configuration when \
             running KRaft with just the broker role",
        )?;
    }
    if roles.broker {
        check_advertised(listeners)
    } else {
        Ok(())
    }
}

fn check_controller_listeners(roles: ProcessRoles, listeners: &Listeners) -> Check {
    let bound = |name: &String| {
        listeners
            .bound
            .iter()
            .any(|listener| listener.name == *name)
    };
    if !roles.broker {
        require(
            listeners.broker_listeners().next().is_none(),
            "The listeners config must only contain KRaft controller listeners from controller.listener.names when \
             process.roles=controller",
        )?;
        require(
            !listeners.inter_broker_name_is_given
                || !listeners
                    .controller_names
                    .contains(&listeners.inter_broker_name),
            "controller.listener.names must not contain an explicitly set inter.broker.listener.name configuration \
             value when process.roles=controller'",
        )?;
    }
    require(
        listeners.controller_listeners().next().is_some(),
        "controller.listener.names must contain at least one value appearing in the 'listeners' configuration when \
         running the KRaft controller role",
    )?;
    require(
        listeners.controller_names.iter().all(bound),
        "controller.listener.names must only contain values appearing in the 'listeners' configuration when running \
         the KRaft controller role",
    )
}

fn check_advertised(listeners: &Listeners) -> Check {
    let advertised = &listeners.advertised;
    require(
        !advertised.is_empty(),
        "There must be at least one broker advertised listener. Perhaps all listeners appear in \
         controller.listener.names?",
    )?;
    let names = |listeners: &mut dyn Iterator<Item = &super::listeners::Listener>| {
        listeners
            .map(|listener| listener.name.clone())
            .collect::<Vec<_>>()
            .join(",")
    };
    let options = names(&mut advertised.iter());
    require(
        advertised
            .iter()
            .any(|listener| listener.name == listeners.inter_broker_name),
        format!(
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options \
             based on currently configured listeners are {options}"
        ),
    )?;
    require(
        advertised.iter().all(|entry| {
            listeners
                .bound
                .iter()
                .any(|listener| listener.name == entry.name)
        }),
        format!(
            "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. Found \
             {options}. The valid options based on the current configuration are {}",
            names(&mut listeners.broker_listeners())
        ),
    )?;
    require(
        advertised.iter().all(|listener| listener.host != "0.0.0.0"),
        "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.",
    )
}

/// Numbers against each other.
pub(super) fn check_values(values: &BrokerValues, listeners: &Listeners) -> Check {
    check_log(values)?;
    let fetch_wait = values.long("replica.fetch.wait.max.ms");
    require(
        fetch_wait <= values.long("replica.socket.timeout.ms"),
        "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket \
         timeouts",
    )?;
    require(
        fetch_wait <= values.long("replica.lag.time.max.ms"),
        "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent \
         changes in ISR",
    )?;
    let codec = values.int("offsets.topic.compression.codec");
    require(
        (0..=4).contains(&codec),
        format!("Unknown compression type id: {codec}"),
    )?;
    let queued = values.long("queued.max.request.bytes");
    require(
        queued <= 0 || queued >= values.long("socket.request.max.bytes"),
        "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
    )?;
    require(
        values.int("max.connections.per.ip") != 0
            || values
                .string("max.connections.per.ip.overrides")
                .is_some_and(|text| !text.is_empty()),
        "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
    )?;
    let delay = values.long("connection.failed.authentication.delay.ms");
    let idle = values.long("connections.max.idle.ms");
    require(
        idle < 0 || delay < idle,
        format!(
            "connection.failed.authentication.delay.ms={delay} should always be less than \
             connections.max.idle.ms={idle} to prevent failed authentication responses from timing out"
        ),
    )?;
    for name in values.list("early.start.listeners") {
        let name = name.to_ascii_uppercase();
        require(
            listeners.controller_names.contains(&name)
                || listeners.bound.iter().any(|bound| bound.name == name),
            format!(
                "early.start.listeners contains listener {name}, but this is not contained in listeners or \
                 controller.listener.names"
            ),
        )?;
    }
    check_groups(values)
}

fn check_log(values: &BrokerValues) -> Check {
    let at_least = |name: &str, least: i64| {
        require_in_scala(
            values.long_or_null(name).is_none_or(|value| value >= least),
            format!("{name} must be greater than or equal to {least}"),
        )
    };
    at_least("log.roll.ms", 1)?;
    at_least("log.roll.jitter.ms", 0)?;
    let retention = values
        .long_or_null("log.retention.ms")
        .or_else(|| values.long_or_null("log.retention.minutes"))
        .unwrap_or_else(|| values.long("log.retention.hours"));
    require_in_scala(
        retention != 0,
        "log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
    )?;
    require_in_scala(
        values.long("log.cleaner.dedupe.buffer.size") / values.long("log.cleaner.threads").max(1)
            > 1024 * 1024,
        "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
    )?;
    let directories = super::log_directories(values);
    let cordoned = values.list("cordoned.log.dirs");
    require(
        cordoned.len() == 1 || !cordoned.iter().any(|directory| directory == "*"),
        "When cordoned.log.dirs is set to *, it must not contain other values",
    )?;
    let missing: Vec<String> = cordoned
        .into_iter()
        .filter(|name| name != "*" && !directories.contains(name))
        .collect();
    require(
        missing.is_empty(),
        format!(
            "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : {}",
            missing.join(", ")
        ),
    )
}

fn check_groups(values: &BrokerValues) -> Check {
    let protocols = values.list("group.coordinator.rebalance.protocols");
    require(
        protocols.iter().any(|protocol| protocol == "classic"),
        "Disabling the 'classic' protocol is not supported.",
    )?;
    const BOUNDED: [(&str, &str); 11] = [
        ("consumer", "assignment.interval.ms"),
        ("consumer", "heartbeat.interval.ms"),
        ("consumer", "session.timeout.ms"),
        ("share", "assignment.interval.ms"),
        ("share", "heartbeat.interval.ms"),
        ("share", "session.timeout.ms"),
        ("share", "record.lock.duration.ms"),
        ("share", "delivery.count.limit"),
        ("streams", "assignment.interval.ms"),
        ("streams", "heartbeat.interval.ms"),
        ("streams", "session.timeout.ms"),
    ];
    for (kind, setting) in BOUNDED {
        let [own, min, max] =
            ["", "min.", "max."].map(|bound| format!("group.{kind}.{bound}{setting}"));
        let pairs = [
            (&max, "greater", &min),
            (&own, "greater", &min),
            (&own, "less", &max),
        ];
        for (name, relation, bound) in pairs {
            let (value, limit) = (values.long(name), values.long(bound));
            let holds = if relation == "greater" {
                value >= limit
            } else {
                value <= limit
            };
            require(
                holds,
                format!("{name} must be {relation} than or equal to {bound}"),
            )?;
        }
    }
    Ok(())
}
