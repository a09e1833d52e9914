//! The way to other brokers, for what one asks another in passing.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ids::BrokerId;
use ottla_protocol::messages::Request;
use parking_lot::Mutex;

use crate::environment::JobKind;
use crate::net::peer::{CallOptions, PeerAddress, PeerChannel, PeerError};
use crate::node::Node;

/// What a channel is for: none of one kind waits behind those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BrokerChannel {
    /// Markers at the end of transactions, each answered once it is committed.
    TransactionMarkers,
    /// Whether partitions take part in a transaction.
    TransactionVerification,
    /// How far share groups are, kept by share coordinators.
    ShareState,
    /// Where partitions end.
    EndOffsets,
}

/// Names a channel.
type ChannelKey = (BrokerChannel, BrokerId);

/// The channels to other brokers.
#[derive(Debug, Default)]
pub(crate) struct BrokerChannels {
    by_broker: Mutex<BTreeMap<ChannelKey, (PeerAddress, Arc<PeerChannel>)>>,
}

impl Node {
    /// Asks another broker, at its listener for brokers. `then` runs on any thread, never from within this call.
    pub(crate) fn ask_broker<R: Request + Send + 'static>(
        self: &Arc<Self>,
        (kind, broker): (BrokerChannel, BrokerId),
        options: CallOptions,
        request: R,
        then: impl FnOnce(Result<R::Response, PeerError>) + Send + 'static,
    ) {
        let found = self.endpoint_of(broker.0, &self.options().inter_broker_listener);
        let address = found.and_then(|(host, port, _)| {
            Some(PeerAddress {
                host: host.to_string(),
                port: u16::try_from(port).ok()?,
            })
        });
        let Some(address) = address else {
            let unknown = PeerError::Disconnected {
                address: PeerAddress {
                    host: format!("broker {broker}"),
                    port: 0,
                },
                reason: "it is not registered with a listener for brokers".to_owned(),
            };
            self.submit(JobKind::Coordinator, move |_| then(Err(unknown)));
            return;
        };
        let channel = self.channel_to_broker((kind, broker), address);
        channel.send(options, move |_| request, then);
    }

    fn channel_to_broker(&self, key: ChannelKey, address: PeerAddress) -> Arc<PeerChannel> {
        let mut by_broker = self.broker_channels().by_broker.lock();
        if let Some((known, channel)) = by_broker.get(&key)
            && *known == address
        {
            return Arc::clone(channel);
        }
        let channel = self.peer_channel(&address.host, address.port);
        let replaced = by_broker.insert(key, (address, Arc::clone(&channel)));
        drop(by_broker);
        drop(replaced);
        channel
    }
}
