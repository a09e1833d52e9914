//! One connection: a frame in, its reply out, and again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use super::frame_reader::{FrameError, FrameReader};
use super::response_writer::ResponseWriter;
use crate::node::Node;
use crate::request::{ConnectionContext, Reply};

/// How long a silent connection keeps a large buffer.
const RELEASE_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("nothing moved for {0:?}")]
    Idle(Duration),
    #[error("the peer left in the middle of a frame")]
    Truncated,
}

/// What a wait for the peer's bytes ended with.
enum Filled {
    Bytes,
    End,
}

pub(super) struct Connection {
    stream: TcpStream,
    node: Arc<Node>,
    context: Arc<ConnectionContext>,
    shutdown: watch::Receiver<bool>,
    idle: Duration,
    reader: FrameReader,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        node: Arc<Node>,
        context: Arc<ConnectionContext>,
        shutdown: watch::Receiver<bool>,
    ) -> Connection {
        let limits = node.connection_counts().limits();
        let idle = Duration::from_millis(limits.idle_ms);
        let reader = FrameReader::new(limits.request_bytes_max);
        Connection {
            stream,
            node,
            context,
            shutdown,
            idle,
            reader,
        }
    }

    /// Serves requests until either end has enough.
    pub(super) async fn serve(mut self) {
        self.node.connection_opened(&self.context);
        let mut shutdown = self.shutdown.clone();
        let served = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => Ok(()),
            served = self.serve_requests() => served,
        };
        if let Err(error) = served {
            tracing::debug!(peer = ?self.context.peer, listener = %self.context.listener, %error, "connection closed");
        }
        self.node.connection_closed(&self.context);
    }

    async fn serve_requests(&mut self) -> Result<(), ConnectionError> {
        loop {
            let Some(frame) = self.reader.next_frame()? else {
                match self.fill().await? {
                    Filled::Bytes => continue,
                    Filled::End if self.reader.is_partial() => {
                        return Err(ConnectionError::Truncated);
                    }
                    Filled::End => return Ok(()),
                }
            };
            let (sender, reply) = oneshot::channel();
            self.node.handle(
                &self.context,
                frame,
                Box::new(move |reply: Reply| {
                    let _ = sender.send(reply);
                }),
            );
            match reply.await {
                Ok(Reply::Response(frame)) => {
                    ResponseWriter::new(&self.stream, &self.node, self.idle)
                        .write(frame)
                        .await?;
                }
                Ok(Reply::Nothing) => {}
                Ok(Reply::Close) | Err(_) => return Ok(()),
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Reads what has come, or waits for it.
    async fn fill(&mut self) -> Result<Filled, ConnectionError> {
        loop {
            match self.stream.try_read_buf(self.reader.room()) {
                Ok(0) => return Ok(Filled::End),
                Ok(_) => return Ok(Filled::Bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            self.wait_readable().await?;
        }
    }

    async fn wait_readable(&mut self) -> Result<(), ConnectionError> {
        if self.reader.retains_much() {
            match tokio::time::timeout(RELEASE_AFTER, self.stream.readable()).await {
                Ok(ready) => return Ok(ready?),
                Err(_) => self.reader.release(),
            }
        }
        match tokio::time::timeout(self.idle, self.stream.readable()).await {
            Ok(ready) => Ok(ready?),
            Err(_) => Err(ConnectionError::Idle(self.idle)),
        }
    }
}
