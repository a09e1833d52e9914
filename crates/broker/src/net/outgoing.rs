//! Connections that this node opens to others, over TCP.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::frame_reader::FrameReader;
use crate::environment::{Link, LinkEnd, LinkEvents, Network};

/// What a peer may answer at most: the size in front of a frame can say no more. Memory follows the bytes that come.
const FRAME_BYTES_MAX: usize = 0x7fff_ffff;

/// The machine's network.
#[derive(Debug)]
pub(crate) struct TcpNetwork {
    runtime: Handle,
}

impl TcpNetwork {
    /// Connections live on this runtime.
    pub(crate) fn new(runtime: Handle) -> TcpNetwork {
        TcpNetwork { runtime }
    }
}

impl Network for TcpNetwork {
    fn connect(&self, host: &str, port: u16, events: Arc<dyn LinkEvents>) -> Box<dyn Link> {
        let (frames, outgoing) = unbounded_channel();
        let address = (host.to_owned(), port);
        self.runtime.spawn(async move {
            let ended = run(address, outgoing, &*events).await;
            let end = match &ended {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => LinkEnd::Refused,
                _ => LinkEnd::Ended,
            };
            let reason = ended.map_or_else(|error| error.to_string(), str::to_owned);
            events.closed(end, &reason);
        });
        Box::new(TcpLink { frames })
    }
}

/// Dropping it ends the connection.
#[derive(Debug)]
struct TcpLink {
    frames: UnboundedSender<Bytes>,
}

impl Link for TcpLink {
    fn send(&self, frame: Bytes) {
        // Where the connection has ended, its owner is told of it.
        let _ = self.frames.send(frame);
    }
}

async fn run(
    (host, port): (String, u16),
    mut outgoing: UnboundedReceiver<Bytes>,
    events: &dyn LinkEvents,
) -> io::Result<&'static str> {
    let connected = tokio::select! {
        connected = TcpStream::connect((host.as_str(), port)) => connected?,
        () = dropped(&mut outgoing) => return Ok("it is not wanted any more"),
    };
    connected.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(&connected, true)?;
    let (reader, writer) = connected.into_split();
    events.opened();
    tokio::select! {
        ended = write(writer, &mut outgoing) => ended,
        ended = read(reader, events) => ended,
    }
}

/// Waits until the owner has let go. Nothing is sent before the connection is open.
async fn dropped(outgoing: &mut UnboundedReceiver<Bytes>) {
    while outgoing.recv().await.is_some() {}
}

async fn write(
    mut writer: OwnedWriteHalf,
    outgoing: &mut UnboundedReceiver<Bytes>,
) -> io::Result<&'static str> {
    while let Some(frame) = outgoing.recv().await {
        writer.write_all(&frame).await?;
    }
    Ok("it is not wanted any more")
}

async fn read(reader: OwnedReadHalf, events: &dyn LinkEvents) -> io::Result<&'static str> {
    let mut frames = FrameReader::new(FRAME_BYTES_MAX);
    loop {
        while let Some(frame) = frames.next_frame().map_err(io::Error::other)? {
            events.received(frame.freeze());
        }
        reader.readable().await?;
        match reader.try_read_buf(frames.room()) {
            Ok(0) => return Ok("it closed the connection"),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
