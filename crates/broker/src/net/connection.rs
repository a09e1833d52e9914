//! One connection: a frame in, its reply out, and again.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_protocol::ApiKey;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::Sleep;

use super::frame_reader::{FrameError, FrameReader};
use super::response_writer::ResponseWriter;
use crate::metrics::RequestTimes;
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

/// Measures one request for the metrics.
struct RequestTimer {
    api_key: Option<ApiKey>,
    version: i16,
    bytes: usize,
    started: Instant,
}

impl RequestTimer {
    fn start(frame: &[u8]) -> RequestTimer {
        let number = |at: usize| match frame.get(at..at + 2) {
            Some([high, low]) => i16::from_be_bytes([*high, *low]),
            _ => -1,
        };
        RequestTimer {
            api_key: ApiKey::from_code(number(0)),
            version: number(2),
            bytes: frame.len(),
            started: Instant::now(),
        }
    }

    fn record(self, node: &Node, handled: Instant, answered: Instant, sent: Instant) {
        let Some(api_key) = self.api_key else {
            return;
        };
        let micros = |from: Instant, to: Instant| {
            u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
        };
        let times = RequestTimes {
            local: micros(self.started, handled),
            remote: micros(handled, answered),
            throttle: 0,
            response_send: micros(answered, sent),
            total: micros(self.started, sent),
        };
        let metrics = node.metrics();
        metrics
            .request(api_key)
            .record(self.version, self.bytes, times);
        if api_key == ApiKey::Fetch {
            metrics.fetch(false).record(self.version, self.bytes, times);
        }
    }
}

pub(super) struct Connection {
    stream: TcpStream,
    node: Arc<Node>,
    context: Arc<ConnectionContext>,
    shutdown: watch::Receiver<bool>,
    idle: Duration,
    reader: FrameReader,
    /// When bytes last came or went.
    moved: Instant,
    /// Comes when the connection may have been silent for too long. It is set anew when it comes,
    /// not at each request: that would take the runtime's lock of timers twice.
    silence: Pin<Box<Sleep>>,
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
            moved: Instant::now(),
            silence: Box::pin(tokio::time::sleep(idle)),
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
            let request = RequestTimer::start(&frame);
            let (sender, reply) = oneshot::channel();
            self.node.handle(
                &self.context,
                frame,
                Box::new(move |reply: Reply| {
                    let _ = sender.send(reply);
                }),
            );
            let handled = Instant::now();
            let reply = reply.await;
            let answered = Instant::now();
            match reply {
                Ok(Reply::Response(frame)) => {
                    ResponseWriter::new(&self.stream, &self.node, self.idle)
                        .write(frame)
                        .await?;
                }
                Ok(Reply::Nothing) => {}
                Ok(Reply::Close) | Err(_) => return Ok(()),
            }
            self.moved = Instant::now();
            request.record(&self.node, handled, answered, self.moved);
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Reads what has come, or waits for it.
    async fn fill(&mut self) -> Result<Filled, ConnectionError> {
        loop {
            match self.stream.try_read_buf(self.reader.room()) {
                Ok(0) => return Ok(Filled::End),
                Ok(_) => {
                    self.moved = Instant::now();
                    return Ok(Filled::Bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            self.wait_readable().await?;
        }
    }

    async fn wait_readable(&mut self) -> Result<(), ConnectionError> {
        loop {
            let deadline = self.silent_until().into();
            if self.silence.deadline() > deadline {
                self.silence.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                ready = self.stream.readable() => return Ok(ready?),
                () = self.silence.as_mut() => self.end_of_silence()?,
            }
        }
    }

    /// When something is to be done if no bytes come.
    fn silent_until(&self) -> Instant {
        let retained = self.reader.retains_much().then_some(RELEASE_AFTER);
        self.moved + retained.map_or(self.idle, |most| most.min(self.idle))
    }

    /// Gives a large buffer back, or the connection up, if nothing has come in the meantime.
    fn end_of_silence(&mut self) -> Result<(), ConnectionError> {
        let now = Instant::now();
        if now >= self.moved + self.idle {
            return Err(ConnectionError::Idle(self.idle));
        }
        if now >= self.moved + RELEASE_AFTER {
            self.reader.release();
        }
        let deadline = self.silent_until().into();
        self.silence.as_mut().reset(deadline);
        Ok(())
    }
}
