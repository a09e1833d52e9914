//! `ottla acls`: who may do what.

mod asked;

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};

use ottla_client::Admin;
use ottla_client::core::admin::acls::{
    AccessControlEntry, AclBinding, AclFilter, AclOperation, PatternType, PermissionType,
    ResourcePattern,
};

use self::asked::{Resource, Wanted};
use crate::kafka_errors;
use crate::options::{CommandLine, Options, flag, text};
use crate::tool::{
    self, BOOTSTRAP_CONTROLLER, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool, VERSION,
};

pub(crate) const TOOL: Tool = Tool {
    name: "acls",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Lists, adds and removes access control lists.",
    commands: &[],
    options: &[
        flag(&["add"], "Adds ACLs."),
        text(
            &["allow-host"],
            "host",
            "From where --allow-principal may; from anywhere without it.",
        ),
        text(
            &["allow-principal"],
            "type:name",
            "Who may: User:name, or User:*.",
        ),
        BOOTSTRAP_CONTROLLER,
        BOOTSTRAP_SERVER,
        flag(&["cluster"], "The cluster."),
        COMMAND_CONFIG,
        flag(
            &["consumer"],
            "What a consumer needs: READ and DESCRIBE of topics, READ of the group.",
        ),
        text(&["delegation-token"], "id", "A delegation token, or *."),
        text(
            &["deny-host"],
            "host",
            "From where --deny-principal may not; from nowhere without it.",
        ),
        text(
            &["deny-principal"],
            "type:name",
            "Who may not, whoever else may.",
        ),
        flag(&["force", "yes"], "Does not ask before it removes."),
        text(&["group"], "group", "A group, or *."),
        HELP,
        flag(
            &["idempotent"],
            "With --producer: also IDEMPOTENT_WRITE of the cluster.",
        ),
        flag(&["list"], "Lists ACLs."),
        text(
            &["operation"],
            "name",
            "What is done: Read, Write, Create, Delete, Alter, Describe, ClusterAction, \
             DescribeConfigs, AlterConfigs, IdempotentWrite, CreateTokens, DescribeTokens, \
             TwoPhaseCommit or All; may be repeated.",
        )
        .or("All"),
        text(
            &["principal"],
            "type:name",
            "With --list: only ACLs of this principal.",
        )
        .optional(),
        flag(
            &["producer"],
            "What a producer needs: WRITE, DESCRIBE and CREATE of topics.",
        ),
        flag(&["remove"], "Removes ACLs."),
        text(
            &["resource-pattern-type"],
            "type",
            "What names mean: literal or prefixed; to list and to remove also any, or match for \
             everything that affects the name.",
        )
        .or("literal"),
        text(&["topic"], "topic", "A topic, or *."),
        text(&["transactional-id"], "id", "A transactional id, or *."),
        text(&["user-principal"], "type:name", "A user as a resource."),
        VERSION,
    ],
};

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let action = asked::check(options)?;
    let outcome = tool::block_on(async {
        let admin = tool::admin(options)?;
        match action {
            "add" => add(&admin, options, out).await,
            "remove" => remove(&admin, options, out).await,
            _ => list(&admin, options, out).await,
        }
    });
    match outcome {
        Err(Failure::Client(error)) => {
            let error = kafka_errors::with_exception(&error);
            writeln!(out, "Error while executing ACL command: {error}")?;
            Err(Failure::Exit(1))
        }
        other => other,
    }
}

/// An ACL as Kafka's tool shows it.
fn shown_entry(entry: &AccessControlEntry) -> String {
    format!(
        "(principal={}, host={}, operation={}, permissionType={})",
        entry.principal, entry.host, entry.operation, entry.permission_type
    )
}

fn shown_pattern(pattern: &ResourcePattern) -> String {
    format!(
        "ResourcePattern(resourceType={}, name={}, patternType={})",
        pattern.resource_type, pattern.name, pattern.pattern_type
    )
}

/// One ACL a line, the first after a space where they are announced.
fn shown_entries(entries: &[AccessControlEntry]) -> String {
    let entries: Vec<String> = entries
        .iter()
        .map(|entry| format!("\t{}", shown_entry(entry)))
        .collect();
    entries.join("\n")
}

fn everything_of(resource: &Resource) -> AclFilter {
    AclFilter {
        resource_type: resource.resource_type,
        name: Some(resource.name.clone()),
        pattern_type: resource.pattern_type,
        principal: None,
        host: None,
        operation: AclOperation::ANY,
        permission_type: PermissionType::ANY,
    }
}

async fn add(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let wanted = Wanted::from_options(options)?;
    for (resource, entries) in wanted.entries {
        let pattern = ResourcePattern {
            resource_type: resource.resource_type,
            name: resource.name.clone(),
            pattern_type: resource.pattern_type,
        };
        let existing = admin.describe_acls(&everything_of(&resource)).await?;
        let mut new = Vec::new();
        for entry in entries {
            let binding = AclBinding {
                pattern: pattern.clone(),
                entry,
            };
            if existing.contains(&binding) {
                writeln!(
                    out,
                    "Acl (pattern={}, entry={}) already exists.",
                    shown_pattern(&pattern),
                    shown_entry(&binding.entry)
                )?;
            } else {
                new.push(binding);
            }
        }
        if new.is_empty() {
            continue;
        }
        let entries: Vec<AccessControlEntry> = new.iter().map(|b| b.entry.clone()).collect();
        writeln!(
            out,
            "Adding ACLs for resource `{}`: \n {}\n",
            shown_pattern(&pattern),
            shown_entries(&entries)
        )?;
        for outcome in admin.create_acls(&new).await? {
            outcome?;
        }
    }
    Ok(())
}

async fn remove(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let wanted = Wanted::from_options(options)?;
    for (resource, entries) in wanted.entries {
        let entries: Vec<AccessControlEntry> = entries.into_iter().collect();
        let filter = format!(
            "ResourcePattern(resourceType={}, name={}, patternType={})",
            resource.resource_type, resource.name, resource.pattern_type
        );
        let question = match entries.is_empty() {
            true => format!(
                "Are you sure you want to delete all ACLs for resource filter `{filter}`? (y/n)"
            ),
            false => format!(
                "Are you sure you want to remove ACLs: \n {}\n from resource filter `{filter}`? \
                 (y/n)",
                shown_entries(&entries)
            ),
        };
        if !options.has("force") && !confirmed(&question, out)? {
            continue;
        }
        let filters: Vec<AclFilter> = match entries.is_empty() {
            true => vec![everything_of(&resource)],
            false => entries
                .into_iter()
                .map(|entry| AclFilter {
                    principal: Some(entry.principal),
                    host: Some(entry.host),
                    operation: entry.operation,
                    permission_type: entry.permission_type,
                    ..everything_of(&resource)
                })
                .collect(),
        };
        admin.delete_acls(&filters).await?;
    }
    Ok(())
}

fn confirmed(question: &str, out: &mut Out) -> Result<bool, Failure> {
    writeln!(out, "{question}")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.is_empty() {
        let message = "Nobody answered whether to remove the ACLs; --force removes without asking.";
        return Err(Failure::Message(message.into()));
    }
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

async fn list(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let mut resources = asked::resources(options)?;
    resources.sort();
    let filters: Vec<AclFilter> = match resources.is_empty() {
        true => vec![AclFilter {
            resource_type: ottla_client::core::admin::acls::ResourceType::ANY,
            name: None,
            pattern_type: PatternType::ANY,
            principal: None,
            host: None,
            operation: AclOperation::ANY,
            permission_type: PermissionType::ANY,
        }],
        false => resources.iter().map(everything_of).collect(),
    };
    let mut found: BTreeMap<ResourcePattern, Vec<AccessControlEntry>> = BTreeMap::new();
    for filter in filters {
        for binding in admin.describe_acls(&filter).await? {
            let entries = found.entry(binding.pattern).or_default();
            if !entries.contains(&binding.entry) {
                entries.push(binding.entry);
            }
        }
    }
    found.values_mut().for_each(|entries| entries.sort());
    let principals = asked::principals(options, "principal")?;
    if principals.is_empty() {
        return write(&found, |_| true, out);
    }
    for principal in principals {
        writeln!(out, "ACLs for principal `{principal}`")?;
        write(&found, |entry| entry.principal == principal, out)?;
    }
    Ok(())
}

fn write(
    found: &BTreeMap<ResourcePattern, Vec<AccessControlEntry>>,
    wanted: impl Fn(&AccessControlEntry) -> bool,
    out: &mut Out,
) -> Result<(), Failure> {
    for (pattern, entries) in found {
        let entries: Vec<AccessControlEntry> = entries
            .iter()
            .filter(|entry| wanted(entry))
            .cloned()
            .collect();
        if entries.is_empty() {
            continue;
        }
        writeln!(
            out,
            "Current ACLs for resource `{}`:\n{}\n",
            shown_pattern(pattern),
            shown_entries(&entries)
        )?;
    }
    Ok(())
}
