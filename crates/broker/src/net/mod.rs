//! Sockets: listeners, connections, and the way of a response into the kernel.
//!
//! [`peer`] is the channel to other nodes, over connections that `outgoing` opens.
//!
//! The only place in the broker with `async fn`. A connection reads one frame at a time into its own buffer, hands it to the node, and waits for the reply before it reads the next: the order of responses is the order of requests.

mod connection;
mod frame_reader;
mod limits;
mod listener;
mod outgoing;
pub(crate) mod peer;
mod response_writer;

#[cfg(test)]
mod tests;

pub(crate) use limits::ConnectionCounts;
pub use limits::{ConnectionLimits, ListenerConnections};
pub use listener::{BoundListener, ListenerSettings, ListenerTask, bind, serve};
pub(crate) use outgoing::TcpNetwork;
