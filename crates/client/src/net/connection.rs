//! One socket: frames out, frames in.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::core::metadata::Endpoint;
use crate::core::{ConnectionId, NetworkInput};

/// No answer of a broker is larger; a peer that says so speaks another protocol.
const FRAME_BYTES_MAX: usize = 512 << 20;

/// The memory that a frame's size alone may reserve.
const FRAME_RESERVE_BYTES: usize = 1 << 20;

pub(super) async fn run(
    id: ConnectionId,
    endpoint: Endpoint,
    to_write: mpsc::UnboundedReceiver<Bytes>,
    inputs: mpsc::UnboundedSender<NetworkInput>,
) {
    let reason = match TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await {
        Err(error) => {
            tracing::warn!("no connection to the broker at {endpoint}: {error}");
            format!("{endpoint}: {error}")
        }
        Ok(stream) => {
            // Without it small frames wait; not having it is no reason to give up.
            let _ = stream.set_nodelay(true);
            let _ = inputs.send(NetworkInput::Connected(id));
            let (reader, writer) = stream.into_split();
            let ended = tokio::select! {
                ended = read_frames(id, reader, &inputs) => ended,
                ended = write_frames(writer, to_write) => ended,
            };
            match ended {
                Ok(()) => format!("{endpoint}: the broker closed the connection"),
                Err(error) => format!("{endpoint}: {error}"),
            }
        }
    };
    let _ = inputs.send(NetworkInput::Disconnected(id, reason));
}

async fn read_frames(
    id: ConnectionId,
    mut reader: OwnedReadHalf,
    inputs: &mpsc::UnboundedSender<NetworkInput>,
) -> std::io::Result<()> {
    loop {
        let size = match reader.read_u32().await {
            Ok(size) => size as usize,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        if size > FRAME_BYTES_MAX {
            let message = "the peer does not speak Kafka's protocol (is it a TLS port?)";
            return Err(std::io::Error::other(message));
        }
        let mut frame = BytesMut::with_capacity(size.min(FRAME_RESERVE_BYTES));
        while frame.len() < size {
            if frame.capacity() == frame.len() {
                frame.reserve((size - frame.len()).min(frame.len().max(FRAME_RESERVE_BYTES)));
            }
            let missing = (size - frame.len()) as u64;
            if (&mut reader).take(missing).read_buf(&mut frame).await? == 0 {
                return Ok(());
            }
        }
        if inputs
            .send(NetworkInput::Received(id, frame.freeze()))
            .is_err()
        {
            return Ok(());
        }
    }
}

async fn write_frames(
    mut writer: OwnedWriteHalf,
    mut to_write: mpsc::UnboundedReceiver<Bytes>,
) -> std::io::Result<()> {
    while let Some(frame) = to_write.recv().await {
        writer.write_all(&frame).await?;
    }
    Ok(())
}
