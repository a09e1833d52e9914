//! `add-controller`: what a controller's configuration and its directory say of it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use ottla_client::Settings;
use ottla_client::core::admin::cluster::VoterEndpoint;
use ottla_log::RealDisk;
use ottla_protocol::Uuid;

use super::refuse;
use crate::options::Options;
use crate::tool::{self, Failure, Out};

const VALID: &str = "Is this a valid controller configuration file?";

pub(super) fn add(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let Some(path) = options.value("command-config")? else {
        return refuse(
            "You must supply the configuration file of the controller you are adding when using \
             add-controller.",
        );
    };
    let settings = tool::properties_file(path)?;
    let id = node_id(&settings)?;
    let directory_id = directory_id(&settings)?;
    let endpoints = endpoints(&settings)?;
    let dry_run = options.has("dry-run");
    if !dry_run {
        tool::block_on(async {
            let admin = tool::admin(options)?;
            Ok(admin.add_raft_voter(id, directory_id, &endpoints).await?)
        })?;
    }
    let done = if dry_run {
        "DRY RUN of adding"
    } else {
        "Added"
    };
    let endpoints: Vec<String> = endpoints.iter().map(VoterEndpoint::to_string).collect();
    writeln!(
        out,
        "{done} controller {id} with directory id {directory_id} and endpoints: {}",
        endpoints.join(", ")
    )?;
    Ok(())
}

fn node_id(settings: &Settings) -> Result<i32, Failure> {
    let Some(id) = settings.get("node.id") else {
        return refuse(format!("node.id not found in configuration file. {VALID}"));
    };
    let id: i32 = id
        .trim()
        .parse()
        .map_err(|_| Failure::Message(format!("node.id is not a number: {id}")))?;
    if id < 0 {
        return refuse(format!(
            "node.id was negative in configuration file. {VALID}"
        ));
    }
    let roles = settings.get("process.roles").unwrap_or_default();
    if !roles.contains("controller") {
        return refuse(format!(
            "process.roles did not contain 'controller' in configuration file. {VALID}"
        ));
    }
    Ok(id)
}

fn directory_id(settings: &Settings) -> Result<Uuid, Failure> {
    let first = |list: &str| list.split(',').next().unwrap_or_default().trim().to_owned();
    let directory = settings
        .get("metadata.log.dir")
        .map(str::to_owned)
        .or_else(|| settings.get("log.dirs").map(first));
    let Some(directory) = directory else {
        return refuse(format!(
            "Neither metadata.log.dir nor log.dirs were found. {VALID}"
        ));
    };
    let owner = ottla_broker::format::read_owner(&RealDisk, Path::new(&directory))
        .map_err(|error| Failure::Message(error.to_string()))?;
    let Some(owner) = owner else {
        return refuse(format!("Unable to read meta.properties from {directory}"));
    };
    owner
        .directory_id
        .ok_or_else(|| Failure::Message(format!("No directory id found in {directory}")))
}

fn endpoints(settings: &Settings) -> Result<Vec<VoterEndpoint>, Failure> {
    let mut listeners: BTreeMap<String, VoterEndpoint> = BTreeMap::new();
    for name in ["listeners", "advertised.listeners"] {
        let list = settings.get(name).unwrap_or_default();
        for text in list
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            let endpoint = listener(text).ok_or_else(|| {
                Failure::Message(format!("{name}: {text} is not NAME://HOST:PORT"))
            })?;
            listeners.insert(endpoint.name.to_string(), endpoint);
        }
    }
    let Some(names) = settings.get("controller.listener.names") else {
        return refuse(format!("controller.listener.names was not found. {VALID}"));
    };
    let mut endpoints = Vec::new();
    for name in names.split(',').map(|name| name.trim().to_uppercase()) {
        let Some(endpoint) = listeners.get(&name) else {
            return refuse(format!(
                "Cannot find information about controller listener name: {name}"
            ));
        };
        if !endpoints.contains(endpoint) {
            endpoints.push(endpoint.clone());
        }
    }
    Ok(endpoints)
}

/// Reads `NAME://HOST:PORT`; without a host it is this machine.
fn listener(text: &str) -> Option<VoterEndpoint> {
    let (name, address) = text.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() { "localhost" } else { host };
    Some(VoterEndpoint {
        name: name.to_uppercase().into(),
        host: host.into(),
        port: port.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_found_in_its_configuration() {
        let settings = Settings::from_properties(
            "node.id=3\nprocess.roles=controller\nlisteners=CONTROLLER://:9093\n\
             controller.listener.names=CONTROLLER\n",
        );
        assert_eq!(node_id(&settings).map_err(|f| format!("{f:?}")), Ok(3));
        let endpoints = endpoints(&settings).map_err(|failure| format!("{failure:?}"));
        let texts = endpoints.map(|list| list.iter().map(ToString::to_string).collect());
        assert_eq!(texts, Ok(vec!["CONTROLLER://localhost:9093".to_owned()]));
        let broker = Settings::from_properties("node.id=3\nprocess.roles=broker\n");
        assert!(node_id(&broker).is_err());
    }
}
