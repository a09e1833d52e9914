//! `listeners` and what belongs to it: names, protocols, addresses.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ottla_metadata::config::BrokerValues;

use super::Error;

/// How a listener's connections are secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// The protocol by Kafka's name, whatever its case.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => Self::Plaintext,
            "SSL" => Self::Ssl,
            "SASL_PLAINTEXT" => Self::SaslPlaintext,
            "SASL_SSL" => Self::SaslSsl,
            _ => return None,
        })
    }

    /// The protocol's number in registrations.
    pub fn id(self) -> i16 {
        match self {
            Self::Plaintext => 0,
            Self::Ssl => 1,
            Self::SaslPlaintext => 2,
            Self::SaslSsl => 3,
        }
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        })
    }
}

/// One entry of `listeners` or `advertised.listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in capitals.
    pub name: String,
    /// Its host; empty for every address.
    pub host: String,
    /// Its port; 0 lets the system choose.
    pub port: u16,
    /// How its connections are secured.
    pub security_protocol: SecurityProtocol,
}

impl fmt::Display for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(formatter, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

/// All listeners of a node.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// Where the node listens, controller listeners included.
    pub bound: Vec<Listener>,
    /// What clients and brokers are told.
    pub advertised: Vec<Listener>,
    /// What nodes that look for the controller are told.
    pub advertised_controllers: Vec<Listener>,
    /// `controller.listener.names`.
    pub controller_names: Vec<String>,
    /// The listener that brokers use among themselves.
    pub inter_broker_name: String,
    /// Whether `inter.broker.listener.name` is set.
    pub inter_broker_name_is_given: bool,
    /// The protocol of every listener name.
    pub protocols: BTreeMap<String, SecurityProtocol>,
}

impl Listeners {
    pub(super) fn read(values: &BrokerValues) -> Result<Self, Error> {
        let controller_names: Vec<String> = values
            .list("controller.listener.names")
            .iter()
            .map(|name| name.to_ascii_uppercase())
            .collect();
        let entries = values.list("listeners");
        let protocols = read_protocols(values, &entries, &controller_names)?;
        let bound = parse_all(&entries, &protocols, true)?;
        let advertised = if values.is_given("advertised.listeners") {
            parse_all(&values.list("advertised.listeners"), &protocols, false)?
        } else {
            bound.clone()
        };
        let (own, advertised): (Vec<Listener>, Vec<Listener>) = advertised
            .into_iter()
            .partition(|entry| controller_names.contains(&entry.name));
        let named = |name: &String| {
            own.iter()
                .chain(&bound)
                .find(|entry| entry.name == *name)
                .cloned()
        };
        let advertised_controllers = controller_names.iter().filter_map(named).collect();
        let inter_broker_name_is_given = values.is_given("inter.broker.listener.name");
        let inter_broker_name = read_inter_broker_name(values, &protocols)?;
        Ok(Self {
            bound,
            advertised,
            advertised_controllers,
            controller_names,
            inter_broker_name,
            inter_broker_name_is_given,
            protocols,
        })
    }

    /// The listeners that clients and brokers connect to.
    pub fn broker_listeners(&self) -> impl Iterator<Item = &Listener> {
        self.bound
            .iter()
            .filter(|listener| !self.controller_names.contains(&listener.name))
    }

    /// The listeners of the controller.
    pub fn controller_listeners(&self) -> impl Iterator<Item = &Listener> {
        self.bound
            .iter()
            .filter(|listener| self.controller_names.contains(&listener.name))
    }
}

fn read_protocols(
    values: &BrokerValues,
    entries: &[String],
    controller_names: &[String],
) -> Result<BTreeMap<String, SecurityProtocol>, Error> {
    const MAP: &str = "listener.security.protocol.map";
    let mut protocols = BTreeMap::new();
    let text = values.string(MAP).unwrap_or_default();
    for entry in text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        let Some((name, protocol)) = entry.rsplit_once(':') else {
            return Err(Error::Check(format!(
                "Error parsing configuration property '{MAP}': {entry} is not of the form NAME:PROTOCOL"
            )));
        };
        let known = SecurityProtocol::from_name(protocol.trim()).ok_or_else(|| {
            Error::Check(format!(
                "Invalid security protocol `{protocol}` defined in {MAP}"
            ))
        })?;
        protocols.insert(name.trim().to_ascii_uppercase(), known);
    }
    if values.is_given(MAP) {
        return Ok(protocols);
    }
    // Without a map of one's own, a controller's listener is plain unless a secured name is in use.
    let secured = |name: &str| matches!(name, "SSL" | "SASL_SSL" | "SASL_PLAINTEXT");
    let in_use = entries
        .iter()
        .filter_map(|entry| entry.split_once("://"))
        .map(|(name, _)| name.to_ascii_uppercase());
    if !controller_names.iter().any(|name| secured(name))
        && !in_use.into_iter().any(|name| secured(&name))
    {
        for name in controller_names {
            protocols.insert(name.clone(), SecurityProtocol::Plaintext);
        }
    }
    Ok(protocols)
}

fn parse_all(
    entries: &[String],
    protocols: &BTreeMap<String, SecurityProtocol>,
    ports_differ: bool,
) -> Result<Vec<Listener>, Error> {
    let shown = format!("[{}]", entries.join(", "));
    let failed = |reason: String| {
        Error::Check(format!(
            "Error creating broker listeners from '{shown}': {reason}"
        ))
    };
    let mut listeners = Vec::with_capacity(entries.len());
    for entry in entries {
        listeners.push(parse_one(entry, protocols).map_err(failed)?);
    }
    for (index, listener) in listeners.iter().enumerate() {
        if listeners[..index]
            .iter()
            .any(|earlier: &Listener| earlier.name == listener.name)
        {
            return Err(failed(format!(
                "Each listener must have a different name, listeners: {shown}"
            )));
        }
    }
    if ports_differ {
        check_ports(&listeners, &shown).map_err(failed)?;
    }
    Ok(listeners)
}

fn parse_one(
    entry: &str,
    protocols: &BTreeMap<String, SecurityProtocol>,
) -> Result<Listener, String> {
    let unparsable = || format!("Unable to parse {entry} to a broker endpoint");
    let (name, address) = entry.split_once("://").ok_or_else(unparsable)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(unparsable)?;
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    if !host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-%._:".contains(&byte))
    {
        return Err(unparsable());
    }
    let port = port.parse().map_err(|_| unparsable())?;
    let name = name.to_ascii_uppercase();
    let security_protocol = *protocols
        .get(&name)
        .ok_or_else(|| format!("No security protocol defined for listener {name}"))?;
    Ok(Listener {
        name,
        host: host.to_owned(),
        port,
        security_protocol,
    })
}

/// Two listeners may share a port only if one is on IPv4 and the other on IPv6.
fn check_ports(listeners: &[Listener], shown: &str) -> Result<(), String> {
    for listener in listeners.iter().filter(|listener| listener.port != 0) {
        let port = listener.port;
        let sharing: Vec<&Listener> = listeners
            .iter()
            .filter(|other| other.port == port)
            .collect();
        let addresses: Vec<IpAddr> = sharing
            .iter()
            .filter_map(|other| other.host.parse().ok())
            .collect();
        match (sharing.len(), addresses.as_slice()) {
            (1, _) => {}
            (2, [one, other]) if one.is_ipv4() != other.is_ipv4() => {}
            (2, [_, _]) => {
                return Err(format!(
                    "If you have two listeners on the same port then one needs to be IPv4 and the other IPv6, \
                     listeners: {shown}, port: {port}"
                ));
            }
            (count, addresses) if count > 2 && !addresses.is_empty() => {
                return Err(format!(
                    "Each listener must have a different port unless exactly one listener has an IPv4 address and the \
                     other IPv6 address, listeners: {shown}, port: {port}"
                ));
            }
            _ => {
                return Err(format!(
                    "Each listener must have a different port, listeners: {shown}"
                ));
            }
        }
    }
    Ok(())
}

fn read_inter_broker_name(
    values: &BrokerValues,
    protocols: &BTreeMap<String, SecurityProtocol>,
) -> Result<String, Error> {
    let Some(name) = values.string("inter.broker.listener.name") else {
        return Ok(values
            .string("security.inter.broker.protocol")
            .unwrap_or_default());
    };
    if values.is_given("security.inter.broker.protocol") {
        return Err(Error::Check(
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.".to_owned(),
        ));
    }
    let name = name.to_ascii_uppercase();
    if !protocols.contains_key(&name) {
        return Err(Error::Check(format!(
            "Listener with name {name} defined in inter.broker.listener.name not found in \
             listener.security.protocol.map."
        )));
    }
    Ok(name)
}
