//! Brokers that have ended are fenced before their sessions run out: see [`super::reachability`].

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use ottla_protocol::Uuid;
use ottla_protocol::ids::BrokerId;
use ottla_protocol::messages::BrokerHeartbeatRequest;
use parking_lot::Mutex;

use super::core::Core;
use super::reachability::{Probed, SILENCE_MS, Verdict};
use crate::environment::{JobKind, Link, LinkEnd, LinkEvents};
use crate::net::peer::PeerAddress;
use crate::node::Node;

/// How long after a suspicion, and after a refusal, the listener is tried.
const PROBE_AFTER_MS: i64 = SILENCE_MS / 2;
/// How long an attempt to connect may take: who ended is known at once.
const PROBE_TIMEOUT_MS: i64 = 1_000;

impl Core {
    /// Takes note of the brokers that serve, by the committed metadata.
    pub(super) fn watch_brokers(&mut self, node: &Arc<Node>) {
        let options = node.options();
        if !options.roles.controller {
            return;
        }
        let own = options.roles.broker.then_some(node.broker_id());
        let brokers = self.loader.image().cluster().brokers().values();
        let serving: Vec<(BrokerId, Uuid, PeerAddress)> = brokers
            .filter(|broker| !broker.fenced && Some(broker.id) != own)
            .filter_map(|broker| {
                let endpoint = broker
                    .listener(&options.inter_broker_listener)
                    .or_else(|| broker.listeners.first())?;
                let address = PeerAddress {
                    host: endpoint.host.to_string(),
                    port: endpoint.port,
                };
                Some((broker.id, broker.incarnation_id, address))
            })
            .collect();
        self.reachability.observe(serving.into_iter());
        self.probe_what_is_due(node);
    }

    /// Looks at the listeners of brokers from time to time, so that it is known what a refusal means.
    pub(super) fn probe_what_is_due(&mut self, node: &Arc<Node>) {
        let now_ms = self.environment.clock.monotonic_ms();
        for id in self.reachability.due(now_ms) {
            self.probe(node, id);
        }
    }

    /// A broker lives.
    pub(super) fn heartbeat_arrived(
        &mut self,
        request: &BrokerHeartbeatRequest,
        connection: Option<u64>,
    ) {
        let id = BrokerId(request.broker_id);
        let Some(decisions) = &self.decisions else {
            return;
        };
        let broker = decisions.image().cluster().broker(id);
        if broker.is_none_or(|broker| broker.epoch.0 != request.broker_epoch) {
            return;
        }
        if let Some(connection) = connection {
            self.heartbeat_connections.insert(connection, id);
        }
        self.reachability.heard(id);
    }

    /// A connection to this controller has ended.
    pub(crate) fn connection_ended(&mut self, node: &Arc<Node>, connection: u64) {
        let Some(id) = self.heartbeat_connections.remove(&connection) else {
            return;
        };
        let has_another = self
            .heartbeat_connections
            .values()
            .any(|other| *other == id);
        if !has_another {
            self.suspect(node, id);
        }
    }

    /// A new active controller has heard of nobody yet: it looks who is there.
    pub(super) fn suspect_all(&mut self, node: &Arc<Node>) {
        for id in self.reachability.ids() {
            self.suspect(node, id);
        }
    }

    fn suspect(&mut self, node: &Arc<Node>, id: BrokerId) {
        let now_ms = self.environment.clock.monotonic_ms();
        if self.decisions.is_some() && self.reachability.suspect(id, now_ms) {
            probe_later(node, id);
        }
    }

    fn probe(&mut self, node: &Arc<Node>, id: BrokerId) {
        if let Some((incarnation_id, address)) = self.reachability.address(id) {
            Probe::begin(node, id, incarnation_id, &address);
        }
    }

    fn probed(&mut self, node: &Arc<Node>, id: BrokerId, incarnation_id: Uuid, probed: Probed) {
        let now_ms = self.environment.clock.monotonic_ms();
        let verdict = self.reachability.probed(id, incarnation_id, probed, now_ms);
        match verdict {
            Verdict::Nothing => {}
            Verdict::ProbeAgain => probe_later(node, id),
            Verdict::Ended => {
                if let Some(decisions) = &mut self.decisions {
                    let decision = decisions.handle_ended_broker(id, incarnation_id);
                    self.append_or_fail(node, &decision.records);
                }
            }
        }
    }
}

/// Tries the listener again in a while, if the broker is still suspected then.
fn probe_later(node: &Arc<Node>, id: BrokerId) {
    node.submit_after(PROBE_AFTER_MS, JobKind::Controller, move |node| {
        node.controller().submit(node, move |core, node| {
            if core.reachability.is_suspected(id) {
                core.probe(node, id);
            }
        });
    });
}

/// An attempt to connect to a broker's listener, which is given up as soon as it succeeds.
struct Probe {
    node: Weak<Node>,
    id: BrokerId,
    incarnation_id: Uuid,
    link: Mutex<Option<Box<dyn Link>>>,
    is_done: AtomicBool,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Probe({})", self.id)
    }
}

impl Probe {
    fn begin(node: &Arc<Node>, id: BrokerId, incarnation_id: Uuid, address: &PeerAddress) {
        let probe = Arc::new(Probe {
            node: Arc::downgrade(node),
            id,
            incarnation_id,
            link: Mutex::new(None),
            is_done: AtomicBool::new(false),
        });
        let events = Arc::clone(&probe) as Arc<dyn LinkEvents>;
        let network = &node.environment().network;
        let link = network.connect(&address.host, address.port, events);
        *probe.link.lock() = Some(link);
        if probe.is_done.load(Ordering::SeqCst) {
            probe.let_go();
        }
        node.submit_after(PROBE_TIMEOUT_MS, JobKind::Controller, move |_| {
            probe.end(Probed::Unclear);
        });
    }

    fn end(&self, probed: Probed) {
        if self.is_done.swap(true, Ordering::SeqCst) {
            return;
        }
        self.let_go();
        let (id, incarnation_id) = (self.id, self.incarnation_id);
        if let Some(node) = self.node.upgrade() {
            node.controller().submit(&node, move |core, node| {
                core.probed(node, id, incarnation_id, probed);
            });
        }
    }

    fn let_go(&self) {
        let link = self.link.lock().take();
        drop(link);
    }
}

impl LinkEvents for Probe {
    fn opened(&self) {
        self.end(Probed::Reached);
    }

    fn received(&self, _: Bytes) {}

    fn closed(&self, end: LinkEnd, _: &str) {
        self.end(match end {
            LinkEnd::Refused => Probed::Refused,
            LinkEnd::Ended => Probed::Unclear,
        });
    }
}
