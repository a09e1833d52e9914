//! What the machine itself takes: bytes from a socket, through a checksum, into the page cache; and out of it by
//! `sendfile`. Counted is the CPU time of the thread that does a broker's part.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::time::{ClockId, clock_gettime};

use crate::arguments::Arguments;
use crate::wire::crc32c;

const MIB: usize = 1 << 20;
const FILES: usize = 6;
/// `receive.buffer.bytes` of Kafka's consumer.
const CONSUMER_BUFFER_BYTES: usize = 64 * 1024;

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn connected() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    Ok((server, client))
}

pub fn run(arguments: &Arguments) -> Result<String, String> {
    let folder: PathBuf = arguments.get("folder")?;
    let mib: usize = arguments.get("mib")?;
    let block: usize = arguments.get("block")?;
    let paths: Vec<PathBuf> = (0..FILES)
        .map(|number| folder.join(format!("limit-{number}")))
        .collect();
    let result = both_ways(&paths, mib, block).map_err(|error| error.to_string());
    for path in &paths {
        // Only a file that was never made cannot be removed.
        let _ = std::fs::remove_file(path);
    }
    result
}

fn both_ways(paths: &[PathBuf], mib: usize, block: usize) -> std::io::Result<String> {
    let files: Vec<File> = paths
        .iter()
        .map(|path| {
            File::options()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .open(path)
        })
        .collect::<std::io::Result<_>>()?;
    let gib = mib as f64 / 1024.0;
    let taken_in = receive(&files, mib * MIB / block, block)? / gib;
    let served = send(&files)? / gib;
    Ok(format!(
        r#"{{"CPU-s per GiB in": {taken_in:.4}, "CPU-s per GiB out": {served:.4}}}"#
    ))
}

/// Receives blocks, takes the checksum of each, and writes them to the files in turn.
fn receive(files: &[File], blocks: usize, block: usize) -> std::io::Result<f64> {
    let (mut server, mut client) = connected()?;
    let sender = std::thread::spawn(move || {
        let bytes = vec![b'x'; block];
        (0..blocks).try_for_each(|_| client.write_all(&bytes))
    });
    let mut bytes = vec![0; block];
    let mut checksum = 0;
    let mut positions = vec![0; files.len()];
    let before = cpu_seconds();
    for number in 0..blocks {
        server.read_exact(&mut bytes)?;
        checksum ^= crc32c(&bytes);
        let place = number % files.len();
        files[place].write_all_at(&bytes, positions[place])?;
        positions[place] += block as u64;
    }
    let spent = cpu_seconds() - before;
    std::hint::black_box(checksum);
    joined(sender)?;
    Ok(spent)
}

/// Sends the files by `sendfile` to a peer that reads and forgets, and that has the receive buffer of Kafka's
/// consumer: a larger one would let more go at a time than any broker can send.
fn send(files: &[File]) -> std::io::Result<f64> {
    let (server, mut client) = connected()?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&client, CONSUMER_BUFFER_BYTES)?;
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; MIB];
        loop {
            if client.read(&mut bytes)? == 0 {
                return Ok(());
            }
        }
    });
    let before = cpu_seconds();
    for file in files {
        let length = file.metadata()?.len();
        let mut position = 0;
        while position < length {
            rustix::fs::sendfile(&server, file, Some(&mut position), MIB)?;
        }
    }
    let spent = cpu_seconds() - before;
    drop(server);
    joined(reader)?;
    Ok(spent)
}

fn joined(thread: std::thread::JoinHandle<std::io::Result<()>>) -> std::io::Result<()> {
    thread
        .join()
        .unwrap_or_else(|_| Err(std::io::Error::other("a thread ended early")))
}
