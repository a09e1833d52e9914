//! Which ACLs the options name.

use std::collections::{BTreeMap, BTreeSet};

use ottla_client::core::admin::acls::{
    AccessControlEntry, AclOperation, PatternType, PermissionType, ResourceType,
};
use ottla_protocol::KafkaString;

use crate::options::Options;
use crate::tool::Failure;

/// The name of the cluster as a resource.
const CLUSTER_NAME: &str = "kafka-cluster";

/// A resource, or several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Resource {
    pub(super) resource_type: ResourceType,
    pub(super) name: KafkaString,
    pub(super) pattern_type: PatternType,
}

/// Entries by resource; none stands for all that a resource has.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) entries: BTreeMap<Resource, BTreeSet<AccessControlEntry>>,
}

fn usage<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(message.into()))
}

/// The one action, if the options fit it.
pub(super) fn check(options: &Options) -> Result<&'static str, Failure> {
    match options.given_of(&["bootstrap-server", "bootstrap-controller"])[..] {
        [_] => {}
        [] => {
            return usage("One of --bootstrap-server or --bootstrap-controller must be specified");
        }
        _ => {
            return usage(
                "Only one of --bootstrap-server or --bootstrap-controller must be specified",
            );
        }
    }
    let [action] = options.given_of(&["add", "remove", "list"])[..] else {
        return usage("Command must include exactly one action: --list, --add, --remove. ");
    };
    if options.has("principal") && action != "list" {
        return usage("The --principal option is only available if --list is set");
    }
    if options.has("producer") && !options.has("topic") {
        return usage("With --producer you must specify a --topic");
    }
    if options.has("idempotent") && !options.has("producer") {
        return usage("The --idempotent option is only available if --producer is set");
    }
    let consumer_lacks = !(options.has("topic") && options.has("group"));
    let consumer_and = !options.has("producer")
        && !options
            .given_of(&["cluster", "transactional-id"])
            .is_empty();
    if options.has("consumer") && (consumer_lacks || consumer_and) {
        return usage(
            "With --consumer you must specify a --topic and a --group and no --cluster or \
             --transactional-id option should be specified.",
        );
    }
    if action == "list" {
        for option in [
            "producer",
            "consumer",
            "allow-host",
            "allow-principal",
            "deny-host",
        ] {
            crate::tool::forbid(options, "list", &[option])?;
        }
        crate::tool::forbid(options, "list", &["deny-principal"])?;
    }
    Ok(action)
}

fn pattern_type(options: &Options) -> Result<PatternType, Failure> {
    let text = options.value("resource-pattern-type")?.unwrap_or("literal");
    match PatternType::from_name(text) {
        Some(known) => Ok(known),
        None => usage(format!("Unknown resource-pattern-type: {text}")),
    }
}

/// The resources that the options name.
pub(super) fn resources(options: &Options) -> Result<Vec<Resource>, Failure> {
    let pattern_type = pattern_type(options)?;
    let mut resources = Vec::new();
    for (option, resource_type) in [
        ("topic", ResourceType::TOPIC),
        ("group", ResourceType::GROUP),
        ("transactional-id", ResourceType::TRANSACTIONAL_ID),
        ("delegation-token", ResourceType::DELEGATION_TOKEN),
        ("user-principal", ResourceType::USER),
    ] {
        for name in options.values(option) {
            resources.push(Resource {
                resource_type,
                name: name.trim().into(),
                pattern_type,
            });
        }
    }
    let cluster = !options.given_of(&["cluster", "idempotent"]).is_empty();
    if cluster && pattern_type == PatternType::LITERAL {
        resources.push(the_cluster());
    }
    Ok(resources)
}

fn the_cluster() -> Resource {
    Resource {
        resource_type: ResourceType::CLUSTER,
        name: CLUSTER_NAME.into(),
        pattern_type: PatternType::LITERAL,
    }
}

/// The principals that an option names, each `type:name`.
pub(super) fn principals(options: &Options, option: &str) -> Result<Vec<KafkaString>, Failure> {
    let mut principals = BTreeSet::new();
    for text in options.values(option) {
        let text = text.trim();
        if !text.contains(':') {
            return Err(Failure::Message(format!(
                "Error while executing ACL command: expected a string in format \
                 principalType:principalName but got {text}"
            )));
        }
        principals.insert(KafkaString::from(text));
    }
    Ok(principals.into_iter().collect())
}

fn hosts(options: &Options, side: &str) -> BTreeSet<KafkaString> {
    let given = options.values(&format!("{side}-host"));
    if !given.is_empty() {
        return given.iter().map(|host| host.trim().into()).collect();
    }
    let anyone = options.has(&format!("{side}-principal"));
    anyone.then(|| "*".into()).into_iter().collect()
}

/// What the principals of both sides may, and may not, do.
fn entries(
    options: &Options,
    operations: &[AclOperation],
) -> Result<BTreeSet<AccessControlEntry>, Failure> {
    let mut entries = BTreeSet::new();
    for (side, permission_type) in [
        ("allow", PermissionType::ALLOW),
        ("deny", PermissionType::DENY),
    ] {
        for principal in principals(options, &format!("{side}-principal"))? {
            for host in hosts(options, side) {
                entries.extend(operations.iter().map(|operation| AccessControlEntry {
                    principal: principal.clone(),
                    host: host.clone(),
                    operation: *operation,
                    permission_type,
                }));
            }
        }
    }
    Ok(entries)
}

impl Wanted {
    pub(super) fn from_options(options: &Options) -> Result<Self, Failure> {
        let adds = options.has("add");
        let pattern_type = pattern_type(options)?;
        if adds && !matches!(pattern_type, PatternType::LITERAL | PatternType::PREFIXED) {
            return usage(format!(
                "A '--resource-pattern-type' value of '{pattern_type}' is not valid when adding \
                 acls."
            ));
        }
        let resources = resources(options)?;
        if resources.is_empty() {
            return usage(
                "You must provide at least one resource: --topic <topic> or --cluster or --group \
                 <group> or --delegation-token <Delegation Token ID>",
            );
        }
        let mut wanted = Self::default();
        let by_role = options.given_of(&["producer", "consumer"]);
        if by_role.is_empty() {
            let entries = entries(options, &operations(options)?)?;
            for resource in resources {
                wanted.entries.insert(resource, entries.clone());
            }
        } else {
            for role in by_role {
                wanted.add_role(options, role, &resources)?;
            }
        }
        if adds && wanted.entries.values().any(BTreeSet::is_empty) {
            return usage(
                "You must specify one of: --allow-principal, --deny-principal when trying to add \
                 ACLs.",
            );
        }
        wanted.check_operations()?;
        Ok(wanted)
    }

    fn add_role(
        &mut self,
        options: &Options,
        role: &str,
        resources: &[Resource],
    ) -> Result<(), Failure> {
        use AclOperation as Op;
        for resource in resources {
            let operations: &[Op] = match (role, resource.resource_type) {
                ("producer", ResourceType::TOPIC) => &[Op::WRITE, Op::DESCRIBE, Op::CREATE],
                ("producer", ResourceType::TRANSACTIONAL_ID) => &[Op::WRITE, Op::DESCRIBE],
                ("producer", ResourceType::CLUSTER) if options.has("idempotent") => {
                    &[Op::IDEMPOTENT_WRITE]
                }
                ("consumer", ResourceType::TOPIC) => &[Op::READ, Op::DESCRIBE],
                ("consumer", ResourceType::GROUP) => &[Op::READ],
                _ => continue,
            };
            let more = entries(options, operations)?;
            self.entries
                .entry(resource.clone())
                .or_default()
                .extend(more);
        }
        Ok(())
    }

    fn check_operations(&self) -> Result<(), Failure> {
        for (resource, entries) in &self.entries {
            let mut possible = possible(resource.resource_type).to_vec();
            possible.push(AclOperation::ALL_OPERATIONS);
            if entries
                .iter()
                .any(|entry| !possible.contains(&entry.operation))
            {
                let names: Vec<&str> = possible.iter().map(|operation| operation.name()).collect();
                return usage(format!(
                    "ResourceType {} only supports operations [{}]",
                    resource.resource_type,
                    names.join(", ")
                ));
            }
        }
        Ok(())
    }
}

fn operations(options: &Options) -> Result<Vec<AclOperation>, Failure> {
    let given = options.values("operation");
    if given.is_empty() {
        return Ok(vec![AclOperation::ALL_OPERATIONS]);
    }
    let parsed = given.iter().map(|name| {
        let known = AclOperation::from_name(name.trim());
        known.map_or_else(|| usage(format!("Unknown operation: {name}")), Ok)
    });
    parsed.collect()
}

/// What can be done to a resource.
fn possible(resource_type: ResourceType) -> &'static [AclOperation] {
    use AclOperation as Op;
    match resource_type {
        ResourceType::TOPIC => &[
            Op::READ,
            Op::WRITE,
            Op::CREATE,
            Op::DESCRIBE,
            Op::DELETE,
            Op::ALTER,
            Op::DESCRIBE_CONFIGS,
            Op::ALTER_CONFIGS,
        ],
        ResourceType::GROUP => &[
            Op::READ,
            Op::DESCRIBE,
            Op::DELETE,
            Op::DESCRIBE_CONFIGS,
            Op::ALTER_CONFIGS,
        ],
        ResourceType::CLUSTER => &[
            Op::CREATE,
            Op::CLUSTER_ACTION,
            Op::DESCRIBE_CONFIGS,
            Op::ALTER_CONFIGS,
            Op::IDEMPOTENT_WRITE,
            Op::ALTER,
            Op::DESCRIBE,
        ],
        ResourceType::TRANSACTIONAL_ID => &[Op::DESCRIBE, Op::WRITE, Op::TWO_PHASE_COMMIT],
        ResourceType::DELEGATION_TOKEN => &[Op::DESCRIBE],
        ResourceType::USER => &[Op::CREATE_TOKENS, Op::DESCRIBE_TOKENS],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Result<Wanted, String> {
        let arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let options = super::super::LINE.parse(&arguments);
        let options = options.map_err(|error| error.to_string())?;
        let checked = check(&options).and_then(|_| Wanted::from_options(&options));
        checked.map_err(|failure| format!("{failure:?}"))
    }

    fn texts(wanted: &Wanted) -> Vec<String> {
        let entries = wanted.entries.iter().flat_map(|(resource, entries)| {
            entries.iter().map(move |entry| {
                format!(
                    "{} {} {} {} {} {}",
                    resource.resource_type,
                    resource.name,
                    entry.permission_type,
                    entry.principal,
                    entry.host,
                    entry.operation
                )
            })
        });
        entries.collect()
    }

    #[test]
    fn roles_stand_for_operations() {
        let wanted = wanted(
            "--bootstrap-server a:1 --add --allow-principal User:u --consumer --topic t --group g",
        );
        assert_eq!(
            texts(&wanted.unwrap()),
            [
                "TOPIC t ALLOW User:u * READ",
                "TOPIC t ALLOW User:u * DESCRIBE",
                "GROUP g ALLOW User:u * READ",
            ]
        );
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let refused = |rest: &str| {
            let text = format!("--bootstrap-server a:1 --add {rest}");
            wanted(&text).unwrap_err()
        };
        assert!(refused("--topic t").contains("--allow-principal"));
        assert!(refused("--allow-principal User:u").contains("at least one resource"));
        assert!(refused("--allow-principal u --topic t").contains("principalType"));
        let odd = "--allow-principal User:u --topic t --operation ClusterAction";
        assert!(refused(odd).contains("only supports operations"));
        let any = "--allow-principal User:u --topic t --resource-pattern-type any";
        assert!(refused(any).contains("not valid when adding"));
    }
}
