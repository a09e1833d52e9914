//! Sends a response: bytes by `send` or `sendmsg`, regions of files by `sendfile`.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use ottla_log::FileRegion;
use ottla_protocol::frame::response::{Piece, ResponseFrame};
use rustix::io::ReadWriteFlags;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::environment::JobKind;
use crate::node::Node;

/// A region below this is read into the response: a system call of its own costs more than the copy.
const SENDFILE_BYTES_MIN: u64 = 8 * 1024;
/// How much of a cold region is brought into the page cache at a time.
const COLD_READ_BYTES: u64 = 1024 * 1024;
/// How many slices go into one `sendmsg`.
const SLICES_MAX: usize = 64;

pub(super) struct ResponseWriter<'a> {
    stream: &'a TcpStream,
    node: &'a Arc<Node>,
    idle: Duration,
    gathered: Vec<Bytes>,
}

impl<'a> ResponseWriter<'a> {
    pub(super) fn new(
        stream: &'a TcpStream,
        node: &'a Arc<Node>,
        idle: Duration,
    ) -> ResponseWriter<'a> {
        ResponseWriter {
            stream,
            node,
            idle,
            gathered: Vec::with_capacity(4),
        }
    }

    /// Sends every piece of a frame.
    pub(super) async fn write(mut self, frame: ResponseFrame<FileRegion>) -> io::Result<()> {
        for piece in frame.into_pieces() {
            match piece {
                Piece::Bytes(bytes) => self.gathered.push(bytes),
                Piece::Region(region) => self.region(region).await?,
            }
        }
        self.flush(false).await
    }

    async fn region(&mut self, region: FileRegion) -> io::Result<()> {
        if region.length == 0 {
            return Ok(());
        }
        let file = Arc::clone(&region.file);
        let Some(fd) = file.as_fd() else {
            self.gathered.push(region.read()?);
            return Ok(());
        };
        if region.length < SENDFILE_BYTES_MIN {
            let bytes = self.small_region(fd, region).await?;
            self.gathered.push(bytes);
            return Ok(());
        }
        self.flush(true).await?;
        self.send_region(fd, &region).await
    }

    /// Reads a region without waiting for the disk on this thread.
    async fn small_region(&self, fd: BorrowedFd<'_>, region: FileRegion) -> io::Result<Bytes> {
        if is_cold(fd, region.position) || is_cold(fd, region.position + region.length - 1) {
            let (sender, receiver) = oneshot::channel();
            self.node.environment().jobs.submit(
                JobKind::ColdRead,
                Box::new(move || {
                    let _ = sender.send(region.read());
                }),
            );
            return receiver.await.map_err(io::Error::other)?;
        }
        region.read()
    }

    async fn send_region(&self, fd: BorrowedFd<'_>, region: &FileRegion) -> io::Result<()> {
        let mut position = region.position;
        let end = region.position + region.length;
        while position < end {
            let chunk_end = end.min(position + COLD_READ_BYTES);
            if is_cold(fd, position) || is_cold(fd, chunk_end - 1) {
                self.warm(region, position, chunk_end - position).await?;
            }
            while position < chunk_end {
                position += self.send_chunk(fd, position, chunk_end - position).await?;
            }
        }
        Ok(())
    }

    async fn send_chunk(&self, fd: BorrowedFd<'_>, position: u64, length: u64) -> io::Result<u64> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let sent = self
            .when_writable(|| {
                let mut offset = position;
                Ok(rustix::fs::sendfile(
                    self.stream,
                    fd,
                    Some(&mut offset),
                    length,
                )?)
            })
            .await?;
        if sent == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a segment is shorter than the region to send",
            ));
        }
        Ok(sent as u64)
    }

    /// Brings a part of a region into the page cache on another thread.
    async fn warm(&self, region: &FileRegion, position: u64, length: u64) -> io::Result<()> {
        let part = FileRegion {
            file: Arc::clone(&region.file),
            position,
            length,
        };
        let (sender, receiver) = oneshot::channel();
        self.node.environment().jobs.submit(
            JobKind::ColdRead,
            Box::new(move || {
                let _ = sender.send(part.read().map(drop));
            }),
        );
        receiver.await.map_err(io::Error::other)?
    }

    /// Sends what was gathered; `more` says that a region follows at once.
    async fn flush(&mut self, more: bool) -> io::Result<()> {
        let flags = if more {
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT | SendFlags::MORE
        } else {
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT
        };
        self.gathered.retain(|bytes| !bytes.is_empty());
        let mut first = 0;
        while first < self.gathered.len() {
            let mut sent = match &self.gathered[first..] {
                [only] => {
                    let send = || Ok(rustix::net::send(self.stream, only, flags)?);
                    self.when_writable(send).await?
                }
                several => self.send_several(several, flags).await?,
            };
            while sent > 0 {
                let bytes = &mut self.gathered[first];
                let taken = sent.min(bytes.len());
                bytes.advance(taken);
                sent -= taken;
                if bytes.is_empty() {
                    first += 1;
                }
            }
        }
        self.gathered.clear();
        Ok(())
    }

    async fn send_several(&self, several: &[Bytes], flags: SendFlags) -> io::Result<usize> {
        let slices: Vec<IoSlice<'_>> = several
            .iter()
            .take(SLICES_MAX)
            .map(|bytes| IoSlice::new(bytes))
            .collect();
        self.when_writable(|| {
            let mut control = SendAncillaryBuffer::default();
            Ok(rustix::net::sendmsg(
                self.stream,
                &slices,
                &mut control,
                flags,
            )?)
        })
        .await
    }

    /// Repeats a send until the socket takes something, for as long as a peer may be slow.
    async fn when_writable(&self, send: impl Fn() -> io::Result<usize>) -> io::Result<usize> {
        loop {
            match self.stream.try_io(Interest::WRITABLE, &send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                done => return done,
            }
            match tokio::time::timeout(self.idle, self.stream.writable()).await {
                Ok(ready) => ready?,
                Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut)),
            }
        }
    }
}

/// Whether the byte at `position` would have to come from the disk.
///
/// A file system that cannot tell counts as warm.
fn is_cold(fd: BorrowedFd<'_>, position: u64) -> bool {
    let mut byte = [0_u8; 1];
    let probed = rustix::io::preadv2(
        fd,
        &mut [IoSliceMut::new(&mut byte)],
        position,
        ReadWriteFlags::NOWAIT,
    );
    matches!(probed, Err(rustix::io::Errno::AGAIN))
}
