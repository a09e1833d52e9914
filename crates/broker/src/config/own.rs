//! Ottla's own settings: node-level only, so that Apache Kafka, started on the same file, passes over them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Error;

/// The names of Ottla's own settings.
pub(super) const NAMES: [&str; 1] = [METRICS_LISTENER];

const METRICS_LISTENER: &str = "ottla.metrics.listener";

/// The values of Ottla's own settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnSettings {
    /// `ottla.metrics.listener`: the address on which `/metrics` is served over HTTP; off by default.
    pub metrics_listener: Option<SocketAddr>,
}

impl OwnSettings {
    pub(super) fn read(settings: &BTreeMap<String, String>) -> Result<Self, Error> {
        let text = settings
            .get(METRICS_LISTENER)
            .map_or("", |text| text.trim());
        let metrics_listener = if text.is_empty() {
            None
        } else {
            Some(text.parse().map_err(|_| Error::Own {
                name: METRICS_LISTENER,
                value: text.to_owned(),
                reason: "an address and port such as 127.0.0.1:9404 is expected",
            })?)
        };
        Ok(Self { metrics_listener })
    }
}
