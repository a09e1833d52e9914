//! Quotas of users, clients and addresses, and users' SCRAM credentials.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use bytes::Bytes;
use ottla_client::Admin;
use ottla_client::core::admin::quotas::{
    QuotaEntity, QuotaEntry, QuotaMatch, ScramChange, ScramMechanism,
};
use ottla_protocol::KafkaString;

use crate::options::Options;
use crate::storage::{self, scram};
use crate::tool::{self, Failure, Out};

/// The bytes of a new credential's salt.
const SALT_BYTES: usize = 24;

/// What has quotas, in the order in which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Users,
    Clients,
    Ips,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Users, Self::Clients, Self::Ips];

    /// As `--entity-type` has it.
    fn plural(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Clients => "clients",
            Self::Ips => "ips",
        }
    }

    /// As the protocol has it.
    fn wire(self) -> &'static str {
        match self {
            Self::Users => "user",
            Self::Clients => "client-id",
            Self::Ips => "ip",
        }
    }

    /// As it is shown.
    fn shown(self) -> &'static str {
        match self {
            Self::Users => "user-principal",
            other => other.wire(),
        }
    }

    /// Its option for a name, and that for the default.
    fn options(self) -> (&'static str, &'static str) {
        match self {
            Self::Users => ("user", "user-defaults"),
            Self::Clients => ("client", "client-defaults"),
            Self::Ips => ("ip", "ip-defaults"),
        }
    }
}

/// Whose quotas; an empty name is the default, none stands for all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target(Vec<(Kind, Option<String>)>);

impl Target {
    /// What the options name, if it has quotas.
    pub(super) fn from_options(options: &Options) -> Result<Option<Self>, Failure> {
        let mut parts: Vec<(Kind, Option<String>)> = Vec::new();
        for kind in Kind::ALL {
            let (named, default) = kind.options();
            if let Some(name) = options.value(named)? {
                parts.push((kind, Some(name.to_owned())));
            } else if options.has(default) {
                parts.push((kind, Some(String::new())));
            }
        }
        let types = options.values("entity-type");
        let kinds: Vec<Option<Kind>> = types
            .iter()
            .map(|name| Kind::ALL.into_iter().find(|kind| kind.plural() == name))
            .collect();
        if parts.is_empty() && kinds.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut names = options.values("entity-name").iter();
        let mut named = options.sequence.iter().filter_map(|option| match *option {
            "entity-name" => names.next().cloned(),
            "entity-default" => Some(String::new()),
            _ => None,
        });
        for (kind, text) in kinds.into_iter().zip(types) {
            let Some(kind) = kind else {
                return Err(Failure::Message(format!(
                    "Entity type {text} has no quotas that could be combined with others; only \
                     users and clients can be named together."
                )));
            };
            parts.push((kind, named.next()));
        }
        let kinds: Vec<Kind> = parts.iter().map(|(kind, _)| *kind).collect();
        let alone = kinds.len() == 1;
        let user_and_client =
            kinds.len() == 2 && kinds.contains(&Kind::Users) && kinds.contains(&Kind::Clients);
        if !alone && !user_and_client {
            return Err(Failure::Message(
                "Only a user, a client, an address, or a user together with a client can have \
                 quotas."
                    .into(),
            ));
        }
        Ok(Some(Self(parts)))
    }

    fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.0.iter().map(|(kind, _)| *kind)
    }

    fn matches(&self) -> Vec<(KafkaString, QuotaMatch)> {
        let parts = self.0.iter();
        parts
            .map(|(kind, name)| {
                let name = match name.as_deref() {
                    None => QuotaMatch::Any,
                    Some("") => QuotaMatch::Default,
                    Some(name) => QuotaMatch::Exact(name.into()),
                };
                (KafkaString::from_static(kind.wire()), name)
            })
            .collect()
    }

    /// The one entity; none if a name is missing.
    fn entity(&self) -> Option<QuotaEntity> {
        let parts = self.0.iter().map(|(kind, name)| {
            let name = name.as_deref()?;
            let name = (!name.is_empty()).then(|| KafkaString::from(name));
            Some((KafkaString::from_static(kind.wire()), name))
        });
        parts.collect()
    }

    /// The name of the one user, if it is a user alone and not the default.
    fn user(&self) -> Option<&str> {
        match &self.0[..] {
            [(Kind::Users, Some(name))] if !name.is_empty() => Some(name),
            _ => None,
        }
    }
}

pub(super) fn run(target: &Target, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let changes = match options.has("alter") {
        true => Some(Changes::from_options(options)?),
        false => None,
    };
    tool::block_on(async {
        let admin = tool::admin(options)?;
        match changes {
            None => describe(&admin, target, out).await,
            Some(changes) => alter(&admin, target, &changes, out).await,
        }
    })
}

/// What is to be set and taken away.
#[derive(Debug, Default)]
struct Changes {
    add: BTreeMap<String, String>,
    delete: BTreeSet<String>,
}

impl Changes {
    fn from_options(options: &Options) -> Result<Self, Failure> {
        use ottla_client::core::admin::ConfigChange;
        let mut changes = Self::default();
        for change in super::changes(options)? {
            match change {
                ConfigChange::Set(name, value) => {
                    changes.add.insert(name, value);
                }
                ConfigChange::Delete(name) => {
                    changes.delete.insert(name);
                }
            }
        }
        Ok(changes)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.add.keys().chain(&self.delete).map(String::as_str)
    }
}

async fn alter(
    admin: &Admin,
    target: &Target,
    changes: &Changes,
    out: &mut Out,
) -> Result<(), Failure> {
    let refuse = |message: String| Err(Failure::Message(message));
    let Some(entity) = target.entity() else {
        return refuse("An entity name must be specified with --alter of quotas".into());
    };
    let is_scram = |name: &str| ScramMechanism::from_name(name).is_some();
    let scram = changes.names().filter(|name| is_scram(name)).count();
    if scram == 0 {
        alter_quotas(admin, target, &entity, changes).await?;
    } else if scram < changes.names().count() {
        return refuse(
            "Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using \
             --bootstrap-server."
                .into(),
        );
    } else if let Some(user) = target.user() {
        alter_credentials(admin, user, changes).await?;
    } else {
        return refuse(
            "SCRAM credentials belong to one user; name it with --user or --entity-type users \
             --entity-name."
                .into(),
        );
    }
    match target.0.first() {
        Some((kind, Some(name))) if name.is_empty() => writeln!(
            out,
            "Completed updating default config for {} in the cluster.",
            kind.plural()
        )?,
        Some((kind, name)) => writeln!(
            out,
            "Completed updating config for {} {}.",
            kind.plural().trim_end_matches('s'),
            name.as_deref().unwrap_or_default()
        )?,
        None => {}
    }
    Ok(())
}

async fn alter_quotas(
    admin: &Admin,
    target: &Target,
    entity: &QuotaEntity,
    changes: &Changes,
) -> Result<(), Failure> {
    if !changes.delete.is_empty() {
        let present = admin
            .describe_client_quotas(&target.matches(), true)
            .await?;
        let known: BTreeSet<&str> = present
            .iter()
            .flat_map(|entry| entry.values.keys().map(KafkaString::as_str))
            .collect();
        let unknown = changes.delete.iter().map(String::as_str);
        let unknown: Vec<&str> = unknown.filter(|name| !known.contains(name)).collect();
        if !unknown.is_empty() {
            let message = format!("Invalid config(s): {}", unknown.join(","));
            return Err(Failure::Message(message));
        }
    }
    let mut values: BTreeMap<KafkaString, Option<f64>> = changes
        .delete
        .iter()
        .map(|name| (name.into(), None))
        .collect();
    for (name, text) in &changes.add {
        let value: f64 = text.parse().map_err(|_| {
            Failure::Message(format!(
                "Cannot parse quota configuration value for {name}: {text}"
            ))
        })?;
        values.insert(name.into(), Some(value));
    }
    Ok(admin.alter_client_quotas(entity, &values).await?)
}

async fn alter_credentials(admin: &Admin, user: &str, changes: &Changes) -> Result<(), Failure> {
    let mut asked = Vec::new();
    for (name, text) in &changes.add {
        if let Some(mechanism) = ScramMechanism::from_name(name) {
            asked.push(upsertion(user, mechanism, text).map_err(Failure::Message)?);
        }
    }
    let deleted = changes.delete.iter();
    asked.extend(
        deleted
            .filter_map(|name| ScramMechanism::from_name(name))
            .map(|mechanism| ScramChange::Delete {
                user: user.into(),
                mechanism,
            }),
    );
    for (_, outcome) in admin.alter_user_scram_credentials(&asked).await? {
        outcome?;
    }
    Ok(())
}

/// Reads `iterations=4096,password=secret`, or a bare password.
fn upsertion(user: &str, mechanism: ScramMechanism, text: &str) -> Result<ScramChange, String> {
    let mut iterations = scram::ITERATIONS_MIN;
    let mut password = None;
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("iterations", count)) => {
                iterations = count
                    .trim()
                    .parse()
                    .map_err(|_| format!("Invalid iterations for {}: {count}", mechanism.name()))?;
            }
            Some(("password", text)) => password = Some(text),
            _ => {
                return Err(format!(
                    "{}: expected [iterations=N,password=SECRET], not {part}",
                    mechanism.name()
                ));
            }
        }
    }
    let password = password.filter(|password| !password.is_empty());
    let password =
        password.ok_or_else(|| format!("No password was given for {}.", mechanism.name()))?;
    if !(scram::ITERATIONS_MIN..=scram::ITERATIONS_MAX).contains(&iterations) {
        return Err(format!(
            "Iterations must be between {} and {} for {}, but they are {iterations}",
            scram::ITERATIONS_MIN,
            scram::ITERATIONS_MAX,
            mechanism.name()
        ));
    }
    let mut salt = [0; SALT_BYTES];
    storage::fill_random(&mut salt).map_err(|error| error.to_string())?;
    let salted = scram::salted_password(mechanism, password, &salt, iterations);
    Ok(ScramChange::Upsert {
        user: user.into(),
        mechanism,
        iterations: i32::try_from(iterations).unwrap_or(i32::MAX),
        salt: Bytes::copy_from_slice(&salt),
        salted_password: salted.into(),
    })
}

async fn describe(admin: &Admin, target: &Target, out: &mut Out) -> Result<(), Failure> {
    for entry in admin
        .describe_client_quotas(&target.matches(), true)
        .await?
    {
        writeln!(out, "{}", line(&entry))?;
    }
    let named = target.0.iter().map(|(_, name)| name.as_deref());
    let any_default = named.clone().any(|name| name == Some(""));
    if target.kinds().any(|kind| kind != Kind::Users) || any_default {
        return Ok(());
    }
    let users: Option<Vec<KafkaString>> = named.map(|name| name.map(KafkaString::from)).collect();
    let described = match admin
        .describe_user_scram_credentials(users.as_deref())
        .await
    {
        // A cluster that has no credentials shows none.
        Err(ottla_client::Error::UnsupportedVersion { .. }) => return Ok(()),
        described => described?,
    };
    for (user, mechanisms) in described {
        let mechanisms: Vec<String> = mechanisms
            .iter()
            .map(|(mechanism, iterations)| format!("{}=iterations={iterations}", mechanism.name()))
            .collect();
        writeln!(
            out,
            "SCRAM credential configs for user-principal '{user}' are {}",
            mechanisms.join(", ")
        )?;
    }
    Ok(())
}

fn line(entry: &QuotaEntry) -> String {
    let entity: Vec<String> = Kind::ALL
        .into_iter()
        .filter_map(|kind| {
            let name = entry.entity.get(kind.wire())?;
            Some(match name {
                Some(name) => format!("{} '{name}'", kind.shown()),
                None => format!("the default {}", kind.shown()),
            })
        })
        .collect();
    let mut values: Vec<(&KafkaString, f64)> = entry
        .values
        .iter()
        .map(|(name, value)| (name, *value))
        .collect();
    let capacity = values.len();
    ottla_client::java_order::sort_with_capacity(&mut values, capacity, |(name, _)| {
        ottla_client::java_order::string_hash(name)
    });
    let values: Vec<String> = values
        .into_iter()
        .map(|(name, value)| format!("{name}={}", java_double(value)))
        .collect();
    format!(
        "Quota configs for {} are {}",
        entity.join(", "),
        values.join(", ")
    )
}

/// A number as Java writes it: with a point always, and an exponent where it is far from 1.
fn java_double(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&size) || !value.is_finite() {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if digits.contains('.') => format!("{digits}E{exponent}"),
        Some((digits, exponent)) => format!("{digits}.0E{exponent}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Option<Target>, String> {
        let arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let options = super::super::LINE.parse(&arguments);
        let options = options.map_err(|error| error.to_string())?;
        Target::from_options(&options).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn entities_are_read_in_old_and_new_spelling() {
        let both = Target(vec![
            (Kind::Users, Some("u".into())),
            (Kind::Clients, Some(String::new())),
        ]);
        assert_eq!(target("--user u --client-defaults"), Ok(Some(both)));
        let old = "--entity-type users --entity-name u --entity-type clients --entity-default";
        assert_eq!(target(old), target("--user u --client-defaults"));
        let all = Target(vec![(Kind::Ips, None)]);
        assert_eq!(target("--entity-type ips"), Ok(Some(all)));
        assert_eq!(target("--topic t"), Ok(None));
        assert!(target("--user u --ip 1.2.3.4").is_err());
    }

    #[test]
    fn numbers_are_javas() {
        for (value, text) in [
            (1024.0, "1024.0"),
            (1e7, "1.0E7"),
            (12_345_678.5, "1.23456785E7"),
            (0.5, "0.5"),
            (0.0001, "1.0E-4"),
            (0.0, "0.0"),
        ] {
            assert_eq!(java_double(value), text);
        }
    }

    #[test]
    fn credentials_need_a_password() {
        let with = |text: &str| upsertion("u", ScramMechanism::Sha256, text);
        assert!(matches!(
            with("iterations=8192,password=p"),
            Ok(ScramChange::Upsert {
                iterations: 8192,
                ..
            })
        ));
        assert!(with("iterations=8192").is_err());
        assert!(with("iterations=1,password=p").is_err());
    }
}
