//! A server that answers a produce request at once: the floor under every latency that is measured here.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// Bytes of an answer like a broker's: correlation id, one topic, one partition without an error.
const ANSWER_BYTES: usize = 4 + 4 + 2 + 4 + 4 + 2 + 8 + 8 + 8 + 4;

/// Serves one connection on a thread of its own; returns the port.
pub fn start() -> std::io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        if let Ok((stream, _)) = listener.accept() {
            // The end of the connection is the end of the server.
            let _ = serve(stream);
        }
    });
    Ok(port)
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answer = vec![0; 4 + ANSWER_BYTES];
    answer[..4].copy_from_slice(&(ANSWER_BYTES as u32).to_be_bytes());
    let mut frame = Vec::new();
    loop {
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        frame.resize(u32::from_be_bytes(size) as usize, 0);
        stream.read_exact(&mut frame)?;
        answer[4..8].copy_from_slice(frame.get(4..8).unwrap_or_default());
        stream.write_all(&answer)?;
    }
}
